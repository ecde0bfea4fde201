//! Users and groups, from NSS or from a demo's own files; local are those in the files, the others are domain.
//!
//! NSS blocks, sometimes for as long as a domain controller is away, so each look-up runs on a thread, for at most [`LONGEST`], and what it
//! found counts for [`FRESH`]. Names are canonicalised here: whatever is counted or bound later is bound to uid **and** name.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::core::enforcement::SubjectKind;
use crate::core::time::Monotonic;
use crate::sys::clock;

/// The longest a look-up may take.
const LONGEST: Duration = Duration::from_secs(5);
/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(10);
/// So many answers are kept, half of them in each of two maps: when one is full it takes the other's place, so that no answer has to be looked
/// for that may go.
const KEPT: usize = 2048;
/// So many look-ups run at once; the threads of those that hang are lost for a while.
const AT_ONCE: usize = 16;
/// The longest account file that is read.
const FILE_CAP: u64 = 16 << 20;

/// A user, canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The number.
    pub uid: u32,
    /// The name, as the directory writes it.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
    /// All groups by name, the primary one first.
    pub groups: Vec<Membership>,
}

/// A group of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The name.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
}

/// A group and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Team {
    /// The name.
    pub name: String,
    /// Local or domain.
    pub kind: SubjectKind,
    /// Members by name, those included whose primary group it is where the files know it.
    pub members: Vec<String>,
}

/// The directory gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silent(pub String);

/// Where users and groups come from; it may block.
pub trait Source: Send + Sync + 'static {
    /// The user; none where there is none.
    ///
    /// # Errors
    /// Where it can't be known now.
    fn person(&self, key: &Key) -> Result<Option<Person>, Silent>;

    /// The group of this name.
    ///
    /// # Errors
    /// As [`person`](Self::person).
    fn group(&self, name: &str) -> Result<Option<Team>, Silent>;

    /// All names of one kind.
    ///
    /// # Errors
    /// As [`person`](Self::person).
    fn list(&self, kind: SubjectKind) -> Result<Vec<String>, Silent>;
}

/// This machine's users and groups.
#[derive(Clone, Debug)]
struct Local {
    /// Holds passwd and group, which make a subject local.
    files: PathBuf,
    /// Whether NSS knows more.
    nss: bool,
}

/// Whom a look-up is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Whoever has this name.
    Name(String),
    /// Whoever has this number.
    Uid(u32),
}

/// See the module; cheap to clone.
#[derive(Clone)]
pub struct Directory {
    source: Arc<dyn Source>,
    places: Arc<Semaphore>,
    known: Arc<Mutex<Known>>,
}

/// When a look-up was begun, and what it found.
type Answer = (Monotonic, Option<Arc<Person>>);

/// The latest answers.
#[derive(Debug, Default)]
struct Known {
    new: HashMap<Key, Answer>,
    old: HashMap<Key, Answer>,
}

impl Known {
    fn get(&self, key: &Key, now: Monotonic) -> Option<&Answer> {
        let fresh = |(at, _): &&Answer| now - *at < FRESH;
        self.new.get(key).filter(fresh).or_else(|| self.old.get(key).filter(fresh))
    }

    fn insert(&mut self, key: Key, answer: Answer) {
        if self.new.len() >= KEPT / 2 {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(key, answer);
    }
}

impl Directory {
    /// NSS, with `files` telling what is local; or `files` alone.
    #[must_use]
    pub fn new(files: PathBuf, nss: bool) -> Self {
        Self::of(Local { files, nss })
    }

    /// Users and groups from anywhere else.
    #[must_use]
    pub fn of(source: impl Source) -> Self {
        Self { source: Arc::new(source), places: Arc::new(Semaphore::new(AT_ONCE)), known: Arc::default() }
    }

    /// The user of this name; none where there is none.
    ///
    /// # Errors
    /// Where the directory gave no answer: nothing may be decided then.
    pub async fn by_name(&self, name: &str) -> Result<Option<Arc<Person>>, Silent> {
        self.person(Key::Name(name.into())).await
    }

    /// The user of this number.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn by_uid(&self, uid: u32) -> Result<Option<Arc<Person>>, Silent> {
        self.person(Key::Uid(uid)).await
    }

    /// The group of this name.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        let name = name.to_owned();
        self.look_up(move |source| source.group(&name)).await
    }

    /// All users or groups of one kind. Domain subjects are those that NSS enumerates.
    ///
    /// # Errors
    /// As [`by_name`](Self::by_name).
    pub async fn list(&self, kind: SubjectKind) -> Result<Vec<String>, Silent> {
        self.look_up(move |source| source.list(kind)).await
    }

    async fn person(&self, key: Key) -> Result<Option<Arc<Person>>, Silent> {
        let now = clock::monotonic();
        if let Some((_, found)) = self.known().get(&key, now) {
            return Ok(found.clone());
        }
        let asked = key.clone();
        let found = self.look_up(move |source| source.person(&asked)).await?.map(Arc::new);
        self.known().insert(key, (now, found.clone()));
        Ok(found)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // A map of answers is consistent after any panic.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up<T: Send + 'static>(&self, ask: impl FnOnce(&dyn Source) -> Result<T, Silent> + Send + 'static) -> Result<T, Silent> {
        let places = Arc::clone(&self.places);
        let source = Arc::clone(&self.source);
        let answer = async move {
            let place = places.acquire_owned().await.map_err(|e| Silent(e.to_string()))?;
            let asked = spawn_blocking(move || {
                let _place = place;
                ask(&*source)
            });
            asked.await.map_err(|e| Silent(e.to_string()))?
        };
        timeout(LONGEST, answer)
            .await
            .unwrap_or_else(|_| Err(Silent(format!("users and groups can't be looked up within {} s", LONGEST.as_secs()))))
    }
}

impl Source for Local {
    fn person(&self, key: &Key) -> Result<Option<Person>, Silent> {
        let local = self.lines("passwd")?;
        let own = local.iter().find(|user| match key {
            Key::Name(name) => user.first() == Some(name),
            Key::Uid(uid) => user.get(2).and_then(|n| n.parse().ok()) == Some(*uid),
        });
        if let Some(user) = own {
            let (Some(name), Some(uid), Some(gid)) = (user.first(), number(user.get(2)), number(user.get(3))) else { return Ok(None) };
            return Ok(Some(Person { uid, name: name.clone(), kind: SubjectKind::LocalUser, groups: self.groups_of(name, gid)? }));
        }
        if !self.nss {
            return Ok(None);
        }
        let found = match key {
            Key::Name(name) => User::from_name(name),
            Key::Uid(uid) => User::from_uid(Uid::from_raw(*uid)),
        };
        let Some(user) = found.map_err(silent)? else { return Ok(None) };
        let kind = if local.iter().any(|line| line.first() == Some(&user.name)) { SubjectKind::LocalUser } else { SubjectKind::DomainUser };
        let groups = self.groups_of(&user.name, user.gid.as_raw())?;
        Ok(Some(Person { uid: user.uid.as_raw(), name: user.name, kind, groups }))
    }

    fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        let local = self.lines("group")?;
        if let Some(group) = local.iter().find(|group| group.first().is_some_and(|n| n == name)) {
            let gid = number(group.get(2));
            let mut all: Vec<String> = members(group).map(String::from).collect();
            let primary = self.lines("passwd")?;
            all.extend(primary.iter().filter(|user| number(user.get(3)) == gid).filter_map(|user| user.first().cloned()));
            all.sort();
            all.dedup();
            return Ok(Some(Team { name: name.into(), kind: SubjectKind::LocalGroup, members: all }));
        }
        if !self.nss {
            return Ok(None);
        }
        let found = Group::from_name(name).map_err(silent)?;
        Ok(found.map(|group| Team { name: group.name, kind: SubjectKind::DomainGroup, members: group.mem }))
    }

    fn list(&self, kind: SubjectKind) -> Result<Vec<String>, Silent> {
        let (file, local) = match kind {
            SubjectKind::LocalUser => ("passwd", true),
            SubjectKind::LocalGroup => ("group", true),
            SubjectKind::DomainUser => ("passwd", false),
            SubjectKind::DomainGroup => ("group", false),
        };
        let names: Vec<String> = self.lines(file)?.into_iter().filter_map(|line| line.into_iter().next()).collect();
        // Directories of thousands of users are not enumerated by default (sssd, winbind): a domain subject is named, not listed.
        Ok(if local { names } else { Vec::new() })
    }
}

impl Local {
    fn groups_of(&self, name: &str, gid: u32) -> Result<Vec<Membership>, Silent> {
        let local = self.lines("group")?;
        let is_member = |group: &&Vec<String>| number(group.get(2)) == Some(gid) || members(group).any(|member| member == name);
        let mut groups: Vec<Membership> = local
            .iter()
            .filter(is_member)
            .filter_map(|group| Some(Membership { name: group.first()?.clone(), kind: SubjectKind::LocalGroup }))
            .collect();
        if self.nss {
            let name = CString::new(name).map_err(|e| Silent(e.to_string()))?;
            for gid in getgrouplist(&name, Gid::from_raw(gid)).map_err(silent)? {
                let known = local.iter().any(|group| number(group.get(2)) == Some(gid.as_raw()));
                if let (false, Some(group)) = (known, Group::from_gid(gid).map_err(silent)?) {
                    groups.push(Membership { name: group.name, kind: SubjectKind::DomainGroup });
                }
            }
        }
        Ok(groups)
    }

    /// The lines of a file, split into fields. Comments and the +/- lines of NIS are no accounts.
    fn lines(&self, file: &str) -> Result<Vec<Vec<String>>, Silent> {
        let path = self.files.join(file);
        let failed = |e: std::io::Error| Silent(format!("{}: {e}", path.display()));
        if std::fs::metadata(&path).map_err(failed)?.len() > FILE_CAP {
            return Err(Silent(format!("{}: larger than {FILE_CAP} bytes", path.display())));
        }
        let bytes = std::fs::read(&path).map_err(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        let accounts = text.lines().filter(|line| !line.starts_with(['#', '+', '-']) && line.contains(':'));
        Ok(accounts.map(|line| line.split(':').map(String::from).collect()).collect())
    }
}

fn members(group: &[String]) -> impl Iterator<Item = &str> {
    group.get(3).map_or("", String::as_str).trim().split(',').filter(|name| !name.is_empty())
}

fn number(field: Option<&String>) -> Option<u32> {
    field?.parse().ok()
}

fn silent(e: nix::Error) -> Silent {
    Silent(format!("users and groups can't be looked up: {e}"))
}

#[cfg(test)]
mod tests {
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
        assert_eq!(alice.groups.iter().map(|g| g.name.as_str()).collect::<Vec<_>>(), ["administrators", "alice"]);
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
}
