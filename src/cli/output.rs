//! What the command prints, and how it fails.
//!
//! What is printed comes from the engine, which reads strangers' bytes, and often goes to root's terminal: so nothing in it is obeyed there.

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde::Serialize;

use crate::client;
use crate::core::account::Method;
use crate::core::time::Wall;
use crate::log::is_hidden;
use crate::proto::varlink::ServiceError;

/// Why a command did not do what it should.
#[derive(Debug)]
pub enum Failed {
    /// The daemon did not answer, or answered with an error.
    Call(client::Error),
    /// The daemon is there, and its engine is not.
    NoEngine,
    /// A refusal, in words for people.
    Refused(String),
    /// Standard output can't be written.
    Output(io::Error),
    /// Whoever reads our standard output has seen enough (`| head`).
    ReaderGone,
    /// Nothing can be asked: standard input or standard error is out of order.
    Asking(io::Error),
    /// Ctrl-C, or another signal, in place of an answer.
    Interrupted(Signal),
}

impl Failed {
    /// 3 where the daemon does not answer, else 1.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoEngine | Self::Call(client::Error::Connect { .. } | client::Error::TimedOut | client::Error::Closed) => {
                ExitCode::from(3)
            }
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
            Self::NoEngine => f.write_str("the engine did not answer: twostepd's log and `twostep recovery status` say why"),
            Self::Refused(why) => f.write_str(why),
            Self::Output(e) => write!(f, "standard output: {e}"),
            Self::ReaderGone => f.write_str("standard output is closed"),
            Self::Asking(e) => write!(f, "standard input or standard error: {e}"),
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

/// Of a question, whichever error it is: that nobody reads it is no reason to think that it was answered.
impl From<io::Error> for Failed {
    fn from(e: io::Error) -> Self {
        Self::Asking(e)
    }
}

/// Of standard output.
fn unwritten(e: io::Error) -> Failed {
    if e.kind() == io::ErrorKind::BrokenPipe { Failed::ReaderGone } else { Failed::Output(e) }
}

/// A text as one line: what a terminal would obey is shown as an escape, as in the log.
pub struct Shown<T>(pub T);

impl<T: fmt::Display> fmt::Display for Shown<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(OneLine(f), "{}", self.0)
    }
}

struct OneLine<'a, 'b>(&'a mut fmt::Formatter<'b>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.chars().try_for_each(|letter| match letter {
            _ if is_hidden(letter) => letter.escape_default().try_for_each(|part| self.0.write_char(part)),
            _ => self.0.write_char(letter),
        })
    }
}

/// From now on this process ends once nobody reads its standard output any more (`| head`), also while there is nothing to write.
pub fn end_with_reader() {
    std::thread::spawn(|| {
        let out = io::stdout();
        // Nothing is asked for: the kernel tells an error or a hang-up in any case.
        loop {
            match poll(&mut [PollFd::new(out.as_fd(), PollFlags::empty())], PollTimeout::NONE) {
                Ok(1..) => std::process::exit(0),
                Ok(_) | Err(Errno::EINTR) => {}
                // Then the next write shows it.
                Err(_) => return,
            }
        }
    });
}

/// Says one line to people, on standard error, where it can be written.
pub fn say(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{}", Shown(line));
}

/// Prints one line, at once: whoever follows a stream sees it as it happens.
///
/// # Errors
/// Where standard output can't be written.
pub fn line(line: impl fmt::Display) -> Result<(), Failed> {
    text(format_args!("{}\n", Shown(line)))
}

/// Prints whole lines, at once, as they are: for what this command drew itself.
///
/// # Errors
/// Where standard output can't be written.
pub fn text(lines: impl fmt::Display) -> Result<(), Failed> {
    let mut out = io::stdout().lock();
    write!(out, "{lines}").and_then(|()| out.flush()).map_err(unwritten)
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
    let text = serde_json::to_string(value).map_err(|e| Failed::Output(e.into()))?;
    // The encoder leaves some of them in strings, and none stands elsewhere.
    let escaped = |letter: char| if is_hidden(letter) { format!("\\u{:04x}", u32::from(letter)) } else { letter.into() };
    line(text.chars().map(escaped).collect::<String>())
}
