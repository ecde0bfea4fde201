//! What an account comes to by each change.

use proptest::prelude::*;

use super::*;
use crate::core::lockout::Failures;

pub(crate) fn enabled() -> Account {
    Account {
        methods: Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode),
        preferred: Some(Method::SecurityCode),
        recovery_email: Some("alice@example.org".into()),
        recovery_codes_left: 10,
        ..Account::default()
    }
}

fn guessed() -> Tally {
    let failed = Failures { in_a_row: 100, last: None };
    Tally { real: failed, claimed: failed }
}

#[test]
fn an_enforced_account_is_incomplete_until_it_has_the_security_code() {
    let mut account = Account::default();
    assert_eq!(account.status(false), Status::Disabled);
    assert_eq!(account.status(true), Status::Incomplete);
    account.enforced = true;
    assert_eq!(account.status(false), Status::Incomplete);
    account.methods = account.methods.with(Method::SecurityCode);
    assert_eq!(account.status(false), Status::Enabled);
}

#[test]
fn the_recovered_account_gets_in_with_the_password_alone_whatever_enforces_it() {
    let mut account = Account { enforced: true, failures: guessed(), ..enabled() };
    account.recover();
    assert_eq!(account.status(true), Status::Disabled);
    assert_eq!(account.failures, Tally::default());
}

#[test]
fn an_enforced_user_cannot_turn_it_off_but_an_administrator_can() {
    let mut account = Account { enforced: true, ..enabled() };
    assert_eq!(account.disable(false), Err(Refusal::Enforced));
    account.failures = guessed();
    assert_eq!(account.disable_for(), Ok(()));
    assert_eq!(account.failures, Tally::default(), "who was helped is not locked any more");
    assert_eq!(account.status(false), Status::Incomplete);
    assert_eq!(account.recovery_email, None);
}

#[test]
fn the_security_code_stays_as_long_as_the_second_step_does() {
    let mut account = enabled();
    assert_eq!(account.disable_method(Method::SecurityCode), Err(Refusal::SecurityCodeMandatory));
    account.set_preferred(Method::EmailCode).unwrap();
    account.disable_method(Method::EmailCode).unwrap();
    assert_eq!(account.preferred, Some(Method::SecurityCode));
    assert_eq!(account.disable_method(Method::EmailCode), Err(Refusal::NotEnabled));
    account.enable_method(Method::EmailCode, false).unwrap();
    assert!(account.answerable().contains(Method::EmailCode));
}

#[test]
fn a_method_that_needs_more_says_what() {
    let mut account = Account { recovery_email: None, methods: Methods::NONE.with(Method::SecurityCode), ..enabled() };
    for method in [Method::QrCode, Method::LoginApproval, Method::OnlineCode, Method::EmailCode] {
        assert!(matches!(account.enable_method(method, false), Err(Refusal::MethodUnavailable(m, _)) if m == method));
    }
    assert_eq!(Account::default().enable_method(Method::EmailCode, false), Err(Refusal::NotEnabled));
    account.enable_method(Method::QrCode, true).unwrap();
    assert!(account.methods.contains(Method::QrCode), "the phone is there");
}

#[test]
fn passwordless_login_and_the_second_step_exclude_each_other() {
    assert_eq!(enabled().set_passwordless(true, false), Err(Refusal::TwoStepEnabled));
    assert_eq!(Account::default().set_passwordless(true, true), Err(Refusal::Enforced));
    let mut account = Account::default();
    account.set_passwordless(true, false).unwrap();
    account.set_passwordless(false, true).unwrap();
    assert!(!account.passwordless);
}

#[test]
fn recovery_codes_are_answered_with_but_never_asked_for_first() {
    let mut account = enabled();
    assert!(account.answerable().contains(Method::RecoveryCode));
    assert!(matches!(account.set_preferred(Method::RecoveryCode), Err(Refusal::MethodUnavailable(..))));
    account.disable_method(Method::RecoveryCode).unwrap();
    assert!(!account.answerable().contains(Method::RecoveryCode));
}

#[test]
fn names_on_the_wire_are_those_of_the_interface() {
    for method in Method::ALL {
        assert_eq!(serde_json::to_value(method).unwrap(), method.as_str());
    }
    for status in [Status::Disabled, Status::Enabled, Status::Incomplete] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
}

proptest! {
    #[test]
    fn a_set_of_methods_survives_its_bits(bits: u8) {
        let methods = Methods::from_bits(bits);
        prop_assert_eq!(Methods::from_bits(methods.bits()), methods);
        prop_assert_eq!(methods.iter().collect::<Methods>(), methods);
    }
}
