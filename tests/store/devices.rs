//! Trusted devices and recovery codes.

use super::*;

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
