//! The system's own NSS: each call may block for as long as a domain controller is away.

use std::ffi::CString;

use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::{Entry, Key, Nss, Silent, Team};
use crate::core::enforcement::SubjectKind;
use crate::sys::nss;

/// Of a domain no more users or groups are enumerated.
const ENUMERATED: usize = 50_000;

/// A group that there is nowhere, so that every directory has to say so.
const NOWHERE: &str = "twostep-no-such-group";

/// The system's own.
pub(super) struct System;

impl Nss for System {
    fn user(&self, key: &Key) -> Result<Option<Entry>, Silent> {
        let found = match key {
            Key::Name(name) => User::from_name(name),
            Key::Uid(uid) => User::from_uid(Uid::from_raw(*uid)),
        };
        Ok(found.map_err(silent)?.map(|user| Entry { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }))
    }

    fn groups_of(&self, name: &str, gid: u32) -> Result<Vec<(u32, String)>, Silent> {
        let name = CString::new(name).map_err(|e| Silent(e.to_string()))?;
        Errno::clear();
        let numbers = getgrouplist(&name, Gid::from_raw(gid)).map_err(silent)?;
        all_answered(Errno::last(), || Group::from_name(NOWHERE))?;
        let mut groups = Vec::new();
        for gid in numbers {
            if let Some(group) = Group::from_gid(gid).map_err(silent)? {
                groups.push((gid.as_raw(), group.name));
            }
        }
        Ok(groups)
    }

    fn group(&self, name: &str) -> Result<Option<Team>, Silent> {
        let found = Group::from_name(name).map_err(silent)?;
        Ok(found.map(|group| Team { name: group.name, kind: SubjectKind::DomainGroup, members: group.mem }))
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        nss::users(ENUMERATED).map_err(|e| Silent(format!("users can't be enumerated: {e}")))
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        nss::groups(ENUMERATED).map_err(|e| Silent(format!("groups can't be enumerated: {e}")))
    }
}

/// getgrouplist(3) leaves out the groups of a directory that is not there (sssd while it starts anew, say) and calls that success; all that is
/// seen of it is `left` in errno, which also an answer may leave. Then a look-up that does tell decides.
fn all_answered<T>(left: Errno, look_up: impl FnOnce() -> nix::Result<T>) -> Result<(), Silent> {
    if left == Errno::UnknownErrno {
        return Ok(());
    }
    look_up().map(drop).map_err(silent)
}

fn silent(e: nix::Error) -> Silent {
    Silent(format!("users and groups can't be looked up: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_not_all_known_where_a_directory_did_not_answer() {
        assert_eq!(all_answered(Errno::UnknownErrno, || -> nix::Result<()> { unreachable!("nothing hints at trouble") }), Ok(()));
        assert_eq!(all_answered(Errno::ENOENT, || Ok(None::<Group>)), Ok(()), "errno alone tells nothing");
        assert!(all_answered(Errno::ECONNREFUSED, || Err::<(), _>(Errno::ECONNREFUSED)).is_err());
    }

    #[test]
    fn the_groups_of_root_are_known() {
        assert!(System.groups_of("root", 0).unwrap().contains(&(0, "root".into())));
        assert!(Group::from_name(NOWHERE).unwrap().is_none());
    }
}
