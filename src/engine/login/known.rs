//! What was read of accounts whose logins began lately: the next login of one begins without waiting for the store, and its answer is judged without
//! reading it again.
//!
//! It is kept only of an account with a second step, of which nothing else needs to be known. It counts as long as the store's state is the same:
//! nothing that was answered before can be missing from it. A login begins with it only where the look-up of the user is the very same, too.
//!
//! Where the disk can't be read and nothing has noticed yet, such a login begins nevertheless. It leads to no more than a question for the second step:
//! an answer that can't be written down is none.
//!
//! Not here: what an answer uses up, which each commit looks at itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::engine::directory::Person;
use crate::engine::store::{State, Stored};

/// So many are kept, with what the directory said of each.
const MOST: usize = 512;

#[derive(Default)]
pub struct KnownAccounts(Mutex<Known>);

/// All of one state.
#[derive(Default)]
struct Known {
    state: Option<State>,
    by_uid: HashMap<u32, (Arc<Person>, Arc<Stored>)>,
}

impl KnownAccounts {
    /// What is known of a person in this state.
    pub fn get(&self, person: &Arc<Person>, state: State) -> Option<Arc<Stored>> {
        self.find(person.uid, state).filter(|(of, _)| Arc::ptr_eq(of, person)).map(|(_, stored)| stored)
    }

    /// What is stored for this uid in this state, where it is known, whoever is looked up for it now.
    pub fn stored(&self, uid: u32, state: State) -> Option<Arc<Stored>> {
        self.find(uid, state).map(|(_, stored)| stored)
    }

    fn find(&self, uid: u32, state: State) -> Option<(Arc<Person>, Arc<Stored>)> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.by_uid.get(&uid).filter(|_| known.state == Some(state)).cloned()
    }

    /// Keeps what was read after the store was asked for this state.
    pub fn keep(&self, person: Arc<Person>, stored: Arc<Stored>, state: State) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.state > Some(state) {
            return;
        }
        if known.state != Some(state) || (known.by_uid.len() >= MOST && !known.by_uid.contains_key(&person.uid)) {
            known.by_uid.clear();
        }
        known.state = Some(state);
        known.by_uid.insert(person.uid, (person, stored));
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
        let (known, alice, state) = (KnownAccounts::default(), person(1000), store.state().unwrap());
        assert_eq!(known.get(&alice, state), None);
        known.keep(Arc::clone(&alice), stored(1000), state);
        assert_eq!(known.get(&alice, state), Some(stored(1000)));
        assert_eq!(known.get(&person(1000), state), None, "looked up anew, with other groups maybe");
        assert_eq!(known.stored(1000, state), Some(stored(1000)), "what is stored is stored, whatever the groups");
        store.write(|tx| tx.save(&Stored::new(1001, "bob"))).await.unwrap();
        let later = store.state().unwrap();
        assert_eq!((known.get(&alice, later), known.stored(1000, later)), (None, None));
        known.keep(Arc::clone(&alice), stored(1000), later);
        known.keep(Arc::clone(&alice), Arc::new(Stored::new(1000, "before")), state);
        assert_eq!(known.get(&alice, later), Some(stored(1000)), "what was read before comes too late");
    }

    #[tokio::test]
    async fn however_many_log_in_a_bounded_number_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options::new(folder.path().into(), || Wall(0)), SealingKey::from_slice(&[1; 32]));
        let (known, state) = (KnownAccounts::default(), store.state().unwrap());
        let people: Vec<_> = (0..2_000).map(person).collect();
        for person in &people {
            known.keep(Arc::clone(person), stored(person.uid), state);
            assert!(known.get(person, state).is_some());
        }
        assert!(people.iter().filter(|person| known.get(person, state).is_some()).count() <= MOST);
    }
}
