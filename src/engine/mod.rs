//! The unprivileged process that answers the shared socket.
//!
//! The supervisor starts it with its channel as standard input and the listening socket as standard output. The first message on the channel
//! is [`Order::Start`]; when the channel closes, the supervisor is gone and the engine ends. It keeps nothing that a crash may not take.
#![forbid(unsafe_code)]

mod account;
mod admin;
mod authenticator;
mod backups;
mod clocks;
pub mod desk;
pub mod directory;
pub mod login;
pub mod mail;
pub mod phones;
mod recovered;
pub mod root;
pub mod store;

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use log::{error, warn};
use nix::unistd::{getgid, getuid};
use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use zeroize::Zeroizing;

use self::account::AccountInterface;
use self::admin::AdminInterface;
use self::authenticator::AuthenticatorInterface;
use self::desk::{Desk, Parts};
use self::directory::Directory;
use self::login::LoginInterface;
use self::mail::Mailer;
use self::root::{News, Root, RootChannel};
use self::store::{Options, SealingKey, Store};
use crate::config::Handover;
use crate::config::paths::Paths;
use crate::proto::privileged::{Channel, Order, Recovered};
use crate::proto::secret::Secret;
use crate::proto::server::{self, Server};
use crate::sys::sandbox::{self, Limits};
use crate::sys::{clock, peer};

/// How long the supervisor may take for its first message.
const START_TIME: Duration = Duration::from_secs(10);

/// Threads for what blocks: look-ups, account files, and a few for whatever else.
const THREADS: usize = directory::AT_ONCE + directory::FILE_THREADS + 4;

/// How many tasks the engine's user may have. Out of tasks the supervisor could not carry a press out, so at least half of the unit's `TasksMax=` is left to
/// it, however many threads a compromised engine starts. And twice what the engine needs: without systemd a former one, whose supervisor was killed, may
/// still be about to end.
pub const TASKS: usize = 64;

const _: () = assert!(TASKS >= 2 * (1 + THREADS + store::THREADS));

/// How many sockets are heard before what they asked for goes to the store. Where all were heard first, the store's thread would wait for the event
/// loop, then the event loop for that thread, and each of two processors be idle for a third of the time.
const EVENTS: usize = 16;

/// How many pieces of news may wait.
const NEWS: usize = 8;

/// Why the engine could not start, or had to end.
#[derive(Debug)]
enum Fault {
    /// Started by hand, or by something that is not the supervisor.
    NotAChild,
    /// The channel said something else than it should.
    Channel(String),
    /// The kernel refuses the sandbox.
    Confine(String),
    Io(io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAChild => f.write_str("the engine is started by the supervisor alone: use `twostepd run`"),
            Self::Channel(what) => write!(f, "supervisor's channel: {what}"),
            Self::Confine(why) => write!(f, "sandbox: {why}"),
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
    let runtime = runtime()?;
    let ended = runtime.block_on(run(channel, listener));
    // One that hangs in a look-up is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

/// What the engine runs on: one thread, and those of the directory.
///
/// # Errors
/// The system's, where it has no descriptor left.
pub fn runtime() -> io::Result<Runtime> {
    // The threads are those of the directory, bounded there too; their stacks count towards the limit on memory.
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(EVENTS)
        .max_blocking_threads(THREADS)
        .thread_stack_size(1 << 20)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
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
    let First { handover, key, mail_password, recovered } = first_order(&mut channel).await?;
    crate::log::init(&handover.config.log, "twostepd");
    confine(&handover)?;
    let listener = UnixListener::from_std(listener)?;
    let (tell, news) = mpsc::channel(NEWS);
    let (root, channel) = RootChannel::new(channel, tell);
    let mailer = Mailer::new(&handover.config.mail, mail_password);
    // The channel first: root's pings are answered also while a large database is looked through.
    tokio::select! {
        ended = channel.run() => ended.map_err(|e| Fault::Channel(e.to_string())),
        never = serve(listener, &handover, key, root, mailer, (recovered, news)) => match never {},
    }
}

/// Opens the desk, then serves the socket.
async fn serve(
    listener: UnixListener,
    handover: &Handover,
    key: Option<SealingKey>,
    root: Root,
    mailer: Mailer,
    (recovered, news): (Option<Recovered>, mpsc::Receiver<News>),
) -> Infallible {
    let desk = desk(handover, key, root.clone(), mailer).await;
    let done = recovered::begin(&desk, recovered).await;
    tokio::spawn(recovered::follow(Arc::clone(&desk), done, news));
    tokio::spawn(backups::follow(Arc::clone(&desk)));
    let server = server(handover, &desk);
    root.ready().await;
    server.serve(listener).await
}

/// What the supervisor says first.
struct First {
    handover: Handover,
    key: Option<SealingKey>,
    mail_password: Option<Secret>,
    recovered: Option<Recovered>,
}

/// Waits for it, at most [`START_TIME`].
async fn first_order(channel: &mut Channel) -> Result<First, Fault> {
    let order = tokio::time::timeout(START_TIME, channel.receive()).await;
    match order.map_err(|_| Fault::Channel("silent".into()))? {
        Ok(Some(Order::Start { handover, key, mail_password, recovered })) => {
            let handover = serde_json::from_value(handover).map_err(|e| Fault::Channel(e.to_string()))?;
            Ok(First { handover, key: key.as_ref().and_then(sealing_key), mail_password, recovered })
        }
        Ok(Some(_)) => Err(Fault::Channel("another order before start".into())),
        Ok(None) => Err(Fault::Channel("closed before start".into())),
        Err(e) => Err(Fault::Channel(e.to_string())),
    }
}

fn sealing_key(digits: &Secret) -> Option<SealingKey> {
    let (pairs, odd) = digits.expose().as_bytes().as_chunks::<2>();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    // Of its full size from the start: what grows leaves copies behind.
    let mut bytes = Zeroizing::new([0; 32]);
    if pairs.len() != bytes.len() || !odd.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    SealingKey::from_slice(&*bytes)
}

/// Gives up all that the engine does not need. What this kernel can't do is said; what it refuses ends the engine.
fn confine(handover: &Handover) -> Result<(), Fault> {
    let refused = |e: sandbox::Fault| Fault::Confine(e.to_string());
    sandbox::give_up_memory_protection().map_err(refused)?;
    if has_own_user(handover) {
        // The supervisor has done it; here it is confirmed.
        sandbox::drop_to_user(getuid(), getgid()).map_err(refused)?;
    }
    let lacks = sandbox::confine(&limits(handover)).map_err(refused)?;
    for lack in lacks {
        warn!("sandbox: {lack}");
    }
    Ok(())
}

/// In a demo it is the user's own process.
fn has_own_user(handover: &Handover) -> bool {
    handover.paths.accounts == Paths::system().accounts
}

fn limits(handover: &Handover) -> Limits {
    let mut limits = Limits::new(&handover.paths.engine());
    limits.tasks = has_own_user(handover).then_some(TASKS as u64);
    limits.readable.push(handover.paths.accounts.clone());
    let mail = &handover.config.mail;
    if mail.host.is_some() {
        limits.ports.push(mail.port());
        limits.readable.extend(mail.ca_file.as_ref().map(PathBuf::from));
    }
    limits
}

async fn desk(handover: &Handover, key: Option<SealingKey>, root: Root, mailer: Mailer) -> Arc<Desk> {
    let options = Options::new(handover.paths.engine(), clock::wall);
    // It may migrate, or look a damaged file through.
    let opened = tokio::task::spawn_blocking(move || Store::open(options, key)).await;
    let store = opened.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()));
    if let Some(failure) = store.failure() {
        error!("{failure}");
    }
    let is_system = handover.paths.accounts == Paths::system().accounts;
    let directory = Directory::new(handover.paths.accounts.clone(), is_system);
    let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "NAS".into());
    let config = handover.config.clone();
    Desk::open(Parts { store, directory, root, config, mailer, host, moment: clock::moment, owner: handover.owner }).await
}

fn server(handover: &Handover, desk: &Arc<Desk>) -> Server {
    let socket = &handover.config.socket;
    let limits = server::Limits {
        connections: socket.connections,
        per_uid: socket.connections_per_uid,
        reserved: socket.reserved,
        idle: socket.idle,
        slow_readers: socket.slow_readers(),
        ..server::Limits::default()
    };
    let (ranks, carriers) = (Arc::clone(desk), Arc::clone(desk));
    Server::new(peer::identify)
        .limits(limits)
        .privileged(move |peer| {
            let rank = ranks.rank(peer);
            rank.root || rank.login
        })
        // A connection for each phone that waits: so many must not take the places of the logins that they wait for.
        .for_many(move |peer| carriers.rank(peer).authenticator)
        .interface(LoginInterface(Arc::clone(desk)))
        .interface(AccountInterface(Arc::clone(desk)))
        .interface(AdminInterface(Arc::clone(desk)))
        .interface(AuthenticatorInterface(Arc::clone(desk)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn only_an_engine_with_a_user_of_its_own_has_its_tasks_counted() {
        let tasks = |paths| limits(&Handover { config: Config::default(), paths, owner: 0 }).tasks;
        assert_eq!(tasks(Paths::system()), Some(64));
        assert_eq!(tasks(Paths::scratch(Path::new("/demo"))), None, "the person who shows it has other programs");
    }
}
