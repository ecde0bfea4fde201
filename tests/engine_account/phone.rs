//! A phone and the engine, over whoever carries between them: the engine's real process, and a phone written against the description alone.

mod carrier;
mod command;
mod ends;
mod forged;
mod logins;
mod pairing;
mod race;
mod written;

use nix::unistd::getuid;
use serde_json::{Value, json};
use twostep::config::NumberEntry;
use twostep::proto::privileged::{Order, Recovered};

use crate::engine::{self, Api, Engine, PASSWORD, Replies, Scene};
use crate::handset::{ADDRESS, Carrier, Phone, Scanned};
use crate::root_is_missing;

/// The engine, with somebody who carries for phones.
struct Town {
    engine: Engine,
    carrier: Api,
    _ready: Carrier,
}

fn scene(number: NumberEntry) -> Scene {
    let mut scene = Scene::default();
    scene.config.phone.address = Some(ADDRESS.into());
    scene.config.phone.number = number;
    // Whoever runs the test carries: root, or else alice herself.
    if !getuid().is_root() {
        scene.config.grant.authenticator = vec!["alice".into()];
    }
    scene
}

impl Town {
    fn new() -> Self {
        Self::of(scene(NumberEntry::Compare))
    }

    fn of(scene: Scene) -> Self {
        Self::around(Engine::with(scene, |_| Ok(())))
    }

    fn around(engine: Engine) -> Self {
        let ready = Carrier::waits(engine.folder());
        let carrier = engine.client(getuid().as_raw());
        Self { engine, carrier, _ready: ready }
    }

    fn restart(self) -> Self {
        Self::around(self.engine.restart())
    }
}

/// Alice, whose account is set up with a phone for all three methods.
struct Alice {
    api: Api,
    phone: Phone,
    secret: String,
    codes: Vec<String>,
}

impl Alice {
    fn with_phone(town: &mut Town) -> Self {
        let (mut api, mut phone) = (town.engine.alice(), Phone::new("Alice's phone"));
        let setup = api.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
        pair(&mut api, town, &setup, &mut phone, "login_approval");
        pair(&mut api, town, &setup, &mut phone, "qr_code");
        pair(&mut api, town, &setup, &mut phone, "online_code");
        let (secret, done) = api.finish(&setup);
        assert_eq!(done["preferred"], "login_approval", "chosen first");
        Self { api, phone, secret, codes: engine::strings(&done["recovery_codes"]) }
    }

    /// A login that asks for `method`: its name, and the challenge.
    #[track_caller]
    fn challenge(&mut self, method: &str) -> (Value, Value) {
        let login = self.api.start()["login"].clone();
        let challenge = self.api.call("Login.Challenge", json!({ "login": login, "method": method }));
        (login, challenge)
    }

    #[track_caller]
    fn outcome(&mut self, login: &Value) -> Value {
        self.api.call("Login.Wait", json!({ "login": login }))["outcome"].clone()
    }

    /// What its phone sees, as it changes.
    #[track_caller]
    fn watches(&self, town: &mut Town) -> Replies {
        let asks = self.phone.asks(&mut town.carrier);
        town.engine.client(getuid().as_raw()).replies("Authenticator.Pending", asks)
    }

    /// Somebody waits for the outcome.
    fn waits(&self, town: &Town, login: &Value) -> Replies {
        let replies = town.engine.alice().replies("Login.Wait", json!({ "login": login }));
        assert_eq!(replies.next()["outcome"], "waiting");
        replies
    }
}

/// Pairs a phone in a setup, for a method, to its end.
#[track_caller]
fn pair(api: &mut Api, town: &mut Town, setup: &Value, phone: &mut Phone, method: &str) {
    let offered = api.call("Account.OfferPairing", json!({ "setup": setup, "method": method }));
    let paired = phone.pair(&mut town.carrier, &offered["uri"]);
    match method {
        "login_approval" => {
            let number = Scanned::read(&offered["uri"]).number(&phone.public_key());
            assert_eq!(phone.confirm_pairing(&mut town.carrier, &paired["nonce"], Some(&number)), "paired");
        }
        "online_code" => {
            let typed = api.call("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": paired["code"] }));
            assert_eq!(typed["outcome"], "confirmed");
        }
        _ => assert_eq!(paired["next"], "done"),
    }
    assert_eq!(api.call("Account.WaitPairing", json!({ "setup": setup }))["state"], "paired");
}

/// What is in the audit trail.
#[track_caller]
fn has(events: &[String], wanted: &[&str]) {
    for event in wanted {
        assert!(events.iter().any(|e| e == event), "{event} in {events:?}");
    }
}
