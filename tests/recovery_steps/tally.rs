//! What a press does about the failed logins that pam_faillock has counted.

use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use std::{fs, io};

use twostep::core::recovery::Phase;
use twostep::supervisor::recovery::{WindowEnd, tally};
use twostep::sys::atomic_file::{Disk, RealDisk, Step};

use super::disk::FailingDisk;
use super::{HOUR, Nas, at, fired, prepared};

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
    assert!(matches!(daemon.window_ended(&at("one", 100 + HOUR, 0)).unwrap(), WindowEnd::TurnedOff));
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
