//! The life of a setup, of a change of an enabled account, and of a new recovery address.
//!
//! ```text
//!   begin ──► open ──┬─ offer, confirm the Security Code ─┐
//!                    ├─ pair a phone, for each method ────┤
//!                    ├─ address, confirm the mailed code ─┤──► finish ──► in force, all at once
//!                    └────────────────────────────────────┘
//!      10 min, cancel, or another setup of the account finished first ──► over, nothing changed
//! ```
//! Nothing is in force before [`Setup::finish`] (Q14); what was in force stays until then. Two setups of one account may be open at once (two
//! browser tabs): the first to finish wins, and the other then finds its account's generation changed and is over. So neither silently
//! replaces what somebody has just put in force, and beginning a setup harms nobody else's.
//!
//! A setup cut off is resumed with its own name. Where a login began it, the next login of the same account, service and address is given a new
//! one that follows it: who comes now may be somebody else behind the same address, who must be led neither to scan a secret that another has
//! seen, nor to put another's mailbox or phone into force. All that goes over is what the newcomer proves to have: see [`offer`]. Once a code is
//! confirmed in the new one, the name of the former is void. Until then that goes on, since nobody can tell a line that was cut from a second
//! terminal, or from an editor that logs in three times. A login whose address is not known goes on with nothing.
//!
//! A pairing has a life of its own inside it: see [`pairing`](super::pairing). The method that was confirmed first is the one asked for first.
//!
//! This module checks no password, sends no mail and stores nothing.

mod offer;
mod phone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::offer::Offer;
pub use self::phone::Taker;
use super::account::{Account, Method, Methods, Refusal};
use super::decision::Facilities;
use super::email::{Address, MailBudget};
use super::login::{Mail, Origin};
use super::pairing::{Pairing, Phone};
use super::passcode::{self, Passcode};
use super::recovery_code;
use super::time::BootTime;
use super::totp::{Enrolment, Mark, TimeStep};

/// How long a setup may take.
pub const LIFE: Duration = Duration::from_secs(600);
/// Wrong codes in one setup before it takes no more. They are not counted against the account: whoever sets up knows the secret.
pub const WRONG_LIMIT: u32 = 10;

/// What a setup is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Turning it on.
    Setup,
    /// A new secret, address or method of an enabled account.
    Change,
    /// A new recovery address of an enabled account, in force once it is confirmed.
    RecoveryEmail,
}

/// What lets a setup begin, and finish.
#[derive(Clone, Debug)]
enum Authority {
    /// The account's password, asked for again at the end.
    Password,
    /// A login whose password was accepted a moment ago; it is verified by the finished setup.
    Login(Origin),
}

/// The outcome of a confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmation {
    /// It was right.
    Confirmed,
    /// It was not; try again.
    Wrong,
    /// This setup takes no more answers of this kind.
    Locked,
}

/// A confirmation and what a person should know.
pub type Confirmed = (Confirmation, Option<String>);

#[derive(Clone, Debug)]
struct NewAddress {
    address: String,
    /// Absent where no mail server is configured: the address then never counts.
    mailed: Option<Passcode>,
    confirmed: bool,
}

/// One open setup.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Whose it is, by number and canonical name.
    pub uid: u32,
    /// See `uid`.
    pub user: String,
    purpose: Purpose,
    authority: Authority,
    generation: u64,
    until: BootTime,
    offer: Option<Offer>,
    /// What was offered in the setups that this one follows, the latest last.
    earlier: Vec<Offer>,
    /// Their names.
    former: Vec<String>,
    email: Option<NewAddress>,
    available: Methods,
    /// The latest offer.
    pairing: Option<Pairing>,
    /// How many were made.
    pairings: u32,
    /// Those that have scanned one.
    phones: Vec<Phone>,
    /// The method that was confirmed first.
    first: Option<Method>,
}

/// What a setup has, and what it needs before it can finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Confirmed in this setup.
    pub ready: Methods,
    /// To be confirmed first.
    pub missing: Methods,
    /// The address of this setup, else the one in force.
    pub recovery_email: Option<String>,
}

/// All that comes into force at once.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The account from now on.
    pub account: Account,
    /// A new enrolment, replacing the former and its marks.
    pub enrolment: Option<Enrolment>,
    /// Steps of it to mark: the confirmed code is used.
    pub marks: Vec<(TimeStep, Mark)>,
    /// Phones that come into force, each only once it was paired.
    pub phones: Vec<Phone>,
    /// Whether a new list of recovery codes is made.
    pub new_recovery_codes: bool,
    /// Whether trusted devices end (Q25).
    pub revoke_trusted_devices: bool,
    /// Whether the passwordless login ends, which a second step excludes (Q8).
    pub ends_passwordless: bool,
    /// The login that is verified with it.
    pub login: Option<Origin>,
}

impl Setup {
    /// Begins a setup of `account` by its password, which was checked before.
    ///
    /// # Errors
    /// `AlreadyEnabled`, `NotEnabled`, `PasswordlessEnabled`.
    pub fn begin(
        (uid, user): (u32, &str),
        purpose: Purpose,
        account: &Account,
        facilities: Facilities,
        now: BootTime,
    ) -> Result<Self, Refusal> {
        check((purpose, false), account)?;
        Ok(Self::new((uid, user), (purpose, Authority::Password), account, facilities, now))
    }

    /// The setup that an enforced account is given at its login; whether it may go on is for [`still_stands`](Self::still_stands).
    #[must_use]
    pub fn at_login(origin: Origin, account: &Account, facilities: Facilities, now: BootTime) -> Self {
        let (uid, user) = (origin.uid, origin.user.clone());
        Self::new((uid, &user), (Purpose::Setup, Authority::Login(origin)), account, facilities, now)
    }

    fn new(
        (uid, user): (u32, &str),
        (purpose, authority): (Purpose, Authority),
        account: &Account,
        facilities: Facilities,
        now: BootTime,
    ) -> Self {
        let available = Method::ALL.into_iter().filter(|m| *m != Method::RecoveryCode && facilities.check(*m).is_ok()).collect();
        let (generation, until) = (account.generation, now + LIFE);
        let user = user.into();
        Self {
            uid,
            user,
            purpose,
            authority,
            generation,
            until,
            offer: None,
            earlier: Vec::new(),
            former: Vec::new(),
            email: None,
            available,
            pairing: None,
            pairings: 0,
            phones: Vec::new(),
            first: None,
        }
    }

    /// The methods that can be set up now.
    #[must_use]
    pub fn available(&self) -> Methods {
        self.available
    }

    /// Seconds until it expires.
    #[must_use]
    pub fn expires_in(&self, now: BootTime) -> u64 {
        (self.until - now).as_secs()
    }

    /// The same, whole.
    #[must_use]
    pub fn left(&self, now: BootTime) -> Duration {
        self.until - now
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self, now: BootTime) -> bool {
        now >= self.until
    }

    /// Whether the account's password has to be given again at the end.
    #[must_use]
    pub fn wants_password(&self) -> bool {
        matches!(self.authority, Authority::Password)
    }

    /// The login that is verified by finishing it.
    #[must_use]
    pub fn login(&self) -> Option<&Origin> {
        match &self.authority {
            Authority::Login(origin) => Some(origin),
            Authority::Password => None,
        }
    }

    /// What it is for.
    #[must_use]
    pub fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Follows the setup `name`, where both were begun by logins of the same account, service and known address; tells whether it does.
    pub fn follow(&mut self, (name, cut_off): (&str, &Self), now: BootTime) -> bool {
        let (Authority::Login(next), Authority::Login(first)) = (&self.authority, &cut_off.authority) else { return false };
        let same = (first.uid, &first.user, &first.service, &first.remote) == (next.uid, &next.user, &next.service, &next.remote);
        let honest = next.remote.is_some() && !next.claimed && !first.claimed;
        let follows = same && honest && cut_off.generation == self.generation && !cut_off.is_over(now);
        if follows {
            self.former.push(name.into());
            self.remember(cut_off);
        }
        follows
    }

    /// The names of those that it follows, which are void from now on: a code was confirmed here.
    pub fn takes_over(&mut self) -> Vec<String> {
        std::mem::take(&mut self.former)
    }

    /// Whether a Security Code was offered before the line was cut.
    #[must_use]
    pub fn was_cut_off(&self) -> bool {
        !self.earlier.is_empty()
    }

    /// Takes a recovery address, or another one in its place; gives the mail to send, if one can be sent.
    ///
    /// # Errors
    /// `InvalidEmail`; `MethodUnavailable` where mails of this account were too many, or where there is no server and nothing but the
    /// address is wanted.
    pub fn set_email(
        &mut self,
        address: &str,
        facilities: Facilities,
        (budget, random): (&mut MailBudget, u64),
        now: BootTime,
    ) -> Result<Option<Mail>, Refusal> {
        let address = Address::parse(address).map_err(Refusal::InvalidEmail)?.as_str().to_owned();
        let unavailable = |reason: String| Refusal::MethodUnavailable(Method::EmailCode, reason);
        let mailed = match facilities.check(Method::EmailCode) {
            Err(reason) if self.purpose == Purpose::RecoveryEmail => return Err(unavailable(reason.into())),
            Err(_) => None,
            Ok(()) => {
                budget.take(now).map_err(|wait| unavailable(format!("too many mails; another can be sent in {} s", wait.as_secs() + 1)))?;
                Some(Passcode::new(random, now))
            }
        };
        let mail = mailed.clone().map(|code| Mail { to: address.clone(), code });
        self.email = Some(NewAddress { address, mailed, confirmed: false });
        Ok(mail)
    }

    /// Compares the mailed code.
    pub fn confirm_email(&mut self, typed: &str, now: BootTime) -> Confirmed {
        let Some(email) = &mut self.email else { return (Confirmation::Wrong, Some("no address was given in this setup".into())) };
        if email.confirmed {
            return (Confirmation::Confirmed, None);
        }
        let Some(mailed) = &mut email.mailed else {
            return (Confirmation::Locked, Some("no code was sent: no mail server is configured".into()));
        };
        match mailed.answer(typed, now) {
            passcode::Answer::Right => {
                email.confirmed = true;
                (Confirmation::Confirmed, None)
            }
            passcode::Answer::Wrong => (Confirmation::Wrong, None),
            passcode::Answer::Void => (Confirmation::Locked, Some("the code is void: begin again to have another one sent".into())),
        }
    }

    /// What it has, and what it needs; `account` is the one in force.
    #[must_use]
    pub fn progress(&self, account: &Account) -> Progress {
        let has_code = self.offer.as_ref().is_some_and(|offer| offer.confirmed);
        let address = self.email.as_ref();
        let mut ready = self.paired_for();
        if has_code {
            ready = ready.with(Method::SecurityCode);
        }
        if address.is_some_and(|email| email.confirmed) {
            ready = ready.with(Method::EmailCode);
        }
        let wants_code = if account.is_enabled() { self.offer.is_some() } else { true };
        let missing = if wants_code && !has_code { Methods::NONE.with(Method::SecurityCode) } else { Methods::NONE };
        Progress { ready, missing, recovery_email: address.map(|email| email.address.clone()).or_else(|| account.recovery_email.clone()) }
    }

    /// Puts everything confirmed into force. An address that was not confirmed is left out.
    ///
    /// # Errors
    /// `NoSuchSetup` (expired, or overtaken by another setup or by an administrator), `SecurityCodeMissing`, and what forbids the setup
    /// since it began. Nothing changes then.
    pub fn finish(&self, account: &Account, now: BootTime) -> Result<Finished, Refusal> {
        self.still_stands(account, now)?;
        if self.purpose == Purpose::RecoveryEmail {
            return Err(Refusal::NoSuchSetup);
        }
        if !self.progress(account).missing.is_empty() {
            return Err(Refusal::SecurityCodeMissing);
        }
        let mut account = account.clone();
        let turned_on = !account.is_enabled();
        let offer = self.offer.as_ref();
        let paired_for = self.paired_for();
        account.methods = paired_for.iter().fold(account.methods.with(Method::SecurityCode), Methods::with);
        let first = self.first.filter(|method| account.methods.contains(*method));
        account.preferred = account.preferred.or(first).or(Some(Method::SecurityCode));
        account.generation += 1;
        let ends_passwordless = std::mem::take(&mut account.passwordless);
        if let Some(offer) = offer {
            account.drift = offer.drift;
        }
        if turned_on {
            account.recovery_codes_left = recovery_code::COUNT as u32;
            // What was counted were guesses at a secret that is no more; the new one was proven just now.
            account.failures.reset();
        }
        self.put_address(&mut account);
        Ok(Finished {
            account,
            enrolment: offer.map(|offer| offer.enrolment.clone()),
            marks: offer.map(|offer| offer.marks.clone()).unwrap_or_default(),
            phones: self.phones.iter().filter(|phone| !phone.methods.is_empty()).cloned().collect(),
            new_recovery_codes: turned_on,
            revoke_trusted_devices: turned_on,
            ends_passwordless,
            login: self.login().cloned(),
        })
    }

    /// The account with the confirmed address, for a setup that is about nothing else.
    ///
    /// # Errors
    /// `NoSuchSetup` where it is over or has confirmed none, and what forbids it since it began.
    pub fn finish_email(&self, account: &Account, now: BootTime) -> Result<Account, Refusal> {
        self.still_stands(account, now)?;
        let mut account = account.clone();
        if self.purpose != Purpose::RecoveryEmail || !self.put_address(&mut account) {
            return Err(Refusal::NoSuchSetup);
        }
        // Whoever came in by the mailbox of before neither vouches any more nor goes on with what is open.
        account.generation += 1;
        Ok(account)
    }

    fn put_address(&self, account: &mut Account) -> bool {
        let Some(email) = self.email.as_ref().filter(|email| email.confirmed) else { return false };
        account.recovery_email = Some(email.address.clone());
        account.methods = account.methods.with(Method::EmailCode);
        true
    }

    /// Whether it may still go on.
    ///
    /// # Errors
    /// `NoSuchSetup` (expired, or overtaken), and what forbids it.
    pub fn still_stands(&self, account: &Account, now: BootTime) -> Result<(), Refusal> {
        if self.is_over(now) {
            return Err(Refusal::NoSuchSetup);
        }
        check((self.purpose, self.login().is_some()), account)?;
        if account.generation != self.generation { Err(Refusal::NoSuchSetup) } else { Ok(()) }
    }
}

/// `demanded`: a login can't go on without it. Then the passwordless login gives way, which excludes a second step only where its owner has the choice.
fn check((purpose, demanded): (Purpose, bool), account: &Account) -> Result<(), Refusal> {
    match (purpose, account.is_enabled()) {
        (Purpose::Setup, true) => Err(Refusal::AlreadyEnabled),
        (Purpose::Setup, false) if account.passwordless && !demanded => Err(Refusal::PasswordlessEnabled),
        (Purpose::Setup, false) | (Purpose::Change | Purpose::RecoveryEmail, true) => Ok(()),
        (Purpose::Change | Purpose::RecoveryEmail, false) => Err(Refusal::NotEnabled),
    }
}

#[cfg(test)]
mod tests {
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
}
