//! The supervisor's loop: button events in; hashes prepared, presses carried out, windows ended; the service manager told.
//!
//! ```text
//! Pressed ──► the hash is prepared (a thread)
//! Fired ────► the press is carried out (a thread; one after another) ──► engine told, feedback, log
//! window ends ──► the account is turned off, or stays where it has a password of its own
//! ```
//!
//! Nothing here waits for the engine, and nothing blocks: what may wait (locks, disks, hashing) runs on a thread of its own.

use std::fs::{self, DirBuilder, File, Permissions};
use std::future::Future;
use std::io::{self, IsTerminal};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use nix::fcntl::{Flock, FlockArg};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::buttons::{ButtonEvent, Buttons};
use super::child::{Keeper, Spec, Tell};
use super::feedback::Pattern;
use super::guesses::Guesses;
use super::password::{DefaultPassword, Source};
use super::password_worker::Judge;
use super::recovery::{Recovery, tally};
use super::recovery_socket::RecoveryInterface;
use super::station::{Preparing, Station, recovered};
use crate::config::board::Board;
use crate::config::paths::Paths;
use crate::config::{self, Config, Handover, LogTarget, Password};
use crate::core::gesture::Event;
use crate::core::time::BootTime;
use crate::proto::recovery as wire;
use crate::proto::server::Server;
use crate::sys::atomic_file::RealDisk;
use crate::sys::{clock, peer, systemd};

/// Where no service manager names a period, the engine is asked this often whether it is alive.
const TICK: Duration = Duration::from_secs(30);

/// The mode of the shared socket.
pub const SHARED: u32 = 0o666;

/// The mode of root's own socket.
const PRIVATE: u32 = 0o600;

/// How many button events may wait.
const QUEUE: usize = 64;

/// What the supervisor runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where everything is.
    pub paths: Paths,
    /// The checked configuration.
    pub config: Config,
    /// What is wrong with its file, a line each: then the engine, which the rest of it is for, does not run.
    pub fault: Option<String>,
    /// Whether all the same the file is understood in what it says about a press. Where it is not, the account is a guess.
    pub certain: bool,
    /// The board.
    pub board: Board,
    /// How passwords are checked.
    pub judge: Judge,
    /// The user that the engine becomes; absent where the supervisor is not root, or in a demo.
    pub user: Option<&'static str>,
    /// The uid that counts as root beside 0.
    pub owner: u32,
    /// Whether the supervisor runs the hooks itself; under systemd a path unit does.
    pub runs_hooks: bool,
}

/// Why the supervisor could not start.
pub type Fault = Box<dyn std::error::Error>;

/// Supervises until SIGTERM, SIGINT or `stop`. `ready` is called once the sockets are served and the buttons watched.
///
/// # Errors
/// Where it could not start.
pub fn block_on(machine: Machine, ready: impl FnOnce(), stop: impl Future<Output = ()>) -> Result<(), Fault> {
    // One thread for the loop; few and short-lived ones for what may wait.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(24)
        .thread_keep_alive(Duration::from_secs(1))
        .build()?;
    let ended = runtime.block_on(supervise(machine, ready, stop));
    // A press that is being carried out is not waited for: what it has not done, the next start does.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn supervise(mut machine: Machine, ready: impl FnOnce(), stop: impl Future<Output = ()>) -> Result<(), Fault> {
    lay_folders(&machine.paths);
    let _only_one = claim(&machine.paths)?;
    let (recovery, source) = recovery(&mut machine)?;
    // The button works without either socket.
    let shared = machine.fault.is_none().then(|| logged(bind(&machine.paths.socket(), SHARED))).flatten();
    let private = logged(bind(&machine.paths.recovery_socket(), PRIVATE));
    let (tell, tells) = mpsc::unbounded_channel();
    let keeping = match &machine.fault {
        None => tokio::spawn(Keeper::new(engine(&machine, shared)?, tells, recovered(&recovery)).run()),
        Some(_) => tokio::spawn(unheard(tells)),
    };
    let (send, mut events) = mpsc::channel(QUEUE);
    let buttons = Buttons::start(&machine.board, &machine.config.button, &machine.paths.root, send);
    let owner = machine.owner;
    let station = Station::new(machine, buttons, recovery, source, tell);
    let server = Server::new(peer::identify).interface(RecoveryInterface(Arc::clone(&station)));
    let server = server.privileged(move |peer| peer.is_root() || peer.uid == owner);
    let private = private.and_then(|private| logged(tokio::net::UnixListener::from_std(private)));
    let serving = private.map(|private| tokio::spawn(server.serve(private)));
    station.start();
    tokio::spawn(report_password(Arc::clone(&station)));
    foresee_tally(station.machine.paths.clone());
    systemd::ready();
    ready();
    attend(&station, &mut events, stop).await?;
    systemd::stopping();
    if let Some(serving) = serving {
        serving.abort();
        // Its tasks hold the station, and with it the way to the keeper.
        let _ = serving.await;
    }
    drop(station);
    // The keeper ends when the last sender of its messages is gone; an engine that hangs is ended with us.
    let _ = tokio::time::timeout(Duration::from_secs(3), keeping).await;
    Ok(())
}

/// The last press, and where the default password is from. By a configuration that is in doubt or can't work, an open window still ends, and nothing
/// else is done.
fn recovery(machine: &mut Machine) -> Result<(Recovery, Source), Fault> {
    let open = |Machine { paths, config, board, .. }: &Machine| {
        let source = Source::new(&config.recovery, board, &paths.root);
        let asked = source.clone();
        Recovery::open(paths.clone(), config.recovery.clone(), Box::new(move || asked.find())).map(|recovery| (recovery, source))
    };
    let (opened, source) = match open(machine) {
        Ok(opened) if machine.certain => return Ok(opened),
        Err(refused) => {
            error!("{refused}; until then there is neither a button nor a second step");
            machine.fault.get_or_insert_with(|| refused.to_string());
            machine.config.button.enabled = false;
            machine.config.recovery = config::Recovery::default();
            open(machine)?
        }
        Ok(opened) => opened,
    };
    let recovery = opened.in_doubt(machine.fault.as_deref().and_then(|fault| fault.lines().next()).unwrap_or_default());
    recovery.account().clone_into(&mut machine.config.recovery.account);
    Ok((recovery, source))
}

/// On a thread of its own: the folder may be on a disk that does not answer, and the button waits for none.
fn foresee_tally(paths: Paths) {
    drop(tokio::task::spawn_blocking(move || {
        if let Some(foreseen) = tally::foresee(&RealDisk, &paths) {
            warn!("{foreseen}");
        }
    }));
}

/// Where no engine runs there is nobody to tell.
async fn unheard(mut tells: mpsc::UnboundedReceiver<Tell>) {
    while tells.recv().await.is_some() {}
}

fn engine(machine: &Machine, listener: Option<UnixListener>) -> Result<Spec, Fault> {
    let mut config = machine.config.clone();
    // The engine can't learn the default password, nor where it comes from.
    config.recovery.password = Password::default();
    // Its lines come through the supervisor, which sends them where its own go.
    config.log.target = LogTarget::Stderr;
    let handover = Handover { config, paths: machine.paths.clone(), owner: machine.owner };
    let guesses = Guesses::open(Arc::new(RealDisk), machine.paths.state.join("passwords.json"));
    Ok(Spec {
        program: "/proc/self/exe".into(),
        listener,
        handover: serde_json::to_value(handover)?,
        paths: machine.paths.clone(),
        mail_password: machine.config.mail.password_file.clone().map(PathBuf::from),
        judge: machine.judge.clone(),
        guesses,
        user: machine.user,
    })
}

/// Turns one event after another into deeds.
async fn attend(station: &Arc<Station>, events: &mut mpsc::Receiver<ButtonEvent>, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    // There it says that the terminal is gone; anywhere else it is somebody's habit, and no reason to leave the button alone.
    let at_terminal = io::stderr().is_terminal();
    let mut tick = tokio::time::interval(systemd::watchdog_period().unwrap_or(TICK));
    // After a stall one tick is enough.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick of an interval comes at once.
    tick.tick().await;
    let mut window = station.window();
    let mut preparing = None;
    tokio::pin!(stop);
    loop {
        let ends = *window.borrow_and_update();
        tokio::select! {
            Some(event) = events.recv() => react(station, event, &mut preparing),
            () = end_of(ends) => station.end_window(),
            _ = window.changed() => {}
            _ = tick.tick() => {
                systemd::alive();
                station.tell_engine(Tell::Tick);
                // Where the timer itself fails.
                if ends.is_some_and(|ends| clock::boot_time() >= ends) {
                    station.end_window();
                }
            }
            _ = terminate.recv() => break info!("stopped by SIGTERM"),
            _ = interrupt.recv() => break info!("stopped by SIGINT"),
            _ = hangup.recv() => {
                if at_terminal {
                    break info!("stopped by SIGHUP: its terminal is gone");
                }
                warn!("SIGHUP changes nothing: restart to read the configuration again");
            }
            () = &mut stop => break,
        }
    }
    Ok(())
}

/// What one event means. The hash is prepared while the button is held, so that firing finds it ready.
fn react(station: &Arc<Station>, event: ButtonEvent, preparing: &mut Option<Preparing>) {
    let ButtonEvent { source, event } = event;
    match &event {
        // Whoever fidgets with the button gets one hash at a time.
        Event::Pressed if preparing.as_ref().is_none_or(Preparing::is_finished) => *preparing = Some(station.prepare()),
        Event::Pressed => {}
        Event::Holding { .. } => station.feedback.show(Pattern::Tick),
        Event::Fired { held } => {
            info!("{source}: held for {} ms", held.as_millis());
            station.carry_out(&source, preparing.take());
        }
        Event::Released { fired: false, .. } => station.feedback.show(Pattern::Off),
        Event::Released { .. } => {}
        Event::Ignored { reason } => info!("{source}: press ignored: {reason}"),
        Event::Stuck { held } => {
            warn!("{source}: held for {} s: taken as stuck, nothing more happens until it was released", held.as_secs());
            station.feedback.show(Pattern::Off);
        }
        Event::Missing { reason } => warn!("{source}: missing: {reason}"),
        Event::Ready => info!("{source}: ready"),
    }
    station.publish(on_the_wire(&source, &event));
}

fn on_the_wire(source: &str, event: &Event) -> wire::Event {
    let (kind, held, detail) = match event {
        Event::Pressed => (wire::EventKind::Pressed, Duration::ZERO, None),
        Event::Holding { held } => (wire::EventKind::Holding, *held, None),
        Event::Fired { held } => (wire::EventKind::Fired, *held, None),
        Event::Released { held, .. } => (wire::EventKind::Released, *held, None),
        Event::Ignored { reason } => (wire::EventKind::Ignored, Duration::ZERO, Some(reason.to_string())),
        Event::Stuck { held } => (wire::EventKind::Stuck, *held, None),
        Event::Missing { reason } => (wire::EventKind::Missing, Duration::ZERO, Some(reason.clone())),
        Event::Ready => (wire::EventKind::Ready, Duration::ZERO, None),
    };
    let held_ms = u64::try_from(held.as_millis()).unwrap_or(u64::MAX);
    wire::Event { event: kind, source: source.into(), held_ms, detail }
}

/// Waits for the end of an open window; for ever where none is open.
async fn end_of(window: Option<BootTime>) {
    match window {
        Some(ends) => {
            if let Err(e) = clock::wait_for(ends).await {
                error!("no timer for the window's end ({e}); looking again in a minute");
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
        }
        None => std::future::pending().await,
    }
}

/// Says at the start already whether there is a default password, not only at the press.
async fn report_password(station: Arc<Station>) {
    match station.default_password().await {
        Ok(DefaultPassword { interface: Some(interface), origin, .. }) => info!("default password: from {interface}, {origin}"),
        Ok(found) => info!("default password: from {}", found.origin),
        Err(e) => error!("a press will be refused: {e}"),
    }
}

/// The folders, where packaging has not made them, with their modes whatever the umask is. Without them the button still works.
fn lay_folders(paths: &Paths) {
    for (folder, mode) in [(&paths.state, 0o711), (&paths.run, 0o755)] {
        if !folder.is_dir() {
            let made =
                DirBuilder::new().recursive(true).create(folder).and_then(|()| fs::set_permissions(folder, Permissions::from_mode(mode)));
            logged(made.map_err(|e| named(folder, &e)));
        }
    }
}

/// What failed is said, and done without.
fn logged<T>(done: io::Result<T>) -> Option<T> {
    done.map_err(|e| error!("{e}")).ok()
}

/// Keeps a second supervisor of the same folder out.
fn claim(paths: &Paths) -> io::Result<Flock<File>> {
    let path = paths.run.join("lock");
    let file = File::options().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(|e| named(&path, &e))?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|(_, _)| io::Error::other(format!("{}: another twostepd is running here; stop it first", path.display())))
}

/// A listening socket in the place of one that a former supervisor has left; nobody listens on that any more (see [`claim`]).
pub fn bind(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let bound = || -> io::Result<UnixListener> {
        match fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    bound().map_err(|e| named(path, &e))
}

pub fn named(path: &Path, e: &io::Error) -> io::Error {
    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
}
