//! Callers that do not keep to the rules: raw sockets, claimed users, and a service in a process of its own whose memory can be watched.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, bind, connect, getpeername, socket};
use twostep::core::peer::Peer;

use crate::patience::{Lines, ended};
use crate::service::SOON;

const CLAIM: &str = "twostep-test";

/// Connects as if `uid` did: the claim is in the socket's own abstract address, and [`claimed`] believes it.
pub fn connect_as(uid: u32, path: &Path) -> UnixStream {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{CLAIM}/{uid}/{}/{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let socket = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).unwrap()).unwrap();
    connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()).unwrap();
    let stream = UnixStream::from(socket);
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// Knows peers by what they claim, so that one user can play many.
pub fn claimed(socket: BorrowedFd<'_>) -> std::io::Result<Peer> {
    let mut peer = twostep::sys::peer::identify(socket)?;
    let address: UnixAddr = getpeername(socket.as_raw_fd())?;
    let name = address.as_abstract().and_then(|name| str::from_utf8(name).ok()).unwrap_or_default();
    if let Some(uid) = name.strip_prefix(CLAIM).and_then(|rest| rest.split('/').nth(1)) {
        peer.uid = uid.parse().unwrap();
    }
    Ok(peer)
}

/// Sends one frame.
pub fn send(stream: &UnixStream, text: &str) {
    try_send(stream, text).unwrap();
}

fn try_send(mut stream: &UnixStream, text: &str) -> std::io::Result<()> {
    stream.write_all(format!("{text}\0").as_bytes())
}

/// The next frame without its NUL, or `None` where the connection was closed instead.
pub fn receive(stream: &mut impl BufRead) -> Option<String> {
    let mut frame = Vec::new();
    match stream.read_until(0, &mut frame) {
        Ok(_) if frame.pop() == Some(0) => Some(String::from_utf8(frame).unwrap()),
        Ok(_) => None,
        Err(error) if is_refusal(&error) => None,
        Err(error) => panic!("neither a frame nor the end: {error}"),
    }
}

/// Sends one frame and takes what comes back; `None` where the connection was closed instead.
pub fn exchange(stream: &UnixStream, text: &str) -> Option<String> {
    match try_send(stream, text) {
        Ok(()) => receive(&mut BufReader::new(stream)),
        Err(error) if is_refusal(&error) => None,
        Err(error) => panic!("neither sent nor refused: {error}"),
    }
}

/// Whether reading or writing failed because the service has closed the connection (and not because it does nothing).
pub fn is_refusal(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset)
}

/// Waits until the service closes the connection.
pub fn cut_off(mut stream: &UnixStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => is_refusal(&error),
    }
}

/// Whether somebody else is served at this very moment.
pub fn others_are_served(path: &Path) -> bool {
    let answer = exchange(&connect_as(2000, path), r#"{"method":"org.varlink.service.GetInfo"}"#);
    answer.is_some_and(|answer| answer.contains("io.twostep.Recovery"))
}

/// A service in a process of its own: the test named `server_process` of this very program. It ends when its input does.
pub struct ServerProcess {
    child: Child,
    folder: tempfile::TempDir,
}

impl ServerProcess {
    /// `variant` tells `server_process` how to set the service up.
    pub fn start(variant: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "server_process", "--ignored", "--nocapture"])
            .env("TWOSTEP_TEST_SERVER", variant)
            .env("TWOSTEP_TEST_SOCKET", folder.path().join("socket"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = Lines::new("the server process", child.stdout.take().unwrap());
        assert!(lines.any(|line| line.contains("LISTENING")), "the server process did not start");
        Self { child, folder }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// Resident memory in KiB: now (`VmRSS`) or at its highest (`VmHWM`).
    pub fn memory(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let well = ended(&mut self.child).success();
        assert!(well || std::thread::panicking(), "the server process failed");
    }
}
