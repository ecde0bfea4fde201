//! What may be believed of the clocks: how much time has passed since a stored moment, and whether the wall clock can be right at all.
//!
//! The wall clock of a NAS jumps: an empty battery, a first synchronisation, a hand on `date`. So a wait is measured by boot time as long
//! as the machine has not been restarted, and by the wall clock only between two moments at which it was synchronised.
//!
//! This module reads no clock and does not correct one.

use std::fmt;
use std::time::Duration;

use crate::core::time::{BootTime, Wall};

/// The kernel's random identity of one boot (`/proc/sys/kernel/random/boot_id`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BootId(pub [u8; 16]);

/// All clocks, read together; also the form in which the store keeps a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// For time steps and for people.
    pub wall: Wall,
    /// Comparable only within one `boot_id`.
    pub boot: BootTime,
    /// Which boot `boot` belongs to.
    pub boot_id: BootId,
    /// Whether the kernel said that the wall clock was synchronised.
    pub synchronised: bool,
}

impl Moment {
    /// The time that has surely passed since `earlier`; never more than the truth where the clocks can't tell.
    ///
    /// Within one boot it is exact, whatever the wall clock did. Across a restart it is at least the time since this boot.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Duration {
        if self.boot_id == earlier.boot_id {
            return self.boot - earlier.boot;
        }
        let since_boot = self.boot.0;
        if !(self.synchronised && earlier.synchronised) {
            return since_boot;
        }
        let by_wall = self.wall.0.saturating_sub(earlier.wall.0);
        since_boot.max(Duration::from_secs(u64::try_from(by_wall).unwrap_or(0)))
    }
}

/// What an implausible wall clock is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// When this program was built: no login is earlier.
    pub built: Wall,
    /// The latest time of a commit under a plausible clock, if there was one. An earlier one than the latest may be given first: what is not far ahead
    /// of that is not far ahead of the latest.
    pub last_commit: Option<Wall>,
}

/// A clock that is not synchronised may be this far ahead of the last commit (a NAS that was in a drawer).
pub const FAR_AHEAD: Duration = Duration::from_secs(366 * DAY);
/// Nobody runs a build this old: even a synchronised clock is wrong.
pub const LIFETIME: Duration = Duration::from_secs(60 * 365 * DAY);

const DAY: u64 = 86_400;

/// Why the wall clock can't be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockFault {
    /// Before 1970.
    BeforeEpoch,
    /// Before this program was built.
    BeforeBuild,
    /// Not synchronised, and this many days ahead of the last commit.
    FarAhead {
        /// Whole days.
        days: u64,
    },
    /// Decades after the build.
    FarFuture,
}

impl fmt::Display for ClockFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeforeEpoch => f.write_str("this machine's clock is before 1970")?,
            Self::BeforeBuild => f.write_str("this machine's clock is before the time this program was built")?,
            Self::FarAhead { days } => write!(f, "this machine's clock is not synchronised and {days} days ahead of its last use")?,
            Self::FarFuture => f.write_str("this machine's clock is decades in the future")?,
        }
        if let Self::FarAhead { .. } = self {
            // A machine without any time server: systemd-timesyncd's own mark is what the supervisor looks at.
            f.write_str("; have it synchronised (or, where it is right, root makes the file /run/systemd/timesync/synchronized)")?;
            return f.write_str(", or use another method");
        }
        f.write_str("; set the clock, or use another method")
    }
}

impl std::error::Error for ClockFault {}

/// A wall-clock time that passed [`plausible`], in seconds since 1970: the only time from which a time step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PlausibleTime(u64);

impl PlausibleTime {
    /// Seconds since 1970.
    #[must_use]
    pub fn seconds(self) -> u64 {
        self.0
    }
}

/// Whether the wall clock may be used for time steps.
///
/// A clock that fell back is plausible: used steps are kept one by one, so it reopens none.
///
/// # Errors
/// The fault, for people. Nothing about any code is in it.
pub fn plausible(now: &Moment, horizon: &Horizon) -> Result<PlausibleTime, ClockFault> {
    let Ok(seconds) = u64::try_from(now.wall.0) else { return Err(ClockFault::BeforeEpoch) };
    if now.wall < horizon.built {
        return Err(ClockFault::BeforeBuild);
    }
    if ahead(now.wall, horizon.built) > LIFETIME {
        return Err(ClockFault::FarFuture);
    }
    let lead = horizon.last_commit.map_or(Duration::ZERO, |commit| ahead(now.wall, commit));
    if !now.synchronised && lead > FAR_AHEAD {
        return Err(ClockFault::FarAhead { days: lead.as_secs() / DAY });
    }
    Ok(PlausibleTime(seconds))
}

fn ahead(later: Wall, earlier: Wall) -> Duration {
    Duration::from_secs(u64::try_from(later.0.saturating_sub(earlier.0)).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUILT: Wall = Wall(1_780_000_000);

    fn moment(wall: i64, boot: u64, boot_id: u8, synchronised: bool) -> Moment {
        Moment { wall: Wall(wall), boot: BootTime(Duration::from_secs(boot)), boot_id: BootId([boot_id; 16]), synchronised }
    }

    fn check(wall: i64, synchronised: bool) -> Result<PlausibleTime, ClockFault> {
        let horizon = Horizon { built: BUILT, last_commit: Some(Wall(BUILT.0 + 1_000_000)) };
        plausible(&moment(wall, 1, 1, synchronised), &horizon)
    }

    #[test]
    fn a_jump_of_the_wall_clock_does_not_touch_a_wait_within_one_boot() {
        let failed = moment(BUILT.0, 100, 1, true);
        for wall in [i64::MIN, 0, BUILT.0 - 1_000_000, BUILT.0 + 10_000_000, i64::MAX] {
            assert_eq!(moment(wall, 130, 1, true).since(&failed), Duration::from_secs(30));
        }
    }

    #[test]
    fn after_a_restart_the_time_since_boot_counts_at_least() {
        let failed = moment(BUILT.0, 5_000, 1, true);
        assert_eq!(moment(0, 40, 2, false).since(&failed), Duration::from_secs(40));
        assert_eq!(moment(BUILT.0 - 900, 40, 2, true).since(&failed), Duration::from_secs(40));
    }

    #[test]
    fn after_a_restart_two_synchronised_moments_tell_the_whole_time() {
        let failed = moment(BUILT.0, 5_000, 1, true);
        assert_eq!(moment(BUILT.0 + 3_600, 40, 2, true).since(&failed), Duration::from_secs(3_600));
        let doubtful = moment(BUILT.0, 5_000, 1, false);
        assert_eq!(moment(BUILT.0 + 3_600, 40, 2, true).since(&doubtful), Duration::from_secs(40));
    }

    #[test]
    fn a_clock_before_1970_or_before_the_build_is_refused() {
        assert_eq!(check(-1, true), Err(ClockFault::BeforeEpoch));
        assert_eq!(check(i64::MIN, false), Err(ClockFault::BeforeEpoch));
        assert_eq!(check(0, true), Err(ClockFault::BeforeBuild));
        assert_eq!(check(BUILT.0 - 1, true), Err(ClockFault::BeforeBuild));
    }

    #[test]
    fn a_clock_years_ahead_is_believed_only_where_it_is_synchronised() {
        let years = BUILT.0 + 3 * 365 * 86_400;
        assert!(matches!(check(years, false), Err(ClockFault::FarAhead { days }) if days > 1_000));
        assert!(check(years, true).is_ok());
        assert_eq!(check(i64::MAX, true), Err(ClockFault::FarFuture));
    }

    #[test]
    fn a_clock_that_fell_back_is_usable() {
        assert!(check(BUILT.0 + 10, false).is_ok());
    }

    #[test]
    fn each_fault_says_the_way_out() {
        for fault in [ClockFault::BeforeEpoch, ClockFault::BeforeBuild, ClockFault::FarAhead { days: 400 }, ClockFault::FarFuture] {
            let text = fault.to_string();
            assert!(text.contains("; set the clock") || text.contains("; have it synchronised"), "{text}");
            assert!(text.ends_with("or use another method"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_pair_of_readings_panics(a: (i64, u64, u8, bool), b: (i64, u64, u8, bool), built: i64, commit: Option<i64>) {
            let (a, b) = (moment(a.0, a.1, a.2, a.3), moment(b.0, b.1, b.2, b.3));
            let _ = a.since(&b);
            let _ = plausible(&a, &Horizon { built: Wall(built), last_commit: commit.map(Wall) });
        }
    }
}
