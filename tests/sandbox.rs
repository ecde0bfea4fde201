//! What a confined process can still do, and what it can't: tried by real processes, one for each behaviour.
//!
//! Without the test harness, since confinement is for life and wants a process without threads. As root the children first become `nobody`,
//! which also shows the change of user; without root they keep their user.

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Gid, Uid, User, geteuid, getuid, setuid};
use twostep::sys::sandbox::{Limits, confine, drop_to_user, give_up_memory_protection};

#[path = "support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

type Outcome = Result<(), Box<dyn Error>>;

type Behaviour = fn(&Scene) -> Outcome;

const NOBODY: u32 = 65_534;

/// So many tasks a user may have here, once that is limited.
const TASKS: u64 = 12;

const BEHAVIOURS: &[(&str, Behaviour)] = &[
    ("it_does_not_become_root_again", it_does_not_become_root_again),
    ("it_reads_and_writes_its_own_state_only", it_reads_and_writes_its_own_state_only),
    ("it_does_not_read_password_hashes", it_does_not_read_password_hashes),
    ("it_keeps_a_database", it_keeps_a_database),
    ("it_looks_users_up", it_looks_users_up),
    ("it_serves_a_socket_from_several_threads", it_serves_a_socket_from_several_threads),
    ("it_starts_no_program", it_starts_no_program),
    ("it_does_not_trace_mount_or_leave_its_namespaces", it_does_not_trace_mount_or_leave_its_namespaces),
    ("without_mail_it_has_no_network", without_mail_it_has_no_network),
    ("with_mail_it_reaches_that_port_only", with_mail_it_reaches_that_port_only),
    ("it_does_not_take_all_memory_or_files", it_does_not_take_all_memory_or_files),
    ("it_starts_no_more_threads_than_it_may", it_starts_no_more_threads_than_it_may),
    ("others_with_its_number_take_none_of_its_threads", others_with_its_number_take_none_of_its_threads),
    ("it_gives_up_the_protection_of_its_parent", it_gives_up_the_protection_of_its_parent),
    ("others_do_not_look_into_it", others_do_not_look_into_it),
    ("a_missing_state_folder_ends_it", a_missing_state_folder_ends_it),
];

/// Where a behaviour is tried. `state` is the process's own; `outside` anybody may write to, so that only the sandbox can refuse it.
struct Scene {
    state: PathBuf,
    outside: PathBuf,
}

impl Scene {
    fn at(folder: &Path) -> Self {
        Self { state: folder.join("state"), outside: folder.join("outside") }
    }

    /// Becomes nobody and confined.
    fn confine(&self, ports: &[u16]) -> Outcome {
        leave_root()?;
        self.confine_only(ports)
    }

    fn confine_only(&self, ports: &[u16]) -> Outcome {
        let mut limits = Limits::new(&self.state);
        limits.ports = ports.into();
        for missing in confine(&limits)? {
            eprintln!("  this kernel lacks: {missing}");
        }
        Ok(())
    }
}

fn leave_root() -> Outcome {
    if geteuid().is_root() {
        drop_to_user(Uid::from_raw(NOBODY), Gid::from_raw(NOBODY))?;
    }
    Ok(())
}

/// Whether Landlock of this version is there; without it what it refuses can't be tried.
fn landlock(least: landlock::ABI) -> bool {
    use landlock::{Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
    let here = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(least))
        .and_then(
            |ruleset| if least < landlock::ABI::V4 { Ok(ruleset) } else { ruleset.handle_access(landlock::AccessNet::from_all(least)) },
        )
        .and_then(Ruleset::create)
        .is_ok();
    if !here {
        skipped(Lack::Kernel, format_args!("in part: this kernel has no Landlock {least:?}"));
    }
    here
}

fn refused<T>(result: Result<T, impl Into<std::io::Error>>, by: ErrorKind, what: &str) -> Outcome {
    match result.map_err(Into::into) {
        Err(error) if error.kind() == by => Ok(()),
        Err(error) => Err(format!("{what}: refused otherwise than expected: {error}").into()),
        Ok(_) => Err(format!("{what}: was possible").into()),
    }
}

fn it_does_not_become_root_again(_: &Scene) -> Outcome {
    if !getuid().is_root() {
        skipped(Lack::Root, "there is no other user to become");
        return Ok(());
    }
    drop_to_user(Uid::from_raw(NOBODY), Gid::from_raw(NOBODY))?;
    assert_eq!(nix::unistd::getgroups()?, []);
    refused(setuid(Uid::from_raw(0)), ErrorKind::PermissionDenied, "setuid(0)")?;
    // Asked again, it is confirmed; another user is not to be had any more.
    drop_to_user(Uid::from_raw(NOBODY), Gid::from_raw(NOBODY))?;
    assert!(drop_to_user(Uid::from_raw(1), Gid::from_raw(1)).is_err());
    Ok(())
}

fn it_reads_and_writes_its_own_state_only(scene: &Scene) -> Outcome {
    let has_landlock = landlock(landlock::ABI::V3);
    scene.confine(&[])?;
    std::fs::create_dir(scene.state.join("backups"))?;
    std::fs::write(scene.state.join("new"), "text")?;
    std::fs::rename(scene.state.join("new"), scene.state.join("backups/kept"))?;
    assert_eq!(std::fs::read_to_string(scene.state.join("backups/kept"))?, "text");
    std::fs::remove_file(scene.state.join("backups/kept"))?;
    if has_landlock {
        let (note, new) = (scene.outside.join("note"), scene.outside.join("new"));
        refused(std::fs::read(&note), ErrorKind::PermissionDenied, "reading outside")?;
        refused(std::fs::write(&note, "other"), ErrorKind::PermissionDenied, "writing outside")?;
        refused(std::fs::write(new, "other"), ErrorKind::PermissionDenied, "creating outside")?;
        refused(std::fs::remove_file(&note), ErrorKind::PermissionDenied, "removing outside")?;
        refused(UnixListener::bind(scene.state.join("socket")), ErrorKind::PermissionDenied, "a socket in its state")?;
    }
    Ok(())
}

fn it_does_not_read_password_hashes(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    refused(std::fs::read("/etc/shadow"), ErrorKind::PermissionDenied, "/etc/shadow")
}

fn it_keeps_a_database(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    let database = rusqlite::Connection::open(scene.state.join("engine.db"))?;
    database.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE used (step INTEGER PRIMARY KEY);")?;
    database.execute("INSERT INTO used VALUES (?1)", [59_000_000])?;
    let other = rusqlite::Connection::open(scene.state.join("engine.db"))?;
    assert_eq!(other.query_row("SELECT step FROM used", [], |row| row.get::<_, i64>(0))?, 59_000_000);
    let mut copy = rusqlite::Connection::open(scene.state.join("copy.db"))?;
    rusqlite::backup::Backup::new(&database, &mut copy)?.run_to_completion(16, std::time::Duration::ZERO, None)?;
    assert!(nix::sys::statvfs::statvfs(&scene.state)?.blocks() > 0, "whether there is room for a copy");
    Ok(())
}

fn it_looks_users_up(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    let root = User::from_name("root")?.ok_or("no user root")?;
    assert!(root.uid.is_root());
    assert!(User::from_name("nobody-of-this-name")?.is_none());
    assert!(nix::unistd::Group::from_gid(Gid::from_raw(0))?.is_some());
    Ok(())
}

fn it_serves_a_socket_from_several_threads(scene: &Scene) -> Outcome {
    // The supervisor binds it; the engine only accepts.
    let path = scene.outside.join("engine.sock");
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    scene.confine(&[])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener)?;
        let client = tokio::task::spawn_blocking(move || {
            let mut client = UnixStream::connect(path)?;
            client.write_all(b"ask")?;
            client.shutdown(std::net::Shutdown::Write)?;
            let mut answer = String::new();
            client.read_to_string(&mut answer).map(|_| answer)
        });
        let (mut peer, _) = listener.accept().await?;
        tokio::io::copy(&mut tokio::io::AsyncReadExt::take(&mut peer, 3), &mut tokio::io::sink()).await?;
        tokio::io::AsyncWriteExt::write_all(&mut peer, b"answer").await?;
        drop(peer);
        assert_eq!(client.await??, "answer");
        Ok(())
    })
}

fn it_starts_no_program(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    refused(Command::new("/bin/true").spawn(), ErrorKind::Unsupported, "starting a program")?;
    refused(nix::unistd::execv(c"/bin/true", &[c"true"]), ErrorKind::Unsupported, "becoming a program")
}

fn it_does_not_trace_mount_or_leave_its_namespaces(scene: &Scene) -> Outcome {
    use nix::mount::{MsFlags, mount};
    scene.confine(&[])?;
    let none: Option<&str> = None;
    assert_eq!(nix::sys::ptrace::traceme(), Err(Errno::ENOSYS));
    assert_eq!(mount(Some("none"), &scene.state, Some("tmpfs"), MsFlags::empty(), none), Err(Errno::ENOSYS));
    assert_eq!(nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER), Err(Errno::ENOSYS));
    assert_eq!(nix::sys::signal::kill(nix::unistd::getppid(), None), Err(Errno::ENOSYS));
    Ok(())
}

fn without_mail_it_has_no_network(scene: &Scene) -> Outcome {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    scene.confine(&[])?;
    refused(TcpStream::connect(listener.local_addr()?), ErrorKind::Unsupported, "a TCP connection")
}

fn with_mail_it_reaches_that_port_only(scene: &Scene) -> Outcome {
    let (mail, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    let has_landlock = landlock(landlock::ABI::V4);
    scene.confine(&[mail.local_addr()?.port()])?;
    TcpStream::connect(mail.local_addr()?)?;
    if has_landlock {
        refused(TcpStream::connect(other.local_addr()?), ErrorKind::PermissionDenied, "another port")?;
        refused(TcpListener::bind("127.0.0.1:0"), ErrorKind::PermissionDenied, "a port of its own")?;
    }
    Ok(())
}

fn it_does_not_take_all_memory_or_files(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    assert!(Vec::<u8>::new().try_reserve_exact(1 << 30).is_err(), "1 GiB was to be had");
    assert!(Vec::<u8>::new().try_reserve_exact(64 << 20).is_ok(), "64 MiB was not to be had");
    assert_eq!(getrlimit(Resource::RLIMIT_CORE)?, (0, 0));
    let (files, _) = getrlimit(Resource::RLIMIT_NOFILE)?;
    assert!(files <= 1024);
    let held: Vec<_> = (0..=files).map_while(|_| std::fs::File::open("/dev/null").ok()).collect();
    assert!(u64::try_from(held.len())? < files);
    Ok(())
}

/// Becomes a user of its own number, under which no other test runs, since tasks are counted by it; false where there is none to become.
fn becomes_another(number: u32) -> Result<bool, Box<dyn Error>> {
    if !getuid().is_root() {
        skipped(Lack::Root, "root's tasks are not limited, and there is no other user to become");
        return Ok(false);
    }
    drop_to_user(Uid::from_raw(number), Gid::from_raw(number))?;
    Ok(true)
}

/// How many threads it can have beside its first one, of a hundred, and why no more.
fn threads_to_be_had() -> (u64, Option<ErrorKind>) {
    let (end, ended) = channel::<()>();
    let ended = Arc::new(Mutex::new(ended));
    let mut threads = Vec::new();
    let refused = loop {
        let ended = Arc::clone(&ended);
        // Each waits for the end of all.
        match std::thread::Builder::new().stack_size(64 << 10).spawn(move || drop(ended.lock().map(|ended| ended.recv()))) {
            Ok(thread) if threads.len() < 100 => threads.push(thread),
            Ok(_) => break None,
            Err(error) => break Some(error.kind()),
        }
    };
    drop(end);
    (threads.len() as u64, refused)
}

fn it_starts_no_more_threads_than_it_may(scene: &Scene) -> Outcome {
    if !becomes_another(60_101)? {
        return Ok(());
    }
    let mut limits = Limits::new(&scene.state);
    limits.tasks = Some(TASKS);
    let lacks = confine(&limits)?;
    assert!(!lacks.iter().any(|lack| lack.starts_with("threads")), "{lacks:?}");
    assert_eq!(getrlimit(Resource::RLIMIT_NPROC)?, (TASKS, TASKS));
    let (threads, refused) = threads_to_be_had();
    // The kernel may still count one that has just ended.
    assert!((TASKS - 2..TASKS).contains(&threads), "{threads} beside the first");
    assert_eq!(refused, Some(ErrorKind::WouldBlock));
    Ok(())
}

fn others_with_its_number_take_none_of_its_threads(scene: &Scene) -> Outcome {
    if !becomes_another(60_102)? {
        return Ok(());
    }
    let before = getrlimit(Resource::RLIMIT_NPROC)?;
    // They end with us, whose end of their input closes.
    let other = || Command::new("/bin/cat").stdin(Stdio::piped()).spawn();
    let _others = (0..TASKS / 2).map(|_| other()).collect::<Result<Vec<_>, _>>()?;
    let mut limits = Limits::new(&scene.state);
    limits.tasks = Some(TASKS);
    let lacks = confine(&limits)?;
    assert!(lacks.iter().any(|lack| lack.contains("other programs run as uid 60102")), "{lacks:?}");
    assert_eq!(getrlimit(Resource::RLIMIT_NPROC)?, before);
    let (threads, _) = threads_to_be_had();
    assert!(threads > TASKS, "{threads}");
    Ok(())
}

fn it_gives_up_the_protection_of_its_parent(_: &Scene) -> Outcome {
    const SCORE: &str = "/proc/self/oom_score_adj";
    let protected = std::fs::write(SCORE, "-500").is_ok();
    if !protected {
        skipped(Lack::Kernel, "in part: no right to be protected");
    }
    give_up_memory_protection()?;
    leave_root()?;
    let score: i32 = std::fs::read_to_string(SCORE)?.trim().parse()?;
    assert!(score >= 0 && (!protected || score == 0), "{score}");
    Ok(())
}

fn others_do_not_look_into_it(scene: &Scene) -> Outcome {
    scene.confine(&[])?;
    assert!(!prctl::get_dumpable()?);
    refused(std::fs::read("/proc/self/environ"), ErrorKind::PermissionDenied, "/proc/self/environ")
}

fn a_missing_state_folder_ends_it(scene: &Scene) -> Outcome {
    std::fs::remove_dir(&scene.state)?;
    leave_root()?;
    let Err(error) = scene.confine_only(&[]) else { return Err("confined without a state folder".into()) };
    assert!(error.to_string().contains("state"), "{error}");
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, name, folder] = &arguments[..]
        && word == "child"
    {
        return child(name, Path::new(folder));
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).cloned().unwrap_or_default();
    let chosen: Vec<_> = BEHAVIOURS.iter().map(|(name, _)| *name).filter(|name| name.contains(&filter)).collect();
    println!("\nrunning {} tests", chosen.len());
    let failed = chosen.iter().filter(|name| !tried(name)).count();
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {verdict}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n", chosen.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// Runs one behaviour in a process of its own, in a scene of its own.
fn tried(name: &str) -> bool {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let scene = Scene::at(folder.path());
    for path in [folder.path(), &scene.state, &scene.outside] {
        std::fs::create_dir_all(path).expect("a folder of the scene");
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o777)).expect("its mode");
    }
    std::fs::write(scene.outside.join("note"), "readable by all").expect("a file of the scene");
    std::fs::set_permissions(scene.outside.join("note"), PermissionsExt::from_mode(0o666)).expect("its mode");
    let this = std::env::current_exe().expect("this program");
    let passed = Command::new(this).args(["child", name]).arg(folder.path()).status().is_ok_and(|status| status.success());
    println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
    passed
}

fn child(name: &str, folder: &Path) -> ExitCode {
    let Some((_, behaviour)) = BEHAVIOURS.iter().find(|(known, _)| *known == name) else { return ExitCode::FAILURE };
    match behaviour(&Scene::at(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}
