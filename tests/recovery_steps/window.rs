//! The window of a press, to its end.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use twostep::config;
use twostep::core::recovery::Phase;
use twostep::core::time::{BootTime, Wall};
use twostep::supervisor::password::Source;
use twostep::supervisor::recovery::{AccountState, Now, Recovery, RecoveryError, StartAction, WindowEnd};
use twostep::sys::atomic_file::Step;
use twostep::sys::crypt;

use super::disk::FailingDisk;
use super::{
    FIRED, HOUR, Nas, PASSWORD, SOON, at, fired, later, next_boot, no_adapter, outcome_cannot_be_kept, prepared, shadow_is_read_only,
    sticker,
};

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
        assert!(matches!(daemon.window_ended(&at("one", 100 + minute, FIRED)).unwrap(), WindowEnd::NotYet));
    }
    fs::write(nas.paths().state.join("writable again"), "").unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 280, FIRED)).unwrap(), WindowEnd::NotYet));
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(100 + HOUR))));
    assert_eq!(nas.daemon().last().unwrap().phase, Phase::Recovered);
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
    assert!(matches!(daemon.window_ended(&at("one", 99 + HOUR, 0)).unwrap(), WindowEnd::NotYet));
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!((nas.field().as_str(), daemon.window_ends()), ("!", None));
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Disabled);
    assert!(nas.published().is_none());
    assert!(matches!(daemon.window_ended(&at("one", 101 + HOUR, 0)).unwrap(), WindowEnd::NotOpen));
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
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TakenOver));
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
        assert!(matches!(nas.daemon().window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
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

#[test]
fn a_source_that_hangs_keeps_neither_the_end_of_the_window_nor_turning_off_waiting() {
    let nas = Nas::new();
    drop(nas.pressed());
    nas.set_password("$6$some$hash");
    let (answer, hangs) = mpsc::channel::<()>();
    let hangs = Mutex::new(hangs);
    let find = move || {
        let _ = hangs.lock().unwrap().recv();
        sticker()
    };
    let source = Source::asking(find, "/mnt/secret: it does not answer".into(), [Duration::ZERO; 2]);
    let mut daemon = Recovery::open(nas.paths(), nas.config(), Box::new(move || source.find())).unwrap();
    // Who waited for it would never come back.
    let (come, back) = mpsc::channel();
    std::thread::spawn(move || {
        let end = daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap_err();
        let _ = come.send((end, daemon.window_ends(), daemon.turn_off(&later(), "asked for")));
    });
    let (end, again, off) = back.recv_timeout(SOON).expect("the window's end waits for the source");
    assert!(matches!(&end, RecoveryError::Undecided(reason) if reason.contains("/mnt/secret: it does not answer")), "{end}");
    assert_eq!(again, Some(BootTime(Duration::from_secs(160 + HOUR))), "asked again in a minute");
    off.unwrap();
    assert_eq!(nas.field(), "!");
    drop(answer);
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
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!(nas.field(), "!");
}

#[test]
fn an_account_deleted_meanwhile_is_not_made_again() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    let nas = nas.without_admin();
    let before = nas.texts();
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!(nas.texts(), before);
    assert_eq!(daemon.account_state(&fired()).unwrap(), AccountState::Missing);
}

#[test]
fn a_lock_file_that_a_tool_left_over_keeps_no_window_from_opening_and_none_from_ending() {
    let nas = Nas::new();
    // The first process lives as long as the system does: a number that is in use again.
    fs::write(nas.etc("passwd.lock"), "1\0").unwrap();
    let mut daemon = nas.pressed();
    assert_eq!(crypt::verify(PASSWORD, &nas.field()), Ok(true));
    assert!(matches!(daemon.window_ended(&later()).unwrap(), WindowEnd::TurnedOff));
    assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase), ("!", Phase::Off));
}

#[test]
fn turning_off_works_without_any_press() {
    let nas = Nas::new();
    nas.set_password("$6$own$hash");
    nas.daemon().turn_off(&fired(), "asked for").unwrap();
    assert_eq!(nas.field(), "!");
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

/// shadow, and with it the account, until somebody makes the disk writable again.
fn shadow_is_read_only_for_now(step: &Step, path: &Path) -> Option<i32> {
    shadow_is_read_only(step, path).filter(|_| !path.with_file_name("writable again").exists())
}

#[test]
fn turning_off_that_somebody_asked_for_is_tried_again_each_minute_within_the_window() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only_for_now));
    daemon.at_start(&at("one", 200, FIRED)).unwrap();
    daemon.turn_off(&at("one", 300, FIRED), "asked for").unwrap_err();
    for minute in [1, 2] {
        assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(300 + 60 * minute))));
        daemon.window_ended(&at("one", 300 + 60 * minute, FIRED)).unwrap_err();
    }
    fs::write(nas.etc("writable again"), "").unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 480, FIRED)).unwrap(), WindowEnd::TurnedOff));
    let last = daemon.last().unwrap();
    assert_eq!(
        (nas.field().as_str(), daemon.window_ends(), last.phase, last.outcome.as_str()),
        ("!", None, Phase::Off, "admin is off: the time is over and the default password was still set")
    );
}

#[test]
fn turning_off_that_failed_is_not_forgotten_by_a_restart_nor_by_a_press_that_is_refused_then() {
    for restarted in [false, true] {
        let nas = Nas::new();
        drop(nas.pressed());
        let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only_for_now));
        daemon.turn_off(&at("one", 300, FIRED), "asked for").unwrap_err();
        daemon.refused("reset", "there is no default password".into(), &at("one", 310, FIRED));
        assert!(daemon.window_ends().is_some_and(|ends| ends <= BootTime(Duration::from_secs(360))), "tried again within a minute");
        fs::write(nas.etc("writable again"), "").unwrap();
        if restarted {
            assert!(matches!(nas.daemon().at_start(&at("one", 320, FIRED)).unwrap(), StartAction::Ended(WindowEnd::TurnedOff)));
        } else {
            assert!(matches!(daemon.window_ended(&at("one", 320, FIRED)).unwrap(), WindowEnd::TurnedOff));
        }
        assert_eq!(nas.field(), "!");
    }
}

#[test]
fn what_somebody_has_set_after_turning_off_failed_is_theirs() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only_for_now));
    daemon.turn_off(&at("one", 300, FIRED), "asked for").unwrap_err();
    fs::write(nas.etc("writable again"), "").unwrap();
    nas.set_password("$6$own$hash");
    assert!(matches!(daemon.window_ended(&at("one", 360, FIRED)).unwrap(), WindowEnd::TakenOver));
    assert_eq!(nas.field(), "$6$own$hash");
}

/// The record as it was then.
fn cut_off_before_the_account_came_back(nas: &Nas) {
    let text = fs::read_to_string(nas.paths().recovery_record()).unwrap();
    fs::write(nas.paths().recovery_record(), text.replace(r#""phase": "recovered""#, r#""phase": "intended""#)).unwrap();
    fs::remove_file(nas.paths().stamp()).unwrap();
}

#[test]
fn a_press_that_was_cut_off_and_that_somebody_wants_undone_is_not_carried_out_by_a_later_start() {
    let nas = Nas::new();
    drop(nas.pressed());
    cut_off_before_the_account_came_back(&nas);
    let fails = |step: &Step, path: &Path| record_cannot_be_read_for_now(step, path).or_else(|| shadow_is_read_only(step, path));
    let mut daemon = nas.daemon_on(FailingDisk::failing(fails));
    daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    fs::write(nas.paths().state.join("readable again"), "").unwrap();
    daemon.turn_off(&at("one", 210, FIRED), "asked for").unwrap_err();
    assert!(matches!(nas.daemon().at_start(&next_boot()).unwrap(), StartAction::Ended(WindowEnd::TurnedOff)));
    assert_eq!(nas.field(), "!");
}

#[test]
fn an_account_turned_off_before_its_record_could_be_read_is_not_brought_back_by_it() {
    for cut_off in [false, true] {
        let nas = Nas::new();
        drop(nas.pressed());
        if cut_off {
            cut_off_before_the_account_came_back(&nas);
        }
        let mut daemon = nas.daemon_on(FailingDisk::failing(record_cannot_be_read_for_now));
        daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
        daemon.turn_off(&at("one", 210, FIRED), "asked for").unwrap();
        assert_eq!(
            (nas.field().as_str(), daemon.window_ends()),
            ("!", Some(BootTime(Duration::from_secs(270)))),
            "the record is still to be read"
        );
        fs::write(nas.paths().state.join("readable again"), "").unwrap();
        assert!(matches!(daemon.window_ended(&at("one", 270, FIRED)).unwrap(), WindowEnd::NotOpen));
        assert_eq!((nas.field().as_str(), daemon.last().unwrap().phase, daemon.window_ends()), ("!", Phase::Off, None));
        assert!(matches!(nas.daemon().at_start(&at("one", 300, FIRED)).unwrap(), StartAction::Nothing));
    }
}

#[test]
fn a_press_is_stronger_than_turning_off_that_failed_before_it() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(shadow_is_read_only_for_now));
    daemon.turn_off(&at("one", 300, FIRED), "asked for").unwrap_err();
    fs::write(nas.etc("writable again"), "").unwrap();
    daemon.fire("reset", prepared(&daemon), &at("one", 310, FIRED)).unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 360, FIRED)).unwrap(), WindowEnd::NotYet));
    assert_eq!(crypt::verify(PASSWORD, &nas.field()), Ok(true));
}

fn record_cannot_be_read_for_now(step: &Step, path: &Path) -> Option<i32> {
    let fails = *step == Step::Read && path.ends_with("recovery.json") && !path.with_file_name("readable again").exists();
    fails.then_some(libc::EIO)
}

#[test]
fn a_record_that_cannot_be_read_for_a_moment_is_read_a_minute_later() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(record_cannot_be_read_for_now));
    let error = daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    assert!(matches!(error, RecoveryError::Record(_)), "{error}");
    // A press that there is no password for takes nothing away.
    daemon.refused("reset", "there is no default password".into(), &at("one", 210, FIRED));
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(260))));
    assert!(daemon.window_ended(&at("one", 260, FIRED)).is_err());
    fs::write(nas.paths().state.join("readable again"), "").unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 320, FIRED)).unwrap(), WindowEnd::NotYet));
    assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 1)), Some(BootTime(Duration::from_secs(100 + HOUR)))));
    assert!(!nas.paths().state.join("recovery.json.bad").exists());
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
}

#[test]
fn a_press_that_fails_in_the_place_of_a_record_that_cannot_be_read_leaves_no_account_on_without_a_window() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(|step, path| {
        record_cannot_be_read_for_now(step, path).or_else(|| shadow_is_read_only_for_now(step, path))
    }));
    daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    daemon.fire("reset", prepared(&daemon), &at("one", 210, FIRED)).unwrap_err();
    fs::write(nas.etc("writable again"), "").unwrap();
    let end = daemon.window_ended(&at("one", 270, FIRED)).unwrap();
    assert!(matches!(end, WindowEnd::CarriedOut(_)), "{end:?}");
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(270 + HOUR))));
}

#[test]
fn a_press_that_can_be_noted_as_little_as_the_record_can_be_read_takes_nothing_away() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(|step, path| {
        let away = !path.with_file_name("readable again").exists();
        record_cannot_be_read_for_now(step, path).or((away && path.ends_with(".recovery.json.twostep")).then_some(libc::EIO))
    }));
    daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    let refused = daemon.fire("reset", prepared(&daemon), &at("one", 210, FIRED));
    assert!(matches!(refused, Err(RecoveryError::Intent(_))), "{refused:?}");
    assert_eq!(daemon.window_ends(), Some(BootTime(Duration::from_secs(260))));
    fs::write(nas.paths().state.join("readable again"), "").unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 260, FIRED)).unwrap(), WindowEnd::NotYet));
    assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 1)), Some(BootTime(Duration::from_secs(100 + HOUR)))));
}

#[test]
fn turning_off_that_failed_before_the_record_could_be_read_counts_once_it_is() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(|step, path| {
        record_cannot_be_read_for_now(step, path).or_else(|| shadow_is_read_only_for_now(step, path))
    }));
    daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    daemon.turn_off(&at("one", 210, FIRED), "asked for").unwrap_err();
    fs::write(nas.etc("writable again"), "").unwrap();
    fs::write(nas.paths().state.join("readable again"), "").unwrap();
    assert!(matches!(daemon.window_ended(&at("one", 270, FIRED)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!(nas.field(), "!");
}

#[test]
fn a_press_does_not_wait_for_a_record_that_cannot_be_read() {
    let nas = Nas::new();
    drop(nas.pressed());
    let mut daemon = nas.daemon_on(FailingDisk::failing(record_cannot_be_read_for_now));
    daemon.at_start(&at("one", 200, FIRED)).unwrap_err();
    assert_eq!(daemon.fire("reset", prepared(&daemon), &at("one", 210, FIRED)).unwrap().press, 2);
    assert_eq!((daemon.standing(), daemon.window_ends()), (Some(("admin", 2)), Some(BootTime(Duration::from_secs(210 + HOUR)))));
    assert!(matches!(daemon.window_ended(&at("one", 210 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
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
    assert!(matches!(daemon.window_ended(&Now { boot: until, ..fired() }).unwrap(), WindowEnd::TurnedOff));
    assert_eq!((nas.field().as_str(), daemon.account()), ("!", "admin"));
    // Nor is what the default password is: one that somebody has set since waits for the file to be mended.
    let nas = Nas::new();
    drop(nas.pressed());
    nas.set_password("$6$some$hash");
    let sure = || Recovery::open(nas.paths(), nas.config(), Box::new(sticker)).unwrap();
    let over = at("one", 100 + HOUR, 0);
    assert!(matches!(sure().in_doubt("a typing error").window_ended(&over), Err(RecoveryError::Undecided(_))));
    assert!(matches!(sure().window_ended(&over).unwrap(), WindowEnd::TakenOver));
}

#[test]
fn while_it_is_in_doubt_which_account_is_meant_what_nobody_has_pressed_for_is_left_alone() {
    let nas = Nas::new();
    let mut daemon = nas.pressed();
    daemon.turn_off(&fired(), "for the test").unwrap();
    let doubted = || Recovery::open(nas.paths(), nas.config(), Box::new(sticker)).unwrap().in_doubt("twostepd.toml:2: no account name");
    let noted = fs::read(nas.paths().recovery_record()).unwrap();
    assert!(matches!(doubted().refused("reset", "no adapter".into(), &fired()), RecoveryError::InDoubt(_)));
    assert_eq!(fs::read(nas.paths().recovery_record()).unwrap(), noted, "no record names an account that nobody knows");
    nas.set_password("$6$salt$of-its-own");
    assert!(matches!(doubted().turn_off(&fired(), "for the test"), Err(RecoveryError::InDoubt(_))));
    assert_eq!(nas.field(), "$6$salt$of-its-own");
}
