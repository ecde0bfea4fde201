//! The page as it is heard, by somebody who has nothing but a screen reader and a keyboard: Orca with Firefox.
//!
//! The other tests look at what a reader would be told; what one makes of it, only one says.

use serde_json::{Value, json};

use super::gecko::permit_camera;
use super::nas::Nas;
use super::orca::{self, Desktop};
use super::webdriver::Browser;
use super::{firefox, outcome, waiting};
use crate::engine::Api;
use crate::skip::{Lack, skipped};

/// As it is to be read aloud: digit by digit.
fn spelt(digits: &Value) -> String {
    digits.as_str().unwrap().chars().map(String::from).collect::<Vec<_>>().join(" ")
}

fn times(heard: &[String], words: &str) -> usize {
    heard.iter().filter(|line| line.contains(words)).count()
}

fn open(desktop: &Desktop, phone: &Browser, uri: &str, id: &str) {
    phone.open(uri);
    phone.see(id);
    desktop.settle("twostep");
}

/// A camera that may not be used is told of without being looked for.
fn no_camera(desktop: &Desktop, phone: &Browser, nas: &Nas) {
    open(desktop, phone, &nas.address, "scan");
    permit_camera(phone, false);
    desktop.go_to("Scan a QR code push button");
    desktop.press("Return");
    desktop.hear("This page may not use the camera.");
    permit_camera(phone, true);
}

/// A fault in the name, then the number that the NAS must show, then Approve.
fn pairs(desktop: &Desktop, phone: &Browser, uri: &str, mut number: impl FnMut() -> Value) {
    open(desktop, phone, uri, "name");
    desktop.go_to("Name of this phone entry");
    for key in ["ctrl+a", "BackSpace", "Return"] {
        desktop.press(key);
    }
    desktop.hear("Give this phone a name.");
    for key in ["p", "Return"] {
        desktop.press(key);
    }
    phone.see("approve");
    let number = spelt(&number());
    desktop.hear(&format!("The NAS must show this number: {number}"));
    desktop.go_to("Deny: alice on ");
    desktop.go_to("Approve: alice on ");
    assert!(desktop.heard().last().unwrap().contains(&number));
    desktop.press("Return");
    desktop.hear("Paired");
    desktop.go_to("Done push button");
    desktop.press("Return");
    phone.see_connected();
}

/// The login comes in by itself, is heard once, and is let in with two keys.
fn approves(desktop: &Desktop, phone: &Browser, nas: &Nas) {
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    let about = format!("alice into sshd from 192.0.2.7. Number {}.", spelt(&challenge["number"]));
    desktop.hear(&format!("New login request: {about}"));
    phone.see_enabled("approve");
    desktop.go_to(&format!("Deny: {about} push button"));
    desktop.go_to(&format!("Approve: {about} push button"));
    desktop.press("Return");
    desktop.hear("The login goes on by itself.");
    assert_eq!(outcome(&mut service, &login), "verified");
    let heard = desktop.heard();
    assert_eq!((times(&heard, "New login request"), times(&heard, "The login goes on by itself.")), (1, 1), "{heard:#?}");
    // A reader that is behind may leave out what the focus comes to.
    assert!(times(&heard, "Approved") <= 1, "{heard:#?}");
    desktop.go_to("OK push button");
    desktop.press("Return");
    phone.see_no("request");
}

/// One that is given up is told of too.
fn loses_sight(desktop: &Desktop, nas: &Nas) {
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "login_approval");
    desktop.hear("New login request");
    service.call("Login.Cancel", json!({ "login": login }));
    desktop.hear("Over. This login was answered elsewhere, given up, or replaced by a newer one.");
}

/// The code is read once it is shown, digit by digit: at the pairing, and for a login.
fn shows_codes(desktop: &Desktop, phone: &Browser, nas: &Nas) {
    let shown = || json!(phone.text("code").replace(' ', ""));
    nas.set_up("online_code", |alice: &mut Api, setup, uri| {
        open(desktop, phone, uri, "name");
        desktop.go_to("Name of this phone entry");
        desktop.press("Return");
        let code = shown();
        desktop.hear(&format!("Type this code on the NAS: {}", spelt(&code)));
        waiting(alice, setup);
        let confirmed = alice.call("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": code }));
        assert_eq!(confirmed["outcome"], "confirmed");
    });
    desktop.go_to("Done push button");
    desktop.press("Return");
    let mut service = nas.service();
    nas.login(&mut service, "online_code");
    desktop.hear("New login request: alice into sshd from 192.0.2.7.");
    phone.see_enabled("show-code");
    desktop.go_to("Show code: alice into sshd from 192.0.2.7. push button");
    desktop.press("Return");
    desktop.hear(&format!("Type this code at the login: {}", spelt(&shown())));
}

#[test]
fn whoever_hears_the_page_pairs_and_approves_with_a_keyboard_alone() {
    if !(orca::is_installed() && firefox::is_installed()) {
        skipped(Lack::Package, "no Orca with Firefox here (apt install orca at-spi2-core dbus firefox-esr xdotool xvfb)");
        return;
    }
    let desktop = Desktop::start();
    let phone = firefox::start_on(&desktop);
    desktop.look_at("firefox");
    let nas = Nas::start("compare");
    no_camera(&desktop, &phone, &nas);
    nas.set_up("login_approval", |alice, setup, uri| {
        pairs(&desktop, &phone, uri, || waiting(alice, setup)["number"].clone());
    });
    approves(&desktop, &phone, &nas);
    loses_sight(&desktop, &nas);
    shows_codes(&desktop, &phone, &Nas::start("compare"));
}
