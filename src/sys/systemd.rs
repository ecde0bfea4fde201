//! What the service manager is told: readiness, the watchdog, the end. Under anything else than systemd all of it does nothing.
//!
//! A message is sent without waiting: a service manager that does not read keeps nothing from its work. The `sd-notify` crate's own sending
//! waits, so it only says where and whether.
//!
//! The variables stay in this process's environment, since they can't be removed once there are threads: whoever starts a child clears its
//! environment (`supervisor::child`, `supervisor::hooks`), and the unit listens to the main process alone.
#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use log::debug;
use sd_notify::NotifyState;

/// Whether systemd runs this machine; inside a container it is asked of the container.
#[must_use]
pub fn booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// The service is up: its sockets are served and its buttons watched.
pub fn ready() {
    tell(NotifyState::Ready);
}

/// The main loop turns.
pub fn alive() {
    tell(NotifyState::Watchdog);
}

/// What `systemctl status` shows of the service, in one line.
pub fn states(line: &str) {
    tell(NotifyState::Status(line));
}

/// The service ends on purpose.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// How often [`alive`] is to be called: half of what the service manager waits for. Absent where it does not watch this process.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|period| !period.is_zero())
}

fn tell(state: NotifyState<'_>) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    // A service manager that takes no message notices by itself that none came.
    if let Err(error) = send(&socket, &state) {
        debug!("service manager not told {state}: {error}");
    }
}

/// To a path, or to an abstract name behind `@` (sd_notify(3)).
fn send(socket: &OsStr, state: &NotifyState<'_>) -> io::Result<()> {
    let to = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let from = UnixDatagram::unbound()?;
    from.set_nonblocking(true)?;
    from.send_to_addr(format!("{state}\n").as_bytes(), &to).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(manager: &UnixDatagram) -> String {
        manager.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut message = [0; 100];
        let length = manager.recv(&mut message).expect("a message within 5 s");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_service_manager_is_told_at_its_path_or_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        send(path.as_os_str(), &NotifyState::Ready).unwrap();
        assert_eq!(received(&manager), "READY=1\n");

        let name = format!("twostep-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), &NotifyState::Watchdog).unwrap();
        assert_eq!(received(&manager), "WATCHDOG=1\n");
    }

    #[test]
    fn a_service_manager_that_does_not_read_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _manager = UnixDatagram::bind(&path).unwrap();
        // Whoever waited for room in its queue would wait for ever.
        let refused = (0..100_000).find_map(|_| send(path.as_os_str(), &NotifyState::Watchdog).err());
        assert_eq!(refused.map(|error| error.kind()), Some(io::ErrorKind::WouldBlock));
    }
}
