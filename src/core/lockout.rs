//! Wrong answers in; wait or lock out.
//!
//! ```text
//!   open ──5 wrong in a row──► wait 30 s, doubling up to 15 min after each further wrong answer ──100 in a row──► locked
//!     ▲                          │ (an answer during the wait is not looked at, and not counted)                     │
//!     └──── a correct second step, an administrator, recovery, another secret ◄──────────────────────────────────────┘
//! ```
//! Over all logins, methods and restarts (NIST SP 800-63B §5.2.2). A count never fades: a pause between guesses does not lower it. A code that was
//! already used is no failure, and a wrong password is not counted here.
//! Waits are measured by [`Moment::since`], so that no jump of the wall clock shortens or lengthens one.
//!
//! Each account has two counts of the same limits, and a login waits for its own alone:
//!
//! | count | whose wrong answers | cleared by a correct step of |
//! |---|---|---|
//! | real | of logins that root or a peer granted `login` has begun: it vouches for the password | a real login |
//! | claimed | of logins that a process of the account's own has begun, of which nobody has said that it knows the password | either |
//!
//! So whoever guesses from the account's own processes, be it a stray script, keeps nobody out of ssh; and since each count locks for itself, at most
//! twice as much can be guessed. A correct claimed step says nothing of who guesses elsewhere: it leaves the real count.
//!
//! What a process of the user's own does beside logins needs no third count. The confirmations of a setup are compared with what the same caller was
//! shown, or with a code mailed to an address of its choice: who guesses them wins nothing, and they are bounded in each setup. A change of what is in
//! force, and the secret once more, ask for a login that was verified a moment ago, whose answers were counted here, and for the password, which the
//! supervisor counts. So whoever is under the account's uid and knows its password has the claimed count between itself and the second step (B13).
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

/// Both counts of one account. `claimed` says of a login, as everywhere, that its service is neither root nor granted `login`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of logins whose password was vouched for.
    pub real: Failures,
    /// Of the others.
    pub claimed: Failures,
}

/// Whether a typed answer is looked at now; the later is the stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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

    fn max(self, other: Self) -> Self {
        if other.in_a_row > self.in_a_row { other } else { self }
    }
}

impl Tally {
    /// Whether an answer in such a login is looked at.
    #[must_use]
    pub fn gate(&self, claimed: bool, now: &Moment) -> Gate {
        if claimed { self.claimed.gate(now) } else { self.real.gate(now) }
    }

    /// For what is given away only while nobody guesses anywhere.
    #[must_use]
    pub fn strictest(&self, now: &Moment) -> Gate {
        self.real.gate(now).max(self.claimed.gate(now))
    }

    /// Counts one wrong answer in such a login.
    pub fn count(&mut self, claimed: bool, now: &Moment) {
        if claimed { self.claimed.count(now) } else { self.real.count(now) }
    }

    /// After a correct second step in such a login.
    pub fn passed(&mut self, claimed: bool) {
        let real = if claimed { self.real } else { Failures::default() };
        *self = Self { real, claimed: Failures::default() };
    }

    /// By an administrator, by recovery, or where the second step that was guessed at was turned off and another set up; by nothing else.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_clear(&self) -> bool {
        self.real.in_a_row == 0 && self.claimed.in_a_row == 0
    }

    /// The stricter of two states of one account: a restored backup never lowers what was counted.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self { real: self.real.max(other.real), claimed: self.claimed.max(other.claimed) }
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
    }

    #[test]
    fn what_is_only_claimed_makes_nobody_else_wait_and_waits_for_nobody_else() {
        for claimed in [true, false] {
            let mut tally = Tally::default();
            (0..LOCKED_AT).for_each(|_| tally.count(claimed, &at(0)));
            assert_eq!((tally.gate(claimed, &at(9)), tally.gate(!claimed, &at(9))), (Gate::Locked, Gate::Open { attempts_left: FREE }));
            assert_eq!(tally.strictest(&at(9)), Gate::Locked);
        }
    }

    #[test]
    fn a_real_step_forgives_both_a_claimed_one_its_own_alone() {
        let failed = Failures { in_a_row: 7, last: Some(at(1)) };
        let (mut real, mut claimed) = (Tally { real: failed, claimed: failed }, Tally { real: failed, claimed: failed });
        real.passed(false);
        assert!(real.is_clear());
        claimed.passed(true);
        assert_eq!(claimed, Tally { real: failed, claimed: Failures::default() });
        assert!(!claimed.is_clear());
        claimed.reset();
        assert!(claimed.is_clear());
    }

    #[test]
    fn the_stricter_of_two_gates_is_the_one_that_waits_longer() {
        let gates = [Gate::Open { attempts_left: 5 }, Gate::Wait { seconds: 30 }, Gate::Wait { seconds: 900 }, Gate::Locked];
        assert!(gates.is_sorted());
        let half = Tally { real: Failures { in_a_row: 6, last: Some(at(0)) }, claimed: Failures { in_a_row: 9, last: Some(at(0)) } };
        assert_eq!(half.strictest(&at(10)), Gate::Wait { seconds: 470 });
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
        let (few, many) = (Failures { in_a_row: 3, last: Some(at(1)) }, Failures { in_a_row: 7, last: Some(at(2)) });
        let (old, new) = (Tally { real: few, claimed: many }, Tally { real: many, claimed: few });
        let stricter = Tally { real: many, claimed: many };
        assert_eq!((old.max(new), new.max(old)), (stricter, stricter));
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
