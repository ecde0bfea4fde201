//! The command `twostep` and a phone.

use std::os::unix::process::ExitStatusExt;

use nix::sys::signal::Signal;
use serde_json::json;

use super::*;
use crate::engine::code;
use crate::patience;
use crate::person::{INTERRUPT, Person, Twostep};

/// What is typed while the wizard shows a pairing; returns its text.
fn pairing(person: &mut Person) -> Value {
    person.awaits("Scan the QR code with the phone, or open there:\n");
    json!(person.awaits("\n"))
}

/// The Security Code and the end of a wizard; returns the secret.
fn goes_on(person: &mut Person) -> String {
    person.awaits("Next the Security Code, for when the phone is out of reach\n");
    person.awaits("or type in: ");
    let secret = person.awaits("\n");
    person.answers("Code that the app shows: ", &code(&secret, 0));
    person.answers("Password, once more: ", PASSWORD);
    secret
}

#[test]
fn the_wizard_pairs_a_phone_and_a_login_is_approved_on_it() {
    let mut town = Town::new();
    let command = Twostep::alice(town.engine.folder());
    let mut phone = Phone::new("Alice's phone");
    let mut person = command.at_a_terminal(&["setup", "--method", "login-approval"]);
    person.answers("Password: ", PASSWORD);
    let uri = pairing(&mut person);
    let paired = phone.pair(&mut town.carrier, &uri);
    person.awaits("The number is ");
    let number = person.awaits(":");
    assert_eq!(number, Scanned::read(&uri).number(&phone.public_key()));
    assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], Some(&number)), "paired");
    person.awaits("paired: Alice's phone\n");
    let secret = goes_on(&mut person);
    person.awaits("2-step verification is on: Security Code, Login Approval, recovery code\n");
    let (status, shown) = person.leaves();
    assert!(status.success() && shown.contains('█'), "{shown}");

    let mut person = command.at_a_terminal(&["verify", "alice"]);
    person.awaits("(Enter alone is for another way: Security Code, recovery code)");
    person.awaits("Approve this login on your phone: the number is ");
    let number = person.awaits("\n");
    let request = phone.request(&mut town.carrier);
    assert_eq!(phone.approve(&mut town.carrier, &request, Some(&number)), "accepted");
    person.awaits("verified\n");
    assert!(person.leaves().0.success());

    let mut person = command.at_a_terminal(&["verify", "alice"]);
    person.awaits("the number is ");
    let request = phone.request(&mut town.carrier);
    assert_eq!(phone.deny(&mut town.carrier, &request), "accepted");
    person.awaits("it was denied on the phone");
    person.answers("your authenticator app shows: ", &code(&secret, 1));
    person.awaits("verified\n");
    assert!(person.leaves().0.success(), "another way");

    let mut person = command.at_a_terminal(&["verify", "alice"]);
    person.awaits("denied on your phone a moment ago");
    person.awaits("the number is ");
    person.types("");
    person.awaits("your authenticator app shows: ");
    // What waits for the phone is still there, and leaves that to what asks here.
    person.presses(INTERRUPT);
    assert_eq!(person.leaves().0.signal(), Some(Signal::SIGINT as i32), "and what is typed is seen again");
}

#[test]
fn a_phone_is_paired_by_a_code_in_a_change_and_removed_again() {
    let mut town = Town::new();
    let command = Twostep::alice(town.engine.folder());
    let mut alice = town.engine.alice();
    let (_, codes) = alice.set_up();
    let mut phone = Phone::new("tablet");
    let mut person = command.at_a_terminal(&["change", "--method", "online-code"]);
    person.answers("Password: ", PASSWORD);
    person.answers("your authenticator app shows: ", "");
    person.answers("Enter one of your recovery codes: ", &codes[0]);
    let paired = phone.pair(&mut town.carrier, &pairing(&mut person));
    person.answers("Code that the phone shows: ", paired["code"].as_str().unwrap());
    person.awaits("paired: tablet\n");
    person.answers("Password, once more: ", PASSWORD);
    person.awaits("2-step verification is on: Security Code, Online Verification Code, recovery code\n");
    person.awaits("At a login, Online Verification Code is asked for first\n");
    assert!(person.leaves().0.success());
    assert_eq!(alice.start()["preferred"], "online_code", "the method that was named");

    let shown = String::from_utf8(command.run(&["devices"], "").stdout).unwrap();
    assert_eq!(shown, format!("{}  tablet (phone)\n", phone.id));
    let shown = String::from_utf8(command.run(&["status"], "").stdout).unwrap();
    assert!(shown.contains("phones          1\n") || shown.ends_with("phones          1"), "{shown}");
    let mut person = command.at_a_terminal(&["devices", "--remove", &phone.id]);
    person.answers("Password: ", PASSWORD);
    person.answers("Enter the code that your phone shows: ", "");
    person.answers("your authenticator app shows: ", "");
    person.answers("Enter one of your recovery codes: ", &codes[1]);
    person.awaits("that phone answers for this account no more\n");
    assert!(person.leaves().0.success());
    assert_eq!(command.run(&["devices"], "").stdout, b"no trusted devices\n");
}

#[test]
fn a_qr_code_is_drawn_and_scanned_and_a_script_gets_its_text() {
    let mut town = Town::new();
    let command = Twostep::alice(town.engine.folder());
    let alice = Alice::with_phone(&mut town);
    let mut person = command.at_a_terminal(&["verify", "alice", "--method", "qr-code"]);
    person.awaits("Scan the QR code with your phone, and approve there\n");
    let qr = json!(person.awaits("\n"));
    let scans = alice.phone.scans(&mut town.carrier, &qr);
    let request = town.carrier.call("Authenticator.Scan", scans)["request"].clone();
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, None), "accepted");
    let (status, shown) = person.leaves();
    assert!(status.success() && shown.contains('█') && shown.ends_with("verified\n"), "{shown}");

    let asking = command.piped(&["verify", "alice", "--method", "login-approval"]);
    let seen = alice.watches(&mut town);
    let request = loop {
        if let Some(request) = seen.next()["requests"].get(0) {
            break request.clone();
        }
    };
    assert_eq!(alice.phone.deny(&mut town.carrier, &request), "accepted");
    let output = patience::output(asking);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("denied on the phone"), "{said}");
}
