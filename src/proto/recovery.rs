//! The interface io.twostep.Recovery: the reset button and the account it brings back.
//!
//! Types only, as in the .varlink file beside this one; the supervisor answers them.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::varlink::Empty;
use crate::core::peer::Peer;
use crate::core::time::Wall;

/// The interface's full name.
pub const NAME: &str = "io.twostep.Recovery";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.twostep.Recovery.varlink");

/// Who may call besides root: the user who runs the demo. In service it is root itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner(pub u32);

/// Every method of the interface is for root, and for the owner.
///
/// # Errors
/// [`Error::PermissionDenied`]
pub fn authorise(peer: &Peer, owner: Owner) -> Result<(), Error> {
    if peer.is_root() || peer.uid == owner.0 { Ok(()) } else { Err(Error::PermissionDenied {}) }
}

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Call {
    /// What the button and the account are like now.
    Status {},
    /// With `more`: what the button does, as it does it.
    Monitor {},
    /// The default password that a press would set.
    ShowDefaultPassword {},
    /// Turns the account off.
    DisableAccount {},
    /// Presses the button of a simulated board.
    Press {
        /// How long it is held, in milliseconds.
        hold_ms: u64,
    },
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Status`.
    Status(Status),
    /// To `Monitor`.
    Monitor(Event),
    /// To `ShowDefaultPassword`.
    DefaultPassword(DefaultPassword),
    /// To `DisableAccount`.
    Done(Empty),
    /// To `Press`.
    Pressed(Pressed),
}

impl Reply {
    /// To `DisableAccount`.
    pub const DONE: Self = Self::Done(Empty {});
}

/// What the button and the account are like now. Neither the address nor the password is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The board profile's name.
    pub board: String,
    /// What is wrong with the configuration file, a line each (`file:line: text`), and what follows from it; absent where it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub configuration: Option<String>,
    /// Whether a press would fire.
    pub armed: bool,
    /// Why it is not, and the way out, a line each; absent where it is armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The hold that fires, in milliseconds.
    pub hold_ms: u64,
    /// The button's sources.
    pub sources: Vec<Source>,
    /// Where the default password's address comes from; absent where there is none, or where the password is not made from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<Adapter>,
    /// The account that a press brings back.
    pub account: Account,
    /// The last press that fired; absent where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Press>,
}

/// One source of edges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name in the board profile.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
    /// What it does now.
    pub state: SourceState,
}

/// See [`Source::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// An input device.
    Input,
    /// A line of a GPIO chip.
    Gpio,
    /// Pressed by `Press` alone.
    Simulated,
}

/// See [`Source::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceState {
    /// Released, and watched.
    Ready,
    /// Pressed.
    Held,
    /// Held for too long: nothing more happens until it was released.
    Stuck,
    /// The device is not there.
    Missing,
}

/// The first network adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adapter {
    /// The interface's name.
    pub interface: String,
    /// Why it is the first.
    pub origin: String,
}

/// The account that a press brings back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Its name. While the configuration leaves in doubt which account it is, that of the last press; empty where there was none yet.
    pub name: String,
    /// What it is like now.
    pub state: AccountState,
    /// When the button's window ends; only where `state` is `recovered`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
}

/// See [`Account::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// There is none of that name.
    Missing,
    /// Nobody can log in.
    Disabled,
    /// Enabled by somebody.
    Active,
    /// Enabled by the button.
    Recovered,
}

/// A press that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Press {
    /// When.
    pub at: Wall,
    /// The source's name.
    pub source: String,
    /// What came of it.
    pub outcome: String,
    /// Whether it was refused, or nobody can tell yet what came of it; absent where it was not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed: bool,
}

/// What a press of a simulated button did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressed {
    /// The press, carried out or refused; absent where it did not fire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Press>,
}

/// What the button did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// What it did.
    pub event: EventKind,
    /// The source's name.
    pub source: String,
    /// How long it has been held, in milliseconds.
    pub held_ms: u64,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// See [`Event::event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// A hold began.
    Pressed,
    /// Another second of a hold.
    Holding,
    /// The hold was long enough: the account is brought back.
    Fired,
    /// A hold ended.
    Released,
    /// A press that could not fire; `detail` says why.
    Ignored,
    /// Held for too long.
    Stuck,
    /// The device went away.
    Missing,
    /// The device is there and released.
    Ready,
}

/// The default password that a press would set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultPassword {
    /// The password.
    pub password: Secret,
    /// The interface whose address it is made from; absent where it is from a file or the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Where it comes from.
    pub origin: String,
}

/// An error of this interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// The caller is not root.
    #[serde(rename = "io.twostep.Recovery.PermissionDenied")]
    PermissionDenied {},
    /// `Press` on a board with a real button.
    #[serde(rename = "io.twostep.Recovery.NotSimulated")]
    NotSimulated {},
    /// No adapter has an address that a sticker could show.
    #[serde(rename = "io.twostep.Recovery.NoStableAddress")]
    NoStableAddress {
        /// Why, for people.
        reason: String,
    },
    /// The account files could not be read or written.
    #[serde(rename = "io.twostep.Recovery.AccountsFailed")]
    AccountsFailed {
        /// Why, for people.
        reason: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer { pid: 1, uid, gid: 0, groups: vec![0] }
    }

    #[test]
    fn only_root_may_call_in_service() {
        assert_eq!(authorise(&peer(0), Owner(0)), Ok(()));
        assert_eq!(authorise(&peer(1000), Owner(0)), Err(Error::PermissionDenied {}));
    }

    #[test]
    fn the_one_who_runs_the_demo_may_call_as_well() {
        assert_eq!(authorise(&peer(0), Owner(1000)), Ok(()));
        assert_eq!(authorise(&peer(1000), Owner(1000)), Ok(()));
        assert_eq!(authorise(&peer(1001), Owner(1000)), Err(Error::PermissionDenied {}));
    }
}
