//! The phone's page as its user has it: headless Chromium plays the phone against the real twostep-web and the real engine. What is a scene of its
//! own, a function, Firefox and WebKit play as well; Firefox is also heard through a screen reader.
//!
//! `TWOSTEP_TEST_PICTURES=FOLDER` keeps a picture of each screen there, in both themes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twostep::cli::terminal;
use twostep::sys::clock;

use crate::engine::{Api, PASSWORD};
use crate::skip::{Lack, skipped};

mod access;
mod apple;
#[path = "../support/camera.rs"]
mod camera;
mod cards;
#[path = "../support/display.rs"]
mod display;
mod ends;
#[path = "../support/firefox.rs"]
mod firefox;
mod gecko;
mod nas;
#[path = "../support/orca.rs"]
mod orca;
mod reader;
mod scenes;
mod screen;
#[path = "../support/webdriver.rs"]
mod webdriver;
#[path = "../support/webkit.rs"]
mod webkit;

use nas::Nas;
use webdriver::Browser;

fn browser_is_missing() -> bool {
    let missing = !webdriver::is_installed();
    if missing {
        skipped(Lack::Package, "no Chromium with its driver here (apt install chromium chromium-driver)");
    }
    missing
}

/// A NAS where the phone compares or types the number, and a phone; none where there is no Chromium.
fn scene(number: &str) -> Option<(Nas, Browser)> {
    if browser_is_missing() {
        return None;
    }
    let nas = Nas::start(number);
    let phone = nas.phone();
    Some((nas, phone))
}

/// One of the [`scenes`], in Chromium.
fn plays(number: &str, play: scenes::Play) {
    if let Some((mut nas, phone)) = scene(number) {
        play(&mut nas, &phone);
    }
}

/// Keeps the screen, where somebody wants to look at it; Chromium's in both themes.
fn picture(phone: &Browser, name: &str) {
    let Some(folder) = std::env::var_os("TWOSTEP_TEST_PICTURES") else { return };
    let keep = |theme: &str| {
        let file = std::path::Path::new(&folder).join(format!("{name}-{theme}.png"));
        std::fs::write(file, STANDARD.decode(phone.picture()).unwrap()).unwrap();
    };
    if !phone.is_chromium() {
        return keep(if phone.is_firefox() { "firefox" } else { "webkit" });
    }
    for (theme, dark) in [("light", false), ("dark", true)] {
        phone.dark(dark);
        keep(theme);
    }
}

/// Opens what the phone's own camera has read, and pairs.
#[track_caller]
fn begin_pairing(phone: &Browser, uri: &str) {
    phone.open(uri);
    phone.write("name", "Alice's phone");
    picture(phone, "pair");
    phone.tap("pair");
}

#[track_caller]
fn waiting(api: &mut Api, setup: &Value) -> Value {
    api.call("Account.WaitPairing", json!({ "setup": setup }))
}

/// Gives alice Login Approval on this phone: her recovery codes.
#[track_caller]
fn approval(nas: &Nas, phone: &Browser) -> Vec<String> {
    let codes = nas.set_up("login_approval", |alice, setup, uri| {
        begin_pairing(phone, uri);
        let shown = phone.text("number");
        let waits = waiting(alice, setup);
        assert_eq!((&waits["state"], &waits["number"]), (&json!("approve"), &json!(shown)), "the same number on both sides");
        picture(phone, "pair-number");
        phone.tap("approve");
        phone.see("done");
        assert_eq!(waiting(alice, setup)["state"], "paired");
    });
    phone.tap("done");
    phone.see("scan");
    phone.see_connected();
    codes
}

#[track_caller]
fn outcome(service: &mut Api, login: &Value) -> Value {
    service.call("Login.Wait", json!({ "login": login }))["outcome"].clone()
}

#[test]
fn a_login_is_approved_where_both_sides_show_the_same_number() {
    plays("compare", scenes::approves);
}

#[test]
fn a_denied_login_is_told_at_the_next_one() {
    plays("compare", scenes::denies);
}

#[test]
fn a_typed_number_lets_in_and_a_wrong_one_voids_the_request() {
    plays("typed", scenes::types_the_number);
}

#[test]
fn the_phone_shows_the_code_that_is_typed_at_the_login() {
    plays("compare", scenes::shows_a_code);
}

#[test]
fn the_camera_reads_the_qr_code_as_the_terminal_draws_it() {
    plays("compare", scenes::scans);
}

#[test]
fn a_newer_login_takes_the_place_of_the_older_and_one_that_is_over_goes() {
    plays("compare", scenes::loses_sight);
}

#[test]
fn one_phone_serves_two_accounts() {
    plays("compare", scenes::serves_two);
}

#[test]
fn a_removed_phone_says_so_and_forgets_itself_on_request() {
    plays("compare", scenes::is_removed);
}

#[test]
fn a_phone_takes_itself_out() {
    plays("compare", scenes::takes_itself_out);
}

#[test]
fn a_phone_without_its_nas_says_so_and_finds_it_again() {
    plays("compare", scenes::finds_it_again);
}

#[test]
fn a_phone_that_loses_its_storage_still_approves_and_pairs_in_a_page_loaded_anew() {
    plays("compare", scenes::loses_its_storage);
}

#[test]
fn a_phone_that_loses_its_storage_forgets_all_the_same() {
    plays("compare", scenes::forgets_without_its_storage);
}

#[test]
fn a_phone_that_loses_its_storage_unpairs_all_the_same() {
    plays("compare", scenes::unpairs_without_its_storage);
}

#[test]
fn a_name_too_long_for_the_nas_is_explained() {
    let Some((nas, phone)) = scene("compare") else { return };
    nas.set_up("qr_code", |_, _, uri| {
        phone.open(uri);
        phone.write("name", &"é".repeat(33));
        phone.tap("pair");
        phone.read("This name is too long");
        phone.write("name", &"é".repeat(32));
        phone.tap("pair");
        phone.see("done");
    });
}

/// As when the camera app stands before the page, for its own picture.
#[test]
fn the_scan_screen_stays_while_the_page_is_hidden_and_looks_again_afterwards() {
    let Some((nas, phone)) = scene("compare") else { return };
    let see = |hidden: bool| {
        let script = "Object.defineProperty(document, 'hidden', { value: arguments[0], configurable: true });
            document.dispatchEvent(new Event('visibilitychange'));";
        phone.run(script, &[json!(hidden)]);
    };
    camera::film(&nas.camera(), &[vec![true]], 1);
    phone.open(&nas.address);
    phone.tap("scan");
    phone.read("Point the camera");
    phone.run("window.stream = document.querySelector('video').srcObject", &[]);
    see(true);
    // The camera's end is no change of the document.
    let ended = "return new Promise((resolve) => { const look = () => stream.active ? setTimeout(look, 20) : resolve(true); look(); })";
    assert_eq!(phone.run(ended, &[]), true, "another app can have the camera");
    phone.see("scan-message");
    let mut alice = nas.engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": "qr_code" }));
    camera::film(&nas.camera(), &camera::drawn(&terminal::qr(offered["uri"].as_str().unwrap()).unwrap()), 6);
    see(false);
    phone.see("name");
}

/// A call comes in, or another app takes the camera, while the page is seen.
#[test]
fn a_camera_that_is_taken_away_is_explained_and_a_picture_that_stands_still_goes_on() {
    let Some((nas, phone)) = scene("compare") else { return };
    camera::film(&nas.camera(), &[vec![true]], 1);
    phone.open(&nas.address);
    phone.tap("scan");
    phone.read("Point the camera");
    phone.run(
        "window.played = 0; document.addEventListener('playing', () => { played += 1; document.body.dataset.played = played; }, true)",
        &[],
    );
    phone.run("document.querySelector('video').pause()", &[]);
    phone.until("played === 1 && !document.querySelector('video').paused");
    phone.run("document.querySelector('video').srcObject.getTracks()[0].stop()", &[]);
    assert!(phone.text("camera-problem").starts_with("The camera gives no picture"));
}

#[test]
fn a_camera_that_may_not_be_used_is_explained() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone_where(false);
    camera::film(&nas.camera(), &[vec![true]], 1);
    phone.open(&nas.address);
    let denied = json!({ "permission": { "name": "camera" }, "setting": "denied", "origin": nas.address });
    phone.devtools("Browser.setPermission", &denied);
    phone.tap("scan");
    assert!(phone.text("camera-problem").starts_with("This page may not use the camera."));
    picture(&phone, "no-camera");
}

#[test]
fn the_first_load_is_small_and_nothing_in_it_breaks_the_policy() {
    let Some((nas, phone)) = scene("compare") else { return };
    let watch = "window.broken = []; addEventListener('securitypolicyviolation', (event) => broken.push(event.violatedDirective));";
    phone.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": watch }));
    phone.open(&nas.address);
    phone.see("scan");
    picture(&phone, "empty");
    assert_eq!(phone.run("return broken", &[]), json!([]));
    // It is one that forbids something.
    phone.run("document.body.style = 'color: red'; document.body.append(Object.assign(document.createElement('img'), { src: 'https://192.0.2.1/' }))", &[]);
    phone.until("broken.length > 0");
    let sum = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
        .map((entry) => entry.transferSize).reduce((sum, size) => sum + size, 0)";
    let bytes = phone.run(sum, &[]).as_u64().unwrap();
    assert!((10_000..=100 * 1024).contains(&bytes), "{bytes} bytes");
}

/// `cargo test --test engine_account approving_costs -- --ignored --nocapture`, on a release build for a figure that means something.
#[test]
#[ignore = "a figure"]
fn approving_costs() {
    let Some((nas, phone)) = scene("compare") else { return };
    approval(&nas, &phone);
    let (mut service, mut tapped) = (nas.service(), Vec::new());
    for _ in 0..40 {
        let (login, _) = nas.login(&mut nas.service(), "login_approval");
        phone.see_enabled("approve");
        // Between two readings of one clock lie the driver's way to the page too.
        let taken = std::thread::scope(|scope| {
            let verified = scope.spawn(|| {
                assert_eq!(service.outcomes(&login).last().unwrap(), "verified");
                clock::moment().boot
            });
            let before = clock::moment().boot;
            phone.run("document.querySelector('[data-testid=approve]').click()", &[]);
            verified.join().unwrap() - before
        });
        tapped.push(taken);
        phone.tap("close");
        phone.see_no("request");
    }
    tapped.sort();
    println!("approved -> verified: p50 {:?}, largest {:?}, of {}", tapped[tapped.len() / 2], tapped[tapped.len() - 1], tapped.len());
}
