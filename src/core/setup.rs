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
mod tests;
