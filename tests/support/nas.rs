//! A NAS in a folder: the real two processes, started as `twostepd demo`, with people of the test's own; and peers of any uid on its socket.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use twostep::client::{Client, Error};
use twostep::core::clock::{Horizon, Moment, PlausibleTime, plausible};
use twostep::core::otpauth;
use twostep::core::shadow::EARLIEST;
use twostep::core::time::Wall;
use twostep::core::totp::Enrolment;
use twostep::proto::login::{Answered, Decision, Outcome, Started};
use twostep::proto::recovery::Status;
use twostep::proto::varlink::Empty;
use twostep::sys::clock;

use crate::patience::{Lines, stop};
use crate::skip::{Lack, skipped};

/// How long a test waits for what must come at once.
pub const SOON: Duration = Duration::from_secs(60);

/// A running NAS; dropped, it ends.
pub struct Nas {
    pub folder: tempfile::TempDir,
    pub demo: Child,
    pub said: Mutex<Lines>,
}

impl Nas {
    /// With these lines in passwd and group beside the usual ones. It serves when this returns; the demo's own tour goes on meanwhile.
    pub fn start(passwd: &str, group: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("twostep-nas").tempdir().unwrap();
        // Others may come to the socket.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // What is laid before belongs to the demo.
        fs::write(folder.path().join(".twostep-demo"), "").unwrap();
        fs::create_dir(folder.path().join("etc")).unwrap();
        let usual = "root:x:0:0:root:/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n\
                     alice:x:1001:1001::/home/alice:/bin/sh\nbob:x:1002:1002::/home/bob:/bin/sh\n";
        fs::write(folder.path().join("etc/passwd"), format!("{usual}{passwd}")).unwrap();
        let usual = "root:x:0:\nadmin:x:1000:\nalice:x:1001:\nbob:x:1002:\n";
        fs::write(folder.path().join("etc/group"), format!("{usual}{group}")).unwrap();
        let (demo, said) = launch(folder.path());
        Self { folder, demo, said }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("twostep.sock")
    }

    /// As whoever runs the test, which is root to the NAS.
    pub fn root(&self) -> Client {
        Client::connect(&self.socket(), SOON).unwrap()
    }

    pub fn recovery(&self) -> Client {
        Client::connect(&self.folder.path().join("recovery.sock"), SOON).unwrap()
    }

    /// Holds the button for 4 s until that has brought admin back: for a moment after the tour's own press, another one is ignored.
    pub fn press(&self) {
        let mut recovery = self.recovery();
        let before = call::<Status>(&mut recovery, "Recovery.Status", json!({})).last;
        let recovered = (0..3).any(|_| {
            let _: Value = call(&mut recovery, "Recovery.Press", json!({ "hold_ms": 4000 }));
            let status: Status = call(&mut recovery, "Recovery.Status", json!({}));
            status.last != before
        });
        assert!(recovered, "the press did nothing");
    }

    /// Waits until the demo has shown all it shows by itself.
    pub fn after_the_tour(&self) {
        let mut said = self.said.lock().unwrap();
        assert!(said.any(|line| line.starts_with("Ready.")), "the demo ended");
    }

    /// The process that runs the engine now.
    fn engine(&self) -> Option<i32> {
        let children = format!("/proc/{0}/task/{0}/children", self.demo.id());
        let children = fs::read_to_string(children).unwrap();
        children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(|pid| is_engine(*pid))
    }

    /// Ends the engine as a crash would.
    pub fn kill_engine(&self) -> bool {
        let Some(pid) = self.engine() else { return false };
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).is_ok()
    }

    /// Stops both processes; the folder stays.
    pub fn stop(&mut self) {
        stop(&mut self.demo);
    }
}

impl Drop for Nas {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("the NAS's log:\n{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

fn is_engine(pid: i32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"engine"))
}

/// Starts both processes in a folder.
pub fn launch(folder: &Path) -> (Child, Mutex<Lines>) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_twostepd"))
        .arg("demo")
        .arg("--dir")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(fs::File::options().create(true).append(true).open(folder.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut lines = Lines::new("the demo", demo.stdout.take().unwrap());
    // The tour's first word comes once the sockets are there.
    let first = lines.next().expect("the demo ended");
    assert!(first.starts_with("twostep demo"), "{first}");
    (demo, Mutex::new(lines))
}

/// A connection of another user; none where the test may not become one.
pub fn connect_as(uid: u32, socket: &Path) -> Option<Client> {
    if !nix::unistd::geteuid().is_root() {
        skipped(Lack::Root, format_args!("playing uid {uid} needs root"));
        return None;
    }
    let socket = socket.to_owned();
    let played = std::thread::spawn(move || {
        // The plain system call changes this thread alone, which ends with its connection made: the kernel remembers who connected.
        // SAFETY: three numbers, no memory.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        assert_eq!(changed, 0, "uid {uid} could not be played");
        Client::connect(&socket, SOON).unwrap()
    });
    Some(played.join().unwrap())
}

/// A call that must be answered.
pub fn call<R: DeserializeOwned>(client: &mut Client, method: &str, parameters: Value) -> R {
    client.call(&format!("io.twostep.{method}"), &parameters).unwrap_or_else(|e| panic!("{method}: {e}"))
}

/// The name of the error that a call must end with.
pub fn refused(client: &mut Client, method: &str, parameters: Value) -> String {
    match client.call::<Value>(&format!("io.twostep.{method}"), &parameters) {
        Err(Error::Service(failure)) => failure.name.rsplit('.').next().unwrap().to_owned(),
        other => panic!("{method} was not refused: {other:?}"),
    }
}

/// A fresh enrolment, put into force by an import.
pub fn enrol(client: &mut Client, user: &str) -> Enrolment {
    let mut random = [0; 20];
    getrandom::fill(&mut random).unwrap();
    let app = Enrolment::fresh(random);
    let text = otpauth::uri(&app, "NAS", user);
    let Empty {} = call(client, "Admin.Import", json!({ "user": user, "text": text.as_str() }));
    app
}

fn time(ahead: i64) -> PlausibleTime {
    let moment = Moment { wall: Wall(clock::wall().0 + ahead), ..Moment::default() };
    plausible(&moment, &Horizon { built: EARLIEST, last_commit: None }).unwrap()
}

/// What the app shows so many seconds from now.
pub fn code(app: &Enrolment, ahead: i64) -> String {
    app.code_at(time(ahead)).to_string()
}

/// Six digits that are no code of now, nor of the hours around.
pub fn wrong_code(app: &Enrolment) -> String {
    let near: Vec<String> = (-60..=60).map(|step| code(app, step * 30)).collect();
    (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
}

pub fn start(client: &mut Client, user: &str) -> Started {
    call(client, "Login.Start", json!({ "user": user, "service": "test" }))
}

pub fn decision(client: &mut Client, user: &str) -> Decision {
    start(client, user).decision
}

pub fn answer(client: &mut Client, started: &Started, code: &str) -> Outcome {
    let parameters = json!({ "login": started.login, "method": "security_code", "code": code });
    call::<Answered>(client, "Login.Answer", parameters).outcome
}
