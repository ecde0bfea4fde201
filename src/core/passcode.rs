//! A code that the engine draws, shows elsewhere (in a mail, on a phone), and is told back: once, in time, within a few tries.
//!
//! ```text
//!   drawn ──the right answer──► used up
//!     └──three wrong ones, or ten minutes──► void
//! ```
//! This module draws nothing itself: the digits are made from a random number that the caller gives. Wrong answers are counted against the account by
//! the caller, too.

use std::fmt;
use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::time::BootTime;
use super::totp::TypedCode;

/// How long a code is good.
pub const LIFE: Duration = Duration::from_secs(600);
/// Wrong answers to one code; then it is void and another has to be drawn.
pub const TRIES: u8 = 3;

/// Six digits. Wiped when dropped, never printed, compared in constant time.
#[derive(Clone)]
pub struct Passcode {
    digits: Zeroizing<String>,
    drawn_at: BootTime,
    tries_left: u8,
}

impl fmt::Debug for Passcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Passcode(…, {} tries left)", self.tries_left)
    }
}

impl PartialEq for Passcode {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) && self.tries_left == other.tries_left
    }
}

impl Eq for Passcode {}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was the code, which is used up.
    Right,
    /// It was not; the code still stands.
    Wrong,
    /// It was not, or no longer: another code has to be drawn.
    Void,
}

impl Passcode {
    /// Six digits out of `random`, which is uniform over all of `u64` (the bias is below 2^-43).
    #[must_use]
    pub fn new(random: u64, now: BootTime) -> Self {
        Self { digits: Zeroizing::new(format!("{:06}", random % 1_000_000)), drawn_at: now, tries_left: TRIES }
    }

    /// For the one place where it is shown, and for nothing else.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// How long it is still good; zero where it is not.
    #[must_use]
    pub fn left(&self, now: BootTime) -> Duration {
        if self.tries_left == 0 { Duration::ZERO } else { LIFE.saturating_sub(now - self.drawn_at) }
    }

    /// Whether it is this very code, whatever was answered to it since.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.drawn_at == other.drawn_at && bool::from(self.digits.as_bytes().ct_eq(other.digits.as_bytes()))
    }

    /// Compares a typed answer; each wrong one takes a try.
    pub fn answer(&mut self, typed: &str, now: BootTime) -> Answer {
        if self.left(now).is_zero() {
            return Answer::Void;
        }
        if TypedCode::parse(typed).is_some_and(|code| code.is(self.digits.as_bytes())) {
            self.tries_left = 0;
            return Answer::Right;
        }
        self.tries_left -= 1;
        if self.tries_left == 0 { Answer::Void } else { Answer::Wrong }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn a_code_is_right_once() {
        let mut code = Passcode::new(7_000_042, at(0));
        assert_eq!(code.digits(), "000042");
        assert_eq!(code.answer("000 042", at(599)), Answer::Right);
        assert_eq!(code.answer("000042", at(599)), Answer::Void);
    }

    #[test]
    fn the_third_wrong_answer_voids_it_and_ten_minutes_do_too() {
        let mut code = Passcode::new(42, at(0));
        assert_eq!(code.answer("000043", at(1)), Answer::Wrong);
        assert_eq!(code.answer("42", at(1)), Answer::Wrong);
        assert_eq!(code.answer("", at(1)), Answer::Void);
        assert_eq!(code.answer("000042", at(1)), Answer::Void);
        assert_eq!(Passcode::new(42, at(0)).answer("000042", at(600)), Answer::Void);
    }

    #[test]
    fn a_code_stays_the_same_while_it_is_guessed_at() {
        let (mut code, drawn) = (Passcode::new(42, at(0)), Passcode::new(42, at(0)));
        assert!(code.is_same(&drawn) && code == drawn);
        code.answer("000043", at(1));
        assert!(code.is_same(&drawn) && code != drawn);
        assert!(!code.is_same(&Passcode::new(42, at(1))) && !code.is_same(&Passcode::new(43, at(0))));
    }

    #[test]
    fn a_code_is_not_printed() {
        assert!(!format!("{:?}", Passcode::new(123_456, at(0))).contains("123"));
    }
}
