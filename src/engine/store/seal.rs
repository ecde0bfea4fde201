//! Keys and sealing: what is secret is unreadable in the file, and what is only compared is there as a keyed hash.
//!
//! One 32-byte sealing key comes from the supervisor. Each use has its own subkey, by HKDF-Expand (RFC 5869 §2.3; the key is uniformly random,
//! so §3.3 lets Extract be left out) with a label. Secrets are sealed by XChaCha20-Poly1305 under random 192-bit nonces, with account and
//! purpose as associated data, so that a sealed value moved to another row does not open.
//!
//! Not here: where the key is kept, and what a key is worth that lies beside the database (`supervisor`).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use twostep_cipher::{Cipher, NONCE};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::error::StoreError;

/// The key that everything else is derived from. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealingKey([u8; Self::LENGTH]);

impl SealingKey {
    /// Bytes of a key.
    pub const LENGTH: usize = 32;

    /// Takes 32 uniformly random bytes over; `None` for any other length.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(…)")
    }
}

/// What a sealed value is for; part of its associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// The shared secret of the Security Code, with its parameters.
    Enrolment,
}

impl Sealed {
    /// The word for people, and for the associated data.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Enrolment => "Security Code",
        }
    }
}

/// What a keyed hash is for; each has its own subkey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashed {
    /// Recovery codes at rest.
    RecoveryCode,
    /// Trusted-device tokens, and addresses trusted by the engine, at rest.
    TrustedDevice,
    /// Mailed codes waiting in memory.
    EmailCode,
}

/// The subkeys of one sealing key. Cheap to share by reference; never printed.
pub struct Keys {
    cipher: Cipher,
    recovery: Hmac<Sha256>,
    trusted: Hmac<Sha256>,
    email: Hmac<Sha256>,
    check: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

impl Keys {
    /// Derives the subkeys.
    #[must_use]
    pub fn new(key: &SealingKey) -> Self {
        Self {
            cipher: Cipher::new(&subkey(key, b"twostep/1 seal")),
            recovery: keyed(&subkey(key, b"twostep/1 recovery codes")),
            trusted: keyed(&subkey(key, b"twostep/1 trusted devices")),
            email: keyed(&subkey(key, b"twostep/1 e-mail codes")),
            check: subkey(key, b"twostep/1 key check"),
        }
    }

    /// The keyed hash of `text` for the account `uid`: HMAC-SHA256 (RFC 2104) over uid and text.
    #[must_use]
    pub fn hash(&self, what: Hashed, uid: u32, text: &[u8]) -> [u8; 32] {
        let keyed = match what {
            Hashed::RecoveryCode => &self.recovery,
            Hashed::TrustedDevice => &self.trusted,
            Hashed::EmailCode => &self.email,
        };
        keyed.clone().chain_update(uid.to_be_bytes()).chain_update(text).finalize().into_bytes().into()
    }

    /// Tells this key from others without telling anything about it; stored with the database.
    pub(super) fn check(&self) -> &[u8; 32] {
        &self.check
    }

    /// Whether `stored` was made by this key.
    pub(super) fn checks(&self, stored: &[u8]) -> bool {
        self.check.as_slice().ct_eq(stored).into()
    }

    /// Seals `plain` for one account and purpose: nonce, then ciphertext and tag.
    pub(super) fn seal(&self, what: Sealed, uid: u32, plain: &[u8]) -> Result<Vec<u8>, StoreError> {
        let nonce = random::<NONCE>()?;
        let sealed = self.cipher.seal(&nonce, plain, &associated(what, uid));
        let sealed = sealed.ok_or(StoreError::Sealed { uid, purpose: what.name() })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what [`Keys::seal`] made for the same account and purpose.
    pub(super) fn open(&self, what: Sealed, uid: u32, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, StoreError> {
        let wrong = StoreError::Sealed { uid, purpose: what.name() };
        let Some((nonce, rest)) = sealed.split_first_chunk::<NONCE>() else { return Err(wrong) };
        self.cipher.open(nonce, rest, &associated(what, uid)).map(Zeroizing::new).ok_or(wrong)
    }
}

/// `N` bytes from the kernel.
pub(super) fn random<const N: usize>() -> Result<[u8; N], StoreError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| StoreError::NoRandomness)?;
    Ok(bytes)
}

fn associated(what: Sealed, uid: u32) -> Vec<u8> {
    [uid.to_be_bytes().as_slice(), what.name().as_bytes()].concat()
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"))
}

fn subkey(key: &SealingKey, label: &[u8]) -> Zeroizing<[u8; 32]> {
    Zeroizing::new(keyed(&key.0).chain_update(label).chain_update([1]).finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(byte: u8) -> Keys {
        Keys::new(&SealingKey([byte; 32]))
    }

    #[test]
    fn a_sealed_secret_opens_for_its_own_account_and_key_alone() {
        let sealed = keys(1).seal(Sealed::Enrolment, 1000, b"12345678901234567890").unwrap();
        assert_eq!(*keys(1).open(Sealed::Enrolment, 1000, &sealed).unwrap(), b"12345678901234567890");
        assert!(keys(1).open(Sealed::Enrolment, 1001, &sealed).is_err());
        assert!(keys(2).open(Sealed::Enrolment, 1000, &sealed).is_err());
        assert!(keys(1).open(Sealed::Enrolment, 1000, &sealed[..20]).is_err());
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let sealed = keys(1).seal(Sealed::Enrolment, 1000, b"12345678901234567890").unwrap();
        for byte in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[byte] ^= 1;
            assert!(keys(1).open(Sealed::Enrolment, 1000, &changed).is_err(), "byte {byte}");
        }
    }

    #[test]
    fn one_text_has_another_hash_for_each_account_use_and_key() {
        let hash = keys(1).hash(Hashed::RecoveryCode, 1000, b"abcd");
        assert_eq!(hash, keys(1).hash(Hashed::RecoveryCode, 1000, b"abcd"));
        assert_ne!(hash, keys(1).hash(Hashed::RecoveryCode, 1001, b"abcd"));
        assert_ne!(hash, keys(1).hash(Hashed::TrustedDevice, 1000, b"abcd"));
        assert_ne!(hash, keys(2).hash(Hashed::RecoveryCode, 1000, b"abcd"));
    }

    /// RFC 5869, test case 1, its Expand step cut to one block: PRK, info, and the first 32 bytes of OKM.
    #[test]
    fn subkeys_are_hkdf_expand() {
        let hex =
            |text: &str| -> Vec<u8> { (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect() };
        let key = SealingKey::from_slice(&hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")).unwrap();
        let expected = hex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf");
        assert_eq!(subkey(&key, &hex("f0f1f2f3f4f5f6f7f8f9")).to_vec(), expected);
    }

    #[test]
    fn keys_are_never_printed() {
        let key = SealingKey([0x41; 32]);
        assert_eq!(format!("{key:?} {:?}", Keys::new(&key)), "SealingKey(…) Keys(…)");
    }
}
