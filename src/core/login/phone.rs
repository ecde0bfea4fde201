//! A login's request to the account's phones.
//!
//! ```text
//!            challenge                       a phone approves with the right number, or its code is typed
//!   idle ──────────────► asked ────────────────────────────────────────────────────────────► the login is verified
//!     ▲                   │ ├─ denied, a wrong number, three wrong codes ──► denied          (one count with the typed answers)
//!     │                   │ ├─ the account is locked ──────────────────────► locked
//!     └─ challenge again ─┘ └─ superseded; the account was turned off, set up anew, or lost the method ──► expired
//! ```
//! A decision is judged against the account as it is then, under the same turn as a typed answer, and changes the login only through what
//! [`Login::decide`] gives, after the commit: so one login is verified once, whoever comes first.
//!
//! This module knows no phone: who signed, which phone may see what, and which request superseded another, is for the caller.

use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Challenge, Login, LoginFault, State, TRUST_WITHIN};
use crate::core::account::{Account, Method};
use crate::core::clock::Moment;
use crate::core::lockout::Gate;
use crate::core::passcode::{Answer, Passcode};
use crate::core::time::{BootTime, Wall};

/// Requests of one account that may stay unanswered, or be denied, within [`SPAN`].
pub const UNANSWERED: usize = 5;
/// See [`UNANSWERED`].
pub const SPAN: Duration = Duration::from_secs(600);

/// How often an account's phones were asked without an approval; kept in memory, per account. Whoever has the password can't wear its owner out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestBudget {
    asked: Vec<BootTime>,
}

impl RequestBudget {
    /// Takes one request out of the budget.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn take(&mut self, now: BootTime) -> Result<(), Duration> {
        self.asked.retain(|at| now - *at < SPAN);
        match self.asked.first() {
            Some(first) if self.asked.len() >= UNANSWERED => Err(SPAN.saturating_sub(now - *first)),
            _ => {
                self.asked.push(now);
                Ok(())
            }
        }
    }

    /// Its owner was there, and has answered the last one another way.
    pub fn give_back(&mut self) {
        self.asked.pop();
    }

    /// Its owner has approved one.
    pub fn reset(&mut self) {
        self.asked.clear();
    }

    /// Whether nothing is left to remember.
    #[must_use]
    pub fn is_over(&self, now: BootTime) -> bool {
        self.asked.iter().all(|at| now - *at >= SPAN)
    }
}

/// What a challenge may be made of: fresh each time, unguessable.
#[derive(Clone)]
pub struct Draw {
    /// Names a request.
    pub id: String,
    /// For the QR code of a login screen.
    pub token: String,
    /// Uniform over all of u64, for codes and numbers.
    pub random: u64,
}

/// What the account was like when a request was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    method: Method,
    generation: u64,
}

impl Terms {
    /// Whether the account, as it is now, may still be answered for by the request.
    #[must_use]
    pub fn hold(&self, account: &Account) -> bool {
        account.is_enabled() && account.generation == self.generation && account.answerable().contains(self.method)
    }
}

/// What a phone is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name; not the login's own.
    pub id: String,
    /// `qr_code`, `login_approval` or `online_code`.
    pub method: Method,
    /// Since when, for people.
    pub requested_at: Wall,
    number: Option<Zeroizing<String>>,
    token: Option<Zeroizing<String>>,
    code: Option<Passcode>,
    terms: Terms,
    /// The login's end when it was made: a login that waits longer since then does not prolong it.
    until: BootTime,
}

impl Request {
    fn new(method: Method, draw: Draw, account: &Account, (now, until): (&Moment, BootTime)) -> Self {
        let Draw { id, token, random } = draw;
        Self {
            id,
            method,
            requested_at: now.wall,
            // The bias is below 2^-57.
            number: (method == Method::LoginApproval).then(|| Zeroizing::new((10 + random % 90).to_string())),
            token: (method == Method::QrCode).then(|| Zeroizing::new(token)),
            code: (method == Method::OnlineCode).then(|| Passcode::new(random, now.boot)),
            terms: Terms { method, generation: account.generation },
            until,
        }
    }

    /// When it is over.
    #[must_use]
    pub fn until(&self) -> BootTime {
        self.until
    }

    /// Two digits that the login screen and the phone show: for `login_approval`.
    #[must_use]
    pub fn number(&self) -> Option<&str> {
        self.number.as_deref().map(String::as_str)
    }

    /// What is in the QR code: for `qr_code`.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref().map(String::as_str)
    }

    /// The code to type: for `online_code`, and for the phone alone.
    #[must_use]
    pub fn code(&self) -> Option<&Passcode> {
        self.code.as_ref()
    }

    /// What it was made under.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    /// See [`Terms::hold`].
    #[must_use]
    pub fn stands(&self, account: &Account) -> bool {
        self.terms.hold(account)
    }

    fn prompt(&self) -> String {
        match self.method {
            Method::QrCode => "Scan the QR code with your phone, and approve there".into(),
            Method::LoginApproval => {
                format!("Approve this login on your phone: the number is {}", self.number().unwrap_or_default())
            }
            _ => "Enter the code that your phone shows".into(),
        }
    }
}

/// What became of the phones of a login.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Phone {
    #[default]
    Idle,
    Asked(Request),
    Denied,
    Expired,
    Locked,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The login is verified.
    Approved,
    /// Its owner said no; counted.
    Denied,
    /// Not the number; counted, and the request is void.
    WrongNumber,
    /// Too late, or the account is another one by now.
    Expired,
    /// Too many wrong answers: an administrator has to unlock the account.
    Locked,
}

/// The outcome and all that has to be committed before it is told.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What to tell.
    pub outcome: Outcome,
    /// The account from now on.
    pub account: Account,
    /// The login from then on.
    pub login: Login,
}

/// How a login waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Nothing was decided yet.
    Waiting,
    /// It has passed the second step.
    Verified,
    /// The phone said no, or something wrong.
    Denied,
    /// The login is over, or its request is.
    Expired,
    /// The account is locked.
    Locked,
}

impl Login {
    /// Asks the phones, or says again what they were asked a moment ago.
    pub(super) fn ask(
        &mut self,
        method: Method,
        account: &Account,
        (budget, draw): (&mut RequestBudget, Draw),
        now: &Moment,
    ) -> Result<Challenge, LoginFault> {
        let State::Open { phone, until, .. } = &mut self.state else { return Err(LoginFault::NoSuchLogin) };
        let is_it = |request: &Request| request.method == method && request.stands(account) && now.boot < request.until;
        let fresh = !matches!(phone, Phone::Asked(request) if is_it(request));
        if fresh {
            // What nobody sees before it is scanned wears nobody out.
            if method != Method::QrCode {
                budget.take(now.boot).map_err(|wait| {
                    let reason = format!("too many requests were not approved; another can be made in {} s", wait.as_secs() + 1);
                    LoginFault::MethodUnavailable(method, reason)
                })?;
            }
            *phone = Phone::Asked(Request::new(method, draw, account, (now, *until)));
        }
        let Phone::Asked(request) = phone else { return Err(LoginFault::NoSuchLogin) };
        let request = request.clone();
        let asked = self.prompt(request.prompt(), now.boot);
        Ok(Challenge { request: Some((request, fresh)), ..asked })
    }

    /// What the phones are asked, as long as that is open.
    #[must_use]
    pub fn request(&self, now: BootTime) -> Option<&Request> {
        self.asked().filter(|request| now < request.until)
    }

    /// The same, be its time over or not.
    #[must_use]
    pub fn asked(&self) -> Option<&Request> {
        match &self.state {
            State::Open { phone: Phone::Asked(request), .. } => Some(request),
            _ => None,
        }
    }

    /// Another login of the account asks the phones now, or the request was dropped.
    pub fn supersede(&mut self) {
        if let State::Open { phone, .. } = &mut self.state {
            *phone = Phone::Expired;
        }
    }

    /// How it waits. Verified it is for a minute: whoever asks later asks for a login that is past, of an account that may be another by then.
    #[must_use]
    pub fn waiting(&self, now: BootTime) -> Waiting {
        match &self.state {
            State::Verified { at, .. } if now - *at >= TRUST_WITHIN => Waiting::Expired,
            State::Verified { .. } => Waiting::Verified,
            State::Open { until, .. } if now >= *until => Waiting::Expired,
            State::Open { phone, .. } => match phone {
                Phone::Asked(request) if now >= request.until => Waiting::Expired,
                Phone::Idle | Phone::Asked(_) => Waiting::Waiting,
                Phone::Denied => Waiting::Denied,
                Phone::Expired => Waiting::Expired,
                Phone::Locked => Waiting::Locked,
            },
        }
    }

    /// How long it waits still: for the phones, where they are asked.
    #[must_use]
    pub fn left(&self, now: BootTime) -> Duration {
        match &self.state {
            State::Open { until, .. } => self.request(now).map_or(*until, |request| request.until) - now,
            State::Verified { .. } => Duration::ZERO,
        }
    }

    /// Judges the decision of a phone that may make it. Nothing of `self` changes: see [`Decided`].
    #[must_use]
    pub fn decide(&self, account: &Account, (approve, number): (bool, Option<&str>), now: &Moment) -> Decided {
        let mut decided = Decided { outcome: Outcome::Expired, account: account.clone(), login: self.clone() };
        let Some(request) = self.request(now.boot).filter(|_| !self.is_over(now.boot)) else { return decided };
        let claimed = self.origin.claimed;
        let locked = decided.account.failures.gate(claimed, now) == Gate::Locked;
        let right = match (request.method, request.number(), number) {
            (Method::LoginApproval, Some(right), Some(number)) => right.as_bytes().ct_eq(number.as_bytes()).into(),
            (Method::LoginApproval, ..) => false,
            _ => true,
        };
        decided.outcome = match approve {
            _ if !request.stands(account) => Outcome::Expired,
            false => Outcome::Denied,
            // Its code has to be typed.
            true if request.method == Method::OnlineCode => return decided,
            true if locked => Outcome::Locked,
            true if !right => Outcome::WrongNumber,
            true => Outcome::Approved,
        };
        let by = request.method;
        let phone = match decided.outcome {
            Outcome::Approved => {
                decided.account.failures.passed(claimed);
                decided.login.state = State::Verified { at: now.boot, by, trusted: false, generation: account.generation };
                return decided;
            }
            Outcome::Denied | Outcome::WrongNumber => {
                decided.account.failures.count(claimed, now);
                Phone::Denied
            }
            Outcome::Expired => Phone::Expired,
            Outcome::Locked => Phone::Locked,
        };
        decided.login.end_request(phone);
        decided
    }

    fn end_request(&mut self, then: Phone) {
        if let State::Open { phone, .. } = &mut self.state {
            *phone = then;
        }
    }

    /// Compares the code that a phone shows; tells whether it was right, and what a person should know.
    pub(super) fn online_code(&mut self, typed: &str, account: &Account, now: BootTime) -> Result<(bool, Option<String>), LoginFault> {
        let unavailable = |reason: &str| LoginFault::MethodUnavailable(Method::OnlineCode, reason.into());
        let State::Open { phone: Phone::Asked(request), .. } = &mut self.state else {
            return Err(unavailable("no code was asked for in this login, or it is void: ask for another one"));
        };
        let stands = request.stands(account) && now < request.until;
        let Some(code) = request.code.as_mut().filter(|_| stands) else {
            return Err(unavailable("no code was asked for in this login, or it is void: ask for another one"));
        };
        Ok(match code.answer(typed, now) {
            Answer::Right => (true, None),
            Answer::Wrong => (false, None),
            Answer::Void => {
                self.end_request(Phone::Denied);
                (false, Some("the code is void now: ask for another one".into()))
            }
        })
    }
}

#[cfg(test)]
mod tests;
