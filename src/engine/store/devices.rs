//! Trusted devices (Q17, Q25): "Don't verify again on this device".
//!
//! A device is known by a 256-bit random token, or, where the configuration allows it, by the service and the address it logs in from. Both are
//! stored as keyed hashes. A device is trusted between the moment it was trusted and its end; a clock before that moment trusts nobody. What has
//! ended goes with the next clock that is believed, and at the next use of a device of the account.
//!
//! Not here: whether a service may trust addresses, how long trust lasts (the caller's).

use std::time::Duration;

use rusqlite::{Row, params};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::seal::{Hashed, random};
use super::view::{Tx, View};
use crate::core::login::TRUST_LIFE;
use crate::core::time::Wall;
use crate::proto::secret::Secret;

/// Devices of one account; one more drops the one that ends first.
pub const PER_ACCOUNT: u32 = 32;

/// A clock that is set right by no more than this forgets nobody.
const AHEAD: Duration = Duration::from_secs(86_400);

/// What is hashed begins with it where a token names the device.
const TOKEN: &[u8] = b"token\0";

/// One trusted device, for its owner's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedDevice {
    /// Names it in the protocol; random, and no secret.
    pub id: String,
    /// The owner's word for it.
    pub label: String,
    /// Since when.
    pub trusted_at: Wall,
    /// Until when, exclusive.
    pub expires_at: Wall,
    /// Its last login without a second step.
    pub last_used: Option<Wall>,
    /// Known by service and address and not by a token.
    pub by_address: bool,
}

/// A device to trust.
#[derive(Clone, Copy, Debug)]
pub struct Trust<'a> {
    /// Whose login skips the second step.
    pub uid: u32,
    /// The owner's word for it.
    pub label: &'a str,
    /// Now.
    pub now: Wall,
    /// For how long; at most [`TRUST_LIFE`].
    pub lifetime: Duration,
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT id, label, trusted_at, expires_at, last_used, by_address FROM trusted_devices ", $rest)
    };
}

fn device(row: &Row<'_>) -> rusqlite::Result<TrustedDevice> {
    Ok(TrustedDevice {
        id: row.get(0)?,
        label: row.get(1)?,
        trusted_at: Wall(row.get(2)?),
        expires_at: Wall(row.get(3)?),
        last_used: row.get::<_, Option<i64>>(4)?.map(Wall),
        by_address: row.get(5)?,
    })
}

impl View<'_> {
    /// The account's devices whose trust has not ended at `now`, the latest first.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn trusted_devices(&self, uid: u32, now: Wall) -> Result<Vec<TrustedDevice>, StoreError> {
        let sql = select!("WHERE uid = ? AND expires_at > ? ORDER BY trusted_at DESC, id");
        self.all(sql, params![uid, now.0], device)
    }

    /// The trusted device that holds `token`.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn device_by_token(&self, uid: u32, token: &Secret, now: Wall) -> Result<Option<TrustedDevice>, StoreError> {
        self.device_by_hash(uid, &self.token_hash(uid, token), false, now)
    }

    /// The trust that the engine itself remembers for a service and an address.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn device_by_address(&self, uid: u32, service: &str, remote: &str, now: Wall) -> Result<Option<TrustedDevice>, StoreError> {
        self.device_by_hash(uid, &self.address_hash(uid, service, remote), true, now)
    }

    fn device_by_hash(&self, uid: u32, hash: &[u8], by_address: bool, now: Wall) -> Result<Option<TrustedDevice>, StoreError> {
        let sql = select!("WHERE hash = ?1 AND uid = ?2 AND by_address = ?3 AND trusted_at <= ?4 AND expires_at > ?4");
        self.first(sql, params![hash, uid, by_address, now.0], device)
    }

    fn token_hash(&self, uid: u32, token: &Secret) -> [u8; 32] {
        // Of its full size from the start: what grows leaves copies behind.
        let mut named = Zeroizing::new(Vec::with_capacity(TOKEN.len() + token.expose().len()));
        named.extend_from_slice(TOKEN);
        named.extend_from_slice(token.expose().as_bytes());
        self.hash(Hashed::TrustedDevice, uid, &named)
    }

    fn address_hash(&self, uid: u32, service: &str, remote: &str) -> [u8; 32] {
        self.hash(Hashed::TrustedDevice, uid, format!("address\0{service}\0{remote}").as_bytes())
    }
}

impl Tx<'_> {
    /// Trusts a device and gives its token: 64 hexadecimal digits, for the client alone.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn trust_device(&self, trust: Trust<'_>) -> Result<Secret, StoreError> {
        let token = Secret::new(hex(&*Zeroizing::new(random::<32>()?)));
        self.insert_device(trust, &self.token_hash(trust.uid, &token), false)?;
        Ok(token)
    }

    /// Trusts logins to `service` from `remote`.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn trust_address(&self, trust: Trust<'_>, service: &str, remote: &str) -> Result<(), StoreError> {
        self.insert_device(trust, &self.address_hash(trust.uid, service, remote), true)
    }

    /// Notes that the device has just skipped a second step. Those of its account whose trust has ended are forgotten with it: no clock that is
    /// set back revives them.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn device_used(&self, id: &str, now: Wall) -> Result<(), StoreError> {
        self.run("UPDATE trusted_devices SET last_used = ? WHERE id = ?", params![now.0, id])?;
        let ended = "DELETE FROM trusted_devices WHERE expires_at <= ? AND uid = (SELECT uid FROM trusted_devices WHERE id = ?)";
        self.run(ended, params![now.0, id])?;
        Ok(())
    }

    /// Forgets all trust that has ended. What was given by a clock that was ahead by more than a day goes too: else it would sleep until then, and
    /// begin on a day that its owner does not think of.
    pub(super) fn end_trust(&self, now: Wall) -> Result<(), StoreError> {
        self.run_aside("DELETE FROM trusted_devices WHERE expires_at <= ?", [now.0])?;
        let longest = i64::try_from((TRUST_LIFE + AHEAD).as_secs()).unwrap_or(i64::MAX);
        self.run_aside("DELETE FROM trusted_devices WHERE expires_at > ?", [now.0.saturating_add(longest)])?;
        Ok(())
    }

    /// Ends the trust in one device of the account; `false` where there is none of that id.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn revoke_device(&self, uid: u32, id: &str) -> Result<bool, StoreError> {
        Ok(self.run("DELETE FROM trusted_devices WHERE id = ? AND uid = ?", params![id, uid])? == 1)
    }

    /// Ends the trust in all devices of the account.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn revoke_devices(&self, uid: u32) -> Result<(), StoreError> {
        self.run("DELETE FROM trusted_devices WHERE uid = ?", [uid])?;
        Ok(())
    }

    fn insert_device(&self, trust: Trust<'_>, hash: &[u8], by_address: bool) -> Result<(), StoreError> {
        let id = hex(&random::<8>()?);
        let lifetime = i64::try_from(trust.lifetime.as_secs()).unwrap_or(i64::MAX);
        self.run("DELETE FROM trusted_devices WHERE uid = ? AND expires_at <= ?", params![trust.uid, trust.now.0])?;
        self.run(
            "INSERT OR REPLACE INTO trusted_devices (id, uid, hash, by_address, label, trusted_at, expires_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            params![id, trust.uid, hash, by_address, trust.label, trust.now.0, trust.now.0.saturating_add(lifetime)],
        )?;
        self.run(
            "DELETE FROM trusted_devices WHERE id IN
               (SELECT id FROM trusted_devices WHERE uid = ?1 AND id <> ?2 ORDER BY expires_at DESC LIMIT -1 OFFSET ?3)",
            params![trust.uid, id, PER_ACCOUNT - 1],
        )?;
        Ok(())
    }
}

/// Lower-case digits, in one allocation.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        text.extend([digit(byte >> 4), digit(byte & 0xf)]);
    }
    text
}
