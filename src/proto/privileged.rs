//! What engine and supervisor may say to each other: a closed list, one NUL-ended JSON object a message.
//!
//! ```text
//! supervisor                          engine
//!     │ Order::Start ───────────────────► │   once, first
//!     │ ◄─────────────────── Notice::Ready │   once, when the socket is served
//!     │ Order::Ping ────────────────────► │   at each tick of the watchdog
//!     │ ◄─────────────────── Notice::Alive │   once for each Ping
//!     │ Order::Recovered, RecoveryOver ─► │   as they happen
//! ```
//!
//! The supervisor treats every byte from the engine as hostile: an unknown, oversized, repeated or out-of-state message ends the engine
//! ([`Ledger`]). The engine learns neither the default password nor any hash.

use std::fmt;
use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::frame::{self, Inbox, Outbox};

/// The argument that makes `twostepd` the engine.
pub const ENGINE_ARGUMENT: &str = "engine";

/// What the supervisor tells the engine.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// The first message.
    Start {
        /// The checked configuration and the paths (`config::Handover`).
        handover: Value,
        /// The account that the button brought back and that has not been turned off since.
        recovered: Option<String>,
    },
    /// The button brought this account back: its second step is off, its enforcement suspended, its counters cleared (Q28).
    Recovered {
        /// The account.
        account: String,
    },
    /// The account is off again: its enforcement counts again.
    RecoveryOver {
        /// The account.
        account: String,
    },
    /// Answer [`Notice::Alive`], or be replaced.
    Ping {},
}

/// What the engine tells the supervisor.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    /// The socket is served.
    Ready {},
    /// The answer to [`Order::Ping`].
    Alive {},
}

/// One end of the socketpair between engine and supervisor.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    inbox: Inbox,
}

/// Why nothing more can be read from a [`Channel`].
#[derive(Debug)]
pub enum Broken {
    /// What came is no frame.
    Frame(frame::Error),
    /// What came is no message of the closed list.
    Unknown,
    /// The kernel's word.
    Io(io::Error),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(e) => e.fmt(f),
            Self::Unknown => f.write_str("an unknown message"),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Broken {}

impl Channel {
    /// Takes one end over; it must be non-blocking.
    ///
    /// # Errors
    /// Where the runtime can't watch it.
    pub fn new(end: std::os::unix::net::UnixStream) -> io::Result<Self> {
        Ok(Self { stream: UnixStream::from_std(end)?, inbox: Inbox::new() })
    }

    /// The next message, or `None` where the other end is closed. Nothing is lost where the future is dropped early.
    ///
    /// # Errors
    /// Where the channel can't be used any more; see [`Broken`].
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Broken> {
        loop {
            if let Some(frame) = self.inbox.take().map_err(Broken::Frame)? {
                return serde_json::from_str(&frame).map(Some).map_err(|_| Broken::Unknown);
            }
            let space = self.inbox.space().map_err(Broken::Frame)?;
            match self.stream.read(space).await.map_err(Broken::Io)? {
                0 => return Ok(None),
                count => self.inbox.filled(count),
            }
        }
    }

    /// Sends one message whole.
    ///
    /// # Errors
    /// As the socket's.
    pub async fn send(&mut self, message: &impl Serialize) -> io::Result<()> {
        let mut outbox = Outbox::new();
        outbox.put(message).map_err(io::Error::other)?;
        self.stream.write_all(outbox.bytes()).await
    }
}

/// What the engine may say at this moment.
#[derive(Debug, Default)]
pub struct Ledger {
    ready: bool,
    pings: u32,
}

/// The engine said what it may not say now.
#[derive(Debug, PartialEq, Eq)]
pub struct OutOfTurn(&'static str);

impl fmt::Display for OutOfTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for OutOfTurn {}

impl Ledger {
    /// Notes a ping sent. False where the last one is still unanswered: the engine hangs.
    #[must_use]
    pub fn ping(&mut self) -> bool {
        self.pings += 1;
        self.pings == 1
    }

    /// Whether `notice` may come now; each serves once.
    ///
    /// # Errors
    /// Where it may not: the engine is to be ended.
    pub fn admit(&mut self, notice: &Notice) -> Result<(), OutOfTurn> {
        match notice {
            Notice::Ready {} if self.ready => Err(OutOfTurn("ready said twice")),
            Notice::Ready {} => {
                self.ready = true;
                Ok(())
            }
            Notice::Alive {} if self.pings == 0 => Err(OutOfTurn("alive said without being asked")),
            Notice::Alive {} => {
                self.pings = 0;
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_notice_serves_once_and_in_its_turn() {
        let mut ledger = Ledger::default();
        assert!(ledger.admit(&Notice::Alive {}).is_err());
        assert!(ledger.admit(&Notice::Ready {}).is_ok());
        assert!(ledger.admit(&Notice::Ready {}).is_err());
        assert!(ledger.ping());
        assert!(ledger.admit(&Notice::Alive {}).is_ok());
        assert!(ledger.admit(&Notice::Alive {}).is_err());
    }

    #[test]
    fn an_unanswered_ping_tells_that_the_engine_hangs() {
        let mut ledger = Ledger::default();
        assert!(ledger.ping());
        assert!(!ledger.ping());
    }

    #[test]
    fn an_unknown_notice_or_field_is_no_notice() {
        for text in [r#"{"undo_press":{}}"#, r#"{"ready":{"root":true}}"#, r#""ready""#, "[]", "null"] {
            assert!(serde_json::from_str::<Notice>(text).is_err(), "{text}");
        }
    }
}
