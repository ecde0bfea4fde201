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

#[path = "../disk/mod.rs"]
mod disk;
mod locks;
mod silent;
#[path = "../support/skip.rs"]
mod skip;
mod text;
mod trouble;

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
