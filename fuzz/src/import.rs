//! What is imported can be written out in any of the forms that hold it, and is read from there as the same.

use twostep::core::import::{ImportFault, LONGEST, parse};
use twostep::core::otpauth;
use twostep::core::totp::{Algorithm, Enrolment};

/// The input is the text, which is read for alice; or it is a secret.
pub fn check(input: &[u8]) {
    if let Ok(enrolment) = Enrolment::existing(input.to_vec(), Algorithm::Sha1, 6, 30) {
        in_every_form(&enrolment);
    }
    let Ok(text) = str::from_utf8(input) else { return };
    let imported = match parse(text, "alice") {
        Ok(imported) => imported,
        Err(fault) => return is_told(text, &fault),
    };
    assert!(text.len() <= LONGEST);
    let enrolment = &imported.enrolment;
    assert!((6..=8).contains(&enrolment.digits()) && (15..=120).contains(&enrolment.period()));
    in_every_form(enrolment);
}

fn in_every_form(enrolment: &Enrolment) {
    again(&otpauth::uri(enrolment, "NAS", "alice"), enrolment);
    if enrolment.algorithm() == Algorithm::Sha1 {
        again(&oath(enrolment), enrolment);
        if enrolment.digits() == 6 {
            again(&google_authenticator(enrolment), enrolment);
        }
    }
}

fn again(text: &str, enrolment: &Enrolment) {
    let imported = parse(text, "alice").unwrap_or_else(|fault| panic!("{text:?}: {fault}"));
    assert!(imported.enrolment == *enrolment, "{text:?} is another enrolment");
    assert!(imported.used.is_empty() && imported.left_out.is_empty());
}

fn oath(enrolment: &Enrolment) -> String {
    let secret: String = enrolment.secret().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("HOTP/T{}/{}\talice\t-\t{secret}\n", enrolment.period(), enrolment.digits())
}

fn google_authenticator(enrolment: &Enrolment) -> String {
    format!("{}\n\" STEP_SIZE {}\n\" TOTP_AUTH\n", *otpauth::base32(enrolment), enrolment.period())
}

/// A fault names a line that is there, and repeats nothing that could be a secret.
fn is_told(text: &str, fault: &ImportFault) {
    if let ImportFault::Line { line } | ImportFault::Secret { line } = fault {
        assert!((1..=text.lines().count()).contains(line), "line {line}");
    }
    let told = format!("{fault} {fault:?}");
    let letters = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    for word in text.split(|c| !letters(c)).filter(|word| word.len() >= 16 && word.contains(char::is_alphabetic)) {
        assert!(!told.contains(word), "{told}");
    }
}
