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
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::time::{Instant, Sleep, sleep, timeout};

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
    pub(super) gone: Duration,
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

/// A socket that tells when there is something to read, and not each time that a reply was read by the caller.
type Socket = AsyncFd<UnixStream>;

#[expect(deprecated, reason = "its successor is unsafe for the sake of types that lose their descriptor, which a UnixStream never does")]
fn watch(socket: UnixStream, interest: Interest) -> io::Result<Socket> {
    AsyncFd::with_interest(socket, interest)
}

/// The sending half of a connection, with what the call under way said about replies.
pub(super) struct Writer {
    socket: Arc<Socket>,
    outbox: Outbox,
    limit: Duration,
    /// Places for replies that wait until the caller reads.
    waits: Arc<Semaphore>,
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
        let written = match write(self.socket.get_ref(), self.outbox.bytes()) {
            Ok(count) if count == self.outbox.bytes().len() => Ok(()),
            Ok(count) => match timeout(self.limit, write_rest(self.socket.get_ref(), &self.outbox.bytes()[count..], &self.waits)).await {
                Ok(written) => written,
                Err(_) => return Err(End::SlowReader),
            },
            Err(error) => Err(error),
        };
        self.outbox.clear();
        written.map_err(|error| if error.kind() == io::ErrorKind::BrokenPipe { End::HungUp } else { End::Io(error) })
    }

    async fn refuse(&mut self, error: ServiceError) -> Result<(), End> {
        self.put(&error).map_err(End::Frame)?;
        drop(error);
        self.flush().await
    }
}

/// Writes what the socket takes now, be it nothing.
fn write(mut socket: &UnixStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// Writes all, as fast as the caller reads. Only then is it watched whether there is room: under a second descriptor, as one can't be watched twice,
/// and therefore for no more callers at a time than there are places.
async fn write_rest(socket: &UnixStream, mut bytes: &[u8], places: &Semaphore) -> io::Result<()> {
    // Nobody closes it.
    let _place = places.acquire().await.map_err(io::Error::other)?;
    let room = watch(socket.try_clone()?, Interest::WRITABLE)?;
    while !bytes.is_empty() {
        let mut ready = room.writable().await?;
        bytes = &bytes[write(socket, bytes)?..];
        ready.clear_ready();
    }
    Ok(())
}

/// Ends waits that take too long. One timer serves a connection for life: to set a new one for each call would wake the event loop from the sleep
/// that it has not begun, since a timer that it did not count with might be the first to ring.
struct Alarm(Pin<Box<Sleep>>);

impl Alarm {
    /// Waits for so long at most.
    async fn within<T>(&mut self, limit: Duration, wait: impl Future<Output = T>) -> Option<T> {
        let due = sleep(limit).deadline();
        tokio::select! {
            biased;
            done = wait => Some(done),
            () = self.ring(due) => None,
        }
    }

    async fn ring(&mut self, due: Instant) {
        loop {
            // One that an earlier wait has set, and that rings sooner, is left to ring.
            if self.0.is_elapsed() || self.0.deadline() > due {
                self.0.as_mut().reset(due);
            }
            self.0.as_mut().await;
            if self.0.deadline() >= due {
                return;
            }
        }
    }
}

/// The receiving half of a connection.
struct Reader {
    socket: Arc<Socket>,
    inbox: Inbox,
    alarm: Alarm,
}

impl Reader {
    /// Waits until a whole frame is there.
    async fn receive(&mut self, patience: &Patience) -> Result<(), End> {
        let Self { socket, inbox, alarm } = self;
        if inbox.is_empty() {
            alarm.within(patience.idle, read(socket, inbox)).await.ok_or(End::Idle)??;
        }
        if inbox.has_frame() {
            return Ok(());
        }
        alarm.within(patience.frame, read_frame(socket, inbox)).await.ok_or(End::HalfFrame)?
    }

    /// Returns once the caller has closed the connection in both directions; reads nothing.
    async fn hung_up(&self, patience: &Patience) {
        loop {
            // Of all that epoll tells, this waits for the end of the caller's sending alone.
            let ended = self.socket.ready(Interest::PRIORITY).await;
            match ended {
                Ok(told) if told.ready().is_empty() => {}
                // Only its sending half: it waits for the reply. epoll goes on telling that, so its end is looked for now and then.
                Ok(_) if !is_closed(self.socket.get_ref()) => sleep(patience.gone).await,
                _ => return,
            }
        }
    }
}

async fn read_frame(socket: &Socket, inbox: &mut Inbox) -> Result<(), End> {
    while !inbox.has_frame() {
        read(socket, inbox).await?;
    }
    Ok(())
}

/// Reads what there is, at least one byte. While nothing comes, an empty box stays without memory.
async fn read(socket: &Socket, inbox: &mut Inbox) -> Result<(), End> {
    loop {
        let mut ready = socket.readable().await.map_err(End::Io)?;
        let between_calls = inbox.is_empty();
        let space = inbox.space().map_err(End::Frame)?;
        let room = space.len();
        match socket.get_ref().read(space) {
            Ok(0) => return Err(if between_calls { End::Closed } else { End::HungUp }),
            Ok(count) => {
                // There was no more, and when more comes it is told: to read once more only to hear so would cost each call a system call.
                if count < room {
                    ready.clear_ready();
                }
                inbox.filled(count);
                return Ok(());
            }
            // Readiness is a guess.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                ready.clear_ready();
                inbox.shrink();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(End::Io(error)),
        }
    }
}

fn is_closed(socket: &UnixStream) -> bool {
    let mut asked = [PollFd::new(socket.as_fd(), PollFlags::empty())];
    poll(&mut asked, PollTimeout::ZERO).is_err() || asked[0].revents().is_none_or(|events| events.contains(PollFlags::POLLHUP))
}

/// Serves one connection to its end.
pub(super) async fn serve(
    socket: tokio::net::UnixStream,
    peer: &Peer,
    handlers: &[Box<dyn Handler>],
    patience: Patience,
    waits: Arc<Semaphore>,
) -> End {
    let socket = match socket.into_std().and_then(|socket| watch(socket, Interest::READABLE)) {
        Ok(socket) => Arc::new(socket),
        Err(error) => return End::Io(error),
    };
    let alarm = Alarm(Box::pin(sleep(patience.idle)));
    let mut reader = Reader { socket: Arc::clone(&socket), inbox: Inbox::new(), alarm };
    let mut writer = Writer { socket, outbox: Outbox::new(), limit: patience.write, waits, oneway: false, more: false, end: None };
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
        () = reader.hung_up(patience) => Err(End::HungUp),
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

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    /// In seconds since `begun`.
    fn since(begun: Instant) -> u64 {
        (sleep(Duration::ZERO).deadline() - begun).as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_in_use_is_closed_so_long_after_its_last_call_and_no_sooner() {
        let (begun, idle) = (sleep(Duration::ZERO).deadline(), Duration::from_secs(300));
        let mut alarm = Alarm(Box::pin(sleep(idle)));
        for _ in 0..3 {
            assert_eq!(alarm.within(idle, sleep(Duration::from_secs(200))).await, Some(()));
        }
        assert_eq!(alarm.within(idle, std::future::pending::<()>()).await, None);
        assert_eq!(since(begun), 900);
        // Half a frame has less time, and a whole one thereafter as much as ever.
        assert_eq!(alarm.within(Duration::from_secs(10), std::future::pending::<()>()).await, None);
        assert_eq!(since(begun), 910);
        assert_eq!(alarm.within(idle, std::future::pending::<()>()).await, None);
        assert_eq!(since(begun), 1210);
    }

    #[tokio::test]
    async fn a_reply_that_has_to_wait_for_room_arrives_whole() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reply: Vec<u8> = (0..1 << 22).map(|place: u32| place.to_be_bytes()[2]).collect();
        let begun = write(&ours, &reply).unwrap();
        assert!(0 < begun && begun < reply.len());
        let caller = std::thread::spawn(move || {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).map(|_| heard)
        });
        write_rest(&ours, &reply[begun..], &Semaphore::new(1)).await.unwrap();
        drop(ours);
        assert!(caller.join().unwrap().unwrap() == reply);
    }

    /// Files of this process that are `socket`.
    fn files_of(socket: &UnixStream) -> usize {
        let link = |fd: &std::path::Path| std::fs::read_link(fd).ok();
        let own = link(format!("/proc/self/fd/{}", socket.as_raw_fd()).as_ref()).unwrap();
        let all = std::fs::read_dir("/proc/self/fd").unwrap();
        all.filter(|fd| fd.as_ref().is_ok_and(|fd| link(&fd.path()).as_ref() == Some(&own))).count()
    }

    #[tokio::test]
    async fn callers_that_read_nothing_take_no_more_files_than_are_kept_for_them_and_the_next_one_still_gets_its_reply() {
        let callers: Vec<_> = std::iter::repeat_with(|| UnixStream::pair().unwrap()).take(5).collect();
        let (places, rest) = (Semaphore::new(2), [7; 100]);
        let mut replies = Vec::new();
        for (ours, _) in &callers {
            ours.set_nonblocking(true).unwrap();
            while write(ours, &[0; 1 << 16]).unwrap() > 0 {}
            let mut reply = Box::pin(write_rest(ours, &rest, &places));
            tokio::select! {
                biased;
                _ = &mut reply => panic!("there was room"),
                () = std::future::ready(()) => replies.push(reply),
            }
        }
        assert_eq!(callers.iter().map(|(ours, _)| files_of(ours)).collect::<Vec<_>>(), [2, 2, 1, 1, 1]);
        // The first one is cut off; the third one, which is the next, reads.
        drop(replies.remove(0));
        let (ours, theirs) = &callers[2];
        let mut theirs = theirs.try_clone().unwrap();
        let caller = std::thread::spawn(move || {
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).map(|_| heard)
        });
        replies.remove(1).await.unwrap();
        ours.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(caller.join().unwrap().unwrap().ends_with(&rest));
    }
}
