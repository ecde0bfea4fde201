//! What a login service has to do once the password was accepted.
//!
//! This module opens no login (see [`login`](super::login)) and looks up neither groups nor trusted devices.

use super::account::{Account, Method, Methods};
use super::clock::Moment;
use super::lockout::Gate;

/// What this machine can do for a method at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facilities {
    /// A mail server is configured.
    pub mail: bool,
    /// The phone's web address is configured and answers (Q25a).
    pub phone: bool,
}

impl Facilities {
    /// Whether `method` can be used now; else why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn check(self, method: Method) -> Result<(), &'static str> {
        match method {
            Method::EmailCode if !self.mail => Err("no mail server is configured"),
            _ if method.needs_authenticator() && !self.phone => Err("the address for phones is not configured, or does not answer"),
            _ => Ok(()),
        }
    }
}

/// What [`decide`] looks at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The account of the login.
    pub account: &'a Account,
    /// A group of it is enforced.
    pub by_group: bool,
    /// It came with a valid trusted device.
    pub trusted: bool,
    /// The service is only claimed; see [`lockout`](super::lockout).
    pub claimed: bool,
    /// What can be used now.
    pub facilities: Facilities,
}

/// What a login service has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Let in: 2-step verification is off.
    NotRequired,
    /// Let in: a trusted device.
    Trusted,
    /// Ask for a second step.
    Verify {
        /// Any of these; not empty.
        methods: Methods,
        /// This one first.
        preferred: Method,
    },
    /// Enforced and not set up.
    SetupRequired,
    /// Too many wrong answers, and no method is left that could not be guessed, or an administrator has to unlock all.
    Locked {
        /// Seconds, where waiting helps.
        retry_after: Option<u64>,
    },
}

/// Decides how a login goes on after its password was accepted.
#[must_use]
pub fn decide(facts: &Facts<'_>, now: &Moment) -> Decision {
    let account = facts.account;
    if !account.is_enabled() {
        return if account.is_enforced(facts.by_group) { Decision::SetupRequired } else { Decision::NotRequired };
    }
    if facts.trusted {
        return Decision::Trusted;
    }
    let gate = account.failures.gate(facts.claimed, now);
    // A wait is for what can be guessed; what an administrator has to unlock is closed to all.
    let usable = |m: Method| facts.facilities.check(m).is_ok() && (gate.is_open() || !m.is_typed() && gate != Gate::Locked);
    let methods = account.answerable().filter(usable);
    let preferred = account.preferred.filter(|m| methods.contains(*m)).or_else(|| methods.iter().next());
    match preferred {
        Some(preferred) => Decision::Verify { methods, preferred },
        None => Decision::Locked { retry_after: gate.retry_after() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::lockout::{Failures, Tally};
    use crate::core::time::BootTime;

    const WITH_MAIL: Facilities = Facilities { mail: true, phone: false };

    fn at(seconds: u64) -> Moment {
        Moment { boot: BootTime(std::time::Duration::from_secs(seconds)), ..Moment::default() }
    }

    fn alice() -> Account {
        Account {
            methods: Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode),
            preferred: Some(Method::SecurityCode),
            recovery_email: Some("alice@example.org".into()),
            recovery_codes_left: 1,
            ..Account::default()
        }
    }

    fn real(in_a_row: u32) -> Tally {
        Tally { real: Failures { in_a_row, last: Some(at(0)) }, ..Tally::default() }
    }

    fn decide_for(account: &Account, trusted: bool, facilities: Facilities, seconds: u64) -> Decision {
        decide(&Facts { account, by_group: false, trusted, claimed: false, facilities }, &at(seconds))
    }

    #[test]
    fn an_enabled_account_is_asked_unless_the_device_is_trusted() {
        let methods = Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode).with(Method::RecoveryCode);
        let asked = Decision::Verify { methods, preferred: Method::SecurityCode };
        assert_eq!(decide_for(&alice(), false, WITH_MAIL, 0), asked);
        assert_eq!(decide_for(&alice(), true, WITH_MAIL, 0), Decision::Trusted);
    }

    #[test]
    fn too_many_wrong_answers_lock_everything_but_a_trusted_device() {
        let mut account = Account { failures: real(5), ..alice() };
        assert_eq!(decide_for(&account, false, WITH_MAIL, 1), Decision::Locked { retry_after: Some(29) });
        assert_eq!(decide_for(&account, true, WITH_MAIL, 1), Decision::Trusted, "guessing elsewhere does not lock it");
        account.failures = real(100);
        assert_eq!(decide_for(&account, false, WITH_MAIL, 1), Decision::Locked { retry_after: None });
    }

    #[test]
    fn a_login_is_locked_by_the_answers_of_its_own_kind_alone() {
        let failures = Tally { claimed: Failures { in_a_row: 100, last: Some(at(0)) }, ..real(5) };
        let account = Account { failures, ..alice() };
        let decided = |claimed, seconds| {
            let facts = Facts { account: &account, by_group: false, trusted: false, claimed, facilities: WITH_MAIL };
            decide(&facts, &at(seconds))
        };
        assert_eq!(decided(false, 1), Decision::Locked { retry_after: Some(29) });
        assert!(matches!(decided(false, 30), Decision::Verify { .. }));
        assert_eq!(decided(true, 30), Decision::Locked { retry_after: None });
    }

    #[test]
    fn an_account_without_a_second_step_is_let_in_unless_it_is_enforced() {
        let mut account = Account::default();
        assert_eq!(decide_for(&account, true, WITH_MAIL, 1), Decision::NotRequired);
        account.enforced = true;
        assert_eq!(decide_for(&account, true, WITH_MAIL, 1), Decision::SetupRequired, "a trusted device replaces no setup");
        let by_group = Facts { account: &Account::default(), by_group: true, trusted: false, claimed: false, facilities: WITH_MAIL };
        assert_eq!(decide(&by_group, &at(1)), Decision::SetupRequired);
        account.recover();
        assert_eq!(decide_for(&account, false, WITH_MAIL, 1), Decision::NotRequired);
    }

    #[test]
    fn methods_that_cannot_be_used_now_are_not_offered() {
        let account = Account { preferred: Some(Method::EmailCode), ..alice() };
        let methods = Methods::NONE.with(Method::SecurityCode).with(Method::RecoveryCode);
        let asked = Decision::Verify { methods, preferred: Method::SecurityCode };
        assert_eq!(decide_for(&account, false, Facilities::default(), 0), asked);
    }

    #[test]
    fn a_phone_stays_open_while_the_typed_methods_wait() {
        let failures = real(99);
        let mut account = Account { methods: alice().methods.with(Method::LoginApproval), failures, ..alice() };
        let (phone, no_phone) = (Facilities { mail: true, phone: true }, WITH_MAIL);
        let only = Decision::Verify { methods: Methods::NONE.with(Method::LoginApproval), preferred: Method::LoginApproval };
        assert_eq!(decide_for(&account, false, phone, 1), only);
        assert!(matches!(decide_for(&account, false, no_phone, 1), Decision::Locked { .. }));
        account.failures = real(100);
        assert_eq!(decide_for(&account, false, phone, 1), Decision::Locked { retry_after: None }, "an administrator has to unlock it");
    }
}
