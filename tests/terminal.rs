//! What root's terminal gets where the engine, which reads strangers' bytes, has been taken over; and that `verify` lets nobody in because nobody reads
//! what it says.

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

/// An engine that answers each call with what `reply` makes of its method and parameters.
fn engine(folder: &Path, reply: impl Fn(&str, &Value) -> Value + Send + Sync + Copy + 'static) {
    let listener = UnixListener::bind(folder.join("twostep.sock")).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut calls = BufReader::new(stream);
                let mut frame = Vec::new();
                while calls.read_until(0, &mut frame).is_ok_and(|length| length > 0) {
                    let call: Value = serde_json::from_slice(&frame[..frame.len() - 1]).unwrap();
                    let said = format!("{}\0", reply(call["method"].as_str().unwrap(), &call["parameters"]));
                    // Whoever asked may have gone.
                    let _ = calls.get_mut().write_all(said.as_bytes());
                    frame.clear();
                }
            });
        }
    });
}

fn good(method: &str, parameters: &Value) -> Value {
    let status = json!({
        "user": EVIL, "status": "enabled", "methods": ["security_code"], "preferred": "security_code", "enforced": false,
        "recovery_codes_left": 3, "recovery_email": EVIL, "passwordless": false,
        "trusted_devices": [{ "id": EVIL, "label": EVIL, "trusted_at": 0, "expires_at": 0 }],
        "authenticators": [{ "id": EVIL, "name": EVIL, "paired_at": 0 }],
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
            let methods = ["security_code", "email_code", "recovery_code"];
            json!({ "decision": "verify", "login": "l", "methods": methods, "preferred": "security_code", "notice": EVIL })
        }
        "Challenge" if parameters["method"] == "email_code" => {
            let unavailable = json!({ "method": "email_code", "reason": EVIL });
            return json!({ "error": "io.twostep.Login.MethodUnavailable", "parameters": unavailable });
        }
        "Challenge" => json!({ "prompt": EVIL, "expires_in": 60 }),
        "Answer" => json!({ "outcome": "wrong", "hint": EVIL, "attempts_left": 2 }),
        _ => json!({}),
    };
    json!({ "parameters": parameters })
}

fn refusing(method: &str, _: &Value) -> Value {
    let interface = method.rsplit_once('.').unwrap().0;
    json!({ "error": format!("{interface}.StorageFailed"), "parameters": { "reason": EVIL } })
}

fn unheard_of(_: &str, _: &Value) -> Value {
    json!({ "error": EVIL, "parameters": { "x": EVIL } })
}

fn twostep(folder: &Path, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostep"));
    command.arg("--dir").arg(folder).args(arguments.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    // It may read less of it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
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
    for (reply, shows) in [(good as fn(&str, &Value) -> Value, 20), (refusing, 12), (unheard_of, 13)] {
        let folder = tempfile::tempdir().unwrap();
        engine(folder.path(), reply);
        let mut shown = 0;
        for arguments in COMMANDS.iter().flat_map(|command| [(*command).to_owned(), format!("--json {command}")]) {
            let input = if arguments.ends_with("verify alice") { "\none\ntwo\nthree\n" } else { "one\ntwo\nthree\nfour\nfive\n" };
            let output = run(twostep(folder.path(), &arguments), input);
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            let obeyed = text.chars().find(|letter| letter.is_control() && *letter != '\n' || *letter == '\u{202e}');
            assert_eq!(obeyed, None, "twostep {arguments}: {text:?}");
            assert!(!text.lines().any(|line| line.starts_with("root:")), "twostep {arguments}: {text}");
            shown += usize::from(text.contains("all is well"));
        }
        assert!(shown >= shows, "{shown} commands show what the engine says");
    }
}

/// The login of the service whose name is the decision, or what an answer comes to.
fn deciding(method: &str, parameters: &Value) -> Value {
    let decided = match method.rsplit('.').next().unwrap() {
        "Start" if ["wrong", "verified"].contains(&parameters["service"].as_str().unwrap()) => {
            json!({ "decision": "verify", "login": parameters["service"], "methods": ["security_code", "recovery_code"], "preferred": "security_code" })
        }
        "Start" => json!({ "decision": parameters["service"], "setup": "s", "retry_after": 30 }),
        "Challenge" => json!({ "prompt": "Code", "expires_in": 60 }),
        "Answer" => json!({ "outcome": parameters["login"], "attempts_left": 2 }),
        _ => json!({}),
    };
    json!({ "parameters": decided })
}

/// A pipe that nobody reads.
fn unread() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[test]
fn verify_lets_in_whoever_passed_and_nobody_else_whether_or_not_anybody_reads_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    engine(folder.path(), deciding);
    for (decision, lets_in) in
        [("not_required", true), ("trusted", true), ("setup_required", false), ("locked", false), ("wrong", false), ("verified", true)]
    {
        for json in ["", "--json "] {
            for closed in ["nothing", "output", "error", "both"] {
                let mut command = twostep(folder.path(), &format!("{json}verify alice --service {decision}"));
                if ["output", "both"].contains(&closed) {
                    command.stdout(unread());
                }
                if ["error", "both"].contains(&closed) {
                    command.stderr(unread());
                }
                // Without questions nobody can answer, and by the first one that can't be asked it is over.
                let lets_in = lets_in && (decision != "verified" || ["nothing", "output"].contains(&closed));
                let status = run(command, "one\ntwo\nthree\n").status;
                assert_eq!(status.code(), Some(i32::from(!lets_in)), "{json}{decision}, {closed} closed");
            }
        }
    }
    // Enter alone is no answer either.
    let mut command = twostep(folder.path(), "verify alice --service wrong");
    command.stderr(unread());
    assert_eq!(run(command, "\n\n\n").status.code(), Some(1));
}

#[test]
fn a_command_that_does_more_than_show_fails_where_nobody_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    engine(folder.path(), good);
    for (arguments, code) in [("status", 0), ("list", 0), ("audit", 0), ("backup --list", 0), ("backup", 1), ("enforce --user alice", 1)] {
        let mut command = twostep(folder.path(), arguments);
        command.stdout(unread());
        let output = run(command, "");
        assert_eq!(output.status.code(), Some(code), "twostep {arguments}: {output:?}");
    }
}

#[test]
fn a_command_that_fails_says_so_by_its_code_also_where_nobody_reads_its_errors() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, code) in [("status", 3), ("recovery status", 3), ("restore nothing", 3)] {
        let mut command = twostep(folder.path(), arguments);
        command.stderr(unread());
        assert_eq!(run(command, "").status.code(), Some(code), "twostep {arguments}");
    }
}
