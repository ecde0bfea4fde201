//! The clocks of a decision. Where the wall clock is believed only if it is synchronised, and this process may not ask the kernel for that
//! (`ProtectClock=`), root is asked: on demand alone, so that an ordinary login asks nobody.
//!
//! Not here: what is plausible (`core::clock`), how root finds out.

use std::sync::atomic::{AtomicI64, Ordering};

use super::desk::{Desk, now};
use super::store::StoreError;
use crate::core::clock::{ClockFault, FAR_AHEAD, Moment};
use crate::core::time::Wall;

/// The last plausible clock that was committed, or an earlier one: as long as the wall clock is not far ahead of it, the store need not be looked at.
#[derive(Debug)]
pub struct Believed(AtomicI64);

impl Default for Believed {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Believed {
    fn is_near(&self, wall: Wall) -> bool {
        let lead = wall.0.saturating_sub(self.0.load(Ordering::Relaxed));
        u64::try_from(lead).is_ok_and(|lead| lead <= FAR_AHEAD.as_secs())
    }

    /// Another database is in force.
    pub(super) fn forget(&self) {
        self.0.store(i64::MIN, Ordering::Relaxed);
    }

    /// What is committed next may be as early as `wall`.
    fn keep(&self, stored: Wall, wall: Wall) {
        self.0.store(stored.0.min(wall.0), Ordering::Relaxed);
    }
}

impl Desk {
    /// All clocks, for a decision in which the wall clock counts.
    ///
    /// # Errors
    /// The store's.
    pub async fn clocks(&self) -> Result<Moment, StoreError> {
        let moment = (self.moment)();
        if moment.synchronised || self.believed.is_near(moment.wall) {
            return Ok(moment);
        }
        let (believed, now) = self.store.read(move |view| Ok((view.believed_clock()?, now(view, moment)?))).await?;
        if let Some(believed) = believed {
            self.believed.keep(believed, moment.wall);
        }
        match now.time {
            Err(ClockFault::FarAhead { .. }) => Ok(Moment { synchronised: self.root.is_clock_synchronised().await, ..moment }),
            _ => Ok(moment),
        }
    }
}
