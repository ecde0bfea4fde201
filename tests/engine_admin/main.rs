//! Administrators and their helpers, on the real two processes: who has a second step, who must have one, and helping whoever is locked out.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use twostep::client::Client;
use twostep::core::account::Status;
use twostep::proto::admin::{Backup, Changed, Delegations, Entries, Entry, Subject, Subjects};
use twostep::proto::login::{Decision, Outcome};
use twostep::proto::varlink::Empty;

mod backups;
#[path = "../support/nas.rs"]
mod nas;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/skip.rs"]
mod skip;

use nas::{Nas, answer, call, code, connect_as, decision, enrol, launch, refused, start, wrong_code};

/// carol and dave are administrators, erin and frank staff, greta belongs to nobody.
const PASSWD: &str = "carol:x:2001:2001::/:/bin/sh\ndave:x:2002:2002::/:/bin/sh\nerin:x:2003:100::/:/bin/sh\n\
                      frank:x:2004:2004::/:/bin/sh\ngreta:x:2005:2005::/:/bin/sh\n";
const GROUP: &str =
    "administrators:x:500:admin,carol,dave\nstaff:x:100:frank\nmixed:x:101:greta,carol\nempty:x:102:\nhelpers:x:103:greta\n";

fn nas() -> Nas {
    Nas::start(PASSWD, GROUP)
}

/// Stops both processes, changes files, and starts them again.
fn restart(nas: &mut Nas, change: impl FnOnce(&Path)) {
    nas.stop();
    change(nas.folder.path());
    (nas.demo, nas.said) = launch(nas.folder.path());
}

fn list(client: &mut Client, kind: &str) -> BTreeMap<String, Subject> {
    let pages = client.call_more::<Subjects>("io.twostep.Admin.List", &json!({ "kind": kind })).unwrap();
    pages.flat_map(|page| page.unwrap().subjects).map(|subject| (subject.name.clone(), subject)).collect()
}

fn status(client: &mut Client, kind: &str, name: &str) -> Status {
    list(client, kind)[name].status.unwrap()
}

fn enforce(client: &mut Client, users: &[&str], groups: &[&str], enforced: bool) -> Vec<(String, String, String)> {
    let changed: Changed = call(client, "Admin.Enforce", json!({ "users": users, "groups": groups, "enforced": enforced }));
    changed.changed.into_iter().map(|change| (change.user, change.from, change.to)).collect()
}

fn change(user: &str, from: &str, to: &str) -> (String, String, String) {
    (user.into(), from.into(), to.into())
}

fn trail(client: &mut Client, user: Option<&str>) -> Vec<Entry> {
    call::<Entries>(client, "Admin.Audit", json!({ "user": user, "limit": 1000 })).entries
}

#[test]
fn enforcing_makes_disabled_incomplete_and_a_finished_setup_enabled() {
    let nas = nas();
    let mut root = nas.root();
    assert_eq!(status(&mut root, "local_user", "erin"), Status::Disabled);
    let dry: Changed =
        call(&mut root, "Admin.Enforce", json!({ "users": ["erin"], "groups": ["staff"], "enforced": true, "dry_run": true }));
    let told: Vec<_> = dry.changed.iter().map(|change| change.user.as_str()).collect();
    assert_eq!(told, ["erin", "frank"]);
    assert_eq!(decision(&mut root, "erin"), Decision::NotRequired, "a dry run changes nothing");

    let done = enforce(&mut root, &["erin"], &["staff"], true);
    assert_eq!(done, [change("erin", "disabled", "incomplete"), change("frank", "disabled", "incomplete")]);
    assert_eq!(decision(&mut root, "frank"), Decision::SetupRequired);
    let users = list(&mut root, "local_user");
    assert_eq!((users["frank"].enforced, users["frank"].enforced_by.as_slice()), (true, &["staff".to_owned()][..]));
    assert_eq!(status(&mut root, "local_group", "staff"), Status::Incomplete);
    assert_eq!(status(&mut root, "local_group", "empty"), Status::Disabled);

    enrol(&mut root, "erin");
    enrol(&mut root, "frank");
    assert_eq!(status(&mut root, "local_user", "frank"), Status::Enabled);
    assert_eq!(status(&mut root, "local_group", "staff"), Status::Enabled);
    assert!(enforce(&mut root, &[], &["staff"], false).is_empty(), "both have finished");

    let Empty {} = call(&mut root, "Admin.DisableFor", json!({ "user": "erin" }));
    let Empty {} = call(&mut root, "Admin.DisableFor", json!({ "user": "frank" }));
    assert_eq!(decision(&mut root, "erin"), Decision::SetupRequired, "enforced by name still");
    assert_eq!(decision(&mut root, "frank"), Decision::NotRequired);
    assert_eq!(refused(&mut root, "Admin.DisableFor", json!({ "user": "frank" })), "NotEnabled");
}

#[test]
fn the_only_administrator_is_not_enforced_out() {
    let nas = nas();
    let mut root = nas.root();
    let wish = json!({ "users": [], "groups": ["administrators"], "enforced": true });
    match root.call::<Value>("io.twostep.Admin.Enforce", &wish) {
        Err(twostep::client::Error::Service(failure)) => {
            assert_eq!(failure.name, "io.twostep.Admin.LastWayIn");
            let reason = failure.parameters["reason"].as_str().unwrap();
            assert!(reason.contains("carol") && reason.contains("finish the setup"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(decision(&mut root, "carol"), Decision::NotRequired, "a refusal changes nothing");
    assert!(trail(&mut root, None).iter().any(|entry| entry.event == "refused"));
    enrol(&mut root, "dave");
    let done = enforce(&mut root, &[], &["administrators"], true);
    assert!(done.contains(&change("carol", "disabled", "incomplete")), "{done:?}");
}

#[test]
fn unknown_names_are_refused_and_what_is_gone_can_still_be_taken_back() {
    let mut nas = nas();
    let mut root = nas.root();
    for (users, groups) in [(["nobody-here"].as_slice(), [].as_slice()), (&[], &["nothing-here"])] {
        let wish = json!({ "users": users, "groups": groups, "enforced": true });
        assert_eq!(refused(&mut root, "Admin.Enforce", wish), "NoSuchSubject");
    }
    for method in ["Admin.DisableFor", "Admin.Unlock"] {
        assert_eq!(refused(&mut root, method, json!({ "user": "nobody-here" })), "NoSuchSubject");
        assert_eq!(refused(&mut root, method, json!({ "user": "a:b" })), "InvalidParameter");
    }
    let role = json!({ "subject": "helpers", "role": "access_management", "granted": true });
    let Empty {} = call(&mut root, "Admin.Delegate", role);
    enforce(&mut root, &[], &["helpers"], true);
    drop(root);
    restart(&mut nas, |folder| fs::write(folder.join("etc/group"), GROUP.replace("helpers", "others")).unwrap());
    let mut root = nas.root();
    let role = json!({ "subject": "helpers", "role": "access_management", "granted": false });
    let Empty {} = call(&mut root, "Admin.Delegate", role.clone());
    assert!(call::<Delegations>(&mut root, "Admin.ListDelegations", json!({})).delegations.is_empty());
    assert_eq!(refused(&mut root, "Admin.Delegate", role), "NoSuchSubject");
    enforce(&mut root, &[], &["helpers"], false);
    let again = json!({ "users": [], "groups": ["helpers"], "enforced": false });
    assert_eq!(refused(&mut root, "Admin.Enforce", again), "NoSuchSubject");
}

#[test]
fn a_locked_out_user_is_let_in_again() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    let login = start(&mut root, "erin");
    for _ in 0..5 {
        assert_eq!(answer(&mut root, &login, &wrong_code(&app)), Outcome::Wrong);
    }
    assert_eq!(decision(&mut root, "erin"), Decision::Locked);
    let Empty {} = call(&mut root, "Admin.Unlock", json!({ "user": "erin" }));
    let login = start(&mut root, "erin");
    assert_eq!(answer(&mut root, &login, &code(&app, 0)), Outcome::Verified);
    let events: Vec<_> = trail(&mut root, Some("erin")).into_iter().map(|entry| entry.event).collect();
    assert_eq!(&events[..2], ["login_verified", "login_started"], "newest first");
    assert!(events.contains(&"unlocked".into()) && events.contains(&"imported".into()), "{events:?}");
}

#[test]
fn administrators_and_delegates_reach_whom_they_may() {
    let nas = nas();
    let mut root = nas.root();
    for user in ["carol", "dave", "erin", "greta"] {
        enrol(&mut root, user);
    }
    let (Some(mut carol), Some(mut greta)) = (connect_as(2001, &nas.socket()), connect_as(2005, &nas.socket())) else { return };
    let everybody = [
        ("Admin.List", json!({ "kind": "local_user" })),
        ("Admin.Enforce", json!({ "users": ["erin"], "groups": [], "enforced": true })),
        ("Admin.DisableFor", json!({ "user": "erin" })),
        ("Admin.Unlock", json!({ "user": "erin" })),
        ("Admin.Delegate", json!({ "subject": "greta", "role": "system_management", "granted": true })),
        ("Admin.ListDelegations", json!({})),
        ("Admin.Audit", json!({})),
        ("Admin.Backup", json!({})),
        ("Admin.Restore", json!({ "name": "x" })),
        ("Admin.ListBackups", json!({})),
        ("Admin.StartAnew", json!({})),
        ("Admin.Import", json!({ "user": "greta", "text": "x" })),
    ];
    for (method, parameters) in &everybody {
        assert_eq!(refused(&mut greta, method, parameters.clone()), "PermissionDenied", "{method} by a stranger");
    }
    for (method, parameters) in &everybody[7..] {
        assert_eq!(refused(&mut carol, method, parameters.clone()), "PermissionDenied", "{method} by an administrator");
    }
    assert_eq!(refused(&mut carol, "Admin.DisableFor", json!({ "user": "carol" })), "PermissionDenied", "not without the own second step");

    let Empty {} = call(&mut carol, "Admin.Delegate", json!({ "subject": "helpers", "role": "system_management", "granted": true }));
    let Empty {} = call(&mut greta, "Admin.Unlock", json!({ "user": "erin" }));
    let Empty {} = call(&mut greta, "Admin.DisableFor", json!({ "user": "erin" }));
    assert_eq!(enforce(&mut greta, &["frank"], &["staff"], true).len(), 2);
    for (method, parameters) in [
        ("Admin.DisableFor", json!({ "user": "greta" })),
        ("Admin.Unlock", json!({ "user": "greta" })),
        ("Admin.DisableFor", json!({ "user": "dave" })),
        ("Admin.Enforce", json!({ "users": ["greta"], "groups": [], "enforced": true })),
        ("Admin.Enforce", json!({ "users": [], "groups": ["helpers"], "enforced": true })),
        ("Admin.Enforce", json!({ "users": ["erin"], "groups": ["administrators"], "enforced": false })),
        ("Admin.Enforce", json!({ "users": ["erin", "dave"], "groups": [], "enforced": false })),
        ("Admin.Audit", json!({})),
        ("Admin.Delegate", json!({ "subject": "greta", "role": "access_management", "granted": true })),
    ] {
        assert_eq!(refused(&mut greta, method, parameters.clone()), "PermissionDenied", "{method} {parameters} by a delegate");
    }
    assert_eq!(decision(&mut root, "dave"), Decision::Verify, "nothing was changed");
    let Empty {} = call(&mut carol, "Admin.Delegate", json!({ "subject": "helpers", "role": "system_management", "granted": false }));
    assert_eq!(refused(&mut greta, "Admin.Unlock", json!({ "user": "erin" })), "PermissionDenied", "the role is gone at once");
    assert!(trail(&mut root, None).iter().any(|entry| entry.event == "refused" && entry.by == "uid 2005"));
}

#[test]
fn a_group_with_an_administrator_in_it_is_out_of_a_delegates_reach() {
    let nas = nas();
    let mut root = nas.root();
    let Some(mut frank) = connect_as(2004, &nas.socket()) else { return };
    let Empty {} = call(&mut root, "Admin.Delegate", json!({ "subject": "frank", "role": "access_management", "granted": true }));
    assert_eq!(refused(&mut frank, "Admin.Enforce", json!({ "users": [], "groups": ["mixed"], "enforced": true })), "PermissionDenied");
    let listed: Delegations = call(&mut root, "Admin.ListDelegations", json!({}));
    assert_eq!((listed.delegations[0].subject.as_str(), listed.delegations[0].role.as_str()), ("frank", "access_management"));
}

#[test]
fn an_import_replaces_no_authenticator_and_is_refused_with_the_reason() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    let text = "JBSWY3DPEHPK3PXPJBSWY3DPEH\n\" TOTP_AUTH\n12345678\n";
    assert_eq!(refused(&mut root, "Admin.Import", json!({ "user": "erin", "text": text })), "LastWayIn");
    assert_eq!(refused(&mut root, "Admin.Import", json!({ "user": "frank", "text": "rubbish" })), "InvalidImport");
    let login = start(&mut root, "erin");
    assert_eq!(answer(&mut root, &login, &code(&app, 0)), Outcome::Verified);
    let Empty {} = call(&mut root, "Admin.Import", json!({ "user": "frank", "text": text }));
    assert_eq!(decision(&mut root, "frank"), Decision::Verify);
    let entry = trail(&mut root, Some("frank")).into_iter().find(|entry| entry.event == "imported").unwrap();
    assert!(entry.detail.unwrap().contains("scratch codes"));
}

#[test]
fn the_trail_is_followed_as_it_is_made() {
    let nas = nas();
    // Whose own commits would carry what waits for one.
    nas.after_the_tour();
    let mut follower = nas.root();
    let mut entries = follower.call_more::<Entries>("io.twostep.Admin.Audit", &json!({ "user": "erin" })).unwrap();
    assert!(entries.next().unwrap().unwrap().entries.is_empty());
    let mut root = nas.root();
    enrol(&mut root, "frank");
    enrol(&mut root, "erin");
    let new = entries.next().unwrap().unwrap().entries;
    assert_eq!(new.iter().map(|entry| (entry.event.as_str(), entry.user.as_deref())).collect::<Vec<_>>(), [("imported", Some("erin"))]);
    decision(&mut root, "erin");
    let new = entries.next().unwrap().unwrap().entries;
    assert_eq!(new[0].event, "login_started", "also what carries no decision");
}

#[test]
fn long_lists_come_in_pages_and_ask_for_more() {
    let people: String = (0..3000).map(|n| format!("user-with-a-long-name-{n:05}:x:{}:100::/:/bin/sh\n", 10_000 + n)).collect();
    let nas = Nas::start(&people, "staff:x:100:\n");
    let mut root = nas.root();
    assert_eq!(refused(&mut root, "Admin.List", json!({ "kind": "local_user" })), "ExpectedMore");
    let pages = root.call_more::<Subjects>("io.twostep.Admin.List", &json!({ "kind": "local_user", "filter": "LONG-name" })).unwrap();
    let pages: Vec<Vec<Subject>> = pages.map(|page| page.unwrap().subjects).collect();
    let names: Vec<&str> = pages.iter().flatten().map(|subject| subject.name.as_str()).collect();
    assert!(pages.len() > 2 && names.len() == 3000 && names.is_sorted(), "{} pages, {} names", pages.len(), names.len());
    let wish = json!({ "users": [], "groups": ["staff"], "enforced": true });
    assert_eq!(refused(&mut root, "Admin.Enforce", wish.clone()), "ExpectedMore");
    assert_eq!(decision(&mut root, "user-with-a-long-name-00000"), Decision::NotRequired, "a list that can't be told changes nothing");
    let pages = root.call_more::<Changed>("io.twostep.Admin.Enforce", &wish).unwrap();
    assert_eq!(pages.map(|page| page.unwrap().changed.len()).sum::<usize>(), 3000);
}

/// `twostep` as whoever runs the test, who types these lines: its exit code, what it prints, and what it says beside.
fn twostep(nas: &Nas, arguments: &[&str], lines: &str) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostep"));
    command.arg("--dir").arg(nas.folder.path()).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // One that asks nothing reads nothing.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let done = patience::output(child);
    (done.status.code(), String::from_utf8(done.stdout).unwrap(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn a_script_reads_also_why_somebody_was_not_verified() {
    let nas = nas();
    let mut root = nas.root();
    let app = enrol(&mut root, "erin");
    enforce(&mut root, &["frank"], &[], true);
    let verify = |user: &str, lines: &str| {
        let (status, out, told) = twostep(&nas, &["--json", "verify", user], lines);
        let outcome: Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out:?} {told}"));
        (status, outcome, told)
    };
    let (status, outcome, told) = verify("frank", "");
    assert!(status == Some(1) && outcome["decision"] == "setup_required" && told.contains("twostep setup"), "{outcome} {told}");
    let wrong = format!("{}\n", wrong_code(&app));
    let (status, outcome, told) = verify("erin", &wrong.repeat(3));
    assert!(status == Some(1) && outcome["outcome"] == "wrong" && told.contains("not verified"), "{outcome} {told}");
    let (status, outcome, _) = verify("erin", &wrong.repeat(3));
    assert!(status == Some(1) && outcome["outcome"] == "locked" && outcome["retry_after"].is_u64(), "{outcome}");
    let (status, outcome, _) = verify("erin", "");
    assert!(status == Some(1) && outcome["decision"] == "locked", "{outcome}");
}

#[test]
fn a_renamed_user_gets_a_second_step_again_after_an_administrator_has_let_the_old_one_go() {
    let mut nas = nas();
    let mut root = nas.root();
    enrol(&mut root, "erin");
    drop(root);
    restart(&mut nas, |folder| {
        let passwd = folder.join("etc/passwd");
        fs::write(&passwd, fs::read_to_string(&passwd).unwrap().replace("erin:x", "erina:x")).unwrap();
    });
    let mut root = nas.root();
    assert_eq!(refused(&mut root, "Login.Start", json!({ "user": "erina", "service": "test" })), "StorageFailed");
    let Empty {} = call(&mut root, "Admin.DisableFor", json!({ "user": "erina" }));
    assert_eq!(decision(&mut root, "erina"), Decision::NotRequired);
    assert_eq!(list(&mut root, "local_user")["erina"].status, Some(Status::Disabled));
}

#[test]
fn helping_the_second_name_of_a_number_leaves_the_first_ones_second_step_alone() {
    let mut nas = Nas::start(&format!("{PASSWD}operator:x:2003:100::/:/bin/sh\n"), GROUP);
    let mut root = nas.root();
    enrol(&mut root, "erin");
    assert_eq!(refused(&mut root, "Admin.DisableFor", json!({ "user": "operator" })), "StorageFailed");
    assert_eq!(decision(&mut root, "erin"), Decision::Verify);
    drop(root);
    // Once erin is gone, what was stored for her is in nobody's use.
    restart(&mut nas, |folder| {
        let passwd = folder.join("etc/passwd");
        fs::write(&passwd, fs::read_to_string(&passwd).unwrap().replace("erin:x:2003:100::/:/bin/sh\n", "")).unwrap();
    });
    let mut root = nas.root();
    let Empty {} = call(&mut root, "Admin.DisableFor", json!({ "user": "operator" }));
    assert_eq!(decision(&mut root, "operator"), Decision::NotRequired);
}
