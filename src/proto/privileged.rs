//! What engine and supervisor may say to each other: a closed list, one NUL-ended JSON object a message.
//!
//! ```text
//! supervisor                          engine
//!     │ Order::Start ───────────────────► │   once, first
//!     │ ◄─────────────────── Notice::Ready │   once, when the socket is served
//!     │ Order::Ping ────────────────────► │   at each tick of the watchdog
//!     │ ◄─────────────────── Notice::Alive │   once for each Ping
//!     │ Order::Recovered, RecoveryOver ─► │   as they happen
//!     │ ◄─────────── Notice::CheckPassword │   at most OPEN_CHECKS unanswered, each with a number never used before
//!     │ Order::PasswordChecked ─────────► │   once for each
//!     │ ◄──────────────── Notice::AskClock │   one unanswered
//!     │ Order::ClockTold ───────────────► │   once for each
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
use super::secret::Secret;

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
        /// The sealing key, in hexadecimal digits; absent where there is none for this database.
        key: Option<Secret>,
        /// The password for the mail server; absent where none is wanted, or it can't be read.
        mail_password: Option<Secret>,
        /// The account that the button brought back and that has not been turned off since.
        recovered: Option<Recovered>,
    },
    /// The button brought this account back: its second step is off, its enforcement suspended, its counters cleared (Q28).
    Recovered(Recovered),
    /// The account is off again: its enforcement counts again.
    RecoveryOver {
        /// The account.
        account: String,
    },
    /// Answer [`Notice::Alive`], or be replaced.
    Ping {},
    /// What a [`Notice::CheckPassword`] came to.
    PasswordChecked {
        /// Its number.
        id: u64,
        /// What it came to.
        outcome: PasswordOutcome,
    },
    /// The answer to [`Notice::AskClock`].
    ClockTold {
        /// Whether the wall clock is known to be synchronised.
        synchronised: bool,
    },
}

/// What the button brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recovered {
    /// The account.
    pub account: String,
    /// The number of the press: one that was told already changes nothing.
    pub press: i64,
}

/// What a password check came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PasswordOutcome {
    /// The password is the account's.
    Accepted {},
    /// It is not; the next one is looked at after so many seconds, where it is not at once.
    Wrong {
        /// At least 1.
        retry_after: Option<u64>,
    },
    /// It was not looked at: too many wrong ones before.
    Waiting {
        /// At least 1.
        retry_after: u64,
    },
    /// Nothing was decided.
    Unavailable {
        /// For the log and for people.
        reason: String,
    },
}

/// What the engine tells the supervisor.
#[derive(Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Notice {
    /// The socket is served.
    Ready {},
    /// The answer to [`Order::Ping`].
    Alive {},
    /// Is this the account's password?
    CheckPassword {
        /// Larger than that of every check before.
        id: u64,
        /// At most [`ACCOUNT_CAP`] bytes.
        account: String,
        /// At most [`PASSWORD_CAP`] bytes.
        password: Secret,
    },
    /// Is the wall clock synchronised? One question may be open.
    AskClock {},
}

/// How many password checks of an engine may be unanswered.
pub const OPEN_CHECKS: usize = 8;

/// The longest account name in bytes: what useradd and domain controllers allow.
pub const ACCOUNT_CAP: usize = 256;

/// The longest password in bytes: PAM_MAX_RESP_SIZE.
pub const PASSWORD_CAP: usize = 512;

/// Whether a text can be an account's name: neither a field of passwd nor a path nor an option can be broken out of.
#[must_use]
pub fn is_account(name: &str) -> bool {
    let odd = |c: char| c.is_control() || matches!(c, ':' | '/' | ',');
    !name.is_empty() && name.len() <= ACCOUNT_CAP && !name.starts_with(['-', '+']) && !name.contains(odd)
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
    last_check: u64,
    open_checks: usize,
    clock_asked: bool,
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

    /// Notes what `order` answers, if it is an answer.
    pub fn answered(&mut self, order: &Order) {
        match order {
            Order::PasswordChecked { .. } => self.open_checks = self.open_checks.saturating_sub(1),
            Order::ClockTold { .. } => self.clock_asked = false,
            Order::Start { .. } | Order::Recovered(_) | Order::RecoveryOver { .. } | Order::Ping {} => {}
        }
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
            Notice::CheckPassword { id, account, password } => {
                let fits = is_account(account) && password.expose().len() <= PASSWORD_CAP && !password.expose().contains('\0');
                if !self.ready || *id <= self.last_check || self.open_checks >= OPEN_CHECKS || !fits {
                    return Err(OutOfTurn("a password check that may not be asked"));
                }
                self.last_check = *id;
                self.open_checks += 1;
                Ok(())
            }
            Notice::AskClock {} if !self.ready || self.clock_asked => Err(OutOfTurn("a question about the clock that may not be asked")),
            Notice::AskClock {} => {
                self.clock_asked = true;
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

    fn check(id: u64, account: &str, password: &str) -> Notice {
        Notice::CheckPassword { id, account: account.into(), password: Secret::new(password.into()) }
    }

    #[test]
    fn a_password_check_needs_a_new_number_a_free_place_and_a_name_that_can_be_one() {
        let mut ledger = Ledger::default();
        assert!(ledger.admit(&check(1, "alice", "a")).is_err(), "before ready");
        ledger.admit(&Notice::Ready {}).unwrap();
        for id in 1..=OPEN_CHECKS as u64 {
            ledger.admit(&check(id, "alice", "a")).unwrap();
        }
        assert!(ledger.admit(&check(99, "alice", "a")).is_err(), "too many at once");
        ledger.answered(&Order::Ping {});
        assert!(ledger.admit(&check(99, "alice", "a")).is_err(), "still too many");
        ledger.answered(&Order::PasswordChecked { id: 1, outcome: PasswordOutcome::Accepted {} });
        assert!(ledger.admit(&check(3, "alice", "a")).is_err(), "a number used before");
        for name in ["", "a:b", "../x", "-x", "a\nb", &"x".repeat(ACCOUNT_CAP + 1)] {
            assert!(ledger.admit(&check(100, name, "a")).is_err(), "{name:?}");
        }
        assert!(ledger.admit(&check(100, "alice", &"x".repeat(PASSWORD_CAP + 1))).is_err());
        assert!(ledger.admit(&check(100, "DOMAIN\\alice", "a")).is_ok());
    }

    #[test]
    fn the_clock_is_asked_about_once_at_a_time() {
        let mut ledger = Ledger::default();
        assert!(ledger.admit(&Notice::AskClock {}).is_err(), "before ready");
        ledger.admit(&Notice::Ready {}).unwrap();
        ledger.admit(&Notice::AskClock {}).unwrap();
        ledger.answered(&Order::PasswordChecked { id: 1, outcome: PasswordOutcome::Accepted {} });
        assert!(ledger.admit(&Notice::AskClock {}).is_err(), "the first is still open");
        ledger.answered(&Order::ClockTold { synchronised: true });
        ledger.admit(&Notice::AskClock {}).unwrap();
    }

    #[test]
    fn an_unknown_notice_or_field_is_no_notice() {
        for text in [r#"{"undo_press":{}}"#, r#"{"ready":{"root":true}}"#, r#""ready""#, "[]", "null"] {
            assert!(serde_json::from_str::<Notice>(text).is_err(), "{text}");
        }
    }
}
