//! The one thread that writes: whatever jobs have come in since the last commit share the next one, and no answer leaves before it.
//!
//! ```text
//!            jobs waiting                 one after another            durable
//!   blocked ─────────────► BEGIN IMMEDIATE ───────────────────► COMMIT ───────► answers ──► log written back, if it has grown ──► blocked
//!                               │                                 │                         else room made in it, if little is left
//!                               │ storage fault                   │
//!                               └──────────► ROLLBACK ◄───────────┘ all jobs of the group are answered with the fault; nothing was applied
//! ```
//! A job that fails for its own reasons undoes only itself; a savepoint is made for that, but not for the decisions of logins, which are to fail
//! before they write.
//!
//! Not here: what jobs do, how files are opened or set aside (`place`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::audit::AuditEntry;
use super::courier::{Batch, Done, GROUP};
use super::error::{Failure, StoreError};
use super::place::{self, Place, unavailable};
use super::restore;
use super::room::Room;
use super::shared::{Job, Shared};
use super::view::Tx;
use crate::proto::privileged::Recovered;

/// What the writer is asked to do.
pub(super) enum Request {
    /// A job for the next commit.
    Job(Box<dyn Job>),
    /// Try to open the database, if it is not.
    Open(std::sync::mpsc::Sender<()>),
    /// A reader has met damage.
    Damaged(String),
    /// Put the backup of this name back; and whom the button has brought back.
    Restore((String, Option<Recovered>), oneshot::Sender<Result<restore::Report, StoreError>>),
    /// Begin with an empty database.
    StartAnew(oneshot::Sender<Result<(), StoreError>>),
    /// Commit what waits, write the log back, close, end.
    Close(oneshot::Sender<()>),
}

/// Pages in the log (8 MiB) after which it is written back. A page that many logins have changed is written back once for all of them.
const LOG: i32 = 2000;

pub(super) struct Writer {
    place: Arc<Place>,
    shared: Arc<Shared>,
    tell: mpsc::UnboundedSender<Done>,
    /// `None` while the store does not work; `shared` then says why.
    db: Option<Connection>,
    /// Pages in the log after the last commit, as SQLite tells.
    log: Arc<AtomicI32>,
    /// Pages in the log that were left when it was last written back.
    left: i32,
    room: Room,
}

impl Writer {
    pub(super) fn new(place: Arc<Place>, shared: Arc<Shared>, tell: mpsc::UnboundedSender<Done>) -> Self {
        let room = Room::new(place.log());
        Self { place, shared, tell, db: None, log: Arc::default(), left: 0, room }
    }

    /// Works until told to close, or until nobody is left who could ask.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Batch<Request>>) {
        let (mut batches, mut jobs, mut closing) = (Vec::new(), Vec::new(), None);
        while closing.is_none() && requests.blocking_recv_many(&mut batches, GROUP) > 0 {
            for request in batches.drain(..).flatten() {
                match request {
                    Request::Job(job) => jobs.push(job),
                    other => {
                        self.commit(&mut jobs);
                        closing = self.act(other).or(closing);
                    }
                }
                // More wait for the next commit, so that one stays short.
                if jobs.len() >= GROUP {
                    self.commit(&mut jobs);
                }
            }
            self.commit(&mut jobs);
        }
        requests.close();
        if self.shared.has_notes()
            && let Err(error) = self.commit_group(&mut [])
        {
            log::warn!("audit entries are lost: {error}");
        }
        self.shut(&Failure::Unavailable(Box::new(StoreError::Closed)));
        if let Some(done) = closing {
            let _ = done.send(());
        }
    }

    fn act(&mut self, request: Request) -> Option<oneshot::Sender<()>> {
        match request {
            Request::Job(_) => {}
            Request::Open(done) => {
                let _ = self.opened();
                let _ = done.send(());
            }
            Request::Damaged(what) => self.damaged(&what),
            Request::Restore((name, standing), reply) => {
                let _ = reply.send(self.restore(&name, standing.as_ref()));
            }
            Request::StartAnew(reply) => {
                let _ = reply.send(self.start_anew());
            }
            Request::Close(done) => return Some(done),
        }
        None
    }

    /// Commits the jobs together and has them answered.
    fn commit(&mut self, jobs: &mut Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let fate = self.commit_group(jobs).err();
        // Where nobody is left to settle it, nobody waits.
        let _ = self.tell.send(Done { jobs: std::mem::take(jobs), fate: fate.clone() });
        match fate {
            None => self.write_log_back(),
            Some(StoreError::Corrupt(what)) => self.damaged(&what),
            // After a failed sync or the like, what SQLite holds in memory may not be what the disk has: begin again from the disk.
            Some(error @ (StoreError::Io(_) | StoreError::ReadOnly)) => self.shut(&unavailable(error)),
            Some(_) => {}
        }
    }

    fn commit_group(&mut self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        self.opened()?;
        let Some(db) = &self.db else { return Err(StoreError::Closed) };
        let keys = self.place.keys().map_err(StoreError::Failed)?;
        let tx = Tx::since(self.shared.state(), db, keys);
        let notes = self.shared.take_notes();
        // What waits is older than the jobs: the trail keeps the order.
        let done = run_group(&tx, jobs, &notes).and_then(|before| {
            let last = tx.last_audit()?;
            tx.trim_audit(self.place.options.audit_rows, before, last)?;
            let clocks = if tx.seen.clocks_changed.get() { Some(tx.believed_clocks()?) } else { None };
            self.run_commit(&tx)?;
            Ok((before, last, clocks))
        });
        match done {
            Ok((before, last, clocks)) => {
                if clocks.is_some() {
                    self.shared.set_believed_clocks(clocks);
                }
                if last != before {
                    self.shared.audited.send_replace(last);
                }
                Ok(())
            }
            Err(error) => {
                self.shared.put_back(notes);
                if !db.is_autocommit()
                    && let Err(second) = tx.run_aside("ROLLBACK", [])
                {
                    // A connection that can't even roll back is of no use; closing it does.
                    return Err(StoreError::Io(format!("{error}; {second}")));
                }
                log::error!("a commit failed: {error}");
                Err(error)
            }
        }
    }

    /// Commits; before the answers the state is another one, where it has changed.
    fn run_commit(&self, tx: &Tx<'_>) -> Result<(), StoreError> {
        let changed = tx.changed();
        if changed {
            self.shared.changing();
        }
        let done = tx.run_aside("COMMIT", []);
        if changed {
            self.shared.changed();
        }
        done.map(drop)
    }

    /// Opens the database where it is not open and may be tried again.
    fn opened(&mut self) -> Result<(), StoreError> {
        if self.db.is_some() {
            return Ok(());
        }
        if let Some(failure) = self.shared.failure()
            && !matches!(failure, Failure::Unavailable(_))
        {
            return Err(StoreError::Failed(failure));
        }
        match self.place.open().and_then(|db| self.adopt(db)) {
            Ok(()) => Ok(()),
            Err(failure) => {
                self.shared.set_failure(Some(failure.clone()));
                Err(StoreError::Failed(failure))
            }
        }
    }

    fn adopt(&mut self, mut db: Connection) -> Result<(), Failure> {
        let log = Arc::clone(&self.log);
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            log.store(pages, Ordering::Relaxed);
            Ok(())
        }))
        .map_err(|error| unavailable(error.into()))?;
        let last = Tx::new(&db, self.place.keys()?).last_audit().map_err(unavailable)?;
        self.shared.audited.send_replace(last);
        self.shared.set_believed_clocks(Some(Tx::new(&db, self.place.keys()?).believed_clocks().map_err(unavailable)?));
        self.left = 0;
        self.room = Room::new(self.place.log());
        self.db = Some(db);
        self.shared.set_failure(None);
        Ok(())
    }

    /// Closes writer's and reader's connection; calls fail with `failure` from now on.
    fn shut(&mut self, failure: &Failure) {
        self.shared.set_failure(Some(failure.clone()));
        self.shared.set_believed_clocks(None);
        self.shared.close_reader();
        if let Some(db) = self.db.take()
            && let Err(error) = place::close(db)
        {
            log::warn!("closing the database: {error}");
        }
    }

    fn damaged(&mut self, what: &str) {
        if self.db.is_some() {
            self.shut(&unavailable(StoreError::Corrupt(what.to_owned())));
            let failure = self.place.set_aside(what);
            self.shared.set_failure(Some(failure));
        }
    }

    /// Copies the log into the database once it has grown by [`LOG`] pages; until then there is to be room in it. A reader may keep it from being
    /// complete; then it goes on later.
    fn write_log_back(&mut self) {
        let pages = self.log.load(Ordering::Relaxed);
        if pages < self.left {
            self.left = 0;
        }
        let Some(db) = self.db.as_ref() else { return };
        if pages - self.left < LOG {
            // It gets longer than that where readers are always there, and many write: they share what a commit costs.
            if pages < LOG {
                self.room.keep(u64::try_from(pages).unwrap_or_default());
            }
            return;
        }
        self.left = pages;
        let done = db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(StoreError::from);
        match done {
            Ok(()) => {}
            Err(StoreError::Corrupt(what)) => self.damaged(&what),
            // Nothing is lost: the log holds it all, and the next attempt comes.
            Err(error) => log::warn!("writing the database's log back: {error}"),
        }
    }

    fn restore(&mut self, name: &str, standing: Option<&Recovered>) -> Result<restore::Report, StoreError> {
        // Where it can be opened, what it counted is merged.
        let _ = self.opened();
        let mut report = restore::build(&self.place, self.db.as_ref(), (name, standing))?;
        self.shut(&unavailable(StoreError::Locked));
        let swapped = restore::swap(&self.place);
        // Whatever is there now is what goes on, the restored database or the former one.
        self.opened()?;
        report.kept = swapped?;
        Ok(report)
    }

    fn start_anew(&mut self) -> Result<(), StoreError> {
        match self.opened() {
            Ok(()) => return Err(StoreError::Works),
            // A missing key, or a disk that is full today, is no reason to give up a database.
            Err(StoreError::Failed(failure @ (Failure::Unavailable(_) | Failure::MissingKey))) => return Err(StoreError::Failed(failure)),
            Err(_) => {}
        }
        if self.place.database().exists() {
            self.place.set_aside("started anew by an operator");
        }
        if self.place.database().exists() {
            return Err(StoreError::Io("the old database can't be set aside".into()));
        }
        self.place.create()?;
        self.shared.set_failure(None);
        self.opened()
    }
}

/// Runs the jobs inside a new transaction; gives the id of the newest audit entry before it.
fn run_group(tx: &Tx<'_>, jobs: &mut [Box<dyn Job>], notes: &VecDeque<AuditEntry>) -> Result<i64, StoreError> {
    tx.run_aside("BEGIN IMMEDIATE", [])?;
    let before = tx.last_audit()?;
    notes.iter().try_for_each(|note| tx.audit(note))?;
    for job in jobs {
        if job.is_guarded() {
            run_guarded(tx, job.as_mut())?;
        } else {
            tx.begin_job();
            match job.run(tx) {
                Some(fault) if fault.is_fault() => return Err(fault),
                // Another's reason is nobody's business.
                Some(error) if tx.wrote() => {
                    log::error!("a decision broke off after it had written: {error}");
                    return Err(StoreError::Io("another decision of the same commit broke off".into()));
                }
                _ => {}
            }
        }
    }
    Ok(before)
}

fn run_guarded(tx: &Tx<'_>, job: &mut dyn Job) -> Result<(), StoreError> {
    tx.run_aside("SAVEPOINT job", [])?;
    match job.run(tx) {
        Some(fault) if fault.is_fault() => return Err(fault),
        Some(_) => {
            tx.run_aside("ROLLBACK TO job", [])?;
            tx.forget_seen();
        }
        None => {}
    }
    tx.run_aside("RELEASE job", [])?;
    Ok(())
}
