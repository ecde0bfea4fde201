//! A press under which the account files fail, so that nobody can tell whether the account is on, until they can be read again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::{fs, io};

use twostep::config;
use twostep::core::recovery::Phase;
use twostep::supervisor::recovery::{Now, Recovery, RecoveryError, StartAction, WindowEnd};
use twostep::sys::atomic_file::{self, AccountLock, Disk, RealDisk, Step};
use twostep::sys::crypt;

use super::{FIRED, HOUR, Nas, PASSWORD, at, fired, later, next_boot, no_adapter, prepared, sticker};

/// A disk on which the account files fail, to read and to write, from this step on that touches them, until it is mended.
struct Ailing {
    from: usize,
    steps: AtomicUsize,
    mended: Arc<AtomicBool>,
}

impl Disk for Ailing {
    fn before(&self, _: Step, path: &Path) -> io::Result<()> {
        let touches = path.ends_with("etc") || path.parent().is_some_and(|folder| folder.ends_with("etc"));
        if touches && !self.mended.load(Ordering::Relaxed) && self.steps.fetch_add(1, Ordering::Relaxed) >= self.from {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        Ok(())
    }
}

/// The daemon on such a disk, and what mends it.
fn daemon_ailing(nas: &Nas, from: usize) -> (Recovery, Arc<AtomicBool>) {
    ailing(nas, "admin", from)
}

fn mend(mended: &AtomicBool) {
    mended.store(true, Ordering::Relaxed);
}

fn minutes_later(minutes: u64) -> Now {
    at("one", 100 + 60 * minutes, FIRED)
}

fn is_on(nas: &Nas) -> bool {
    crypt::verify(PASSWORD, &nas.field()) == Ok(true)
}

/// The lock on the account files, held as by another tool until dropped.
fn lock_of_another(nas: &Nas) -> AccountLock {
    atomic_file::try_lock_file(&RealDisk, &nas.etc(".pwd.lock")).unwrap().unwrap()
}

/// A daemon whose press is in doubt, on a NAS made by `nas`, with the account on or not; and what mends its disk.
fn in_doubt(nas: impl Fn() -> Nas, account_is_on: bool) -> (Nas, Recovery, Arc<AtomicBool>) {
    let mut reached = (1..100).map(|from| {
        let nas = nas();
        let (mut daemon, mended) = daemon_ailing(&nas, from);
        let fired = daemon.fire("reset", prepared(&daemon), &fired());
        (matches!(fired, Err(RecoveryError::Unknown(_))) && is_on(&nas) == account_is_on).then_some((nas, daemon, mended))
    });
    reached.find_map(|reached| reached).unwrap()
}

#[test]
fn whatever_step_the_account_files_fail_at_an_account_that_is_on_has_a_window() {
    let kinds: [fn() -> Nas; 3] = [
        Nas::new,
        || Nas::new().without_admin(),
        || {
            let nas = Nas::new();
            nas.set_password("$6$own$hash");
            nas
        },
    ];
    for kind in kinds {
        let steps = (0..).take_while(|from| fails_and_is_settled(&kind(), *from)).count();
        assert!(steps > 10, "only {steps} steps failed");
    }
}

/// Whether a press fails where the account files do so from this step on; then looks at everything that follows.
fn fails_and_is_settled(nas: &Nas, from: usize) -> bool {
    let (mut daemon, mended) = daemon_ailing(nas, from);
    if daemon.fire("reset", prepared(&daemon), &fired()).is_ok() {
        assert!(is_on(nas), "step {from}");
        return false;
    }
    let last = daemon.last().unwrap();
    assert!(last.failed && last.outcome.starts_with("in doubt: "), "step {from}: {last:?}");
    assert!(last.outcome.ends_with("; looked at again each minute"), "{last:?}");
    assert_eq!((last.phase, nas.daemon().last().unwrap().phase), (Phase::Intended, Phase::Intended), "step {from}");
    assert!(daemon.standing().is_none() && nas.published().is_none() && nas.stamp().is_empty(), "step {from}");
    for minute in [1, 2] {
        assert_eq!(daemon.window_ends(), Some(minutes_later(minute).boot), "step {from}");
        assert!(daemon.window_ended(&minutes_later(minute)).is_err(), "step {from}: not readable yet");
    }
    mend(&mended);
    let (was_on, end) = (is_on(nas), daemon.window_ended(&minutes_later(3)).unwrap());
    let last = daemon.last().unwrap();
    if was_on {
        assert!(matches!(&end, WindowEnd::CarriedOut(done) if done.press == 1), "step {from}: {end:?}");
        assert_eq!((last.phase, last.failed, nas.stamp().as_str()), (Phase::Recovered, false, "1\n"), "step {from}: {last:?}");
        assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 1)), Some(at("one", 280 + HOUR, 0).boot)));
        assert!(nas.published().is_some());
        return true;
    }
    assert!(matches!(end, WindowEnd::NotOpen), "step {from}: {end:?}");
    assert_eq!((last.phase, daemon.window_ends(), nas.published().is_none()), (Phase::Failed, None, true), "step {from}");
    let lost = last.outcome.contains("a password of its own that it may have had before this press is gone");
    assert_eq!(lost, nas.field() == "!", "step {from}: {}", last.outcome);
    assert!(matches!(nas.daemon().at_start(&next_boot()).unwrap(), StartAction::Nothing), "step {from}");
    true
}

#[test]
fn a_press_in_doubt_is_carried_out_again_by_the_next_start() {
    let (nas, daemon, _) = in_doubt(Nas::new, true);
    drop(daemon);
    let mut booted = nas.daemon();
    assert!(matches!(booted.at_start(&next_boot()).unwrap(), StartAction::CarriedOut(_)));
    let last = booted.last().unwrap();
    assert_eq!((last.phase, last.failed, last.outcome.as_str()), (Phase::Recovered, false, "recovered"));
}

#[test]
fn what_somebody_has_set_while_a_press_was_in_doubt_is_kept() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    mend(&mended);
    nas.set_password("$6$own$hash");
    assert!(matches!(daemon.window_ended(&minutes_later(1)).unwrap(), WindowEnd::NotOpen));
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase, daemon.window_ends()), ("$6$own$hash", Phase::Failed, None));
}

#[test]
fn the_default_password_under_another_salt_completes_a_press_in_doubt() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    mend(&mended);
    nas.set_password(&crypt::hash(PASSWORD, crypt::Method::Sha512).unwrap().hash);
    assert!(matches!(daemon.window_ended(&minutes_later(1)).unwrap(), WindowEnd::CarriedOut(_)));
}

/// The daemon on such a disk, with this account configured, and what mends it.
fn ailing(nas: &Nas, account: &str, from: usize) -> (Recovery, Arc<AtomicBool>) {
    let mended = Arc::new(AtomicBool::new(false));
    let disk = Ailing { from, steps: AtomicUsize::new(0), mended: Arc::clone(&mended) };
    let config = config::Recovery { account: account.into(), ..nas.config() };
    (Recovery::open_on(Arc::new(disk), nas.paths(), config, Box::new(sticker)).unwrap(), mended)
}

#[test]
fn once_a_press_in_doubt_for_another_account_is_settled_the_window_before_it_goes_on() {
    let nas = pressed_before();
    let (mut daemon, mended) = ailing(&nas, "operator", 0);
    assert!(matches!(daemon.fire("reset", prepared(&daemon), &minutes_later(1)), Err(RecoveryError::Unknown(_))));
    mend(&mended);
    daemon.turn_off(&minutes_later(2), "asked for").unwrap();
    assert_eq!((daemon.last().unwrap().account.as_str(), daemon.window_ends()), ("admin", Some(minutes_later(3).boot)));
    assert!(matches!(daemon.window_ended(&minutes_later(3)).unwrap(), WindowEnd::NotYet));
    assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 1)), Some(at("one", 100 + HOUR, 0).boot)));
    assert!(nas.published().is_some());
}

#[test]
fn a_press_in_doubt_for_the_account_configured_before_is_looked_at_after_that_for_the_one_configured_now() {
    let mut pressed = (1..100).map(|from| {
        let nas = Nas::new();
        let (mut daemon, _) = ailing(&nas, "operator", from);
        let fired = daemon.fire("reset", prepared(&daemon), &fired());
        let is_on = nas.text("shadow").contains("operator:$");
        (matches!(fired, Err(RecoveryError::Unknown(_))) && is_on).then_some(nas)
    });
    let nas = pressed.find_map(|nas| nas).unwrap();
    let (mut daemon, mended) = ailing(&nas, "admin", 0);
    daemon.at_start(&minutes_later(1)).unwrap_err();
    assert!(matches!(daemon.fire("reset", prepared(&daemon), &minutes_later(2)), Err(RecoveryError::Unknown(_))));
    mend(&mended);
    assert!(matches!(daemon.window_ended(&minutes_later(3)).unwrap(), WindowEnd::NotYet));
    assert_eq!((daemon.last().unwrap().account.as_str(), daemon.window_ends()), ("operator", Some(minutes_later(4).boot)));
    assert!(matches!(daemon.window_ended(&minutes_later(4)).unwrap(), WindowEnd::CarriedOut(done) if done.account == "operator"));
}

#[test]
fn an_account_that_one_of_two_presses_in_doubt_has_brought_back_has_a_window_also_while_another_holds_the_lock() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    daemon.fire("reset", prepared(&daemon), &minutes_later(1)).unwrap_err();
    mend(&mended);
    let held = lock_of_another(&nas);
    let end = daemon.window_ended(&minutes_later(2)).unwrap();
    assert!(matches!(&end, WindowEnd::CarriedOut(done) if !done.warnings.is_empty()), "{end:?}");
    assert_eq!((daemon.window_ends(), is_on(&nas)), (Some(at("one", 220 + HOUR, 0).boot), true));
    drop(held);
    assert!(matches!(daemon.window_ended(&at("one", 220 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
}

#[test]
fn a_press_in_doubt_that_nobody_can_wait_for_any_more_or_that_somebody_wanted_off_is_turned_off() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    mend(&mended);
    assert!(matches!(daemon.window_ended(&later()).unwrap(), WindowEnd::TurnedOff));
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase), ("!", Phase::Off));
    for restarted in [false, true] {
        let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
        daemon.turn_off(&minutes_later(1), "asked for").unwrap_err();
        mend(&mended);
        if restarted {
            assert!(matches!(nas.daemon().at_start(&next_boot()).unwrap(), StartAction::Ended(WindowEnd::TurnedOff)));
        } else {
            assert!(matches!(daemon.window_ended(&minutes_later(2)).unwrap(), WindowEnd::TurnedOff));
        }
        assert_eq!(nas.field(), "!");
    }
}

type Change = fn(&Nas);

#[test]
fn what_somebody_has_set_or_locked_while_a_press_was_in_doubt_counts_at_the_next_start_too() {
    let own = |nas: &Nas| nas.set_password("$6$own$hash");
    let expired = |nas: &Nas| {
        let text = nas.text("shadow");
        let line = text.lines().find(|line| line.starts_with("admin:")).unwrap();
        let mut fields: Vec<_> = line.split(':').collect();
        fields[7] = "1";
        fs::write(nas.etc("shadow"), text.replace(line, &fields.join(":"))).unwrap();
    };
    let changes: [(Change, &str); 2] = [(own, "$6$own$hash"), (expired, "!")];
    for (change, field) in changes {
        let (nas, daemon, _) = in_doubt(Nas::new, true);
        drop(daemon);
        change(&nas);
        let mut booted = nas.daemon();
        assert!(matches!(booted.at_start(&next_boot()).unwrap(), StartAction::Ended(_)));
        assert_eq!((nas.field().as_str(), booted.standing()), (field, None));
    }
}

#[test]
fn an_account_locked_while_its_press_was_in_doubt_is_off_and_no_unlocking_opens_it() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    mend(&mended);
    nas.set_password(&format!("!{}", nas.field()));
    assert!(matches!(daemon.window_ended(&minutes_later(1)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase, daemon.window_ends()), ("!", Phase::Off, None));
    assert!(nas.stamp().is_empty() && nas.published().is_none());
}

#[test]
fn without_the_default_password_at_hand_a_press_in_doubt_stays_so() {
    let (nas, daemon, _) = in_doubt(Nas::new, true);
    drop(daemon);
    nas.set_password("$6$some$hash");
    let mut daemon = Recovery::open(nas.paths(), nas.config(), Box::new(no_adapter)).unwrap();
    assert!(matches!(daemon.window_ended(&minutes_later(1)), Err(RecoveryError::Undecided(_))));
    assert_eq!((daemon.window_ends(), nas.field().as_str()), (Some(minutes_later(2).boot), "$6$some$hash"));
}

/// With the window of an earlier press open.
fn pressed_before() -> Nas {
    let nas = Nas::new();
    drop(nas.pressed());
    nas
}

#[test]
fn what_an_open_window_has_set_completes_a_press_in_doubt_without_the_default_password_at_hand() {
    let (nas, daemon, _) = in_doubt(pressed_before, true);
    drop(daemon);
    let mut daemon = Recovery::open(nas.paths(), nas.config(), Box::new(no_adapter)).unwrap();
    assert!(matches!(daemon.window_ended(&minutes_later(1)).unwrap(), WindowEnd::CarriedOut(_)));
}

#[test]
fn that_a_press_is_in_doubt_is_noted_again_until_it_can_be() {
    let fails = |step: &Step, path: &Path| {
        let account_files = path.parent().is_some_and(|folder| folder.ends_with("etc")) && *step != Step::Lock;
        let in_doubt = *step == Step::Write && path.ends_with(".recovery.json.twostep") && path.with_file_name("begun").exists();
        let begun = path.ends_with("recovery.json") && *step == Step::Rename;
        if begun {
            fs::write(path.with_file_name("begun"), "").unwrap();
        }
        (account_files || in_doubt && !path.with_file_name("writable again").exists()).then_some(libc::EIO)
    };
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(super::disk::FailingDisk::failing(fails));
    assert!(matches!(daemon.fire("reset", prepared(&daemon), &fired()), Err(RecoveryError::Unknown(_))));
    let noted = || fs::read_to_string(nas.paths().recovery_record()).unwrap().contains("in doubt: ");
    daemon.window_ended(&minutes_later(1)).unwrap_err();
    assert!(!noted());
    fs::write(nas.paths().state.join("writable again"), "").unwrap();
    daemon.window_ended(&minutes_later(2)).unwrap_err();
    assert!(noted());
}

#[test]
fn turning_off_settles_a_press_in_doubt() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    daemon.turn_off(&fired(), "asked for").unwrap_err();
    assert_eq!((daemon.last().unwrap().phase, daemon.window_ends().is_some()), (Phase::Intended, true), "not forgotten");
    mend(&mended);
    daemon.turn_off(&fired(), "asked for").unwrap();
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase, daemon.window_ends()), ("!", Phase::Off, None));
    assert!(matches!(nas.daemon().at_start(&next_boot()).unwrap(), StartAction::Nothing));
}

#[test]
fn a_press_refused_while_another_is_in_doubt_does_not_forget_that_one() {
    type Press = fn(&Nas, &mut Recovery);
    let refused: [Press; 2] = [
        |_, daemon| drop(daemon.refused("reset", "there is no default password".into(), &minutes_later(1))),
        |nas, daemon| {
            let _held = lock_of_another(nas);
            daemon.fire("reset", prepared(daemon), &minutes_later(1)).unwrap_err();
        },
    ];
    for (press, restarted) in refused.into_iter().flat_map(|press| [(press, false), (press, true)]) {
        let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
        mend(&mended);
        press(&nas, &mut daemon);
        let last = daemon.last().unwrap();
        assert!(last.failed && last.outcome.starts_with("refused: ") && last.phase == Phase::Intended, "{last:?}");
        assert_eq!((last.press, daemon.window_ends(), daemon.standing()), (1, Some(minutes_later(2).boot), None));
        if restarted {
            daemon = nas.daemon();
            assert!(matches!(daemon.at_start(&next_boot()).unwrap(), StartAction::CarriedOut(done) if done.press == 1));
        } else {
            assert!(matches!(daemon.window_ended(&minutes_later(2)).unwrap(), WindowEnd::CarriedOut(done) if done.press == 1));
        }
        assert_eq!((daemon.last().unwrap().outcome.as_str(), daemon.last().unwrap().failed), ("recovered", false));
    }
}

#[test]
fn the_next_press_takes_the_place_of_one_in_doubt() {
    let (nas, mut daemon, mended) = in_doubt(Nas::new, true);
    for _ in 0..3 {
        assert!(matches!(daemon.fire("reset", prepared(&daemon), &minutes_later(1)), Err(RecoveryError::Unknown(_))));
        let text = fs::read_to_string(nas.paths().recovery_record()).unwrap();
        assert!(!text.contains("\"former\""), "one record for all of them: {text}");
    }
    mend(&mended);
    assert_eq!(daemon.fire("reset", prepared(&daemon), &minutes_later(2)).unwrap().press, 5);
    assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 5)), Some(at("one", 220 + HOUR, 0).boot)));
}

#[test]
fn a_press_in_doubt_leaves_the_one_before_it_standing_until_it_is_settled() {
    let taken_over = || {
        let nas = Nas::new();
        let mut daemon = nas.pressed();
        nas.set_password("$6$own$hash");
        assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TakenOver));
        nas
    };
    for on in [false, true] {
        let (nas, mut daemon, mended) = in_doubt(taken_over, on);
        assert_eq!((daemon.standing(), nas.published().is_none()), (Some(("admin", 1)), true));
        mend(&mended);
        daemon.window_ended(&minutes_later(1)).unwrap();
        let (press, phase) = if on { (2, Phase::Recovered) } else { (1, Phase::TakenOver) };
        assert_eq!((daemon.standing(), daemon.last().unwrap().phase, is_on(&nas)), (Some(("admin", press)), phase, on));
    }
}
