//! What the command prints, and how it fails.

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use nix::sys::signal::Signal;
use serde::Serialize;

use crate::client;
use crate::core::account::Method;
use crate::core::time::Wall;
use crate::proto::varlink::ServiceError;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failed {
    /// The daemon did not answer, or answered with an error.
    Call(client::Error),
    /// A refusal, in words for people.
    Refused(String),
    /// Standard output can't be written.
    Output(io::Error),
    /// Whoever reads our output has seen enough (`| head`).
    ReaderGone,
    /// Ctrl-C, or another signal, in place of an answer.
    Interrupted(Signal),
}

impl Failed {
    /// 3 where the daemon does not answer, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Call(client::Error::Connect { .. } | client::Error::TimedOut | client::Error::Closed) => ExitCode::from(3),
            _ => ExitCode::FAILURE,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(e) => match misfit(e) {
                Some(parameter) => write!(f, "the service takes no such {parameter}"),
                None => e.fmt(f),
            },
            Self::Refused(why) => f.write_str(why),
            Self::Output(e) => write!(f, "standard output: {e}"),
            Self::ReaderGone => f.write_str("standard output is closed"),
            Self::Interrupted(signal) => write!(f, "ended by {signal}"),
        }
    }
}

/// The parameter that the service would not take: what somebody typed has the right type, so its content is at fault.
fn misfit(error: &client::Error) -> Option<String> {
    let client::Error::Service(failure) = error else { return None };
    match failure.typed() {
        Some(ServiceError::InvalidParameter { parameter }) => Some(parameter),
        _ => None,
    }
}

impl From<client::Error> for Failed {
    fn from(e: client::Error) -> Self {
        Self::Call(e)
    }
}

impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::BrokenPipe { Self::ReaderGone } else { Self::Output(e) }
    }
}

/// Prints one line, at once: whoever follows a stream sees it as it happens.
///
/// # Errors
/// Where standard output can't be written.
pub fn line(line: impl fmt::Display) -> Result<(), Failed> {
    text(format_args!("{line}\n"))
}

/// Prints whole lines, at once.
///
/// # Errors
/// Where standard output can't be written.
pub fn text(lines: impl fmt::Display) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    write!(out, "{lines}")?;
    Ok(out.flush()?)
}

/// A time as `2026-11-24T10:48:46Z`.
#[must_use]
pub fn date(at: Wall) -> impl fmt::Display {
    let since = Duration::from_secs(u64::try_from(at.0).unwrap_or(0));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since)
}

/// Methods in one line, for people.
#[must_use]
pub fn titles(methods: &[Method]) -> String {
    methods.iter().map(|method| method.title()).collect::<Vec<_>>().join(", ")
}

/// Prints one JSON object on one line.
///
/// # Errors
/// Where standard output can't be written.
pub fn json(value: &impl Serialize) -> Result<(), Failed> {
    line(serde_json::to_string(value).map_err(io::Error::other)?)
}
