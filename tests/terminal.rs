//! What root's terminal gets where the engine, which reads strangers' bytes, has been taken over.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

#[path = "support/patience.rs"]
mod patience;

use patience::output;

/// Clears the screen in three ways, begins another line, and turns the direction of writing.
const EVIL: &str = "x\u{1b}[2J\u{9b}2J\u{90}q\r\nroot: all is well\u{7}\u{202e}";

/// An engine that answers each call with what `reply` makes of its method.
fn engine(folder: &Path, reply: impl Fn(&str) -> Value + Send + Sync + Copy + 'static) {
    let listener = UnixListener::bind(folder.join("twostep.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut calls = BufReader::new(stream);
                let mut frame = Vec::new();
                while calls.read_until(0, &mut frame).is_ok_and(|length| length > 0) {
                    let call: Value = serde_json::from_slice(&frame[..frame.len() - 1]).unwrap();
                    let said = format!("{}\0", reply(call["method"].as_str().unwrap()));
                    // Whoever asked may have gone.
                    let _ = calls.get_mut().write_all(said.as_bytes());
                    frame.clear();
                }
            });
        }
    });
}

fn good(method: &str) -> Value {
    let status = json!({
        "user": EVIL, "status": "enabled", "methods": ["security_code"], "preferred": "security_code", "enforced": false,
        "recovery_codes_left": 3, "recovery_email": EVIL, "passwordless": false,
        "trusted_devices": [{ "id": EVIL, "label": EVIL, "created": 0, "last_used": 0, "created_at": 0, "last_used_at": 0, "expires_at": 0 }],
        "authenticators": [{ "id": EVIL, "name": EVIL, "paired_at": 0, "methods": [] }],
    });
    let parameters = match method.rsplit('.').next().unwrap() {
        "ListBackups" => json!({ "backups": [{ "name": EVIL, "at": 0, "kind": EVIL, "size": 1 }] }),
        "Backup" => json!({ "name": EVIL, "at": 0, "kind": EVIL, "size": 1 }),
        "List" => {
            json!({ "subjects": [{ "name": EVIL, "kind": "local_user", "status": "enabled", "enforced": true, "enforced_by": [EVIL], "locked": false }] })
        }
        "ListDelegations" => json!({ "delegations": [{ "subject": EVIL, "role": EVIL }] }),
        "Audit" => {
            json!({ "entries": [{ "id": 1, "at": 0, "event": EVIL, "user": EVIL, "by": EVIL, "service": EVIL, "remote": EVIL, "detail": EVIL }] })
        }
        "Enforce" => json!({ "changed": [{ "user": EVIL, "from": "disabled", "to": "incomplete" }] }),
        "StartAnew" => json!({ "failure": EVIL, "set_aside": EVIL }),
        "Status" => status,
        "Start" => {
            json!({ "decision": "verify", "login": "l", "methods": ["security_code"], "preferred": "security_code", "notice": EVIL })
        }
        "Challenge" => json!({ "prompt": EVIL, "expires_in": 60 }),
        "Answer" => json!({ "outcome": "wrong", "hint": EVIL, "attempts_left": 2 }),
        _ => json!({}),
    };
    json!({ "parameters": parameters })
}

fn refusing(method: &str) -> Value {
    let interface = method.rsplit_once('.').unwrap().0;
    json!({ "error": format!("{interface}.StorageFailed"), "parameters": { "reason": EVIL } })
}

fn unheard_of(_: &str) -> Value {
    json!({ "error": EVIL, "parameters": { "x": EVIL } })
}

fn run(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostep"));
    command.arg("--dir").arg(folder).args(arguments.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may read less of it.
    let _ = child.stdin.take().unwrap().write_all(b"one\ntwo\nthree\nfour\nfive\n");
    output(child)
}

const COMMANDS: [&str; 13] = [
    "backup --list",
    "backup",
    "restore --anew",
    "list",
    "delegate",
    "audit",
    "enforce --user alice",
    "status",
    "devices",
    "verify alice",
    "disable",
    "codes",
    "setup",
];

#[test]
fn nothing_of_what_the_engine_says_is_obeyed_by_the_terminal() {
    for (reply, shows) in [(good as fn(&str) -> Value, 8), (refusing, 12), (unheard_of, 13)] {
        let folder = tempfile::tempdir().unwrap();
        engine(folder.path(), reply);
        let mut shown = 0;
        for arguments in COMMANDS.iter().flat_map(|command| [(*command).to_owned(), format!("--json {command}")]) {
            let output = run(folder.path(), &arguments);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let obeyed = text.chars().find(|letter| letter.is_control() && *letter != '\n' || *letter == '\u{202e}');
            assert_eq!(obeyed, None, "twostep {arguments}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("root:")), "twostep {arguments}: {text}");
            shown += usize::from(text.contains("all is well"));
        }
        assert!(shown >= shows, "{shown} commands show what the engine says");
    }
}
