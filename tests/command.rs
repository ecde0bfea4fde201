//! What an operator meets at the command `twostep` where something is not as usual.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use twostep::sys::clock;

#[path = "support/patience.rs"]
mod patience;

use patience::{Lines, ended, output};

/// An engine that gives these parameters to a call by its method's last word, and nothing to any other.
fn engine(folder: &Path, replies: &'static [(&'static str, &'static str)]) {
    let listener = UnixListener::bind(folder.join("twostep.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut calls = BufReader::new(stream.unwrap());
                let mut frame = Vec::new();
                while calls.read_until(0, &mut frame).is_ok_and(|length| length > 0) {
                    let call: Value = serde_json::from_slice(&frame[..frame.len() - 1]).unwrap();
                    let method = call["method"].as_str().unwrap().rsplit('.').next().unwrap().to_owned();
                    let found = replies.iter().find(|(name, _)| *name == method).map_or("{}", |(_, parameters)| parameters);
                    let parameters: Value = serde_json::from_str(found).unwrap();
                    // A stream's reply has others after it, which do not come.
                    let reply = json!({ "parameters": parameters, "continues": call["more"] == true && method == "Audit" });
                    // Whoever asked may have gone.
                    let _ = calls.get_mut().write_all(format!("{reply}\0").as_bytes());
                    frame.clear();
                }
            });
        }
    });
}

fn twostep(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostep"));
    command.arg("--dir").arg(folder).args(arguments.split(' ').filter(|word| !word.is_empty()));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// With these lines as its input: its exit code, what it prints, and what it says beside.
fn run(folder: &Path, arguments: &str, lines: &str) -> (Option<i32>, String, String) {
    let mut child = twostep(folder, arguments).spawn().unwrap();
    // One that asks nothing reads nothing.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let Output { status, stdout, stderr } = output(child);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[test]
fn who_waits_for_an_engine_that_is_down_is_told_so_at_once() {
    let folder = tempfile::tempdir().unwrap();
    // As the supervisor's: it takes callers while there is no engine.
    let listener = UnixListener::bind(folder.path().join("twostep.sock")).unwrap();
    let begun = clock::monotonic();
    let mut child = twostep(folder.path(), "status").spawn().unwrap();
    let mut said = Lines::new("twostep", child.stderr.take().unwrap());
    let line = said.next().unwrap();
    assert!(line.contains("the engine does not answer; waiting up to 15 s"), "{line}");
    let rest: String = said.collect();
    assert!(rest.contains("the engine did not answer") && rest.contains("twostep recovery status"), "{rest}");
    assert_eq!(ended(&mut child).code(), Some(3));
    let took = clock::monotonic() - begun;
    assert!(took < Duration::from_secs(45), "{took:?}");
    drop(listener);
}

#[test]
fn an_address_that_no_code_can_be_mailed_to_is_not_passed_over_in_silence() {
    let folder = tempfile::tempdir().unwrap();
    engine(folder.path(), &[("BeginSetup", r#"{ "setup": "s", "available": ["security_code"], "expires_in": 600 }"#)]);
    let (_, _, told) = run(folder.path(), "setup --email alice@example.org", "password\n");
    assert!(told.contains("no codes can be mailed to alice@example.org: no mail server is configured"), "{told}");
}

#[test]
fn the_recovery_address_of_an_enabled_account_is_changed_by_a_mailed_code() {
    let folder = tempfile::tempdir().unwrap();
    engine(
        folder.path(),
        &[
            (
                "Status",
                r#"{ "user": "alice", "status": "disabled", "methods": [], "enforced": false, "recovery_codes_left": 0,
                "passwordless": false, "trusted_devices": [], "authenticators": [] }"#,
            ),
            ("SetRecoveryEmail", r#"{ "setup": "s" }"#),
            ("ConfirmRecoveryEmail", r#"{ "outcome": "confirmed" }"#),
        ],
    );
    let (status, out, told) = run(folder.path(), "email alice@example.org", "password\n123456\n");
    assert!(status == Some(0) && told.contains("Code from the e-mail"), "{told}");
    assert_eq!(out, "codes are mailed to alice@example.org from now on\n");
}

#[test]
fn passwordless_login_is_turned_on_and_off() {
    let folder = tempfile::tempdir().unwrap();
    engine(folder.path(), &[]);
    for state in ["on", "off"] {
        let (status, out, told) = run(folder.path(), &format!("passwordless {state}"), "password\n");
        assert_eq!((status, out), (Some(0), format!("passwordless login is {state}\n")), "{told}");
    }
}

#[test]
fn a_list_of_nothing_says_so_to_people_and_nothing_to_scripts() {
    let folder = tempfile::tempdir().unwrap();
    engine(
        folder.path(),
        &[("List", r#"{ "subjects": [] }"#), ("ListDelegations", r#"{ "delegations": [] }"#), ("Audit", r#"{ "entries": [] }"#)],
    );
    for (arguments, words) in
        [("list", "none"), ("list --filter x", "none of that name"), ("delegate", "nobody holds"), ("audit", "nothing was")]
    {
        let (status, out, told) = run(folder.path(), arguments, "");
        assert!(status == Some(0) && out.starts_with(words), "{arguments}: {out} {told}");
        let (status, out, told) = run(folder.path(), &format!("--json {arguments}"), "");
        assert_eq!((status, out.as_str()), (Some(0), ""), "{arguments}: {told}");
    }
}

#[test]
fn a_stream_ends_with_whoever_reads_it_also_while_nothing_comes() {
    let folder = tempfile::tempdir().unwrap();
    engine(folder.path(), &[("Audit", r#"{ "entries": [{ "id": 1, "at": 0, "event": "enabled", "by": "root" }] }"#)]);
    let mut child = twostep(folder.path(), "audit --follow").spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("enabled"), "{line}");
    // The reader, as `head` does, has gone with that.
    ended(&mut child);
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!(told, "");
}

#[test]
fn the_name_alone_shows_the_help() {
    let output = Command::new(env!("CARGO_BIN_EXE_twostep")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(2) && told.contains("Usage: twostep") && told.contains("recovery "), "{told}");
}
