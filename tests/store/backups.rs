//! Backups, and what is none.

use super::*;

#[tokio::test]
async fn backups_are_named_in_order_and_a_bounded_number_of_each_kind_is_kept() {
    let folder = folder();
    let store = open(folder.path());
    for kind in [BackupKind::Manual, BackupKind::Automatic, BackupKind::Automatic, BackupKind::Automatic] {
        store.backup(kind).await.unwrap();
    }
    let manual = |store: &Store| store.backups().unwrap().into_iter().filter(|backup| backup.kind == BackupKind::Manual).count();

    assert!(store.backups().unwrap().iter().all(|backup| backup.at == NOW));
    let names: Vec<_> = store.backups().unwrap().into_iter().map(|backup| backup.name).collect();
    assert_eq!(names, ["00000001-20261124T104846Z-manual.db", "00000003-20261124T104846Z-auto.db", "00000004-20261124T104846Z-auto.db"]);
    for _ in 0..4 {
        store.backup(BackupKind::Manual).await.unwrap();
    }
    assert_eq!(manual(&store), 3, "two, and the one that may still be taken back");
}

#[tokio::test]
async fn what_was_set_aside_names_the_newest_backup_that_is_good() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let first = store.backup(BackupKind::Automatic).await.unwrap();
    // As it was in force, which is a file that expects a log beside it.
    let good = store.restore(first, None).await.unwrap().kept.unwrap();
    let damaged = store.backup(BackupKind::Manual).await.unwrap();
    store.close().await;
    let backups = folder.path().join("backups");
    // It was whole when it was made.
    fs::write(backups.join(&damaged), noise(50_000)).unwrap();
    fs::write(folder.path().join("store.db"), noise(100_000)).unwrap();
    for start in 0..2 {
        let store = open(folder.path());
        match store.failure() {
            Some(failure @ Failure::SetAside { .. }) => {
                let told = failure.to_string();
                assert!(told.ends_with(&format!("twostep restore {good}")), "start {start}: {told}");
            }
            other => panic!("{other:?}"),
        }
        store.close().await;
    }
    let beside = |suffix| backups.join(format!("{good}{suffix}")).exists();
    assert!(!beside("-wal") && !beside("-shm"), "looking leaves nothing behind");
    let store = open(folder.path());
    store.restore(good, None).await.unwrap();
    alice(&store).await;
}

#[tokio::test]
async fn without_a_good_backup_the_way_out_is_named() {
    let folder = folder();
    let store = open(folder.path());
    let only = store.backup(BackupKind::Manual).await.unwrap();
    store.close().await;
    let backups = folder.path().join("backups");
    // An operator's own file is not this store's.
    fs::rename(backups.join(&only), backups.join("00000000-20261124T104846Z-carried.db")).unwrap();
    fs::write(backups.join(only), noise(50_000)).unwrap();
    fs::write(folder.path().join("store.db"), noise(100_000)).unwrap();
    let told = open(folder.path()).failure().unwrap().to_string();
    assert!(told.contains("no good backup") && told.contains("twostep restore --anew"), "{told}");
}

#[tokio::test]
async fn what_was_carried_in_is_restored_and_never_counts_as_a_backup_of_this_store() {
    let (folder, other) = (folder(), self::folder());
    let elsewhere = open(other.path());
    enrol(&elsewhere, 1000, "alice", SECRET).await;
    let name = elsewhere.backup(BackupKind::Manual).await.unwrap();
    let from = other.path().join("backups").join(name);
    let store = open(folder.path());
    let backups = folder.path().join("backups");
    for second in 1..=4 {
        fs::copy(&from, backups.join(format!("00000000-20261124T10484{second}Z-carried.db"))).unwrap();
    }
    assert_eq!(store.backup(BackupKind::Manual).await.unwrap(), "00000001-20261124T104846Z-manual.db");
    let names: Vec<_> = store.backups().unwrap().into_iter().map(|backup| (backup.kind, backup.name)).collect();
    let carried = |second| (BackupKind::Carried, format!("00000000-20261124T10484{second}Z-carried.db"));
    assert_eq!(names[..2], [carried(3), carried(4)], "what was forgotten there goes in the end");
    assert_eq!(names.len(), 3);
    store.restore(carried(4).1, None).await.unwrap();
    alice(&store).await;
    store.close().await;
    for file in files(folder.path()).into_iter().filter(|file| !file.to_string_lossy().contains("carried")) {
        fs::remove_file(file).unwrap();
    }
    assert_eq!(open(folder.path()).failure(), None, "a first start");
}

#[tokio::test]
async fn a_backup_made_while_logins_go_on_is_consistent() {
    let folder = folder();
    let store = open(folder.path());
    store.write(|tx| (0..3000).try_for_each(|uid| tx.save(&Stored::new(uid, &format!("user{uid}"))))).await.unwrap();
    enrol(&store, 100_000, "alice", SECRET).await;
    let busy = store.clone();
    let logins = tokio::spawn(async move {
        for turn in 0..500 {
            let step = TimeStep(STEP.0 + turn);
            let entry = AuditEntry { event: "login_verified".into(), ..AuditEntry::default() };
            busy.write(move |tx| {
                tx.audit(&entry)?;
                tx.mark_step(100_000, step, Mark::Used, STEP)
            })
            .await
            .unwrap();
        }
    });
    let name = store.backup(BackupKind::Manual).await.unwrap();
    logins.await.unwrap();
    let copy = rusqlite::Connection::open(folder.path().join("backups").join(name)).unwrap();
    let count = |table| copy.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count("accounts"), 3001);
    assert_eq!(count("audit"), count("used_steps"), "one commit is whole in the copy or not at all");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_is_no_backup() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let name = store.backup(BackupKind::Manual).await.unwrap();
    let outside = folder.path().join("outside.db");
    fs::copy(folder.path().join("backups").join(&name), &outside).unwrap();
    let link = "00000009-20261124T104846Z-manual.db";
    std::os::unix::fs::symlink(&outside, folder.path().join("backups").join(link)).unwrap();
    let long = "9".repeat(10_000);
    for bad in ["../outside.db", outside.to_str().unwrap(), "", ".", link, "00000008-20261124T104846Z-manual.db", &long] {
        assert!(matches!(store.restore(bad.to_owned(), None).await, Err(StoreError::NoSuchBackup(_))), "{bad}");
    }
    alice(&store).await;
}

#[tokio::test]
async fn a_damaged_foreign_or_wrongly_keyed_backup_changes_nothing() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let name = store.backup(BackupKind::Manual).await.unwrap();
    let path = folder.path().join("backups").join(&name);
    let other = self::folder();
    let foreign = Store::open(options(other.path()), key(9));
    let foreign = other.path().join("backups").join(foreign.backup(BackupKind::Manual).await.unwrap());
    let mut cut = fs::read(&path).unwrap();
    cut.truncate(cut.len() / 2);
    for bytes in [noise(50_000), Vec::new(), cut, fs::read(foreign).unwrap()] {
        fs::write(&path, bytes).unwrap();
        let error = store.restore(name.clone(), None).await.unwrap_err();
        assert!(matches!(error, StoreError::UnusableBackup { .. }), "{error}");
        alice(&store).await;
    }
    assert_eq!(store.failure(), None);
    assert!(!folder.path().join("store.db.new").exists());
}
