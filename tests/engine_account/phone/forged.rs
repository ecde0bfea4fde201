//! What somebody tries who carries for phones, or has another phone: to replay, to re-order, to forge, to swap.

use serde_json::json;

use super::*;

#[test]
fn nothing_that_was_signed_serves_twice_or_for_another_call() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, challenge) = alice.challenge("login_approval");
    let number = challenge["number"].as_str();
    let request = alice.phone.request(&mut town.carrier);
    let approval = alice.phone.decision(&request, true, number);
    let mut refused = |method: &str, parameters: Value| town.carrier.refused(&format!("Authenticator.{method}"), parameters).0;

    // The same signature, for a denial and for another number: each uses the nonce up.
    let mut turned = approval.clone();
    turned["approve"] = json!(false);
    assert_eq!(refused("Decide", turned), "InvalidProof");
    assert_eq!(refused("Decide", approval.clone()), "InvalidProof", "its nonce was used up by the attempt");

    let fresh = json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
    let approval = alice.phone.decision(&fresh, true, number);
    let mut other = approval.clone();
    other["number"] = json!("00");
    assert_eq!(town.carrier.refused("Authenticator.Decide", other).0, "InvalidProof");

    // A signature of one purpose at another method.
    let asks = alice.phone.asks(&mut town.carrier);
    let unpair = json!({ "authenticator": asks["authenticator"], "nonce": asks["nonce"], "proof": asks["proof"] });
    assert_eq!(town.carrier.refused("Authenticator.Unpair", unpair).0, "InvalidProof");
    let code = alice.phone.asks_code(&json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) }));
    let mut decide = code.clone();
    decide["approve"] = json!(true);
    assert_eq!(town.carrier.refused("Authenticator.Decide", decide).0, "InvalidProof");

    // Made up, or of nobody.
    let made_up = json!({ "login": request["login"], "nonce": "AAAAAAAAAAAAAAAAAAAAAA" });
    assert_eq!(town.carrier.refused("Authenticator.Decide", alice.phone.decision(&made_up, true, number)).0, "InvalidProof");
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": "none" })).0, "NoSuchAuthenticator");
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": "x".repeat(1000) })).0, "NoSuchAuthenticator");

    // A replay after the fact.
    let last = json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
    let approval = alice.phone.decision(&last, true, number);
    assert_eq!(alice.outcome(&login), "waiting", "none of it decided anything");
    assert_eq!(town.carrier.call("Authenticator.Decide", approval.clone())["outcome"], "accepted");
    assert_eq!(town.carrier.refused("Authenticator.Decide", approval).0, "InvalidProof");
    assert_eq!(alice.outcome(&login), "verified");
}

#[test]
fn another_phones_key_signs_nothing_for_this_one_and_its_nonces_are_its_own() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let setup = alice.api.call("Account.BeginChange", json!({ "password": PASSWORD, "login": vouching }))["setup"].clone();
    let mut second = Phone::new("second");
    pair(&mut alice.api, &mut town, &setup, &mut second, "qr_code");
    alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    let (_, challenge) = alice.challenge("login_approval");
    let number = challenge["number"].as_str();
    let request = alice.phone.request(&mut town.carrier);
    let mut impostor = second.decision(&request, true, number);
    impostor["authenticator"] = json!(alice.phone.id);
    assert_eq!(town.carrier.refused("Authenticator.Decide", impostor).0, "InvalidProof", "another key");
    let theirs = json!({ "login": request["login"], "nonce": second.nonce(&mut town.carrier) });
    assert_eq!(
        town.carrier.refused("Authenticator.Decide", alice.phone.decision(&theirs, true, number)).0,
        "InvalidProof",
        "another's nonce"
    );
    // A QR code that one of them has scanned is that one's to decide.
    let (_, qr) = alice.challenge("qr_code");
    let scans = second.scans(&mut town.carrier, &qr["qr"]);
    let scanned = town.carrier.call("Authenticator.Scan", scans)["request"].clone();
    let mine = json!({ "login": scanned["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
    assert_eq!(town.carrier.refused("Authenticator.Decide", alice.phone.decision(&mine, true, None)).0, "NoSuchRequest");
}

#[test]
fn a_phone_of_another_account_sees_and_decides_nothing() {
    if root_is_missing("two accounts with a phone each") {
        return;
    }
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (mut root, mut bobs) = (town.engine.client(0), Phone::new("Bob's phone"));
    // Only alice has a password here, so bob's second step is imported by root, and his phone paired by a change without one.
    let uri = "otpauth://totp/nas:bob?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=nas";
    root.call("Admin.Import", json!({ "user": "bob", "text": uri }));
    let held = std::thread::spawn(move || {
        let setup = root.call("Account.BeginChange", json!({ "user": "bob", "password": engine::HELD }))["setup"].clone();
        (root, setup)
    });
    town.engine.held(|| {});
    let (mut root, setup) = held.join().unwrap();
    pair(&mut root, &mut town, &setup, &mut bobs, "login_approval");
    let held = std::thread::spawn(move || root.call("Account.FinishSetup", json!({ "setup": setup, "password": engine::HELD })));
    town.engine.held(|| {});
    held.join().unwrap();

    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(bobs.pending(&mut town.carrier), [] as [Value; 0]);
    for approve in [true, false] {
        let stolen = json!({ "login": request["login"], "nonce": bobs.nonce(&mut town.carrier) });
        let said = bobs.decision(&stolen, approve, challenge["number"].as_str());
        assert_eq!(town.carrier.refused("Authenticator.Decide", said).0, "NoSuchRequest");
    }
    let (_, qr) = alice.challenge("qr_code");
    let scans = bobs.scans(&mut town.carrier, &qr["qr"]);
    assert_eq!(town.carrier.refused("Authenticator.Scan", scans).0, "NoSuchRequest");
    let (_, _) = alice.challenge("online_code");
    let request = alice.phone.request(&mut town.carrier);
    let code = json!({ "login": request["login"], "nonce": bobs.nonce(&mut town.carrier) });
    assert_eq!(town.carrier.refused("Authenticator.OnlineCode", bobs.asks_code(&code)).0, "NoSuchRequest");
    assert_eq!(alice.outcome(&login), "expired", "superseded, and not decided");
}

/// A carrier that has the phone's call in its hands swaps what it likes: it has not scanned the secret.
#[test]
fn a_carrier_that_swaps_the_key_or_the_name_is_refused_and_shows_itself() {
    let mut town = Town::new();
    let (mut alice, phone, carrier) = (town.engine.alice(), Phone::new("phone"), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    let scanned = Scanned::read(&offered["uri"]);
    let honest = phone.presents(&scanned);
    let swapped = |member: &str, value: Value| {
        let mut parameters = honest.clone();
        parameters[member] = value;
        let (key, name) = (parameters["public_key"].as_str().unwrap(), parameters["name"].as_str().unwrap());
        let text = format!("twostep/1 pair\n{}\n{key}\n{name}", scanned.pairing);
        parameters["proof"] = json!(carrier.sign(&text));
        parameters
    };
    let tries = [swapped("public_key", json!(carrier.public_key())), swapped("name", json!("evil")), swapped("mac", json!("A".repeat(43)))];
    for tried in tries {
        assert_eq!(town.carrier.refused("Authenticator.Pair", tried).0, "InvalidProof");
    }
    for key in [json!(""), json!("AAAA"), json!(phone.public_key().replace("MFkw", "MFkx"))] {
        let mut parameters = honest.clone();
        parameters["public_key"] = key;
        assert_eq!(town.carrier.refused("Authenticator.Pair", parameters).0, "InvalidKey");
    }
    for name in ["", "a\nb", &"x".repeat(65)] {
        let mut parameters = honest.clone();
        parameters["name"] = json!(name);
        assert_eq!(town.carrier.refused("Authenticator.Pair", parameters).0, "InvalidParameter");
    }
    // Somebody who has seen the QR code as well pairs first, with a key of their own: the number is another one.
    assert_ne!(scanned.number(&carrier.public_key()), scanned.number(&phone.public_key()), "a chance of one in 10,000 to be the same");
    let mut first = Phone::new("phone");
    let paired = first.pair(&mut town.carrier, &offered["uri"]);
    assert_ne!(paired["number"], json!(scanned.number(&phone.public_key())));
    assert_eq!(town.carrier.refused("Authenticator.Pair", honest).0, "NoSuchPairing", "and the phone is told that it came second");
    // What is only noted is written with the next decision.
    alice.finish(&setup);
    assert_eq!(alice.status()["authenticators"], json!([]), "whose number nobody has confirmed");
    has(&town.engine.audit(), &["pairing_forged"]);
}

#[test]
fn five_forged_pairings_void_the_offer() {
    let mut town = Town::new();
    let (mut alice, phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "qr_code" }));
    let seen = town.engine.alice().replies("Account.WaitPairing", json!({ "setup": setup }));
    assert_eq!(seen.next()["state"], "waiting");
    let honest = phone.presents(&Scanned::read(&offered["uri"]));
    let mut forged = honest.clone();
    forged["mac"] = json!("A".repeat(43));
    for _ in 0..5 {
        assert_eq!(town.carrier.refused("Authenticator.Pair", forged.clone()).0, "InvalidProof");
    }
    assert_eq!(seen.next()["state"], "expired");
    assert_eq!(town.carrier.refused("Authenticator.Pair", honest).0, "NoSuchPairing");
}

#[test]
fn whoever_scans_again_and_again_fills_the_own_share_of_the_audit_trail_and_no_more() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let mut last = json!(null);
    for _ in 0..5 {
        last = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
        for _ in 0..20 {
            let offered = alice.call("Account.OfferPairing", json!({ "setup": last, "method": "qr_code" }));
            let mut forged = phone.presents(&Scanned::read(&offered["uri"]));
            forged["mac"] = json!("A".repeat(43));
            assert_eq!(town.carrier.refused("Authenticator.Pair", forged).0, "InvalidProof");
            phone.pair(&mut town.carrier, &offered["uri"]);
        }
    }
    // What is only noted is written with the next decision.
    alice.finish(&last);
    let events = town.engine.audit();
    let left = events.iter().filter(|event| ["pairing_forged", "phone_scanned"].contains(&event.as_str())).count();
    // A minute gives room for one more.
    assert!((50..100).contains(&left), "{left}");
}

#[test]
fn a_phone_that_is_not_in_force_decides_nothing() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let setup = alice.api.call("Account.BeginChange", json!({ "password": PASSWORD, "login": vouching }))["setup"].clone();
    let mut newcomer = Phone::new("new");
    pair(&mut alice.api, &mut town, &setup, &mut newcomer, "login_approval");
    let (login, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(newcomer.pending(&mut town.carrier), [] as [Value; 0]);
    let theirs = json!({ "login": request["login"], "nonce": newcomer.nonce(&mut town.carrier) });
    let said = newcomer.decision(&theirs, true, challenge["number"].as_str());
    assert_eq!(town.carrier.refused("Authenticator.Decide", said).0, "NoSuchRequest");
    assert_eq!(alice.outcome(&login), "waiting");
}

#[test]
fn a_fifth_stream_of_a_phone_ends_its_oldest() {
    let mut town = Town::new();
    let alice = Alice::with_phone(&mut town);
    let streams: Vec<Replies> = (0..5)
        .map(|_| {
            let seen = alice.watches(&mut town);
            assert_eq!(seen.next()["requests"], json!([]));
            seen
        })
        .collect();
    assert_eq!(streams[0].next()["requests"], json!([]), "its last word");
    streams[0].ended();
}
