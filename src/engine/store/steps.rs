//! Used time steps, one row each: an accepted code is accepted exactly once (B1), and only that one is burnt (B5).
//!
//! There is no watermark: a step used while the clock was wrong says nothing about any other step. A row is dropped only where both hold:
//! [`KEPT`] later marks of the same account are stored, and its step is more than [`FAR`] steps away from the step of now. The first is counted
//! in uses and not in time, so that no clock, however wrong, makes the latest ones forgotten; to reach an older one again, the clock would
//! have to go back to before [`KEPT`] later logins of that account.
//!
//! Not here: which steps are acceptable now (`core::totp`).

use rusqlite::params;

use super::error::StoreError;
use super::view::{Tx, View};
use crate::core::totp::{Mark, TimeStep};

/// Later marks that protect one from being dropped.
pub const KEPT: i64 = 16;

/// Distance from now, in time steps, within which nothing is dropped: a week of the usual 30 s.
pub const FAR: i64 = 7 * 24 * 120;

impl View<'_> {
    /// How a step of the account was marked.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn mark(&self, uid: u32, step: TimeStep) -> Result<Option<Mark>, StoreError> {
        self.first("SELECT burnt FROM used_steps WHERE uid = ? AND step = ?", params![uid, number(step)], |row| {
            Ok(if row.get(0)? { Mark::Burnt } else { Mark::Used })
        })
    }
}

impl Tx<'_> {
    /// Marks a step: `true` for whoever comes first, `false` where it is marked already. `now` is the step of now, for pruning.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn mark_step(&self, uid: u32, step: TimeStep, mark: Mark, now: TimeStep) -> Result<bool, StoreError> {
        // The latest mark of all and the latest at or before it in time, mostly the same one, give the order of insertion without a look at all.
        let last = self.latest_mark(uid, i64::MAX)?;
        let at = if last.is_some_and(|(marked, _)| marked > number(step)) { self.latest_mark(uid, number(step))? } else { last };
        if at.is_some_and(|(marked, _)| marked == number(step)) {
            return Ok(false);
        }
        let seq = 1 + at.into_iter().chain(last).map(|(_, seq)| seq).max().unwrap_or(0);
        let sql = "INSERT INTO used_steps (uid, step, burnt, seq) VALUES (?, ?, ?, ?)";
        self.run_aside(sql, params![uid, number(step), mark == Mark::Burnt, seq])?;
        if seq % KEPT == 0 {
            self.prune_steps(uid, seq - KEPT, number(now))?;
        }
        Ok(true)
    }

    /// Step and order of the account's latest mark at or before `step`.
    fn latest_mark(&self, uid: u32, step: i64) -> Result<Option<(i64, i64)>, StoreError> {
        let sql = "SELECT step, seq FROM used_steps WHERE uid = ? AND step <= ? ORDER BY step DESC LIMIT 1";
        self.first(sql, params![uid, step], |row| Ok((row.get(0)?, row.get(1)?)))
    }

    fn prune_steps(&self, uid: u32, last: i64, now: i64) -> Result<(), StoreError> {
        let past = "DELETE FROM used_steps WHERE uid = ? AND step < ? AND seq <= ?";
        self.run_aside(past, params![uid, now.saturating_sub(FAR), last])?;
        let future = "DELETE FROM used_steps WHERE uid = ? AND step > ? AND seq <= ?";
        self.run_aside(future, params![uid, now.saturating_add(FAR), last])?;
        Ok(())
    }
}

fn number(step: TimeStep) -> i64 {
    step.0.cast_signed()
}
