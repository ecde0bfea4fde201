//! Enrolments made elsewhere (B12): an otpauth URI, the text of a google-authenticator file, or lines of an oath users file.
//!
//! The secret is taken, and the used steps where the source knows them. What is not taken is told: scratch codes (27 bits; recovery codes
//! have 80 here), rate limits, windows and PINs.
//!
//! This module opens no file and puts nothing into force.

use std::fmt;

use zeroize::Zeroizing;

use super::otpauth::{self, UriFault};
use super::totp::{Algorithm, Enrolment, EnrolmentFault, TimeStep};

/// The longest text that is read, in bytes.
pub const LONGEST: usize = 16_384;

/// An enrolment from elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// To be put into force.
    pub enrolment: Enrolment,
    /// Steps that the source has seen used.
    pub used: Vec<TimeStep>,
    /// What was not taken, for people.
    pub left_out: Vec<&'static str>,
}

/// Why a text is not taken. Nothing of a secret is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ImportFault {
    /// Longer than [`LONGEST`].
    TooLong,
    /// Nothing in it.
    Empty,
    /// An otpauth URI that is not taken.
    Uri(UriFault),
    /// Counter-based.
    Hotp,
    /// A google-authenticator file that says neither that it is by time nor by counter.
    NotTimeBased,
    /// Line 1 of a google-authenticator file, or the last word of an oath line.
    Secret {
        /// From 1.
        line: usize,
    },
    /// A line that neither file has.
    Line {
        /// From 1.
        line: usize,
    },
    /// No oath line is of this user.
    NoSuchUser(String),
    /// Several are.
    SeveralOfUser(String),
    /// Out of range.
    Enrolment(EnrolmentFault),
}

impl fmt::Display for ImportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the text is longer than {LONGEST} bytes"),
            Self::Empty => f.write_str("the text is empty"),
            Self::Uri(fault) => fault.fmt(f),
            Self::Hotp => f.write_str("it counts logins (HOTP) instead of time; only TOTP can be imported"),
            Self::NotTimeBased => f.write_str("the file has no TOTP_AUTH line, so it is not time-based"),
            Self::Secret { line } => write!(f, "line {line}: the secret can't be read"),
            Self::Line { line } => {
                write!(f, "line {line} is of neither an otpauth URI, a google-authenticator file nor an oath users file")
            }
            Self::NoSuchUser(user) => write!(f, "no line is of the user {user}"),
            Self::SeveralOfUser(user) => write!(f, "several lines are of the user {user}: give the one to import"),
            Self::Enrolment(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for ImportFault {}

/// Reads any of the three forms; of an oath file, the line of `user`.
///
/// # Errors
/// See [`ImportFault`].
pub fn parse(text: &str, user: &str) -> Result<Imported, ImportFault> {
    if text.len() > LONGEST {
        return Err(ImportFault::TooLong);
    }
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).ok_or(ImportFault::Empty)?;
    // A secret in base32 may begin with any of these letters, but has neither sign.
    let begins = |start: &str| first.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
    if begins("otpauth:") || begins("otpauth-") {
        let enrolment = otpauth::parse(text).map_err(ImportFault::Uri)?;
        return Ok(Imported { enrolment, used: vec![], left_out: vec![] });
    }
    let kind = first.split_whitespace().next().unwrap_or_default();
    if kind.eq_ignore_ascii_case("HOTP") || begins("HOTP/") { oath(text, user) } else { google_authenticator(text) }
}

/// Line 1 is the secret; then options, each beginning with `" `, and scratch codes of eight digits.
fn google_authenticator(text: &str) -> Result<Imported, ImportFault> {
    let mut lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim())).filter(|(_, line)| !line.is_empty());
    let (line, secret) = lines.next().ok_or(ImportFault::Empty)?;
    let secret = otpauth::from_base32(secret).ok_or(ImportFault::Secret { line })?;
    let (mut by_time, mut period, mut used, mut left_out) = (false, 30, vec![], vec![]);
    for (line, text) in lines {
        let Some(option) = text.strip_prefix('"') else {
            if text.len() != 8 || !text.bytes().all(|b| b.is_ascii_digit()) {
                return Err(ImportFault::Line { line });
            }
            left_out.push("scratch codes (make new recovery codes)");
            continue;
        };
        let mut words = option.split_whitespace();
        match words.next() {
            Some("TOTP_AUTH") => by_time = true,
            Some("HOTP_COUNTER") => return Err(ImportFault::Hotp),
            Some("STEP_SIZE") => period = words.next().and_then(|word| word.parse().ok()).ok_or(ImportFault::Line { line })?,
            Some("DISALLOW_REUSE") => used.extend(words.filter_map(|word| word.parse().ok()).filter(|s| *s < 1 << 62).map(TimeStep)),
            Some("TIME_SKEW" | "RESETTING_TIME_SKEW") => left_out.push("the learnt skew (it is learnt again)"),
            Some("RATE_LIMIT" | "WINDOW_SIZE") => left_out.push("rate limit and window (there is one rule for all)"),
            Some(_) => left_out.push("options that are not known"),
            None => return Err(ImportFault::Line { line }),
        }
    }
    if !by_time {
        return Err(ImportFault::NotTimeBased);
    }
    left_out.sort_unstable();
    left_out.dedup();
    let enrolment = Enrolment::existing(secret.to_vec(), Algorithm::Sha1, 6, period).map_err(ImportFault::Enrolment)?;
    Ok(Imported { enrolment, used, left_out })
}

/// `HOTP/T30/6 user pin secret …`: type, step and digits, the user, a PIN or `-` or `+`, the secret in hexadecimal digits.
fn oath(text: &str, user: &str) -> Result<Imported, ImportFault> {
    let mut found = None;
    for (n, text) in text.lines().enumerate() {
        let mut words = text.split_whitespace();
        let Some(kind) = words.next().filter(|word| !word.starts_with('#')) else { continue };
        let (Some(name), Some(pin), Some(secret)) = (words.next(), words.next(), words.next()) else {
            return Err(ImportFault::Line { line: n + 1 });
        };
        if name != user {
            continue;
        }
        if found.replace((n + 1, kind, pin, secret)).is_some() {
            return Err(ImportFault::SeveralOfUser(user.into()));
        }
    }
    let (line, kind, pin, secret) = found.ok_or_else(|| ImportFault::NoSuchUser(user.into()))?;
    let (period, digits) = oath_kind(kind, line)?;
    let secret = hexadecimal(secret).ok_or(ImportFault::Secret { line })?;
    let left_out = if matches!(pin, "-" | "+") { vec![] } else { vec!["the PIN"] };
    let enrolment = Enrolment::existing(secret.to_vec(), Algorithm::Sha1, digits, period).map_err(ImportFault::Enrolment)?;
    Ok(Imported { enrolment, used: vec![], left_out })
}

/// Period and digits of `HOTP/T<period>[/<digits>]`.
fn oath_kind(kind: &str, line: usize) -> Result<(u64, u64), ImportFault> {
    let mut parts = kind.split('/');
    let malformed = ImportFault::Line { line };
    if !parts.next().is_some_and(|word| word.eq_ignore_ascii_case("HOTP")) {
        return Err(malformed);
    }
    let Some(step) = parts.next().filter(|word| !word.eq_ignore_ascii_case("E")) else { return Err(ImportFault::Hotp) };
    let number = |word: &str| word.parse::<u64>().ok();
    let period = step.strip_prefix(['T', 't']).and_then(number);
    let digits = parts.next().map_or(Some(6), number);
    match (period, digits, parts.next()) {
        (Some(period), Some(digits), None) => Ok((period, digits)),
        // `HOTP/6`: digits without a step count logins.
        (None, ..) if number(step).is_some() => Err(ImportFault::Hotp),
        _ => Err(malformed),
    }
}

fn hexadecimal(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |n| u8::from_str_radix(&text[n..n + 2], 16).ok();
    (0..text.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "JBSWY3DPEHPK3PXPJBSWY3DPEH";
    const HEX: &str = "3132333435363738393031323334353637383930";

    fn google(options: &str) -> Result<Imported, ImportFault> {
        parse(&format!("{SECRET}\n{options}"), "alice")
    }

    #[test]
    fn a_google_authenticator_file_gives_secret_step_and_used_steps() {
        let options = "\" RATE_LIMIT 3 30 1700000000\n\" WINDOW_SIZE 17\n\" DISALLOW_REUSE 58372000 58372001\n\" TOTP_AUTH\n\
                       12345678\n23456789\n";
        let imported = google(options).unwrap();
        assert_eq!(imported.enrolment.digits(), 6);
        assert_eq!(imported.enrolment.period(), 30);
        assert_eq!(imported.used, [TimeStep(58_372_000), TimeStep(58_372_001)]);
        let left_out = ["rate limit and window (there is one rule for all)", "scratch codes (make new recovery codes)"];
        assert_eq!(imported.left_out, left_out);
        assert_eq!(google("\" TOTP_AUTH\n\" STEP_SIZE 60").unwrap().enrolment.period(), 60);
    }

    #[test]
    fn a_secret_that_begins_like_another_form_is_still_a_secret() {
        for secret in ["HOTPY3DPEHPK3PXP", "OTPAUTHPEHPK3PXP"] {
            let imported = parse(&format!("{secret}\n\" TOTP_AUTH\n"), "alice").unwrap();
            assert_eq!(*otpauth::base32(&imported.enrolment), secret);
        }
    }

    #[test]
    fn a_google_authenticator_file_that_is_not_by_time_is_refused() {
        assert_eq!(google("\" HOTP_COUNTER 1\n"), Err(ImportFault::Hotp));
        assert_eq!(google("12345678\n"), Err(ImportFault::NotTimeBased));
        assert_eq!(google("\" TOTP_AUTH\nrubbish\n"), Err(ImportFault::Line { line: 3 }));
        assert_eq!(google("\" TOTP_AUTH\n\" STEP_SIZE x\n"), Err(ImportFault::Line { line: 3 }));
        assert_eq!(parse("not base 32!\n", "alice"), Err(ImportFault::Secret { line: 1 }));
    }

    #[test]
    fn the_oath_line_of_the_user_is_taken() {
        let file = format!("# users\nHOTP/E/6 bob - {HEX} 3\nHOTP/T30/8\talice\t-\t{HEX}\nHOTP/T60 carol 1234 {HEX}\n");
        let imported = parse(&file, "alice").unwrap();
        assert_eq!((imported.enrolment.period(), imported.enrolment.digits()), (30, 8));
        assert_eq!(imported.enrolment.secret(), b"12345678901234567890");
        assert_eq!(parse(&file, "carol").unwrap().left_out, ["the PIN"]);
        assert_eq!(parse(&file, "bob"), Err(ImportFault::Hotp));
        assert_eq!(parse(&file, "dave"), Err(ImportFault::NoSuchUser("dave".into())));
        assert_eq!(parse(&format!("{file}HOTP/T30 alice - {HEX}"), "alice"), Err(ImportFault::SeveralOfUser("alice".into())));
    }

    #[test]
    fn oath_lines_out_of_form_name_their_line() {
        let fault = |line: &str| parse(line, "alice").unwrap_err();
        assert_eq!(fault("HOTP alice - 00"), ImportFault::Hotp);
        assert_eq!(fault("HOTP/6 alice - 00"), ImportFault::Hotp);
        assert_eq!(fault("HOTP/T30 alice -"), ImportFault::Line { line: 1 });
        assert_eq!(fault("HOTP/Tx alice - 00"), ImportFault::Line { line: 1 });
        assert_eq!(fault("HOTP/T30/6/7 alice - 00"), ImportFault::Line { line: 1 });
        assert_eq!(fault("HOTP/T30 alice - 0g"), ImportFault::Secret { line: 1 });
        assert_eq!(fault("HOTP/T30 alice - 00"), ImportFault::Enrolment(EnrolmentFault::SecretLength { bits: 8 }));
    }

    #[test]
    fn a_uri_is_taken_and_its_fault_is_told() {
        assert!(parse(&format!("  otpauth://totp/x?secret={SECRET}\n"), "alice").is_ok());
        assert_eq!(parse("OTPAUTH://hotp/x?secret=AA", "alice"), Err(ImportFault::Uri(UriFault::Hotp)));
    }

    #[test]
    fn no_fault_repeats_the_secret() {
        for text in [format!("{SECRET}!\n"), format!("HOTP/T30 alice - {HEX}x"), format!("otpauth://totp/x?secret={SECRET}!")] {
            let fault = parse(&text, "alice").unwrap_err();
            let told = format!("{fault} {fault:?}");
            assert!(!told.contains(&SECRET[..8]) && !told.contains(&HEX[..8]), "{told}");
        }
    }

    #[test]
    fn nothing_and_too_much_are_refused() {
        assert_eq!(parse(" \n# only a comment\n", "alice"), Err(ImportFault::Empty));
        assert_eq!(parse(&"A".repeat(LONGEST + 1), "alice"), Err(ImportFault::TooLong));
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String, user: String, lines in "(HOTP(/[TE]?[0-9]{0,3}){0,3} (a|b) . [0-9a-fé]{0,8}\n){0,3}",
            options in "(\" ?[A-Z_]{0,14} ?[0-9]{0,22}\n){0,4}") {
            let _ = parse(&text, &user);
            let _ = parse(&lines, "a");
            let _ = google(&options);
            let _ = google(&format!("\" DISALLOW_REUSE {options}"));
        }
    }
}
