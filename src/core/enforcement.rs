//! Who must have a second step: enforcement of users and groups, the status of both (Q19, Q20), what a change of it would change, and the
//! last way in (B7).
//!
//! This module looks up no names and no members: the directory's answers come in, canonical.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::account::{Account, Status};

/// Where a user or a group comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// In /etc/passwd.
    LocalUser,
    /// In /etc/group.
    LocalGroup,
    /// From another source of NSS, not in /etc/passwd.
    DomainUser,
    /// From another source of NSS, not in /etc/group.
    DomainGroup,
}

impl SubjectKind {
    /// Whether it is a group.
    #[must_use]
    pub fn is_group(self) -> bool {
        matches!(self, Self::LocalGroup | Self::DomainGroup)
    }
}

/// What is enforced, by canonical name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforced {
    /// Users by name.
    pub users: BTreeSet<String>,
    /// Groups by name.
    pub groups: BTreeSet<String>,
}

impl Enforced {
    /// The groups of a user that are enforced, in the order of the names.
    #[must_use]
    pub fn through(&self, groups_of_user: &[String]) -> Vec<String> {
        let mut through: Vec<String> = groups_of_user.iter().filter(|g| self.groups.contains(*g)).cloned().collect();
        through.sort();
        through.dedup();
        through
    }

    /// This with `change` made.
    #[must_use]
    pub fn after(&self, change: &Change) -> Self {
        let apply = |set: &BTreeSet<String>, names: &[String]| -> BTreeSet<String> {
            if change.enforced {
                set.iter().chain(names).cloned().collect()
            } else {
                set.iter().filter(|name| !names.contains(name)).cloned().collect()
            }
        };
        Self { users: apply(&self.users, &change.users), groups: apply(&self.groups, &change.groups) }
    }

    /// The status of a user; `user.account.enforced` is not looked at: this is what counts.
    #[must_use]
    pub fn status(&self, user: &User<'_>) -> Status {
        let by_name = Account { enforced: self.users.contains(user.name), ..user.account.clone() };
        by_name.status(!self.through(user.groups).is_empty())
    }
}

/// What an administrator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// By canonical name.
    pub users: Vec<String>,
    /// By canonical name.
    pub groups: Vec<String>,
    /// On or off.
    pub enforced: bool,
}

/// A user whom a change may concern.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Canonical.
    pub name: &'a str,
    /// All groups, canonical.
    pub groups: &'a [String],
    /// As stored.
    pub account: &'a Account,
    /// Is in an administrators group, and can log in at all.
    pub administrator: bool,
}

/// One user's status, before and after.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Who.
    pub user: String,
    /// Before.
    pub from: Status,
    /// After.
    pub to: Status,
}

/// Whose status a change of enforcement changes; `users` are all whom it may concern.
#[must_use]
pub fn changed(before: &Enforced, change: &Change, users: &[User<'_>]) -> Vec<Changed> {
    let after = before.after(change);
    let one = |user: &User<'_>| Changed { user: user.name.into(), from: before.status(user), to: after.status(user) };
    users.iter().map(one).filter(|c| c.from != c.to).collect()
}

/// The status of a group (Q19).
#[must_use]
pub fn group_status(enforced: bool, members: impl IntoIterator<Item = Status>) -> Status {
    let (mut all, mut none) = (true, true);
    for status in members {
        none = false;
        all &= status == Status::Enabled;
    }
    match (enforced, all, none) {
        (_, _, true) => Status::Disabled,
        (_, true, false) => Status::Enabled,
        (true, false, false) => Status::Incomplete,
        (false, false, false) => Status::Disabled,
    }
}

/// What would be lost (B7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastWayIn {
    /// No administrator is left who can log in without setting up first.
    Administrators(Vec<String>),
    /// The passwordless login of these, which the second step excludes: they would have to give it up at the next login.
    Passwordless(Vec<String>),
    /// The authenticator that this account uses would stop working.
    Authenticator(String),
}

impl fmt::Display for LastWayIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Administrators(names) => write!(
                f,
                "no administrator could log in any more without setting up first ({}): have one of them finish the setup, then enforce it",
                names.join(", ")
            ),
            Self::Passwordless(names) => {
                write!(f, "{} would lose the passwordless login, which a second step excludes: turn it off first", names.join(", "))
            }
            Self::Authenticator(name) => {
                write!(f, "the authenticator that {name} uses now would stop working: turn 2-step verification off for {name} first")
            }
        }
    }
}

impl std::error::Error for LastWayIn {}

/// Whether a change of enforcement leaves a way in. `users` are all whom it may concern, and all administrators.
///
/// # Errors
/// What would be lost.
pub fn keeps_a_way_in(before: &Enforced, change: &Change, users: &[User<'_>]) -> Result<(), LastWayIn> {
    let changed = changed(before, change, users);
    let incomplete: BTreeSet<&str> = changed.iter().filter(|c| c.to == Status::Incomplete).map(|c| c.user.as_str()).collect();
    let begins = |user: &&User<'_>| incomplete.contains(user.name);
    let names = |users: Vec<&User<'_>>| users.into_iter().map(|user| user.name.to_owned()).collect::<Vec<_>>();

    let passwordless: Vec<&User<'_>> = users.iter().filter(begins).filter(|user| user.account.passwordless).collect();
    if !passwordless.is_empty() {
        return Err(LastWayIn::Passwordless(names(passwordless)));
    }
    let after = before.after(change);
    let (ready, unready): (Vec<&User<'_>>, Vec<&User<'_>>) =
        users.iter().filter(|user| user.administrator).partition(|user| after.status(user) != Status::Incomplete);
    if ready.is_empty() && unready.iter().any(begins) {
        return Err(LastWayIn::Administrators(names(unready)));
    }
    Ok(())
}

/// Whether an imported Security Code may come into force: it replaces none.
///
/// # Errors
/// What would be lost.
pub fn may_import(name: &str, account: &Account) -> Result<(), LastWayIn> {
    if account.is_enabled() {
        return Err(LastWayIn::Authenticator(name.into()));
    }
    if account.passwordless {
        return Err(LastWayIn::Passwordless(vec![name.into()]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::account::{Method, Methods};

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).into()).collect()
    }

    fn change(users: &[&str], groups: &[&str], enforced: bool) -> Change {
        Change { users: names(users), groups: names(groups), enforced }
    }

    fn finished() -> Account {
        Account { methods: Methods::NONE.with(Method::SecurityCode), ..Account::default() }
    }

    #[test]
    fn enforcing_makes_a_disabled_user_incomplete_and_leaves_a_finished_one_enabled() {
        let (staff, fresh, done) = (names(&["staff"]), Account::default(), finished());
        let alice = User { name: "alice", groups: &staff, account: &fresh, administrator: false };
        let bob = User { name: "bob", groups: &staff, account: &done, administrator: false };
        let told = changed(&Enforced::default(), &change(&[], &["staff"], true), &[alice, bob]);
        assert_eq!(told, [Changed { user: "alice".into(), from: Status::Disabled, to: Status::Incomplete }]);
    }

    #[test]
    fn ending_one_of_two_enforcements_changes_nothing_for_who_is_in_both() {
        let (groups, fresh) = (names(&["staff", "nas"]), Account::default());
        let alice = User { name: "alice", groups: &groups, account: &fresh, administrator: false };
        let before = Enforced { users: BTreeSet::new(), groups: names(&["staff", "nas"]).into_iter().collect() };
        assert_eq!(before.through(&groups), names(&["nas", "staff"]));
        assert!(changed(&before, &change(&[], &["staff"], false), &[alice]).is_empty());
        assert_eq!(changed(&before, &change(&[], &["staff", "nas"], false), &[alice]).len(), 1);
    }

    #[test]
    fn a_group_is_incomplete_where_enforced_and_a_member_is_unfinished() {
        use Status::{Disabled, Enabled, Incomplete};
        assert_eq!(group_status(true, [Enabled, Incomplete]), Incomplete);
        assert_eq!(group_status(true, [Enabled, Enabled]), Enabled);
        assert_eq!(group_status(false, [Enabled, Disabled]), Disabled);
        assert_eq!(group_status(false, [Enabled]), Enabled);
        assert_eq!(group_status(true, []), Disabled);
    }

    #[test]
    fn the_only_administrator_is_not_enforced_out() {
        let (none, fresh, done) = (names(&[]), Account::default(), finished());
        let admin = User { name: "carol", groups: &none, account: &fresh, administrator: true };
        let refused = keeps_a_way_in(&Enforced::default(), &change(&["carol"], &[], true), &[admin]).unwrap_err();
        assert_eq!(refused, LastWayIn::Administrators(names(&["carol"])));
        assert!(refused.to_string().contains("carol"));
        let ready = User { name: "dave", account: &done, ..admin };
        assert_eq!(keeps_a_way_in(&Enforced::default(), &change(&["carol"], &[], true), &[admin, ready]), Ok(()));
        let away = change(&["carol"], &[], false);
        let already = Enforced { users: names(&["carol"]).into_iter().collect(), groups: BTreeSet::new() };
        assert_eq!(keeps_a_way_in(&already, &away, &[admin]), Ok(()));
        assert_eq!(keeps_a_way_in(&already, &change(&["erin"], &[], true), &[admin]), Ok(()), "carol's state is no news");
    }

    #[test]
    fn a_passwordless_user_is_not_enforced_into_a_contradiction() {
        let (staff, passwordless) = (names(&["staff"]), Account { passwordless: true, ..Account::default() });
        let alice = User { name: "alice", groups: &staff, account: &passwordless, administrator: false };
        for change in [change(&["alice"], &[], true), change(&[], &["staff"], true)] {
            let refused = keeps_a_way_in(&Enforced::default(), &change, &[alice]);
            assert_eq!(refused, Err(LastWayIn::Passwordless(names(&["alice"]))));
        }
    }

    #[test]
    fn an_import_replaces_no_authenticator_that_is_in_use() {
        assert_eq!(may_import("alice", &Account::default()), Ok(()));
        assert_eq!(may_import("alice", &finished()), Err(LastWayIn::Authenticator("alice".into())));
    }

    #[test]
    fn the_recovered_account_is_reached_by_no_enforcement() {
        let (groups, recovered) = (names(&["administrators"]), Account { recovered: true, ..Account::default() });
        let admin = User { name: "admin", groups: &groups, account: &recovered, administrator: true };
        let enforced = Enforced::default().after(&change(&["admin"], &["administrators"], true));
        assert_eq!(enforced.status(&admin), Status::Disabled);
    }

    proptest! {
        #[test]
        fn enforcing_and_ending_it_again_leaves_nothing(users in prop::collection::vec("[a-c]", 0..4), groups in prop::collection::vec("[a-c]", 0..4)) {
            let on = Change { users, groups, enforced: true };
            let off = Change { enforced: false, ..on.clone() };
            prop_assert_eq!(Enforced::default().after(&on).after(&off), Enforced::default());
        }
    }
}
