//! A NAS that was in a drawer for two years: its clock is believed once it is known to be synchronised, which the engine may have to ask root for.

use serde_json::json;
use twostep::core::account::Method;
use twostep::core::otpauth;
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment};
use twostep::engine::store::{StoreError, Stored, Tx};
use twostep::sys::clock;

use crate::engine::{Engine, Scene, alice, code};
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
