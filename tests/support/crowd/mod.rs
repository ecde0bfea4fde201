//! A NAS with many accounts, each with a phone of its own: the real twostepd engine, the real twostep-web, and phones that reach the one through
//! the other over TLS and approve what they are asked.
//!
//! ```text
//!   login service ── Start, Challenge, Wait ──► engine ◄── twostep-web ◄══ TLS ══ phones, all at one address
//! ```
//! A phone looks at nothing but its own account: it panics where it is shown another's login. What it approves is compared with what the login
//! service was told, so a login that was verified by anybody else's approval does not pass.

mod nas;
mod phone;
#[path = "../port.rs"]
pub mod port;
mod service;
pub mod tls;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use twostep::core::time::Monotonic;
use twostep::sys::clock;

pub use nas::Nas;
use phone::Phone;
use tls::Way;

/// How long anything may take that must come at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The NAS, and the phones of its accounts.
pub struct Crowd {
    pub nas: Nas,
    pub way: Arc<Way>,
    phones: Vec<Arc<Phone>>,
    /// What the phone of each account has approved last.
    approvals: Arc<Vec<Mutex<Option<Approval>>>>,
}

/// One approval, before it was sent.
pub struct Approval {
    number: String,
    posted: Monotonic,
}

/// How long one login took.
pub struct Took {
    /// From the approval's first byte until the login service knew.
    pub approved: Duration,
    /// From Start until then.
    pub whole: Duration,
}

/// Phones that wait, and approve; they hang up when this is dropped.
pub struct Waiting(JoinSet<()>);

impl Waiting {
    /// Whether all of them still wait.
    pub fn are_all_there(&mut self) -> bool {
        self.0.try_join_next().is_none()
    }
}

impl Crowd {
    /// Starts both processes, with so many accounts.
    pub async fn start(accounts: usize) -> Self {
        let phones: Vec<Arc<Phone>> = (0..accounts).map(|index| Arc::new(Phone::new(index))).collect();
        let nas = Nas::start(&phones).await;
        let way = Arc::new(nas.way());
        timeout(PATIENCE, phones[0].is_carried_for(&way)).await.expect("twostep-web finds the engine");
        Self { nas, way, phones, approvals: Arc::new((0..accounts).map(|_| Mutex::default()).collect()) }
    }

    /// The first so many phones begin to wait. `afresh`: each decides over a connection that is made for that; else over one that it keeps.
    pub async fn wait(&self, phones: usize, afresh: bool) -> Waiting {
        let (tell, mut told) = mpsc::channel(phones);
        let mut waiting = JoinSet::new();
        for phone in &self.phones[..phones] {
            let (phone, way, approvals, tell) = (Arc::clone(phone), Arc::clone(&self.way), Arc::clone(&self.approvals), tell.clone());
            waiting.spawn(async move { phone.waits(&way, &approvals, afresh, tell).await });
        }
        drop(tell);
        for _ in 0..phones {
            let ready = timeout(PATIENCE, told.recv()).await.expect("each phone waits in time");
            ready.expect("no phone was refused");
        }
        Waiting(waiting)
    }

    /// So many logins, one after the other account, one begun each `pace` while fewer than `at_once` are open; all of them are verified by the
    /// phone of their account.
    pub async fn log_in(&self, logins: usize, accounts: usize, (pace, at_once): (Duration, usize)) -> Vec<Took> {
        // So no account's next login comes before its last one is over.
        assert!(at_once <= accounts);
        let (turns, mut beat) = (Arc::new(Semaphore::new(at_once)), interval(pace));
        let mut open = JoinSet::new();
        for login in 0..logins {
            beat.tick().await;
            let turn = Arc::clone(&turns).acquire_owned().await.expect("never closed");
            let (index, socket, approvals) = (login % accounts, self.nas.socket(), Arc::clone(&self.approvals));
            open.spawn(async move {
                let begun = clock::monotonic();
                let number = timeout(PATIENCE, service::log_in(&socket, &phone::user(index))).await.expect("verified in time");
                let known = clock::monotonic();
                let approval = approvals[index].lock().expect("unbroken").take().expect("its own phone has approved");
                assert_eq!(approval.number, number, "the number that was at the login, of {}", phone::user(index));
                drop(turn);
                Took { approved: known - approval.posted, whole: known - begun }
            });
        }
        let mut took = Vec::with_capacity(logins);
        while let Some(done) = open.join_next().await {
            took.push(done.expect("a login that is verified"));
        }
        took
    }
}
