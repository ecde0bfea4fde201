//! Room in the write-ahead log for the commits to come.
//!
//! A commit that makes the file longer waits for the disk twice: once for what it writes, and once for the file's new size, which the file system
//! keeps in a journal of its own. A log that has been written back is written over from its beginning, but a new one grows over some thousand
//! logins before: with a few a day, for months. So the file is made longer in advance, after the answers. It gets zeros, not holes, which would have
//! to be noted as written later on.
//!
//! What is behind the last commit is nothing to SQLite, zeros as little as the commits of before the log was last written back: it takes a frame for
//! one only where salt and checksum fit ("The WAL File Format" in its documentation).
//!
//! Not here: when the log is written back (`writer`). It is removed with the last connection.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Bytes of a page in the log, with its header. Databases are made with SQLite's usual pages.
const FRAME: u64 = 24 + 4096;
/// Bytes before the first.
const HEADER: u64 = 32;
/// Room is made for so many pages at once; a login writes two.
const STEP: u64 = 64;
/// It is made as soon as fewer are left.
const LEAST: u64 = 16;

/// The log of one open database.
pub(super) struct Room {
    log: PathBuf,
    /// For so many pages, from the beginning; never more than there is.
    pages: u64,
}

impl Room {
    pub(super) fn new(log: PathBuf) -> Self {
        Self { log, pages: 0 }
    }

    /// Makes room where little is left behind the first `used` pages. Where the disk is full, commits try for themselves.
    pub(super) fn keep(&mut self, used: u64) {
        if used + LEAST > self.pages {
            self.pages = self.make(used + STEP).unwrap_or_else(|error| {
                log::debug!("no room is made in the database's log: {error}");
                // Not at each commit anew.
                used + STEP
            });
        }
    }

    fn make(&self, pages: u64) -> io::Result<u64> {
        let file = OpenOptions::new().write(true).open(&self.log)?;
        let (length, wanted) = (file.metadata()?.len(), HEADER + pages * FRAME);
        if length < wanted {
            let zeros = vec![0; usize::try_from(wanted - length).map_err(io::Error::other)?];
            file.write_all_at(&zeros, length)?;
            file.sync_data()?;
        }
        Ok((length.max(wanted) - HEADER) / FRAME)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;

    fn open(folder: &Path) -> Connection {
        let db = Connection::open(folder.join("db")).unwrap();
        db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE IF NOT EXISTS t (n)").unwrap();
        db
    }

    fn rows(db: &Connection) -> i64 {
        db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn commits_do_not_make_the_file_longer_and_a_crash_finds_each_of_them_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let db = open(folder.path());
        let log = folder.path().join("db-wal");
        let mut room = Room::new(log.clone());
        let used = || fs::metadata(&log).unwrap().len();
        room.keep((used() - HEADER) / FRAME);
        let length = used();
        for n in 1..=20 {
            db.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
            assert_eq!(used(), length);
            let crashed = tempfile::tempdir().unwrap();
            for name in ["db", "db-wal"] {
                fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
            }
            assert_eq!(rows(&open(crashed.path())), n);
        }
    }

    #[test]
    fn room_is_made_in_steps_and_only_where_little_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("db-wal");
        fs::write(&log, [7; 50]).unwrap();
        let mut room = Room::new(log.clone());
        let length = |pages: u64| HEADER + pages * FRAME;
        for (used, pages) in [(1, 1 + STEP), (STEP - LEAST, 1 + STEP), (STEP, 2 * STEP), (0, 2 * STEP)] {
            room.keep(used);
            assert_eq!(fs::metadata(&log).unwrap().len(), length(pages), "{used}");
        }
        assert_eq!(fs::read(&log).unwrap()[..50], [7; 50]);
        // A log that is not there is SQLite's to make.
        fs::remove_file(&log).unwrap();
        room.keep(1000);
        assert!(!log.exists());
    }
}
