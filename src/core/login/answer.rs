//! A typed answer: right, wrong, or not looked at; and all that follows from it.
//!
//! ```text
//!  verified or over? ──► has it the method? ──► is the count's gate open? ──► the method's own judgement ──► counted, or forgiven
//! ```
//! This module stores nothing: it asks [`Records`] and gives [`Answered`], which the caller commits before it is told.

use serde::{Deserialize, Serialize};

use super::{Login, LoginFault, Now, State};
use crate::core::account::{Account, Method};
use crate::core::clock::{Moment, PlausibleTime};
use crate::core::lockout::Gate;
use crate::core::passcode;
use crate::core::recovery_code::RecoveryCode;
use crate::core::time::BootTime;
use crate::core::totp::{self, Enrolment, Mark, Skew, TimeStep, Verdict};

/// Why an answer was not judged: nothing was decided, nothing is counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure<E> {
    /// The call.
    Fault(LoginFault),
    /// The store.
    Records(E),
}

impl<E> From<LoginFault> for Failure<E> {
    fn from(fault: LoginFault) -> Self {
        Self::Fault(fault)
    }
}

/// The outcome of a typed answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Let in.
    Verified,
    /// Not the code; counted.
    Wrong,
    /// A code that was accepted before; not counted.
    AlreadyUsed,
    /// The login is over.
    Expired,
    /// Too many wrong answers: this one was not looked at.
    Locked,
}

/// What the store knows, looked up as it is needed. All of it is of the login's account.
pub trait Records {
    /// A failure of the store: nothing is decided.
    type Error;
    /// The enrolment in force.
    ///
    /// # Errors
    /// The store's.
    fn enrolment(&mut self) -> Result<Option<Enrolment>, Self::Error>;
    /// How a step of the enrolment was marked.
    ///
    /// # Errors
    /// The store's.
    fn mark(&mut self, step: TimeStep) -> Result<Option<Mark>, Self::Error>;
    /// Whether this is a recovery code of the account.
    ///
    /// # Errors
    /// The store's.
    fn recovery_code(&mut self, code: &RecoveryCode) -> Result<CodeState, Self::Error>;
}

/// What the store knows of a recovery code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeState {
    /// Good, once.
    Unused,
    /// Spent.
    Used,
    /// None of the present list.
    Unknown,
}

/// The outcome and all that has to be committed before it is told.
#[derive(Clone, Debug)]
pub struct Answered {
    /// What to tell.
    pub outcome: Outcome,
    /// Wrong answers left before a wait.
    pub attempts_left: Option<u32>,
    /// Seconds until an answer is looked at.
    pub retry_after: Option<u64>,
    /// What a person should do.
    pub hint: Option<String>,
    /// The account from now on.
    pub account: Account,
    /// Steps to mark.
    pub marks: Vec<(TimeStep, Mark)>,
    /// A recovery code to use up.
    pub spent: Option<RecoveryCode>,
    /// The login from then on.
    pub login: Login,
}

impl Login {
    /// Judges a typed answer. Nothing of `self` changes: see [`Answered`].
    ///
    /// # Errors
    /// See [`Failure`]; a `LoginFault` is never `NotVerified`.
    pub fn answer<R: Records>(
        &self,
        account: &Account,
        (method, code): (Method, &str),
        now: &Now,
        records: &mut R,
    ) -> Result<Answered, Failure<R::Error>> {
        let mut answered = Answered::unchanged(self, account);
        if self.verified_by().is_some() && !self.is_over(now.moment.boot) {
            return Ok(answered.with(Outcome::AlreadyUsed, Some("this login is verified already".into())));
        }
        if self.is_over(now.moment.boot) || !account.is_enabled() {
            return Ok(answered.with(Outcome::Expired, None));
        }
        if !account.answerable().contains(method) {
            return Err(LoginFault::MethodNotEnabled(method).into());
        }
        let gate = account.failures.gate(self.origin.claimed, &now.moment);
        if method.is_typed() && !gate.is_open() {
            answered.retry_after = gate.retry_after();
            return Ok(answered.with(Outcome::Locked, self.closed(gate)));
        }
        match method {
            Method::SecurityCode => {
                let time = now.time.map_err(|fault| LoginFault::MethodUnavailable(method, fault.to_string()))?;
                answered.security_code(code, time, records).map_err(Failure::Records)?;
            }
            Method::RecoveryCode => answered.recovery_code(code, records).map_err(Failure::Records)?,
            Method::EmailCode => answered.email_code(code, now.moment.boot)?,
            Method::OnlineCode => {
                let (right, hint) = answered.login.online_code(code, account, now.moment.boot)?;
                (answered.outcome, answered.hint) = (if right { Outcome::Verified } else { Outcome::Wrong }, hint);
            }
            Method::QrCode | Method::LoginApproval => {
                return Err(LoginFault::MethodUnavailable(method, "it is answered on the phone".into()).into());
            }
        }
        answered.settle(method, &now.moment);
        Ok(answered)
    }
}

impl Answered {
    fn unchanged(login: &Login, account: &Account) -> Self {
        let (login, account) = (login.clone(), account.clone());
        Self { outcome: Outcome::Wrong, attempts_left: None, retry_after: None, hint: None, account, marks: vec![], spent: None, login }
    }

    fn with(self, outcome: Outcome, hint: Option<String>) -> Self {
        Self { outcome, hint, ..self }
    }

    fn security_code<R: Records>(&mut self, code: &str, time: PlausibleTime, records: &mut R) -> Result<(), R::Error> {
        // An enabled account without its enrolment can't come from the store; if it does, no code is right.
        let Some(enrolment) = records.enrolment()? else { return Ok(()) };
        let judged = totp::judge(&enrolment, self.account.drift, code, time, |step| records.mark(step))?;
        (self.marks, self.account.drift) = (judged.marks, judged.drift);
        (self.outcome, self.hint) = match judged.verdict {
            Verdict::Accepted { .. } => (Outcome::Verified, None),
            Verdict::AlreadyUsed { next_in: 0 } => (Outcome::AlreadyUsed, Some("already used: enter the code shown now".into())),
            Verdict::AlreadyUsed { next_in } => (Outcome::AlreadyUsed, Some(format!("already used: next code in {next_in} s"))),
            Verdict::Wrong { skew } => (Outcome::Wrong, skew.map(skew_hint)),
        };
        Ok(())
    }

    fn recovery_code<R: Records>(&mut self, code: &str, records: &mut R) -> Result<(), R::Error> {
        let Some(code) = RecoveryCode::parse(code) else { return Ok(()) };
        match records.recovery_code(&code)? {
            CodeState::Unknown => {}
            CodeState::Used => (self.outcome, self.hint) = (Outcome::AlreadyUsed, Some("this recovery code was used before".into())),
            CodeState::Unused => {
                let left = self.account.recovery_codes_left.saturating_sub(1);
                self.account.recovery_codes_left = left;
                self.spent = Some(code);
                (self.outcome, self.hint) = (Outcome::Verified, Some(format!("{left} recovery codes are left")));
            }
        }
        Ok(())
    }

    fn email_code(&mut self, code: &str, now: BootTime) -> Result<(), LoginFault> {
        let State::Open { mailed: Some(mailed), .. } = &mut self.login.state else {
            return Err(LoginFault::MethodUnavailable(Method::EmailCode, "no code was sent in this login".into()));
        };
        if !mailed.stands(&self.account, now) {
            return Err(LoginFault::MethodUnavailable(Method::EmailCode, "the code is void: have another one sent".into()));
        }
        match mailed.code.answer(code, now) {
            passcode::Answer::Right => self.outcome = Outcome::Verified,
            passcode::Answer::Wrong => {}
            passcode::Answer::Void => self.hint = Some("the code is void now: have another one sent".into()),
        }
        Ok(())
    }

    /// Counts, or forgives, and moves the login on.
    fn settle(&mut self, method: Method, now: &Moment) {
        let claimed = self.login.origin.claimed;
        match self.outcome {
            Outcome::Verified => {
                self.account.failures.passed(claimed);
                self.login.state = State::Verified { at: now.boot, by: method, trusted: false, generation: self.account.generation };
            }
            Outcome::Wrong => {
                self.account.failures.count(claimed, now);
                let gate = self.account.failures.gate(claimed, now);
                self.retry_after = gate.retry_after();
                self.attempts_left = Some(if let Gate::Open { attempts_left } = gate { attempts_left } else { 0 });
                if self.hint.is_none() {
                    self.hint = self.login.closed(gate);
                }
            }
            Outcome::AlreadyUsed | Outcome::Expired | Outcome::Locked => {}
        }
    }
}

/// What a person should do about a wrong clock.
pub(in crate::core) fn skew_hint(skew: Skew) -> String {
    let seconds = skew.seconds.unsigned_abs();
    let (amount, unit) = if seconds < 3_600 - 300 { (seconds.div_ceil(60), "min") } else { ((seconds + 1_800) / 3_600, "h") };
    let side = if skew.seconds > 0 { "ahead of" } else { "behind" };
    let advice = if skew.learnt { "enter the next code, and set the wrong clock" } else { "set the wrong clock, then try again" };
    format!("the authenticator's clock is about {amount} {unit} {side} this machine's: {advice}")
}
