//! The enforced domain groups that a local user was seen in last.
//!
//! For as long as a domain can't say who is in its groups, this says who was, over a restart too. It is one row of `meta` for each user who was seen
//! in any, `member/UID`, with the user's name and then the groups, a line each. Of a user whose name is another by now, and of a group that is not
//! enforced any more, nothing is known.
//!
//! Not here: what follows from it (`login::domain`).

use rusqlite::params;

use super::error::StoreError;
use super::policy::{Subject, SubjectKind};
use super::view::{Tx, View};

/// Of one user so many groups are kept: a domain fails as a whole.
pub const MOST: usize = 8;

fn key(uid: u32) -> String {
    format!("member/{uid}")
}

impl View<'_> {
    /// The enforced domain groups that this user was seen in, [`MOST`] at most.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn seen_in(&self, uid: u32, name: &str) -> Result<Vec<String>, StoreError> {
        let kept: Option<String> = self.first("SELECT value FROM meta WHERE key = ?", [key(uid)], |row| row.get(0))?;
        let mut lines = kept.iter().flat_map(|kept| kept.lines());
        if lines.next() != Some(name) {
            return Ok(Vec::new());
        }
        let mut enforced = Vec::new();
        for group in lines {
            if self.is_group_enforced(&Subject { kind: SubjectKind::DomainGroup, name: group.into() })? {
                enforced.push(group.to_owned());
            }
        }
        Ok(enforced)
    }
}

impl Tx<'_> {
    /// Keeps that a user was seen in the groups `seen`, and is not in the groups `left`.
    ///
    /// # Errors
    /// Any [`StoreError`] of the storage.
    pub fn keep_groups(&self, uid: u32, name: &str, seen: &[String], left: &[String]) -> Result<(), StoreError> {
        let before = self.seen_in(uid, name)?;
        let mut now: Vec<&str> = before.iter().filter(|group| !left.contains(group)).map(String::as_str).collect();
        // A line is a name.
        let seen = seen.iter().map(String::as_str).filter(|group| !before.iter().any(|known| known == group) && !group.contains('\n'));
        now.extend(seen);
        now.truncate(MOST);
        match now.as_slice() {
            now if now == before => {}
            [] => self.forget_groups(uid)?,
            now => {
                let kept = format!("{name}\n{}", now.join("\n"));
                self.run("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", params![key(uid), kept])?;
            }
        }
        Ok(())
    }

    /// Of a user who is no more nothing is kept.
    pub(super) fn forget_groups(&self, uid: u32) -> Result<(), StoreError> {
        self.run("DELETE FROM meta WHERE key = ?", [key(uid)])?;
        Ok(())
    }
}
