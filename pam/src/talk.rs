//! The conversation with whoever logs in, as the module sees it.

use twostep::proto::secret::Secret;

/// The longest answer in bytes (Linux-PAM's PAM_MAX_RESP_SIZE).
pub const LONGEST_ANSWER: usize = 512;

/// What came back for a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A text of at most [`LONGEST_ANSWER`] bytes.
    Typed(Secret),
    /// Longer, or no text.
    Unreadable,
}

/// Nobody answered: broken off, timed out, or a client that can't ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Silence;

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// To know.
    Info,
    /// Why the login is refused.
    Error,
}

/// The conversation.
pub trait Talk {
    /// Asks, and waits for the answer, which is shown while it is typed.
    ///
    /// A code is good once, so it need not be hidden; and a client that answers hidden questions with the password by itself (sshd's
    /// `PasswordAuthentication`, file servers) then fails at once, instead of sending passwords as wrong codes until the account is locked.
    ///
    /// # Errors
    /// [`Silence`]
    fn ask(&mut self, text: &str) -> Result<Reply, Silence>;

    /// Says something; whether it is shown, and when, is the service's business.
    fn tell(&mut self, tone: Tone, text: &str);
}

/// A text from elsewhere, fit for a terminal: one line, without control characters, not long.
pub fn clean(text: &str) -> String {
    text.chars().map(|c| if moves(c) { ' ' } else { c }).take(300).collect()
}

/// Whether a character does anything else than to be seen in its place. Beside control characters these are Unicode's own: line ends, and what turns
/// the direction of writing or is not seen at all.
pub fn moves(c: char) -> bool {
    const UNSEEN: [std::ops::RangeInclusive<char>; 5] =
        ['\u{61c}'..='\u{61c}', '\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{206f}', '\u{feff}'..='\u{feff}'];
    c.is_control() || UNSEEN.iter().any(|range| range.contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_from_elsewhere_moves_no_cursor_and_fills_no_screen() {
        assert_eq!(clean("a\x1b[2Jb\nc"), "a [2Jb c");
        assert_eq!(clean("a\u{202e}b\u{2028}c\u{feff}"), "a b c ");
        assert_eq!(clean(&"x".repeat(9000)).len(), 300);
    }
}
