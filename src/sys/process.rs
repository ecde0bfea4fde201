//! Other processes: signalled and awaited without mistaking a reused number for the process that had it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Runs a program of the system's own in an environment of nothing but a search path, and gives what it wrote to its output, a few lines at most.
/// It is killed after `limit`; then the status says so.
///
/// # Errors
/// Where it can't be started.
pub fn output_within(mut command: Command, limit: Duration) -> io::Result<Output> {
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let in_time = Process::open(child.id().cast_signed()).is_ok_and(|process| process.ends_within(limit));
    if !in_time {
        // It may have ended just now; both ways there is nobody left to kill.
        let _ = child.kill();
    }
    child.wait_with_output()
}

/// A process, held by a pidfd where the kernel has them (Linux 5.3), else by its number.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: Option<OwnedFd>,
}

impl Process {
    /// Takes hold of the process with this number. What is known about that number must be read after this, not before.
    ///
    /// # Errors
    /// Where there is no such process.
    pub fn open(pid: i32) -> io::Result<Self> {
        // SAFETY: the call takes two integers and touches no memory of ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), 0_i64 as libc::c_long) };
        if let Some(fd) = i32::try_from(fd).ok().filter(|&fd| fd >= 0) {
            // SAFETY: the kernel has just given us this descriptor, and nobody else knows it.
            let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
            return Ok(Self { pid, pidfd: Some(pidfd) });
        }
        match io::Error::last_os_error() {
            error if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(Self { pid, pidfd: None }),
            error => Err(error),
        }
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// Where it has ended, or may not be signalled.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let Some(pidfd) = &self.pidfd else { return Ok(kill(Pid::from_raw(self.pid), signal)?) };
        let none = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: the descriptor is open, and a null siginfo is allowed: the kernel then fills one in itself.
        let sent = unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                libc::c_long::from(pidfd.as_raw_fd()),
                libc::c_long::from(signal as i32),
                none,
                0_i64,
            )
        };
        if sent == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Whether it ends (a child: turns into one to be reaped) within this time.
    #[must_use]
    pub fn ends_within(&self, time: Duration) -> bool {
        let Some(pidfd) = &self.pidfd else { return self.numbered_ends_within(time) };
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let end = super::clock::monotonic() + time;
        loop {
            match poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(nix::Error::EINTR) if super::clock::monotonic() < end => {}
                outcome => return outcome.is_ok_and(|ready| ready > 0),
            }
        }
    }

    fn numbered_ends_within(&self, time: Duration) -> bool {
        let end = super::clock::monotonic() + time;
        let ended = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
            stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
        };
        while !ended() {
            if super::clock::monotonic() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }
}
