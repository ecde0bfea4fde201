//! Base64 in its URL form without padding (RFC 4648 §5): how keys, proofs and tokens are written.
//!
//! One value has one text: padding, other characters and stray bits at the end are refused, so that no two texts stand for the same bytes.

use zeroize::Zeroizing;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// The text of some bytes.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        let symbols = (0..=group.len()).map(|n| ALPHABET[(value >> (18 - 6 * n)) as usize & 63]);
        text.extend(symbols.map(char::from));
    }
    text
}

/// The `N` bytes that a text stands for; none where it stands for fewer or more, or for nothing.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<Zeroizing<[u8; N]>> {
    if text.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let mut bytes = Zeroizing::new([0; N]);
    for (symbols, group) in text.as_bytes().chunks(4).zip(bytes.chunks_mut(3)) {
        let mut value = 0_u32;
        for symbol in symbols {
            value = value << 6 | digit(*symbol)?;
        }
        value <<= 6 * (4 - symbols.len());
        let [_, whole @ ..] = value.to_be_bytes();
        let (kept, rest) = whole.split_at(group.len());
        if rest.iter().any(|stray| *stray != 0) {
            return None;
        }
        group.copy_from_slice(kept);
    }
    Some(bytes)
}

fn digit(symbol: u8) -> Option<u32> {
    let value = match symbol {
        b'A'..=b'Z' => symbol - b'A',
        b'a'..=b'z' => symbol - b'a' + 26,
        b'0'..=b'9' => symbol - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_the_rfc_without_their_padding() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(encode(bytes.as_bytes()), text);
        }
        assert_eq!(encode(&[0xfb, 0xff]), "-_8");
        assert_eq!(decode::<6>("Zm9vYmFy").as_deref(), Some(b"foobar"));
        assert_eq!(decode::<5>("Zm9vYmE").as_deref(), Some(b"fooba"));
        assert_eq!(decode::<4>("Zm9vYg").as_deref(), Some(b"foob"));
    }

    #[test]
    fn a_value_has_one_text_alone() {
        for text in ["Zm9vYh", "Zm9vYg==", "Zm9vY", "Zm9vYg\n", "Zm9v+g", "Zm9v/g", "Zm9vYgA", ""] {
            assert_eq!(decode::<4>(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(bytes: [u8; 32], short: [u8; 16]) {
            prop_assert_eq!(decode::<32>(&encode(&bytes)).map(|read| *read), Some(bytes));
            prop_assert_eq!(decode::<16>(&encode(&short)).map(|read| *read), Some(short));
        }

        #[test]
        fn no_text_panics_and_what_is_read_is_written_the_same(text in "[A-Za-z0-9_=+/é-]{0,24}") {
            if let Some(bytes) = decode::<16>(&text) {
                prop_assert_eq!(encode(&*bytes), text);
            }
        }
    }
}
