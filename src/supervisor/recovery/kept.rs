//! What a press leaves on the disk: its record, its stamp, the mark for PAM, and the reserve that a full disk is opened with.
//!
//! What this does not do: decide what the record says.

use std::path::PathBuf;

use super::outcome::{Published, RecoveryError};
use super::{Recovery, is_fit};
use crate::config::paths::Paths;
use crate::core::recovery::{Now, Phase, Record, VERSION};
use crate::core::time::BootTime;
use crate::sys::atomic_file::{self, Disk, FileError};

/// The bytes kept for a full disk.
const RESERVE: usize = 256 << 10;

impl Recovery {
    /// Reads the record, where that has failed until now.
    pub(super) fn read_late(&mut self, now: &Now) -> Result<(), RecoveryError> {
        if self.unread {
            self.record = read_record(&*self.disk, &self.paths).map_err(RecoveryError::Record)?;
            self.unread = false;
            let account = self.config.account.clone();
            match self.off_unread.take() {
                Some(true) => self.settle(Phase::Off, &account, &format!("{account} is off: turned off by hand")),
                Some(false) => self.leave_no_time(&account, now),
                None => {}
            }
            if self.doubt.is_some() {
                self.account_of_last();
            }
        }
        Ok(())
    }

    pub(super) fn publish(&self, account: &str, until: BootTime) -> Result<(), FileError> {
        let until_boot_ms = u64::try_from(until.0.as_millis()).unwrap_or(u64::MAX);
        let text = serde_json::to_vec(&Published { account: account.into(), until_boot_ms }).unwrap_or_default();
        atomic_file::replace(&*self.disk, &self.paths.recovered(), &text, 0o600)
    }

    pub(super) fn unpublish(&self) -> Result<(), RecoveryError> {
        atomic_file::remove(&*self.disk, &self.paths.recovered()).map_err(RecoveryError::Publish)
    }

    pub(super) fn renew_stamp(&self, press: u64) -> Result<(), FileError> {
        let text = format!("{press}\n");
        self.with_reserve(FileError::is_full, || atomic_file::replace(&*self.disk, &self.paths.stamp(), text.as_bytes(), 0o600))
    }

    /// Where the power went between the stamp of a press and its hooks: the stamp is renewed, so that whoever watches it sees it once more.
    pub(super) fn call_hooks_again(&self, press: u64) {
        let number = |path: PathBuf| atomic_file::read(&*self.disk, &path).ok().and_then(|text| press_number(&text));
        if number(self.paths.stamp()) == Some(press)
            && number(self.paths.hooks_ran()).unwrap_or_default() < press
            && let Err(error) = self.renew_stamp(press)
        {
            log::warn!("the hooks of press {press} wait for the next one: {error}");
        }
    }

    pub(super) fn keep(&self) -> Result<(), FileError> {
        let text = self.record.as_ref().and_then(|record| serde_json::to_vec_pretty(record).ok()).unwrap_or_default();
        self.with_reserve(FileError::is_full, || atomic_file::replace(&*self.disk, &self.paths.recovery_record(), &text, 0o600))
    }

    /// A record that still says "intended" would bring the account back at the next start: where the new one cannot be written, no record is
    /// better, unless the old one says the same. Removing needs no room.
    pub(super) fn keep_or_forget(&self) {
        if let Err(error) = self.keep() {
            log::error!("the outcome of the press could not be noted: {error}");
            if self.noted() == self.record.as_ref().map(|record| (record.press, record.phase)) {
                return;
            }
            if let Err(error) = atomic_file::remove(&*self.disk, &self.paths.recovery_record()) {
                log::error!("nor the record be removed: {error}");
            }
        }
    }

    /// What must not be lost is written again later where it can't be now.
    pub(super) fn keep_or_later(&mut self) {
        if let Err(error) = self.keep() {
            log::error!("what became of the press could not be noted, and is tried again: {error}");
            self.unkept = true;
        }
    }

    /// Which press the record on the disk has, and how far it came there.
    fn noted(&self) -> Option<(u64, Phase)> {
        let text = atomic_file::read(&*self.disk, &self.paths.recovery_record()).ok()?;
        serde_json::from_slice::<Record>(&text).ok().map(|record| (record.press, record.phase))
    }

    pub(super) fn with_reserve<T, E>(&self, is_full: fn(&E) -> bool, act: impl Fn() -> Result<T, E>) -> Result<T, E> {
        match act() {
            Err(error) if is_full(&error) && self.spend_reserve() => act(),
            outcome => outcome,
        }
    }

    fn spend_reserve(&self) -> bool {
        let reserve = self.paths.reserve();
        let spent = reserve.exists() && atomic_file::remove(&*self.disk, &reserve).is_ok();
        if spent {
            log::warn!("the disk is full: {} was given up for this press", reserve.display());
        }
        spent
    }

    pub(super) fn refill_reserve(&self) {
        let reserve = self.paths.reserve();
        if !reserve.exists()
            && let Err(error) = atomic_file::replace(&*self.disk, &reserve, &[0xA5; RESERVE], 0o600)
        {
            log::warn!("no room is kept for a press on a full disk: {error}");
        }
    }
}

/// A press number on disk: digits and a line feed.
pub(in crate::supervisor) fn press_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_end().parse().ok()
}

/// A press that has renewed its stamp came to its end, and only the note of that could not be kept: it counts as carried out. What somebody has set
/// since then is judged at the end of its window, as always, and never overwritten.
fn completed(disk: &dyn Disk, paths: &Paths, record: Record) -> Record {
    let stamped = || atomic_file::read(disk, &paths.stamp()).is_ok_and(|text| press_number(&text) == Some(record.press));
    if record.phase != Phase::Intended || !stamped() {
        return record;
    }
    Record {
        phase: Phase::Recovered,
        outcome: "recovered; but the rest of what came of it could not be noted".into(),
        refused: false,
        former: None,
        ..record
    }
}

/// The record. One that is none is set aside and logged.
///
/// # Errors
/// Where it can't be read now: the disk may answer later, and nothing is known of it until then.
pub(super) fn read_record(disk: &dyn Disk, paths: &Paths) -> Result<Option<Record>, FileError> {
    let path = paths.recovery_record();
    let reason = match atomic_file::read(disk, &path) {
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) if error.source.raw_os_error().is_some() => return Err(error),
        // No file, or none of ours.
        Err(error) => error.to_string(),
        Ok(text) => match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.version == VERSION && is_fit(&record.account) => return Ok(Some(completed(disk, paths, record))),
            Ok(_) => "written by another version".into(),
            // Without serde's message, which may quote the hash.
            Err(error) => format!("no record (line {}, column {})", error.line(), error.column()),
        },
    };
    let aside = path.with_extension("json.bad");
    log::error!(
        "{}: {reason}; set aside as {}. If a press left the account on, turn it off: twostep recovery disable",
        path.display(),
        aside.display()
    );
    if let Err(error) = atomic_file::rename(disk, &path, &aside) {
        log::error!("{error}");
    }
    Ok(None)
}
