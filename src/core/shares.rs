//! How much of the audit trail a stranger may fill.
//!
//! The trail is bounded: its newest rows push out its oldest. Most of what a process without a privilege may ask for decides nothing, counts
//! nothing, and may be asked for without end; a row for each would push out what others did. So each uid has [`BURST`] of such rows, and one more
//! every [`EVERY`]: 1440 a day, of a hundred thousand. What is beyond is left out, and the next row says how many were.

use std::collections::HashMap;
use std::time::Duration;

use super::time::BootTime;

/// The rows that a uid may leave at once.
const BURST: u32 = 100;
/// The time after which it may leave one more.
const EVERY: Duration = Duration::from_secs(60);
/// So many uids are told apart. Where more are at it at once, the later ones leave nothing.
const UIDS: usize = 1024;

/// The share of each uid.
#[derive(Debug, Default)]
pub struct Shares(HashMap<u32, Share>);

#[derive(Debug, Default)]
struct Share {
    /// Until when the rows so far are paid for, each with [`EVERY`].
    paid: BootTime,
    left_out: u64,
}

impl Shares {
    /// Takes the room for one row of `uid`, and tells how many were left out before it; none where there is no room.
    pub fn take(&mut self, uid: u32, now: BootTime) -> Option<u64> {
        if self.0.len() >= UIDS && !self.0.contains_key(&uid) {
            self.0.retain(|_, share| share.paid > now);
            if self.0.len() >= UIDS {
                return None;
            }
        }
        let share = self.0.entry(uid).or_default();
        if share.paid - now > EVERY * (BURST - 1) {
            share.left_out += 1;
            return None;
        }
        share.paid = share.paid.max(now) + EVERY;
        Some(std::mem::take(&mut share.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: BootTime = BootTime(Duration::from_secs(1000));

    #[test]
    fn a_flood_is_cut_and_the_next_row_says_how_much_was_left_out() {
        let mut shares = Shares::default();
        let taken = (0..250).filter(|_| shares.take(1001, START).is_some()).count();
        assert_eq!(taken, 100);
        assert_eq!(shares.take(1001, START + EVERY), Some(150));
        assert_eq!(shares.take(1001, START + EVERY), None);
        assert_eq!(shares.take(1001, START + EVERY * 200), Some(1));
    }

    #[test]
    fn whoever_left_little_has_the_whole_share_again() {
        let mut shares = Shares::default();
        assert!((0..50).all(|_| shares.take(1001, START) == Some(0)));
        let later = START + EVERY * 1000;
        assert_eq!((0..250).filter(|_| shares.take(1001, later).is_some()).count(), 100);
    }

    #[test]
    fn one_floods_and_another_is_heard() {
        let mut shares = Shares::default();
        for _ in 0..1000 {
            shares.take(1001, START);
        }
        assert_eq!(shares.take(1002, START), Some(0));
    }

    #[test]
    fn many_uids_take_a_bounded_memory() {
        let mut shares = Shares::default();
        let others = u32::try_from(UIDS).unwrap();
        assert!((0..others).all(|uid| shares.take(uid, START).is_some()));
        assert_eq!(shares.take(others, START), None);
        assert_eq!(shares.take(others, START + EVERY), Some(0), "the others' rows are paid for");
        assert_eq!(shares.0.len(), 1);
    }
}
