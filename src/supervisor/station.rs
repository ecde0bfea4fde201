//! What the loop and root's own socket share: the buttons, the recovery, who listens, and the way to the engine.
//!
//! Whatever may wait for a disk, a lock or a hash runs on a thread, and to its end, also where the one who asked for it has gone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use log::{error, info, warn};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{JoinHandle, spawn_blocking};

use super::buttons::{Buttons, Kind, NotSimulated};
use super::child::Tell;
use super::feedback::{Feedback, Pattern};
use super::hooks;
use super::password::{DefaultPassword, NoStableAddress, Source};
use super::recovery::{self, AccountState, Done, PreparedHash, Recovery, StartAction, WindowEnd};
use super::run::Machine;
use crate::core::time::BootTime;
use crate::proto::privileged::Recovered;
use crate::proto::recovery as wire;
use crate::sys::atomic_file::RealDisk;

/// How many events a slow listener may lag behind before it loses some.
const EVENTS: usize = 64;

/// How long after a press its release may take to be published.
const NOTICED: Duration = Duration::from_secs(2);

/// See the module.
pub struct Station {
    /// The machine this runs on.
    pub machine: Machine,
    /// Its buttons.
    pub buttons: Buttons,
    /// Its lights and beepers.
    pub feedback: Feedback,
    recovery: Mutex<Recovery>,
    /// Where the default password is from.
    source: Source,
    /// When the open window's end has to be looked at.
    window: watch::Sender<Option<BootTime>>,
    /// What [`account`](Self::account) saw last; none before anybody looked.
    seen: Mutex<Option<Seen>>,
    /// Why a source is missing, by its name.
    missing: Mutex<BTreeMap<String, String>>,
    events: broadcast::Sender<wire::Event>,
    engine: mpsc::UnboundedSender<Tell>,
    /// Presses that are being carried out.
    under_way: watch::Sender<u32>,
}

/// The account's state, and the last press.
pub type Seen = (AccountState, Option<wire::Press>);

/// A hash that is being made while the button is held.
pub type Preparing = JoinHandle<Result<PreparedHash, String>>;

impl Station {
    /// Puts the parts together.
    #[must_use]
    pub fn new(machine: Machine, buttons: Buttons, recovery: Recovery, source: Source, engine: mpsc::UnboundedSender<Tell>) -> Arc<Self> {
        let mut shown = machine.board.clone();
        if !machine.config.button.feedback {
            shown.feedback.clear();
        }
        let feedback = Feedback::open(&shown, &machine.paths.root);
        Arc::new(Self {
            machine,
            buttons,
            feedback,
            window: watch::Sender::new(recovery.window_ends()),
            seen: Mutex::new(None),
            missing: Mutex::default(),
            recovery: Mutex::new(recovery),
            source,
            events: broadcast::Sender::new(EVENTS),
            engine,
            under_way: watch::Sender::new(0),
        })
    }

    /// Every event from now on.
    pub fn listen(&self) -> broadcast::Receiver<wire::Event> {
        self.events.subscribe()
    }

    /// Why this source is missing, where it is.
    #[must_use]
    pub fn missing(&self, source: &str) -> Option<String> {
        self.missing.lock().unwrap_or_else(PoisonError::into_inner).get(source).cloned()
    }

    /// Tells whoever listens.
    pub fn publish(&self, event: wire::Event) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        match (event.event, &event.detail) {
            (wire::EventKind::Missing, Some(reason)) => drop(missing.insert(event.source.clone(), reason.clone())),
            (wire::EventKind::Ready, _) => drop(missing.remove(&event.source)),
            _ => {}
        }
        drop(missing);
        // Nobody may be listening.
        let _ = self.events.send(event);
    }

    /// Tells the engine's keeper.
    pub fn tell_engine(&self, tell: Tell) {
        if self.engine.send(tell).is_err() {
            warn!("the engine's keeper has ended");
        }
    }

    /// When the open window's end has to be looked at, as it changes.
    #[must_use]
    pub fn window(&self) -> watch::Receiver<Option<BootTime>> {
        self.window.subscribe()
    }

    /// The default password as it is now.
    ///
    /// # Errors
    /// Where nothing stable is found.
    pub async fn default_password(self: &Arc<Self>) -> Result<DefaultPassword, NoStableAddress> {
        let station = Arc::clone(self);
        join(spawn_blocking(move || station.source.find())).await
    }

    /// Begins to make the hash of the default password.
    #[must_use]
    pub fn prepare(self: &Arc<Self>) -> Preparing {
        let station = Arc::clone(self);
        spawn_blocking(move || {
            let password = station.source.find_for_a_press().map_err(|e| e.to_string())?;
            recovery::prepare(station.machine.config.recovery.hash, &password).map_err(|e| e.to_string())
        })
    }

    /// Carries a press out on threads of its own.
    pub fn carry_out(self: &Arc<Self>, source: &str, prepared: Option<Preparing>) {
        let station = Arc::clone(self);
        let source = source.to_owned();
        station.under_way.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let prepared = join(prepared.unwrap_or_else(|| station.prepare())).await;
            let fired = station.with(move |station, recovery| {
                let fired = match prepared {
                    Ok(hash) => recovery.fire(&source, hash, &recovery::now()),
                    Err(reason) => Err(recovery.refused(&source, reason, &recovery::now())),
                };
                station.look_or_log(recovery);
                fired
            });
            match join(fired).await {
                Ok(done) => station.follow_up(&done),
                // Record and log have the reason.
                Err(_) => station.feedback.show(Pattern::Failed),
            }
            station.under_way.send_modify(|count| *count -= 1);
        });
    }

    /// What a start finds to do about an earlier press.
    pub fn start(self: &Arc<Self>) {
        let station = Arc::clone(self);
        station.under_way.send_modify(|count| *count += 1);
        tokio::spawn(async move {
            let acted = station.with(|station, recovery| {
                // While a press that was cut off is carried out, this is what status shows.
                station.look_or_log(recovery);
                let acted = recovery.at_start(&recovery::now());
                (acted, recovery.standing().map(|(account, _)| account.to_owned()))
            });
            match join(acted).await {
                (Ok(StartAction::CarriedOut(done)), _) => station.follow_up(&done),
                // Those of a press that was cut off before they ran; they run once.
                (Ok(StartAction::WindowGoesOn(_)), Some(account)) => station.run_hooks(account),
                (Ok(_), _) => {}
                (Err(e), _) => error!("an earlier press: {e}"),
            }
            station.under_way.send_modify(|count| *count -= 1);
        });
    }

    /// Looks whether the window has ended, or what came of a press in doubt.
    pub fn end_window(self: &Arc<Self>) {
        // Until it has been looked at, there is nothing to wait for.
        self.window.send_replace(None);
        let station = Arc::clone(self);
        tokio::spawn(async move {
            let ended = station.with(|_, recovery| {
                let ended = recovery.window_ended(&recovery::now());
                (ended, recovery.standing().map(|(account, _)| account.to_owned()))
            });
            match join(ended).await {
                (Ok(WindowEnd::CarriedOut(done)), _) => station.follow_up(&done),
                // As at a start, where its record could not be read.
                (Ok(WindowEnd::NotYet), Some(account)) => station.run_hooks(account),
                (Ok(_), _) => {}
                (Err(e), _) => error!("an earlier press, tried again in a minute: {e}"),
            }
        });
    }

    /// Turns the account off. To its end, also where the caller has gone.
    ///
    /// # Errors
    /// The reason, for people.
    pub async fn turn_off(self: &Arc<Self>, by: String) -> Result<(), String> {
        let off =
            self.with(move |_, recovery| recovery.turn_off(&recovery::now(), &format!("turned off by {by}")).map_err(|e| e.to_string()));
        join(off).await
    }

    /// The account now, and the last press. While a press waits for the account files' lock, it is what was seen last.
    ///
    /// # Errors
    /// The reason, for people.
    pub async fn account(self: &Arc<Self>) -> Result<Seen, String> {
        let station = Arc::clone(self);
        join(spawn_blocking(move || {
            let mut recovery = match station.recovery.try_lock() {
                Ok(recovery) => recovery,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => {
                    // Let go before the other lock is waited for, whose holder may want this one.
                    let seen = station.seen().clone();
                    match seen {
                        Some(seen) => return Ok(seen),
                        None => station.lock(),
                    }
                }
            };
            station.look(&mut recovery)
        }))
        .await
    }

    fn look(&self, recovery: &mut Recovery) -> Result<Seen, String> {
        let last = recovery.last().map(|last| wire::Press { at: last.at, source: last.source, outcome: last.outcome, failed: last.failed });
        let seen = recovery.account_state(&recovery::now()).map(|state| (state, last.clone())).map_err(|e| e.to_string());
        match (&seen, &mut *self.seen()) {
            (Ok(seen), known) => *known = Some(seen.clone()),
            // What came of a press is known also where the account files can't be read.
            (Err(_), Some((_, known))) => *known = last,
            (Err(_), None) => {}
        }
        seen
    }

    fn look_or_log(&self, recovery: &mut Recovery) {
        if let Err(e) = self.look(recovery) {
            error!("the account: {e}");
        }
    }

    fn seen(&self) -> MutexGuard<'_, Option<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Presses the simulated button; answers when what it did is done, with the press where it fired.
    ///
    /// # Errors
    /// The board has a real one.
    pub async fn press(&self, hold: Duration) -> Result<Option<wire::Press>, NotSimulated> {
        let mut events = self.listen();
        self.buttons.press(hold).await?;
        if hold < self.machine.config.button.hold {
            return Ok(None);
        }
        let sources = self.buttons.sources();
        let simulated = sources.iter().find(|(_, kind, _)| *kind == Kind::Simulated).map(|(name, ..)| name.as_str());
        let mut fired = false;
        let released = async {
            while let Ok(event) = events.recv().await {
                let own = Some(event.source.as_str()) == simulated;
                fired |= own && event.event == wire::EventKind::Fired;
                if own && event.event == wire::EventKind::Released {
                    break;
                }
            }
        };
        // A press that was no press (a stuck button) has no release.
        let _ = tokio::time::timeout(NOTICED, released).await;
        let mut under_way = self.under_way.subscribe();
        // The sender lives as long as we do.
        let _ = under_way.wait_for(|count| *count == 0).await;
        Ok(self.seen().as_ref().and_then(|(_, last)| last.clone()).filter(|_| fired))
    }

    /// What follows a press that brought the account back.
    fn follow_up(self: &Arc<Self>, done: &Done) {
        self.feedback.show(Pattern::Fired);
        self.run_hooks(done.account.clone());
        info!("{} is back: second step off, default password set", done.account);
    }

    /// Those that have not run yet, unless systemd starts them.
    fn run_hooks(self: &Arc<Self>, account: String) {
        if self.machine.runs_hooks {
            let station = Arc::clone(self);
            drop(spawn_blocking(move || run_hooks(&station.machine, &account)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recovery> {
        // A thread that panicked has left the files consistent (each step is atomic), so its lock is as good as any.
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T: Send + 'static>(self: &Arc<Self>, act: impl FnOnce(&Arc<Self>, &mut Recovery) -> T + Send + 'static) -> JoinHandle<T> {
        let station = Arc::clone(self);
        spawn_blocking(move || {
            let mut recovery = station.lock();
            let stood = recovered(&recovery);
            let outcome = act(&station, &mut recovery);
            // Whatever else went wrong meanwhile.
            match recovered(&recovery) {
                stands if stands == stood => {}
                Some(stands) => station.tell_engine(Tell::Recovered(stands)),
                None => station.tell_engine(Tell::RecoveryOver),
            }
            let ends = recovery.window_ends();
            station.window.send_if_modified(|window| std::mem::replace(window, ends) != ends);
            outcome
        })
    }
}

fn run_hooks(machine: &Machine, account: &str) {
    if let Err(e) = hooks::run_pending(&RealDisk, &machine.paths, account, machine.config.recovery.hook_time) {
        error!("the hooks were not run: {e}");
    }
}

/// The account that the engine must know as recovered.
#[must_use]
pub fn recovered(recovery: &Recovery) -> Option<Recovered> {
    recovery.standing().map(|(account, press)| Recovered { account: account.into(), press: press.cast_signed() })
}

/// A thread's outcome. Threads here are neither aborted nor unwound (the release build aborts), so a failed join is a broken program.
async fn join<T>(thread: JoinHandle<T>) -> T {
    match thread.await {
        Ok(outcome) => outcome,
        Err(e) => std::panic::resume_unwind(e.into_panic()),
    }
}

#[cfg(test)]
mod tests;
