//! What a user does with the page, in whichever browser: each scene has a NAS of its own, and an origin that the browser has not met before.

use serde_json::json;
use twostep::cli::terminal;

use super::nas::Nas;
use super::webdriver::Browser;
use super::{approval, begin_pairing, camera, outcome, picture, waiting};
use crate::engine::{BOB, HELD, PASSWORD, strings};

/// What is played: on a NAS, with a browser as its phone.
pub type Play = fn(&mut Nas, &Browser);
/// What the phone does, how its numbers are compared, and the play.
pub type Scene = (&'static str, &'static str, Play);

/// What every browser can play.
pub const ALL: [Scene; 14] = [
    ("keeps its key", "compare", keeps_its_key),
    ("approves", "compare", approves),
    ("denies", "compare", denies),
    ("types the number", "typed", types_the_number),
    ("shows a code", "compare", shows_a_code),
    ("scans", "compare", scans),
    ("loses sight of a login", "compare", loses_sight),
    ("serves two", "compare", serves_two),
    ("is removed", "compare", is_removed),
    ("takes itself out", "compare", takes_itself_out),
    ("finds its NAS again", "compare", finds_it_again),
    ("loses its storage", "compare", loses_its_storage),
    ("forgets without its storage", "compare", forgets_without_its_storage),
    ("unpairs without its storage", "compare", unpairs_without_its_storage),
];

/// Lets the page see a drawn QR code where its camera would be: the false cameras of Firefox and WebKit have a test pattern, and no other picture. The
/// prototype is what keeps it: of an object that nobody holds, as `navigator.mediaDevices`, WebKit forgets what was added to it.
fn hold_before(phone: &Browser, drawn: &[Vec<bool>]) {
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
        MediaDevices.prototype.getUserMedia = async () => {
            const stream = canvas.captureStream();
            const drawing = setInterval(() => stream.active ? draw() : clearInterval(drawing), 50);
            return stream;
        };";
    phone.run(script, &[json!(drawn)]);
}

/// Points the phone's camera at a QR code as the terminal draws it. The page is open already.
fn film(nas: &Nas, phone: &Browser, text: &str) {
    let drawn = camera::drawn(&terminal::qr(text).unwrap());
    camera::film(&nas.camera(), &drawn, 6);
    if !phone.is_chromium() {
        hold_before(phone, &drawn);
    }
}

/// The key stays in the browser: not even the page can read it.
pub fn keeps_its_key(nas: &mut Nas, phone: &Browser) {
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

/// Both sides show the same number, and the phone approves.
pub fn approves(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
    assert!(!phone.url().contains('#'), "the pairing's secret is out of the address bar");
    picture(phone, "home");
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    assert_eq!(json!(phone.text("number")), challenge["number"]);
    assert_eq!((phone.text("service"), phone.text("remote"), phone.text("account")), ("sshd".into(), "192.0.2.7".into(), "alice".into()));
    phone.see_enabled("approve");
    picture(phone, "request");
    assert_eq!(outcome(&mut service, &login), "waiting");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
    picture(phone, "approved");
}

/// The phone denies, which is told at the next login.
pub fn denies(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.tap("deny");
    phone.see("outcome");
    picture(phone, "denied");
    assert_eq!(outcome(&mut service, &login), "denied");
    let next = service.call("Login.Start", json!({ "user": "alice", "service": "sshd" }));
    assert!(next["notice"].as_str().unwrap().contains("192.0.2.7"), "{next}");
}

/// A wrong number voids the request, the right one lets in.
pub fn types_the_number(nas: &mut Nas, phone: &Browser) {
    nas.set_up("login_approval", |alice, setup, uri| {
        begin_pairing(phone, uri);
        phone.see("number-input");
        let number = waiting(alice, setup)["number"].as_str().unwrap().to_owned();
        phone.write("number-input", &number);
        picture(phone, "pair-typed");
        phone.tap("approve");
        phone.tap("done");
    });
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "login_approval");
    let number = challenge["number"].as_str().unwrap();
    phone.write("number-input", if number == "10" { "11" } else { "10" });
    picture(phone, "request-typed");
    phone.tap("approve");
    phone.see("outcome");
    picture(phone, "wrong-number");
    assert_eq!(outcome(&mut service, &login), "denied");
    phone.tap("close");
    let (login, challenge) = nas.login(&mut service, "login_approval");
    phone.write("number-input", challenge["number"].as_str().unwrap());
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
}

/// The phone shows the code that is typed at the login.
pub fn shows_a_code(nas: &mut Nas, phone: &Browser) {
    nas.set_up("online_code", |alice, setup, uri| {
        begin_pairing(phone, uri);
        let code = phone.text("code");
        picture(phone, "pair-code");
        assert_eq!(waiting(alice, setup)["state"], "type_code");
        let confirmed = alice.call("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": code }));
        assert_eq!(confirmed["outcome"], "confirmed");
    });
    phone.tap("done");
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "online_code");
    phone.tap("show-code");
    let code = phone.text("code");
    phone.see_enabled("deny");
    picture(phone, "code");
    assert_eq!(service.answer(&login, "online_code", &code)["outcome"], "verified");
    phone.see("outcome");
}

/// The camera reads the QR code as the terminal draws it, for a pairing and for a login.
pub fn scans(nas: &mut Nas, phone: &Browser) {
    nas.set_up("qr_code", |alice, setup, uri| {
        phone.open(&nas.address);
        phone.see("scan");
        film(nas, phone, uri);
        phone.tap("scan");
        phone.write("name", "Alice's phone");
        phone.tap("pair");
        phone.see("done");
        picture(phone, "paired");
        assert_eq!(waiting(alice, setup)["state"], "paired");
    });
    phone.tap("done");
    let mut service = nas.service();
    let (login, challenge) = nas.login(&mut service, "qr_code");
    film(nas, phone, challenge["qr"].as_str().unwrap());
    phone.see_connected();
    phone.tap("scan");
    assert_eq!(phone.text("service"), "sshd", "shown before anything is decided");
    phone.see_enabled("approve");
    picture(phone, "scanned");
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

/// A newer login takes the place of the older; one that is given up goes, and so does one whose time is over.
pub fn loses_sight(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
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
    picture(phone, "over");
    // The page's own clock runs out, whatever the NAS says.
    nas.login(&mut service, "login_approval");
    phone.see("approve");
    phone.run("const real = performance.now.bind(performance); performance.now = () => real() + 130000;", &[]);
    phone.see_no("approve");
    phone.read("Too late");
    picture(phone, "expired");
}

/// One phone, two accounts.
pub fn serves_two(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
    let mut bob = nas.engine.client(BOB);
    let setup = std::thread::scope(|scope| {
        let begun = scope.spawn(|| bob.call("Account.BeginSetup", json!({ "password": HELD }))["setup"].clone());
        nas.engine.held(|| {});
        begun.join().unwrap()
    });
    let offered = bob.call("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    begin_pairing(phone, offered["uri"].as_str().unwrap());
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
        picture(phone, &format!("two-accounts-{user}"));
        phone.tap("approve");
        phone.see("outcome");
        assert_eq!(outcome(&mut service, &started["login"]), "verified");
        phone.tap("close");
        phone.see_no("request");
    }
}

/// Pairs the phone, and removes it on the NAS, which the page says.
fn removed(nas: &mut Nas, phone: &Browser) {
    let codes = approval(nas, phone);
    let mut alice = nas.engine.alice();
    let vouching = alice.verified(&codes[0]);
    let id = alice.status()["authenticators"][0]["id"].clone();
    alice.call("Account.RemoveAuthenticator", json!({ "password": PASSWORD, "login": vouching, "id": id }));
    phone.read("No longer paired");
}

/// Removed on the NAS, the phone says so, and forgets the account on request.
pub fn is_removed(nas: &mut Nas, phone: &Browser) {
    removed(nas, phone);
    picture(phone, "removed");
    phone.tap("account-row");
    phone.see("forget");
    picture(phone, "removed-account");
    phone.tap("forget");
    phone.read("No account is paired with this phone");
}

/// The phone takes itself out.
pub fn takes_itself_out(nas: &mut Nas, phone: &Browser) {
    let codes = approval(nas, phone);
    let mut alice = nas.engine.alice();
    alice.verified(&codes[0]);
    phone.tap("account-row");
    phone.tap("unpair");
    picture(phone, "unpair");
    let height = "const dialog = document.querySelector('dialog'); return [dialog.getBoundingClientRect().height, innerHeight]";
    let height: [f64; 2] = serde_json::from_value(phone.run(height, &[])).unwrap();
    assert!(height[0] < height[1] / 2.0, "as high as what it says, not as the screen: {height:?}");
    phone.tap("unpair-confirm");
    phone.read("No account is paired with this phone");
    assert_eq!(alice.status()["authenticators"], json!([]));
    assert!(!strings(&alice.status()["methods"]).contains(&"login_approval".into()));
}

/// Without its NAS the phone says so, and finds it again.
pub fn finds_it_again(nas: &mut Nas, phone: &Browser) {
    approval(nas, phone);
    phone.see_connected();
    assert_eq!(phone.run("return navigator.serviceWorker.ready.then(() => true)", &[]), true);
    nas.end_web();
    phone.until("document.querySelector('[data-testid=status]').dataset.tone === 'bad'");
    picture(phone, "lost");
    phone.open(&nas.address);
    phone.until("document.querySelector('[data-testid=status]').dataset.tone === 'bad'");
    let started = nas.service().call("Login.Start", json!({ "user": "alice", "service": "sshd" }));
    assert_eq!(strings(&started["methods"]), ["security_code", "recovery_code"], "offered only while a phone can be reached");
    nas.start_web();
    phone.see_connected();
    let mut service = nas.service();
    let (login, _) = nas.login(&mut service, "login_approval");
    phone.tap("approve");
    phone.see("outcome");
    assert_eq!(outcome(&mut service, &login), "verified");
}

/// As Safari takes a page's storage in the background.
const LOSE: &str = "
    IDBDatabase.prototype.transaction = () => { throw new DOMException('', 'InvalidStateError'); };
    IDBFactory.prototype.open = () => { throw new DOMException('', 'UnknownError'); };
    window.isLost = true;";

const IS_ANEW: &str = "window.isLost === undefined";

/// The browser closes the page's storage behind it, and later gives it none, as Safari does to a page in the background: logins are approved all the
/// same, and what is scanned to be paired comes to a page that is loaded anew.
pub fn loses_its_storage(nas: &mut Nas, phone: &Browser) {
    let mut link = String::new();
    nas.set_up("login_approval", |_, _, uri| {
        link = uri.to_owned();
        begin_pairing(phone, uri);
        phone.tap("approve");
        phone.see("done");
    });
    phone.tap("done");
    let mut service = nas.service();
    let mut approve = || {
        let (login, _) = nas.login(&mut service, "login_approval");
        phone.tap("approve");
        phone.see("outcome");
        assert_eq!(outcome(&mut service, &login), "verified");
        phone.tap("close");
        phone.see_no("request");
    };
    phone.see("status");
    let close = "
        const { transaction } = IDBDatabase.prototype;
        IDBDatabase.prototype.transaction = function (...given) {
            IDBDatabase.prototype.transaction = transaction;
            window.isClosed = true;
            this.close();
            return transaction.apply(this, given);
        };";
    phone.run(close, &[]);
    approve();
    assert_eq!(phone.run("return isClosed", &[]), true);
    phone.run(LOSE, &[]);
    phone.run("MediaDevices.prototype.getUserMedia = async () => { throw new DOMException('', 'NotFoundError'); }", &[]);
    approve();
    phone.tap("scan");
    phone.see("camera-problem");
    phone.tap("link-more");
    phone.write("link-text", &link);
    phone.tap("link-open");
    phone.see("name");
    assert_eq!(phone.run(&format!("return {IS_ANEW}"), &[]), true, "a page that is loaded anew");
}

/// Without its storage a page forgets an account all the same that does not know it any more.
pub fn forgets_without_its_storage(nas: &mut Nas, phone: &Browser) {
    removed(nas, phone);
    phone.run(LOSE, &[]);
    phone.tap("account-row");
    phone.tap("forget");
    phone.until(IS_ANEW);
    phone.read("No account is paired with this phone");
}

/// And takes itself out.
pub fn unpairs_without_its_storage(nas: &mut Nas, phone: &Browser) {
    let codes = approval(nas, phone);
    let mut alice = nas.engine.alice();
    alice.verified(&codes[0]);
    phone.run(LOSE, &[]);
    phone.tap("account-row");
    phone.tap("unpair");
    phone.tap("unpair-confirm");
    phone.until(IS_ANEW);
    phone.read("No account is paired with this phone");
    assert_eq!(alice.status()["authenticators"], json!([]));
}
