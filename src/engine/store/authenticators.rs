//! Paired authenticators (phones): their public keys and names.
//!
//! Not here: pairing, proofs and nonces.

use rusqlite::{Row, params};

use super::error::StoreError;
use super::revoked::Kind;
use super::view::{Tx, View};
use crate::core::time::Wall;

/// One paired authenticator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// Random; never used again, so that a removed one never comes back.
    pub id: String,
    /// Its account.
    pub uid: u32,
    /// The owner's word for it.
    pub name: String,
    /// SPKI, DER.
    pub public_key: Vec<u8>,
    /// When it was paired.
    pub paired_at: Wall,
    /// When it last proved its key.
    pub last_seen: Option<Wall>,
}

fn authenticator(row: &Row<'_>) -> rusqlite::Result<Authenticator> {
    Ok(Authenticator {
        id: row.get(0)?,
        uid: row.get(1)?,
        name: row.get(2)?,
        public_key: row.get(3)?,
        paired_at: Wall(row.get(4)?),
        last_seen: row.get::<_, Option<i64>>(5)?.map(Wall),
    })
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, uid, name, public_key, paired_at, last_seen FROM authenticators ", $rest)
    };
}

impl View<'_> {
    /// The account's authenticators, the oldest first.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn authenticators(&self, uid: u32) -> Result<Vec<Authenticator>, StoreError> {
        self.all(select!("WHERE uid = ? ORDER BY paired_at, id"), [uid], authenticator)
    }

    /// The authenticator of this id.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn authenticator(&self, id: &str) -> Result<Option<Authenticator>, StoreError> {
        self.first(select!("WHERE id = ?"), [id], authenticator)
    }
}

impl Tx<'_> {
    /// Stores a newly paired authenticator. The caller bounds their number.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn add_authenticator(&self, new: &Authenticator) -> Result<(), StoreError> {
        let sql = "INSERT INTO authenticators (id, uid, name, public_key, paired_at, last_seen) VALUES (?, ?, ?, ?, ?, ?)";
        self.run(sql, params![new.id, new.uid, new.name, new.public_key, new.paired_at.0, new.last_seen.map(|at| at.0)])?;
        Ok(())
    }

    /// Notes that the authenticator has just proved its key.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn authenticator_seen(&self, id: &str, now: Wall) -> Result<(), StoreError> {
        self.run("UPDATE authenticators SET last_seen = ? WHERE id = ?", params![now.0, id])?;
        Ok(())
    }

    /// Removes one authenticator of the account for good; `false` where there is none of that id.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn remove_authenticator(&self, uid: u32, id: &str) -> Result<bool, StoreError> {
        let removed = self.run("DELETE FROM authenticators WHERE id = ? AND uid = ?", params![id, uid])? == 1;
        if removed {
            self.mark_revoked(Kind::Authenticator, id.as_bytes())?;
        }
        Ok(removed)
    }

    pub(super) fn revoke_authenticators(&self, uid: u32) -> Result<(), StoreError> {
        for one in self.authenticators(uid)? {
            self.remove_authenticator(uid, &one.id)?;
        }
        Ok(())
    }
}
