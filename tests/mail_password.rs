//! The password for the mail server, from a file that root alone can read to a server that asks for it: `twostepd run` as it is installed, in
//! a mount namespace with an /etc, /run and /var/lib of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::getuid;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};
use twostep::client::{Client, Error};
use twostep::core::clock::{Horizon, Moment, plausible};
use twostep::core::otpauth;
use twostep::core::time::Wall;
use twostep::core::totp::{Algorithm, Enrolment};
use twostep::sys::{clock, crypt};

#[path = "support/patience.rs"]
mod patience;
#[path = "support/skip.rs"]
mod skip;

use patience::{Lines, stop};
use skip::{Lack, skipped};

const SOON: Duration = Duration::from_secs(60);
/// Of alice.
const PASSWORD: &str = "wonderland";
/// Of the NAS, at the mail server.
const MAIL_PASSWORD: &str = "s3cret-of-the-mail-server";
const ENGINE_UID: u32 = 990;
const FILE: &str = "/etc/twostep/mail-password";

struct MailServer {
    process: Child,
    said: Lines,
    port: u16,
}

impl MailServer {
    /// `authority` becomes the file with the certificate that it can be trusted by.
    fn start(folder: &Path, authority: &Path) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(authority, parameters.self_signed(&key).unwrap().pem()).unwrap();
        let own = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&own, &Issuer::new(parameters, key));
        let (certificate_file, key_file) = (folder.join("certificate.pem"), folder.join("key.pem"));
        fs::write(&certificate_file, certificate.unwrap().pem()).unwrap();
        fs::write(&key_file, own.serialize_pem()).unwrap();
        let mut command = Command::new("python3");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/mail_server.py"));
        command.arg(certificate_file).arg(key_file).args(["nas", MAIL_PASSWORD]).env("PYTHONDONTWRITEBYTECODE", "1");
        // It warns of its own deprecations.
        let log = fs::File::create(folder.join("mail-server.log")).unwrap();
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut said = Lines::new("the mail server", process.stdout.take().unwrap());
        let said_first = said.next();
        let log = || fs::read_to_string(folder.join("mail-server.log")).unwrap();
        let port = said_first.unwrap_or_else(|| panic!("the mail server did not start: {}", log())).parse().unwrap();
        Self { process, said, port }
    }

    fn next(&mut self) -> Value {
        serde_json::from_str(&self.said.next().unwrap()).unwrap()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An /etc with what the daemon, PAM and the name service need.
fn lay_etc(etc: &Path) {
    fs::create_dir_all(etc.join("pam.d")).unwrap();
    fs::create_dir_all(etc.join("twostep")).unwrap();
    let hash = crypt::hash(PASSWORD, crypt::Method::Sha512).unwrap();
    let shadow = format!("root:*:20000:0:99999:7:::\nalice:{}:20000:0:99999:7:::\n", hash.hash.as_str());
    for (file, text) in [
        ("passwd", format!("root:x:0:0::/root:/bin/sh\ntwostep:x:{ENGINE_UID}:{ENGINE_UID}::/:/bin/false\nalice:x:1001:1001::/:/bin/sh\n")),
        ("group", format!("root:x:0:\ntwostep:x:{ENGINE_UID}:\nalice:x:1001:\n")),
        ("shadow", shadow),
        ("hosts", "127.0.0.1 localhost\n".into()),
        ("nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files\n".into()),
        ("pam.d/common-auth", "auth required pam_unix.so\n".into()),
        ("pam.d/common-account", "account required pam_unix.so\n".into()),
        ("pam.d/twostep", include_str!("../systemd/twostep.pam").into()),
    ] {
        fs::write(etc.join(file), text).unwrap();
    }
    fs::set_permissions(etc.join("shadow"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::copy("/etc/ld.so.cache", etc.join("ld.so.cache")).unwrap();
}

fn configuration(port: u16) -> String {
    format!(
        "log.target = \"stderr\"\n[mail]\nhost = \"localhost\"\nport = {port}\nfrom = \"nas@example.org\"\nuser = \"nas\"\n\
         password_file = \"{FILE}\"\nca_file = \"/etc/twostep/mail-ca.pem\"\n"
    )
}

/// The installed daemon.
struct Daemon {
    process: Child,
    log: Receiver<String>,
    logged: String,
}

impl Daemon {
    /// Returns once its engine is ready. `etc` is what it sees as /etc.
    fn start(etc: &Path) -> Self {
        let etc = etc.to_owned();
        // The namespace is this thread's, and that of what it starts.
        let started = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some(&etc), "/etc", none, MsFlags::MS_BIND, none).unwrap();
            for own in ["/run", "/var/lib"] {
                mount(Some("tmpfs"), own, Some("tmpfs"), MsFlags::empty(), Some("mode=0755")).unwrap();
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_twostepd"));
            command.args(["run", "--config", "/etc/twostep/twostepd.toml"]).env_clear();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        });
        let mut process = started.join().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, log) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let mut daemon = Self { process, log, logged: String::new() };
        daemon.logs("engine ready");
        daemon
    }

    /// Waits until it has logged this.
    #[track_caller]
    fn logs(&mut self, text: &str) {
        while !self.logged.contains(text) {
            match self.log.recv_timeout(SOON) {
                Ok(line) => self.logged += &(line + "\n"),
                Err(_) => panic!("{text:?} was not logged:\n{}", self.logged),
            }
        }
    }

    fn client(&self) -> Client {
        let inside = PathBuf::from(format!("/proc/{}/root/run/twostep/twostep.sock", self.process.id()));
        Client::connect(&inside, SOON).unwrap()
    }

    /// The uids under which its engine runs.
    fn engine_uids(&self) -> Vec<u32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.process.id())).unwrap();
        let status = children.split_whitespace().map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).unwrap());
        let uids = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("Uid:").map(str::to_owned)).unwrap();
            line.split_whitespace().map(|uid| uid.parse().unwrap()).collect::<Vec<u32>>()
        };
        status.flat_map(uids).collect()
    }

    /// Why alice is sent no mail.
    #[track_caller]
    fn refuses(&self) -> String {
        let parameters = json!({ "user": "alice", "password": PASSWORD, "recovery_email": "alice@example.org" });
        match self.client().call::<Value>("io.twostep.Account.BeginSetup", &parameters) {
            Err(Error::Service(failure)) if failure.name == "io.twostep.Account.MethodUnavailable" => {
                failure.parameters["reason"].as_str().unwrap().to_owned()
            }
            other => panic!("{other:?}\n{}", self.logged),
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        stop(&mut self.process);
    }
}

fn call(client: &mut Client, method: &str, parameters: Value) -> Value {
    client.call(&format!("io.twostep.Account.{method}"), &parameters).unwrap_or_else(|e| panic!("{method}: {e}"))
}

fn code_now(secret: &str) -> String {
    let enrolment = Enrolment::existing(otpauth::from_base32(secret).unwrap().to_vec(), Algorithm::Sha1, 6, 30).unwrap();
    let moment = Moment { wall: clock::wall(), ..Moment::default() };
    enrolment.code_at(plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap()).to_string()
}

/// Where this test can't be made: said, and done without.
fn is_impossible() -> bool {
    let aiosmtpd = Command::new("python3").args(["-c", "import aiosmtpd"]).output();
    let (lack, why) = match () {
        () if !getuid().is_root() => (Lack::Root, "only root can start the daemon as it is installed"),
        () if !aiosmtpd.is_ok_and(|run| run.status.success()) => {
            (Lack::Package, "python3 has no module aiosmtpd (python3 -m pip install aiosmtpd)")
        }
        () if !std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNS).is_ok()).join().unwrap() => {
            (Lack::Root, "no right to a mount namespace")
        }
        () => return false,
    };
    skipped(lack, why);
    true
}

/// A machine to be, and its mail server.
struct Scene {
    _folder: tempfile::TempDir,
    etc: PathBuf,
    server: MailServer,
}

impl Scene {
    /// None where this can't be had.
    fn set() -> Option<Self> {
        if is_impossible() {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let etc = folder.path().join("etc");
        lay_etc(&etc);
        let server = MailServer::start(folder.path(), &etc.join("twostep/mail-ca.pem"));
        fs::write(etc.join("twostep/twostepd.toml"), configuration(server.port)).unwrap();
        Some(Self { _folder: folder, etc, server })
    }

    /// A daemon, started with such a file.
    fn daemon_with(&self, text: &str, mode: u32, owner: u32) -> Daemon {
        let file = self.etc.join("twostep/mail-password");
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        chown(&file, Some(owner), None).unwrap();
        Daemon::start(&self.etc)
    }
}

#[test]
fn a_password_file_that_is_not_roots_alone_is_refused_with_the_way_out() {
    let Some(scene) = Scene::set() else { return };
    for (text, mode, owner, reason) in [
        (MAIL_PASSWORD, 0o644, 0, "others can read or change it: chmod 600"),
        (MAIL_PASSWORD, 0o620, 0, "others can read or change it: chmod 600"),
        (MAIL_PASSWORD, 0o600, ENGINE_UID, "it must belong to root"),
        ("\n", 0o600, 0, "its first line is empty"),
    ] {
        let mut daemon = scene.daemon_with(text, mode, owner);
        assert_eq!(daemon.refuses(), "the mail server is not set up rightly (see the log)");
        daemon.logs(&format!("mail: {FILE}: {reason}\n"));
        daemon.logs("its password could not be read (see mail.password_file)");
        assert!(!daemon.logged.contains(MAIL_PASSWORD), "{}", daemon.logged);
    }
}

#[test]
fn a_password_that_the_server_refuses_is_told_and_not_logged() {
    let Some(mut scene) = Scene::set() else { return };
    let mut daemon = scene.daemon_with("another-password\n", 0o600, 0);
    assert_eq!(daemon.refuses(), "the mail server refused the mail (see the log)");
    assert_eq!(scene.server.next(), json!({ "refused": "nas" }));
    daemon.logs("535");
    assert!(!daemon.logged.contains("another-password"), "{}", daemon.logged);
}

#[test]
fn the_password_reaches_the_mail_server_and_a_mailed_code_comes_back() {
    let Some(mut scene) = Scene::set() else { return };
    let daemon = scene.daemon_with(&format!("{MAIL_PASSWORD}\n"), 0o600, 0);
    assert_eq!(daemon.engine_uids(), [ENGINE_UID; 4], "it can't have read the file itself");
    let mut client = daemon.client();
    let alice = json!({ "user": "alice", "password": PASSWORD, "recovery_email": "alice@example.org" });
    let setup = call(&mut client, "BeginSetup", alice)["setup"].clone();
    let mail = scene.server.next();
    assert_eq!((&mail["user"], &mail["encrypted"], &mail["to"]), (&json!("nas"), &json!(true), &json!(["alice@example.org"])), "{mail}");
    let is_code = |line: &&str| line.len() == 6 && line.bytes().all(|byte| byte.is_ascii_digit());
    let code = mail["text"].as_str().unwrap().lines().map(str::trim).find(is_code).expect("a code in the mail");
    assert_eq!(call(&mut client, "ConfirmRecoveryEmail", json!({ "setup": setup, "code": code }))["outcome"], "confirmed");
    let offered = call(&mut client, "OfferSecurityCode", json!({ "setup": setup }));
    let now = code_now(offered["secret"].as_str().unwrap());
    assert_eq!(call(&mut client, "ConfirmSecurityCode", json!({ "setup": setup, "code": now }))["outcome"], "confirmed");
    let done = call(&mut client, "FinishSetup", json!({ "setup": setup, "password": PASSWORD }));
    assert_eq!(done["methods"], json!(["security_code", "email_code", "recovery_code"]));
}
