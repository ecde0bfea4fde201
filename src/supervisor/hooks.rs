//! The integrator's programs that run once after each press.
//!
//! `/etc/twostep/recovery.d/` holds executables (a network reset, a Samba password, …). Each runs in name order, as root, with the variables
//! `TWOSTEP_ACCOUNT` and `TWOSTEP_PRESS`, a clean environment and no input; one that takes longer than `recovery.hook_time` is ended together
//! with what it has started. One that fails does not keep the next from running.
//!
//! Once per press: its number is written to `hooks-ran` **before** the first hook starts. So none ever runs twice, also not at the next boot;
//! a power cut in between leaves the rest of them out.
//!
//! Under systemd a `.path` unit watches the stamp and starts `twostepd hooks`, outside the daemon's sandbox. Elsewhere the supervisor calls
//! [`run_pending`] after a press. It blocks for as long as the hooks run; call it off the event loop.
//!
//! What this does not do: tell a hook the password.

use std::fmt;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{Pid, geteuid};

use super::recovery::press_number;
use crate::config::paths::Paths;
use crate::core::time::Monotonic;
use crate::sys::atomic_file::{self, Disk, FileError};
use crate::sys::clock;
use crate::sys::process::Process;

/// How long a hook that is out of time may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// More hooks than this do not run.
const MOST: usize = 64;

/// What became of one hook.
#[derive(Debug)]
pub enum Outcome {
    /// It ran to its end.
    Ran(ExitStatus),
    /// It was ended when its time was over.
    OutOfTime,
    /// It was not started, for this reason.
    Refused(&'static str),
    /// It could not be started.
    Failed(io::Error),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ran(status) => write!(f, "{status}"),
            Self::OutOfTime => f.write_str("ended, its time was over (recovery.hook_time)"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
            Self::Failed(error) => write!(f, "could not be started: {error}"),
        }
    }
}

/// The hooks of one press and what became of them, in order.
#[derive(Debug)]
pub struct Report {
    /// The press.
    pub press: u64,
    /// Each hook's name and outcome.
    pub hooks: Vec<(String, Outcome)>,
}

/// Runs the hooks of the last press if they have not been started yet; of a further press, too, that comes while they run. Where another
/// process is at it already, nothing is done.
///
/// # Errors
/// Where the press's number cannot be read or noted: then no hook runs.
pub fn run_pending(disk: &dyn Disk, paths: &Paths, account: &str, time: Duration) -> Result<Vec<Report>, FileError> {
    let Some(_lock) = atomic_file::try_lock_file(disk, &paths.state.join("hooks.lock"))? else { return Ok(Vec::new()) };
    let mut reports = Vec::new();
    while let Some(press) = take_press(disk, paths)? {
        let mut hooks = Vec::new();
        for hook in find(&paths.hooks()) {
            let outcome = match hook.refusal {
                Some(reason) => Outcome::Refused(reason),
                None => run(&hook.path, account, press, time),
            };
            report(press, &hook.name, &outcome);
            hooks.push((hook.name, outcome));
        }
        reports.push(Report { press, hooks });
    }
    Ok(reports)
}

/// The last press, noted as taken; none where its hooks have been started before.
fn take_press(disk: &dyn Disk, paths: &Paths) -> Result<Option<u64>, FileError> {
    let read = |path: &Path| match atomic_file::read(disk, path) {
        Err(error) if error.is_missing() => Ok(None),
        other => other.map(|text| press_number(&text)),
    };
    let (stamp, ran) = (read(&paths.stamp())?, read(&paths.hooks_ran())?);
    let Some(press) = stamp.filter(|&press| press > ran.unwrap_or_default()) else { return Ok(None) };
    atomic_file::replace(disk, &paths.hooks_ran(), format!("{press}\n").as_bytes(), 0o600)?;
    Ok(Some(press))
}

struct Hook {
    name: String,
    path: PathBuf,
    refusal: Option<&'static str>,
}

/// The hooks in name order. Hidden files and the left-overs of editors and package managers are none, nor is what is not executable.
fn find(folder: &Path) -> Vec<Hook> {
    let Ok(found) = folder.symlink_metadata() else { return Vec::new() };
    let unsafe_folder = refusal(&found, found.is_dir());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| is_hook_name(name)).collect();
    names.sort();
    let hook = |name: String| {
        let path = folder.join(&name);
        let found = path.symlink_metadata().ok().filter(|found| found.is_symlink() || found.permissions().mode() & 0o111 != 0)?;
        let refusal = unsafe_folder.map(|_| "its folder is not safe: it must belong to root and be writable for root alone");
        Some(Hook { refusal: refusal.or_else(|| self::refusal(&found, found.is_file())), name, path })
    };
    let mut hooks: Vec<Hook> = names.into_iter().filter_map(hook).collect();
    for hook in hooks.iter_mut().skip(MOST) {
        hook.refusal = Some("there are more than 64 hooks, and it comes after them in name order");
    }
    hooks
}

fn is_hook_name(name: &str) -> bool {
    !name.starts_with('.') && !name.ends_with('~') && !name.contains(".dpkg-") && !name.ends_with(".rpmsave") && !name.ends_with(".rpmnew")
}

/// Why root must not run this. Without root the owner is whoever runs the daemon.
fn refusal(found: &std::fs::Metadata, right_kind: bool) -> Option<&'static str> {
    if !right_kind {
        Some("it is no regular file")
    } else if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        Some("it does not belong to root")
    } else if found.permissions().mode() & 0o022 != 0 {
        Some("others than its owner may write to it (chmod go-w)")
    } else {
        None
    }
}

fn run(path: &Path, account: &str, press: u64, time: Duration) -> Outcome {
    let mut command = Command::new(path);
    command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("TWOSTEP_ACCOUNT", account).env("TWOSTEP_PRESS", press.to_string());
    command.current_dir("/").stdin(Stdio::null()).process_group(0);
    match command.spawn() {
        Ok(child) => wait(child, time),
        Err(error) => Outcome::Failed(error),
    }
}

/// Waits for the hook. What it left running on purpose stays; when its time is over, the whole group is ended.
fn wait(mut child: Child, time: Duration) -> Outcome {
    let group = Pid::from_raw(child.id().cast_signed());
    // A child that is not reaped yet keeps its number, so the group cannot be another one.
    let in_time = ends_within(group, time);
    if !in_time {
        let _ = killpg(group, Signal::SIGTERM);
        let _ = ends_within(group, GRACE);
        let _ = killpg(group, Signal::SIGKILL);
    }
    match child.wait() {
        Ok(status) if in_time => Outcome::Ran(status),
        Ok(_) => Outcome::OutOfTime,
        Err(error) => Outcome::Failed(error),
    }
}

/// Whether this child ends in this time. It is not reaped.
fn ends_within(child: Pid, time: Duration) -> bool {
    match Process::open(child.as_raw()) {
        Ok(process) => process.ends_within(time),
        // No descriptor left for it: that is no reason to end a hook before its time.
        Err(_) => ends_by(child, clock::monotonic() + time),
    }
}

fn ends_by(child: Pid, end: Monotonic) -> bool {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while matches!(waitid(Id::Pid(child), look), Ok(WaitStatus::StillAlive) | Err(Errno::EINTR)) {
        if clock::monotonic() >= end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

fn report(press: u64, name: &str, outcome: &Outcome) {
    log::info!(target: "audit", "recovery press={press} hook={name:?} outcome={:?}", outcome.to_string());
    if !matches!(outcome, Outcome::Ran(status) if status.success()) {
        log::error!("hook {name}: {outcome}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_descriptor_a_child_is_awaited_all_the_same_and_not_reaped() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(!ends_by(pid, clock::monotonic() + Duration::from_millis(120)));
        child.kill().unwrap();
        assert!(ends_by(pid, clock::monotonic() + Duration::from_secs(20)));
        assert!(!child.wait().unwrap().success());
    }
}
