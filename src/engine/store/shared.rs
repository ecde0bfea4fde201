//! What callers, writer and reader share: jobs, the state, audit entries that wait.
//!
//! Locks here are held for moments and never across a commit, but for the reader's own connection.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::audit::AuditEntry;
use super::error::{Failure, StoreError};
use super::meta::BelievedClocks;
use super::view::Tx;

/// One call, with its answer kept until the commit is known.
pub(super) trait Job: Send {
    /// Whether what it did is undone alone where it fails after it has written.
    fn is_guarded(&self) -> bool;
    /// Does the work; gives the error it ended with.
    fn run(&mut self, tx: &Tx<'_>) -> Option<StoreError>;
    /// Answers: with the work's own outcome, or with the fate of the whole commit where that failed.
    fn answer(self: Box<Self>, fate: Option<&StoreError>);
}

/// A [`Job`] made of closures: the work, and what is done with its outcome once that is durable.
pub(super) struct Call<F, T, A, R> {
    pub(super) work: Option<F>,
    pub(super) outcome: Option<Result<T, StoreError>>,
    pub(super) guarded: bool,
    pub(super) then: A,
    pub(super) reply: oneshot::Sender<Result<R, StoreError>>,
}

impl<F, T, A, R> Job for Call<F, T, A, R>
where
    F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send,
    T: Send,
    A: FnOnce(T) -> R + Send,
    R: Send,
{
    fn is_guarded(&self) -> bool {
        self.guarded
    }

    fn run(&mut self, tx: &Tx<'_>) -> Option<StoreError> {
        let outcome = self.work.take()?(tx);
        let error = outcome.as_ref().err().cloned();
        self.outcome = Some(outcome);
        error
    }

    fn answer(self: Box<Self>, fate: Option<&StoreError>) {
        let outcome = match fate {
            Some(error) => Err(error.clone()),
            None => self.outcome.unwrap_or(Err(StoreError::Closed)),
        };
        // Whoever hung up needs no answer.
        let _ = self.reply.send(outcome.map(self.then));
    }
}

/// Audit entries that wait for the next commit; more are counted and lost.
const NOTES: usize = 1024;

#[derive(Default)]
struct Notes {
    waiting: VecDeque<AuditEntry>,
    lost: u64,
}

/// Names a committed state; see `Store::state`. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State(u64);

pub(super) struct Shared {
    failure: Mutex<Option<Failure>>,
    /// Odd while a commit that changes it is under way.
    state: AtomicU64,
    clocks: Mutex<Option<BelievedClocks>>,
    notes: Mutex<Notes>,
    reader: Mutex<Option<Connection>>,
    /// The id of the newest committed audit entry.
    pub(super) audited: watch::Sender<i64>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            failure: Mutex::default(),
            state: AtomicU64::default(),
            clocks: Mutex::default(),
            notes: Mutex::default(),
            reader: Mutex::default(),
            audited: watch::Sender::new(0),
        }
    }

    pub(super) fn failure(&self) -> Option<Failure> {
        lock(&self.failure).clone()
    }

    pub(super) fn set_failure(&self, failure: Option<Failure>) {
        let mut known = lock(&self.failure);
        *known = failure;
        // Whoever is told of it finds another state.
        self.state.fetch_add(2, Ordering::AcqRel);
    }

    pub(super) fn state(&self) -> Option<State> {
        let state = self.state.load(Ordering::Acquire);
        state.is_multiple_of(2).then_some(State(state))
    }

    /// A commit that changes the state begins to be seen. From here to [`changed`](Self::changed) the reader may see what came before it or after.
    pub(super) fn changing(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    /// It is seen by all, or has failed.
    pub(super) fn changed(&self) {
        self.state.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn believed_clocks(&self) -> Option<BelievedClocks> {
        *lock(&self.clocks)
    }

    pub(super) fn set_believed_clocks(&self, clocks: Option<BelievedClocks>) {
        *lock(&self.clocks) = clocks;
    }

    /// The reader's connection; while it is held, the files are not moved.
    pub(super) fn reader(&self) -> MutexGuard<'_, Option<Connection>> {
        lock(&self.reader)
    }

    pub(super) fn close_reader(&self) {
        drop(self.reader().take());
    }

    pub(super) fn note(&self, entry: AuditEntry) {
        let mut notes = lock(&self.notes);
        if notes.waiting.len() < NOTES {
            notes.waiting.push_back(entry);
        } else {
            notes.lost += 1;
        }
    }

    pub(super) fn has_notes(&self) -> bool {
        !lock(&self.notes).waiting.is_empty()
    }

    pub(super) fn take_notes(&self) -> VecDeque<AuditEntry> {
        let mut notes = lock(&self.notes);
        let mut taken = std::mem::take(&mut notes.waiting);
        if notes.lost > 0
            && let Some(last) = taken.back()
        {
            let detail = Some(format!("{} entries were lost: more than fit between two commits", notes.lost));
            let lost = AuditEntry { at: last.at, event: "audit_lost".into(), by: "engine".into(), detail, ..AuditEntry::default() };
            taken.push_back(lost);
            notes.lost = 0;
        }
        taken
    }

    /// The commit failed: they wait on, ahead of what has come since.
    pub(super) fn put_back(&self, mut taken: VecDeque<AuditEntry>) {
        let mut notes = lock(&self.notes);
        taken.append(&mut notes.waiting);
        notes.lost += taken.len().saturating_sub(NOTES) as u64;
        taken.truncate(NOTES);
        notes.waiting = taken;
    }
}

/// What a panicking job left is whole: each lock guards one assignment.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_state_while_a_commit_changes_it_and_another_one_after_it_or_a_failure() {
        let shared = Shared::new();
        let before = shared.state().unwrap();
        shared.changing();
        assert_eq!(shared.state(), None, "the reader may see either");
        shared.changed();
        let after = shared.state().unwrap();
        assert!(after > before);
        shared.set_failure(Some(Failure::MissingKey));
        assert!(shared.state().unwrap() > after);
    }
}
