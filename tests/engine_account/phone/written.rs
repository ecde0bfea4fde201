//! What is written down of that which decides nothing.

use serde_json::json;
use twostep::engine::store::AuditEntry;

use super::*;

/// The details of all entries of this kind; each is about alice.
#[track_caller]
fn details(trail: &[AuditEntry], event: &str) -> Vec<String> {
    let told = trail.iter().filter(|entry| entry.event == event);
    told.map(|entry| {
        assert_eq!(entry.user.as_deref(), Some("alice"));
        entry.detail.clone().unwrap()
    })
    .collect()
}

impl Alice {
    /// A decision with a nonce that was asked for: its outcome, or the error.
    fn decides(&self, town: &mut Town, request: &Value, approve: bool) -> Value {
        let fresh = json!({ "login": request["login"], "nonce": self.phone.nonce(&mut town.carrier) });
        let said = self.phone.decision(&fresh, approve, Some("10"));
        match town.carrier.ask("io.twostep.Authenticator.Decide", &said).unwrap() {
            Ok(reply) => reply["outcome"].clone(),
            Err(error) => json!(error),
        }
    }
}

#[test]
fn a_decision_that_comes_too_late_is_written_down_once() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    alice.challenge("login_approval");
    let older = alice.phone.request(&mut town.carrier);
    let (login, challenge) = alice.challenge("login_approval");
    for _ in 0..3 {
        assert_eq!(alice.decides(&mut town, &older, false), "expired");
    }
    let newer = alice.phone.request(&mut town.carrier);
    assert_eq!(alice.phone.approve(&mut town.carrier, &newer, challenge["number"].as_str()), "accepted");
    for _ in 0..3 {
        assert_eq!(alice.decides(&mut town, &newer, true), "NoSuchRequest");
    }
    assert_eq!(alice.outcome(&login), "verified");
    let (cancelled, _) = alice.challenge("login_approval");
    let last = alice.phone.request(&mut town.carrier);
    alice.api.call("Login.Cancel", json!({ "login": cancelled }));
    assert_eq!(alice.decides(&mut town, &last, true), "expired");
    // What is only noted is written with the next decision.
    alice.api.verified(&alice.codes[0]);
    let trail = town.engine.trail();
    assert_eq!(details(&trail, "decision_late"), ["deny, superseded", "approve, decided before", "approve, expired"]);
    let by = format!("authenticator {}", alice.phone.id);
    assert!(trail.iter().filter(|entry| entry.event == "decision_late").all(|entry| entry.by == by));
}

#[test]
fn a_proof_that_is_wrong_is_written_down_and_not_each_time() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    alice.challenge("login_approval");
    let request = alice.phone.request(&mut town.carrier);
    let strangers = Phone::new("stranger").called(&alice.phone.id);
    for _ in 0..20 {
        let nonce = strangers.nonce(&mut town.carrier);
        let forged = strangers.decision(&json!({ "login": request["login"], "nonce": nonce }), true, Some("10"));
        assert_eq!(town.carrier.refused("Authenticator.Decide", forged).0, "InvalidProof");
        let used = alice.phone.decision(&json!({ "login": request["login"], "nonce": nonce }), true, Some("10"));
        assert_eq!(town.carrier.refused("Authenticator.Decide", used).0, "InvalidProof");
    }
    let none = json!({ "login": "none", "nonce": alice.phone.nonce(&mut town.carrier) });
    let unknown = alice.phone.decision(&none, true, None);
    assert_eq!(town.carrier.refused("Authenticator.Decide", unknown).0, "NoSuchRequest");
    let id = alice.phone.id.clone();
    alice.api.verified(&alice.codes[0]);
    let told = details(&town.engine.trail(), "phone_refused");
    let of = |what: &str| format!("authenticator {id}: {what}");
    assert_eq!(told, [of("not signed by its key"), of("a nonce that is not good"), of("no request of its own")]);
}

#[test]
fn a_code_that_is_looked_at_again_is_written_down_once() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    let (login, _) = alice.challenge("online_code");
    let request = alice.phone.request(&mut town.carrier);
    let mut shown = json!(null);
    for _ in 0..3 {
        let fresh = json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
        shown = town.carrier.call("Authenticator.OnlineCode", alice.phone.asks_code(&fresh))["code"].clone();
    }
    assert_eq!(alice.api.answer(&login, "online_code", shown.as_str().unwrap())["outcome"], "verified");
    let shown = town.engine.audit().into_iter().filter(|event| event == "online_code_shown").count();
    assert_eq!(shown, 1);
}
