//! The phone's page as its user has it: headless Chromium plays the phone against the real twostep-web and the real engine.
//!
//! `TWOSTEP_TEST_PICTURES=FOLDER` keeps a picture of each screen there, in both themes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use twostep::cli::terminal;
use twostep::sys::clock;

use crate::engine::{Api, BOB, HELD, PASSWORD, strings};
use crate::skip::{Lack, skipped};

mod access;
#[path = "../support/camera.rs"]
mod camera;
mod cards;
mod nas;
mod screen;
#[path = "../support/webdriver.rs"]
mod webdriver;

use nas::Nas;
use webdriver::Browser;

fn browser_is_missing() -> bool {
    let missing = !webdriver::is_installed();
    if missing {
        skipped(Lack::Package, "no Chromium with its driver here (apt install chromium chromium-driver)");
    }
    missing
}

/// Keeps the screen in both themes, where somebody wants to look at it.
fn picture(phone: &Browser, name: &str) {
    let Some(folder) = std::env::var_os("TWOSTEP_TEST_PICTURES") else { return };
    for (theme, dark) in [("light", false), ("dark", true)] {
        phone.dark(dark);
        let file = std::path::Path::new(&folder).join(format!("{name}-{theme}.png"));
        std::fs::write(file, STANDARD.decode(phone.picture()).unwrap()).unwrap();
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

/// A phone on which alice has Login Approval, and her recovery codes.
#[track_caller]
fn approval(nas: &Nas) -> (Browser, Vec<String>) {
    let phone = nas.phone();
    let codes = nas.set_up("login_approval", |alice, setup, uri| {
        begin_pairing(&phone, uri);
        let shown = phone.text("number");
        let waits = waiting(alice, setup);
        assert_eq!((&waits["state"], &waits["number"]), (&json!("approve"), &json!(shown)), "the same number on both sides");
        picture(&phone, "pair-number");
        phone.tap("approve");
        phone.see("done");
        assert_eq!(waiting(alice, setup)["state"], "paired");
    });
    phone.tap("done");
    phone.see("scan");
    (phone, codes)
}

#[track_caller]
fn outcome(service: &mut Api, login: &Value) -> Value {
    service.call("Login.Wait", json!({ "login": login }))["outcome"].clone()
}

#[test]
fn a_login_is_approved_where_both_sides_show_the_same_number() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    assert!(!phone.url().contains('#'), "the pairing's secret is out of the address bar");
    picture(&phone, "home");
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    assert_eq!(json!(phone.text("number")), challenge["number"]);
    assert_eq!((phone.text("service"), phone.text("remote"), phone.text("account")), ("sshd".into(), "192.0.2.7".into(), "alice".into()));
    picture(&phone, "request");
    assert_eq!(outcome(&mut service, &login), "waiting");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
    picture(&phone, "approved");
}

#[test]
fn a_denied_login_is_told_at_the_next_one() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.tap("deny");
    phone.see("outcome");
    picture(&phone, "denied");
    assert_eq!(outcome(&mut service, &login), "denied");
    let next = service.call("Login.Start", json!({ "user": "alice", "service": "sshd" }));
    assert!(next["notice"].as_str().unwrap().contains("192.0.2.7"), "{next}");
}

#[test]
fn a_typed_number_lets_in_and_a_wrong_one_voids_the_request() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("typed");
    let phone = nas.phone();
    nas.set_up("login_approval", |alice, setup, uri| {
        begin_pairing(&phone, uri);
        phone.see("number-input");
        let number = waiting(alice, setup)["number"].as_str().unwrap().to_owned();
        phone.write("number-input", &number);
        picture(&phone, "pair-typed");
        phone.tap("approve");
        phone.tap("done");
    });
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    let number = challenge["number"].as_str().unwrap();
    phone.write("number-input", if number == "10" { "11" } else { "10" });
    picture(&phone, "request-typed");
    phone.tap("approve");
    phone.see("outcome");
    picture(&phone, "wrong-number");
    assert_eq!(outcome(&mut service, &login), "denied");
    phone.tap("close");
    let (login, challenge) = nas.login(&mut service, "login_approval");
    phone.write("number-input", challenge["number"].as_str().unwrap());
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
}

#[test]
fn the_phone_shows_the_code_that_is_typed_at_the_login() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone();
    nas.set_up("online_code", |alice, setup, uri| {
        begin_pairing(&phone, uri);
        let code = phone.text("code");
        picture(&phone, "pair-code");
        assert_eq!(waiting(alice, setup)["state"], "type_code");
        let confirmed = alice.call("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": code }));
        assert_eq!(confirmed["outcome"], "confirmed");
    });
    phone.tap("done");
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "online_code");
    phone.tap("show-code");
    let code = phone.text("code");
    picture(&phone, "code");
    assert_eq!(service.answer(&login, "online_code", &code)["outcome"], "verified");
    phone.see("outcome");
}

#[test]
fn the_camera_reads_the_qr_code_as_the_terminal_draws_it() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone();
    let film = |text: &str| camera::film(&nas.camera(), &camera::drawn(&terminal::qr(text).unwrap()), 6);
    nas.set_up("qr_code", |alice, setup, uri| {
        film(uri);
        phone.open(&nas.address);
        phone.tap("scan");
        phone.write("name", "Alice's phone");
        phone.tap("pair");
        phone.see("done");
        picture(&phone, "paired");
        assert_eq!(waiting(alice, setup)["state"], "paired");
    });
    phone.tap("done");
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "qr_code");
    film(challenge["qr"].as_str().unwrap());
    phone.tap("scan");
    assert_eq!(phone.text("service"), "sshd", "shown before anything is decided");
    picture(&phone, "scanned");
    assert_eq!(outcome(&mut service, &login), "waiting");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
    // The phone's own camera app opens the link instead.
    let (login, challenge) = nas.login(&mut service, "qr_code");
    phone.open(challenge["qr"].as_str().unwrap());
    phone.tap("deny");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "denied");
}

#[test]
fn a_newer_login_takes_the_place_of_the_older_and_one_that_is_over_goes() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    let mut service = nas.service();
    let (older, _) = nas.login(&mut service, "login_approval");
    phone.see("number");
    let (newer, challenge) = nas.login(&mut service, "login_approval");
    phone
        .until(&format!("[...document.querySelectorAll('[data-testid=number]')].some((one) => one.innerText === {})", challenge["number"]));
    assert_eq!(outcome(&mut service, &older), "expired");
    assert_eq!(outcome(&mut service, &newer), "waiting");
    service.call("Login.Cancel", json!({ "login": newer }));
    phone.see_no("approve");
    picture(&phone, "over");
    // The page's own clock runs out, whatever the NAS says.
    nas.login(&mut service, "login_approval");
    phone.see("approve");
    phone.run("const real = performance.now.bind(performance); performance.now = () => real() + 130000;", &[]);
    phone.see_no("approve");
}

#[test]
fn one_phone_serves_two_accounts() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    let mut bob = nas.engine.client(BOB);
    let setup = std::thread::scope(|scope| {
        let begun = scope.spawn(|| bob.call("Account.BeginSetup", json!({ "password": HELD }))["setup"].clone());
        nas.engine.held(|| {});
        begun.join().unwrap()
    });
    let offered = bob.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    begin_pairing(&phone, offered["uri"].as_str().unwrap());
    phone.tap("approve");
    phone.tap("done");
    bob.confirm_new_code(&setup);
    std::thread::scope(|scope| {
        let finished = scope.spawn(|| bob.call("Account.FinishSetup", json!({ "setup": setup, "password": HELD })));
        nas.engine.held(|| {});
        finished.join().unwrap();
    });
    phone.read("bob");
    let mut service = nas.engine.client(0);
    for user in ["bob", "alice"] {
        let started = service.call("Login.Start", json!({ "user": user, "service": "sshd" }));
        service.call("Login.Challenge", json!({ "login": started["login"], "method": "login_approval" }));
        assert_eq!(phone.text("account"), user);
        picture(&phone, &format!("two-accounts-{user}"));
        phone.tap("approve");
        phone.see("outcome");
        assert_eq!(outcome(&mut service, &started["login"]), "verified");
        phone.tap("close");
        phone.see_no("request");
    }
}

#[test]
fn a_removed_phone_says_so_and_forgets_itself_on_request() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, codes) = approval(&nas);
    let mut alice = nas.engine.alice();
    let vouching = alice.verified(&codes[0]);
    let id = alice.status()["authenticators"][0]["id"].clone();
    alice.call("Account.RemoveAuthenticator", json!({ "password": PASSWORD, "login": vouching, "id": id }));
    phone.read("No longer paired");
    picture(&phone, "removed");
    phone.tap("account-row");
    phone.tap("forget");
    phone.read("No account is paired with this phone");
}

#[test]
fn a_phone_takes_itself_out() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, codes) = approval(&nas);
    let mut alice = nas.engine.alice();
    alice.verified(&codes[0]);
    phone.tap("account-row");
    phone.tap("unpair");
    picture(&phone, "unpair");
    phone.tap("unpair-confirm");
    phone.read("No account is paired with this phone");
    assert_eq!(alice.status()["authenticators"], json!([]));
    assert!(!strings(&alice.status()["methods"]).contains(&"login_approval".into()));
}

#[test]
fn a_phone_without_its_nas_says_so_and_finds_it_again() {
    if browser_is_missing() {
        return;
    }
    let mut nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
    phone.until("document.querySelector('[data-testid=status]').dataset.tone === 'good'");
    nas.end_web();
    phone.until("document.querySelector('[data-testid=status]').dataset.tone === 'bad'");
    picture(&phone, "lost");
    let started = nas.service().call("Login.Start", json!({ "user": "alice", "service": "sshd" }));
    assert_eq!(strings(&started["methods"]), ["security_code", "recovery_code"], "offered only while a phone can be reached");
    nas.start_web();
    phone.until("document.querySelector('[data-testid=status]').dataset.tone === 'good'");
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
}

#[test]
fn a_name_too_long_for_the_nas_is_explained() {
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone();
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
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone();
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
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let phone = nas.phone();
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
    if browser_is_missing() {
        return;
    }
    let nas = Nas::start("compare");
    let (phone, _) = approval(&nas);
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
