//! The two processes, with this one in the supervisor's place.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{geteuid, getuid};
use tokio::net::UnixDatagram;
use tokio::sync::oneshot;
use tokio::time::timeout;
use twostep::config::paths::Paths;
use twostep::config::{Config, Handover};
use twostep::core::account::{Account, Method, Methods};
use twostep::core::time::Wall;
use twostep::core::totp::Enrolment;
use twostep::engine::store::{Authenticator, Options, SealingKey, Store, Stored};
use twostep::proto::privileged::{Notice, Order};
use twostep::proto::secret::Secret;
use twostep::sys::clock;

use super::PATIENCE;
use super::phone::{Phone, user};
use super::port::Port;
use super::tls::{HOST, Way};

/// Who twostep-web runs as where root runs this: as root it would become a user that may not exist here.
const NOBODY: u32 = 65_534;
/// The uid of the first account.
const FIRST: u32 = 100_000;
const KEY: [u8; 32] = [0x5a; 32];

/// See the module. Both processes end when it is dropped.
pub struct Nas {
    engine: Child,
    web: Child,
    listen: SocketAddr,
    _port: Port,
    folder: tempfile::TempDir,
    /// From the start of twostep-web until it said READY.
    pub ready: Duration,
}

impl Nas {
    /// Starts both, with an account for each of these phones, for Login Approval.
    pub async fn start(phones: &[Arc<Phone>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("a folder for all");
        let paths = Paths::scratch(folder.path());
        let port = Port::at([127, 0, 0, 1]);
        let listen = port.address;
        let text =
            format!("[grant]\nauthenticator = [\"web\"]\n[phone]\naddress = \"https://{HOST}:8443\"\n[web]\nlisten = \"{listen}\"\n");
        fs::write(folder.path().join("twostepd.toml"), &text).expect("a configuration");
        lay(&paths, phones).await;
        let engine = engine(&paths, &text).await;
        let begun = clock::monotonic();
        let web = web(folder.path()).await;
        Self { engine, web, listen, _port: port, folder, ready: clock::monotonic() - begun }
    }

    /// The engine's socket.
    pub fn socket(&self) -> PathBuf {
        Paths::scratch(self.folder.path()).socket()
    }

    /// The way to twostep-web.
    pub fn way(&self) -> Way {
        Way::new(self.listen, &self.folder.path().join("state-web/self-signed.pem"))
    }

    /// twostep-web and the engine.
    pub fn processes(&self) -> [u32; 2] {
        [self.web.id(), self.engine.id()]
    }

    /// What the two processes hold of the machine's memory (PSS), in KiB. None where that is root's to read.
    pub fn memory(&self) -> Option<[u64; 2]> {
        let pss = |process: u32| {
            let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("Pss:")?.trim().strip_suffix(" kB")?.parse().ok())
        };
        let [web, engine] = self.processes();
        Some([pss(web)?, pss(engine)?])
    }
}

impl Drop for Nas {
    fn drop(&mut self) {
        for process in [&mut self.web, &mut self.engine] {
            // It may have ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            for log in ["engine.log", "web.log"] {
                eprintln!("{log}:\n{}", fs::read_to_string(self.folder.path().join(log)).unwrap_or_default());
            }
        }
    }
}

fn web_user() -> u32 {
    if geteuid().is_root() { NOBODY } else { getuid().as_raw() }
}

/// The account files and the store.
async fn lay(paths: &Paths, phones: &[Arc<Phone>]) {
    fs::create_dir(&paths.accounts).expect("a folder");
    let mut people = format!("root:x:0:0::/:/bin/sh\nweb:x:{0}:{0}::/:/bin/sh\n", web_user());
    for (phone, uid) in phones.iter().zip(FIRST..) {
        people += &format!("{}:x:{uid}:100::/:/bin/sh\n", user(phone.index));
    }
    fs::write(paths.accounts.join("passwd"), people).expect("account files");
    fs::write(paths.accounts.join("group"), "users:x:100:\n").expect("account files");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(paths.engine()).expect("the engine's folder");
    let store = Store::open(Options::new(paths.engine(), clock::wall), SealingKey::from_slice(&KEY));
    let phones = phones.to_vec();
    let written = store.write(move |tx| {
        phones.iter().zip(FIRST..).try_for_each(|(phone, uid)| {
            let mut stored = Stored::new(uid, &user(phone.index));
            let methods = Methods::NONE.with(Method::SecurityCode).with(Method::LoginApproval);
            stored.account = Account { methods, preferred: Some(Method::LoginApproval), ..Account::default() };
            tx.save_enrolled(&stored, &Enrolment::fresh([0x5a; 20]))?;
            let (id, public_key) = (phone.id.clone(), phone.public_key());
            tx.add_authenticator(&Authenticator { id, uid, name: "phone".into(), public_key, paired_at: Wall(0), last_seen: None })
        })
    });
    written.await.expect("accounts with phones");
    store.close().await;
}

/// The engine, once it is ready.
async fn engine(paths: &Paths, config: &str) -> Child {
    let listener = UnixListener::bind(paths.socket()).expect("a socket");
    fs::set_permissions(paths.socket(), Permissions::from_mode(0o666)).expect("a socket for all");
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    let mut command = Command::new(env!("CARGO_BIN_EXE_twostepd"));
    command.arg("engine").env_clear().stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::from(OwnedFd::from(listener)));
    let child = command.stderr(log(paths, "engine.log")).spawn().expect("twostepd");
    let config = Config::parse(config, "twostepd.toml").expect("a configuration");
    // Whoever runs this counts as root: the login services are.
    let handover = Handover { config, paths: paths.clone(), owner: getuid().as_raw() };
    let start = Order::Start {
        handover: serde_json::to_value(handover).expect("JSON"),
        key: Some(Secret::new(KEY.iter().map(|byte| format!("{byte:02x}")).collect())),
        mail_password: None,
        recovered: None,
    };
    say(&mut ours, &start);
    let (tell, ready) = oneshot::channel();
    std::thread::spawn(move || supervise(ours, tell));
    timeout(PATIENCE, ready).await.expect("in time").expect("the engine gets ready");
    child
}

fn log(paths: &Paths, name: &str) -> File {
    File::create(paths.run.join(name)).expect("a log")
}

fn say(channel: &mut UnixStream, order: &Order) {
    let mut text = serde_json::to_vec(order).expect("JSON");
    text.push(0);
    // The engine may have been ended.
    let _ = channel.write_all(&text);
}

/// Answers what the engine asks, until it ends.
fn supervise(channel: UnixStream, ready: oneshot::Sender<()>) {
    let (mut ready, mut answers) = (Some(ready), channel.try_clone().expect("a descriptor"));
    for frame in BufReader::new(channel).split(0) {
        let Ok(frame) = frame else { return };
        match serde_json::from_slice(&frame).expect("a notice") {
            Notice::Ready {} => {
                // Whoever waited for it may have given up.
                let _ = ready.take().map(|ready| ready.send(()));
            }
            Notice::Alive {} => {}
            Notice::AskClock {} => say(&mut answers, &Order::ClockTold { synchronised: true }),
            Notice::CheckPassword { .. } => panic!("nobody gave a password"),
        }
    }
}

/// twostep-web, once it is ready.
async fn web(folder: &Path) -> Child {
    let (program, state, notices) = (folder.join("twostep-web"), folder.join("state-web"), folder.join("notify"));
    // Where it was built, its user may not come. Not copied by this process: what another test starts meanwhile would keep the copy open for
    // writing, and then it can't be run.
    let built = env!("CARGO_BIN_EXE_twostep-web");
    assert!(Command::new("install").args(["-m", "755", built]).arg(&program).status().expect("install").success());
    fs::create_dir(&state).expect("a folder");
    let notify = UnixDatagram::bind(&notices).expect("a socket");
    for place in [&state, &notices] {
        chown(place, Some(web_user()), None).expect("its own");
    }
    let mut command = Command::new(program);
    command.env_clear().current_dir("/").env("NOTIFY_SOCKET", &notices).arg("--config").arg(folder.join("twostepd.toml"));
    command.arg("--socket").arg(folder.join("twostep.sock")).arg("--state").arg(&state);
    if geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let child = command.stderr(log(&Paths::scratch(folder), "web.log")).spawn().expect("twostep-web");
    let mut said = [0; 64];
    let length = timeout(PATIENCE, notify.recv(&mut said)).await.expect("in time").expect("a notice");
    assert_eq!(said[..length], *b"READY=1\n");
    child
}
