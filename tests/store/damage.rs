//! Damage, a full disk and one that may not be written to are said and survived.

use super::*;

#[tokio::test]
async fn a_database_of_noise_is_set_aside_until_an_operator_starts_anew() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store.close().await;
    fs::write(folder.path().join("store.db"), noise(100_000)).unwrap();

    let store = open(folder.path());
    let kept = set_aside(&store);
    assert_eq!(fs::read(&kept).unwrap(), noise(100_000));
    let failed = store.write(|_| Ok(())).await.unwrap_err();
    assert!(failed.to_string().contains("start anew"), "{failed}");
    store.close().await;

    let store = open(folder.path());
    assert_eq!(set_aside(&store), kept, "a restart does not begin anew by itself");
    assert!(store.read(|_| Ok(())).await.is_err());
    store.start_anew().await.unwrap();
    assert_eq!(store.failure(), None);
    assert_eq!(store.start_anew().await, Err(StoreError::Works));
    enrol(&store, 1000, "alice", SECRET).await;
    store.close().await;
    assert_eq!(open(folder.path()).failure(), None);
    assert!(kept.exists());
}

#[tokio::test]
async fn damage_that_appears_while_the_engine_runs_is_set_aside_too() {
    let folder = folder();
    let store = open(folder.path());
    let fill = |tx: &Tx<'_>| (0..2000).try_for_each(|uid| tx.save(&Stored::new(uid, &format!("a user with quite a long name {uid}"))));
    store.write(fill).await.unwrap();
    store.close().await;
    let store = open(folder.path());
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("store.db")).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &noise(length - 4096), 4096).unwrap();
    let error = store.read(|view| view.accounts(None, 5000)).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    // The report reaches the writer before this call does, or this call meets the damage itself.
    let _ = store.write(|tx| tx.save(&Stored::new(1, "x"))).await;
    assert!(set_aside(&store).exists());
    assert!(!folder.path().join("store.db").exists());
}

#[tokio::test]
async fn a_missing_or_empty_database_is_no_first_start_once_there_was_one() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let backup = store.backup(BackupKind::Automatic).await.unwrap();
    store.close().await;
    fs::write(folder.path().join("store.db"), "").unwrap();
    let store = open(folder.path());
    assert!(set_aside(&store).exists());
    store.restore(backup.clone(), None).await.unwrap();
    store.close().await;
    fs::remove_file(folder.path().join("store.db")).unwrap();
    let store = open(folder.path());
    let failure = store.failure().unwrap().to_string();
    assert!(failure.contains("missing") && failure.contains(".db"), "{failure}");
    store.restore(backup, None).await.unwrap();
    alice(&store).await;
}

#[tokio::test]
async fn a_missing_folder_fails_each_call_and_works_once_it_is_there() {
    let folder = folder();
    let later = folder.path().join("later");
    let store = open(&later);
    assert!(matches!(store.failure(), Some(Failure::Unavailable(_))));
    assert!(store.write(|_| Ok(())).await.is_err());
    assert!(store.read(|_| Ok(())).await.is_err());
    fs::create_dir(&later).unwrap();
    assert_eq!(store.read(|_| Ok(())).await, Ok(()));
    assert_eq!(store.failure(), None);
}

#[tokio::test]
async fn a_database_locked_by_another_process_fails_the_call_and_works_afterwards() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let other = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(store.write(|tx| tx.mark_step(1000, STEP, Mark::Used, STEP)).await, Err(StoreError::Locked));
    other.execute_batch("ROLLBACK").unwrap();
    assert!(use_step(&store, STEP).await);
}

/// The part of the next test that runs on a small file system; by itself it does nothing.
#[test]
fn child_that_fills_its_disk() {
    let Some(folder) = std::env::var_os("STORE_TEST_FULL") else { return };
    let (folder, filler) = (Path::new(&folder).join("engine"), Path::new(&folder).join("filler"));
    fs::create_dir(&folder).unwrap();
    runtime().block_on(async {
        let store = open(&folder);
        enrol(&store, 1000, "alice", SECRET).await;
        let mut answered = vec![];
        let mut refused = vec![];
        for turn in 0..10_000 {
            if turn == 20 {
                let _ = fs::write(&filler, noise(64 << 20));
            }
            let step = TimeStep(STEP.0 + turn);
            match store.write(move |tx| tx.mark_step(1000, step, Mark::Used, STEP)).await {
                Ok(first) => {
                    assert!(first);
                    answered.push(step);
                }
                Err(error) => {
                    assert_eq!(error, StoreError::Full);
                    refused.push(step);
                }
            }
            if refused.len() == 3 {
                break;
            }
        }
        assert!(answered.len() >= 20 && refused.len() == 3, "{} {}", answered.len(), refused.len());
        assert_eq!(store.backup(BackupKind::Manual).await, Err(StoreError::Full));
        assert_eq!(store.backup(BackupKind::Automatic).await, Err(StoreError::NearlyFull), "not even tried");
        assert_eq!(alice(&store).await.name, "alice");
        fs::remove_file(&filler).unwrap();
        for step in refused {
            assert!(use_step(&store, step).await, "a refused call was applied");
        }
        for step in answered {
            assert!(!use_step(&store, step).await);
        }
        store.close().await;
        assert_eq!(open(&folder).failure(), None);
    });
    println!("survived");
}

#[test]
fn a_full_disk_is_said_applies_nothing_and_is_survived() {
    let mount = folder();
    let script = "mount -t tmpfs -o size=2m tmpfs \"$STORE_TEST_FULL\" || exit 77; exec \"$0\" --exact damage::child_that_fills_its_disk --nocapture";
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env("STORE_TEST_FULL", mount.path())
        .output();
    let output = match run {
        Ok(output) if output.status.success() || String::from_utf8_lossy(&output.stdout).contains("running 1 test") => output,
        other => {
            skipped(Lack::Root, format_args!("no file system of my own to fill ({other:?})"));
            return;
        }
    };
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("survived"), "{told}");
}

/// The part of the next test that has a file-size limit; by itself it does nothing.
#[test]
fn child_that_may_not_write() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Some(folder) = std::env::var_os("STORE_TEST_LIMIT") else { return };
    let folder = Path::new(&folder);
    runtime().block_on(async {
        let store = open(folder);
        enrol(&store, 1000, "alice", SECRET).await;
        assert!(use_step(&store, STEP).await);
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
        setrlimit(Resource::RLIMIT_FSIZE, 4096, hard).unwrap();
        for step in 1..4 {
            let step = TimeStep(STEP.0 + step);
            let error = store.write(move |tx| tx.mark_step(1000, step, Mark::Used, STEP)).await.unwrap_err();
            assert!(!error.to_string().is_empty());
        }
        assert!(store.backup(BackupKind::Manual).await.is_err());
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
        assert!(!use_step(&store, STEP).await);
        for step in 1..4 {
            assert!(use_step(&store, TimeStep(STEP.0 + step)).await, "a refused call was applied");
        }
        assert_eq!(store.failure(), None);
    });
    println!("survived");
}

#[test]
fn writes_that_fail_otherwise_are_said_apply_nothing_and_are_survived() {
    let folder = folder();
    // The signal that comes with the limit is ignored, as a service's unit would have it.
    let output = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact damage::child_that_may_not_write --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("STORE_TEST_LIMIT", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("survived"), "{told}");
}
