//! A carrier that is hostile in both directions: it delays, drops, re-orders and repeats what a phone has signed, and rewrites what the phone is
//! told. Of all that it may say nothing counts but what the phone signs, and that names the login and the number.

use serde_json::json;

use super::*;

/// Somebody who has the password and the carrier begins a login of their own; its number is another one than `own`.
#[track_caller]
fn strangers_login(alice: &mut Alice, own: &Value) -> Value {
    // Of a hundred numbers it is seldom the same.
    (0..1000)
        .find_map(|_| {
            let (login, challenge) = alice.challenge("login_approval");
            (challenge["number"] != *own).then_some(login)
        })
        .expect("another number")
}

#[test]
fn a_strangers_login_shown_under_the_number_of_ones_own_is_not_let_in() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (own, challenge) = alice.challenge("login_approval");
    let theirs = strangers_login(&mut alice, &challenge["number"]);
    let mut told = alice.phone.request(&mut town.carrier);
    told["number"] = challenge["number"].clone();
    told["remote"] = json!("192.0.2.7");
    assert_eq!(alice.phone.approve(&mut town.carrier, &told, told["number"].as_str()), "wrong_number");
    assert_eq!((alice.outcome(&theirs), alice.outcome(&own)), (json!("denied"), json!("expired")));
    has(&town.engine.audit(), &["login_wrong"]);
}

#[test]
fn a_strangers_login_in_the_place_of_the_scanned_one_is_not_let_in() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let theirs = strangers_login(&mut alice, &json!(null));
    let request = alice.phone.request(&mut town.carrier);
    let (own, qr) = alice.challenge("qr_code");
    let scans = alice.phone.scans(&mut town.carrier, &qr["qr"]);
    let mut told = town.carrier.call("Authenticator.Scan", scans)["request"].clone();
    told["login"] = request["login"].clone();
    assert_eq!(alice.phone.approve(&mut town.carrier, &told, None), "wrong_number", "no number is no right one");
    assert_eq!((alice.outcome(&theirs), alice.outcome(&own)), (json!("denied"), json!("waiting")));
}

#[test]
fn what_is_kept_back_and_brought_in_another_order_lets_in_nobody_else() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (first, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let early = alice.phone.decision(&request, true, challenge["number"].as_str());
    let (second, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let late = alice.phone.decision(&request, true, challenge["number"].as_str());
    assert_eq!(town.carrier.call("Authenticator.Decide", late.clone())["outcome"], "accepted");
    let too_late = town.carrier.ask("io.twostep.Authenticator.Decide", &early).unwrap();
    assert!(!too_late.is_ok_and(|reply| reply["outcome"] == "accepted"));
    assert_eq!((alice.outcome(&first), alice.outcome(&second)), (json!("expired"), json!("verified")));
    let (third, _) = alice.challenge("login_approval");
    for replayed in [early, late] {
        assert_eq!(town.carrier.refused("Authenticator.Decide", replayed).0, "InvalidProof");
    }
    assert_eq!(alice.outcome(&third), "waiting");
}

#[test]
fn what_is_kept_back_over_a_restart_or_dropped_lets_nobody_in() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (dropped, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let kept = alice.phone.decision(&request, true, challenge["number"].as_str());
    // What the phone is told for it, "accepted", is the carrier's own word.
    assert_eq!(alice.outcome(&dropped), "waiting");
    let mut town = town.restart();
    alice.api = town.engine.alice();
    assert_eq!(town.carrier.refused("Authenticator.Decide", kept).0, "InvalidProof");
    let asks = json!({ "login": dropped });
    assert_eq!(alice.api.refused("Login.Wait", asks).0, "NoSuchLogin");
}

#[test]
fn one_nonce_told_twice_is_good_once() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let used = alice.phone.sign(&format!("twostep/1 pending\n{}\n{}", alice.phone.id, request["nonce"].as_str().unwrap()));
    let asks = json!({ "authenticator": alice.phone.id, "nonce": request["nonce"], "proof": used });
    assert_eq!(town.carrier.call("Authenticator.Pending", asks)["requests"].as_array().unwrap().len(), 1);
    let decision = alice.phone.decision(&request, true, challenge["number"].as_str());
    assert_eq!(town.carrier.refused("Authenticator.Decide", decision).0, "InvalidProof");
    assert_eq!(alice.outcome(&login), "waiting", "the phone asks for another nonce, and decides");
    let fresh = json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
    assert_eq!(alice.phone.approve(&mut town.carrier, &fresh, challenge["number"].as_str()), "accepted");
}

#[test]
fn whoever_asks_for_nonces_in_a_phones_name_does_not_take_its_requests_from_it() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    for _ in 0..300 {
        alice.phone.nonce(&mut town.carrier);
    }
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    assert_eq!(alice.outcome(&login), "verified");
}

#[test]
fn a_pairing_whose_answers_are_rewritten_pairs_nothing() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    let (id, nonce) = (phone.id.clone(), paired["nonce"].as_str().unwrap().to_owned());
    let number = Scanned::read(&offered["uri"]).number(&phone.public_key());
    let confirms = |authenticator: &str, signed: &str, sent: &str, nonce: &str| {
        let proof = phone.sign(&format!("twostep/1 pair-confirm\n{authenticator}\napprove\n{signed}\n{nonce}"));
        json!({ "authenticator": id, "approve": true, "number": sent, "nonce": nonce, "proof": proof })
    };
    let other = if number == "0000" { "0001" } else { "0000" };
    // It was told another name than its own; the number of what it has signed is swapped on the way.
    for said in [confirms("another", &number, &number, &nonce), confirms(&id, other, &number, &phone.nonce(&mut town.carrier))] {
        assert_eq!(town.carrier.refused("Authenticator.ConfirmPairing", said).0, "InvalidProof");
    }
    // It was told "done", so it confirms nothing: then nothing is paired, and the NAS does not say that it were.
    assert_eq!(alice.call("Account.WaitPairing", json!({ "setup": setup }))["state"], "approve");
    alice.finish(&setup);
    assert_eq!(alice.status()["authenticators"], json!([]));
}
