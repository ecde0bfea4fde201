//! The thread that reads, on a connection of its own: a read waits neither for a commit nor stops the event loop while a disk spins up.
//!
//! All reads that wait share one snapshot, which begins after they were asked for: each sees whatever was answered before it.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::courier::{Batch, Done};
use super::error::{Failure, StoreError};
use super::place::{self, Place};
use super::shared::{Job, Shared};
use super::view::Tx;
use super::writer::Request;

pub(super) struct Reader {
    pub(super) place: Arc<Place>,
    pub(super) shared: Arc<Shared>,
    pub(super) writer: mpsc::WeakSender<Batch<Request>>,
    pub(super) tell: mpsc::UnboundedSender<Done>,
}

impl Reader {
    /// Works until nobody is left who could ask.
    pub(super) fn run(self, mut reads: mpsc::Receiver<Batch<Box<dyn Job>>>) {
        while let Some(mut jobs) = reads.blocking_recv() {
            let fate = self.read_group(&mut jobs).err();
            if let Some(StoreError::Corrupt(what)) = &fate {
                // Before the answers: no later call is to write into a damaged database.
                self.ask(Request::Damaged(what.clone()));
            }
            // Where nobody is left to settle it, nobody waits.
            let _ = self.tell.send(Done { jobs, fate });
        }
    }

    fn read_group(&self, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        if self.shared.failure().is_some() {
            let (done, waits) = std::sync::mpsc::channel();
            self.ask(Request::Open(done));
            let _ = waits.recv();
        }
        let mut connection = self.shared.reader();
        // Asked again under the lock: from here on the writer does not move the files.
        match self.shared.failure() {
            Some(Failure::Unavailable(error)) if *error == StoreError::Closed => return Err(StoreError::Closed),
            Some(failure) => return Err(StoreError::Failed(failure)),
            None => {}
        }
        let db = match connection.take() {
            Some(db) => db,
            None => open(&self.place)?,
        };
        self.read_all(&db, jobs)?;
        *connection = Some(db);
        Ok(())
    }

    /// On an error the connection is dropped, and the next read begins with a fresh one.
    fn read_all(&self, db: &Connection, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
        let tx = Tx::new(db, self.place.keys().map_err(StoreError::Failed)?);
        tx.run_aside("BEGIN", [])?;
        for job in jobs {
            if let Some(fault) = job.run(&tx).filter(StoreError::is_fault) {
                return Err(fault);
            }
        }
        tx.run_aside("COMMIT", [])?;
        Ok(())
    }

    fn ask(&self, request: Request) {
        if let Some(writer) = self.writer.upgrade() {
            let _ = writer.blocking_send(vec![request]);
        }
    }
}

fn open(place: &Place) -> Result<Connection, StoreError> {
    let db = place::connect(&place.database())?;
    // Its pages are loaded anew after each commit, so that to look at each of their cells takes half of all that it does, and finds little that a
    // look-up does not. Each day's backup is checked whole.
    db.execute_batch("PRAGMA query_only = ON; PRAGMA cell_size_check = OFF;")?;
    Ok(db)
}
