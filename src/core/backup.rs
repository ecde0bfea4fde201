//! When the engine makes a backup by itself: once a day, where something was decided since the last one.
//!
//! ```text
//!              15 min after the start                  new entries in the audit trail
//!   settling ──────────────────────────► waiting ────────────────────────────────────────► is the newest backup a day old?
//!                                           ▲                                                 │ no: until it is    │ yes
//!                                           ├─────────────────────────────────────────────────┘                    ▼
//!                                           └───── a day after it was made, six hours after it failed ──────────── due
//! ```
//! Pauses are measured by boot time, so that no jump of the wall clock fills the disk. The age of a backup that was made before this start is
//! known by the wall clock alone; one that lies in the future counts for nothing.
//!
//! This module arms no timer: whoever has a tick at hand asks.

use std::time::Duration;

use super::clock::Moment;
use super::time::{BootTime, Wall};

/// From one automatic backup to the next.
pub const PERIOD: Duration = Duration::from_secs(24 * 3600);
/// A machine that has just started has better things to do.
pub const SETTLING: Duration = Duration::from_secs(15 * 60);
/// After one that failed.
pub const AGAIN: Duration = Duration::from_secs(6 * 3600);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    not_before: BootTime,
    /// The newest audit entry that is in a backup already.
    contained: i64,
}

impl Schedule {
    /// At the start. `contained` is the newest audit entry that is known to be in a backup, or 0.
    #[must_use]
    pub fn begin(now: BootTime, contained: i64) -> Self {
        Self { not_before: now + SETTLING, contained }
    }

    /// Whether it is worth to look at the backups; `newest` is the newest audit entry.
    #[must_use]
    pub fn wants(&self, now: BootTime, newest: i64) -> bool {
        // After a start anew the ids begin again, so lower is new too.
        now >= self.not_before && newest != self.contained
    }

    /// Whether one is due, where the newest backup was made at `newest`; if not, waits until it is.
    pub fn is_due(&mut self, now: &Moment, newest: Option<Wall>) -> bool {
        let age = newest.and_then(|at| u64::try_from(now.wall.0.checked_sub(at.0)?).ok()).map(Duration::from_secs);
        let rest = age.map_or(Duration::ZERO, |age| PERIOD.saturating_sub(age));
        if !rest.is_zero() {
            self.not_before = now.boot + rest;
        }
        rest.is_zero()
    }

    /// One was made; it holds the audit trail up to `contained`.
    pub fn made(&mut self, now: BootTime, contained: i64) {
        *self = Self { not_before: now + PERIOD, contained };
    }

    /// None could be made.
    pub fn failed(&mut self, now: BootTime) {
        self.not_before = now + AGAIN;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600;
    const HOUR: u64 = 3600;

    fn boot(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    fn at(seconds: u64) -> Moment {
        Moment { wall: Wall(1_790_000_000 + seconds.cast_signed()), boot: boot(seconds), ..Moment::default() }
    }

    #[test]
    fn nothing_is_made_while_nothing_is_decided() {
        assert!(!Schedule::begin(boot(0), 0).wants(boot(100 * DAY), 0));
        let mut schedule = Schedule::begin(boot(0), 0);
        schedule.made(boot(HOUR), 7);
        assert!(!schedule.wants(boot(100 * DAY), 7) && schedule.wants(boot(100 * DAY), 8));
    }

    #[test]
    fn the_first_comes_a_quarter_of_an_hour_after_the_start_and_the_next_a_day_later() {
        let mut schedule = Schedule::begin(boot(0), 0);
        assert!(!schedule.wants(boot(899), 5) && schedule.wants(boot(900), 5));
        assert!(schedule.is_due(&at(900), None));
        schedule.made(boot(900), 5);
        assert!(!schedule.wants(boot(900 + DAY - 1), 6) && schedule.wants(boot(900 + DAY), 6));
    }

    #[test]
    fn a_restart_makes_no_second_one_on_the_same_day() {
        let mut schedule = Schedule::begin(boot(0), 0);
        assert!(!schedule.is_due(&at(HOUR), Some(Wall(at(HOUR).wall.0 - 20 * 3600))));
        assert!(!schedule.wants(boot(5 * HOUR - 1), 9) && schedule.wants(boot(5 * HOUR), 9));
    }

    #[test]
    fn no_jump_of_the_wall_clock_makes_more_than_one_a_day() {
        let mut schedule = Schedule::begin(boot(0), 0);
        let ahead = Some(Wall(at(HOUR).wall.0 + 1_000_000_000));
        assert!(schedule.is_due(&at(HOUR), ahead), "one that was made under a clock far ahead");
        schedule.made(boot(HOUR), 1);
        for hour in 2..25 {
            assert!(!schedule.wants(boot(hour * HOUR), 2 + hour.cast_signed()));
        }
        assert!(schedule.is_due(&Moment { wall: Wall(i64::MIN), ..at(DAY) }, Some(Wall(i64::MAX))), "and no clock overflows");
    }

    #[test]
    fn one_that_failed_is_tried_again_after_six_hours() {
        let mut schedule = Schedule::begin(boot(0), 0);
        schedule.failed(boot(HOUR));
        assert!(!schedule.wants(boot(7 * HOUR - 1), 1) && schedule.wants(boot(7 * HOUR), 1));
    }
}
