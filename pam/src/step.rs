//! The second step of one login, as a conversation.
//!
//! ```text
//!   start ──► not required, trusted ──► pass
//!     │  └──► locked, unknown ────────► denied, with what to do
//!     ├─ setup required ──► setup (see `setup`) ──► pass
//!     └─ verify ──► ask ◄──┬─ wrong, already used, unreadable: the hint stands in the next question
//!                    │     ├─ empty or ?: the other ways, by name
//!                    ▼     └─ engine started anew: begin again
//!                  verified ──► where configured: trust this address? ──► pass
//!
//!   nobody answers, 3 wrong codes, 20 questions ──► denied
//!   no decision ──► denied, but for the account that the button brought back
//! ```
//! All that a user has to know stands in the text of a question, since sshd shows nothing else in time.
//!
//! This module counts no guesses: the engine does, over all logins. What it counts bounds one conversation.

use twostep::core::account::Method;
use twostep::core::login::Outcome;
use twostep::core::recovery_code::RecoveryCode;
use twostep::proto::login::{Answered, Challenge, Decision, Started, WaitOutcome};
use twostep::proto::secret::Secret;
use zeroize::Zeroizing;

use crate::engine::{Engine, Failure};
use crate::qr::{self, Form};
use crate::talk::{Reply, Silence, Talk, Tone, clean, moves};
use crate::verdict::{Denial, Pass, Why};

/// Wrong codes before this login is refused.
const TRIES: u32 = 3;
/// Questions in one login, whatever comes back for them.
const QUESTIONS: u32 = 20;
/// Answers in a row that a client gave by itself.
const ECHOES: u32 = 2;
/// So many times it is begun again after the engine was lost.
const RESTARTS: u32 = 2;

/// Who logs in, and where.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The account.
    pub user: &'a str,
    /// The login service.
    pub service: &'a str,
    /// The client's address.
    pub remote: Option<&'a str>,
    /// The password that was given before, if there was one.
    pub password: Option<&'a Secret>,
    /// How a QR code is drawn.
    pub qr: Form,
    /// Offer not to verify again from this address.
    pub trust_address: bool,
}

/// What ends a conversation without a pass.
#[derive(Debug)]
pub(crate) enum Stop {
    Engine(Failure),
    Silence,
    Denied(Denial),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Engine(failure)
    }
}

impl From<Silence> for Stop {
    fn from(Silence: Silence) -> Self {
        Self::Silence
    }
}

pub(crate) fn deny<T>(why: Why, told: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Denied(Denial::new(why, told)))
}

/// The second step. `is_recovered` tells whether the button brought an account back. Why a login is refused has been told when this returns.
///
/// # Errors
/// Whatever does not let in.
pub fn run(facts: &Facts<'_>, engine: &mut dyn Engine, talk: &mut dyn Talk, is_recovered: &dyn Fn(&str) -> bool) -> Result<Pass, Denial> {
    let mut step = Step { facts, engine, talk, notes: Vec::new(), questions: 0, echoes: 0, wrong: 0 };
    let result = step.go_on().or_else(|stop| match stop {
        Stop::Denied(denial) => Err(denial),
        Stop::Silence => Err(Denial::new(Why::NoAnswer, if step.questions > 1 { "" } else { NO_QUESTIONS })),
        Stop::Engine(failure) => without_decision(&failure, facts.user, is_recovered),
    });
    if let Err(denial) = &result
        && !denial.told.is_empty()
    {
        talk.tell(Tone::Error, &denial.told);
    }
    result
}

const NO_QUESTIONS: &str = "This login needs a second step, and nobody answered the question for it. Use a client that shows questions \
                            (ssh: keyboard-interactive).";

const UNDECIDED: &str = "2-step verification can't be checked now, so this login is refused. An administrator finds the reason in the log; when \
                         nobody gets in any more, the reset button helps.";

/// What to do where the engine failed.
///
/// # Errors
/// A denial, unless the engine gave no decision on an account that the button brought back.
pub fn without_decision(failure: &Failure, user: &str, is_recovered: &dyn Fn(&str) -> bool) -> Result<Pass, Denial> {
    let reason = match failure {
        Failure::BrokenOff => return Err(Denial::new(Why::NoAnswer, "")),
        Failure::NoSuchAccount => return Err(Denial::new(Why::UnknownUser, "")),
        Failure::Over => return Err(Denial::new(Why::Wrong, "That took too long: log in again.")),
        Failure::Unavailable(reason) => return Err(Denial::new(Why::Wrong, sentence(reason))),
        Failure::Refused(error) => return Err(Denial { logged: clean(error), ..Denial::new(Why::NotPassed, refusal(error)) }),
        Failure::Lost => "the service does not answer",
        Failure::Silent(reason) => reason,
    };
    if is_recovered(user) {
        return Ok(Pass::Recovered);
    }
    // The reason may name files, which are none of the user's business.
    Err(Denial { logged: clean(reason), ..Denial::new(Why::Undecided, UNDECIDED) })
}

/// What an error that is a decision means to whoever logs in.
fn refusal(error: &str) -> &'static str {
    match error.rsplit('.').next() {
        Some("AlreadyEnabled") => "2-step verification was set up elsewhere meanwhile: log in again.",
        Some("PasswordlessEnabled") => "This account logs in without a password, which 2-step verification excludes.",
        _ => "2-step verification can't be gone through in this program.",
    }
}

/// One conversation.
pub(crate) struct Step<'a> {
    pub facts: &'a Facts<'a>,
    pub engine: &'a mut dyn Engine,
    pub talk: &'a mut dyn Talk,
    /// What stands before the next question.
    notes: Vec<String>,
    questions: u32,
    echoes: u32,
    wrong: u32,
}

/// What the user did with a question.
pub(crate) enum Said {
    /// A code, or what shall be one.
    Code(Secret),
    /// Enter alone.
    Nothing,
    /// `?`.
    Help,
    /// Nothing that could be sent on; the reason is noted.
    NoCode,
}

/// How the question for one method ended.
enum Ended {
    Verified(Answered),
    AnotherWay,
    /// This one, or the recovery code that was typed in its place.
    Unavailable(Method),
}

impl Step<'_> {
    /// Begins, and begins again where the engine is lost on the way.
    fn go_on(&mut self) -> Result<Pass, Stop> {
        for _ in 0..RESTARTS {
            match self.once() {
                Err(Stop::Engine(Failure::Lost)) => self.note("The verification service was started anew: once more, please."),
                ended => return ended,
            }
        }
        self.once()
    }

    fn once(&mut self) -> Result<Pass, Stop> {
        let Facts { user, service, remote, .. } = *self.facts;
        let started = self.engine.start(user, service, remote)?;
        let notice = started.notice.as_deref().map(sentence);
        match started.decision {
            Decision::NotRequired | Decision::Trusted => {
                if let Some(notice) = notice {
                    self.talk.tell(Tone::Info, &notice);
                }
                Ok(if started.decision == Decision::Trusted { Pass::Trusted } else { Pass::NotRequired })
            }
            Decision::Verify => {
                self.notes.extend(notice);
                self.verify(started)
            }
            Decision::SetupRequired => match started.setup {
                Some(setup) => {
                    self.notes.extend(notice);
                    self.set_up(&setup)
                }
                None => deny(Why::NotPassed, "2-step verification is required for this account: set it up first (twostep setup)."),
            },
            Decision::Locked => deny(Why::TooMany, locked(started.retry_after)),
        }
    }

    fn verify(&mut self, started: Started) -> Result<Pass, Stop> {
        let rubbish = || Stop::Engine(Failure::Silent("the answer names no login or no method".into()));
        let login = started.login.ok_or_else(rubbish)?;
        let mut methods = started.methods.unwrap_or_default();
        let preferred = started.preferred.filter(|method| methods.contains(method));
        let mut method = preferred.or(methods.first().copied()).ok_or_else(rubbish)?;
        let plain = |prompt| Challenge { prompt, qr: None, number: None, sent_to: None, expires_in: 0 };
        let mut begun = started.prompt.filter(|_| preferred.is_some()).map(plain);
        let passed = loop {
            match self.by(&login, (method, begun.take()), &methods) {
                Ok(Ended::Verified(answered)) => break self.verified(&login, answered),
                Ok(Ended::AnotherWay) => {}
                Ok(Ended::Unavailable(unusable)) => {
                    methods.retain(|usable| *usable != unusable);
                    if methods.is_empty() {
                        break deny(Why::Wrong, self.notes.join("\n"));
                    }
                }
                Err(stop) => break Err(stop),
            }
            match self.choose(&methods, method) {
                Ok(chosen) => method = chosen,
                Err(stop) => break Err(stop),
            }
        };
        if matches!(passed, Err(Stop::Silence | Stop::Denied(_) | Stop::Engine(Failure::BrokenOff))) {
            self.engine.cancel(&login);
        }
        passed
    }

    /// Asks for one method, as often as it takes; it may have begun with the login.
    fn by(&mut self, login: &Secret, (method, begun): (Method, Option<Challenge>), methods: &[Method]) -> Result<Ended, Stop> {
        let challenge = match begun.map_or_else(|| self.engine.challenge(login, method), Ok) {
            Ok(challenge) => challenge,
            Err(Failure::Unavailable(reason)) => return Ok(self.unavailable(method, &reason)),
            Err(failure) => return Err(failure.into()),
        };
        let question = question(&challenge, method, methods.len() > 1, self.facts.qr);
        loop {
            let typed = match self.ask(&question)? {
                Said::Help => return Ok(Ended::AnotherWay),
                Said::NoCode => continue,
                Said::Nothing if method.is_typed() => return Ok(Ended::AnotherWay),
                Said::Nothing => None,
                Said::Code(code) => meant(method, methods, &code).map(|method| (method, code)),
            };
            let Some((method, code)) = typed else {
                match self.approved(login)? {
                    Some(answered) => return Ok(Ended::Verified(answered)),
                    None => continue,
                }
            };
            match self.engine.answer(login, method, &code) {
                Ok(answered) => match answered.outcome {
                    Outcome::Verified => return Ok(Ended::Verified(answered)),
                    Outcome::Wrong => self.wrong(&answered)?,
                    Outcome::AlreadyUsed => self.note(sentence(answered.hint.as_deref().unwrap_or("already used"))),
                    Outcome::Expired => return Err(Failure::Over.into()),
                    Outcome::Locked => return deny(Why::TooMany, locked(answered.retry_after)),
                },
                Err(Failure::Unavailable(reason)) => return Ok(self.unavailable(method, &reason)),
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    fn unavailable(&mut self, method: Method, reason: &str) -> Ended {
        self.note(sentence(&format!("{}: {reason}", method.title())));
        Ended::Unavailable(method)
    }

    fn wrong(&mut self, answered: &Answered) -> Result<(), Stop> {
        self.wrong += 1;
        if self.wrong >= TRIES {
            return deny(Why::TooMany, "Too many wrong codes.");
        }
        let hint = answered.hint.as_deref().map(|hint| format!(" {}", sentence(hint))).unwrap_or_default();
        self.note(match (answered.attempts_left, answered.retry_after) {
            (_, Some(seconds)) => format!("Wrong code; the next try has to wait {seconds} s.{hint}"),
            (Some(0), None) => format!("Wrong code; the next try has to wait.{hint}"),
            _ => format!("Wrong code.{hint}"),
        });
        Ok(())
    }

    /// What the phone says, after Enter: whoever was quicker than the phone waits a while, and is then asked again, so that another way is open.
    fn approved(&mut self, login: &Secret) -> Result<Option<Answered>, Stop> {
        match self.engine.wait(login)? {
            WaitOutcome::Verified => Ok(Some(Answered { outcome: Outcome::Verified, attempts_left: None, retry_after: None, hint: None })),
            WaitOutcome::Waiting => {
                self.note("Not approved yet.");
                Ok(None)
            }
            WaitOutcome::Denied => deny(Why::Wrong, "The login was denied on the phone, or the number was wrong."),
            WaitOutcome::Expired => deny(Why::Wrong, "That took too long, or another login took its place: log in again."),
            WaitOutcome::Locked => deny(Why::TooMany, locked(None)),
        }
    }

    /// "Try another way."
    fn choose(&mut self, methods: &[Method], current: Method) -> Result<Method, Stop> {
        let default = if methods.contains(&current) { Some(current) } else { methods.first().copied() };
        let Some(default) = default else { return Err(Failure::Over.into()) };
        if methods.len() == 1 {
            self.note(format!("There is no other way than the {}.", default.title()));
            return Ok(default);
        }
        let list: String = methods.iter().zip(1..).map(|(method, n)| format!("  {n}  {}\n", method.title())).collect();
        let question = Zeroizing::new(format!("Ways to verify:\n{list}Which one, by number or name (Enter: {}): ", default.title()));
        loop {
            match self.ask(&question)? {
                Said::Nothing => return Ok(default),
                Said::Code(typed) => match named(methods, typed.expose()) {
                    Some(method) => return Ok(method),
                    None => self.note("There is no such way."),
                },
                Said::Help | Said::NoCode => {}
            }
        }
    }

    fn verified(&mut self, login: &Secret, answered: Answered) -> Result<Pass, Stop> {
        if let Some(hint) = &answered.hint {
            self.talk.tell(Tone::Info, &sentence(hint));
        }
        if let Some(remote) = self.facts.remote.filter(|_| self.facts.trust_address) {
            self.offer_trust(login, remote)?;
        }
        Ok(Pass::Verified)
    }

    fn offer_trust(&mut self, login: &Secret, remote: &str) -> Result<(), Stop> {
        let question = format!(
            "Don't ask for a second step again when you log in from {remote}? Whoever else comes from there is not asked either. [y/N] "
        );
        let Said::Code(typed) = self.ask(&question)? else { return Ok(()) };
        if !["y", "yes"].iter().any(|yes| typed.expose().eq_ignore_ascii_case(yes)) {
            return Ok(());
        }
        let told = match self.engine.trust_address(login, &format!("{} from {remote}", self.facts.service)) {
            Ok(seconds) => format!("{remote} is trusted for {} days.", seconds / 86_400),
            Err(_) => format!("{remote} is not trusted: the daemon is not configured to (login.trust_by_address), or can't store it."),
        };
        self.talk.tell(Tone::Info, &told);
        Ok(())
    }

    /// Remembers something to say with the next question.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Whether there is something to say with the next question.
    pub(crate) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Asks a question, with what there is to say before it.
    pub(crate) fn ask(&mut self, question: &str) -> Result<Said, Stop> {
        if self.questions >= QUESTIONS {
            return deny(Why::TooMany, "Too many questions without an answer.");
        }
        let Reply::Typed(typed) = self.put(question)? else {
            self.note("That is no code.");
            return Ok(Said::NoCode);
        };
        if self.is_echo(&typed) {
            self.echoes += 1;
            if self.echoes >= ECHOES {
                return deny(Why::NoAnswer, NO_QUESTIONS);
            }
            // Not sent on: a client that answers by itself must not use up the account's tries.
            self.note("That is the name or the password, not a code.");
            return Ok(Said::NoCode);
        }
        self.echoes = 0;
        Ok(match typed.expose().trim() {
            "" => Said::Nothing,
            "?" => Said::Help,
            text if text.len() == typed.expose().len() => Said::Code(typed),
            text => Said::Code(Secret::new(text.to_owned())),
        })
    }

    /// Puts a question however many there were, with what there is to say before it.
    pub(crate) fn put(&mut self, question: &str) -> Result<Reply, Stop> {
        self.questions += 1;
        let text = self.with_notes(question);
        Ok(self.talk.ask(&text)?)
    }

    /// The text in one allocation, since it may hold a key.
    fn with_notes(&mut self, question: &str) -> Zeroizing<String> {
        let notes = std::mem::take(&mut self.notes);
        let length = notes.iter().map(|note| note.len() + 1).sum::<usize>() + question.len();
        let mut text = Zeroizing::new(String::with_capacity(length));
        for note in &notes {
            text.push_str(note);
            text.push('\n');
        }
        text.push_str(question);
        text
    }

    /// Whether a client has answered by itself: hidden questions with the password, others with the name.
    fn is_echo(&self, typed: &Secret) -> bool {
        typed.expose() == self.facts.user || self.facts.password.is_some_and(|password| !password.is_empty() && password == typed)
    }
}

/// The text of a question. A QR code begins on a line of its own; ssh puts `(alice@nas) ` before the first. What is in it stands below, for
/// whoever logs in on the phone itself, or sees no drawing.
fn question(challenge: &Challenge, method: Method, others: bool, form: Form) -> Zeroizing<String> {
    let address = challenge.qr.as_ref().map_or("", |text| text.expose());
    let drawn = challenge.qr.as_ref().and_then(|text| qr::draw(text.expose(), form));
    let prompt = if address.is_empty() || drawn.is_some() { clean(challenge.prompt.expose()) } else { OPEN.into() };
    let prompt = Zeroizing::new(prompt);
    let prompt = prompt.trim_end().trim_end_matches(':');
    let number =
        challenge.number.as_ref().map(|number| Zeroizing::new(clean(number.expose()))).filter(|number| !prompt.contains(number.as_str()));
    let mut more = Vec::new();
    if !method.is_typed() {
        more.push("then press Enter");
    }
    if others {
        more.push("? for other ways");
    }
    let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
    let room = prompt.len() + more.len() + address.len() + 64 + drawn.as_ref().map_or(0, |drawn| drawn.len());
    let mut text = Zeroizing::new(String::with_capacity(room));
    if !address.is_empty() {
        text.push('\n');
        text.push_str(drawn.as_ref().map_or("", |drawn| drawn.as_str()));
        text.extend(address.chars().filter(|c| !moves(*c)));
        text.push('\n');
    }
    if let Some(number) = number {
        text.push_str("Number ");
        text.push_str(&number);
        text.push_str(": ");
    }
    text.push_str(prompt);
    text.push_str(&more);
    text.push_str(": ");
    text
}

/// In place of the engine's words where no QR code can be drawn.
const OPEN: &str = "Open this address on your phone, and approve there";

/// What a typed text answers, if anything. A recovery code is understood wherever something is asked for: it looks like nothing else.
fn meant(asked: Method, methods: &[Method], typed: &Secret) -> Option<Method> {
    let recovery = methods.contains(&Method::RecoveryCode) && RecoveryCode::parse(typed.expose()).is_some();
    if recovery { Some(Method::RecoveryCode) } else { Some(asked).filter(|method| method.is_typed()) }
}

/// A method by its number in the list, its name, or a part of it that fits no other.
fn named(methods: &[Method], typed: &str) -> Option<Method> {
    if let Ok(number) = typed.parse::<usize>() {
        return number.checked_sub(1).and_then(|at| methods.get(at)).copied();
    }
    // It may be a code, typed too early.
    let typed = Zeroizing::new(typed.to_ascii_lowercase());
    let whole = |method: &&Method| method.as_str() == *typed || method.title().eq_ignore_ascii_case(&typed);
    let part =
        |method: &&Method| typed.len() > 1 && (method.as_str().contains(&*typed) || method.title().to_ascii_lowercase().contains(&*typed));
    methods.iter().find(whole).copied().or_else(|| {
        let mut fitting = methods.iter().filter(part);
        fitting.next().copied().filter(|_| fitting.next().is_none())
    })
}

fn locked(retry_after: Option<u64>) -> String {
    match retry_after {
        Some(seconds) => format!("Too many wrong answers: try again in {seconds} s."),
        None => "Too many wrong answers: an administrator has to unlock the account (twostep unlock).".into(),
    }
}

/// The engine's words as a sentence.
pub(crate) fn sentence(hint: &str) -> String {
    let hint = clean(hint);
    let mut letters = hint.chars();
    let first = letters.next().map(|first| first.to_ascii_uppercase().to_string()).unwrap_or_default();
    let end = if hint.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

#[cfg(test)]
mod tests;
