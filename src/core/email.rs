//! Recovery addresses, and how many mails an account may cause. The codes in the mails are [passcodes](super::passcode).
//!
//! This module sends nothing.

use std::fmt;
use std::time::Duration;

use super::time::BootTime;

/// The pause between two mails of one account.
pub const RESEND_PAUSE: Duration = Duration::from_secs(30);
/// Mails of one account within [`BUDGET_SPAN`].
pub const BUDGET: usize = 5;
/// See [`BUDGET`].
pub const BUDGET_SPAN: Duration = Duration::from_secs(3_600);

/// Why an address is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressFault {
    /// Longer than 254 characters (RFC 5321 §4.5.3.1), or than 64 before the @.
    TooLong,
    /// Not exactly one @ with something on both sides.
    NoAddress,
    /// A character that no mailbox of ours takes: blanks, controls, quotes, brackets, letters beyond ASCII.
    Character(char),
    /// The part behind the @ is no host name.
    Domain,
    /// A dot at the start, at the end, or after a dot.
    Dot,
}

impl fmt::Display for AddressFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("the address is too long"),
            Self::NoAddress => f.write_str("an address has one @ with a name before it and a host after it"),
            Self::Character(c) => write!(f, "{c:?} can't be in the address"),
            Self::Domain => f.write_str("what follows the @ is no host name (write an international one in its xn-- form)"),
            Self::Dot => f.write_str("the address has a dot too many before the @"),
        }
    }
}

impl std::error::Error for AddressFault {}

/// An address that can be handed to a mail server: it holds nothing that could end a header or a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Takes an address of the plain form of RFC 5321 (a dot-atom, then a host name). Blanks around it are dropped.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let text = text.trim();
        if text.len() > 254 {
            return Err(AddressFault::TooLong);
        }
        let (local, domain) = text.split_once('@').ok_or(AddressFault::NoAddress)?;
        if local.is_empty() || domain.is_empty() || domain.contains('@') {
            return Err(AddressFault::NoAddress);
        }
        if local.len() > 64 {
            return Err(AddressFault::TooLong);
        }
        if let Some(c) = local.chars().find(|c| !(c.is_ascii_alphanumeric() || ".!#$%&'*+/=?^_`{|}~-".contains(*c))) {
            return Err(AddressFault::Character(c));
        }
        if local.split('.').any(str::is_empty) {
            return Err(AddressFault::Dot);
        }
        if !domain.split('.').all(is_label) {
            return Err(AddressFault::Domain);
        }
        Ok(Self(text.to_owned()))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 1123 §2.1.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// The address as it may be shown to whoever knows the password: the first character and the host.
#[must_use]
pub fn mask(address: &str) -> String {
    let (local, domain) = address.split_once('@').unwrap_or((address, ""));
    let first: String = local.chars().take(1).collect();
    if domain.is_empty() { format!("{first}***") } else { format!("{first}***@{domain}") }
}

/// When mails of one account left; kept in memory, per account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailBudget {
    sent: Vec<BootTime>,
}

impl MailBudget {
    /// Takes one mail out of the budget.
    ///
    /// # Errors
    /// How long to wait for the next.
    pub fn take(&mut self, now: BootTime) -> Result<(), Duration> {
        self.sent.retain(|at| now - *at < BUDGET_SPAN);
        let pause = self.sent.last().map_or(Duration::ZERO, |last| RESEND_PAUSE.saturating_sub(now - *last));
        let span = match self.sent.first() {
            Some(first) if self.sent.len() >= BUDGET => BUDGET_SPAN.saturating_sub(now - *first),
            _ => Duration::ZERO,
        };
        let wait = pause.max(span);
        if !wait.is_zero() {
            return Err(wait);
        }
        self.sent.push(now);
        Ok(())
    }

    /// Whether nothing is left to remember.
    #[must_use]
    pub fn is_over(&self, now: BootTime) -> bool {
        self.sent.iter().all(|at| now - *at >= BUDGET_SPAN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn usual_addresses_are_taken() {
        for address in ["alice@example.org", "a.b+c@mail.example.org", "root@localhost", "x_y=1@xn--bcher-kva.example"] {
            assert_eq!(Address::parse(&format!(" {address} ")).unwrap().as_str(), address);
        }
    }

    #[test]
    fn what_could_reach_a_header_or_nobody_is_refused() {
        for (address, fault) in [
            ("", AddressFault::NoAddress),
            ("alice", AddressFault::NoAddress),
            ("@example.org", AddressFault::NoAddress),
            ("alice@", AddressFault::NoAddress),
            ("a@b@example.org", AddressFault::NoAddress),
            ("alice\r\nBcc: x@example.org", AddressFault::Character('\r')),
            ("ali ce@example.org", AddressFault::Character(' ')),
            ("<alice@example.org", AddressFault::Character('<')),
            ("jörg@example.org", AddressFault::Character('ö')),
            ("a..b@example.org", AddressFault::Dot),
            ("alice@exa_mple.org", AddressFault::Domain),
            ("alice@example.org\nx", AddressFault::Domain),
            ("alice@.org", AddressFault::Domain),
        ] {
            assert_eq!(Address::parse(address), Err(fault), "{address:?}");
        }
        assert_eq!(Address::parse(&format!("{}@example.org", "a".repeat(65))), Err(AddressFault::TooLong));
    }

    #[test]
    fn a_masked_address_shows_one_character_and_not_the_length() {
        assert_eq!(mask("alice@example.org"), "a***@example.org");
        assert_eq!(mask("a@example.org"), "a***@example.org");
        assert_eq!(mask("nonsense"), "n***");
    }

    #[test]
    fn mails_come_no_faster_than_one_in_30_s_and_five_an_hour() {
        let mut budget = MailBudget::default();
        budget.take(at(0)).unwrap();
        assert_eq!(budget.take(at(10)), Err(Duration::from_secs(20)));
        for n in 1..5 {
            budget.take(at(n * 30)).unwrap();
        }
        assert_eq!(budget.take(at(150)), Err(Duration::from_secs(3_450)));
        assert!(budget.take(at(3_600)).is_ok());
        assert!(!budget.is_over(at(3_601)));
        assert!(budget.is_over(at(7_200)));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_no_accepted_address_holds_a_control(text in any::<String>(), plain in "[ -~]{0,20}@[ -~]{0,20}") {
            for text in [text, plain] {
                if let Ok(address) = Address::parse(&text) {
                    prop_assert!(address.as_str().bytes().all(|b| b.is_ascii_graphic()));
                }
                let _ = mask(&text);
            }
        }
    }
}
