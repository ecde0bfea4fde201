//! A NAS with a phone's address: the engine's and twostep-web's real processes.

use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU16, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::unistd::{chown, getuid};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use twostep::config::Config;

use super::webdriver::{Browser, Setting};
use crate::engine::{self, Api, Engine, PASSWORD, SOON, alice};

/// See the module. Both processes end when it is dropped.
pub struct Nas {
    pub engine: Engine,
    web: Child,
    /// What a phone opens.
    pub address: String,
    trusted_key: String,
    folder: tempfile::TempDir,
}

impl Nas {
    /// `number`: as in the configuration.
    pub fn start(number: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = own_address();
        let made = rcgen::generate_simple_self_signed([listen.ip().to_string()]).unwrap();
        let [certificate, key, file] = ["certificate.pem", "key.pem", "twostepd.toml"].map(|name| folder.path().join(name));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let trusted_key = STANDARD.encode(Sha256::digest(rcgen::PublicKeyData::subject_public_key_info(&made.signing_key)));
        let address = format!("https://{listen}");
        let text = format!(
            "[grant]\nauthenticator = [\"alice\"]\n[phone]\naddress = \"{address}\"\nnumber = \"{number}\"\n\
             [web]\nlisten = \"{listen}\"\ncertificate = \"{}\"\nkey = \"{}\"\n",
            certificate.display(),
            key.display()
        );
        let config = Config::parse(&text, "twostepd.toml").unwrap();
        std::fs::write(&file, text).unwrap();
        let engine = Engine::with(engine::Scene { config, ..engine::Scene::default() }, |_| Ok(()));
        let web = start_web(folder.path(), &engine);
        Self { engine, web, address, trusted_key, folder }
    }

    /// A phone whose camera sees what is filmed there.
    pub fn phone(&self) -> Browser {
        self.phone_where(true)
    }

    /// A phone whose owner lets pages use the camera, or does not.
    pub fn phone_where(&self, is_camera_allowed: bool) -> Browser {
        Browser::start(&Setting { trusted_key: &self.trusted_key, camera: &self.camera(), is_camera_allowed })
    }

    /// The camera's film.
    pub fn camera(&self) -> PathBuf {
        self.folder.path().join("camera.y4m")
    }

    /// A login service.
    pub fn service(&self) -> Api {
        self.engine.client(getuid().as_raw())
    }

    /// Ends twostep-web alone.
    pub fn end_web(&mut self) {
        self.web.kill().unwrap();
        self.web.wait().unwrap();
    }

    /// Starts it again, at the same address.
    #[track_caller]
    pub fn start_web(&mut self) {
        self.web = start_web(self.folder.path(), &self.engine);
    }

    /// Turns alice's second step on with a Security Code and this method of the phone, which pairs as `pair` does. Returns the recovery codes.
    #[track_caller]
    pub fn set_up(&self, method: &str, pair: impl FnOnce(&mut Api, &Value, &str)) -> Vec<String> {
        let mut alice = self.engine.alice();
        let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }));
        let setup = &begun["setup"];
        let offered = alice.call("Account.OfferPairing", json!({ "setup": setup, "method": method }));
        pair(&mut alice, setup, offered["uri"].as_str().unwrap());
        let (_, done) = alice.finish(setup);
        assert_eq!(done["preferred"], method, "what was chosen first");
        engine::strings(&done["recovery_codes"])
    }

    /// A login of alice's that waits for her phone: its name, and what she is asked.
    #[track_caller]
    pub fn login(&self, service: &mut Api, method: &str) -> (Value, Value) {
        let started = service.call("Login.Start", json!({ "user": "alice", "service": "sshd", "remote": "192.0.2.7" }));
        assert_eq!(started["decision"], "verify", "{started}");
        let challenge = service.call("Login.Challenge", json!({ "login": started["login"], "method": method }));
        (started["login"].clone(), challenge)
    }
}

/// Nobody else's: a loopback address of this process, with a port of this NAS, below those that the kernel gives out.
pub fn own_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(8443);
    let [_, b, c, d] = std::process::id().to_be_bytes();
    ([127, 64 | b, c, d], NEXT.fetch_add(1, Ordering::Relaxed)).into()
}

/// twostep-web with the configuration in this folder, ready.
#[track_caller]
fn start_web(folder: &Path, engine: &Engine) -> Child {
    let notices = folder.join("notify");
    // There from the start before this one, if any.
    let _ = std::fs::remove_file(&notices);
    let notify = UnixDatagram::bind(&notices).unwrap();
    let mut command = program(folder);
    command.arg("--config").arg(folder.join("twostepd.toml")).arg("--socket").arg(engine.folder().join("twostep.sock"));
    command.arg("--state").arg(folder.join("state")).env("NOTIFY_SOCKET", &notices);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("log")).unwrap();
    let mut web = command.stderr(log).spawn().unwrap();
    notify.set_read_timeout(Some(SOON)).unwrap();
    let mut said = [0; 256];
    if !notify.recv(&mut said).is_ok_and(|length| said[..length].starts_with(b"READY=1")) {
        let _ = web.kill();
        let _ = web.wait();
        panic!("twostep-web does not get ready: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
    }
    web
}

/// The program, run by alice: it does not stay root, and who else it would become is the package's doing.
fn program(folder: &Path) -> Command {
    let built = env!("CARGO_BIN_EXE_twostep-web");
    if !getuid().is_root() {
        return Command::new(built);
    }
    // Where it was built, she may not come. Not copied by this process: what another test starts meanwhile would keep the copy open for
    // writing, and then it can't be run.
    let copy = folder.join("twostep-web");
    assert!(Command::new("install").args(["-m", "755", built]).arg(&copy).status().unwrap().success());
    for file in [folder.to_owned(), folder.join("key.pem"), folder.join("notify")] {
        chown(&file, Some(alice().into()), None).unwrap();
    }
    let mut command = Command::new(copy);
    command.uid(alice()).gid(alice());
    command
}

impl Drop for Nas {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.web.kill();
        let _ = self.web.wait();
        if std::thread::panicking() {
            let mut log = String::new();
            let _ = std::fs::File::open(self.folder.path().join("log")).and_then(|mut file| file.read_to_string(&mut log));
            eprintln!("{log}");
        }
    }
}
