//! Clients that know the protocol from elsewhere, on the real engine: the Python package `varlink`, systemd's `varlinkctl`, and the example in
//! docs/, which has Python's standard library alone.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::demo::Demo;
use crate::engine::{Api, Engine, PASSWORD, code, strings};
use crate::skip::{Lack, skipped};

fn python(script: &str, arguments: &[&str], socket: &Path) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
    let mut command = Command::new("python3");
    command.arg(script).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1").arg(socket);
    command.output().unwrap()
}

/// Whether Python can do without: said, where it can't.
fn is_missing(import: &str, advice: &str) -> bool {
    let missing = !Command::new("python3").args(["-c", import]).output().is_ok_and(|run| run.status.success());
    if missing {
        skipped(Lack::Package, format_args!("python3 can't `{import}`: {advice}"));
    }
    missing
}

#[test]
fn the_python_package_drives_a_whole_setup_and_login() {
    if is_missing("import varlink", "python3 -m pip install varlink") {
        return;
    }
    let demo = Demo::start(|_| {});
    let run = python("tests/support/setup_and_login.py", &[PASSWORD], &demo.socket());
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let kept: Value = serde_json::from_slice(&run.stdout).unwrap();
    let codes = strings(&kept["recovery_codes"]);

    // The daemon agrees.
    let mut service = Api::at(&demo.socket());
    let status = service.call("Account.Status", json!({ "user": "alice" }));
    assert_eq!((&status["status"], &status["recovery_codes_left"]), (&json!("enabled"), &json!(codes.len())));
    let trusted: Vec<&Value> = status["trusted_devices"].as_array().unwrap().iter().map(|device| &device["label"]).collect();
    assert_eq!(trusted, ["laptop"]);
    let login = service.start()["login"].clone();
    assert_eq!(service.answer(&login, "recovery_code", &codes[0])["outcome"], "verified");
    let audit = service.call("Admin.Audit", json!({ "user": "alice", "limit": 100 })).to_string();
    assert!(audit.contains("password_wrong") && audit.contains("device_trusted"), "{audit}");
    for secret in codes.iter().map(String::as_str).chain([kept["secret"].as_str().unwrap(), PASSWORD]) {
        assert!(!audit.contains(secret), "no secret in the audit trail: {audit}");
    }
}

#[test]
fn the_example_in_the_documents_lets_in_whom_the_engine_lets_in() {
    if is_missing("import json, socket, sys", "apt install python3") {
        return;
    }
    let engine = Engine::start();
    let mut alice = engine.alice();
    let socket = engine.folder().join("twostep.sock");
    let verify = |code: &str| {
        let run = python("docs/verify.py", &["alice", code], &socket);
        (run.status.code(), String::from_utf8(run.stderr).unwrap())
    };
    assert_eq!(verify("123456"), (Some(0), String::new()), "nothing is asked for yet");
    let (secret, _) = alice.set_up();
    let fresh = code(&secret, 1);
    assert_eq!(verify("12345"), (Some(1), "wrong\n".into()));
    assert_eq!(verify(&fresh), (Some(0), String::new()));
    assert_eq!(verify(&fresh), (Some(1), "already_used\n".into()));
    for wrong in ["1", "2", "3", "4", "5"] {
        assert_eq!(verify(wrong).0, Some(1));
    }
    assert_eq!(verify("6"), (Some(1), "locked\n".into()));
}

/// What it printed; none where it failed.
fn varlinkctl(arguments: &[&str]) -> Option<String> {
    let run = Command::new("varlinkctl").args(arguments).output().unwrap();
    run.status.success().then(|| String::from_utf8(run.stdout).unwrap())
}

#[test]
fn varlinkctl_reads_every_interface_and_gets_its_answers() {
    if Command::new("varlinkctl").arg("--version").output().is_err() {
        skipped(Lack::Package, "no varlinkctl here (systemd 255 or later)");
        return;
    }
    let demo = Demo::start(|_| {});
    let address = format!("unix:{}", demo.socket().display());
    let names = varlinkctl(&["list-interfaces", &address]).unwrap();
    for name in ["Account", "Admin", "Login"].map(|name| format!("io.twostep.{name}")) {
        assert!(names.lines().any(|line| line == name), "{name} in {names}");
        let described = varlinkctl(&["introspect", &address, &name]).unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/proto").join(format!("{name}.varlink"));
        assert!(varlinkctl(&["validate-idl", file.to_str().unwrap()]).is_some(), "{name}");
        assert!(described.contains(&format!("interface {name}")), "{described}");
    }
    let call = |method: &str, parameters: Value| {
        let answer = varlinkctl(&["call", "--json=short", &address, &format!("io.twostep.{method}"), &parameters.to_string()]);
        answer.map(|answer| serde_json::from_str::<Value>(&answer).unwrap())
    };
    let begun = call("Account.BeginSetup", json!({ "user": "alice", "password": PASSWORD })).unwrap();
    let offered = call("Account.OfferSecurityCode", json!({ "setup": begun["setup"] })).unwrap();
    let now = code(offered["secret"].as_str().unwrap(), 0);
    assert_eq!(
        call("Account.ConfirmSecurityCode", json!({ "setup": begun["setup"], "code": now })),
        Some(json!({ "outcome": "confirmed" }))
    );
    assert!(call("Account.FinishSetup", json!({ "setup": begun["setup"], "password": PASSWORD })).is_some());
    assert_eq!(call("Login.Start", json!({ "user": "alice", "service": "example" })).unwrap()["decision"], "verify");
    assert_eq!(call("Login.Start", json!({ "user": 7, "service": "example" })), None);
    let pages = varlinkctl(&["call", "--more", "--json=short", &address, "io.twostep.Admin.List", r#"{"kind":"local_user"}"#]).unwrap();
    assert!(pages.contains(r#""name":"alice""#), "{pages}");
}
