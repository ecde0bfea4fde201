//! What a press does to the account files, and what it leaves alone.

use std::ffi::{CStr, CString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::unistd::geteuid;
use proptest::prelude::*;
use twostep::core::shadow::{self, PasswordHash};
use twostep::core::time::Wall;
use twostep::supervisor::accounts::{Accounts, AccountsError, BroughtBack, State, Wanted, Warning};
use twostep::sys::atomic_file::{Disk, LockError, RealDisk, Step};

use disk::FailingDisk;
use skip::{Lack, skipped};

mod disk;
#[path = "support/skip.rs"]
mod skip;

const HASH: &str = "$y$j9T$abcdefghijklmnop$StUVXPIG.SM.LkD69wbM4FIgyY1uy8JiB4lGhkJGS4.";
const NOW: Wall = Wall(1_800_000_000);
const TODAY: i64 = 20_833;
/// How long a press waits for a lock that is not given back.
const LOCK_WAIT: Duration = Duration::from_millis(150);
/// How long a test waits for what must come at once.
const SOON: Duration = Duration::from_secs(60);

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nadmin:x:1001:1001:,,,:/home/admin:/bin/sh\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nalice:$6$a$b:19000:0:99999:7:::\nadmin:!:19000:0:90:14:30:19100:\n";
const GROUP: &str = "root:x:0:\nsudo:x:27:alice\nwheel:x:28:\nadmin:x:1001:\nalice:x:1000:\n";
const GSHADOW: &str = "root:*::\nsudo:*::alice\nwheel:*::\nadmin:!::\nalice:!::\n";

/// A folder with account files.
struct Etc {
    folder: tempfile::TempDir,
}

impl Etc {
    fn new() -> Self {
        let etc = Self { folder: tempfile::tempdir().unwrap() };
        for (file, text, mode) in
            [("passwd", PASSWD, 0o644), ("group", GROUP, 0o644), ("shadow", SHADOW, 0o640), ("gshadow", GSHADOW, 0o640)]
        {
            etc.set(file, text);
            fs::set_permissions(etc.path(file), fs::Permissions::from_mode(mode)).unwrap();
        }
        etc
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn set(&self, file: &str, text: &str) {
        fs::write(self.path(file), text).unwrap();
    }

    fn without(self, file: &str, name: &str) -> Self {
        let text = self.text(file);
        let kept: String = text.split_inclusive('\n').filter(|line| !line.starts_with(&format!("{name}:"))).collect();
        self.set(file, &kept);
        self
    }

    fn with(self, file: &str, from: &str, to: &str) -> Self {
        let text = self.text(file);
        assert!(text.contains(from), "{file} has no {from:?}");
        self.set(file, &text.replace(from, to));
        self
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn line(&self, file: &str, name: &str) -> String {
        self.text(file).lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap_or_default().to_owned()
    }

    fn others(&self, file: &str) -> Vec<String> {
        self.text(file).lines().filter(|line| !line.starts_with("admin:")).map(str::to_owned).collect()
    }

    fn all(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
            .iter()
            .filter(|path| path.is_file() && !path.ends_with(".pwd.lock"))
            .map(|path| format!("{}: {}", path.display(), fs::read_to_string(path).unwrap()))
            .collect()
    }

    fn accounts(&self, disk: impl Disk + 'static) -> Accounts {
        self.accounts_waiting(LOCK_WAIT, disk)
    }

    fn accounts_waiting(&self, lock_wait: Duration, disk: impl Disk + 'static) -> Accounts {
        Accounts::new(self.folder.path().into(), lock_wait, Arc::new(disk))
    }

    fn press_on(&self, disk: impl Disk + 'static) -> Result<BroughtBack, AccountsError> {
        self.press_with(&self.accounts(disk))
    }

    fn press_with(&self, accounts: &Accounts) -> Result<BroughtBack, AccountsError> {
        let home = self.path("home").to_str().unwrap().to_owned();
        let administrators = ["administrators", "sudo", "wheel"].map(String::from);
        let hash = PasswordHash::new(HASH.into()).unwrap();
        let changed = shadow::day(NOW);
        let wanted = Wanted { account: "admin", hash: &hash, changed, shell: "/bin/sh", home: &home, administrators: &administrators };
        accounts.bring_back(&wanted)
    }

    fn press(&self) -> BroughtBack {
        self.press_on(RealDisk).unwrap()
    }

    fn state(&self) -> State {
        self.accounts(RealDisk).state("admin", NOW).unwrap()
    }
}

fn recovered_line() -> String {
    format!("admin:{HASH}:{TODAY}:::14:::")
}

#[test]
fn a_disabled_expired_account_is_back_and_nothing_else_has_changed() {
    let etc = Etc::new();
    let before = (etc.others("shadow"), etc.text("passwd"), etc.others("group"));
    assert_eq!(etc.state(), State::Disabled);
    let back = etc.press();
    assert!(!back.created && back.warnings.is_empty());
    assert_eq!(etc.line("shadow", "admin"), recovered_line());
    assert_eq!(etc.state(), State::Active);
    assert_eq!((etc.others("shadow"), etc.text("passwd")), (before.0, before.1));
    assert_eq!(etc.line("group", "sudo"), "sudo:x:27:alice,admin");
    assert_eq!(etc.line("gshadow", "sudo"), "sudo:*::alice,admin");
}

#[test]
fn the_files_keep_their_mode_and_owner() {
    let etc = Etc::new();
    if geteuid().is_root() {
        std::os::unix::fs::chown(etc.path("shadow"), Some(0), Some(42)).unwrap();
    }
    let before = fs::metadata(etc.path("shadow")).unwrap();
    etc.press();
    let after = fs::metadata(etc.path("shadow")).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "it must have been replaced, not rewritten");
}

#[test]
fn a_second_press_changes_nothing_more() {
    let etc = Etc::new();
    etc.press();
    let once = etc.all();
    etc.press();
    assert_eq!(etc.all(), once);
}

#[test]
fn a_missing_account_is_made_with_group_home_shell_and_membership() {
    let etc = Etc::new().without("passwd", "admin").without("shadow", "admin").without("group", "admin").without("gshadow", "admin");
    let before = (etc.others("passwd"), etc.others("shadow"));
    assert_eq!(etc.state(), State::Missing);
    assert!(etc.press().created);
    let home = etc.path("home");
    assert_eq!(etc.line("passwd", "admin"), format!("admin:x:1001:1001:NAS administrator:{}:/bin/sh", home.display()));
    assert_eq!(etc.line("shadow", "admin"), format!("admin:{HASH}:{TODAY}::::::"));
    assert_eq!((etc.line("group", "admin"), etc.line("gshadow", "admin")), ("admin:x:1001:".into(), "admin:!::".into()));
    assert_eq!(etc.line("group", "sudo"), "sudo:x:27:alice,admin");
    assert_eq!((etc.others("passwd"), etc.others("shadow")), before);
    let made = fs::metadata(home).unwrap();
    assert_eq!(made.mode() & 0o7777, 0o700);
    if geteuid().is_root() {
        assert_eq!((made.uid(), made.gid()), (1001, 1001));
    }
}

#[test]
fn a_missing_account_takes_the_group_of_its_name_and_no_used_id() {
    let etc = Etc::new().without("passwd", "admin").with("passwd", "alice:x:1000:", "alice:x:1001:");
    etc.press();
    assert!(etc.line("passwd", "admin").starts_with("admin:x:1002:1001:"), "{}", etc.line("passwd", "admin"));
}

#[test]
fn ids_come_from_login_defs_and_run_out_with_a_reason() {
    let etc = Etc::new().without("passwd", "admin").without("group", "admin");
    etc.set("login.defs", "# UID_MIN 1\nUID_MIN\t\t 500\nUID_MAX 500 \n");
    etc.press();
    assert!(etc.line("passwd", "admin").starts_with("admin:x:500:500:"));
    let etc = Etc::new().without("passwd", "admin").without("group", "admin");
    etc.set("login.defs", "UID_MIN 1000\nUID_MAX 1000\n");
    let before = etc.all();
    let error = etc.press_on(RealDisk).unwrap_err();
    assert!(matches!(error, AccountsError::NoFreeId(_)), "{error}");
    assert_eq!(etc.all(), before);
}

#[test]
fn a_home_that_cannot_be_made_is_only_a_warning() {
    let etc = Etc::new().without("passwd", "admin");
    let disk = FailingDisk::failing(|step, _| (*step == Step::MakeFolder).then_some(libc::EROFS));
    let back = etc.press_on(disk).unwrap();
    assert!(matches!(&back.warnings[..], [Warning::File(_)]), "{:?}", back.warnings);
    assert_eq!(etc.state(), State::Active);
}

/// Of a disk, the paths that end so do not answer, as on a network mount that is away, until the other end is dropped.
struct Hanging(Vec<&'static str>, Mutex<mpsc::Receiver<()>>);

impl Hanging {
    fn at(ends: &[&'static str]) -> (mpsc::Sender<()>, Self) {
        let (answer, hangs) = mpsc::channel();
        (answer, Self(ends.to_vec(), Mutex::new(hangs)))
    }
}

impl Disk for Hanging {
    fn before(&self, _: Step, path: &Path) -> io::Result<()> {
        if self.0.iter().any(|end| path.ends_with(end)) {
            let _ = self.1.lock().unwrap().recv();
        }
        Ok(())
    }
}

/// A press on this disk; one that waited for it would never come back.
fn press_in_time(etc: &Arc<Etc>, accounts: &Arc<Accounts>) -> BroughtBack {
    let (come, back) = mpsc::channel();
    let (pressed, accounts) = (Arc::clone(etc), Arc::clone(accounts));
    std::thread::spawn(move || come.send(pressed.press_with(&accounts)));
    back.recv_timeout(SOON).expect("the press waits for the disk").unwrap()
}

fn words(back: &BroughtBack) -> Vec<String> {
    back.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn a_home_folder_that_does_not_answer_is_not_waited_for() {
    let etc = Arc::new(Etc::new().without("passwd", "admin"));
    let (answer, disk) = Hanging::at(&["home"]);
    let accounts = Arc::new(etc.accounts(disk));
    let back = press_in_time(&etc, &accounts);
    let home = etc.path("home");
    let told = format!("its home folder {} does not answer (a network mount that is away?); it was not made", home.display());
    assert_eq!((back.created, words(&back), home.exists()), (true, vec![told], false));
    assert_eq!((etc.state(), etc.line("shadow", "admin")), (State::Active, format!("admin:{HASH}:{TODAY}:::14:::")));
    // Nor is the lock kept: another tool can turn the account off.
    etc.accounts_waiting(SOON, RealDisk).turn_off("admin").unwrap();
    drop(answer);
}

#[test]
fn a_shell_that_does_not_answer_is_replaced_and_that_is_told() {
    let etc = Arc::new(Etc::new().with("passwd", "/home/admin:/bin/sh", "/home/admin:/mnt/away/bash"));
    let (answer, disk) = Hanging::at(&["away/bash"]);
    let accounts = Arc::new(etc.accounts(disk));
    let told = "its login shell /mnt/away/bash does not answer (a network mount that is away?) and was replaced: chsh -s /mnt/away/bash gives it back";
    assert_eq!(words(&press_in_time(&etc, &accounts)), [told]);
    assert_eq!(etc.line("passwd", "admin"), "admin:x:1001:1001:,,,:/home/admin:/bin/sh");
    assert_eq!(etc.state(), State::Active);
    drop(answer);
}

#[test]
fn where_neither_shell_answers_the_account_is_back_with_its_own() {
    let etc = Arc::new(Etc::new().with("passwd", "/home/admin:/bin/sh", "/home/admin:/mnt/away/bash"));
    let (answer, disk) = Hanging::at(&["away/bash", "bin/sh"]);
    let accounts = Arc::new(etc.accounts(disk));
    let told = "/bin/sh does not answer (a network mount that is away?): the account keeps its login shell (recovery.shell)";
    assert_eq!(words(&press_in_time(&etc, &accounts)), [told]);
    assert!(etc.line("passwd", "admin").ends_with(":/mnt/away/bash"));
    assert_eq!(etc.state(), State::Active);
    drop(answer);
}

#[test]
fn a_shell_that_refuses_is_replaced_and_one_that_works_is_kept() {
    for shell in ["/usr/sbin/nologin", "/bin/false", "/no/such/shell", "sh", "/bin/sh\r"] {
        let etc = Etc::new().with("passwd", "/home/admin:/bin/sh", &format!("/home/admin:{shell}"));
        etc.press();
        assert_eq!(etc.line("passwd", "admin"), "admin:x:1001:1001:,,,:/home/admin:/bin/sh", "{shell:?}");
    }
    let etc = Etc::new().with("passwd", "/home/admin:/bin/sh", "/home/admin:");
    etc.press();
    assert_eq!(etc.line("passwd", "admin"), "admin:x:1001:1001:,,,:/home/admin:");
}

#[test]
fn an_account_without_a_shadow_line_gets_one_and_its_old_hash_goes() {
    for field in ["x", "$6$old$hash", "", "*"] {
        let etc = Etc::new().without("shadow", "admin").with("passwd", "admin:x:", &format!("admin:{field}:"));
        etc.press();
        assert_eq!(etc.line("passwd", "admin"), "admin:x:1001:1001:,,,:/home/admin:/bin/sh");
        assert_eq!(etc.line("shadow", "admin"), format!("admin:{HASH}:{TODAY}::::::"));
    }
}

#[test]
fn a_system_without_a_shadow_file_gets_one_that_only_root_reads() {
    let etc = Etc::new();
    fs::remove_file(etc.path("shadow")).unwrap();
    fs::remove_file(etc.path("gshadow")).unwrap();
    etc.press();
    assert_eq!(etc.text("shadow"), format!("admin:{HASH}:{TODAY}::::::\n"));
    assert_eq!(fs::metadata(etc.path("shadow")).unwrap().mode() & 0o7777, 0o600);
    assert!(!etc.path("gshadow").exists());
}

#[test]
fn the_administrators_group_may_have_another_name() {
    let etc = Etc::new().without("group", "sudo");
    etc.press();
    assert_eq!(etc.line("group", "wheel"), "wheel:x:28:admin");
    assert_eq!(etc.line("gshadow", "wheel"), "wheel:*::admin");
    for already in ["wheel:x:28:bob,admin", "wheel:x:1001:"] {
        let etc = Etc::new().with("group", "wheel:x:28:", already);
        etc.press();
        assert_eq!((etc.line("group", "sudo"), etc.line("group", "wheel")), ("sudo:x:27:alice".into(), already.into()));
    }
}

#[test]
fn without_any_administrators_group_it_is_back_with_a_warning() {
    let etc = Etc::new().without("group", "sudo").without("group", "wheel");
    let group = etc.text("group");
    let back = etc.press();
    assert!(back.warnings[0].to_string().contains("administrators, sudo, wheel"), "{}", back.warnings[0]);
    assert_eq!((etc.state(), etc.text("group")), (State::Active, group));
}

#[test]
fn an_account_that_is_another_name_of_root_comes_back_too() {
    let etc = Etc::new().with("passwd", "admin:x:1001:1001:", "admin:x:0:0:");
    etc.press();
    assert_eq!((etc.state(), etc.line("shadow", "admin")), (State::Active, recovered_line()));
}

#[test]
fn turned_off_means_no_hash_at_all_and_expired() {
    let etc = Etc::new();
    etc.press();
    let before = etc.others("shadow");
    assert_eq!(etc.accounts(RealDisk).turn_off("admin").unwrap(), Some(1001));
    assert_eq!(etc.line("shadow", "admin"), format!("admin:!:{TODAY}:::14::1:"));
    assert_eq!((etc.state(), etc.others("shadow")), (State::Disabled, before));
    etc.set("shadow", SHADOW);
    let etc = etc.without("shadow", "admin").with("passwd", "admin:x:", "admin:$6$old$hash:");
    etc.accounts(RealDisk).turn_off("admin").unwrap();
    assert_eq!((etc.line("shadow", "admin"), etc.state()), ("admin:!::::::1:".into(), State::Disabled));
    assert!(etc.line("passwd", "admin").starts_with("admin:x:"));
}

#[test]
fn turning_off_an_account_that_is_not_there_changes_nothing() {
    let etc = Etc::new().without("passwd", "admin").without("shadow", "admin");
    let before = etc.text("shadow");
    assert_eq!(etc.accounts(RealDisk).turn_off("admin").unwrap(), None);
    assert_eq!(etc.text("shadow"), before);
}

#[test]
fn a_link_is_followed_and_stays_a_link() {
    let etc = Etc::new();
    let elsewhere = tempfile::tempdir().unwrap();
    fs::rename(etc.path("shadow"), elsewhere.path().join("real")).unwrap();
    symlink(elsewhere.path().join("real"), etc.path("shadow")).unwrap();
    etc.press();
    assert!(fs::symlink_metadata(etc.path("shadow")).unwrap().is_symlink());
    assert_eq!(etc.line("shadow", "admin"), recovered_line());
}

#[test]
fn what_a_power_cut_left_behind_is_no_obstacle_and_never_followed() {
    let etc = Etc::new();
    etc.set("victim", "untouched");
    symlink(etc.path("victim"), etc.path(".shadow.twostep")).unwrap();
    etc.press();
    assert_eq!((etc.line("shadow", "admin"), etc.text("victim")), (recovered_line(), "untouched".into()));
    assert!(!etc.path(".shadow.twostep").exists());
}

/// Steps of the disk that fail, and the words an operator must see.
type Trouble = (fn(&Step, &Path) -> Option<i32>, &'static str);

#[test]
fn each_refusal_names_file_and_way_out_and_leaves_every_file_whole() {
    let troubles: [Trouble; 6] = [
        (|step, _| (*step == Step::Create).then_some(libc::EROFS), "read-only"),
        (|step, _| (*step == Step::Write).then_some(libc::ENOSPC), "make room"),
        (|step, _| (*step == Step::Write).then_some(libc::EDQUOT), "make room"),
        (|step, path| (*step == Step::Rename && path.ends_with("shadow")).then_some(libc::EBUSY), "mount point"),
        (|step, path| (*step == Step::Rename && path.ends_with("shadow")).then_some(libc::EPERM), if_root("immutable", "needs root")),
        (|step, _| (*step == Step::Lock).then_some(libc::EROFS), "read-only"),
    ];
    for (fails, words) in troubles {
        let etc = Etc::new();
        let before = etc.text("shadow");
        let error = etc.press_on(FailingDisk::failing(fails)).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(etc.folder.path().to_str().unwrap()), "{error}");
        assert_eq!((etc.text("shadow"), etc.state()), (before, State::Disabled));
        assert!(!etc.path(".shadow.twostep").exists());
    }
}

fn if_root(root: &'static str, other: &'static str) -> &'static str {
    if geteuid().is_root() { root } else { other }
}

#[test]
fn a_file_that_is_no_file_or_too_large_is_refused() {
    let etc = Etc::new();
    fs::File::create(etc.path("shadow")).unwrap().set_len(17 << 20).unwrap();
    assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("larger than 16 MiB"));
    fs::remove_file(etc.path("shadow")).unwrap();
    nix::unistd::mkfifo(&etc.path("shadow"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("not a regular file"));
}

#[test]
fn an_immutable_shadow_file_is_refused_with_the_reason() {
    let etc = Etc::new();
    let chattr =
        |flag: &str| Command::new("chattr").arg(flag).arg(etc.path("shadow")).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !chattr("+i") {
        skipped(Lack::FileSystem, "no right, or no file system, to make a file immutable");
        return;
    }
    let error = etc.press_on(RealDisk);
    assert!(chattr("-i"));
    assert!(error.unwrap_err().to_string().contains("chattr -i"));
    assert_eq!(etc.text("shadow"), SHADOW);
}

/// Runs `body` where `folder` is a small file system of its own. False, and said, where that cannot be had.
fn on_a_file_system(folder: &Path, options: &str, body: impl FnOnce() + Send) -> bool {
    std::thread::scope(|scope| {
        let inside = || {
            let mount =
                |args: &[&str]| Command::new("mount").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
            let ready = geteuid().is_root()
                && nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
                && mount(&["--make-rprivate", "/"])
                && mount(&["-t", "tmpfs", "-o", options, "tmpfs", folder.to_str().unwrap()]);
            if ready {
                body()
            } else {
                skipped(Lack::Root, "no right to mount a small file system")
            }
            ready
        };
        scope.spawn(inside).join().unwrap()
    })
}

#[test]
fn on_a_read_only_file_system_the_press_is_refused() {
    let etc = Etc::new();
    let folder = etc.folder.path();
    on_a_file_system(folder, "size=1m", || {
        let inner = Etc::new();
        for file in ["passwd", "group", "shadow", "gshadow"] {
            fs::copy(inner.path(file), etc.path(file)).unwrap();
        }
        assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(folder).status().unwrap().success());
        assert!(etc.press_on(RealDisk).unwrap_err().to_string().contains("mount it writable"));
        assert_eq!(etc.text("shadow"), SHADOW);
    });
}

#[test]
fn on_a_full_file_system_the_press_is_refused_and_no_file_is_cut() {
    let etc = Etc::new();
    on_a_file_system(etc.folder.path(), "size=64k", || {
        for (file, text) in [("passwd", PASSWD), ("group", GROUP), ("shadow", SHADOW), ("gshadow", GSHADOW)] {
            etc.set(file, text);
        }
        let mut filler = fs::File::create(etc.path("filler")).unwrap();
        while filler.write_all(&[1; 512]).is_ok() {}
        let error = etc.press_on(RealDisk).unwrap_err();
        assert!(error.is_full() && error.to_string().contains("make room"), "{error}");
        assert_eq!((etc.text("shadow"), etc.text("group")), (SHADOW.into(), GROUP.into()));
        assert!(!etc.path(".group.twostep").exists());
    });
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
    let args = ["--exact", "helper_that_holds_the_lock", "--nocapture"];
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

/// An orphan line, a shell that refuses, a hash in passwd: each with a usable hash in shadow, which must not let anybody in at any cut.
#[test]
fn a_press_cut_off_anywhere_never_leaves_an_account_on_with_its_former_hash() {
    let usable = || Etc::new().with("shadow", "admin:!:19000:0:90:14:30:19100:", "admin:$6$old$hash:19000:0:99999:7:::");
    let cases: [fn(Etc) -> Etc; 4] = [
        |etc| etc.without("passwd", "admin"),
        |etc| etc.with("passwd", "/home/admin:/bin/sh", "/home/admin:/usr/sbin/nologin"),
        |etc| etc.with("passwd", "admin:x:", "admin:*:"),
        |etc| etc.with("passwd", "admin:x:", "admin:*:").with("shadow", "admin:$6$old$hash:", "admin::"),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        for step in 0.. {
            let etc = case(usable());
            let before = etc.text("passwd");
            let complete = etc.press_on(FailingDisk::dead_from(step)).is_ok();
            let line = etc.line("shadow", "admin");
            let closed = etc.text("passwd") == before || line.starts_with("admin:!:");
            assert!(closed || line.starts_with(&format!("admin:{HASH}:")), "case {number}, step {step}: {line}");
            etc.press();
            assert!(etc.line("shadow", "admin").starts_with(&format!("admin:{HASH}:")), "case {number}, step {step}");
            assert_eq!(etc.state(), State::Active);
            if complete {
                assert!(step > 10, "case {number}: only {step} steps were cut");
                break;
            }
        }
    }
}

#[test]
fn content_is_synced_before_the_rename_and_the_folder_after_it() {
    let etc = Etc::new();
    let disk = Arc::new(FailingDisk::dead_from(usize::MAX));
    let accounts = Accounts::new(etc.folder.path().into(), Duration::ZERO, Arc::clone(&disk) as Arc<dyn Disk>);
    accounts.turn_off("admin").unwrap();
    let steps = disk.steps();
    assert!(steps.ends_with(&[Step::Create, Step::Write, Step::Rename, Step::SyncFolder]), "{steps:?}");
}

/// What glibc's getspent(3) makes of the first line of this name: the password and the days (-1: empty).
fn glibc_reads(shadow: &Path, name: &str) -> Option<(String, [libc::c_long; 6])> {
    let path = CString::new(shadow.to_str().unwrap()).unwrap();
    let mut room = [0; 4096];
    // SAFETY: spwd is plain data for which zero is a valid value.
    let mut entry: libc::spwd = unsafe { std::mem::zeroed() };
    let mut found = std::ptr::null_mut();
    // SAFETY: both texts end in NUL; the stream is closed below.
    let stream = unsafe { libc::fopen(path.as_ptr(), c"re".as_ptr()) };
    assert!(!stream.is_null());
    let mut answer = None;
    // SAFETY: the stream is open, and entry, room and found outlive the call.
    while answer.is_none() && unsafe { libc::fgetspent_r(stream, &mut entry, room.as_mut_ptr(), room.len(), &mut found) } == 0 {
        // SAFETY: after a success the name points to a text in `room`.
        if unsafe { CStr::from_ptr(entry.sp_namp) }.to_bytes() == name.as_bytes() {
            // SAFETY: as above; only the password of a NIS line can be null.
            let password = unsafe { CStr::from_ptr(entry.sp_pwdp) };
            let days = [entry.sp_lstchg, entry.sp_min, entry.sp_max, entry.sp_warn, entry.sp_inact, entry.sp_expire];
            answer = Some((password.to_str().unwrap().to_owned(), days));
        }
    }
    // SAFETY: it was opened above and is not used again.
    unsafe { libc::fclose(stream) };
    answer
}

fn hash() -> PasswordHash {
    PasswordHash::new(HASH.into()).unwrap()
}

/// Every line but admin's first one, byte for byte.
fn lines_of_others(text: &[u8]) -> Vec<Vec<u8>> {
    let mut own = 0;
    let is_own = |line: &&[u8]| {
        let start = line.iter().position(|b| !b" \t\x0b\x0c\r".contains(b)).unwrap_or(line.len());
        own += usize::from(line[start..].starts_with(b"admin:"));
        line[start..].starts_with(b"admin:") && own == 1
    };
    let lines = text.split(|&b| b == b'\n');
    let mut is_own = is_own;
    let mut kept: Vec<Vec<u8>> = lines.filter(|line| !is_own(line)).map(<[u8]>::to_vec).collect();
    // What follows the last line feed is no line where nothing is there.
    while kept.last().is_some_and(Vec::is_empty) {
        kept.pop();
    }
    kept
}

/// Files as they are found, and worse: doubles, comments, NIS lines, other line ends, broken lines, bytes that are no UTF-8.
fn any_file() -> impl Strategy<Value = Vec<u8>> {
    let name = proptest::sample::select(vec!["admin", "root", "adminx", " admin", "\t#admin", "+", "-admin", "#admin", ""]);
    let field = prop_oneof![
        Just(b"".to_vec()),
        Just(b"x".to_vec()),
        Just(b"!".to_vec()),
        Just(b"19000".to_vec()),
        Just(b"admin".to_vec()),
        Just(b"root,admin".to_vec()),
        Just(b"7\r".to_vec()),
        proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..6),
    ];
    let line = (name, proptest::collection::vec(field, 0..10)).prop_map(|(name, fields)| {
        let mut line = name.as_bytes().to_vec();
        for field in fields {
            line.push(b':');
            line.extend(field);
        }
        line
    });
    (proptest::collection::vec(line, 0..8), any::<bool>()).prop_map(|(lines, finished)| {
        let mut text = lines.join(&b'\n');
        if finished && !text.is_empty() {
            text.push(b'\n');
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_byte_of_anybody_elses_shadow_line_ever_changes(text in any_file()) {
        let others = lines_of_others(&text);
        let on = shadow::with_password(&text, "admin", &hash(), Some(TODAY));
        prop_assert_eq!(lines_of_others(&on), &others[..]);
        prop_assert_eq!(shadow::shadow_entry(&on, "admin").unwrap().password, HASH.as_bytes());
        prop_assert_eq!(shadow::with_password(&on, "admin", &hash(), Some(TODAY)), &on[..]);
        let off = shadow::with_account_off(&on, "admin");
        prop_assert_eq!(lines_of_others(&off), &others[..]);
        prop_assert!(!shadow::shadow_entry(&off, "admin").unwrap().is_usable(NOW));
        prop_assert_eq!(shadow::with_account_off(&off, "admin"), off);
    }

    #[test]
    fn no_byte_of_anybody_elses_passwd_line_ever_changes(text in any_file()) {
        let once = shadow::with_shadowed_password(&text, "admin", Some("/bin/sh"));
        let numbered = |text: &[u8]| text.split(|&b| b == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let changed: Vec<_> = numbered(&text).into_iter().zip(numbered(&once)).filter(|(old, new)| old != new).collect();
        prop_assert_eq!(numbered(&text).len(), numbered(&once).len());
        prop_assert!(changed.len() <= 1 && changed.iter().all(|(old, _)| old.trim_ascii_start().starts_with(b"admin:")));
        prop_assert_eq!(shadow::with_shadowed_password(&once, "admin", Some("/bin/sh")), once);
    }

    #[test]
    fn joining_a_group_only_adds_the_name(text in any_file()) {
        let joined = shadow::with_member(&text, "root", "admin");
        let grown = joined.len() - text.len();
        prop_assert!([0, 5, 6].contains(&grown));
        let at = text.iter().zip(&joined).position(|(old, new)| old != new).unwrap_or(text.len());
        let is_insertion = (0..=at).rev().any(|at| joined[..at] == text[..at] && joined[at + grown..] == text[at..]);
        prop_assert!(is_insertion);
        prop_assert!(shadow::group_entry(&text, "root").is_none() || shadow::group_entry(&joined, "root").unwrap().has("admin"));
        prop_assert_eq!(shadow::with_member(&joined, "root", "admin"), joined);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_c_library_reads_the_recovered_line_whatever_the_file_was(text in any_file()) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), shadow::with_password(&text, "admin", &hash(), Some(TODAY))).unwrap();
        let (password, days) = glibc_reads(file.path(), "admin").expect("the line counts");
        prop_assert_eq!(password, HASH);
        prop_assert_eq!((days[0], days[1], days[2], days[4], days[5]), (TODAY, -1, -1, -1, -1));
        fs::write(file.path(), shadow::with_account_off(&text, "admin")).unwrap();
        let (password, days) = glibc_reads(file.path(), "admin").expect("the line counts");
        prop_assert_eq!((password.as_str(), days[5]), ("!", 1));
    }
}
