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
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::buttons::{ButtonEvent, Buttons};
use super::child::{Keeper, Spec, Tell};
use super::feedback::Pattern;
use super::recovery::Recovery;
use super::recovery_socket::RecoveryInterface;
use super::station::{Preparing, Station, recovered};
use crate::config::board::Board;
use crate::config::paths::Paths;
use crate::config::{Config, Handover};
use crate::core::gesture::Event;
use crate::core::time::BootTime;
use crate::proto::recovery as wire;
use crate::proto::server::Server;
use crate::sys::{clock, peer, systemd};

/// Where no service manager names a period, the engine is asked this often whether it is alive.
const TICK: Duration = Duration::from_secs(30);

/// How many button events, and how many messages to the engine's keeper, may wait.
const QUEUE: usize = 64;

/// What the supervisor runs on.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Where everything is.
    pub paths: Paths,
    /// The checked configuration.
    pub config: Config,
    /// The board.
    pub board: Board,
    /// The user that the engine becomes; absent where the supervisor is not root, or in a demo.
    pub user: Option<(Uid, Gid)>,
    /// The uid that counts as root beside 0.
    pub owner: u32,
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
        .max_blocking_threads(8)
        .thread_keep_alive(Duration::from_secs(1))
        .build()?;
    let ended = runtime.block_on(supervise(machine, ready, stop));
    // A press that is being carried out is not waited for: what it has not done, the next start does.
    runtime.shutdown_timeout(Duration::from_secs(2));
    ended
}

async fn supervise(machine: Machine, ready: impl FnOnce(), stop: impl Future<Output = ()>) -> Result<(), Fault> {
    lay_folders(&machine.paths)?;
    let _only_one = claim(&machine.paths)?;
    let shared = bind(&machine.paths.socket(), 0o666)?;
    let private = bind(&machine.paths.recovery_socket(), 0o600)?;
    let recovery = Recovery::open(machine.paths.clone(), machine.config.recovery.clone())?;
    let (tell, tells) = mpsc::channel(QUEUE);
    let keeper = Keeper::new(engine(&machine, shared)?, tells, recovered(&recovery));
    let (send, mut events) = mpsc::channel(QUEUE);
    let buttons = Buttons::start(&machine.board, &machine.config.button, &machine.paths.root, send);
    let owner = machine.owner;
    let station = Station::new(machine, buttons, recovery, tell);
    let server = Server::new(peer::identify).interface(RecoveryInterface(Arc::clone(&station)));
    let server = server.privileged(move |peer| peer.is_root() || peer.uid == owner);
    let serving = tokio::spawn(server.serve(tokio::net::UnixListener::from_std(private)?));
    let keeping = tokio::spawn(keeper.run());
    station.start();
    tokio::spawn(report_password(Arc::clone(&station)));
    systemd::ready();
    ready();
    attend(&station, &mut events, stop).await?;
    systemd::stopping();
    serving.abort();
    drop((station, serving));
    // The keeper ends when the last sender of its messages is gone; an engine that hangs is ended with us.
    let _ = tokio::time::timeout(Duration::from_secs(3), keeping).await;
    Ok(())
}

/// Turns one event after another into deeds.
async fn attend(station: &Arc<Station>, events: &mut mpsc::Receiver<ButtonEvent>, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut tick = tokio::time::interval(systemd::watchdog_period().unwrap_or(TICK));
    // The first tick of an interval comes at once.
    tick.tick().await;
    let mut preparing = None;
    tokio::pin!(stop);
    loop {
        let ends = station.window_ends().await?;
        tokio::select! {
            Some(event) = events.recv() => react(station, &event, &mut preparing),
            () = until(ends) => station.end_window().await,
            () = station.window_changed.notified() => {}
            _ = tick.tick() => {
                systemd::alive();
                station.tell_engine(Tell::Tick);
            }
            _ = terminate.recv() => break info!("stopped by SIGTERM"),
            _ = interrupt.recv() => break info!("stopped by SIGINT"),
            () = &mut stop => break,
        }
    }
    Ok(())
}
