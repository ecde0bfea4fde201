//! What came of a press, a start and a window, and why one was refused.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::core::recovery::Phase;
use crate::core::time::{BootTime, Wall};
use crate::supervisor::accounts::{AccountsError, Warning};
use crate::sys::atomic_file::FileError;

/// A press that was carried out.
#[derive(Debug)]
pub struct Done {
    /// The number of the press.
    pub press: u64,
    /// The account that is back.
    pub account: String,
    /// Whether it had to be made.
    pub created: bool,
    /// When the window ends.
    pub until: BootTime,
    /// What went wrong beside it. Already logged.
    pub warnings: Vec<Warning>,
}

/// What came of a press that was carried out, and what an operator should know of it, for people.
pub(super) fn carried_out(created: bool, warnings: &[Warning]) -> String {
    let done = if created { "recovered, made anew" } else { "recovered" };
    std::iter::once(done.to_owned()).chain(warnings.iter().map(ToString::to_string)).collect::<Vec<_>>().join("; but ")
}

/// What a start found.
#[derive(Debug)]
pub enum StartAction {
    /// No window is open.
    Nothing,
    /// A press that a power cut or crash had cut off was carried out again; the caller does what it does after [`Recovery::fire`](super::Recovery::fire).
    CarriedOut(Done),
    /// The window goes on until then.
    WindowGoesOn(BootTime),
    /// The window has ended meanwhile.
    Ended(WindowEnd),
}

/// What the window's end came to, or another look at a press in doubt.
#[derive(Debug)]
pub enum WindowEnd {
    /// A press in doubt, or of a record that could not be read before, was completed; the caller does what it does after [`Recovery::fire`](super::Recovery::fire).
    CarriedOut(Done),
    /// The account is off.
    TurnedOff,
    /// The account has a password of its own and stays.
    TakenOver,
    /// The window goes on; see [`Recovery::window_ends`](super::Recovery::window_ends).
    NotYet,
    /// There is no open window.
    NotOpen,
}

impl From<WindowEnd> for StartAction {
    /// Another look at a press in doubt, at a start.
    fn from(end: WindowEnd) -> Self {
        match end {
            WindowEnd::CarriedOut(done) => Self::CarriedOut(done),
            end => Self::Ended(end),
        }
    }
}

impl From<StartAction> for WindowEnd {
    /// A start that could not read the record before.
    fn from(action: StartAction) -> Self {
        match action {
            StartAction::Nothing => Self::NotOpen,
            StartAction::CarriedOut(done) => Self::CarriedOut(done),
            StartAction::WindowGoesOn(_) => Self::NotYet,
            StartAction::Ended(end) => end,
        }
    }
}

/// The account, as `io.twostep.Recovery.Status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountState {
    /// There is no such account.
    Missing,
    /// No password matches it, or it is expired.
    Disabled,
    /// Enabled by somebody.
    Active,
    /// Enabled by the button, with the default password, until then; unknown while the clock is plainly wrong.
    Recovered {
        /// The end of the window.
        until: Option<Wall>,
    },
}

/// The last press, without its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastPress {
    /// Its number.
    pub press: u64,
    /// The account.
    pub account: String,
    /// When it fired.
    pub at: Wall,
    /// The button.
    pub source: String,
    /// How far it came.
    pub phase: Phase,
    /// What came of it, for people.
    pub outcome: String,
    /// Whether it was refused, or is in doubt.
    pub failed: bool,
}

/// A press was refused, or an account not turned off.
#[derive(Debug)]
pub enum RecoveryError {
    /// The configuration names an account that the button must leave alone, or an account, shell or home folder that cannot stand in passwd.
    Config {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// It is in doubt which account is meant, and this is no end of an open window: what is wrong with the configuration.
    InDoubt(String),
    /// There is no password that the press could set.
    NoPassword(String),
    /// The intent could not be kept, so nothing was done.
    Intent(FileError),
    /// The account files could not be read or written.
    Accounts(AccountsError),
    /// The account files failed under the press, and what they say of the account can't be read.
    Unknown(AccountsError),
    /// Somebody has set a password since, and whether it is the default one can't be told now.
    Undecided(String),
    /// The record of the last press can't be read now.
    Record(FileError),
    /// `recovered` could not be removed.
    Publish(FileError),
}

impl fmt::Display for RecoveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { key, value } => write!(f, "{key} = {value:?} is not possible; choose another"),
            Self::InDoubt(why) => {
                write!(f, "it is in doubt which account is meant; until that is mended nothing is done but to end an open window: {why}")
            }
            Self::Intent(error) => write!(f, "nothing was done: {error}"),
            Self::Accounts(error) => error.fmt(f),
            Self::Unknown(error) => write!(f, "whether the account is on can't be told: {error}"),
            Self::NoPassword(reason) => f.write_str(reason),
            Self::Undecided(reason) => write!(f, "whether the password set since the press is the default one can't be told: {reason}"),
            Self::Record(error) => write!(f, "what the last press has done is not known: {error}"),
            Self::Publish(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RecoveryError {}

impl From<AccountsError> for RecoveryError {
    fn from(error: AccountsError) -> Self {
        Self::Accounts(error)
    }
}

/// What `recovered` holds: which account PAM admits when the engine cannot decide, and until when.
#[derive(Debug, Serialize, Deserialize)]
pub struct Published {
    /// The account.
    pub account: String,
    /// Milliseconds since boot (CLOCK_BOOTTIME).
    pub until_boot_ms: u64,
}
