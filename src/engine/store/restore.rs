//! Putting a backup back without lowering what was counted, used or revoked since.
//!
//! A copy of the backup is brought to the present schema and takes over from the present database, as far as that can be read:
//!
//! | what | from where |
//! |---|---|
//! | an account whose second step is on now | now, whole |
//! | another account | the backup, unless what it held was revoked; enforcement of either counts, recovery by the button as of now |
//! | an account that can't be read now | the backup; recovered by the button where it is by the press that still stands |
//! | wrong answers in a row, of real logins and of claimed ones | the stricter count of each |
//! | marked steps, used recovery codes, revocations | both together |
//! | authenticators, enforced groups, delegations | both together, without what was revoked |
//! | trusted devices | dropped |
//! | denied requests that are still to be told | now |
//! | groups that a local user was seen in | both together; now where both have some |
//! | audit | both together; now where both have an entry |
//!
//! The result is built beside and takes the database's place by one rename; what was in force before is kept among the backups.
//!
//! Not here: telling the supervisor, that a restored account may have been recovered (the engine asks it again).

use std::cell::Cell;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, params};

use super::accounts::{self, Lookup, Stored};
use super::backup::{self, Kind};
use super::error::{Failure, StoreError};
use super::place::{self, Place};
use super::revoked;
use super::seal::Sealed;
use super::view::Tx;
use super::{audit, policy, schema};
use crate::core::account::{Method, Methods};
use crate::proto::privileged::Recovered;

/// What a restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The former database could be read whole, so that nothing counted, used or revoked was lowered. Else what lay in its unreadable part is as of
    /// the backup.
    pub complete: bool,
    /// Accounts kept as they are now.
    pub kept_accounts: u64,
    /// The backup that holds what was in force before; `None` where that was set aside already.
    pub kept: Option<String>,
}

/// Builds `store.db.new` from the backup and from what can be read of the present database.
pub(super) fn build(
    place: &Place,
    current: Option<&Connection>,
    (name, standing): (&str, Option<&Recovered>),
) -> Result<Report, StoreError> {
    let source = backup::find(&place.options.folder, name)?;
    let new = place.fresh_file()?;
    let built = build_in(place, current, (&source, &new), (name, standing));
    if built.is_err() {
        place::remove(&new)?;
    }
    built
}

fn build_in(
    place: &Place,
    current: Option<&Connection>,
    (source, new): (&Path, &Path),
    (name, standing): (&str, Option<&Recovered>),
) -> Result<Report, StoreError> {
    let keys = place.keys().map_err(StoreError::Failed)?;
    fs::copy(source, new).map_err(|error| StoreError::io("copying", source, &error))?;
    let db = admitted(place, new).map_err(|error| match error {
        StoreError::Corrupt(reason) => StoreError::UnusableBackup { name: name.to_owned(), reason },
        StoreError::Failed(failure) => StoreError::UnusableBackup { name: name.to_owned(), reason: failure.to_string() },
        other => other,
    })?;
    let opened;
    let former = match current {
        Some(db) => Some(db),
        None => {
            opened = former(place);
            opened.as_ref()
        }
    };
    let merge = Merge { tx: Tx::new(&db, keys), complete: Cell::new(true), kept: Cell::new(0) };
    merge.tx.run("BEGIN IMMEDIATE", [])?;
    merge.settle_backup(standing)?;
    match former {
        Some(former) => merge.all(former)?,
        None => merge.complete.set(false),
    }
    merge.finish()?;
    merge.tx.run("COMMIT", [])?;
    let report = Report { complete: merge.complete.get(), kept_accounts: merge.kept.get(), kept: None };
    drop(merge);
    place::close(db)?;
    place::sync(new)?;
    Ok(report)
}

fn admitted(place: &Place, file: &Path) -> Result<Connection, StoreError> {
    let db = place::connect(file)?;
    place::check_whole(&db)?;
    place.admit(&db, place.keys().map_err(StoreError::Failed)?).map_err(|failure| match failure {
        Failure::Unavailable(error) => *error,
        other => StoreError::Failed(other),
    })?;
    schema::migrate(&db, place.steps)?;
    Ok(db)
}

/// What was set aside or refused, for reading; nothing in it is changed.
fn former(place: &Place) -> Option<Connection> {
    let path = place.aside().unwrap_or_else(|| place.database());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).ok()?;
    db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).ok().map(|()| db)
}

/// Lets the built database take over; gives the backup that holds the former one. All connections are closed.
pub(super) fn swap(place: &Place) -> Result<Option<String>, StoreError> {
    let path = place.database();
    let mut kept = None;
    if path.exists() {
        let log = place::companion(&path, "-wal");
        if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            // Its last commits are in the log alone: a rename would leave them behind.
            return Err(StoreError::Locked);
        }
        let temporary = backup::temporary(&place.options.folder)?;
        place::remove(&temporary)?;
        let linked = fs::hard_link(&path, &temporary).or_else(|_| fs::copy(&path, &temporary).map(|_| ()));
        linked.map_err(|error| StoreError::io("keeping", &path, &error))?;
        kept = Some(backup::adopt(&place.options, &temporary, Kind::Restore)?);
    }
    place.put_in_place()?;
    Ok(kept)
}

struct Merge<'a> {
    tx: Tx<'a>,
    /// Whether everything could be read so far.
    complete: Cell<bool>,
    kept: Cell<u64>,
}

impl Merge<'_> {
    /// What a backup must never bring back, whatever there is now.
    ///
    /// A press that it has counted stays counted only while the supervisor tells that very one: then the backup was made after that press, and what it
    /// holds was set up since. Any other number may be another NAS's, or that of a press still to come, where the supervisor has lost count; and
    /// that one must let in.
    fn settle_backup(&self, standing: Option<&Recovered>) -> Result<(), StoreError> {
        self.tx.run("DELETE FROM trusted_devices", [])?;
        self.tx.run("DELETE FROM denials", [])?;
        let (account, press) = standing.map(|standing| (standing.account.as_str(), standing.press)).unzip();
        self.tx.run("UPDATE accounts SET recovered = 0, press = NULL WHERE (name, press) IS NOT (?, ?)", params![account, press])?;
        Ok(())
    }

    fn all(&self, former: &Connection) -> Result<(), StoreError> {
        self.revocations(former)?;
        let version = schema::version(former).unwrap_or(i32::MAX);
        self.rows(former, accounts::all(version), |row| self.account(row))?;
        self.rows(former, "SELECT uid, step, burnt, seq FROM used_steps ORDER BY uid", |row| self.step(row))?;
        self.rows(former, "SELECT uid, hash, set_id, used_at FROM recovery_codes ORDER BY uid", |row| self.recovery_code(row))?;
        self.rows(former, "SELECT id, uid, name, public_key, paired_at, last_seen FROM authenticators ORDER BY id", |row| {
            self.copy("INSERT OR REPLACE INTO authenticators SELECT ?, ?, ?, ?, ?, ?", row, 6)
        })?;
        // Before the second version there were none.
        if version >= 2 {
            self.rows(former, "SELECT uid, at, service, remote, times FROM denials ORDER BY uid", |row| {
                let sql = "INSERT OR REPLACE INTO denials SELECT ?1, ?2, ?3, ?4, ?5 WHERE EXISTS (SELECT 1 FROM accounts WHERE uid = ?1)";
                self.copy(sql, row, 5)
            })?;
        }
        self.rows(former, "SELECT key, value FROM meta WHERE key = 'latest_clock' ORDER BY key", |row| {
            self.copy("INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = max(value, excluded.value)", row, 2)
        })?;
        self.rows(former, "SELECT kind, name FROM enforced_groups ORDER BY kind", |row| {
            self.copy("INSERT OR IGNORE INTO enforced_groups VALUES (?, ?)", row, 2)
        })?;
        self.rows(former, "SELECT kind, name, role FROM delegations ORDER BY kind", |row| {
            self.tx.set_delegated(&policy::subject(row)?, row.get(2)?, true).map(|_| ())
        })?;
        self.rows(former, "SELECT id, at, event, user, actor, service, remote, detail FROM audit ORDER BY id", |row| {
            audit::entry(row)?;
            self.copy("INSERT OR REPLACE INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row, 8)
        })?;
        let sql = "SELECT key, value FROM meta WHERE key = 'believed_clock' OR key BETWEEN 'member/' AND 'member0' ORDER BY key";
        self.rows(former, sql, |row| self.copy("INSERT OR REPLACE INTO meta VALUES (?, ?)", row, 2))
    }

    fn revocations(&self, former: &Connection) -> Result<(), StoreError> {
        self.rows(former, "SELECT kind, id FROM revoked ORDER BY kind", |row| {
            self.copy("INSERT OR IGNORE INTO revoked VALUES (?, ?)", row, 2)
        })?;
        self.drop_revoked()
    }

    /// Takes out of the new database what is revoked.
    fn drop_revoked(&self) -> Result<(), StoreError> {
        use revoked::Kind::{Authenticator, Delegation, RecoveryCodes, Secret};
        self.tx.run(
            "UPDATE accounts SET methods = 0, preferred = NULL, drift = 0, suspect_step = NULL, suspect_ahead = NULL, secret_id = NULL,
               secret = NULL WHERE secret_id IN (SELECT id FROM revoked WHERE kind = ?)",
            [Secret as i64],
        )?;
        let codes = "DELETE FROM recovery_codes WHERE set_id IN (SELECT id FROM revoked WHERE kind = ?)";
        self.tx.run(codes, [RecoveryCodes as i64])?;
        let authenticators = "DELETE FROM authenticators WHERE CAST(id AS BLOB) IN (SELECT id FROM revoked WHERE kind = ?)";
        self.tx.run(authenticators, [Authenticator as i64])?;
        let delegations = self.tx.delegations()?;
        for (subject, role) in delegations {
            if self.tx.is_revoked(Delegation, &policy::delegation_id(&subject, role))? {
                self.tx.set_delegated(&subject, role, false)?;
            }
        }
        Ok(())
    }

    fn account(&self, row: &Row<'_>) -> Result<(), StoreError> {
        let mut now = accounts::stored(row)?;
        let secret_id: Option<Vec<u8>> = row.get(25)?;
        // Damage may have hit the secret alone; then the backup's is the better one.
        let readable = now.sealed.as_ref().is_some_and(|sealed| self.tx.keys.open(Sealed::Enrolment, now.uid, sealed).is_ok());
        if now.sealed.is_some() && !readable {
            self.complete.set(false);
        }
        let then = match self.tx.account(now.uid, &now.name)? {
            Lookup::Known(then) => Some(then),
            Lookup::Unknown => None,
            Lookup::Other(_) => self.make_way(&now)?,
        };
        if let Some(then) = &then {
            now.account.failures = now.account.failures.max(then.account.failures);
            now.account.enforced |= then.account.enforced;
            now.account.generation = now.account.generation.max(then.account.generation) + 1;
        }
        if readable {
            return self.keep_enabled(&now, secret_id.as_deref());
        }
        // A recovered account gets in with the password alone.
        match then.filter(|then| then.account.is_enabled() && !now.account.recovered) {
            Some(then) => self.tx.write_row(&restored(then, &now), None),
            None => {
                now.account.methods = crate::core::account::Methods::NONE;
                self.kept.set(self.kept.get() + 1);
                self.tx.write_row(&now, None)
            }
        }
    }

    /// The backup knows this uid or this name with another partner: who it was then is no more.
    fn make_way(&self, now: &Stored) -> Result<Option<Stored>, StoreError> {
        while let Lookup::Other(gone) = self.tx.account(now.uid, &now.name)? {
            self.tx.forget(gone.uid)?;
        }
        Ok(None)
    }

    fn keep_enabled(&self, now: &Stored, secret_id: Option<&[u8]>) -> Result<(), StoreError> {
        let then: Option<Option<Vec<u8>>> = self.tx.first("SELECT secret_id FROM accounts WHERE uid = ?", [now.uid], |row| row.get(0))?;
        if let Some(then) = then.flatten().filter(|then| Some(then.as_slice()) != secret_id) {
            self.tx.mark_revoked(revoked::Kind::Secret, &then)?;
        }
        self.kept.set(self.kept.get() + 1);
        self.tx.write_row(now, secret_id.zip(now.sealed.as_deref()))
    }

    fn step(&self, row: &Row<'_>) -> Result<(), StoreError> {
        self.copy("INSERT OR IGNORE INTO used_steps SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM accounts WHERE uid = ?1)", row, 4)
    }

    fn recovery_code(&self, row: &Row<'_>) -> Result<(), StoreError> {
        let (uid, hash, set, used): (u32, Vec<u8>, Vec<u8>, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        let enabled = self.tx.first("SELECT 1 FROM accounts WHERE uid = ? AND secret IS NOT NULL", [uid], |_| Ok(()))?.is_some();
        if !enabled || self.tx.is_revoked(revoked::Kind::RecoveryCodes, &set)? {
            return Ok(());
        }
        // The set of now is the only good one; what the backup has of another was replaced.
        self.tx.run("DELETE FROM recovery_codes WHERE uid = ? AND set_id <> ?", params![uid, set])?;
        self.tx
            .run("INSERT OR IGNORE INTO recovery_codes (uid, hash, set_id, used_at) VALUES (?, ?, ?, ?)", params![uid, hash, set, used])?;
        if used.is_some() {
            let sql = "UPDATE recovery_codes SET used_at = ?3 WHERE uid = ?1 AND hash = ?2 AND used_at IS NULL";
            self.tx.run(sql, params![uid, hash, used])?;
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), StoreError> {
        self.drop_revoked()?;
        // Of an account whose second step is off nothing is left to answer with.
        self.tx.run("DELETE FROM recovery_codes WHERE uid IN (SELECT uid FROM accounts WHERE secret IS NULL)", [])?;
        self.tx.run("DELETE FROM authenticators WHERE uid IN (SELECT uid FROM accounts WHERE secret IS NULL)", [])?;
        self.tx.run("DELETE FROM denials WHERE uid IN (SELECT uid FROM accounts WHERE secret IS NULL)", [])?;
        self.tx.run(
            "UPDATE accounts SET recovery_codes_left =
               (SELECT count(*) FROM recovery_codes WHERE recovery_codes.uid = accounts.uid AND used_at IS NULL)",
            [],
        )?;
        // What needs a phone would ask nobody where none is left.
        let phones = Method::ALL.into_iter().filter(|method| method.needs_authenticator()).collect::<Methods>();
        self.tx.run(
            "UPDATE accounts SET methods = methods & ~?1,
               preferred = CASE WHEN preferred IN ('qr_code', 'login_approval', 'online_code') THEN 'security_code' ELSE preferred END
             WHERE methods & ?1 <> 0 AND uid NOT IN (SELECT uid FROM authenticators)",
            [phones.bits()],
        )?;
        Ok(())
    }

    /// Hands over each row that can be read, from the front, and, where damage stops that, from the back. `use_row` must bear to see a row twice.
    fn rows(&self, former: &Connection, sql: &str, use_row: impl Fn(&Row<'_>) -> Result<(), StoreError>) -> Result<(), StoreError> {
        if !self.some_rows(former, sql, &use_row)? {
            self.complete.set(false);
            self.some_rows(former, &format!("{sql} DESC"), &use_row)?;
        }
        Ok(())
    }

    /// Whether all could be read. A row that the schema refuses counts as not read.
    fn some_rows(&self, former: &Connection, sql: &str, use_row: &impl Fn(&Row<'_>) -> Result<(), StoreError>) -> Result<bool, StoreError> {
        let Ok(mut statement) = former.prepare(sql) else { return Ok(false) };
        let Ok(mut rows) = statement.query([]) else { return Ok(false) };
        let mut all = true;
        loop {
            match rows.next() {
                Ok(None) => return Ok(all),
                Err(_) => return Ok(false),
                Ok(Some(row)) => match use_row(row) {
                    Ok(()) => {}
                    Err(fault @ (StoreError::Full | StoreError::ReadOnly)) => return Err(fault),
                    Err(_) => all = false,
                },
            }
        }
    }

    /// Passes the first `count` columns of a row on to a statement.
    fn copy(&self, sql: &'static str, row: &Row<'_>, count: usize) -> Result<(), StoreError> {
        let values: Vec<rusqlite::types::Value> = (0..count).map(|column| row.get(column)).collect::<rusqlite::Result<_>>()?;
        self.tx.run(sql, rusqlite::params_from_iter(values))?;
        Ok(())
    }
}

/// The backup's second step, with what has been decided about the account since.
fn restored(mut then: Stored, now: &Stored) -> Stored {
    then.press = now.press;
    then.account.recovered = now.account.recovered;
    then.account.enforced = now.account.enforced;
    then.account.failures = now.account.failures;
    then.account.generation = now.account.generation;
    then.account.passwordless = false;
    then
}
