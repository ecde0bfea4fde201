//! A port for a program that is to be told one.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrStorage, bind, getsockname, setsockopt, socket, sockopt};

/// Nobody else's while this lives: it is bound, so that the kernel gives it to nobody who asks for any port, and not listened on, so that whoever connects
/// is refused, and a server which sets SO_REUSEADDR, as most do, can have it all the same.
pub struct Port {
    pub address: SocketAddr,
    _bound: OwnedFd,
}

impl Port {
    /// A free one at this address of the loopback's.
    #[track_caller]
    pub fn at(ip: impl Into<IpAddr>) -> Self {
        let IpAddr::V4(ip) = ip.into() else { panic!("an address of IPv4") };
        let bound = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
        setsockopt(&bound, sockopt::ReuseAddr, &true).unwrap();
        let any = SockaddrIn::from(std::net::SocketAddrV4::new(ip, 0));
        bind(bound.as_raw_fd(), &any).unwrap();
        let given: SockaddrStorage = getsockname(bound.as_raw_fd()).unwrap();
        let port = given.as_sockaddr_in().unwrap().port();
        Self { address: (ip, port).into(), _bound: bound }
    }
}
