//! The system's own NSS: each call may block for as long as a domain controller is away.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};

use super::{Entry, Key, Nss, Silent, Team};
use crate::core::enforcement::SubjectKind;
use crate::sys::nss;

/// Of a domain no more users or groups are enumerated.
const ENUMERATED: usize = 50_000;

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
        let mut groups = Vec::new();
        for gid in getgrouplist(&name, Gid::from_raw(gid)).map_err(silent)? {
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

fn silent(e: nix::Error) -> Silent {
    Silent(format!("users and groups can't be looked up: {e}"))
}
