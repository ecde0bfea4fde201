//! The page for somebody who sees little, zooms, uses a keyboard, or has it read aloud: each screen, in both themes, down to 320 pixels, and with text
//! of twice the size (WCAG 2.2: 1.4.3, 1.4.4, 1.4.10, 1.4.11, 2.4.2, 2.5.8 and 4.1.2, with 44 pixels for a finger).

use serde_json::json;

use super::webdriver::Browser;
use super::{approval, begin_pairing, camera, outcome, scene};

/// What is wrong with what is shown now.
const FAULTS: &str = concat!("return (() => {", include_str!("access.js"), "})()");

/// Each width in pixels, and how large text is.
const SIZES: [(u32, &str); 3] = [(390, ""), (320, ""), (320, "200%")];

#[track_caller]
fn is_good(phone: &Browser, screen: &str) {
    for (width, text) in SIZES {
        let metrics = json!({ "width": width, "height": 844, "deviceScaleFactor": 2, "mobile": true });
        phone.devtools("Emulation.setDeviceMetricsOverride", &metrics);
        phone.run("document.documentElement.style.fontSize = arguments[0]", &[json!(text)]);
        for theme in ["light", "dark"] {
            let media = [("prefers-color-scheme", theme), ("prefers-reduced-motion", "reduce")];
            let media = media.map(|(name, value)| json!({ "name": name, "value": value }));
            phone.devtools("Emulation.setEmulatedMedia", &json!({ "features": media }));
            assert_eq!(phone.run(FAULTS, &[]), json!([]), "{screen}, {theme}, {width} pixels wide, text {text}");
        }
    }
    phone.run("document.documentElement.style.fontSize = ''", &[]);
}

/// Requests of all kinds, with the longest of addresses.
const SHOW_REQUESTS: &str = "
    const done = arguments[0];
    import('/assets/home.js').then(({ take }) => {
        const common = {
            account: 'alice', host: 'nas', service: 'sshd', service_claimed: true, remote: '2001:db8:1234:5678:9abc:def0:1234:5678',
            nonce: 'n', requested_at: Date.now() / 1000, expires_in: 600,
        };
        take({ authenticator: 'x', account: 'alice', host: 'nas', wasKnown: true }, { requests: [
            { ...common, login: '1', method: 'login_approval', number: '42' }, { ...common, login: '2', method: 'login_approval' },
            { ...common, login: '3', method: 'online_code' }, { ...common, login: '4', method: 'qr_code' },
        ] });
        done();
    });";

#[test]
fn each_screen_can_be_read_zoomed_tapped_and_heard() {
    let Some((nas, phone)) = scene("typed") else { return };
    camera::film(&nas.camera(), &[vec![true]], 1);
    phone.open(&nas.address);
    phone.see("scan");
    is_good(&phone, "nothing paired");
    phone.tap("scan");
    phone.tap("link-more");
    phone.read("Point the camera");
    is_good(&phone, "scan");
    phone.open(&format!("{}/scan#1.short", nas.address));
    phone.see("done");
    is_good(&phone, "a link cut short");
    nas.set_up("login_approval", |alice, setup, uri| {
        phone.open(uri);
        phone.see("name");
        is_good(&phone, "the phone's name");
        begin_pairing(&phone, uri);
        phone.see("number-input");
        phone.tap("approve");
        is_good(&phone, "a pairing's number to type");
        let waits = alice.call("Account.WaitPairing", json!({ "setup": setup }));
        phone.write("number-input", waits["number"].as_str().unwrap());
        phone.tap("approve");
        phone.tap("done");
    });
    phone.see("accounts");
    is_good(&phone, "home");
    phone.request("POST", "execute/async", Some(&json!({ "script": SHOW_REQUESTS, "args": [] })));
    phone.see_enabled("show-code");
    is_good(&phone, "requests");
    phone.tap("account-row");
    is_good(&phone, "an account");
    phone.tap("unpair");
    phone.see("unpair-cancel");
    is_good(&phone, "the question before unpairing");
}

/// Keeps every heading that the page shows from its beginning on.
const WATCH: &str = "
    window.headings = [];
    new MutationObserver(() => {
        const heading = document.querySelector('main h1');
        if (heading?.checkVisibility() && headings.at(-1) !== heading.innerText) headings.push(heading.innerText);
    }).observe(document, { subtree: true, childList: true, characterData: true, attributes: true });";

#[test]
fn the_page_begins_with_nothing_that_is_wrong_a_moment_later() {
    let Some((nas, phone)) = scene("compare") else { return };
    approval(&nas, &phone);
    phone.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": WATCH }));
    let headings = |until: &str| -> Vec<String> {
        phone.until(until);
        serde_json::from_value(phone.run("return headings", &[])).unwrap()
    };
    phone.open(&nas.address);
    let shown = headings("document.querySelector('[data-testid=status]')?.dataset.tone === 'good'");
    assert!(shown.iter().all(|heading| ["Looking for logins", "No login waits"].contains(&heading.as_str())), "{shown:?}");
    phone.open("about:blank");
    phone.open(&format!("{}/scan#1.short", nas.address));
    assert_eq!(headings("document.querySelector('[data-testid=done]')?.checkVisibility()"), ["Not a whole link"]);
}

/// Keeps what a screen reader says by itself: what changes in a place that speaks, and, after "> ", what the focus comes to.
const HEAR: &str = "
    window.heard = [];
    new MutationObserver((changes) => {
        const places = changes.map(({ target }) => (target.nodeType === 3 ? target.parentElement : target)?.closest('[aria-live=assertive], [role=status], [role=alert]'));
        for (const one of new Set(places)) if (one?.textContent && one.checkVisibility()) heard.push(one.textContent);
    }).observe(document, { subtree: true, childList: true, characterData: true });
    addEventListener('focusin', ({ target }) => heard.push(`> ${target.innerText.trim()}`));";

#[test]
fn each_login_and_its_end_is_read_aloud_once_and_whoever_listens_is_not_lost() {
    let Some((nas, phone)) = scene("compare") else { return };
    approval(&nas, &phone);
    phone.run(HEAR, &[]);
    // The observer hears after the change.
    let heard = || {
        let told = phone.run("return new Promise((resolve) => setTimeout(() => resolve(heard.splice(0))))", &[]);
        crate::engine::strings(&told)
    };
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    phone.see_enabled("approve");
    let digits: Vec<String> = challenge["number"].as_str().unwrap().chars().map(String::from).collect();
    assert_eq!(heard(), [format!("New login request: alice into sshd from 192.0.2.7. Number {}.", digits.join(" "))]);
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
    assert_eq!(heard(), ["> Approve", "> Approved", "The login goes on by itself."]);
    phone.tap("close");
    phone.see_no("request");
    assert_eq!(heard(), ["> OK", "> No login waits"]);
    // One that is given up while somebody reads it.
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.see_enabled("deny");
    phone.run("document.querySelector('[data-testid=deny]').focus()", &[]);
    heard();
    service.call("Login.Cancel", json!({ "login": login }));
    phone.see("outcome");
    assert_eq!(heard(), ["> Over", "This login was answered elsewhere, given up, or replaced by a newer one."]);
    // An answer that comes late: a button that can't be pressed meanwhile keeps no focus.
    phone.tap("close");
    phone.see_no("request");
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.see_enabled("deny");
    let late = "const real = fetch; window.fetch = async (...given) => { await new Promise((resolve) => setTimeout(resolve, 200)); return real(...given); };";
    phone.run(late, &[]);
    heard();
    phone.tap("deny");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "denied");
    assert_eq!(heard()[..2], ["> Deny", "> Denied"]);
}
