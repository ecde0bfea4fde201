//! passwd and group, read as getpwnam(3) and getgrnam(3) would: who is local, and in which local groups.

use std::path::Path;

use super::{Entry, Key, Membership, Silent, Team};
use crate::core::enforcement::SubjectKind;

/// The longest account file that is read.
const FILE_CAP: u64 = 16 << 20;

/// The lines of passwd and group, split into fields.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) passwd: Vec<Vec<String>>,
    pub(super) group: Vec<Vec<String>>,
}

impl Files {
    pub(super) fn read(folder: &Path) -> Result<Self, Silent> {
        Ok(Self { passwd: lines(&folder.join("passwd"))?, group: lines(&folder.join("group"))? })
    }

    pub(super) fn user(&self, key: &Key) -> Option<Entry> {
        let found = self.passwd.iter().find(|user| match key {
            Key::Name(name) => user.first() == Some(name),
            Key::Uid(uid) => number(user.get(2)) == Some(*uid),
        })?;
        Some(Entry { name: found.first()?.clone(), uid: number(found.get(2))?, gid: number(found.get(3))? })
    }

    /// The local groups of a user, the primary one first.
    pub(super) fn groups_of(&self, user: &Entry) -> Vec<Membership> {
        let (primary, others): (Vec<_>, Vec<_>) = self
            .group
            .iter()
            .filter(|group| number(group.get(2)) == Some(user.gid) || members(group).any(|member| member == user.name))
            .partition(|group| number(group.get(2)) == Some(user.gid));
        let names = primary.into_iter().chain(others).filter_map(|group| group.first().cloned());
        names.map(|name| Membership { name, kind: SubjectKind::LocalGroup }).collect()
    }

    /// Those of all groups of a user that are not local.
    pub(super) fn foreign(&self, groups: Vec<(u32, String)>) -> impl Iterator<Item = Membership> {
        let foreign = groups.into_iter().filter(|(gid, _)| !self.group.iter().any(|group| number(group.get(2)) == Some(*gid)));
        foreign.map(|(_, name)| Membership { name, kind: SubjectKind::DomainGroup })
    }

    pub(super) fn team(&self, name: &str) -> Option<Team> {
        let group = self.group.iter().find(|group| group.first().is_some_and(|n| n == name))?;
        let gid = number(group.get(2));
        let mut all: Vec<String> = members(group).map(String::from).collect();
        all.extend(self.passwd.iter().filter(|user| gid.is_some() && number(user.get(3)) == gid).filter_map(|user| user.first().cloned()));
        all.sort();
        all.dedup();
        Some(Team { name: name.into(), kind: SubjectKind::LocalGroup, members: all })
    }
}

/// Comments and the +/- lines of NIS are no accounts.
fn lines(path: &Path) -> Result<Vec<Vec<String>>, Silent> {
    let failed = |e: std::io::Error| Silent(format!("{}: {e}", path.display()));
    if std::fs::metadata(path).map_err(failed)?.len() > FILE_CAP {
        return Err(Silent(format!("{}: larger than {FILE_CAP} bytes", path.display())));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8_lossy(&bytes);
    let accounts = text.lines().filter(|line| !line.starts_with(['#', '+', '-']) && line.contains(':'));
    Ok(accounts.map(|line| line.split(':').map(String::from).collect()).collect())
}

fn members(group: &[String]) -> impl Iterator<Item = &str> {
    group.get(3).map_or("", String::as_str).trim().split(',').filter(|name| !name.is_empty())
}

fn number(field: Option<&String>) -> Option<u32> {
    field?.parse().ok()
}
