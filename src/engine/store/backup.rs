//! Backups: consistent copies in `backups/`, checked whole before they count, a bounded number of each kind kept.
//!
//! Names are `<sequence>-<UTC>-<kind>.db`; the sequence only grows, so that the order stands whatever the clock says. A copy is taken from one
//! read snapshot beside the running writer. Its secrets are sealed as they are at rest.
//!
//! Not here: putting one back (`restore`), when to make one (the caller's schedule).

use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use super::error::StoreError;
use super::{Options, date, place};
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
}

impl Kind {
    const ALL: [Self; 4] = [Self::Manual, Self::Automatic, Self::Migration, Self::Restore];

    fn word(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Automatic => "auto",
            Self::Migration => "migration",
            Self::Restore => "restore",
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
    sequence: u64,
}

/// A well-formed name; anything else (a path, too) is none.
fn parse(name: &str) -> Option<BackupFile> {
    let (sequence, rest) = name.strip_suffix(".db")?.split_once('-')?;
    let (stamp, word) = rest.split_once('-')?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == word)?;
    let at = date::parse(stamp)?;
    let counted = sequence.len() == 8 && sequence.bytes().all(|byte| byte.is_ascii_digit());
    counted.then(|| BackupFile { name: name.to_owned(), kind, at, sequence: sequence.parse().unwrap_or(0) })
}

fn folder(store: &Path) -> PathBuf {
    store.join("backups")
}

/// The file of a backup that exists.
pub(super) fn find(store: &Path, name: &str) -> Result<PathBuf, StoreError> {
    let none = || StoreError::NoSuchBackup(name.chars().take(80).collect());
    let path = folder(store).join(parse(name).ok_or_else(none)?.name);
    // A link would lead out of the folder.
    if path.symlink_metadata().is_ok_and(|file| file.is_file()) { Ok(path) } else { Err(none()) }
}

/// All backups, the oldest first.
pub(super) fn list(store: &Path) -> Result<Vec<BackupFile>, StoreError> {
    let path = folder(store);
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(StoreError::io("reading", &path, &error)),
    };
    let mut found: Vec<_> = entries.filter_map(|entry| parse(entry.ok()?.file_name().to_str()?)).collect();
    found.sort_by(|a, b| (a.sequence, &a.name).cmp(&(b.sequence, &b.name)));
    Ok(found)
}

/// The name of the newest backup.
pub(super) fn newest(store: &Path) -> Option<String> {
    Some(list(store).ok()?.pop()?.name)
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
pub(super) fn adopt(options: &Options, file: &Path, kind: Kind) -> Result<String, StoreError> {
    let folder = folder(&options.folder);
    let sequence = list(&options.folder)?.last().map_or(1, |last| last.sequence + 1);
    let name = format!("{sequence:08}-{}-{}.db", date::stamp((options.clock)()), kind.word());
    place::sync(file)?;
    let path = folder.join(&name);
    fs::rename(file, &path).map_err(|error| StoreError::io("naming", &path, &error))?;
    place::sync(&folder)?;
    let mut same: Vec<_> = list(&options.folder)?.into_iter().filter(|backup| backup.kind == kind).collect();
    same.truncate(same.len().saturating_sub(options.backups.max(1)));
    for old in same {
        place::remove(&folder.join(old.name))?;
    }
    Ok(name)
}

/// An empty file in the backups' folder, which is made where it is missing.
pub(super) fn temporary(store: &Path) -> Result<PathBuf, StoreError> {
    let folder = folder(store);
    match fs::DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(StoreError::io("creating", &folder, &error)),
        _ => {}
    }
    let path = folder.join("new.db");
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
