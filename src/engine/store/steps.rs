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

/// A stored mark.
#[derive(Clone, Copy)]
pub(super) struct Marked {
    step: i64,
    mark: Mark,
    /// Its place in the account's order of insertion.
    seq: i64,
}

impl View<'_> {
    /// How a step of the account was marked.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn mark(&self, uid: u32, step: TimeStep) -> Result<Option<Mark>, StoreError> {
        Ok(self.mark_before(uid, number(step))?.filter(|found| found.step == number(step)).map(|found| found.mark))
    }

    /// The account's latest mark at or before `step`: mostly the latest of all, which is looked up once for all that ask in a row.
    fn mark_before(&self, uid: u32, step: i64) -> Result<Option<Marked>, StoreError> {
        match self.last_mark(uid)? {
            Some(last) if last.step > step => self.find_mark(uid, step),
            last => Ok(last),
        }
    }

    /// The account's latest mark.
    fn last_mark(&self, uid: u32) -> Result<Option<Marked>, StoreError> {
        if let Some((of, seen)) = self.seen.last_mark.get()
            && of == uid
        {
            return Ok(seen);
        }
        let found = self.find_mark(uid, i64::MAX)?;
        self.seen.last_mark.set(Some((uid, found)));
        Ok(found)
    }

    fn find_mark(&self, uid: u32, step: i64) -> Result<Option<Marked>, StoreError> {
        let sql = "SELECT step, burnt, seq FROM used_steps WHERE uid = ? AND step <= ? ORDER BY step DESC LIMIT 1";
        self.first(sql, params![uid, step], |row| {
            Ok(Marked { step: row.get(0)?, mark: if row.get(1)? { Mark::Burnt } else { Mark::Used }, seq: row.get(2)? })
        })
    }
}

impl Tx<'_> {
    /// Marks a step: `true` for whoever comes first, `false` where it is marked already. `now` is the step of now, for pruning. The account is stored:
    /// that is not looked at here.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn mark_step(&self, uid: u32, step: TimeStep, mark: Mark, now: TimeStep) -> Result<bool, StoreError> {
        // The latest mark of all and the latest at or before it in time, mostly the same one, give the order of insertion without a look at all.
        let (last, at) = (self.last_mark(uid)?, self.mark_before(uid, number(step))?);
        if at.is_some_and(|at| at.step == number(step)) {
            return Ok(false);
        }
        let seq = 1 + at.into_iter().chain(last).map(|marked| marked.seq).max().unwrap_or(0);
        let new = Marked { step: number(step), mark, seq };
        self.seen.last_mark.set(None);
        let sql = "INSERT INTO used_steps (uid, step, burnt, seq) VALUES (?, ?, ?, ?)";
        self.run_aside(sql, params![uid, new.step, mark == Mark::Burnt, seq])?;
        let last = last.filter(|last| last.step > new.step).unwrap_or(new);
        if seq % KEPT == 0 {
            self.prune_steps(uid, (last.step, seq - KEPT), number(now))?;
        } else {
            self.seen.last_mark.set(Some((uid, Some(last))));
        }
        Ok(true)
    }

    /// Drops what may go. Most accounts have nothing that is far away, and to see that costs less than to find nothing to delete.
    fn prune_steps(&self, uid: u32, (latest, last): (i64, i64), now: i64) -> Result<(), StoreError> {
        let (past, future) = (now.saturating_sub(FAR), now.saturating_add(FAR));
        let earliest = self.first("SELECT step FROM used_steps WHERE uid = ? ORDER BY step LIMIT 1", [uid], |row| row.get::<_, i64>(0))?;
        if earliest.is_some_and(|step| step < past) {
            self.run_aside("DELETE FROM used_steps WHERE uid = ? AND step < ? AND seq <= ?", params![uid, past, last])?;
        }
        if latest > future {
            self.run_aside("DELETE FROM used_steps WHERE uid = ? AND step > ? AND seq <= ?", params![uid, future, last])?;
        }
        Ok(())
    }
}

fn number(step: TimeStep) -> i64 {
    step.0.cast_signed()
}
