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
        self.questions += 1;
        if self.questions > QUESTIONS {
            return deny(Why::TooMany, "Too many questions without an answer.");
        }
        let text = self.with_notes(question);
        let reply = self.talk.ask(&text)?;
        let Reply::Typed(typed) = reply else {
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
mod tests {
    use super::Method::{EmailCode, LoginApproval, QrCode, RecoveryCode as RecoveryCodes, SecurityCode};
    use super::*;
    use crate::script::{Line, PASSWORD, USER, answer, answered, challenge, facts, leaves, play, setup_required, started, types, verify};

    const APP: &str = "Enter the code that your authenticator app shows";
    const BOTH: &[Method] = &[SecurityCode, RecoveryCodes];

    fn denied(why: Why) -> impl Fn(&Result<Pass, Denial>) -> bool {
        move |result| matches!(result, Err(denial) if denial.why == why)
    }

    #[track_caller]
    fn ends(lines: Vec<Line>, expected: Result<Pass, Why>) -> Vec<String> {
        let played = play(facts(), lines);
        assert_eq!(played.result.map_err(|denial| denial.why), expected);
        played.questions
    }

    #[test]
    fn who_has_no_second_step_is_asked_nothing() {
        ends(vec![Line::Start(Ok(started(Decision::NotRequired)))], Ok(Pass::NotRequired));
        ends(vec![Line::Start(Ok(started(Decision::Trusted)))], Ok(Pass::Trusted));
    }

    #[test]
    fn whatever_is_said_begins_with_a_capital_letter_and_ends() {
        assert_eq!(sentence("already used: next code in 12 s"), "Already used: next code in 12 s.");
        assert_eq!((&*sentence("3 are left."), &*sentence("really?")), ("3 are left.", "Really?"));
        for failure in [Failure::Over, Failure::Unavailable("no server".into()), Failure::Silent("x".into()), Failure::Lost] {
            let denial = without_decision(&failure, USER, &|_| false).unwrap_err();
            assert!(!denial.told.starts_with(char::is_lowercase) && denial.told.ends_with('.'), "{}", denial.told);
        }
        for error in ["AlreadyEnabled", "PasswordlessEnabled", "PermissionDenied", "NotVerified", "SecurityCodeMissing"] {
            let error = format!("io.twostep.Account.{error}");
            let denial = without_decision(&Failure::Refused(error.clone()), USER, &|_| false).unwrap_err();
            assert!(denial.told.ends_with('.') && !denial.told.contains("io.twostep"), "{}", denial.told);
            assert_eq!(denial.logged, error);
        }
    }

    #[test]
    fn a_notice_is_said_whatever_the_decision() {
        let with = |decision| Started { notice: Some("denied yesterday\x1b[2J".into()), ..started(decision) };
        let told = || Line::Tell(Tone::Info, "Denied yesterday [2J.");
        ends(vec![Line::Start(Ok(with(Decision::NotRequired))), told()], Ok(Pass::NotRequired));
        ends(vec![Line::Start(Ok(with(Decision::Trusted))), told()], Ok(Pass::Trusted));
        let Line::Start(Ok(verify)) = verify(BOTH) else { unreachable!() };
        let verify = Started { notice: Some("denied yesterday".into()), ..verify };
        let asked = types(&["Denied yesterday.\nEnter the code"], "123456");
        let right = answer(SecurityCode, "123456", Outcome::Verified);
        ends(vec![Line::Start(Ok(verify)), challenge(SecurityCode, APP), asked, right], Ok(Pass::Verified));
    }

    #[test]
    fn the_common_case_is_one_question() {
        let questions = ends(
            vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), answer(SecurityCode, "123456", Outcome::Verified)],
            Ok(Pass::Verified),
        );
        assert_eq!(questions, ["Enter the code that your authenticator app shows (? for other ways): "]);
    }

    #[test]
    fn a_login_that_begins_with_its_question_needs_no_challenge_for_it() {
        let begun = |methods| {
            let Line::Start(Ok(started)) = verify(methods) else { unreachable!() };
            Started { prompt: Some(Secret::new(APP.into())), ..started }
        };
        let right = || answer(SecurityCode, "123456", Outcome::Verified);
        let questions = ends(vec![Line::Start(Ok(begun(BOTH))), types(&[], "123456"), right()], Ok(Pass::Verified));
        assert_eq!(questions, ["Enter the code that your authenticator app shows (? for other ways): "]);
        // Whoever comes back to it begins it anew, and what is said of no method is a question for none.
        let there_and_back = vec![Line::Start(Ok(begun(BOTH))), types(&[APP], "?"), types(&["Which one"], "")];
        let again = vec![challenge(SecurityCode, APP), types(&[], "123456"), right()];
        ends(there_and_back.into_iter().chain(again).collect(), Ok(Pass::Verified));
        let of_none = Started { preferred: None, ..begun(BOTH) };
        ends(vec![Line::Start(Ok(of_none)), challenge(SecurityCode, APP), types(&[], "123456"), right()], Ok(Pass::Verified));
    }

    #[test]
    fn a_wrong_code_is_said_in_the_next_question_and_three_end_it() {
        let wrong = |code| Line::Answer(SecurityCode, code, Ok(Answered { attempts_left: Some(4), ..answered(Outcome::Wrong) }));
        let hinted = Answered { hint: Some("the clock is 3 min ahead".into()), attempts_left: Some(0), ..answered(Outcome::Wrong) };
        ends(
            vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&[], "000001"),
                wrong("000001"),
                types(&["Wrong code.\nEnter the code"], " 000002 "),
                Line::Answer(SecurityCode, "000002", Ok(hinted)),
                types(&["the next try has to wait. The clock is 3 min ahead.\n"], "000003"),
                wrong("000003"),
                Line::Cancel,
                Line::Tell(Tone::Error, "Too many wrong codes"),
            ],
            Err(Why::TooMany),
        );
    }

    #[test]
    fn a_used_code_is_no_wrong_one_and_the_wait_is_said() {
        let used = || Answered { hint: Some("already used: next code in 12 s".into()), ..answered(Outcome::AlreadyUsed) };
        let mut lines = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456")];
        for _ in 0..4 {
            lines.push(Line::Answer(SecurityCode, "123456", Ok(used())));
            lines.push(types(&["Already used: next code in 12 s.\nEnter the code"], "123456"));
        }
        lines.push(answer(SecurityCode, "123456", Outcome::Verified));
        ends(lines, Ok(Pass::Verified));
    }

    #[test]
    fn locked_is_said_with_what_to_do() {
        for (retry_after, words) in [(Some(30), "in 30 s"), (None, "administrator")] {
            let at_start = Started { retry_after, ..started(Decision::Locked) };
            ends(vec![Line::Start(Ok(at_start)), Line::Tell(Tone::Error, words)], Err(Why::TooMany));
            let on_the_way = Answered { retry_after, ..answered(Outcome::Locked) };
            let script = vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&[], "123456"),
                Line::Answer(SecurityCode, "123456", Ok(on_the_way)),
                Line::Cancel,
                Line::Tell(Tone::Error, words),
            ];
            ends(script, Err(Why::TooMany));
        }
    }

    #[test]
    fn a_login_that_took_too_long_is_refused() {
        let late = [answer(SecurityCode, "123456", Outcome::Expired), Line::Answer(SecurityCode, "123456", Err(Failure::Over))];
        for late in late {
            let told = Line::Tell(Tone::Error, "took too long");
            ends(vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), late, told], Err(Why::Wrong));
        }
        let script = vec![verify(BOTH), Line::Challenge(SecurityCode, Err(Failure::Over)), Line::Tell(Tone::Error, "took too long")];
        ends(script, Err(Why::Wrong));
    }

    #[test]
    fn an_empty_answer_or_a_question_mark_offers_the_other_ways() {
        let all = &[SecurityCode, EmailCode, RecoveryCodes];
        for (help, choice, method) in [
            ("", "2", EmailCode),
            ("?", "3", RecoveryCodes),
            (" ", "mail", EmailCode),
            ("?", "Recovery", RecoveryCodes),
            ("?", "e-mail code", EmailCode),
        ] {
            ends(
                vec![
                    verify(all),
                    challenge(SecurityCode, APP),
                    types(&[], help),
                    types(&["  1  Security Code\n  2  e-mail code\n  3  recovery code\n", "(Enter: Security Code): "], choice),
                    challenge(method, "Enter that one:"),
                    types(&["Enter that one (? for other ways): "], "42"),
                    answer(method, "42", Outcome::Verified),
                ],
                Ok(Pass::Verified),
            );
        }
    }

    #[test]
    fn what_names_no_way_is_asked_again_and_enter_goes_back() {
        let mut lines = vec![verify(&[SecurityCode, EmailCode, RecoveryCodes]), challenge(SecurityCode, APP), types(&[], "?")];
        for nothing in ["code", "0", "4", "-1", "x", "99999999999999999999", "sms"] {
            lines.push(types(&["Which one"], nothing));
            lines.push(types(&["There is no such way.\nWays to verify:"], "?"));
        }
        lines.extend([
            types(&[], ""),
            challenge(SecurityCode, APP),
            types(&[APP], "123456"),
            answer(SecurityCode, "123456", Outcome::Verified),
        ]);
        ends(lines, Ok(Pass::Verified));
    }

    #[test]
    fn where_there_is_one_way_that_is_said() {
        ends(
            vec![
                verify(&[SecurityCode]),
                challenge(SecurityCode, APP),
                types(&["app shows: "], ""),
                challenge(SecurityCode, APP),
                types(&["There is no other way than the Security Code.\nEnter"], "123456"),
                answer(SecurityCode, "123456", Outcome::Verified),
            ],
            Ok(Pass::Verified),
        );
    }

    #[test]
    fn a_recovery_code_is_understood_where_another_was_asked_for() {
        let left = Answered { hint: Some("9 recovery codes are left".into()), ..answered(Outcome::Verified) };
        ends(
            vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&[], "DFHF-RW84-VC2R-JEVW"),
                Line::Answer(RecoveryCodes, "DFHF-RW84-VC2R-JEVW", Ok(left)),
                Line::Tell(Tone::Info, "9 recovery codes are left."),
            ],
            Ok(Pass::Verified),
        );
        // Without that method it is a wrong Security Code.
        let script = vec![
            verify(&[SecurityCode]),
            challenge(SecurityCode, APP),
            types(&[], "DFHF-RW84-VC2R-JEVW"),
            answer(SecurityCode, "DFHF-RW84-VC2R-JEVW", Outcome::Wrong),
            leaves(&["Wrong code"]),
            Line::Cancel,
        ];
        ends(script, Err(Why::NoAnswer));
    }

    #[test]
    fn a_method_that_fails_is_said_and_the_others_are_offered() {
        let down = |method| Line::Challenge(method, Err(Failure::Unavailable("the clock is wrong".into())));
        ends(
            vec![
                verify(BOTH),
                down(SecurityCode),
                challenge(RecoveryCodes, "Enter one of your recovery codes"),
                types(&["Security Code: the clock is wrong.\nThere is no other way than the recovery code.\nEnter one"], "x"),
                answer(RecoveryCodes, "x", Outcome::Verified),
            ],
            Ok(Pass::Verified),
        );
        let void = Line::Answer(EmailCode, "1", Err(Failure::Unavailable("the code is void".into())));
        let script = vec![
            verify(&[EmailCode, SecurityCode, RecoveryCodes]),
            challenge(EmailCode, "Enter"),
            types(&[], "1"),
            void,
            types(&["E-mail code: the code is void.\nWays to verify:\n  1  Security Code"], ""),
            challenge(SecurityCode, APP),
            types(&[], "123456"),
            answer(SecurityCode, "123456", Outcome::Verified),
        ];
        ends(script, Ok(Pass::Verified));
        let none = vec![verify(&[SecurityCode]), down(SecurityCode), Line::Cancel, Line::Tell(Tone::Error, "the clock is wrong")];
        ends(none, Err(Why::Wrong));
    }

    #[test]
    fn nobody_answering_is_refused_and_told_how() {
        let script =
            vec![verify(BOTH), challenge(SecurityCode, APP), leaves(&[]), Line::Cancel, Line::Tell(Tone::Error, "keyboard-interactive")];
        ends(script, Err(Why::NoAnswer));
        let later = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "?"), leaves(&["Ways to verify"]), Line::Cancel];
        ends(later, Err(Why::NoAnswer));
    }

    #[test]
    fn an_answer_that_can_be_no_code_is_not_sent_on() {
        ends(
            vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                Line::Ask(&[], Ok(Reply::Unreadable)),
                types(&["That is no code.\nEnter the code"], "123456"),
                answer(SecurityCode, "123456", Outcome::Verified),
            ],
            Ok(Pass::Verified),
        );
    }

    #[test]
    fn a_client_that_answers_everything_with_one_value_uses_up_no_tries() {
        let password = Secret::new(PASSWORD.into());
        let with_password = Facts { password: Some(&password), ..facts() };
        for automatic in [PASSWORD, "alice"] {
            let script = vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&[], automatic),
                types(&["That is the name or the password, not a code."], automatic),
                Line::Cancel,
                Line::Tell(Tone::Error, "keyboard-interactive"),
            ];
            let played = play(with_password, script);
            assert!(denied(Why::NoAnswer)(&played.result), "{:?}", played.result);
        }
        // A person who typed it by mistake goes on.
        let script = vec![
            verify(BOTH),
            challenge(SecurityCode, APP),
            types(&[], PASSWORD),
            types(&[], "123456"),
            answer(SecurityCode, "123456", Outcome::Wrong),
            types(&[], PASSWORD),
            types(&[], "123457"),
            answer(SecurityCode, "123457", Outcome::Verified),
        ];
        assert_eq!(play(with_password, script).result, Ok(Pass::Verified));
        // An empty password is no reason to take Enter for one.
        let empty = Secret::new(String::new());
        let script = vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], ""), leaves(&["Ways to verify"]), Line::Cancel];
        assert!(denied(Why::NoAnswer)(&play(Facts { password: Some(&empty), ..facts() }, script).result));
    }

    #[test]
    fn no_client_goes_on_for_ever() {
        let mut lines = vec![verify(BOTH), challenge(SecurityCode, APP)];
        lines.extend((0..QUESTIONS).map(|_| Line::Ask(&[], Ok(Reply::Unreadable))));
        lines.extend([Line::Cancel, Line::Tell(Tone::Error, "Too many questions")]);
        ends(lines, Err(Why::TooMany));
    }

    #[test]
    fn an_engine_that_is_started_anew_is_begun_with_again_twice_at_most() {
        let lost = |code| Line::Answer(SecurityCode, code, Err(Failure::Lost));
        ends(
            vec![
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&[], "123456"),
                lost("123456"),
                verify(BOTH),
                challenge(SecurityCode, APP),
                types(&["was started anew: once more, please.\nEnter the code"], "123457"),
                answer(SecurityCode, "123457", Outcome::Verified),
            ],
            Ok(Pass::Verified),
        );
        let gone = || [verify(BOTH), Line::Challenge(SecurityCode, Err(Failure::Lost))];
        let mut lines: Vec<Line> = (0..=RESTARTS).flat_map(|_| gone()).collect();
        lines.push(Line::Tell(Tone::Error, "can't be checked now"));
        ends(lines, Err(Why::Undecided));
    }

    /// Each place where the engine may fail, with the lines that lead there.
    fn failing(failure: &Failure) -> Vec<Vec<Line>> {
        let failed = || failure.clone();
        let ask = || vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456")];
        let with = |mut lines: Vec<Line>, last| {
            lines.push(last);
            lines
        };
        vec![
            vec![Line::Start(Err(failed()))],
            vec![verify(BOTH), Line::Challenge(SecurityCode, Err(failed()))],
            with(ask(), Line::Answer(SecurityCode, "123456", Err(failed()))),
            vec![verify(&[LoginApproval]), challenge(LoginApproval, "Approve"), types(&[], ""), Line::Wait(Err(failed()))],
        ]
    }

    #[test]
    fn without_a_decision_nobody_is_let_in_but_the_account_that_the_button_brought_back() {
        let silent = Failure::Silent("the disk is full\x07".into());
        for mut lines in failing(&silent) {
            let admin = Facts { user: "admin", ..facts() };
            assert_eq!(play(admin, failing(&silent).remove(0)).result, Ok(Pass::Recovered));
            lines.push(Line::Tell(Tone::Error, "can't be checked now"));
            let denial = play(facts(), lines).result.unwrap_err();
            assert_eq!((denial.why, denial.logged.as_str()), (Why::Undecided, "the disk is full "));
        }
        for lines in failing(&silent) {
            assert_eq!(play(Facts { user: "admin", ..facts() }, lines).result, Ok(Pass::Recovered));
        }
    }

    #[test]
    fn what_is_a_decision_holds_for_the_recovered_account_too() {
        let admin = Facts { user: "admin", ..facts() };
        for (failure, why) in [
            (Failure::NoSuchAccount, Why::UnknownUser),
            (Failure::Over, Why::Wrong),
            (Failure::Unavailable("x".into()), Why::Wrong),
            (Failure::Refused("x".into()), Why::NotPassed),
        ] {
            let mut lines = vec![Line::Start(Err(failure.clone()))];
            if failure != Failure::NoSuchAccount {
                lines.push(Line::Tell(Tone::Error, ""));
            }
            assert!(denied(why)(&play(admin, lines).result), "{failure:?}");
        }
        let locked = vec![Line::Start(Ok(started(Decision::Locked))), Line::Tell(Tone::Error, "")];
        assert!(denied(Why::TooMany)(&play(admin, locked).result));
    }

    #[test]
    fn an_answer_without_login_or_method_is_no_decision() {
        let without_login = Line::Start(Ok(Started { methods: Some(BOTH.to_vec()), ..started(Decision::Verify) }));
        let without_methods = Line::Start(Ok(Started { login: Some(Secret::new("x".into())), ..started(Decision::Verify) }));
        for rubbish in [without_login, without_methods, verify(&[])] {
            ends(vec![rubbish, Line::Tell(Tone::Error, "can't be checked")], Err(Why::Undecided));
        }
        // A preferred method that is not among them is not begun.
        let Line::Start(Ok(odd)) = verify(&[SecurityCode]) else { unreachable!() };
        let odd = Started { preferred: Some(EmailCode), ..odd };
        let script = vec![
            Line::Start(Ok(odd)),
            challenge(SecurityCode, APP),
            types(&[], "123456"),
            answer(SecurityCode, "123456", Outcome::Verified),
        ];
        ends(script, Ok(Pass::Verified));
    }

    #[test]
    fn a_setup_that_this_service_may_not_do_is_refused_with_what_to_do() {
        let script = vec![Line::Start(Ok(started(Decision::SetupRequired))), Line::Tell(Tone::Error, "twostep setup")];
        ends(script, Err(Why::NotPassed));
        let script = vec![setup_required(), Line::BeginSetup(Err(Failure::Over)), Line::Tell(Tone::Error, "")];
        ends(script, Err(Why::Wrong));
    }

    #[test]
    fn a_number_stands_in_the_question_and_is_approved_on_the_phone() {
        let approval = || {
            let asked = Challenge {
                number: Some(Secret::new("42".into())),
                prompt: Secret::new("Approve on your phone".into()),
                qr: None,
                sent_to: None,
                expires_in: 120,
            };
            vec![verify(&[LoginApproval, SecurityCode]), Line::Challenge(LoginApproval, Ok(asked))]
        };
        const ASKED: &[&str] = &["Number 42: Approve on your phone (then press Enter, ? for other ways): "];
        let play_on = |more: Vec<Line>, expected| {
            let mut lines = approval();
            lines.push(types(ASKED, ""));
            lines.extend(more);
            ends(lines, expected);
        };
        play_on(vec![Line::Wait(Ok(WaitOutcome::Verified))], Ok(Pass::Verified));
        let later =
            vec![Line::Wait(Ok(WaitOutcome::Waiting)), types(&["Not approved yet.\n"], "ok"), Line::Wait(Ok(WaitOutcome::Verified))];
        play_on(later, Ok(Pass::Verified));
        let no = vec![Line::Wait(Ok(WaitOutcome::Denied)), Line::Cancel, Line::Tell(Tone::Error, "denied on the phone, or the number")];
        play_on(no, Err(Why::Wrong));
        let late = vec![Line::Wait(Ok(WaitOutcome::Expired)), Line::Cancel, Line::Tell(Tone::Error, "another login took its place")];
        play_on(late, Err(Why::Wrong));
        play_on(vec![Line::Wait(Ok(WaitOutcome::Locked)), Line::Cancel, Line::Tell(Tone::Error, "administrator")], Err(Why::TooMany));
        let mut other = approval();
        other.extend([types(ASKED, "?"), types(&["Ways"], "2"), challenge(SecurityCode, APP), leaves(&[APP]), Line::Cancel]);
        ends(other, Err(Why::NoAnswer));
    }

    #[test]
    fn a_qr_code_begins_on_a_line_of_its_own() {
        for (form, sign) in [(Form::Blocks, "█"), (Form::Ascii, "##")] {
            let qr = Some(Secret::new("twostep:login:0123456789".into()));
            let asked = Challenge { prompt: Secret::new("Scan it".into()), qr, number: None, sent_to: None, expires_in: 120 };
            let script = vec![
                verify(&[QrCode]),
                Line::Challenge(QrCode, Ok(asked)),
                types(&["Scan it (then press Enter): "], ""),
                Line::Wait(Ok(WaitOutcome::Verified)),
            ];
            let played = play(Facts { qr: form, ..facts() }, script);
            assert_eq!(played.result, Ok(Pass::Verified));
            assert!(played.questions[0].starts_with(&format!("\n{sign}")), "{}", played.questions[0]);
            assert!(played.questions[0].ends_with("\ntwostep:login:0123456789\nScan it (then press Enter): "), "{}", played.questions[0]);
        }
    }

    #[test]
    fn where_no_qr_code_is_drawn_its_address_can_be_opened() {
        let qr = Some(Secret::new("https://nas.example/scan#1.0123\x1b[2J".into()));
        let asked = Challenge { prompt: Secret::new("Scan it".into()), qr, number: None, sent_to: None, expires_in: 120 };
        let script = vec![verify(&[QrCode]), Line::Challenge(QrCode, Ok(asked)), types(&[], ""), Line::Wait(Ok(WaitOutcome::Verified))];
        let played = play(Facts { qr: Form::None, ..facts() }, script);
        let expected = "\nhttps://nas.example/scan#1.0123[2J\nOpen this address on your phone, and approve there (then press Enter): ";
        assert_eq!(played.questions, [expected]);
    }

    #[test]
    fn a_recovery_code_is_understood_in_place_of_the_phones_answer() {
        let lines = |outcome| {
            let code = "DFHF-RW84-VC2R-JEVW";
            let asked = [verify(&[LoginApproval, RecoveryCodes]), challenge(LoginApproval, "Approve: 42"), types(&["Approve: 42"], code)];
            asked.into_iter().chain([Line::Answer(RecoveryCodes, code, outcome)])
        };
        ends(lines(Ok(answered(Outcome::Verified))).collect(), Ok(Pass::Verified));
        // What is gone then is the recovery code, not the phone.
        let gone = Err(Failure::Unavailable("not enabled".into()));
        let on = [
            challenge(LoginApproval, "Approve: 42"),
            types(&["Recovery code: not enabled.\nThere is no other way than the Login Approval.\nApprove: 42"], ""),
            Line::Wait(Ok(WaitOutcome::Verified)),
        ];
        ends(lines(gone).chain(on).collect(), Ok(Pass::Verified));
    }

    #[test]
    fn trusting_the_address_is_offered_only_where_configured_and_only_a_yes_counts() {
        let offering = Facts { trust_address: true, ..facts() };
        let verified =
            || vec![verify(BOTH), challenge(SecurityCode, APP), types(&[], "123456"), answer(SecurityCode, "123456", Outcome::Verified)];
        let play_on = |facts, more: Vec<Line>| {
            let mut lines = verified();
            lines.extend(more);
            play(facts, lines).result
        };
        const ASKED: &[&str] = &["from 192.0.2.7?", "Whoever else comes from there", "[y/N]"];
        for yes in ["y", "YES"] {
            let more = vec![types(ASKED, yes), Line::Trust(Ok(30 * 86_400)), Line::Tell(Tone::Info, "trusted for 30 days")];
            assert_eq!(play_on(offering, more), Ok(Pass::Verified));
        }
        for no in ["", "n", "?", "yess"] {
            assert_eq!(play_on(offering, vec![types(ASKED, no)]), Ok(Pass::Verified));
        }
        let refused = vec![
            types(ASKED, "y"),
            Line::Trust(Err(Failure::Refused("io.twostep.Login.PermissionDenied".into()))),
            Line::Tell(Tone::Info, "login.trust_by_address"),
        ];
        assert_eq!(play_on(offering, refused), Ok(Pass::Verified));
        assert!(denied(Why::NoAnswer)(&play_on(offering, vec![leaves(ASKED), Line::Cancel])));
        assert_eq!(play_on(facts(), vec![]), Ok(Pass::Verified));
    }

    #[test]
    fn the_engines_words_move_no_cursor() {
        let script = vec![
            verify(&[SecurityCode]),
            challenge(SecurityCode, "Enter\x1b[2J\nnow:"),
            leaves(&["Enter [2J now: "]),
            Line::Cancel,
            Line::Tell(Tone::Error, ""),
        ];
        ends(script, Err(Why::NoAnswer));
    }
}
