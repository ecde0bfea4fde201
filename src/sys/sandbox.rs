//! What a process gives up: user, files, system calls.
//!
//! In this order, since each step needs what the next ones take away: [`drop_to_user`], then [`confine`]: limits on files, memory and
//! threads, no traces for others to read, no new privileges, Landlock, a list of system calls. All of it is for life and for every thread to
//! come; both are therefore called before there is a second thread.
//!
//! What this does not do: hide the network or `/proc` (the unit does), keep a process from what it has open already.
#![cfg_attr(not(test), forbid(unsafe_code))]

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, RestrictionStatus, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, make_bitflags, path_beneath_rules,
};
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Gid, Uid, getgroups, getresgid, getresuid, setgroups, setresgid, setresuid};

mod calls;

/// The newest Landlock whose every right is decided on here (Linux 6.12). Rights of later ones are left as they are.
const LANDLOCK: ABI = ABI::V6;

/// What user and group look-ups (NSS) and name resolution read. Folders that a system does not have are passed over.
const LOOKUPS: [&str; 17] = [
    "/etc",
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    // systemd: users of its own, and the state of its resolver (/etc/resolv.conf points there).
    "/run/systemd/userdb",
    "/run/systemd/resolve",
    "/run/systemd/machines",
    "/run/host/userdb",
    "/run/NetworkManager",
    "/run/resolvconf",
    // The caches and pipes of nscd, nslcd, sssd and winbind.
    "/run/nscd",
    "/run/nslcd",
    "/var/lib/sss",
    "/run/samba/winbindd",
    // libnss-extrausers, nss_db.
    "/var/lib/extrausers",
    "/var/db",
];

const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir});

/// No sockets, pipes, devices, links or programs.
const KEEP: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | MakeReg | MakeDir | RemoveFile | RemoveDir | Refer});

/// What a process keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Folders that it may read and write. They must exist.
    pub writable: Vec<PathBuf>,
    /// Folders and files that it may read. Missing ones are passed over.
    pub readable: Vec<PathBuf>,
    /// TCP ports that it may connect to; with none it gets no internet socket and no netlink socket at all.
    pub ports: Vec<u16>,
    /// How many files it may have open.
    pub files: u64,
    /// How much memory of its own it may use, in bytes.
    pub memory: u64,
    /// How many tasks (a process has one for each of its threads) its user may have, at least twice what it needs. Only for a process that is alone with
    /// its user: the kernel counts all tasks of one uid together, and none of root's.
    pub tasks: Option<u64>,
}

impl Limits {
    /// For a process that keeps its state in one folder and looks users up.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        let readable = LOOKUPS.iter().chain(&["/dev/urandom"]).map(PathBuf::from).collect();
        Self { writable: vec![state.into()], readable, ports: Vec::new(), files: 1024, memory: 256 << 20, tasks: None }
    }
}

/// Why a process could not give up what it should.
#[derive(Debug)]
pub enum Fault {
    /// There is a second thread already, which would keep everything.
    Threads(usize),
    /// A call failed: which, and why.
    Call(&'static str, io::Error),
    /// A folder that is to stay writable can't be opened.
    Folder(PathBuf, String),
    /// Landlock is there and refuses.
    Landlock(RulesetError),
    /// seccomp is there and refuses.
    Calls(seccompiler::Error),
    /// The change of user left something behind.
    NotDropped(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Threads(count) => write!(f, "sandbox: {count} threads run already; it must be entered by the first one, before others"),
            Self::Call(call, error) => write!(f, "sandbox: {call}: {error}"),
            Self::Folder(path, error) => write!(f, "sandbox: {}: {error}", path.display()),
            Self::Landlock(error) => write!(f, "sandbox: landlock: {error}"),
            Self::Calls(error) => write!(f, "sandbox: seccomp: {error}"),
            Self::NotDropped(what) => write!(f, "sandbox: user not changed: {what}"),
        }
    }
}

impl std::error::Error for Fault {}

fn call(name: &'static str) -> impl Fn(nix::Error) -> Fault {
    move |error| Fault::Call(name, error.into())
}

/// Becomes this user, with this group alone and no capability. A process that is all of that already only has it confirmed: a few system
/// calls, no change. So whoever was started as that user calls it too, before [`confine`] (after it `/proc/self` is root's), rather than
/// trust whoever started it.
///
/// Root is left by this call also where `uid` is not root, and never kept: for `uid` 0 it fails, as root has capabilities.
///
/// # Errors
/// Where a call fails, or anything of the former user is left: then the process must end.
pub fn drop_to_user(uid: Uid, gid: Gid) -> Result<(), Fault> {
    if getresuid().map_err(call("getresuid"))?.effective.is_root() {
        setgroups(&[]).map_err(call("setgroups"))?;
        setresgid(gid, gid, gid).map_err(call("setresgid"))?;
        setresuid(uid, uid, uid).map_err(call("setresuid"))?;
    }
    is_dropped(uid, gid)
}

fn is_dropped(uid: Uid, gid: Gid) -> Result<(), Fault> {
    let (user, group) = (getresuid().map_err(call("getresuid"))?, getresgid().map_err(call("getresgid"))?);
    if [user.real, user.effective, user.saved] != [uid; 3] || [group.real, group.effective, group.saved] != [gid; 3] {
        return Err(Fault::NotDropped(format!("user {user:?}, group {group:?}")));
    }
    let groups = getgroups().map_err(call("getgroups"))?;
    if groups.iter().any(|&other| other != gid) {
        return Err(Fault::NotDropped(format!("still in groups {groups:?}")));
    }
    let status = std::fs::read_to_string("/proc/self/status").map_err(|e| Fault::Call("/proc/self/status", e))?;
    match status.lines().find(|line| is_capable(line)) {
        Some(line) => Err(Fault::NotDropped(format!("still capable: {line}"))),
        None => Ok(()),
    }
}

/// Capabilities in force, or that could be put in force.
fn is_capable(line: &str) -> bool {
    let Some((key, value)) = line.split_once(':') else { return false };
    ["CapPrm", "CapEff", "CapAmb"].contains(&key) && u64::from_str_radix(value.trim(), 16) != Ok(0)
}

/// Gives up the protection from the out-of-memory killer that a process inherits from one that must outlive it: it is killed like any other
/// program. Raising one's own score needs no right. To be called first: after a change of user, as after [`confine`], the file is root's.
///
/// # Errors
/// Where `/proc` can't be written.
pub fn give_up_memory_protection() -> Result<(), Fault> {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let failed = |error| Fault::Call(SCORE, error);
    let score = std::fs::read_to_string(SCORE).map_err(failed)?;
    // A higher one was given on purpose, and lowering it needs a right.
    match score.trim().parse::<i32>() {
        Ok(score) if score >= 0 => Ok(()),
        _ => std::fs::write(SCORE, "0").map_err(failed),
    }
}

/// Gives up everything but `limits`. Returns what this kernel or processor can't do, in words for the log.
///
/// # Errors
/// Where the kernel can and refuses, or the process has a second thread: then the process must end.
pub fn confine(limits: &Limits) -> Result<Vec<String>, Fault> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|e| Fault::Call("/proc/self/task", e))?.count();
    if threads != 1 {
        return Err(Fault::Threads(threads));
    }
    limit(Resource::RLIMIT_CORE, 0)?;
    limit(Resource::RLIMIT_NOFILE, limits.files)?;
    limit(Resource::RLIMIT_DATA, limits.memory)?;
    let shared = limits.tasks.map(limit_tasks).transpose()?.flatten();
    // No core file, no ptrace by the same user, and /proc/PID belongs to root.
    prctl::set_dumpable(false).map_err(call("PR_SET_DUMPABLE"))?;
    prctl::set_no_new_privs().map_err(call("PR_SET_NO_NEW_PRIVS"))?;
    let mut missing: Vec<_> = shared.into_iter().collect();
    missing.extend(restrict_files(limits)?);
    missing.extend(calls::restrict(!limits.ports.is_empty())?);
    Ok(missing)
}

/// Lowers a limit for good; one that is lower already stays.
fn limit(what: Resource, most: u64) -> Result<(), Fault> {
    let (_, hard) = getrlimit(what).map_err(call("getrlimit"))?;
    setrlimit(what, most.min(hard), most.min(hard)).map_err(call("setrlimit"))
}

/// Lowers the limit on tasks for good, unless others have half of it already: a container without user namespaces may have given the same number to a
/// user of its own, whose tasks the kernel counts, too. Under the limit this process would then get no thread. Returns that in words for the log.
fn limit_tasks(most: u64) -> Result<Option<String>, Fault> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NPROC).map_err(call("getrlimit"))?;
    let set = |soft| setrlimit(Resource::RLIMIT_NPROC, soft, hard).map_err(call("setrlimit"));
    set(soft.min(most / 2))?;
    if starts_a_thread().is_ok() {
        return limit(Resource::RLIMIT_NPROC, most).map(|()| None);
    }
    set(soft)?;
    // Where there is none now either, others of its uid are not the reason.
    starts_a_thread().map_err(|error| Fault::Call("clone", error))?;
    Ok(Some(format!("threads: not limited, since other programs run as uid {} (in a container?): give this user another", Uid::current())))
}

/// One that has nothing to do, and is over.
fn starts_a_thread() -> io::Result<()> {
    // It can't panic.
    thread::Builder::new().stack_size(64 << 10).spawn(|| ()).map(|thread| drop(thread.join()))
}

fn restrict_files(limits: &Limits) -> Result<Vec<String>, Fault> {
    let mut writable = Vec::new();
    for path in &limits.writable {
        let folder = PathFd::new(path).map_err(|e| Fault::Folder(path.clone(), e.to_string()))?;
        writable.push(PathBeneath::new(folder, KEEP));
    }
    let status = landlock(limits, writable).map_err(Fault::Landlock)?;
    Ok(unrestricted(&status))
}

fn landlock(limits: &Limits, writable: Vec<PathBeneath<PathFd>>) -> Result<RestrictionStatus, RulesetError> {
    let ports = limits.ports.iter().map(|&port| Ok::<_, RulesetError>(NetPort::new(port, AccessNet::ConnectTcp)));
    // Every right is handled, hence refused, unless a rule gives it.
    Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(writable.into_iter().map(Ok::<_, RulesetError>))?
        .add_rules(path_beneath_rules(&limits.readable, READ))?
        .add_rules(path_beneath_rules(["/dev/null"], READ | AccessFs::WriteFile))?
        .add_rules(ports)?
        .restrict_self()
}

/// What Landlock leaves open here.
fn unrestricted(status: &RestrictionStatus) -> Vec<String> {
    let LandlockStatus::Available { effective_abi, .. } = status.landlock else {
        return vec!["landlock: not supported by this kernel, or switched off (Linux 5.13 has it): files are not limited".into()];
    };
    if status.ruleset == RulesetStatus::FullyEnforced {
        return Vec::new();
    }
    let gaps = [
        (ABI::V2, "renaming across folders is refused altogether before Linux 5.19"),
        (ABI::V3, "truncating files is not limited before Linux 6.2"),
        (ABI::V4, "TCP ports are not limited before Linux 6.7"),
        (ABI::V5, "device controls (ioctl) are not limited before Linux 6.10"),
        (ABI::V6, "signals and abstract sockets are not limited before Linux 6.12"),
    ];
    gaps.iter().filter(|(since, _)| effective_abi < *since).map(|(_, gap)| format!("landlock: {gap}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_second_thread_is_not_confined() {
        // The test runner's own threads are enough.
        let refused = std::thread::spawn(|| confine(&Limits::new(Path::new("/"))).unwrap_err().to_string()).join().unwrap();
        assert!(refused.contains("threads run already"), "{refused}");
    }

    #[test]
    fn a_left_over_capability_is_seen() {
        assert!(is_capable("CapEff:\t0000000000000001"));
        assert!(is_capable("CapAmb:\tsomething else"));
        assert!(!is_capable("CapPrm:\t0000000000000000"));
        assert!(!is_capable("CapBnd:\t000001ffffffffff"));
    }

    #[test]
    fn another_user_than_the_wanted_one_is_refused() {
        let (uid, gid) = (Uid::from_raw(54_321), nix::unistd::getgid());
        assert!(matches!(is_dropped(uid, gid), Err(Fault::NotDropped(_))));
    }
}
