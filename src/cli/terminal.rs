//! Questions and answers: at a terminal, or line by line from a pipe.
//!
//! Questions go to standard error, so that standard output holds results alone. In a pipe each answer is one line of standard input.

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroize;

use super::output::Failed;
use crate::proto::secret::Secret;

/// Asks for a password or code: not shown while it is typed.
///
/// # Errors
/// Where there is no answer.
pub fn ask_secret(question: &str) -> Result<Secret, Failed> {
    prompt(question)?;
    let hidden = Hidden::begin()?;
    let answer = line();
    if hidden.is_some() {
        eprintln!();
    }
    drop(hidden);
    answer.map(Secret::new)
}

/// Asks for a line that may be seen.
///
/// # Errors
/// Where there is no answer.
pub fn ask(question: &str) -> Result<String, Failed> {
    prompt(question)?;
    line()
}

fn prompt(question: &str) -> Result<(), Failed> {
    let mut out = io::stderr().lock();
    write!(out, "{question}: ")?;
    if !io::stdin().is_terminal() {
        writeln!(out)?;
    }
    Ok(out.flush()?)
}

fn line() -> Result<String, Failed> {
    let mut text = String::new();
    if io::stdin().lock().read_line(&mut text)? == 0 {
        return Err(Failed::Refused("there was no answer".into()));
    }
    let answer = text.trim_end_matches(['\n', '\r']).to_owned();
    text.zeroize();
    Ok(answer)
}

/// The terminal without echo; its former state comes back when this is dropped.
struct Hidden(Termios);

impl Hidden {
    fn begin() -> Result<Option<Self>, Failed> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(input.as_fd()).map_err(io::Error::from)?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &silent).map_err(io::Error::from)?;
        Ok(Some(Self(before)))
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
        assert!(rows.iter().all(|row| row.chars().count() == width && row.starts_with("    ") && row.ends_with("    ")));
        assert!(rows[0].trim().is_empty() && rows[1].trim().is_empty() && !rows[2].trim().is_empty());
    }

    #[test]
    fn a_text_that_fits_no_code_is_said() {
        assert_eq!(qr(&"x".repeat(5000)), None);
    }
}
