//! Other processes: signalled and awaited without mistaking a reused number for the process that had it.

use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// More than a pipe holds: whoever writes more than that before it ends is not read to its end.
const OUTPUT: usize = 128 << 10;

/// Runs a program of the system's own in an environment of nothing but a search path, and gives what it wrote to its output, a few lines at most.
/// After `limit` it is killed, with what it has started; then the status says so. What it has left running is not waited for, even where that
/// holds its output open.
///
/// # Errors
/// Where it can't be started.
pub fn output_within(mut command: Command, limit: Duration) -> io::Result<Output> {
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    let pid = child.id().cast_signed();
    let in_time = Process::open(pid).is_ok_and(|process| process.ends_within(limit));
    if !in_time {
        // It may have ended just now; both ways there is nobody left to kill. Not reaped yet, it keeps its number.
        let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
    }
    let status = child.wait()?;
    let stdout = child.stdout.take().map_or_else(|| Ok(Vec::new()), written)?;
    Ok(Output { status, stdout, stderr: Vec::new() })
}

/// What is in the pipe by now. It was written by who has ended, and the pipe may have no end.
fn written(mut pipe: ChildStdout) -> io::Result<Vec<u8>> {
    let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    // Once, and whole: a secret leaves no shorter copies behind.
    let mut bytes = Vec::with_capacity(OUTPUT);
    match pipe.by_ref().take(OUTPUT as u64).read_to_end(&mut bytes) {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => Ok(bytes),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> (Output, Duration) {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        let begun = crate::sys::clock::monotonic();
        let output = output_within(command, limit).unwrap();
        (output, crate::sys::clock::monotonic() - begun)
    }

    #[test]
    fn what_a_program_leaves_running_with_its_output_is_not_waited_for() {
        let (output, took) = shell("echo said; (trap '' HUP; exec sleep 100) & exit 0", Duration::from_secs(90));
        assert_eq!((output.status.success(), output.stdout.as_slice()), (true, &b"said\n"[..]));
        assert!(took < Duration::from_secs(80), "{took:?}");
    }

    #[test]
    fn a_program_out_of_time_ends_with_what_it_started() {
        // On a busy machine its time may be over before it has started anything.
        let started: Option<i32> = [1, 10, 100].into_iter().find_map(|seconds| {
            let (output, took) = shell("sleep 1000 & echo $!; wait", Duration::from_secs(seconds));
            assert!(!output.status.success() && took < Duration::from_secs(500), "{took:?}");
            String::from_utf8(output.stdout).unwrap().trim().parse().ok()
        });
        let started = started.expect("the shell starts another process");
        assert!(Process::open(started).map_or(true, |process| process.ends_within(Duration::from_secs(60))));
    }
}
