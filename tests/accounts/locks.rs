//! The lock of the account files, others who hold it, and lock files that were left over.

use std::sync::{Once, mpsc::Sender};

use log::{LevelFilter, Log, Metadata, Record};
use twostep::sys::{atomic_file, clock};

use super::*;

/// The first process lives as long as the system does: a number that is in use.
const IN_USE: &str = "1\0";

/// What the tests of this file log.
struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl Log for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LINES).unwrap();
        log::set_max_level(LevelFilter::Warn);
    });
}

/// What was logged about files of this folder.
fn told(etc: &Etc) -> Vec<String> {
    let folder = etc.folder.path().to_str().unwrap();
    LINES.0.lock().unwrap().iter().filter(|line| line.contains(folder)).cloned().collect()
}

/// A disk that tells when the lock is about to be taken.
struct Telling(Mutex<Sender<()>>);

impl Disk for Telling {
    fn before(&self, step: Step, _: &Path) -> io::Result<()> {
        if step == Step::Lock {
            self.0.lock().unwrap().send(()).unwrap();
        }
        Ok(())
    }
}

/// In the child: takes the lock as lckpwdf(3) does, says so, and keeps it until its input ends.
#[test]
fn helper_that_holds_the_lock() {
    let Some(path) = std::env::var_os("TWOSTEP_TEST_LOCK") else { return };
    let file = fs::OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
    let whole = libc::flock { l_type: libc::F_WRLCK as i16, l_whence: 0, l_start: 0, l_len: 0, l_pid: 0 };
    fcntl(&file, FcntlArg::F_SETLK(&whole)).unwrap();
    println!("\nheld");
    let _ = std::io::stdin().read(&mut [0]);
}

fn another_tool_locks(path: &Path) -> Child {
    let args = ["--exact", "locks::helper_that_holds_the_lock", "--nocapture"];
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.args(args).env("TWOSTEP_TEST_LOCK", path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"\nheld\n") {
        let mut byte = [0];
        assert_eq!(child.stdout.as_mut().unwrap().read(&mut byte).unwrap(), 1, "the child ended early");
        said.push(byte[0]);
    }
    child
}

fn end(mut child: Child) {
    drop(child.stdin.take());
    io::copy(&mut child.stdout.take().unwrap(), &mut io::sink()).unwrap();
    child.wait().unwrap();
}

#[test]
fn while_another_tool_holds_the_lock_the_press_waits_then_names_it() {
    let etc = Etc::new();
    let child = another_tool_locks(&etc.path(".pwd.lock"));
    let pid = child.id();
    let error = etc.press_on(RealDisk).unwrap_err();
    assert!(matches!(&error, AccountsError::Lock(LockError::Held { by: Some(by), .. }) if by.unsigned_abs() == pid), "{error}");
    assert!(error.to_string().contains(&format!("process {pid}")), "{error}");
    assert_eq!(etc.text("shadow"), SHADOW);
    end(child);
    etc.press();
    assert_eq!(etc.state(), State::Active);
}

#[test]
fn while_another_tool_holds_the_lock_a_left_over_lock_file_lets_no_press_through() {
    let etc = Etc::new();
    etc.set("shadow.lock", IN_USE);
    let child = another_tool_locks(&etc.path(".pwd.lock"));
    let before = etc.all();
    let press = etc.press_on(RealDisk).unwrap_err();
    let off = etc.accounts(RealDisk).turn_off("admin").unwrap_err();
    assert!(press.to_string().contains(".pwd.lock") && off.to_string().contains(".pwd.lock"), "{press}, {off}");
    assert_eq!(etc.all(), before);
    end(child);
}

#[test]
fn a_left_over_lock_file_whose_number_is_in_use_again_delays_a_press_and_the_turning_off_and_is_told() {
    listen();
    for name in ["passwd.lock", "group.lock", "gshadow.lock", "shadow.lock"] {
        let etc = Etc::new();
        etc.set(name, IN_USE);
        let start = clock::monotonic();
        etc.press();
        assert!(clock::monotonic() - start >= LOCK_WAIT, "{name} may be another tool's: it is waited for");
        assert_eq!(etc.state(), State::Active);
        etc.accounts(RealDisk).turn_off("admin").unwrap();
        assert_eq!((etc.state(), etc.text(name)), (State::Disabled, IN_USE.into()));
        let told = told(&etc);
        let is_named = |line: &String| line.contains(etc.path(name).to_str().unwrap()) && line.contains("process 1 ");
        assert!(told.len() == 2 && told.iter().all(is_named), "one line each: {told:?}");
    }
}

#[test]
fn each_of_several_left_over_lock_files_is_told_also_where_nothing_is_waited_for() {
    listen();
    let etc = Etc::new();
    etc.set("passwd.lock", IN_USE);
    etc.set("shadow.lock", IN_USE);
    etc.press_with(&etc.accounts_waiting(Duration::ZERO, RealDisk)).unwrap();
    let told = told(&etc);
    assert!(matches!(&told[..], [one, other] if one.contains("passwd.lock") && other.contains("shadow.lock")), "{told:?}");
}

#[test]
fn a_lock_file_that_nobody_else_owns_is_no_hindrance() {
    listen();
    // Ours, a number that Linux gives to no process (PID_MAX_LIMIT), and what a power cut leaves.
    for text in [format!("{}\0", std::process::id()), ((1 << 22) + 1).to_string(), String::new(), "\0\0\0\0".into(), "nobody".into()] {
        let etc = Etc::new();
        etc.set("shadow.lock", &text);
        let start = clock::monotonic();
        etc.press_with(&etc.accounts_waiting(SOON, RealDisk)).unwrap();
        assert!(clock::monotonic() - start < SOON, "{text:?} was waited for");
        assert_eq!((etc.state(), told(&etc)), (State::Active, Vec::new()), "{text:?}");
    }
}

#[test]
fn a_lock_file_of_a_tool_at_work_is_waited_for_until_it_is_gone_and_keeps_nobody_from_the_lock_meanwhile() {
    listen();
    let etc = Etc::new();
    etc.set("passwd.lock", IN_USE);
    let (tell, begun) = mpsc::channel();
    let accounts = etc.accounts_waiting(SOON, Telling(Mutex::new(tell)));
    let start = clock::monotonic();
    std::thread::scope(|scope| {
        let press = scope.spawn(|| etc.press_with(&accounts).unwrap());
        begun.recv().unwrap();
        let held = std::iter::repeat_with(|| atomic_file::try_lock_file(&RealDisk, &etc.path(".pwd.lock")).unwrap()).find_map(|held| held);
        assert_eq!(etc.text("shadow"), SHADOW);
        fs::remove_file(etc.path("passwd.lock")).unwrap();
        drop(held);
        press.join().unwrap();
    });
    assert!(clock::monotonic() - start < SOON, "no longer than the file stands");
    assert_eq!((etc.state(), told(&etc)), (State::Active, Vec::new()));
}

#[test]
fn two_presses_of_two_threads_exclude_each_other() {
    let etc = Etc::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| etc.press_with(&etc.accounts_waiting(SOON, RealDisk)).unwrap());
        }
    });
    assert_eq!((etc.line("shadow", "admin"), etc.line("group", "sudo")), (recovered_line(), "sudo:x:27:alice,admin".into()));
}
