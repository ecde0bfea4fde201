//! What the engine's store promises: nothing answered is forgotten, nothing used comes back, damage is said and never deleted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;
use twostep::core::account::{Method, Methods};
use twostep::core::clock::Moment;
use twostep::core::enforcement::SubjectKind;
use twostep::core::lockout::{Failures, Tally};
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment, Mark, TimeStep};
use twostep::engine::store::*;
use twostep::proto::privileged::Recovered;
use twostep::proto::secret::Secret;

#[path = "support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

const NOW: Wall = Wall(1_795_517_326);
const STEP: TimeStep = TimeStep(59_850_577);
const SECRET: &[u8] = b"a shared secret 0123";

fn key(byte: u8) -> Option<SealingKey> {
    SealingKey::from_slice(&[byte; 32])
}

fn options(folder: &Path) -> Options {
    Options { backups: 2, audit_rows: 1000, ..Options::new(folder.into(), || NOW) }
}

fn open(folder: &Path) -> Store {
    Store::open(options(folder), key(1))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn enabled(uid: u32, name: &str) -> Stored {
    let mut stored = Stored::new(uid, name);
    stored.account.methods = Methods::NONE.with(Method::SecurityCode);
    stored.account.preferred = Some(Method::SecurityCode);
    stored
}

fn failed(in_a_row: u32) -> Failures {
    Failures { in_a_row, last: Some(Moment::default()) }
}

fn enrolment(secret: &[u8]) -> Enrolment {
    Enrolment::existing(secret.to_vec(), Algorithm::Sha1, 6, 30).unwrap()
}

fn known(tx: &View<'_>, uid: u32, name: &str) -> Stored {
    match tx.account(uid, name).unwrap() {
        Lookup::Known(stored) => stored,
        other => panic!("{other:?}"),
    }
}

async fn enrol(store: &Store, uid: u32, name: &'static str, secret: &'static [u8]) {
    store.write(move |tx| tx.save_enrolled(&enabled(uid, name), &enrolment(secret))).await.unwrap();
}

async fn alice(store: &Store) -> Stored {
    store.read(|view| Ok(known(view, 1000, "alice"))).await.unwrap()
}

async fn use_step(store: &Store, step: TimeStep) -> bool {
    store.write(move |tx| tx.mark_step(1000, step, Mark::Used, STEP)).await.unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

// Commits.

#[tokio::test]
async fn one_step_submitted_by_64_tasks_at_once_is_accepted_once_in_each_round() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    for round in 0..50 {
        let step = TimeStep(STEP.0 + round);
        let tasks: Vec<_> = (0..64)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { use_step(&store, step).await })
            })
            .collect();
        let mut accepted = 0;
        for task in tasks {
            accepted += u32::from(task.await.unwrap());
        }
        assert_eq!(accepted, 1, "round {round}");
    }
}

#[tokio::test]
async fn a_call_that_fails_undoes_itself_and_none_of_the_others_in_its_commit() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let group = |step: u64, good: bool| {
        let step = TimeStep(STEP.0 + step);
        store.write(move |tx| {
            let first = tx.mark_step(1000, step, Mark::Used, STEP)?;
            if good { Ok(first) } else { Err(StoreError::NotEnrolled { uid: 1000 }) }
        })
    };
    let (one, two, three) = tokio::join!(group(1, true), group(2, false), group(3, true));
    assert_eq!((one, two, three), (Ok(true), Err(StoreError::NotEnrolled { uid: 1000 }), Ok(true)));
    assert!(!use_step(&store, TimeStep(STEP.0 + 1)).await);
    assert!(use_step(&store, TimeStep(STEP.0 + 2)).await);
    assert!(!use_step(&store, TimeStep(STEP.0 + 3)).await);
}

/// The part of the next test that is killed; by itself it does nothing.
#[test]
fn child_that_marks_steps_until_it_is_killed() {
    let Some(folder) = std::env::var_os("STORE_TEST_KILLED") else { return };
    runtime().block_on(async {
        let store = open(Path::new(&folder));
        let last = store.read(|view| Ok(view.audit_before(None, None, 1)?.first().map_or(0, |(id, _)| *id))).await.unwrap();
        let tasks: Vec<_> = (0..8_u64).map(|task| tokio::spawn(mark_forever(store.clone(), last.cast_unsigned() * 100 + task))).collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
}

async fn mark_forever(store: Store, first: u64) {
    for turn in 0.. {
        let step = TimeStep(first + turn * 8);
        let entry = AuditEntry { at: NOW, event: "login_verified".into(), by: "test".into(), ..AuditEntry::default() };
        let marked = store.write(move |tx| {
            tx.audit(&entry)?;
            tx.mark_step(1000, step, Mark::Used, step)
        });
        // println! of one short line is one write: a kill leaves it whole or out.
        if marked.await.unwrap() {
            println!("answered {}", step.0);
        }
    }
}

#[test]
fn whatever_was_answered_is_found_after_a_kill_at_any_moment() {
    let folder = folder();
    runtime().block_on(async {
        let store = open(folder.path());
        enrol(&store, 1000, "alice", SECRET).await;
        store.close().await;
    });
    let mut all = 0;
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_marks_steps_until_it_is_killed", "--nocapture"])
            .env("STORE_TEST_KILLED", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let step_in = |line: String| line.rsplit_once("answered ").and_then(|(_, step)| step.parse::<u64>().ok());
        let mut answered: Vec<u64> = lines.by_ref().filter_map(step_in).take(20 + round * 37).collect();
        child.kill().unwrap();
        answered.extend(lines.filter_map(step_in));
        child.wait().unwrap();
        all += answered.len();
        runtime().block_on(async {
            let store = open(folder.path());
            assert_eq!(store.failure(), None);
            for step in answered {
                assert!(!use_step(&store, TimeStep(step)).await, "step {step} was answered and is forgotten (round {round})");
            }
            store.close().await;
        });
    }
    assert!(all > 1000, "{all}");
}

#[tokio::test]
async fn a_read_sees_what_was_answered_before_it() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    for turn in 1..200 {
        store
            .write(move |tx| {
                let mut stored = known(tx, 1000, "alice");
                stored.account.failures.real = failed(turn);
                tx.save(&stored)
            })
            .await
            .unwrap();
        assert_eq!(alice(&store).await.account.failures.real.in_a_row, turn);
    }
}

#[tokio::test]
async fn after_closing_each_call_says_so_and_nothing_is_lost() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store.note(AuditEntry { event: "started".into(), ..AuditEntry::default() });
    store.close().await;
    assert_eq!(store.write(|_| Ok(())).await, Err(StoreError::Closed));
    assert_eq!(store.read(|_| Ok(())).await, Err(StoreError::Closed));
    assert!(!folder.path().join("store.db-wal").exists());
    let store = open(folder.path());
    assert_eq!(store.read(|view| view.audit_before(None, None, 9)).await.unwrap()[0].1.event, "started");
}

// Secrets and keys.

#[tokio::test]
async fn a_stolen_file_without_the_key_yields_no_secret_no_code_and_no_token() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let codes = ["kd83-dk2l-93jd", "9sk2-p03k-d02k"].map(|code| Secret::new(code.into()));
    let again = codes.clone();
    let trust = Trust { uid: 1000, label: "laptop", now: NOW, lifetime: Duration::from_secs(60) };
    let token = store
        .write(move |tx| {
            tx.replace_recovery_codes(1000, &codes)?;
            tx.trust_address(trust, "smb", "192.0.2.77")?;
            tx.trust_device(trust)
        })
        .await
        .unwrap();
    store.backup(BackupKind::Manual).await.unwrap();
    let mut hidden: Vec<Vec<u8>> = vec![SECRET.to_vec(), b"192.0.2.77".to_vec(), token.expose().as_bytes().to_vec()];
    let digits = token.expose();
    hidden.push((0..64).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect());
    hidden.extend(again.iter().map(|code| code.expose().as_bytes().to_vec()));
    let find = || {
        for file in files(folder.path()) {
            let bytes = fs::read(&file).unwrap();
            for text in &hidden {
                assert!(!bytes.windows(text.len()).any(|window| window == text), "{} holds {text:?}", file.display());
            }
        }
    };
    find();
    assert_eq!(token.expose().len(), 64);
    store.close().await;
    find();
    // The search does find what is not hidden.
    assert!(fs::read(folder.path().join("store.db")).unwrap().windows(6).any(|window| window == b"laptop"));
}

#[tokio::test]
async fn a_wrong_or_missing_key_is_said_and_destroys_nothing() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store.close().await;
    let before = fs::read(folder.path().join("store.db")).unwrap();
    for (key, failure) in [(key(2), Failure::WrongKey), (None, Failure::MissingKey)] {
        let store = Store::open(options(folder.path()), key);
        assert_eq!(store.failure(), Some(failure.clone()));
        assert_eq!(store.write(|_| Ok(())).await, Err(StoreError::Failed(failure.clone())));
        assert_eq!(store.read(|_| Ok(())).await, Err(StoreError::Failed(failure)));
        store.close().await;
        assert_eq!(fs::read(folder.path().join("store.db")).unwrap(), before);
    }
    let store = open(folder.path());
    let opened = store.read(|view| Ok(view.enrolment(&known(view, 1000, "alice"))?.unwrap().secret() == SECRET)).await;
    assert_eq!(opened, Ok(true));
}

#[tokio::test]
async fn without_a_key_nothing_is_made() {
    let folder = folder();
    let store = Store::open(options(folder.path()), None);
    assert_eq!(store.start_anew().await, Err(StoreError::Failed(Failure::MissingKey)));
    store.close().await;
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn files_are_the_engines_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store.backup(BackupKind::Manual).await.unwrap();
    for file in files(folder.path()) {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o077, 0, "{}", file.display());
    }
}

// Damage.

fn set_aside(store: &Store) -> PathBuf {
    match store.failure() {
        Some(Failure::SetAside { file: Some(file), .. }) => file,
        other => panic!("{other:?}"),
    }
}

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
    let script =
        "mount -t tmpfs -o size=2m tmpfs \"$STORE_TEST_FULL\" || exit 77; exec \"$0\" --exact child_that_fills_its_disk --nocapture";
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
        .args(["-c", "trap '' XFSZ; exec \"$0\" --exact child_that_may_not_write --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("STORE_TEST_LIMIT", folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("survived"), "{told}");
}

// Identities and steps.

#[tokio::test]
async fn a_uid_or_a_name_with_another_partner_is_bound_to_nothing_until_forgotten() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store
        .write(|tx| {
            assert!(matches!(tx.account(1000, "mallory")?, Lookup::Other(other) if other.name == "alice"));
            assert!(matches!(tx.account(1001, "alice")?, Lookup::Other(other) if other.uid == 1000));
            assert_eq!(tx.account(1001, "mallory")?, Lookup::Unknown);
            for taken in [Stored::new(1000, "mallory"), Stored::new(1001, "alice")] {
                assert!(matches!(tx.save(&taken), Err(StoreError::IdentityTaken { .. })));
            }
            assert!(tx.save_enrolled(&enabled(1001, "alice"), &enrolment(SECRET)).is_err());
            tx.forget(1000)?;
            tx.save(&Stored::new(1000, "mallory"))?;
            assert_eq!(known(tx, 1000, "mallory").account.methods, Methods::NONE);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_clock_that_was_wrong_for_a_while_neither_reopens_a_code_nor_locks_out() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let far = TimeStep(STEP.0 + 80_000_000);
    store
        .write(move |tx| {
            for step in 0..3 {
                assert!(tx.mark_step(1000, TimeStep(STEP.0 + step), Mark::Used, TimeStep(STEP.0 + step))?);
            }
            // Decades ahead, more logins than are kept for good.
            for step in 0..15 {
                assert!(tx.mark_step(1000, TimeStep(far.0 + step), Mark::Used, TimeStep(far.0 + step))?);
            }
            for step in 0..3 {
                assert!(!tx.mark_step(1000, TimeStep(STEP.0 + step), Mark::Used, STEP)?, "reopened");
            }
            assert!(tx.mark_step(1000, TimeStep(STEP.0 + 3), Mark::Used, STEP)?, "locked out");
            assert_eq!(tx.mark(1000, TimeStep(STEP.0 + 3))?, Some(Mark::Used));
            assert_eq!(tx.mark(1000, TimeStep(STEP.0 + 4))?, None);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn old_steps_go_in_the_end_and_only_from_the_far_side() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let day = 2880;
    let left = store
        .write(move |tx| {
            for login in 0..2000 {
                let step = TimeStep(STEP.0 + login * day / 4);
                assert!(tx.mark_step(1000, step, Mark::Used, step)?);
            }
            let mut left = 0;
            for login in 0..2000 {
                left += u32::from(tx.mark(1000, TimeStep(STEP.0 + login * day / 4))?.is_some());
            }
            Ok(left)
        })
        .await
        .unwrap();
    // Four logins a day: a week of them, and those that wait for the next pruning.
    assert!((28..=28 + 2 * 16).contains(&left), "{left}");
}

// Trusted devices, recovery codes.

#[tokio::test]
async fn a_device_is_trusted_for_its_time_by_its_token_for_its_account_alone() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    enrol(&store, 1001, "bob", b"another shared secret").await;
    store
        .write(|tx| {
            let trust = Trust { uid: 1000, label: "laptop", now: NOW, lifetime: Duration::from_secs(100) };
            let token = tx.trust_device(trust)?;
            tx.trust_address(trust, "smb", "192.0.2.7")?;
            let at = |seconds| Wall(NOW.0 + seconds);
            assert!(tx.device_by_token(1000, &token, at(99))?.is_some());
            for (uid, now) in [(1000, at(100)), (1000, at(-1)), (1001, NOW)] {
                assert!(tx.device_by_token(uid, &token, now)?.is_none(), "{uid} {now:?}");
            }
            assert!(tx.device_by_token(1000, &Secret::new("0".repeat(64)), NOW)?.is_none());
            assert!(tx.device_by_address(1000, "smb", "192.0.2.7", NOW)?.is_some_and(|device| device.by_address));
            assert!(tx.device_by_address(1000, "smb", "192.0.2.8", NOW)?.is_none());
            assert!(tx.device_by_address(1000, "web", "192.0.2.7", NOW)?.is_none());
            let devices = tx.trusted_devices(1000, NOW)?;
            assert_eq!(devices.len(), 2);
            tx.device_used(&devices[0].id, at(5))?;
            assert!(!tx.revoke_device(1001, &devices[0].id)?, "another's device");
            assert!(tx.revoke_device(1000, &devices[0].id)?);
            assert_eq!(tx.trusted_devices(1000, NOW)?.len(), 1);
            for turn in 0..40 {
                tx.trust_device(Trust { now: at(turn), ..trust })?;
            }
            assert_eq!(tx.trusted_devices(1000, NOW)?.len(), DEVICES_PER_ACCOUNT as usize);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn a_device_whose_trust_has_ended_is_forgotten_and_no_clock_brings_it_back() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    enrol(&store, 1001, "bob", b"another shared secret").await;
    store
        .write(|tx| {
            let trust = |uid, seconds| Trust { uid, label: "laptop", now: NOW, lifetime: Duration::from_secs(seconds) };
            let (short, bobs, long) =
                (tx.trust_device(trust(1000, 10))?, tx.trust_device(trust(1001, 10))?, tx.trust_device(trust(1000, 100))?);
            let later = |seconds| Wall(NOW.0 + seconds);
            let long = tx.device_by_token(1000, &long, later(20))?.unwrap();
            tx.device_used(&long.id, later(20))?;
            assert!(tx.device_by_token(1000, &short, NOW)?.is_none(), "the clock was set back");
            assert!(tx.device_by_token(1001, &bobs, NOW)?.is_some(), "another's is none of that account's business");
            tx.trust_device(Trust { now: later(20), ..trust(1001, 10) })?;
            assert!(tx.device_by_token(1001, &bobs, NOW)?.is_none());
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn turning_the_second_step_off_leaves_nothing_of_it() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store
        .write(|tx| {
            let code = Secret::new("kd83-dk2l".into());
            tx.replace_recovery_codes(1000, &[code.clone(), Secret::new("other".into())])?;
            assert!(tx.use_recovery_code(1000, &code, NOW)?);
            assert!(!tx.use_recovery_code(1000, &code, NOW)?, "used twice");
            assert_eq!(known(tx, 1000, "alice").account.recovery_codes_left, 1);
            let token = tx.trust_device(Trust { uid: 1000, label: "laptop", now: NOW, lifetime: Duration::from_secs(100) })?;
            let phone =
                Authenticator { id: "phone".into(), uid: 1000, name: "phone".into(), public_key: vec![1], paired_at: NOW, last_seen: None };
            tx.add_authenticator(&phone)?;
            assert_eq!(tx.authenticators(1000)?, [phone]);

            let mut stored = known(tx, 1000, "alice");
            stored.account.disable_for().unwrap();
            tx.save(&stored)?;
            let stored = known(tx, 1000, "alice");
            assert!(tx.enrolment(&stored)?.is_none());
            assert_eq!(stored.account.recovery_codes_left, 0);
            assert!(!tx.use_recovery_code(1000, &Secret::new("other".into()), NOW)?);
            assert_eq!(tx.authenticators(1000)?, []);
            assert!(tx.device_by_token(1000, &token, NOW)?.is_none());
            // It can't be enabled again by its flag alone.
            assert_eq!(tx.save(&enabled(1000, "alice")), Err(StoreError::NotEnrolled { uid: 1000 }));
            Ok(())
        })
        .await
        .unwrap();
}

// Audit.

#[tokio::test]
async fn the_audit_trail_is_bounded_its_ids_grow_and_notes_ride_with_the_next_commit() {
    let folder = folder();
    let store = open(folder.path());
    let mut audited = store.audited();
    let entry =
        |event: &str| AuditEntry { at: NOW, event: event.into(), user: Some("alice".into()), by: "root".into(), ..AuditEntry::default() };
    store.note(entry("noted"));
    assert_eq!(store.read(|view| view.audit_before(None, None, 10)).await, Ok(vec![]));
    store
        .write({
            let entry = entry("decided");
            move |tx| tx.audit(&entry)
        })
        .await
        .unwrap();
    assert_eq!(*audited.borrow_and_update(), 2);
    let events = store.read(|view| view.audit_after(0, Some("alice"), 10)).await.unwrap();
    assert_eq!(events.iter().map(|(id, entry)| (*id, entry.event.as_str())).collect::<Vec<_>>(), [(1, "noted"), (2, "decided")]);

    for turn in 0..40 {
        let many = entry(&format!("event {turn}"));
        store.write(move |tx| (0..100).try_for_each(|_| tx.audit(&many))).await.unwrap();
    }
    let rows = store.read(|view| view.audit_before(None, None, 10_000)).await.unwrap();
    assert!((1000..2024).contains(&rows.len()), "{}", rows.len());
    assert_eq!(rows[0].0, 4002);
    assert!(rows.windows(2).all(|pair| pair[0].0 == pair[1].0 + 1));
    store.close().await;
    let store = open(folder.path());
    store.note(entry("after a restart"));
    store.flush().await.unwrap();
    assert_eq!(store.read(|view| view.audit_before(None, None, 1)).await.unwrap()[0].0, 4003);
}

#[tokio::test]
async fn notes_that_can_not_be_committed_are_bounded_and_counted() {
    let folder = folder();
    let later = folder.path().join("later");
    let store = open(&later);
    for _ in 0..3000 {
        store.note(AuditEntry { event: "noted".into(), by: "engine".into(), ..AuditEntry::default() });
    }
    assert!(store.flush().await.is_err());
    fs::create_dir(&later).unwrap();
    store.flush().await.unwrap();
    let last = store.read(|view| view.audit_before(None, None, 1)).await.unwrap();
    assert_eq!(last[0].1.event, "audit_lost");
    assert!(last[0].1.detail.as_ref().unwrap().starts_with("1976 "), "{last:?}");
}

// Backups.

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

/// One thing that happens to the accounts 0 to 2.
#[derive(Clone, Debug)]
enum Event {
    Enrol(u32, u8),
    Off(u32),
    Use(u32, u64),
    /// In a login that is only claimed, or not.
    Fail(u32, bool),
    Verified(u32, bool),
    Codes(u32, u8),
    UseCode(u32, u8),
    Backup,
    Restore,
    Reopen,
}

fn event() -> impl Strategy<Value = Event> {
    let uid = 0..3_u32;
    prop_oneof![
        (uid.clone(), any::<u8>()).prop_map(|(uid, secret)| Event::Enrol(uid, secret)),
        uid.clone().prop_map(Event::Off),
        (uid.clone(), 0..6_u64).prop_map(|(uid, step)| Event::Use(uid, step)),
        (uid.clone(), any::<bool>()).prop_map(|(uid, claimed)| Event::Fail(uid, claimed)),
        (uid.clone(), any::<bool>()).prop_map(|(uid, claimed)| Event::Verified(uid, claimed)),
        (uid.clone(), 0..3_u8).prop_map(|(uid, set)| Event::Codes(uid, set)),
        (uid, 0..3_u8).prop_map(|(uid, set)| Event::UseCode(uid, set)),
        Just(Event::Backup),
        Just(Event::Restore),
        Just(Event::Reopen),
    ]
}

/// What must hold whatever is restored: per account the secret in force, its marked steps, its wrong answers, and each code once used or replaced.
#[derive(Default)]
struct Model {
    secret: [Option<u8>; 3],
    used: [std::collections::BTreeSet<u64>; 3],
    /// Of real logins and of claimed ones.
    failures: [[u32; 2]; 3],
    dead_codes: [std::collections::BTreeSet<u8>; 3],
    codes: [Option<u8>; 3],
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_backup_ever_lowers_what_was_counted_used_or_revoked(events in proptest::collection::vec(event(), 1..40)) {
        runtime().block_on(async {
            let folder = folder();
            let mut store = open(folder.path());
            let (mut model, mut backup) = (Model::default(), None);
            for uid in 0..3 {
                store.write(move |tx| tx.save(&Stored::new(uid, &format!("user{uid}")))).await.unwrap();
            }
            for event in events {
                match event {
                    Event::Backup => backup = Some(store.backup(BackupKind::Manual).await.unwrap()),
                    Event::Restore => {
                        if let Some(name) = backup.take() {
                            store.restore(name, None).await.unwrap();
                        }
                    }
                    Event::Reopen => {
                        store.close().await;
                        store = open(folder.path());
                    }
                    other => apply(&store, &mut model, other).await,
                }
                check(&store, &mut model).await;
            }
        });
    }
}

fn code(set: u8) -> Secret {
    Secret::new(format!("code of set {set}"))
}

async fn apply(store: &Store, model: &mut Model, event: Event) {
    match event {
        Event::Enrol(uid, secret) => {
            model.secret[uid as usize] = Some(secret);
            let save = move |tx: &Tx<'_>| {
                let mut stored = known(tx, uid, &format!("user{uid}"));
                stored.account.methods = Methods::NONE.with(Method::SecurityCode);
                tx.save_enrolled(&stored, &enrolment(&[secret; 20]))
            };
            store.write(save).await.unwrap();
        }
        Event::Off(uid) => {
            model.secret[uid as usize] = None;
            if let Some(set) = model.codes[uid as usize].take() {
                model.dead_codes[uid as usize].insert(set);
            }
            let off = move |tx: &Tx<'_>| {
                let mut stored = known(tx, uid, &format!("user{uid}"));
                stored.account.methods = Methods::NONE;
                tx.save(&stored)
            };
            store.write(off).await.unwrap();
        }
        Event::Use(uid, step) => {
            let first = store.write(move |tx| tx.mark_step(uid, TimeStep(step), Mark::Used, TimeStep(3))).await.unwrap();
            assert_eq!(first, model.used[uid as usize].insert(step));
        }
        Event::Fail(uid, claimed) | Event::Verified(uid, claimed) => {
            let [real, own] = &mut model.failures[uid as usize];
            match (&event, claimed) {
                (Event::Fail(..), true) => *own += 1,
                (Event::Fail(..), false) => *real += 1,
                (_, true) => *own = 0,
                (_, false) => (*real, *own) = (0, 0),
            }
            let failures = Tally { real: failed(*real), claimed: failed(*own) };
            let save = move |tx: &Tx<'_>| {
                let mut stored = known(tx, uid, &format!("user{uid}"));
                stored.account.failures = failures;
                tx.save(&stored)
            };
            store.write(save).await.unwrap();
        }
        Event::Codes(uid, set) => replace_codes(store, model, uid, set).await,
        Event::UseCode(uid, set) => {
            let good = store.write(move |tx| tx.use_recovery_code(uid, &code(set), NOW)).await.unwrap();
            let expected = model.codes[uid as usize] == Some(set) && !model.dead_codes[uid as usize].contains(&set);
            assert_eq!(good, expected, "code {set} of {uid}");
            if good {
                model.dead_codes[uid as usize].insert(set);
            }
        }
        Event::Backup | Event::Restore | Event::Reopen => {}
    }
}

/// Codes come with a second step, and a set that was dead once is not given out again.
async fn replace_codes(store: &Store, model: &mut Model, uid: u32, set: u8) {
    let at = uid as usize;
    if model.secret[at].is_none() || model.dead_codes[at].contains(&set) || model.codes[at] == Some(set) {
        return;
    }
    if let Some(former) = model.codes[at].replace(set) {
        model.dead_codes[at].insert(former);
    }
    store.write(move |tx| tx.replace_recovery_codes(uid, &[code(set)])).await.unwrap();
}

async fn check(store: &Store, model: &mut Model) {
    for uid in 0..3 {
        let (stored, secret) = store
            .read(move |view| {
                let stored = known(view, uid, &format!("user{uid}"));
                let secret = view.enrolment(&stored)?.map(|enrolment| enrolment.secret()[0]);
                Ok((stored, secret))
            })
            .await
            .unwrap();
        let at = uid as usize;
        assert_eq!(secret, model.secret[at], "the secret of {uid}");
        let Tally { real, claimed } = stored.account.failures;
        let (failures, before) = ([real.in_a_row, claimed.in_a_row], model.failures[at]);
        assert!(failures[0] >= before[0] && failures[1] >= before[1], "failures of {uid} were lowered from {before:?} to {failures:?}");
        model.failures[at] = failures;
        for step in model.used[at].clone() {
            assert_eq!(store.read(move |view| view.mark(uid, TimeStep(step))).await, Ok(Some(Mark::Used)), "step {step} of {uid}");
        }
    }
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

/// What makes a database of the present version one of the version before, or of the first.
const TO_V2: &str = "
    ALTER TABLE accounts DROP COLUMN claimed_failures; ALTER TABLE accounts DROP COLUMN claimed_wall;
    ALTER TABLE accounts DROP COLUMN claimed_boot_ns; ALTER TABLE accounts DROP COLUMN claimed_boot_id;
    ALTER TABLE accounts DROP COLUMN claimed_synchronised; DROP INDEX trusted_devices_ending; PRAGMA user_version = 2;";
const TO_V1: &str = "DROP TABLE denials; PRAGMA user_version = 1;";

#[test]
fn a_database_of_an_older_version_that_was_set_aside_is_read_in_whole() {
    for older in [TO_V2.to_owned(), format!("{TO_V2}{TO_V1}")] {
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
