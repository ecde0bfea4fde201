//! A scripted login for the tests: what the engine is asked and what the user sees, in one order. Anything else than the next line of the
//! script fails the test, and so does a line that is left over.

use std::cell::RefCell;
use std::collections::VecDeque;

use twostep::core::account::{Method, Status};
use twostep::core::login::Outcome;
use twostep::core::setup::Confirmation;
use twostep::proto::account::{Begun, Confirmed, SecurityCode};
use twostep::proto::login::{Answered, Challenge, Decision, Started, WaitOutcome};
use twostep::proto::secret::Secret;

use crate::account;
use crate::engine::{Engine, Failure};
use crate::qr::Form;
use crate::step::{self, Facts};
use crate::talk::{LONGEST_ANSWER, Reply, Silence, Talk, Tone};
use crate::verdict::{Denial, Pass};

/// One line.
#[derive(Debug)]
pub enum Line {
    Start(Result<Started, Failure>),
    Challenge(Method, Result<Challenge, Failure>),
    Answer(Method, &'static str, Result<Answered, Failure>),
    Wait(Result<WaitOutcome, Failure>),
    Trust(Result<u64, Failure>),
    Cancel,
    Status(Result<Status, Failure>),
    /// With what the NAS offers.
    BeginSetup(Result<&'static [Method], Failure>),
    /// The same, with an address.
    Mail(&'static str, Result<(), Failure>),
    ConfirmEmail(&'static str, Result<Confirmed, Failure>),
    Offer(Result<(), Failure>),
    Confirm(&'static str, Result<Confirmed, Failure>),
    Finish(Result<Vec<&'static str>, Failure>),
    /// A question with all of these in it, and what the user does.
    Ask(&'static [&'static str], Result<Reply, Silence>),
    /// Something said with this in it.
    Tell(Tone, &'static str),
}

pub const USER: &str = "alice";
pub const PASSWORD: &str = "wonderland";
const LOGIN: &str = "login-name";
const SETUP: &str = "setup-name";
pub const KEY: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP";

/// What the tests look at beside the script.
pub struct Played {
    pub result: Result<Pass, Denial>,
    /// Every question, as the user saw it.
    pub questions: Vec<String>,
}

struct Script {
    lines: RefCell<VecDeque<Line>>,
    questions: RefCell<Vec<String>>,
}

impl Script {
    #[track_caller]
    fn next(&self, what: &str) -> Line {
        self.lines.borrow_mut().pop_front().unwrap_or_else(|| panic!("{what}: the script is over"))
    }
}

struct Fake<'a>(&'a Script);

/// How the login goes on; may be changed by a test.
pub fn facts() -> Facts<'static> {
    Facts { user: USER, service: "sshd", remote: Some("192.0.2.7"), password: None, qr: Form::Blocks, trust_address: false }
}

fn play_with(lines: Vec<Line>, run: impl FnOnce(&mut dyn Engine, &mut dyn Talk) -> Result<Pass, Denial>) -> Played {
    let script = Script { lines: RefCell::new(lines.into()), questions: RefCell::default() };
    let result = run(&mut Fake(&script), &mut Fake(&script));
    let left = script.lines.into_inner();
    assert!(left.is_empty(), "left over: {left:?}");
    Played { result, questions: script.questions.into_inner() }
}

/// Plays a login to its end.
pub fn play(facts: Facts<'_>, lines: Vec<Line>) -> Played {
    play_with(lines, |engine, talk| step::run(&facts, engine, talk, &|user| user == "admin"))
}

/// Plays an account line.
pub fn play_account(user: &str, passed: Option<Pass>, lines: Vec<Line>) -> Result<Pass, Denial> {
    play_with(lines, |engine, talk| account::check(user, passed, engine, talk, &|user| user == "admin")).result
}

macro_rules! expect {
    ($script:expr, $what:literal, $pattern:pat => $value:expr) => {
        match $script.next($what) {
            $pattern => $value,
            other => panic!("{} where the script has {other:?}", $what),
        }
    };
}

impl Engine for Fake<'_> {
    fn start(&mut self, user: &str, service: &str, remote: Option<&str>) -> Result<Started, Failure> {
        assert!(user == USER || user == "admin", "{user}");
        assert_eq!((service, remote), ("sshd", facts().remote));
        expect!(self.0, "start", Line::Start(told) => told)
    }

    fn challenge(&mut self, login: &Secret, method: Method) -> Result<Challenge, Failure> {
        assert_eq!(login.expose(), LOGIN);
        expect!(self.0, "challenge", Line::Challenge(asked, told) => { assert_eq!(method, asked); told })
    }

    fn answer(&mut self, login: &Secret, method: Method, code: &Secret) -> Result<Answered, Failure> {
        assert_eq!(login.expose(), LOGIN);
        expect!(self.0, "answer", Line::Answer(by, typed, told) => { assert_eq!((method, code.expose()), (by, typed)); told })
    }

    fn wait(&mut self, login: &Secret) -> Result<WaitOutcome, Failure> {
        assert_eq!(login.expose(), LOGIN);
        expect!(self.0, "wait", Line::Wait(told) => told)
    }

    fn trust_address(&mut self, login: &Secret, _: &str) -> Result<u64, Failure> {
        assert_eq!(login.expose(), LOGIN);
        expect!(self.0, "trust", Line::Trust(told) => told)
    }

    fn cancel(&mut self, login: &Secret) {
        assert_eq!(login.expose(), LOGIN);
        expect!(self.0, "cancel", Line::Cancel => ());
    }

    fn status(&mut self, _: &str) -> Result<Status, Failure> {
        expect!(self.0, "status", Line::Status(told) => told)
    }

    fn begin_setup(&mut self, user: &str, setup: &Secret, address: Option<&str>) -> Result<Begun, Failure> {
        assert_eq!((user, setup.expose()), (USER, SETUP));
        let begun = |available: &[Method]| Begun { setup: setup.clone(), available: available.to_vec(), expires_in: 600 };
        match address {
            None => expect!(self.0, "begin_setup", Line::BeginSetup(told) => told.map(begun)),
            Some(given) => expect!(self.0, "mail", Line::Mail(address, told) => { assert_eq!(given, address); told.map(|()| begun(&[])) }),
        }
    }

    fn confirm_email(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        assert_eq!(setup.expose(), SETUP);
        expect!(self.0, "confirm_email", Line::ConfirmEmail(typed, told) => { assert_eq!(code.expose(), typed); told })
    }

    fn offer(&mut self, setup: &Secret) -> Result<SecurityCode, Failure> {
        assert_eq!(setup.expose(), SETUP);
        let uri = format!("otpauth://totp/nas:alice?secret={KEY}&issuer=nas");
        let code = |()| SecurityCode { secret: Secret::new(KEY.into()), uri: Secret::new(uri) };
        expect!(self.0, "offer", Line::Offer(told) => told.map(code))
    }

    fn confirm(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        assert_eq!(setup.expose(), SETUP);
        expect!(self.0, "confirm", Line::Confirm(typed, told) => { assert_eq!(code.expose(), typed); told })
    }

    fn finish(&mut self, setup: &Secret) -> Result<Vec<Secret>, Failure> {
        assert_eq!(setup.expose(), SETUP);
        let secrets = |codes: Vec<&str>| codes.into_iter().map(|code| Secret::new(code.into())).collect();
        expect!(self.0, "finish", Line::Finish(told) => told.map(secrets))
    }
}

impl Talk for Fake<'_> {
    fn ask(&mut self, text: &str) -> Result<Reply, Silence> {
        self.0.questions.borrow_mut().push(text.to_owned());
        let (parts, reply) = match self.0.next(text) {
            Line::Ask(parts, reply) => (parts, reply),
            other => panic!("{text:?} is asked where the script has {other:?}"),
        };
        assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text:?}");
        reply
    }

    fn tell(&mut self, tone: Tone, text: &str) {
        match self.0.next(text) {
            Line::Tell(expected, part) => assert!(tone == expected && text.contains(part), "{part:?} in {tone:?} {text:?}"),
            other => panic!("{text:?} is told where the script has {other:?}"),
        }
    }
}

// Lines as they are mostly needed.

pub fn started(decision: Decision) -> Started {
    Started {
        decision,
        login: None,
        methods: None,
        preferred: None,
        expires_in: None,
        setup: None,
        retry_after: None,
        notice: None,
        prompt: None,
    }
}

pub fn verify(methods: &[Method]) -> Line {
    Line::Start(Ok(Started {
        login: Some(Secret::new(LOGIN.into())),
        methods: Some(methods.to_vec()),
        preferred: methods.first().copied(),
        expires_in: Some(120),
        ..started(Decision::Verify)
    }))
}

pub fn setup_required() -> Line {
    Line::Start(Ok(Started { setup: Some(Secret::new(SETUP.into())), ..started(Decision::SetupRequired) }))
}

pub fn challenge(method: Method, prompt: &str) -> Line {
    Line::Challenge(method, Ok(Challenge { prompt: Secret::new(prompt.into()), qr: None, number: None, sent_to: None, expires_in: 120 }))
}

pub fn answer(method: Method, code: &'static str, outcome: Outcome) -> Line {
    Line::Answer(method, code, Ok(answered(outcome)))
}

pub fn answered(outcome: Outcome) -> Answered {
    Answered { outcome, attempts_left: None, retry_after: None, hint: None }
}

pub fn confirm(code: &'static str, outcome: Confirmation, hint: Option<&str>) -> Line {
    Line::Confirm(code, Ok(Confirmed { outcome, hint: hint.map(str::to_owned) }))
}

pub fn confirm_email(code: &'static str, outcome: Confirmation, hint: Option<&str>) -> Line {
    Line::ConfirmEmail(code, Ok(Confirmed { outcome, hint: hint.map(str::to_owned) }))
}

/// The user sees all these and types.
pub fn types(parts: &'static [&'static str], text: &str) -> Line {
    assert!(text.len() <= LONGEST_ANSWER);
    Line::Ask(parts, Ok(Reply::Typed(Secret::new(text.into()))))
}

/// The user breaks off, or there is none.
pub fn leaves(parts: &'static [&'static str]) -> Line {
    Line::Ask(parts, Err(Silence))
}
