//! The unprivileged process that answers the shared socket.
//!
//! The supervisor starts it with its channel as standard input and the listening socket as standard output. The first message on the channel
//! is [`Order::Start`]; when the channel closes, the supervisor is gone and the engine ends. It keeps nothing that a crash may not take.
#![forbid(unsafe_code)]

mod desk;
pub mod directory;
mod login;
mod mail;
mod root;
pub mod store;

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::time::Duration;

use log::info;
use tokio::net::UnixListener;
use tokio::sync::mpsc;

use self::root::{News, RootChannel};
use crate::config::Handover;
use crate::proto::privileged::{Channel, Notice, Order};
use crate::proto::server::{Limits, Server};
use crate::sys::peer;

/// How long the supervisor may take for its first message.
const START_TIME: Duration = Duration::from_secs(10);

/// How many pieces of news may wait.
const NEWS: usize = 8;

/// Why the engine could not start, or had to end.
#[derive(Debug)]
enum Fault {
    /// Started by hand, or by something that is not the supervisor.
    NotAChild,
    /// The channel said something else than it should.
    Channel(String),
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAChild => f.write_str("the engine is started by the supervisor alone: use `twostepd run`"),
            Self::Channel(what) => write!(f, "supervisor's channel: {what}"),
            Self::Io(e) => e.fmt(f),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

/// The engine process, from its start to its end.
#[must_use]
pub fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("twostepd engine: {fault}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Fault> {
    let (channel, listener) = inherited()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run(channel, listener))
}

/// Takes the two sockets over and puts /dev/null in their places, so that nothing is printed into them.
fn inherited() -> Result<(std::os::unix::net::UnixStream, std::os::unix::net::UnixListener), Fault> {
    let channel = std::os::unix::net::UnixStream::from(socket(io::stdin())?);
    let listener = std::os::unix::net::UnixListener::from(socket(io::stdout())?);
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(&null).map_err(io::Error::from)?;
    nix::unistd::dup2_stdout(&null).map_err(io::Error::from)?;
    channel.set_nonblocking(true)?;
    listener.set_nonblocking(true)?;
    Ok((channel, listener))
}

fn socket(stream: impl AsFd) -> Result<OwnedFd, Fault> {
    let kind = nix::sys::stat::fstat(stream.as_fd()).map_err(io::Error::from)?.st_mode & nix::libc::S_IFMT;
    if kind != nix::libc::S_IFSOCK {
        return Err(Fault::NotAChild);
    }
    Ok(stream.as_fd().try_clone_to_owned()?)
}

async fn run(channel: std::os::unix::net::UnixStream, listener: std::os::unix::net::UnixListener) -> Result<(), Fault> {
    let mut channel = Channel::new(channel)?;
    let (handover, recovered) = first_order(&mut channel).await?;
    crate::log::init(&handover.config.log, "twostepd");
    if let Some(account) = &recovered {
        info!("{account} was brought back by the button");
    }
    let server = server(&handover);
    let listener = UnixListener::from_std(listener)?;
    channel.send(&Notice::Ready {}).await?;
    let (tell, news) = mpsc::channel(NEWS);
    let (_root, channel) = RootChannel::new(channel, tell);
    tokio::spawn(listen(news));
    tokio::select! {
        never = server.serve(listener) => match never {},
        ended = channel.run() => ended.map_err(|e| Fault::Channel(e.to_string())),
    }
}

/// What the supervisor says first, within [`START_TIME`].
async fn first_order(channel: &mut Channel) -> Result<(Handover, Option<String>), Fault> {
    let order = tokio::time::timeout(START_TIME, channel.receive()).await;
    match order.map_err(|_| Fault::Channel("silent".into()))? {
        Ok(Some(Order::Start { handover, recovered })) => {
            let handover = serde_json::from_value(handover).map_err(|e| Fault::Channel(e.to_string()))?;
            Ok((handover, recovered))
        }
        Ok(Some(other)) => Err(Fault::Channel(format!("{other:?} before start"))),
        Ok(None) => Err(Fault::Channel("closed before start".into())),
        Err(e) => Err(Fault::Channel(e.to_string())),
    }
}

fn server(handover: &Handover) -> Server {
    let socket = &handover.config.socket;
    let owner = handover.owner;
    let limits = Limits {
        connections: socket.connections,
        per_uid: socket.connections_per_uid,
        reserved: socket.reserved,
        idle: socket.idle,
        ..Limits::default()
    };
    Server::new(peer::identify).limits(limits).privileged(move |peer| peer.is_root() || peer.uid == owner)
}

/// Hears what root says by itself.
async fn listen(mut news: mpsc::Receiver<News>) {
    while let Some(news) = news.recv().await {
        match news {
            News::Recovered(account) => info!("{account} was brought back by the button"),
            News::RecoveryOver(account) => info!("{account} is off again"),
        }
    }
}
