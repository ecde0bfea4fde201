//! The audit trail.

use super::*;

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
