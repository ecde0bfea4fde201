//! Enforced groups and delegations (Q20, Q22), by kind and canonical name, as administrators name them.
//!
//! Not here: enforcement of an account by name (its row), who is a member of what (`directory`), what follows from it (`core::policy`).

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, params};

use super::error::StoreError;
use super::revoked::Kind;
use super::view::{Tx, View};
use crate::core::enforcement::SubjectKind;

/// A delegated role. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// System Management.
    SystemManagement = 0,
    /// Access Management.
    AccessManagement = 1,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Where it comes from.
    pub kind: SubjectKind,
    /// Its canonical name.
    pub name: String,
}

impl ToSql for SubjectKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(number(*self).into())
    }
}

impl FromSql for SubjectKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::LocalUser),
            1 => Ok(Self::LocalGroup),
            2 => Ok(Self::DomainUser),
            3 => Ok(Self::DomainGroup),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok((*self as i64).into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value.as_i64()? {
            0 => Ok(Self::SystemManagement),
            1 => Ok(Self::AccessManagement),
            other => Err(FromSqlError::OutOfRange(other)),
        }
    }
}

/// The numbers are stored.
fn number(kind: SubjectKind) -> i64 {
    match kind {
        SubjectKind::LocalUser => 0,
        SubjectKind::LocalGroup => 1,
        SubjectKind::DomainUser => 2,
        SubjectKind::DomainGroup => 3,
    }
}

pub(super) fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    Ok(Subject { kind: row.get(0)?, name: row.get(1)? })
}

/// Names a delegation among what was revoked.
pub(super) fn delegation_id(subject: &Subject, role: Role) -> Vec<u8> {
    format!("{}\0{}\0{}", number(subject.kind), role as i64, subject.name).into_bytes()
}

impl View<'_> {
    /// Whether 2-step verification is enforced on this very group.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn is_group_enforced(&self, group: &Subject) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM enforced_groups WHERE kind = ? AND name = ?";
        Ok(self.first(sql, params![group.kind, group.name], |_| Ok(()))?.is_some())
    }

    /// Up to `limit` enforced groups after `after`, in order.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn enforced_groups(&self, after: Option<&Subject>, limit: u32) -> Result<Vec<Subject>, StoreError> {
        let (kind, name) = after.map_or((-1, ""), |subject| (number(subject.kind), subject.name.as_str()));
        let sql = "SELECT kind, name FROM enforced_groups WHERE (kind, name) > (?, ?) ORDER BY kind, name LIMIT ?";
        self.all(sql, params![kind, name, limit], subject)
    }

    /// The roles delegated to this very user or group.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn roles(&self, subject: &Subject) -> Result<Vec<Role>, StoreError> {
        let sql = "SELECT role FROM delegations WHERE kind = ? AND name = ? ORDER BY role";
        self.all(sql, params![subject.kind, subject.name], |row| row.get(0))
    }

    /// All delegations.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn delegations(&self) -> Result<Vec<(Subject, Role)>, StoreError> {
        self.all("SELECT kind, name, role FROM delegations ORDER BY kind, name, role", [], |row| Ok((subject(row)?, row.get(2)?)))
    }
}

impl Tx<'_> {
    /// Enforces it on a group, or ends that; tells whether that changed anything.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn set_group_enforced(&self, group: &Subject, enforced: bool) -> Result<bool, StoreError> {
        let sql = match enforced {
            true => "INSERT OR IGNORE INTO enforced_groups (kind, name) VALUES (?, ?)",
            false => "DELETE FROM enforced_groups WHERE kind = ? AND name = ?",
        };
        Ok(self.run(sql, params![group.kind, group.name])? == 1)
    }

    /// Delegates a role, or takes it back; tells whether that changed anything.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn set_delegated(&self, subject: &Subject, role: Role, granted: bool) -> Result<bool, StoreError> {
        let id = delegation_id(subject, role);
        let sql = match granted {
            true => "INSERT OR IGNORE INTO delegations (kind, name, role) VALUES (?, ?, ?)",
            false => "DELETE FROM delegations WHERE kind = ? AND name = ? AND role = ?",
        };
        let changed = self.run(sql, params![subject.kind, subject.name, role])? == 1;
        match granted {
            true => self.unmark_revoked(Kind::Delegation, &id)?,
            false if changed => self.mark_revoked(Kind::Delegation, &id)?,
            false => {}
        }
        Ok(changed)
    }
}
