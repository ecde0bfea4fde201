//! How many of the places of the threads that ask NSS strangers may have.
//!
//! A thread that hangs keeps its place. Whoever may connect can name users of a domain that is away, so a stranger has [`SHARE`] places at a
//! time, and all strangers together leave [`RESERVED`] for root, granted peers and the engine itself. Who has no share left is told so at once
//! and does not queue: a queue could be filled as well.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Silent;

/// A stranger's places: the own name and the own number may be asked for at once.
pub(super) const SHARE: usize = 2;
/// The places that strangers leave to others.
pub(super) const RESERVED: usize = 4;

/// See the module.
pub(super) struct Places {
    strangers: Arc<Semaphore>,
    /// How many each stranger has, or waits for.
    shares: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One place, held by the look-up itself until it is told.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _share: Share,
}

impl Places {
    /// Of so many in all.
    pub(super) fn new(count: usize) -> Self {
        Self { strangers: Arc::new(Semaphore::new(count.saturating_sub(RESERVED))), shares: Arc::default() }
    }

    /// Waits for a place, where there is one left of this stranger's share.
    pub(super) async fn take(&self, uid: u32) -> Result<Place, Silent> {
        let share = Share::of(&self.shares, uid).ok_or_else(no_share)?;
        let place = Arc::clone(&self.strangers).acquire_owned().await.map_err(|e| Silent(e.to_string()))?;
        Ok(Place { _place: place, _share: share })
    }
}

pub(super) fn no_share() -> Silent {
    Silent("your earlier look-ups of users are still under way; try again".into())
}

/// One of a stranger's places.
struct Share {
    shares: Arc<Mutex<HashMap<u32, usize>>>,
    uid: u32,
}

impl Share {
    fn of(shares: &Arc<Mutex<HashMap<u32, usize>>>, uid: u32) -> Option<Self> {
        let mut counts = lock(shares);
        let count = counts.entry(uid).or_default();
        (*count < SHARE).then(|| {
            *count += 1;
            Self { shares: Arc::clone(shares), uid }
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut counts = lock(&self.shares);
        if let Some(count) = counts.get_mut(&self.uid) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
    }
}

fn lock(shares: &Mutex<HashMap<u32, usize>>) -> MutexGuard<'_, HashMap<u32, usize>> {
    // Counts are consistent after any panic.
    shares.lock().unwrap_or_else(PoisonError::into_inner)
}
