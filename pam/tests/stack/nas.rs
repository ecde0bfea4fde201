//! A NAS in a folder: the real two processes as `twostepd demo`, which whoever runs the test is root to.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use twostep::client::Client;
use twostep::config::paths::Paths;
use twostep::config::{Config, Handover};
use twostep::core::account::{Account, Method, Methods};
use twostep::core::clock::{Horizon, Moment, plausible};
use twostep::core::otpauth;
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment};
use twostep::engine::store::{Options, SealingKey, Store, Stored};
use twostep::proto::privileged::Order;
use twostep::proto::secret::Secret;
use twostep::sys::clock;
use zeroize::Zeroizing;

use crate::patience::{Lines, stop};

/// How long a test waits for what must come at once.
pub const SOON: Duration = Duration::from_secs(60);

/// A file that cargo has built beside this test.
pub fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.parent().and_then(Path::parent).unwrap().join(name);
    assert!(file.exists(), "{} is not built: run `cargo test` for the whole workspace once", file.display());
    file
}

/// The module, as it is now: `cargo test --test stack` alone builds no examples. TWOSTEP_TEST_MODULE names another, as it is shipped.
pub fn module() -> PathBuf {
    if let Some(shipped) = std::env::var_os("TWOSTEP_TEST_MODULE") {
        return fs::canonicalize(shipped).unwrap();
    }
    let module = built("examples/libpam_twostep.so");
    let age = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).unwrap();
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let newest = fs::read_dir(sources).unwrap().flatten().map(|entry| age(&entry.path())).max().unwrap();
    assert!(age(&module) >= newest, "the module is older than its source: `cargo build -p pam_twostep --examples`");
    module
}

/// The daemon; TWOSTEP_TEST_DAEMON names another, as it is shipped.
fn daemon() -> PathBuf {
    std::env::var_os("TWOSTEP_TEST_DAEMON").map_or_else(|| built("twostepd"), |shipped| fs::canonicalize(shipped).unwrap())
}

/// A running NAS; dropped, it ends.
pub struct Nas {
    pub folder: tempfile::TempDir,
    demo: Child,
    /// The supervisor's end, where the test stands in for it.
    _supervisor: Option<UnixStream>,
}

impl Nas {
    /// The engine alone, with a configuration that the demo does not have; the test hands it over in the supervisor's place.
    pub fn with(config: Config) -> Self {
        Self::with_people(config, "alice:x:1001:1001::/:/bin/sh\n", &[])
    }

    /// The same, with these lines in its passwd file, and a second step of each of those with uid, name and app.
    pub fn with_people(config: Config, people: &str, enrolled: &[(u32, String, App)]) -> Self {
        Self::with_addresses(config, people, enrolled, None)
    }

    /// The same, all of them with this recovery address.
    pub fn with_addresses(config: Config, people: &str, enrolled: &[(u32, String, App)], address: Option<&str>) -> Self {
        let folder = tempfile::Builder::new().prefix("twostep-pam").tempdir().unwrap();
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let paths = Paths::scratch(folder.path());
        fs::create_dir(&paths.accounts).unwrap();
        fs::write(paths.accounts.join("passwd"), format!("root:x:0:0::/:/bin/sh\n{people}")).unwrap();
        fs::write(paths.accounts.join("group"), "root:x:0:\nalice:x:1001:\n").unwrap();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(paths.engine()).unwrap();
        enrol(&paths.engine(), enrolled, address);
        let listener = UnixListener::bind(paths.socket()).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(daemon());
        command.arg("engine").env_clear().stdin(OwnedFd::from(theirs)).stdout(OwnedFd::from(listener));
        let demo = command.stderr(fs::File::create(folder.path().join("log")).unwrap()).spawn().unwrap();
        let handover = Handover { config, paths, owner: nix::unistd::getuid().as_raw() };
        let start = Order::Start {
            handover: serde_json::to_value(handover).unwrap(),
            key: Some(Secret::new(format!("{KEY:02x}").repeat(32))),
            mail_password: None,
            recovered: None,
        };
        let mut text = serde_json::to_vec(&start).unwrap();
        text.push(0);
        (&ours).write_all(&text).unwrap();
        let mut ready = Vec::new();
        BufReader::new(&ours).read_until(0, &mut ready).unwrap();
        assert!(String::from_utf8_lossy(&ready).to_lowercase().contains("ready"), "{ready:?}");
        Self { folder, demo, _supervisor: Some(ours) }
    }

    pub fn start() -> Self {
        Self::start_with(|_| {})
    }

    /// `lay` writes into the folder before: what is there stays.
    pub fn start_with(lay: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::Builder::new().prefix("twostep-pam").tempdir().unwrap();
        // Others may come to the socket.
        fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // What is laid before belongs to the demo.
        fs::write(folder.path().join(".twostep-demo"), "").unwrap();
        lay(folder.path());
        let mut demo = Command::new(daemon())
            .args(["demo", "--dir"])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let mut lines = Lines::new("the demo", demo.stdout.take().unwrap());
        // The tour's first word comes once the sockets are there.
        let first = lines.next().expect("the demo ended");
        assert!(first.starts_with("twostep demo"), "{first}");
        Self { folder, demo, _supervisor: None }
    }

    /// A call as root that must be answered; `method` without `io.twostep.`.
    pub fn call(&self, method: &str, parameters: Value) -> Value {
        self.try_call(method, parameters).unwrap_or_else(|e| panic!("{method}: {e}"))
    }

    /// The same, where it may be refused.
    pub fn try_call(&self, method: &str, parameters: Value) -> Result<Value, twostep::client::Error> {
        let socket = if method.starts_with("Recovery.") { "recovery.sock" } else { "twostep.sock" };
        let mut client = Client::connect(&self.folder.path().join(socket), SOON).unwrap();
        client.call(&format!("io.twostep.{method}"), &parameters)
    }

    /// Puts a fresh second step of `user` into force.
    pub fn enrol(&self, user: &str) -> App {
        let mut random = [0; 20];
        getrandom::fill(&mut random).unwrap();
        let app = App(Enrolment::fresh(random));
        let uri = app.uri(user);
        self.call("Admin.Import", json!({ "user": user, "text": uri.as_str() }));
        app
    }

    pub fn enforce(&self, user: &str) {
        self.call("Admin.Enforce", json!({ "users": [user], "groups": [], "enforced": true }));
    }

    /// Holds the button for three seconds, and admin is back.
    pub fn press(&self) {
        self.call("Recovery.Press", json!({ "hold_ms": 4000 }));
        assert!(self.folder.path().join("recovered").exists(), "the press did nothing");
    }

    /// Ends the engine as a crash would.
    pub fn kill_engine(&self) {
        let children = format!("/proc/{0}/task/{0}/children", self.demo.id());
        let children = fs::read_to_string(children).unwrap();
        let is_engine =
            |pid: &i32| fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.split(|byte| *byte == 0).nth(1) == Some(b"engine"));
        let engine = children.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_engine).expect("an engine");
        kill(Pid::from_raw(engine), Signal::SIGKILL).unwrap();
    }

    /// Overwrites the engine's database, and ends the engine: the next one finds rubbish.
    pub fn ruin_database(&self) {
        let database = Paths::scratch(self.folder.path()).database();
        for suffix in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{suffix}", database.display()));
        }
        fs::write(&database, vec![0xaa; 65_536]).unwrap();
        self.kill_engine();
    }

    /// Ends all of it as a crash would: what it has published stays.
    pub fn crash(&mut self) {
        self.demo.kill().unwrap();
        self.demo.wait().unwrap();
        // The engine ends when its supervisor does.
        let _ = fs::remove_file(self.folder.path().join("twostep.sock"));
    }
}

impl Drop for Nas {
    fn drop(&mut self) {
        stop(&mut self.demo);
        if std::thread::panicking() {
            eprintln!("the NAS's log:\n{}", fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}

/// Each byte of the key of [`Nas::with`].
const KEY: u8 = 0x5a;

/// Writes these second steps into a database before an engine has it.
fn enrol(folder: &Path, enrolled: &[(u32, String, App)], address: Option<&str>) {
    if enrolled.is_empty() {
        return;
    }
    let (enrolled, address) = (enrolled.to_vec(), address.map(str::to_owned));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(Options::new(folder.into(), clock::wall), SealingKey::from_slice(&[KEY; 32]));
        let written = store.write(move |tx| {
            enrolled.iter().try_for_each(|(uid, name, app)| {
                let mut stored = Stored::new(*uid, name);
                let methods = Methods::NONE.with(Method::SecurityCode);
                let methods = if address.is_some() { methods.with(Method::EmailCode) } else { methods };
                let recovery_email = address.clone();
                stored.account = Account { methods, preferred: Some(Method::SecurityCode), recovery_email, ..Account::default() };
                tx.save_enrolled(&stored, &app.0)
            })
        });
        written.await.unwrap();
        store.close().await;
    });
}

/// An authenticator app.
#[derive(Clone)]
pub struct App(Enrolment);

impl App {
    /// With a key as it is typed in.
    pub fn with_key(key: &str) -> Self {
        let bytes = otpauth::from_base32(key).unwrap();
        Self(Enrolment::existing(bytes.to_vec(), Algorithm::Sha1, 6, 30).unwrap())
    }

    fn uri(&self, user: &str) -> Zeroizing<String> {
        otpauth::uri(&self.0, "NAS", user)
    }

    /// Its key as it is typed in.
    pub fn key(&self) -> Zeroizing<String> {
        otpauth::base32(&self.0)
    }

    /// Its key in hexadecimal digits.
    pub fn hex(&self) -> String {
        otpauth::from_base32(&self.key()).unwrap().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// What it shows so many steps from now.
    pub fn code(&self, steps: i64) -> String {
        let moment = Moment { wall: Wall(clock::wall().0 + 30 * steps), ..Moment::default() };
        self.0.code_at(plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap()).to_string()
    }

    /// Six digits that are no code of now, nor of the hours around.
    pub fn wrong_code(&self) -> String {
        let near: Vec<String> = (-60..=60).map(|step| self.code(step)).collect();
        (0..).map(|n| format!("{n:06}")).find(|code| !near.contains(code)).unwrap()
    }
}
