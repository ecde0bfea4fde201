//! A NAS that was in a drawer for two years: its clock is believed once it is known to be synchronised, which the engine may have to ask root for.
//! And one whose clock was wrong for a while, either way.

use serde_json::json;
use twostep::core::account::Method;
use twostep::core::otpauth;
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment};
use twostep::engine::store::{StoreError, Stored, Tx};
use twostep::sys::clock;

use crate::engine::{Engine, Scene, alice, code};
use crate::root_is_missing;
use crate::skip::{Lack, skipped};

const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

const TWO_YEARS: i64 = 2 * 366 * 86_400;

/// Alice, whose second step was used for the last time so long ago.
fn last_used(ago: i64) -> impl FnOnce(&Tx<'_>) -> Result<(), StoreError> {
    move |tx| {
        let mut stored = Stored::new(alice(), "alice");
        stored.account.methods = stored.account.methods.with(Method::SecurityCode);
        stored.account.preferred = Some(Method::SecurityCode);
        let secret = otpauth::from_base32(SECRET).unwrap();
        tx.save_enrolled(&stored, &Enrolment::existing(secret.to_vec(), Algorithm::Sha1, 6, 30).unwrap())?;
        tx.believe_clock(Wall(clock::wall().0 - ago))
    }
}

#[test]
fn after_years_in_a_drawer_a_login_waits_for_the_clock_to_be_synchronised() {
    if clock::moment().synchronised {
        return skipped(Lack::UnsetClock, "this machine's clock is synchronised, so nobody need be asked");
    }
    let engine = Engine::with(Scene::default(), last_used(TWO_YEARS));
    let mut client = engine.alice();
    let login = client.start()["login"].clone();
    let (error, why) = client.refused("Login.Challenge", json!({ "login": login, "method": "security_code" }));
    assert_eq!(error, "MethodUnavailable");
    assert!(why["reason"].as_str().unwrap().contains("clock is not synchronised"), "{why}");
    let answer = json!({ "login": login, "method": "security_code", "code": code(SECRET, 0) });
    assert_eq!(client.refused("Login.Answer", answer).0, "MethodUnavailable");
    assert_eq!(engine.clock_questions(), 2);

    engine.synchronise();
    client.call("Login.Challenge", json!({ "login": login, "method": "security_code" }));
    assert_eq!(client.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "verified");
    assert_eq!(engine.clock_questions(), 4);
    // What was committed under the right clock is believed: nobody is asked any more.
    let login = client.start()["login"].clone();
    assert_eq!(client.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "already_used");
    assert_eq!(engine.clock_questions(), 4);
}

#[test]
fn a_login_of_every_day_asks_nobody_about_the_clock() {
    let engine = Engine::with(Scene::default(), last_used(86_400));
    let mut client = engine.alice();
    let login = client.start()["login"].clone();
    assert_eq!(client.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "verified");
    assert_eq!(engine.clock_questions(), 0);
}

/// Alice, who logged in when the clock was right, and again when it was this wrong.
fn wrong_for_a_while(by: i64) -> impl FnOnce(&Tx<'_>) -> Result<(), StoreError> {
    move |tx| {
        last_used(86_400)(tx)?;
        tx.believe_clock(Wall(clock::wall().0 + by))
    }
}

#[test]
fn a_clock_that_was_wrong_for_a_while_keeps_nobody_out_once_it_is_right() {
    for by in [-TWO_YEARS, -86_400, 300 * 86_400] {
        let engine = Engine::with(Scene::default(), wrong_for_a_while(by));
        let mut client = engine.alice();
        let login = client.start()["login"].clone();
        assert_eq!(client.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "verified", "{by} s");
        let login = client.start()["login"].clone();
        assert_eq!(client.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "already_used", "{by} s");
    }
}

#[test]
fn a_device_is_trusted_at_once_after_a_clock_that_ran_ahead_for_a_while() {
    if root_is_missing("a login service that may have a device trusted") {
        return;
    }
    let engine = Engine::with(Scene::default(), wrong_for_a_while(300 * 86_400));
    let mut portal = engine.client(0);
    let login = portal.start()["login"].clone();
    assert_eq!(portal.answer(&login, "security_code", &code(SECRET, 0))["outcome"], "verified");
    let token = portal.call("Login.TrustDevice", json!({ "login": login, "label": "laptop" }))["trusted_device"].clone();
    let again = json!({ "user": "alice", "service": "test", "trusted_device": token });
    assert_eq!(portal.call("Login.Start", again)["decision"], "trusted");
}
