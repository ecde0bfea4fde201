//! How a user is looked up: first in the files, then in NSS, of which a local user needs the groups alone.
//!
//! Not here: whether anybody has looked up the same just now.

use std::sync::{Arc, MutexGuard, PoisonError};

use log::warn;

use super::files::Files;
use super::known::Tell;
use super::{Directory, Entry, Key, Nss, Person, Silent};
use crate::core::enforcement::SubjectKind;

/// A user whom somebody wants to know.
pub(super) struct Arrival {
    directory: Directory,
    key: Key,
    files: Option<Arc<Files>>,
    tell: Tell<Person>,
}

impl Directory {
    /// Has this user looked up, in these files or in those that are there now.
    pub(super) fn look_up(self, key: Key, files: Option<Arc<Files>>, tell: Tell<Person>) {
        let mut arrivals = self.arrivals();
        arrivals.push(Arrival { directory: self.clone(), key, files, tell });
        if arrivals.len() == 1 {
            tokio::spawn(self.clone().look_up_all());
        }
    }

    /// Its turn comes behind the tasks that are ready: the system is asked once whether the files are the same, for all that these ask for.
    async fn look_up_all(self) {
        let arrivals = std::mem::take(&mut *self.arrivals());
        let kept = self.kept_files();
        for Arrival { directory, key, files, tell } in arrivals {
            match files.or_else(|| kept.clone()) {
                Some(files) => directory.look_up_in(files, key, tell),
                None => drop(tokio::spawn(directory.look_up_in_new_files(key, tell))),
            }
        }
    }

    async fn look_up_in_new_files(self, key: Key, tell: Tell<Person>) {
        match self.read_files().await {
            Ok(files) => self.look_up_in(files, key, tell),
            Err(silent) => drop(tell.send_replace(Some(Err(silent)))),
        }
    }

    fn look_up_in(self, files: Arc<Files>, key: Key, tell: Tell<Person>) {
        if let Some(entry) = files.user(&key) {
            tokio::spawn(async move { tell.send_replace(Some(Ok(Some(Arc::new(self.local_person(entry, &files).await))))) });
        } else if let Some(nss) = self.common.nss.clone() {
            self.ask_for(tell, move || domain_person(&*nss, &key, &files).map(|person| person.map(Arc::new)));
        } else {
            tell.send_replace(Some(Ok(None)));
        }
    }

    /// A local user counts as the files say; a domain that is away keeps nobody local out.
    async fn local_person(&self, entry: Entry, files: &Arc<Files>) -> Person {
        let mut groups = files.groups_of(&entry);
        let mut partial = false;
        if let Some(nss) = self.common.nss.clone() {
            let (name, gid) = (entry.name.clone(), entry.gid);
            match self.ask(self.common.limits.brief, move || nss.groups_of(&name, gid)).await {
                Ok(all) => groups.extend(files.foreign(all)),
                Err(Silent(reason)) => {
                    warn!("domain groups of {} are not known now: {reason}", entry.name);
                    partial = true;
                }
            }
        }
        Person { uid: entry.uid, name: entry.name, kind: SubjectKind::LocalUser, groups, partial }
    }

    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        // A list is whole after any panic.
        self.common.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn domain_person(nss: &dyn Nss, key: &Key, files: &Files) -> Result<Option<Person>, Silent> {
    let Some(entry) = nss.user(key)? else { return Ok(None) };
    // A name that NSS writes in another way may be a local user's after all.
    let local = files.user(&Key::Name(entry.name.clone())).is_some();
    let kind = if local { SubjectKind::LocalUser } else { SubjectKind::DomainUser };
    let mut groups = files.groups_of(&entry);
    groups.extend(files.foreign(nss.groups_of(&entry.name, entry.gid)?));
    Ok(Some(Person { uid: entry.uid, name: entry.name, kind, groups, partial: false }))
}
