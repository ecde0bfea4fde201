//! What a fired press does, and the window until the account is off again: the record on disk, and the decisions taken from it.
//!
//! ```text
//!             a press fires                       account brought back
//!   (none) ───────────────────────► Intended ─────────────────────────────► Recovered ◄─┐ start within the window, or
//!    Off                            │ │    ▲                                │  │  │   └──┘ the next press
//!    TakenOver                      │ │    ├─ start: carried out again      │  │  │
//!    Failed ◄───── refused ─────────┘ │    └─ in doubt: looked at again     │  │  │
//!                                     │  window ends, default password set  │  │  │ window ends, another password set
//!                        Off ◄────────┼─────────────────────────────────────┘  │  └────────────────────► TakenOver
//!                         ▲           │           turned off by somebody       │
//!                         └───────────┴────────────────────────────────────────┘
//! ```
//!
//! *Intended* is written before anything is done, so only a power cut or a crash leaves it behind, and a press in doubt: one under which the account
//! files failed and can't be read. Nobody knows then whether the account is on, so it is looked at again each minute and at each start. Where the
//! default password turns out to be set, the press is completed; where somebody has locked it since, or the time is over, the account is turned off;
//! else the press is refused. A press that was reported as refused is not carried out later, when nobody expects it; and it leaves an open window of an
//! earlier press, a press in doubt, and an account that was taken over, as it was.
//!
//! The window is measured in boot time. After another boot the wall clock says how much of it is left, and at least the time since that boot is
//! over. Where that clock has not even moved forward by so much, the account gets the rest once more, for at most [`BLIND_BOOTS`] such boots: a
//! board without a battery begins each boot at the same time of day.
//!
//! What this does not do: read clocks or files, or keep anything. `supervisor::recovery` does.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::shadow::{EARLIEST, OFF, PasswordHash};
use super::time::{BootTime, Wall};

/// So many boots in a row may leave the wall clock in doubt before the window counts as over.
pub const BLIND_BOOTS: u32 = 3;

/// The version of [`Record`] written here.
pub const VERSION: u32 = 1;

/// Names that are uid 0 by custom, and the engine's own user.
const NEVER: [&str; 3] = ["root", "toor", "twostep"];

/// Whether the button may bring an account of this name back, or turn it off: not the accounts that the system itself stands on.
#[must_use]
pub fn may_be_recovered(account: &str) -> bool {
    !NEVER.contains(&account)
}

/// What every clock says at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The wall clock.
    pub wall: Wall,
    /// The time since boot.
    pub boot: BootTime,
    /// Which boot that is (/proc/sys/kernel/random/boot_id); empty where unknown, and then it is no boot seen before.
    pub boot_id: String,
}

/// How far the last press came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Begun; perhaps nothing of it is done yet.
    Intended,
    /// The account is on, its window runs.
    Recovered,
    /// The account was turned off.
    Off,
    /// The account has a password of its own and stays.
    TakenOver,
    /// The press was refused; the outcome says why.
    Failed,
}

/// The time in which the default password works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The boot that `ends` counts from.
    pub boot_id: String,
    /// Its end, in time since that boot.
    pub ends: BootTime,
    /// How long it was when it was opened, or at this boot went on.
    pub length: Duration,
    /// The wall clock at that moment.
    pub since: Wall,
    /// Boots in a row whose wall clock was in doubt.
    pub blind_boots: u32,
}

impl Window {
    /// A window of this length from now on.
    #[must_use]
    pub fn open(length: Duration, now: &Now) -> Self {
        Self { boot_id: now.boot_id.clone(), ends: now.boot + length, length, since: now.wall, blind_boots: 0 }
    }

    /// What is left of it; none where it is over. After another boot that is a window counted from this boot.
    #[must_use]
    pub fn rest(&self, now: &Now) -> Option<Self> {
        if self.boot_id == now.boot_id && !self.boot_id.is_empty() {
            return (now.boot < self.ends).then(|| self.clone());
        }
        let seen = u64::try_from(now.wall.0.saturating_sub(self.since.0)).ok().map(Duration::from_secs);
        let (passed, blind_boots) = match seen {
            Some(passed) if self.since >= EARLIEST && passed >= whole_seconds(now.boot.0) => (passed, 0),
            _ => (now.boot.0, self.blind_boots.saturating_add(1)),
        };
        let length = self.length.checked_sub(passed).filter(|rest| !rest.is_zero() && blind_boots <= BLIND_BOOTS)?;
        Some(Self { blind_boots, ..Self::open(length, now) })
    }
}

/// As the wall clock shows it.
fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// What recovery.json holds: the last press.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// [`VERSION`].
    pub version: u32,
    /// The number of the press, from 1 on; no number is used twice.
    pub press: u64,
    /// The account.
    pub account: String,
    /// The button, or whoever stood in for it.
    pub source: String,
    /// When the press fired.
    pub fired_at: Wall,
    /// The hash it set: while it is still there, the default password is set. Nobody's where the press was refused before there was one.
    pub hash: PasswordHash,
    /// How far it came.
    pub phase: Phase,
    /// The window; it counts in [`Phase::Recovered`].
    pub window: Window,
    /// What came of it, for people.
    pub outcome: String,
    /// Whether a press was refused after this one, which stands: in an open window that goes on, for an account that was taken over, or in doubt. In
    /// [`Phase::Intended`] also where this one itself is in doubt: nobody may count on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
    /// In [`Phase::Intended`]: the press whose window was open, whose account was taken over, or that was in doubt. It stands if this one is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<Box<Record>>,
}

/// What the account's password field says about the default password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordIs {
    /// It is set (perhaps locked with `!`, which an unlock would bring back), by the press or by somebody since.
    Default,
    /// Another one is set.
    Other,
    /// Nothing is set and none is asked for, which is nobody's own password: the window ends as with the default one.
    Empty,
    /// No hash at all: the account is off, whoever did it.
    Off,
    /// There is no such line.
    Missing,
}

impl PasswordIs {
    /// Judges the password field by the hash that the press set. A salt makes each hash of one password another: of a hash that the press
    /// did not set, `gives` says whether the default password gives it all the same.
    ///
    /// # Errors
    /// Where `gives` can't tell.
    pub fn of<E>(field: Option<&[u8]>, set: &PasswordHash, gives: impl FnOnce(&[u8]) -> Result<bool, E>) -> Result<Self, E> {
        let Some(field) = field else { return Ok(Self::Missing) };
        let unlocked = field.iter().position(|&b| b != OFF[0]).map_or(&[][..], |start| &field[start..]);
        Ok(match unlocked {
            hash if hash == set.expose().as_bytes() => Self::Default,
            b"" if field.is_empty() => Self::Empty,
            b"" | b"*" => Self::Off,
            hash if gives(hash)? => Self::Default,
            _ => Self::Other,
        })
    }
}

/// What is to be done about a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing: no window is open.
    Nothing,
    /// Carry the press out again, with a fresh window.
    CarryOut,
    /// The window goes on.
    GoOn(Window),
    /// Turn the account off.
    TurnOff,
    /// Leave the account to whoever has given it a password of its own.
    TakenOver,
}

/// What is to be done about the last press now: at a start, and when its window may have ended.
#[must_use]
pub fn decide(record: &Record, password: PasswordIs, now: &Now) -> Wish {
    match record.phase {
        Phase::Off | Phase::TakenOver | Phase::Failed => Wish::Nothing,
        Phase::Intended => Wish::CarryOut,
        Phase::Recovered => match (password, record.window.rest(now)) {
            // Somebody began to turn it off: what is left of that (expiry, sessions) is done now.
            (PasswordIs::Off | PasswordIs::Missing, _) | (PasswordIs::Default | PasswordIs::Empty, None) => Wish::TurnOff,
            (PasswordIs::Other, None) => Wish::TakenOver,
            (PasswordIs::Default | PasswordIs::Other | PasswordIs::Empty, Some(window)) => Wish::GoOn(window),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const FIRED: i64 = 1_800_000_000;

    fn at(boot_id: &str, boot: u64, wall: i64) -> Now {
        Now { wall: Wall(wall), boot: BootTime(Duration::from_secs(boot)), boot_id: boot_id.into() }
    }

    fn hash() -> PasswordHash {
        PasswordHash::new("$y$j9T$salt$hash".into()).unwrap()
    }

    fn record(phase: Phase) -> Record {
        let now = at("one", 100, FIRED);
        let window = Window::open(HOUR, &now);
        let (account, source) = ("admin".into(), "reset".into());
        let (outcome, refused, former) = (String::new(), false, None);
        Record { version: VERSION, press: 7, account, source, fired_at: now.wall, hash: hash(), phase, window, outcome, refused, former }
    }

    #[test]
    fn the_window_ends_by_boot_time_whatever_the_wall_clock_does() {
        let open = record(Phase::Recovered);
        assert!(matches!(decide(&open, PasswordIs::Default, &at("one", 3699, FIRED + 9_999_999)), Wish::GoOn(_)));
        assert_eq!(decide(&open, PasswordIs::Default, &at("one", 3700, 0)), Wish::TurnOff);
    }

    #[test]
    fn after_a_reboot_the_wall_clock_says_what_is_left() {
        let rest = record(Phase::Recovered).window.rest(&at("two", 20, FIRED + 600)).unwrap();
        assert_eq!((rest.length, rest.ends), (Duration::from_secs(3000), BootTime(Duration::from_secs(3020))));
        assert_eq!(record(Phase::Recovered).window.rest(&at("two", 20, FIRED + 3600)), None);
    }

    #[test]
    fn a_clock_in_doubt_gives_the_rest_again_but_not_forever() {
        let mut window = record(Phase::Recovered).window;
        for (boot, left) in [("two", 3580), ("three", 3560), ("four", 3540)] {
            window = window.rest(&at(boot, 20, 0)).unwrap();
            assert_eq!(window.length, Duration::from_secs(left), "the time since the boot is over in any case");
        }
        assert_eq!(window.rest(&at("five", 20, 0)), None);
    }

    #[test]
    fn a_clock_that_begins_each_boot_at_the_same_time_does_not_extend_the_window_for_ever() {
        let saved = FIRED + 60;
        let mut window = record(Phase::Recovered).window;
        let mut boots = 0;
        while let Some(rest) = window.rest(&at(&format!("boot {boots}"), 20, saved + 20)) {
            assert!(rest.length < window.length);
            window = rest;
            boots += 1;
            assert!(boots < 10, "the power is pulled again and again, and the window never ends");
        }
        assert_eq!(boots, 1 + BLIND_BOOTS);
    }

    #[test]
    fn a_daemon_that_starts_late_in_a_boot_counts_all_of_it() {
        assert_eq!(record(Phase::Recovered).window.rest(&at("two", 3600, 0)), None);
        assert_eq!(record(Phase::Recovered).window.rest(&at("two", 3600, FIRED + 5)), None);
    }

    #[test]
    fn an_unknown_boot_is_never_the_same_boot() {
        let window = Window::open(HOUR, &at("", 100, FIRED));
        assert_eq!(window.rest(&at("", 50, FIRED + 3600)), None);
    }

    #[test]
    fn a_password_of_its_own_keeps_the_account() {
        let over = at("one", 4000, FIRED + 4000);
        assert_eq!(decide(&record(Phase::Recovered), PasswordIs::Other, &over), Wish::TakenOver);
        assert_eq!(decide(&record(Phase::Recovered), PasswordIs::Empty, &over), Wish::TurnOff, "without a password it must not stay on");
        assert!(matches!(decide(&record(Phase::Recovered), PasswordIs::Other, &at("one", 200, FIRED)), Wish::GoOn(_)));
    }

    #[test]
    fn an_account_turned_off_in_its_window_is_turned_off_completely() {
        assert_eq!(decide(&record(Phase::Recovered), PasswordIs::Off, &at("one", 200, FIRED)), Wish::TurnOff);
    }

    #[test]
    fn only_a_press_that_was_cut_off_is_carried_out_again() {
        for (phase, wish) in [(Phase::Intended, Wish::CarryOut), (Phase::Failed, Wish::Nothing), (Phase::Off, Wish::Nothing)] {
            assert_eq!(decide(&record(phase), PasswordIs::Other, &at("two", 5, FIRED)), wish);
        }
    }

    /// Another hash of the default password is `$y$j9T$other$hash`; asked of any other, it is no hash of it.
    fn is(field: &[u8]) -> PasswordIs {
        let gives = |hash: &[u8]| Ok::<_, Infallible>(hash == b"$y$j9T$other$hash");
        let Ok(is) = PasswordIs::of(Some(field), &hash(), gives);
        is
    }

    #[test]
    fn the_default_password_counts_as_set_even_behind_a_lock() {
        assert_eq!(is(b"$y$j9T$salt$hash"), PasswordIs::Default);
        assert_eq!(is(b"!$y$j9T$salt$hash"), PasswordIs::Default);
        assert_eq!(is(b"$y$j9T$salt$hasH"), PasswordIs::Other);
        assert_eq!(is(b"!$y$j9T$salt$hasH"), PasswordIs::Other);
        assert_eq!(is(b""), PasswordIs::Empty);
        for off in [&b"!"[..], b"!!", b"*", b"!*"] {
            assert_eq!(is(off), PasswordIs::Off);
        }
        assert_eq!(PasswordIs::of(None, &hash(), |_| Err("asked")), Ok(PasswordIs::Missing));
    }

    #[test]
    fn the_default_password_set_again_is_nobodys_own() {
        assert_eq!(is(b"$y$j9T$other$hash"), PasswordIs::Default);
        assert_eq!(is(b"!$y$j9T$other$hash"), PasswordIs::Default);
        assert_eq!(PasswordIs::of(Some(b"$y$j9T$other$hash"), &hash(), |_| Err("no address")), Err("no address"));
        assert_eq!(PasswordIs::of(Some(b"$y$j9T$salt$hash"), &hash(), |_| Err("asked")), Ok(PasswordIs::Default), "that one is known");
    }

    #[test]
    fn the_record_keeps_its_hash_and_never_prints_it() {
        let text = serde_json::to_string(&record(Phase::Recovered)).unwrap();
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record(Phase::Recovered));
        assert!(!format!("{:?}", record(Phase::Recovered)).contains("j9T"));
        let forged = text.replace("$y$j9T$salt$hash", "$y$j9T$salt$hash:0:0\\nroot");
        assert!(serde_json::from_str::<Record>(&forged).is_err());
    }
}
