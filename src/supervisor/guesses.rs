//! Wrong passwords, counted for each account, on disk: `passwords.json` in the state folder.
//!
//! They are counted apart from wrong second steps, so that guessing at one never locks the other. A wrong password never locks for good, it
//! only slows: the waits are those of `core::lockout`.
//!
//! At most [`MOST`] names are remembered. A name may be invented, and what is invented must not push out an account that is guessed at: only a
//! name that need not wait yet goes, the one with the fewest wrong ones first, or one that has been left alone for [`STALE`]. Where all have to
//! wait, a further name is refused: whoever fills the memory slows others, and never gets free guesses by it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use log::error;
use serde::{Deserialize, Serialize};

use crate::core::clock::{BootId, Moment};
use crate::core::lockout::{FREE, Failures, Gate, LOCKED_AT};
use crate::core::time::{BootTime, Wall};
use crate::sys::atomic_file::{self, Disk};

/// More accounts are not remembered.
const MOST: usize = 1000;

/// After this time without an attempt a count may make room for another.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// The counts, and the file that holds them.
pub struct Guesses {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    counts: BTreeMap<String, Count>,
}

/// One account's wrong passwords in a row, and all clocks at the last one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Count {
    in_a_row: u32,
    wall: Wall,
    boot: BootTime,
    boot_id: [u8; 16],
    synchronised: bool,
}

impl Guesses {
    /// Reads the counts. A file that can't be read is set aside in words: counting begins anew.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, file: PathBuf) -> Self {
        let counts = match atomic_file::read(&*disk, &file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|e| format!("{}: {e}", file.display())),
            Err(e) if e.is_missing() => Ok(BTreeMap::new()),
            Err(e) => Err(e.to_string()),
        };
        let counts = counts.unwrap_or_else(|e| {
            error!("wrong passwords are counted anew: {e}");
            BTreeMap::new()
        });
        Self { disk, file, counts }
    }

    /// Whether a password of this account is looked at now.
    #[must_use]
    pub fn gate(&self, account: &str, now: &Moment) -> Gate {
        self.counts.get(account).map_or(Failures::default(), Count::failures).gate(now)
    }

    /// Counts one attempt.
    ///
    /// # Errors
    /// Where it can't be kept, or there is no room for a further name: then it must not be made, and nothing is counted.
    pub fn count(&mut self, account: &str, now: &Moment) -> Result<(), String> {
        let mut counts = self.counts.clone();
        if counts.len() >= MOST && !counts.contains_key(account) {
            make_room(&mut counts, now)?;
        }
        let before = counts.get(account).map_or(0, |count| count.in_a_row);
        let in_a_row = before.saturating_add(1).min(LOCKED_AT - 1);
        let Moment { wall, boot, boot_id: BootId(boot_id), synchronised } = *now;
        counts.insert(account.into(), Count { in_a_row, wall, boot, boot_id, synchronised });
        self.keep(counts)
    }

    /// The password was right.
    ///
    /// # Errors
    /// Where it can't be kept: then the count stays.
    pub fn reset(&mut self, account: &str) -> Result<(), String> {
        let mut counts = self.counts.clone();
        counts.remove(account);
        self.keep(counts)
    }

    /// Nothing was decided: the attempt does not count.
    ///
    /// # Errors
    /// Where it can't be kept: then it counts.
    pub fn take_back(&mut self, account: &str) -> Result<(), String> {
        let mut counts = self.counts.clone();
        if let Some(count) = counts.get_mut(account) {
            count.in_a_row = count.in_a_row.saturating_sub(1);
        }
        counts.retain(|_, count| count.in_a_row > 0);
        self.keep(counts)
    }

    /// On disk first: memory never says anything else.
    fn keep(&mut self, counts: BTreeMap<String, Count>) -> Result<(), String> {
        let text = serde_json::to_vec(&counts).map_err(|e| e.to_string())?;
        atomic_file::replace(&*self.disk, &self.file, &text, 0o600).map_err(|e| e.to_string())?;
        self.counts = counts;
        Ok(())
    }
}

fn make_room(counts: &mut BTreeMap<String, Count>, now: &Moment) -> Result<(), String> {
    let may_go = |count: &Count| count.in_a_row < FREE || now.since(&count.last()) >= STALE;
    let fewest = counts.iter().filter(|(_, count)| may_go(count)).min_by_key(|(_, count)| count.in_a_row).map(|(name, _)| name.clone());
    let Some(name) = fewest else {
        return Err(format!("passwords of {MOST} other accounts are being guessed at, and no further one can be counted; try again later"));
    };
    counts.remove(&name);
    Ok(())
}

impl Count {
    fn last(&self) -> Moment {
        Moment { wall: self.wall, boot: self.boot, boot_id: BootId(self.boot_id), synchronised: self.synchronised }
    }

    fn failures(&self) -> Failures {
        Failures { in_a_row: self.in_a_row, last: Some(self.last()) }
    }
}

impl std::fmt::Debug for Guesses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guesses").field("file", &self.file).field("accounts", &self.counts.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::atomic_file::RealDisk;

    fn at(seconds: u64) -> Moment {
        Moment { boot: BootTime(Duration::from_secs(seconds)), boot_id: BootId([1; 16]), ..Moment::default() }
    }

    fn open(folder: &tempfile::TempDir) -> Guesses {
        Guesses::open(Arc::new(RealDisk), folder.path().join("passwords.json"))
    }

    #[test]
    fn five_wrong_passwords_are_free_and_the_count_survives_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..5 {
            let mut guesses = open(&folder);
            assert!(guesses.gate("alice", &at(0)).is_open());
            guesses.count("alice", &at(0)).unwrap();
        }
        assert_eq!(open(&folder).gate("alice", &at(0)).retry_after(), Some(30));
        assert!(open(&folder).gate("bob", &at(0)).is_open());
    }

    #[test]
    fn the_right_password_clears_the_count_and_an_undecided_check_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut guesses = open(&folder);
        for _ in 0..5 {
            guesses.count("alice", &at(0)).unwrap();
        }
        guesses.take_back("alice").unwrap();
        assert!(guesses.gate("alice", &at(0)).is_open());
        guesses.count("alice", &at(0)).unwrap();
        assert!(!guesses.gate("alice", &at(0)).is_open());
        guesses.reset("alice").unwrap();
        assert!(open(&folder).gate("alice", &at(0)).is_open());
    }

    #[test]
    fn guessing_never_locks_for_good() {
        let folder = tempfile::tempdir().unwrap();
        let mut guesses = open(&folder);
        for _ in 0..200 {
            guesses.count("alice", &at(0)).unwrap();
        }
        assert_eq!(guesses.gate("alice", &at(0)).retry_after(), Some(900));
        assert!(guesses.gate("alice", &at(900)).is_open());
    }

    #[test]
    fn a_flood_of_names_does_not_forget_who_is_guessed_at() {
        let folder = tempfile::tempdir().unwrap();
        let mut guesses = open(&folder);
        for _ in 0..5 {
            guesses.count("alice", &at(0)).unwrap();
        }
        for number in 0..MOST + 5 {
            guesses.counts.insert(format!("x{number}"), Count { in_a_row: 1, ..guesses.counts["alice"].clone() });
            guesses.counts.retain(|name, _| name != &format!("x{}", number.wrapping_sub(MOST - 1)));
        }
        guesses.count("mallory", &at(0)).unwrap();
        assert!(!guesses.gate("alice", &at(0)).is_open());
        assert!(guesses.counts.len() <= MOST);
    }

    #[test]
    fn where_everybody_has_to_wait_a_further_name_is_refused_until_one_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut guesses = open(&folder);
        for _ in 0..FREE {
            guesses.count("alice", &at(0)).unwrap();
        }
        for number in 1..MOST {
            guesses.counts.insert(format!("x{number}"), guesses.counts["alice"].clone());
        }
        assert!(guesses.count("mallory", &at(1)).unwrap_err().contains("try again later"));
        guesses.count("alice", &at(1)).unwrap();
        assert_eq!((guesses.counts.len(), guesses.counts["alice"].in_a_row), (MOST, FREE + 1));
        guesses.count("bob", &at(STALE.as_secs())).unwrap();
        assert!(guesses.counts.contains_key("alice"));
    }

    #[test]
    fn what_cannot_be_kept_is_not_counted_in_memory_either() {
        let folder = tempfile::tempdir().unwrap();
        let mut guesses = open(&folder);
        guesses.count("alice", &at(0)).unwrap();
        guesses.file = folder.path().join("no such folder/passwords.json");
        for _ in 0..10 {
            guesses.count("alice", &at(0)).unwrap_err();
        }
        guesses.reset("alice").unwrap_err();
        guesses.take_back("alice").unwrap_err();
        assert_eq!(guesses.counts["alice"].in_a_row, 1);
    }
}
