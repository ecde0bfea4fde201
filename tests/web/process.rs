//! The program as it is started: its configuration, its certificate, its socket, its log.

use std::fs::{self, Permissions};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::SOON;
use crate::browser::{Browser, handshake};
use crate::crowd::port::Port;
use crate::patience::{ended, output};
use crate::scene::{ADDRESS, FakeEngine, Told, certificate};
use crate::skip::{Lack, skipped};

/// Who it runs as where root runs the test: as root it would become a user that may not exist here.
const NOBODY: u32 = 65_534;

/// A folder with a configuration, and a program that everybody may run.
struct Place {
    folder: tempfile::TempDir,
    listen: SocketAddr,
    _port: Port,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = Port::at([127, 0, 0, 1]);
        let place = Self { folder, listen: port.address, _port: port };
        fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).unwrap();
        // Not copied by this process: what another test starts meanwhile would keep the copy open for writing, and then it can't be run.
        let mut install = Command::new("install");
        install.args(["-m", "755", env!("CARGO_BIN_EXE_twostep-web")]).arg(place.path("twostep-web"));
        assert!(install.status().unwrap().success());
        fs::create_dir(place.path("state")).unwrap();
        fs::create_dir(place.path("run")).unwrap();
        if geteuid().is_root() {
            for folder in ["state", "run"] {
                std::os::unix::fs::chown(place.path(folder), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, web: &str) {
        self.configure_for(ADDRESS, web);
    }

    fn configure_for(&self, address: &str, web: &str) {
        let text = format!("[log]\ntarget = \"stderr\"\nlevel = \"debug\"\n[phone]\naddress = \"{address}\"\n[web]\n{web}\n");
        fs::write(self.path("twostepd.toml"), text).unwrap();
    }

    /// On the network, with this beside `listen`.
    fn listening(&self, web: &str) {
        self.configure(&format!("listen = \"{}\"\n{web}", self.listen));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.path("twostep-web"));
        command.env_clear().current_dir("/").arg("--config").arg(self.path("twostepd.toml"));
        command.arg("--socket").arg(self.path("engine.sock")).arg("--state").arg(self.path("state")).args(arguments);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Started, and ready.
    fn start(&self) -> Running<'_> {
        self.start_with(|_| {})
    }

    fn start_with(&self, change: impl FnOnce(&mut Command)) -> Running<'_> {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        let path = self.path(&format!("notify{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let notify = UnixDatagram::bind(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        notify.set_read_timeout(Some(SOON)).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let before = self.log().len();
        let mut command = self.command(&[]);
        change(&mut command);
        let child = command.env("NOTIFY_SOCKET", &path).stderr(Stdio::from(log)).spawn().unwrap();
        let running = Running { child, place: self, before };
        let mut message = [0; 64];
        let length = notify.recv(&mut message).unwrap_or_else(|e| panic!("not ready: {e}\n{}", self.log()));
        assert_eq!(message[..length], *b"READY=1\n");
        running
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(&fs::read(self.path("state/self-signed.pem")).unwrap()).unwrap()
    }

    fn write_pair(&self) -> CertificateDer<'static> {
        let (certificate, key, pem) = certificate();
        fs::write(self.path("certificate.pem"), pem).unwrap();
        fs::write(self.path("key.pem"), key.serialize_pem()).unwrap();
        certificate
    }

    fn files(&self) -> String {
        let path = |name: &str| self.path(name).display().to_string();
        format!("certificate = \"{}\"\nkey = \"{}\"", path("certificate.pem"), path("key.pem"))
    }
}

struct Running<'a> {
    child: Child,
    place: &'a Place,
    /// The length of the log that others have left.
    before: usize,
}

impl Running<'_> {
    /// Waits until its log has this.
    #[track_caller]
    fn says(&self, text: &str) {
        for _ in 0..SOON.as_millis() {
            if self.place.log()[self.before..].contains(text) {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("it never says {text:?}");
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn stop(mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        ended(&mut self.child).code()
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.place.log());
        }
    }
}

fn engine(place: &Place) -> FakeEngine {
    let path = place.path("engine.sock");
    let engine = FakeEngine::at(&path);
    fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    engine
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const CARRYING: &str = "phones are carried for";

fn post(browser: &mut Browser, authenticator: &str) -> u16 {
    browser.post("Nonce", &json!({ "authenticator": authenticator })).status
}

#[test]
fn without_an_address_it_says_which_key_to_set_and_ends_in_a_way_of_its_own() {
    let place = Place::new();
    fs::write(place.path("twostepd.toml"), "").unwrap();
    for arguments in [&[][..], &["--configured"], &["--fingerprint"]] {
        let output = place.output(arguments);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let said = text(&output.stderr);
        assert!(said.contains("twostepd.toml: phone.address is not set"), "{said}");
    }
    place.listening("");
    assert_eq!(place.output(&["--configured"]).status.code(), Some(0));
}

#[test]
fn whoever_reads_only_the_first_line_of_the_fingerprints_gets_it() {
    let place = Place::new();
    place.listening("");
    drop(place.start());
    let mut command = place.command(&["--fingerprint"]);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = output(command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap());
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn what_is_wrong_is_told_with_file_and_key() {
    let place = Place::new();
    // A file that is wrong ends it in a way of its own: it is not started again until somebody has mended it.
    let refused = |configuration: &str, code: i32| {
        place.configure(configuration);
        // Whether to start it at all is another question.
        assert_eq!(place.output(&["--configured"]).status.code(), Some(0));
        let output = place.output(&[]);
        assert_eq!(output.status.code(), Some(code));
        text(&output.stderr)
    };
    assert!(refused("lisen = 1", 4).contains("twostepd.toml:7: unknown key \"lisen\": did you mean \"listen\"?"));
    assert!(refused("listen = \"192.0.2.1:8443\"", 1).contains("web.listen: 192.0.2.1:8443: "));
    assert!(refused("socket = \"/nowhere/web.sock\"", 1).contains("web.socket: /nowhere/web.sock: "));
    let missing = refused(&format!("listen = \"{}\"\n{}", place.listen, place.files()), 1);
    assert!(missing.contains("certificate.pem"), "{missing}");
}

#[test]
fn it_makes_a_certificate_tells_its_fingerprint_and_keeps_it() {
    let place = Place::new();
    place.listening("");
    let early = place.output(&["--fingerprint"]);
    assert_eq!(early.status.code(), Some(1));
    assert!(text(&early.stderr).contains("makes it at its first start"));
    let running = place.start();
    let mode = fs::metadata(place.path("state/self-signed.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let fingerprint = text(&place.output(&["--fingerprint"]).stdout);
    let (own, key) = fingerprint.trim().split_once("\nIts key, which a renewal leaves as it is: ").unwrap();
    assert!(place.log().contains(&format!("certificate: SHA-256 {own}, its key: SHA-256 {key}")), "{fingerprint}");
    // The browser's own check: this certificate, this host, today.
    let certificate = place.certificate();
    assert_eq!(Browser::open(place.listen, &certificate).get("/").status, 200);
    assert_eq!(running.stop(), Some(0));
    let _again = place.start();
    assert_eq!(place.certificate(), certificate);
    assert_eq!(text(&place.output(&["--fingerprint"]).stdout), fingerprint);
}

/// A clock that jumps stands for the years.
#[test]
fn its_own_certificate_is_renewed_as_a_phone_connects_without_a_restart() {
    let place = Place::new();
    let (source, clock) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/support/later.c"), place.path("later.so"));
    match Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&clock, &source]).status() {
        Ok(made) => assert!(made.success()),
        Err(_) => return skipped(Lack::Package, "no C compiler here"),
    }
    place.listening("");
    let running = place.start_with(|command| {
        command.env("LD_PRELOAD", &clock);
    });
    let first = place.certificate();
    assert_eq!(Browser::open(place.listen, &first).get("/").status, 200);
    assert_eq!(place.certificate(), first);
    running.signal(Signal::SIGUSR1);
    // It is served to this very connection, whose clock has not jumped.
    handshake(place.listen, &first, rustls::ALL_VERSIONS).unwrap_err();
    let second = place.certificate();
    let refused = handshake(place.listen, &second, rustls::ALL_VERSIONS).unwrap_err().to_string();
    assert!(refused.contains("not valid yet"), "{refused}");
    let told = text(&place.output(&["--fingerprint"]).stdout);
    let (own, key) = told.trim().split_once("\nIts key, which a renewal leaves as it is: ").unwrap();
    running.says(&format!("is SHA-256 {own} now; that of its key is as before, SHA-256 {key}"));
}

#[test]
fn a_renewed_certificate_is_read_without_a_restart() {
    let place = Place::new();
    let first = place.write_pair();
    place.listening(&place.files());
    let running = place.start();
    let mut before = Browser::open(place.listen, &first);
    assert_eq!(before.get("/").status, 200);
    assert!(!place.path("state/self-signed.pem").exists());
    let second = place.write_pair();
    running.signal(Signal::SIGHUP);
    running.says("certificate read again");
    handshake(place.listen, &second, rustls::ALL_VERSIONS).unwrap();
    assert_eq!(before.get("/").status, 200, "connections are kept");
    // One that is no good changes nothing.
    fs::write(place.path("key.pem"), "no key").unwrap();
    running.signal(Signal::SIGHUP);
    running.says("the former certificate stays: web.key: ");
    handshake(place.listen, &second, rustls::ALL_VERSIONS).unwrap();
}

#[test]
fn there_is_nothing_to_read_again_where_it_made_the_certificate_itself() {
    let place = Place::new();
    place.listening("");
    let running = place.start();
    running.signal(Signal::SIGHUP);
    running.says("nothing to read again");
    assert!(!place.log().contains("former certificate"), "{}", place.log());
    assert_eq!(Browser::open(place.listen, &place.certificate()).get("/").status, 200);
}

#[test]
fn browsers_insist_only_where_the_certificate_is_given_and_the_port_is_the_usual_one() {
    let place = Place::new();
    let certificate = place.write_pair();
    let insists = |address: &str, web: &str| {
        place.configure_for(address, &format!("listen = \"{}\"\n{web}", place.listen));
        let _running = place.start();
        let certificate = if web.is_empty() { place.certificate() } else { certificate.clone() };
        Browser::open(place.listen, &certificate).get("/").header("strict-transport-security").is_some()
    };
    assert!(insists("https://nas.example", &place.files()));
    assert!(!insists("https://nas.example:8443", &place.files()), "it would count for the host's other ports as well");
    assert!(!insists("https://nas.example", ""));
}

#[test]
fn behind_a_proxy_it_has_a_socket_and_no_certificate() {
    let place = Place::new();
    let engine = engine(&place);
    let socket = place.path("run/web.sock");
    place.configure(&format!("socket = \"{}\"", socket.display()));
    drop(place.start());
    assert!(socket.exists(), "killed, it leaves its socket behind");
    let running = place.start();
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    running.says(CARRYING);
    let mut proxy = Browser::behind_proxy(&socket);
    assert_eq!(proxy.get("/").status, 200);
    assert_eq!(post(&mut proxy, "phone"), 200);
    assert!(matches!(engine.next(), Told::Called(_)));
    assert!(!place.path("state/self-signed.pem").exists());
    let second = place.output(&[]);
    assert_eq!(second.status.code(), Some(1), "one that is in use is not taken away");
    assert!(text(&second.stderr).contains("web.socket: "));
    assert!(text(&place.output(&["--fingerprint"]).stderr).contains("reverse proxy"));
}

#[test]
fn its_log_has_no_secret() {
    let place = Place::new();
    let _engine = engine(&place);
    place.listening("");
    let running = place.start();
    running.says(CARRYING);
    let mut browser = Browser::open(place.listen, &place.certificate());
    assert_eq!(post(&mut browser, "hunter1"), 200);
    assert_eq!(browser.get("/pair?hunter2").status, 200);
    assert_eq!(browser.get("/hunter3/hunter4").status, 404);
    assert_eq!(browser.post("Nonce", &json!({ "hunter5": "hunter6" })).status, 400);
    assert_eq!(browser.post("Pair", &json!({ "pairing": "hunter7", "public_key": "", "name": "", "mac": "", "proof": "" })).status, 400);
    // Unless the machine is too busy for that, until it is refused for asking too often.
    let _refused = (0..2000).any(|_| browser.get("/hunter8").status == 429);
    drop(running);
    let log = place.log();
    assert!(log.contains("/api/Nonce 200"), "{log}");
    assert!(!log.contains("hunter"), "{log}");
}

/// What the sandbox leaves: a process without files to write to.
#[test]
fn it_is_confined() {
    let place = Place::new();
    place.listening("");
    let running = place.start();
    let status = fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
    assert_eq!(field("NoNewPrivs:"), "1");
    assert_eq!(field("Threads:"), "1");
    if place.log().contains("seccomp: ") {
        skipped(Lack::Kernel, "no seccomp here");
    } else {
        assert_eq!(field("Seccomp:"), "2");
    }
    assert_eq!(Path::new(&format!("/proc/{}/exe", running.child.id())).exists(), geteuid().is_root(), "others don't look into it");
}
