//! What was read of accounts whose logins began lately: the next login of one begins without waiting for the store.
//!
//! It is kept only of an account with a second step, of which nothing else needs to be known. It counts for the very same look-up of the user, and
//! as long as the store's state is the same: nothing that was answered before a login can be missing from what it begins with.
//!
//! Not here: what is used up or counted by an answer, which each commit looks at itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::directory::Person;
use crate::engine::store::{State, Stored};

/// So many are kept, in at most some 300 KiB.
const MOST: usize = 512;

#[derive(Default)]
pub struct KnownAccounts(Mutex<HashMap<u32, Known>>);

struct Known {
    person: Arc<Person>,
    stored: Arc<Stored>,
    state: State,
}

impl KnownAccounts {
    /// What is known of a person in this state.
    pub fn get(&self, person: &Arc<Person>, state: State) -> Option<Arc<Stored>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = known.get(&person.uid).filter(|known| Arc::ptr_eq(&known.person, person) && known.state == state)?;
        Some(Arc::clone(&known.stored))
    }

    /// Keeps what was read after the store was asked for this state.
    pub fn keep(&self, person: Arc<Person>, stored: Arc<Stored>, state: State) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&person.uid) {
            known.clear();
        }
        known.insert(person.uid, Known { person, stored, state });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::enforcement::SubjectKind;
    use crate::core::time::Wall;
    use crate::engine::store::{Options, SealingKey, Store};

    fn person(uid: u32) -> Arc<Person> {
        Arc::new(Person { uid, name: format!("user{uid}"), kind: SubjectKind::LocalUser, groups: Vec::new(), partial: false })
    }

    fn stored(uid: u32) -> Arc<Stored> {
        Arc::new(Stored::new(uid, &format!("user{uid}")))
    }

    #[tokio::test]
    async fn an_account_is_known_for_the_same_look_up_and_in_the_same_state_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(folder.path().into(), || Wall(0)), SealingKey::from_slice(&[1; 32]));
        let (known, alice, state) = (KnownAccounts::default(), person(1000), store.state());
        assert_eq!(known.get(&alice, state), None);
        known.keep(Arc::clone(&alice), stored(1000), state);
        assert_eq!(known.get(&alice, state), Some(stored(1000)));
        assert_eq!(known.get(&person(1000), state), None, "looked up anew, with other groups maybe");
        store.write(|tx| tx.save(&Stored::new(1001, "bob"))).await.unwrap();
        assert_eq!(known.get(&alice, store.state()), None);
    }

    #[tokio::test]
    async fn however_many_log_in_a_bounded_number_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(folder.path().into(), || Wall(0)), SealingKey::from_slice(&[1; 32]));
        let (known, state) = (KnownAccounts::default(), store.state());
        let people: Vec<_> = (0..2_000).map(person).collect();
        for person in &people {
            known.keep(Arc::clone(person), stored(person.uid), state);
            assert!(known.get(person, state).is_some());
        }
        assert!(people.iter().filter(|person| known.get(person, state).is_some()).count() <= MOST);
    }
}
