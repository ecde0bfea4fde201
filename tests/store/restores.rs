//! What a restore brings back, and what it never does.

use super::*;

#[tokio::test]
async fn a_restore_brings_back_what_was_lost_and_never_what_was_used_or_revoked() {
    let folder = folder();
    let store = open(folder.path());
    let (admins, role) = (Subject { kind: SubjectKind::LocalGroup, name: "staff".into() }, Role::SystemManagement);
    let (group, dan) = (admins.clone(), Subject { kind: SubjectKind::LocalUser, name: "dan".into() });
    for (uid, name) in [(1000, "alice"), (1001, "bob"), (1002, "carol")] {
        enrol(&store, uid, name, SECRET).await;
    }
    let codes = || ["one", "two", "three"].map(|code| Secret::new(code.into()));
    let delegate = dan.clone();
    let token = store
        .write(move |tx| {
            tx.replace_recovery_codes(1000, &codes())?;
            tx.set_group_enforced(&group, true)?;
            tx.set_delegated(&delegate, role, true)?;
            tx.trust_device(Trust { uid: 1000, label: "laptop", now: NOW, lifetime: Duration::from_secs(100) })
        })
        .await
        .unwrap();
    let name = store.backup(BackupKind::Manual).await.unwrap();

    let (group, delegate) = (admins.clone(), dan.clone());
    store
        .write(move |tx| {
            tx.mark_step(1000, STEP, Mark::Used, STEP)?;
            tx.use_recovery_code(1000, &codes()[0], NOW)?;
            let mut alice = known(tx, 1000, "alice");
            alice.account.failures = Tally { real: failed(7), claimed: failed(9) };
            tx.save(&alice)?;
            // Bob lost his phone and has a new secret; carol had one too, and then her second step turned off; dave is new; enforcement is lifted, dan is no delegate any more.
            tx.save_enrolled(&known(tx, 1001, "bob"), &enrolment(b"the new phone's secret"))?;
            tx.save_enrolled(&known(tx, 1002, "carol"), &enrolment(b"another phone's secret"))?;
            let mut carol = known(tx, 1002, "carol");
            carol.account.disable_for().unwrap();
            tx.save(&carol)?;
            tx.save_enrolled(&enabled(1003, "dave"), &enrolment(SECRET))?;
            tx.set_group_enforced(&group, false)?;
            tx.set_delegated(&delegate, role, false).map(|_| ())
        })
        .await
        .unwrap();

    let report = store.restore(name, None).await.unwrap();
    assert!(report.complete);
    assert!(store.backups().unwrap().iter().any(|backup| Some(&backup.name) == report.kept.as_ref() && backup.kind == BackupKind::Restore));
    store
        .write(move |tx| {
            assert!(!tx.mark_step(1000, STEP, Mark::Used, STEP)?);
            assert!(!tx.use_recovery_code(1000, &codes()[0], NOW)?);
            assert!(tx.use_recovery_code(1000, &codes()[1], NOW)?);
            let alice = known(tx, 1000, "alice");
            assert_eq!(alice.account.failures, Tally { real: failed(7), claimed: failed(9) });
            assert_eq!(alice.account.recovery_codes_left, 1);
            assert!(tx.device_by_token(1000, &token, NOW)?.is_none());
            assert_eq!(tx.enrolment(&known(tx, 1001, "bob"))?.unwrap().secret(), b"the new phone's secret");
            assert!(!known(tx, 1002, "carol").account.is_enabled());
            assert!(known(tx, 1003, "dave").account.is_enabled());
            assert!(tx.is_group_enforced(&admins)?);
            assert_eq!(tx.roles(&dan)?, []);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_restore_after_damage_merges_what_can_still_be_read() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let name = store.backup(BackupKind::Automatic).await.unwrap();
    assert!(use_step(&store, STEP).await);
    store.close().await;
    // The schema's last table is unreadable now, the others are not.
    let path = folder.path().join("store.db");
    let root: u32 = {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'audit'", [], |row| row.get(0)).unwrap()
    };
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(root - 1).unwrap() * 4096;
    bytes[at..at + 4096].copy_from_slice(&noise(4096));
    fs::write(&path, bytes).unwrap();

    let store = open(folder.path());
    let kept = set_aside(&store);
    let report = store.restore(name, None).await.unwrap();
    assert!(!report.complete);
    assert_eq!(store.failure(), None);
    assert!(!use_step(&store, STEP).await, "a used step was forgotten");
    assert!(kept.exists());
    store.close().await;
    assert_eq!(open(folder.path()).failure(), None);
}

/// Alice, whom a press has brought back and who has set up a second step since.
async fn brought_back_by(store: &Store, press: i64, secret: &'static [u8]) {
    let set_up = move |tx: &Tx<'_>| {
        let mut alice = match tx.account(1000, "alice")? {
            Lookup::Known(alice) => alice,
            _ => Stored::new(1000, "alice"),
        };
        assert!(alice.count_press(press));
        alice.account.methods = Methods::NONE.with(Method::SecurityCode);
        tx.save_enrolled(&alice, &enrolment(secret))
    };
    store.write(set_up).await.unwrap();
}

fn standing(press: i64) -> Option<Recovered> {
    Some(Recovered { account: "alice".into(), press })
}

#[tokio::test]
async fn after_a_restore_a_press_that_the_backup_had_counted_takes_away_no_second_step_set_up_since() {
    for (told, stands) in [(standing(1), true), (standing(2), false), (None, false)] {
        let folder = folder();
        let store = open(folder.path());
        brought_back_by(&store, 1, SECRET).await;
        let name = store.backup(BackupKind::Automatic).await.unwrap();
        store.close().await;
        // Of now nothing can be read.
        fs::write(folder.path().join("store.db"), noise(100_000)).unwrap();
        let store = open(folder.path());
        set_aside(&store);
        assert!(!store.restore(name, told.clone()).await.unwrap().complete);
        let mut restored = alice(&store).await;
        assert!(restored.account.is_enabled());
        assert_eq!(restored.account.recovered, stands, "{told:?}: whose enforcement waits");
        assert_eq!(restored.count_press(told.map_or(1, |told| told.press)), !stands, "another press is still to be counted");
    }
}

#[tokio::test]
async fn after_a_restore_the_press_counts_that_counts_now() {
    let folder = folder();
    let store = open(folder.path());
    brought_back_by(&store, 1, SECRET).await;
    let name = store.backup(BackupKind::Manual).await.unwrap();
    brought_back_by(&store, 2, b"the new phone's secret").await;
    assert!(store.restore(name, standing(2)).await.unwrap().complete);
    let mut restored = alice(&store).await;
    assert!(!restored.count_press(2), "a second step that was set up since");
    let secret = store.read(move |view| Ok(view.enrolment(&restored)?.unwrap().secret().to_vec())).await.unwrap();
    assert_eq!(secret, b"the new phone's secret");
}

#[tokio::test]
async fn in_which_groups_of_the_domain_somebody_was_seen_is_kept_over_a_restore() {
    let folder = folder();
    let store = open(folder.path());
    let keep = |uid: u32, name: &'static str, seen: &'static [&'static str], left: &'static [&'static str]| {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        store.write(move |tx| {
            for group in ["office", "school"] {
                tx.set_group_enforced(&Subject { kind: SubjectKind::DomainGroup, name: group.into() }, true)?;
            }
            tx.keep_groups(uid, name, &owned(seen), &owned(left))
        })
    };
    keep(1000, "alice", &["office"], &[]).await.unwrap();
    keep(1001, "bob", &["office"], &[]).await.unwrap();
    let name = store.backup(BackupKind::Manual).await.unwrap();
    keep(1000, "alice", &["school"], &["office"]).await.unwrap();
    keep(1001, "bob", &[], &["office"]).await.unwrap();
    keep(1002, "carol", &["school"], &[]).await.unwrap();
    assert!(store.restore(name, None).await.unwrap().complete);
    let seen = |uid, name: &'static str| store.read(move |view| view.seen_in(uid, name));
    assert_eq!(seen(1000, "alice").await.unwrap(), ["school"], "as it is now");
    assert_eq!(seen(1001, "bob").await.unwrap(), ["office"], "where nothing is known now, the domain has to say so again");
    assert_eq!(seen(1002, "carol").await.unwrap(), ["school"], "seen since the backup");
}

#[test]
fn what_is_still_to_be_told_is_as_of_now_after_a_restore() {
    let folder = folder();
    runtime().block_on(async {
        let store = open(folder.path());
        enrol(&store, 1000, "alice", SECRET).await;
        enrol(&store, 1001, "bob", SECRET).await;
        store.write(|tx| tx.note_denial(1000, NOW, "sshd", Some("192.0.2.7"))).await.unwrap();
        let name = store.backup(BackupKind::Manual).await.unwrap();
        store.write(|tx| tx.denial_told(1000, (NOW, 1))).await.unwrap();
        store.write(|tx| tx.note_denial(1001, NOW, "login", None)).await.unwrap();
        assert!(store.restore(name, None).await.unwrap().complete);
        let (alice, bob) = store.read(|view| Ok((view.denial(1000)?, view.denial(1001)?))).await.unwrap();
        assert_eq!(alice, None, "she was told already");
        assert_eq!(bob, Some(Denial { at: NOW, service: "login".into(), remote: None, times: 1 }));
        store.write(|tx| tx.save(&Stored::new(1001, "bob"))).await.unwrap();
        assert_eq!(store.read(|view| view.denial(1001)).await.unwrap(), None, "with the second step goes what was said of it");
    });
}

/// What makes a database of the present version one of the version before, of the one before that, or of the first.
const TO_V3: &str = "
    DROP TRIGGER used_steps_go; ALTER TABLE used_steps RENAME TO present; CREATE TABLE used_steps (
      uid INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE, step INTEGER NOT NULL, burnt INTEGER NOT NULL, seq INTEGER NOT NULL,
      PRIMARY KEY (uid, step)) STRICT, WITHOUT ROWID;
    INSERT INTO used_steps SELECT * FROM present; DROP TABLE present; PRAGMA user_version = 3;";
const TO_V2: &str = "
    ALTER TABLE accounts DROP COLUMN claimed_failures; ALTER TABLE accounts DROP COLUMN claimed_wall;
    ALTER TABLE accounts DROP COLUMN claimed_boot_ns; ALTER TABLE accounts DROP COLUMN claimed_boot_id;
    ALTER TABLE accounts DROP COLUMN claimed_synchronised; DROP INDEX trusted_devices_ending; PRAGMA user_version = 2;";
const TO_V1: &str = "DROP TABLE denials; PRAGMA user_version = 1;";

fn older_versions() -> [String; 3] {
    [TO_V3.into(), format!("{TO_V3}{TO_V2}"), format!("{TO_V3}{TO_V2}{TO_V1}")]
}

#[test]
fn a_backup_of_an_older_version_is_put_back_and_its_used_codes_stay_used() {
    for older in older_versions() {
        let folder = folder();
        runtime().block_on(async {
            let store = open(folder.path());
            enrol(&store, 1000, "alice", SECRET).await;
            assert!(use_step(&store, STEP).await);
            let name = store.backup(BackupKind::Manual).await.unwrap();
            store.close().await;
            let before = rusqlite::Connection::open(folder.path().join("backups").join(&name)).unwrap();
            before.execute_batch(&older).unwrap();
            before.close().unwrap();
            // Of now nothing can be read.
            fs::write(folder.path().join("store.db"), noise(100_000)).unwrap();
            let store = open(folder.path());
            set_aside(&store);
            store.restore(name, None).await.unwrap();
            assert!(alice(&store).await.account.is_enabled());
            assert!(!use_step(&store, STEP).await);
            assert!(use_step(&store, TimeStep(STEP.0 + 1)).await);
        });
    }
}

#[test]
fn a_database_of_an_older_version_that_was_set_aside_is_read_in_whole() {
    for older in older_versions() {
        let folder = folder();
        let (db, aside) = (folder.path().join("store.db"), "store.db.set-aside-x");
        runtime().block_on(async {
            let store = open(folder.path());
            enrol(&store, 1000, "alice", SECRET).await;
            let name = store.backup(BackupKind::Manual).await.unwrap();
            assert!(use_step(&store, STEP).await);
            store
                .write(|tx| {
                    let mut alice = known(tx, 1000, "alice");
                    alice.account.failures.real = failed(41);
                    tx.save(&alice)
                })
                .await
                .unwrap();
            store.close().await;
            let before = rusqlite::Connection::open(&db).unwrap();
            before.execute_batch(&format!("{older} PRAGMA wal_checkpoint(TRUNCATE);")).unwrap();
            before.close().unwrap();
            fs::write(folder.path().join("store.failed"), format!("noise\n{aside}\n")).unwrap();
            let store = open(folder.path());
            assert!(matches!(store.failure(), Some(Failure::SetAside { .. })));
            let report = store.restore(name, None).await.unwrap();
            assert!(report.complete, "nothing in it was unreadable");
            assert!(!use_step(&store, STEP).await, "and a used code stays used");
            assert_eq!(alice(&store).await.account.failures, Tally { real: failed(41), ..Tally::default() });
        });
    }
}
