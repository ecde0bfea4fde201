//! Recovery codes (B4): single-use, stored as keyed hashes, replaced as a whole set without a new secret.
//!
//! Not here: how a code looks and is normalised; the caller hands over the same text at both ends.

use rusqlite::params;

use super::error::StoreError;
use super::revoked::Kind;
use super::seal::{Hashed, random};
use super::view::{Tx, View};
use crate::core::login::CodeState;
use crate::core::time::Wall;
use crate::proto::secret::Secret;

impl View<'_> {
    /// What is known of a code of the account.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn recovery_code(&self, uid: u32, code: &Secret) -> Result<CodeState, StoreError> {
        let hash = self.hash(Hashed::RecoveryCode, uid, code.expose().as_bytes());
        let sql = "SELECT used_at IS NOT NULL FROM recovery_codes WHERE uid = ? AND hash = ?";
        let used = self.first(sql, params![uid, hash], |row| row.get::<_, bool>(0))?;
        Ok(used.map_or(CodeState::Unknown, |used| if used { CodeState::Used } else { CodeState::Unused }))
    }
}

impl Tx<'_> {
    /// Replaces the account's codes; the former set is revoked for good.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn replace_recovery_codes(&self, uid: u32, codes: &[Secret]) -> Result<(), StoreError> {
        self.revoke_recovery_codes(uid)?;
        let set = random::<16>()?;
        for code in codes {
            let hash = self.hash(Hashed::RecoveryCode, uid, code.expose().as_bytes());
            self.run("INSERT INTO recovery_codes (uid, hash, set_id) VALUES (?, ?, ?)", params![uid, hash, set])?;
        }
        self.count_recovery_codes(uid)
    }

    /// Uses a code up: `true` once for each code of the present set.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn use_recovery_code(&self, uid: u32, code: &Secret, now: Wall) -> Result<bool, StoreError> {
        let hash = self.hash(Hashed::RecoveryCode, uid, code.expose().as_bytes());
        let sql = "UPDATE recovery_codes SET used_at = ? WHERE uid = ? AND hash = ? AND used_at IS NULL";
        let good = self.run(sql, params![now.0, uid, hash])? == 1;
        if good {
            self.count_recovery_codes(uid)?;
        }
        Ok(good)
    }

    /// Writes the number of unused codes into the account's row.
    pub(super) fn count_recovery_codes(&self, uid: u32) -> Result<(), StoreError> {
        let sql = "UPDATE accounts SET recovery_codes_left = (SELECT count(*) FROM recovery_codes WHERE uid = ?1 AND used_at IS NULL)
                   WHERE uid = ?1";
        self.run(sql, [uid])?;
        Ok(())
    }

    pub(super) fn revoke_recovery_codes(&self, uid: u32) -> Result<(), StoreError> {
        let sets: Vec<Vec<u8>> = self.all("SELECT DISTINCT set_id FROM recovery_codes WHERE uid = ?", [uid], |row| row.get(0))?;
        for set in sets {
            self.mark_revoked(Kind::RecoveryCodes, &set)?;
        }
        self.run("DELETE FROM recovery_codes WHERE uid = ?", [uid])?;
        self.count_recovery_codes(uid)
    }
}
