//! passwd and group, read as getpwnam(3) and getgrnam(3) would: who is local, and in which local groups.

use std::path::Path;

use super::{Entry, Key, Membership, Silent, Team};
use crate::core::enforcement::SubjectKind;

/// The longest account file that is read.
const FILE_CAP: u64 = 16 << 20;

/// passwd and group. Fields are split where they are looked at: with 10,000 accounts, splitting all of them is most of what a login costs.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) passwd: Accounts,
    pub(super) group: Accounts,
}

/// The text of one of them.
#[derive(Debug)]
pub(super) struct Accounts(String);

/// One line of it.
#[derive(Clone, Copy)]
struct Line<'a>(&'a str);

impl Accounts {
    fn read(path: &Path) -> Result<Self, Silent> {
        let failed = |e: std::io::Error| Silent(format!("{}: {e}", path.display()));
        if std::fs::metadata(path).map_err(failed)?.len() > FILE_CAP {
            return Err(Silent(format!("{}: larger than {FILE_CAP} bytes", path.display())));
        }
        let bytes = std::fs::read(path).map_err(failed)?;
        Ok(Self(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())))
    }

    /// Comments and the +/- lines of NIS are no accounts.
    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.lines().filter(|line| !line.starts_with(['#', '+', '-']) && line.contains(':')).map(Line)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines().map(Line::name)
    }
}

impl<'a> Line<'a> {
    fn field(self, index: usize) -> Option<&'a str> {
        self.0.split(':').nth(index)
    }

    fn name(self) -> &'a str {
        self.field(0).unwrap_or_default()
    }

    fn number(self, index: usize) -> Option<u32> {
        self.field(index)?.parse().ok()
    }

    /// Of a group.
    fn members(self) -> impl Iterator<Item = &'a str> {
        self.field(3).unwrap_or_default().trim().split(',').filter(|name| !name.is_empty())
    }
}

impl Files {
    pub(super) fn read(folder: &Path) -> Result<Self, Silent> {
        Ok(Self { passwd: Accounts::read(&folder.join("passwd"))?, group: Accounts::read(&folder.join("group"))? })
    }

    pub(super) fn user(&self, key: &Key) -> Option<Entry> {
        let found = self.passwd.lines().find(|user| match key {
            Key::Name(name) => user.name() == name,
            Key::Uid(uid) => user.number(2) == Some(*uid),
        })?;
        Some(Entry { name: found.name().into(), uid: found.number(2)?, gid: found.number(3)? })
    }

    /// The local groups of a user, the primary one first.
    pub(super) fn groups_of(&self, user: &Entry) -> Vec<Membership> {
        let (primary, others): (Vec<_>, Vec<_>) = self
            .group
            .lines()
            .filter(|group| group.number(2) == Some(user.gid) || group.members().any(|member| member == user.name))
            .partition(|group| group.number(2) == Some(user.gid));
        let names = primary.into_iter().chain(others).map(|group| group.name().to_owned());
        names.map(|name| Membership { name, kind: SubjectKind::LocalGroup, shadowed: false }).collect()
    }

    /// Those of all groups of a user that are not local.
    pub(super) fn foreign(&self, groups: Vec<(u32, String)>) -> impl Iterator<Item = Membership> {
        let foreign = groups.into_iter().filter(|(gid, _)| !self.group.lines().any(|group| group.number(2) == Some(*gid)));
        foreign.map(|(_, name)| {
            let shadowed = self.group.names().any(|local| local == name);
            Membership { name, kind: SubjectKind::DomainGroup, shadowed }
        })
    }

    pub(super) fn team(&self, name: &str) -> Option<Team> {
        let group = self.group.lines().find(|group| group.name() == name)?;
        let gid = group.number(2);
        let mut all: Vec<String> = group.members().map(String::from).collect();
        all.extend(self.passwd.lines().filter(|user| gid.is_some() && user.number(3) == gid).map(|user| user.name().to_owned()));
        all.sort();
        all.dedup();
        Some(Team { name: name.into(), kind: SubjectKind::LocalGroup, members: all })
    }
}
