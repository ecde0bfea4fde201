//! Users and groups, from NSS or from a demo's own files; local are those in the files, the others are domain.
//!
//! ```text
//! by_name, by_uid ──► found less than 10 s ago ──────────────────────────► answer
//!                └──► files (quick) ──► local ──► groups by NSS, 2 s ─────► answer; its domain groups may be missing then: `partial`
//!                                  └──► not local ──► NSS, 5 s ───────────► answer, or silence: nothing may be decided
//! ```
//! NSS blocks, sometimes for as long as a domain controller is away, so it is asked on threads ([`threads`]). Of one name or number one thread at most
//! asks at a time, whoever wants to know (but root and granted peers don't rely on a stranger's); a thread that hangs keeps one of [`AT_ONCE`] places
//! until it is back. A stranger has a small share of the places ([`places`]). Files have threads of their own, so that local users log in also
//! while all places hang; files that have not changed since are not read again ([`files`]). Names are canonicalised here: whatever is counted or
//! bound later is bound to uid **and** name.
//!
//! Groups are looked up in the same way where logins want to know them ([`Directory::teams`]); an administrator's call asks each time.

mod files;
mod known;
mod nss;
mod people;
mod person;
mod places;
mod system;
mod threads;

use std::hash::Hash;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use self::files::{Files, Kept};
pub use self::known::Answer;
use self::known::{Asked, Known, Room, Tell, Whole};
pub use self::nss::{Entry, Key, Nss};
use self::people::Arrival;
pub use self::person::{Membership, Person, Silent, Team};
use self::places::Places;
use self::system::System;
use self::threads::Threads;
use crate::core::enforcement::SubjectKind;
use crate::core::policy::Standing;
use crate::sys::clock;

/// How long what may take.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// The longest a look-up may take.
    longest: Duration,
    /// How long the domain groups of a local user are waited for.
    brief: Duration,
    /// How long an answer counts.
    fresh: Duration,
}

const LIMITS: Limits = Limits { longest: Duration::from_secs(5), brief: Duration::from_secs(2), fresh: Duration::from_secs(10) };

/// Of users.
const PEOPLE: Room = Room { kept: 2048, left_to_others: 256 };
/// Of groups, which may be large, and of which only those are kept that logins ask for.
const TEAMS: Room = Room { kept: 256, left_to_others: 32 };
/// Of many look-ups for one caller so many are under way.
const TOGETHER: usize = 64;
/// So many threads ask NSS at once; those that hang are lost for a while.
pub const AT_ONCE: usize = 16;
/// So many threads read files beside them.
pub const FILE_THREADS: usize = 4;

/// A user or nobody, or no answer.
pub type Found = Answer<Person>;

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    common: Arc<Common>,
    /// Whose look-ups these are, where it is nobody whom the engine trusts to ask.
    stranger: Option<u32>,
}

/// What all who ask have in common.
struct Common {
    /// Holds passwd and group, which make a subject local.
    files: Arc<Path>,
    /// What they said, as long as they are the same.
    kept: Mutex<Option<Kept>>,
    nss: Option<Arc<dyn Nss>>,
    limits: Limits,
    file_places: Semaphore,
    /// Those of them that strangers may take, all together.
    strangers_file_places: Semaphore,
    threads: Arc<Threads>,
    strangers_places: Places,
    arrivals: Mutex<Vec<Arrival>>,
    people: Mutex<Known<Key, Person>>,
    teams: Mutex<Known<String, Team>>,
}

impl Directory {
    /// NSS, with `files` telling what is local; or `files` alone.
    #[must_use]
    pub fn new(files: PathBuf, nss: bool) -> Self {
        Self::with(files, nss.then(|| Arc::new(System) as Arc<dyn Nss>), LIMITS)
    }

    /// As [`new`](Self::new), with users and groups from elsewhere in the place of NSS.
    #[must_use]
    pub fn of(files: PathBuf, nss: impl Nss) -> Self {
        Self::with(files, Some(Arc::new(nss)), LIMITS)
    }

    /// The same, for a busy machine: it waits for as long as anything may take there.
    #[cfg(test)]
    pub fn patient(files: PathBuf, nss: impl Nss) -> Self {
        let long = Duration::from_secs(60);
        Self::with(files, Some(Arc::new(nss)), Limits { longest: long, brief: long, ..LIMITS })
    }

    fn with(files: PathBuf, nss: Option<Arc<dyn Nss>>, limits: Limits) -> Self {
        let common = Common {
            files: files.into(),
            kept: Mutex::default(),
            nss,
            limits,
            file_places: Semaphore::new(FILE_THREADS),
            strangers_file_places: Semaphore::new(FILE_THREADS - 1),
            threads: Arc::new(Threads::new(AT_ONCE)),
            strangers_places: Places::new(AT_ONCE),
            arrivals: Mutex::default(),
            people: Mutex::new(Known::new(PEOPLE)),
            teams: Mutex::new(Known::new(TEAMS)),
        };
        Self { common: Arc::new(common), stranger: None }
    }

    /// The same directory, for what the peer of this uid names before it is known whether it may: unless it is root or granted, it has a
    /// stranger's share of the places.
    #[must_use]
    pub fn asked_by(&self, rank: &Standing, uid: u32) -> Self {
        let trusted = rank.root || rank.login || rank.authenticator;
        Self { stranger: (!trusted).then_some(uid), ..self.clone() }
    }

    /// The user of this name; none where there is none.
    ///
    /// # Errors
    /// Where the directory gave no answer: nothing may be decided then.
    pub async fn by_name(&self, name: &str) -> Found {
        self.person(Key::Name(name.into()), None).await
    }

    /// The user of this number.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn by_uid(&self, uid: u32) -> Found {
        self.person(Key::Uid(uid), None).await
    }

    /// The users of these names, in that order: looked up together, each for itself.
    pub async fn people(&self, names: &[String]) -> Vec<Found> {
        let files = match self.read_files().await {
            Ok(files) => files,
            Err(silent) => return vec![Err(silent); names.len()],
        };
        let (mut asked, mut found) = (JoinSet::new(), vec![Err(broken_off()); names.len()]);
        let mut names = names.iter().enumerate();
        loop {
            for (place, name) in names.by_ref().take(TOGETHER.saturating_sub(asked.len())) {
                let (directory, key, files) = (self.clone(), Key::Name(name.clone()), Arc::clone(&files));
                asked.spawn(async move { (place, directory.person(key, Some(files)).await) });
            }
            let Some(answered) = asked.join_next().await else { break };
            if let Ok((place, person)) = answered
                && let Some(slot) = found.get_mut(place)
            {
                *slot = person;
            }
        }
        found
    }

    /// The group of this name.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        if let Some(team) = self.read_files().await?.team(name) {
            return Ok(Some(team));
        }
        let Some(nss) = self.common.nss.clone() else { return Ok(None) };
        let name = name.to_owned();
        self.ask(self.common.limits.longest, move || nss.group(&name)).await
    }

    /// The groups of these names that NSS knows, in that order, for a login: asked for together, and within the time for a local user's domain groups.
    /// As of a user, an answer counts for a while.
    pub async fn teams(&self, names: &[String]) -> Vec<Answer<Team>> {
        // A stranger who asked for more at a time would be refused the rest.
        let together = if self.stranger.is_some() { places::SHARE } else { TOGETHER };
        let mut found = vec![Err(late()); names.len()];
        let all = async {
            let (mut asked, mut names) = (JoinSet::new(), names.iter().cloned().enumerate());
            loop {
                for (place, name) in names.by_ref().take(together.saturating_sub(asked.len())) {
                    let directory = self.clone();
                    asked.spawn(async move { (place, directory.team(name).await) });
                }
                let Some(answered) = asked.join_next().await else { break };
                if let Ok((place, team)) = answered
                    && let Some(slot) = found.get_mut(place)
                {
                    *slot = team;
                }
            }
        };
        // What is known by then counts; the others are as they were.
        let _late = timeout(self.common.limits.brief, all).await;
        found
    }

    /// Whether these are the look-ups of somebody whom the engine does not trust to ask.
    #[must_use]
    pub fn is_strangers(&self) -> bool {
        self.stranger.is_some()
    }

    /// All users or groups of one kind. Domain subjects are those that NSS enumerates; most domains don't let it.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn list(&self, kind: SubjectKind) -> Result<Vec<String>, Silent> {
        let files = self.read_files().await?;
        let local = if kind.is_group() { &files.group } else { &files.passwd };
        let local = local.names().map(String::from);
        let nss = match kind {
            SubjectKind::LocalUser | SubjectKind::LocalGroup => return Ok(local.collect()),
            SubjectKind::DomainUser | SubjectKind::DomainGroup => self.common.nss.clone(),
        };
        let Some(nss) = nss else { return Ok(Vec::new()) };
        let local: std::collections::HashSet<String> = local.collect();
        let all = self.ask(self.common.limits.longest, move || if kind.is_group() { nss.groups() } else { nss.users() }).await?;
        Ok(all.into_iter().filter(|name| !local.contains(name)).collect())
    }

    async fn person(&self, key: Key, files: Option<Arc<Files>>) -> Found {
        self.shared(&self.common.people, key, move |directory, key, tell| directory.look_up(key, files, tell)).await
    }

    async fn team(&self, name: String) -> Answer<Team> {
        let Some(nss) = self.common.nss.clone() else { return Ok(None) };
        self.shared(&self.common.teams, name, move |directory, name, tell| drop(tokio::spawn(directory.look_up_team(nss, name, tell))))
            .await
    }

    /// What the look-up of this key comes to that is under way or still counts, or a new one.
    async fn shared<K: Clone + Eq + Hash, T: Whole>(
        &self,
        known: &Mutex<Known<K, T>>,
        key: K,
        look_up: impl FnOnce(Self, K, Tell<T>),
    ) -> Answer<T> {
        let mut asked = self.asked(known, key, look_up)?;
        let known = asked.answer.borrow().clone();
        if let Some(answer) = known {
            return answer;
        }
        let longest = self.common.limits.longest + self.common.limits.brief;
        // Boxed: most logins need not wait.
        match Box::pin(timeout(longest, asked.answer.wait_for(Option::is_some))).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or_else(|| Err(late())),
            Ok(Err(_)) => Err(broken_off()),
            Err(_) => Err(late()),
        }
    }

    fn asked<K: Clone + Eq + Hash, T: Whole>(
        &self,
        known: &Mutex<Known<K, T>>,
        key: K,
        look_up: impl FnOnce(Self, K, Tell<T>),
    ) -> Result<Asked<T>, Silent> {
        let now = clock::monotonic();
        // A map of answers is consistent after any panic.
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = known.get(&key, now, self.common.limits.fresh, self.stranger.is_some()) {
            let hangs = asked.answer.borrow().is_none() && now - asked.at > self.common.limits.longest;
            return if hangs { Err(late()) } else { Ok(asked.clone()) };
        }
        if !known.has_room(self.stranger.is_some()) {
            return Err(Silent("too many look-ups are under way; try again".into()));
        }
        let (tell, answer) = watch::channel(None);
        let asked = Asked { at: now, by_stranger: self.stranger.is_some(), answer };
        known.new.insert(key.clone(), asked.clone());
        // Not by the task that asks: whoever asked first may hang up.
        look_up(self.clone(), key, tell);
        Ok(asked)
    }

    async fn look_up_team(self, nss: Arc<dyn Nss>, name: String, tell: Tell<Team>) {
        // Of a name that a local group has, too, NSS would answer with that one.
        let refused = match self.read_files().await.map(|files| files.team(&name).is_some()) {
            Ok(false) => return self.ask_for(tell, move || nss.group(&name).map(|team| team.map(Arc::new))),
            Ok(true) => Silent(format!("the domain's group {name} can't be told from the local one")),
            Err(silent) => silent,
        };
        tell.send_replace(Some(Err(refused)));
    }

    /// Has NSS asked what many may want to know. Until it has answered, nobody else asks the same.
    fn ask_for<T: Send + Sync + 'static>(self, tell: Tell<T>, ask: impl FnOnce() -> Answer<T> + Send + 'static) {
        let (longest, common) = (self.common.limits.longest, self.common);
        let Some(uid) = self.stranger else { return common.threads.push(longest, None, tell, ask) };
        let until = clock::monotonic() + longest;
        tokio::spawn(async move {
            match timeout(longest, common.strangers_places.take(uid)).await.unwrap_or_else(|_| Err(late())) {
                Ok(place) => common.threads.push(until - clock::monotonic(), Some(place), tell, ask),
                Err(silent) => drop(tell.send_replace(Some(Err(silent)))),
            }
        });
    }

    /// Asks NSS, where there is a place.
    async fn ask<T: Send + 'static>(
        &self,
        longest: Duration,
        ask: impl FnOnce() -> Result<T, Silent> + Send + 'static,
    ) -> Result<T, Silent> {
        let until = clock::monotonic() + longest;
        let answer = async move {
            let place = match self.stranger {
                Some(uid) => Some(self.common.strangers_places.take(uid).await?),
                None => None,
            };
            let (tell, answer) = oneshot::channel();
            self.common.threads.push(until - clock::monotonic(), place, tell, ask);
            answer.await.map_err(|_| broken_off())?
        };
        timeout(longest, answer).await.unwrap_or_else(|_| Err(late()))
    }

    fn kept_files(&self) -> Option<Arc<Files>> {
        self.kept().as_ref().filter(|kept| kept.stands(&self.common.files)).map(|kept| Arc::clone(&kept.files))
    }

    async fn read_files(&self) -> Result<Arc<Files>, Silent> {
        if let Some(files) = self.kept_files() {
            return Ok(files);
        }
        let _share = match self.stranger {
            Some(_) => Some(self.common.strangers_file_places.acquire().await.map_err(|e| Silent(e.to_string()))?),
            None => None,
        };
        let _place = self.common.file_places.acquire().await.map_err(|e| Silent(e.to_string()))?;
        let (folder, now) = (Arc::clone(&self.common.files), clock::wall());
        let (files, kept) = spawn_blocking(move || Files::read(&folder, now)).await.map_err(|e| Silent(e.to_string()))??;
        *self.kept() = kept;
        Ok(files)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        // What is kept is whole after any panic.
        self.common.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn late() -> Silent {
    Silent("users and groups can't be looked up now: the directory does not answer".into())
}

fn broken_off() -> Silent {
    Silent("a look-up broke off".into())
}

#[cfg(test)]
mod tests;
