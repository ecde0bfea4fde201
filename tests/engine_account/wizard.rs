//! The command `twostep` as alice uses it for herself: at a terminal, and from a script.

use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use twostep::engine::store::Trust;
use twostep::sys::clock::wall;

use crate::demo::Demo;
use crate::engine::{Api, Engine, PASSWORD, alice as alices_number, code, strings};
use crate::patience::{Lines, ended};
use crate::person::{END, INTERRUPT, Person, STOP, Twostep};

const PASSWORD_QUESTION: &str = "Password: ";
const CODE_QUESTION: &str = "Code that the app shows: ";
const LAST_QUESTION: &str = "Password, once more: ";
const APP_QUESTION: &str = "Enter the code that your authenticator app shows: ";
const RECOVERY_QUESTION: &str = "Enter one of your recovery codes: ";

/// What is typed while the wizard offers a new secret; returns that.
fn scans(person: &mut Person) -> String {
    person.awaits("Scan the QR code with an authenticator app, or type in: ");
    let secret = person.awaits("\n");
    let uri = person.awaits("\n");
    assert!(uri.starts_with("otpauth://totp/") && uri.contains(&secret), "{uri}");
    secret
}

/// The recovery codes in what was shown.
fn recovery_codes(shown: &str) -> Vec<String> {
    let is_code = |line: &&str| line.len() == 19 && line.split('-').all(|group| group.len() == 4);
    shown.lines().map(str::trim).filter(is_code).map(str::to_owned).collect()
}

fn signal_of(status: std::process::ExitStatus) -> Option<Signal> {
    status.signal().map(|number| Signal::try_from(number).unwrap())
}

#[test]
fn the_wizard_walks_through_a_setup_and_shows_no_secret_that_is_typed() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let command = Twostep::alice(engine.folder());
    let mut person = command.at_a_terminal(&["setup"]);
    person.answers(PASSWORD_QUESTION, PASSWORD);
    person.awaits("This NAS offers: Security Code\n");
    let secret = scans(&mut person);
    person.answers(CODE_QUESTION, "123");
    person.awaits("that is not the code");
    let used = code(&secret, 0);
    person.answers(CODE_QUESTION, &used);
    person.awaits(LAST_QUESTION);
    assert_eq!(alice.status()["status"], "disabled", "before the last answer");
    person.types(PASSWORD);
    let (status, shown) = person.leaves();
    assert!(status.success(), "{shown}");
    assert!(shown.contains("2-step verification is on: Security Code, recovery code\n"), "{shown}");
    let codes = recovery_codes(&shown);
    assert_eq!(codes.len(), 10, "{shown}");
    assert!(shown.contains('█'), "a QR code");
    assert!(!shown.contains(PASSWORD) && !shown.contains(&used), "{shown}");

    let shown = command.run(&["status"], "");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("2-step verification is on") && shown.contains("10 left"), "{shown}");
    assert_eq!(recovery_codes(&shown).len(), 0, "they were shown once");
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &used)["outcome"], "already_used");
    alice.verified(&codes[9]);
}

#[test]
fn whoever_breaks_the_wizard_off_has_changed_nothing_and_sees_what_is_typed_again() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let command = Twostep::alice(engine.folder());
    for answered in 0..3 {
        for (key, ended) in [(INTERRUPT, Some(Signal::SIGINT)), (END, None), (0x1c, Some(Signal::SIGQUIT))] {
            let mut person = command.at_a_terminal(&["setup"]);
            person.awaits(PASSWORD_QUESTION);
            if answered > 0 {
                person.types(PASSWORD);
                let secret = scans(&mut person);
                person.awaits(CODE_QUESTION);
                if answered > 1 {
                    person.types(&code(&secret, 0));
                    person.awaits(LAST_QUESTION);
                }
            }
            person.presses(key);
            // It looks at the terminal, too.
            let (status, shown) = person.leaves();
            assert_eq!((signal_of(status), status.code()), (ended, if ended.is_none() { Some(1) } else { None }), "{shown}");
            assert!(ended.is_some() || shown.contains("twostep: there was no answer"), "{shown}");
            assert_eq!(alice.status()["status"], "disabled");
        }
    }
    let mut person = command.at_a_terminal(&["setup"]);
    person.awaits(PASSWORD_QUESTION);
    kill(person.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(signal_of(person.leaves().0), Some(Signal::SIGTERM));
    // What is only noted is written with the next decision.
    alice.set_up();
    let cancelled = engine.audit().iter().filter(|event| *event == "setup_cancelled").count();
    assert_eq!(cancelled, 6, "what was begun does not wait for its end");
}

#[test]
fn whoever_stops_the_wizard_sees_what_is_typed_and_is_asked_again_later() {
    let engine = Engine::start();
    let command = Twostep::alice(engine.folder());
    // The words come from two pieces, since the script itself is not what is awaited.
    let script = format!("{}; stty -a | grep -o '[ -]echo '; echo half'way'; fg %1; exit", command.line("setup"));
    let mut person = command.script_at_a_terminal(&script);
    person.awaits(PASSWORD_QUESTION);
    person.presses(STOP);
    let meanwhile = person.awaits("halfway");
    assert!(meanwhile.contains(" echo "), "{meanwhile}");
    person.answers(PASSWORD_QUESTION, PASSWORD);
    let secret = scans(&mut person);
    person.answers(CODE_QUESTION, &code(&secret, 0));
    person.answers(LAST_QUESTION, PASSWORD);
    person.awaits("2-step verification is on");
    let (status, shown) = person.leaves();
    assert!(status.success() && !shown.contains(PASSWORD), "{shown}");
}

#[test]
fn a_script_gets_plain_lines_and_answers_line_by_line() {
    let engine = Engine::start();
    let command = Twostep::alice(engine.folder());
    let mut child = command.piped(&["setup"]);
    let (mut input, mut lines) = (child.stdin.take().unwrap(), Lines::new("the wizard", child.stdout.take().unwrap()));
    writeln!(input, "{PASSWORD}").unwrap();
    let mut shown = Vec::new();
    let secret = loop {
        shown.push(lines.next().unwrap());
        if shown.last().is_some_and(|line| line.starts_with("otpauth://")) {
            let before = &shown[shown.len() - 2];
            break before.rsplit_once(' ').unwrap().1.to_owned();
        }
    };
    write!(input, "123\n{}\n{PASSWORD}\n", code(&secret, 0)).unwrap();
    shown.extend(lines);
    let status = ended(&mut child);
    let mut questions = String::new();
    child.stderr.take().unwrap().read_to_string(&mut questions).unwrap();
    assert!(status.success(), "{questions}");
    let shown = shown.join("\n");
    assert!(!shown.contains(['\x1b', '█', '▀', '▄']), "nothing that is drawn: {shown}");
    assert!(shown.contains("Type into an authenticator app: ") && recovery_codes(&shown).len() == 10, "{shown}");
    let asked: Vec<&str> = questions.lines().filter(|line| !line.starts_with("that is not the code")).collect();
    assert_eq!(asked, ["Password:", "Code that the app shows:", "Code that the app shows:", "Password, once more:"]);
}

/// One JSON object a line.
fn objects(output: &[u8]) -> Vec<Value> {
    output.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect()
}

#[test]
fn a_script_that_wants_json_gets_one_object_a_line() {
    let engine = Engine::start();
    let command = Twostep::alice(engine.folder());
    let mut child = command.piped(&["setup", "--json"]);
    let (mut input, mut lines) = (child.stdin.take().unwrap(), Lines::new("the wizard", child.stdout.take().unwrap()));
    writeln!(input, "{PASSWORD}").unwrap();
    let offered: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    write!(input, "{}\n{PASSWORD}\n", code(offered["secret"].as_str().unwrap(), 0)).unwrap();
    let rest: Vec<String> = lines.collect();
    assert!(ended(&mut child).success());
    let finished = objects(rest.join("\n").as_bytes());
    assert_eq!((finished.len(), strings(&finished[0]["recovery_codes"]).len()), (1, 10), "{finished:?}");
    let status = objects(&command.run(&["status", "--json"], "").stdout);
    assert_eq!((&status[0]["user"], &status[0]["status"]), (&json!("alice"), &json!("enabled")));
}

#[test]
fn a_new_phone_is_taken_over_with_a_recovery_code_in_the_place_of_the_lost_one() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (old, codes) = alice.set_up();
    let command = Twostep::alice(engine.folder());
    let mut person = command.at_a_terminal(&["change"]);
    person.answers(PASSWORD_QUESTION, PASSWORD);
    person.awaits("(Enter alone is for another way: recovery code)\n");
    person.answers(APP_QUESTION, "");
    person.answers(RECOVERY_QUESTION, &codes[0]);
    let new = scans(&mut person);
    assert_ne!(new, old);
    person.awaits(CODE_QUESTION);
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&old, 1))["outcome"], "verified", "the old phone until then");
    person.types(&code(&new, 0));
    person.answers(LAST_QUESTION, PASSWORD);
    let (status, shown) = person.leaves();
    assert!(status.success() && recovery_codes(&shown).is_empty(), "the list stays good: {shown}");
    assert!(!shown.contains(&codes[0]) && !shown.contains(PASSWORD), "{shown}");
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&old, -1))["outcome"], "wrong");
    alice.verified(&codes[1]);
}

#[test]
fn new_codes_trusted_devices_and_the_end_of_it_all() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (secret, former) = alice.set_up();
    let command = Twostep::alice(engine.folder());
    let mut person = command.at_a_terminal(&["codes"]);
    person.answers(PASSWORD_QUESTION, PASSWORD);
    person.answers(APP_QUESTION, &code(&secret, 1));
    let (status, shown) = person.leaves();
    let renewed = recovery_codes(&shown);
    assert!(status.success() && renewed.len() == 10 && !renewed.contains(&former[0]), "{shown}");
    alice.verified(&renewed[0]);

    assert_eq!(command.run(&["devices"], "").stdout, b"no trusted devices\n");
    drop(alice);
    let engine = engine.restart_with(|tx| {
        let trust = Trust { uid: alices_number(), label: "laptop", now: wall(), lifetime: Duration::from_secs(60) };
        tx.trust_device(trust).map(drop)
    });
    let mut alice = engine.alice();
    let devices = String::from_utf8(command.run(&["devices"], "").stdout).unwrap();
    let (id, label) = devices.trim_end().split_once("  ").unwrap();
    assert_eq!(label, "laptop");
    assert!(command.run(&["devices", "--remove", id], "").status.success());
    assert_eq!(command.run(&["devices"], "").stdout, b"no trusted devices\n");
    assert_eq!(command.run(&["devices", "--remove", id], "").status.code(), Some(1), "it is gone");

    let mut person = command.at_a_terminal(&["disable"]);
    person.answers(PASSWORD_QUESTION, PASSWORD);
    person.answers(APP_QUESTION, "");
    person.answers(RECOVERY_QUESTION, &renewed[1]);
    let (status, shown) = person.leaves();
    assert!(status.success() && shown.contains("2-step verification is off"), "{shown}");
    assert_eq!(alice.start()["decision"], "not_required");
}

#[test]
fn a_login_is_let_in_by_a_right_answer_alone() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let command = Twostep::alice(engine.folder());
    let off = command.run(&["verify", "alice"], "");
    assert!(off.status.success() && off.stdout.starts_with(b"not required"));
    let (_, codes) = alice.set_up();
    let wrong = command.run(&["verify", "alice"], "1\n2\n3\n");
    assert_eq!((wrong.status.code(), wrong.stdout.len()), (Some(1), 0));
    assert!(String::from_utf8(wrong.stderr).unwrap().ends_with("twostep: not verified\n"));
    assert_eq!(command.run(&["verify", "alice"], "").status.code(), Some(1), "no answer");
    assert_eq!(command.run(&["verify", "alice"], "\n\n").status.code(), Some(1), "no other way is left");
    let right = command.run(&["verify", "alice", "--method", "recovery-code"], &format!("{}\n", codes[0]));
    assert_eq!((right.status.code(), &right.stdout[..]), (Some(0), &b"verified\n"[..]));
    let again = command.run(&["verify", "alice", "--json"], &format!("\n{}\n{}\n", codes[0], codes[1]));
    let hints = String::from_utf8(again.stderr).unwrap();
    assert!(hints.contains("this recovery code was used before") && hints.contains("8 recovery codes are left"), "{hints}");
    assert_eq!(objects(&again.stdout)[0]["outcome"], "verified", "the second one");
}

#[test]
fn the_exit_code_says_whether_it_was_refused_or_mistyped_or_nobody_was_there() {
    let engine = Engine::start();
    let command = Twostep::alice(engine.folder());
    let wrong = command.run(&["setup"], "wanderland\n");
    assert_eq!((wrong.status.code(), String::from_utf8(wrong.stderr).unwrap()), (Some(1), "Password:\ntwostep: wrong password\n".into()));
    let odd = command.run(&["status", "--user", "/etc/passwd"], "");
    let reason = String::from_utf8(odd.stderr).unwrap();
    assert_eq!((odd.status.code(), reason.as_str()), (Some(1), "twostep: the service takes no such user\n"));
    let off = command.run(&["disable"], &format!("{PASSWORD}\n"));
    assert_eq!(off.status.code(), Some(1), "there is nothing to turn off");
    for mistyped in [&["setting"][..], &["verify"], &["method", "enable", "telepathy"], &["audit", "--limit", "many"]] {
        assert_eq!(command.run(mistyped, "").status.code(), Some(2), "{mistyped:?}");
    }
    let empty = tempfile::tempdir().unwrap();
    for nobody in [&["status"][..], &["setup"], &["verify", "alice"], &["list"]] {
        let there = Twostep::own(empty.path()).run(nobody, "");
        assert_eq!(there.status.code(), Some(3), "{nobody:?}");
        assert!(String::from_utf8(there.stderr).unwrap().contains("is twostepd running?"));
    }
}

#[test]
fn the_audit_is_followed_until_ctrl_c_or_the_end_of_the_daemon() {
    let demo = Demo::start(|_| {});
    let command = Twostep::own(demo.folder());
    let mut person = command.at_a_terminal(&["audit", "--follow"]);
    let mut script = command.piped(&["audit", "--follow", "--json", "--user", "bob"]);
    let mut lines = Lines::new("the audit", script.stdout.take().unwrap());
    let mut owner = Api::at(&demo.socket());
    for enforced in [true, false] {
        owner.call("Admin.Enforce", json!({ "users": ["bob"], "groups": [], "enforced": enforced }));
        let event = if enforced { "enforced" } else { "enforcement_ended" };
        person.awaits(event);
        assert!(person.awaits("\n").contains("bob"));
        let entry: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        assert_eq!((&entry["event"], &entry["user"]), (&json!(event), &json!("bob")));
    }
    person.presses(INTERRUPT);
    assert_eq!(signal_of(person.leaves().0), Some(Signal::SIGINT), "as with every command that is broken off");
    drop(demo);
    assert_eq!(ended(&mut script).code(), Some(3), "nobody answers any more");
}
