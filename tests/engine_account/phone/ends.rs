//! What ends a request, and who is told: the phone that shows it, and the login that waits for it.

use serde_json::json;
use twostep::config::MailSecurity;

use super::*;
use crate::mail::{Manner, Server};

/// Alice's login asks her phone, which shows it; what happens then to her account ends both at once, and the phone's word comes too late.
fn ended_by(happens: impl FnOnce(&mut Town, &mut Alice)) {
    let mut town = Town::new();
    let alice = Alice::with_phone(&mut town);
    ended_in((town, alice), happens);
}

fn ended_in((mut town, mut alice): (Town, Alice), happens: impl FnOnce(&mut Town, &mut Alice)) {
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let (login, challenge) = alice.challenge("login_approval");
    let waiting = alice.waits(&town, &login);
    let request = seen.next()["requests"][0].clone();
    happens(&mut town, &mut alice);
    assert_eq!(waiting.next()["outcome"], "expired");
    assert_eq!(seen.next()["requests"], json!([]));
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "expired");
    assert_eq!(alice.outcome(&login), "expired");
}

#[test]
fn a_request_that_is_bound_to_who_waits_for_it_ends_with_the_connection() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let (login, challenge) = alice.challenge("login_approval");
    let request = seen.next()["requests"][0].clone();
    // A look, or a wait that is not bound, ends nothing.
    let (look, bound) = (json!({ "login": login }), json!({ "login": login, "bound": true }));
    assert_eq!(town.engine.alice().first_reply("Login.Wait", look)["outcome"], "waiting");
    assert_eq!(alice.api.call("Login.Wait", bound.clone())["outcome"], "waiting");
    assert_eq!(alice.phone.pending(&mut town.carrier).len(), 1);
    assert_eq!(town.engine.alice().first_reply("Login.Wait", bound)["outcome"], "waiting");
    assert_eq!(seen.next()["requests"], json!([]));
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "expired");
    assert_eq!(alice.outcome(&login), "expired");
    // What was decided stays decided.
    let (login, challenge) = alice.challenge("login_approval");
    let request = seen.next()["requests"][0].clone();
    let waiting = town.engine.alice().replies("Login.Wait", json!({ "login": login, "bound": true }));
    assert_eq!(waiting.next()["outcome"], "waiting");
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    assert_eq!(waiting.next()["outcome"], "verified");
    drop(waiting);
    assert_eq!(alice.outcome(&login), "verified");
}

fn vouched(alice: &mut Alice) -> Value {
    let login = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    json!({ "password": PASSWORD, "login": login })
}

#[test]
fn a_method_that_is_turned_off_takes_its_request_with_it() {
    ended_by(|_, alice| {
        let mut off = vouched(alice);
        off["method"] = json!("login_approval");
        alice.api.call("Account.DisableMethod", off);
    });
}

#[test]
fn a_request_does_not_come_back_with_its_method() {
    ended_by(|_, alice| {
        let mut method = vouched(alice);
        method["method"] = json!("login_approval");
        alice.api.call("Account.DisableMethod", method);
        // What was verified before the change vouches for none after it.
        let mut method = vouched(alice);
        method["method"] = json!("login_approval");
        alice.api.call("Account.EnableMethod", method);
    });
}

#[test]
fn a_change_that_comes_into_force_ends_what_was_asked_before_it() {
    ended_by(|_, alice| {
        let change = vouched(alice);
        let setup = alice.api.call("Account.BeginChange", change)["setup"].clone();
        alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    });
}

#[test]
fn a_new_recovery_address_ends_what_was_asked_before_it() {
    let server = Server::start(MailSecurity::None, Manner::Good);
    let mut scene = scene(NumberEntry::Compare);
    scene.config.mail = server.scene(MailSecurity::None).config.mail;
    let mut town = Town::of(scene);
    let alice = Alice::with_phone(&mut town);
    ended_in((town, alice), |_, alice| {
        let mut address = vouched(alice);
        address["recovery_email"] = json!("al@example.net");
        let setup = alice.api.call("Account.SetRecoveryEmail", address)["setup"].clone();
        let confirmed = alice.api.call("Account.ConfirmRecoveryEmail", json!({ "setup": setup, "code": server.mail().1 }));
        assert_eq!(confirmed["outcome"], "confirmed");
    });
}

#[test]
fn a_phone_that_is_removed_ends_what_the_others_were_asked() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let change = vouched(&mut alice);
    let setup = alice.api.call("Account.BeginChange", change)["setup"].clone();
    let mut second = Phone::new("tablet");
    pair(&mut alice.api, &mut town, &setup, &mut second, "qr_code");
    alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    ended_in((town, alice), |town, _| {
        let unpairs = second.unpairs(&mut town.carrier);
        town.carrier.call("Authenticator.Unpair", unpairs);
    });
}

#[test]
fn a_qr_code_that_nobody_has_scanned_ends_with_its_method() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("qr_code");
    let waiting = alice.waits(&town, &login);
    let mut off = vouched(&mut alice);
    off["method"] = json!("qr_code");
    alice.api.call("Account.DisableMethod", off);
    assert_eq!(waiting.next()["outcome"], "expired");
    let scans = alice.phone.scans(&mut town.carrier, &challenge["qr"]);
    assert_eq!(town.carrier.refused("Authenticator.Scan", scans).0, "NoSuchRequest");
}

#[test]
fn whoever_waits_is_told_when_the_second_step_is_turned_off() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let (login, _) = alice.challenge("login_approval");
    let waiting = alice.waits(&town, &login);
    assert_eq!(seen.next()["requests"].as_array().unwrap().len(), 1);
    let off = vouched(&mut alice);
    alice.api.call("Account.Disable", off);
    assert_eq!(waiting.next()["outcome"], "expired");
    assert_eq!(seen.error(), "NoSuchAuthenticator");
}

#[test]
fn an_administrators_help_and_a_press_of_the_button_end_the_requests_too() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, _) = alice.challenge("login_approval");
    let waiting = alice.waits(&town, &login);
    town.engine.say(&Order::Recovered(Recovered { account: "alice".into(), press: 1 }));
    assert_eq!(waiting.next()["outcome"], "expired");
    if root_is_missing("an administrator's help") {
        return;
    }
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, _) = alice.challenge("login_approval");
    let waiting = alice.waits(&town, &login);
    town.engine.client(0).call("Admin.DisableFor", json!({ "user": "alice" }));
    assert_eq!(waiting.next()["outcome"], "expired");
}
