//! The audit trail (B9): bounded by rows, with ids that only grow.
//!
//! A decision's entry is part of the decision's own commit ([`Tx::audit`]). What carries no decision waits in memory for the next commit
//! (`Store::note`).
//!
//! Not here: what an event is called; the caller keeps secrets out.

use rusqlite::{Row, params};

use super::error::StoreError;
use super::view::{Tx, View};
use crate::core::time::Wall;

/// One entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, by the wall clock of then.
    pub at: Wall,
    /// What happened, in a word.
    pub event: String,
    /// The account concerned.
    pub user: Option<String>,
    /// Who did it.
    pub by: String,
    /// The login service.
    pub service: Option<String>,
    /// The client's address.
    pub remote: Option<String>,
    /// More, for people.
    pub detail: Option<String>,
}

/// Old rows go this many at a time, so that most commits delete nothing.
const SLACK: i64 = 1024;

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, at, event, user, actor, service, remote, detail FROM audit ", $rest)
    };
}

pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<(i64, AuditEntry)> {
    let entry = AuditEntry {
        at: Wall(row.get(1)?),
        event: row.get(2)?,
        user: row.get(3)?,
        by: row.get(4)?,
        service: row.get(5)?,
        remote: row.get(6)?,
        detail: row.get(7)?,
    };
    Ok((row.get(0)?, entry))
}

impl View<'_> {
    /// The newest `limit` entries below `before` (of one user), newest first.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn audit_before(&self, before: Option<i64>, user: Option<&str>, limit: u32) -> Result<Vec<(i64, AuditEntry)>, StoreError> {
        let sql = select!("WHERE id < ?1 AND (?2 IS NULL OR user = ?2) ORDER BY id DESC LIMIT ?3");
        self.all(sql, params![before.unwrap_or(i64::MAX), user, limit], entry)
    }

    /// The oldest `limit` entries above `after` (of one user), oldest first.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn audit_after(&self, after: i64, user: Option<&str>, limit: u32) -> Result<Vec<(i64, AuditEntry)>, StoreError> {
        let sql = select!("WHERE id > ?1 AND (?2 IS NULL OR user = ?2) ORDER BY id LIMIT ?3");
        self.all(sql, params![after, user, limit], entry)
    }

    /// The id of the newest entry; 0 before the first.
    pub(super) fn last_audit(&self) -> Result<i64, StoreError> {
        Ok(self.first("SELECT ifnull(max(id), 0) FROM audit", [], |row| row.get(0))?.unwrap_or(0))
    }
}

impl Tx<'_> {
    /// Adds an entry to this commit.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn audit(&self, new: &AuditEntry) -> Result<(), StoreError> {
        // Without an id, SQLite takes the highest one plus one; trimming never takes the highest.
        let sql = "INSERT INTO audit (at, event, user, actor, service, remote, detail) VALUES (?, ?, ?, ?, ?, ?, ?)";
        self.run_aside(sql, params![new.at.0, new.event, new.user, new.by, new.service, new.remote, new.detail])?;
        Ok(())
    }

    /// Drops what exceeds `rows` (at least 1), after the trail grew from `before` to `last`.
    pub(super) fn trim_audit(&self, rows: u32, before: i64, last: i64) -> Result<(), StoreError> {
        if before / SLACK != last / SLACK {
            self.run_aside("DELETE FROM audit WHERE id <= ?", [last - i64::from(rows.max(1))])?;
        }
        Ok(())
    }
}
