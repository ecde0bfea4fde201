//! A fired press from its intent to the end of its window, cut off at every step, and the hooks it starts.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use twostep::config;
use twostep::config::paths::Paths;
use twostep::core::time::{BootTime, Wall};
use twostep::proto::secret::Secret;
use twostep::supervisor::hooks::{self, Report};
use twostep::supervisor::password::{DefaultPassword, NoStableAddress};
use twostep::supervisor::recovery::{AccountState, Now, PreparedHash, Published, Recovery, StartAction, WindowEnd};
use twostep::sys::atomic_file::{Disk, RealDisk, Step};
use twostep::sys::crypt;

use disk::FailingDisk;
use skip::{Lack, skipped};

mod away;
mod cut_off;
#[path = "../disk/mod.rs"]
mod disk;
mod hook_runs;
mod in_doubt;
mod refused;
#[path = "../support/script.rs"]
mod script;
#[path = "../support/skip.rs"]
mod skip;
mod tally;
mod window;

/// How long a test waits for what must come at once.
const SOON: Duration = Duration::from_secs(60);

const PASSWORD: &str = "245EBE000001";

const FIRED: i64 = 1_800_000_000;

const HOUR: u64 = 3600;

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000::/home/alice:/bin/sh\nadmin:x:1001:1001::/home/admin:/usr/sbin/nologin\n";
const SHADOW: &str = "root:*:19000:0:99999:7:::\nadmin:!:19000:0:90:14:30:19100:\nalice:$6$a$b:19000:0:99999:7:::\n";

const GROUP: &str = "root:x:0:\nsudo:x:27:alice\nadmin:x:1001:\nalice:x:1000:\n";

const GSHADOW: &str = "root:*::\nsudo:*::alice\nadmin:!::\nalice:!::\n";

/// This many seconds after boot `boot_id`, at this wall time.
fn at(boot_id: &str, boot: u64, wall: i64) -> Now {
    Now { wall: Wall(wall), boot: BootTime(Duration::from_secs(boot)), boot_id: boot_id.into() }
}

fn fired() -> Now {
    at("one", 100, FIRED)
}

/// Long after the window of that press.
fn later() -> Now {
    at("one", 9000, FIRED + 8900)
}

fn next_boot() -> Now {
    at("two", 20, FIRED + 60)
}

/// A NAS in a folder.
struct Nas {
    folder: tempfile::TempDir,
}

impl Nas {
    fn new() -> Self {
        let nas = Self { folder: tempfile::tempdir().unwrap() };
        nas.furnish();
        nas
    }

    fn furnish(&self) {
        let paths = self.paths();
        for folder in [&paths.accounts, &paths.config, &paths.state, &paths.run, &paths.faillock, &paths.hooks()] {
            fs::create_dir_all(folder).unwrap();
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (file, text) in [("passwd", PASSWD), ("shadow", SHADOW), ("group", GROUP), ("gshadow", GSHADOW)] {
            fs::write(self.etc(file), text).unwrap();
        }
    }

    fn without_admin(self) -> Self {
        for file in ["passwd", "shadow", "group", "gshadow"] {
            let kept: String = self.text(file).split_inclusive('\n').filter(|line| !line.starts_with("admin:")).collect();
            fs::write(self.etc(file), kept).unwrap();
        }
        self
    }

    fn paths(&self) -> Paths {
        Paths::scratch(self.folder.path())
    }

    fn etc(&self, file: &str) -> PathBuf {
        self.paths().accounts.join(file)
    }

    fn text(&self, file: &str) -> String {
        fs::read_to_string(self.etc(file)).unwrap()
    }

    fn texts(&self) -> [String; 4] {
        ["passwd", "shadow", "group", "gshadow"].map(|file| self.text(file).replace(self.folder.path().to_str().unwrap(), ""))
    }

    fn field(&self) -> String {
        self.text("shadow")
            .lines()
            .find_map(|line| line.strip_prefix("admin:"))
            .map(|rest| rest.split(':').next().unwrap().into())
            .unwrap_or_default()
    }

    fn set_password(&self, field: &str) {
        let text = self.text("shadow").replace(&format!("admin:{}:", self.field()), &format!("admin:{field}:"));
        fs::write(self.etc("shadow"), text).unwrap();
    }

    fn config(&self) -> config::Recovery {
        let home = self.folder.path().join("home").to_str().unwrap().into();
        config::Recovery { home, hash: config::HashMethod::Sha512, lock_wait: Duration::ZERO, ..config::Recovery::default() }
    }

    fn daemon(&self) -> Recovery {
        self.daemon_on(RealDisk)
    }

    fn daemon_on(&self, disk: impl Disk + 'static) -> Recovery {
        Recovery::open_on(Arc::new(disk), self.paths(), self.config(), Box::new(sticker)).unwrap()
    }

    fn pressed(&self) -> Recovery {
        let mut daemon = self.daemon();
        daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
        daemon
    }

    fn published(&self) -> Option<Published> {
        let text = fs::read(self.paths().recovered()).ok()?;
        Some(serde_json::from_slice(&text).unwrap())
    }

    fn stamp(&self) -> String {
        fs::read_to_string(self.paths().stamp()).unwrap_or_default()
    }

    fn hook(&self, name: &str, script: &str, mode: u32) {
        script::lay(&self.paths().hooks().join(name), mode, &format!("#!/bin/sh\n{script}\n"));
    }

    fn run_hooks(&self, time: Duration) -> Vec<Report> {
        hooks::run_pending(&RealDisk, &self.paths(), "admin", time).unwrap()
    }
}

fn sticker() -> Result<DefaultPassword, NoStableAddress> {
    Ok(DefaultPassword { password: Secret::new(PASSWORD.into()), interface: None, origin: "test".into() })
}

fn prepared(daemon: &Recovery) -> PreparedHash {
    daemon.prepare(&sticker().unwrap()).unwrap()
}

#[test]
fn after_a_press_the_default_password_lets_admin_in() {
    let nas = Nas::new();
    fs::write(nas.paths().faillock.join("admin"), "tally").unwrap();
    fs::write(nas.paths().faillock.join("alice"), "tally").unwrap();
    let mut daemon = nas.daemon();
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Disabled);
    let done = daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert_eq!((done.press, done.account.as_str(), done.created, done.warnings.len()), (1, "admin", false, 0));
    assert_eq!(crypt::verify(PASSWORD, &nas.field()), Ok(true));
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Recovered { until: Some(Wall(FIRED + 3600)) });
    let published = nas.published().unwrap();
    assert_eq!((published.account.as_str(), published.until_boot_ms), ("admin", (100 + HOUR) * 1000));
    for file in [nas.paths().recovered(), nas.paths().recovery_record(), nas.paths().stamp()] {
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{}", file.display());
    }
    assert_eq!(nas.stamp(), "1\n");
    assert!(!nas.paths().faillock.join("admin").exists() && nas.paths().faillock.join("alice").exists());
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))));
    assert_eq!(daemon.last().unwrap().outcome, "recovered");
}

#[test]
fn a_home_folder_left_by_a_former_admin_is_told_with_the_way_out() {
    if !geteuid().is_root() {
        skipped(Lack::Root, "only root gives folders away");
        return;
    }
    let nas = Nas::new().without_admin();
    let home = nas.folder.path().join("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(4711), Some(4711)).unwrap();
    let told = nas.pressed().last().unwrap().outcome;
    let home = home.display();
    assert!(told.starts_with(&format!("recovered, made anew; but {home} was left by another account (uid 4711)")), "{told}");
    assert!(told.ends_with(&format!("chown -hR 1001:1001 {home}")), "{told}");
}

/// The intent can be kept, what came of it cannot.
fn outcome_cannot_be_kept(step: &Step, path: &Path) -> Option<i32> {
    let complete = || path.with_file_name("pressed").exists();
    (*step == Step::Create && path.ends_with(".recovery.json.twostep") && complete()).then_some(libc::EROFS)
}

fn no_adapter() -> Result<DefaultPassword, NoStableAddress> {
    Err(NoStableAddress { reason: "there is no network interface".into() })
}

#[test]
fn a_password_that_must_be_changed_is_marked_so() {
    let nas = Nas::new();
    let config = config::Recovery { must_change_password: true, ..nas.config() };
    let mut daemon = Recovery::open(nas.paths(), config, Box::new(sticker)).unwrap();
    daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert!(nas.text("shadow").contains(&format!("admin:{}:0:::14:::\n", nas.field())));
}

#[test]
fn with_a_clock_before_this_program_ageing_stays_off() {
    let nas = Nas::new();
    let mut daemon = nas.daemon();
    daemon.fire("reset", prepared(&daemon), &at("one", 100, 12)).unwrap();
    assert!(nas.text("shadow").contains(&format!("admin:{}::::14:::\n", nas.field())));
    assert_eq!(daemon.account_state(&at("one", 100, 12)).unwrap(), AccountState::Recovered { until: None });
}

#[test]
fn a_second_press_opens_a_fresh_window_and_has_its_own_number() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    let done = daemon.fire("reset", prepared(&daemon), &at("one", 1000, FIRED + 900)).unwrap();
    assert_eq!((done.press, done.until.0.as_secs(), nas.stamp().as_str()), (2, 1000 + HOUR, "2\n"));
}

fn shadow_is_read_only(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Create && path.ends_with(".shadow.twostep")).then_some(libc::EROFS)
}

#[test]
fn a_sync_that_fails_after_the_switch_still_opens_a_window() {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(|step, path| {
        (*step == Step::SyncFolder && path.ends_with("etc") && fs::read_to_string(path.join("shadow")).unwrap().contains("admin:$6$"))
            .then_some(libc::EIO)
    }));
    let done = daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert_eq!(done.warnings.len(), 1);
    assert!(daemon.window_ends().is_some());
}

#[test]
fn another_account_configured_since_does_not_leave_the_first_one_on() {
    let nas = Nas::new();
    drop(nas.pressed());
    let config = config::Recovery { account: "operator".into(), ..nas.config() };
    let mut daemon = Recovery::open(nas.paths(), config, Box::new(sticker)).unwrap();
    daemon.at_start(&at("one", 200, FIRED)).unwrap();
    let done = daemon.fire("reset", prepared(&daemon), &at("one", 300, FIRED)).unwrap();
    assert_eq!((done.account.as_str(), done.created, nas.field().as_str()), ("operator", true, "!"));
    assert_eq!(nas.published().unwrap().account, "operator");
}

/// The daemon once the configuration names another account, on a disk that fails so; after its press.
fn pressed_for_another_account(nas: &Nas, fails: fn(&Step, &Path) -> Option<i32>) -> Recovery {
    drop(nas.pressed());
    let config = config::Recovery { account: "operator".into(), ..nas.config() };
    let disk = Arc::new(FailingDisk::failing(fails));
    let mut daemon = Recovery::open_on(disk, nas.paths(), config, Box::new(sticker)).unwrap();
    daemon.at_start(&at("one", 200, FIRED)).unwrap();
    let _ = daemon.fire("reset", prepared(&daemon), &at("one", 300, FIRED));
    daemon
}

#[test]
fn an_account_that_cannot_be_turned_off_at_a_press_for_another_is_not_forgotten() {
    let nas = Nas::new();
    let daemon = pressed_for_another_account(&nas, shadow_is_read_only);
    let last = daemon.last().unwrap();
    assert!(last.failed && last.account == "admin" && last.outcome.contains("read-only"), "{last:?}");
    assert!(matches!(nas.daemon().at_start(&later()).unwrap(), StartAction::Ended(WindowEnd::TurnedOff)));
    assert_eq!(nas.field(), "!");
}

#[test]
fn an_account_that_could_not_be_turned_off_before_a_press_for_another_is_turned_off_after_it() {
    let nas = Nas::new();
    let daemon = pressed_for_another_account(&nas, |step, path| {
        shadow_is_read_only(step, path).filter(|_| !fs::read_to_string(path.with_file_name("passwd")).unwrap().contains("operator"))
    });
    assert_eq!((daemon.last().unwrap().outcome.as_str(), nas.field().as_str()), ("recovered, made anew", "!"));
    let nas = Nas::new();
    let daemon = pressed_for_another_account(&nas, |step, path| {
        let made = |file| fs::read_to_string(path.with_file_name(file)).unwrap().contains("operator");
        shadow_is_read_only(step, path).filter(|_| !made("passwd") || made("shadow"))
    });
    let told = daemon.last().unwrap().outcome;
    assert!(told.contains("admin still has the default password of an earlier press: ") && told.ends_with("; passwd -l admin"), "{told}");
    assert_eq!(nas.published().unwrap().account, "operator");
}

#[test]
fn a_broken_record_is_set_aside_and_the_button_still_works() {
    let nas = Nas::new();
    for broken in [&b"\0\0\0\0"[..], b"{\"version\":99}", b"", b"\xff\xfe"] {
        fs::write(nas.paths().recovery_record(), broken).unwrap();
        let mut daemon = nas.daemon();
        assert_eq!(daemon.last(), None);
        assert_eq!(fs::read(nas.paths().state.join("recovery.json.bad")).unwrap(), broken);
        daemon.at_start(&fired()).unwrap();
        daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    }
    assert_eq!(nas.stamp(), "4\n", "no number is used twice, whatever became of the record");
}

#[test]
fn a_configuration_that_would_break_passwd_or_open_root_is_refused() {
    let nas = Nas::new();
    type Change = fn(&mut config::Recovery);
    let changes: [(Change, &str); 5] = [
        (|c| c.account = "ad:min".into(), "recovery.account"),
        (|c| c.account = "../etc/passwd".into(), "recovery.account"),
        (|c| c.account = "root".into(), "recovery.account"),
        (|c| c.shell = "/bin/sh\nroot2::0:0".into(), "recovery.shell"),
        (|c| c.home = "home".into(), "recovery.home"),
    ];
    for (change, key) in changes {
        let mut config = nas.config();
        change(&mut config);
        assert!(Recovery::open(nas.paths(), config, Box::new(sticker)).err().unwrap().to_string().contains(key));
    }
}

#[test]
fn on_a_full_disk_the_reserve_lets_the_press_through() {
    let nas = Nas::new();
    let folder = nas.folder.path();
    let body = || {
        let mount =
            |args: &[&str]| Command::new("mount").args(args).stderr(std::process::Stdio::null()).status().is_ok_and(|s| s.success());
        let ready = geteuid().is_root()
            && nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).is_ok()
            && mount(&["--make-rprivate", "/"])
            && mount(&["-t", "tmpfs", "-o", "size=1m,mode=0755", "tmpfs", folder.to_str().unwrap()]);
        if !ready {
            skipped(Lack::Root, "no right to mount a small file system");
            return;
        }
        nas.furnish();
        let mut daemon = nas.daemon();
        daemon.at_start(&fired()).unwrap();
        let mut filler = fs::File::create(folder.join("filler")).unwrap();
        while std::io::Write::write_all(&mut filler, &[1; 512]).is_ok() {}
        daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
        assert_eq!(crypt::verify(PASSWORD, &nas.field()), Ok(true));
        assert!(!nas.paths().reserve().exists());
        filler.set_len(0).unwrap();
        daemon.turn_off(&fired(), "asked for").unwrap();
        assert!(nas.paths().reserve().exists(), "kept for the next one");
    };
    std::thread::scope(|scope| scope.spawn(body).join().unwrap());
}

#[test]
fn neither_log_lines_nor_the_published_file_hold_password_or_hash() {
    let nas = Nas::new();
    let daemon = nas.pressed();
    let hash = nas.field();
    let seen = format!("{:?} {:?} {}", daemon.last(), nas.published(), nas.stamp());
    assert!(!seen.contains(&hash) && !seen.contains(PASSWORD));
    assert!(!format!("{:?}", prepared(&daemon)).contains("$6$"));
    assert!(!fs::read_to_string(nas.paths().recovery_record()).unwrap().contains(PASSWORD));
}
