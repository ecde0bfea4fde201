//! One connection: frames in, calls carried to their interface one after another, replies out.
//!
//! ```text
//!            ┌── idle too long, hang-up ──────────────────────────────┐
//!            │                                                        ▼
//!  accept ─► waiting ──first byte──► receiving ──whole frame──► answering ─► closed
//!            ▲                         │ half a frame too long,   │   │        ▲
//!            │                         │ no frame, too long, deep │   │        │
//!            │                         └──────────────────────────┼───┼────────┤
//!            └──────────── last reply written ────────────────────┘   └────────┘
//!                                                    hang-up, no call, slow reader
//! ```
//! While a call waits, nothing is read but the hang-up; while a reply is written, nothing is read at all. So a connection holds at most one
//! frame in, one frame out, and one call. A caller that closes only its sending half still gets its replies.

use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

use super::frame::{self, Inbox, Outbox};
use super::parameters::{Mismatch, decode};
use super::varlink::{Failure, Interface, Reply, Request, ServiceError};
use crate::core::peer::Peer;

/// How long a connection may take. See [`Limits`](super::server::Limits).
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) idle: Duration,
    pub(super) frame: Duration,
    pub(super) write: Duration,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// The caller closed it between two calls.
    Closed,
    /// The caller closed it while a call waited, or in the midst of a frame.
    HungUp,
    Idle,
    HalfFrame,
    SlowReader,
    /// What came is no frame, or an error that repeats a name from it fits none.
    Frame(frame::Error),
    NoCall,
    /// An interface made a reply that fits no frame.
    Reply(frame::Error),
    Io(io::Error),
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::HungUp => f.write_str("hung up"),
            Self::Idle => f.write_str("idle for too long"),
            Self::HalfFrame => f.write_str("a frame did not end in time"),
            Self::SlowReader => f.write_str("replies are not read in time"),
            Self::Frame(error) | Self::Reply(error) => error.fmt(f),
            Self::NoCall => f.write_str("a frame is no call"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

/// A call under way.
type Answering<'a> = Pin<Box<dyn Future<Output = Result<(), End>> + Send + 'a>>;

/// An [`Interface`] of whatever type. The future is boxed so that an idle connection does not keep room for the largest of all calls.
pub(super) trait Handler: Send + Sync {
    fn name(&self) -> &'static str;
    fn description(&self) -> &'static str;
    /// Reads the call at once, so that the frame can be wiped before the call waits.
    fn answer<'a>(&'a self, peer: &'a Peer, method: &str, parameters: Option<&RawValue>, out: &'a mut Writer) -> Answering<'a>;
}

impl<I: Interface> Handler for I {
    fn name(&self) -> &'static str {
        I::NAME
    }

    fn description(&self) -> &'static str {
        I::DESCRIPTION
    }

    fn answer<'a>(&'a self, peer: &'a Peer, method: &str, parameters: Option<&RawValue>, out: &'a mut Writer) -> Answering<'a> {
        let error = match decode::<I::Call>(method, parameters) {
            Ok(call) => {
                return Box::pin(async move {
                    let mut replies = Replies { out, interface: PhantomData::<I> };
                    match self.call(peer, call, &mut replies).await {
                        Ok(reply) => out.put(&Reply { parameters: &reply, continues: false }).map_err(End::Reply)?,
                        Err(Failure::Interface(error)) => out.put(&error).map_err(End::Frame)?,
                        Err(Failure::Service(error)) => out.put(&error).map_err(End::Frame)?,
                        Err(Failure::Gone) => return Err(out.end.take().unwrap_or(End::HungUp)),
                    }
                    out.flush().await
                });
            }
            Err(Mismatch::Method) => ServiceError::MethodNotFound { method: format!("{}.{method}", I::NAME) },
            Err(Mismatch::Parameter(parameter)) => ServiceError::InvalidParameter { parameter },
        };
        Box::pin(out.refuse(error))
    }
}

/// Where an interface sends the replies before the last, for a caller that asked for `more`.
pub struct Replies<'a, I> {
    out: &'a mut Writer,
    interface: PhantomData<I>,
}

impl<I: Interface> Replies<'_, I> {
    /// Whether the caller asked for `more`: several replies.
    #[must_use]
    pub fn more(&self) -> bool {
        self.out.more
    }

    /// Sends a reply that another one will follow, and waits until it is on its way.
    ///
    /// # Errors
    /// `ExpectedMore` where the caller did not ask for several replies; [`Failure::Gone`] where it is gone or reads too slowly.
    pub async fn send(&mut self, reply: &I::Reply) -> Result<(), Failure<I::Error>> {
        if !self.out.more {
            return Err(Failure::Service(ServiceError::ExpectedMore {}));
        }
        let written = match self.out.put(&Reply { parameters: reply, continues: true }) {
            Ok(()) => self.out.flush().await,
            Err(error) => Err(End::Reply(error)),
        };
        written.map_err(|end| {
            self.out.end = Some(end);
            Failure::Gone
        })
    }
}

/// The sending half of a connection, with what the call under way said about replies.
pub(super) struct Writer {
    socket: OwnedWriteHalf,
    outbox: Outbox,
    limit: Duration,
    oneway: bool,
    more: bool,
    /// Why the interface was told that the caller is gone.
    end: Option<End>,
}

impl Writer {
    fn put(&mut self, reply: &impl Serialize) -> Result<(), frame::Error> {
        // A oneway call has no reply.
        if self.oneway { Ok(()) } else { self.outbox.put(reply) }
    }

    async fn flush(&mut self) -> Result<(), End> {
        let written = timeout(self.limit, self.socket.write_all(self.outbox.bytes())).await;
        self.outbox.clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(End::HungUp),
            Ok(Err(error)) => Err(End::Io(error)),
            Err(_) => Err(End::SlowReader),
        }
    }

    async fn refuse(&mut self, error: ServiceError) -> Result<(), End> {
        self.put(&error).map_err(End::Frame)?;
        drop(error);
        self.flush().await
    }
}

/// The receiving half of a connection.
struct Reader {
    socket: OwnedReadHalf,
    inbox: Inbox,
}

impl Reader {
    /// Waits until a whole frame is there.
    async fn receive(&mut self, patience: &Patience) -> Result<(), End> {
        if self.inbox.is_empty() {
            timeout(patience.idle, self.read()).await.map_err(|_| End::Idle)??;
        }
        timeout(patience.frame, self.read_frame()).await.map_err(|_| End::HalfFrame)?
    }

    async fn read_frame(&mut self) -> Result<(), End> {
        while !self.inbox.has_frame() {
            self.read().await?;
        }
        Ok(())
    }

    /// Reads what there is, at least one byte. While nothing comes, an empty box stays without memory.
    async fn read(&mut self) -> Result<(), End> {
        loop {
            self.socket.readable().await.map_err(End::Io)?;
            let between_calls = self.inbox.is_empty();
            match self.socket.try_read(self.inbox.space().map_err(End::Frame)?) {
                Ok(0) => return Err(if between_calls { End::Closed } else { End::HungUp }),
                Ok(count) => {
                    self.inbox.filled(count);
                    return Ok(());
                }
                // Readiness is a guess: a new connection counts as ready.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.inbox.shrink(),
                Err(error) => return Err(End::Io(error)),
            }
        }
    }

    /// Returns once the caller has closed the connection in both directions; reads nothing.
    async fn hung_up(&self) {
        loop {
            // Of all that epoll tells, this waits for the end of the caller's sending alone.
            let ended = self.socket.ready(Interest::PRIORITY).await;
            match ended {
                Ok(nothing) if nothing.is_empty() => {}
                // Only its sending half: it waits for the reply. Should it go away later, writing that will show it.
                Ok(_) if !is_closed(self.socket.as_ref()) => std::future::pending().await,
                _ => return,
            }
        }
    }
}

fn is_closed(socket: &UnixStream) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).is_err() || asked[0].revents().is_none_or(|events| events.contains(PollFlags::POLLHUP))
}

/// Serves one connection to its end.
pub(super) async fn serve(socket: UnixStream, peer: &Peer, handlers: &[Box<dyn Handler>], patience: Patience) -> End {
    let (receiving, sending) = socket.into_split();
    let mut reader = Reader { socket: receiving, inbox: Inbox::new() };
    let mut writer = Writer { socket: sending, outbox: Outbox::new(), limit: patience.write, oneway: false, more: false, end: None };
    loop {
        if let Err(end) = serve_one(&mut reader, &mut writer, peer, handlers, &patience).await {
            return end;
        }
    }
}

async fn serve_one(
    reader: &mut Reader,
    writer: &mut Writer,
    peer: &Peer,
    handlers: &[Box<dyn Handler>],
    patience: &Patience,
) -> Result<(), End> {
    if !reader.inbox.has_frame() {
        reader.receive(patience).await?;
    }
    // A caller that never pauses must not keep the thread from the others.
    consume_budget().await;
    let Some(frame) = reader.inbox.take().map_err(End::Frame)? else { return Ok(()) };
    let request = Request::read(&frame).ok_or(End::NoCall)?;
    let oneway = request.oneway;
    let answering = dispatch(&request, peer, handlers, writer);
    // Wiped before anything is waited for.
    drop(frame);
    if oneway {
        // Nobody waits for it, so nobody's going away ends it.
        return answering.await;
    }
    tokio::select! {
        biased;
        answered = answering => answered,
        () = reader.hung_up() => Err(End::HungUp),
    }
}

fn dispatch<'a>(request: &Request<'_>, peer: &'a Peer, handlers: &'a [Box<dyn Handler>], out: &'a mut Writer) -> Answering<'a> {
    out.oneway = request.oneway;
    out.more = request.more && !request.oneway;
    let (interface, method) = request.method.rsplit_once('.').unwrap_or((&request.method, ""));
    let handler = handlers.iter().find(|handler| handler.name() == interface);
    let error = match handler {
        Some(_) if request.upgrade => ServiceError::InvalidParameter { parameter: "upgrade".into() },
        Some(handler) => return handler.answer(peer, method, request.parameters, out),
        None => ServiceError::InterfaceNotFound { interface: interface.into() },
    };
    Box::pin(out.refuse(error))
}
