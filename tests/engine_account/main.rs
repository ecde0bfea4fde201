//! One's own second step, from the first setup to its end: the engine's real process, asked over its socket.

use std::time::Duration;

use nix::unistd::getuid;
use serde_json::{Value, json};
use twostep::core::policy::{AccountCall, Call, Denied, Standing, Target, allow};
use twostep::engine::store::Trust;
use twostep::proto::privileged::{Order, Recovered};
use twostep::sys::clock::wall;

mod browser;
mod clients;
#[path = "../support/demo.rs"]
mod demo;
mod drawer;
mod enforced;
#[path = "../support/engine.rs"]
mod engine;
mod export;
#[path = "../support/phone.rs"]
mod handset;
mod known;
mod mail;
#[path = "../support/patience.rs"]
mod patience;
#[path = "../support/permissions.rs"]
mod permissions;
mod person;
mod phone;
#[path = "../support/port.rs"]
mod port;
mod readers;
#[path = "../support/skip.rs"]
mod skip;
mod web;
mod who_may;
mod wizard;

use demo::Demo;
use engine::{Api, BOB, Engine, HELD, PASSWORD, Scene, WAITING, alice, code, strings};
use skip::{Lack, skipped};

/// No test: the process through which a test speaks as another user.
#[test]
#[ignore = "a helper of the other tests"]
fn relay() {
    engine::relay();
}

/// What says that somebody is asked for a second step.
fn is_asked(started: &Value) -> bool {
    started["decision"] == "verify"
}

fn root_is_missing(what: &str) -> bool {
    let missing = !getuid().is_root();
    if missing {
        skipped(Lack::Root, format_args!("only root can speak as another user: {what}"));
    }
    missing
}

#[test]
fn nothing_is_in_force_before_the_last_step_and_everything_after() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    assert_eq!(alice.status()["status"], "disabled");
    let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }));
    assert_eq!(strings(&begun["available"]), ["security_code"], "no mail server, no phone");
    assert!((500..=600).contains(&begun["expires_in"].as_u64().unwrap()));
    let setup = &begun["setup"];
    assert_eq!(alice.refused("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })).0, "SecurityCodeMissing");
    let offered = alice.call("Account.OfferSecurityCode", json!({ "setup": setup }));
    let secret = offered["secret"].as_str().unwrap();
    let uri = offered["uri"].as_str().unwrap();
    let host = nix::unistd::gethostname().unwrap().into_string().unwrap();
    assert!(uri.starts_with("otpauth://totp/") && uri.contains("alice") && uri.contains(&host) && uri.contains(secret), "{uri}");
    let again = alice.call("Account.OfferSecurityCode", json!({ "setup": setup }));
    assert_eq!(again, offered, "who was cut off after the scan goes on with it");
    let wrong = alice.call("Account.ConfirmSecurityCode", json!({ "setup": setup, "code": "not a code" }));
    assert_eq!(wrong["outcome"], "wrong");
    let progress = alice.call("Account.SetupStatus", json!({ "setup": setup }));
    assert_eq!((strings(&progress["ready"]).len(), strings(&progress["missing"])), (0, vec!["security_code".to_owned()]));
    let used = code(secret, 0);
    let spaced = format!("{} {}", &used[..3], &used[3..]);
    assert_eq!(alice.call("Account.ConfirmSecurityCode", json!({ "setup": setup, "code": spaced }))["outcome"], "confirmed");
    assert_eq!((&alice.status()["status"], is_asked(&alice.start())), (&json!("disabled"), false), "all confirmed, nothing in force");
    let wrong = alice.refused("Account.FinishSetup", json!({ "setup": setup, "password": "wanderland" }));
    assert_eq!(wrong.0, "WrongPassword");
    assert_eq!(alice.refused("Account.FinishSetup", json!({ "setup": setup })).0, "InvalidParameter");
    let done = alice.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    assert_eq!(strings(&done["methods"]), ["security_code", "recovery_code"]);
    assert_eq!((&done["preferred"], strings(&done["recovery_codes"]).len(), done.get("login")), (&json!("security_code"), 10, None));
    let status = alice.status();
    assert_eq!((&status["status"], &status["recovery_codes_left"]), (&json!("enabled"), &json!(10)));
    let started = alice.start();
    assert!(is_asked(&started));
    let asked = alice.call("Login.Challenge", json!({ "login": started["login"], "method": "security_code" }));
    assert!(started["prompt"].is_string() && started["prompt"] == asked["prompt"], "the challenge has no more to say: {started} {asked}");
    assert_eq!(alice.answer(&started["login"], "security_code", &used)["outcome"], "already_used", "the code of the setup");
    assert_eq!(alice.answer(&started["login"], "security_code", &code(secret, 1))["outcome"], "verified");
    assert_eq!(alice.refused("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })).0, "NoSuchSetup", "it serves once");
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": PASSWORD })).0, "AlreadyEnabled");
    let events = engine.audit();
    for event in ["setup_begun", "setup_code_wrong", "password_wrong", "enabled"] {
        assert!(events.iter().any(|e| e == event), "{event} in {events:?}");
    }
}

#[test]
fn a_wrong_password_begins_nothing_and_says_how_long_to_wait() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": "wanderland" })), ("WrongPassword".into(), json!({})));
    let waiting = alice.refused("Account.BeginSetup", json!({ "password": WAITING }));
    assert_eq!(waiting, ("Locked".into(), json!({ "retry_after": 17 })));
    let long = "x".repeat(600);
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": long })).0, "InvalidParameter", "root would not look at it");
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": "a\0b" })).0, "InvalidParameter");
    assert_eq!(alice.refused("Account.BeginSetup", json!({})).0, "InvalidParameter");
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": PASSWORD, "setup": "x" })).0, "InvalidParameter");
    assert_eq!(alice.status()["status"], "disabled");
}

#[test]
fn a_cancelled_setup_changes_nothing() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let setup = &alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"];
    alice.confirm_new_code(setup);
    alice.call("Account.CancelSetup", json!({ "setup": setup }));
    assert_eq!(alice.refused("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })).0, "NoSuchSetup");
    assert_eq!(alice.status()["status"], "disabled");
}

#[test]
fn of_two_setups_the_first_to_finish_wins() {
    let engine = Engine::start();
    let (mut tab, mut other) = (engine.alice(), engine.alice());
    let first = &tab.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"];
    let second = &other.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"];
    let overtaken = tab.confirm_new_code(first);
    let (secret, _) = other.finish(second);
    for (method, parameters) in [
        ("Account.SetupStatus", json!({ "setup": first })),
        ("Account.OfferSecurityCode", json!({ "setup": first })),
        ("Account.FinishSetup", json!({ "setup": first, "password": PASSWORD })),
    ] {
        // Whoever asks is told that it is on by now.
        assert_eq!(tab.refused(method, parameters).0, "AlreadyEnabled");
    }
    let login = &tab.start()["login"];
    assert_eq!(tab.answer(login, "security_code", &code(&overtaken, 1))["outcome"], "wrong");
    assert_eq!(tab.answer(login, "security_code", &code(&secret, 1))["outcome"], "verified");
}

#[test]
fn a_setup_is_resumed_by_its_name() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }));
    let secret = alice.confirm_new_code(&begun["setup"]);
    let resumed = engine.alice().call("Account.BeginSetup", json!({ "setup": begun["setup"] }));
    assert_eq!(resumed["setup"], begun["setup"]);
    let offered = alice.call("Account.OfferSecurityCode", json!({ "setup": begun["setup"] }));
    assert_eq!(offered["secret"], secret.as_str());
}

/// Every change that could weaken the second step, by the password alone.
fn weakening(login: Option<&Value>, password: &str) -> Vec<(&'static str, Value)> {
    let with = |mut parameters: Value| {
        parameters["password"] = json!(password);
        if let Some(login) = login {
            parameters["login"] = login.clone();
        }
        parameters
    };
    vec![
        ("Account.BeginChange", with(json!({}))),
        ("Account.EnableMethod", with(json!({ "method": "email_code" }))),
        ("Account.DisableMethod", with(json!({ "method": "recovery_code" }))),
        ("Account.SetRecoveryEmail", with(json!({ "recovery_email": "mallory@example.org" }))),
        ("Account.RegenerateRecoveryCodes", with(json!({}))),
        ("Account.RemoveAuthenticator", with(json!({ "id": "x" }))),
        ("Account.Disable", with(json!({}))),
    ]
}

/// The same for what is given to its owner alone, which names no user.
fn exporting(login: Option<&Value>, password: &str) -> (&'static str, Value) {
    let mut parameters = json!({ "password": password });
    if let Some(login) = login {
        parameters["login"] = login.clone();
    }
    ("Account.ExportSecurityCode", parameters)
}

#[test]
fn the_password_alone_removes_nothing() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    alice.set_up();
    let asked = engine.asked().len();
    let unverified = alice.start()["login"].clone();
    for login in [None, Some(&json!("0".repeat(32))), Some(&unverified)] {
        for password in [PASSWORD, "wanderland"] {
            for (method, parameters) in weakening(login, password).into_iter().chain([exporting(login, password)]) {
                assert_eq!(alice.refused(method, parameters).0, "SecondStepRequired", "{method}");
            }
        }
    }
    assert_eq!(engine.asked().len(), asked, "whoever lacks the second step learns nothing of the password");
    assert_eq!((&alice.status()["status"], &alice.status()["recovery_codes_left"]), (&json!("enabled"), &json!(10)));
    // The list above is that of the policy.
    let mine = Target::Account { own: true, administrator: false, enabled: true, vouched: false };
    let wants = |call| allow(&Standing::default(), Call::Account(call), &mine) == Err(Denied::SecondStepRequired);
    assert!(wants(AccountCall::Disable) && !wants(AccountCall::Status));
}

#[test]
fn a_second_step_that_came_in_force_during_the_password_check_is_asked_for() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (setup, mut slow) = (alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone(), engine.alice());
    let disabling = std::thread::spawn(move || slow.refused("Account.Disable", json!({ "password": HELD })).0);
    engine.held(|| {
        alice.finish(&setup);
    });
    assert_eq!(disabling.join().unwrap(), "SecondStepRequired");
    assert_eq!(alice.status()["status"], "enabled");
}

#[test]
fn a_finish_whose_caller_hangs_up_is_done_in_whole() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let setup = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    alice.confirm_new_code(&setup);
    let mut caller = engine.alice();
    caller.send("Account.FinishSetup", json!({ "setup": setup, "password": HELD }));
    engine.held(|| {
        drop(caller);
        // By the time that this is answered, the hang-up was noticed.
        assert_eq!(alice.status()["status"], "disabled");
    });
    // A call on the same setup waits for its turn.
    alice.refused("Account.SetupStatus", json!({ "setup": setup }));
    assert_eq!(alice.status()["status"], "enabled");
}

#[test]
fn a_new_phone_takes_over_only_at_the_end() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (old, codes) = alice.set_up();
    let vouching = alice.verified(&codes[0]);
    assert_eq!(alice.refused("Account.BeginChange", json!({ "password": "wanderland", "login": vouching })).0, "WrongPassword");
    let begun = alice.call("Account.BeginChange", json!({ "password": PASSWORD, "login": vouching }));
    let new = alice.confirm_new_code(&begun["setup"]);
    assert_ne!(new, old);
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&old, 1))["outcome"], "verified", "the old phone until then");
    let done = alice.call("Account.FinishSetup", json!({ "setup": begun["setup"], "password": PASSWORD }));
    assert_eq!(strings(&done["recovery_codes"]).len(), 0, "the list stays good");
    assert_eq!(alice.status()["recovery_codes_left"], 9);
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&old, -1))["outcome"], "wrong", "the old phone after it");
    alice.verified(&codes[1]);
}

#[test]
fn a_recovery_code_serves_once_and_a_new_list_voids_the_former() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (secret, codes) = alice.set_up();
    let vouching = alice.verified(&codes[0]);
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "recovery_code", &codes[0])["outcome"], "already_used");
    let renewed = alice.call("Account.RegenerateRecoveryCodes", json!({ "password": PASSWORD, "login": vouching }));
    let renewed = strings(&renewed["recovery_codes"]);
    assert_eq!((renewed.len(), alice.status()["recovery_codes_left"].clone()), (10, json!(10)));
    assert_eq!(alice.answer(&login, "recovery_code", &codes[1])["outcome"], "wrong");
    assert_eq!(alice.answer(&login, "recovery_code", &renewed[9].to_lowercase().replace('-', " "))["outcome"], "verified");
    let late = json!({ "password": PASSWORD, "login": vouching, "method": "recovery_code" });
    assert_eq!(alice.refused("Account.DisableMethod", late).0, "SecondStepRequired", "it came in by a code of the former list");
    alice.call("Account.DisableMethod", json!({ "password": PASSWORD, "login": login, "method": "recovery_code" }));
    let started = alice.start();
    assert_eq!(strings(&started["methods"]), ["security_code"]);
    let vouching = started["login"].clone();
    assert_eq!(alice.answer(&vouching, "security_code", &code(&secret, 1))["outcome"], "verified");
    assert_eq!(
        alice.refused("Account.EnableMethod", json!({ "password": PASSWORD, "login": vouching, "method": "recovery_code" })).0,
        "MethodUnavailable"
    );
    let again = alice.call("Account.RegenerateRecoveryCodes", json!({ "password": PASSWORD, "login": vouching }));
    alice.verified(&strings(&again["recovery_codes"])[0]);
}

#[test]
fn turning_it_off_ends_everything_that_belonged_to_it() {
    let engine = Engine::with(granted(), |_| Ok(()));
    let mut alice = engine.alice();
    let (secret, codes) = alice.set_up();
    let vouching = alice.verified(&codes[0]);
    let trusted = alice.call("Login.TrustDevice", json!({ "login": vouching, "label": "laptop" }));
    let token = trusted["trusted_device"].clone();
    let trusting = json!({ "user": "alice", "service": "test", "trusted_device": token });
    assert_eq!(alice.call("Login.Start", trusting.clone())["decision"], "trusted");
    assert_eq!(alice.status()["trusted_devices"][0]["label"], "laptop");
    alice.call("Account.Disable", json!({ "password": PASSWORD, "login": vouching }));
    let status = alice.status();
    assert_eq!(
        (&status["status"], &status["recovery_codes_left"], &status["trusted_devices"]),
        (&json!("disabled"), &json!(0), &json!([]))
    );
    assert_eq!(alice.start()["decision"], "not_required");
    assert_eq!(alice.refused("Account.Disable", json!({ "password": PASSWORD })).0, "NotEnabled");
    alice.set_up();
    assert_eq!(alice.call("Login.Start", trusting)["decision"], "verify", "trust does not come back");
    let login = alice.start()["login"].clone();
    assert_eq!(alice.answer(&login, "security_code", &code(&secret, 1))["outcome"], "wrong");
    assert_eq!(alice.answer(&login, "recovery_code", &codes[1])["outcome"], "wrong");
}

#[test]
fn nobody_skips_the_second_step_for_a_month_by_a_login_that_has_lost_what_verified_it() {
    let engine = Engine::with(granted(), |_| Ok(()));
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    let trust = |login: &Value| json!({ "login": login, "label": "thief" });
    let thief = alice.verified(&codes[0]);
    let renewed = alice.call("Account.RegenerateRecoveryCodes", json!({ "password": PASSWORD }));
    assert_eq!(alice.refused("Login.TrustDevice", trust(&thief)).0, "NotVerified", "the list that it came in by was replaced");
    let thief = alice.verified(&strings(&renewed["recovery_codes"])[0]);
    alice.call("Account.Disable", json!({ "password": PASSWORD }));
    assert_eq!(alice.refused("Login.TrustDevice", trust(&thief)).0, "NotVerified", "it was turned off");
    alice.set_up();
    assert_eq!(alice.refused("Login.TrustDevice", trust(&thief)).0, "NotVerified", "it was set up anew");
    assert_eq!(alice.status()["trusted_devices"], json!([]));
}

#[test]
fn a_process_of_ones_own_uses_up_no_notice_and_leaves_no_trace_at_a_device() {
    let engine = Engine::start();
    engine.alice().set_up();
    let (tell, told) = std::sync::mpsc::channel();
    let engine = engine.restart_with(move |tx| {
        tx.note_denial(alice(), wall(), "sshd", None)?;
        let trust = Trust { uid: alice(), label: "laptop", now: wall(), lifetime: Duration::from_secs(600) };
        tell.send(tx.trust_device(trust)?).unwrap();
        Ok(())
    });
    let (token, mut own) = (told.recv().unwrap(), engine.alice());
    for _ in 0..2 {
        let started = own.call("Login.Start", json!({ "user": "alice", "service": "sshd", "trusted_device": token.expose() }));
        assert_eq!(started["decision"], "trusted");
        assert!(started["notice"].as_str().is_some_and(|notice| notice.contains("denied on your phone")), "{started}");
    }
    assert!(own.status()["trusted_devices"][0]["last_used"].is_null());
}

#[test]
fn one_trusted_device_is_removed_by_its_name() {
    let engine = Engine::with(granted(), |_| Ok(()));
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    for (label, code) in [("laptop", &codes[0]), ("desktop", &codes[1])] {
        let login = alice.verified(code);
        alice.call("Login.TrustDevice", json!({ "login": login, "label": label }));
    }
    let devices = alice.status()["trusted_devices"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 2);
    alice.call("Account.RemoveTrustedDevice", json!({ "id": devices[0]["id"] }));
    assert_eq!(alice.refused("Account.RemoveTrustedDevice", json!({ "id": devices[0]["id"] })).0, "InvalidParameter", "it is gone");
    assert_eq!(alice.status()["trusted_devices"], json!([devices[1]]));
}

#[test]
fn passwordless_login_and_the_second_step_exclude_each_other() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    assert_eq!(alice.refused("Account.SetPasswordless", json!({ "password": "wanderland", "passwordless": true })).0, "WrongPassword");
    let open = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }))["setup"].clone();
    alice.confirm_new_code(&open);
    alice.call("Account.SetPasswordless", json!({ "password": PASSWORD, "passwordless": true }));
    assert_eq!(alice.status()["passwordless"], true);
    assert_eq!(alice.refused("Account.BeginSetup", json!({ "password": PASSWORD })).0, "PasswordlessEnabled");
    let late = alice.refused("Account.FinishSetup", json!({ "setup": open, "password": PASSWORD }));
    assert_eq!(late.0, "PasswordlessEnabled", "also one that was begun before");
    alice.call("Account.SetPasswordless", json!({ "password": PASSWORD, "passwordless": false }));
    alice.set_up();
    assert_eq!(alice.refused("Account.SetPasswordless", json!({ "password": PASSWORD, "passwordless": true })).0, "TwoStepEnabled");
}

#[test]
fn methods_that_can_not_be_used_say_why() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let change = |method: &str| json!({ "password": PASSWORD, "login": login, "method": method });
    assert_eq!(alice.refused("Account.DisableMethod", change("security_code")).0, "SecurityCodeMandatory");
    assert_eq!(alice.refused("Account.DisableMethod", change("email_code")).0, "NotEnabled");
    for method in ["qr_code", "login_approval", "online_code", "email_code"] {
        let (error, parameters) = alice.refused("Account.EnableMethod", change(method));
        assert_eq!((error.as_str(), &parameters["method"]), ("MethodUnavailable", &json!(method)));
    }
    assert_eq!(alice.refused("Account.SetPreferred", json!({ "method": "email_code" })).0, "NotEnabled");
    assert_eq!(alice.refused("Account.SetPreferred", json!({ "method": "recovery_code" })).0, "MethodUnavailable");
    alice.call("Account.SetPreferred", json!({ "method": "security_code" }));
    let setup = alice.call("Account.BeginChange", json!({ "password": PASSWORD, "login": login }))["setup"].clone();
    let offered = alice.refused("Account.OfferPairing", json!({ "setup": setup, "method": "login_approval" }));
    assert_eq!((offered.0.as_str(), &offered.1["method"]), ("MethodUnavailable", &json!("login_approval")));
    assert!(offered.1["reason"].as_str().unwrap().contains("phones"));
    assert_eq!(alice.refused("Account.WaitPairing", json!({ "setup": setup })).0, "MethodUnavailable");
    assert_eq!(alice.refused("Account.ConfirmOnlineCode", json!({ "setup": setup, "code": "1" })).0, "MethodUnavailable");
    assert_eq!(alice.refused("Account.OfferPairing", json!({ "setup": setup, "method": "security_code" })).0, "InvalidParameter");
    let mailless = json!({ "password": PASSWORD, "login": login, "recovery_email": "alice@example.org" });
    assert_eq!(alice.refused("Account.SetRecoveryEmail", mailless).0, "MethodUnavailable");
    assert_eq!(
        alice.refused("Account.RemoveAuthenticator", json!({ "password": PASSWORD, "login": login, "id": "none" })).0,
        "InvalidParameter"
    );
}

/// Alice as her own login service, so that it needs no root.
fn granted() -> Scene {
    let mut scene = Scene::default();
    scene.config.grant.login = vec!["alice".into()];
    scene
}

#[test]
fn a_recovered_account_is_off_and_can_be_set_up_again() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    let waiting = alice.start()["login"].clone();
    engine.say(&Order::Recovered(Recovered { account: "alice".into(), press: 1 }));
    // The news has no answer to wait for, so it is looked for: at most so many times.
    assert!((0..10_000).any(|_| alice.status()["status"] == "disabled"));
    assert_eq!(alice.start()["decision"], "not_required");
    assert_eq!(alice.answer(&waiting, "recovery_code", &codes[0])["outcome"], "expired");
    alice.set_up();
    assert_eq!(alice.status()["status"], "enabled");
}

#[test]
fn strangers_learn_and_change_nothing() {
    if root_is_missing("strangers") {
        return;
    }
    let engine = Engine::start();
    let (mut alice, mut bob) = (engine.alice(), engine.client(BOB));
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let setup = alice.call("Account.BeginChange", json!({ "password": PASSWORD, "login": login }))["setup"].clone();
    let asked = engine.asked().len();
    for user in ["alice", "root", "nobody-of-this-name"] {
        assert_eq!(bob.refused("Account.Status", json!({ "user": user })).0, "PermissionDenied", "{user}");
        assert_eq!(bob.refused("Account.SetPreferred", json!({ "user": user, "method": "security_code" })).0, "PermissionDenied");
        for (method, mut parameters) in weakening(Some(&login), PASSWORD) {
            parameters["user"] = json!(user);
            assert_eq!(bob.refused(method, parameters).0, "PermissionDenied", "{method}");
        }
    }
    for method in ["Account.SetupStatus", "Account.OfferSecurityCode", "Account.FinishSetup", "Account.CancelSetup"] {
        assert_eq!(bob.refused(method, json!({ "setup": setup })).0, "NoSuchSetup", "{method}");
    }
    assert_eq!(bob.refused("Account.BeginSetup", json!({ "setup": setup })).0, "NoSuchSetup");
    assert_eq!(engine.asked().len(), asked);
    assert_eq!(bob.status()["user"], "bob");
    alice.call("Account.CancelSetup", json!({ "setup": setup }));
    let mut root = engine.client(0);
    assert_eq!(root.call("Account.Status", json!({ "user": "alice" }))["status"], "enabled");
    assert_eq!(root.refused("Account.Status", json!({ "user": "nobody-of-this-name" })).0, "NoSuchAccount");
    assert_eq!(root.refused("Account.Disable", json!({ "user": "alice", "password": "wanderland" })).0, "WrongPassword");
    root.call("Account.Disable", json!({ "user": "alice", "password": PASSWORD }));
}

#[test]
fn passwords_are_those_of_the_machine() {
    let demo = Demo::start(|_| {});
    let mut owner = Api::at(&demo.socket());
    assert_eq!(owner.refused("Account.BeginSetup", json!({ "user": "alice", "password": "builder" })).0, "WrongPassword");
    let begun = owner.call("Account.BeginSetup", json!({ "user": "alice", "password": PASSWORD }));
    let (_, done) = owner.finish(&begun["setup"]);
    assert_eq!(done["preferred"], "security_code");
    assert_eq!(owner.start()["decision"], "verify");
}
