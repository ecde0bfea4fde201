//! What a job sees: [`View`] reads, [`Tx`] also writes. Their methods stand in the file of each topic.

use std::cell::{Cell, RefCell};
use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, Params, Row};

use super::error::StoreError;
use super::seal::{Hashed, Keys};
use super::shared::State;
use super::steps::Marked;
use crate::core::time::Wall;

/// The committed state (inside a write: with what this commit has so far).
pub struct View<'a> {
    pub(super) db: &'a Connection,
    pub(super) keys: &'a Keys,
    pub(super) seen: Seen,
    /// Whether a statement that may write has run; see [`Tx::begin_job`].
    wrote: Cell<bool>,
    /// The state that the transaction began with; `None` but in the writer's commits, for a reader may see a later one.
    began: Option<State>,
    /// Whether the transaction has changed that; see `Store::state`.
    changed: Cell<bool>,
    /// The statements so far, with the text that each was made of: to find one by the text's place is far quicker than by the text.
    statements: RefCell<Vec<(&'static str, CachedStatement<'a>)>>,
}

/// What is asked for again and again and hardly ever changes: looked up once for all jobs of a group.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) believed_clock: Cell<Option<Option<Wall>>>,
    /// Whether the transaction has changed it.
    pub(super) clocks_changed: Cell<bool>,
    pub(super) enforced_groups: Cell<Option<bool>>,
    pub(super) denials: Cell<Option<bool>>,
    /// Of the account that was last asked for.
    pub(super) last_mark: Cell<Option<(u32, Option<Marked>)>>,
}

/// One job's part of a commit. What it did is undone when the job returns an error: alone, or with the whole commit (`Store::decide`).
pub struct Tx<'a>(View<'a>);

impl<'a> Tx<'a> {
    pub(super) fn new(db: &'a Connection, keys: &'a Keys) -> Self {
        Self::since(None, db, keys)
    }

    /// The one writer's transaction, begun in this state.
    pub(super) fn since(began: Option<State>, db: &'a Connection, keys: &'a Keys) -> Self {
        let view = View {
            db,
            keys,
            seen: Seen::default(),
            wrote: Cell::default(),
            began,
            changed: Cell::default(),
            statements: RefCell::default(),
        };
        Self(view)
    }

    /// The state that this commit has before it, for as long as nothing in it has changed that: what is known of this very state need not be read.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        self.began.filter(|_| !self.changed())
    }

    /// A job begins.
    pub(super) fn begin_job(&self) {
        self.wrote.set(false);
    }

    /// Whether it has written.
    pub(super) fn wrote(&self) -> bool {
        self.wrote.get()
    }

    /// Whether it has changed what a [`State`] stands for.
    pub(super) fn changed(&self) -> bool {
        self.changed.get()
    }

    /// A job was undone: what it saw may have been its own.
    pub(super) fn forget_seen(&self) {
        self.seen.believed_clock.set(None);
        self.seen.enforced_groups.set(None);
        self.seen.denials.set(None);
        self.seen.last_mark.set(None);
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.0
    }
}

impl<'a> View<'a> {
    /// The keyed hash of a text for an account; see [`Keys::hash`].
    #[must_use]
    pub fn hash(&self, what: Hashed, uid: u32, text: &[u8]) -> [u8; 32] {
        self.keys.hash(what, uid, text)
    }

    /// Lends the statement to `use_it`, which runs no other one meanwhile.
    fn with<T>(&self, sql: &'static str, use_it: impl FnOnce(&mut CachedStatement<'a>) -> rusqlite::Result<T>) -> Result<T, StoreError> {
        let mut statements = self.statements.borrow_mut();
        let place = match statements.iter().position(|(text, _)| std::ptr::eq(*text, sql)) {
            Some(place) => place,
            None => {
                statements.push((sql, self.db.prepare_cached(sql)?));
                statements.len() - 1
            }
        };
        Ok(use_it(&mut statements[place].1)?)
    }

    /// Runs a statement and gives the number of rows that it changed.
    pub(super) fn run(&self, sql: &'static str, params: impl Params) -> Result<usize, StoreError> {
        self.changed.set(true);
        self.run_aside(sql, params)
    }

    /// The same for what no [`State`] stands for: used steps, the audit trail, the clocks and the trust that ends by them, and transactions
    /// themselves.
    pub(super) fn run_aside(&self, sql: &'static str, params: impl Params) -> Result<usize, StoreError> {
        self.wrote.set(true);
        self.with(sql, |statement| statement.execute(params))
    }

    /// The first row, where there is one.
    pub(super) fn first<T>(&self, sql: &'static str, params: impl Params, row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Found<T> {
        self.with(sql, |statement| statement.query(params)?.next()?.map(row).transpose())
    }

    /// All rows; the statement bounds their number.
    pub(super) fn all<T>(
        &self,
        sql: &'static str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        self.with(sql, |statement| statement.query_map(params, row)?.collect())
    }
}

type Found<T> = Result<Option<T>, StoreError>;
