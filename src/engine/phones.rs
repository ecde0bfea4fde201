//! What the engine remembers of phones between two calls: who carries for them, their nonces, who waits for news, and in which setup a phone that is not
//! in force yet has been seen. The requests that wait for them are in [`board`].
//!
//! All of it is in memory and capped; a restart ends the logins and setups that it belongs to as well. Whoever waits is woken by a change of its
//! account ([`Phones::changed`]): nothing here has a timer, and nothing is asked over and over.
//!
//! Not here: what decides (`core`), who may call, what a phone has signed (`authenticator`).

pub mod board;
pub mod refusals;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::board::Board;
use self::refusals::Refusals;
use crate::config::{NumberEntry, Phone};
use crate::core::authenticator::PublicKey;
use crate::core::nonces::Nonces;
use crate::core::time::BootTime;

/// How long a nonce is good that came with no request.
pub const NONCE_LIFE: Duration = Duration::from_secs(120);
/// Streams of one phone; one more ends its oldest.
pub const STREAMS: usize = 4;
/// So many accounts are followed before those that nobody follows are looked for.
const FOLLOWED: usize = 64;

/// See the module.
pub struct Phones {
    /// What a phone opens, where it is configured.
    pub address: Option<String>,
    /// The number is typed on the phone, which is therefore not told it.
    pub typed: bool,
    carriers: AtomicUsize,
    nonces: Mutex<Nonces>,
    board: Mutex<Board>,
    refusals: Mutex<Refusals>,
    /// The setup's name of each offered pairing.
    pairings: Mutex<HashMap<String, String>>,
    newcomers: Mutex<HashMap<String, Newcomer>>,
    changes: Mutex<HashMap<u32, watch::Sender<()>>>,
    streams: Mutex<HashMap<String, VecDeque<Arc<Notify>>>>,
}

/// A phone that has scanned a pairing of a setup which is not finished.
#[derive(Clone)]
pub struct Newcomer {
    /// The setup's name.
    pub setup: String,
    /// Whose setup it is.
    pub uid: u32,
    /// What it proves.
    pub key: PublicKey,
    /// The end of the setup.
    pub until: BootTime,
    /// That of the account: where that is another one by now, the setup can't finish any more.
    pub generation: u64,
}

impl Phones {
    /// None is known yet.
    #[must_use]
    pub fn new(config: &Phone) -> Self {
        Self {
            address: config.address.clone(),
            typed: config.number == NumberEntry::Typed,
            carriers: AtomicUsize::new(0),
            nonces: Mutex::default(),
            board: Mutex::default(),
            refusals: Mutex::default(),
            pairings: Mutex::default(),
            newcomers: Mutex::default(),
            changes: Mutex::default(),
            streams: Mutex::default(),
        }
    }

    /// Whether phones can reach us now (Q25a).
    #[must_use]
    pub fn in_reach(&self) -> bool {
        self.carriers.load(Ordering::Relaxed) > 0
    }

    /// Somebody carries for phones until this is dropped.
    #[must_use]
    pub fn carry(self: &Arc<Self>) -> Carrier {
        self.carriers.fetch_add(1, Ordering::Relaxed);
        Carrier(Arc::clone(self))
    }

    /// The nonces that are good.
    pub fn nonces(&self) -> MutexGuard<'_, Nonces> {
        lock(&self.nonces)
    }

    /// The requests that wait.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// What was refused.
    pub fn refusals(&self) -> MutexGuard<'_, Refusals> {
        lock(&self.refusals)
    }

    /// Remembers which setup offers a pairing, in the place of its last one; `is_open` tells whether a setup still is.
    pub fn offer(&self, pairing: String, setup: &str, is_open: impl Fn(&str) -> bool) {
        let mut pairings = lock(&self.pairings);
        pairings.retain(|_, of| of != setup && is_open(of));
        pairings.insert(pairing, setup.to_owned());
    }

    /// The setup that offers this pairing.
    #[must_use]
    pub fn offered(&self, pairing: &str) -> Option<String> {
        lock(&self.pairings).get(pairing).cloned()
    }

    /// Remembers a phone that has scanned a pairing; `is_open` tells whether a setup still is.
    pub fn arrive(&self, authenticator: String, newcomer: Newcomer, is_open: impl Fn(&str) -> bool) {
        let mut newcomers = lock(&self.newcomers);
        newcomers.retain(|_, of| is_open(&of.setup));
        newcomers.insert(authenticator, newcomer);
    }

    /// Forgets the phones of a setup that it has dropped.
    pub fn leave(&self, setup: &str, is_there: impl Fn(&str) -> bool) {
        lock(&self.newcomers).retain(|id, of| of.setup != setup || is_there(id));
    }

    /// The phone of this name that belongs to a setup; whether that is still open is for the caller.
    #[must_use]
    pub fn newcomer(&self, authenticator: &str) -> Option<Newcomer> {
        lock(&self.newcomers).get(authenticator).cloned()
    }

    /// Forgets a phone.
    pub fn forget(&self, authenticator: &str) {
        lock(&self.newcomers).remove(authenticator);
        self.nonces().forget(authenticator);
    }

    /// Follows what changes for the phones, logins and setups of an account. Look at the state after this, and again at each change.
    #[must_use]
    pub fn follow(&self, uid: u32) -> watch::Receiver<()> {
        let mut changes = lock(&self.changes);
        if changes.len() >= FOLLOWED {
            changes.retain(|_, change| change.receiver_count() > 0);
        }
        changes.entry(uid).or_insert_with(|| watch::Sender::new(())).subscribe()
    }

    /// Wakes whoever follows this account.
    pub fn changed(&self, uid: u32) {
        if let Some(change) = lock(&self.changes).get(&uid) {
            change.send_replace(());
        }
    }

    /// Wakes everybody.
    pub fn all_changed(&self) {
        lock(&self.changes).values().for_each(|change| change.send_replace(()));
    }

    /// A place among the streams of a phone; see [`STREAMS`].
    #[must_use]
    pub fn stream(self: &Arc<Self>, authenticator: &str) -> Stream {
        let over = Arc::new(Notify::new());
        let mut streams = lock(&self.streams);
        let own = streams.entry(authenticator.to_owned()).or_default();
        own.push_back(Arc::clone(&over));
        if own.len() > STREAMS
            && let Some(oldest) = own.pop_front()
        {
            oldest.notify_one();
        }
        Stream { phones: Arc::clone(self), authenticator: authenticator.to_owned(), over }
    }
}

/// Somebody who carries for phones.
pub struct Carrier(Arc<Phones>);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.carriers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One stream of a phone.
pub struct Stream {
    phones: Arc<Phones>,
    authenticator: String,
    over: Arc<Notify>,
}

impl Stream {
    /// Ends when newer ones need the place.
    pub async fn over(&self) {
        self.over.notified().await;
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut streams = lock(&self.phones.streams);
        if let Some(own) = streams.get_mut(&self.authenticator) {
            own.retain(|one| !Arc::ptr_eq(one, &self.over));
            if own.is_empty() {
                streams.remove(&self.authenticator);
            }
        }
    }
}

/// Each lock guards whole steps, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_fifth_stream_of_a_phone_ends_its_oldest() {
        let phones = Arc::new(Phones::new(&Phone::default()));
        let first = phones.stream("phone");
        let others: Vec<Stream> = (1..STREAMS).map(|_| phones.stream("phone")).collect();
        let _elsewhere = phones.stream("tablet");
        let _fifth = phones.stream("phone");
        first.over().await;
        drop((first, others));
        assert_eq!(lock(&phones.streams)["phone"].len(), 1);
    }

    #[test]
    fn whoever_follows_is_woken_and_nobody_is_remembered_for_ever() {
        let phones = Phones::new(&Phone::default());
        let (alice, bob) = (phones.follow(1), phones.follow(2));
        phones.changed(1);
        assert!(alice.has_changed().unwrap() && !bob.has_changed().unwrap());
        phones.all_changed();
        assert!(bob.has_changed().unwrap());
        for uid in 0..1000 {
            drop(phones.follow(uid));
        }
        assert!(lock(&phones.changes).len() <= FOLLOWED + 1);
    }

    #[test]
    fn phones_are_in_reach_as_long_as_somebody_carries() {
        let phones = Arc::new(Phones::new(&Phone::default()));
        let (one, two) = (phones.carry(), phones.carry());
        drop(one);
        assert!(phones.in_reach());
        drop(two);
        assert!(!phones.in_reach());
    }
}
