//! Who a name stands for: a directory may know one account by more than one spelling (`Alice`, `alice@nas`, `NAS\alice`), and an account may have
//! more than one name. The engine, and the files, know an account by its uid.
//!
//! Asks NSS alone. A directory that is down knows nobody.

use std::ffi::CString;

use nix::unistd::{Group, User, getgrouplist};

/// The account that a name stands for. None where there is none, or nobody can tell.
pub fn uid(name: &str) -> Option<u32> {
    User::from_name(name).ok().flatten().map(|user| user.uid.as_raw())
}

/// Whether both names stand for one account. `uid` looks a name up.
pub fn is_same(one: &str, other: &str, uid: impl Fn(&str) -> Option<u32>) -> bool {
    one == other || uid(one).is_some_and(|one| uid(other) == Some(one))
}

/// Whether an account belongs to a group, as its own or a further one, by the name that was typed and by the name that its uid has. Nobody belongs
/// to a group that there is not.
pub fn is_member(name: &str, group: &str) -> bool {
    let (Ok(Some(group)), Ok(Some(typed))) = (Group::from_name(group), User::from_name(name)) else { return false };
    let Ok(Some(first)) = User::from_uid(typed.uid) else { return false };
    let belongs = |user: &User| {
        CString::new(user.name.as_str()).is_ok_and(|name| getgrouplist(&name, user.gid).is_ok_and(|all| all.contains(&group.gid)))
    };
    belongs(&typed) && (first.name == typed.name && first.gid == typed.gid || belongs(&first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_looked_up_by_name() {
        assert!(is_member("root", "root"));
        assert!(!is_member("root", "no-such-group"));
        assert!(!is_member("no-such-user", "root"));
    }

    #[test]
    fn names_are_looked_up() {
        assert_eq!(uid("root"), Some(0));
        assert_eq!(uid("no-such-user"), None);
    }

    #[test]
    fn two_names_are_one_account_only_where_both_are_known() {
        let uid = |name: &str| [("alice", 1), ("Alice", 1), ("bob", 2)].iter().find(|(known, _)| *known == name).map(|(_, uid)| *uid);
        assert!(is_same("alice", "Alice", uid) && is_same("mallory", "mallory", uid));
        assert!(!is_same("alice", "bob", uid) && !is_same("alice", "mallory", uid) && !is_same("mallory", "trudy", uid));
    }
}
