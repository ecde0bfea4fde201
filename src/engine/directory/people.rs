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

    /// Its turn comes behind the tasks that are ready: for all that these ask for, the system is asked once whether the files are the same, and
    /// they are read once where they are not. Strangers' look-ups have a share of their own in that.
    async fn look_up_all(self) {
        let arrivals = std::mem::take(&mut *self.arrivals());
        let kept = self.kept_files();
        let mut others = Vec::new();
        for mut arrival in arrivals {
            match arrival.files.take().or_else(|| kept.clone()) {
                Some(files) => arrival.look_up_in(files),
                None if arrival.directory.is_strangers() => drop(tokio::spawn(look_up_in_new_files(vec![arrival]))),
                None => others.push(arrival),
            }
        }
        look_up_in_new_files(others).await;
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

/// All of these in the same files.
async fn look_up_in_new_files(arrivals: Vec<Arrival>) {
    let Some(first) = arrivals.first() else { return };
    let read = first.directory.read_files().await;
    for arrival in arrivals {
        match &read {
            Ok(files) => arrival.look_up_in(Arc::clone(files)),
            Err(silent) => drop(arrival.tell.send_replace(Some(Err(silent.clone())))),
        }
    }
}

impl Arrival {
    fn look_up_in(self, files: Arc<Files>) {
        let Self { directory, key, tell, .. } = self;
        if let Some(entry) = files.user(&key) {
            tokio::spawn(async move { tell.send_replace(Some(Ok(Some(Arc::new(directory.local_person(entry, &files).await))))) });
        } else if let Some(nss) = directory.common.nss.clone() {
            directory.ask_for(tell, move || domain_person(&*nss, &key, &files).map(|person| person.map(Arc::new)));
        } else {
            tell.send_replace(Some(Ok(None)));
        }
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
