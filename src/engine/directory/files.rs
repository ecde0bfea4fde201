//! passwd and group, read as getpwnam(3) and getgrnam(3) would: who is local, and in which local groups.
//!
//! What was read is kept, and read anew as soon as the system tells of either file that it is not the same any more ([`Kept`]).

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use super::{Entry, Key, Membership, Silent, Team};
use crate::core::enforcement::SubjectKind;
use crate::core::time::Wall;

/// The longest account file that is read.
const FILE_CAP: u64 = 16 << 20;
/// The longest that are kept, together.
const KEPT_CAP: usize = 1 << 20;
/// Seconds after which a change gets another time stamp than the one before it: file systems count in ticks of the kernel, the oldest ones in two
/// seconds.
const SETTLED: i64 = 3;

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

/// What tells two states of a file apart. No program can set the time of the last change (ctime) at will.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(about: &Metadata) -> Self {
        Self {
            file: (about.dev(), about.ino()),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }

    /// Whether any change after `now` is told by another stamp.
    fn is_settled(&self, now: Wall) -> bool {
        self.modified.0.max(self.changed.0) < now.0.saturating_sub(SETTLED)
    }
}

impl Accounts {
    /// With its stamp, where it is the stamp of what was read and of nothing else.
    fn read(path: &Path, now: Wall) -> Result<(Self, Option<Stamp>), Silent> {
        let failed = |e: std::io::Error| Silent(format!("{}: {e}", path.display()));
        let file = File::open(path).map_err(failed)?;
        let about = file.metadata().map_err(failed)?;
        let too_large = || Silent(format!("{}: larger than {FILE_CAP} bytes", path.display()));
        let length = usize::try_from(about.len()).ok().filter(|_| about.len() <= FILE_CAP).ok_or_else(too_large)?;
        let mut bytes = Vec::with_capacity(length + 1);
        // It may be growing.
        if (&file).take(FILE_CAP + 1).read_to_end(&mut bytes).map_err(failed)? as u64 > FILE_CAP {
            return Err(too_large());
        }
        let (before, after) = (Stamp::of(&about), Stamp::of(&file.metadata().map_err(failed)?));
        let text = String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned());
        Ok((Self(text), (before == after && before.is_settled(now)).then_some(before)))
    }

    /// Comments and the +/- lines of NIS are no accounts.
    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.lines().filter_map(Line::of)
    }

    /// The line of this name; of others no more than their beginning is looked at.
    fn named(&self, name: &str) -> Option<Line<'_>> {
        self.0.lines().filter(|line| line.starts_with(name)).filter_map(Line::of).find(|line| line.name() == name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.lines().map(Line::name)
    }
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Option<Self> {
        (!line.starts_with(['#', '+', '-']) && line.contains(':')).then_some(Self(line))
    }

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

/// Both files as they are as long as their stamps are the same: a login need neither read 10,000 accounts anew, nor wake a thread for it and wait.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) files: Arc<Files>,
    passwd: Stamp,
    group: Stamp,
}

impl Kept {
    /// Whether the files in the folder are still the same. It asks the system for what it has in memory: whoever looks up a user looks at these files.
    pub(super) fn stands(&self, folder: &Path) -> bool {
        let is_same = |name: &str, stamp| std::fs::metadata(folder.join(name)).is_ok_and(|about| Stamp::of(&about) == stamp);
        is_same("passwd", self.passwd) && is_same("group", self.group)
    }
}

impl Files {
    /// Both, and the same to keep, where a later change of them would be told. `now` is a time before the call.
    pub(super) fn read(folder: &Path, now: Wall) -> Result<(Arc<Self>, Option<Kept>), Silent> {
        let (passwd, of_passwd) = Accounts::read(&folder.join("passwd"), now)?;
        let (group, of_group) = Accounts::read(&folder.join("group"), now)?;
        let fits = passwd.0.capacity() + group.0.capacity() <= KEPT_CAP;
        let files = Arc::new(Self { passwd, group });
        let stamps = of_passwd.zip(of_group).filter(|_| fits);
        let kept = stamps.map(|(passwd, group)| Kept { files: Arc::clone(&files), passwd, group });
        Ok((files, kept))
    }

    pub(super) fn user(&self, key: &Key) -> Option<Entry> {
        let found = match key {
            Key::Name(name) => self.passwd.named(name),
            Key::Uid(uid) => self.passwd.lines().find(|user| user.number(2) == Some(*uid)),
        }?;
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sys::clock;

    const ALICE: &str = "alice:x:1001:1001::/:/bin/sh\n";
    const BOB: &str = "bob:x:1002:1001::/home:/bin/sh\n";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("passwd"), ALICE).unwrap();
        fs::write(folder.path().join("group"), "users:x:1001:\n").unwrap();
        folder
    }

    /// What is kept of files that were written long ago.
    fn kept(folder: &Path) -> Kept {
        let later = Wall(clock::wall().0 + 60);
        Files::read(folder, later).unwrap().1.unwrap()
    }

    fn knows(files: &Files, name: &str) -> bool {
        files.user(&Key::Name(name.into())).is_some()
    }

    #[test]
    fn files_that_are_the_same_are_not_read_again() {
        let folder = folder();
        let kept = kept(folder.path());
        assert!(kept.stands(folder.path()) && knows(&kept.files, "alice"));
    }

    #[test]
    fn any_change_of_either_file_is_noticed() {
        let folder = folder();
        let (passwd, group) = (folder.path().join("passwd"), folder.path().join("group"));
        let before = kept(folder.path());
        fs::write(folder.path().join("new"), ALICE).unwrap();
        fs::rename(folder.path().join("new"), &passwd).unwrap();
        assert!(!before.stands(folder.path()), "replaced by the same text");
        let before = kept(folder.path());
        fs::write(&group, "users:x:1001:alice\n").unwrap();
        assert!(!before.stands(folder.path()), "longer");
        let before = kept(folder.path());
        fs::remove_file(&group).unwrap();
        assert!(!before.stands(folder.path()), "gone");
    }

    #[test]
    fn a_change_that_hides_behind_the_size_and_time_of_before_is_noticed() {
        let folder = folder();
        let passwd = folder.path().join("passwd");
        fs::write(&passwd, ALICE).unwrap();
        let (before, modified) = (kept(folder.path()), fs::metadata(&passwd).unwrap().modified().unwrap());
        let until = clock::monotonic() + std::time::Duration::from_secs(60);
        // Older kernels tell the time of a change by their ticks.
        while before.stands(folder.path()) {
            assert!(clock::monotonic() < until, "it is not noticed");
            fs::write(&passwd, &BOB[..ALICE.len()]).unwrap();
            File::options().write(true).open(&passwd).unwrap().set_modified(modified).unwrap();
        }
        assert_eq!(fs::metadata(&passwd).unwrap().modified().unwrap(), modified);
        let now = kept(folder.path());
        assert!(knows(&now.files, "bob") && !knows(&now.files, "alice"));
    }

    #[test]
    fn what_was_changed_a_moment_ago_may_change_again_unnoticed_and_is_not_kept() {
        // However long it takes until they are read: they were written after this.
        let now = clock::wall();
        let folder = folder();
        let (files, kept) = Files::read(folder.path(), now).unwrap();
        assert!(kept.is_none() && knows(&files, "alice"));
        // Nor where the clock stands back.
        assert!(Files::read(folder.path(), Wall(0)).unwrap().1.is_none());
    }

    #[test]
    fn large_files_are_not_kept() {
        let folder = folder();
        fs::write(folder.path().join("passwd"), ALICE.repeat(KEPT_CAP / ALICE.len() + 1)).unwrap();
        let (files, kept) = Files::read(folder.path(), Wall(clock::wall().0 + 60)).unwrap();
        assert!(kept.is_none() && knows(&files, "alice"));
    }

    #[test]
    fn a_name_is_the_whole_name() {
        let accounts = Accounts("al:x:1:1::/:\nalice:x:2:2::/:\n+alice2:x:3:3::/:\nalice3\nalice4:x:4:4::/:\n".into());
        let files = Files { passwd: accounts, group: Accounts(String::new()) };
        let uid = |name: &str| files.user(&Key::Name(name.into())).map(|user| user.uid);
        assert_eq!((uid("al"), uid("alice"), uid("alice4")), (Some(1), Some(2), Some(4)));
        assert!(["a", "alice:x", "+alice2", "alice3", ""].iter().all(|name| uid(name).is_none()));
    }
}
