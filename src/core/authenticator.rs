//! What a phone signs, and whether it did.
//!
//! ```text
//!   NAS ──QR code: pairing, secret──► phone      the secret never goes back
//!   NAS ◄── public key, name, mac, proof ── phone
//!           mac: HMAC-SHA256 under the secret    only who scanned the code can have made it, so whoever carries it can't swap the key
//!           proof: ECDSA by the key itself       the phone holds the private half
//!   number: HMAC-SHA256 under the secret, of the key: both sides make it on their own, and people compare
//! ```
//! Each later call is signed too. The first line of a signed text names its purpose and no field holds a line feed, so no signature serves for
//! another call; the nonce in it serves once ([`nonces`](super::nonces)).
//!
//! Keys are P-256 (SPKI, RFC 5480), signatures ECDSA with SHA-256, raw r‖s. A point off the curve verifies nothing.
//!
//! This module makes no key and no signature, knows no account, and remembers nothing. Pairings live in [`pairing`](super::pairing).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::{ZeroizeOnDrop, Zeroizing};

use super::base64url::{decode, encode};

/// Phones of one account.
pub const PER_ACCOUNT: usize = 8;
/// The longest name of a phone, in bytes.
pub const NAME_CAP: usize = 64;

const POINT: usize = 65;
const SPKI: usize = 91;
/// Of every P-256 key: the algorithm's and the curve's identifiers (RFC 5480 §2.1.1), then a bit string whose first byte says "uncompressed".
const SPKI_HEAD: [u8; SPKI - POINT + 1] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00, 0x04,
];

/// Why a public key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFault {
    /// Not base64url without padding, of 91 bytes.
    Encoding,
    /// Not the SPKI of an uncompressed point of P-256.
    Kind,
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoding => "a key is 91 bytes of SPKI in base64url without padding",
            Self::Kind => "the key is no uncompressed point of P-256",
        })
    }
}

impl std::error::Error for KeyFault {}

/// A phone's public key.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey([u8; SPKI]);

impl PublicKey {
    /// Reads a key as the protocol writes it.
    ///
    /// # Errors
    /// What is wrong with it. Whether the point is on the curve shows at the first proof.
    pub fn parse(text: &str) -> Result<Self, KeyFault> {
        let bytes = decode::<SPKI>(text).ok_or(KeyFault::Encoding)?;
        Self::from_spki(bytes.as_slice()).ok_or(KeyFault::Kind)
    }

    /// Reads a key as the store keeps it: SPKI, DER.
    #[must_use]
    pub fn from_spki(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().filter(|spki: &[u8; SPKI]| spki.starts_with(&SPKI_HEAD)).map(Self)
    }

    /// SPKI, DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.0
    }

    /// Whether `proof` is this key's signature of `signed`.
    #[must_use]
    pub fn verifies(&self, signed: &Signed<'_>, proof: &str) -> bool {
        let (Some(text), Some(proof)) = (signed.text(), decode::<64>(proof)) else { return false };
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.0[SPKI - POINT..]).verify(text.as_bytes(), proof.as_slice()).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", encode(&self.0[SPKI - POINT..]))
    }
}

/// What a phone signs. Fields as the call has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed<'a> {
    /// `Pair`.
    Pair {
        /// From the QR code.
        pairing: &'a str,
        /// The key in question.
        public_key: &'a str,
        /// The phone's.
        name: &'a str,
    },
    /// `ConfirmPairing`.
    ConfirmPairing {
        /// The phone's.
        authenticator: &'a str,
        /// Or deny.
        approve: bool,
        /// What was compared, or typed.
        number: Option<&'a str>,
        /// Good once.
        nonce: &'a str,
    },
    /// `Pending`.
    Pending {
        /// The phone's.
        authenticator: &'a str,
        /// Good once.
        nonce: &'a str,
    },
    /// `Scan`.
    Scan {
        /// The phone's.
        authenticator: &'a str,
        /// The whole text.
        qr: &'a str,
        /// Good once.
        nonce: &'a str,
    },
    /// `Decide`.
    Decide {
        /// The phone's.
        authenticator: &'a str,
        /// The request.
        login: &'a str,
        /// Or deny.
        approve: bool,
        /// What was compared, or typed.
        number: Option<&'a str>,
        /// Good once.
        nonce: &'a str,
    },
    /// `OnlineCode`.
    OnlineCode {
        /// The phone's.
        authenticator: &'a str,
        /// The request.
        login: &'a str,
        /// Good once.
        nonce: &'a str,
    },
    /// `Unpair`.
    Unpair {
        /// The phone's.
        authenticator: &'a str,
        /// Good once.
        nonce: &'a str,
    },
}

impl Signed<'_> {
    /// The signed text; none where a field holds a line feed, which would let one text stand for two calls.
    #[must_use]
    pub fn text(&self) -> Option<Zeroizing<String>> {
        let word = |approve: bool| if approve { "approve" } else { "deny" };
        let fields = match *self {
            Self::Pair { pairing, public_key, name } => vec!["pair", pairing, public_key, name],
            Self::ConfirmPairing { authenticator, approve, number, nonce } => {
                vec!["pair-confirm", authenticator, word(approve), number.unwrap_or_default(), nonce]
            }
            Self::Pending { authenticator, nonce } => vec!["pending", authenticator, nonce],
            Self::Scan { authenticator, qr, nonce } => vec!["scan", authenticator, qr, nonce],
            Self::Decide { authenticator, login, approve, number, nonce } => {
                vec!["decide", authenticator, login, word(approve), number.unwrap_or_default(), nonce]
            }
            Self::OnlineCode { authenticator, login, nonce } => vec!["code", authenticator, login, nonce],
            Self::Unpair { authenticator, nonce } => vec!["unpair", authenticator, nonce],
        };
        let whole = fields.iter().all(|field| !field.contains('\n'));
        whole.then(|| {
            // Made at its length: what has to grow leaves copies behind.
            let length = fields.iter().map(|field| 1 + field.len()).sum::<usize>();
            let mut text = Zeroizing::new(String::with_capacity("twostep/1".len() + length));
            text.push_str("twostep/1");
            for (field, before) in fields.iter().zip([' '].into_iter().chain(std::iter::repeat('\n'))) {
                text.push(before);
                text.push_str(field);
            }
            text
        })
    }
}

/// The secret in a pairing's QR code. Wiped when dropped, never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct PairingSecret([u8; Self::BYTES]);

impl PairingSecret {
    /// Bytes of a secret.
    pub const BYTES: usize = 32;

    /// Takes uniformly random bytes over.
    #[must_use]
    pub fn new(random: [u8; Self::BYTES]) -> Self {
        Self(random)
    }

    /// Whether `mac` was made by somebody who knows the secret, over this very key and name.
    #[must_use]
    pub fn made(&self, mac: &str, public_key: &str, name: &str) -> bool {
        let Some(mac) = decode::<32>(mac) else { return false };
        // A line feed in a name would let one mac stand for two pairs.
        let whole = !public_key.contains('\n') && !name.contains('\n');
        whole && bool::from(self.hmac(&format!("{public_key}\n{name}")).as_slice().ct_eq(mac.as_slice()))
    }

    /// The four digits that both sides show: made of the key, so that a swapped one shows others.
    #[must_use]
    pub fn number(&self, public_key: &str) -> String {
        let hmac = self.hmac(&format!("twostep/1 number\n{public_key}"));
        let first = hmac.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        format!("{:04}", first % 10_000)
    }

    /// What the QR code says: the page to open, and in its fragment, which no browser sends, how to pair.
    #[must_use]
    pub fn uri(&self, address: &str, pairing: &str) -> Zeroizing<String> {
        let secret = Zeroizing::new(encode(&self.0));
        Zeroizing::new(format!("{address}/pair#1.{pairing}.{}", *secret))
    }

    fn hmac(&self, text: &str) -> Zeroizing<[u8; 32]> {
        // HMAC takes keys of any length.
        let keyed = Hmac::<Sha256>::new_from_slice(&self.0).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
        Zeroizing::new(keyed.chain_update(text).finalize().into_bytes().into())
    }
}

impl fmt::Debug for PairingSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairingSecret(…)")
    }
}

/// What a login's QR code says; as in a pairing's, the fragment is for the phone alone.
#[must_use]
pub fn login_uri(address: &str, token: &str) -> Zeroizing<String> {
    Zeroizing::new(format!("{address}/scan#1.{token}"))
}

/// The token in a login's QR code, if it is one of this address.
#[must_use]
pub fn login_token<'a>(address: &str, qr: &'a str) -> Option<&'a str> {
    qr.strip_prefix(address)?.strip_prefix("/scan#1.")
}

/// Whether this can be a phone's name: something to read, on one line.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= NAME_CAP && !name.trim().is_empty() && !name.chars().any(char::is_control)
}

/// A phone's half, for the tests of whatever asks for proofs.
#[cfg(test)]
pub(crate) mod fake {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    use super::{PairingSecret, SPKI_HEAD, Signed, encode};

    pub struct Signer(EcdsaKeyPair);

    impl Signer {
        pub fn new() -> Self {
            let random = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap())
        }

        pub fn public_key(&self) -> String {
            encode(&[&SPKI_HEAD[..SPKI_HEAD.len() - 1], self.0.public_key().as_ref()].concat())
        }

        pub fn sign(&self, signed: &Signed<'_>) -> String {
            encode(self.0.sign(&SystemRandom::new(), signed.text().unwrap().as_bytes()).unwrap().as_ref())
        }

        pub fn mac(secret: [u8; 32], public_key: &str, name: &str) -> String {
            encode(PairingSecret::new(secret).hmac(&format!("{public_key}\n{name}")).as_slice())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::fake::Signer;
    use super::*;

    /// One of each kind, with the same fields.
    fn all() -> [Signed<'static>; 9] {
        let (authenticator, login, nonce) = ("a", "l", "n");
        [
            Signed::Pair { pairing: "a", public_key: "l", name: "n" },
            Signed::ConfirmPairing { authenticator, approve: true, number: Some("42"), nonce },
            Signed::ConfirmPairing { authenticator, approve: false, number: None, nonce },
            Signed::Pending { authenticator, nonce },
            Signed::Scan { authenticator, qr: login, nonce },
            Signed::Decide { authenticator, login, approve: true, number: Some("42"), nonce },
            Signed::Decide { authenticator, login, approve: false, number: None, nonce },
            Signed::OnlineCode { authenticator, login, nonce },
            Signed::Unpair { authenticator, nonce },
        ]
    }

    #[test]
    fn a_signature_serves_for_the_call_it_was_made_for_and_no_other() {
        let phone = Signer::new();
        let key = PublicKey::parse(&phone.public_key()).unwrap();
        for made in all() {
            let proof = phone.sign(&made);
            for used in all() {
                assert_eq!(key.verifies(&used, &proof), made == used, "{made:?} as {used:?}");
            }
            assert!(!PublicKey::parse(&Signer::new().public_key()).unwrap().verifies(&made, &proof), "another phone's");
        }
    }

    #[test]
    fn the_texts_are_those_of_the_description() {
        let text = |signed: Signed<'_>| signed.text().unwrap().to_string();
        let decide = Signed::Decide { authenticator: "a", login: "l", approve: true, number: Some("42"), nonce: "n" };
        assert_eq!(text(decide), "twostep/1 decide\na\nl\napprove\n42\nn");
        let deny = Signed::ConfirmPairing { authenticator: "a", approve: false, number: None, nonce: "n" };
        assert_eq!(text(deny), "twostep/1 pair-confirm\na\ndeny\n\nn");
        assert_eq!(text(Signed::Pair { pairing: "p", public_key: "k", name: "Alice's phone" }), "twostep/1 pair\np\nk\nAlice's phone");
        assert_eq!(text(Signed::OnlineCode { authenticator: "a", login: "l", nonce: "n" }), "twostep/1 code\na\nl\nn");
    }

    #[test]
    fn no_field_reaches_into_the_next() {
        let approve = |number, nonce| Signed::Decide { authenticator: "a", login: "l", approve: true, number: Some(number), nonce };
        assert_eq!(approve("42\nx", "n").text(), None);
        assert_eq!(approve("42", "x\nn").text(), None);
        assert_eq!(Signed::Pair { pairing: "p", public_key: "k", name: "a\nb" }.text(), None);
        let phone = Signer::new();
        let proof = phone.sign(&approve("42", "n"));
        assert!(!PublicKey::parse(&phone.public_key()).unwrap().verifies(&approve("42\nx", "n"), &proof));
    }

    #[test]
    fn proofs_of_another_form_verify_nothing() {
        let (phone, signed) = (Signer::new(), Signed::Unpair { authenticator: "a", nonce: "n" });
        let (key, proof) = (PublicKey::parse(&phone.public_key()).unwrap(), phone.sign(&signed));
        assert!(key.verifies(&signed, &proof));
        let zeros = encode(&[0; 64]);
        for other in ["", "A", &proof[1..], &format!("{proof}="), &format!("{proof}A"), zeros.as_str()] {
            assert!(!key.verifies(&signed, other), "{other}");
        }
    }

    #[test]
    fn keys_of_another_kind_are_refused() {
        let good = Signer::new().public_key();
        assert!(PublicKey::parse(&good).is_ok());
        assert_eq!(PublicKey::parse(""), Err(KeyFault::Encoding));
        assert_eq!(PublicKey::parse(&good[..good.len() - 1]), Err(KeyFault::Encoding));
        assert_eq!(PublicKey::parse(&format!("{good}A")), Err(KeyFault::Encoding));
        let changed = |at: usize, to: u8| {
            let mut bytes = *decode::<SPKI>(&good).unwrap();
            bytes[at] = to;
            PublicKey::parse(&encode(&bytes))
        };
        assert_eq!(changed(22, 0x22), Err(KeyFault::Kind), "P-384");
        assert_eq!(changed(26, 0x02), Err(KeyFault::Kind), "compressed");
        // Off the curve: taken, and good for nothing.
        let off = changed(90, decode::<SPKI>(&good).unwrap()[90] ^ 1).unwrap();
        assert!(!off.verifies(&Signed::Unpair { authenticator: "a", nonce: "n" }, &encode(&[1; 64])));
    }

    #[test]
    fn a_mac_is_good_for_one_key_under_one_name() {
        let secret = PairingSecret::new([7; 32]);
        let mac = encode(secret.hmac("KEY\nphone").as_slice());
        assert!(secret.made(&mac, "KEY", "phone"));
        assert!(!secret.made(&mac, "OTHER", "phone") && !secret.made(&mac, "KEY", "tablet"));
        assert!(!PairingSecret::new([8; 32]).made(&mac, "KEY", "phone"));
        assert!(!secret.made("", "KEY", "phone"));
        let split = encode(secret.hmac("KEY\nmy\nphone").as_slice());
        assert!(!secret.made(&split, "KEY\nmy", "phone") && !secret.made(&split, "KEY", "my\nphone"));
    }

    #[test]
    fn the_number_is_four_digits_that_follow_the_key() {
        let secret = PairingSecret::new([7; 32]);
        assert_eq!(secret.number("KEY"), secret.number("KEY"));
        let numbers: std::collections::BTreeSet<String> = (0..50).map(|n| secret.number(&format!("KEY{n}"))).collect();
        assert!(numbers.len() > 40 && numbers.iter().all(|number| number.len() == 4));
    }

    #[test]
    fn a_login_code_is_one_of_this_address() {
        let qr = login_uri("https://nas.example:8443", "TOKEN");
        assert_eq!(login_token("https://nas.example:8443", &qr), Some("TOKEN"));
        for other in ["https://nas.example", "https://nas.example:844", "https://evil.example"] {
            assert_eq!(login_token(other, &qr), None);
        }
    }

    #[test]
    fn a_secret_is_not_printed_and_leaves_in_the_fragment_alone() {
        let secret = PairingSecret::new([0xff; 32]);
        assert_eq!(format!("{secret:?}"), "PairingSecret(…)");
        let uri = secret.uri("https://nas.example", "PAIRING");
        let (page, fragment) = uri.split_once('#').unwrap();
        assert_eq!((page, fragment), ("https://nas.example/pair", format!("1.PAIRING.{}", encode(&[0xff; 32])).as_str()));
    }

    #[test]
    fn a_name_is_one_line_to_read() {
        assert!(is_name("Alice's phone") && is_name("Telefon von Jörg"));
        for name in ["", " ", "a\nb", "a\u{7f}", &"x".repeat(65)] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text: String) {
            let _ = PublicKey::parse(&text);
            let _ = login_token("https://nas.example", &text);
            let _ = PairingSecret::new([7; 32]).made(&text, &text, &text);
        }
    }
}
