//! Who is at the other end of a Unix socket.
//!
//! The kernel notes the credentials when the connection is made; they can't be forged, and they don't change afterwards. Who the peer is
//! allowed to be is decided elsewhere.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use crate::core::peer::Peer;

/// Reads the peer credentials of a connected Unix socket (`SO_PEERCRED`, `SO_PEERGROUPS`; see unix(7) and socket(7)).
///
/// # Errors
/// Where the socket is no connected Unix socket.
pub fn identify(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let credentials = getsockopt(&socket.as_fd(), PeerCredentials)?;
    // Fewer groups are fewer rights, so a kernel without SO_PEERGROUPS is no reason to refuse the peer.
    let groups = supplementary_groups(socket).unwrap_or_default();
    Ok(Peer { pid: credentials.pid(), uid: credentials.uid(), gid: credentials.gid(), groups })
}

/// The uid alone of whoever is at the other end, without the groups' price.
///
/// # Errors
/// As with [`identify`].
pub fn uid(socket: BorrowedFd<'_>) -> io::Result<u32> {
    Ok(getsockopt(&socket, PeerCredentials)?.uid())
}

fn supplementary_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    let mut groups: Vec<u32> = vec![0; 16];
    loop {
        let room = size_of_val(groups.as_slice());
        let mut length = libc::socklen_t::try_from(room).map_err(|_| io::ErrorKind::InvalidData)?;
        // SAFETY: the descriptor is open for the whole call (it is borrowed), `groups` is valid for writes of `length` bytes, which is its
        // exact size, gid_t is u32, and `length` is a valid socklen_t that outlives the call.
        let status = unsafe {
            libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, groups.as_mut_ptr().cast(), &raw mut length)
        };
        let told = usize::try_from(length).unwrap_or(0) / size_of::<u32>();
        if status == 0 {
            groups.truncate(told);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // Too small a buffer: the kernel tells the size it needs, which a second call can't exceed.
        if error.raw_os_error() != Some(libc::ERANGE) || told <= groups.len() {
            return Err(error);
        }
        groups.resize(told, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_peer_is_known_by_process_user_and_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = identify(ours.as_fd()).unwrap();
        assert_eq!(peer.pid, nix::unistd::getpid().as_raw());
        assert_eq!(peer.uid, nix::unistd::geteuid().as_raw());
        assert_eq!(uid(ours.as_fd()).unwrap(), peer.uid);
        assert_eq!(peer.gid, nix::unistd::getegid().as_raw());
        let mut groups: Vec<u32> = nix::unistd::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        let mut told = peer.groups.clone();
        told.sort_unstable();
        assert_eq!(told, groups);
    }

    #[test]
    fn what_is_no_socket_has_no_peer() {
        let file = std::fs::File::open("/proc/self/status").unwrap();
        assert!(identify(file.as_fd()).is_err() && uid(file.as_fd()).is_err());
    }
}
