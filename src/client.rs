//! A blocking Varlink client, for the CLI, PAM and tests.
//!
//! One call at a time; a reply is awaited no longer than the time limit, however it comes. It raises no SIGPIPE, so it can live in a process that it does not
//! own. What it does not do: reconnect, run several calls at once, read interface descriptions.
//!
//! ```no_run
//! use std::{path::Path, time::Duration};
//! use twostep_base::client::Client;
//! use twostep_base::proto::recovery::{Event, Status};
//! use twostep_base::proto::varlink::Empty;
//!
//! # fn main() -> Result<(), twostep_base::client::Error> {
//! let mut client = Client::connect(Path::new("/run/twostep/recovery.sock"), Duration::from_secs(5))?;
//! let status: Status = client.call("io.twostep.Recovery.Status", &Empty {})?;
//! println!("{}", status.board);
//! client.set_time_limit(None)?;
//! for event in client.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {})? {
//!     println!("{:?}", event?);
//! }
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, UnixAddr, connect, send, setsockopt, socket, sockopt};
use nix::sys::time::{TimeVal, TimeValLike};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::proto::frame::{self, Inbox, Outbox};
use crate::proto::varlink::{Call, Response};
use crate::sys::{clock, peer};

/// Why a call has no reply.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens there, or nobody accepted in time.
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The server at that socket is run by this uid, and root was asked for.
    NotRoot {
        /// Who runs it.
        uid: u32,
    },
    /// The service did not answer within the time limit.
    TimedOut,
    /// What [`Client::interrupted_by`] named has become readable before the service answered.
    Interrupted,
    /// The service closed the connection before it answered.
    Closed,
    /// The connection failed.
    Io(io::Error),
    /// The call is too long for a frame.
    Frame(frame::Error),
    /// What came is no Varlink reply, or none of the expected form.
    Protocol(String),
    /// The service answered with an error.
    Service(ServiceFailure),
}

/// An error that a service answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceFailure {
    /// Its full name: interface, dot, error.
    pub name: String,
    /// Its parameters: an object.
    pub parameters: Value,
}

impl ServiceFailure {
    /// The error as one of an interface's errors (`proto::*::Error`), or `None` where it is none of them.
    #[must_use]
    pub fn typed<E: DeserializeOwned>(&self) -> Option<E> {
        let tagged = serde_json::json!({ "error": self.name, "parameters": self.parameters });
        serde_json::from_value(tagged).ok()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { path, source } => write!(f, "can't connect to {}: {source} (is twostepd running?)", path.display()),
            Self::NotRoot { uid } => write!(f, "the service is run by uid {uid}, not by root: it is not to be trusted"),
            Self::TimedOut => f.write_str("the service did not answer in time"),
            Self::Interrupted => f.write_str("the service was not waited for any longer"),
            Self::Closed => f.write_str("the service closed the connection without an answer"),
            Self::Io(error) => write!(f, "the connection to the service failed: {error}"),
            Self::Frame(error) => write!(f, "the call can't be sent: {error}"),
            Self::Protocol(what) => write!(f, "the service answered with what is no reply: {what}"),
            Self::Service(failure) => failure.fmt(f),
        }
    }
}

impl fmt::Display for ServiceFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match &self.parameters {
            Value::Object(members) if !members.is_empty() => write!(f, " {}", self.parameters),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } => Some(source),
            Self::Io(error) => Some(error),
            Self::Frame(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // What a socket with SO_SNDTIMEO says when the time is over.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// One connection to a service.
#[derive(Debug)]
pub struct Client {
    socket: UnixStream,
    inbox: Inbox,
    outbox: Outbox,
    /// Replies of an earlier call are still to come, or the connection failed: no other call may be made.
    spent: bool,
    limit: Option<Duration>,
    interrupt: Option<OwnedFd>,
}

impl Client {
    /// Connects to the service at `path`. `limit` holds for connecting, and until changed for each call.
    ///
    /// # Errors
    /// [`Error::Connect`]
    pub fn connect(path: &Path, limit: Duration) -> Result<Self, Error> {
        let connected = connect_within(path, limit);
        let socket = connected.map_err(|source| Error::Connect { path: path.into(), source })?;
        let mut client = Self::over(socket);
        // `connect_within` has set it.
        client.limit = Some(limit).filter(|limit| !limit.is_zero());
        Ok(client)
    }

    /// Over a socket that is connected already, without a time limit.
    #[must_use]
    pub fn over(socket: UnixStream) -> Self {
        Self { socket, inbox: Inbox::new(), outbox: Outbox::new(), spent: false, limit: None, interrupt: None }
    }

    /// How long each sending and each reply may take from now on; `None` and zero are for ever.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn set_time_limit(&mut self, limit: Option<Duration>) -> Result<(), Error> {
        let limit = limit.filter(|limit| !limit.is_zero());
        if limit != self.limit {
            self.socket.set_write_timeout(limit)?;
            self.limit = limit;
        }
        Ok(())
    }

    /// Gives a reply up as soon as there is something to read from `descriptor`, which is left unread.
    #[must_use]
    pub fn interrupted_by(self, descriptor: OwnedFd) -> Self {
        Self { interrupt: Some(descriptor), ..self }
    }

    /// Refuses a service that is not run by root. Before a password is sent, where the socket's folder does not vouch for it.
    ///
    /// The kernel tells who called listen(2): the supervisor, also where the engine answers.
    ///
    /// # Errors
    /// [`Error::NotRoot`]
    pub fn require_root(&self) -> Result<(), Error> {
        match self.run_by()? {
            0 => Ok(()),
            uid => Err(Error::NotRoot { uid }),
        }
    }

    /// The uid that the service is run by; see [`require_root`](Self::require_root).
    ///
    /// # Errors
    /// Where the kernel does not tell.
    pub fn run_by(&self) -> Result<u32, Error> {
        Ok(peer::uid(self.socket.as_fd())?)
    }

    /// Calls `method` (its full name) and waits for the reply. `parameters` is a struct, or [`Empty`](crate::proto::varlink::Empty).
    ///
    /// # Errors
    /// [`Error::Service`] where the service answers with an error; the client can be used on then. After any other it is spent.
    pub fn call<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize) -> Result<R, Error> {
        self.send(&Call { method, parameters, oneway: false, more: false })?;
        let (reply, continues) = self.receive()?;
        if continues { Err(Error::Protocol("several replies to a call that asked for one".into())) } else { Ok(reply) }
    }

    /// Calls `method` and hands the reply as it came to `read`: the error's full name, if it is an error, and the parameters, as JSON text.
    /// For a program that wants one form for all replies; [`call`](Self::call) brings a reader for each.
    ///
    /// # Errors
    /// As with [`call`](Self::call), but none of the service's; [`Error::Protocol`] where `read` makes nothing of the reply.
    pub fn call_raw<T>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
        read: impl FnOnce(Option<&str>, &str) -> Option<T>,
    ) -> Result<T, Error> {
        self.send(&Call { method, parameters, oneway: false, more: false })?;
        let (reply, continues) = self.take(|error, parameters| read(error, parameters).ok_or_else(unexpected))?;
        self.spent = continues;
        if continues { Err(Error::Protocol("several replies to a call that asked for one".into())) } else { Ok(reply) }
    }

    /// The same with `more`: hands out the last reply; where none has followed within the time limit, the latest, and the client is spent then.
    ///
    /// # Errors
    /// As with [`call_raw`](Self::call_raw); [`Error::TimedOut`] where there was no reply at all.
    pub fn call_raw_more<T>(
        &mut self,
        method: &str,
        parameters: &impl Serialize,
        read: impl Fn(Option<&str>, &str) -> Option<T>,
    ) -> Result<T, Error> {
        self.send(&Call { method, parameters, oneway: false, more: true })?;
        let mut latest = None;
        loop {
            match self.take(|error, parameters| read(error, parameters).ok_or_else(unexpected)) {
                Ok((reply, true)) => latest = Some(reply),
                Ok((reply, false)) => {
                    self.spent = false;
                    return Ok(reply);
                }
                Err(Error::TimedOut) => return latest.ok_or(Error::TimedOut),
                Err(error) => return Err(error),
            }
        }
    }

    /// Calls `method` and returns its replies as they come; each is awaited for the time limit. Until the last has been taken, no other call
    /// can be made.
    ///
    /// # Errors
    /// As with [`call`](Self::call).
    pub fn call_more<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize) -> Result<Stream<'_, R>, Error> {
        self.send(&Call { method, parameters, oneway: false, more: true })?;
        Ok(Stream { client: self, ended: false, reply: PhantomData })
    }

    /// Calls `method` and wants no reply.
    ///
    /// # Errors
    /// Where it can't be sent.
    pub fn call_oneway(&mut self, method: &str, parameters: &impl Serialize) -> Result<(), Error> {
        self.send(&Call { method, parameters, oneway: true, more: false })?;
        self.spent = false;
        Ok(())
    }

    fn send<P: Serialize>(&mut self, call: &Call<'_, P>) -> Result<(), Error> {
        if self.spent {
            return Err(Error::Protocol("an earlier call has not ended".into()));
        }
        self.outbox.put(call).map_err(Error::Frame)?;
        self.spent = true;
        let sent = send_all(&self.socket, self.outbox.bytes());
        self.outbox.clear();
        Ok(sent?)
    }

    fn receive<R: DeserializeOwned>(&mut self) -> Result<(R, bool), Error> {
        let (reply, continues) = self.take(|error, parameters| match error {
            None => serde_json::from_str(parameters).map(Ok).map_err(|e| misfit(&e)),
            Some(name) => {
                let parameters = serde_json::from_str(parameters).map_err(|e| misfit(&e))?;
                Ok(Err(ServiceFailure { name: name.to_owned(), parameters }))
            }
        })?;
        self.spent = continues && reply.is_ok();
        Ok((reply.map_err(Error::Service)?, continues))
    }

    /// Waits for a reply and has it read, with its error's name and its parameters; tells whether others follow.
    fn take<T>(&mut self, read: impl FnOnce(Option<&str>, &str) -> Result<T, Error>) -> Result<(T, bool), Error> {
        self.await_frame()?;
        let Some(frame) = self.inbox.take().map_err(no_reply)? else { return Err(Error::Closed) };
        let response = Response::read(&frame).ok_or_else(|| Error::Protocol("no object, or one with wrong members".into()))?;
        let parameters = response.parameters.map_or("{}", |raw| raw.get());
        Ok((read(response.error.as_deref(), parameters)?, response.continues))
    }

    fn await_frame(&mut self) -> Result<(), Error> {
        let began = clock::monotonic();
        while !self.inbox.has_frame() {
            self.await_bytes(|| clock::monotonic() - began)?;
            match self.socket.read(self.inbox.space().map_err(no_reply)?) {
                Ok(0) => return Err(Error::Closed),
                Ok(count) => self.inbox.filled(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Waits until there is something to read, or the end. `waited` tells for how long so far. A time limit of the socket's own (SO_RCVTIMEO) would
    /// not hear of an interrupt, and begins anew with each byte and each signal that the process handles.
    fn await_bytes(&self, waited: impl Fn() -> Duration) -> Result<(), Error> {
        // In whole milliseconds, of which the last one counts.
        let left =
            |limit: Duration| PollTimeout::try_from(limit.saturating_sub(waited()).as_micros().div_ceil(1000)).unwrap_or(PollTimeout::MAX);
        let interrupt = self.interrupt.as_ref().map_or(self.socket.as_fd(), OwnedFd::as_fd);
        let mut both = [self.socket.as_fd(), interrupt].map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
        let asked = if self.interrupt.is_some() { &mut both[..] } else { &mut both[..1] };
        loop {
            match poll(asked, self.limit.map_or(PollTimeout::NONE, left)) {
                Ok(0) => return Err(Error::TimedOut),
                Ok(_) if asked.get(1).is_some_and(|interrupt| interrupt.any() == Some(true)) => return Err(Error::Interrupted),
                Ok(_) => return Ok(()),
                Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

/// The replies of a call with `more`. Ends after the last reply, or the first error.
#[derive(Debug)]
pub struct Stream<'a, R> {
    client: &'a mut Client,
    ended: bool,
    reply: PhantomData<R>,
}

impl<R: DeserializeOwned> Iterator for Stream<'_, R> {
    type Item = Result<R, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let received = self.client.receive();
        self.ended = !matches!(received, Ok((_, true)));
        Some(received.map(|(reply, _)| reply))
    }
}

fn no_reply(error: frame::Error) -> Error {
    Error::Protocol(error.to_string())
}

fn unexpected() -> Error {
    Error::Protocol("unexpected parameters".into())
}

/// Serde's own words might quote a secret from the reply, so only the place is told.
fn misfit(error: &serde_json::Error) -> Error {
    Error::Protocol(format!("unexpected parameters at line {} column {}", error.line(), error.column()))
}

/// connect(2) waits while the backlog is full; SO_SNDTIMEO bounds that, so it is set first.
fn connect_within(path: &Path, limit: Duration) -> io::Result<UnixStream> {
    let address = UnixAddr::new(path)?;
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let microseconds = i64::try_from(limit.as_micros()).unwrap_or(i64::MAX);
    setsockopt(&socket, sockopt::SendTimeout, &TimeVal::microseconds(microseconds))?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(UnixStream::from(socket))
}

/// `UnixStream::write` would raise SIGPIPE in a process that has not switched it off.
fn send_all(socket: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(count) => bytes = &bytes[count..],
            Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
