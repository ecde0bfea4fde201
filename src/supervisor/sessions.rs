//! An account's sessions, ended: its processes, and what runs in its logind sessions under another user (a `sudo -s`).
//!
//! A process is held by its pidfd before it is looked at, so that no reused number is ever signalled. TERM first, KILL to what is left after a
//! short time, and again as long as new ones appear, a few rounds at most.
//!
//! What this does not do: end anything of uid 0 by its user id, since every daemon of the system is that; remove logind's lingering or cron
//! entries: the account's expiry stops those.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sys::process::Process;

/// How long a process may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(2);

/// How often the processes are looked through; each round catches what the last one's processes have started.
const ROUNDS: usize = 5;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Processes that were told to end.
    pub told: usize,
    /// Those among them that had to be killed.
    pub killed: usize,
    /// Whether some are left.
    pub left: bool,
}

/// Whose processes are looked for.
struct Search {
    proc: PathBuf,
    uid: u32,
    own: u32,
    /// The account's slice, where this very process is not in it: else the daemon would end its own children.
    slice: Option<String>,
}

/// Ends the sessions of this user. `proc` is where proc is mounted. uid 0 is left alone.
#[must_use]
pub fn end(proc: &Path, uid: u32, grace: Duration) -> Ended {
    let mut ended = Ended::default();
    if uid == 0 {
        log::warn!("the account has uid 0: its open sessions cannot be told from the system and stay");
        return ended;
    }
    let search = Search::new(proc, uid);
    for round in 0..ROUNDS {
        let found = search.find();
        if found.is_empty() {
            return ended;
        }
        ended.told += found.len();
        // What appears after the first round is started by something that does not want to end.
        let signals = if round == 0 { &[Signal::SIGTERM, Signal::SIGKILL][..] } else { &[Signal::SIGKILL] };
        ended.killed += stop(found, signals, grace);
    }
    ended.left = !search.find().is_empty();
    ended
}

/// Sends the signals in turn, each to what is left of the last. Returns how many were killed.
fn stop(mut processes: Vec<Process>, signals: &[Signal], grace: Duration) -> usize {
    let mut killed = 0;
    for &signal in signals {
        processes.retain(|process| process.signal(signal).is_ok());
        if signal == Signal::SIGKILL {
            killed += processes.len();
        }
        let mut rest = grace;
        processes.retain(|process| {
            let start = crate::sys::clock::monotonic();
            let ended = process.ends_within(rest);
            rest = rest.saturating_sub(crate::sys::clock::monotonic() - start);
            !ended
        });
    }
    killed
}

impl Search {
    fn new(proc: &Path, uid: u32) -> Self {
        let slice = format!("user-{uid}.slice");
        let inside = is_in_slice(&std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default(), &slice);
        Self { proc: proc.into(), uid, own: std::process::id(), slice: (!inside).then_some(slice) }
    }

    fn find(&self) -> Vec<Process> {
        let entries = std::fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter(|&pid| pid > 1 && pid.unsigned_abs() != self.own).filter_map(|pid| self.hold(pid)).collect()
    }

    fn hold(&self, pid: i32) -> Option<Process> {
        self.matches(pid).then(|| Process::open(pid).ok()).flatten().filter(|_| self.matches(pid))
    }

    fn matches(&self, pid: i32) -> bool {
        let read = |file: &str| std::fs::read_to_string(self.proc.join(pid.to_string()).join(file)).unwrap_or_default();
        let status = read("status");
        is_alive(&status)
            && (real_uid(&status) == Some(self.uid) || self.slice.as_deref().is_some_and(|slice| is_in_slice(&read("cgroup"), slice)))
    }
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).and_then(|values| values.split_whitespace().next())
}

fn real_uid(status: &str) -> Option<u32> {
    field(status, "Uid:")?.parse().ok()
}

/// A zombie has ended already; only its parent can make it go.
fn is_alive(status: &str) -> bool {
    field(status, "State:").is_some_and(|state| !matches!(state, "Z" | "X"))
}

fn is_in_slice(cgroup: &str, slice: &str) -> bool {
    cgroup.lines().filter_map(|line| line.splitn(3, ':').nth(2)).any(|path| path.split('/').any(|part| part == slice))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Child, Command};

    use nix::unistd::geteuid;

    use super::*;

    /// A user id that nobody has on a sane system.
    const STRANGER: u32 = 54_321;

    /// A child that does not outlive the test.
    struct Stranger(Child);

    impl Stranger {
        /// Starts it and waits for its first line.
        fn spawn(uid: u32, script: &str) -> Self {
            let mut child = Command::new("sh").args(["-c", script]).uid(uid).stdout(std::process::Stdio::piped()).spawn().unwrap();
            let mut ready = [0; 1];
            std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();
            Self(child)
        }

        fn ended_by(&mut self) -> Option<i32> {
            self.0.try_wait().unwrap().and_then(|status| status.signal())
        }
    }

    impl Drop for Stranger {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn the_accounts_processes_end_and_others_stay() {
        if !geteuid().is_root() {
            eprintln!("SKIPPED: only root can start processes of another user");
            return;
        }
        let mut polite = Stranger::spawn(STRANGER, "echo; exec sleep 60");
        let mut stubborn = Stranger::spawn(STRANGER, "trap '' TERM; echo; exec sleep 60");
        let mut neighbour = Stranger::spawn(STRANGER + 1, "echo; exec sleep 60");
        let ended = end(Path::new("/proc"), STRANGER, Duration::from_millis(300));
        assert_eq!((ended.killed, ended.left), (1, false));
        assert_eq!(polite.ended_by(), Some(libc::SIGTERM));
        assert_eq!(stubborn.ended_by(), Some(libc::SIGKILL));
        assert!(neighbour.0.try_wait().unwrap().is_none());
    }

    fn fake_process(proc: &Path, pid: u32, uid: u32, cgroup: &str) {
        let folder = proc.join(pid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("status"), format!("Name:\tx\nState:\tS (sleeping)\nUid:\t{uid}\t0\t0\t0\n")).unwrap();
        std::fs::write(folder.join("cgroup"), cgroup).unwrap();
    }

    fn found(search: &Search, pids: &[i32]) -> Vec<i32> {
        pids.iter().copied().filter(|&pid| search.matches(pid)).collect()
    }

    #[test]
    fn a_root_shell_inside_the_session_counts_and_one_outside_does_not() {
        let proc = tempfile::tempdir().unwrap();
        fake_process(proc.path(), 10, 1000, "0::/system.slice/cron.service\n");
        fake_process(proc.path(), 11, 0, "0::/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(proc.path(), 12, 0, "9:pids:/\n1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(proc.path(), 13, 0, "0::/user.slice/user-10001.slice/session-4.scope\n");
        fake_process(proc.path(), 14, 0, "0::/system.slice/ssh.service\n");
        fake_process(proc.path(), 15, 0, "0::/user.slice/user-1000.slice\n");
        let search = Search::new(proc.path(), 1000);
        assert_eq!(found(&search, &[10, 11, 12, 13, 14, 15]), [10, 11, 12, 15]);
    }

    #[test]
    fn a_daemon_started_from_the_session_goes_by_user_id_alone() {
        let proc = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(proc.path().join("self")).unwrap();
        std::fs::write(proc.path().join("self/cgroup"), "0::/user.slice/user-1000.slice/session-3.scope\n").unwrap();
        fake_process(proc.path(), 11, 0, "0::/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(proc.path(), 12, 1000, "0::/user.slice/user-1000.slice/session-3.scope\n");
        assert_eq!(found(&Search::new(proc.path(), 1000), &[11, 12]), [12]);
    }

    #[test]
    fn uid_0_and_a_missing_proc_end_nothing() {
        assert_eq!(end(Path::new("/proc"), 0, Duration::ZERO), Ended::default());
        assert_eq!(end(Path::new("/nonexistent"), STRANGER, Duration::ZERO), Ended::default());
    }
}
