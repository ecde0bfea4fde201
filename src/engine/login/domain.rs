//! Enforcement through a domain group while its domain can't say who is in it.
//!
//! A domain that is away keeps nobody local out, and a list of groups does not show that it is short: getgrouplist(3) leaves out what a source that
//! fails would have said. So whoever was seen in an enforced domain group counts as its member until a domain that answers says otherwise: it knows
//! the group, and the user is neither in its list of members nor has it in the list of groups. What was seen is in the store, so that neither
//! a restart nor a power cut without the network is a way round. Members that the domain lists are noted as the group is enforced.
//!
//! Whoever was never seen in the group counts as none of its members. To hold everybody local for one would refuse keys, scripts and file shares to
//! people who have nothing to do with the domain, for as long as it is away; and it would win little, since who has the password can set the second
//! step up, too. What stays open is the first login of a new member while the domain is away.
//!
//! Nobody is kept out for good by it: root never counts on such a doubt, nor does an account with passwordless login, which would lose that; and
//! an administrator can end the enforcement of a group that nobody can look up. Where no domain group is enforced, nothing is asked.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use log::{info, warn};

use crate::core::account::Account;
use crate::core::enforcement::SubjectKind;
use crate::engine::desk::Desk;
use crate::engine::directory::{Directory, Person};
use crate::engine::store::{GROUPS_KEPT, StoreError, Subject, View};

/// What a person's list of groups has beside what was seen before.
#[derive(Debug, Default)]
pub struct Seen {
    /// Enforced domain groups that are seen for the first time.
    new: Vec<String>,
    /// Those that were seen before, where it matters.
    missing: Vec<String>,
}

impl Seen {
    /// Whether there is nothing to [`settle`].
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.new.is_empty() && self.missing.is_empty()
    }
}

/// Whether it may be kept of a person that a domain group was seen: root never counts on a doubt, and a domain's own user is known in whole or not at all.
#[must_use]
pub fn counts_on_doubt(person: &Person) -> bool {
    person.kind == SubjectKind::LocalUser && person.uid != 0
}

/// Compares the two; `undecided`: nothing else asks the person for a second step.
///
/// # Errors
/// The store's.
pub fn seen(view: &View<'_>, person: &Person, account: &Account, undecided: bool) -> Result<Seen, StoreError> {
    if !counts_on_doubt(person) || !view.enforces_groups()? {
        return Ok(Seen::default());
    }
    let (before, mut new) = (view.seen_in(person.uid, &person.name)?, Vec::new());
    for group in person.groups.iter().filter(|group| group.kind == SubjectKind::DomainGroup && !before.contains(&group.name)) {
        if view.is_group_enforced(&Subject { kind: group.kind, name: group.name.clone() })? {
            new.push(group.name.clone());
        }
    }
    new.truncate(GROUPS_KEPT.saturating_sub(before.len()));
    let matters = undecided && !account.is_enabled() && !account.recovered && !account.passwordless;
    let missing = before.into_iter().filter(|name| matters && !is_listed(person, name)).collect();
    Ok(Seen { new, missing })
}

/// The enforced domain groups that a person's list of groups lacks, `most` of them: for a change that enforcement forbids, the domain has to say of
/// each that the person is not in it.
///
/// # Errors
/// The store's.
pub fn unlisted(view: &View<'_>, person: &Person, most: u32) -> Result<Vec<String>, StoreError> {
    if !view.enforces_groups()? {
        return Ok(Vec::new());
    }
    let before = Subject { kind: SubjectKind::DomainGroup, name: String::new() };
    let groups = view.enforced_groups(Some(&before), most)?.into_iter().filter(|group| group.kind == SubjectKind::DomainGroup);
    Ok(groups.map(|group| group.name).filter(|name| !is_listed(person, name)).collect())
}

fn is_listed(person: &Person, name: &str) -> bool {
    person.groups.iter().any(|group| group.kind == SubjectKind::DomainGroup && group.name == name)
}

/// Keeps what was seen, and gives the group as whose member the person counts though the list lacks it.
pub async fn settle(desk: &Desk, directory: &Directory, person: &Person, seen: Seen) -> Option<String> {
    let Seen { new, missing } = seen;
    let left = left(desk, directory, person, &missing).await;
    let counts = missing.into_iter().find(|group| !left.contains(group));
    if !new.is_empty() || !left.is_empty() {
        let (uid, name) = (person.uid, person.name.clone());
        let kept = desk.store.write(move |tx| tx.keep_groups(uid, &name, &new, &left)).await;
        // It is found out again at the next login.
        kept.unwrap_or_else(|e| warn!("in which enforced groups of the domain {} is, is not kept: {e}", person.name));
    }
    counts
}

/// Those of the groups that the domain knows now, and whose member the person is not. The list of groups lacks them.
pub async fn left(desk: &Desk, directory: &Directory, person: &Person, groups: &[String]) -> Vec<String> {
    let teams = match person.partial {
        false => directory.teams(groups).await,
        true => vec![Ok(None); groups.len()],
    };
    let mut left = Vec::new();
    for (group, team) in groups.iter().zip(teams) {
        let team = team.ok().flatten();
        // A stranger who asks too much at once is refused, and says nothing of the domain.
        if !directory.is_strangers() {
            desk.silent.note(group, team.is_none());
        }
        if team.is_some_and(|team| !team.members.contains(&person.name)) {
            left.push(group.clone());
        }
    }
    left
}

/// The enforced groups that can't be looked up: each is logged once, and not at each login.
#[derive(Debug, Default)]
pub struct SilentGroups(Mutex<BTreeSet<String>>);

impl SilentGroups {
    fn note(&self, group: &str, silent: bool) {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if silent && groups.insert(group.into()) {
            warn!(
                "the domain group {group}, which has to have a second step, can't be looked up now: whoever was seen in it counts as its member \
                 (`twostep enforce --off --group {group}` would end that, where no local group of that name is enforced)"
            );
        } else if !silent && groups.remove(group) {
            info!("the domain group {group} can be looked up again");
        }
    }
}

#[cfg(test)]
mod tests;
