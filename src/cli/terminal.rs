//! Questions and answers: at a terminal, or line by line from a pipe.
//!
//! Questions go to standard error, so that standard output holds results alone. In a pipe each answer is one line of standard input.
//!
//! At a terminal the echo is off while an answer is typed. Ctrl-C, Ctrl-Z and whatever else would end or stop the command meanwhile are held
//! back until the echo is on again.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use nix::unistd::read;
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

use super::output::{Failed, Shown};
use crate::proto::secret::Secret;

/// The longest answer, in bytes: what a terminal takes as one line.
const LONGEST: usize = 4096;

/// What would leave the terminal without echo.
const HELD_BACK: [Signal; 5] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP];

/// Asks for a password or code: not shown while it is typed.
///
/// # Errors
/// Where there is no answer; [`Failed::Interrupted`] where a signal came instead.
pub fn ask_secret(question: &str) -> Result<Secret, Failed> {
    if io::stdin().is_terminal() {
        return typed(question);
    }
    let mut out = io::stderr().lock();
    writeln!(out, "{}:", Shown(question))?;
    out.flush()?;
    let mut text = Zeroizing::new(String::new());
    if io::stdin().lock().take(LONGEST as u64 + 1).read_line(&mut text)? == 0 {
        return Err(no_answer());
    }
    answer(text.as_bytes())
}

/// Asks for a line that may be seen.
///
/// # Errors
/// Where there is no answer.
pub fn ask(question: &str) -> Result<String, Failed> {
    let mut out = io::stderr().lock();
    write!(out, "{}: ", Shown(question))?;
    out.flush()?;
    let mut text = String::new();
    if io::stdin().lock().take(LONGEST as u64).read_line(&mut text)? == 0 {
        return Err(no_answer());
    }
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// What came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Somebody at the terminal wants to go on.
    Enter,
    /// What was waited for.
    Other,
}

/// Waits until the other end of `other` is closed, or, at a terminal, until somebody presses Enter. A script's input is left alone.
///
/// # Errors
/// Where it can't be waited.
pub fn enter_or(other: impl AsFd) -> Result<First, Failed> {
    let input = io::stdin();
    let watched = if input.is_terminal() { PollFlags::POLLIN } else { PollFlags::empty() };
    loop {
        let mut fds = [PollFd::new(other.as_fd(), PollFlags::POLLIN), PollFd::new(input.as_fd(), watched)];
        // A script's input may have ended, which is no reason to wake.
        let count = if watched.is_empty() { 1 } else { 2 };
        match poll(&mut fds[..count], PollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            polled => polled.map_err(io::Error::from)?,
        };
        if fds[0].any() == Some(true) {
            return Ok(First::Other);
        }
        if count == 2 && fds[1].any() == Some(true) {
            // The line itself says nothing.
            let _line = read(&input, &mut [0; 256]).map_err(io::Error::from)?;
            return Ok(First::Enter);
        }
    }
}

/// Ends this process as `signal` ends one that does not care, so that a shell sees why. The exit code is for where that is ignored.
#[must_use]
pub fn end_by(signal: Signal) -> u8 {
    // It may be ignored, never impossible.
    let _ = raise(signal);
    128 + u8::try_from(signal as i32).unwrap_or(0)
}

/// Leaves to the other threads what is held back while they ask: one that takes a signal ends the process, whatever the terminal is like.
pub fn leave_signals() {
    let set: SigSet = HELD_BACK.into_iter().collect();
    // Only a mask that is none fails.
    let _ = set.thread_block();
}

fn typed(question: &str) -> Result<Secret, Failed> {
    let signals = HeldBack::begin()?;
    loop {
        // Before the question: who has seen it may type.
        let hidden = Hidden::begin()?;
        let mut out = io::stderr().lock();
        write!(out, "{}: ", Shown(question))?;
        out.flush()?;
        let came = signals.next_line();
        drop(hidden);
        // The typed Enter was not shown either.
        writeln!(out)?;
        match came? {
            Came::Line(text) => return answer(&text),
            Came::Signal(Signal::SIGTSTP) => signals.stop()?,
            Came::Signal(signal) => return Err(Failed::Interrupted(signal)),
        }
    }
}

fn answer(line: &[u8]) -> Result<Secret, Failed> {
    if line.len() > LONGEST {
        return Err(Failed::Refused(format!("the answer is longer than {LONGEST} bytes")));
    }
    let text = std::str::from_utf8(line).map_err(|_| Failed::Refused("the answer is no text in UTF-8".into()))?;
    Ok(Secret::new(text.trim_end_matches(['\n', '\r']).to_owned()))
}

fn no_answer() -> Failed {
    Failed::Refused("there was no answer".into())
}

enum Came {
    Line(Zeroizing<Vec<u8>>),
    Signal(Signal),
}

/// Signals that wait until they are looked at; let through again when this is dropped.
struct HeldBack {
    former: SigSet,
    arrivals: SignalFd,
}

impl HeldBack {
    fn begin() -> io::Result<Self> {
        let set: SigSet = HELD_BACK.into_iter().collect();
        let arrivals = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        Ok(Self { former: set.thread_swap_mask(SigmaskHow::SIG_BLOCK)?, arrivals })
    }

    /// What comes first: a line from the terminal, or one of the signals. Standard input's own buffer would keep a copy of the password.
    fn next_line(&self) -> Result<Came, Failed> {
        let input = io::stdin();
        let mut line = Zeroizing::new(Vec::with_capacity(LONGEST + 1));
        let mut piece = Zeroizing::new([0; 256]);
        loop {
            let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN), PollFd::new(self.arrivals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(Errno::EINTR) => continue,
                polled => polled.map_err(io::Error::from)?,
            };
            if let Some(arrived) = self.arrivals.read_signal().map_err(io::Error::from)? {
                let signal = i32::try_from(arrived.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                return Ok(Came::Signal(signal.unwrap_or(Signal::SIGINT)));
            }
            if fds[0].any() != Some(true) {
                continue;
            }
            let length = read(&input, &mut *piece).map_err(io::Error::from)?;
            line.extend_from_slice(&piece[..length]);
            match line.last() {
                None => return Err(no_answer()),
                Some(b'\n') => return Ok(Came::Line(line)),
                // Ctrl-D behind a text ends it as Enter does.
                Some(_) if length == 0 || line.len() > LONGEST => return Ok(Came::Line(line)),
                Some(_) => {}
            }
        }
    }

    /// Stops as Ctrl-Z wants it; returns when the shell has us go on.
    fn stop(&self) -> Result<(), Failed> {
        let mask = self.former.thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(io::Error::from)?;
        raise(Signal::SIGTSTP).map_err(io::Error::from)?;
        Ok(mask.thread_set_mask().map_err(io::Error::from)?)
    }
}

impl Drop for HeldBack {
    fn drop(&mut self) {
        // It was in force a moment ago.
        let _ = self.former.thread_set_mask();
    }
}

/// The terminal without echo; its former state comes back when this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> io::Result<Self> {
        let input = io::stdin();
        let before = tcgetattr(input.as_fd())?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // A terminal that has gone needs no echo.
        let _ = tcsetattr(io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.0);
    }
}

/// A QR code in half blocks, two rows of modules a line, dark on light whatever the terminal's colours are; with the quiet zone of four
/// modules that ISO/IEC 18004 asks for. None where the text is too long for one.
#[must_use]
pub fn qr(text: &str) -> Option<String> {
    const QUIET: usize = 4;
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let dark = |x: usize, y: usize| {
        let inside = |at: usize| (QUIET..width + QUIET).contains(&at);
        inside(x) && inside(y) && code[(x - QUIET, y - QUIET)] == Color::Dark
    };
    let side = width + 2 * QUIET;
    let mut drawn = String::new();
    for y in (0..side).step_by(2) {
        drawn.push_str("\x1b[30;47m");
        for x in 0..side {
            drawn.push(match (dark(x, y), dark(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawn.push_str("\x1b[0m\n");
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qr_code_is_square_with_a_light_border() {
        let drawn = qr("otpauth://totp/nas:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=nas").unwrap();
        let rows: Vec<String> = drawn.lines().map(|l| l.replace("\x1b[30;47m", "").replace("\x1b[0m", "")).collect();
        let width = rows[0].chars().count();
        assert_eq!(rows.len(), width.div_ceil(2));
        assert!(rows.len() < 24, "with the question below it, it fits on the smallest of screens");
        assert!(rows.iter().all(|row| row.chars().count() == width && row.starts_with("    ") && row.ends_with("    ")));
        assert!(rows[0].trim().is_empty() && rows[1].trim().is_empty() && !rows[2].trim().is_empty());
    }

    #[test]
    fn a_text_that_fits_no_code_is_said() {
        assert_eq!(qr(&"x".repeat(5000)), None);
    }
}
