//! Single values: the key check, and when the engine last committed with a clock that it believed.
//!
//! Of a clock that jumps nobody can tell which side of the jump was wrong. So two times are kept (B5):
//!
//! - The last one follows the clock both ways. Trust in devices is judged by it, and what has ended by it is forgotten for good: no clock that stands
//!   back brings it back, and what is trusted after a clock was ahead is trusted at once.
//! - The latest one never falls. Whether the clock is far ahead is judged by it where the last one says so: after a while of a clock that stood back
//!   by years the right time is nothing new. Where a wrong clock has raised it, a clock that is far ahead is found out later, which keeps nobody out.
//!
//! Used codes and waits need neither: steps are kept one by one (`steps`), and waits go by the time since boot (`core::clock`).

use rusqlite::params;

use super::error::StoreError;
use super::view::{Tx, View};
use crate::core::time::Wall;

/// Seconds by which a stored time may lag, so that not each commit writes it.
const LAG: i64 = 60;

/// The times that a wall clock is judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BelievedClocks {
    /// See [`View::believed_clock`].
    pub believed: Option<Wall>,
    /// See [`View::latest_clock`].
    pub latest: Option<Wall>,
}

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

    /// The latest wall clock of any commit that called [`Tx::believe_clock`].
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn latest_clock(&self) -> Result<Option<Wall>, StoreError> {
        let found = self.first("SELECT value FROM meta WHERE key = 'latest_clock'", [], |row| Ok(Wall(row.get(0)?)))?;
        // Before the third version there was none.
        Ok(found.max(self.believed_clock()?))
    }

    /// Both.
    pub(super) fn believed_clocks(&self) -> Result<BelievedClocks, StoreError> {
        Ok(BelievedClocks { believed: self.believed_clock()?, latest: self.latest_clock()? })
    }

    /// The stored key check; `None` in a database without one.
    pub(super) fn key_check(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.first("SELECT value FROM meta WHERE key = 'key_check'", [], |row| row.get(0))
    }
}

impl Tx<'_> {
    /// Notes that the caller holds `now` for plausible, for judging the clock later, and forgets the trust that has ended by it.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn believe_clock(&self, now: Wall) -> Result<(), StoreError> {
        let known = self.believed_clock()?;
        if known.is_some_and(|known| known.0.abs_diff(now.0) < LAG.unsigned_abs()) {
            return Ok(());
        }
        let latest =
            "INSERT INTO meta (key, value) VALUES ('latest_clock', ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)";
        self.run_aside(latest, [known.max(Some(now)).map(|wall| wall.0)])?;
        self.run_aside("INSERT OR REPLACE INTO meta (key, value) VALUES ('believed_clock', ?)", params![now.0])?;
        self.seen.believed_clock.set(None);
        self.seen.clocks_changed.set(true);
        self.end_trust(now)
    }

    pub(super) fn store_key_check(&self) -> Result<(), StoreError> {
        self.run("INSERT OR REPLACE INTO meta (key, value) VALUES ('key_check', ?)", params![self.keys.check()])?;
        Ok(())
    }
}
