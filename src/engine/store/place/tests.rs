//! Opening: older databases, newer ones, and what a crash has left.

use super::*;
use crate::core::clock::{BootId, Moment};
use crate::core::lockout::{Failures, Tally};
use crate::core::time::{BootTime, Wall};
use crate::core::totp::{Mark, TimeStep};
use crate::engine::store::seal::SealingKey;

const WIDER: &str = "ALTER TABLE accounts ADD COLUMN colour TEXT; CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT;";
const BROKEN: &str = "CREATE TABLE more (id INTEGER PRIMARY KEY) STRICT; ALTER TABLE nowhere ADD COLUMN x;";
/// As on a disk that has no room.
const TOO_LARGE: &str = "PRAGMA max_page_count = 1; CREATE TABLE more (x BLOB) STRICT; INSERT INTO more VALUES (zeroblob(1000000));";

/// The present version.
const PRESENT: i32 = schema::STEPS.len() as i32;

/// The steps of a program that knows one more.
fn and(step: &'static str) -> &'static [&'static str] {
    [schema::STEPS, &[step]].concat().leak()
}

fn place(folder: &Path, steps: &'static [&'static str]) -> Place {
    let keys = SealingKey::from_slice(&[3; 32]).map(|key| Keys::new(&key));
    Place { options: Options::new(folder.into(), || Wall(1_795_517_326)), keys, steps }
}

/// A database of the present version with one account in it.
fn older(folder: &Path) {
    let place = place(folder, schema::STEPS);
    let db = place.open().unwrap();
    Tx::new(&db, place.keys().unwrap()).save(&crate::engine::store::Stored::new(1000, "alice")).unwrap();
    close(db).unwrap();
}

#[test]
fn an_older_database_is_backed_up_then_migrated_and_keeps_its_accounts() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path());
    let place = place(folder.path(), and(WIDER));
    let db = place.open().unwrap();
    assert_eq!(schema::version(&db).unwrap(), PRESENT + 1);
    assert_eq!(db.query_row("SELECT name FROM accounts WHERE colour IS NULL", [], |row| row.get::<_, String>(0)).unwrap(), "alice");
    let backups = backup::list(folder.path()).unwrap();
    assert_eq!(backups.len(), 1);
    assert_eq!(backups[0].kind, Kind::Migration);
    let kept = Connection::open(backup::find(folder.path(), &backups[0].name).unwrap()).unwrap();
    assert_eq!(schema::version(&kept).unwrap(), PRESENT);
}

#[test]
fn a_database_of_the_first_version_learns_to_keep_denials() {
    let folder = tempfile::tempdir().unwrap();
    let first = place(folder.path(), &schema::STEPS[..1]);
    let db = first.open().unwrap();
    let columns = "uid, name, methods, enforced, recovered, passwordless, failures, drift, generation";
    db.execute(&format!("INSERT INTO accounts ({columns}) VALUES (1000, 'alice', 0, 0, 0, 0, 7, 0, 0)"), []).unwrap();
    close(db).unwrap();
    let place = place(folder.path(), schema::STEPS);
    let db = place.open().unwrap();
    let tx = Tx::new(&db, place.keys().unwrap());
    assert_eq!(tx.account_by_uid(1000).unwrap().unwrap().account.failures.real.in_a_row, 7);
    tx.note_denial(1000, Wall(1), "sshd", Some("192.0.2.7")).unwrap();
    tx.note_denial(1000, Wall(2), "login", None).unwrap();
    let denial = tx.denial(1000).unwrap().unwrap();
    assert_eq!((denial.at, denial.service.as_str(), denial.remote, denial.times), (Wall(2), "login", None, 2));
    assert_eq!(tx.denial(1001).unwrap(), None);
    tx.denial_told(1000, (Wall(1), 1)).unwrap();
    assert!(tx.denial(1000).unwrap().is_some(), "one has come since");
    tx.denial_told(1000, (Wall(2), 2)).unwrap();
    assert_eq!(tx.denial(1000).unwrap(), None);
}

/// As the program before the third version wrote an account.
const ROW_OF_V2: &str =
    "INSERT INTO accounts (uid, name, methods, preferred, enforced, recovered, press, passwordless, recovery_email, failures,
       failed_wall, failed_boot_ns, failed_boot_id, failed_synchronised, drift, suspect_step, suspect_ahead, generation,
       secret_id, secret)
     VALUES (1000, 'alice', 1, 'security_code', 1, 0, NULL, 0, NULL, 41,
       1795517326, 5000000000, x'01010101010101010101010101010101', 1, -1, NULL, NULL, 9, x'0a', x'0b')";

#[test]
fn a_database_of_the_second_version_keeps_its_counts_and_learns_to_count_claimed_logins() {
    let folder = tempfile::tempdir().unwrap();
    let second = place(folder.path(), &schema::STEPS[..2]);
    let db = second.open().unwrap();
    db.execute(ROW_OF_V2, []).unwrap();
    close(db).unwrap();
    let place = place(folder.path(), schema::STEPS);
    let db = place.open().unwrap();
    let tx = Tx::new(&db, place.keys().unwrap());
    let mut stored = tx.account_by_uid(1000).unwrap().unwrap();
    let boot = BootTime(Duration::from_secs(5));
    let last = Some(Moment { wall: Wall(1_795_517_326), boot, boot_id: BootId([1; 16]), synchronised: true });
    let real = Failures { in_a_row: 41, last };
    assert_eq!(stored.account.failures, Tally { real, claimed: Failures::default() });
    assert_eq!((stored.account.generation, stored.account.drift.steps, stored.sealed.as_deref()), (9, -1, Some(&[11][..])));
    let claimed = Failures { in_a_row: 3, last };
    stored.account.failures.claimed = claimed;
    tx.save(&stored).unwrap();
    assert_eq!(tx.account_by_uid(1000).unwrap().unwrap(), stored);
    assert_eq!(stored.account.failures, Tally { real, claimed });
    let backups = backup::list(folder.path()).unwrap();
    let kept = Connection::open(backup::find(folder.path(), &backups[0].name).unwrap()).unwrap();
    assert_eq!((backups[0].kind, schema::version(&kept).unwrap()), (Kind::Migration, 2));
    assert_eq!(kept.query_row("SELECT failures FROM accounts", [], |row| row.get::<_, u32>(0)).unwrap(), 41);
}

#[test]
fn a_database_of_the_third_version_keeps_its_used_steps_and_they_still_go_with_their_account() {
    let folder = tempfile::tempdir().unwrap();
    let third = place(folder.path(), &schema::STEPS[..3]);
    let db = third.open().unwrap();
    for (uid, name) in [(1000, "alice"), (1001, "bob")] {
        Tx::new(&db, third.keys().unwrap()).save(&crate::engine::store::Stored::new(uid, name)).unwrap();
    }
    db.execute("INSERT INTO used_steps VALUES (1000, 7, 0, 1), (1000, 8, 1, 2), (1001, 7, 0, 1)", []).unwrap();
    close(db).unwrap();
    let place = place(folder.path(), schema::STEPS);
    let db = place.open().unwrap();
    let refers = db.query_row("SELECT count(*) FROM pragma_foreign_key_list('used_steps')", [], |row| row.get::<_, i64>(0));
    assert_eq!(refers.unwrap(), 0, "a login need not look the account up for it");
    assert!(db.execute("INSERT INTO used_steps VALUES (1000, 9, 2, 3)", []).is_err(), "it is as strict as before");
    assert_eq!(fs::metadata(place.log()).unwrap().len(), 0, "nor has the first login to wait for what was written anew");
    let tx = Tx::new(&db, place.keys().unwrap());
    let of = |uid| [6, 7, 8].map(|step| tx.mark(uid, TimeStep(step)).unwrap());
    assert_eq!((of(1000), of(1001)), ([None, Some(Mark::Used), Some(Mark::Burnt)], [None, Some(Mark::Used), None]));
    assert!(!tx.mark_step(1000, TimeStep(7), Mark::Used, TimeStep(9)).unwrap(), "a used code stays used");
    tx.forget(1000).unwrap();
    assert_eq!((of(1000), of(1001)), ([None; 3], [None, Some(Mark::Used), None]));
}

#[test]
fn a_migration_that_fails_leaves_the_older_database_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path());
    assert!(matches!(place(folder.path(), and(BROKEN)).open(), Err(Failure::Unavailable(_))));
    let db = place(folder.path(), schema::STEPS).open().unwrap();
    assert_eq!(schema::version(&db).unwrap(), PRESENT);
    assert_eq!(db.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'more'", [], |row| row.get::<_, i64>(0)).unwrap(), 0);
}

#[test]
fn a_migration_that_the_disk_has_no_room_for_takes_none_for_backups_of_each_try() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path());
    let Err(Failure::Unavailable(error)) = place(folder.path(), and(TOO_LARGE)).open() else { panic!("there was room") };
    assert_eq!(*error, StoreError::Full);
    assert_eq!(backup::list(folder.path()).unwrap(), []);
    assert!(place(folder.path(), and(WIDER)).open().is_ok());
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(place(folder.path(), and(WIDER)).open().unwrap());
    let refused = place(folder.path(), schema::STEPS).open();
    assert_eq!(refused.err(), Some(Failure::TooNew { found: PRESENT + 1, known: PRESENT }));
    assert!(place(folder.path(), and(WIDER)).open().is_ok());
}

#[test]
fn a_crash_between_marker_and_rename_is_finished_at_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    older(folder.path());
    fs::write(folder.path().join("store.failed"), "noise\nstore.db.set-aside-x\n").unwrap();
    assert!(matches!(place(folder.path(), schema::STEPS).open(), Err(Failure::SetAside { .. })));
    assert!(!folder.path().join("store.db").exists());
    assert!(folder.path().join("store.db.set-aside-x").exists());
    // An operator's own hand.
    fs::rename(folder.path().join("store.db.set-aside-x"), folder.path().join("store.db")).unwrap();
    fs::write(folder.path().join("store.db.set-aside-x"), "").unwrap();
    assert!(place(folder.path(), schema::STEPS).open().is_ok());
    assert!(!folder.path().join("store.failed").exists());
}
