//! Logins: methods, guesses, waits, codes by mail.

use std::convert::Infallible;

use super::*;
use crate::core::account::Methods;
use crate::core::clock::{BootId, Horizon, plausible};
use crate::core::lockout::{FREE, LOCKED_AT, Tally};
use crate::core::recovery_code::RecoveryCode;
use crate::core::totp::{Enrolment, Mark, TimeStep};

const NOON: i64 = 1_790_000_010;
const WITH_MAIL: Facilities = Facilities { mail: true, phone: false };

fn now(seconds: u64) -> Now {
    let wall = Wall(NOON + seconds.cast_signed());
    let moment = Moment { wall, boot: BootTime(Duration::from_secs(seconds)), boot_id: BootId([1; 16]), synchronised: true };
    Now { moment, time: plausible(&moment, &Horizon { built: Wall(0), last_commit: None }) }
}

fn draw() -> Draw {
    Draw { id: "REQUEST".into(), token: "TOKEN".into(), random: 123_456 }
}

/// What a store would hold of one account.
struct Held {
    account: Account,
    enrolment: Enrolment,
    marks: Vec<(TimeStep, Mark)>,
    codes: Vec<(RecoveryCode, CodeState)>,
}

impl Records for Held {
    type Error = Infallible;
    fn enrolment(&mut self) -> Result<Option<Enrolment>, Infallible> {
        Ok(Some(self.enrolment.clone()))
    }
    fn mark(&mut self, step: TimeStep) -> Result<Option<Mark>, Infallible> {
        Ok(self.marks.iter().find(|(s, _)| *s == step).map(|(_, mark)| *mark))
    }
    fn recovery_code(&mut self, code: &RecoveryCode) -> Result<CodeState, Infallible> {
        Ok(self.codes.iter().find(|(c, _)| c == code).map_or(CodeState::Unknown, |(_, state)| *state))
    }
}

impl Held {
    fn alice() -> Self {
        let account = Account {
            methods: Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode),
            preferred: Some(Method::SecurityCode),
            recovery_email: Some("alice@example.org".into()),
            recovery_codes_left: 1,
            ..Account::default()
        };
        let codes = vec![(RecoveryCode::new([9; 10]), CodeState::Unused)];
        Self { account, enrolment: Enrolment::fresh([7; 20]), marks: vec![], codes }
    }

    fn code(&self, seconds: u64) -> String {
        self.enrolment.code_at(now(seconds).time.unwrap()).to_string()
    }

    fn challenge(&self, login: &mut Login, method: Method, budget: &mut MailBudget, seconds: u64) -> Result<Challenge, LoginFault> {
        let (mut requests, draw) = (RequestBudget::default(), draw());
        login.challenge(method, (&self.account, WITH_MAIL), Means { mails: budget, requests: &mut requests, draw }, &now(seconds))
    }

    /// Answers, and commits.
    fn answer(&mut self, login: &mut Login, method: Method, code: &str, seconds: u64) -> Result<Answered, LoginFault> {
        let account = self.account.clone();
        let answered = match login.answer(&account, (method, code), &now(seconds), self) {
            Ok(answered) => answered,
            Err(Failure::Fault(fault)) => return Err(fault),
            Err(Failure::Records(never)) => match never {},
        };
        self.account = answered.account.clone();
        self.marks.extend(&answered.marks);
        for (_, state) in self.codes.iter_mut().filter(|(code, _)| Some(code) == answered.spent.as_ref()) {
            *state = CodeState::Used;
        }
        *login = answered.login.clone();
        Ok(answered)
    }
}

fn open(seconds: u64) -> Login {
    let origin = Origin { uid: 1000, user: "alice".into(), service: "sshd".into(), claimed: false, remote: None };
    Login::open(origin, now(seconds).moment.boot)
}

#[test]
fn a_code_verifies_one_login_and_is_used_in_the_next() {
    let (mut alice, mut first, mut second) = (Held::alice(), open(0), open(0));
    let code = alice.code(0);
    assert_eq!(alice.answer(&mut first, Method::SecurityCode, &code, 0).unwrap().outcome, Outcome::Verified);
    let again = alice.answer(&mut first, Method::SecurityCode, &code, 0).unwrap();
    assert_eq!(again.outcome, Outcome::AlreadyUsed, "the same login lets in once");
    let other = alice.answer(&mut second, Method::SecurityCode, &code, 3).unwrap();
    assert_eq!(other.outcome, Outcome::AlreadyUsed);
    assert!(other.hint.unwrap().starts_with("already used: next code in "));
    assert_eq!(alice.account.failures, Tally::default(), "a used code is no failure");
}

fn claimed(seconds: u64) -> Login {
    let login = open(seconds);
    Login { origin: Origin { claimed: true, ..login.origin.clone() }, ..login }
}

#[test]
fn whoever_guesses_from_alices_own_processes_never_keeps_her_out_of_ssh() {
    let (mut alice, mut seconds) = (Held::alice(), 0);
    for _ in 0..LOCKED_AT {
        let told = alice.answer(&mut claimed(seconds), Method::RecoveryCode, "0000", seconds).unwrap();
        assert_eq!(told.outcome, Outcome::Wrong);
        seconds += told.retry_after.unwrap_or(0);
        assert_eq!(alice.account.failures.gate(false, &now(seconds).moment), Gate::Open { attempts_left: FREE });
    }
    let code = alice.code(seconds);
    let shut = alice.answer(&mut claimed(seconds), Method::SecurityCode, &code, seconds).unwrap();
    assert_eq!((shut.outcome, shut.retry_after), (Outcome::Locked, None));
    assert!(shut.hint.unwrap().contains("a login with the second step unlocks it"));
    let refused = alice.challenge(&mut claimed(seconds), Method::SecurityCode, &mut MailBudget::default(), seconds);
    assert!(matches!(refused, Err(LoginFault::MethodUnavailable(..))));
    let mut ssh = open(seconds);
    alice.challenge(&mut ssh, Method::SecurityCode, &mut MailBudget::default(), seconds).unwrap();
    assert_eq!(alice.answer(&mut ssh, Method::SecurityCode, &code, seconds).unwrap().outcome, Outcome::Verified);
    assert_eq!(alice.account.failures, Tally::default(), "she was there: her own processes may try again");
}

#[test]
fn whoever_guesses_at_ssh_is_forgiven_nothing_by_a_code_typed_in_alices_own_session() {
    let mut alice = Held::alice();
    for _ in 0..FREE {
        alice.answer(&mut open(0), Method::RecoveryCode, "0000", 0).unwrap();
    }
    assert_eq!(alice.answer(&mut claimed(1), Method::RecoveryCode, "0000", 1).unwrap().attempts_left, Some(FREE - 1));
    let code = alice.code(2);
    assert_eq!(alice.answer(&mut claimed(2), Method::SecurityCode, &code, 2).unwrap().outcome, Outcome::Verified);
    let Tally { real, claimed } = alice.account.failures;
    assert_eq!((real.in_a_row, claimed.in_a_row), (FREE, 0));
    assert_eq!(alice.answer(&mut open(3), Method::SecurityCode, &code, 3).unwrap().outcome, Outcome::Locked);
}

#[test]
fn wrong_answers_count_down_over_logins_and_then_nothing_is_looked_at() {
    let mut alice = Held::alice();
    for left in [4, 3, 2, 1] {
        let told = alice.answer(&mut open(0), Method::SecurityCode, "000000", 0).unwrap();
        assert_eq!((told.outcome, told.attempts_left, told.retry_after), (Outcome::Wrong, Some(left), None));
    }
    let told = alice.answer(&mut open(0), Method::RecoveryCode, "0000", 0).unwrap();
    assert_eq!((told.outcome, told.attempts_left, told.retry_after), (Outcome::Wrong, Some(0), Some(30)));
    let right = alice.code(10);
    let told = alice.answer(&mut open(10), Method::SecurityCode, &right, 10).unwrap();
    assert_eq!((told.outcome, told.retry_after), (Outcome::Locked, Some(20)));
    assert!(told.marks.is_empty() && alice.account.failures.real.in_a_row == 5, "neither burnt nor counted");
    let unavailable = alice.challenge(&mut open(10), Method::EmailCode, &mut MailBudget::default(), 10);
    assert!(matches!(unavailable, Err(LoginFault::MethodUnavailable(..))), "and no mail leaves");
    let right = alice.code(30);
    assert_eq!(alice.answer(&mut open(30), Method::SecurityCode, &right, 30).unwrap().outcome, Outcome::Verified);
    assert_eq!(alice.account.failures, Tally::default());
}

#[test]
fn what_is_asked_at_once_is_what_the_challenge_says_and_only_where_it_does_nothing_else() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let at_once = |alice: &Held, method, seconds| login.at_once(method, (&alice.account, WITH_MAIL), &now(seconds));
    let said = at_once(&alice, Method::SecurityCode, 0).unwrap();
    for (method, seconds) in [(Method::EmailCode, 0), (Method::LoginApproval, 0), (Method::SecurityCode, 120)] {
        assert_eq!(at_once(&alice, method, seconds), None, "{method:?} after {seconds} s");
    }
    let before = login.clone();
    assert_eq!(alice.challenge(&mut login, Method::SecurityCode, &mut MailBudget::default(), 0).unwrap().prompt, said);
    assert_eq!(login, before);
    for _ in 0..FREE {
        alice.answer(&mut open(0), Method::SecurityCode, "000000", 0).unwrap();
    }
    assert_eq!(login.at_once(Method::SecurityCode, (&alice.account, WITH_MAIL), &now(1)), None, "it has to wait");
}

#[test]
fn a_login_waits_two_minutes_and_ten_once_a_code_was_mailed() {
    let (mut alice, mut login, mut budget) = (Held::alice(), open(0), MailBudget::default());
    assert_eq!(login.expires_in(now(20).moment.boot), 100);
    let code = alice.code(120);
    assert_eq!(alice.answer(&mut login.clone(), Method::SecurityCode, &code, 120).unwrap().outcome, Outcome::Expired);
    let asked = alice.challenge(&mut login, Method::EmailCode, &mut budget, 60).unwrap();
    assert_eq!((asked.expires_in, asked.sent_to.as_deref()), (600, Some("a***@example.org")));
    assert!(!format!("{asked:?}").contains("123456"));
    assert_eq!(alice.answer(&mut login, Method::EmailCode, "123 456", 659).unwrap().outcome, Outcome::Verified);
    assert_eq!(login.verified_by(), Some(Method::EmailCode));
}

#[test]
fn a_mailed_code_is_sent_again_only_after_a_pause_and_void_after_three_wrong_answers() {
    let (mut alice, mut login, mut budget) = (Held::alice(), open(0), MailBudget::default());
    let unsent = alice.answer(&mut login, Method::EmailCode, "123456", 0).unwrap_err();
    assert!(matches!(unsent, LoginFault::MethodUnavailable(Method::EmailCode, _)));
    assert!(alice.challenge(&mut login, Method::EmailCode, &mut budget, 0).unwrap().mail.is_some());
    assert!(alice.challenge(&mut login, Method::EmailCode, &mut budget, 5).unwrap().mail.is_none(), "it is on its way");
    assert!(alice.challenge(&mut open(5), Method::EmailCode, &mut budget, 5).is_err(), "nor by another login");
    for _ in 0..3 {
        assert_eq!(alice.answer(&mut login, Method::EmailCode, "000000", 6).unwrap().outcome, Outcome::Wrong);
    }
    assert!(alice.answer(&mut login, Method::EmailCode, "123456", 7).is_err());
    assert_eq!(alice.account.failures.real.in_a_row, 3, "a void code is not guessed at");
}

#[test]
fn a_recovery_code_lets_in_once_and_says_how_many_are_left() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let code = RecoveryCode::new([9; 10]).shown().to_string();
    let told = alice.answer(&mut login, Method::RecoveryCode, &code, 0).unwrap();
    assert_eq!((told.outcome, told.hint.as_deref()), (Outcome::Verified, Some("0 recovery codes are left")));
    alice.account.recovery_codes_left = 3;
    assert_eq!(alice.answer(&mut open(1), Method::RecoveryCode, &code, 1).unwrap().outcome, Outcome::AlreadyUsed);
    assert_eq!(alice.account.failures.real.in_a_row, 0);
}

#[test]
fn an_implausible_clock_closes_the_security_code_and_nothing_else() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let broken = Now { time: Err(ClockFault::BeforeBuild), ..now(0) };
    let account = alice.account.clone();
    let refused = login.answer(&account, (Method::SecurityCode, "123456"), &broken, &mut alice).unwrap_err();
    assert!(matches!(refused, Failure::Fault(LoginFault::MethodUnavailable(Method::SecurityCode, reason)) if reason.contains("clock")));
    let (mut mails, mut requests) = (MailBudget::default(), RequestBudget::default());
    let means = Means { mails: &mut mails, requests: &mut requests, draw: draw() };
    assert!(login.challenge(Method::SecurityCode, (&account, WITH_MAIL), means, &broken).is_err());
    assert_eq!(login.at_once(Method::SecurityCode, (&account, WITH_MAIL), &broken), None);
    let code = RecoveryCode::new([9; 10]).shown().to_string();
    let told = login.answer(&account, (Method::RecoveryCode, &code), &broken, &mut alice).unwrap();
    assert_eq!(told.outcome, Outcome::Verified);
}

#[test]
fn a_code_in_the_mailbox_of_before_lets_nobody_in_once_the_address_or_the_setup_is_another() {
    let change: [fn(&mut Account); 4] = [
        |account| account.recovery_email = Some("alice@example.net".into()),
        |account| account.generation += 1,
        |account| {
            account.disable_method(Method::EmailCode).unwrap();
            account.enable_method(Method::EmailCode, false).unwrap();
        },
        |account| account.regenerated_codes(),
    ];
    for change in change {
        let (mut alice, mut login) = (Held::alice(), open(0));
        alice.challenge(&mut login, Method::EmailCode, &mut MailBudget::default(), 0).unwrap();
        change(&mut alice.account);
        let void = alice.answer(&mut login, Method::EmailCode, "123456", 1).unwrap_err();
        assert!(matches!(void, LoginFault::MethodUnavailable(Method::EmailCode, reason) if reason.contains("void")));
        let again = alice.challenge(&mut login, Method::EmailCode, &mut MailBudget::default(), 60).unwrap();
        assert!(again.mail.is_some(), "another one is sent");
        assert_eq!(alice.answer(&mut login, Method::EmailCode, "123456", 61).unwrap().outcome, Outcome::Verified);
    }
}

#[test]
fn methods_the_account_does_not_have_are_refused() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    for method in [Method::QrCode, Method::LoginApproval, Method::OnlineCode] {
        let refused = LoginFault::MethodNotEnabled(method);
        assert_eq!(alice.challenge(&mut login, method, &mut MailBudget::default(), 0).unwrap_err(), refused);
        assert_eq!(alice.answer(&mut login, method, "1", 0).unwrap_err(), refused);
    }
}

#[test]
fn an_account_turned_off_meanwhile_ends_its_open_logins() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let code = alice.code(0);
    alice.account.disable_for().unwrap();
    assert_eq!(alice.answer(&mut login, Method::SecurityCode, &code, 1).unwrap().outcome, Outcome::Expired);
}

#[test]
fn a_device_is_trusted_once_within_a_minute_after_the_second_step() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let boot = |seconds| now(seconds).moment.boot;
    assert_eq!(login.trust_device(&alice.account, boot(1)), Err(LoginFault::NotVerified));
    let code = alice.code(0);
    alice.answer(&mut login, Method::SecurityCode, &code, 0).unwrap();
    assert_eq!(login.trust_device(&alice.account, boot(60)), Err(LoginFault::NotVerified));
    let trusted = login.trust_device(&alice.account, boot(59)).unwrap();
    assert_eq!(trusted.trust_device(&alice.account, boot(59)), Err(LoginFault::NotVerified));
    let only_vouch =
        [open(0).only_vouches(boot(60)), login.only_vouches(boot(59)), login.only_vouches(boot(60)), trusted.only_vouches(boot(1))];
    assert_eq!(only_vouch, [false, false, true, true]);
}

#[test]
fn a_thief_gets_no_trust_once_the_phone_is_removed_or_an_administrator_has_helped() {
    let (mut alice, mut login) = (Held::alice(), open(0));
    let code = alice.code(0);
    alice.answer(&mut login, Method::SecurityCode, &code, 0).unwrap();
    let boot = now(1).moment.boot;
    assert!(login.trust_device(&alice.account, boot).is_ok());
    let changes: [fn(&mut Account); 2] = [|account| account.lose_phone(false), |account| account.disable_for().unwrap()];
    for change in changes {
        let mut account = alice.account.clone();
        change(&mut account);
        assert_eq!(login.trust_device(&account, boot), Err(LoginFault::NotVerified));
    }
    login.origin.claimed = true;
    assert_eq!(login.trust_device(&alice.account, boot), Err(LoginFault::NotVerified), "a service that is only claimed");
}

#[test]
fn a_verified_login_vouches_for_its_own_account_for_ten_minutes() {
    let login = Login::verified(open(0).origin, now(0).moment.boot, 7);
    let boot = |seconds| now(seconds).moment.boot;
    assert_eq!(login.vouches_for(1000, boot(599)), Some(7));
    assert_eq!((login.vouches_for(1001, boot(1)), login.vouches_for(1000, boot(600))), (None, None));
    assert_eq!(open(0).vouches_for(1000, boot(1)), None, "an open login vouches for nothing");
}
