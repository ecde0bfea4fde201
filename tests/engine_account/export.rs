//! A second phone: the secret in force, shown to its owner once more.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};

use nix::unistd::getuid;
use serde_json::{Value, json};
use twostep::core::otpauth;

use super::engine::{BOB, Engine, HELD, PASSWORD, WAITING, alice, code};
use super::root_is_missing;
use crate::patience::output;
use crate::skip::{Lack, skipped};

fn export(login: &Value, password: &str) -> Value {
    json!({ "password": password, "login": login })
}

#[test]
fn the_owner_gets_the_secret_for_a_second_phone_and_nothing_changes() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (secret, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let before = alice.status();
    let shown = alice.call("Account.ExportSecurityCode", export(&login, PASSWORD));
    assert_eq!(shown["secret"], secret.as_str());
    let uri = shown["uri"].as_str().unwrap();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains("alice") && uri.contains(&host), "{uri}");
    assert_eq!(*otpauth::base32(&otpauth::parse(uri).unwrap()), secret, "the second phone reads it");
    assert_eq!(alice.status(), before);
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&secret, 1))["outcome"], "verified", "the second phone's code");
    assert!(!engine.log().contains(&secret) && engine.log().contains("security_code_exported"));
    assert_eq!(engine.audit().iter().filter(|event| *event == "security_code_exported").count(), 1);
}

#[test]
fn a_wrong_password_is_counted_and_shows_nothing() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let asked = engine.asked().len();
    assert_eq!(alice.refused("Account.ExportSecurityCode", export(&login, "wanderland")).0, "WrongPassword");
    let waiting = alice.refused("Account.ExportSecurityCode", export(&login, WAITING));
    assert_eq!(waiting, ("Locked".into(), json!({ "retry_after": 17 })));
    assert_eq!(engine.asked().len(), asked + 2, "the supervisor has seen both, and counts");
    assert_eq!(alice.refused("Account.ExportSecurityCode", export(&login, "a\0b")).0, "InvalidParameter");
    // What carries no decision is in the trail with the next one.
    alice.call("Account.SetPreferred", json!({ "method": "security_code" }));
    let events = engine.audit();
    assert!(events.contains(&"password_wrong".into()) && !events.contains(&"security_code_exported".into()), "{events:?}");
}

#[test]
fn without_a_second_step_there_is_nothing_to_show() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    assert_eq!(alice.refused("Account.ExportSecurityCode", json!({ "password": PASSWORD })).0, "NotEnabled");
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    alice.confirm_new_code(&setup);
    assert_eq!(alice.refused("Account.ExportSecurityCode", json!({ "password": PASSWORD })).0, "NotEnabled", "a setup is not in force");
}

#[test]
fn a_login_from_before_a_new_setup_does_not_vouch_for_its_secret() {
    let engine = Engine::start();
    let (mut alice, mut thief) = (engine.alice(), engine.alice());
    let (_, codes) = alice.set_up();
    let stolen = thief.verified(&codes[0]);
    let own = alice.verified(&codes[1]);
    alice.call("Account.Disable", json!({ "password": PASSWORD, "login": own }));
    let (_, codes) = alice.set_up();
    assert_eq!(thief.refused("Account.ExportSecurityCode", export(&stolen, PASSWORD)).0, "SecondStepRequired");
    assert_eq!(thief.refused("Account.Disable", json!({ "password": PASSWORD, "login": stolen })).0, "SecondStepRequired");
    let own = alice.verified(&codes[0]);
    alice.call("Account.ExportSecurityCode", export(&own, PASSWORD));
}

#[test]
fn a_second_step_that_came_in_force_during_the_password_check_is_asked_for() {
    let engine = Engine::start();
    let (mut alice, mut slow) = (engine.alice(), engine.alice());
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let exporting = std::thread::spawn(move || slow.refused("Account.ExportSecurityCode", json!({ "password": HELD })).0);
    engine.held(|| {
        alice.finish(&setup);
    });
    assert_eq!(exporting.join().unwrap(), "SecondStepRequired");
}

#[test]
fn a_second_step_that_is_turned_off_during_the_password_check_is_shown_no_more() {
    let engine = Engine::start();
    let (mut alice, mut slow) = (engine.alice(), engine.alice());
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let (parameters, held) = (export(&login, HELD), export(&login, PASSWORD));
    let exporting = std::thread::spawn(move || slow.refused("Account.ExportSecurityCode", parameters).0);
    engine.held(|| {
        alice.call("Account.Disable", held);
    });
    assert_eq!(exporting.join().unwrap(), "NotEnabled");
}

#[test]
fn an_account_that_waits_after_wrong_answers_shows_nothing() {
    let engine = Engine::start();
    let (mut alice, mut guesser) = (engine.alice(), engine.alice());
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let guessed = guesser.start()["login"].clone();
    for _ in 0..5 {
        assert_eq!(guesser.answer(&guessed, "recovery_code", "AAAA-AAAA-AAAA-AAAA")["outcome"], "wrong");
    }
    let (error, parameters) = alice.refused("Account.ExportSecurityCode", export(&login, PASSWORD));
    assert_eq!(error, "Locked");
    assert!((1..=30).contains(&parameters["retry_after"].as_u64().unwrap()), "{parameters}");
}

#[test]
fn nobody_else_gets_it_whatever_they_may_do() {
    if root_is_missing("root and a stranger") {
        return;
    }
    let engine = Engine::start();
    let (mut alice, mut bob, mut root) = (engine.alice(), engine.client(BOB), engine.client(0));
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let asked = engine.asked().len();
    for other in [&mut bob, &mut root] {
        // The call is about the caller alone: a name is no parameter of it.
        let named = json!({ "user": "alice", "password": PASSWORD, "login": login });
        assert_eq!(other.refused("Account.ExportSecurityCode", named).0, "InvalidParameter");
    }
    assert_eq!(engine.asked().len(), asked);
    for other in [&mut bob, &mut root] {
        assert_eq!(other.refused("Account.ExportSecurityCode", export(&login, PASSWORD)).0, "WrongPassword", "of their own account");
    }
    assert!(!engine.audit().contains(&"security_code_exported".into()));
}

/// `twostep export` as alice, who types these lines.
fn typed(engine: &Engine, arguments: &[&str], lines: &[&str]) -> Option<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostep"));
    command.arg("--dir").arg(engine.folder()).arg("export").args(arguments).current_dir("/");
    if getuid().is_root() {
        command.uid(alice()).gid(alice());
    }
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            skipped(Lack::OpenFolder, format_args!("{} can't be run by alice: {e}", env!("CARGO_BIN_EXE_twostep")));
            return None;
        }
    };
    // One that refuses early reads no more.
    let _ = child.stdin.take().unwrap().write_all(lines.join("\n").as_bytes());
    Some(output(child))
}

#[test]
fn the_command_asks_for_password_and_code_and_prints_the_uri_into_a_pipe() {
    let engine = Engine::start();
    let (secret, _) = engine.alice().set_up();
    let Some(done) = typed(&engine, &[], &[PASSWORD, &code(&secret, 1)]) else { return };
    let (out, told) = (String::from_utf8(done.stdout).unwrap(), String::from_utf8_lossy(&done.stderr).into_owned());
    assert!(done.status.success(), "{told}");
    assert!(out.lines().count() == 1 && out.starts_with("otpauth://totp/") && out.contains(&secret), "{out}");
    assert!(!told.contains(&secret), "{told}");
}

#[test]
fn the_command_refuses_a_used_code_and_an_account_without_a_second_step() {
    let engine = Engine::start();
    let Some(off) = typed(&engine, &[], &[PASSWORD]) else { return };
    assert!(off.status.code() == Some(1) && String::from_utf8_lossy(&off.stderr).contains("twostep setup"));
    let (secret, codes) = engine.alice().set_up();
    let used = code(&secret, 0);
    let Some(refused) = typed(&engine, &["--json"], &[PASSWORD, &used, &used, &codes[0]]) else { return };
    assert_eq!((refused.status.code(), refused.stdout.as_slice()), (Some(1), b"".as_slice()));
}
