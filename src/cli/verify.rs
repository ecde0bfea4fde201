//! `twostep verify`: the second step of a login, asked for as a login service asks.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::vec::IntoIter;

use serde::Serialize;
use serde_json::json;

use super::account::PATIENCE;
use super::engine;
use super::output::{self, Failed};
use super::phone;
use super::terminal;
use crate::client::{self, Client};
use crate::core::account::Method;
use crate::core::login::Outcome;
use crate::proto::login::{Answered, Challenge, Decision, Error, Started, WaitOutcome, Waited};
use crate::proto::secret::Secret;

/// So many wrong answers, and the login is given up.
const TRIES: u32 = 3;

/// What a phone's approval comes to.
const VERIFIED: Answered = Answered { outcome: Outcome::Verified, attempts_left: None, retry_after: None, hint: None };

/// Who logs in, and how.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The account.
    pub user: &'a str,
    /// The login service.
    pub service: &'a str,
    /// The client's address.
    pub remote: Option<&'a str>,
    /// Another method than the preferred one.
    pub method: Option<Method>,
}

/// Runs it; success lets in.
///
/// # Errors
/// Whatever does not.
pub fn run(dir: &Path, asked: &Asked<'_>, json: bool) -> Result<(), Failed> {
    let mut client = engine::connect(dir, PATIENCE)?;
    let started = start(&mut client, asked)?;
    let verdict = match started.decision {
        Decision::NotRequired => Ok("not required: 2-step verification is off"),
        Decision::Trusted => Ok("trusted device"),
        Decision::Verify => {
            let ended = answer(&mut client, dir, &started, asked.method)?.1;
            return tell(&ended, verdict(&ended).map(|()| "verified"), json);
        }
        Decision::SetupRequired => Err(Failed::Refused("enforced and not set up: finish `twostep setup` first".into())),
        Decision::Locked => Err(locked(started.retry_after)),
    };
    tell(&started, verdict, json)
}

/// Prints what was decided, for a script also where that lets nobody in. Whether anybody reads it changes nothing.
fn tell(decided: &impl Serialize, verdict: Result<&str, Failed>, json: bool) -> Result<(), Failed> {
    let printed = match &verdict {
        _ if json => output::json(decided),
        Ok(words) => output::line(words),
        Err(_) => Ok(()),
    };
    verdict?;
    match printed {
        Err(Failed::ReaderGone) => Ok(()),
        printed => printed,
    }
}

/// Passes the second step of `user` and names the login.
///
/// # Errors
/// Where it is not passed.
pub fn pass(client: &mut Client, dir: &Path, user: &str) -> Result<Secret, Failed> {
    let started = start(client, &Asked { user, service: "twostep", remote: None, method: None })?;
    match started.decision {
        Decision::Verify => {
            let (login, ended) = answer(client, dir, &started, None)?;
            verdict(&ended).map(|()| login)
        }
        Decision::Locked => Err(locked(started.retry_after)),
        _ => Err(Failed::Refused("there is no second step to pass".into())),
    }
}

fn start(client: &mut Client, asked: &Asked<'_>) -> Result<Started, Failed> {
    let mut parameters = json!({ "user": asked.user, "service": asked.service });
    if let Some(remote) = asked.remote {
        parameters["remote"] = remote.into();
    }
    let started: Started = client.call("io.twostep.Login.Start", &parameters).map_err(explain)?;
    if let Some(notice) = &started.notice {
        output::say(notice);
    }
    Ok(started)
}

/// What a login ended with.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Ended {
    /// The last answer.
    Answered(Answered),
    /// A phone's refusal.
    Waited(Waited),
}

impl From<Answered> for Ended {
    fn from(answered: Answered) -> Self {
        Self::Answered(answered)
    }
}

fn verdict(ended: &Ended) -> Result<(), Failed> {
    let answered = match ended {
        Ended::Answered(answered) => answered,
        Ended::Waited(waited) => return Err(phone::no(waited.outcome)),
    };
    match answered.outcome {
        Outcome::Verified => Ok(()),
        Outcome::Wrong | Outcome::AlreadyUsed => Err(Failed::Refused("not verified".into())),
        Outcome::Expired => Err(Failed::Refused("too late: begin again".into())),
        Outcome::Locked => Err(locked(answered.retry_after)),
    }
}

/// What the login ends with: verified, or what no other answer is taken after. An empty one means another way: the next of the account's methods.
fn answer(client: &mut Client, dir: &Path, started: &Started, wanted: Option<Method>) -> Result<(Secret, Ended), Failed> {
    let login = started.login.clone().ok_or_else(|| Failed::Refused("the service gave no login".into()))?;
    let mut method = wanted.or(started.preferred).unwrap_or(Method::SecurityCode);
    let others = others(started, method);
    if !others.is_empty() {
        output::say(format_args!("(Enter alone is for another way: {})", output::titles(&others)));
    }
    let mut others = others.into_iter();
    let mut challenge = match begin(client, &login, method) {
        // A script's answer is for the method that it knows of; a person reads which one is asked for.
        Err(Failed::Refused(reason)) if wanted.is_none() && io::stdin().is_terminal() => {
            output::say(reason);
            another(client, &login, &mut others, &mut method)?
        }
        begun => begun?,
    };
    let mut wrong = 0;
    loop {
        let code = if method.is_typed() {
            terminal::ask_secret(challenge.prompt.expose())?
        } else {
            match phone::answer(dir, &login, &challenge)? {
                phone::Answer::Verified => return Ok((login, VERIFIED.into())),
                phone::Answer::Refused(outcome) => return Ok((login, Ended::Waited(Waited { outcome }))),
                phone::Answer::AnotherWay => Secret::default(),
            }
        };
        if code.expose().trim().is_empty() {
            challenge = another(client, &login, &mut others, &mut method)?;
            continue;
        }
        let parameters = json!({ "login": login, "method": method, "code": code });
        let answered: Answered = client.call("io.twostep.Login.Answer", &parameters).map_err(explain)?;
        say(&answered);
        if matches!(answered.outcome, Outcome::Verified | Outcome::Expired | Outcome::Locked) {
            return Ok((login, answered.into()));
        }
        if answered.outcome == Outcome::AlreadyUsed {
            // By the phone, perhaps, after somebody went another way.
            let waited: Waited = client.call("io.twostep.Login.Wait", &json!({ "login": login })).map_err(explain)?;
            if waited.outcome == WaitOutcome::Verified {
                return Ok((login, VERIFIED.into()));
            }
        }
        wrong += 1;
        if wrong == TRIES {
            return Ok((login, answered.into()));
        }
    }
}

/// What an answer came to, to whoever may give another one.
fn say(answered: &Answered) {
    match (answered.outcome, answered.hint.as_deref()) {
        (Outcome::Wrong, None) => output::say("wrong"),
        (Outcome::Wrong, Some(hint)) => output::say(format_args!("wrong: {hint}")),
        (Outcome::AlreadyUsed, hint) => output::say(hint.unwrap_or("already used")),
        (Outcome::Verified, Some(hint)) => output::say(hint),
        // What ends it is told by the verdict.
        (Outcome::Verified | Outcome::Expired | Outcome::Locked, _) => {}
    }
}

/// The methods after `first`, in the order in which they are offered.
fn others(started: &Started, first: Method) -> Vec<Method> {
    let all = started.methods.as_deref().unwrap_or_default();
    all.iter().copied().filter(|method| *method != first).collect()
}

fn begin(client: &mut Client, login: &Secret, method: Method) -> Result<Challenge, Failed> {
    client.call("io.twostep.Login.Challenge", &json!({ "login": login, "method": method })).map_err(explain)
}

/// The next method that can be used now becomes `method`.
fn another(client: &mut Client, login: &Secret, others: &mut IntoIter<Method>, method: &mut Method) -> Result<Challenge, Failed> {
    for next in others {
        match begin(client, login, next) {
            Ok(challenge) => {
                *method = next;
                return Ok(challenge);
            }
            Err(Failed::Refused(reason)) => output::say(reason),
            Err(other) => return Err(other),
        }
    }
    Err(Failed::Refused("there is no other way".into()))
}

/// Why nothing is looked at.
pub fn locked(retry_after: Option<u64>) -> Failed {
    Failed::Refused(match retry_after {
        Some(seconds) => format!("too many wrong answers; try again in {seconds} s"),
        None => "locked by too many wrong answers: an administrator can unlock it (`twostep unlock`)".into(),
    })
}

/// Says what a person can do about an error of the interface.
pub fn explain(error: client::Error) -> Failed {
    let client::Error::Service(failure) = &error else { return Failed::Call(error) };
    let Some(typed) = failure.typed::<Error>() else { return Failed::Call(error) };
    Failed::Refused(match typed {
        Error::PermissionDenied {} => "that is not your account (try sudo)".into(),
        Error::NoSuchAccount {} => "there is no such account".into(),
        Error::NoSuchLogin {} => "the login is over: begin again".into(),
        Error::MethodNotEnabled { method } => format!("{}: not enabled for this account", method.title()),
        Error::NotVerified {} => "the second step was not passed".into(),
        Error::MethodUnavailable { method, reason } => format!("{}: {reason}", method.title()),
        Error::StorageFailed { reason } => format!("nothing was decided: {reason}"),
    })
}
