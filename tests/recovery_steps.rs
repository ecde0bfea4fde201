//! A fired press from its intent to the end of its window, cut off at every step, and the hooks it starts.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::unistd::geteuid;
use twostep::config;
use twostep::config::paths::Paths;
use twostep::core::recovery::Phase;
use twostep::core::time::{BootTime, Wall};
use twostep::proto::secret::Secret;
use twostep::supervisor::hooks::{self, Outcome, Report};
use twostep::supervisor::password::{DefaultPassword, NoStableAddress};
use twostep::supervisor::recovery::{AccountState, Now, PreparedHash, Published, Recovery, RecoveryError, StartAction, WindowEnd, tally};
use twostep::sys::atomic_file::{Disk, RealDisk, Step};
use twostep::sys::crypt;

use disk::FailingDisk;
use skip::{Lack, skipped};

mod disk;
#[path = "support/script.rs"]
mod script;
#[path = "support/skip.rs"]
mod skip;

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
fn a_tally_of_failed_logins_is_cleared_where_faillock_conf_keeps_it() {
    let nas = Nas::new();
    let kept = nas.folder.path().join("log/faillock");
    fs::create_dir_all(&kept).unwrap();
    fs::create_dir_all(nas.paths().faillock_conf().parent().unwrap()).unwrap();
    fs::write(nas.paths().faillock_conf(), format!("deny = 3\ndir = {}\n", kept.display())).unwrap();
    for folder in [&kept, &nas.paths().faillock] {
        fs::write(folder.join("admin"), "tally").unwrap();
    }
    drop(nas.pressed());
    assert!(!kept.join("admin").exists() && !nas.paths().faillock.join("admin").exists());
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

fn tallies_are_read_only(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Remove && path.ends_with("faillock/admin")).then_some(libc::EROFS)
}

#[test]
fn a_tally_that_stays_is_told_with_the_outcome_of_the_press() {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(tallies_are_read_only));
    daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    let told = daemon.last().unwrap();
    assert!(!told.failed && told.outcome.starts_with("recovered; but failed logins may still lock the account"), "{told:?}");
    assert!(told.outcome.contains("ReadWritePaths"), "{told:?}");
}

/// A folder that does not answer, as on a server that is away, until the other end is dropped.
struct Hanging(Mutex<Receiver<()>>);

impl Disk for Hanging {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        if step == Step::Remove && path.ends_with("faillock/admin") {
            let _ = self.0.lock().unwrap().recv();
        }
        Ok(())
    }
}

#[test]
fn a_tally_folder_that_does_not_answer_leaves_the_press_and_its_window_as_they_are() {
    let nas = Nas::new();
    fs::write(nas.paths().faillock.join("admin"), "tally").unwrap();
    let (answer, waits) = mpsc::channel::<()>();
    let mut daemon = nas.daemon_on(Hanging(Mutex::new(waits)));
    let hash = prepared(&daemon);
    // A press that waited for the folder would never come back.
    let (come, back) = mpsc::channel();
    std::thread::spawn(move || {
        let done = daemon.fire("reset", hash, &fired()).map(|done| done.warnings.len());
        let _ = come.send((daemon, done));
    });
    let (mut daemon, done) = back.recv_timeout(Duration::from_secs(60)).expect("the press waits for the folder");
    assert_eq!(done.unwrap(), 1);
    let told = nas.daemon().last().unwrap();
    assert_eq!(told.phase, Phase::Recovered);
    assert!(told.outcome.contains("failed logins may still lock the account") && told.outcome.contains("does not answer"), "{told:?}");
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!(nas.field(), "!");
    drop(answer);
}

#[test]
fn a_tally_folder_that_is_closed_to_the_daemon_is_foreseen_at_the_start() {
    let nas = Nas::new();
    fs::create_dir_all(nas.paths().faillock_conf().parent().unwrap()).unwrap();
    let conf = |folder: &Path| fs::write(nas.paths().faillock_conf(), format!("dir = {}\n", folder.display())).unwrap();
    assert_eq!(tally::foresee(&RealDisk, &nas.paths()), None);
    conf(&nas.folder.path().join("made/later"));
    assert_eq!(tally::foresee(&RealDisk, &nas.paths()), None);
    // Where no folder can be, not even root's.
    conf(Path::new("/dev/null/tallies"));
    let foreseen = tally::foresee(&RealDisk, &nas.paths()).unwrap();
    assert!(foreseen.contains("/dev/null/tallies") && foreseen.contains("ReadWritePaths"), "{foreseen}");
}

/// The intent can be kept, what came of it cannot.
fn outcome_cannot_be_kept(step: &Step, path: &Path) -> Option<i32> {
    let complete = || path.with_file_name("pressed").exists();
    (*step == Step::Create && path.ends_with(".recovery.json.twostep") && complete()).then_some(libc::EROFS)
}

/// A NAS whose press came to its end, but for the note of it.
fn pressed_without_a_note() -> Nas {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(outcome_cannot_be_kept));
    let done = daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert_eq!(done.warnings.len(), 1);
    assert!(fs::read_to_string(nas.paths().recovery_record()).unwrap().contains("intended"));
    nas
}

fn no_adapter() -> Result<DefaultPassword, NoStableAddress> {
    Err(NoStableAddress { reason: "there is no network interface".into() })
}

#[test]
fn a_complete_press_whose_record_could_not_be_kept_overwrites_no_password_of_admins_own() {
    type Start = fn(&Nas) -> Recovery;
    let starts: [Start; 3] = [
        Nas::daemon,
        |nas| Recovery::open(nas.paths(), nas.config(), Box::new(no_adapter)).unwrap(),
        |nas| nas.daemon().in_doubt("twostepd.toml:2: a typing error"),
    ];
    for (start, field) in starts.into_iter().flat_map(|start| [(start, "$6$own$hash"), (start, "!$6$own$hash")]) {
        let nas = pressed_without_a_note();
        nas.set_password(field);
        let mut booted = start(&nas);
        let action = booted.at_start(&next_boot()).unwrap();
        assert!(matches!(action, StartAction::WindowGoesOn(_)), "{action:?}");
        assert_eq!(nas.field(), field);
        let over = at("two", 20 + HOUR, FIRED + 3660);
        let end = booted.window_ended(&over);
        assert!(matches!(end, Ok(WindowEnd::TakenOver) | Err(RecoveryError::Undecided(_))), "{end:?}");
        let _ = nas.daemon().at_start(&over).unwrap();
        assert_eq!((nas.field().as_str(), nas.published().is_none()), (field, true));
        assert_eq!(nas.daemon().last().unwrap().phase, Phase::TakenOver);
    }
}

#[test]
fn a_complete_press_whose_record_could_not_be_kept_counts_from_the_next_start_on_as_carried_out() {
    let nas = pressed_without_a_note();
    let mut booted = nas.daemon();
    assert_eq!(booted.standing().map(|(account, press)| (account.to_owned(), press)), Some(("admin".into(), 1)));
    assert!(booted.last().unwrap().outcome.starts_with("recovered"), "{:?}", booted.last());
    let action = booted.at_start(&at("one", 700, FIRED + 600)).unwrap();
    assert!(matches!(action, StartAction::WindowGoesOn(end) if end.0.as_secs() == 100 + HOUR), "no second hour: {action:?}");
}

/// A NAS whose power went after the intent and, if so wished, after the account was on, and before anything that the press does later.
fn cut_off(account_is_on: bool) -> Nas {
    let mut cut = (4..).map(|steps| {
        let nas = Nas::new();
        nas.set_password("$6$own$hash");
        let mut cut = nas.daemon_on(FailingDisk::dead_from(steps));
        let _ = cut.fire("reset", prepared(&cut), &fired());
        let begun = nas.daemon().last().is_some_and(|last| last.phase == Phase::Intended);
        let reached = if account_is_on { crypt::verify(PASSWORD, &nas.field()) == Ok(true) } else { nas.field() == "$6$own$hash" };
        (begun && reached).then_some(nas)
    });
    cut.find_map(|nas| nas).unwrap()
}

#[test]
fn a_press_that_was_cut_off_is_refused_by_a_start_in_doubt_and_never_carried_out_later() {
    let nas = cut_off(false);
    let mut booted = nas.daemon().in_doubt("twostepd.toml:2: a typing error");
    let refused = booted.at_start(&next_boot()).unwrap_err();
    assert!(matches!(refused, RecoveryError::InDoubt(_)), "{refused}");
    assert_eq!((nas.field().as_str(), booted.window_ends(), nas.published().is_none()), ("$6$own$hash", None, true));
    let last = nas.daemon().last().unwrap();
    assert!(last.failed && last.outcome.contains("a typing error"), "{last:?}");
    assert!(matches!(nas.daemon().at_start(&next_boot()).unwrap(), StartAction::Nothing));
    assert_eq!(nas.field(), "$6$own$hash");
}

#[test]
fn a_press_that_was_cut_off_with_the_account_on_has_a_window_that_ends_also_in_doubt() {
    for (boot, ends) in [(next_boot(), false), (at("two", 20, FIRED + 3700), true)] {
        let nas = cut_off(true);
        let mut booted = nas.daemon().in_doubt("twostepd.toml:2: a typing error");
        let action = booted.at_start(&boot).unwrap();
        if ends {
            assert!(matches!(action, StartAction::Ended(WindowEnd::TurnedOff)), "{action:?}");
        } else {
            let StartAction::WindowGoesOn(until) = action else { panic!("{action:?}") };
            assert_eq!(until.0.as_secs(), 20 + HOUR - 60);
            assert_eq!(booted.window_ended(&Now { boot: until, ..boot }).unwrap(), WindowEnd::TurnedOff);
        }
        assert_eq!((nas.field().as_str(), nas.published().is_none()), ("!", true));
    }
}

#[test]
fn a_press_refused_later_leaves_an_account_that_was_taken_over_as_it_was() {
    type Press = fn(&Nas);
    let refused: [Press; 4] = [
        |nas| drop(nas.daemon().refused("reset", "there is no default password".into(), &later())),
        |nas| {
            let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only));
            daemon.fire("reset", prepared(&daemon), &later()).unwrap_err();
        },
        |nas| {
            let mut daemon = nas.daemon_on(FailingDisk::failing(nothing_can_be_kept));
            daemon.fire("reset", prepared(&daemon), &later()).unwrap_err();
        },
        // Another account is meant since, and its press fails.
        |nas| {
            let config = config::Recovery { account: "operator".into(), ..nas.config() };
            let disk = Arc::new(FailingDisk::failing(shadow_is_read_only));
            let mut daemon = Recovery::open_on(disk, nas.paths(), config, Box::new(sticker)).unwrap();
            daemon.fire("reset", prepared(&daemon), &later()).unwrap_err();
        },
    ];
    for (number, press) in refused.into_iter().enumerate() {
        let nas = Nas::new();
        let mut daemon = nas.pressed();
        nas.set_password("$6$own$hash");
        assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TakenOver);
        drop(daemon);
        press(&nas);
        let mut booted = nas.daemon();
        assert_eq!(booted.standing(), Some(("admin", 1)), "{number}: its enforcement would count again");
        assert!(matches!(booted.at_start(&next_boot()).unwrap(), StartAction::Nothing));
        let last = booted.last().unwrap();
        assert_eq!((last.phase, last.failed), (Phase::TakenOver, number != 2), "{number}: {}", last.outcome);
        assert_eq!((nas.field().as_str(), booted.account_state(&later()).unwrap()), ("$6$own$hash", AccountState::Active));
        assert_eq!(booted.fire("reset", prepared(&booted), &later()).unwrap().press, 2);
    }
}

#[test]
fn until_a_press_that_was_cut_off_is_carried_out_the_one_before_it_stands() {
    let nas = Nas::new();
    drop(nas.pressed());
    let begun = (4..).any(|steps| {
        let mut cut = nas.daemon_on(FailingDisk::dead_from(steps));
        cut.fire("reset", prepared(&cut), &at("one", 500, FIRED + 400)).unwrap_err();
        nas.daemon().last().unwrap().phase == Phase::Intended
    });
    assert!(begun);
    let mut booted = nas.daemon();
    assert_eq!(booted.standing(), Some(("admin", 1)));
    booted.at_start(&next_boot()).unwrap();
    assert_eq!(booted.standing(), Some(("admin", 2)));
}

#[test]
fn a_record_that_could_not_be_kept_is_tried_again_within_the_window() {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(|step, path| {
        let fails = outcome_cannot_be_kept(step, path)?;
        (!path.with_file_name("writable again").exists()).then_some(fails)
    }));
    daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    for minute in [60, 120] {
        assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + minute))));
        assert_eq!(daemon.window_ended(&at("one", 100 + minute, FIRED)).unwrap(), WindowEnd::NotYet);
    }
    fs::write(nas.paths().state.join("writable again"), "").unwrap();
    assert_eq!(daemon.window_ended(&at("one", 280, FIRED)).unwrap(), WindowEnd::NotYet);
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))));
    assert_eq!(nas.daemon().last().unwrap().phase, Phase::Recovered);
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

/// Presses on a disk that goes dead at step after step, boots, and presses again where the press had not begun. Ends where nothing was cut.
fn cut_off_everywhere(nas: fn() -> Nas) {
    let judge = nas();
    let mut daemon = judge.daemon();
    let hash = prepared(&daemon);
    daemon.fire("reset", hash.clone(), &fired()).unwrap();
    let (want, others) = (judge.texts(), lines_of_others(&nas()));
    for step in 0.. {
        let nas = nas();
        let mut cut = nas.daemon_on(FailingDisk::dead_from(step + 1));
        let complete = cut.fire("reset", hash.clone(), &fired()).is_ok_and(|done| done.warnings.is_empty());
        drop(cut);
        assert!(nas.field().is_empty() || nas.field() == "!" || nas.field() == hash.hash().expose(), "step {step}: {}", nas.field());
        assert_eq!(lines_of_others(&nas), others, "step {step}");
        let _ = fs::remove_file(nas.paths().recovered());
        let mut booted = nas.daemon();
        let begun = booted.last().is_some();
        let action = booted.at_start(&next_boot()).unwrap();
        match (begun, action) {
            (false, StartAction::Nothing) => {
                assert_ne!(nas.field(), hash.hash().expose(), "step {step}: on, and nobody knows");
                booted.fire("reset", hash.clone(), &next_boot()).unwrap();
            }
            (true, StartAction::CarriedOut(_) | StartAction::WindowGoesOn(_)) => {}
            (begun, action) => panic!("step {step}: begun {begun}, {action:?}"),
        }
        assert_eq!(nas.texts(), want, "step {step}");
        assert_eq!((nas.stamp().as_str(), nas.published().unwrap().account.as_str()), ("1\n", "admin"), "step {step}");
        assert!(booted.window_ends().is_some());
        if complete {
            assert!(step > 10, "only {step} steps were cut");
            return;
        }
    }
}

fn lines_of_others(nas: &Nas) -> Vec<String> {
    let own = |line: &str| line.starts_with("admin:") || line.starts_with("sudo:");
    nas.texts().iter().flat_map(|text| text.lines().filter(|line| !own(line)).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn cut_off_at_any_step_a_press_is_completed_by_the_next_start() {
    cut_off_everywhere(Nas::new);
}

#[test]
fn cut_off_at_any_step_a_missing_account_is_made_completely() {
    cut_off_everywhere(|| Nas::new().without_admin());
}

#[test]
fn cut_off_at_any_step_turning_off_is_completed_by_the_next_start() {
    for step in 0.. {
        let nas = Nas::new();
        drop(nas.pressed());
        let mut cut = nas.daemon_on(FailingDisk::dead_from(step + 1));
        let complete = cut.turn_off(&at("one", 200, FIRED), "done").is_ok();
        drop(cut);
        let mut booted = nas.daemon();
        booted.at_start(&at("one", 300, FIRED)).unwrap();
        if nas.field() != "!" {
            assert!(!complete);
            assert_eq!(booted.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))), "step {step}");
            booted.turn_off(&at("one", 400, FIRED), "done").unwrap();
        }
        assert_eq!((nas.field().as_str(), booted.window_ends()), ("!", None), "step {step}");
        assert_eq!(booted.last().unwrap().phase, Phase::Off, "step {step}");
        assert!(nas.published().is_none(), "step {step}");
        // What the shadow says alone is complete, but a disk dead later than that must not bring anything back.
        let mut again = nas.daemon();
        assert!(matches!(again.at_start(&at("three", 5, FIRED)).unwrap(), StartAction::Nothing), "step {step}");
        if complete && step > 8 {
            return;
        }
    }
}

#[test]
fn a_daemon_that_starts_again_goes_on_with_the_window() {
    let nas = Nas::new();
    drop(nas.pressed());
    fs::remove_file(nas.paths().recovered()).unwrap();
    let mut daemon = nas.daemon();
    assert!(
        matches!(daemon.at_start(&at("one", 900, FIRED + 800)).unwrap(), StartAction::WindowGoesOn(end) if end.0.as_secs() == 100 + HOUR)
    );
    assert_eq!(nas.published().unwrap().until_boot_ms, (100 + HOUR) * 1000);
    let mut rebooted = nas.daemon();
    rebooted.at_start(&at("two", 20, FIRED + 600)).unwrap();
    assert_eq!(nas.published().unwrap().until_boot_ms, (20 + HOUR - 600) * 1000);
}

#[test]
fn the_window_ends_and_admin_is_off_again() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    assert_eq!(daemon.window_ended(&at("one", 99 + HOUR, 0)).unwrap(), WindowEnd::NotYet);
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!((nas.field().as_str(), daemon.window_ends()), ("!", None));
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Disabled);
    assert!(nas.published().is_none());
    assert_eq!(daemon.window_ended(&at("one", 101 + HOUR, 0)).unwrap(), WindowEnd::NotOpen);
}

#[test]
fn a_window_that_ended_while_the_power_was_off_ends_at_the_start() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon();
    let action = daemon.at_start(&at("two", 20, FIRED + 3601)).unwrap();
    assert!(matches!(action, StartAction::Ended(WindowEnd::TurnedOff)), "{action:?}");
    assert_eq!(nas.field(), "!");
}

#[test]
fn whoever_gave_admin_a_password_of_its_own_keeps_it() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    nas.set_password("$6$own$hash");
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Active);
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TakenOver);
    assert_eq!(nas.field(), "$6$own$hash");
    assert!(nas.published().is_none());
    assert!(daemon.last().unwrap().outcome.contains("password of its own"));
    daemon.turn_off(&fired(), "asked for").unwrap();
    assert_eq!(nas.field(), "!");
}

#[test]
fn setting_the_default_password_again_makes_it_nobodys_own() {
    for lock in ["", "!"] {
        let nas = Nas::new();
        let mut daemon = nas.pressed();
        let again = crypt::hash(PASSWORD, crypt::Method::Sha512).unwrap().hash;
        nas.set_password(&format!("{lock}{}", *again));
        let shown = daemon.account_state(&fired()).unwrap();
        let state = if lock.is_empty() { AccountState::Recovered { until: Some(Wall(FIRED + 3600)) } } else { AccountState::Disabled };
        assert_eq!(shown, state);
        assert_eq!(nas.daemon().window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
        assert_eq!(nas.field(), "!");
    }
}

#[test]
fn where_nobody_can_tell_whose_password_it_is_the_window_stays_undecided() {
    let nas = Nas::new();
    drop(nas.pressed());
    nas.set_password("$6$some$hash");
    let mut daemon = Recovery::open(nas.paths(), nas.config(), Box::new(no_adapter)).unwrap();
    daemon.at_start(&at("one", 200, FIRED)).unwrap();
    assert!(matches!(daemon.account_state(&fired()).unwrap(), AccountState::Recovered { .. }), "not taken over yet");
    let error = daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap_err();
    assert!(matches!(error, RecoveryError::Undecided(_)), "{error}");
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(160 + HOUR))), "asked again in a minute");
    assert_eq!((nas.field().as_str(), nas.daemon().last().unwrap().phase), ("$6$some$hash", Phase::Recovered));
}

/// A status is asked for often, and a hash is slow on a small board.
#[test]
fn a_hash_that_was_judged_is_not_judged_again_for_each_status() {
    let nas = Nas::new();
    drop(nas.pressed());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let find = move || {
        count.fetch_add(1, Ordering::Relaxed);
        sticker()
    };
    let mut daemon = Recovery::open(nas.paths(), nas.config(), Box::new(find)).unwrap();
    daemon.at_start(&at("one", 200, FIRED)).unwrap();
    daemon.account_state(&fired()).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0, "what the press set is known");
    nas.set_password("$6$own$hash");
    for _ in 0..3 {
        assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Active);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[test]
fn a_default_password_that_is_only_locked_does_not_outlive_the_window() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    nas.set_password(&format!("!{}", nas.field()));
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Disabled);
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!(nas.field(), "!");
}

#[test]
fn an_account_deleted_meanwhile_is_not_made_again() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    let nas = nas.without_admin();
    let before = nas.texts();
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!(nas.texts(), before);
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Missing);
}

#[test]
fn turning_off_works_without_any_press() {
    let nas = Nas::new();
    nas.set_password("$6$own$hash");
    nas.daemon().turn_off(&fired(), "asked for").unwrap();
    assert_eq!(nas.field(), "!");
}

#[test]
fn a_second_press_opens_a_fresh_window_and_has_its_own_number() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    let done = daemon.fire("reset", prepared(&daemon), &at("one", 1000, FIRED + 900)).unwrap();
    assert_eq!((done.press, done.until.0.as_secs(), nas.stamp().as_str()), (2, 1000 + HOUR, "2\n"));
}

fn nothing_can_be_kept(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Create && path.ends_with(".recovery.json.twostep")).then_some(libc::EROFS)
}

fn shadow_is_read_only(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Create && path.ends_with(".shadow.twostep")).then_some(libc::EROFS)
}

#[test]
fn a_refused_press_is_not_carried_out_at_the_next_boot() {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only));
    let error = daemon.fire("reset", prepared(&daemon), &fired()).unwrap_err();
    assert!(error.to_string().contains("read-only"), "{error}");
    let last = daemon.last().unwrap();
    assert_eq!((last.phase, daemon.window_ends(), nas.stamp().as_str()), (Phase::Failed, None, ""));
    assert!(last.outcome.contains("read-only"));
    let mut booted = nas.daemon();
    assert!(matches!(booted.at_start(&next_boot()).unwrap(), StartAction::Nothing));
    assert_eq!(nas.field(), "!");
    assert_eq!(booted.fire("reset", prepared(&booted), &next_boot()).unwrap().press, 2);
}

#[test]
fn a_refused_second_press_leaves_the_first_ones_window_open() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only));
    daemon.fire("reset", prepared(&daemon), &at("one", 500, FIRED + 400)).unwrap_err();
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))));
    let mut restarted = nas.daemon();
    assert!(matches!(restarted.at_start(&at("one", 600, FIRED)).unwrap(), StartAction::WindowGoesOn(_)));
    assert_eq!(restarted.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!(nas.field(), "!");
}

#[test]
fn a_second_press_cut_off_and_then_refused_still_ends_the_first_ones_window() {
    let nas = Nas::new();
    drop(nas.pressed());
    // After the intent (its draft removed, created, written, renamed, the folder synced) and the reads before it, the power goes.
    let cut_after_intent = (4..).find(|&steps| {
        let mut cut = nas.daemon_on(FailingDisk::dead_from(steps));
        cut.fire("reset", prepared(&cut), &at("one", 500, FIRED + 400)).unwrap_err();
        nas.daemon().last().unwrap().phase == Phase::Intended
    });
    assert!(cut_after_intent.is_some());
    let mut booted = nas.daemon_on(FailingDisk::failing(shadow_is_read_only));
    booted.at_start(&at("two", 20, FIRED + 600)).unwrap_err();
    assert_eq!(booted.window_ends(), Some(BootTime(Duration::from_secs(20 + HOUR - 600))));
    assert_eq!(nas.published().unwrap().until_boot_ms, (20 + HOUR - 600) * 1000);
}

#[test]
fn a_press_without_a_default_password_leaves_a_record_that_says_so() {
    let nas = Nas::new();
    let before = nas.texts();
    let error = nas.daemon().refused("reset", "there is no default password".into(), &fired());
    assert!(matches!(error, RecoveryError::NoPassword(_)), "{error}");
    let mut booted = nas.daemon();
    let last = booted.last().unwrap();
    assert_eq!((last.press, last.phase, last.failed, last.at), (1, Phase::Failed, true, Wall(FIRED)));
    assert_eq!(last.outcome, "refused: there is no default password");
    assert!(matches!(booted.at_start(&next_boot()).unwrap(), StartAction::Nothing));
    assert_eq!(nas.texts(), before);
    let done = booted.fire("reset", prepared(&booted), &next_boot()).unwrap();
    assert_eq!((done.press, booted.last().unwrap().failed), (2, false));
}

#[test]
fn a_press_without_a_default_password_leaves_an_open_window_as_it_was() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    daemon.refused("reset", "there is no default password".into(), &at("one", 500, FIRED + 400));
    let last = nas.daemon().last().unwrap();
    // The press that was carried out, by which the engine knows what its owner has set up since.
    assert_eq!((last.press, last.phase, last.failed, last.at), (1, Phase::Recovered, true, Wall(FIRED + 400)));
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))));
    assert_eq!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff);
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().failed), ("!", false));
}

#[test]
fn where_the_intent_cannot_be_kept_nothing_is_done() {
    let nas = Nas::new();
    let before = nas.texts();
    let mut daemon = nas.daemon_on(FailingDisk::failing(nothing_can_be_kept));
    let error = daemon.fire("reset", prepared(&daemon), &fired()).unwrap_err();
    assert!(matches!(error, RecoveryError::Intent(_)), "{error}");
    assert_eq!(nas.texts(), before);
}

#[test]
fn an_account_that_cannot_be_turned_off_is_tried_again_a_minute_later() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only));
    let over = at("one", 100 + HOUR, 0);
    daemon.window_ended(&over).unwrap_err();
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(160 + HOUR))));
    assert!(nas.published().is_none(), "PAM must not admit it any more");
}

fn published_cannot_be_removed(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Remove && path.ends_with("recovered")).then_some(libc::EROFS)
}

#[test]
fn an_account_that_is_off_but_still_published_is_settled_and_only_that_is_tried_again() {
    for own_password in [false, true] {
        let nas = Nas::new();
        drop(nas.pressed());
        if own_password {
            nas.set_password("$6$own$hash");
        }
        let mut daemon = nas.daemon_on(FailingDisk::failing(published_cannot_be_removed));
        for minute in [0, 60] {
            daemon.window_ended(&at("one", 100 + HOUR + minute, 0)).unwrap_err();
            assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(160 + HOUR + minute))), "never at once");
        }
        assert_eq!(nas.field(), if own_password { "$6$own$hash" } else { "!" });
        let phase = if own_password { Phase::TakenOver } else { Phase::Off };
        assert_eq!((daemon.last().unwrap().phase, nas.daemon().last().unwrap().phase), (phase, phase));
        let mut booted = nas.daemon();
        booted.at_start(&at("one", 300 + HOUR, 0)).unwrap();
        assert_eq!((nas.published().is_none(), booted.window_ends()), (true, None));
    }
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
fn while_it_is_in_doubt_which_account_is_meant_the_window_ends_and_a_press_does_nothing() {
    let nas = Nas::new();
    drop(nas.pressed());
    let config = config::Recovery { account: "operator".into(), ..nas.config() };
    let doubted = || Recovery::open(nas.paths(), config.clone(), Box::new(sticker)).unwrap().in_doubt("twostepd.toml:2: no account name");
    let mut daemon = doubted();
    let refused = daemon.fire("reset", prepared(&daemon), &at("one", 200, FIRED)).unwrap_err().to_string();
    assert!(refused.ends_with("to end an open window: twostepd.toml:2: no account name"), "{refused}");
    let StartAction::WindowGoesOn(until) = daemon.at_start(&at("one", 200, FIRED)).unwrap() else { panic!("the window does not go on") };
    assert_eq!(until, daemon.window_ends().unwrap());
    assert_eq!(daemon.window_ended(&Now { boot: until, ..fired() }).unwrap(), WindowEnd::TurnedOff);
    assert_eq!((nas.field().as_str(), daemon.account()), ("!", "admin"));
    // Nor is what the default password is: one that somebody has set since waits for the file to be mended.
    let nas = Nas::new();
    drop(nas.pressed());
    nas.set_password("$6$some$hash");
    let sure = || Recovery::open(nas.paths(), nas.config(), Box::new(sticker)).unwrap();
    let over = at("one", 100 + HOUR, 0);
    assert!(matches!(sure().in_doubt("a typing error").window_ended(&over), Err(RecoveryError::Undecided(_))));
    assert_eq!(sure().window_ended(&over).unwrap(), WindowEnd::TakenOver);
}

#[test]
fn while_it_is_in_doubt_which_account_is_meant_what_nobody_has_pressed_for_is_left_alone() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    daemon.turn_off(&fired(), "for the test").unwrap();
    let doubted = || Recovery::open(nas.paths(), nas.config(), Box::new(sticker)).unwrap().in_doubt("twostepd.toml:2: no account name");
    nas.set_password("$6$salt$of-its-own");
    assert!(matches!(doubted().turn_off(&fired(), "for the test"), Err(RecoveryError::InDoubt(_))));
    assert_eq!(nas.field(), "$6$salt$of-its-own");
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

fn names(reports: &[Report]) -> Vec<(u64, Vec<&str>)> {
    reports.iter().map(|report| (report.press, report.hooks.iter().map(|(name, _)| name.as_str()).collect())).collect()
}

#[test]
fn hooks_run_once_per_press_in_name_order_and_never_at_a_boot() {
    let nas = Nas::new();
    let log = nas.folder.path().join("log");
    let script = format!("echo \"$0 $TWOSTEP_ACCOUNT $TWOSTEP_PRESS $HOME $(env | wc -l)\" >> {}", log.display());
    nas.hook("20-samba", &script, 0o755);
    nas.hook("10-network", &script, 0o755);
    for no_hook in [".hidden", "10-network~", "10-network.dpkg-old"] {
        nas.hook(no_hook, &script, 0o755);
    }
    nas.hook("notes.txt", &script, 0o644);
    assert!(nas.run_hooks(SOON).is_empty());
    let mut daemon = nas.pressed();
    assert_eq!(names(&nas.run_hooks(SOON)), [(1, vec!["10-network", "20-samba"])]);
    assert!(nas.run_hooks(SOON).is_empty());
    nas.daemon().at_start(&next_boot()).unwrap();
    assert!(nas.run_hooks(SOON).is_empty());
    daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert_eq!(names(&nas.run_hooks(SOON))[0].0, 2);
    let ran = fs::read_to_string(log).unwrap();
    let first = ran.lines().next().unwrap();
    assert_eq!(ran.lines().count(), 4);
    assert!(first.contains("10-network admin 1  "), "a clean environment: {first}");
}

#[test]
fn a_hook_that_anybody_could_have_written_is_refused_and_one_that_fails_stops_nobody() {
    let nas = Nas::new();
    nas.hook("1-open", "exit 0", 0o777);
    nas.hook("3-fails", "exit 3", 0o755);
    nas.hook("5-good", "exit 0", 0o755);
    std::os::unix::fs::symlink("5-good", nas.paths().hooks().join("2-link")).unwrap();
    if geteuid().is_root() {
        nas.hook("4-foreign", "exit 0", 0o755);
        std::os::unix::fs::chown(nas.paths().hooks().join("4-foreign"), Some(1000), None).unwrap();
    }
    drop(nas.pressed());
    let mut reports = nas.run_hooks(SOON);
    for (name, outcome) in reports.remove(0).hooks {
        let as_wished = match name.as_str() {
            "1-open" | "2-link" | "4-foreign" => matches!(outcome, Outcome::Refused(_)),
            "3-fails" => matches!(&outcome, Outcome::Ran(status) if status.code() == Some(3)),
            _ => matches!(&outcome, Outcome::Ran(status) if status.success()),
        };
        assert!(as_wished, "{name}: {outcome}");
    }
}

#[test]
fn more_hooks_than_may_run_are_named_and_not_passed_over_in_silence() {
    let nas = Nas::new();
    for number in 100..166 {
        nas.hook(&number.to_string(), "exit 0", 0o755);
    }
    drop(nas.pressed());
    let reports = nas.run_hooks(SOON);
    let refused: Vec<&str> =
        reports[0].hooks.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Refused(_))).map(|(name, _)| name.as_str()).collect();
    assert_eq!(refused, ["164", "165"]);
}

#[test]
fn hooks_in_a_folder_that_others_may_write_to_are_all_refused() {
    let nas = Nas::new();
    nas.hook("1-good", "exit 0", 0o755);
    fs::set_permissions(nas.paths().hooks(), fs::Permissions::from_mode(0o777)).unwrap();
    drop(nas.pressed());
    let reports = nas.run_hooks(SOON);
    assert!(matches!(reports[0].hooks[0].1, Outcome::Refused(reason) if reason.contains("folder")));
}

#[test]
fn a_hook_that_hangs_is_ended_with_what_it_started() {
    let nas = Nas::new();
    let pid_file = nas.folder.path().join("pid");
    nas.hook("1-hangs", &format!("sleep 600 & echo $! > {}; wait", pid_file.display()), 0o755);
    // On a busy machine its time may be over before it has started anything.
    let started = [1, 10, 100].into_iter().find_map(|seconds| {
        drop(nas.pressed());
        let reports = nas.run_hooks(Duration::from_secs(seconds));
        assert!(matches!(reports[0].hooks[0].1, Outcome::OutOfTime), "{}", reports[0].hooks[0].1);
        fs::read_to_string(&pid_file).ok()?.trim().parse().ok()
    });
    let grandchild: i32 = started.expect("the hook starts another process");
    let gone = twostep::sys::process::Process::open(grandchild).map_or(true, |process| process.ends_within(SOON));
    assert!(gone);
}

#[test]
fn the_press_is_noted_before_the_first_hook_starts() {
    let nas = Nas::new();
    let seen = nas.folder.path().join("seen");
    nas.hook("1", &format!("cp {} {}", nas.paths().hooks_ran().display(), seen.display()), 0o755);
    drop(nas.pressed());
    nas.run_hooks(SOON);
    assert_eq!(fs::read_to_string(seen).unwrap(), "1\n");
    drop(nas.pressed());
    let full = FailingDisk::failing(|step, _| (*step == Step::Write).then_some(libc::ENOSPC));
    hooks::run_pending(&full, &nas.paths(), "admin", SOON).unwrap_err();
    assert_eq!(full.steps().last(), Some(&Step::Remove), "nothing ran that is not noted");
}
