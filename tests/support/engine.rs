//! The engine's real process, with the test in the supervisor's place: it hands over the configuration and the key, and checks the passwords.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::unistd::getuid;
use serde_json::{Value, json};
use twostep::client::{Client, Error};
use twostep::config::paths::Paths;
use twostep::config::{Config, Handover};
use twostep::core::clock::{Horizon, Moment, plausible};
use twostep::core::otpauth;
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment};
use twostep::engine::store::{AuditEntry, Options, SealingKey, Store, StoreError, Tx};
use twostep::proto::privileged::{Notice, Order, PasswordOutcome};
use twostep::proto::secret::Secret;
use twostep::sys::clock;

/// How long a test waits for what must come at once.
pub const SOON: Duration = Duration::from_secs(60);

/// Alice's password.
pub const PASSWORD: &str = "wonderland";

/// The answer to this password waits until the test gives it: see [`Engine::held`].
pub const HELD: &str = "held";

/// The answer to this password: too many wrong ones before.
pub const WAITING: &str = "waiting";

const KEY: [u8; 32] = [0x5a; 32];

/// Counts as root beside 0, and is nobody here.
const OWNER: u32 = 65_533;

/// Where a relay connects to.
const RELAY: &str = "TWOSTEP_TEST_RELAY";

/// Alice's number: that of whoever runs the test, where that is not root.
pub fn alice() -> u32 {
    if getuid().is_root() { 1001 } else { getuid().as_raw() }
}

/// Somebody else.
pub const BOB: u32 = 1002;

/// What is to be there before the engine starts.
#[derive(Default)]
pub struct Scene {
    pub config: Config,
    pub mail_password: Option<&'static str>,
    /// Lines of passwd beside those of root, alice and bob.
    pub passwd: &'static str,
    /// Lines of group beside the usual ones.
    pub group: &'static str,
}

/// A running engine; ended when dropped.
pub struct Engine {
    child: Child,
    folder: tempfile::TempDir,
    config: Config,
    mail_password: Option<&'static str>,
    channel: Arc<Mutex<UnixStream>>,
    held: Receiver<u64>,
    asked: Arc<Mutex<Vec<String>>>,
    clock: Arc<Clock>,
}

/// What root says of the clock, and how often it was asked.
#[derive(Default)]
struct Clock {
    synchronised: AtomicBool,
    asked: AtomicUsize,
}

impl Engine {
    pub fn start() -> Self {
        Self::with(Scene::default(), |_| Ok(()))
    }

    /// `seed` writes into the store before the engine has it.
    pub fn with(scene: Scene, seed: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        lay(&Paths::scratch(folder.path()), &scene, seed);
        Self::launch(folder, scene.config, scene.mail_password)
    }

    /// Ends it, as a crash does, and starts it again on what it has left.
    pub fn restart(self) -> Self {
        self.restart_with(|_| Ok(()))
    }

    /// The same; `change` writes into the store meanwhile.
    pub fn restart_with(mut self, change: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) -> Self {
        end(&mut self.child);
        with_store(&Paths::scratch(self.folder.path()), |store| Box::pin(async move { store.write(change).await })).unwrap();
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        std::fs::remove_file(Paths::scratch(folder.path()).socket()).unwrap();
        Self::launch(folder, self.config.clone(), self.mail_password)
    }

    fn launch(folder: tempfile::TempDir, config: Config, mail_password: Option<&'static str>) -> Self {
        let paths = Paths::scratch(folder.path());
        let listener = UnixListener::bind(paths.socket()).unwrap();
        std::fs::set_permissions(paths.socket(), PermissionsExt::from_mode(0o666)).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_twostepd"));
        command.arg("engine").env_clear().stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(OwnedFd::from(listener)));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command.stderr(log).spawn().unwrap();
        let handover = Handover { config: config.clone(), paths, owner: OWNER };
        let start = Order::Start {
            handover: serde_json::to_value(handover).unwrap(),
            key: Some(Secret::new(KEY.iter().map(|byte| format!("{byte:02x}")).collect())),
            mail_password: mail_password.map(|password| Secret::new(password.into())),
            recovered: None,
        };
        let channel = Arc::new(Mutex::new(ours.try_clone().unwrap()));
        say(&channel, &start);
        let (hold, held) = std::sync::mpsc::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let clock = Arc::<Clock>::default();
        let supervisor = Supervisor { channel: Arc::clone(&channel), hold, ready, asked: Arc::clone(&asked), clock: Arc::clone(&clock) };
        std::thread::spawn(move || supervisor.answer(ours));
        is_ready.recv_timeout(SOON).expect("the engine gets ready");
        Self { child, folder, config, mail_password, channel, held, asked, clock }
    }

    /// A connection of the user `uid`.
    pub fn client(&self, uid: u32) -> Api {
        connect_as(uid, &Paths::scratch(self.folder.path()).socket())
    }

    pub fn alice(&self) -> Api {
        self.client(alice())
    }

    /// Where the socket is.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until a password check is held, and answers it after `meanwhile`.
    pub fn held(&self, meanwhile: impl FnOnce()) {
        let id = self.held.recv_timeout(SOON).expect("a held check");
        meanwhile();
        say(&self.channel, &Order::PasswordChecked { id, outcome: PasswordOutcome::Accepted {} });
    }

    /// Says something else in the supervisor's name.
    pub fn say(&self, order: &Order) {
        say(&self.channel, order);
    }

    /// The accounts whose passwords were asked about so far.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// From now on root says that the clock is synchronised. Until then it says that it is not.
    pub fn synchronise(&self) {
        self.clock.synchronised.store(true, Ordering::SeqCst);
    }

    /// How often root was asked about the clock so far.
    pub fn clock_questions(&self) -> usize {
        self.clock.asked.load(Ordering::SeqCst)
    }

    /// What the engine has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// All events in the audit trail, read from the store once the engine has ended.
    pub fn audit(self) -> Vec<String> {
        self.trail().into_iter().map(|entry| entry.event).collect()
    }

    /// The audit trail, in the same way.
    pub fn trail(mut self) -> Vec<AuditEntry> {
        end(&mut self.child);
        let entries = with_store(&Paths::scratch(self.folder.path()), |store| {
            Box::pin(async move { store.read(|view| view.audit_after(0, None, 1000)).await })
        });
        entries.unwrap().into_iter().map(|(_, entry)| entry).collect()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        end(&mut self.child);
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

fn end(child: &mut Child) {
    // It may have ended already.
    let _ = child.kill();
    let _ = child.wait();
}

fn lay(paths: &Paths, scene: &Scene, seed: impl FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send + 'static) {
    std::fs::create_dir(&paths.accounts).unwrap();
    let people = format!("root:x:0:0::/:/bin/sh\nalice:x:{}:1001::/:/bin/sh\nbob:x:{BOB}:1002::/:/bin/sh\n{}", alice(), scene.passwd);
    std::fs::write(paths.accounts.join("passwd"), people).unwrap();
    let groups = format!("staff:x:600:alice\nalice:x:1001:\nbob:x:1002:\n{}", scene.group);
    std::fs::write(paths.accounts.join("group"), groups).unwrap();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(paths.engine()).unwrap();
    with_store(paths, |store| Box::pin(async move { store.write(seed).await })).unwrap();
}

type Work<T> = std::pin::Pin<Box<dyn Future<Output = T>>>;

fn with_store<T>(paths: &Paths, work: impl FnOnce(Store) -> Work<T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = Store::open(Options::new(paths.engine(), clock::wall), SealingKey::from_slice(&KEY));
    runtime.block_on(async {
        let done = work(store.clone()).await;
        store.close().await;
        done
    })
}

fn say(channel: &Mutex<UnixStream>, order: &Order) {
    let mut text = serde_json::to_vec(order).unwrap();
    text.push(0);
    channel.lock().unwrap().write_all(&text).unwrap();
}

struct Supervisor {
    channel: Arc<Mutex<UnixStream>>,
    hold: Sender<u64>,
    ready: Sender<()>,
    asked: Arc<Mutex<Vec<String>>>,
    clock: Arc<Clock>,
}

impl Supervisor {
    fn answer(&self, from: UnixStream) {
        for frame in BufReader::new(from).split(0) {
            // The engine was ended by the test.
            let Ok(frame) = frame else { return };
            match serde_json::from_slice(&frame).unwrap() {
                Notice::Ready {} => self.ready.send(()).unwrap(),
                Notice::Alive {} => {}
                Notice::AskClock {} => {
                    self.clock.asked.fetch_add(1, Ordering::SeqCst);
                    say(&self.channel, &Order::ClockTold { synchronised: self.clock.synchronised.load(Ordering::SeqCst) });
                }
                Notice::CheckPassword { id, account, password } => {
                    self.asked.lock().unwrap().push(account.clone());
                    let outcome = match password.expose() {
                        HELD => {
                            self.hold.send(id).unwrap();
                            continue;
                        }
                        PASSWORD if account == "alice" => PasswordOutcome::Accepted {},
                        WAITING => PasswordOutcome::Waiting { retry_after: 17 },
                        _ => PasswordOutcome::Wrong { retry_after: None },
                    };
                    say(&self.channel, &Order::PasswordChecked { id, outcome });
                }
            }
        }
    }
}

/// A connection of the user `uid`. Where the kernel refuses it, the calls are not answered.
pub fn connect_as(uid: u32, path: &Path) -> Api {
    if uid == getuid().as_raw() {
        return Api::at(path);
    }
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut relay = Command::new("/proc/self/exe");
    relay.args(["--exact", "relay", "--ignored"]).env(RELAY, path).uid(uid).gid(uid).current_dir("/");
    let relay = relay.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null()).spawn().unwrap();
    let mut client = Client::over(ours);
    client.set_time_limit(Some(SOON)).unwrap();
    Api(client, Some(relay))
}

/// Carries bytes between its standard input and the engine: a process, since the kernel tells the engine who has connected.
pub fn relay() {
    let Some(path) = std::env::var_os(RELAY) else { return };
    let near = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned().unwrap());
    let Ok(far) = UnixStream::connect(path) else { return };
    let (mut from_near, mut to_near) = (near.try_clone().unwrap(), near);
    let (mut from_far, mut to_far) = (far.try_clone().unwrap(), far);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from_near, &mut to_far);
        let _ = to_far.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut from_far, &mut to_near);
}

/// One connection.
pub struct Api(Client, Option<Child>);

impl Drop for Api {
    fn drop(&mut self) {
        if let Some(relay) = &mut self.1 {
            end(relay);
        }
    }
}

impl Api {
    /// To the socket at `path`, as whoever runs the test.
    pub fn at(path: &Path) -> Self {
        Self(Client::connect(path, SOON).unwrap(), None)
    }

    /// A call that goes well; `method` without `io.twostep.`.
    #[track_caller]
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        match self.0.call(&format!("io.twostep.{method}"), &parameters) {
            Ok(reply) => reply,
            Err(e) => panic!("{method}: {e}"),
        }
    }

    /// A call that is refused: the error's last name, and its parameters.
    #[track_caller]
    pub fn refused(&mut self, method: &str, parameters: Value) -> (String, Value) {
        match self.0.call::<Value>(&format!("io.twostep.{method}"), &parameters) {
            Err(Error::Service(failure)) => (failure.name.rsplit('.').next().unwrap().to_owned(), failure.parameters),
            other => panic!("{method}: {other:?}"),
        }
    }

    /// A call by its full name: the reply, or the error's last name; none where nobody answers.
    pub fn ask(&mut self, method: &str, parameters: &Value) -> Option<Result<Value, String>> {
        match self.0.call(method, parameters) {
            Ok(reply) => Some(Ok(reply)),
            Err(Error::Service(failure)) => Some(Err(failure.name.rsplit('.').next().unwrap().to_owned())),
            Err(Error::Closed | Error::Io(_)) => None,
            Err(e) => panic!("{method}: {e}"),
        }
    }

    /// All replies of a call, as they come.
    pub fn replies(mut self, method: &str, parameters: Value) -> Replies {
        let (tell, told) = std::sync::mpsc::channel();
        let method = format!("io.twostep.{method}");
        std::thread::spawn(move || {
            let Ok(stream) = self.0.call_more::<Value>(&method, &parameters) else { return };
            for reply in stream {
                let reply = match reply {
                    Ok(reply) => Ok(reply),
                    Err(Error::Service(failure)) => Err(failure.name.rsplit('.').next().unwrap().to_owned()),
                    Err(_) => return,
                };
                if tell.send(reply).is_err() {
                    return;
                }
            }
        });
        Replies(told)
    }

    /// The first reply of a call, after which whoever called is gone.
    #[track_caller]
    pub fn first_reply(mut self, method: &str, parameters: Value) -> Value {
        let mut replies = self.0.call_more::<Value>(&format!("io.twostep.{method}"), &parameters).unwrap();
        replies.next().unwrap().unwrap()
    }

    /// A call whose answer nobody waits for.
    pub fn send(&mut self, method: &str, parameters: Value) {
        self.0.set_time_limit(Some(Duration::from_millis(1))).unwrap();
        let unanswered = self.0.call::<Value>(&format!("io.twostep.{method}"), &parameters);
        assert!(matches!(unanswered, Err(Error::TimedOut)), "{unanswered:?}");
    }

    #[track_caller]
    pub fn status(&mut self) -> Value {
        self.call("Account.Status", json!({}))
    }

    /// Sets the second step up. Returns the secret and the recovery codes.
    #[track_caller]
    pub fn set_up(&mut self) -> (String, Vec<String>) {
        let begun = self.call("Account.BeginSetup", json!({ "password": PASSWORD }));
        let (secret, done) = self.finish(&begun["setup"]);
        (secret, strings(&done["recovery_codes"]))
    }

    /// Confirms a new Security Code in a setup, and finishes it.
    #[track_caller]
    pub fn finish(&mut self, setup: &Value) -> (String, Value) {
        let secret = self.confirm_new_code(setup);
        (secret, self.call("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })))
    }

    #[track_caller]
    pub fn confirm_new_code(&mut self, setup: &Value) -> String {
        let offered = self.call("Account.OfferSecurityCode", json!({ "setup": setup }));
        let secret = offered["secret"].as_str().unwrap().to_owned();
        let confirmed = self.call("Account.ConfirmSecurityCode", json!({ "setup": setup, "code": code(&secret, 0) }));
        assert_eq!(confirmed["outcome"], "confirmed");
        secret
    }

    /// What a login service is told for alice.
    #[track_caller]
    pub fn start(&mut self) -> Value {
        self.call("Login.Start", json!({ "user": "alice", "service": "test" }))
    }

    #[track_caller]
    pub fn answer(&mut self, login: &Value, method: &str, code: &str) -> Value {
        self.call("Login.Answer", json!({ "login": login, "method": method, "code": code }))
    }

    /// What a login service is told while it waits for the phone, to the end.
    #[track_caller]
    pub fn outcomes(&mut self, login: &Value) -> Vec<Value> {
        let told = self.0.call_more::<Value>("io.twostep.Login.Wait", &json!({ "login": login })).unwrap();
        told.map(|reply| reply.unwrap()["outcome"].clone()).collect()
    }

    /// A login that was verified by a recovery code just now.
    #[track_caller]
    pub fn verified(&mut self, recovery_code: &str) -> Value {
        let login = self.start()["login"].clone();
        assert_eq!(self.answer(&login, "recovery_code", recovery_code)["outcome"], "verified");
        login
    }
}

/// The replies of one call.
pub struct Replies(Receiver<Result<Value, String>>);

impl Replies {
    /// The next one.
    #[track_caller]
    pub fn next(&self) -> Value {
        self.0.recv_timeout(SOON).expect("a reply").expect("no error")
    }

    /// The next one is an error: its last name.
    #[track_caller]
    pub fn error(&self) -> String {
        self.0.recv_timeout(SOON).expect("a reply").expect_err("an error")
    }

    /// The last one has come.
    #[track_caller]
    pub fn ended(&self) {
        assert_eq!(self.0.recv_timeout(SOON), Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
    }
}

pub fn strings(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

/// Six digits that are no code of a base32 secret, neither now nor soon.
pub fn wrong_code(secret: &str) -> String {
    let near: Vec<String> = (-10..=10).map(|steps| code(secret, steps)).collect();
    (0..).map(|number| format!("{number:06}")).find(|code| !near.contains(code)).unwrap()
}

/// The code of a base32 secret, so many steps after the present one.
pub fn code(secret: &str, steps: i64) -> String {
    let bytes = otpauth::from_base32(secret).unwrap();
    let enrolment = Enrolment::existing(bytes.to_vec(), Algorithm::Sha1, 6, 30).unwrap();
    let moment = Moment { wall: Wall(clock::wall().0 + 30 * steps), ..Moment::default() };
    enrolment.code_at(plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap()).to_string()
}
