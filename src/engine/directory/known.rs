//! The latest look-ups, what they came to, and for how long that counts. Of one key one look-up at most is under way, whoever wants to know.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Person, Silent, Team};
use crate::core::time::Monotonic;

/// What was found, or nothing, or no answer.
pub type Answer<T> = Result<Option<Arc<T>>, Silent>;

/// Who tells what a look-up came to.
pub(super) type Tell<T> = watch::Sender<Option<Answer<T>>>;

/// Something that may be found in part.
pub(super) trait Whole {
    /// Whether nothing is missing.
    fn is_whole(&self) -> bool;
}

impl Whole for Person {
    fn is_whole(&self) -> bool {
        !self.partial
    }
}

impl Whole for Team {
    fn is_whole(&self) -> bool {
        true
    }
}

/// A look-up, from when on, and what it came to as soon as that is known.
pub(super) struct Asked<T> {
    pub(super) at: Monotonic,
    /// Begun for a stranger, who may have no place left.
    pub(super) by_stranger: bool,
    pub(super) answer: watch::Receiver<Option<Answer<T>>>,
}

impl<T> Clone for Asked<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, by_stranger: self.by_stranger, answer: self.answer.clone() }
    }
}

impl<T: Whole> Asked<T> {
    /// Whether nobody has to ask anew: an answer that still counts, or one that a thread is still waiting for.
    fn stands(&self, now: Monotonic, fresh: Duration) -> bool {
        match &*self.answer.borrow() {
            Some(Ok(_)) => now - self.at < fresh,
            Some(Err(_)) => false,
            None => self.answer.has_changed().is_ok(),
        }
    }

    /// Whether an answer is to come. One that broke off, by a panic say, is told by nobody any more.
    fn is_under_way(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }

    /// Answered with all that there is to know.
    fn is_whole(&self) -> bool {
        matches!(&*self.answer.borrow(), Some(Ok(found)) if found.as_ref().is_none_or(|found| found.is_whole()))
    }
}

/// So many may there be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// So many answers are kept, and so many look-ups may be under way; half of them in each map of [`Known`].
    pub(super) kept: usize,
    /// So many look-ups may root, granted peers and the engine itself begin where strangers may begin no more.
    pub(super) left_to_others: usize,
}

/// The latest look-ups, in two maps: a full one takes the other's place, so that what may go is not looked for at each look-up.
pub(super) struct Known<K, T> {
    room: Room,
    pub(super) new: HashMap<K, Asked<T>>,
    pub(super) old: HashMap<K, Asked<T>>,
}

impl<K: Eq + Hash, T: Whole> Known<K, T> {
    pub(super) fn new(room: Room) -> Self {
        Self { room, new: HashMap::new(), old: HashMap::new() }
    }

    /// The one of this key that stands, for a stranger or for somebody else.
    pub(super) fn get(&self, key: &K, now: Monotonic, fresh: Duration, stranger: bool) -> Option<&Asked<T>> {
        let stands = |asked: &&Asked<T>| asked.stands(now, fresh) && (stranger || !asked.by_stranger || asked.is_whole());
        self.new.get(key).filter(stands).or_else(|| self.old.get(key).filter(stands))
    }

    /// Whether there is a place; strangers leave some to others. Answers make room, a look-up that is under way does not: nobody may ask the same
    /// beside it.
    pub(super) fn has_room(&mut self, stranger: bool) -> bool {
        let Room { kept, left_to_others } = self.room;
        let most = if stranger { (kept / 2).saturating_sub(left_to_others) } else { kept / 2 };
        if self.new.len() >= most {
            let old = std::mem::replace(&mut self.old, std::mem::take(&mut self.new));
            self.new.extend(old.into_iter().filter(|(_, asked)| asked.is_under_way()));
        }
        self.new.len() < most
    }
}
