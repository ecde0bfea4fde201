//! The hooks that a press starts.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use nix::unistd::geteuid;
use twostep::supervisor::hooks::{self, Outcome, Report};
use twostep::sys::atomic_file::Step;

use super::disk::FailingDisk;
use super::{Nas, SOON, fired, next_boot, prepared};

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
fn hooks_that_a_power_cut_kept_from_running_are_called_by_the_next_start_and_by_no_other() {
    let nas = Nas::new();
    nas.hook("1", "exit 0", 0o755);
    drop(nas.pressed());
    // systemd watches for a new file in its place.
    let file = || fs::metadata(nas.paths().stamp()).unwrap().ino();
    let before = file();
    nas.daemon().at_start(&next_boot()).unwrap();
    assert_ne!(file(), before);
    assert_eq!(names(&nas.run_hooks(SOON)), [(1, vec!["1"])]);
    let before = file();
    nas.daemon().at_start(&next_boot()).unwrap();
    assert_eq!(file(), before);
    assert!(nas.run_hooks(SOON).is_empty());
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
