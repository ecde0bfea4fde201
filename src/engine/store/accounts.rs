//! Accounts and their sealed enrolments.
//!
//! An account is uid **and** name. Where one of the two is stored with another partner (a deleted and re-created, or a renamed account), the
//! look-up says so and nothing is bound to either; an administrator forgets the old one.
//!
//! Not here: who may change what (`core::policy`), what a change means (`core::account`).

use std::time::Duration;

use rusqlite::types::{FromSql, FromSqlResult, ValueRef};
use rusqlite::{Row, params};
use zeroize::Zeroizing;

use super::error::StoreError;
use super::revoked::Kind;
use super::seal::{Sealed, random};
use super::view::{Tx, View};
use crate::core::account::{Account, Method, Methods};
use crate::core::clock::{BootId, Moment};
use crate::core::lockout::{Failures, Tally};
use crate::core::time::{BootTime, Wall};
use crate::core::totp::{Algorithm, Drift, Enrolment, Suspect, TimeStep};

/// One stored account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The user's number.
    pub uid: u32,
    /// The canonical name.
    pub name: String,
    /// The number of the last press that recovered it; the same press told again is to change nothing.
    pub press: Option<i64>,
    /// Its second step.
    pub account: Account,
    /// The enrolment as it is at rest; see [`View::enrolment`].
    pub(super) sealed: Option<Vec<u8>>,
}

impl Stored {
    /// An account of which nothing is set up.
    #[must_use]
    pub fn new(uid: u32, name: &str) -> Self {
        Self { uid, name: name.to_owned(), press: None, account: Account::default(), sealed: None }
    }

    /// What a press does to it, and whether that is new. One press changes the account once: a second step that its owner has set up since then
    /// stands. Told again after it had seemed over, it suspends enforcement again and changes nothing else.
    pub fn count_press(&mut self, press: i64) -> bool {
        let is_new = self.press != Some(press);
        if is_new {
            self.account.recover();
            self.press = Some(press);
            return true;
        }
        !std::mem::replace(&mut self.account.recovered, true)
    }
}

/// What is stored for a uid and a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// Neither is stored.
    Unknown,
    /// Both are, together.
    Known(Stored),
    /// One of them is stored with another partner: deny, and let an administrator [`Tx::forget`] this one.
    Other(Stored),
}

macro_rules! columns {
    () => {
        "uid, name, methods, preferred, enforced, recovered, press, passwordless, recovery_email, recovery_codes_left, failures,
         failed_wall, failed_boot_ns, failed_boot_id, failed_synchronised, drift, suspect_step, suspect_ahead, generation, secret"
    };
}

macro_rules! claimed {
    () => {
        "claimed_failures, claimed_wall, claimed_boot_ns, claimed_boot_id, claimed_synchronised"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), ", ", claimed!(), " FROM accounts ", $rest)
    };
}

/// All accounts of a database of this version, with the id of the secret as column 25.
pub(super) fn all(version: i32) -> &'static str {
    if version >= 3 {
        concat!("SELECT ", columns!(), ", ", claimed!(), ", secret_id FROM accounts ORDER BY uid")
    } else {
        // Claimed logins had no count of their own.
        concat!("SELECT ", columns!(), ", 0, NULL, NULL, NULL, NULL, secret_id FROM accounts ORDER BY uid")
    }
}

pub(super) fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let account = Account {
        methods: Methods::from_bits(row.get(2)?),
        preferred: row.get::<_, Preferred>(3)?.0,
        enforced: row.get(4)?,
        recovered: row.get(5)?,
        passwordless: row.get(7)?,
        recovery_email: row.get(8)?,
        recovery_codes_left: row.get(9)?,
        failures: Tally { real: failures(row, 10)?, claimed: failures(row, 20)? },
        drift: Drift { steps: row.get(15)?, suspect: suspect(row)? },
        generation: row.get::<_, i64>(18)?.cast_unsigned(),
    };
    Ok(Stored { uid: row.get(0)?, name: row.get(1)?, press: row.get(6)?, account, sealed: row.get(19)? })
}

/// The column of this name, read where it is.
struct Preferred(Option<Method>);

impl FromSql for Preferred {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let name = value.as_str_or_null()?;
        Ok(Self(name.and_then(|name| Method::ALL.into_iter().find(|method| method.as_str() == name))))
    }
}

/// A count, from its first column on.
fn failures(row: &Row<'_>, first: usize) -> rusqlite::Result<Failures> {
    let in_a_row = row.get(first)?;
    let Some(wall) = row.get(first + 1)? else { return Ok(Failures { in_a_row, last: None }) };
    let last = Moment {
        wall: Wall(wall),
        boot: BootTime(Duration::from_nanos(row.get::<_, i64>(first + 2)?.cast_unsigned())),
        boot_id: BootId(row.get(first + 3)?),
        synchronised: row.get(first + 4)?,
    };
    Ok(Failures { in_a_row, last: Some(last) })
}

fn nanoseconds(at: Moment) -> i64 {
    i64::try_from(at.boot.0.as_nanos()).unwrap_or(i64::MAX)
}

fn suspect(row: &Row<'_>) -> rusqlite::Result<Option<Suspect>> {
    let Some(step) = row.get::<_, Option<i64>>(16)? else { return Ok(None) };
    Ok(Some(Suspect { step: TimeStep(step.cast_unsigned()), ahead: row.get(17)? }))
}

impl View<'_> {
    /// What is stored for this uid and this name.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn account(&self, uid: u32, name: &str) -> Result<Lookup, StoreError> {
        let found = match self.account_by_uid(uid)? {
            Some(found) => Some(found),
            None => self.account_by_name(name)?,
        };
        Ok(match found {
            None => Lookup::Unknown,
            Some(found) if found.uid == uid && found.name == name => Lookup::Known(found),
            Some(other) => Lookup::Other(other),
        })
    }

    /// The account stored under this uid, whatever its name.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn account_by_uid(&self, uid: u32) -> Result<Option<Stored>, StoreError> {
        self.first(select!("WHERE uid = ?"), [uid], stored)
    }

    /// The account stored under this name, whatever its uid.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn account_by_name(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        self.first(select!("WHERE name = ?"), [name], stored)
    }

    /// Up to `limit` names of stored accounts after `after`, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn account_names(&self, after: &str, limit: u32) -> Result<Vec<String>, StoreError> {
        self.all("SELECT name FROM accounts WHERE name > ? ORDER BY name LIMIT ?", params![after, limit], |row| row.get(0))
    }

    /// Up to `limit` accounts with a uid above `after`, in the order of their uids.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn accounts(&self, after: Option<u32>, limit: u32) -> Result<Vec<Stored>, StoreError> {
        let after = after.map_or(-1, i64::from);
        self.all(select!("WHERE uid > ? ORDER BY uid LIMIT ?"), params![after, limit], stored)
    }

    /// The names of the accounts that are enforced by name, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn enforced_users(&self) -> Result<Vec<String>, StoreError> {
        self.all("SELECT name FROM accounts WHERE enforced = 1 ORDER BY name", [], |row| row.get(0))
    }

    /// The accounts that the button brought back and that are not off again: one, as a rule.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn recovered_accounts(&self) -> Result<Vec<Stored>, StoreError> {
        self.all(select!("WHERE recovered"), [], stored)
    }

    /// The enrolment of an account as it was read in this very call, or is known in the state of now; `None` where it has none.
    ///
    /// # Errors
    /// [`StoreError::Sealed`] where it does not open.
    pub fn enrolment(&self, of: &Stored) -> Result<Option<Enrolment>, StoreError> {
        let Some(sealed) = &of.sealed else { return Ok(None) };
        let plain = self.keys.open(Sealed::Enrolment, of.uid, sealed)?;
        unpack(&plain).map(Some).ok_or(StoreError::Sealed { uid: of.uid, purpose: Sealed::Enrolment.name() })
    }
}

impl Tx<'_> {
    /// Stores an account, new or changed. Where its second step is off, whatever belonged to it is revoked for good in the same commit:
    /// enrolment, recovery codes, authenticators, trusted devices (Q25); where no recovery code is left, their set is. Marked steps stay.
    ///
    /// # Errors
    /// [`StoreError::IdentityTaken`], [`StoreError::NotEnrolled`] for an enabled account without enrolment, and any of the storage.
    pub fn save(&self, new: &Stored) -> Result<(), StoreError> {
        if new.account.is_enabled() {
            if self.secret_id(new.uid)?.is_none() {
                return Err(StoreError::NotEnrolled { uid: new.uid });
            }
        } else {
            self.revoke_all(new.uid)?;
        }
        if new.account.recovery_codes_left == 0 {
            self.revoke_recovery_codes(new.uid)?;
        }
        self.write_row(new, None)
    }

    /// Stores an account with a new enrolment, which enables it; the former one is revoked for good.
    ///
    /// # Errors
    /// [`StoreError::IdentityTaken`], and any of the storage.
    pub fn save_enrolled(&self, new: &Stored, enrolment: &Enrolment) -> Result<(), StoreError> {
        self.revoke_secret(new.uid)?;
        let sealed = self.keys.seal(Sealed::Enrolment, new.uid, &pack(enrolment))?;
        self.write_row(new, Some((&random::<16>()?, &sealed)))
    }

    /// Forgets an account that is no more, or that has become another's: all that is stored for it goes, and never comes back.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn forget(&self, uid: u32) -> Result<(), StoreError> {
        self.revoke_all(uid)?;
        self.forget_groups(uid)?;
        // Its marks go with it.
        self.seen.last_mark.set(None);
        self.run("DELETE FROM accounts WHERE uid = ?", [uid])?;
        Ok(())
    }

    /// Writes the row; `secret` is its new id and sealed form, else the stored one stays.
    pub(super) fn write_row(&self, new: &Stored, secret: Option<(&[u8], &[u8])>) -> Result<(), StoreError> {
        let (account, (id, sealed)) = (&new.account, secret.unzip());
        let (drift, Tally { real, claimed }) = (account.drift, account.failures);
        let written = self.run(
            "INSERT INTO accounts (uid, name, methods, preferred, enforced, recovered, press, passwordless, recovery_email, failures,
               failed_wall, failed_boot_ns, failed_boot_id, failed_synchronised, drift, suspect_step, suspect_ahead, generation,
               claimed_failures, claimed_wall, claimed_boot_ns, claimed_boot_id, claimed_synchronised, secret_id, secret)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?21, ?22, ?23, ?24, ?25,
               ifnull(?19, (SELECT secret_id FROM accounts WHERE uid = ?1)), ifnull(?20, (SELECT secret FROM accounts WHERE uid = ?1)))
             ON CONFLICT (uid) DO UPDATE SET methods = excluded.methods, preferred = excluded.preferred, enforced = excluded.enforced,
               recovered = excluded.recovered, press = excluded.press, passwordless = excluded.passwordless,
               recovery_email = excluded.recovery_email, failures = excluded.failures, failed_wall = excluded.failed_wall,
               failed_boot_ns = excluded.failed_boot_ns, failed_boot_id = excluded.failed_boot_id,
               failed_synchronised = excluded.failed_synchronised, drift = excluded.drift, suspect_step = excluded.suspect_step,
               suspect_ahead = excluded.suspect_ahead, generation = excluded.generation, claimed_failures = excluded.claimed_failures,
               claimed_wall = excluded.claimed_wall, claimed_boot_ns = excluded.claimed_boot_ns, claimed_boot_id = excluded.claimed_boot_id,
               claimed_synchronised = excluded.claimed_synchronised, secret_id = excluded.secret_id, secret = excluded.secret
             WHERE name = excluded.name
             ON CONFLICT (name) DO NOTHING",
            params![
                new.uid,
                new.name,
                account.methods.bits(),
                account.preferred.map(Method::as_str),
                account.enforced,
                account.recovered,
                new.press,
                account.passwordless,
                account.recovery_email,
                real.in_a_row,
                real.last.map(|at| at.wall.0),
                real.last.map(nanoseconds),
                real.last.map(|at| at.boot_id.0),
                real.last.map(|at| at.synchronised),
                drift.steps,
                drift.suspect.map(|suspect| suspect.step.0.cast_signed()),
                drift.suspect.map(|suspect| suspect.ahead),
                account.generation.cast_signed(),
                id,
                sealed,
                claimed.in_a_row,
                claimed.last.map(|at| at.wall.0),
                claimed.last.map(nanoseconds),
                claimed.last.map(|at| at.boot_id.0),
                claimed.last.map(|at| at.synchronised),
            ],
        )?;
        if written == 1 { Ok(()) } else { Err(StoreError::IdentityTaken { uid: new.uid, name: new.name.clone() }) }
    }

    fn revoke_all(&self, uid: u32) -> Result<(), StoreError> {
        self.revoke_secret(uid)?;
        self.run("UPDATE accounts SET secret_id = NULL, secret = NULL, methods = 0 WHERE uid = ?", [uid])?;
        self.revoke_recovery_codes(uid)?;
        self.revoke_authenticators(uid)?;
        self.forget_denial(uid)?;
        self.revoke_devices(uid)
    }

    fn revoke_secret(&self, uid: u32) -> Result<(), StoreError> {
        self.secret_id(uid)?.map_or(Ok(()), |id| self.mark_revoked(Kind::Secret, &id))
    }

    fn secret_id(&self, uid: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.first("SELECT secret_id FROM accounts WHERE uid = ?", [uid], |row| row.get(0))?.flatten())
    }
}

/// Algorithm, digits, period, secret.
fn pack(enrolment: &Enrolment) -> Zeroizing<Vec<u8>> {
    let algorithm = match enrolment.algorithm() {
        Algorithm::Sha1 => 1,
        Algorithm::Sha256 => 2,
        Algorithm::Sha512 => 3,
    };
    // At most 120 s, by `Enrolment::existing`.
    let period = u8::try_from(enrolment.period()).unwrap_or(u8::MAX);
    // Room for all at once: a growing buffer would leave copies behind.
    let mut plain = Zeroizing::new(Vec::with_capacity(3 + enrolment.secret().len()));
    plain.extend_from_slice(&[algorithm, enrolment.digits(), period]);
    plain.extend_from_slice(enrolment.secret());
    plain
}

fn unpack(plain: &[u8]) -> Option<Enrolment> {
    let (&[algorithm, digits, period], secret) = plain.split_first_chunk()?;
    let algorithm = match algorithm {
        1 => Algorithm::Sha1,
        2 => Algorithm::Sha256,
        3 => Algorithm::Sha512,
        _ => return None,
    };
    Enrolment::existing(secret.to_vec(), algorithm, digits.into(), period.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_press_that_had_seemed_over_suspends_enforcement_again_and_leaves_what_was_set_up_since() {
        let mut alice = Stored::new(1000, "alice");
        assert!(alice.count_press(1));
        alice.account.methods = Methods::NONE.with(Method::SecurityCode);
        assert!(!alice.count_press(1));
        alice.account.recovered = false;
        assert!(alice.count_press(1));
        assert!(alice.account.recovered && alice.account.is_enabled());
    }

    #[test]
    fn an_enrolment_survives_its_packing() {
        for (algorithm, digits, period) in [(Algorithm::Sha1, 6, 30), (Algorithm::Sha256, 8, 60), (Algorithm::Sha512, 7, 120)] {
            let enrolment = Enrolment::existing(b"12345678901234567890".to_vec(), algorithm, digits, period).unwrap();
            assert!(unpack(&pack(&enrolment)) == Some(enrolment));
        }
        assert!(unpack(&[]).is_none());
        assert!(unpack(&[9, 6, 30, 1, 2, 3]).is_none());
    }
}
