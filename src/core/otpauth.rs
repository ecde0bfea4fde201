//! otpauth URIs (the Key URI format of authenticator apps): made for the QR code of an enrolment, read for an import.
//!
//! This module draws no QR code and takes no `hotp`: a counter can't be shared with the service it came from.

use std::fmt;

use totp_rs::{Builder, Secret, Totp, TotpError};
use zeroize::Zeroizing;

use super::totp::{Algorithm, Enrolment, EnrolmentFault};

/// The longest URI that is read, in bytes.
pub const LONGEST: usize = 4_096;

/// The secret as text, to type where no camera is: base32 (RFC 4648) without padding.
#[must_use]
pub fn base32(enrolment: &Enrolment) -> Zeroizing<String> {
    Zeroizing::new(Secret::from(enrolment.secret()).to_base32())
}

/// The bytes of a base32 secret; case, blanks, dashes and padding do not matter.
#[must_use]
pub fn from_base32(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let plain: Zeroizing<String> =
        Zeroizing::new(text.chars().filter(|c| !super::totp::is_separator(*c)).map(|c| c.to_ascii_uppercase()).collect::<String>());
    let symbols = plain.trim_end_matches('=');
    let known = symbols.bytes().all(|b| matches!(b, b'A'..=b'Z' | b'2'..=b'7'));
    // 1, 3 or 6 symbols over whole groups of 8 hold no whole byte more: something was cut off.
    if symbols.is_empty() || !known || matches!(symbols.len() % 8, 1 | 3 | 6) {
        return None;
    }
    Secret::try_from_base32(symbols).ok().map(|secret| Zeroizing::new(secret.as_bytes().to_vec()))
}

/// The URI of an enrolment, for an authenticator app. `issuer` and `account` are what the app shows: the NAS and the user.
///
/// The format separates the two by a colon, so a colon in either (a domain may use one) is shown as a middle dot.
#[must_use]
pub fn uri(enrolment: &Enrolment, issuer: &str, account: &str) -> Zeroizing<String> {
    let shown = |text: &str, otherwise: &str| {
        let text = text.replace(':', "·");
        if text.trim().is_empty() { otherwise.to_owned() } else { text }
    };
    let totp = Builder::new()
        .with_algorithm(enrolment.algorithm().into())
        .with_digits(enrolment.digits())
        .with_step_duration(enrolment.period())
        .with_secret(enrolment.secret())
        .with_issuer(Some(shown(issuer, "NAS")))
        .with_account_name(shown(account, "user"))
        .build_noncompliant();
    // Only an account name that is empty or has a colon is refused.
    Zeroizing::new(totp.to_url().unwrap_or_else(|_| unreachable!("the account name was made fit")))
}

/// Why a URI is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UriFault {
    /// Longer than [`LONGEST`].
    TooLong,
    /// Counter-based.
    Hotp,
    /// Several accounts in an export of one app's own making.
    Migration,
    /// Not an otpauth URI of the usual form.
    Malformed(&'static str),
    /// Out of range.
    Enrolment(EnrolmentFault),
}

impl fmt::Display for UriFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "the URI is longer than {LONGEST} characters"),
            Self::Hotp => f.write_str("it counts logins (hotp) instead of time; only totp can be imported"),
            Self::Migration => f.write_str("an export of several accounts can't be imported; export the one as an otpauth://totp URI"),
            Self::Malformed(what) => write!(f, "not an otpauth://totp URI: {what}"),
            Self::Enrolment(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for UriFault {}

/// Reads a URI.
///
/// # Errors
/// See [`UriFault`]; nothing of the secret is in it.
pub fn parse(uri: &str) -> Result<Enrolment, UriFault> {
    let uri = uri.trim();
    if uri.len() > LONGEST {
        return Err(UriFault::TooLong);
    }
    let lower = uri.get(..24).unwrap_or(uri).to_ascii_lowercase();
    if lower.starts_with("otpauth-migration:") {
        return Err(UriFault::Migration);
    }
    if lower.starts_with("otpauth://hotp/") {
        return Err(UriFault::Hotp);
    }
    let totp = Totp::from_url_unchecked(uri).map_err(|fault| UriFault::Malformed(reason(&fault)))?;
    let algorithm = Algorithm::parse(totp.algorithm().as_str()).ok_or(UriFault::Malformed("an unknown algorithm"))?;
    Enrolment::existing(totp.secret().as_bytes().to_vec(), algorithm, totp.digits().into(), totp.step()).map_err(UriFault::Enrolment)
}

/// The crate's own texts repeat parts of the URI, so they are not passed on.
fn reason(fault: &TotpError) -> &'static str {
    match fault {
        TotpError::InvalidScheme { .. } | TotpError::InvalidHost { .. } => "it begins otherwise",
        TotpError::InvalidAlgorithm { .. } => "an unknown algorithm",
        TotpError::DigitsParse { .. } => "digits is no number",
        TotpError::StepParse { .. } => "period is no number",
        TotpError::InvalidSecret => "the secret is not base32",
        TotpError::SecretNotSet => "it has no secret",
        TotpError::IssuerMismatch { .. } => "it names two issuers",
        _ => "it can't be read",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URI: &str = "otpauth://totp/Example:alice@example.org?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=Example";

    #[test]
    fn the_uri_names_issuer_and_account_and_encodes_both() {
        let uri = uri(&Enrolment::fresh([0; 20]), "Küchen NAS", "EXAMPLE\\alice & bob@example.org");
        let label = "K%C3%BCchen%20NAS:EXAMPLE%5Calice%20%26%20bob%40example.org";
        assert_eq!(*uri, format!("otpauth://totp/{label}?secret=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA&issuer=K%C3%BCchen%20NAS"));
    }

    #[test]
    fn a_colon_does_not_end_the_issuer_and_an_empty_name_is_none() {
        assert!(uri(&Enrolment::fresh([0; 20]), "a:b", "c:d").starts_with("otpauth://totp/a%C2%B7b:c%C2%B7d?"));
        assert!(uri(&Enrolment::fresh([0; 20]), "", " ").starts_with("otpauth://totp/NAS:user?"));
    }

    #[test]
    fn a_usual_uri_is_read() {
        let enrolment = parse(URI).unwrap();
        assert_eq!(*base32(&enrolment), "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
        assert_eq!((enrolment.algorithm(), enrolment.digits(), enrolment.period()), (Algorithm::Sha1, 6, 30));
        let other = parse(&format!("{URI}&algorithm=SHA256&digits=8&period=60")).unwrap();
        assert_eq!((other.algorithm(), other.digits(), other.period()), (Algorithm::Sha256, 8, 60));
    }

    #[test]
    fn what_is_not_taken_says_why() {
        let fault = |uri: &str| parse(uri).unwrap_err();
        assert_eq!(fault(&URI.replace("totp", "hotp")), UriFault::Hotp);
        assert_eq!(fault("otpauth-migration://offline?data=AAAA"), UriFault::Migration);
        assert_eq!(fault("https://example.org/"), UriFault::Malformed("it begins otherwise"));
        assert_eq!(fault("otpauth://totp/alice"), UriFault::Malformed("it has no secret"));
        assert_eq!(fault("otpauth://totp/alice?secret=!!"), UriFault::Malformed("the secret is not base32"));
        assert_eq!(fault("otpauth://totp/alice?secret=GEZDGNBV"), UriFault::Enrolment(EnrolmentFault::SecretLength { bits: 40 }));
        assert_eq!(fault(&format!("{URI}&digits=10")), UriFault::Enrolment(EnrolmentFault::Digits(10)));
        assert_eq!(fault(&format!("{URI}&period=0")), UriFault::Enrolment(EnrolmentFault::Period(0)));
        assert_eq!(fault(&format!("{URI}&x={}", "y".repeat(LONGEST))), UriFault::TooLong);
    }

    #[test]
    fn a_secret_typed_in_groups_and_lower_case_is_the_same() {
        let bytes = from_base32("jbsw y3dp-ehpk 3pxp").unwrap();
        assert_eq!(bytes.as_slice(), b"Hello!\xde\xad\xbe\xef");
        for wrong in ["", "====", "A", "ABC", "JBSWY1", "JBSWYß"] {
            assert!(from_base32(wrong).is_none(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_made_is_read_back(secret in prop::collection::vec(any::<u8>(), 10..=128), issuer: String, account: String,
            digits in 6_u64..=8, period in 15_u64..=120) {
            let enrolment = Enrolment::existing(secret, Algorithm::Sha512, digits, period).unwrap();
            let uri = uri(&enrolment, &issuer.chars().take(40).collect::<String>(), &account.chars().take(40).collect::<String>());
            prop_assert_eq!(parse(&uri), Ok(enrolment.clone()));
            prop_assert_eq!(from_base32(&base32(&enrolment)).unwrap().to_vec(), enrolment.secret());
        }

        #[test]
        fn no_text_panics(text: String, query in "[ -~]{0,60}") {
            let _ = parse(&text);
            let _ = parse(&format!("otpauth://totp/{query}"));
            let _ = from_base32(&text);
            let _ = from_base32(&query);
        }
    }
}
