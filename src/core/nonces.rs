//! Nonces: what makes a signed call good once.
//!
//! ```text
//!   issued ──used, right or wrong──► gone
//!      └──── its time is over, or newer ones of the same phone need the room ──► gone
//! ```
//! A nonce belongs to one authenticator. It is used up by the first call that names it, whatever comes of that call. The caps lose the oldest: of one
//! authenticator its own, and in all those of whoever has the most, so that nobody who asks for many takes the only one of somebody else.
//!
//! Whoever knows a phone's name may ask for nonces, without a signature. So those stand apart from the nonces that a phone was given for what it
//! had signed, which come with requests and wait as long as people do: no stranger can push these out, and of the others only as many as no phone
//! needs between asking and using.
//!
//! This module draws no randomness: the caller gives unguessable texts.

use std::collections::{HashMap, VecDeque};

use super::time::BootTime;

/// Nonces of one authenticator that came with requests.
pub const WITH_REQUESTS: usize = 32;
/// Nonces of one authenticator that were asked for.
pub const ASKED_FOR: usize = 128;
/// Nonces in all, of each kind.
pub const TOTAL: usize = 8192;
/// So many are there before those that are over are looked for.
const SWEPT_AT: usize = 64;

/// The nonces that are good now.
#[derive(Debug)]
pub struct Nonces {
    with_requests: Shelf,
    asked_for: Shelf,
}

impl Default for Nonces {
    fn default() -> Self {
        Self { with_requests: Shelf::new(WITH_REQUESTS), asked_for: Shelf::new(ASKED_FOR) }
    }
}

impl Nonces {
    /// Makes `nonce` good for `authenticator` until then: somebody has asked for one in its name.
    pub fn issue(&mut self, authenticator: &str, nonce: String, until: BootTime, now: BootTime) {
        self.asked_for.put(authenticator, nonce, until, now);
    }

    /// The same, for what the authenticator itself has signed.
    pub fn give(&mut self, authenticator: &str, nonce: String, until: BootTime, now: BootTime) {
        self.with_requests.put(authenticator, nonce, until, now);
    }

    /// Uses a nonce up; tells whether it was good.
    pub fn take(&mut self, authenticator: &str, nonce: &str, now: BootTime) -> bool {
        self.with_requests.take(authenticator, nonce, now) || self.asked_for.take(authenticator, nonce, now)
    }

    /// Forgets an authenticator.
    pub fn forget(&mut self, authenticator: &str) {
        self.with_requests.forget(authenticator);
        self.asked_for.forget(authenticator);
    }
}

/// Nonces of one kind.
#[derive(Debug)]
struct Shelf {
    each: usize,
    /// The oldest first.
    of: HashMap<String, VecDeque<(String, BootTime)>>,
    count: usize,
    /// How many were left when those that are over were last looked for.
    swept: usize,
}

impl Shelf {
    fn new(each: usize) -> Self {
        Self { each, of: HashMap::new(), count: 0, swept: 0 }
    }

    fn put(&mut self, authenticator: &str, nonce: String, until: BootTime, now: BootTime) {
        if self.count >= TOTAL.min(SWEPT_AT.max(2 * self.swept)) {
            self.sweep(now);
        }
        if self.count >= TOTAL {
            self.make_room();
        }
        let own = self.of.entry(authenticator.to_owned()).or_default();
        if own.len() >= self.each {
            own.pop_front();
            self.count -= 1;
        }
        own.push_back((nonce, until));
        self.count += 1;
    }

    fn take(&mut self, authenticator: &str, nonce: &str, now: BootTime) -> bool {
        let Some(own) = self.of.get_mut(authenticator) else { return false };
        let Some(place) = own.iter().position(|(one, _)| one == nonce) else { return false };
        let good = own.remove(place).is_some_and(|(_, until)| now < until);
        self.count -= 1;
        if own.is_empty() {
            self.of.remove(authenticator);
        }
        good
    }

    fn forget(&mut self, authenticator: &str) {
        self.count -= self.of.remove(authenticator).map_or(0, |own| own.len());
    }

    /// Those that are over go, whoever has left them.
    fn sweep(&mut self, now: BootTime) {
        self.of.retain(|_, own| {
            own.retain(|(_, until)| now < *until);
            !own.is_empty()
        });
        self.count = self.of.values().map(VecDeque::len).sum();
        self.swept = self.count;
    }

    /// Half of the room is made, and by those who have the most: each keeps its newest up to a number that is the same for all. Where even one for each
    /// is too many, there are more phones than there can honestly be, and half of them stay.
    fn make_room(&mut self) {
        let mut level = self.each;
        while self.count > TOTAL / 2 && level > 1 {
            level /= 2;
            for own in self.of.values_mut() {
                own.drain(..own.len().saturating_sub(level));
            }
            self.count = self.of.values().map(VecDeque::len).sum();
        }
        let mut left = TOTAL / 2;
        self.of.retain(|_, own| {
            let stays = own.len() <= left;
            left -= if stays { own.len() } else { 0 };
            stays
        });
        self.count = TOTAL / 2 - left;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    #[test]
    fn a_nonce_is_good_once_for_its_own_phone_in_its_time() {
        let mut nonces = Nonces::default();
        for nonce in ["a", "b", "c"] {
            nonces.issue("phone", nonce.into(), at(120), at(0));
        }
        assert!(!nonces.take("other", "a", at(1)));
        assert!(nonces.take("phone", "a", at(119)));
        assert!(!nonces.take("phone", "a", at(119)), "used");
        assert!(!nonces.take("phone", "b", at(120)), "over");
        assert!(!nonces.take("phone", "b", at(1)), "a late one is used up too");
        assert!(nonces.take("phone", "c", at(1)));
        assert!(nonces.asked_for.of.is_empty() && nonces.asked_for.count == 0);
    }

    #[test]
    fn a_phone_that_asks_for_too_many_loses_its_own_oldest() {
        let mut nonces = Nonces::default();
        nonces.issue("other", "x".into(), at(120), at(0));
        for n in 0..=ASKED_FOR {
            nonces.issue("phone", n.to_string(), at(120), at(0));
        }
        assert!(!nonces.take("phone", "0", at(1)) && nonces.take("phone", "1", at(1)) && nonces.take("other", "x", at(1)));
    }

    #[test]
    fn nobody_who_asks_in_a_phones_name_pushes_out_what_came_with_its_requests() {
        let mut nonces = Nonces::default();
        nonces.give("phone", "of a request".into(), at(120), at(0));
        for n in 0..10 * ASKED_FOR {
            nonces.issue("phone", n.to_string(), at(120), at(0));
        }
        assert!(nonces.take("phone", "of a request", at(100)) && !nonces.take("phone", "of a request", at(100)));
    }

    #[test]
    fn all_together_they_stay_bounded_and_what_is_over_goes() {
        let mut nonces = Shelf::new(ASKED_FOR);
        for n in 0..3 * TOTAL {
            nonces.put(&format!("phone {}", n % TOTAL), n.to_string(), at(120), at(0));
            assert!(nonces.count <= TOTAL);
        }
        assert!(nonces.take(&format!("phone {}", TOTAL - 1), &(3 * TOTAL - 1).to_string(), at(1)), "the newest is there");
        nonces.put("phone", "late".into(), at(300), at(121));
        nonces.put("phone", "later".into(), at(300), at(121));
        assert_eq!((nonces.count, nonces.of.len()), (2, 1));
        nonces.forget("phone");
        assert_eq!(nonces.count, 0);
        for second in 0..1000 {
            nonces.put(&second.to_string(), "of a phone that is gone".into(), at(second + 10), at(second));
        }
        assert!(nonces.count <= SWEPT_AT, "{}", nonces.count);
    }

    #[test]
    fn nobody_who_asks_in_many_names_takes_the_only_nonce_of_somebody_else() {
        let mut nonces = Nonces::default();
        nonces.issue("honest", "one".into(), at(120), at(0));
        for n in 0..4 * TOTAL {
            nonces.issue(&format!("phone {}", n % 200), n.to_string(), at(121), at(1));
        }
        assert!(nonces.take("honest", "one", at(2)));
    }
}
