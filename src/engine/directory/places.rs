//! The places of the threads that ask NSS, and who may have how many.
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

/// See the module; cheap to clone.
#[derive(Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    /// How many each stranger has, or waits for.
    shares: Arc<Mutex<HashMap<u32, usize>>>,
}

/// One place, held by the thread itself until it is back.
pub(super) struct Place {
    _place: OwnedSemaphorePermit,
    _share: Option<(OwnedSemaphorePermit, Share)>,
}

impl Places {
    pub(super) fn new(count: usize) -> Self {
        let places = |count| Arc::new(Semaphore::new(count));
        Self { all: places(count), strangers: places(count.saturating_sub(RESERVED)), shares: Arc::default() }
    }

    /// Waits for a place; for a stranger, where there is one left of the share.
    pub(super) async fn take(&self, stranger: Option<u32>) -> Result<Place, Silent> {
        let share = match stranger {
            Some(uid) => {
                let share = Share::of(&self.shares, uid).ok_or_else(no_share)?;
                Some((free(&self.strangers).await?, share))
            }
            None => None,
        };
        Ok(Place { _place: free(&self.all).await?, _share: share })
    }
}

async fn free(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Silent> {
    Arc::clone(places).acquire_owned().await.map_err(|e| Silent(e.to_string()))
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
