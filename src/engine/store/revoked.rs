//! What must never come back from a backup: one row for each secret, set of recovery codes, authenticator and delegation that was revoked.
//!
//! Trusted devices have none, since a restore drops them all.

use rusqlite::params;

use super::error::StoreError;
use super::view::{Tx, View};

/// What was revoked. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Secret = 0,
    RecoveryCodes = 1,
    Authenticator = 2,
    Delegation = 3,
}

impl View<'_> {
    pub(super) fn is_revoked(&self, kind: Kind, id: &[u8]) -> Result<bool, StoreError> {
        Ok(self.first("SELECT 1 FROM revoked WHERE kind = ? AND id = ?", params![kind as i64, id], |_| Ok(()))?.is_some())
    }
}

impl Tx<'_> {
    pub(super) fn mark_revoked(&self, kind: Kind, id: &[u8]) -> Result<(), StoreError> {
        self.run("INSERT OR IGNORE INTO revoked (kind, id) VALUES (?, ?)", params![kind as i64, id])?;
        Ok(())
    }

    /// A delegation may be granted again; everything else is new under a new id.
    pub(super) fn unmark_revoked(&self, kind: Kind, id: &[u8]) -> Result<(), StoreError> {
        self.run("DELETE FROM revoked WHERE kind = ? AND id = ?", params![kind as i64, id])?;
        Ok(())
    }
}
