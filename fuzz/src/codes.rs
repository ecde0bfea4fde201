//! What people type and scan: secrets in base32, otpauth URIs, recovery codes, addresses. What is taken has one normal form.

use twostep::core::email::{Address, mask};
use twostep::core::otpauth::{base32, from_base32, parse, uri};
use twostep::core::recovery_code::RecoveryCode;
use twostep::core::totp::{Algorithm, Enrolment};

/// The input is the text, and for what is made rather than read also the bytes.
pub fn check(input: &[u8]) {
    if let Ok(enrolment) = Enrolment::existing(input.to_vec(), Algorithm::Sha256, 8, 60) {
        let text = base32(&enrolment);
        assert_eq!(from_base32(&text).map(|bytes| bytes.to_vec()).as_deref(), Some(input));
        assert_eq!(from_base32(&text.to_ascii_lowercase()).map(|bytes| bytes.to_vec()).as_deref(), Some(input));
    }
    if let Some(Ok(random)) = input.get(..10).map(<[u8; 10]>::try_from) {
        recovery_code(&RecoveryCode::new(random));
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Some(bytes) = from_base32(text)
        && let Ok(enrolment) = Enrolment::existing(bytes.to_vec(), Algorithm::Sha1, 6, 30)
    {
        assert_eq!(from_base32(&base32(&enrolment)).as_deref(), Some(&*bytes));
    }
    if let Some(code) = RecoveryCode::parse(text) {
        recovery_code(&code);
    }
    otpauth(text);
    address(text);
}

fn recovery_code(code: &RecoveryCode) {
    let shown = code.shown();
    assert!(shown.len() == 19 && shown.split('-').all(|group| group.len() == 4), "{}", *shown);
    for text in [shown.as_str(), code.normal().as_str(), &shown.to_lowercase(), &shown.replace('0', "O").replace('1', "l")] {
        assert!(RecoveryCode::parse(text).as_ref() == Some(code), "{text}");
    }
}

fn otpauth(text: &str) {
    if let Ok(enrolment) = parse(text) {
        assert!(parse(&uri(&enrolment, "NAS", "alice")).as_ref() == Ok(&enrolment), "{text:?} is read back as another enrolment");
    }
    let (issuer, account) = text.split_once('\n').unwrap_or((text, text));
    let fresh = Enrolment::fresh(*b"12345678901234567890");
    let made = uri(&fresh, issuer, account);
    assert!(made.starts_with("otpauth://totp/") && made.bytes().all(|byte| byte.is_ascii_graphic()), "{}", *made);
    if made.len() <= twostep::core::otpauth::LONGEST {
        assert!(parse(&made).as_ref() == Ok(&fresh), "{}", *made);
    }
}

/// Nothing in an address ends a line, a header or a command, and its mask shows one character of the name.
fn address(text: &str) {
    let Ok(address) = Address::parse(text) else { return };
    let plain = address.as_str();
    assert!(plain.bytes().all(|byte| byte.is_ascii_graphic() && !b"<>\"(),:;[]\\".contains(&byte)), "{plain:?}");
    assert_eq!(plain.matches('@').count(), 1);
    assert_eq!(Address::parse(plain).as_ref(), Ok(&address));
    assert_eq!(mask(plain), format!("{}***{}", &plain[..1], &plain[plain.find('@').unwrap_or(0)..]));
}
