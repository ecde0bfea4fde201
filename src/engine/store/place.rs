//! The store's folder: opening, creating, setting aside.
//!
//! ```text
//! store.db (-wal, -shm)              the database
//! store.db.new                       one being made: it becomes store.db by a rename, or is removed at the next start
//! store.db.set-aside-<UTC>[-n]       a damaged one, kept
//! store.failed                       says that one was set aside, why, and as what; there until a restore or a start anew
//! backups/                           see `backup`
//! ```
//! An existing store.db is therefore always whole; an empty or foreign one is damage, never a beginning.
//!
//! An older schema is migrated after a backup. Not here: when to do any of it (`writer`).

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::backup::{self, Kind};
use super::error::{Failure, StoreError};
use super::seal::Keys;
use super::view::Tx;
use super::{Options, date, schema};

/// Larger databases are not checked whole at open, so that a start stays quick; damage in them shows when it is read, or in a backup.
const CHECK_WHOLE: u64 = 4 << 20;

/// How long another process may hold a lock before a call fails.
const BUSY: Duration = Duration::from_secs(1);

/// The folder, and what is needed to work in it.
pub(super) struct Place {
    pub(super) options: Options,
    pub(super) keys: Option<Keys>,
    /// The schema; another one in tests of its migration.
    pub(super) steps: &'static [&'static str],
}

impl Place {
    pub(super) fn database(&self) -> PathBuf {
        self.options.folder.join("store.db")
    }

    fn new_database(&self) -> PathBuf {
        self.options.folder.join("store.db.new")
    }

    fn marker(&self) -> PathBuf {
        self.options.folder.join("store.failed")
    }

    pub(super) fn keys(&self) -> Result<&Keys, Failure> {
        self.keys.as_ref().ok_or(Failure::MissingKey)
    }

    /// Opens the database; makes it at the first start; sets it aside where it is damaged.
    pub(super) fn open(&self) -> Result<Connection, Failure> {
        let keys = self.keys()?;
        // For what an operator carries in. Where it can't be made, neither can a backup, which says so.
        let _ = backup::make_folder(&self.options.folder);
        self.settle_marker()?;
        let path = self.database();
        match path.try_exists() {
            Err(error) => return Err(unavailable(StoreError::io("opening", &path, &error))),
            Ok(true) => {}
            Ok(false) if self.has_past() => return Err(self.set_aside("the database file is missing")),
            Ok(false) => self.create().map_err(unavailable)?,
        }
        match self.open_checked(keys) {
            Err(Failure::Unavailable(error)) if matches!(*error, StoreError::Corrupt(_)) => Err(self.set_aside(&error.to_string())),
            other => other,
        }
    }

    fn open_checked(&self, keys: &Keys) -> Result<Connection, Failure> {
        let path = self.database();
        let db = connect(&path).map_err(unavailable)?;
        let found = self.admit(&db, keys)?;
        check(&db, &path).map_err(unavailable)?;
        let known = schema::target(self.steps);
        if found < known {
            let kept = backup::copy(&self.options, &db, Kind::Migration).map_err(unavailable)?;
            log::info!("the database goes from schema version {found} to {known}; its backup is {kept}");
            schema::migrate(&db, self.steps).map_err(|error| {
                // It will be tried again, each time with another backup: these would take the room that it lacks.
                if error == StoreError::Full {
                    backup::withdraw(&self.options.folder, &kept);
                }
                unavailable(error)
            })?;
            // A table that was written anew has made the log long, and the first login is not to wait for that. Else the writer does it later.
            let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        }
        Ok(db)
    }

    /// The version of a database of ours that this key and this program may open.
    pub(super) fn admit(&self, db: &Connection, keys: &Keys) -> Result<i32, Failure> {
        let application: i32 =
            db.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(|error| unavailable(error.into()))?;
        let found = schema::version(db).map_err(unavailable)?;
        if application != schema::APPLICATION_ID || found < 1 {
            return Err(unavailable(StoreError::Corrupt("this is no database of twostep".into())));
        }
        let known = schema::target(self.steps);
        if found > known {
            return Err(Failure::TooNew { found, known });
        }
        let check = Tx::new(db, keys).key_check().map_err(unavailable)?;
        let check = check.ok_or_else(|| unavailable(StoreError::Corrupt("its key check is missing".into())))?;
        if keys.checks(&check) { Ok(found) } else { Err(Failure::WrongKey) }
    }

    /// The database's write-ahead log.
    pub(super) fn log(&self) -> PathBuf {
        companion(&self.database(), "-wal")
    }

    /// Whether there has been a database here before.
    fn has_past(&self) -> bool {
        fs::metadata(self.log()).is_ok_and(|file| file.len() > 0) || backup::any(&self.options.folder)
    }

    /// Makes an empty database beside, then puts it in place.
    pub(super) fn create(&self) -> Result<(), StoreError> {
        let Some(keys) = &self.keys else { return Err(StoreError::Failed(Failure::MissingKey)) };
        let new = self.fresh_file()?;
        let db = connect(&new)?;
        schema::migrate(&db, self.steps)?;
        Tx::new(&db, keys).store_key_check()?;
        close(db)?;
        self.put_in_place()
    }

    /// An empty `store.db.new`, readable by its owner alone; whatever an earlier attempt left there goes.
    pub(super) fn fresh_file(&self) -> Result<PathBuf, StoreError> {
        let new = self.new_database();
        remove(&new)?;
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).map_err(|error| StoreError::io("creating", &new, &error))?;
        Ok(new)
    }

    /// Renames a closed `store.db.new` to `store.db`. The former one must be closed, or set aside, already.
    pub(super) fn put_in_place(&self) -> Result<(), StoreError> {
        let (new, path) = (self.new_database(), self.database());
        // A log that is left beside it would be taken for the new file's own.
        remove(&companion(&path, "-wal"))?;
        remove(&companion(&path, "-shm"))?;
        sync(&new)?;
        fs::rename(&new, &path).map_err(|error| StoreError::io("replacing", &path, &error))?;
        sync(&self.options.folder)?;
        match fs::remove_file(self.marker()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(StoreError::io("removing", &self.marker(), &error)),
            _ => sync(&self.options.folder),
        }
    }

    /// Keeps the damaged database under a dated name. Where even that fails, it stays where it is and is found damaged again.
    pub(super) fn set_aside(&self, reason: &str) -> Failure {
        let file = self.database().exists().then(|| self.free_name());
        let note = format!("{}\n{}\n", one_line(reason), file.as_deref().map(file_name).unwrap_or_default());
        let done = write_whole(&self.marker(), note.as_bytes()).and_then(|()| self.move_aside(file.as_deref()));
        let file = match done {
            Ok(()) => file,
            Err(error) => {
                log::error!("the damaged database can't be set aside: {error}");
                Some(self.database())
            }
        };
        let failure = Failure::SetAside { reason: reason.to_owned(), file, backup: backup::newest_good(self) };
        log::error!("{failure}");
        failure
    }

    /// The file that was set aside, while the marker stands.
    pub(super) fn aside(&self) -> Option<PathBuf> {
        let note = fs::read_to_string(self.marker()).ok()?;
        let name = note.lines().nth(1).filter(|name| !name.is_empty() && !name.contains('/'))?;
        Some(self.options.folder.join(name))
    }

    /// A marker of an earlier run: finishes what a crash cut short, and says that the store does not work.
    fn settle_marker(&self) -> Result<(), Failure> {
        let note = match fs::read_to_string(self.marker()) {
            Ok(note) => note,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(unavailable(StoreError::io("reading", &self.marker(), &error))),
        };
        let file = self.aside();
        let moved = file.as_ref().is_none_or(|file| file.exists());
        if moved && self.database().exists() {
            // A restore, or an operator's own hand, has put a database in place since.
            return fs::remove_file(self.marker()).map_err(|error| unavailable(StoreError::io("removing", &self.marker(), &error)));
        }
        self.move_aside(file.as_deref()).map_err(unavailable)?;
        let reason = note.lines().next().unwrap_or_default().to_owned();
        Err(Failure::SetAside { reason, file, backup: backup::newest_good(self) })
    }

    /// The database first, its log after: the other way round a crash between would leave an older database that looks whole.
    fn move_aside(&self, to: Option<&Path>) -> Result<(), StoreError> {
        let (path, none) =
            (self.database(), self.options.folder.join(format!("store.db.set-aside-{}", date::stamp((self.options.clock)()))));
        let to = to.unwrap_or(&none);
        for suffix in ["", "-wal", "-shm"] {
            let (from, to) = (companion(&path, suffix), companion(to, suffix));
            match fs::rename(&from, &to) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io("setting aside", &from, &error)),
                _ => {}
            }
        }
        sync(&self.options.folder)
    }

    fn free_name(&self) -> PathBuf {
        let base = format!("store.db.set-aside-{}", date::stamp((self.options.clock)()));
        let names = std::iter::once(base.clone()).chain((2..).map(|n| format!("{base}-{n}")));
        names.map(|name| self.options.folder.join(name)).find(|path| !path.exists()).unwrap_or_default()
    }
}

pub(super) fn unavailable(error: StoreError) -> Failure {
    Failure::Unavailable(Box::new(error))
}

/// Opens an existing database file for reading and writing.
pub(super) fn connect(path: &Path) -> Result<Connection, StoreError> {
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    // Else SQLite plans a statement anew whenever a bound value changes.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    db.set_prepared_statement_cache_capacity(64);
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Io(format!("SQLite keeps its journal as {mode} and not as a write-ahead log")));
    }
    // cache_size: KiB, per connection. wal_autocheckpoint: the writer does it, after the answers. journal_size_limit: what a long backup let the
    // log grow to is given back. cell_size_check: more damage is found when it is read.
    db.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;
         PRAGMA cache_size = -1024; PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA secure_delete = FAST;",
    )?;
    Ok(db)
}

/// Closes a connection, which writes its log back and removes it.
pub(super) fn close(db: Connection) -> Result<(), StoreError> {
    db.close().map_err(|(_, error)| error.into())
}

/// Whole, or where the file is large, its ends.
pub(super) fn check(db: &Connection, file: &Path) -> Result<(), StoreError> {
    let length = fs::metadata(file).map_err(|error| StoreError::io("reading", file, &error))?.len();
    if length <= CHECK_WHOLE { check_whole(db) } else { check_ends(db) }
}

/// Every page, every row's form; not every index entry.
pub(super) fn check_whole(db: &Connection) -> Result<(), StoreError> {
    let found: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(one_line(&found))) }
}

/// The schema, and the first and the last row of each table.
fn check_ends(db: &Connection) -> Result<(), StoreError> {
    let mut tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables: Vec<String> = tables.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for table in tables {
        let mut key = db.prepare("SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk")?;
        let key: Vec<String> = key.query_map([&table], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for order in ["ASC", "DESC"] {
            let order: Vec<String> = key.iter().map(|column| format!("{column} {order}")).collect();
            let mut rows = db.prepare(&format!("SELECT * FROM {table} ORDER BY {} LIMIT 1", order.join(", ")))?;
            let mut rows = rows.query([])?;
            rows.next()?;
        }
    }
    Ok(())
}

/// `store.db` and "-wal" give `store.db-wal`.
pub(super) fn companion(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Removes a database file with its companions.
pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let path = companion(path, suffix);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(StoreError::io("removing", &path, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// Makes a file, or a folder's entries, survive a power cut.
pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| StoreError::io("syncing", path, &error))
}

fn write_whole(path: &Path, text: &[u8]) -> Result<(), StoreError> {
    let new = companion(path, ".new");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| StoreError::io("writing", path, &error))?;
    sync(path.parent().unwrap_or(path))
}

fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;
