//! Who an account is, and which steps it has used.

use super::*;

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

#[tokio::test]
async fn a_step_that_was_used_decades_ahead_goes_once_many_logins_have_come_after_it() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let far = TimeStep(STEP.0 + 80_000_000);
    store
        .write(move |tx| {
            assert!(tx.mark_step(1000, far, Mark::Used, far)?);
            for step in 0..30 {
                assert!(tx.mark_step(1000, TimeStep(STEP.0 + step), Mark::Used, STEP)?);
                assert_eq!(tx.mark(1000, far)?, Some(Mark::Used), "after {step}");
            }
            assert!(tx.mark_step(1000, TimeStep(STEP.0 + 30), Mark::Burnt, STEP)?);
            assert_eq!(tx.mark(1000, far)?, None);
            assert_eq!(tx.mark(1000, TimeStep(STEP.0 + 30))?, Some(Mark::Burnt));
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn whoever_is_given_a_forgotten_account_s_number_has_used_no_step() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    store
        .write(|tx| {
            assert!(tx.mark_step(1000, STEP, Mark::Used, STEP)?);
            tx.forget(1000)?;
            tx.save_enrolled(&enabled(1000, "mallory"), &enrolment(SECRET))?;
            assert_eq!(tx.mark(1000, STEP)?, None);
            assert!(tx.mark_step(1000, STEP, Mark::Used, STEP)?);
            Ok(())
        })
        .await
        .unwrap();
}

#[tokio::test]
async fn each_account_has_its_own_steps_within_one_commit() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    enrol(&store, 1001, "bob", SECRET).await;
    store
        .write(|tx| {
            for uid in [1000, 1001] {
                assert_eq!(tx.mark(uid, STEP)?, None);
                assert!(tx.mark_step(uid, STEP, Mark::Used, STEP)?);
            }
            for uid in [1000, 1001] {
                assert!(!tx.mark_step(uid, STEP, Mark::Used, STEP)?);
            }
            Ok(())
        })
        .await
        .unwrap();
}
