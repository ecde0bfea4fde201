//! Backups, and a database that is damaged or given up.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};

use twostep::core::otpauth;
use twostep::proto::admin::Backups;

use super::*;

/// Fills the database with noise, and lets the engine find that.
fn damage(nas: &Nas) {
    let engine = nas.folder.path().join("state/engine");
    fs::write(engine.join("store.db"), vec![0x5a; 100_000]).unwrap();
    fs::remove_file(engine.join("store.db-wal")).unwrap();
    assert!(nas.kill_engine());
}

#[test]
fn a_backup_comes_back_without_lowering_what_happened_since() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    enrol(&mut root, "frank");
    let Backup { name } = call(&mut root, "Admin.Backup", json!({}));
    let login = start(&mut root, "erin");
    let typed = code(&app, 0);
    assert_eq!(answer(&mut root, &login, &typed), Outcome::Verified);
    let Empty {} = call(&mut root, "Admin.DisableFor", json!({ "user": "frank" }));
    let Empty {} = call(&mut root, "Admin.Restore", json!({ "name": name }));
    let login = start(&mut root, "erin");
    assert_eq!(answer(&mut root, &login, &typed), Outcome::AlreadyUsed);
    assert_eq!(decision(&mut root, "frank"), Decision::NotRequired, "what was revoked stays revoked");
    let events: Vec<_> = trail(&mut root, None).into_iter().map(|entry| entry.event).collect();
    assert!(events.contains(&"backup".into()) && events.contains(&"restored".into()), "{events:?}");
    assert_eq!(refused(&mut root, "Admin.Restore", json!({ "name": "../../../etc/passwd" })), "NoSuchSubject");
}

#[test]
fn with_the_database_set_aside_every_call_says_so_until_a_backup_is_restored() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    let Backup { name } = call(&mut root, "Admin.Backup", json!({}));
    drop(root);
    nas.after_the_tour();
    damage(&nas);
    let mut root = nas.root();
    for (method, parameters) in [
        ("Login.Start", json!({ "user": "erin", "service": "test" })),
        ("Account.Status", json!({ "user": "erin" })),
        ("Admin.List", json!({ "kind": "local_user" })),
        ("Admin.Audit", json!({})),
        ("Admin.Enforce", json!({ "users": ["erin"], "groups": [], "enforced": true })),
        ("Admin.Backup", json!({})),
        ("Admin.Import", json!({ "user": "frank", "text": "JBSWY3DPEHPK3PXPJBSWY3DPEH\n\" TOTP_AUTH\n" })),
    ] {
        match root.call::<Value>(&format!("io.twostep.{method}"), &parameters) {
            Err(twostep::client::Error::Service(failure)) => {
                assert!(failure.name.ends_with(".StorageFailed"), "{method}: {failure}");
                assert!(failure.parameters["reason"].as_str().unwrap().contains(&name), "{method} names the backup: {failure}");
            }
            other => panic!("{method}: {other:?}"),
        }
    }
    let listed: Backups = call(&mut root, "Admin.ListBackups", json!({}));
    assert!(listed.backups.iter().any(|backup| backup.name == name && backup.kind == "manual" && backup.size > 0), "{listed:?}");
    let Empty {} = call(&mut root, "Admin.Restore", json!({ "name": name }));
    let login = start(&mut root, "erin");
    assert_eq!(answer(&mut root, &login, &code(&app, 0)), Outcome::Verified);
}

#[test]
fn a_backup_is_carried_away_and_brought_back_to_a_new_machine_with_its_key() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    let away = tempfile::tempdir().unwrap();
    let file = away.path().join("nas.backup");
    let path = file.to_str().unwrap();
    let (status, out, _) = twostep(&nas, &["backup", path], "");
    assert_eq!(status, Some(0), "{out}");
    let key = nas.folder.path().join("state/key");
    assert!(out.contains("worth nothing without the key") && out.contains(key.to_str().unwrap()), "{out}");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let (status, _, told) = twostep(&nas, &["backup", path], "");
    assert!(status == Some(1) && told.contains("exists already") && told.contains("--force"), "{told}");
    assert_eq!(twostep(&nas, &["backup", "--force", path], "").0, Some(0));
    let (_, out, _) = twostep(&nas, &["--json", "backup", away.path().to_str().unwrap()], "");
    let told: Value = serde_json::from_str(&out).unwrap();
    assert!(Path::new(told["file"].as_str().unwrap()).is_file() && told["size"].as_u64().unwrap() > 0, "{out}");
    let (_, out, _) = twostep(&nas, &["backup", "--list"], "");
    assert_eq!(out.lines().filter(|line| line.contains("manual")).count(), 3, "{out}");

    let mut new = self::nas();
    let (status, _, told) = twostep(&new, &["restore", path], "");
    assert!(status == Some(1) && told.contains("key"), "another machine, another key: {told}");
    restart(&mut new, |folder| {
        fs::copy(&key, folder.join("state/key")).unwrap();
        // What the new machine had sealed with its own key.
        fs::remove_dir_all(folder.join("state/engine")).unwrap();
        fs::DirBuilder::new().mode(0o700).create(folder.join("state/engine")).unwrap();
    });
    let (status, _, told) = twostep(&new, &["restore", path], "");
    assert_eq!(status, Some(0), "{told}");
    let mut root = new.root();
    let login = start(&mut root, "erin");
    assert_eq!(answer(&mut root, &login, &code(&app, 0)), Outcome::Verified);
    let (_, out, _) = twostep(&new, &["backup", "--list"], "");
    assert!(!out.contains("carried") && out.contains("restore"), "{out}");
}

#[test]
fn a_backup_that_can_not_be_put_where_it_is_wanted_pushes_no_good_one_out() {
    let nas = nas();
    enrol(&mut nas.root(), "erin");
    for _ in 0..5 {
        assert_eq!(twostep(&nas, &["backup"], "").0, Some(0));
    }
    let good = twostep(&nas, &["backup", "--list"], "").1;
    assert_eq!(good.lines().count(), 5, "{good}");
    for (file, why) in [("/dev/full", "no plain file"), ("/nowhere/mounted/nas.backup", "is the disk mounted?")] {
        for _ in 0..3 {
            let (status, _, told) = twostep(&nas, &["backup", "--force", file], "");
            assert!(status == Some(1) && told.contains(why), "{told}");
        }
    }
    assert_eq!(twostep(&nas, &["backup", "--list"], "").1, good);
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let nas = nas();
    let mut root = nas.root();
    enrol(&mut root, "erin");
    let file = nas.folder.path().join("picture.jpg");
    fs::write(&file, "no database at all").unwrap();
    let (status, _, told) = twostep(&nas, &["restore", file.to_str().unwrap()], "");
    assert!(status == Some(1) && told.contains("picture.jpg is no backup of twostep"), "{told}");
    fs::write(&file, [b"SQLite format 3\0".as_slice(), &[0x5a; 5000]].concat()).unwrap();
    let (status, _, told) = twostep(&nas, &["restore", file.to_str().unwrap()], "");
    assert!(status == Some(1) && told.contains("picture.jpg\" can't be used") && !told.contains("carried"), "{told}");
    let (status, _, told) = twostep(&nas, &["restore", "/nowhere/at-all"], "");
    assert!(status == Some(1) && told.contains("/nowhere/at-all") && told.contains("backup --list"), "{told}");
    assert_eq!(decision(&mut root, "erin"), Decision::Verify);
    assert_eq!(fs::read_dir(nas.folder.path().join("state/engine/backups")).unwrap().count(), 0, "nothing is left there");
}

#[test]
fn starting_anew_is_refused_while_the_database_works() {
    let nas = nas();
    let mut root = nas.root();
    enrol(&mut root, "erin");
    for dry_run in [true, false] {
        assert_eq!(refused(&mut root, "Admin.StartAnew", json!({ "dry_run": dry_run })), "DatabaseWorks");
    }
    let (status, _, told) = twostep(&nas, &["restore", "--anew", "--yes"], "");
    assert!(status == Some(1) && told.contains("works"), "{told}");
    assert_eq!(decision(&mut root, "erin"), Decision::Verify);
}

#[test]
fn a_wrong_key_is_no_reason_to_give_a_database_up() {
    let mut nas = nas();
    let mut root = nas.root();
    enrol(&mut root, "erin");
    drop(root);
    let key = nas.folder.path().join("state/key");
    let right = fs::read(&key).unwrap();
    restart(&mut nas, |_| fs::write(&key, "0".repeat(64)).unwrap());
    let (status, _, told) = twostep(&nas, &["restore", "--anew", "--yes"], "");
    assert!(status == Some(1) && told.contains("put the right key back"), "{told}");
    restart(&mut nas, |_| fs::write(&key, right).unwrap());
    assert_eq!(decision(&mut nas.root(), "erin"), Decision::Verify);
}

#[test]
fn without_a_backup_an_operator_starts_anew_after_being_told_what_is_lost() {
    let nas = nas();
    nas.after_the_tour();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    enforce(&mut root, &["frank"], &[], true);
    drop(root);
    damage(&nas);
    let (status, _, told) = twostep(&nas, &["restore", "--anew"], "yes\n");
    assert_eq!(status, Some(1));
    for word in
        ["damaged", "no good backup", "Security Codes", "enforced", "audit trail", "password alone", "start anew", "nothing was changed"]
    {
        assert!(told.contains(word), "{word:?} in {told}");
    }
    let mut root = nas.root();
    assert_eq!(refused(&mut root, "Login.Start", json!({ "user": "erin", "service": "test" })), "StorageFailed");
    let (status, out, told) = twostep(&nas, &["restore", "--anew"], "start anew\n");
    assert!(status == Some(0) && out.contains("started anew"), "{told}");
    assert_eq!(decision(&mut root, "erin"), Decision::NotRequired);
    assert_eq!(decision(&mut root, "frank"), Decision::NotRequired);
    let entries = trail(&mut root, None);
    let anew = entries.iter().find(|entry| entry.event == "started_anew").unwrap();
    assert!(anew.by.starts_with("uid ") && anew.detail.as_ref().unwrap().contains("set-aside"), "{anew:?}");
    let kept = fs::read_dir(nas.folder.path().join("state/engine")).unwrap();
    assert!(
        kept.map(|file| file.unwrap().file_name()).any(|name| name.to_string_lossy().contains("set-aside")),
        "the damaged file is kept"
    );
    let Empty {} = call(&mut root, "Admin.Import", json!({ "user": "erin", "text": otpauth::uri(&app, "NAS", "erin").as_str() }));
    assert_eq!(decision(&mut root, "erin"), Decision::Verify, "it goes on");
}

#[test]
fn a_script_starts_anew_without_being_asked() {
    let nas = nas();
    nas.after_the_tour();
    let mut root = nas.root();
    enrol(&mut root, "erin");
    let Backup { name } = call(&mut root, "Admin.Backup", json!({}));
    drop(root);
    damage(&nas);
    let (status, out, told) = twostep(&nas, &["--json", "restore", "--anew", "--yes"], "");
    assert_eq!(status, Some(0), "{told}");
    let done: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(done["backup"], name.as_str(), "which would have been the better way: {out}");
    assert!(told.contains(&format!("twostep restore {name}")), "{told}");
    let mut root = nas.root();
    assert_eq!(decision(&mut root, "erin"), Decision::NotRequired);
    let (status, _, told) = twostep(&nas, &["restore", &name], "");
    assert_eq!(status, Some(0), "{told}");
    assert_eq!(decision(&mut root, "erin"), Decision::Verify, "also afterwards");
}

#[test]
fn a_restored_backup_does_not_lock_the_recovered_admin_out() {
    let nas = nas();
    nas.after_the_tour();
    let mut root = nas.root();
    enrol(&mut root, "admin");
    let Backup { name } = call(&mut root, "Admin.Backup", json!({}));
    nas.press();
    drop(root);
    damage(&nas);
    let mut root = nas.root();
    assert_eq!(refused(&mut root, "Login.Start", json!({ "user": "admin", "service": "test" })), "StorageFailed");
    let Empty {} = call(&mut root, "Admin.Restore", json!({ "name": name }));
    assert_eq!(decision(&mut root, "admin"), Decision::NotRequired);
}
