//! What a login costs: `pamtester`, the whole process, with 10,000 accounts that have a second step.
//!
//! ```text
//! TWOSTEP_TEST_MODULE=$PWD/target/pam/examples/libpam_twostep.so TWOSTEP_TEST_DAEMON=$PWD/target/release/twostepd \
//!     cargo test --test stack a_login_costs -- --ignored --nocapture
//! ```
//! Run in turn: a stack that only permits, one with pam_twostep behind it, and with the modules of google-authenticator and oath-toolkit where they
//! are installed. Each run is of another user, with a right code.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use twostep::config::Config;
use twostep::sys::clock;

use crate::nas::{self, App, Nas};
use crate::place::{Place, lacks};

const ACCOUNTS: usize = 10_000;
const RUNS: usize = 60;

const FOLDER: &str = "TWOSTEP_TEST_FIGURES";

fn user(n: usize) -> String {
    format!("user{n:05}")
}

fn app(n: usize) -> App {
    let digits = format!("{n:05}");
    let letters: String = digits.bytes().map(|digit| char::from(digit - b'0' + b'B')).collect();
    App::with_key(&format!("{letters}{}", "A".repeat(27)))
}

#[test]
#[ignore = "a measurement, and long: see the module"]
fn a_login_costs_little() {
    if lacks(&["/usr/bin/pamtester"]) {
        return;
    }
    let uid = |n: usize| 20_000 + u32::try_from(n).unwrap();
    let people: String = (0..ACCOUNTS).map(|n| format!("{}:x:{}:100::/:/bin/sh\n", user(n), uid(n))).collect();
    let enrolled: Vec<_> = (0..ACCOUNTS).map(|n| (uid(n), user(n), app(n))).collect();
    let nas = Nas::with_people(Config::default(), &people, &enrolled);
    let place = Place::new(&nas);
    place.add_people(&people);
    for (name, line) in stacks(&nas, &place) {
        fs::write(place.path(&format!("pam.d/{name}")), format!("auth required pam_permit.so\n{line}\n")).unwrap();
    }
    let exe = std::env::current_exe().unwrap();
    settle(&nas.folder.path().join("etc"));
    let mut inside = place.command(&[exe.to_str().unwrap(), "--exact", "figures::inside", "--ignored", "--nocapture"]);
    assert!(inside.env(FOLDER, place.path("pam.d")).status().unwrap().success());
}

/// Waits until the account files are older than what may change again unnoticed, as those of any NAS are: until then each login reads them anew.
fn settle(folder: &Path) {
    let changed = fs::metadata(folder.join("passwd")).unwrap().modified().unwrap();
    while changed.elapsed().unwrap_or_default() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Each stack's name, and what is in it beside pam_permit.
fn stacks(nas: &Nas, place: &Place) -> Vec<(&'static str, String)> {
    let mut stacks = vec![
        ("permit", String::new()),
        // Not named `twostep`, which is the daemon's own and passes.
        ("ours", format!("auth [success=ok ignore=ignore default=die] {} dir={}", nas::module().display(), nas.folder.path().display())),
    ];
    let security = Path::new("/usr/lib").join(format!("{}-linux-gnu", std::env::consts::ARCH)).join("security");
    if security.join("pam_google_authenticator.so").exists() {
        let folder = place.path("google");
        fs::create_dir(&folder).unwrap();
        for n in 0..RUNS * 4 {
            let file = folder.join(user(n));
            fs::write(&file, format!("{}\n\" DISALLOW_REUSE\n\" TOTP_AUTH\n", app(n).key().as_str())).unwrap();
            fs::set_permissions(file, PermissionsExt::from_mode(0o600)).unwrap();
        }
        stacks.push(("google", format!("auth required pam_google_authenticator.so user=root secret={}/${{USER}}", folder.display())));
    }
    if security.join("pam_oath.so").exists() {
        let file = place.path("users.oath");
        let lines: String = (0..ACCOUNTS).map(|n| format!("HOTP/T30/6 {} - {}\n", user(n), app(n).hex())).collect();
        fs::write(&file, lines).unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).unwrap();
        stacks.push(("oath", format!("auth required pam_oath.so usersfile={} window=3 digits=6", file.display())));
    }
    stacks
}

/// In the place of the test's own.
#[test]
#[ignore = "run by the test above"]
fn inside() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let stacks: Vec<&str> = ["permit", "ours", "google", "oath"].into_iter().filter(|name| folder.join(name).exists()).collect();
    for stack in &stacks[1..] {
        assert!(!pamtester(stack, ACCOUNTS - 1, &app(ACCOUNTS - 1).wrong_code()).0, "{stack} takes any code");
    }
    let mut times = vec![Vec::new(); stacks.len()];
    for run in 0..RUNS {
        for (index, stack) in stacks.iter().enumerate() {
            times[index].push(login(stack, run * stacks.len() + index));
        }
    }
    let medians: Vec<Duration> = times
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect();
    for (stack, median) in stacks.iter().zip(&medians) {
        println!(
            "{stack:8} {:5} us, median of {RUNS}; {:5} us over permit",
            median.as_micros(),
            median.saturating_sub(medians[0]).as_micros()
        );
    }
}

fn login(stack: &str, n: usize) -> Duration {
    let (well, took, words) = pamtester(stack, n, &app(n).code(0));
    assert!(well, "{stack} {n}: {words}");
    took
}

fn pamtester(stack: &str, n: usize, code: &str) -> (bool, Duration, String) {
    let mut command = Command::new("/usr/bin/pamtester");
    command.args([stack, &user(n), "authenticate"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let began = clock::monotonic();
    let mut child = command.spawn().unwrap();
    // A stack that only permits reads nothing.
    let _ = writeln!(child.stdin.take().unwrap(), "{code}");
    let output = child.wait_with_output().unwrap();
    let took = clock::monotonic() - began;
    (output.status.success(), took, String::from_utf8_lossy(&output.stderr).into_owned())
}
