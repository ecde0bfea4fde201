//! Recovery codes (B4): how they look, and what somebody who types one may get wrong.
//!
//! A code is 80 bits in Crockford's base 32 (no I, L, O, U), four groups of four. A reader's O, I and L are understood as 0, 1 and 1.
//!
//! This module draws no randomness and remembers no code: the store keeps keyed hashes of the normal form, and uses each up once.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::totp::is_separator;

/// Codes in one list.
pub const COUNT: usize = 10;
/// Random bytes in one code.
pub const BYTES: usize = 10;
const LENGTH: usize = 16;
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// One code in its normal form. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct RecoveryCode([u8; LENGTH]);

impl RecoveryCode {
    /// The code of ten random bytes.
    #[must_use]
    pub fn new(random: [u8; BYTES]) -> Self {
        let mut code = [0; LENGTH];
        for (half, bytes) in code.chunks_exact_mut(8).zip(random.chunks_exact(5)) {
            let value = bytes.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            for (n, symbol) in half.iter_mut().enumerate() {
                *symbol = ALPHABET[(value >> (35 - 5 * n)) as usize & 31];
            }
        }
        Self(code)
    }

    /// What somebody typed, if it has the form of a code: case, blanks and dashes do not matter.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > 64 {
            return None;
        }
        let mut code = [0; LENGTH];
        let mut symbols = text.chars().filter(|c| !is_separator(*c));
        for place in &mut code {
            *place = symbol(symbols.next()?)?;
        }
        symbols.next().is_none().then_some(Self(code))
    }

    /// As it is shown: `ABCD-EFGH-JKMN-PQRS`.
    #[must_use]
    pub fn shown(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(LENGTH + 3));
        for (n, symbol) in self.0.iter().enumerate() {
            if n > 0 && n % 4 == 0 {
                text.push('-');
            }
            text.push(char::from(*symbol));
        }
        text
    }

    /// The form that is hashed: sixteen characters of the alphabet.
    #[must_use]
    pub fn normal(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.iter().copied().map(char::from).collect())
    }
}

impl fmt::Debug for RecoveryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RecoveryCode(…)")
    }
}

fn symbol(c: char) -> Option<u8> {
    match u8::try_from(c).ok()?.to_ascii_uppercase() {
        b'O' => Some(b'0'),
        b'I' | b'L' => Some(b'1'),
        symbol => ALPHABET.contains(&symbol).then_some(symbol),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_code_is_four_groups_of_four_unmistakable_characters() {
        assert_eq!(*RecoveryCode::new([0; 10]).shown(), "0000-0000-0000-0000");
        assert_eq!(*RecoveryCode::new([0xff; 10]).shown(), "ZZZZ-ZZZZ-ZZZZ-ZZZZ");
        assert_eq!(*RecoveryCode::new([0x08, 0x42, 0x10, 0x84, 0x21, 0, 0, 0, 0, 1]).shown(), "1111-1111-0000-0001");
    }

    #[test]
    fn a_person_may_mistake_letters_and_leave_out_dashes() {
        let code = RecoveryCode::new([0x08, 0x42, 0x10, 0x84, 0x21, 0, 0, 0, 0, 1]);
        for typed in ["1111-1111-0000-0001", "iIlL1111ooOO000i", " 1111 1111\t0000–0001 "] {
            assert_eq!(RecoveryCode::parse(typed).as_ref(), Some(&code), "{typed}");
        }
        for wrong in ["", "1111-1111-0000-000", "1111-1111-0000-00011", "1111-1111-0000-000U", "1111-1111-0000-000é"] {
            assert_eq!(RecoveryCode::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_code_is_not_printed() {
        assert_eq!(format!("{:?}", RecoveryCode::new([7; 10])), "RecoveryCode(…)");
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed(random: [u8; 10]) {
            let code = RecoveryCode::new(random);
            prop_assert_eq!(code.shown().replace('-', ""), code.normal().to_string());
            prop_assert_eq!(RecoveryCode::parse(&code.shown().to_lowercase()), Some(code));
        }

        #[test]
        fn different_bytes_make_different_codes(a: [u8; 10], b: [u8; 10]) {
            prop_assert_eq!(RecoveryCode::new(a) == RecoveryCode::new(b), a == b);
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = RecoveryCode::parse(&text);
        }
    }
}
