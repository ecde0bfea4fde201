//! Firefox plays the scenes too. One is started for all of them, since that takes longer than each scene does.

use serde_json::{Value, json};

use super::nas::Nas;
use super::scenes::Scene;
use super::webdriver::Browser;
use super::{firefox, picture, scenes};
use crate::skip::{Lack, skipped};

/// Runs a script as the browser itself may, not as a page.
fn in_chrome(phone: &Browser, script: &str, arguments: &[Value]) -> Value {
    let switch = |context: &str| phone.request("POST", "moz/context", Some(&json!({ "context": context })));
    switch("chrome");
    let value = phone.run(script, arguments);
    switch("content");
    value
}

/// What its console complains of: faults of the page, and breaches of its policy. They are heard once.
fn complaints(phone: &Browser) -> Value {
    let script = "
        const told = Services.console.getMessageArray().filter((one) => one instanceof Ci.nsIScriptError);
        Services.console.reset();
        return told.filter((one) => /^https:/.test(one.sourceName)).map((one) => `${one.category}: ${one.errorMessage} (${one.sourceName}:${one.lineNumber})`);";
    in_chrome(phone, script, &[])
}

/// Whether pages may use the camera.
pub fn permit_camera(phone: &Browser, allowed: bool) {
    let permit = "Services.prefs.setBoolPref('media.navigator.permission.disabled', arguments[0]);
        Services.prefs.setIntPref('permissions.default.camera', arguments[0] ? 0 : 2);";
    in_chrome(phone, permit, &[json!(allowed)]);
}

/// The camera of its own: it starts, the page looks for a code; and where its user forbids it, the page says so.
fn looks_for_a_code(nas: &mut Nas, phone: &Browser) {
    phone.open(&nas.address);
    phone.tap("scan");
    phone.read("Point the camera");
    phone.tap("back");
    permit_camera(phone, false);
    phone.tap("scan");
    assert!(phone.text("camera-problem").starts_with("This page may not use the camera."));
    picture(phone, "no-camera");
    permit_camera(phone, true);
}

/// What a page would complain of is heard: the other scenes' silence says something.
fn complains(nas: &mut Nas, phone: &Browser) {
    phone.open(&nas.address);
    phone.see("scan");
    assert_eq!(complaints(phone), json!([]));
    phone.run("document.body.append(Object.assign(document.createElement('script'), { textContent: '1' }))", &[]);
    let told = complaints(phone);
    assert!(told.as_array().is_some_and(|told| told.len() == 1 && told[0].as_str().unwrap().contains("CSP")), "{told}");
}

#[test]
fn firefox_is_a_phone_as_well() {
    if !firefox::is_installed() {
        skipped(Lack::Package, "no Firefox here (apt install firefox-esr)");
        return;
    }
    let phone = firefox::start();
    let own: [Scene; 2] = [("complains", "compare", complains), ("looks for a code", "compare", looks_for_a_code)];
    for (name, number, play) in own.into_iter().chain(scenes::ALL) {
        println!("Firefox {name}");
        play(&mut Nas::start(number), &phone);
        assert_eq!(complaints(&phone), json!([]));
    }
}
