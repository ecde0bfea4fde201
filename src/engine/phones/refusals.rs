//! What was refused to phones, or to whoever speaks in their names, for the audit trail: the first of a kind at once, and then one in an hour, which says
//! how many there were. So nobody who has nothing but a phone's name, and be it its carrier, can push everything else out of the trail. It is one for
//! each account, since whoever has an account can have as many phones as there is time to pair them.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use crate::core::time::BootTime;

/// Between two entries of one kind about one account.
pub const PAUSE: Duration = Duration::from_secs(3_600);
/// Kinds, of accounts, that are remembered at once; while there are more within an hour, those are not told.
const REMEMBERED: usize = 128;

/// Why a call was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The nonce was used before, is too old, or never was one of this phone.
    Nonce,
    /// The signature is not that of its key, or not of this call.
    Proof,
    /// It has signed for a request that it was never asked, or that is long over.
    Request,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nonce => "a nonce that is not good",
            Self::Proof => "not signed by its key",
            Self::Request => "no request of its own",
        })
    }
}

/// When each was told last, and how many were kept back since.
#[derive(Debug, Default)]
pub struct Refusals(HashMap<(u32, Refusal), (BootTime, u64)>);

impl Refusals {
    /// Counts one of a phone of this account: where it is to be told, how many were kept back since the last one.
    pub fn count(&mut self, uid: u32, what: Refusal, now: BootTime) -> Option<u64> {
        if let Some((told, kept_back)) = self.0.get_mut(&(uid, what)) {
            if now - *told < PAUSE {
                *kept_back += 1;
                return None;
            }
            *told = now;
            return Some(std::mem::take(kept_back));
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, (told, _)| now - *told < PAUSE);
        }
        if self.0.len() >= REMEMBERED {
            return None;
        }
        self.0.insert((uid, what), (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn the_first_of_a_kind_is_told_and_then_one_in_an_hour_with_the_number_of_the_others() {
        let mut refusals = Refusals::default();
        assert_eq!(refusals.count(1, Refusal::Proof, at(0)), Some(0));
        assert_eq!(refusals.count(1, Refusal::Nonce, at(1)), Some(0));
        assert_eq!(refusals.count(2, Refusal::Proof, at(1)), Some(0));
        assert_eq!([1, 2, 3_599].map(|second| refusals.count(1, Refusal::Proof, at(second))), [None; 3]);
        assert_eq!(refusals.count(1, Refusal::Proof, at(3_600)), Some(3));
        assert_eq!(refusals.count(1, Refusal::Proof, at(3_601)), None);
        assert_eq!(refusals.count(1, Refusal::Proof, at(7_200)), Some(1));
    }

    #[test]
    fn whoever_knows_phones_of_many_accounts_fills_neither_the_memory_nor_the_trail() {
        let mut refusals = Refusals::default();
        let told = (0..10_000).filter(|n| refusals.count(*n, Refusal::Proof, at(1)).is_some()).count();
        assert_eq!((told, refusals.0.len()), (REMEMBERED, REMEMBERED));
        assert_eq!(refusals.count(20_000, Refusal::Proof, at(3_601)), Some(0), "an hour later there is room");
        assert_eq!(refusals.0.len(), 1);
    }
}
