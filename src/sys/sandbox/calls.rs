//! Which system calls the engine may make (seccomp).
//!
//! A list of what is allowed, since a list of what is forbidden is out of date with each kernel. Everything else is answered with `ENOSYS`, as
//! an older kernel would: libc, SQLite and the NSS modules of other people know that answer and fall back (`clone3` to `clone`, whose flags can
//! be looked at here), while after `EPERM` they give up, and killing would turn a harmless attempt of some NSS module into an outage.
//!
//! What is missing on purpose: starting programs and processes, other processes (ptrace, signals, pidfd), mounts, namespaces, keys, bpf,
//! io_uring, raising limits, changing users, listening on new sockets, memory that is both writable and executable.
//!
//! On processors that the seccomp compiler does not know (32-bit Arm, MIPS, …) the unit's own list still holds.
#![cfg_attr(not(test), forbid(unsafe_code))]

use super::Fault;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
pub fn restrict(_internet: bool) -> Result<Option<String>, Fault> {
    Ok(Some(format!("seccomp: no list of system calls for this processor ({})", std::env::consts::ARCH)))
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
pub use supported::restrict;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"))]
mod supported {
    use std::collections::BTreeMap;
    use std::io;

    use nix::libc;
    use seccompiler::SeccompCmpArgLen::{Dword, Qword};
    use seccompiler::SeccompCmpOp::{Eq, MaskedEq};
    use seccompiler::{BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule};

    use super::Fault;

    /// From now on only what is listed here; with `internet` also internet sockets. Returns what this kernel can't do.
    pub fn restrict(internet: bool) -> Result<Option<String>, Fault> {
        let program = program(internet).map_err(|e| Fault::Calls(e.into()))?;
        match seccompiler::apply_filter(&program) {
            Ok(()) => Ok(None),
            Err(seccompiler::Error::Seccomp(error)) if error.kind() == io::ErrorKind::Unsupported || is_unknown(&error) => {
                Ok(Some("seccomp: not supported by this kernel: system calls are not limited".into()))
            }
            Err(error) => Err(Fault::Calls(error)),
        }
    }

    /// A kernel without seccomp filters says EINVAL to a program that every other one takes.
    fn is_unknown(error: &io::Error) -> bool {
        matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
    }

    fn program(internet: bool) -> Result<BpfProgram, seccompiler::BackendError> {
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = PLAIN.iter().chain(OLD).map(|&call| (call, Vec::new())).collect();
        for (call, choices) in by_argument(internet) {
            rules.insert(call, choices.into_iter().map(rule).collect::<Result<_, _>>()?);
        }
        let refuse = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, std::env::consts::ARCH.try_into()?)?.try_into()
    }

    /// One argument that must match: which, how wide, how, with what.
    type Choice = (u8, SeccompCmpArgLen, SeccompCmpOp, u64);

    fn rule(choice: Choice) -> Result<SeccompRule, seccompiler::BackendError> {
        let (argument, width, how, with) = choice;
        SeccompRule::new(vec![SeccompCondition::new(argument, width, how, with)?])
    }

    /// Allowed where one of the choices matches.
    fn by_argument(internet: bool) -> Vec<(i64, Vec<Choice>)> {
        let number = |value: libc::c_int| u64::from(value.unsigned_abs());
        let (write, execute, thread) = (number(libc::PROT_WRITE), number(libc::PROT_EXEC), number(libc::CLONE_THREAD));
        let mut families = vec![libc::AF_UNIX];
        if internet {
            // Netlink: getaddrinfo asks it which address families are in use. Users and groups are looked up without; and it tells every
            // adapter's address, which may be the password on the sticker.
            families.extend([libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK]);
        }
        let controls = [libc::FIONBIO, libc::FIONREAD, libc::FIOCLEX, libc::FIONCLEX, libc::TCGETS];
        let options = [libc::PR_SET_NAME, libc::PR_GET_NAME, libc::PR_GET_DUMPABLE, libc::PR_CAPBSET_READ, libc::PR_SET_VMA];
        vec![
            (libc::SYS_socket, families.into_iter().map(|family| (0, Dword, Eq, number(family))).collect()),
            (libc::SYS_socketpair, vec![(0, Dword, Eq, number(libc::AF_UNIX))]),
            // Threads, not processes.
            (libc::SYS_clone, vec![(0, Qword, MaskedEq(thread), thread)]),
            // Never writable and executable at once, so that nothing written can be run.
            (libc::SYS_mmap, vec![(2, Dword, MaskedEq(write), 0), (2, Dword, MaskedEq(execute), 0)]),
            (libc::SYS_mprotect, vec![(2, Dword, MaskedEq(execute), 0)]),
            (libc::SYS_ioctl, controls.into_iter().map(|control| (1, Dword, Eq, control)).collect()),
            (libc::SYS_prctl, options.into_iter().map(|option| (0, Dword, Eq, number(option))).collect()),
            // Its own limits, to read or lower; its own threads, to abort.
            (libc::SYS_prlimit64, vec![(0, Dword, Eq, 0)]),
            (libc::SYS_tgkill, vec![(0, Dword, Eq, u64::from(std::process::id()))]),
        ]
    }

    const PLAIN: &[i64] = &[
        // Files.
        libc::SYS_openat,
        libc::SYS_close,
        libc::SYS_read,
        libc::SYS_readv,
        libc::SYS_pread64,
        libc::SYS_preadv,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_pwrite64,
        libc::SYS_pwritev,
        libc::SYS_lseek,
        libc::SYS_fstat,
        libc::SYS_newfstatat,
        libc::SYS_statx,
        libc::SYS_statfs,
        libc::SYS_fstatfs,
        libc::SYS_faccessat,
        libc::SYS_faccessat2,
        libc::SYS_readlinkat,
        libc::SYS_getdents64,
        libc::SYS_getcwd,
        libc::SYS_mkdirat,
        libc::SYS_unlinkat,
        libc::SYS_renameat2,
        libc::SYS_ftruncate,
        libc::SYS_fallocate,
        libc::SYS_fadvise64,
        libc::SYS_copy_file_range,
        libc::SYS_sendfile,
        libc::SYS_fchmod,
        libc::SYS_fchmodat,
        libc::SYS_umask,
        libc::SYS_fcntl,
        libc::SYS_flock,
        libc::SYS_fsync,
        libc::SYS_fdatasync,
        libc::SYS_sync_file_range,
        libc::SYS_dup,
        libc::SYS_dup3,
        libc::SYS_pipe2,
        // Sockets. The listening one is inherited.
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_bind,
        libc::SYS_connect,
        libc::SYS_getpeername,
        libc::SYS_getsockname,
        libc::SYS_getsockopt,
        libc::SYS_setsockopt,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_recvmmsg,
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_sendmmsg,
        libc::SYS_shutdown,
        // Waiting and time.
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_eventfd2,
        libc::SYS_ppoll,
        libc::SYS_pselect6,
        libc::SYS_timerfd_create,
        libc::SYS_timerfd_gettime,
        libc::SYS_timerfd_settime,
        // Whether the clock is synchronised. Setting it takes a capability, which is gone.
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_clock_getres,
        libc::SYS_clock_gettime,
        libc::SYS_clock_nanosleep,
        libc::SYS_nanosleep,
        libc::SYS_gettimeofday,
        libc::SYS_restart_syscall,
        // Memory.
        libc::SYS_brk,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_madvise,
        libc::SYS_mincore,
        libc::SYS_msync,
        libc::SYS_mlock,
        libc::SYS_munlock,
        libc::SYS_membarrier,
        // Threads, signals, the end.
        libc::SYS_futex,
        libc::SYS_set_robust_list,
        libc::SYS_set_tid_address,
        libc::SYS_rseq,
        libc::SYS_sched_yield,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_exit,
        libc::SYS_exit_group,
        // Who and where it is.
        libc::SYS_getpid,
        libc::SYS_getppid,
        libc::SYS_getpgid,
        libc::SYS_gettid,
        libc::SYS_getuid,
        libc::SYS_geteuid,
        libc::SYS_getgid,
        libc::SYS_getegid,
        libc::SYS_getresuid,
        libc::SYS_getresgid,
        libc::SYS_getgroups,
        libc::SYS_getcpu,
        libc::SYS_getrlimit,
        libc::SYS_getrusage,
        libc::SYS_getrandom,
        libc::SYS_sysinfo,
        libc::SYS_times,
        libc::SYS_uname,
    ];

    /// The same under the names of older interfaces, which newer processors never had.
    #[cfg(target_arch = "x86_64")]
    const OLD: &[i64] = &[
        libc::SYS_open,
        libc::SYS_creat,
        libc::SYS_stat,
        libc::SYS_lstat,
        libc::SYS_access,
        libc::SYS_readlink,
        libc::SYS_getdents,
        libc::SYS_mkdir,
        libc::SYS_rmdir,
        libc::SYS_unlink,
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_chmod,
        libc::SYS_dup2,
        libc::SYS_pipe,
        libc::SYS_epoll_create,
        libc::SYS_epoll_wait,
        libc::SYS_eventfd,
        libc::SYS_poll,
        libc::SYS_select,
        libc::SYS_time,
    ];
    #[cfg(target_arch = "aarch64")]
    const OLD: &[i64] = &[libc::SYS_renameat];
    #[cfg(target_arch = "riscv64")]
    const OLD: &[i64] = &[];

    #[cfg(test)]
    mod tests {
        use nix::errno::Errno;
        use nix::sys::mman::{MapFlags, ProtFlags};
        use nix::sys::{prctl, signal};

        use super::*;

        /// A filter holds for the thread that asks for it, so each test gives one thread up.
        fn restricted<T: Send + 'static>(internet: bool, then: impl FnOnce() -> T + Send + 'static) -> T {
            let inside = move || {
                assert_eq!(restrict(internet).unwrap(), None);
                then()
            };
            std::thread::spawn(inside).join().unwrap()
        }

        #[test]
        fn no_process_is_started() {
            let error = restricted(false, || std::process::Command::new("/bin/true").spawn().unwrap_err());
            assert_eq!(error.raw_os_error(), Some(libc::ENOSYS));
        }

        #[test]
        fn threads_are_started() {
            assert_eq!(restricted(false, || std::thread::spawn(|| 7).join().unwrap()), 7);
        }

        #[test]
        fn others_are_not_signalled() {
            let parent = nix::unistd::getppid();
            assert_eq!(restricted(false, move || signal::kill(parent, None)), Err(Errno::ENOSYS));
        }

        #[test]
        fn what_was_given_up_is_not_taken_back() {
            assert_eq!(restricted(false, || prctl::set_dumpable(true)), Err(Errno::ENOSYS));
            assert_eq!(restricted(false, || nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)), Err(Errno::ENOSYS));
        }

        #[test]
        fn internet_sockets_only_where_mail_is_sent() {
            let open = || std::net::UdpSocket::bind("127.0.0.1:0").map(drop).map_err(|e| e.raw_os_error());
            assert_eq!(restricted(false, open), Err(Some(libc::ENOSYS)));
            assert_eq!(restricted(true, open), Ok(()));
        }

        #[test]
        fn the_list_of_adapters_is_not_had_without_mail() {
            use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
            let open = || socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), None).map(drop);
            assert_eq!(restricted(false, open), Err(Errno::ENOSYS));
            assert_eq!(restricted(true, open), Ok(()));
        }

        #[test]
        fn it_learns_whether_the_clock_is_synchronised() {
            let read = || {
                // SAFETY: a timex of zeros is valid, and with `modes` 0 the call only reads.
                let mut state: libc::timex = unsafe { std::mem::zeroed() };
                // SAFETY: as above; `state` outlives the call.
                unsafe { libc::adjtimex(&raw mut state) }
            };
            assert!(restricted(false, read) >= 0);
        }

        fn map(protection: ProtFlags) -> nix::Result<()> {
            let length = std::num::NonZeroUsize::new(4096).unwrap();
            // SAFETY: a fresh private mapping that nothing refers to.
            unsafe { nix::sys::mman::mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE) }.map(drop)
        }

        #[test]
        fn nothing_written_can_be_run() {
            let (read, write, execute) = (ProtFlags::PROT_READ, ProtFlags::PROT_WRITE, ProtFlags::PROT_EXEC);
            assert_eq!(restricted(false, move || map(read | write | execute)), Err(Errno::ENOSYS));
            assert_eq!(restricted(false, move || map(read | write)), Ok(()));
            assert_eq!(restricted(false, move || map(read | execute)), Ok(()));
        }
    }
}
