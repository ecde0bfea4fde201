//! What was answered is on the disk, whatever happens after it.

use super::*;
use crate::patience::Lines;

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
    let (failed, next) = tokio::join!(group(4, false), group(4, true));
    assert_eq!((failed, next), (Err(StoreError::NotEnrolled { uid: 1000 }), Ok(true)), "free for the next call of the same commit");
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
            .args(["--exact", "commits::child_that_marks_steps_until_it_is_killed", "--nocapture"])
            .env("STORE_TEST_KILLED", folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Lines::new("the child", child.stdout.take().unwrap());
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
