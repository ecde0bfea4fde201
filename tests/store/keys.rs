//! Secrets are sealed, and a wrong or missing key destroys nothing.

use super::*;

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
