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
mod tests {
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
}
