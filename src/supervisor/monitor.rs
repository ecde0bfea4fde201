//! The requests that root answers: the whole of what a compromised engine could ask for.
//!
//! `proto::privileged::Ledger` has decided whether a request may come now; here it is carried out. A password check runs in a worker
//! ([`password_worker`]), a few at once, the others wait. Each attempt is counted, on disk, **before** it is made, so that neither many at once
//! nor a crash in between gives a guess for free; only the right password takes the count back. Whether the clock is synchronised is found out in
//! [`synchronisation`](super::synchronisation), and not more often than once in some seconds, however often it is asked.

use std::sync::{Arc, Mutex, PoisonError};

use log::{info, warn};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

use super::guesses::Guesses;
use super::password_worker::{self, Checked, Judge, LONGEST_CHECK};
use super::synchronisation::Synchronisation;
use crate::core::lockout::Gate;
use crate::proto::privileged::{Order, PasswordOutcome};
use crate::proto::secret::Secret;
use crate::sys::clock;

/// So many checks run at once.
const AT_ONCE: usize = 4;

/// What root needs to answer with.
#[derive(Debug)]
pub struct Monitor {
    judge: Judge,
    guesses: Arc<Mutex<Guesses>>,
    places: Arc<Semaphore>,
    synchronisation: Arc<Synchronisation>,
    open: JoinSet<Order>,
}

impl Monitor {
    /// Nothing was asked yet.
    #[must_use]
    pub fn new(judge: Judge, guesses: Guesses, synchronisation: Synchronisation) -> Self {
        let (guesses, places) = (Arc::new(Mutex::new(guesses)), Arc::new(Semaphore::new(AT_ONCE)));
        Self { judge, guesses, places, synchronisation: Arc::new(synchronisation), open: JoinSet::new() }
    }

    /// Begins a password check.
    pub fn check_password(&mut self, id: u64, account: String, password: Secret) {
        let (judge, guesses, places) = (self.judge.clone(), Arc::clone(&self.guesses), Arc::clone(&self.places));
        self.open.spawn(async move {
            // The semaphore is never closed.
            let _place = places.acquire().await;
            let outcome = check(&judge, &guesses, account, password).await;
            Order::PasswordChecked { id, outcome }
        });
    }

    /// Finds out whether the clock is synchronised.
    pub fn ask_clock(&mut self) {
        let synchronisation = Arc::clone(&self.synchronisation);
        self.open.spawn(async move { Order::ClockTold { synchronised: synchronisation.is_known().await } });
    }

    /// The next answer; waits for ever where nothing was asked.
    pub async fn answer(&mut self) -> Order {
        loop {
            match self.open.join_next().await {
                Some(Ok(order)) => return order,
                // Neither aborted (that is `forget`) nor unwound.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Ends all that is open: the engine that asked is gone.
    pub fn forget(&mut self) {
        self.open = JoinSet::new();
    }
}

async fn check(judge: &Judge, guesses: &Arc<Mutex<Guesses>>, account: String, password: Secret) -> PasswordOutcome {
    let name = account.clone();
    let counted = with(guesses, move |g| match g.gate(&name, &clock::moment()) {
        Gate::Open { .. } => g.count(&name, &clock::moment()).map(|()| None),
        closed => Ok(Some(closed.retry_after().unwrap_or(1))),
    });
    match counted.await {
        Ok(None) => {}
        Ok(Some(retry_after)) => return PasswordOutcome::Waiting { retry_after },
        Err(reason) => return PasswordOutcome::Unavailable { reason },
    }
    match password_worker::check(judge, &account, password, LONGEST_CHECK).await {
        Checked::Accepted => settle(guesses, account, Guesses::reset, PasswordOutcome::Accepted {}).await,
        Checked::Refused => {
            info!(target: "audit", "password account={account:?} outcome=wrong");
            with(guesses, move |g| Ok(PasswordOutcome::Wrong { retry_after: g.gate(&account, &clock::moment()).retry_after() }))
                .await
                .unwrap_or_else(|reason: String| PasswordOutcome::Unavailable { reason })
        }
        Checked::Unavailable(reason) => {
            warn!("password of {account:?} not checked: {reason}");
            settle(guesses, account, Guesses::take_back, PasswordOutcome::Unavailable { reason }).await
        }
    }
}

/// Changes the count, then answers; a count that can't be kept decides nothing.
async fn settle(
    guesses: &Arc<Mutex<Guesses>>,
    account: String,
    change: fn(&mut Guesses, &str) -> Result<(), String>,
    outcome: PasswordOutcome,
) -> PasswordOutcome {
    match with(guesses, move |g| change(g, &account)).await {
        Ok(()) => outcome,
        Err(reason) => PasswordOutcome::Unavailable { reason },
    }
}

/// Runs on a thread: the counts are on a disk.
async fn with<T: Send + 'static>(
    guesses: &Arc<Mutex<Guesses>>,
    act: impl FnOnce(&mut Guesses) -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    let guesses = Arc::clone(guesses);
    let done = spawn_blocking(move || act(&mut guesses.lock().unwrap_or_else(PoisonError::into_inner)));
    done.await.map_err(|e| e.to_string())?
}
