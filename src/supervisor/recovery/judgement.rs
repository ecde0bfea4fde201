//! Whether the account has a password of its own, or the default one: also where somebody has set that one again, under another salt.
//!
//! What this does not do: read the account files, or decide what follows.

use std::convert::Infallible;

use zeroize::Zeroizing;

use super::outcome::RecoveryError;
use crate::core::recovery::PasswordIs;
use crate::core::shadow::PasswordHash;
use crate::supervisor::password::{DefaultPassword, NoStableAddress};
use crate::sys::crypt::{self, CryptError};

/// Finds the default password as it is now. Blocks.
pub type FindDefault = Box<dyn Fn() -> Result<DefaultPassword, NoStableAddress> + Send>;

/// See the module. Blocks: a hash takes some tenths of a second, on a weak board more.
pub(super) struct Judgement {
    find: FindDefault,
    /// What was judged last, and whether it was a hash of the default password.
    known: Option<(Zeroizing<Vec<u8>>, bool)>,
}

impl Judgement {
    pub(super) fn new(find: FindDefault) -> Self {
        Self { find, known: None }
    }

    /// By the text alone, which costs nothing: a hash that the press did not set is another password's.
    pub(super) fn at_a_glance(field: Option<&[u8]>, set: &PasswordHash) -> PasswordIs {
        let Ok(is) = PasswordIs::of(field, set, |_| Ok::<_, Infallible>(false));
        is
    }

    /// By hashing the default password, unless this field was judged before.
    ///
    /// # Errors
    /// Where there is none now, or no libcrypt to hash it.
    pub(super) fn remembered(&mut self, field: Option<&[u8]>, set: &PasswordHash) -> Result<PasswordIs, RecoveryError> {
        PasswordIs::of(field, set, |hash| match &self.known {
            Some((known, default)) if known.as_slice() == hash => Ok(*default),
            _ => self.by_hashing(hash),
        })
    }

    /// By hashing the default password as it is now.
    ///
    /// # Errors
    /// As [`Self::remembered`].
    pub(super) fn afresh(&mut self, field: Option<&[u8]>, set: &PasswordHash) -> Result<PasswordIs, RecoveryError> {
        PasswordIs::of(field, set, |hash| self.by_hashing(hash))
    }

    fn by_hashing(&mut self, hash: &[u8]) -> Result<bool, RecoveryError> {
        let unknown = |reason: String| RecoveryError::Undecided(reason);
        let default = (self.find)().map_err(|e| unknown(e.to_string()))?;
        let verdict = std::str::from_utf8(hash).map_or(Err(CryptError::Refused), |hash| crypt::verify(default.password.expose(), hash));
        let is_default = match verdict {
            Ok(is_default) => is_default,
            // What libcrypt does not know as a hash lets nobody in, whatever the password.
            Err(CryptError::Refused) => false,
            Err(error) => return Err(unknown(error.to_string())),
        };
        self.known = Some((Zeroizing::new(hash.to_vec()), is_default));
        Ok(is_default)
    }
}
