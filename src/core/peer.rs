//! Who is at the other end of a Unix socket, as the kernel told it when the connection was made.

/// Peer credentials: the identity of the process that connected, taken once. What that process becomes later changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Process id, for the log alone: it may be used anew by another process. 0 where the process is not visible from here.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary group ids; empty where the kernel does not tell them (before Linux 4.13).
    pub groups: Vec<u32>,
}

impl Peer {
    /// Whether the peer is root.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.uid == 0
    }
}
