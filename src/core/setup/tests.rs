//! Setups from their beginning to their end, in any order of steps.

use super::*;
use crate::core::clock::{Horizon, Moment, PlausibleTime, plausible};
use crate::core::email::AddressFault;
use crate::core::lockout::{Failures, Tally};
use crate::core::time::Wall;

const WITH_MAIL: Facilities = Facilities { mail: true, phone: false };
const ALICE: (u32, &str) = (1000, "alice");

fn at(seconds: u64) -> BootTime {
    BootTime(Duration::from_secs(seconds))
}

fn time(seconds: i64) -> PlausibleTime {
    let moment = Moment { wall: Wall(1_790_000_010 + seconds), ..Moment::default() };
    plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap()
}

fn code(setup: &Setup, seconds: i64) -> String {
    setup.offer.as_ref().unwrap().enrolment.code_at(time(seconds)).to_string()
}

fn begin(purpose: Purpose, account: &Account) -> Setup {
    Setup::begin(ALICE, purpose, account, WITH_MAIL, at(0)).unwrap()
}

/// Offers and confirms a Security Code.
pub(super) fn confirm_code(setup: &mut Setup) {
    setup.offer_security_code([7; 20]);
    let code = code(setup, 0);
    assert_eq!(setup.confirm_security_code(&code, time(0)), (Confirmation::Confirmed, None));
}

fn with_code(account: &Account) -> Setup {
    let mut setup = begin(if account.is_enabled() { Purpose::Change } else { Purpose::Setup }, account);
    confirm_code(&mut setup);
    setup
}

/// An account whose setup has just finished.
pub(super) fn enabled_account() -> Account {
    with_code(&Account::default()).finish(&Account::default(), at(1)).unwrap().account
}

fn origin(remote: &str) -> Origin {
    Origin { uid: 1000, user: "alice".into(), service: "sshd".into(), claimed: false, remote: Some(remote.into()) }
}

#[test]
fn the_security_code_and_the_address_come_into_force_together_at_the_end() {
    let (mut setup, mut budget) = (begin(Purpose::Setup, &Account::default()), MailBudget::default());
    let mail = setup.set_email("alice@example.org", WITH_MAIL, (&mut budget, 4_711), at(1)).unwrap().unwrap();
    assert_eq!((mail.to.as_str(), mail.code.digits()), ("alice@example.org", "004711"));
    assert_eq!(setup.progress(&Account::default()).missing, Methods::NONE.with(Method::SecurityCode));
    assert_eq!(setup.confirm_email("004 711", at(60)).0, Confirmation::Confirmed);
    let secret = setup.offer_security_code([7; 20]).secret().to_vec();
    let typed = code(&setup, 0);
    assert_eq!(setup.confirm_security_code(&typed, time(0)).0, Confirmation::Confirmed);

    let done = setup.finish(&Account::default(), at(61)).unwrap();
    assert_eq!(done.account.methods, Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode));
    assert_eq!(done.account.preferred, Some(Method::SecurityCode));
    assert_eq!(done.account.recovery_email.as_deref(), Some("alice@example.org"));
    assert_eq!(done.enrolment.unwrap().secret(), secret);
    assert_eq!(done.marks.len(), 1, "the confirmed code is used");
    assert!(done.new_recovery_codes && done.revoke_trusted_devices);
}

#[test]
fn without_a_confirmed_code_a_setup_does_not_finish() {
    let mut setup = begin(Purpose::Setup, &Account::default());
    assert_eq!(setup.finish(&Account::default(), at(1)).unwrap_err(), Refusal::SecurityCodeMissing);
    setup.offer_security_code([7; 20]);
    assert_eq!(setup.confirm_security_code("000000", time(0)).0, Confirmation::Wrong);
    assert_eq!(setup.finish(&Account::default(), at(1)).unwrap_err(), Refusal::SecurityCodeMissing);
}

#[test]
fn an_address_that_never_received_does_not_count() {
    let (mut setup, mut budget) = (with_code(&Account::default()), MailBudget::default());
    setup.set_email("alice@example.org", WITH_MAIL, (&mut budget, 1), at(1)).unwrap();
    for _ in 0..2 {
        assert_eq!(setup.confirm_email("999999", at(2)).0, Confirmation::Wrong);
    }
    assert_eq!(setup.confirm_email("999999", at(2)).0, Confirmation::Locked);
    assert_eq!(setup.confirm_email("000001", at(2)).0, Confirmation::Locked);
    let done = setup.finish(&Account::default(), at(3)).unwrap();
    assert_eq!(done.account.recovery_email, None);
    assert!(!done.account.methods.contains(Method::EmailCode));
}

#[test]
fn without_a_mail_server_a_setup_goes_on_without_the_address() {
    let (mut setup, mut budget) = (with_code(&Account::default()), MailBudget::default());
    let mail = setup.set_email("alice@example.org", Facilities::default(), (&mut budget, 1), at(1)).unwrap();
    assert_eq!(mail, None);
    assert_eq!(setup.progress(&Account::default()).recovery_email.as_deref(), Some("alice@example.org"));
    assert_eq!(setup.finish(&Account::default(), at(3)).unwrap().account.recovery_email, None);
    let refused = setup.set_email("alice", WITH_MAIL, (&mut budget, 1), at(1));
    assert_eq!(refused.unwrap_err(), Refusal::InvalidEmail(AddressFault::NoAddress));
}

#[test]
fn of_two_setups_the_first_to_finish_wins() {
    let account = Account::default();
    let (first, second) = (with_code(&account), with_code(&account));
    let done = second.finish(&account, at(1)).unwrap().account;
    assert_eq!(first.finish(&done, at(1)).unwrap_err(), Refusal::AlreadyEnabled);
    let (one, other) = (with_code(&done), with_code(&done));
    let changed = one.finish(&done, at(1)).unwrap().account;
    assert_eq!(other.finish(&changed, at(1)).unwrap_err(), Refusal::NoSuchSetup);
}

#[test]
fn a_change_does_not_survive_an_administrators_help_or_recovery() {
    let account = with_code(&Account::default()).finish(&Account::default(), at(1)).unwrap().account;
    let change = with_code(&account);
    let mut helped = account.clone();
    helped.disable_for().unwrap();
    assert_eq!(change.finish(&helped, at(1)).unwrap_err(), Refusal::NotEnabled);
    let begun = with_code(&Account::default());
    let mut recovered = Account::default();
    recovered.recover();
    assert_eq!(begun.finish(&recovered, at(1)).unwrap_err(), Refusal::NoSuchSetup);
}

#[test]
fn a_lock_ends_with_the_secret_that_was_guessed_at_and_not_by_a_mere_change() {
    let failed = Failures { in_a_row: 100, last: None };
    let guessed = Tally { real: failed, claimed: failed };
    let off = Account { failures: guessed, ..Account::default() };
    let on = with_code(&off).finish(&off, at(1)).unwrap().account;
    assert!(on.failures.is_clear());
    let locked = Account { failures: guessed, ..on };
    assert_eq!(with_code(&locked).finish(&locked, at(1)).unwrap().account.failures, guessed);
}

#[test]
fn a_change_leaves_in_force_what_it_did_not_confirm() {
    let account = with_code(&Account::default()).finish(&Account::default(), at(1)).unwrap().account;
    let mut change = begin(Purpose::Change, &account);
    assert!(change.progress(&account).missing.is_empty());
    let done = change.finish(&account, at(1)).unwrap();
    assert!(done.enrolment.is_none() && !done.new_recovery_codes && !done.revoke_trusted_devices);
    change.offer_security_code([8; 20]);
    assert_eq!(change.finish(&account, at(1)).unwrap_err(), Refusal::SecurityCodeMissing, "offered, not confirmed");
}

#[test]
fn a_new_address_of_an_enabled_account_counts_once_it_is_confirmed() {
    let account = with_code(&Account::default()).finish(&Account::default(), at(1)).unwrap().account;
    let (mut setup, mut budget) = (begin(Purpose::RecoveryEmail, &account), MailBudget::default());
    let no_server = setup.set_email("alice@example.org", Facilities::default(), (&mut budget, 5), at(1));
    assert!(matches!(no_server, Err(Refusal::MethodUnavailable(Method::EmailCode, _))));
    setup.set_email("alice@example.org", WITH_MAIL, (&mut budget, 5), at(1)).unwrap();
    assert_eq!(setup.finish_email(&account, at(2)).unwrap_err(), Refusal::NoSuchSetup);
    assert_eq!(setup.finish(&account, at(2)).unwrap_err(), Refusal::NoSuchSetup);
    setup.confirm_email("000005", at(2));
    let done = setup.finish_email(&account, at(3)).unwrap();
    assert!(done.methods.contains(Method::EmailCode));
    assert_eq!(done.recovery_email.as_deref(), Some("alice@example.org"));
    assert!(done.generation > account.generation, "who came in by the mailbox of before vouches no more");
}

#[test]
fn passwordless_login_forbids_a_setup_at_both_ends() {
    let passwordless = Account { passwordless: true, ..Account::default() };
    let begun = Setup::begin(ALICE, Purpose::Setup, &passwordless, WITH_MAIL, at(0));
    assert_eq!(begun.unwrap_err(), Refusal::PasswordlessEnabled);
    let setup = with_code(&Account::default());
    assert_eq!(setup.finish(&passwordless, at(1)).unwrap_err(), Refusal::PasswordlessEnabled);
}

#[test]
fn a_setup_that_a_login_demands_ends_the_passwordless_login() {
    let enforced_since = Account { passwordless: true, ..enforced() };
    let mut setup = Setup::at_login(origin("192.0.2.7"), &enforced_since, WITH_MAIL, at(0));
    confirm_code(&mut setup);
    let done = setup.finish(&enforced_since, at(1)).unwrap();
    assert!(done.account.is_enabled() && !done.account.passwordless && done.ends_passwordless);
}

#[test]
fn a_setup_ends_after_ten_minutes() {
    let setup = with_code(&Account::default());
    assert_eq!(setup.expires_in(at(0)), 600);
    assert!(setup.finish(&Account::default(), at(599)).is_ok());
    assert_eq!(setup.finish(&Account::default(), at(600)).unwrap_err(), Refusal::NoSuchSetup);
}

fn enforced() -> Account {
    Account { enforced: true, ..Account::default() }
}

fn at_login(origin: Origin, seconds: u64) -> Setup {
    Setup::at_login(origin, &enforced(), WITH_MAIL, at(seconds))
}

#[test]
fn a_setup_cut_off_is_followed_by_that_of_the_next_login_from_the_same_place_only() {
    let cut = at_login(origin("192.0.2.7"), 0);
    let follows = |origin: Origin, seconds| at_login(origin, seconds).follow(("A", &cut), at(seconds));
    assert!(!follows(origin("192.0.2.8"), 100));
    assert!(!follows(Origin { claimed: true, ..origin("192.0.2.7") }, 100));
    assert!(!follows(Origin { user: "bob".into(), ..origin("192.0.2.7") }, 100));
    assert!(follows(origin("192.0.2.7"), 100) && !follows(origin("192.0.2.7"), 600));
    let nowhere = Origin { remote: None, ..origin("") };
    assert!(!at_login(nowhere.clone(), 1).follow(("A", &at_login(nowhere, 0)), at(1)), "no address is no place to know somebody by");
    assert!(!at_login(origin("192.0.2.7"), 1).follow(("A", &with_code(&enforced())), at(1)), "a password began this one");
}

#[test]
fn whoever_was_cut_off_after_the_scan_goes_on_with_the_code_that_the_app_shows() {
    let mut cut = at_login(origin("192.0.2.7"), 0);
    let scanned = cut.offer_security_code([1; 20]).secret().to_vec();
    let typed = code(&cut, 60);
    let mut setup = at_login(origin("192.0.2.7"), 60);
    assert!(setup.follow(("A", &cut), at(60)) && setup.was_cut_off());
    setup.offer_security_code([2; 20]);
    let (outcome, hint) = setup.confirm_security_code(&typed, time(60));
    assert!(outcome == Confirmation::Confirmed && hint.unwrap().contains("scanned before counts"));
    let done = setup.finish(&enforced(), at(61)).unwrap();
    assert_eq!((done.enrolment.unwrap().secret(), done.login), (scanned.as_slice(), Some(origin("192.0.2.7"))));
}

#[test]
fn whoever_comes_next_gets_neither_the_secret_nor_the_mailbox_of_the_one_before() {
    let (mut before, mut budget) = (at_login(origin("192.0.2.7"), 0), MailBudget::default());
    before.set_email("mallory@example.org", WITH_MAIL, (&mut budget, 5), at(1)).unwrap();
    assert_eq!(before.confirm_email("000005", at(1)).0, Confirmation::Confirmed);
    confirm_code(&mut before);
    let known = before.offer.as_ref().unwrap().enrolment.secret().to_vec();
    let mut setup = at_login(origin("192.0.2.7"), 60);
    assert!(setup.follow(("A", &before), at(60)));
    let progress = setup.progress(&enforced());
    assert_eq!((progress.ready, progress.recovery_email), (Methods::NONE, None));
    assert_eq!(setup.finish(&enforced(), at(60)).unwrap_err(), Refusal::SecurityCodeMissing, "what another confirmed does not count");
    assert_ne!(setup.offer_security_code([2; 20]).secret(), known, "nobody is shown a secret that another has seen");
    let typed = code(&setup, 60);
    assert_eq!(setup.confirm_security_code(&typed, time(60)), (Confirmation::Confirmed, None));
    let done = setup.finish(&enforced(), at(61)).unwrap();
    assert_eq!((done.enrolment.unwrap().secret(), done.account.recovery_email), ([2; 20].as_slice(), None));
}

#[test]
fn a_code_that_was_confirmed_before_the_line_was_cut_is_not_taken_twice() {
    let mut cut = at_login(origin("192.0.2.7"), 0);
    confirm_code(&mut cut);
    let (used, next) = (code(&cut, 0), code(&cut, 30));
    let mut setup = at_login(origin("192.0.2.7"), 5);
    assert!(setup.follow(("A", &cut), at(5)));
    setup.offer_security_code([2; 20]);
    let (outcome, hint) = setup.confirm_security_code(&used, time(5));
    assert!(outcome == Confirmation::Wrong && hint.unwrap().contains("already used"));
    assert_eq!(setup.confirm_security_code(&next, time(30)).0, Confirmation::Confirmed);
    assert_eq!(setup.finish(&enforced(), at(31)).unwrap().marks.len(), 2);
}

#[test]
fn a_line_that_is_cut_again_and_again_is_remembered_four_times() {
    let mut setup = at_login(origin("192.0.2.7"), 0);
    let mut typed = Vec::new();
    for n in 1..=6 {
        setup.offer_security_code([n; 20]);
        typed.push(code(&setup, 0));
        let mut next = at_login(origin("192.0.2.7"), n.into());
        assert!(next.follow(("A", &setup), at(n.into())));
        setup = next;
    }
    setup.offer_security_code([7; 20]);
    assert_eq!(setup.confirm_security_code(&typed[1], time(0)).0, Confirmation::Wrong);
    assert_eq!(setup.confirm_security_code(&typed[2], time(0)).0, Confirmation::Confirmed);
}

#[test]
fn ten_wrong_codes_end_the_guessing_and_a_slow_phone_is_told() {
    let mut setup = begin(Purpose::Setup, &Account::default());
    setup.offer_security_code([7; 20]);
    let slow = |setup: &Setup, n: i64| code(setup, 30 * n - 240);
    let typed = slow(&setup, 0);
    assert_eq!(setup.confirm_security_code(&typed, time(0)), (Confirmation::Wrong, None));
    let typed = slow(&setup, 1);
    let (outcome, hint) = setup.confirm_security_code(&typed, time(30));
    assert!(outcome == Confirmation::Wrong && hint.unwrap().contains("4 min behind"));
    for _ in 2..WRONG_LIMIT {
        assert_eq!(setup.confirm_security_code("x", time(40)).0, Confirmation::Wrong);
    }
    let right = code(&setup, 60);
    assert_eq!(setup.confirm_security_code(&right, time(60)).0, Confirmation::Locked);
}

#[test]
fn the_phone_methods_are_offered_where_the_phone_can_reach_us() {
    let setup = begin(Purpose::Setup, &Account::default());
    assert_eq!(setup.available(), Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode));
    let phone = Facilities { mail: false, phone: true };
    let setup = Setup::begin(ALICE, Purpose::Setup, &Account::default(), phone, at(0)).unwrap();
    assert!(Method::ALL.into_iter().filter(|m| m.needs_authenticator()).all(|m| setup.available().contains(m)));
}
