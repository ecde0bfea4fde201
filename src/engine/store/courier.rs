//! Carries calls to the store's threads, and outcomes back, as many together as there are.
//!
//! ```text
//!   calls ──► carry ──► writer ──┐
//!   calls ──► carry ──► reader ──┴──► settle ──► callers
//! ```
//! To wake a thread that sleeps costs more than most calls do. A courier's turn comes behind the tasks that are ready, so all that these ask for
//! is carried at once, and all that a thread has done wakes the event loop once.
//!
//! Not here: what the threads make of it.

use std::sync::{Mutex, Once, PoisonError};

use tokio::sync::mpsc;

use super::error::StoreError;
use super::shared::Job;
use super::writer::Request;

/// So many go together at most.
pub(super) const GROUP: usize = 256;

/// Calls for a thread, in their order.
pub(super) type Batch<T> = Vec<T>;

/// Jobs that a thread is done with.
pub(super) struct Done {
    pub(super) jobs: Vec<Box<dyn Job>>,
    /// What befell all of them.
    pub(super) fate: Option<StoreError>,
}

/// What the couriers go between.
pub(super) struct Ends {
    pub(super) writes: mpsc::Receiver<Request>,
    pub(super) writer: mpsc::Sender<Batch<Request>>,
    pub(super) reads: mpsc::Receiver<Box<dyn Job>>,
    pub(super) reader: mpsc::Sender<Batch<Box<dyn Job>>>,
    pub(super) done: mpsc::UnboundedReceiver<Done>,
}

/// The couriers: tasks of the runtime in which the first call is made.
pub(super) struct Couriers {
    started: Once,
    ends: Mutex<Option<Ends>>,
}

impl Couriers {
    pub(super) fn new(ends: Ends) -> Self {
        Self { started: Once::new(), ends: Mutex::new(Some(ends)) }
    }

    /// Sets them going, where they are not.
    pub(super) fn start(&self) {
        self.started.call_once(|| {
            if let Some(Ends { writes, writer, reads, reader, done }) = self.ends.lock().unwrap_or_else(PoisonError::into_inner).take() {
                tokio::spawn(carry(writes, writer));
                tokio::spawn(carry(reads, reader));
                tokio::spawn(settle(done));
            }
        });
    }
}

/// Until nobody is left who could call, or the thread has ended.
async fn carry<T>(mut calls: mpsc::Receiver<T>, thread: mpsc::Sender<Batch<T>>) {
    loop {
        let mut batch = Vec::new();
        if calls.recv_many(&mut batch, GROUP).await == 0 || thread.send(batch).await.is_err() {
            return;
        }
    }
}

/// Until both threads have ended.
async fn settle(mut done: mpsc::UnboundedReceiver<Done>) {
    while let Some(Done { jobs, fate }) = done.recv().await {
        for job in jobs {
            job.answer(fate.as_ref());
        }
    }
}
