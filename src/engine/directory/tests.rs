//! Local users, and a domain that answers, hangs or is away.

use super::*;

fn demo() -> (tempfile::TempDir, Directory) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("passwd"), "root:x:0:0::/:/bin/sh\nalice:x:1001:1001::/:/bin/sh\n+@nis:::::\n").unwrap();
    std::fs::write(folder.path().join("group"), "administrators:x:500:alice,bob\nalice:x:1001:\nother:x:7:bob\n").unwrap();
    let directory = Directory::new(folder.path().into(), false);
    (folder, directory)
}

#[tokio::test]
async fn a_local_user_is_found_by_name_and_number_with_all_groups() {
    let (_folder, directory) = demo();
    let alice = directory.by_name("alice").await.unwrap().unwrap();
    assert_eq!((alice.uid, alice.kind), (1001, SubjectKind::LocalUser));
    assert_eq!(alice.groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["alice", "administrators"]);
    assert_eq!(directory.by_uid(1001).await.unwrap().unwrap().name, "alice");
    assert_eq!(directory.by_name("nobody").await.unwrap(), None);
    assert_eq!(directory.by_name("+@nis").await.unwrap(), None);
}

#[tokio::test]
async fn the_members_of_a_group_include_those_whose_first_group_it_is() {
    let (_folder, directory) = demo();
    assert_eq!(directory.group("alice").await.unwrap().unwrap().members, ["alice"]);
    assert_eq!(directory.group("administrators").await.unwrap().unwrap().members, ["alice", "bob"]);
    assert_eq!(directory.group("none").await.unwrap(), None);
}

#[tokio::test]
async fn a_directory_that_is_away_decides_nothing() {
    let (folder, directory) = demo();
    std::fs::remove_file(folder.path().join("passwd")).unwrap();
    assert!(directory.by_name("alice").await.is_err());
}

#[tokio::test]
async fn root_is_known_to_the_system() {
    let directory = Directory::new("/etc".into(), true);
    assert_eq!(directory.by_name("root").await.unwrap().unwrap().uid, 0);
}

/// How long a domain that is there may take on a busy machine.
const SOON: Duration = Duration::from_secs(60);

/// A domain whose controller is away: whatever is asked of it waits until it is [`Back`].
struct Domain {
    away: Mutex<bool>,
    back: std::sync::Condvar,
    asked: std::sync::atomic::AtomicUsize,
}

impl Domain {
    fn new(away: bool) -> Arc<Self> {
        Arc::new(Self { away: Mutex::new(away), back: std::sync::Condvar::new(), asked: Default::default() })
    }

    fn wait(&self) {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        drop(self.back.wait_while(self.away.lock().unwrap(), |away| *away).unwrap());
    }

    fn asked(&self) -> usize {
        self.asked.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// How often it was asked, once that is at least so often: who asks may be given up before its thread has run at all.
    async fn asked_by_now(&self, least: usize) -> usize {
        let asked = async {
            while self.asked() < least {
                tokio::task::yield_now().await;
            }
        };
        let _ = timeout(SOON, asked).await;
        self.asked()
    }
}

/// Dropped, the domain is back, so that no thread is left hanging.
struct Back(Arc<Domain>);

impl Drop for Back {
    fn drop(&mut self) {
        *self.0.away.lock().unwrap() = false;
        self.0.back.notify_all();
    }
}

impl Nss for Domain {
    fn user(&self, key: &Key) -> Result<Option<Entry>, Silent> {
        self.wait();
        let known = matches!(key, Key::Name(name) if name.to_lowercase().starts_with("nas\\"));
        Ok(known.then(|| Entry { name: "NAS\\carol".into(), uid: 70_001, gid: 70_000 }))
    }

    fn groups_of(&self, _: &str, gid: u32) -> Result<Vec<(u32, String)>, Silent> {
        self.wait();
        Ok(vec![(gid, "NAS\\staff".into()), (7, "other".into()), (70_009, "administrators".into())])
    }

    fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        self.wait();
        Ok(Some(Team { name: name.into(), kind: SubjectKind::DomainGroup, members: vec![] }))
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        self.wait();
        Ok(vec!["alice".into(), "NAS\\carol".into()])
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        self.wait();
        Ok(vec![])
    }
}

fn joined(domain: &Arc<Domain>) -> (tempfile::TempDir, Directory) {
    let (folder, _) = demo();
    let is_away = *domain.away.lock().unwrap();
    let (longest, brief) = if is_away { (Duration::from_millis(300), Duration::from_millis(100)) } else { (SOON, SOON) };
    let limits = Limits { longest, brief, fresh: SOON };
    let directory = Directory::with(folder.path().into(), Some(Arc::clone(domain) as Arc<dyn Nss>), limits);
    (folder, directory)
}

#[tokio::test]
async fn a_domain_user_is_canonical_and_has_local_and_domain_groups() {
    let (_folder, directory) = joined(&Domain::new(false));
    let carol = directory.by_name("nas\\Carol").await.unwrap().unwrap();
    assert_eq!((carol.name.as_str(), carol.kind, carol.partial), ("NAS\\carol", SubjectKind::DomainUser, false));
    let domain = |name: &str, shadowed| Membership { name: name.into(), kind: SubjectKind::DomainGroup, shadowed };
    let groups = [domain("NAS\\staff", false), domain("administrators", true)];
    assert_eq!(carol.groups, groups, "`other` is known to the files, which say who is in it");
    assert_eq!(directory.list(SubjectKind::DomainUser).await.unwrap(), ["NAS\\carol"]);
}

#[tokio::test]
async fn a_domain_group_named_as_the_local_administrators_makes_none() {
    let (_folder, directory) = joined(&Domain::new(false));
    let names = ["administrators".to_owned()];
    assert!(!directory.by_name("nas\\carol").await.unwrap().unwrap().is_in_any(&names));
    assert!(directory.by_name("alice").await.unwrap().unwrap().is_in_any(&names));
    let staff = ["NAS\\staff".to_owned()];
    assert!(directory.by_name("nas\\carol").await.unwrap().unwrap().is_in_any(&staff), "a domain's own administrators are some");
}

/// Asks until the answer is of that kind.
async fn until<T>(what: &str, ask: impl AsyncFn() -> T, is_it: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            let answer = ask().await;
            if is_it(&answer) {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, asking).await.unwrap_or_else(|_| panic!("{what}: not within {} s", SOON.as_secs()))
}

/// Alice, who is local. On a busy machine the short limits may be over before her files are read: then she is looked up again.
async fn alice(directory: &Directory) -> Arc<Person> {
    let found = until("she is found, whatever the domain does", async || directory.by_name("alice").await, Result::is_ok).await;
    found.unwrap().unwrap()
}

#[tokio::test]
async fn a_hung_domain_keeps_no_local_user_waiting_for_long_and_decides_nothing_for_its_own() {
    let domain = Domain::new(true);
    let _back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let (alice, carol) = tokio::join!(alice(&directory), directory.by_name("nas\\carol"));
    assert!(alice.partial && alice.groups.iter().any(|group| group.name == "administrators"));
    assert!(carol.is_err());
}

#[tokio::test]
async fn one_hung_user_takes_one_thread_however_often_it_is_asked_for() {
    let domain = Domain::new(true);
    let _back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let names = vec!["nas\\carol".to_owned(); 3 * AT_ONCE];
    assert!(directory.people(&names).await.iter().all(Result::is_err));
    assert!(directory.by_name("nas\\carol").await.is_err(), "the thread is still out");
    assert_eq!(domain.asked_by_now(1).await, 1);
}

#[tokio::test]
async fn with_all_places_hung_local_users_are_still_found() {
    let domain = Domain::new(true);
    let _back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let names: Vec<String> = (0..2 * AT_ONCE).map(|n| format!("nas\\{n}")).collect();
    assert!(directory.people(&names).await.iter().all(Result::is_err));
    assert_eq!(domain.asked_by_now(AT_ONCE).await, AT_ONCE);
    assert_eq!(alice(&directory).await.uid, 1001);
}

fn stranger(directory: &Directory, uid: u32) -> Directory {
    directory.asked_by(&Standing::default(), uid)
}

fn hung(names: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("nas\\{names}{n}")).collect()
}

#[tokio::test]
async fn one_stranger_who_names_a_hung_domain_takes_his_share_and_no_more() {
    let domain = Domain::new(true);
    let _back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let mallory = stranger(&directory, 1002);
    assert!(mallory.people(&hung("m", 2 * AT_ONCE)).await.iter().all(Result::is_err));
    assert_eq!(domain.asked_by_now(places::SHARE).await, places::SHARE);
    // Local names are looked up in the domain as well, for its groups; each time anew where the answer was partial.
    assert!(alice(&mallory).await.partial);
    assert_eq!(domain.asked_by_now(places::SHARE).await, places::SHARE);
    assert!(stranger(&directory, 1003).people(&hung("n", 4)).await.iter().all(Result::is_err));
    assert_eq!(domain.asked_by_now(2 * places::SHARE).await, 2 * places::SHARE, "somebody else has a share of his own");
}

#[tokio::test]
async fn all_strangers_together_leave_places_for_root() {
    let domain = Domain::new(true);
    let _back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    for uid in 0..8 {
        stranger(&directory, 2000 + uid).people(&hung(&format!("u{uid}-"), 3)).await;
    }
    assert_eq!(domain.asked_by_now(AT_ONCE - places::RESERVED).await, AT_ONCE - places::RESERVED);
    directory.people(&hung("root", 2 * AT_ONCE)).await;
    assert_eq!(domain.asked_by_now(AT_ONCE).await, AT_ONCE);
}

#[tokio::test]
async fn logins_that_want_to_know_the_same_groups_ask_once_and_for_all_of_them_together() {
    let domain = Domain::new(true);
    let back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let groups = hung("group", 8);
    let (one, other) = tokio::join!(directory.teams(&groups), directory.teams(&groups));
    assert!(one.iter().chain(&other).all(Result::is_err));
    assert_eq!(domain.asked_by_now(8).await, 8, "one after the other would have got no further than the first");
    drop(back);
    until("the domain is back", async || directory.teams(&groups).await, |teams| teams.iter().all(Result::is_ok)).await;
    let asked = domain.asked();
    assert_eq!(directory.teams(&groups).await.len(), 8);
    assert_eq!(domain.asked(), asked, "an answer counts for a while");
}

#[tokio::test]
async fn a_stranger_who_wants_to_know_groups_takes_his_share_and_no_more() {
    let domain = Domain::new(true);
    let back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let mallory = stranger(&directory, 1002);
    assert!(mallory.teams(&hung("group", 8)).await.iter().all(Result::is_err));
    assert_eq!(domain.asked_by_now(places::SHARE).await, places::SHARE);
    drop(back);
    let groups = hung("group", 8);
    until("the domain is back", async || mallory.teams(&groups).await, |teams| teams.iter().all(Result::is_ok)).await;
}

#[tokio::test]
async fn a_share_comes_back_with_the_domain() {
    let domain = Domain::new(true);
    let back = Back(Arc::clone(&domain));
    let (_folder, directory) = joined(&domain);
    let bob = stranger(&directory, 1002);
    bob.people(&hung("b", 3)).await;
    // On a busy machine the files were not read in time.
    let refused = until("he is told why", async || bob.by_name("nas\\carol").await, |told| *told != Err(late())).await;
    assert_eq!(refused, Err(places::no_share()));
    drop(back);
    // The threads that hung give their places back as soon as they run.
    until("his share is back", async || bob.by_name("nas\\carol").await, Result::is_ok).await.unwrap();
    let dora = until("all of it is", async || bob.by_name("nas\\dora").await, Result::is_ok).await;
    assert_eq!(dora.unwrap().unwrap().uid, 70_001);
}

#[test]
fn root_does_not_rely_on_a_look_up_that_a_stranger_has_begun() {
    let (mut known, now) = (Known::<Key, Person>::new(PEOPLE), clock::monotonic());
    let (tell, answer) = watch::channel(None);
    known.new.insert(Key::Uid(7), Asked { at: now, by_stranger: true, answer });
    let stands = |known: &Known<Key, Person>, stranger: bool| known.get(&Key::Uid(7), now, LIMITS.fresh, stranger).is_some();
    assert!(stands(&known, true) && !stands(&known, false), "it may be refused for want of a place");
    let carol = |partial| Person { uid: 7, name: "carol".into(), kind: SubjectKind::LocalUser, groups: vec![], partial };
    tell.send_replace(Some(Ok(Some(Arc::new(carol(true))))));
    assert!(stands(&known, true) && !stands(&known, false), "and its groups may be missing");
    tell.send_replace(Some(Ok(Some(Arc::new(carol(false))))));
    assert!(stands(&known, false));
}

#[test]
fn a_full_cache_keeps_the_latest_answers_and_all_that_is_under_way() {
    let (mut known, now) = (Known::<Key, Person>::new(PEOPLE), clock::monotonic());
    let mut ask = |uid: u32, answer: Option<Found>| {
        let (tell, answer) = watch::channel(answer);
        assert!(known.has_room(false));
        known.new.insert(Key::Uid(uid), Asked { at: now, by_stranger: false, answer });
        tell
    };
    let hung = ask(0, None);
    let last = u32::try_from(3 * PEOPLE.kept).unwrap();
    for uid in 1..=last {
        ask(uid, Some(Ok(None)));
    }
    let stands = |uid: u32| known.get(&Key::Uid(uid), now, LIMITS.fresh, false).is_some();
    assert!(stands(0) && stands(last) && !stands(1));
    assert!(known.new.len() + known.old.len() <= PEOPLE.kept);
    hung.send_replace(Some(Err(late())));
}

#[test]
fn a_cache_full_of_hung_look_ups_takes_no_more_and_loses_none() {
    let (mut known, now) = (Known::<Key, Person>::new(PEOPLE), clock::monotonic());
    let (_tell, answer) = watch::channel(None);
    let all = u32::try_from(PEOPLE.kept).unwrap();
    for uid in 0..all {
        assert!(known.has_room(false));
        known.new.insert(Key::Uid(uid), Asked { at: now, by_stranger: false, answer: answer.clone() });
    }
    assert!(!known.has_room(false) && !known.has_room(false));
    assert!((0..all).all(|uid| known.get(&Key::Uid(uid), now, LIMITS.fresh, false).is_some()));
}

#[test]
fn strangers_whose_look_ups_hang_leave_room_for_others() {
    let (mut known, now) = (Known::<Key, Person>::new(PEOPLE), clock::monotonic());
    let (_tell, answer) = watch::channel(None);
    let mut by_strangers = 0;
    while known.has_room(true) {
        known.new.insert(Key::Uid(by_strangers), Asked { at: now, by_stranger: true, answer: answer.clone() });
        by_strangers += 1;
    }
    assert!(by_strangers > 1000);
    for uid in 0..256 {
        assert!(known.has_room(false), "{uid}");
        known.new.insert(Key::Uid(by_strangers + uid), Asked { at: now, by_stranger: false, answer: answer.clone() });
    }
}

/// A domain that breaks off the first look-up of all.
struct Breaks(std::sync::atomic::AtomicBool);

impl Nss for Breaks {
    fn user(&self, _: &Key) -> Result<Option<Entry>, Silent> {
        assert!(self.0.swap(true, std::sync::atomic::Ordering::SeqCst), "this is a test's");
        Ok(None)
    }

    fn groups_of(&self, _: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
        Ok(vec![])
    }

    fn group(&self, _: &str) -> Result<Option<Team>, Silent> {
        Ok(None)
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        Ok(vec![])
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        Ok(vec![])
    }
}

#[tokio::test]
async fn a_user_whose_look_up_broke_off_can_be_looked_up_again() {
    let (folder, _) = demo();
    let directory = Directory::patient(folder.path().into(), Breaks(Default::default()));
    assert_eq!(directory.by_name("nas\\carol").await, Err(broken_off()));
    assert_eq!(directory.by_name("nas\\carol").await, Ok(None));
}
