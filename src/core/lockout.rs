//! Wrong answers in; wait or lock out.
//!
//! ```text
//!   open ──5 wrong in a row──► wait 30 s, doubling up to 15 min after each further wrong answer ──100 in a row──► locked
//!     ▲                          │ (an answer during the wait is not looked at, and not counted)                     │
//!     └──── a correct second step, an administrator, recovery, another secret ◄──────────────────────────────────────┘
//! ```
//! One count per account, over all logins, methods and restarts (NIST SP 800-63B §5.2.2). It never fades: a pause between guesses does
//! not lower it. A code that was already used is no failure, and a wrong password is not counted here.
//! Waits are measured by [`Moment::since`], so that no jump of the wall clock shortens or lengthens one.
//!
//! This module does not know which method was answered; [`login`](super::login) keeps the methods that are not typed open during a wait. What has
//! locked is closed to all of them: a request that waits on a phone is no way around it.

use std::time::Duration;

use super::clock::Moment;

/// Wrong answers in a row before the first wait.
pub const FREE: u32 = 5;
/// Wrong answers in a row that lock the account's second step.
pub const LOCKED_AT: u32 = 100;
const FIRST_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Wrong answers of one account, as the store keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Since the last correct second step.
    pub in_a_row: u32,
    /// When the last one was.
    pub last: Option<Moment>,
}

/// Whether a typed answer is looked at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// It is; so many wrong ones are left before a wait.
    Open {
        /// At least 1.
        attempts_left: u32,
    },
    /// Not before so many seconds have passed.
    Wait {
        /// At least 1, at most 900.
        seconds: u64,
    },
    /// Not until an administrator unlocks, or recovery.
    Locked,
}

impl Gate {
    /// Seconds until the next answer is looked at, where waiting helps.
    #[must_use]
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::Wait { seconds } => Some(seconds),
            Self::Open { .. } | Self::Locked => None,
        }
    }

    /// Whether typed answers are looked at.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Self::Open { .. })
    }
}

impl Failures {
    /// See [`Gate`].
    #[must_use]
    pub fn gate(&self, now: &Moment) -> Gate {
        if self.in_a_row >= LOCKED_AT {
            return Gate::Locked;
        }
        let passed = self.last.map_or(Duration::MAX, |last| now.since(&last));
        let left = wait_after(self.in_a_row).saturating_sub(passed);
        if left.is_zero() {
            Gate::Open { attempts_left: FREE.saturating_sub(self.in_a_row).max(1) }
        } else {
            // Rounded up: whoever comes back at the second told is let through.
            Gate::Wait { seconds: left.as_secs() + u64::from(left.subsec_nanos() > 0) }
        }
    }

    /// Counts one wrong answer.
    pub fn count(&mut self, now: &Moment) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.last = Some(*now);
    }

    /// After a correct second step, by an administrator, by recovery, or where the second step that was guessed at was turned off and another set up;
    /// by nothing else.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The stricter of two counts of one account: a restored backup never lowers what was counted.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        if other.in_a_row > self.in_a_row { other } else { self }
    }
}

/// The wait that the last of `in_a_row` wrong answers brought.
fn wait_after(in_a_row: u32) -> Duration {
    let Some(doublings) = in_a_row.checked_sub(FREE) else { return Duration::ZERO };
    FIRST_WAIT.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::core::clock::BootId;
    use crate::core::time::{BootTime, Wall};

    fn at(seconds: u64) -> Moment {
        Moment { wall: Wall(0), boot: BootTime(Duration::from_secs(seconds)), boot_id: BootId([1; 16]), synchronised: false }
    }

    #[test]
    fn five_wrong_answers_are_free_then_waits_double_up_to_a_quarter_of_an_hour() {
        let mut failures = Failures::default();
        let (mut now, mut waits) = (0, vec![]);
        for _ in 0..13 {
            assert!(failures.gate(&at(now)).is_open());
            failures.count(&at(now));
            let wait = failures.gate(&at(now)).retry_after().unwrap_or(0);
            waits.push(wait);
            now += wait;
        }
        assert_eq!(waits, [0, 0, 0, 0, 30, 60, 120, 240, 480, 900, 900, 900, 900]);
    }

    #[test]
    fn the_attempts_left_count_down_and_one_is_left_after_each_wait() {
        let mut failures = Failures::default();
        for left in [5, 4, 3, 2, 1] {
            assert_eq!(failures.gate(&at(0)), Gate::Open { attempts_left: left });
            failures.count(&at(0));
        }
        assert_eq!(failures.gate(&at(0)), Gate::Wait { seconds: 30 });
        assert_eq!(failures.gate(&at(29)), Gate::Wait { seconds: 1 });
        assert_eq!(failures.gate(&at(30)), Gate::Open { attempts_left: 1 });
    }

    #[test]
    fn a_hundred_in_a_row_lock_for_good() {
        let mut failures = Failures { in_a_row: 99, last: None };
        failures.count(&at(0));
        assert_eq!(failures.gate(&at(u64::MAX)), Gate::Locked);
        assert_eq!(Gate::Locked.retry_after(), None);
        failures.reset();
        assert!(failures.gate(&at(0)).is_open());
    }

    #[test]
    fn a_wait_begun_under_a_clock_far_ahead_is_over_in_time_once_it_is_right() {
        let mut failures = Failures { in_a_row: 9, last: None };
        failures.count(&Moment { wall: Wall(4_000_000_000), ..at(1_000) });
        let right = Moment { wall: Wall(1_790_000_000), ..at(1_900) };
        assert!(failures.gate(&right).is_open());
    }

    #[test]
    fn a_restart_neither_forgives_a_wait_nor_stretches_it_beyond_its_length() {
        let mut failures = Failures { in_a_row: 9, last: None };
        failures.count(&at(50_000));
        let rebooted = |seconds| Moment { boot_id: BootId([2; 16]), ..at(seconds) };
        assert_eq!(failures.gate(&rebooted(5)), Gate::Wait { seconds: 895 });
        assert!(failures.gate(&rebooted(900)).is_open());
    }

    #[test]
    fn a_restored_backup_does_not_lower_the_count() {
        let (old, new) = (Failures { in_a_row: 3, last: Some(at(1)) }, Failures { in_a_row: 7, last: Some(at(2)) });
        assert_eq!(old.max(new), new);
        assert_eq!(new.max(old), new);
    }

    proptest! {
        #[test]
        fn no_clock_makes_a_wait_longer_than_a_quarter_of_an_hour(
            in_a_row in 0_u32..LOCKED_AT, wall: i64, boot: u64, same_boot: bool, synchronised: bool, then: u64,
        ) {
            let failures = Failures { in_a_row, last: Some(Moment { synchronised, ..at(then) }) };
            let boot_id = BootId([if same_boot { 1 } else { 2 }; 16]);
            let now = Moment { wall: Wall(wall), boot: BootTime(Duration::from_secs(boot)), boot_id, synchronised };
            match failures.gate(&now) {
                Gate::Wait { seconds } => prop_assert!((1..=900).contains(&seconds)),
                Gate::Open { attempts_left } => prop_assert!((1..=FREE).contains(&attempts_left)),
                Gate::Locked => prop_assert!(false, "locked below the limit"),
            }
        }
    }
}
