//! The open logins and setups, named, capped and forgotten in time.
//!
//! A cap never blocks: the oldest of the same owner makes room, so that whoever opens too many loses the own ones. Strangers (peers that are
//! neither root nor granted) share a part of the whole; the rest is kept for those who log others in.
//!
//! This module draws no names: the caller gives unguessable ones.

use std::collections::{HashMap, VecDeque, hash_map};

/// How many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In all.
    pub total: usize,
    /// Of all strangers together.
    pub strangers: usize,
    /// Of one owner.
    pub per_owner: usize,
}

/// Whose session it is, for the caps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// Opened for this account by root or a granted peer.
    Service(u32),
    /// Opened by this stranger.
    Stranger(u32),
}

impl Owner {
    fn is_stranger(self) -> bool {
        matches!(self, Self::Stranger(_))
    }
}

#[derive(Clone, Debug)]
struct Entry<T> {
    session: T,
    owner: Owner,
    age: u64,
}

/// Named sessions.
#[derive(Clone, Debug)]
pub struct Sessions<T> {
    caps: Caps,
    entries: HashMap<String, Entry<T>>,
    /// Ages and names of each owner's, the oldest first; no entry is empty.
    owners: HashMap<Owner, VecDeque<(u64, String)>>,
    strangers: usize,
    next_age: u64,
}

impl<T> Sessions<T> {
    /// None yet.
    #[must_use]
    pub fn new(caps: Caps) -> Self {
        Self { caps, entries: HashMap::new(), owners: HashMap::new(), strangers: 0, next_age: 0 }
    }

    /// Opens one under a new name, and gives the one that made room for it; gives it back where there is no room for its owner.
    ///
    /// # Errors
    /// The session: all places are taken, and none by this owner.
    pub fn open(&mut self, name: String, owner: Owner, session: T) -> Result<Option<T>, T> {
        let mut ended = None;
        if self.is_full() || self.has_all(owner) {
            let Some((_, oldest)) = self.owners.get(&owner).and_then(VecDeque::front).cloned() else { return Err(session) };
            ended = self.close(&oldest);
        }
        self.owners.entry(owner).or_default().push_back((self.next_age, name.clone()));
        self.strangers += usize::from(owner.is_stranger());
        let former = self.entries.insert(name, Entry { session, owner, age: self.next_age });
        self.next_age += 1;
        if let Some(former) = former {
            self.forget(&former);
        }
        Ok(ended)
    }

    /// The session of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&T> {
        self.entries.get(name).map(|entry| &entry.session)
    }

    /// Who has opened it.
    #[must_use]
    pub fn owner(&self, name: &str) -> Option<Owner> {
        self.entries.get(name).map(|entry| entry.owner)
    }

    /// All of one owner, by name, the oldest first.
    pub fn of(&self, owner: Owner) -> impl Iterator<Item = (&str, &T)> {
        let names = self.owners.get(&owner).into_iter().flatten().map(|(_, name)| name.as_str());
        names.filter_map(|name| self.get(name).map(|session| (name, session)))
    }

    /// Ends one.
    pub fn close(&mut self, name: &str) -> Option<T> {
        let entry = self.entries.remove(name)?;
        self.forget(&entry);
        Some(entry.session)
    }

    /// Takes one that is no more out of the books.
    fn forget(&mut self, entry: &Entry<T>) {
        if let hash_map::Entry::Occupied(mut own) = self.owners.entry(entry.owner)
            && let Ok(place) = own.get().binary_search_by_key(&entry.age, |(age, _)| *age)
        {
            own.get_mut().remove(place);
            if own.get().is_empty() {
                own.remove();
            }
        }
        self.strangers -= usize::from(entry.owner.is_stranger());
    }

    /// Ends all that `keep` does not agree to, and gives them.
    pub fn retain(&mut self, keep: impl Fn(&T) -> bool) -> Vec<T> {
        let over: Vec<String> = self.entries.iter().filter(|(_, e)| !keep(&e.session)).map(|(name, _)| name.clone()).collect();
        over.iter().filter_map(|name| self.close(name)).collect()
    }

    /// Where all places are taken, ends the oldest of those that may go: a quarter of the whole at most, so that it need not be done again soon.
    /// Those that have a rank may go, and only those of the lowest rank do. Nobody goes for an owner who gets none of these places.
    pub fn make_room<R: Ord + Copy>(&mut self, owner: Owner, rank: impl Fn(&T) -> Option<R>) {
        if !self.is_full() || self.has_all(owner) {
            return;
        }
        let may_go = |(name, entry): (_, &Entry<T>)| rank(&entry.session).map(|rank| (rank, entry.age, name));
        let mut old: Vec<(R, u64, &String)> = self.entries.iter().filter_map(may_go).collect();
        let leave = self.caps.total.div_ceil(4);
        if old.len() > leave {
            old.select_nth_unstable(leave);
        }
        let lowest = old.iter().map(|(rank, ..)| *rank).min();
        let first = old.into_iter().take(leave).filter(|(rank, ..)| Some(*rank) == lowest);
        let names: Vec<String> = first.map(|(_, _, name)| name.clone()).collect();
        for name in names {
            self.close(&name);
        }
    }

    /// Whether all places are taken.
    fn is_full(&self) -> bool {
        self.entries.len() >= self.caps.total
    }

    /// Whether this owner, or strangers together, have as many as they may have, however many are free.
    fn has_all(&self, owner: Owner) -> bool {
        let with_others = owner.is_stranger() && self.strangers >= self.caps.strangers;
        with_others || self.owners.get(&owner).is_some_and(|own| own.len() >= self.caps.per_owner)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CAPS: Caps = Caps { total: 6, strangers: 3, per_owner: 2 };

    #[test]
    fn whoever_opens_too_many_loses_the_own_oldest() {
        let mut sessions = Sessions::new(CAPS);
        for name in ["a", "b", "c"] {
            sessions.open(name.into(), Owner::Stranger(1000), ()).unwrap();
        }
        assert!(sessions.get("a").is_none() && sessions.get("b").is_some() && sessions.get("c").is_some());
    }

    #[test]
    fn strangers_leave_room_for_login_services() {
        let mut sessions = Sessions::new(CAPS);
        for uid in 0..3 {
            sessions.open(format!("s{uid}"), Owner::Stranger(uid), ()).unwrap();
        }
        assert!(sessions.open("late".into(), Owner::Stranger(9), ()).is_err());
        for uid in 0..3 {
            sessions.open(format!("l{uid}"), Owner::Service(uid), ()).unwrap();
        }
        assert_eq!(sessions.len(), 6);
        assert!(sessions.open("more".into(), Owner::Service(9), ()).is_err());
        sessions.open("again".into(), Owner::Service(0), ()).unwrap();
        assert!(sessions.get("l0").is_none());
    }

    #[test]
    fn what_is_over_makes_room() {
        let mut sessions = Sessions::new(CAPS);
        for uid in 0..3 {
            sessions.open(format!("s{uid}"), Owner::Stranger(uid), uid).unwrap();
        }
        sessions.retain(|uid| *uid != 1);
        sessions.open("late".into(), Owner::Stranger(9), 9).unwrap();
        assert!(sessions.get("s1").is_none());
    }

    #[test]
    fn the_oldest_that_may_go_make_room() {
        let mut sessions = Sessions::new(CAPS);
        for uid in 0..6 {
            sessions.open(format!("l{uid}"), Owner::Service(uid), uid).unwrap();
        }
        sessions.make_room(Owner::Service(9), |uid| (*uid > 1).then_some(()));
        let left: Vec<bool> = (0..6).map(|uid| sessions.get(&format!("l{uid}")).is_some()).collect();
        assert_eq!(left, [true, true, false, false, true, true]);
        sessions.make_room(Owner::Service(9), |_| Some(()));
        assert_eq!(sessions.len(), 4, "there is room");
        sessions.open("more".into(), Owner::Service(9), 9).unwrap();
    }

    #[test]
    fn younger_ones_go_before_older_ones_that_are_wanted_more() {
        let mut sessions = Sessions::new(CAPS);
        for uid in 0..6 {
            sessions.open(format!("l{uid}"), Owner::Service(uid), uid).unwrap();
        }
        sessions.make_room(Owner::Service(9), |uid| Some(*uid < 5));
        let left: Vec<bool> = (0..6).map(|uid| sessions.get(&format!("l{uid}")).is_some()).collect();
        assert_eq!(left, [true, true, true, true, true, false], "one of them is enough");
    }

    #[test]
    fn one_that_is_opened_again_is_counted_once() {
        let mut sessions = Sessions::new(CAPS);
        sessions.open("a".into(), Owner::Stranger(1), 1).unwrap();
        sessions.open("a".into(), Owner::Stranger(2), 2).unwrap();
        assert_eq!(sessions.of(Owner::Stranger(1)).count(), 0);
        assert_eq!(sessions.of(Owner::Stranger(2)).collect::<Vec<_>>(), [("a", &2)]);
        assert_eq!((sessions.len(), sessions.strangers), (1, 1));
    }

    #[test]
    fn nobody_goes_for_who_gets_no_place() {
        let mut sessions = Sessions::new(CAPS);
        for uid in 0..3 {
            sessions.open(format!("s{uid}"), Owner::Stranger(uid), ()).unwrap();
        }
        for name in ["l0", "l1"] {
            sessions.open(name.into(), Owner::Service(0), ()).unwrap();
        }
        sessions.open("l2".into(), Owner::Service(1), ()).unwrap();
        for (owner, why) in [(Owner::Stranger(9), "strangers have theirs"), (Owner::Service(0), "one of its own goes")] {
            sessions.make_room(owner, |()| Some(()));
            assert_eq!(sessions.len(), 6, "{why}");
        }
    }

    proptest! {
        #[test]
        fn the_caps_hold_and_the_books_agree(steps in prop::collection::vec((0_u8..3, 0_u32..6, 0_u8..12), 0..60)) {
            let mut sessions = Sessions::new(CAPS);
            for (what, uid, name) in steps {
                match what {
                    0 => drop(sessions.open(name.to_string(), Owner::Service(uid), uid)),
                    1 => drop(sessions.open(name.to_string(), Owner::Stranger(uid), uid)),
                    _ => drop(sessions.close(&name.to_string())),
                }
                prop_assert!(sessions.len() <= CAPS.total);
                prop_assert_eq!(sessions.owners.values().map(VecDeque::len).sum::<usize>(), sessions.len());
                prop_assert_eq!(sessions.strangers, sessions.entries.values().filter(|e| e.owner.is_stranger()).count());
                prop_assert!(sessions.strangers <= CAPS.strangers);
            }
        }
    }
}
