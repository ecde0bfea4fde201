//! Backups: consistent copies in `backups/`, checked whole before they count, a bounded number of each kind kept.
//!
//! Names are `<sequence>-<UTC>-<kind>.db`; the sequence only grows, so that the order stands whatever the clock says. A copy is taken from one
//! read snapshot beside the running writer. Its secrets are sealed as they are at rest. What an operator carries in has the sequence 0, so that it
//! is never taken for the newest.
//!
//! Not here: putting one back (`restore`), when to make one (`core::backup`).

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc::fsblkcnt_t;
use nix::sys::statvfs::statvfs;
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::error::{Failure, StoreError};
use super::place::{self, Place};
use super::{Options, date};
use crate::config::paths::Paths;
use crate::core::time::Wall;

/// Why a backup was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operator asked for it.
    Manual,
    /// The engine's schedule.
    Automatic,
    /// Before the schema changed.
    Migration,
    /// What was in force before a restore.
    Restore,
    /// An operator has put it here, to be restored; it is removed after that.
    Carried,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Manual, Self::Automatic, Self::Migration, Self::Restore, Self::Carried];

    /// As it stands in a name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "auto",
            Self::Migration => "migration",
            Self::Restore => "restore",
            Self::Carried => "carried",
        }
    }
}

/// One backup in the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupFile {
    /// What `restore` takes.
    pub name: String,
    /// Why it was made.
    pub kind: Kind,
    /// When, by the wall clock of then.
    pub at: Wall,
    /// Its size in bytes.
    pub size: u64,
    sequence: u64,
}

/// A well-formed name; anything else (a path, too) is none.
fn parse(name: &str) -> Option<BackupFile> {
    let (sequence, rest) = name.strip_suffix(".db")?.split_once('-')?;
    let (stamp, word) = rest.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == word)?;
    let at = date::parse(stamp)?;
    let counted = sequence.len() == 8 && sequence.bytes().all(|byte| byte.is_ascii_digit());
    counted.then(|| BackupFile { name: name.to_owned(), kind, at, size: 0, sequence: sequence.parse().unwrap_or(0) })
}

fn folder(store: &Path) -> PathBuf {
    store.join(Paths::BACKUPS)
}

/// The file of a backup that exists.
pub(super) fn find(store: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let none = || StoreError::NoSuchBackup(name.chars().take(80).collect());
    let path = folder(store).join(parse(name).ok_or_else(none)?.name);
    // A link would lead out of the folder.
    if path.symlink_metadata().is_ok_and(|file| file.is_file()) { Ok(path) } else { Err(none()) }
}

/// Takes one back that was made a moment ago.
pub(super) fn withdraw(store: &Path, name: &str) {
    let removed = find(store, name).and_then(|path| fs::remove_file(&path).map_err(|error| StoreError::io("removing", &path, &error)));
    if let Err(error) = removed {
        log::warn!("the backup {name} stays: {error}");
    }
}

/// All backups, the oldest first.
pub(super) fn list(store: &Path) -> Result<Vec<BackupFile>, StoreError> {
    let path = folder(store);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("reading", &path, &error)),
    };
    let mut found: Vec<_> = entries.filter_map(|entry| look(&entry.ok()?)).collect();
    found.sort_by(|a, b| (a.sequence, &a.name).cmp(&(b.sequence, &b.name)));
    Ok(found)
}

fn look(entry: &fs::DirEntry) -> Option<BackupFile> {
    let backup = parse(entry.file_name().to_str()?)?;
    // Of the entry itself, not of what a link leads to.
    let found = entry.metadata().ok().filter(fs::Metadata::is_file)?;
    Some(BackupFile { size: found.len(), ..backup })
}

/// Whether this store has ever made one.
pub(super) fn any(store: &Path) -> bool {
    list(store).is_ok_and(|all| all.iter().any(|backup| backup.kind != Kind::Carried))
}

/// The name of the newest one that can be put back. What was whole when it was made may be damaged by now, as the database is.
pub(super) fn newest_good(place: &Place) -> Option<String> {
    let made = list(&place.options.folder).ok()?.into_iter().rev().filter(|backup| backup.kind != Kind::Carried);
    made.map(|backup| backup.name).find(|name| match check(place, name) {
        Ok(()) => true,
        Err(error) => {
            log::warn!("the backup {name} is passed over: {error}");
            false
        }
    })
}

/// Whether a backup is whole, of this key and of a version that is known. Nothing is written.
fn check(place: &Place, name: &str) -> Result<(), StoreError> {
    let path = find(&place.options.folder, name)?;
    // Without a log: it has none, and none is to be made beside it.
    let quoted = path.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(format!("file:{quoted}?immutable=1"), flags)?;
    place.admit(&db, place.keys().map_err(StoreError::Failed)?).map_err(|failure| match failure {
        Failure::Unavailable(error) => *error,
        other => StoreError::Failed(other),
    })?;
    place::check(&db, &path)
}

/// A copy that nobody has asked for leaves a twentieth of the file system free, or 1 GiB where that is less: logins need the room.
pub(super) fn has_room(store: &Path) -> Result<(), StoreError> {
    const LEFT: u64 = 1 << 30;
    let path = store.join("store.db");
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let needed = size(&path) + size(&place::companion(&path, "-wal"));
    let disk = statvfs(store).map_err(|error| StoreError::io("looking for room in", store, &error.into()))?;
    let bytes = |blocks: fsblkcnt_t| blocks.saturating_mul(disk.fragment_size());
    let left = bytes(disk.blocks_available()).saturating_sub(needed);
    if left < (bytes(disk.blocks()) / 20).min(LEFT) { Err(StoreError::NearlyFull) } else { Ok(()) }
}

/// Copies an open database into the backups and gives the name. Only a copy that has been found whole gets one.
pub(super) fn copy(options: &Options, from: &Connection, kind: Kind) -> Result<String, StoreError> {
    let temporary = temporary(&options.folder)?;
    let made = copy_to(from, &temporary).and_then(|()| adopt(options, &temporary, kind));
    if made.is_err() {
        place::remove(&temporary)?;
    }
    made
}

/// Gives a closed database file that lies on the same file system a backup's name, and drops the oldest of that kind.
///
/// Of those that an operator asks for, one more stays until the next is asked for: the command that carries one away removes it again where that
/// fails, and then none of the good ones is gone for it.
pub(super) fn adopt(options: &Options, file: &Path, kind: Kind) -> Result<String, StoreError> {
    let folder = folder(&options.folder);
    let sequence = list(&options.folder)?.last().map_or(1, |last| last.sequence + 1);
    let name = format!("{sequence:08}-{}-{}.db", date::stamp((options.clock)()), kind.as_str());
    place::sync(file)?;
    let path = folder.join(&name);
    fs::rename(file, &path).map_err(|error| StoreError::io("naming", &path, &error))?;
    place::sync(&folder)?;
    let all = list(&options.folder)?;
    // What was carried in is removed by whoever did it, unless that was cut off.
    for kind in [kind, Kind::Carried] {
        let same: Vec<_> = all.iter().filter(|backup| backup.kind == kind).collect();
        let kept = options.backups.max(1) + usize::from(kind == Kind::Manual);
        for old in &same[..same.len().saturating_sub(kept)] {
            place::remove(&folder.join(&old.name))?;
        }
    }
    Ok(name)
}

/// Makes the folder, where it is missing.
pub(super) fn make_folder(store: &Path) -> Result<PathBuf, StoreError> {
    let folder = folder(store);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(StoreError::io("creating", &folder, &error)),
        _ => Ok(folder),
    }
}

/// An empty file in the backups' folder, which is made where it is missing.
pub(super) fn temporary(store: &Path) -> Result<PathBuf, StoreError> {
    let path = make_folder(store)?.join("new.db");
    place::remove(&path)?;
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    made.map_err(|error| StoreError::io("creating", &path, &error))?;
    Ok(path)
}

fn copy_to(from: &Connection, path: &Path) -> Result<(), StoreError> {
    // One snapshot for all pages, so that commits meanwhile neither show nor make the copy begin again.
    let snapshot = from.unchecked_transaction()?;
    snapshot.query_row("SELECT count(*) FROM meta", [], |_| Ok(()))?;
    let mut to = Connection::open(path)?;
    to.execute_batch("PRAGMA cache_size = -512; PRAGMA synchronous = OFF;")?;
    let backup = Backup::new(&snapshot, &mut to)?;
    loop {
        match backup.step(1024)? {
            StepResult::Done => break,
            StepResult::More => {}
            _ => return Err(StoreError::Locked),
        }
    }
    drop(backup);
    drop(snapshot);
    // A backup is one file, without a log.
    to.execute_batch("PRAGMA journal_mode = DELETE")?;
    place::check_whole(&to)?;
    place::close(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_names_are_names() {
        assert_eq!(parse("00000012-20261124T104846Z-auto.db").unwrap().kind, Kind::Automatic);
        for bad in ["", "../x.db", "00000012-20261124T104846Z-auto.db/..", "/etc/passwd", "1-20261124T104846Z-auto.db", "new.db"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
        for bad in ["00000012-20261124T104846Z-evil.db", "00000012-2026112éT10484Z-auto.db", "00000012-20261124T104846Z-auto.db\0"] {
            assert!(parse(bad).is_none(), "{bad}");
        }
    }
}
