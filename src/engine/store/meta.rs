//! Single values: the key check, and when the engine last committed with a clock that it believed.

use rusqlite::params;

use super::error::StoreError;
use super::view::{Tx, View};
use crate::core::time::Wall;

/// Seconds by which a stored time may lag, so that not each commit writes it.
const LAG: i64 = 60;

impl View<'_> {
    /// The wall clock at about the last commit (a minute's grain) that called [`Tx::believe_clock`].
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn believed_clock(&self) -> Result<Option<Wall>, StoreError> {
        if let Some(seen) = self.seen.believed_clock.get() {
            return Ok(seen);
        }
        let found = self.first("SELECT value FROM meta WHERE key = 'believed_clock'", [], |row| Ok(Wall(row.get(0)?)))?;
        self.seen.believed_clock.set(Some(found));
        Ok(found)
    }

    /// The stored key check; `None` in a database without one.
    pub(super) fn key_check(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.first("SELECT value FROM meta WHERE key = 'key_check'", [], |row| row.get(0))
    }
}

impl Tx<'_> {
    /// Notes that the caller holds `now` for plausible, for judging the clock later (B5).
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn believe_clock(&self, now: Wall) -> Result<(), StoreError> {
        let near = self.believed_clock()?.is_some_and(|known| known.0.abs_diff(now.0) < LAG.unsigned_abs());
        if !near {
            self.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('believed_clock', ?)", params![now.0])?;
            self.seen.believed_clock.set(None);
        }
        Ok(())
    }

    pub(super) fn store_key_check(&self) -> Result<(), StoreError> {
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('key_check', ?)", params![self.keys.check()])?;
        Ok(())
    }
}
