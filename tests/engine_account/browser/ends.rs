//! Where it does not go on as wished: the page says so in plain words, and what to do then.

use serde_json::json;

use super::webdriver::Browser;
use super::{approval, begin_pairing, picture, scene, waiting};
use crate::engine::PASSWORD;

/// Runs before each page that is opened from now on.
fn before_each_page(phone: &Browser, script: &str) {
    phone.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
}

#[test]
fn on_an_iphone_the_page_is_installed_first_and_the_code_stays_good() {
    let Some((nas, phone)) = scene("compare") else { return };
    let agent = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
    phone.devtools("Emulation.setUserAgentOverride", &json!({ "userAgent": agent }));
    before_each_page(&phone, "Object.defineProperty(navigator, 'standalone', { value: false })");
    phone.open(&nas.address);
    phone.read("Paired already? An app on the home screen keeps its accounts apart");
    picture(&phone, "ios-empty");
    nas.set_up("qr_code", |alice, setup, uri| {
        phone.open(uri);
        phone.read("Add to Home Screen");
        picture(&phone, "ios");
        phone.tap("pair-anyway");
        phone.see("name");
        assert_eq!(phone.run("return document.querySelector('#phone-name').value", &[]), "iPhone");
        phone.tap("pair");
        phone.see("done");
        assert_eq!(waiting(alice, setup)["state"], "paired");
    });
}

#[test]
fn a_pairing_that_comes_to_nothing_says_how_to_begin_anew() {
    let Some((nas, phone)) = scene("compare") else { return };
    let mut alice = nas.engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let mut offered = || alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }))["uri"].clone();
    let denied = offered();
    begin_pairing(&phone, denied.as_str().unwrap());
    phone.tap("deny");
    assert_eq!(phone.text("ending"), "Not paired");
    phone.read("You denied the pairing. Begin anew on the NAS");
    picture(&phone, "pair-denied");
    begin_pairing(&phone, offered().as_str().unwrap());
    phone.see("approve");
    alice.call("Account.CancelSetup", json!({ "setup": setup }));
    phone.tap("approve");
    assert_eq!(phone.text("ending"), "Too late");
    phone.read("Begin it anew on the NAS");
    picture(&phone, "pair-late");
    begin_pairing(&phone, denied.as_str().unwrap());
    assert_eq!(phone.text("ending"), "Not paired");
    phone.read("Show a new one on the NAS");
    picture(&phone, "pair-used");
}

#[test]
fn without_a_camera_the_link_is_typed_and_one_of_another_nas_is_opened_there_alone() {
    let Some((nas, phone)) = scene("compare") else { return };
    phone.open(&nas.address);
    phone.see("scan");
    phone.run("MediaDevices.prototype.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }", &[]);
    phone.tap("scan");
    assert!(phone.text("camera-problem").starts_with("There is no camera here."));
    picture(&phone, "camera-none");
    phone.tap("link-more");
    phone.write("link-text", "https://elsewhere.example:8443/scan#1.AAAAAAAAAAAAAAAAAAAAAA");
    picture(&phone, "link");
    phone.tap("link-open");
    assert_eq!(phone.text("ending"), "Another NAS");
    assert_eq!(phone.text("open-other"), "Open elsewhere.example:8443");
    picture(&phone, "other-nas");
    assert!(phone.url().starts_with(&nas.address), "not without a tap");
}

#[test]
fn a_phone_whose_clock_is_wrong_is_told_by_how_much_and_approves_all_the_same() {
    let Some((nas, phone)) = scene("compare") else { return };
    before_each_page(&phone, "const real = Date.now; Date.now = () => real() + 7 * 60_000;");
    approval(&nas, &phone);
    assert!(phone.text("clock").starts_with("This phone’s clock is 7 min ahead of the NAS’s."));
    let mut service = nas.service();
    nas.login(&mut service, "login_approval");
    phone.read("just now");
    picture(&phone, "clock");
    phone.tap("approve");
    phone.see("outcome");
    phone.read("Approved");
}
