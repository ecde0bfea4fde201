//! What is asked of NSS, or of what stands in its place.

use super::{Silent, Team};

/// What is asked of NSS; each call may block for long.
pub trait Nss: Send + Sync + 'static {
    /// The user; none where there is none.
    ///
    /// # Errors
    /// Where it can't be known now.
    fn user(&self, key: &Key) -> Result<Option<Entry>, Silent>;

    /// All groups of a user, by number and name.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    fn groups_of(&self, name: &str, gid: u32) -> Result<Vec<(u32, String)>, Silent>;

    /// The group of this name.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    fn group(&self, name: &str) -> Result<Option<Team>, Silent>;

    /// All users by name.
    ///
    /// # Errors
    /// As [`user`](Self::user), and where users are not enumerated.
    fn users(&self) -> Result<Vec<String>, Silent>;

    /// All groups by name.
    ///
    /// # Errors
    /// As [`users`](Self::users).
    fn groups(&self) -> Result<Vec<String>, Silent>;
}

/// What passwd says of a user.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The name, canonical.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the primary group.
    pub gid: u32,
}

/// Whom a look-up is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// Whoever has this name.
    Name(String),
    /// Whoever has this number.
    Uid(u32),
}
