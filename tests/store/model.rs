//! Any order of changes, backups and restores, against a simple model.

use super::*;

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
