//! Waiting for a phone: that it is paired, and that it approves a login.

use std::io::{self, IsTerminal, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::json;

use super::account::PATIENCE;
use super::output::{self, Failed, Shown};
use super::terminal::{self, First};
use super::verify::{explain, locked};
use crate::client::{self, Client};
use crate::proto::account::{PairingState, PairingStep};
use crate::proto::login::{Challenge, WaitOutcome, Waited};
use crate::proto::secret::Secret;

/// How far a pairing has come.
#[derive(Debug, PartialEq, Eq)]
pub enum Paired {
    /// The phone shows a code, which is typed here.
    Code,
    /// This phone is paired.
    Phone(String),
}

/// Waits until a pairing needs somebody, or is done; `number` is told once it is there to be compared.
///
/// # Errors
/// Those of the call; in it, that the pairing has failed.
pub fn pairing(
    dir: &Path,
    setup: &Secret,
    limit: Duration,
    number: impl Fn(&str) -> Result<(), Failed>,
) -> Result<Result<Paired, Failed>, client::Error> {
    let mut client = Client::connect(&dir.join("twostep.sock"), limit)?;
    for state in client.call_more::<PairingState>("io.twostep.Account.WaitPairing", &json!({ "setup": setup }))? {
        let PairingState { state, number: shown, authenticator } = state?;
        let refused = |why: &str| Ok(Err(Failed::Refused(why.into())));
        match state {
            PairingStep::Waiting => {}
            PairingStep::Approve => {
                if let Err(failed) = number(shown.unwrap_or_default().expose()) {
                    return Ok(Err(failed));
                }
            }
            PairingStep::TypeCode => return Ok(Ok(Paired::Code)),
            PairingStep::Paired => return Ok(Ok(Paired::Phone(authenticator.map(|phone| phone.name).unwrap_or_default()))),
            PairingStep::Denied => return refused("it was denied on the phone, or the number was wrong: nothing was changed"),
            PairingStep::Expired => return refused("no phone was paired in time: nothing was changed"),
        }
    }
    Err(client::Error::Closed)
}

/// What came of asking a phone.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has approved.
    Verified,
    /// It has not, or somebody wants to go another way.
    AnotherWay,
    /// It has not, and nobody is there to go another way.
    Refused(WaitOutcome),
}

/// Shows what the phone is asked, and waits for its answer, or for Enter at a terminal.
///
/// # Errors
/// Where the phone could not be asked.
pub fn answer(dir: &Path, login: &Secret, challenge: &Challenge) -> Result<Answer, Failed> {
    show(challenge)?;
    let (waker, woken) = UnixStream::pair()?;
    let (tell, told) = channel();
    let (socket, login) = (dir.join("twostep.sock"), login.clone());
    let limit = Duration::from_secs(challenge.expires_in) + PATIENCE;
    // What waits is left behind where somebody goes another way; it ends with the login, or with this process.
    std::thread::spawn(move || {
        terminal::leave_signals();
        // Nobody may be there any more.
        let _ = tell.send(outcome(&socket, &login, limit));
        drop(waker);
    });
    if terminal::enter_or(&woken)? == First::Enter {
        return Ok(Answer::AnotherWay);
    }
    let outcome = told.recv().map_err(|_| Failed::Call(client::Error::Closed))?.map_err(explain)?;
    Ok(match outcome {
        WaitOutcome::Verified => Answer::Verified,
        WaitOutcome::Denied | WaitOutcome::Expired | WaitOutcome::Waiting if io::stdin().is_terminal() => {
            output::say(no(outcome));
            Answer::AnotherWay
        }
        _ => Answer::Refused(outcome),
    })
}

/// Why a phone's answer lets nobody in.
#[must_use]
pub fn no(outcome: WaitOutcome) -> Failed {
    match outcome {
        WaitOutcome::Denied => Failed::Refused("it was denied on the phone, or the number was wrong".into()),
        WaitOutcome::Locked => locked(None),
        WaitOutcome::Verified | WaitOutcome::Expired | WaitOutcome::Waiting => {
            Failed::Refused("too late, or another login took its place".into())
        }
    }
}

/// To standard error, as all questions.
fn show(challenge: &Challenge) -> Result<(), Failed> {
    let mut out = io::stderr().lock();
    writeln!(out, "{}", Shown(challenge.prompt.expose()))?;
    if let Some(qr) = &challenge.qr {
        writeln!(out, "{}", Shown(qr.expose()))?;
        let drawn = if io::stderr().is_terminal() { terminal::qr(qr.expose()) } else { None };
        write!(out, "{}", drawn.unwrap_or_default())?;
    }
    Ok(out.flush()?)
}

fn outcome(socket: &Path, login: &Secret, limit: Duration) -> Result<WaitOutcome, client::Error> {
    let mut client = Client::connect(socket, limit)?;
    let mut last = WaitOutcome::Waiting;
    for waited in client.call_more::<Waited>("io.twostep.Login.Wait", &json!({ "login": login }))? {
        last = waited?.outcome;
    }
    Ok(last)
}
