//! A Varlink server on a Unix socket: accepting, caps, one task for each connection.
//!
//! It runs on any tokio runtime with I/O and time. Without a connection it has no timer and never wakes up. Over a cap a new connection is
//! closed at once; those that are there are never touched for it. Part of the connections is kept for privileged peers, so that neither strangers
//! nor whoever speaks for many can keep the login services out.
//!
//! What a peer may call is for the interfaces to decide; here only the number of its connections counts.
//!
//! ```no_run
//! # async fn run(interface: impl twostep_base::proto::varlink::Interface) -> std::io::Result<()> {
//! use twostep_base::proto::server::Server;
//!
//! let listener = tokio::net::UnixListener::bind("/run/twostep/twostep.sock")?;
//! Server::new(twostep_base::sys::peer::identify).interface(interface).serve(listener).await;
//! # Ok(())
//! # }
//! ```

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

use super::connection::{self, Handler, Patience};
use super::varlink::{Interface, Introspection};
use crate::core::peer::Peer;

/// After a refusal has been logged, further ones are only counted for this long.
const QUIET: Duration = Duration::from_secs(60);

/// How long accepting rests where the process has no descriptor or memory left.
const REST: Duration = Duration::from_millis(200);

/// How many connections, and how long they may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one uid that is not privileged.
    pub per_uid: usize,
    /// Of all connections, those that only privileged peers may take.
    pub reserved: usize,
    /// A connection without a call for this long is closed.
    pub idle: Duration,
    /// A frame must end this long after it began.
    pub frame: Duration,
    /// A reply must have been read (or fit into the socket's buffer) after this long.
    pub write: Duration,
    /// A caller that has stopped sending and waits for a reply is looked for this often.
    pub gone: Duration,
    /// Replies that may wait at a time until their caller reads: each takes a file more than its connection. Further ones wait for these first.
    pub slow_readers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            per_uid: 32,
            reserved: 64,
            idle: Duration::from_secs(300),
            frame: Duration::from_secs(10),
            write: Duration::from_secs(10),
            gone: Duration::from_secs(30),
            slow_readers: 64,
        }
    }
}

/// How the peer of a connection is known: `sys::peer::identify`, or a test's own.
pub type Identify = fn(BorrowedFd<'_>) -> io::Result<Peer>;

type Privileged = Box<dyn Fn(&Peer) -> bool + Send + Sync>;

/// A server that is being put together; [`serve`](Self::serve) sets it going.
pub struct Server {
    handlers: Vec<Box<dyn Handler>>,
    limits: Limits,
    identify: Identify,
    privileged: Privileged,
    for_many: Privileged,
}

impl Server {
    /// A server that knows `org.varlink.service` alone, with the default limits; root alone is privileged.
    #[must_use]
    pub fn new(identify: Identify) -> Self {
        Self {
            handlers: Vec::new(),
            limits: Limits::default(),
            identify,
            privileged: Box::new(Peer::is_root),
            for_many: Box::new(|_| false),
        }
    }

    /// Serves this interface too.
    #[must_use]
    pub fn interface(mut self, interface: impl Interface) -> Self {
        self.handlers.push(Box::new(interface));
        self
    }

    /// Other limits than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Which peers may use the reserved connections and are not counted per uid. Root has to be among them, if it is to be.
    #[must_use]
    pub fn privileged(mut self, privileged: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.privileged = Box::new(privileged);
        self
    }

    /// Which other peers speak for many, and are not counted per uid: they have a connection for each. The reserved ones are not theirs.
    #[must_use]
    pub fn for_many(mut self, for_many: impl Fn(&Peer) -> bool + Send + Sync + 'static) -> Self {
        self.for_many = Box::new(for_many);
        self
    }

    /// Serves until it is dropped, which ends every connection wherever it waits.
    pub async fn serve(mut self, listener: UnixListener) -> Infallible {
        let introspection = Introspection::new(self.handlers.iter().map(|handler| (handler.name(), handler.description())));
        self.handlers.insert(0, Box::new(introspection));
        let shared = Arc::new(self);
        let census = Arc::new(Census::default());
        let waits = Arc::new(Semaphore::new(shared.limits.slow_readers));
        let mut connections = JoinSet::new();
        let mut refusals = Refusals::default();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((socket, _)) => match shared.admit(&census, &socket) {
                        Ok((peer, place)) => {
                            let serving = shared.clone().serve_connection(socket, peer, place, Arc::clone(&waits));
                            drop(connections.spawn(serving));
                        }
                        Err(refusal) => refusals.note(&refusal),
                    },
                    Err(error) => {
                        refusals.note(&Refusal::Machine(error));
                        sleep(REST).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                () = refusals.quiet_over() => refusals.summarise(),
            }
        }
    }

    fn admit(&self, census: &Arc<Census>, socket: &UnixStream) -> Result<(Peer, Place), Refusal> {
        let peer = (self.identify)(socket.as_fd()).map_err(Refusal::Machine)?;
        let rank = match peer {
            _ if (self.privileged)(&peer) => Rank::Privileged,
            _ if (self.for_many)(&peer) => Rank::ForMany,
            _ => Rank::Stranger,
        };
        let place = Census::enter(census, &self.limits, &peer, rank)?;
        Ok((peer, place))
    }

    async fn serve_connection(self: Arc<Self>, socket: UnixStream, peer: Peer, _place: Place, waits: Arc<Semaphore>) {
        let patience = Patience { idle: self.limits.idle, frame: self.limits.frame, write: self.limits.write, gone: self.limits.gone };
        let end = connection::serve(socket, &peer, &self.handlers, patience, waits).await;
        match end {
            // Ours to put right; all else is the caller's doing.
            connection::End::Reply(_) => log::error!("connection of uid {} pid {} cut off: {end}", peer.uid, peer.pid),
            _ => log::debug!("connection of uid {} pid {} ended: {end}", peer.uid, peer.pid),
        }
    }
}

/// As which of them a peer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Stranger,
    ForMany,
    Privileged,
}

/// Why a connection was closed at once.
#[derive(Debug)]
enum Refusal {
    Full,
    Uid(u32),
    Machine(io::Error),
}

/// Logs the first refusal, and a minute later how many more there were.
#[derive(Default)]
struct Refusals {
    more: u64,
    quiet: Option<Pin<Box<Sleep>>>,
}

impl Refusals {
    fn note(&mut self, refusal: &Refusal) {
        if self.quiet.is_some() {
            self.more += 1;
            return;
        }
        match refusal {
            Refusal::Full => log::warn!("connection refused: too many in all (socket.connections, socket.reserved)"),
            Refusal::Uid(uid) => log::warn!("connection refused: too many of uid {uid} (socket.connections_per_uid)"),
            Refusal::Machine(error) => log::warn!("connection refused: {error}"),
        }
        self.quiet = Some(Box::pin(sleep(QUIET)));
    }

    async fn quiet_over(&mut self) {
        match &mut self.quiet {
            Some(quiet) => quiet.await,
            None => std::future::pending().await,
        }
    }

    fn summarise(&mut self) {
        if self.more > 0 {
            log::warn!("{} more connections were refused within {} s", self.more, QUIET.as_secs());
        }
        *self = Self::default();
    }
}

/// Who is connected how often.
#[derive(Debug, Default)]
struct Census(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    all: usize,
    /// Those that are not privileged; no entry is 0.
    by_uid: HashMap<u32, usize>,
    unprivileged: usize,
}

impl Census {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        // Counting can't panic half-way, so a poisoned lock is as good as any.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(census: &Arc<Self>, limits: &Limits, peer: &Peer, rank: Rank) -> Result<Place, Refusal> {
        let mut counts = census.counts();
        let open = limits.connections.saturating_sub(limits.reserved);
        let privileged = rank == Rank::Privileged;
        if counts.all >= limits.connections || (!privileged && counts.unprivileged >= open) {
            return Err(Refusal::Full);
        }
        let uid = (rank == Rank::Stranger).then_some(peer.uid);
        if let Some(uid) = uid {
            let own = counts.by_uid.get(&uid).copied().unwrap_or(0);
            if own >= limits.per_uid {
                return Err(Refusal::Uid(uid));
            }
            counts.by_uid.insert(uid, own + 1);
        }
        counts.unprivileged += usize::from(!privileged);
        counts.all += 1;
        Ok(Place { census: Arc::clone(census), privileged, uid })
    }
}

/// A connection's place among the counted, given back when dropped.
#[derive(Debug)]
struct Place {
    census: Arc<Census>,
    privileged: bool,
    /// Of a peer that is counted by it.
    uid: Option<u32>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.census.counts();
        counts.all -= 1;
        counts.unprivileged -= usize::from(!self.privileged);
        if let Some(uid) = self.uid {
            match counts.by_uid.get_mut(&uid) {
                Some(own) if *own > 1 => *own -= 1,
                _ => drop(counts.by_uid.remove(&uid)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(uid: u32) -> Peer {
        Peer { pid: 1, uid, gid: uid, groups: Vec::new() }
    }

    fn limits() -> Limits {
        Limits { connections: 5, per_uid: 2, reserved: 2, ..Limits::default() }
    }

    #[test]
    fn one_user_gets_no_more_than_its_share() {
        let census = Arc::default();
        let enter = || Census::enter(&census, &limits(), &peer(1000), Rank::Stranger);
        let (first, _second) = (enter().unwrap(), enter().unwrap());
        assert!(matches!(enter(), Err(Refusal::Uid(1000))));
        drop(first);
        let _again = enter().unwrap();
        assert!(Census::enter(&census, &limits(), &peer(1001), Rank::Stranger).is_ok());
    }

    #[test]
    fn strangers_together_leave_room_for_the_privileged() {
        let census = Arc::default();
        let _strangers: Vec<Place> =
            (1000..1003).map(|uid| Census::enter(&census, &limits(), &peer(uid), Rank::Stranger).unwrap()).collect();
        assert!(matches!(Census::enter(&census, &limits(), &peer(1003), Rank::Stranger), Err(Refusal::Full)));
        let _roots: Vec<Place> = (0..2).map(|_| Census::enter(&census, &limits(), &peer(0), Rank::Privileged).unwrap()).collect();
        assert!(matches!(Census::enter(&census, &limits(), &peer(0), Rank::Privileged), Err(Refusal::Full)));
    }

    #[test]
    fn whoever_speaks_for_many_has_more_than_one_users_share_and_leaves_room_for_the_privileged() {
        let census = Arc::default();
        let enter = |rank| Census::enter(&census, &limits(), &peer(7), rank);
        let many: Vec<Place> = (0..3).map(|_| enter(Rank::ForMany).unwrap()).collect();
        assert!(matches!(enter(Rank::ForMany), Err(Refusal::Full)) && matches!(enter(Rank::Stranger), Err(Refusal::Full)));
        let _roots: Vec<Place> = (0..2).map(|_| Census::enter(&census, &limits(), &peer(0), Rank::Privileged).unwrap()).collect();
        drop(many);
        assert!(enter(Rank::Stranger).is_ok());
    }

    #[test]
    fn nothing_is_remembered_of_those_who_left() {
        let census: Arc<Census> = Arc::default();
        for uid in 1000..2000 {
            drop(Census::enter(&census, &limits(), &peer(uid), Rank::Stranger).unwrap());
        }
        let counts = census.counts();
        assert_eq!((counts.all, counts.unprivileged, counts.by_uid.len()), (0, 0, 0));
    }
}
