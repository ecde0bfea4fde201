//! A press that is refused, and what it leaves as it was.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use twostep::config;
use twostep::core::recovery::Phase;
use twostep::core::time::{BootTime, Wall};
use twostep::supervisor::recovery::{AccountState, Recovery, RecoveryError, StartAction, WindowEnd};
use twostep::sys::atomic_file::Step;

use super::disk::FailingDisk;
use super::{FIRED, HOUR, Nas, at, fired, later, next_boot, prepared, shadow_is_read_only, sticker};

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
        assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TakenOver));
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

fn nothing_can_be_kept(step: &Step, path: &Path) -> Option<i32> {
    (*step == Step::Create && path.ends_with(".recovery.json.twostep")).then_some(libc::EROFS)
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
    assert!(matches!(restarted.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
    assert_eq!(nas.field(), "!");
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
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
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
