//! The tables, and the way from each older version to the present one.
//!
//! `PRAGMA user_version` holds the version, `PRAGMA application_id` says whose file it is. All steps that are missing run in one transaction.
//!
//! Not here: the backup copy before a migration (`open`), what the columns mean to the engine (the file of each topic).

use rusqlite::Connection;

use super::error::StoreError;

/// "2stp".
pub(super) const APPLICATION_ID: i32 = 0x3273_7470;

/// From version n to n + 1, in order. A published step is never edited; the next version is one more step.
pub(super) const STEPS: &[&str] = &[V1, V2, V3, V4];

/// Times are seconds since 1970 (wall clock). `uid` is the identity everywhere; `name` must agree with it.
const V1: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL) STRICT, WITHOUT ROWID;

-- The row of `core::account::Account`, with its failures, so that one look-up gives all that a login depends on. press: the number of the press
-- that recovered it. secret_id names one enrolment, so that a revoked one is known again in a backup. recovery_codes_left follows recovery_codes.
CREATE TABLE accounts (
  uid INTEGER PRIMARY KEY CHECK (uid BETWEEN 0 AND 4294967295),
  name TEXT NOT NULL UNIQUE,
  methods INTEGER NOT NULL,
  preferred TEXT,
  enforced INTEGER NOT NULL CHECK (enforced IN (0, 1)),
  recovered INTEGER NOT NULL CHECK (recovered IN (0, 1)),
  press INTEGER,
  passwordless INTEGER NOT NULL CHECK (passwordless IN (0, 1)),
  recovery_email TEXT,
  recovery_codes_left INTEGER NOT NULL DEFAULT 0,
  failures INTEGER NOT NULL,
  failed_wall INTEGER,
  failed_boot_ns INTEGER,
  failed_boot_id BLOB,
  failed_synchronised INTEGER,
  drift INTEGER NOT NULL,
  suspect_step INTEGER,
  suspect_ahead INTEGER,
  generation INTEGER NOT NULL,
  secret_id BLOB,
  secret BLOB,
  CHECK ((secret IS NULL) = (methods & 1 = 0)),
  CHECK ((secret IS NULL) = (secret_id IS NULL)),
  CHECK (secret IS NULL OR passwordless = 0)
) STRICT;

CREATE INDEX accounts_enforced ON accounts (name) WHERE enforced = 1;

-- burnt: typed at a wrong time, and so never accepted. seq orders an account's rows by insertion, whatever the clock said.
CREATE TABLE used_steps (
  uid INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
  step INTEGER NOT NULL,
  burnt INTEGER NOT NULL CHECK (burnt IN (0, 1)),
  seq INTEGER NOT NULL,
  PRIMARY KEY (uid, step)
) STRICT, WITHOUT ROWID;

-- A used code keeps its row until its set is replaced.
CREATE TABLE recovery_codes (
  uid INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
  hash BLOB NOT NULL,
  set_id BLOB NOT NULL,
  used_at INTEGER,
  PRIMARY KEY (uid, hash)
) STRICT, WITHOUT ROWID;

CREATE TABLE authenticators (
  id TEXT PRIMARY KEY,
  uid INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
  name TEXT NOT NULL,
  public_key BLOB NOT NULL,
  paired_at INTEGER NOT NULL,
  last_seen INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX authenticators_of ON authenticators (uid);

-- hash is that of the token, or of service and address where by_address is 1.
CREATE TABLE trusted_devices (
  id TEXT PRIMARY KEY,
  uid INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
  hash BLOB NOT NULL UNIQUE,
  by_address INTEGER NOT NULL CHECK (by_address IN (0, 1)),
  label TEXT NOT NULL,
  trusted_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  last_used INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX trusted_devices_of ON trusted_devices (uid);

-- Enforcement of an account by name stands in its row.
CREATE TABLE enforced_groups (kind INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (kind, name)) STRICT, WITHOUT ROWID;

CREATE TABLE delegations (
  kind INTEGER NOT NULL, name TEXT NOT NULL, role INTEGER NOT NULL, PRIMARY KEY (kind, name, role)
) STRICT, WITHOUT ROWID;

-- What must never come back from a backup.
CREATE TABLE revoked (kind INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (kind, id)) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id INTEGER PRIMARY KEY,
  at INTEGER NOT NULL,
  event TEXT NOT NULL,
  user TEXT,
  actor TEXT NOT NULL,
  service TEXT,
  remote TEXT,
  detail TEXT
) STRICT;
";

/// What was denied on a phone and is still to be told; see `denials`.
const V2: &str = "
CREATE TABLE denials (
  uid INTEGER PRIMARY KEY REFERENCES accounts ON DELETE CASCADE,
  at INTEGER NOT NULL,
  service TEXT NOT NULL,
  remote TEXT,
  times INTEGER NOT NULL
) STRICT;
";

/// Wrong answers in claimed logins, counted for themselves (see `core::lockout`): until now they were counted with the others, which keep what they
/// have. And a way to the trust that ends; see `meta`.
const V3: &str = "
ALTER TABLE accounts ADD COLUMN claimed_failures INTEGER NOT NULL DEFAULT 0;
ALTER TABLE accounts ADD COLUMN claimed_wall INTEGER;
ALTER TABLE accounts ADD COLUMN claimed_boot_ns INTEGER;
ALTER TABLE accounts ADD COLUMN claimed_boot_id BLOB;
ALTER TABLE accounts ADD COLUMN claimed_synchronised INTEGER;

CREATE INDEX trusted_devices_ending ON trusted_devices (expires_at);
";

/// Used steps no longer refer to their accounts: for each login SQLite looked the account up, on a page that nothing else needs. They still go with it,
/// and whoever marks one has read or written the account in the same commit, or knows it by its [`State`](super::State). The trigger stands with the
/// table `accounts`: one that takes its place needs it, too, and a REPLACE there would pass it by.
const V4: &str = "
CREATE TABLE marked_steps (
  uid INTEGER NOT NULL,
  step INTEGER NOT NULL,
  burnt INTEGER NOT NULL CHECK (burnt IN (0, 1)),
  seq INTEGER NOT NULL,
  PRIMARY KEY (uid, step)
) STRICT, WITHOUT ROWID;
INSERT INTO marked_steps SELECT uid, step, burnt, seq FROM used_steps;
DROP TABLE used_steps;
ALTER TABLE marked_steps RENAME TO used_steps;
CREATE TRIGGER used_steps_go AFTER DELETE ON accounts BEGIN DELETE FROM used_steps WHERE uid = old.uid; END;
";

/// The version of an opened database; 0 for an empty one.
pub(super) fn version(db: &Connection) -> Result<i32, StoreError> {
    Ok(db.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

/// The version that these steps lead to.
pub(super) fn target(steps: &[&str]) -> i32 {
    i32::try_from(steps.len()).unwrap_or(i32::MAX)
}

/// Takes the steps that a database still lacks, all or none.
pub(super) fn migrate(db: &Connection, steps: &[&str]) -> Result<(), StoreError> {
    let tx = rusqlite::Transaction::new_unchecked(db, rusqlite::TransactionBehavior::Immediate)?;
    let taken = usize::try_from(version(&tx)?).unwrap_or(0);
    for step in steps.iter().skip(taken) {
        tx.execute_batch(step)?;
    }
    tx.pragma_update(None, "user_version", target(steps))?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.commit()?;
    Ok(())
}
