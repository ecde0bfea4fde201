//! XChaCha20-Poly1305 under one key.
//!
//! It is a crate of its own since generic code takes the profile of the crate that names its types: in one that is built for its size, to open a
//! secret takes three times as long, and each login opens one.
//!
//! Not here: what is sealed, nonces, keys (`engine::store::seal`).

#![forbid(unsafe_code)]

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

/// Bytes of a nonce.
pub const NONCE: usize = 24;

/// The cipher with its key, which is wiped when dropped.
pub struct Cipher(XChaCha20Poly1305);

impl Cipher {
    /// Takes a copy of the key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Ciphertext and tag; `None` for what is too long. A nonce serves once.
    // Never inlined: it would be part of a caller that is built for its size.
    #[inline(never)]
    #[must_use]
    pub fn seal(&self, nonce: &[u8; NONCE], plain: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad: associated }).ok()
    }

    /// What [`Cipher::seal`] was given; `None` where nonce, ciphertext or associated data are not those. It is the caller's to wipe.
    #[inline(never)]
    #[must_use]
    pub fn open(&self, nonce: &[u8; NONCE], sealed: &[u8], associated: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: associated }).ok()
    }
}
