//! What must outlive a crash, in SQLite: accounts, sealed secrets, used steps, failure counters, recovery codes, authenticators, trusted devices,
//! enforcement, delegations, audit.
//!
//! ```no_run
//! # use twostep_base::core::totp::{Mark, TimeStep};
//! # use twostep_base::engine::store::{Options, SealingKey, Store, StoreError};
//! # async fn example(options: Options, key: SealingKey, step: TimeStep, now: TimeStep) -> Result<(), StoreError> {
//! let store = Store::open(options, Some(key));
//! let found = store.read(|view| view.account(1000, "alice")).await?;
//! let first = store.write(move |tx| tx.mark_step(1000, step, Mark::Used, now)).await?; // durable when it returns
//! # Ok(()) }
//! ```
//!
//! - [`Store::write`]: a decision. The closure runs in the writer's transaction and sees all earlier decisions; the future ends after the commit
//!   is on the disk (B1, B2). So whatever a decision depends on is read **inside** the closure. An `Err` undoes this closure alone; a refusal
//!   that has changed nothing is better an `Ok` value.
//! - [`Store::read`]: a look at the committed state, beside the writer. It sees everything that was answered before it was asked.
//! - Closures run on the store's threads: they compute, and never wait.
//! - [`Store::note`]: an audit entry that carries no decision; it rides with the next commit.
//!
//! ```text
//!            open           damage                     restore, start_anew
//!  (folder) ─────► works ───────────► set aside ──────────────────────────► works
//!              │                     (over restarts)
//!              ├─ wrong or missing key, newer schema ─► refuses, file untouched ─ the right key or program, a restart ─► works
//!              └─ no folder, no space, read-only, locked ─► each call tries again ─► works
//! ```
//! In every state but `works` each call ends with [`StoreError::Failed`], whose text fits `StorageFailed`; [`Store::failure`] tells which.
//!
//! Not here: deciding anything (`core`), clocks (times are parameters), where the key comes from (`supervisor`), who may call (`core::policy`).

mod accounts;
mod audit;
mod authenticators;
mod backup;
mod codes;
mod courier;
mod date;
mod denials;
mod devices;
mod error;
mod members;
mod meta;
mod place;
mod policy;
mod reader;
mod restore;
mod revoked;
mod room;
mod schema;
mod seal;
mod shared;
mod steps;
mod view;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

pub use accounts::{Lookup, Stored};
pub use audit::AuditEntry;
pub use authenticators::Authenticator;
pub use backup::{BackupFile, Kind as BackupKind};
pub use denials::Denial;
pub use devices::{PER_ACCOUNT as DEVICES_PER_ACCOUNT, Trust, TrustedDevice};
pub use error::{Failure, StoreError};
pub use members::MOST as GROUPS_KEPT;
pub use meta::BelievedClocks;
pub use policy::{Role, Subject};
pub use restore::Report as RestoreReport;
pub use seal::{Hashed, Keys, Sealed, SealingKey};
pub use shared::State;
pub use steps::{FAR as STEPS_FAR, KEPT as STEPS_KEPT};
pub use view::{Tx, View};

use crate::core::time::Wall;
use crate::proto::privileged::Recovered;
use courier::{Couriers, Ends};
use place::Place;
use reader::Reader;
use shared::{Call, Job, Shared};
use writer::{Request, Writer};

/// A writer, a reader, and one that makes a copy.
pub(super) const THREADS: usize = 3;

/// Batches that may wait for a thread.
const QUEUE: usize = 2;

/// How one store is kept.
#[derive(Clone, Debug)]
pub struct Options {
    /// The engine's own folder; it exists, with mode 0700.
    pub folder: PathBuf,
    /// Dates the names of backups and of what is set aside.
    pub clock: fn() -> Wall,
    /// Backups kept of each kind, at least 1.
    pub backups: usize,
    /// Rows of the audit trail, at least 1; up to 1,023 more for a while.
    pub audit_rows: u32,
    /// Calls that may wait for the writer, and for the reader; more wait in their own tasks.
    pub queue: usize,
}

impl Options {
    /// The usual bounds.
    #[must_use]
    pub fn new(folder: PathBuf, clock: fn() -> Wall) -> Self {
        Self { folder, clock, backups: 5, audit_rows: 100_000, queue: 1024 }
    }
}

/// A handle on the store; clones are the same store. When the last one is dropped, what waits is committed and the files are closed.
#[derive(Clone)]
pub struct Store {
    writes: mpsc::Sender<Request>,
    reads: mpsc::Sender<Box<dyn Job>>,
    couriers: Arc<Couriers>,
    shared: Arc<Shared>,
    place: Arc<Place>,
    copying: Arc<tokio::sync::Mutex<()>>,
}

impl Store {
    /// Opens the database in the folder, or makes it at the first start; tries once before it returns, and never fails: see
    /// [`Store::failure`]. It starts two threads, which sleep while there is nothing to do.
    ///
    /// # Panics
    /// Where the system has no thread to give.
    #[must_use]
    pub fn open(options: Options, key: Option<SealingKey>) -> Self {
        let keys = key.as_ref().map(Keys::new);
        drop(key);
        let queue = options.queue.max(1);
        let place = Arc::new(Place { options, keys, steps: schema::STEPS });
        let shared = Arc::new(Shared::new());
        let (tell, done) = mpsc::unbounded_channel();
        let (writer, requests) = mpsc::channel(QUEUE);
        let work = Writer::new(Arc::clone(&place), Arc::clone(&shared), tell.clone());
        spawn("store-writer", move || work.run(requests));
        let (reader, asked) = mpsc::channel(QUEUE);
        let look = Reader { place: Arc::clone(&place), shared: Arc::clone(&shared), writer: writer.downgrade(), tell };
        spawn("store-reader", move || look.run(asked));
        let (tell, opened) = std::sync::mpsc::channel();
        // The queue is empty and the thread runs.
        let _ = writer.try_send(vec![Request::Open(tell)]);
        let _ = opened.recv();
        let ((to_writer, writes), (to_reader, reads)) = (mpsc::channel(queue), mpsc::channel(queue));
        let couriers = Arc::new(Couriers::new(Ends { writes, writer, reads, reader, done }));
        Self { writes: to_writer, reads: to_reader, couriers, shared, place, copying: Arc::default() }
    }

    /// Why the store does not work; `None` while it does.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.shared.failure()
    }

    /// Runs `work` in the next commit; ends after that is durable. Dropping the future does not undo it.
    ///
    /// # Errors
    /// Those of `work`, which undo it alone; those of the commit, which undo all of the commit.
    pub fn write<T, F>(&self, work: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        self.commit(work, true, std::convert::identity)
    }

    /// As [`write`](Self::write), for what every login does: `work` ends with an error only before it has written anything; a later one undoes the
    /// whole commit. Once the outcome is durable, `then` is given it, also where this future has been dropped meanwhile; it
    /// must not panic, since it runs where all outcomes are handed out.
    ///
    /// # Errors
    /// As [`write`](Self::write); `then` does not run.
    pub fn decide<T, F, R, A>(&self, work: F, then: A) -> impl Future<Output = Result<R, StoreError>> + Send
    where
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
        A: FnOnce(T) -> R + Send + 'static,
        R: Send + 'static,
    {
        self.commit(work, false, then)
    }

    /// The state of now, of all but used steps, the audit trail, the clocks and the trust that ends by them: what was read after this was asked is what
    /// a read would find, for as long as the state is the same. Whatever was answered before is in it. `None` while a commit changes it.
    ///
    /// It is that of this store: what another process writes into the file is no other state.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.shared.state()
    }

    /// The clocks of the last commit; `None` while the store does not work.
    #[must_use]
    pub fn believed_clocks(&self) -> Option<BelievedClocks> {
        self.shared.believed_clocks()
    }

    fn writer(&self) -> &mpsc::Sender<Request> {
        self.couriers.start();
        &self.writes
    }

    /// The job is made at once, so that the future has no room for `work` and `then`.
    fn commit<T, F, R, A>(&self, work: F, guarded: bool, then: A) -> impl Future<Output = Result<R, StoreError>> + Send
    where
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
        A: FnOnce(T) -> R + Send + 'static,
        R: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Box<dyn Job> = Box::new(Call { work: Some(work), outcome: None, guarded, then, reply });
        async move {
            self.writer().send(Request::Job(job)).await.map_err(|_| StoreError::Closed)?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Runs `look` on the committed state.
    ///
    /// # Errors
    /// Those of `look`, and any of the storage.
    pub fn read<T, F>(&self, look: F) -> impl Future<Output = Result<T, StoreError>> + Send
    where
        F: FnOnce(&View<'_>) -> Result<T, StoreError> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let (work, then) = (Some(move |tx: &Tx<'_>| look(tx)), std::convert::identity);
        let job: Box<dyn Job> = Box::new(Call { work, outcome: None, guarded: false, then, reply });
        async move {
            self.couriers.start();
            self.reads.send(job).await.map_err(|_| StoreError::Closed)?;
            answer.await.unwrap_or(Err(StoreError::Closed))
        }
    }

    /// Leaves an audit entry for the next commit, whoever makes it. At most 1,024 wait; what is lost is counted in the trail.
    pub fn note(&self, entry: AuditEntry) {
        self.shared.note(entry);
    }

    /// Whether entries wait for a commit.
    #[must_use]
    pub fn has_notes(&self) -> bool {
        self.shared.has_notes()
    }

    /// Commits the entries that wait.
    ///
    /// # Errors
    /// Those of the commit.
    pub async fn flush(&self) -> Result<(), StoreError> {
        self.write(|_| Ok(())).await
    }

    /// Follows the id of the newest committed audit entry.
    #[must_use]
    pub fn audited(&self) -> watch::Receiver<i64> {
        self.shared.audited.subscribe()
    }

    /// The subkeys, for hashes that stay in memory; `None` without a key.
    #[must_use]
    pub fn keys(&self) -> Option<&Keys> {
        self.place.keys.as_ref()
    }

    /// Makes a consistent copy beside the running writer, checks it whole, and gives its name. It takes a thread for as long as that lasts.
    ///
    /// # Errors
    /// [`StoreError::BackupRunning`], [`StoreError::NearlyFull`] for an automatic one, and any of the storage. A copy that is found damaged means that the database is: it is set aside.
    pub async fn backup(&self, kind: BackupKind) -> Result<String, StoreError> {
        let guard = Arc::clone(&self.copying).try_lock_owned().map_err(|_| StoreError::BackupRunning)?;
        self.read(|_| Ok(())).await?;
        let (reply, answer) = oneshot::channel();
        let place = Arc::clone(&self.place);
        spawn("store-backup", move || {
            let room = if kind == BackupKind::Automatic { backup::has_room(&place.options.folder) } else { Ok(()) };
            let made = room.and_then(|()| place::connect(&place.database())).and_then(|db| copy_checked(&place, &db, kind));
            // First: whoever has the answer may ask for the next one.
            drop(guard);
            let _ = reply.send(made);
        });
        let made = answer.await.unwrap_or(Err(StoreError::Closed));
        if let Err(StoreError::Corrupt(what)) = &made {
            let _ = self.writer().send(Request::Damaged(what.clone())).await;
        }
        made
    }

    /// The backups in the folder, the oldest first.
    ///
    /// # Errors
    /// Where the folder can't be read.
    pub fn backups(&self) -> Result<Vec<BackupFile>, StoreError> {
        backup::list(&self.place.options.folder)
    }

    /// Puts a backup back, also while the database is set aside; see [`RestoreReport`] for what it merges. Other calls wait meanwhile. On an error
    /// the present state goes on. `standing`: whom the button has brought back, as the supervisor told it.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBackup`], [`StoreError::UnusableBackup`], [`StoreError::BackupRunning`], and any of the storage.
    pub async fn restore(&self, name: String, standing: Option<Recovered>) -> Result<RestoreReport, StoreError> {
        let _guard = self.copying.try_lock().map_err(|_| StoreError::BackupRunning)?;
        let (reply, answer) = oneshot::channel();
        self.writer().send(Request::Restore((name, standing), reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Begins with an empty database, once the old one is set aside or refused. Nothing is deleted. It is an operator's last resort.
    ///
    /// # Errors
    /// [`StoreError::Works`] where there is no need, and any of the storage.
    pub async fn start_anew(&self) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        self.writer().send(Request::StartAnew(reply)).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Commits what waits, closes the files, and ends when that is done. Later calls end with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.writer().send(Request::Close(done)).await.is_ok() {
            let _ = closed.await;
        }
    }
}

/// A damaged copy is the database's own damage only where that shows it too.
fn copy_checked(place: &Place, db: &rusqlite::Connection, kind: BackupKind) -> Result<String, StoreError> {
    match backup::copy(&place.options, db, kind) {
        Err(StoreError::Corrupt(what)) => {
            place::check_whole(db)?;
            Err(StoreError::Io(format!("the copy came out damaged ({what}); the database itself is whole")))
        }
        other => other,
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) {
    // 256 KiB: SQLite's own frames and a closure's.
    let thread = std::thread::Builder::new().name(name.into()).stack_size(256 << 10).spawn(work);
    thread.expect("a thread for the store");
}
