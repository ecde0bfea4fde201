//! What was cut off at some step, and what the next start makes of it.

use std::fs;
use std::time::Duration;

use twostep::core::recovery::Phase;
use twostep::core::time::BootTime;
use twostep::supervisor::recovery::{Now, Recovery, RecoveryError, StartAction, WindowEnd};
use twostep::sys::crypt;

use super::disk::FailingDisk;
use super::{FIRED, HOUR, Nas, PASSWORD, at, fired, next_boot, no_adapter, outcome_cannot_be_kept, prepared, shadow_is_read_only};

/// A NAS whose press came to its end, but for the note of it.
fn pressed_without_a_note() -> Nas {
    let nas = Nas::new();
    let mut daemon = nas.daemon_on(FailingDisk::failing(outcome_cannot_be_kept));
    let done = daemon.fire("reset", prepared(&daemon), &fired()).unwrap();
    assert_eq!(done.warnings.len(), 1);
    assert!(fs::read_to_string(nas.paths().recovery_record()).unwrap().contains("intended"));
    nas
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
    let mut cut = (4..1000).map(|steps| {
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
fn a_press_that_was_cut_off_inside_the_account_files_and_is_refused_by_a_start_in_doubt_tells_what_is_lost() {
    let mut cut = (4..1000).map(|steps| {
        let nas = Nas::new();
        nas.set_password("$6$own$hash");
        let mut cut = nas.daemon_on(FailingDisk::dead_from(steps));
        let _ = cut.fire("reset", prepared(&cut), &fired());
        (nas.field() == "!").then_some(nas)
    });
    let nas = cut.find_map(|nas| nas).unwrap();
    nas.daemon().in_doubt("twostepd.toml:2: a typing error").at_start(&next_boot()).unwrap_err();
    let last = nas.daemon().last().unwrap();
    assert!(last.outcome.starts_with("refused; admin is off, and a password of its own that it may have had before this press is gone: "));
    assert!(last.failed && last.outcome.contains("a typing error"), "{last:?}");
}

#[test]
fn a_press_that_was_cut_off_while_another_was_in_doubt_leaves_a_window_for_what_that_one_did_also_in_doubt() {
    let nas = cut_off(true);
    let begun = (4..1000).any(|steps| {
        let mut cut = nas.daemon_on(FailingDisk::dead_from(steps));
        cut.fire("reset", prepared(&cut), &fired()).unwrap_err();
        nas.daemon().last().unwrap().press == 2
    });
    assert!(begun);
    let mut booted = nas.daemon().in_doubt("twostepd.toml:2: a typing error");
    let action = booted.at_start(&next_boot()).unwrap();
    assert!(matches!(action, StartAction::WindowGoesOn(_)), "{action:?}");
    assert!(booted.standing() == Some(("admin", 1)) && nas.published().is_some());
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
            assert!(matches!(booted.window_ended(&Now { boot: until, ..boot }).unwrap(), WindowEnd::TurnedOff));
        }
        assert_eq!((nas.field().as_str(), nas.published().is_none()), ("!", true));
    }
}

#[test]
fn until_a_press_that_was_cut_off_is_carried_out_the_one_before_it_stands() {
    let nas = Nas::new();
    drop(nas.pressed());
    let begun = (4..1000).any(|steps| {
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
