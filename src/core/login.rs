//! The life of a login: from the accepted password to the verified second step.
//!
//! ```text
//!      │ the decision was `verify`
//!      ▼                         a right answer
//!    open ─────────────────────────────────────► verified ──► trust this device, once, within 1 min
//!      │ ▲                                          │
//!      │ └─ challenge (any enabled method, again)   ├─► counts as a recent second step for 10 min
//!      │    wrong answer (counted, see `lockout`)   ▼
//!      └──────── 2 min (10 once a code was mailed), cancelled ──► over
//! ```
//! A login holds nothing that counts guesses or used codes: those belong to the account, so that a new login forgives nothing.
//! A right answer changes the login only through [`Answered::login`], which the caller puts in place **after** the commit. Answers to one
//! login are taken one after the other, since the tries of a mailed code are counted here.
//!
//! How an answer is judged is in `answer`. What the account's phones are asked meanwhile has a life of its own in it: see [`phone`].
//!
//! This module sends no mail, stores nothing, and knows neither who may call (see [`policy`](super::policy)) nor whether a second step is asked
//! for (see [`decision`](super::decision)).

mod answer;
pub mod phone;

use std::time::Duration;

pub(super) use self::answer::skew_hint;
pub use self::answer::{Answered, CodeState, Failure, Outcome, Records};
use self::phone::{Draw, Phone, Request, RequestBudget};
use super::account::{Account, Method};
use super::clock::{ClockFault, Moment, PlausibleTime};
use super::decision::Facilities;
use super::email::{self, MailBudget};
use super::lockout::Gate;
use super::passcode::{self, Passcode};
use super::time::{BootTime, Wall};

/// How long a login waits for its second step.
pub const LIFE: Duration = Duration::from_secs(120);
/// How long after it a device may be trusted.
pub const TRUST_WITHIN: Duration = Duration::from_secs(60);
/// How long a verified login vouches for changes of its account (B13).
pub const RECENT: Duration = Duration::from_secs(600);
/// How long a trusted device is trusted.
pub const TRUST_LIFE: Duration = Duration::from_secs(30 * 86_400);

const SECURITY_CODE: &str = "Enter the code that your authenticator app shows";

/// Why a call on a login is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginFault {
    /// It is over, or there never was one.
    NoSuchLogin,
    /// The account does not have this method.
    MethodNotEnabled(Method),
    /// The method can't be used now, and why.
    MethodUnavailable(Method, String),
    /// Only a verified login may do this: once, within its time.
    NotVerified,
}

/// A mail that has to leave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The address.
    pub to: String,
    /// The code in it.
    pub code: Passcode,
}

/// What the user is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// One line, complete in itself.
    pub prompt: String,
    /// The masked address, where a code was mailed.
    pub sent_to: Option<String>,
    /// A mail to send now.
    pub mail: Option<Mail>,
    /// What the phones are asked, and whether that is new.
    pub request: Option<(Request, bool)>,
    /// Seconds until the answer is too late.
    pub expires_in: u64,
}

/// What a challenge may take from.
pub struct Means<'a> {
    /// Of the account.
    pub mails: &'a mut MailBudget,
    /// Of the account.
    pub requests: &'a mut RequestBudget,
    /// Fresh.
    pub draw: Draw,
}

/// When and from where an answer comes.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// All clocks.
    pub moment: Moment,
    /// Whether the wall clock may be used for time steps.
    pub time: Result<PlausibleTime, ClockFault>,
}

/// A code on its way, and what it was mailed for: no other mailbox, and no account that has changed since, is answered for with it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mailed {
    code: Passcode,
    to: String,
    generation: u64,
}

impl Mailed {
    fn stands(&self, account: &Account, now: BootTime) -> bool {
        let same = account.recovery_email.as_deref() == Some(self.to.as_str()) && account.generation == self.generation;
        same && !self.code.left(now).is_zero()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Open {
        until: BootTime,
        mailed: Option<Box<Mailed>>,
        phone: Phone,
    },
    /// `generation`: that of the account then.
    Verified {
        at: BootTime,
        by: Method,
        trusted: bool,
        generation: u64,
    },
}

/// Whose login, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The account's number.
    pub uid: u32,
    /// The account's canonical name.
    pub user: String,
    /// The login service, as it named itself.
    pub service: String,
    /// Whether that name is only claimed: the peer is neither root nor granted `login`.
    pub claimed: bool,
    /// The client's address.
    pub remote: Option<String>,
}

/// One login that waits for its second step, or has passed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Whose, and where.
    pub origin: Origin,
    /// What its owner was told at its start of requests that were denied: when the last one was, and how many.
    pub told: Option<(Wall, u32)>,
    state: State,
}

impl Login {
    /// Opens a login, after [`Decision::Verify`](super::decision::Decision::Verify).
    #[must_use]
    pub fn open(origin: Origin, now: BootTime) -> Self {
        Self { origin, told: None, state: State::Open { until: now + LIFE, mailed: None, phone: Phone::Idle } }
    }

    /// The same, after its owner was [`told`](Self::told) this.
    #[must_use]
    pub fn after(self, told: Option<(Wall, u32)>) -> Self {
        Self { told, ..self }
    }

    /// A login that a finished setup has verified (the Security Code was proven in it); `generation` is that of the account from then on.
    #[must_use]
    pub fn verified(origin: Origin, now: BootTime, generation: u64) -> Self {
        Self { origin, told: None, state: State::Verified { at: now, by: Method::SecurityCode, trusted: false, generation } }
    }

    /// Seconds until it expires; 0 where it is not open.
    #[must_use]
    pub fn expires_in(&self, now: BootTime) -> u64 {
        match &self.state {
            State::Open { until, .. } => (*until - now).as_secs(),
            State::Verified { .. } => 0,
        }
    }

    /// Whether it can be forgotten.
    #[must_use]
    pub fn is_over(&self, now: BootTime) -> bool {
        match &self.state {
            State::Open { until, .. } => now >= *until,
            State::Verified { at, .. } => now - *at >= RECENT,
        }
    }

    /// The method it was verified by, where it was.
    #[must_use]
    pub fn verified_by(&self) -> Option<Method> {
        match &self.state {
            State::Verified { by, .. } => Some(*by),
            State::Open { .. } => None,
        }
    }

    /// Whether it has let in, and its device can be trusted no more: all that it still does is vouch.
    #[must_use]
    pub fn only_vouches(&self, now: BootTime) -> bool {
        matches!(self.state, State::Verified { at, trusted, .. } if trusted || now - at >= TRUST_WITHIN)
    }

    /// Whether it vouches for changes of the account `uid` (B13).
    #[must_use]
    pub fn vouches_for(&self, uid: u32, now: BootTime) -> Option<u64> {
        match &self.state {
            State::Verified { generation, .. } if self.origin.uid == uid && !self.is_over(now) => Some(*generation),
            _ => None,
        }
    }

    /// Takes the one chance to trust the device of this login. A service that is only claimed has none: what it is given would be good at the real
    /// ones.
    ///
    /// # Errors
    /// [`LoginFault::NotVerified`]: never was, was trusted already, or longer than a minute ago; or the account has changed since, so that what
    /// verified the login may be no more.
    pub fn trust_device(&self, account: &Account, now: BootTime) -> Result<Self, LoginFault> {
        let as_it_was = |generation| account.is_enabled() && account.generation == generation && !self.origin.claimed;
        match &self.state {
            State::Verified { at, by, trusted: false, generation } if now - *at < TRUST_WITHIN && as_it_was(*generation) => {
                let state = State::Verified { at: *at, by: *by, trusted: true, generation: *generation };
                Ok(Self { origin: self.origin.clone(), told: self.told, state })
            }
            _ => Err(LoginFault::NotVerified),
        }
    }

    /// Begins a method of this login, or begins it anew.
    ///
    /// # Errors
    /// [`LoginFault`], all but `NotVerified`.
    pub fn challenge(
        &mut self,
        method: Method,
        (account, facilities): (&Account, Facilities),
        means: Means<'_>,
        now: &Now,
    ) -> Result<Challenge, LoginFault> {
        self.may_begin(method, (account, facilities), now)?;
        let unavailable = |reason: String| LoginFault::MethodUnavailable(method, reason);
        let Means { mails, requests, draw } = means;
        match method {
            Method::SecurityCode => Ok(self.prompt(SECURITY_CODE, now.moment.boot)),
            Method::RecoveryCode => Ok(self.prompt("Enter one of your recovery codes", now.moment.boot)),
            Method::EmailCode => {
                let address = account.recovery_email.as_deref().ok_or(LoginFault::MethodNotEnabled(method))?;
                self.mail((address, account), (mails, draw.random), now.moment.boot).map_err(unavailable)
            }
            Method::QrCode | Method::LoginApproval | Method::OnlineCode => self.ask(method, account, (requests, draw), &now.moment),
        }
    }

    /// What the challenge of this method would say, where it would do nothing but say so.
    #[must_use]
    pub fn at_once(&self, method: Method, account: (&Account, Facilities), now: &Now) -> Option<&'static str> {
        (method == Method::SecurityCode && self.may_begin(method, account, now).is_ok()).then_some(SECURITY_CODE)
    }

    fn may_begin(&self, method: Method, (account, facilities): (&Account, Facilities), now: &Now) -> Result<(), LoginFault> {
        if self.is_over(now.moment.boot) || !account.is_enabled() {
            return Err(LoginFault::NoSuchLogin);
        }
        let State::Open { .. } = self.state else { return Err(LoginFault::NoSuchLogin) };
        if !account.answerable().contains(method) {
            return Err(LoginFault::MethodNotEnabled(method));
        }
        let unavailable = |reason: String| LoginFault::MethodUnavailable(method, reason);
        facilities.check(method).map_err(|reason| unavailable(reason.into()))?;
        let gate = account.failures.gate(self.origin.claimed, &now.moment);
        if method.is_typed() || gate == Gate::Locked {
            self.closed(gate).map_or(Ok(()), |reason| Err(unavailable(reason)))?;
        }
        match method {
            Method::SecurityCode => now.time.map(drop).map_err(|fault| unavailable(fault.to_string())),
            _ => Ok(()),
        }
    }

    /// Why typed answers are not looked at now.
    fn closed(&self, gate: Gate) -> Option<String> {
        match gate {
            Gate::Open { .. } => None,
            Gate::Wait { seconds } => Some(format!("too many wrong answers: try again in {seconds} s")),
            Gate::Locked if self.origin.claimed => Some(
                "too many wrong answers by processes of the account: a login with the second step unlocks it, or an administrator".into(),
            ),
            Gate::Locked => Some("too many wrong answers: an administrator has to unlock the account".into()),
        }
    }

    fn prompt(&self, text: impl Into<String>, now: BootTime) -> Challenge {
        Challenge { prompt: text.into(), sent_to: None, mail: None, request: None, expires_in: self.expires_in(now) }
    }

    /// Mails a code, or asks for the one that was mailed a moment ago.
    fn mail(
        &mut self,
        (address, account): (&str, &Account),
        (budget, random): (&mut MailBudget, u64),
        now: BootTime,
    ) -> Result<Challenge, String> {
        let State::Open { until, mailed, .. } = &mut self.state else { return Err("this login is over".into()) };
        let standing = mailed.as_ref().is_some_and(|mailed| mailed.stands(account, now));
        let mail = match budget.take(now) {
            Ok(()) => {
                let code = Passcode::new(random, now);
                // A mail takes its time: the login waits as long as the code is good.
                *until = (*until).max(now + passcode::LIFE);
                *mailed = Some(Box::new(Mailed { code: code.clone(), to: address.into(), generation: account.generation }));
                Some(Mail { to: address.into(), code })
            }
            Err(_) if standing => None,
            Err(wait) => return Err(format!("too many mails; another can be sent in {} s", wait.as_secs() + 1)),
        };
        let masked = email::mask(address);
        let prompt = format!("Enter the code that was sent to {masked}");
        Ok(Challenge { sent_to: Some(masked), mail, ..self.prompt(prompt, now) })
    }

    /// A code that was to be mailed has not left: nobody is told that it is on its way.
    pub fn unsent(&mut self, code: &Passcode) {
        if let State::Open { mailed, .. } = &mut self.state
            && mailed.as_ref().is_some_and(|mailed| mailed.code.is_same(code))
        {
            *mailed = None;
        }
    }
}

#[cfg(test)]
mod tests;
