//! Login requests that were denied on a phone and of which the account's owner was not told yet.
//!
//! One row for an account, however often it was denied. It stays until its owner has passed a second step, so that whoever has the password alone can't
//! have it told to himself and gone.
//!
//! Not here: how it is said.

use rusqlite::params;

use super::error::StoreError;
use super::view::{Tx, View};
use crate::core::time::Wall;

/// What was denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// When, the last time.
    pub at: Wall,
    /// Into which service, the last time.
    pub service: String,
    /// From which address, the last time.
    pub remote: Option<String>,
    /// How often.
    pub times: u32,
}

impl View<'_> {
    /// What the account's owner was not told yet.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn denial(&self, uid: u32) -> Result<Option<Denial>, StoreError> {
        if !self.has_denials()? {
            return Ok(None);
        }
        self.first("SELECT at, service, remote, times FROM denials WHERE uid = ?", [uid], |row| {
            Ok(Denial { at: Wall(row.get(0)?), service: row.get(1)?, remote: row.get(2)?, times: row.get(3)? })
        })
    }

    /// Whether there is one of any account: hardly ever, so that most logins look no further.
    fn has_denials(&self) -> Result<bool, StoreError> {
        if let Some(seen) = self.seen.denials.get() {
            return Ok(seen);
        }
        let found = self.first("SELECT 1 FROM denials LIMIT 1", [], |_| Ok(()))?.is_some();
        self.seen.denials.set(Some(found));
        Ok(found)
    }
}

impl Tx<'_> {
    /// Notes that a login request was denied.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn note_denial(&self, uid: u32, now: Wall, service: &str, remote: Option<&str>) -> Result<(), StoreError> {
        self.seen.denials.set(None);
        self.run(
            "INSERT INTO denials (uid, at, service, remote, times) VALUES (?, ?, ?, ?, 1) ON CONFLICT (uid) DO UPDATE SET
               at = excluded.at, service = excluded.service, remote = excluded.remote, times = times + 1",
            params![uid, now.0, service, remote],
        )?;
        Ok(())
    }

    /// The account's owner was told.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn forget_denial(&self, uid: u32) -> Result<(), StoreError> {
        if self.has_denials()? {
            self.seen.denials.set(None);
            self.run("DELETE FROM denials WHERE uid = ?", [uid])?;
        }
        Ok(())
    }
}
