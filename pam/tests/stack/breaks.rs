//! Who breaks off at a terminal, or lets the time pass: the program ends at once, the terminal is as it was, the phone is asked no longer, and
//! nothing that was not answered counts as wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::nas::{App, Nas};
use crate::phone::terminals::{AT_A_TERMINAL, is_in_by, opens, scene_of_terminals};
use crate::phone::{ALICE, APPROVAL, compares, number_of};
use crate::place::{Place, lacks};
use crate::terminal::{Terminal, is_in};

/// How it ended, that it did not go well, and that the terminal is fit for a shell.
#[track_caller]
fn has_left(program: &str, terminal: Terminal) -> String {
    let ended = terminal.ended();
    assert!(ended.is_as_before, "{program} leaves the terminal as it is while a password is typed: {:?}", ended.words);
    // The signal ends su and login; sudo says what it says whenever no password is given.
    if program == "sudo" {
        assert_eq!(ended.code, Some(1), "{:?}", ended.words);
        assert!(ended.words.ends_with("sudo: a password is required\n"), "{:?}", ended.words);
    } else {
        assert_ne!(ended.code, Some(0), "{:?}", ended.words);
    }
    ended.words
}

/// The first wrong answer is the first.
#[track_caller]
fn nothing_counts(nas: &Nas, app: &App) {
    let login = nas.call("Login.Start", json!({ "user": "alice", "service": "test" }))["login"].clone();
    nas.call("Login.Challenge", json!({ "login": login, "method": "security_code" }));
    let answer = json!({ "login": login, "method": "security_code", "code": app.wrong_code() });
    assert_eq!(nas.call("Login.Answer", answer)["attempts_left"], 4);
}

/// Waits until sudo holds Ctrl-C back again: it has left its prompt.
#[track_caller]
fn awaits_sudo_holding_back(terminal: &Terminal) {
    const SIGINT: u64 = 1 << 1;
    terminal.awaits("leaves sudo's prompt", |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or_default();
        status.starts_with("Name:\tsudo\n") && u64::from_str_radix(blocked.trim(), 16).is_ok_and(|mask| mask & SIGINT != 0)
    });
}

#[test]
fn ctrl_c_at_the_question_for_a_code_ends_su_sudo_and_login() {
    if lacks(&["/usr/bin/su", "/usr/bin/sudo", "/usr/bin/login", "/usr/bin/setpriv"]) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    for program in AT_A_TERMINAL {
        let mut terminal = opens(&place, program);
        terminal.expect(if program == "sudo" { "password for alice: " } else { "Password: " });
        assert!(!terminal.is_as_before(), "{program} shows passwords");
        terminal.type_line(ALICE.1);
        terminal.expect("app shows");
        terminal.interrupt();
        has_left(program, terminal);
    }
    nothing_counts(&nas, &app);
}

#[test]
fn ctrl_c_while_the_phone_is_asked_ends_the_login_and_takes_the_request_from_the_phone() {
    let Some(scene) = scene_of_terminals("compare", "") else { return };
    let app = scene.set_up(APPROVAL, compares);
    // Longer than this test waits: nothing ends here because its time is over.
    scene.place.protect("sudo", &scene.nas, "timeout=120");
    let asked = |mut terminal: Terminal| {
        let number = number_of(&mut terminal);
        scene.phone.until(&format!("document.querySelector('[data-testid=number]')?.innerText === '{number}'"));
        terminal
    };
    let is_gone = |program: &str| {
        eprintln!("{program}: is the phone still asked?");
        scene.phone.until("!document.querySelector('[data-testid=number]')?.checkVisibility()");
    };
    for program in AT_A_TERMINAL {
        let mut terminal = asked(scene.beside_ssh(program));
        terminal.type_line("");
        if program == "sudo" {
            awaits_sudo_holding_back(&terminal);
        }
        terminal.interrupt_waiting();
        has_left(program, terminal);
        is_gone(program);
    }
    // Before Enter, at the machine and from afar.
    let mut terminal = asked(scene.beside_ssh("su"));
    terminal.interrupt();
    has_left("su", terminal);
    is_gone("su");
    let mut terminal = asked(scene.ssh());
    terminal.interrupt();
    has_left("ssh", terminal);
    is_gone("ssh");
    nothing_counts(&scene.nas, &app);
}

#[test]
fn a_phone_that_takes_its_time_is_asked_about_again_at_a_terminal() {
    let Some(scene) = scene_of_terminals("compare", "") else { return };
    let app = scene.set_up(APPROVAL, compares);
    for program in ["sudo", "login"] {
        // No longer than the engine may take for any answer on a busy machine.
        scene.place.protect(program, &scene.nas, "timeout=5");
        let mut terminal = scene.beside_ssh(program);
        let number = number_of(&mut terminal);
        for _ in 0..2 {
            terminal.type_line("");
            terminal.expect(&format!("Not approved yet.\nApprove this login on your phone: the number is {number} (then"));
        }
        assert_eq!(scene.phone.text("number"), number, "{program}: it is the same request");
        scene.phone.tap("approve");
        scene.phone.see("outcome");
        scene.phone.tap("close");
        terminal.type_line("");
        is_in_by(program, terminal);
    }
    nothing_counts(&scene.nas, &app);
}

#[test]
fn a_program_that_waits_no_longer_for_a_code_ends_as_it_does_without_a_password() {
    if lacks(&["/usr/bin/sudo", "/usr/bin/login", "/usr/bin/setpriv"]) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    fs::write(place.path("sudoers"), "Defaults !lecture\nDefaults passwd_timeout=0.1\nalice ALL=(ALL) ALL\n").unwrap();
    fs::set_permissions(place.path("sudoers"), PermissionsExt::from_mode(0o440)).unwrap();
    let mut terminal = opens(&place, "sudo");
    terminal.expect("password for alice: ");
    terminal.type_line(ALICE.1);
    terminal.expect("app shows");
    let ended = terminal.ended();
    assert!(ended.is_as_before && ended.words.contains("timed out reading password"), "{:?}", ended.words);
    // login's time is of all of a login: on a busy machine it may be over before the question.
    let ended = [15, 90].into_iter().find_map(|seconds| {
        fs::write(place.path("login.defs"), format!("LOGIN_TIMEOUT {seconds}\n")).unwrap();
        let mut terminal = opens(&place, "login");
        terminal.expect("Password: ");
        terminal.type_line(ALICE.1);
        let asked = terminal.shows("app shows");
        let ended = terminal.ended();
        assert!(ended.words.contains(&format!("Login timed out after {seconds} seconds")), "{:?}", ended.words);
        asked.then_some(ended)
    });
    assert!(ended.expect("a login that is asked for its code").is_as_before);
    nothing_counts(&nas, &app);
    let mut terminal = opens(&place, "sudo");
    terminal.expect("password for alice: ");
    terminal.type_line(ALICE.1);
    terminal.expect("app shows");
    terminal.type_line(&app.code(0));
    is_in(terminal);
}
