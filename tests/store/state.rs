//! A state names what a login begins with: it is another one as soon as that is.

use super::*;

async fn after(store: &Store, change: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) -> bool {
    let before = store.state();
    store.write(change).await.unwrap();
    store.state() != before
}

#[tokio::test]
async fn what_each_login_leaves_behind_is_no_other_state() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let entry = AuditEntry { at: NOW, event: "login_verified".into(), by: "test".into(), ..AuditEntry::default() };
    for turn in 0..40 {
        let (entry, step) = (entry.clone(), TimeStep(STEP.0 + turn));
        let changed = after(&store, move |tx| {
            tx.believe_clock(Wall(NOW.0 + 61 * turn.cast_signed()))?;
            tx.mark_step(1000, step, Mark::Used, step)?;
            tx.audit(&entry)
        });
        assert!(!changed.await, "login {turn}");
        let clocks =
            store.read(|view| Ok(BelievedClocks { believed: view.believed_clock()?, latest: view.latest_clock()? })).await.unwrap();
        assert_eq!(store.believed_clocks(), Some(clocks), "they are known, too");
    }
    store.read(|view| view.account_by_uid(1000)).await.unwrap();
    assert!(!after(&store, |_| Ok(())).await);
}

#[tokio::test]
async fn whatever_else_a_login_begins_with_is_another_state() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let mut recovered = alice(&store).await;
    recovered.press = Some(1);
    let group = Subject { kind: SubjectKind::LocalGroup, name: "staff".into() };
    assert!(after(&store, move |tx| tx.save(&recovered)).await, "the account");
    assert!(after(&store, move |tx| tx.set_group_enforced(&group, true).map(drop)).await, "enforcement");
    let denial = |tx: &Tx<'_>| tx.note_denial(1000, NOW, "sshd", None);
    assert!(after(&store, denial).await, "what was denied on the phone");
    assert!(after(&store, |tx| tx.forget(1000).map(drop)).await, "no account any more");
}

#[tokio::test]
async fn a_restored_database_is_another_state_and_a_closed_one_has_none() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let name = store.backup(BackupKind::Manual).await.unwrap();
    let before = store.state();
    store.restore(name, None).await.unwrap();
    assert_ne!(store.state(), before);
    let before = store.state();
    store.close().await;
    assert_ne!(store.state(), before);
    assert_eq!(store.believed_clocks(), None);
}

#[tokio::test]
async fn a_decision_knows_the_state_before_it_until_something_in_its_commit_has_changed_it() {
    let folder = folder();
    let store = open(folder.path());
    enrol(&store, 1000, "alice", SECRET).await;
    let mut failed = alice(&store).await;
    failed.account.failures.real.in_a_row = 1;
    let before = store.state();
    // Asked for at once, they share a commit.
    let (first, second) = tokio::join!(
        store.decide(move |tx| Ok((tx.state(), tx.save(&failed)?, tx.state())), |seen| seen),
        store.decide(|tx| Ok(tx.state()), |seen| seen)
    );
    assert_eq!(first.unwrap(), (before, (), None), "from here on the account has to be read");
    assert_eq!(second.unwrap(), None, "so that its failure counts in the answer beside it");
    assert_eq!(store.write(|tx| Ok(tx.state())).await.unwrap(), store.state());
}
