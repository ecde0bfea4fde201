//! The lock of the account files, and others who hold it.

use super::*;

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
fn a_lock_file_of_shadow_utils_counts_while_its_process_lives() {
    let etc = Etc::new();
    etc.set("shadow.lock", &format!("{}\0", std::process::id()));
    let error = etc.press_on(RealDisk).unwrap_err().to_string();
    assert!(error.contains("shadow.lock") && error.contains(&format!("process {}", std::process::id())), "{error}");
    // A number that Linux gives to no process (PID_MAX_LIMIT).
    etc.set("shadow.lock", &((1 << 22) + 1).to_string());
    etc.press();
    assert_eq!(etc.state(), State::Active);
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
