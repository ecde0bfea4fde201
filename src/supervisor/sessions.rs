//! An account's sessions, ended: its processes, and what runs in its logind sessions under another user (a `sudo -s`).
//!
//! A process is held by its pidfd before it is looked at, so that no reused number is ever signalled; few are held at once, since an account
//! may have more processes than the daemon may have open files. TERM first, KILL to what is left after a short time, and again as long as new
//! ones appear, a few rounds at most.
//!
//! Under systemd the daemon's /proc shows nobody else's processes (`ProtectProc=invisible`). What is in the account's logind sessions is then
//! known from its control group; for the rest (a cron job) a child that is the account signals all that it may signal. What is to be ended may
//! signal that child, too, and stop it: so it is waited for only a short time, and one that does not answer means that some may be left.
//!
//! What this does not do: end anything of uid 0 by its user id, since every daemon of the system is that; remove logind's lingering or cron
//! entries: the account's expiry stops those.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::sys::clock;
use crate::sys::process::Process;

/// How long a process may take to end by itself.
pub const GRACE: Duration = Duration::from_secs(2);

/// How long a child that is the account may take. Whoever it is may stop it, so that this is also how long they can hold up the press.
const ANSWER: Duration = Duration::from_secs(1);

/// So many processes are held at once.
const BATCH: usize = 64;

/// How often the processes are looked through; each round catches what the last one's processes have started.
const ROUNDS: usize = 5;

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Processes that were told to end.
    pub told: usize,
    /// Those among them that had to be killed.
    pub killed: usize,
    /// Whether some are left, or may be.
    pub left: bool,
}

/// The group of a child that needs none.
const NOGROUP: u32 = 65_534;

/// How deep below the account's slice control groups are looked through; logind and systemd's user manager use five levels.
const DEPTH: usize = 12;

/// What only the account itself can reach.
enum Unseen {
    None,
    Some,
    /// It could not be found out, for this reason.
    Unknown(io::Error),
}

/// Whose processes are looked for.
struct Search {
    proc: PathBuf,
    /// Where control groups are mounted.
    cgroups: PathBuf,
    /// Whether /proc hides other users' processes.
    hidden: bool,
    uid: u32,
    /// How long a child that is the account may take.
    answer: Duration,
    own: u32,
    /// The account's slice, where this very process is not in it: else the daemon would end its own children.
    slice: Option<String>,
}

/// Ends the sessions of this user. `proc` and `sys` are mounted below `root`. uid 0 is left alone.
#[must_use]
pub fn end(root: &Path, uid: u32, grace: Duration) -> Ended {
    end_asking(root, uid, grace, ANSWER)
}

fn end_asking(root: &Path, uid: u32, grace: Duration, answer: Duration) -> Ended {
    let mut ended = Ended::default();
    if uid == 0 {
        log::warn!("the account has uid 0: its open sessions cannot be told from the system and stay");
        return ended;
    }
    let search = Search { answer, ..Search::new(root, uid) };
    for round in 0..ROUNDS {
        let (found, unseen) = (search.find(), search.unseen());
        let any_unseen = !matches!(unseen, Unseen::None);
        if found.is_empty() && !any_unseen {
            return ended;
        }
        // How many the unseen ones are is not known.
        ended.told += found.len() + usize::from(matches!(unseen, Unseen::Some));
        // What appears after the first round is started by something that does not want to end.
        let signals = if round == 0 { &[Signal::SIGTERM, Signal::SIGKILL][..] } else { &[Signal::SIGKILL] };
        ended.killed += search.stop(found, signals, grace);
        if any_unseen {
            search.stop_unseen(signals, grace);
        }
    }
    let unseen = search.unseen();
    if let Unseen::Unknown(error) = &unseen {
        log::warn!("whether any process of user {uid} is left could not be found out: {error}");
    }
    ended.left = !search.find().is_empty() || !matches!(unseen, Unseen::None);
    ended
}

impl Search {
    fn new(root: &Path, uid: u32) -> Self {
        let (proc, cgroups) = (root.join("proc"), root.join("sys/fs/cgroup"));
        // Everybody sees the first process, unless others' are hidden.
        let hidden = proc.join("self").exists() && !proc.join("1").exists();
        let slice = format!("user-{uid}.slice");
        let inside = is_in_slice(&std::fs::read_to_string(proc.join("self/cgroup")).unwrap_or_default(), &slice);
        Self { proc, cgroups, hidden, uid, answer: ANSWER, own: std::process::id(), slice: (!inside).then_some(slice) }
    }

    fn find(&self) -> Vec<i32> {
        let entries = std::fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let mut pids: Vec<i32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
        pids.extend(self.members());
        pids.sort_unstable();
        pids.dedup();
        let members = self.members();
        pids.retain(|&pid| pid > 1 && pid.unsigned_abs() != self.own && self.matches(pid, &members));
        pids
    }

    /// Takes hold of those of them that are the account's.
    fn hold(&self, pids: &[i32]) -> Vec<Process> {
        let mut held: Vec<Process> = pids.iter().filter_map(|&pid| Process::open(pid).ok()).collect();
        let members = self.members();
        held.retain(|process| self.matches(process.pid(), &members));
        held
    }

    /// Sends the signals in turn, each to what is left of the last. Returns how many were killed.
    fn stop(&self, mut pids: Vec<i32>, signals: &[Signal], grace: Duration) -> usize {
        let mut killed = 0;
        for &signal in signals {
            let mut told = Vec::new();
            for batch in pids.chunks(BATCH) {
                told.extend(self.hold(batch).iter().filter(|process| process.signal(signal).is_ok()).map(Process::pid));
            }
            if signal == Signal::SIGKILL {
                killed += told.len();
            }
            let end = clock::monotonic() + grace;
            pids.clear();
            for batch in told.chunks(BATCH) {
                let left = |process: &Process| !process.ends_within(end - clock::monotonic());
                pids.extend(self.hold(batch).into_iter().filter(left).map(|process| process.pid()));
            }
        }
        killed
    }

    /// What is in the account's slice, where /proc does not tell.
    fn members(&self) -> Vec<i32> {
        let mut pids = Vec::new();
        for tree in ["", "unified", "systemd"].iter().filter(|_| self.hidden) {
            if let Some(slice) = &self.slice {
                members_below(&self.cgroups.join(tree).join("user.slice").join(slice), DEPTH, &mut pids);
            }
        }
        pids
    }

    fn unseen(&self) -> Unseen {
        if !self.hidden {
            return Unseen::None;
        }
        match as_account(self.uid, ANY_LEFT, "0", self.answer) {
            Ok(true) => Unseen::Some,
            Ok(false) => Unseen::None,
            Err(error) => Unseen::Unknown(error),
        }
    }

    fn stop_unseen(&self, signals: &[Signal], grace: Duration) {
        for signal in signals {
            if let Err(error) = as_account(self.uid, SIGNAL_ALL, signal.as_str().trim_start_matches("SIG"), self.answer) {
                log::warn!("the processes of user {} may not have been sent {signal}: {error}", self.uid);
            }
            let end = clock::monotonic() + grace;
            while matches!(self.unseen(), Unseen::Some) && clock::monotonic() < end {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    }

    /// `members` are [`Self::members`], read after the process was taken hold of.
    fn matches(&self, pid: i32, members: &[i32]) -> bool {
        if members.contains(&pid) {
            return true;
        }
        let read = |file: &str| std::fs::read_to_string(self.proc.join(pid.to_string()).join(file)).unwrap_or_default();
        let status = read("status");
        is_alive(&status)
            && (real_uid(&status) == Some(self.uid) || self.slice.as_deref().is_some_and(|slice| is_in_slice(&read("cgroup"), slice)))
    }
}

fn members_below(folder: &Path, depth: usize, pids: &mut Vec<i32>) {
    let listed = std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    pids.extend(listed.lines().filter_map(|pid| pid.parse::<i32>().ok()));
    if depth > 0 {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                members_below(&entry.path(), depth - 1, pids);
            }
        }
    }
}

/// Sends a signal to everything that the account may signal.
const SIGNAL_ALL: &str = r#"kill -s "$0" -- -1"#;

/// Whether the account sees any process that it may signal, but the shell itself. (What `kill -1` returns does not tell.)
const ANY_LEFT: &str = r#"for p in /proc/[0-9]*; do p=${p#/proc/}; [ "$p" = $$ ] || ! kill -s 0 "$p" || exit 0; done; exit 1"#;

/// What a shell that is this user says to a script. A child does it, so that the daemon itself is never the account, not even for a moment.
///
/// # Errors
/// Where the shell does not start, or does not answer in time. From when it is the account, the account can stop it, also before it has become
/// a shell, which keeps whoever starts it waiting: hence a thread of its own, which ends when the child does.
fn as_account(uid: u32, script: &'static str, signal: &str, limit: Duration) -> io::Result<bool> {
    let signal = signal.to_owned();
    let (answer, answered) = mpsc::channel();
    let ask = move || answer.send(ask_shell(uid, script, &signal, limit));
    std::thread::Builder::new().name("as-account".into()).spawn(ask)?;
    answered.recv_timeout(limit * 2).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn ask_shell(uid: u32, script: &str, signal: &str, limit: Duration) -> io::Result<bool> {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", script, signal]).env_clear().current_dir("/").uid(uid).gid(NOGROUP);
    let mut child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let in_time = Process::open(child.id().cast_signed()).map(|process| process.ends_within(limit));
    if !matches!(in_time, Ok(true)) {
        // It may have ended just now; both ways there is nobody left to kill.
        let _ = child.kill();
    }
    let status = child.wait()?;
    if in_time? { Ok(status.success()) } else { Err(io::ErrorKind::TimedOut.into()) }
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
    use std::os::unix::process::ExitStatusExt;
    use std::process::Child;

    use nix::unistd::geteuid;

    use super::*;
    use crate::skip::{Lack, skipped};

    /// How long what ends or answers at once may take on a busy machine.
    const SOON: Duration = Duration::from_secs(60);

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
            skipped(Lack::Root, "only root can start processes of another user");
            return;
        }
        let mut polite = Stranger::spawn(STRANGER, "echo; exec sleep 600");
        let mut neighbour = Stranger::spawn(STRANGER + 1, "echo; exec sleep 600");
        let ended = end(Path::new("/"), STRANGER, SOON);
        assert_eq!(ended, Ended { told: 1, killed: 0, left: false });
        assert_eq!(polite.ended_by(), Some(libc::SIGTERM));
        let mut stubborn = Stranger::spawn(STRANGER, "trap '' TERM; echo; exec sleep 600");
        let mut polite = Stranger::spawn(STRANGER, "echo; exec sleep 600");
        // Of this, a whole one is waited for.
        let ended = end(Path::new("/"), STRANGER, Duration::from_secs(5));
        assert!(ended.killed > 0 && !ended.left, "{ended:?}");
        assert_eq!(polite.ended_by(), Some(libc::SIGTERM));
        assert_eq!(stubborn.ended_by(), Some(libc::SIGKILL));
        assert!(neighbour.0.try_wait().unwrap().is_none());
    }

    fn fake_process(root: &Path, pid: u32, uid: u32, cgroup: &str) {
        let folder = root.join("proc").join(pid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("status"), format!("Name:\tx\nState:\tS (sleeping)\nUid:\t{uid}\t0\t0\t0\n")).unwrap();
        std::fs::write(folder.join("cgroup"), cgroup).unwrap();
    }

    fn found(search: &Search, pids: &[i32]) -> Vec<i32> {
        pids.iter().copied().filter(|&pid| search.matches(pid, &search.members())).collect()
    }

    #[test]
    fn a_root_shell_inside_the_session_counts_and_one_outside_does_not() {
        let root = tempfile::tempdir().unwrap();
        fake_process(root.path(), 10, 1000, "0::/system.slice/cron.service\n");
        fake_process(root.path(), 11, 0, "0::/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(root.path(), 12, 0, "9:pids:/\n1:name=systemd:/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(root.path(), 13, 0, "0::/user.slice/user-10001.slice/session-4.scope\n");
        fake_process(root.path(), 14, 0, "0::/system.slice/ssh.service\n");
        fake_process(root.path(), 15, 0, "0::/user.slice/user-1000.slice\n");
        let search = Search::new(root.path(), 1000);
        assert_eq!(found(&search, &[10, 11, 12, 13, 14, 15]), [10, 11, 12, 15]);
    }

    #[test]
    fn a_daemon_started_from_the_session_goes_by_user_id_alone() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        std::fs::write(root.path().join("proc/self/cgroup"), "0::/user.slice/user-1000.slice/session-3.scope\n").unwrap();
        fake_process(root.path(), 11, 0, "0::/user.slice/user-1000.slice/session-3.scope\n");
        fake_process(root.path(), 12, 1000, "0::/user.slice/user-1000.slice/session-3.scope\n");
        assert_eq!(found(&Search::new(root.path(), 1000), &[11, 12]), [12]);
    }

    #[test]
    fn where_proc_hides_processes_the_control_group_tells() {
        let root = tempfile::tempdir().unwrap();
        // A /proc that shows this very process alone.
        fake_process(root.path(), 77, 0, "0::/system.slice/twostepd.service\n");
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        let listed = |folder: &str, pids: &str| {
            let folder = root.path().join("sys/fs/cgroup").join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("cgroup.procs"), pids).unwrap();
        };
        listed("user.slice/user-1000.slice/session-3.scope", "11\n12\n");
        listed("user.slice/user-1000.slice/user@1000.service/app.slice/x.service", "13\n");
        listed("user.slice/user-10001.slice/session-4.scope", "14\n");
        let search = Search::new(root.path(), 1000);
        assert_eq!(found(&search, &[11, 12, 13, 14, 77]), [11, 12, 13]);
    }

    #[test]
    fn a_process_that_is_not_seen_is_ended_all_the_same() {
        if !geteuid().is_root() {
            skipped(Lack::Root, "only root can start processes of another user");
            return;
        }
        let uid = STRANGER + 2;
        let mut polite = Stranger::spawn(uid, "echo; exec sleep 600");
        let mut neighbour = Stranger::spawn(uid + 1, "echo; exec sleep 600");
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        // Not yet reaped, it would count as one that is left.
        let (ended, signal) = std::thread::scope(|scope| {
            let reaper = scope.spawn(|| polite.0.wait().unwrap().signal());
            (end_asking(root.path(), uid, SOON, SOON), reaper.join().unwrap())
        });
        assert_eq!(signal, Some(libc::SIGTERM));
        assert!(neighbour.0.try_wait().unwrap().is_none());
        assert_eq!(ended, Ended { told: 1, killed: 0, left: false });
    }

    #[test]
    fn a_child_that_the_account_stops_does_not_block_and_is_no_answer() {
        if !geteuid().is_root() {
            skipped(Lack::Root, "only root can start processes of another user");
            return;
        }
        assert_eq!(as_account(STRANGER + 4, "kill -s STOP $$", "0", ANSWER).unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(matches!(as_account(STRANGER + 4, ANY_LEFT, "0", SOON), Ok(false)), "the stopped one is gone");
    }

    #[test]
    fn a_child_that_cannot_start_does_not_mean_that_nothing_is_left() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/self")).unwrap();
        // No process may take this user id.
        assert!(end(root.path(), u32::MAX, Duration::ZERO).left);
    }

    #[test]
    fn more_processes_than_are_held_at_once_end_all_the_same() {
        if !geteuid().is_root() {
            skipped(Lack::Root, "only root can start processes of another user");
            return;
        }
        let script = "for n in $(seq 150); do sleep 600 & done; echo; wait";
        let _crowd = Stranger::spawn(STRANGER + 5, script);
        let ended = end(Path::new("/"), STRANGER + 5, SOON);
        assert_eq!((ended.told, ended.left), (151, false));
    }

    #[test]
    fn uid_0_and_a_missing_proc_end_nothing() {
        assert_eq!(end(Path::new("/"), 0, Duration::ZERO), Ended::default());
        assert_eq!(end(Path::new("/nonexistent"), STRANGER, Duration::ZERO), Ended::default());
    }
}
