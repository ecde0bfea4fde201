//! Firefox plays the scenes too. One is started for all of them, since that takes longer than each scene does.

use serde_json::{Value, json};

use super::nas::Nas;
use super::webdriver::Browser;
use super::{approval, firefox, picture, scenes};
use crate::skip::{Lack, skipped};

/// Runs a script as the browser itself may, not as a page.
fn in_chrome(phone: &Browser, script: &str, arguments: &[Value]) -> Value {
    let switch = |context: &str| phone.request("POST", "moz/context", Some(&json!({ "context": context })));
    switch("chrome");
    let value = phone.run(script, arguments);
    switch("content");
    value
}

/// Lets the page see a drawn QR code where its camera would be: Firefox's own false camera has a test pattern, and no other picture.
pub fn hold_before(phone: &Browser, drawn: &[Vec<bool>]) {
    let script = "
        const rows = arguments[0], scale = 8;
        const canvas = Object.assign(document.createElement('canvas'), { width: 640, height: 640 });
        const context = canvas.getContext('2d');
        const left = (640 - scale * rows[0].length) / 2, top = (640 - scale * rows.length) / 2;
        const draw = () => {
            context.fillStyle = '#777';
            context.fillRect(0, 0, 640, 640);
            rows.forEach((row, y) => row.forEach((dark, x) => {
                context.fillStyle = dark ? '#1e1e1e' : '#e1e1e1';
                context.fillRect(left + scale * x, top + scale * y, scale, scale);
            }));
        };
        navigator.mediaDevices.getUserMedia = async () => {
            const stream = canvas.captureStream();
            const drawing = setInterval(() => stream.active ? draw() : clearInterval(drawing), 50);
            return stream;
        };";
    phone.run(script, &[json!(drawn)]);
}

/// What its console complains of: faults of the page, and breaches of its policy. They are heard once.
fn complaints(phone: &Browser) -> Value {
    let script = "
        const told = Services.console.getMessageArray().filter((one) => one instanceof Ci.nsIScriptError);
        Services.console.reset();
        return told.filter((one) => /^https:/.test(one.sourceName)).map((one) => `${one.category}: ${one.errorMessage} (${one.sourceName}:${one.lineNumber})`);";
    in_chrome(phone, script, &[])
}

/// The camera of its own: it starts, the page looks for a code; and where its user forbids it, the page says so.
fn looks_for_a_code(nas: &mut Nas, phone: &Browser) {
    phone.open(&nas.address);
    phone.tap("scan");
    phone.read("Point the camera");
    phone.tap("back");
    let permit = "Services.prefs.setBoolPref('media.navigator.permission.disabled', arguments[0]);
        Services.prefs.setIntPref('permissions.default.camera', arguments[0] ? 0 : 2);";
    in_chrome(phone, permit, &[json!(false)]);
    phone.tap("scan");
    assert!(phone.text("camera-problem").starts_with("This page may not use the camera."));
    picture(phone, "no-camera");
    in_chrome(phone, permit, &[json!(true)]);
}

/// The key stays in the browser: not even the page can read it.
fn keeps_its_key(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
    let script = "
        const opened = (request) => new Promise((resolve, reject) => {
            request.onsuccess = () => resolve(request.result);
            request.onerror = () => reject(request.error);
        });
        return (async () => {
            const database = await opened(indexedDB.open('twostep'));
            const { privateKey } = await opened(database.transaction('keys').objectStore('keys').get('phone'));
            const exported = ['pkcs8', 'jwk'].map((form) => crypto.subtle.exportKey(form, privateKey).then(() => 'exported', (error) => error.name));
            return [privateKey.algorithm.namedCurve, privateKey.extractable, ...await Promise.all(exported)];
        })();";
    assert_eq!(phone.run(script, &[]), json!(["P-256", false, "InvalidAccessError", "InvalidAccessError"]));
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

type Play = fn(&mut Nas, &Browser);

#[test]
fn firefox_is_a_phone_as_well() {
    if !firefox::is_installed() {
        skipped(Lack::Package, "no Firefox here (apt install firefox-esr)");
        return;
    }
    let phone = firefox::start();
    let plays: [(&str, &str, Play); 14] = [
        ("complains", "compare", complains),
        ("looks for a code", "compare", looks_for_a_code),
        ("keeps its key", "compare", keeps_its_key),
        ("approves", "compare", scenes::approves),
        ("denies", "compare", scenes::denies),
        ("types the number", "typed", scenes::types_the_number),
        ("shows a code", "compare", scenes::shows_a_code),
        ("scans", "compare", scenes::scans),
        ("loses sight of a login", "compare", scenes::loses_sight),
        ("serves two", "compare", scenes::serves_two),
        ("is removed", "compare", scenes::is_removed),
        ("takes itself out", "compare", scenes::takes_itself_out),
        ("finds its NAS again", "compare", scenes::finds_it_again),
        ("loses its storage", "compare", scenes::loses_its_storage),
    ];
    for (name, number, play) in plays {
        println!("Firefox {name}");
        play(&mut Nas::start(number), &phone);
        assert_eq!(complaints(&phone), json!([]));
    }
}
