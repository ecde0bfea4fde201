//! Enforced groups and delegations (Q20, Q22), by kind and canonical name, as administrators name them.
//!
//! Not here: enforcement of an account by name (its row), who is a member of what (`directory`), what follows from it (`core::policy`).

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Row, params};

use super::error::StoreError;
use super::revoked::Kind;
use super::view::{Tx, View};
pub use crate::core::enforcement::SubjectKind;
pub use crate::core::policy::Role;

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    /// Where it comes from.
    pub kind: SubjectKind,
    /// Its canonical name.
    pub name: String,
}

/// The number that is stored.
fn kind_number(kind: SubjectKind) -> i64 {
    match kind {
        SubjectKind::LocalUser => 0,
        SubjectKind::LocalGroup => 1,
        SubjectKind::DomainUser => 2,
        SubjectKind::DomainGroup => 3,
    }
}

/// The number that is stored.
fn role_number(role: Role) -> i64 {
    match role {
        Role::SystemManagement => 0,
        Role::AccessManagement => 1,
    }
}

impl ToSql for SubjectKind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(kind_number(*self).into())
    }
}

impl FromSql for SubjectKind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        let all = [Self::LocalUser, Self::LocalGroup, Self::DomainUser, Self::DomainGroup];
        all.into_iter().find(|kind| kind_number(*kind) == number).ok_or(FromSqlError::OutOfRange(number))
    }
}

impl ToSql for Role {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(role_number(*self).into())
    }
}

impl FromSql for Role {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let number = value.as_i64()?;
        let all = [Self::SystemManagement, Self::AccessManagement];
        all.into_iter().find(|role| role_number(*role) == number).ok_or(FromSqlError::OutOfRange(number))
    }
}

pub(super) fn subject(row: &Row<'_>) -> rusqlite::Result<Subject> {
    Ok(Subject { kind: row.get(0)?, name: row.get(1)? })
}

/// Names a delegation among what was revoked.
pub(super) fn delegation_id(subject: &Subject, role: Role) -> Vec<u8> {
    format!("{}\0{}\0{}", kind_number(subject.kind), role_number(role), subject.name).into_bytes()
}

impl View<'_> {
    /// Whether 2-step verification is enforced on any group at all.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn enforces_groups(&self) -> Result<bool, StoreError> {
        if let Some(seen) = self.seen.enforced_groups.get() {
            return Ok(seen);
        }
        let found = self.first("SELECT 1 FROM enforced_groups LIMIT 1", [], |_| Ok(()))?.is_some();
        self.seen.enforced_groups.set(Some(found));
        Ok(found)
    }

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
        let (kind, name) = after.map_or((-1, ""), |subject| (kind_number(subject.kind), subject.name.as_str()));
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
        self.seen.enforced_groups.set(None);
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
