//! A login begins with all that was answered before it, whatever the engine remembers of the one before.

use super::*;

/// Two logins at once before each change: what is remembered of the first serves the second.
fn asked_again(alice: &mut Api) {
    for _ in 0..2 {
        assert!(is_asked(&alice.start()));
    }
}

#[test]
fn a_login_begins_with_what_was_answered_before_it() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (_, codes) = alice.set_up();
    let login = alice.verified(&codes[0]);
    asked_again(&mut alice);
    alice.call("Account.Disable", json!({ "password": PASSWORD, "login": login }));
    assert_eq!(alice.start()["decision"], "not_required", "turned off");
    alice.set_up();
    asked_again(&mut alice);
    let login = alice.start()["login"].clone();
    let answers = (0..20).map(|_| alice.answer(&login, "security_code", "000 000 000")["outcome"].clone());
    let last = answers.take_while(|outcome| outcome != "locked").last();
    assert_eq!(last.unwrap(), "wrong");
    assert_eq!(alice.start()["decision"], "locked", "too many wrong answers");
}

#[test]
fn a_code_that_the_login_before_has_used_is_used_though_the_next_one_began_by_memory() {
    let engine = Engine::start();
    let mut alice = engine.alice();
    let (secret, _) = alice.set_up();
    asked_again(&mut alice);
    let used = code(&secret, 1);
    for outcome in ["verified", "already_used", "already_used"] {
        let login = alice.start()["login"].clone();
        assert_eq!(alice.answer(&login, "security_code", &used)["outcome"], outcome);
    }
}
