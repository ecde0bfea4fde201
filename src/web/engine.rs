//! The way to the engine: calls on connections of their own, and whether the engine is there.
//!
//! A small asynchronous Varlink client. Each call has a fresh connection: on a Unix socket that costs some ten microseconds, and no pool has to
//! find out which of its connections outlived a restart of the engine.
//!
//! ```text
//!         Carry was answered
//!   away ────────────────────► carrying        away: calls are refused at once
//!    ▲                            │            carrying: calls are made
//!    └── that connection ended ◄──┘
//! ```
//! While it is away, [`Engine::carry`] mostly waits inside its call: the supervisor keeps the listening socket, so a restarting engine finds the
//! call in the backlog. Only a socket that nobody listens on is tried again and again. Carrying costs no timer.
//!
//! What this does not do: read what a call or a reply says.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use crate::proto::authenticator::{self, Carrying};
use crate::proto::frame::{self, Inbox, Outbox};
use crate::proto::varlink::{Call, Empty, Response};

/// Calls under way at once; others wait for their turn.
const AT_ONCE: usize = 64;

/// How long a call may take, its turn included.
const CALL_TIME: Duration = Duration::from_secs(10);

/// The first and the longest wait between two attempts to reach an engine that is away.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// The wait after the engine has refused to be carried for, which only an administrator can change.
const REFUSED: Duration = Duration::from_secs(30);

/// Why a call has no reply.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens, or the connection failed.
    Io(io::Error),
    /// The engine closed the connection.
    Closed,
    /// It did not answer in time.
    TimedOut,
    /// The call fits no frame, or what came is none, or no reply.
    Protocol(&'static str),
    /// It answered with an error.
    Service {
        /// Its full name.
        name: String,
        /// Its parameters: JSON text.
        parameters: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Closed => f.write_str("it closed the connection"),
            Self::TimedOut => f.write_str("it did not answer in time"),
            Self::Protocol(what) => f.write_str(what),
            // Parameters are for the phone alone.
            Self::Service { name, .. } => f.write_str(name),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<frame::Error> for Failure {
    fn from(_: frame::Error) -> Self {
        Self::Protocol("a frame is too long, too deep or no text")
    }
}

/// One reply.
pub struct Answer {
    /// JSON text, an object. It may hold a code, so it is wiped; the buffers of HTTP and TLS on its way out are not.
    pub parameters: Zeroizing<String>,
    /// Another one follows.
    pub continues: bool,
}

/// One connection, for one call.
pub struct Connection {
    socket: UnixStream,
    inbox: Inbox,
}

impl Connection {
    async fn call(socket: &Path, method: &str, parameters: &impl Serialize, more: bool) -> Result<Self, Failure> {
        let mut outbox = Outbox::new();
        outbox.put(&Call { method, parameters, oneway: false, more })?;
        let mut socket = UnixStream::connect(socket).await?;
        socket.write_all(outbox.bytes()).await?;
        Ok(Self { socket, inbox: Inbox::new() })
    }

    /// The next reply. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// See [`Failure`]; after any the connection is of no more use.
    pub async fn receive(&mut self) -> Result<Answer, Failure> {
        while !self.inbox.has_frame() {
            match self.socket.read(self.inbox.space()?).await? {
                0 => return Err(Failure::Closed),
                count => self.inbox.filled(count),
            }
        }
        let Some(frame) = self.inbox.take()? else { return Err(Failure::Closed) };
        let response = Response::read(&frame).ok_or(Failure::Protocol("what came is no reply"))?;
        let parameters = response.parameters.map_or("{}", RawValue::get);
        match response.error {
            None => Ok(Answer { parameters: Zeroizing::new(parameters.to_owned()), continues: response.continues }),
            Some(name) => Err(Failure::Service { name: name.into_owned(), parameters: parameters.to_owned() }),
        }
    }
}

/// The engine behind its socket.
pub struct Engine {
    socket: PathBuf,
    carrying: AtomicBool,
    turns: Semaphore,
}

impl Engine {
    /// Behind the socket at this path; away until [`carry`](Self::carry) says otherwise.
    #[must_use]
    pub fn new(socket: PathBuf) -> Arc<Self> {
        Arc::new(Self { socket, carrying: AtomicBool::new(false), turns: Semaphore::new(AT_ONCE) })
    }

    /// Whether the engine is there and lets us carry.
    #[must_use]
    pub fn is_carrying(&self) -> bool {
        self.carrying.load(Ordering::Relaxed)
    }

    /// One call of io.twostep.Authenticator: the reply's parameters as JSON text.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn call(&self, method: &str, parameters: &RawValue) -> Result<Zeroizing<String>, Failure> {
        let (_, answer) = self.first(method, parameters, false).await?;
        Ok(answer.parameters)
    }

    /// One call whose replies go on: the connection, and the first of them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn stream(&self, method: &str, parameters: &RawValue) -> Result<(Connection, Answer), Failure> {
        self.first(method, parameters, true).await
    }

    async fn first(&self, method: &str, parameters: &RawValue, more: bool) -> Result<(Connection, Answer), Failure> {
        let method = format!("{}.{method}", authenticator::NAME);
        let answered = async {
            let _turn = self.turns.acquire().await.map_err(|_| Failure::Closed)?;
            let mut connection = Connection::call(&self.socket, &method, &parameters, more).await?;
            let answer = connection.receive().await?;
            Ok((connection, answer))
        };
        timeout(CALL_TIME, answered).await.unwrap_or(Err(Failure::TimedOut))
    }

    /// Tells the engine that phones can be reached, as long as this is polled, and again whenever it was away. `address` is what phones open.
    pub async fn carry(&self, address: &str) -> Infallible {
        let (mut wait, mut told) = (WAITS.0, String::new());
        loop {
            let (was_carrying, failure) = self.hold(address).await;
            self.carrying.store(false, Ordering::Relaxed);
            let reason = failure.to_string();
            if was_carrying || reason != told {
                log::warn!("the engine of twostepd is away, phones are told to try again: {reason}{}", way_out(&failure));
                told = reason;
            }
            wait = if was_carrying { WAITS.0 } else { (wait * 2).min(WAITS.1) };
            sleep(if matches!(failure, Failure::Service { .. }) { REFUSED } else { wait }).await;
        }
    }

    /// Carries until the engine goes away: whether it was there, and why it no longer is.
    async fn hold(&self, address: &str) -> (bool, Failure) {
        let mut connection = match self.begin(address).await {
            Ok(connection) => connection,
            Err(failure) => return (false, failure),
        };
        self.carrying.store(true, Ordering::Relaxed);
        log::info!("phones are carried for at {address}");
        loop {
            match connection.receive().await {
                Ok(Answer { continues: true, .. }) => {}
                Ok(_) => return (true, Failure::Closed),
                Err(failure) => return (true, failure),
            }
        }
    }

    async fn begin(&self, address: &str) -> Result<Connection, Failure> {
        let method = format!("{}.Carry", authenticator::NAME);
        let mut connection = Connection::call(&self.socket, &method, &Empty {}, true).await?;
        let answer = connection.receive().await?;
        let carrying: Carrying =
            serde_json::from_str(&answer.parameters).map_err(|_| Failure::Protocol("its reply to Carry has no address"))?;
        if !answer.continues {
            return Err(Failure::Protocol("its reply to Carry does not go on"));
        }
        if carrying.address != address {
            log::warn!("twostepd still has phone.address = \"{}\": restart it too", carrying.address);
        }
        Ok(connection)
    }
}

/// What an operator can do about it, where that is known.
fn way_out(failure: &Failure) -> &'static str {
    let Failure::Service { name, .. } = failure else { return "" };
    match name.rsplit('.').next() {
        Some("PermissionDenied") => " (name this user in grant.authenticator, and restart twostepd)",
        Some("NoAddress") => " (twostepd was started before phone.address was set: restart it)",
        Some("InterfaceNotFound" | "MethodNotFound") => " (twostepd is of another version)",
        _ => "",
    }
}
