//! Logging in with a phone.

use serde_json::json;

use super::*;
use crate::engine::{alice as alices_number, code, wrong_code};

#[test]
fn a_login_is_approved_by_the_number_on_both_sides() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let started = alice.api.start();
    assert_eq!(started["preferred"], "login_approval");
    assert_eq!(started.get("prompt"), None, "its phones are asked when somebody waits");
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let (login, challenge) = alice.challenge("login_approval");
    let number = challenge["number"].as_str().unwrap();
    assert!((10..=99).contains(&number.parse::<u32>().unwrap()));
    assert!(challenge["prompt"].as_str().unwrap().contains(number));
    let waiting = alice.waits(&town, &login);
    let shown = seen.next();
    let request = &shown["requests"][0];
    assert_eq!((&request["number"], &request["method"], &request["account"]), (&json!(number), &json!("login_approval"), &json!("alice")));
    assert_ne!(request["login"], login, "the phone's word for it lets nobody else in");
    assert_eq!((&request["service"], &request["service_claimed"]), (&json!("test"), &json!(true)), "alice's own word");
    assert_eq!(alice.phone.approve(&mut town.carrier, request, Some(number)), "accepted");
    assert_eq!(waiting.next()["outcome"], "verified");
    assert_eq!(seen.next()["requests"], json!([]), "nothing waits any more");
    assert_eq!(alice.outcome(&login), "verified");
    let trust = json!({ "login": login, "label": "laptop" });
    assert_eq!(alice.api.refused("Login.TrustDevice", trust).0, "NotVerified", "no token for sshd from a service that is only claimed");
    assert!(alice.api.status()["authenticators"][0]["last_seen"].is_i64());
    has(&town.engine.audit(), &["phone_scanned", "enabled", "login_verified"]);
}

#[test]
fn a_wrong_number_voids_the_request_and_is_counted_over_a_restart() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    for _ in 0..4 {
        let (login, challenge) = alice.challenge("login_approval");
        let waiting = alice.waits(&town, &login);
        let request = alice.phone.request(&mut town.carrier);
        let wrong = if challenge["number"] == "10" { "11" } else { "10" };
        assert_eq!(alice.phone.approve(&mut town.carrier, &request, Some(wrong)), "wrong_number");
        assert_eq!(waiting.next()["outcome"], "denied");
        let right = alice.phone.decision(&again(&mut town, &alice, &request), true, challenge["number"].as_str());
        assert_eq!(town.carrier.refused("Authenticator.Decide", right).0, "NoSuchRequest", "it is void");
    }
    let mut town = town.restart();
    alice.api = town.engine.alice();
    let login = alice.api.start()["login"].clone();
    let fifth = alice.api.answer(&login, "security_code", &wrong_code(&alice.secret));
    assert_eq!((&fifth["outcome"], &fifth["attempts_left"], &fifth["retry_after"]), (&json!("wrong"), &json!(0), &json!(30)));
    let started = alice.api.start();
    assert_eq!(engine::strings(&started["methods"]), ["qr_code", "login_approval"], "what can't be guessed is open during the wait");
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    assert_eq!(alice.outcome(&login), "verified");
    assert_eq!(engine::strings(&alice.api.start()["methods"]).len(), 5, "that forgives");
}

/// The same request with a fresh nonce.
fn again(town: &mut Town, alice: &Alice, request: &Value) -> Value {
    let mut request = request.clone();
    request["nonce"] = json!(alice.phone.nonce(&mut town.carrier));
    request
}

#[test]
fn a_denied_request_is_told_until_its_owner_has_been_let_in() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    assert_eq!(alice.api.start().get("notice"), None);
    let remote = json!({ "user": "alice", "service": "sshd", "remote": "192.0.2.7" });
    let login = alice.api.call("Login.Start", remote)["login"].clone();
    alice.api.call("Login.Challenge", json!({ "login": login, "method": "login_approval" }));
    let waiting = alice.waits(&town, &login);
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(request["remote"], "192.0.2.7");
    assert_eq!(alice.phone.deny(&mut town.carrier, &request), "accepted");
    assert_eq!(waiting.next()["outcome"], "denied");
    let mut town = town.restart();
    alice.api = town.engine.alice();
    let told = "a login request from 192.0.2.7 (sshd (claimed)) was denied on your phone a moment ago";
    assert_eq!(alice.api.start()["notice"], told);
    let (login, challenge) = alice.challenge("login_approval");
    assert_eq!(alice.api.start()["notice"], told, "whoever has the password alone does not make it go away");
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    assert_eq!(alice.outcome(&login), "verified");
    assert_eq!(alice.api.start().get("notice"), None);
    has(&town.engine.audit(), &["login_denied"]);
}

#[test]
fn a_qr_code_waits_for_nobody_before_it_is_scanned() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("qr_code");
    let qr = challenge["qr"].clone();
    assert!(qr.as_str().unwrap().starts_with(&format!("{ADDRESS}/scan#1.")));
    assert_eq!(alice.phone.pending(&mut town.carrier), [] as [Value; 0]);
    for wrong in [json!(format!("{}x", qr.as_str().unwrap())), json!(format!("{ADDRESS}/scan#1.")), json!("https://evil.example/scan#1.x")]
    {
        let scans = alice.phone.scans(&mut town.carrier, &wrong);
        assert_eq!(town.carrier.refused("Authenticator.Scan", scans).0, "NoSuchRequest");
    }
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let scans = alice.phone.scans(&mut town.carrier, &qr);
    let request = town.carrier.call("Authenticator.Scan", scans)["request"].clone();
    assert_eq!((&request["method"], &request["service"], request.get("number")), (&json!("qr_code"), &json!("test"), None));
    assert_eq!(seen.next()["requests"][0]["login"], request["login"], "from now on it waits");
    assert_eq!(alice.outcome(&login), "waiting", "nothing is decided yet");
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, None), "accepted");
    assert_eq!(alice.outcome(&login), "verified");
}

#[test]
fn an_online_code_is_shown_by_the_phone_and_typed_at_the_login() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, _) = alice.challenge("online_code");
    let request = alice.phone.request(&mut town.carrier);
    let approval = alice.phone.decision(&request, true, None);
    assert_eq!(town.carrier.refused("Authenticator.Decide", approval).0, "NoSuchRequest", "it is to be typed");
    let asks = alice.phone.asks_code(&again(&mut town, &alice, &request));
    let shown = town.carrier.call("Authenticator.OnlineCode", asks);
    let digits = shown["code"].as_str().unwrap();
    assert_eq!(digits.len(), 6);
    assert_eq!(alice.api.answer(&login, "online_code", "0")["outcome"], "wrong");
    let spaced = format!("{} {}", &digits[..3], &digits[3..]);
    assert_eq!(alice.api.answer(&login, "online_code", &spaced)["outcome"], "verified");
    assert_eq!(alice.phone.pending(&mut town.carrier), [] as [Value; 0]);
    assert_eq!(alice.api.answer(&login, "online_code", digits)["outcome"], "already_used");
    let (login, _) = alice.challenge("online_code");
    assert_ne!(alice.api.answer(&login, "online_code", digits)["outcome"], "verified", "each login has its own");
}

#[test]
fn an_online_code_is_void_after_three_wrong_ones() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, _) = alice.challenge("online_code");
    let request = alice.phone.request(&mut town.carrier);
    let digits = town.carrier.call("Authenticator.OnlineCode", alice.phone.asks_code(&request))["code"].clone();
    for _ in 0..3 {
        assert_eq!(alice.api.answer(&login, "online_code", "x")["outcome"], "wrong");
    }
    let typed = json!({ "login": login, "method": "online_code", "code": digits });
    assert_eq!(alice.api.refused("Login.Answer", typed).0, "MethodUnavailable");
    assert_eq!(alice.phone.pending(&mut town.carrier), [] as [Value; 0]);
}

#[test]
fn a_new_request_supersedes_the_older_one() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (first, challenge) = alice.challenge("login_approval");
    let waiting = alice.waits(&town, &first);
    let older = alice.phone.request(&mut town.carrier);
    let (second, _) = alice.challenge("online_code");
    assert_eq!(waiting.next()["outcome"], "expired");
    let newer = alice.phone.request(&mut town.carrier);
    assert_ne!(newer["login"], older["login"]);
    assert_eq!(alice.phone.approve(&mut town.carrier, &older, challenge["number"].as_str()), "expired");
    assert_eq!((alice.outcome(&first), alice.outcome(&second)), (json!("expired"), json!("waiting")));
    let (third, _) = alice.challenge("login_approval");
    let digits = town.carrier.refused("Authenticator.OnlineCode", alice.phone.asks_code(&newer));
    assert_eq!(digits.0, "NoSuchRequest", "nor is a superseded code shown");
    assert_eq!(alice.outcome(&third), "waiting");
}

#[test]
fn the_same_request_stands_while_it_is_asked_for_again() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let asks = json!({ "login": login, "method": "login_approval" });
    assert_eq!(alice.api.call("Login.Challenge", asks)["number"], challenge["number"]);
    assert_eq!(alice.phone.request(&mut town.carrier)["login"], request["login"]);
    alice.api.call("Login.Challenge", json!({ "login": login, "method": "security_code" }));
    assert_eq!(alice.phone.request(&mut town.carrier)["login"], request["login"], "the phone may still answer");
    let code = code(&alice.secret, 1);
    assert_eq!(alice.api.answer(&login, "security_code", &code)["outcome"], "verified");
    assert_eq!(alice.phone.pending(&mut town.carrier), [] as [Value; 0], "another way was taken");
    assert_eq!(town.carrier.refused("Authenticator.Decide", alice.phone.decision(&request, false, None)).0, "NoSuchRequest");
}

#[test]
fn nobody_is_worn_out_by_requests() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    for n in 0..5 {
        alice.challenge("login_approval");
        if n == 0 {
            let request = alice.phone.request(&mut town.carrier);
            alice.phone.deny(&mut town.carrier, &request);
        }
    }
    let login = alice.api.start()["login"].clone();
    let (name, why) = alice.api.refused("Login.Challenge", json!({ "login": login, "method": "login_approval" }));
    let reason = why["reason"].as_str().unwrap();
    assert!(name == "MethodUnavailable" && reason.contains(" s"), "{reason}");
    assert_eq!(alice.phone.pending(&mut town.carrier).len(), 1, "the last one stands");
    // What nobody sees before it is scanned is not limited, and an approval forgives.
    let (login, challenge) = alice.challenge("qr_code");
    let scans = alice.phone.scans(&mut town.carrier, &challenge["qr"]);
    let request = town.carrier.call("Authenticator.Scan", scans)["request"].clone();
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, None), "accepted");
    assert_eq!(alice.outcome(&login), "verified");
    alice.challenge("login_approval");
}

#[test]
fn what_ends_a_login_ends_its_request() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let (login, challenge) = alice.challenge("login_approval");
    let request = seen.next()["requests"][0].clone();
    let waiting = alice.waits(&town, &login);
    alice.api.call("Login.Cancel", json!({ "login": login }));
    assert_eq!(waiting.next()["outcome"], "expired");
    assert_eq!(seen.next()["requests"], json!([]));
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "expired");
}

/// A request that was made before something happened to the account, and an approval after it.
fn redeemed_after(happens: impl FnOnce(&mut Town, &mut Alice)) -> (Value, Value) {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    happens(&mut town, &mut alice);
    let said = alice.phone.decision(&request, true, challenge["number"].as_str());
    let outcome = match town.carrier.ask("io.twostep.Authenticator.Decide", &said).unwrap() {
        Ok(reply) => reply["outcome"].clone(),
        Err(error) => json!(error),
    };
    (outcome, alice.outcome(&login))
}

#[test]
fn an_approval_counts_against_the_account_as_it_is_then() {
    let anew = |_: &mut Town, alice: &mut Alice| {
        let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
        let setup = alice.api.call("Account.BeginChange", json!({ "password": PASSWORD, "login": vouching }))["setup"].clone();
        alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    };
    assert_eq!(redeemed_after(anew), (json!("expired"), json!("expired")), "a change came into force");
    let without = |_: &mut Town, alice: &mut Alice| {
        let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
        let off = json!({ "password": PASSWORD, "login": vouching, "method": "login_approval" });
        alice.api.call("Account.DisableMethod", off);
    };
    assert_eq!(redeemed_after(without), (json!("expired"), json!("expired")), "the method was turned off");
    let disabled = |_: &mut Town, alice: &mut Alice| {
        let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
        alice.api.call("Account.Disable", json!({ "password": PASSWORD, "login": vouching }));
    };
    assert_eq!(redeemed_after(disabled).0, "NoSuchAuthenticator", "with the second step went the phones");
}

#[test]
fn an_account_that_was_locked_meanwhile_is_let_in_by_no_approval() {
    let mut town = Town::new();
    let alice = Alice::with_phone(&mut town);
    // A restart ends the login, so the count is brought to the brink first.
    let mut engine = town.engine.restart_with(|tx| {
        let mut stored = tx.account_by_uid(alices_number())?.unwrap();
        // Her own process begins these logins.
        stored.account.failures.claimed.in_a_row = 99;
        tx.save(&stored)
    });
    let ready = Carrier::waits(engine.folder());
    let (mut api, mut carrier) = (engine.alice(), engine.client(getuid().as_raw()));
    let mut open = |method: &str| {
        let login = api.start()["login"].clone();
        let challenge = api.call("Login.Challenge", json!({ "login": login, "method": method }));
        (login, challenge)
    };
    let (first, challenge) = open("login_approval");
    let (other, qr) = open("qr_code");
    let scans = alice.phone.scans(&mut carrier, &qr["qr"]);
    let scanned = carrier.call("Authenticator.Scan", scans)["request"].clone();
    let request = alice.phone.pending(&mut carrier).into_iter().find(|request| request["method"] == "login_approval").unwrap();
    // The hundredth wrong answer, by the other request.
    assert_eq!(alice.phone.deny(&mut carrier, &scanned), "accepted");
    let approved = alice.phone.approve(&mut carrier, &request, challenge["number"].as_str());
    assert_eq!(approved, "locked");
    let mut outcome = |login: &Value| api.call("Login.Wait", json!({ "login": login }))["outcome"].clone();
    assert_eq!((outcome(&first), outcome(&other)), (json!("locked"), json!("denied")));
    assert_eq!(api.start()["decision"], "locked");
    drop(ready);
    engine = engine.restart();
    assert_eq!(engine.alice().start()["decision"], "locked", "durably");
}
