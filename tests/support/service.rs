//! A twostep service in the test's own process: io.twostep.Recovery over a board and an account that exist in memory alone.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, oneshot};
use twostep::core::peer::Peer;
use twostep::core::time::Wall;
use twostep::proto::recovery::{
    Account, AccountState, Adapter, Call, DESCRIPTION, DefaultPassword, Error, Event, EventKind, NAME, Owner, Press, Pressed, Reply,
    Source, SourceKind, SourceState, Status, authorise,
};
use twostep::proto::secret::Secret;
use twostep::proto::server::{Identify, Limits, Server};
use twostep::proto::varlink::{Failure, Interface, Replies};

/// How long a test waits for what must come at once.
pub const SOON: Duration = Duration::from_secs(60);

/// A press of this length holds the call until the caller hangs up.
pub const FOR_EVER: u64 = u64::MAX / 2;

/// A press of this length holds the call until the test releases it.
pub const UNTIL_RELEASED: u64 = FOR_EVER - 1;

/// What the board tells the test, not the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// A call began to wait.
    Waiting,
    /// A call was dropped while it waited.
    Dropped,
    /// A call was done after it had waited.
    Released,
    /// The account was turned off.
    Disabled,
}

/// The board and the account.
struct Board {
    owner: Owner,
    state: Mutex<(AccountState, Option<Press>)>,
    events: broadcast::Sender<Event>,
    told: Sender<Told>,
    release: Arc<Notify>,
}

impl Board {
    fn status(&self) -> Status {
        let (state, last) = self.state.lock().unwrap().clone();
        Status {
            board: "simulated".into(),
            configuration: None,
            armed: true,
            reason: None,
            hold_ms: 3000,
            sources: vec![Source { name: "reset".into(), kind: SourceKind::Simulated, state: SourceState::Ready }],
            adapter: Some(Adapter { interface: "eth0".into(), origin: "simulated".into() }),
            account: Account { name: "admin".into(), state, until: (state == AccountState::Recovered).then_some(Wall(1_800_000_000)) },
            last,
        }
    }

    fn tell(&self, kind: EventKind, held_ms: u64) {
        // Nobody may be listening.
        let _ = self.events.send(event(kind, held_ms));
    }

    fn press(&self, held_ms: u64) {
        self.tell(EventKind::Pressed, 0);
        if held_ms >= 3000 {
            let press = Press { at: Wall(1_700_000_000), source: "reset".into(), outcome: "recovered".into(), failed: false };
            *self.state.lock().unwrap() = (AccountState::Recovered, Some(press));
            self.tell(EventKind::Fired, 3000);
        }
        self.tell(EventKind::Released, held_ms);
    }

    fn waiting(&self) -> Waiting {
        let _ = self.told.send(Told::Waiting);
        Waiting(self.told.clone())
    }
}

fn event(event: EventKind, held_ms: u64) -> Event {
    Event { event, source: "reset".into(), held_ms, detail: None }
}

/// Tells the test when the call that holds it is dropped.
struct Waiting(Sender<Told>);

impl Drop for Waiting {
    fn drop(&mut self) {
        let _ = self.0.send(Told::Dropped);
    }
}

impl Interface for Board {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        authorise(peer, self.owner)?;
        match call {
            Call::Status {} => Ok(Reply::Status(self.status())),
            Call::Monitor {} => {
                let mut events = self.events.subscribe();
                // Whoever has seen this one misses none that follow.
                replies.send(&Reply::Monitor(event(EventKind::Ready, 0))).await?;
                let _waiting = self.waiting();
                while let Ok(event) = events.recv().await {
                    replies.send(&Reply::Monitor(event)).await?;
                }
                Err(Failure::Gone)
            }
            Call::ShowDefaultPassword {} => Ok(Reply::DefaultPassword(DefaultPassword {
                password: Secret::new("00089BF0CAFE".into()),
                interface: Some("eth0".into()),
                origin: "simulated".into(),
            })),
            Call::DisableAccount {} => {
                self.state.lock().unwrap().0 = AccountState::Disabled;
                let _ = self.told.send(Told::Disabled);
                Ok(Reply::DONE)
            }
            Call::Press { hold_ms: FOR_EVER } => {
                let _waiting = self.waiting();
                std::future::pending().await
            }
            Call::Press { hold_ms: UNTIL_RELEASED } => {
                let _waiting = self.waiting();
                self.release.notified().await;
                let _ = self.told.send(Told::Released);
                Ok(Reply::DONE)
            }
            Call::Press { hold_ms: 0 } => Err(Failure::invalid("hold_ms")),
            Call::Press { hold_ms: 1 } => Err(Error::AccountsFailed { reason: "no space left".into() }.into()),
            Call::Press { hold_ms } => {
                self.press(hold_ms);
                let fired = self.state.lock().unwrap().1.clone().filter(|_| hold_ms >= 3000);
                Ok(Reply::Pressed(Pressed { fired }))
            }
        }
    }
}

/// How a service is started.
pub struct Setup {
    pub limits: Limits,
    pub identify: Identify,
    pub owner: Owner,
    pub release: Arc<Notify>,
}

impl Default for Setup {
    /// As in service, but the user who runs the test is let in.
    fn default() -> Self {
        let owner = Owner(nix::unistd::geteuid().as_raw());
        Self { limits: Limits::default(), identify: twostep::sys::peer::identify, owner, release: Arc::default() }
    }
}

/// A running service; dropped, it ends.
pub struct Service {
    folder: tempfile::TempDir,
    pub told: Receiver<Told>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    pub fn start(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (stop, stopped) = oneshot::channel();
        let (tell, told) = channel();
        let (ready, bound) = channel();
        let path = socket_in(folder.path());
        let thread = std::thread::spawn(move || {
            serve(&path, setup, tell, || ready.send(()).unwrap(), async { drop(stopped.await) });
        });
        bound.recv_timeout(SOON).unwrap();
        Self { folder, told, stop: Some(stop), thread: Some(thread) }
    }

    pub fn socket(&self) -> PathBuf {
        socket_in(self.folder.path())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) && !std::thread::panicking() {
            panic!("the service panicked");
        }
    }
}

fn socket_in(folder: &Path) -> PathBuf {
    folder.join("recovery.sock")
}

/// Serves on this thread until `stop`.
pub fn serve(path: &Path, setup: Setup, told: Sender<Told>, ready: impl FnOnce(), stop: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::bind(path).unwrap();
        ready();
        let state = Mutex::new((AccountState::Disabled, None));
        let board = Board { owner: setup.owner, state, events: broadcast::channel(64).0, told, release: setup.release };
        let server = Server::new(setup.identify).limits(setup.limits).interface(board);
        tokio::select! {
            never = server.serve(listener) => match never {},
            () = stop => {}
        }
    });
}
