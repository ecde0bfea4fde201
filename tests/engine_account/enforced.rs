//! Accounts that an administrator has obliged to a second step: they set it up at the login.

use twostep::core::enforcement::SubjectKind;
use twostep::engine::store::{StoreError, Stored, Subject, Tx};

use super::*;

#[test]
fn an_enforced_user_finishes_the_setup_in_the_login_and_is_let_in_by_it() {
    let engine = Engine::with(granted(), |tx| {
        tx.set_group_enforced(&Subject { kind: SubjectKind::LocalGroup, name: "staff".into() }, true).map(drop)
    });
    let mut service = engine.alice();
    assert_eq!((&service.status()["status"], &service.status()["enforced"]), (&json!("incomplete"), &json!(true)));
    let started = service.start();
    assert_eq!(started["decision"], "setup_required");
    let begun = service.call("Account.BeginSetup", json!({ "user": "alice", "setup": started["setup"] }));
    assert_eq!(begun["setup"], started["setup"]);
    service.confirm_new_code(&begun["setup"]);
    let done = service.call("Account.FinishSetup", json!({ "setup": begun["setup"] }));
    assert!(engine.asked().is_empty(), "the login service has checked the password");
    assert_eq!(service.call("Login.Wait", json!({ "login": done["login"] }))["outcome"], "verified");
    service.call("Login.TrustDevice", json!({ "login": done["login"], "label": "laptop" }));
    assert_eq!(service.status()["status"], "enabled");
    assert_eq!(service.refused("Account.Disable", json!({ "password": PASSWORD })).0, "Enforced");
    assert_eq!(service.refused("Account.BeginSetup", json!({ "user": "bob", "setup": started["setup"] })).0, "NoSuchSetup");
}

#[test]
fn a_setup_that_was_cut_off_hands_the_next_login_nothing_that_another_has_confirmed() {
    let engine = Engine::with(granted(), enforced);
    let mut service = engine.alice();
    let from = |service: &mut Api, remote: Option<&str>| {
        let started = service.call("Login.Start", json!({ "user": "alice", "service": "sshd", "remote": remote }));
        assert_eq!(started["decision"], "setup_required");
        started
    };
    let before = from(&mut service, Some("192.0.2.7"));
    let scanned = service.confirm_new_code(&before["setup"]);
    let next = from(&mut service, Some("192.0.2.7"));
    assert!(next["notice"].as_str().unwrap().contains("somebody knows your password"), "{next}");
    let setup = &next["setup"];
    assert_eq!(service.refused("Account.FinishSetup", json!({ "setup": setup })).0, "SecurityCodeMissing");
    let offered = service.call("Account.OfferSecurityCode", json!({ "setup": setup }));
    assert_ne!(offered["secret"].as_str(), Some(scanned.as_str()));
    // Whoever has scanned it proves that, and needs no second scan.
    let typed = service.call("Account.ConfirmSecurityCode", json!({ "setup": setup, "code": code(&scanned, 1) }));
    assert_eq!(typed["outcome"], "confirmed", "{typed}");
    for method in ["Account.SetupStatus", "Account.OfferSecurityCode", "Account.FinishSetup"] {
        assert_eq!(service.refused(method, json!({ "setup": before["setup"] })).0, "NoSuchSetup", "{method}");
    }
    service.call("Account.FinishSetup", json!({ "setup": setup }));
    assert_eq!(service.status()["status"], "enabled");
}

#[test]
fn whoever_logs_in_twice_from_one_address_goes_on_in_either_terminal() {
    let engine = Engine::with(granted(), enforced);
    let mut service = engine.alice();
    let login = json!({ "user": "alice", "service": "sshd", "remote": "192.0.2.7" });
    let first = service.call("Login.Start", login.clone())["setup"].clone();
    let offered = service.call("Account.OfferSecurityCode", json!({ "setup": first }));
    // An editor that connects three times while she scans.
    let others: Vec<Value> = (0..3).map(|_| service.call("Login.Start", login.clone())["setup"].clone()).collect();
    for other in &others {
        service.call("Account.OfferSecurityCode", json!({ "setup": other }));
    }
    let typed = code(offered["secret"].as_str().unwrap(), 0);
    assert_eq!(service.call("Account.ConfirmSecurityCode", json!({ "setup": first, "code": typed }))["outcome"], "confirmed");
    service.call("Account.FinishSetup", json!({ "setup": first }));
    assert_eq!(service.refused("Account.FinishSetup", json!({ "setup": others[2] })).0, "AlreadyEnabled");
    assert_eq!(service.call("Login.Start", login)["decision"], "verify");
}

#[test]
fn logins_without_an_address_share_no_setup() {
    let engine = Engine::with(granted(), enforced);
    let mut service = engine.alice();
    let (one, other) = (service.start(), service.start());
    assert!(one["setup"] != other["setup"] && other["notice"].is_null(), "{other}");
    service.confirm_new_code(&one["setup"]);
    assert_eq!(service.refused("Account.FinishSetup", json!({ "setup": other["setup"] })).0, "SecurityCodeMissing");
}

#[test]
fn whoever_was_seen_in_an_enforced_group_of_a_domain_that_is_away_sets_it_up_and_is_in() {
    let group = |kind, name: &str| Subject { kind, name: name.into() };
    let engine = Engine::with(granted(), move |tx| {
        tx.set_group_enforced(&group(SubjectKind::DomainGroup, "sales"), true)?;
        tx.keep_groups(alice(), "alice", &["sales".into()], &[])?;
        tx.keep_groups(BOB, "bob", &["sales".into()], &[])
    });
    let mut service = engine.alice();
    let bob = json!({ "user": "bob", "service": "sshd" });
    assert_eq!(service.call("Login.Start", bob.clone())["decision"], "setup_required");
    engine.say(&Order::Recovered(Recovered { account: "bob".into(), press: 1 }));
    // The news has no answer to wait for, so it is looked for: at most so many times.
    let mut decisions = (0..10_000).map(|_| service.call("Login.Start", bob.clone())["decision"].clone());
    assert!(decisions.any(|decision| decision == "not_required"), "the button's account gets in by its password alone");
    drop(decisions);
    let started = service.start();
    assert_eq!((&started["decision"], &service.status()["status"]), (&json!("setup_required"), &json!("incomplete")));
    service.confirm_new_code(&started["setup"]);
    service.call("Account.FinishSetup", json!({ "setup": started["setup"] }));
    assert_eq!(service.start()["decision"], "verify");
    let other = move |tx: &Tx<'_>| {
        tx.set_group_enforced(&group(SubjectKind::DomainGroup, "sales"), false)?;
        tx.set_group_enforced(&group(SubjectKind::LocalGroup, "guests"), true).map(drop)
    };
    let engine = engine.restart_with(other);
    let mut service = engine.alice();
    assert_eq!(service.call("Login.Start", bob)["decision"], "not_required", "without a domain group nothing changes");
}

#[test]
fn a_press_for_another_account_ends_what_the_press_before_has_suspended() {
    let engine = Engine::with(granted(), move |tx| {
        let mut stored = Stored::new(alice(), "alice");
        stored.account.enforced = true;
        tx.save(&stored)
    });
    let mut service = engine.alice();
    // The news has no answer to wait for, so what it leads to is looked for: at most so many times.
    let mut comes = |decision: &str| (0..10_000).any(|_| service.start()["decision"] == decision);
    assert!(comes("setup_required"));
    engine.say(&Order::Recovered(Recovered { account: "alice".into(), press: 1 }));
    assert!(comes("not_required"));
    // The configuration names another account since then.
    engine.say(&Order::Recovered(Recovered { account: "bob".into(), press: 2 }));
    assert!(comes("setup_required"));
    assert_eq!(engine.audit().iter().filter(|event| *event == "recovery_over").count(), 1);
}

#[test]
fn while_an_enforced_group_of_the_domain_is_not_known_nobody_turns_off_what_it_may_ask_for() {
    let sales = || Subject { kind: SubjectKind::DomainGroup, name: "sales".into() };
    let engine = Engine::with(granted(), move |tx| tx.set_group_enforced(&sales(), true).map(drop));
    let mut alice = engine.alice();
    // She was never seen in it, and may be in it all the same: her list of groups would look like this.
    assert_eq!(alice.status()["status"], "disabled");
    let passwordless = |on| json!({ "password": PASSWORD, "passwordless": on });
    assert_eq!(alice.refused("Account.SetPasswordless", passwordless(true)).0, "StorageFailed");
    alice.call("Account.SetPasswordless", passwordless(false));
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    let (error, told) = alice.refused("Account.Disable", json!({ "password": PASSWORD, "login": login }));
    assert!(error == "StorageFailed" && told["reason"].as_str().unwrap().contains("sales"), "{error} {told}");
    assert_eq!(alice.status()["status"], "enabled");
    let engine = engine.restart_with(move |tx| tx.set_group_enforced(&sales(), false).map(drop));
    let mut alice = engine.alice();
    let login = alice.verified(&codes[1]);
    alice.call("Account.Disable", json!({ "password": PASSWORD, "login": login }));
    alice.call("Account.SetPasswordless", passwordless(true));
}

/// Alice turned passwordless login on before the group that she came into was enforced on.
fn passwordless_in_an_enforced_group(tx: &Tx<'_>) -> Result<(), StoreError> {
    let mut stored = Stored::new(alice(), "alice");
    stored.account.passwordless = true;
    tx.save(&stored)?;
    tx.set_group_enforced(&Subject { kind: SubjectKind::LocalGroup, name: "staff".into() }, true).map(drop)
}

#[test]
fn a_passwordless_account_in_an_enforced_group_sets_its_second_step_up_at_the_login_and_is_in() {
    let engine = Engine::with(granted(), passwordless_in_an_enforced_group);
    let mut service = engine.alice();
    assert_eq!(service.status()["status"], "incomplete");
    let started = service.start();
    assert_eq!(started["decision"], "setup_required");
    assert!(started["notice"].as_str().unwrap().contains("passwordless login, which ends"), "{started}");
    assert_eq!(
        service.refused("Account.BeginSetup", json!({ "password": PASSWORD })).0,
        "PasswordlessEnabled",
        "asked for, it has the choice"
    );
    service.confirm_new_code(&started["setup"]);
    service.call("Account.FinishSetup", json!({ "setup": started["setup"] }));
    let status = service.status();
    assert_eq!((&status["status"], &status["passwordless"]), (&json!("enabled"), &json!(false)));
    assert_eq!(service.start()["decision"], "verify");
    let enabled = engine.trail().into_iter().find(|entry| entry.event == "enabled").unwrap();
    assert_eq!(enabled.detail.as_deref(), Some("security_code, recovery_code; passwordless login ended"));
}

fn enforced(tx: &Tx<'_>) -> Result<(), StoreError> {
    let mut stored = Stored::new(alice(), "alice");
    stored.account.enforced = true;
    tx.save(&stored)
}

#[test]
fn an_enforced_user_gets_no_passwordless_login() {
    let engine = Engine::with(Scene::default(), enforced);
    let mut alice = engine.alice();
    assert_eq!(alice.status()["status"], "incomplete");
    assert_eq!(alice.refused("Account.SetPasswordless", json!({ "password": PASSWORD, "passwordless": true })).0, "Enforced");
}
