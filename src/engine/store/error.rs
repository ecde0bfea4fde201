//! Why the store gave no answer, or refuses to work at all.

use std::fmt;
use std::path::PathBuf;

use rusqlite::ErrorCode;

/// Why one call failed. Nothing of that call was applied, and nothing was decided.
///
/// Its text is fit for `StorageFailed(reason)`: it names what is wrong and the way out, and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreError {
    /// The store as a whole does not work; see [`Failure`].
    Failed(Failure),
    /// No space is left, or a quota or file-size limit is reached. It works again when there is space.
    Full,
    /// Space is getting short, so that nothing that nobody asked for is written.
    NearlyFull,
    /// The file system is mounted read-only or the files may not be written.
    ReadOnly,
    /// Another process holds a lock on the database.
    Locked,
    /// The database is damaged. It is being set aside.
    Corrupt(String),
    /// The disk, the folder or SQLite itself failed otherwise.
    Io(String),
    /// A sealed value does not open: it was changed, or moved from another account.
    Sealed { uid: u32, purpose: &'static str },
    /// The uid or the name belongs to another stored account (a deleted and re-created or renamed account).
    IdentityTaken { uid: u32, name: String },
    /// An account is to be enabled that has no enrolment stored.
    NotEnrolled { uid: u32 },
    /// No such backup, or a name that is none.
    NoSuchBackup(String),
    /// The backup can't be used: damaged, sealed under another key, or made by a newer version.
    UnusableBackup { name: String, reason: String },
    /// A backup is being made already.
    BackupRunning,
    /// The kernel gave no random numbers.
    NoRandomness,
    /// Starting anew is for a store that does not work; this one does.
    Works,
    /// The store is shut.
    Closed,
}

impl StoreError {
    /// Whether the storage itself is at fault, so that everything else in the same commit fails too.
    pub(super) fn is_fault(&self) -> bool {
        matches!(self, Self::Full | Self::ReadOnly | Self::Locked | Self::Corrupt(_) | Self::Io(_))
    }

    pub(super) fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => Self::Full,
            ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            _ => Self::Io(format!("{doing} {}: {error}", path.display())),
        }
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(failure) => failure.fmt(f),
            Self::Full => f.write_str("no space left for the database; free some space, then try again"),
            Self::NearlyFull => f.write_str("the disk is nearly full; free some space"),
            Self::ReadOnly => f.write_str("the database is read-only; make its folder writable, then try again"),
            Self::Locked => f.write_str("the database is locked by another process; end that process, then try again"),
            Self::Corrupt(what) => write!(f, "the database is damaged ({what})"),
            Self::Io(what) => write!(f, "the database can't be read or written ({what})"),
            Self::Sealed { uid, purpose } => {
                write!(f, "the sealed {purpose} of uid {uid} does not open; set that account's second step up anew")
            }
            Self::IdentityTaken { uid, name } => {
                write!(f, "uid {uid} or name {name:?} belongs to another stored account; an administrator must turn that one off first")
            }
            Self::NotEnrolled { uid } => write!(f, "uid {uid} has no Security Code; set its second step up anew"),
            Self::NoSuchBackup(name) => write!(f, "there is no backup named {name:?}"),
            Self::UnusableBackup { name, reason } => write!(f, "backup {name:?} can't be used: {reason}"),
            Self::BackupRunning => f.write_str("a backup is being made already; try again when it is done"),
            Self::NoRandomness => f.write_str("the kernel gave no random numbers"),
            Self::Works => f.write_str("the database works; there is nothing to start anew"),
            Self::Closed => f.write_str("the store is shut"),
        }
    }
}

impl std::error::Error for StoreError {}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error;
        let text = error.to_string();
        match &error {
            Error::SqliteFailure(code, _) => match code.code {
                ErrorCode::DiskFull => Self::Full,
                ErrorCode::ReadOnly | ErrorCode::PermissionDenied => Self::ReadOnly,
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Locked,
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(text),
                _ => Self::Io(text),
            },
            // The schema is STRICT and ours, so a value of the wrong type or range, a table or a row missing where one must be, is damage.
            Error::FromSqlConversionFailure(..) | Error::IntegralValueOutOfRange(..) | Error::InvalidColumnType(..) => Self::Corrupt(text),
            _ => Self::Io(text),
        }
    }
}

/// Why the store as a whole does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The database was damaged and has been set aside, or went missing. Lasts, over restarts too, until an operator restores a backup or
    /// starts anew.
    SetAside {
        /// What was found.
        reason: String,
        /// Where the damaged file is now; `None` where there was no file any more.
        file: Option<PathBuf>,
        /// The newest good backup.
        backup: Option<String>,
    },
    /// The key is not the one that the database was sealed with. The database is left as it is.
    WrongKey,
    /// No key was handed over. The database is left as it is.
    MissingKey,
    /// The database was written by a newer version of this program. It is left as it is.
    TooNew { found: i32, known: i32 },
    /// The folder is missing, locked, read-only or full. Each call tries again.
    Unavailable(Box<StoreError>),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetAside { reason, file, backup } => {
                write!(f, "the database was damaged ({reason})")?;
                if let Some(file) = file {
                    write!(f, " and is kept as {}", file.display())?;
                }
                match backup {
                    Some(name) => write!(f, "; bring the newest good backup back: twostep restore {name}"),
                    None => f.write_str(
                        "; there is no good backup: twostep restore FILE with one of yours, or start anew: twostep restore --anew",
                    ),
                }
            }
            Self::WrongKey => f.write_str("the sealing key is not the one that the database was made with; put the right key back"),
            Self::MissingKey => f.write_str("the sealing key is missing; put it back"),
            Self::TooNew { found, known } => {
                write!(f, "the database has schema version {found}, this program knows {known}; install the newer program again")
            }
            Self::Unavailable(error) => error.fmt(f),
        }
    }
}
