//! A NAS with a phone's address: the engine's and twostep-web's real processes.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

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
    web: Web,
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
        let web = Web::start(folder.path(), &engine);
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
        self.web.end();
    }

    /// Starts it again, at the same address.
    #[track_caller]
    pub fn start_web(&mut self) {
        self.web = Web::start(self.folder.path(), &self.engine);
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

/// twostep-web; ended when dropped.
struct Web {
    process: Child,
    /// Adds what it says to its log.
    log: Option<JoinHandle<()>>,
}

impl Web {
    /// With the configuration in this folder, once the engine knows that phones can be reached. That it is ready says less: it serves before it has
    /// found the engine, which offers no phone until then.
    #[track_caller]
    fn start(folder: &Path, engine: &Engine) -> Self {
        let mut command = program(folder);
        command.arg("--config").arg(folder.join("twostepd.toml")).arg("--socket").arg(engine.folder().join("twostep.sock"));
        let process = command.arg("--state").arg(folder.join("state")).stderr(Stdio::piped()).spawn().unwrap();
        let mut web = Self { process, log: None };
        let said = BufReader::new(web.process.stderr.take().unwrap());
        let mut log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let (found, finds) = mpsc::channel();
        web.log = Some(std::thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                let _ = writeln!(log, "{line}");
                if line.contains("phones are carried for") {
                    let _ = found.send(());
                }
            }
        }));
        if finds.recv_timeout(SOON).is_err() {
            web.end();
            panic!("twostep-web does not find the engine: {}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        }
        web
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(log) = self.log.take() {
            let _ = log.join();
        }
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.end();
    }
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
    for file in [folder.to_owned(), folder.join("key.pem")] {
        chown(&file, Some(alice().into()), None).unwrap();
    }
    let mut command = Command::new(copy);
    command.uid(alice()).gid(alice());
    command
}

impl Drop for Nas {
    fn drop(&mut self) {
        self.web.end();
        if std::thread::panicking() {
            eprintln!("{}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
        }
    }
}
