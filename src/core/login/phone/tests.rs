//! What a phone decides about one login.

use std::convert::Infallible;
use std::time::Duration;

use super::super::{CodeState, Means, Now, Origin, Outcome as Typed, Records};
use super::*;
use crate::core::account::Methods;
use crate::core::clock::{BootId, Horizon, plausible};
use crate::core::decision::Facilities;
use crate::core::email::MailBudget;
use crate::core::lockout::{Failures, LOCKED_AT, Tally};
use crate::core::recovery_code::RecoveryCode;
use crate::core::totp::{Enrolment, Mark, TimeStep};

const PHONE: Facilities = Facilities { mail: false, phone: true };
const METHODS: [Method; 3] = [Method::QrCode, Method::LoginApproval, Method::OnlineCode];

fn now(seconds: u64) -> Now {
    let wall = Wall(1_790_000_010 + seconds.cast_signed());
    let moment = Moment { wall, boot: BootTime(Duration::from_secs(seconds)), boot_id: BootId([1; 16]), synchronised: true };
    Now { moment, time: plausible(&moment, &Horizon { built: Wall(0), last_commit: None }) }
}

fn alice() -> Account {
    let methods = METHODS.into_iter().fold(Methods::NONE.with(Method::SecurityCode), Methods::with);
    Account { methods, preferred: Some(Method::LoginApproval), generation: 3, ..Account::default() }
}

fn real(real: Failures) -> Tally {
    Tally { real, ..Tally::default() }
}

fn open() -> Login {
    let origin = Origin { uid: 1000, user: "alice".into(), service: "sshd".into(), claimed: false, remote: None };
    Login::open(origin, now(0).moment.boot)
}

fn challenge(
    login: &mut Login,
    account: &Account,
    method: Method,
    (requests, id): (&mut RequestBudget, &str),
    seconds: u64,
) -> Result<Challenge, LoginFault> {
    let draw = Draw { id: id.into(), token: "TOKEN".into(), random: 4_711 };
    login.challenge(method, (account, PHONE), Means { mails: &mut MailBudget::default(), requests, draw }, &now(seconds))
}

/// A login that asks the phones, at second 1.
fn asked(method: Method) -> (Login, Challenge) {
    let mut login = open();
    let challenge = challenge(&mut login, &alice(), method, (&mut RequestBudget::default(), "REQUEST"), 1).unwrap();
    (login, challenge)
}

struct NoRecords;

impl Records for NoRecords {
    type Error = Infallible;
    fn enrolment(&mut self) -> Result<Option<Enrolment>, Infallible> {
        Ok(None)
    }
    fn mark(&mut self, _: TimeStep) -> Result<Option<Mark>, Infallible> {
        Ok(None)
    }
    fn recovery_code(&mut self, _: &RecoveryCode) -> Result<CodeState, Infallible> {
        Ok(CodeState::Unknown)
    }
}

#[test]
fn what_is_denied_of_a_claimed_login_is_counted_apart_and_locks_no_real_one() {
    let (real, mut claimed) = (asked(Method::LoginApproval).0, asked(Method::LoginApproval).0);
    claimed.origin.claimed = true;
    let mut account = alice();
    for counted in 1..=LOCKED_AT {
        let decided = claimed.decide(&account, (false, None), &now(2).moment);
        account = decided.account;
        assert_eq!((account.failures.real.in_a_row, account.failures.claimed.in_a_row), (0, counted));
    }
    assert_eq!(claimed.decide(&account, (true, Some("41")), &now(2).moment).outcome, Outcome::Locked);
    let decided = real.decide(&account, (true, Some("41")), &now(2).moment);
    assert_eq!((decided.outcome, decided.account.failures), (Outcome::Approved, Tally::default()));
}

#[test]
fn the_number_is_the_same_on_both_sides_and_lets_in_once() {
    let (login, challenge) = asked(Method::LoginApproval);
    let number = login.asked().unwrap().number().unwrap();
    assert_eq!((number, challenge.prompt.as_str()), ("41", "Approve this login on your phone: the number is 41"));
    assert_eq!(login.waiting(now(2).moment.boot), Waiting::Waiting);
    let account = Account { failures: real(Failures { in_a_row: 3, last: None }), ..alice() };
    let decided = login.decide(&account, (true, Some(number)), &now(2).moment);
    assert_eq!((decided.outcome, decided.account.failures), (Outcome::Approved, Tally::default()));
    assert_eq!((decided.login.verified_by(), decided.login.vouches_for(1000, now(3).moment.boot)), (Some(Method::LoginApproval), Some(3)));
    assert_eq!(decided.login.waiting(now(3).moment.boot), Waiting::Verified);
    assert_eq!(decided.login.waiting(now(63).moment.boot), Waiting::Expired, "who asks so late asks for a login that is past");
    let again = decided.login.decide(&decided.account, (true, Some(number)), &now(3).moment);
    assert_eq!(again.outcome, Outcome::Expired);
}

#[test]
fn a_wrong_number_voids_the_request_and_counts() {
    let (login, _) = asked(Method::LoginApproval);
    for wrong in [Some("42"), Some(""), Some("041"), None] {
        let decided = login.decide(&alice(), (true, wrong), &now(2).moment);
        assert_eq!((decided.outcome, decided.account.failures.real.in_a_row), (Outcome::WrongNumber, 1), "{wrong:?}");
        assert_eq!(decided.login.waiting(now(2).moment.boot), Waiting::Denied);
        assert_eq!(decided.login.decide(&alice(), (true, Some("41")), &now(2).moment).outcome, Outcome::Expired, "it is void");
    }
}

#[test]
fn a_denial_counts_and_the_login_goes_on_another_way() {
    for method in METHODS {
        let (login, _) = asked(method);
        let mut decided = login.decide(&alice(), (false, None), &now(2).moment);
        assert_eq!((decided.outcome, decided.account.failures.real.in_a_row), (Outcome::Denied, 1));
        assert_eq!(decided.login.waiting(now(2).moment.boot), Waiting::Denied);
        let (account, mut budget) = (alice(), RequestBudget::default());
        challenge(&mut decided.login, &account, method, (&mut budget, "NEXT"), 3).unwrap();
        assert_eq!((decided.login.waiting(now(3).moment.boot), decided.login.asked().unwrap().id.as_str()), (Waiting::Waiting, "NEXT"));
    }
}

#[test]
fn an_approval_is_redeemed_against_the_account_as_it_is_then() {
    let (login, _) = asked(Method::LoginApproval);
    let redeem = |account: &Account, seconds| login.decide(account, (true, Some("41")), &now(seconds).moment);
    let mut off = alice();
    off.disable_for().unwrap();
    let anew = Account { generation: 4, ..alice() };
    let without = Account { methods: alice().methods.without(Method::LoginApproval), ..alice() };
    for account in [off, anew, without] {
        let decided = redeem(&account, 2);
        assert_eq!((decided.outcome, decided.login.waiting(now(2).moment.boot)), (Outcome::Expired, Waiting::Expired));
        assert_eq!(decided.account, account, "nothing is counted");
    }
    let locked = redeem(&Account { failures: real(Failures { in_a_row: 100, last: None }), ..alice() }, 2);
    assert_eq!((locked.outcome, locked.login.waiting(now(2).moment.boot)), (Outcome::Locked, Waiting::Locked));
    let waits = Account { failures: real(Failures { in_a_row: 7, last: Some(now(2).moment) }), ..alice() };
    assert_eq!(redeem(&waits, 2).outcome, Outcome::Approved, "a wait is for what can be guessed");
    assert_eq!((redeem(&alice(), 119).outcome, redeem(&alice(), 120).outcome), (Outcome::Approved, Outcome::Expired));
    assert_eq!(login.waiting(now(120).moment.boot), Waiting::Expired);
}

#[test]
fn a_superseded_request_lets_nobody_in() {
    let (mut login, _) = asked(Method::LoginApproval);
    login.supersede();
    assert_eq!(login.waiting(now(2).moment.boot), Waiting::Expired);
    assert_eq!(login.decide(&alice(), (true, Some("41")), &now(2).moment).outcome, Outcome::Expired);
}

#[test]
fn a_qr_code_needs_no_number_and_an_online_code_is_not_approved() {
    let (login, challenge) = asked(Method::QrCode);
    let (request, fresh) = challenge.request.unwrap();
    assert!(fresh && request.token() == Some("TOKEN") && request.number().is_none());
    assert_eq!(login.decide(&alice(), (true, None), &now(2).moment).outcome, Outcome::Approved);
    let (login, _) = asked(Method::OnlineCode);
    let approved = login.decide(&alice(), (true, None), &now(2).moment);
    assert_eq!((approved.outcome, approved.login.waiting(now(2).moment.boot)), (Outcome::Expired, Waiting::Waiting), "it is to be typed");
}

#[test]
fn an_online_code_is_typed_once_within_three_tries() {
    let (mut login, _) = asked(Method::OnlineCode);
    assert_eq!(login.asked().unwrap().code().unwrap().digits(), "004711");
    let type_code = |login: &Login, account: &Account, code: &str, seconds| {
        login.answer(account, (Method::OnlineCode, code), &now(seconds), &mut NoRecords)
    };
    let right = type_code(&login, &alice(), "004 711", 2).unwrap();
    assert_eq!((right.outcome, right.login.verified_by()), (Typed::Verified, Some(Method::OnlineCode)));
    let anew = Account { generation: 4, ..alice() };
    assert!(type_code(&login, &anew, "004711", 2).is_err(), "another setup came into force");
    for tries in 1..=3 {
        let wrong = type_code(&login, &alice(), "000000", 2).unwrap();
        assert_eq!((wrong.outcome, wrong.hint.is_some()), (Typed::Wrong, tries == 3));
        login = wrong.login;
    }
    assert!(type_code(&login, &alice(), "004711", 2).is_err(), "the code is void");
    assert!(type_code(&open(), &alice(), "004711", 2).is_err(), "none was asked for");
    assert!(open().answer(&alice(), (Method::LoginApproval, "41"), &now(2), &mut NoRecords).is_err(), "it is answered on the phone");
}

#[test]
fn the_same_request_stands_when_it_is_asked_for_again_and_another_method_takes_its_place() {
    let (mut login, mut budget) = (open(), RequestBudget::default());
    for (id, method, seen, fresh) in [
        ("A", Method::LoginApproval, "A", true),
        ("B", Method::LoginApproval, "A", false),
        ("C", Method::OnlineCode, "C", true),
        ("D", Method::LoginApproval, "D", true),
    ] {
        let (request, new) = challenge(&mut login, &alice(), method, (&mut budget, id), 1).unwrap().request.unwrap();
        assert_eq!((request.id.as_str(), new), (seen, fresh));
    }
    assert_eq!(budget.asked.len(), 3);
    let by_code = Account { preferred: Some(Method::SecurityCode), ..alice() };
    challenge(&mut login, &by_code, Method::SecurityCode, (&mut budget, "E"), 2).unwrap();
    assert_eq!(login.asked().unwrap().id, "D", "what is typed leaves the phone's answer open");
}

#[test]
fn a_request_ends_in_its_own_time_also_where_a_mail_prolongs_the_login() {
    for method in [Method::LoginApproval, Method::OnlineCode] {
        let (mut login, _) = asked(method);
        let mut account = alice();
        account.recovery_email = Some("alice@example.org".into());
        account.methods = account.methods.with(Method::EmailCode);
        let (mut mails, mut requests) = (MailBudget::default(), RequestBudget::default());
        let draw = Draw { id: "M".into(), token: "M".into(), random: 1 };
        let means = Means { mails: &mut mails, requests: &mut requests, draw };
        login.challenge(Method::EmailCode, (&account, Facilities { mail: true, phone: true }), means, &now(60)).unwrap();
        let boot = |seconds| now(seconds).moment.boot;
        assert_eq!((login.waiting(boot(119)), login.left(boot(119))), (Waiting::Waiting, Duration::from_secs(1)));
        assert_eq!((login.waiting(boot(120)), login.expires_in(boot(120))), (Waiting::Expired, 540));
        assert!(login.request(boot(119)).is_some() && login.request(boot(120)).is_none());
        assert_eq!(login.decide(&account, (true, Some("41")), &now(120).moment).outcome, Outcome::Expired);
        assert_eq!(login.decide(&account, (false, None), &now(120).moment).outcome, Outcome::Expired);
        assert!(login.answer(&account, (Method::OnlineCode, "004711"), &now(120), &mut NoRecords).is_err());
        let (request, fresh) = challenge(&mut login, &account, method, (&mut requests, "NEXT"), 120).unwrap().request.unwrap();
        assert_eq!((request.id.as_str(), fresh, login.waiting(boot(659))), ("NEXT", true, Waiting::Waiting));
    }
}

#[test]
fn nobody_is_worn_out_by_requests() {
    let mut budget = RequestBudget::default();
    for n in 0..5 {
        challenge(&mut open(), &alice(), Method::LoginApproval, (&mut budget, "R"), n).unwrap();
    }
    let refused = challenge(&mut open(), &alice(), Method::OnlineCode, (&mut budget, "R"), 10).unwrap_err();
    let LoginFault::MethodUnavailable(Method::OnlineCode, reason) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("in 591 s"), "{reason}");
    challenge(&mut open(), &alice(), Method::QrCode, (&mut budget, "R"), 10).expect("nobody sees it before it is scanned");
    budget.give_back();
    challenge(&mut open(), &alice(), Method::LoginApproval, (&mut budget, "R"), 10).expect("the last one was answered another way");
    budget.reset();
    challenge(&mut open(), &alice(), Method::LoginApproval, (&mut budget, "R"), 11).unwrap();
    assert!(!budget.is_over(now(610).moment.boot) && budget.is_over(now(611).moment.boot));
}

#[test]
fn no_phone_in_reach_and_no_locked_account_is_asked() {
    let mut login = open();
    let mut budget = RequestBudget::default();
    let mut mails = MailBudget::default();
    let draw = Draw { id: "R".into(), token: "T".into(), random: 1 };
    let means = Means { mails: &mut mails, requests: &mut budget, draw };
    let unreachable = login.challenge(Method::QrCode, (&alice(), Facilities::default()), means, &now(1));
    assert!(matches!(unreachable, Err(LoginFault::MethodUnavailable(Method::QrCode, _))));
    let locked = Account { failures: real(Failures { in_a_row: 100, last: None }), ..alice() };
    let refused = challenge(&mut login, &locked, Method::LoginApproval, (&mut budget, "R"), 1);
    assert!(matches!(refused, Err(LoginFault::MethodUnavailable(Method::LoginApproval, _))));
    assert!(login.asked().is_none());
}
