//! Enforcement through a domain group while its domain can't say who is in it.
//!
//! A domain that is away keeps nobody local out, and a list of groups does not show that it is short: getgrouplist(3) leaves out what a source that
//! fails would have said. So, where a domain group is enforced, it has to be there when it matters: a local user without a second step, of whom no
//! other group asks for one, counts as its member for as long as it can't be looked up. Nobody is kept out by that, since the setup is offered in the
//! login. Where no domain group is enforced, nothing is asked.

use crate::core::account::Account;
use crate::core::enforcement::SubjectKind;
use crate::engine::directory::{Directory, Person};
use crate::engine::store::{StoreError, Subject, View};

/// So many groups are looked for: a domain fails as a whole.
const LOOKED_FOR: u32 = 8;

/// The enforced domain groups that matter for this person.
///
/// # Errors
/// The store's.
pub fn in_question(view: &View<'_>, person: &Person, account: &Account) -> Result<Vec<String>, StoreError> {
    let matters = person.kind == SubjectKind::LocalUser && !account.is_enabled() && !account.recovered;
    if !matters || !view.enforces_groups()? {
        return Ok(Vec::new());
    }
    let before = Subject { kind: SubjectKind::DomainGroup, name: String::new() };
    let groups = view.enforced_groups(Some(&before), LOOKED_FOR)?.into_iter();
    Ok(groups.filter(|group| group.kind == SubjectKind::DomainGroup).map(|group| group.name).collect())
}

/// The first of `groups` of which it is not known now who is in it.
pub async fn unknown(directory: &Directory, person: &Person, groups: Vec<String>) -> Option<String> {
    for group in groups {
        if person.partial || !matches!(directory.group(&group).await, Ok(Some(_))) {
            return Some(group);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::directory::{Entry, Key, Nss, Silent, Team};

    /// Of its groups it knows `sales`, or fails.
    struct Domain {
        fails: bool,
    }

    impl Nss for Domain {
        fn user(&self, _: &Key) -> Result<Option<Entry>, Silent> {
            Ok(None)
        }

        /// Short, and without a word, where it fails.
        fn groups_of(&self, _: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
            Ok(Vec::new())
        }

        fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
            let team = Team { name: name.into(), kind: SubjectKind::DomainGroup, members: vec![] };
            if self.fails { Err(Silent("no connection".into())) } else { Ok((name == "sales").then_some(team)) }
        }

        fn users(&self) -> Result<Vec<String>, Silent> {
            Ok(Vec::new())
        }

        fn groups(&self) -> Result<Vec<String>, Silent> {
            Ok(Vec::new())
        }
    }

    async fn asked(fails: bool, partial: bool, groups: &[&str]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("passwd"), "alice:x:1001:1001::/:/bin/sh\n").unwrap();
        std::fs::write(folder.path().join("group"), "alice:x:1001:\n").unwrap();
        let directory = Directory::of(folder.path().into(), Domain { fails });
        let alice = directory.by_name("alice").await.unwrap().unwrap();
        assert!(!alice.partial && alice.groups.len() == 1, "the short list looks whole");
        let alice = Person { partial, ..(*alice).clone() };
        unknown(&directory, &alice, groups.iter().map(|group| (*group).into()).collect()).await
    }

    #[tokio::test]
    async fn a_local_user_counts_as_a_member_of_an_enforced_group_whose_domain_is_away() {
        assert_eq!(asked(true, false, &["sales"]).await.as_deref(), Some("sales"), "it fails at once");
        assert_eq!(asked(false, true, &["sales"]).await.as_deref(), Some("sales"), "it was too slow for the user's groups");
        assert_eq!(asked(false, false, &["sales", "guests"]).await.as_deref(), Some("guests"), "it knows no such group now");
    }

    #[tokio::test]
    async fn where_the_domain_answers_or_no_group_of_it_is_enforced_nothing_changes() {
        assert_eq!(asked(false, false, &["sales"]).await, None);
        assert_eq!(asked(true, true, &[]).await, None);
    }
}
