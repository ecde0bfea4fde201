//! Users and groups with their status (Q19).
//!
//! Listed are those that the files or NSS enumerate, and of a domain, which most often enumerates nobody, those that are stored: enrolled
//! or enforced by name. Whoever can't be looked up now is listed without a status.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use log::warn;

use super::AdminInterface;
use super::pages::Page;
use crate::core::account::{Account, Status};
use crate::core::enforcement::{SubjectKind, group_status};
use crate::engine::desk::{Desk, Trouble, enforcing_groups};
use crate::engine::directory::{Found, Person, Silent};
use crate::engine::store::{Lookup, StoreError, Subject, View};
use crate::proto::admin::{Error, Reply, Subject as Listed, Subjects};
use crate::proto::privileged::is_account;
use crate::proto::varlink::{Failure, Replies};

/// The longest filter in bytes.
const FILTER_CAP: usize = 256;
/// So many subjects are looked up together.
const CHUNK: usize = 64;
/// So many stored names are read at once.
const STORED: u32 = 256;
/// So many enforced groups are looked at.
const GROUPS: u32 = 10_000;
/// Of the groups that enforce somebody no more are named.
const NAMED: usize = 32;

/// Pages of subjects, in the order of the names.
pub async fn answer(
    desk: &Desk,
    kind: SubjectKind,
    filter: Option<String>,
    replies: &mut Replies<'_, AdminInterface>,
) -> Result<Reply, Failure<Error>> {
    if filter.as_ref().is_some_and(|filter| filter.len() > FILTER_CAP) {
        return Err(Failure::invalid("filter"));
    }
    let mut listing = Listing { desk, kind, filter: filter.unwrap_or_default().to_lowercase(), silent: false };
    let mut names = listing.names().await?;
    let mut page = Page::default();
    while let Some(batch) = names.next(&listing).await? {
        for chunk in batch.chunks(CHUNK) {
            for subject in listing.describe(chunk).await? {
                if let Some(subjects) = page.add(subject) {
                    replies.send(&Reply::Subjects(Subjects { subjects })).await?;
                }
            }
        }
    }
    Ok(Reply::Subjects(Subjects { subjects: page.finish() }))
}

struct Listing<'a> {
    desk: &'a Desk,
    kind: SubjectKind,
    /// In lower case.
    filter: String,
    /// The directory gave no answer once: it is not asked for each of the others.
    silent: bool,
}

/// The names to list, a part at a time, so that a million of them is never held at once.
struct Names {
    known: BTreeSet<String>,
    /// Where to go on among the stored accounts; `None` where they are not listed, or are through.
    after: Option<String>,
    local: HashSet<String>,
}

impl Names {
    async fn next(&mut self, listing: &Listing<'_>) -> Result<Option<Vec<String>>, Error> {
        let Some(after) = self.after.take() else {
            return Ok((!self.known.is_empty()).then(|| std::mem::take(&mut self.known).into_iter().collect()));
        };
        let stored = listing.desk.store.read(move |view| view.account_names(&after, STORED)).await?;
        self.after = stored.last().filter(|_| stored.len() == STORED as usize).cloned();
        // Up to the last stored name of this part, all are known now.
        let mut later = self.after.as_ref().map_or_else(BTreeSet::new, |last| self.known.split_off(last));
        if let Some(last) = &self.after {
            later.remove(last);
        }
        let mut part = std::mem::replace(&mut self.known, later);
        part.extend(stored.into_iter().filter(|name| listing.wants(name) && !self.local.contains(name)));
        Ok(Some(part.into_iter().collect()))
    }
}

impl Listing<'_> {
    fn wants(&self, name: &str) -> bool {
        is_account(name) && (self.filter.is_empty() || name.to_lowercase().contains(&self.filter))
    }

    async fn names(&self) -> Result<Names, Error> {
        let listed = match self.desk.directory.list(self.kind).await {
            Ok(listed) => listed,
            Err(Silent(reason)) if matches!(self.kind, SubjectKind::DomainUser | SubjectKind::DomainGroup) => {
                warn!("only stored subjects of the domain are listed: {reason}");
                Vec::new()
            }
            Err(silent) => return Err(Trouble::from(silent).into()),
        };
        let mut known: BTreeSet<String> = listed.into_iter().filter(|name| self.wants(name)).collect();
        let (mut after, mut local) = (None, HashSet::new());
        match self.kind {
            SubjectKind::DomainUser => {
                after = Some(String::new());
                local = self.desk.directory.list(SubjectKind::LocalUser).await.map_err(Trouble::from)?.into_iter().collect();
            }
            SubjectKind::DomainGroup => {
                let enforced = self.desk.store.read(|view| view.enforced_groups(None, GROUPS)).await?;
                let domain = enforced.into_iter().filter(|group| group.kind == SubjectKind::DomainGroup).map(|group| group.name);
                known.extend(domain.filter(|name| self.wants(name)));
            }
            SubjectKind::LocalUser | SubjectKind::LocalGroup => {}
        }
        Ok(Names { known, after, local })
    }

    async fn describe(&mut self, names: &[String]) -> Result<Vec<Listed>, Error> {
        if !self.kind.is_group() {
            return self.users(names).await;
        }
        let mut groups = Vec::new();
        for name in names {
            groups.push(self.group(name).await?);
        }
        Ok(groups)
    }

    async fn people(&mut self, names: &[String]) -> Vec<Found> {
        if self.silent {
            return vec![Err(Silent("the directory did not answer before".into())); names.len()];
        }
        let found = self.desk.directory.people(names).await;
        self.silent = found.iter().any(Result::is_err);
        found
    }

    async fn users(&mut self, names: &[String]) -> Result<Vec<Listed>, Error> {
        let found: Vec<(String, Found)> = names.iter().cloned().zip(self.people(names).await).collect();
        let kind = self.kind;
        let listed = self.desk.store.read(move |view| {
            let mut listed = Vec::new();
            for (name, found) in found {
                match found {
                    Ok(Some(person)) if person.kind == kind => listed.push(user(view, &person)?),
                    // Gone, or stored under a name that is another's by now.
                    Ok(_) => {}
                    Err(_) => {
                        let enforced = view.account_by_name(&name)?.is_some_and(|stored| stored.account.enforced);
                        listed.push(Listed { name, kind, status: None, enforced, enforced_by: vec![] });
                    }
                }
            }
            Ok(listed)
        });
        Ok(listed.await?)
    }

    async fn group(&mut self, name: &str) -> Result<Listed, Error> {
        let members = match self.desk.directory.group(name).await {
            Ok(team) => Some(team.map(|team| team.members).unwrap_or_default()),
            Err(_) => None,
        };
        let found = match &members {
            Some(members) => self.people(members).await,
            None => Vec::new(),
        };
        let told = members.is_some() && found.iter().all(Result::is_ok);
        let members: Vec<Arc<Person>> = found.into_iter().filter_map(|found| found.ok().flatten()).collect();
        let (kind, name) = (self.kind, name.to_owned());
        let listed = self.desk.store.read(move |view| {
            let enforced = view.is_group_enforced(&Subject { kind, name: name.clone() })?;
            let statuses: Vec<Status> = members
                .iter()
                .map(|member| Ok(user(view, member)?.status))
                .collect::<Result<Vec<_>, StoreError>>()?
                .into_iter()
                .flatten()
                .collect();
            let status = told.then(|| group_status(enforced, statuses));
            Ok(Listed { name, kind, status, enforced, enforced_by: vec![] })
        });
        Ok(listed.await?)
    }
}

fn user(view: &View<'_>, person: &Person) -> Result<Listed, StoreError> {
    let account = match view.account(person.uid, &person.name)? {
        Lookup::Known(stored) => stored.account,
        // What is stored for another decides nothing about this one.
        Lookup::Unknown | Lookup::Other(_) => Account::default(),
    };
    let mut enforced_by = enforcing_groups(view, person)?;
    let by_group = !enforced_by.is_empty();
    enforced_by.truncate(NAMED);
    Ok(Listed {
        name: person.name.clone(),
        kind: person.kind,
        status: Some(account.status(by_group)),
        enforced: account.is_enforced(by_group),
        enforced_by,
    })
}
