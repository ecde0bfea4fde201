//! Pairing a phone in a setup, and losing it again.

use serde_json::json;
use twostep::core::account::Method;
use twostep::core::base64url::decode;
use twostep::core::enforcement::SubjectKind;
use twostep::core::time::Wall;
use twostep::core::totp::Enrolment;
use twostep::engine::store::{Authenticator, Stored, Subject, Tx};

use super::*;

#[test]
fn a_phone_is_paired_by_a_number_that_both_sides_make_of_its_key() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("Alice's phone"));
    let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }));
    assert_eq!(engine::strings(&begun["available"]), ["security_code", "qr_code", "login_approval", "online_code"]);
    let setup = &begun["setup"];
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    assert!((200..=300).contains(&offered["expires_in"].as_u64().unwrap()));
    let seen = town.engine.alice().replies("Account.WaitPairing", json!({ "setup": setup }));
    assert_eq!(seen.next(), json!({ "state": "waiting" }));
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    let number = Scanned::read(&offered["uri"]).number(&phone.public_key());
    assert_eq!((&paired["next"], &paired["number"], &paired["account"]), (&json!("approve"), &json!(number), &json!("alice")));
    assert_eq!(seen.next(), json!({ "state": "approve", "number": number }));
    let again = Phone::new("another").presents(&Scanned::read(&offered["uri"]));
    assert_eq!(town.carrier.refused("Authenticator.Pair", again).0, "NoSuchPairing", "one phone takes it");
    assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], Some(&number)), "paired");
    let last = seen.next();
    assert_eq!((&last["state"], &last["authenticator"]["name"]), (&json!("paired"), &json!("Alice's phone")));
    seen.ended();
    assert_eq!(alice.status()["authenticators"], json!([]), "nothing is in force yet");
    assert_eq!(phone.pending(&mut town.carrier), [] as [Value; 0], "it may look already, and sees nothing");
    let ready = alice.call("Account.SetupStatus", json!({ "setup": setup }));
    assert_eq!((&ready["ready"], &ready["missing"]), (&json!(["login_approval"]), &json!(["security_code"])));
    assert_eq!(alice.refused("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })).0, "SecurityCodeMissing");
    let (_, done) = alice.finish(setup);
    assert_eq!(done["preferred"], "login_approval");
    let phones = alice.status()["authenticators"].clone();
    assert_eq!((&phones[0]["id"], &phones[0]["name"]), (&json!(phone.id), &json!("Alice's phone")));
    has(&town.engine.audit(), &["pairing_offered", "phone_scanned", "enabled"]);
}

#[test]
fn where_numbers_are_typed_the_carrier_is_told_none() {
    let mut town = Town::of(scene(NumberEntry::Typed));
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    assert_eq!(paired.get("number"), None);
    let shown = alice.call("Account.WaitPairing", json!({ "setup": setup }))["number"].as_str().unwrap().to_owned();
    assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], Some(&shown)), "paired");
    alice.finish(&setup);
    let login = alice.start()["login"].clone();
    let challenge = alice.call("Login.Challenge", json!({ "login": login, "method": "login_approval" }));
    let request = phone.request(&mut town.carrier);
    assert_eq!(request.get("number"), None);
    assert_eq!(phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    assert_eq!(alice.call("Login.Wait", json!({ "login": login }))["outcome"], "verified");
}

#[test]
fn a_denied_pairing_and_a_wrong_number_pair_nothing() {
    let mut town = Town::new();
    let mut alice = town.engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    for (number, outcome) in [(None, "denied"), (Some("x"), "wrong_number")] {
        let mut phone = Phone::new("phone");
        let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
        let seen = town.engine.alice().replies("Account.WaitPairing", json!({ "setup": setup }));
        assert_eq!(seen.next()["state"], "waiting");
        let paired = phone.pair(&mut town.carrier, &offered["uri"]);
        assert_eq!(seen.next()["state"], "approve");
        assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], number), outcome);
        assert_eq!(seen.next()["state"], "denied");
    }
    let (_, done) = alice.finish(&setup);
    assert_eq!(engine::strings(&done["methods"]), ["security_code", "recovery_code"]);
    has(&town.engine.audit(), &["pairing_denied", "pairing_wrong_number"]);
}

#[test]
fn a_phone_shows_a_code_that_is_typed_on_the_nas() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "online_code" }));
    let types =
        |alice: &mut Api, code: &Value| alice.call("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": code }))["outcome"].clone();
    assert_eq!(types(&mut alice, &json!("123456")), "wrong", "no phone shows one yet");
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    assert_eq!(paired["next"], "show_code");
    assert_eq!(alice.call("Account.WaitPairing", json!({ "setup": setup }))["state"], "type_code");
    assert_eq!(types(&mut alice, &json!("x")), "wrong");
    assert_eq!(types(&mut alice, &paired["code"]), "confirmed");
    assert_eq!(alice.call("Account.WaitPairing", json!({ "setup": setup }))["state"], "paired");
    let (_, done) = alice.finish(&setup);
    assert_eq!(engine::strings(&done["methods"]), ["security_code", "online_code", "recovery_code"]);
}

#[test]
fn a_setup_that_is_abandoned_leaves_no_phone() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    pair(&mut alice, &mut town, &setup, &mut phone, "qr_code");
    let asks = phone.asks(&mut town.carrier);
    let seen = town.engine.client(getuid().as_raw()).replies("Authenticator.Pending", asks);
    assert_eq!(seen.next()["requests"], json!([]));
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    alice.call("Account.CancelSetup", json!({ "setup": setup }));
    assert_eq!(seen.error(), "NoSuchAuthenticator", "whoever looks is told");
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": phone.id })).0, "NoSuchAuthenticator");
    let late = phone.presents(&Scanned::read(&offered["uri"]));
    assert_eq!(town.carrier.refused("Authenticator.Pair", late).0, "NoSuchPairing");
    alice.set_up();
    assert_eq!(alice.status()["authenticators"], json!([]));
}

#[test]
fn without_a_carrier_no_phone_is_offered_and_none_asked_for() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let Town { engine, carrier: _carrier, _ready } = town;
    let setup = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let change = json!({ "password": PASSWORD, "login": setup });
    let begun = alice.api.call("Account.BeginChange", change.clone())["setup"].clone();
    drop(_ready);
    // The engine notices the hang-up by the time that it has answered this.
    while engine::strings(&alice.api.start()["methods"]).iter().any(|method| method == "qr_code") {}
    let started = alice.api.start();
    assert_eq!(engine::strings(&started["methods"]), ["security_code", "recovery_code"]);
    assert_eq!(started["preferred"], "security_code");
    let challenge = json!({ "login": started["login"], "method": "login_approval" });
    assert_eq!(alice.api.refused("Login.Challenge", challenge).0, "MethodUnavailable");
    let offer = json!({ "setup": begun, "method": "qr_code" });
    assert_eq!(alice.api.refused("Account.OfferPairing", offer).0, "MethodUnavailable");
    let available = alice.api.call("Account.BeginChange", change)["available"].clone();
    assert_eq!(available, json!(["security_code"]));
    let _ready = Carrier::waits(engine.folder());
    assert_eq!(alice.api.start()["preferred"], "login_approval", "it is back");
}

#[test]
fn without_an_address_nobody_carries() {
    let engine = Engine::with(
        Scene {
            config: {
                let mut config = scene(NumberEntry::Compare).config;
                config.phone.address = None;
                config
            },
            ..Scene::default()
        },
        |_| Ok(()),
    );
    let mut carrier = engine.client(getuid().as_raw());
    assert_eq!(carrier.refused("Authenticator.Carry", json!({})).0, "NoAddress");
}

#[test]
fn a_second_phone_serves_all_methods_and_a_lost_one_is_taken_out() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let change = json!({ "password": PASSWORD, "login": vouching });
    let setup = alice.api.call("Account.BeginChange", change)["setup"].clone();
    let mut second = Phone::new("tablet");
    pair(&mut alice.api, &mut town, &setup, &mut second, "qr_code");
    alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    assert_eq!(alice.api.status()["authenticators"].as_array().unwrap().len(), 2);
    let (login, challenge) = alice.challenge("login_approval");
    assert_eq!(alice.phone.pending(&mut town.carrier).len(), 1, "both see it");
    let request = second.request(&mut town.carrier);
    assert_eq!(second.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted", "whatever it was paired for");
    assert_eq!(alice.outcome(&login), "verified");

    let asks = alice.phone.asks(&mut town.carrier);
    let lost = town.engine.client(getuid().as_raw()).replies("Authenticator.Pending", asks);
    assert_eq!(lost.next()["requests"], json!([]));
    let unused = alice.phone.nonce(&mut town.carrier);
    let remove = |id: &str| json!({ "password": PASSWORD, "login": login, "id": id });
    assert_eq!(alice.api.refused("Account.RemoveAuthenticator", remove("none")).0, "InvalidParameter");
    alice.api.call("Account.RemoveAuthenticator", remove(&alice.phone.id));
    assert_eq!(lost.error(), "NoSuchAuthenticator");
    let proof = alice.phone.sign(&format!("twostep/1 pending\n{}\n{unused}", alice.phone.id));
    let asks = json!({ "authenticator": alice.phone.id, "nonce": unused, "proof": proof });
    assert_eq!(town.carrier.refused("Authenticator.Pending", asks).0, "NoSuchAuthenticator");
    assert!(engine::strings(&alice.api.status()["methods"]).contains(&"login_approval".to_owned()), "one is left");

    let unpairs = second.unpairs(&mut town.carrier);
    assert_eq!(town.carrier.call("Authenticator.Unpair", unpairs), json!({}));
    let status = alice.api.status();
    assert_eq!(
        (engine::strings(&status["methods"]), &status["authenticators"]),
        (vec!["security_code".into(), "recovery_code".into()], &json!([]))
    );
    assert_eq!(status["preferred"], "security_code", "with the last phone go the methods that need one");
    assert!(alice.secret.len() > 10);
}

#[test]
fn a_phone_that_is_known_keeps_its_name_and_needs_no_second_row() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let disable = json!({ "password": PASSWORD, "login": vouching, "method": "qr_code" });
    alice.api.call("Account.DisableMethod", disable.clone());
    assert_eq!(alice.api.refused("Account.EnableMethod", disable).0, "SecondStepRequired", "what was begun by it is over");
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    alice.api.call("Account.EnableMethod", json!({ "password": PASSWORD, "login": vouching, "method": "qr_code" }));
    let setup = alice.api.call("Account.BeginChange", json!({ "password": PASSWORD, "login": vouching }))["setup"].clone();
    let id = alice.phone.id.clone();
    pair(&mut alice.api, &mut town, &setup, &mut alice.phone, "qr_code");
    assert_eq!(alice.phone.id, id);
    alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    assert_eq!(alice.api.status()["authenticators"].as_array().unwrap().len(), 1);
}

#[test]
fn an_account_has_eight_phones_at_most() {
    let mut town = Town::new();
    let mut alice = town.engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offer = json!({ "setup": setup, "method": "qr_code" });
    for n in 0..8 {
        pair(&mut alice, &mut town, &setup, &mut Phone::new(&format!("phone {n}")), "qr_code");
    }
    assert_eq!(alice.refused("Account.OfferPairing", offer).0, "MethodUnavailable");
    let (_, done) = alice.finish(&setup);
    assert_eq!(alice.status()["authenticators"].as_array().unwrap().len(), 8);
    let code = &engine::strings(&done["recovery_codes"])[0];
    let change = json!({ "password": PASSWORD, "login": alice.verified(code) });
    let setup = alice.call("Account.BeginChange", change)["setup"].clone();
    let (name, why) = alice.refused("Account.OfferPairing", json!({ "setup": setup, "method": "qr_code" }));
    assert_eq!((name.as_str(), &why["reason"]), ("MethodUnavailable", &json!("8 phones are paired: remove one first")));
}

#[test]
fn a_phone_that_leaves_a_setup_is_not_in_it_at_the_end() {
    let mut town = Town::new();
    let (mut alice, mut phone) = (town.engine.alice(), Phone::new("phone"));
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    pair(&mut alice, &mut town, &setup, &mut phone, "qr_code");
    let unpairs = phone.unpairs(&mut town.carrier);
    assert_eq!(town.carrier.call("Authenticator.Unpair", unpairs), json!({}));
    assert_eq!(alice.call("Account.WaitPairing", json!({ "setup": setup }))["state"], "denied");
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": phone.id })).0, "NoSuchAuthenticator");
    let (_, done) = alice.finish(&setup);
    assert_eq!(engine::strings(&done["methods"]), ["security_code", "recovery_code"]);
}

#[test]
fn a_phone_that_was_removed_meanwhile_does_not_come_back_by_a_change() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let authority = json!({ "password": PASSWORD, "login": vouching });
    let setup = alice.api.call("Account.BeginChange", authority.clone())["setup"].clone();
    pair(&mut alice.api, &mut town, &setup, &mut alice.phone, "qr_code");
    let mut removal = authority;
    removal["id"] = json!(alice.phone.id);
    alice.api.call("Account.RemoveAuthenticator", removal);
    let finish = json!({ "setup": setup, "password": PASSWORD });
    assert_eq!(alice.api.refused("Account.FinishSetup", finish).0, "NoSuchSetup");
    assert_eq!(alice.api.status()["authenticators"], json!([]));
}

#[test]
fn what_a_removed_phone_has_begun_ends_with_it() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let change = |login: &Value| json!({ "password": PASSWORD, "login": login });
    let owners = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    let setup = alice.api.call("Account.BeginChange", change(&owners))["setup"].clone();
    let mut second = Phone::new("tablet");
    pair(&mut alice.api, &mut town, &setup, &mut second, "qr_code");
    alice.api.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    // The thief of the phone: a login by it, a change by that, and a code that it has read.
    let (stolen, challenge) = alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    assert_eq!(alice.phone.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    let change_of_thief = alice.api.call("Account.BeginChange", change(&stolen))["setup"].clone();
    let (open, _) = alice.challenge("online_code");
    let read = alice.phone.request(&mut town.carrier);
    let digits = town.carrier.call("Authenticator.OnlineCode", alice.phone.asks_code(&read))["code"].clone();
    // Its owner removes it.
    let owners = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    alice.api.call("Account.RemoveAuthenticator", json!({ "password": PASSWORD, "login": owners, "id": alice.phone.id }));
    let finish = json!({ "setup": change_of_thief, "password": PASSWORD });
    assert_eq!(alice.api.refused("Account.FinishSetup", finish).0, "NoSuchSetup");
    for login in [&stolen, &owners] {
        assert_eq!(alice.api.refused("Account.BeginChange", change(login)).0, "SecondStepRequired", "it vouches no more");
    }
    let typed = json!({ "login": open, "method": "online_code", "code": digits });
    assert_eq!(alice.api.refused("Login.Answer", typed).0, "MethodUnavailable");
    // So does one that removes itself.
    let (login, challenge) = alice.challenge("login_approval");
    let request = second.request(&mut town.carrier);
    assert_eq!(second.approve(&mut town.carrier, &request, challenge["number"].as_str()), "accepted");
    let unpairs = second.unpairs(&mut town.carrier);
    town.carrier.call("Authenticator.Unpair", unpairs);
    assert_eq!(alice.api.refused("Account.BeginChange", change(&login)).0, "SecondStepRequired");
}

#[test]
fn a_change_of_everything_ends_the_streams_of_its_phones() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    let vouching = alice.codes.pop().map(|code| alice.api.verified(&code)).unwrap();
    alice.api.call("Account.Disable", json!({ "password": PASSWORD, "login": vouching }));
    assert_eq!(seen.error(), "NoSuchAuthenticator");
    assert_eq!(alice.api.status()["authenticators"], json!([]));
    if root_is_missing("an administrator's help") {
        return;
    }
    let mut alice = Alice::with_phone(&mut town);
    let seen = alice.watches(&mut town);
    assert_eq!(seen.next()["requests"], json!([]));
    town.engine.client(0).call("Admin.DisableFor", json!({ "user": "alice" }));
    assert_eq!(seen.error(), "NoSuchAuthenticator");
    assert_eq!(alice.api.start()["decision"], "not_required");
}

/// A phone that is paired in a setup, and looks whether anything waits for it.
fn newcomer(alice: &mut Api, town: &mut Town, setup: &Value) -> (Phone, Replies) {
    let mut phone = Phone::new("phone");
    pair(alice, town, setup, &mut phone, "qr_code");
    let asks = phone.asks(&mut town.carrier);
    let seen = town.engine.client(getuid().as_raw()).replies("Authenticator.Pending", asks);
    assert_eq!(seen.next()["requests"], json!([]));
    (phone, seen)
}

#[test]
fn no_phone_is_paired_in_a_setup_that_can_not_finish_any_more() {
    let mut town = Town::new();
    let mut alice = town.engine.alice();
    let begin = json!({ "password": PASSWORD });
    let (first, second) = (alice.call("Account.BeginSetup", begin.clone()), alice.call("Account.BeginSetup", begin));
    let (phone, seen) = newcomer(&mut alice, &mut town, &first["setup"]);
    let offered = alice.call("Account.OfferPairing", json!({ "setup": first["setup"], "method": "login_approval" }));
    alice.finish(&second["setup"]);
    assert_eq!(seen.error(), "NoSuchAuthenticator", "whoever was paired in it is told");
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": phone.id })).0, "NoSuchAuthenticator");
    let late = Phone::new("late").presents(&Scanned::read(&offered["uri"]));
    assert_eq!(town.carrier.refused("Authenticator.Pair", late).0, "NoSuchPairing");
    assert_eq!(alice.status()["authenticators"], json!([]));
}

#[test]
fn a_phone_whose_setup_makes_room_for_others_is_told() {
    let mut town = Town::new();
    let mut alice = town.engine.alice();
    let begin = json!({ "password": PASSWORD });
    let setup = alice.call("Account.BeginSetup", begin.clone())["setup"].clone();
    let (_, seen) = newcomer(&mut alice, &mut town, &setup);
    for _ in 0..8 {
        alice.call("Account.BeginSetup", begin.clone());
    }
    assert_eq!(seen.error(), "NoSuchAuthenticator");
}

#[test]
fn a_phone_of_a_setup_that_another_login_has_replaced_is_told() {
    let mut scene = scene(NumberEntry::Compare);
    scene.config.grant.login = vec!["alice".into()];
    let staff = Subject { kind: SubjectKind::LocalGroup, name: "staff".into() };
    let mut town = Town::around(Engine::with(scene, move |tx| tx.set_group_enforced(&staff, true).map(drop)));
    let mut service = town.engine.alice();
    let start = |service: &mut Api| {
        service.call("Login.Start", json!({ "user": "alice", "service": "sshd", "remote": "192.0.2.7" }))["setup"].clone()
    };
    let setup = start(&mut service);
    let scanned = service.call("Account.OfferSecurityCode", json!({ "setup": setup }))["secret"].clone();
    let (_, seen) = newcomer(&mut service, &mut town, &setup);
    let next = start(&mut service);
    assert!(service.call("Account.SetupStatus", json!({ "setup": setup }))["missing"].is_array(), "two logins go on beside each other");
    service.call("Account.OfferSecurityCode", json!({ "setup": next }));
    let typed = json!({ "setup": next, "code": crate::code(scanned.as_str().unwrap(), 0) });
    assert_eq!(service.call("Account.ConfirmSecurityCode", typed)["outcome"], "confirmed");
    assert_eq!(seen.error(), "NoSuchAuthenticator");
}

#[test]
fn a_phone_that_was_denied_is_nobodys_once_another_code_is_shown() {
    let mut town = Town::new();
    let mut alice = town.engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offer = json!({ "setup": setup, "method": "login_approval" });
    let mut phone = Phone::new("phone");
    let offered = alice.call("Account.OfferPairing", offer.clone());
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], None), "denied");
    phone.nonce(&mut town.carrier);
    alice.call("Account.OfferPairing", offer);
    assert_eq!(town.carrier.refused("Authenticator.Nonce", json!({ "authenticator": phone.id })).0, "NoSuchAuthenticator");
}

#[test]
fn the_phone_of_an_account_that_makes_way_is_told() {
    if root_is_missing("an administrator's help") {
        return;
    }
    let phone = Phone::new("phone").called("OLD");
    let public_key = decode::<91>(&phone.public_key()).unwrap().to_vec();
    // The account had another number before.
    let former = move |tx: &Tx<'_>| {
        let mut stored = Stored::new(4711, "alice");
        stored.account.methods = [Method::SecurityCode, Method::LoginApproval].into_iter().collect();
        stored.account.preferred = Some(Method::SecurityCode);
        tx.save_enrolled(&stored, &Enrolment::fresh([7; 20]))?;
        let (id, name, paired_at) = ("OLD".into(), "phone".into(), Wall(0));
        tx.add_authenticator(&Authenticator { id, uid: 4711, name, public_key, paired_at, last_seen: None })
    };
    let mut town = Town::around(Engine::with(scene(NumberEntry::Compare), former));
    let asks = phone.asks(&mut town.carrier);
    let seen = town.engine.client(0).replies("Authenticator.Pending", asks);
    assert_eq!(seen.next()["requests"], json!([]));
    town.engine.client(0).call("Admin.DisableFor", json!({ "user": "alice" }));
    assert_eq!(seen.error(), "NoSuchAuthenticator");
}
