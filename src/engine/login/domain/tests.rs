//! A NAS in a domain whose controller comes and goes; over the socket, as root.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::unlisted;
use crate::config::Config;
use crate::core::enforcement::SubjectKind;
use crate::core::peer::Peer;
use crate::engine::account::AccountInterface;
use crate::engine::admin::AdminInterface;
use crate::engine::desk::{Desk, Parts};
use crate::engine::directory::{Directory, Entry, Key, Nss, Person, Silent, Team};
use crate::engine::login::LoginInterface;
use crate::engine::mail::Mailer;
use crate::engine::root::RootChannel;
use crate::engine::store::{GROUPS_KEPT, Options, SealingKey, Store, Stored, Subject, Tx};
use crate::proto::privileged::{Channel, Notice, Order, PasswordOutcome};
use crate::proto::server::Server;
use crate::sys::clock;

/// How the domain is.
#[derive(Clone, Copy, PartialEq)]
enum Link {
    /// It answers.
    Up,
    /// Each question fails.
    Down,
    /// It keeps quiet: there is no such group, and nobody is in any.
    Quiet,
}

/// It has the group `sales`.
#[derive(Clone)]
struct Domain {
    link: Link,
    /// Who has it in the list of groups.
    has: &'static [&'static str],
    /// Whom it lists as members.
    lists: &'static [&'static str],
}

impl Nss for Domain {
    fn user(&self, _: &Key) -> Result<Option<Entry>, Silent> {
        if self.link == Link::Down { Err(Silent("no connection".into())) } else { Ok(None) }
    }

    fn groups_of(&self, name: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
        match self.link {
            Link::Up if self.has.contains(&name) => Ok(vec![(70_000, "sales".into())]),
            Link::Up | Link::Quiet => Ok(Vec::new()),
            Link::Down => Err(Silent("no connection".into())),
        }
    }

    fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        let members = self.lists.iter().map(|name| (*name).to_owned()).collect();
        match self.link {
            Link::Up => Ok((name == "sales").then(|| Team { name: name.into(), kind: SubjectKind::DomainGroup, members })),
            Link::Quiet => Ok(None),
            Link::Down => Err(Silent("no connection".into())),
        }
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }
}

/// Root, alice and bob. The engine starts anew for each state of the domain, so that what it knows it has from its store.
struct Nas(tempfile::TempDir);

struct Running {
    line: Line,
    desk: Arc<Desk>,
}

fn sales() -> Subject {
    Subject { kind: SubjectKind::DomainGroup, name: "sales".into() }
}

fn peer(uid: u32) -> Peer {
    Peer { pid: 1, uid, gid: uid, groups: vec![] }
}

fn store(folder: &Path) -> Store {
    Store::open(Options::new(folder.into(), clock::wall), SealingKey::from_slice(&[1; 32]))
}

impl Nas {
    /// Where `sales` is enforced.
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let people = "root:x:0:0::/:/bin/sh\nalice:x:1001:1001::/:/bin/sh\nbob:x:1002:1002::/:/bin/sh\n";
        std::fs::write(folder.path().join("passwd"), people).unwrap();
        std::fs::write(folder.path().join("group"), "root:x:0:\nalice:x:1001:\nbob:x:1002:\n").unwrap();
        let store = store(folder.path());
        store.write(|tx| tx.set_group_enforced(&sales(), true)).await.unwrap();
        store.close().await;
        Self(folder)
    }

    async fn start(&self, link: Link, has: &'static [&'static str], lists: &'static [&'static str]) -> Running {
        let directory = Directory::patient(self.0.path().into(), Domain { link, has, lists });
        self.start_with(directory, |_| Ok(peer(0))).await
    }

    async fn start_with(&self, directory: Directory, whoever_calls: fn(BorrowedFd<'_>) -> std::io::Result<Peer>) -> Running {
        let folder = self.0.path();
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        for end in [&ours, &theirs] {
            end.set_nonblocking(true).unwrap();
        }
        tokio::spawn(accepts_all(Channel::new(ours).unwrap()));
        let (root, channel) = RootChannel::new(Channel::new(theirs).unwrap(), mpsc::channel(1).0);
        tokio::spawn(channel.run());
        let (config, store) = (Config::default(), store(folder));
        let mailer = Mailer::new(&config.mail, None);
        let desk = Desk::open(Parts { store, directory, root, config, mailer, host: "NAS".into(), moment: clock::moment, owner: 0 }).await;
        let socket = folder.join("socket");
        // Of the engine before.
        let _ = std::fs::remove_file(&socket);
        let server = Server::new(whoever_calls)
            .interface(LoginInterface(Arc::clone(&desk)))
            .interface(AccountInterface(Arc::clone(&desk)))
            .interface(AdminInterface(Arc::clone(&desk)));
        tokio::spawn(server.serve(UnixListener::bind(&socket).unwrap()));
        Running { line: self.line().await, desk }
    }

    async fn line(&self) -> Line {
        Line(BufReader::new(UnixStream::connect(self.0.path().join("socket")).await.unwrap()))
    }

    /// What becomes of each one's login by password, and of one by key.
    async fn logins(&self, link: Link, has: &'static [&'static str], lists: &'static [&'static str]) -> [[String; 2]; 3] {
        let mut engine = self.start(link, has, lists).await;
        let told = [engine.logins("root").await, engine.logins("alice").await, engine.logins("bob").await];
        engine.end().await;
        told
    }
}

/// A supervisor to whom each password is right.
async fn accepts_all(mut engine: Channel) {
    while let Ok(Some(notice)) = engine.receive::<Notice>().await {
        if let Notice::CheckPassword { id, .. } = notice {
            engine.send(&Order::PasswordChecked { id, outcome: PasswordOutcome::Accepted {} }).await.unwrap();
        }
    }
}

/// A connection.
struct Line(BufReader<UnixStream>);

impl Line {
    /// The reply's parameters, or the error's name.
    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        let call = json!({ "method": format!("io.twostep.{method}"), "parameters": parameters });
        self.0.get_mut().write_all(format!("{call}\0").as_bytes()).await.unwrap();
        let mut frame = vec![];
        self.0.read_until(0, &mut frame).await.unwrap();
        let mut reply: Value = serde_json::from_slice(frame.strip_suffix(b"\0").unwrap()).unwrap();
        if reply["error"].is_string() { reply["error"].take() } else { reply["parameters"].take() }
    }
}

impl Running {
    async fn logins(&mut self, user: &str) -> [String; 2] {
        let started = self.line.call("Login.Start", json!({ "user": user, "service": "sshd" })).await;
        let status = self.line.call("Account.Status", json!({ "user": user })).await;
        [&started["decision"], &status["status"]].map(|word| word.as_str().unwrap().to_owned())
    }

    async fn enforce(&mut self, groups: &[&str], enforced: bool) -> Value {
        self.line.call("Admin.Enforce", json!({ "users": [], "groups": groups, "enforced": enforced })).await
    }

    async fn end(self) {
        self.desk.store.clone().close().await;
    }
}

fn free() -> [String; 2] {
    ["not_required", "disabled"].map(String::from)
}

fn held() -> [String; 2] {
    ["setup_required", "incomplete"].map(String::from)
}

#[tokio::test]
async fn while_the_domain_is_away_those_who_were_seen_in_the_group_are_held_and_nobody_else() {
    let nas = Nas::new().await;
    assert_eq!(nas.logins(Link::Up, &["root", "alice"], &[]).await, [held(), held(), free()]);
    for link in [Link::Down, Link::Quiet] {
        assert_eq!(nas.logins(link, &["root", "alice"], &[]).await, [free(), held(), free()], "root is never held on a doubt");
    }
    assert_eq!(nas.logins(Link::Up, &["alice"], &[]).await, [free(), held(), free()]);
}

#[tokio::test]
async fn whoever_was_never_seen_in_the_group_gets_in_as_before() {
    let nas = Nas::new().await;
    assert_eq!(nas.logins(Link::Down, &["alice"], &["alice"]).await, [free(), free(), free()]);
}

#[tokio::test]
async fn whoever_has_left_the_group_is_free_once_the_domain_says_so() {
    let nas = Nas::new().await;
    assert_eq!(nas.logins(Link::Up, &["alice", "bob"], &[]).await, [free(), held(), held()]);
    assert_eq!(
        nas.logins(Link::Up, &["bob"], &["alice"]).await,
        [free(), held(), held()],
        "alice's list is short, and the domain lists her"
    );
    assert_eq!(nas.logins(Link::Up, &["bob"], &[]).await, [free(), free(), held()]);
    assert_eq!(nas.logins(Link::Down, &[], &[]).await, [free(), free(), held()]);
}

#[tokio::test]
async fn nobody_loses_a_passwordless_login_on_a_doubt() {
    let nas = Nas::new().await;
    assert_eq!(nas.logins(Link::Up, &["alice", "bob"], &[]).await, [free(), held(), held()]);
    let store = store(nas.0.path());
    let passwordless = store.write(|tx| {
        let mut stored = Stored::new(1001, "alice");
        stored.account.passwordless = true;
        tx.save(&stored)
    });
    passwordless.await.unwrap();
    store.close().await;
    assert_eq!(nas.logins(Link::Down, &[], &[]).await, [free(), free(), held()]);
}

#[tokio::test]
async fn members_that_the_domain_lists_are_known_from_the_enforcement_on() {
    let nas = Nas::new().await;
    let mut engine = nas.start(Link::Up, &[], &["alice"]).await;
    engine.enforce(&["sales"], true).await;
    engine.end().await;
    assert_eq!(nas.logins(Link::Down, &[], &[]).await, [free(), held(), free()]);
}

#[tokio::test]
async fn an_administrator_ends_what_is_enforced_on_a_group_that_nobody_can_look_up() {
    for link in [Link::Down, Link::Quiet] {
        let nas = Nas::new().await;
        assert_eq!(nas.logins(Link::Up, &["alice"], &[]).await[1], held());
        let mut engine = nas.start(link, &[], &[]).await;
        assert_eq!(engine.logins("alice").await, held());
        assert!(engine.enforce(&["sales"], false).await["changed"].is_array());
        assert_eq!(engine.logins("alice").await, free());
        let unknown = if link == Link::Down { "io.twostep.Admin.StorageFailed" } else { "io.twostep.Admin.NoSuchSubject" };
        assert_eq!(engine.enforce(&["sales"], false).await, unknown, "it is not enforced any more");
        assert_eq!(engine.enforce(&["guests"], true).await, unknown, "only an end goes by the name alone");
        engine.end().await;
        // What was seen counts no more, also where the domain is still away.
        assert_eq!(nas.logins(link, &[], &[]).await, [free(), free(), free()]);
    }
}

#[tokio::test]
async fn a_local_group_of_the_same_name_says_nothing_of_the_domain_s_and_keeps_nobody_from_ending_what_is_enforced_there() {
    let nas = Nas::new().await;
    assert_eq!(nas.logins(Link::Up, &["alice"], &[]).await, [free(), held(), free()]);
    let groups = "root:x:0:\nalice:x:1001:\nbob:x:1002:\nsales:x:1100:bob\n";
    std::fs::write(nas.0.path().join("group"), groups).unwrap();
    for link in [Link::Up, Link::Quiet] {
        // Asked by the name, NSS would answer with the local one, of which alice is no member.
        assert_eq!(nas.logins(link, &[], &[]).await, [free(), held(), free()]);
    }
    let mut engine = nas.start(Link::Up, &["alice"], &[]).await;
    assert_eq!(engine.logins("alice").await, held());
    // The name means the local group, as long as that one has anything to end.
    engine.enforce(&["sales"], true).await;
    assert_eq!(engine.logins("bob").await, held());
    engine.enforce(&["sales"], false).await;
    assert_eq!((engine.logins("alice").await, engine.logins("bob").await), (held(), free()));
    engine.enforce(&["sales"], false).await;
    assert_eq!((engine.logins("alice").await, engine.logins("bob").await), (free(), free()));
    engine.end().await;
}

#[tokio::test]
async fn who_has_a_passwordless_login_and_comes_into_an_enforced_group_sets_it_up_and_loses_that() {
    let nas = Nas::new().await;
    let store = store(nas.0.path());
    let passwordless = store.write(|tx| {
        let mut stored = Stored::new(1001, "alice");
        stored.account.passwordless = true;
        tx.save(&stored)
    });
    passwordless.await.unwrap();
    store.close().await;
    let mut engine = nas.start(Link::Up, &["alice"], &[]).await;
    assert_eq!(engine.logins("alice").await, held(), "status and login say the same");
    let started = engine.line.call("Login.Start", json!({ "user": "alice", "service": "sshd" })).await;
    assert!(started["notice"].as_str().unwrap().contains("passwordless login, which ends"), "{started}");
    let resumed = engine.line.call("Account.BeginSetup", json!({ "user": "alice", "setup": started["setup"] })).await;
    assert!(resumed["setup"].is_string(), "the setup that the login demands goes on: {resumed}");
    // Nobody is enforced into it unasked.
    for dry_run in [true, false] {
        let wish = json!({ "users": ["alice"], "groups": [], "enforced": true, "dry_run": dry_run });
        let told = engine.line.call("Admin.Enforce", wish).await;
        assert!(told["changed"].as_array().is_some_and(Vec::is_empty), "she has to set it up already: {told}");
    }
    engine.end().await;
}

/// A domain that can't say now who is in `sales`, and of all other groups that nobody is.
struct OneSilent;

impl Nss for OneSilent {
    fn user(&self, _: &Key) -> Result<Option<Entry>, Silent> {
        Ok(None)
    }

    fn groups_of(&self, _: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
        Ok(Vec::new())
    }

    fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        match name {
            "sales" => Err(Silent("no connection".into())),
            name => Ok(Some(Team { name: name.into(), kind: SubjectKind::DomainGroup, members: Vec::new() })),
        }
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn of_nine_enforced_groups_the_ninth_alone_is_enough_that_passwordless_login_stays_off() {
    let nas = Nas::new().await;
    let store = store(nas.0.path());
    // In the order of the names `sales` comes last.
    let groups = || (0..GROUPS_KEPT).map(|number| Subject { kind: SubjectKind::DomainGroup, name: format!("office-{number}") });
    store.write(move |tx| groups().try_for_each(|group| tx.set_group_enforced(&group, true).map(drop))).await.unwrap();
    store.close().await;
    let mut engine = nas.start_with(Directory::patient(nas.0.path().into(), OneSilent), |_| Ok(peer(1001))).await;
    let on = json!({ "password": "wonderland", "passwordless": true });
    assert_eq!(engine.line.call("Account.SetPasswordless", on.clone()).await, "io.twostep.Account.StorageFailed");
    let ended = engine.desk.store.write(|tx| tx.set_group_enforced(&sales(), false));
    assert!(ended.await.unwrap());
    let done = engine.line.call("Account.SetPasswordless", on).await;
    assert!(!done.is_string(), "she is in none of the eight: {done}");
    engine.end().await;
}

/// A domain that says at once in which groups somebody is, and nothing of a group before it is dropped.
struct Hung(Arc<Gate>);

#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    asked: AtomicUsize,
}

/// Dropped, it opens the gate, so that no thread is left hanging.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

impl Nss for Hung {
    fn user(&self, _: &Key) -> Result<Option<Entry>, Silent> {
        Ok(None)
    }

    fn groups_of(&self, _: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
        Ok(Vec::new())
    }

    fn group(&self, _: &str) -> Result<Option<Team>, Silent> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        drop(self.0.opened.wait_while(self.0.open.lock().unwrap(), |open| !*open).unwrap());
        Ok(None)
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }
}

#[tokio::test]
async fn whoever_asks_for_the_own_status_takes_no_more_than_a_strangers_share_of_the_domain() {
    let nas = Nas::new().await;
    let groups: Vec<String> = (0..8).map(|n| format!("group{n}")).collect();
    let store = store(nas.0.path());
    let seen = store.write(move |tx| {
        for name in &groups {
            tx.set_group_enforced(&Subject { kind: SubjectKind::DomainGroup, name: name.clone() }, true)?;
        }
        tx.keep_groups(1001, "alice", &groups, &[])
    });
    seen.await.unwrap();
    store.close().await;
    let gate = Arc::<Gate>::default();
    let _opens = Opens(Arc::clone(&gate));
    let engine = nas.start_with(Directory::of(nas.0.path().into(), Hung(Arc::clone(&gate))), |_| Ok(peer(1001))).await;
    let mut lines = [nas.line().await, nas.line().await, nas.line().await, nas.line().await];
    let [one, two, three, four] = &mut lines;
    let ask = async |line: &mut Line| line.call("Account.Status", json!({})).await["status"].clone();
    let told = tokio::join!(ask(one), ask(two), ask(three), ask(four));
    assert_eq!([told.0, told.1, told.2, told.3], ["incomplete"; 4]);
    assert_eq!(gate.asked.load(Ordering::SeqCst), 2);
    engine.end().await;
}

#[tokio::test]
async fn of_many_enforced_groups_none_is_passed_over_where_enforcement_would_be_given_up() {
    let nas = Nas::new().await;
    let store = store(nas.0.path());
    let names = || (0..=GROUPS_KEPT).map(|number| format!("team-{number}"));
    let enforce = move |tx: &Tx<'_>| {
        names().try_for_each(|name| tx.set_group_enforced(&Subject { kind: SubjectKind::DomainGroup, name }, true).map(drop))
    };
    store.write(enforce).await.unwrap();
    let alice = Person { uid: 1001, name: "alice".into(), kind: SubjectKind::LocalUser, groups: vec![], partial: false };
    let unlisted = store.read(move |view| unlisted(view, &alice, u32::MAX)).await.unwrap();
    assert!(names().all(|name| unlisted.contains(&name)), "{unlisted:?}");
    store.close().await;
}
