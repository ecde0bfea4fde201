//! The clocks of a decision. Where the wall clock is believed only if it is synchronised, and this process may not ask the kernel for that
//! (`ProtectClock=`), root is asked: on demand alone, so that an ordinary login asks nobody.
//!
//! Not here: what is plausible (`core::clock`), how root finds out.

use std::sync::atomic::{AtomicI64, Ordering};

use super::desk::{Desk, now};
use super::store::{StoreError, View};
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
        // Boxed: hardly ever, and all who ask would keep room for it.
        Box::pin(self.doubtful(moment)).await
    }

    async fn doubtful(&self, moment: Moment) -> Result<Moment, StoreError> {
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

/// By which clock trust ends: none where the wall clock can't be right, and never one before what was believed at the last commit.
///
/// # Errors
/// The store's.
pub fn trust_clock(view: &View<'_>, moment: Moment) -> Result<Option<Wall>, StoreError> {
    let believed = view.believed_clock()?.unwrap_or(moment.wall);
    Ok(now(view, moment)?.time.ok().map(|_| moment.wall.max(believed)))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::core::login::TRUST_LIFE;
    use crate::engine::store::{Options, SealingKey, Store, Stored, Trust};
    use crate::proto::secret::Secret;

    const RIGHT: Wall = Wall(1_900_000_000);
    const DAY: i64 = 86_400;
    const YEAR: i64 = 366 * DAY;

    fn days(days: i64) -> Wall {
        Wall(RIGHT.0 + days * DAY)
    }

    fn at(wall: Wall) -> Moment {
        Moment { wall, ..Moment::default() }
    }

    /// Alice's devices, under a clock that somebody winds.
    struct Nas {
        store: Store,
        _folder: TempDir,
    }

    impl Nas {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::open(Options::new(folder.path().into(), || RIGHT), SealingKey::from_slice(&[1; 32]));
            store.write(|tx| tx.save(&Stored::new(1000, "alice"))).await.unwrap();
            Self { store, _folder: folder }
        }

        /// A login is decided, and so this time believed.
        async fn login(&self, wall: Wall) {
            self.store.write(move |tx| tx.believe_clock(wall)).await.unwrap();
        }

        async fn trust(&self, wall: Wall) -> Secret {
            let trust = Trust { uid: 1000, label: "laptop", now: wall, lifetime: TRUST_LIFE };
            self.store.write(move |tx| tx.trust_device(trust)).await.unwrap()
        }

        async fn is_trusted(&self, token: &Secret, wall: Wall) -> bool {
            let token = token.clone();
            let found = self.store.read(move |view| match trust_clock(view, at(wall))? {
                Some(clock) => Ok(view.device_by_token(1000, &token, clock)?.is_some()),
                None => Ok(false),
            });
            found.await.unwrap()
        }

        async fn fault(&self, wall: Wall) -> Option<ClockFault> {
            self.store.read(move |view| Ok(now(view, at(wall))?.time.err())).await.unwrap()
        }
    }

    #[tokio::test]
    async fn a_device_whose_trust_has_ended_stays_so_while_the_clock_stands_back() {
        let nas = Nas::new().await;
        let token = nas.trust(days(-40)).await;
        nas.login(days(-20)).await;
        assert!(nas.is_trusted(&token, days(-20)).await);
        nas.login(RIGHT).await;
        assert!(!nas.is_trusted(&token, RIGHT).await);
        assert!(!nas.is_trusted(&token, days(-20)).await, "set back");
        nas.login(days(-20)).await;
        assert!(!nas.is_trusted(&token, days(-20)).await, "nor once somebody has logged in");
        assert!(!nas.is_trusted(&token, Wall(1)).await, "nor by a clock that can't be right");
    }

    #[tokio::test]
    async fn a_clock_that_stood_back_for_years_keeps_nobody_out_once_it_is_right() {
        let nas = Nas::new().await;
        nas.login(RIGHT).await;
        let back = Wall(RIGHT.0 - 3 * YEAR);
        assert_eq!(nas.fault(back).await, None, "it may be right");
        nas.login(back).await;
        assert_eq!(nas.fault(RIGHT).await, None);
        nas.login(RIGHT).await;
        let token = nas.trust(RIGHT).await;
        assert!(nas.is_trusted(&token, days(29)).await);
        assert!(matches!(nas.fault(Wall(RIGHT.0 + 3 * YEAR)).await, Some(ClockFault::FarAhead { .. })), "what is far ahead still is");
    }

    #[tokio::test]
    async fn a_clock_that_ran_ahead_for_a_while_takes_no_trust_from_those_who_come_after() {
        let nas = Nas::new().await;
        nas.login(RIGHT).await;
        nas.login(days(300)).await;
        let ahead = nas.trust(days(300)).await;
        assert_eq!(nas.fault(RIGHT).await, None);
        nas.login(RIGHT).await;
        let token = nas.trust(RIGHT).await;
        assert!(nas.is_trusted(&token, days(1)).await);
        assert!(!nas.is_trusted(&token, days(30)).await);
        assert!(!nas.is_trusted(&ahead, days(310)).await, "nobody is trusted all the time until a wrong clock was right");
    }
}
