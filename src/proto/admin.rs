//! The interface io.twostep.Admin: other people's accounts.
//!
//! Types only, as in the .varlink file beside this one; the engine answers them.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::varlink::Empty;
use crate::core::enforcement::LastWayIn;
use crate::core::import::ImportFault;
use crate::core::policy::{AdminCall, Denied};
use crate::core::time::Wall;

pub use crate::core::account::Status;
pub use crate::core::enforcement::SubjectKind;
pub use crate::core::policy::Role;

/// The interface's full name.
pub const NAME: &str = "io.twostep.Admin";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.twostep.Admin.varlink");

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Call {
    /// Users or groups and their status.
    List {
        /// Of this kind.
        kind: SubjectKind,
        /// Whose name contains this.
        filter: Option<String>,
    },
    /// Enforces 2-step verification, or ends that.
    Enforce {
        /// By name.
        users: Vec<String>,
        /// By name.
        groups: Vec<String>,
        /// On or off.
        enforced: bool,
        /// Only tell what would change.
        dry_run: Option<bool>,
    },
    /// Turns it off for somebody else.
    DisableFor {
        /// By name.
        user: String,
    },
    /// Forgives somebody's wrong answers.
    Unlock {
        /// By name.
        user: String,
    },
    /// Delegates a role, or takes it back.
    Delegate {
        /// A user or a group.
        subject: String,
        /// Which role.
        role: Role,
        /// Given or taken.
        granted: bool,
    },
    /// Who holds which role.
    ListDelegations {},
    /// What was decided.
    Audit {
        /// About this account.
        user: Option<String>,
        /// At most so many.
        limit: Option<u32>,
    },
    /// Copies the engine's state.
    Backup {},
    /// And back.
    Restore {
        /// As `Backup` gave it.
        name: String,
    },
    /// Takes over an enrolment from elsewhere.
    Import {
        /// Whose it becomes.
        user: String,
        /// A URI, or a file's text.
        text: Secret,
    },
    /// What is in the backups folder.
    ListBackups {},
    /// Begins with an empty database.
    StartAnew {
        /// Only tell what had failed.
        dry_run: Option<bool>,
    },
}

impl Call {
    /// What [`policy`](crate::core::policy) knows it as.
    #[must_use]
    pub fn kind(&self) -> AdminCall {
        match self {
            Self::List { .. } => AdminCall::List,
            Self::Enforce { .. } => AdminCall::Enforce,
            Self::DisableFor { .. } => AdminCall::DisableFor,
            Self::Unlock { .. } => AdminCall::Unlock,
            Self::Delegate { .. } => AdminCall::Delegate,
            Self::ListDelegations {} => AdminCall::ListDelegations,
            Self::Audit { .. } => AdminCall::Audit,
            Self::Backup {} => AdminCall::Backup,
            Self::Restore { .. } => AdminCall::Restore,
            Self::Import { .. } => AdminCall::Import,
            Self::ListBackups {} => AdminCall::ListBackups,
            Self::StartAnew { .. } => AdminCall::StartAnew,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `List`.
    Subjects(Subjects),
    /// To `Enforce`.
    Changed(Changed),
    /// To `ListDelegations`.
    Delegations(Delegations),
    /// To `Audit`.
    Entries(Entries),
    /// To `Backup`.
    Backup(Backup),
    /// To `ListBackups`.
    Backups(Backups),
    /// To `StartAnew`.
    StartedAnew(StartedAnew),
    /// To all others.
    Done(Empty),
}

/// One page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subjects {
    /// In the order of the names.
    pub subjects: Vec<Subject>,
}

/// A user or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Canonical.
    pub name: String,
    /// Where it comes from.
    pub kind: SubjectKind,
    /// Absent where it can't be told now (a domain controller away).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// By name or by a group.
    pub enforced: bool,
    /// The groups through which.
    pub enforced_by: Vec<String>,
}

/// Whose status changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// Those.
    pub changed: Vec<Change>,
}

/// One user's status, before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Who.
    pub user: String,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
}

impl From<crate::core::enforcement::Changed> for Change {
    fn from(changed: crate::core::enforcement::Changed) -> Self {
        Self { user: changed.user, from: changed.from.as_str().into(), to: changed.to.as_str().into() }
    }
}

/// Who holds which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegations {
    /// All.
    pub delegations: Vec<Delegation>,
}

/// One role of one user or group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delegation {
    /// Canonical name.
    pub subject: String,
    /// Which role; see [`Role::as_str`].
    pub role: String,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entries {
    /// Newest first; with `more`, what follows as it is made.
    pub entries: Vec<Entry>,
}

/// One decision. No secret is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Only grows.
    pub id: i64,
    /// By the wall clock of then.
    pub at: Wall,
    /// In a word.
    pub event: String,
    /// The account concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Who did it.
    pub by: String,
    /// The login service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// More, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A copy of the engine's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backup {
    /// In the engine's own backups folder.
    pub name: String,
}

/// The backups folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backups {
    /// The oldest first.
    pub backups: Vec<BackupFile>,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// As `Restore` takes it.
    pub name: String,
    /// Why it was made, in a word.
    pub kind: String,
    /// When, by the wall clock of then.
    pub at: Wall,
    /// In bytes.
    pub size: u64,
}

/// Why there was, or is to be, an empty database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedAnew {
    /// What had failed, for people.
    pub failure: String,
    /// The newest good backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// An error of this interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// Not for this peer, or not about this subject.
    #[serde(rename = "io.twostep.Admin.PermissionDenied")]
    PermissionDenied {
        /// Why, for people.
        reason: String,
    },
    /// Nobody and nothing has this name.
    #[serde(rename = "io.twostep.Admin.NoSuchSubject")]
    NoSuchSubject {
        /// As it was given.
        name: String,
    },
    /// It would remove the last way in.
    #[serde(rename = "io.twostep.Admin.LastWayIn")]
    LastWayIn {
        /// What would be lost, and what to do first.
        reason: String,
    },
    /// 2-step verification is off there.
    #[serde(rename = "io.twostep.Admin.NotEnabled")]
    NotEnabled {},
    /// The text is not taken.
    #[serde(rename = "io.twostep.Admin.InvalidImport")]
    InvalidImport {
        /// Why, for people.
        reason: String,
    },
    /// The database was not set aside: there is nothing to start anew.
    #[serde(rename = "io.twostep.Admin.DatabaseWorks")]
    DatabaseWorks {},
    /// The engine's state can't be read or written: nothing was changed.
    #[serde(rename = "io.twostep.Admin.StorageFailed")]
    StorageFailed {
        /// Why, for people.
        reason: String,
    },
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::PermissionDenied { reason: denied.to_string() }
    }
}

impl From<LastWayIn> for Error {
    fn from(lost: LastWayIn) -> Self {
        Self::LastWayIn { reason: lost.to_string() }
    }
}

impl From<ImportFault> for Error {
    fn from(fault: ImportFault) -> Self {
        Self::InvalidImport { reason: fault.to_string() }
    }
}
