//! What a job sees: [`View`] reads, [`Tx`] also writes. Their methods stand in the file of each topic.

use std::ops::Deref;

use rusqlite::{CachedStatement, Connection, OptionalExtension, Params, Row};

use super::error::StoreError;
use super::seal::{Hashed, Keys};

/// The committed state (inside a write: with what this commit has so far).
pub struct View<'a> {
    pub(super) db: &'a Connection,
    pub(super) keys: &'a Keys,
}

/// One job's part of a commit. What it did is undone when the job returns an error.
pub struct Tx<'a>(View<'a>);

impl<'a> Tx<'a> {
    pub(super) fn new(db: &'a Connection, keys: &'a Keys) -> Self {
        Self(View { db, keys })
    }
}

impl<'a> Deref for Tx<'a> {
    type Target = View<'a>;
    fn deref(&self) -> &View<'a> {
        &self.0
    }
}

impl View<'_> {
    /// The keyed hash of a text for an account; see [`Keys::hash`].
    #[must_use]
    pub fn hash(&self, what: Hashed, uid: u32, text: &[u8]) -> [u8; 32] {
        self.keys.hash(what, uid, text)
    }

    pub(super) fn prepared(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.db.prepare_cached(sql)?)
    }

    /// Runs a statement and gives the number of rows that it changed.
    pub(super) fn run(&self, sql: &str, params: impl Params) -> Result<usize, StoreError> {
        Ok(self.prepared(sql)?.execute(params)?)
    }

    /// The first row, where there is one.
    pub(super) fn first<T>(&self, sql: &str, params: impl Params, row: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>) -> Found<T> {
        Ok(self.prepared(sql)?.query_row(params, row).optional()?)
    }

    /// All rows; the statement bounds their number.
    pub(super) fn all<T>(
        &self,
        sql: &str,
        params: impl Params,
        row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StoreError> {
        Ok(self.prepared(sql)?.query_map(params, row)?.collect::<rusqlite::Result<_>>()?)
    }
}

type Found<T> = Result<Option<T>, StoreError>;
