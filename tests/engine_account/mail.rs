//! Codes by e-mail, through a real connection to a mail server on loopback.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use twostep::config::MailSecurity;
use twostep::core::account::{Method, Methods};
use twostep::core::email::BUDGET;
use twostep::core::otpauth;
use twostep::core::totp::Enrolment;
use twostep::engine::store::{StoreError, Stored, Tx};

use crate::engine::{Api, Engine, PASSWORD, SOON, Scene, alice, code, strings, wrong_code};
use crate::person::{Person, Twostep};
use crate::port::Port;

/// `\0nas\0s3cret` in base64: the name and the password of the engine.
const LOGIN: &str = "AG5hcwBzM2NyZXQ=";

/// What the server does that not every server does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Good,
    /// It knows no STARTTLS.
    Open,
    /// It wants a login before it takes a mail.
    Strict,
    /// It refuses every recipient, and repeats the address.
    Refusing,
    /// It accepts the connection and says nothing.
    Silent,
    /// It accepts the connection, and says nothing before the test does.
    Held,
}

/// A mail server on loopback.
pub struct Server {
    port: u16,
    /// Each line that a client has said, mails included.
    lines: Receiver<String>,
    authority: PathBuf,
    /// See [`Manner::Held`].
    gate: Arc<Barrier>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start(security: MailSecurity, manner: Manner) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, config) = certificates(folder.path());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (said, lines) = channel();
        let gate = Arc::new(Barrier::new(2));
        let inner = Arc::clone(&gate);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let session = Session { config: Arc::clone(&config), manner, said: said.clone(), gate: Arc::clone(&inner) };
                // A client that goes away in the middle is the test's own.
                let _ = session.serve(stream.unwrap(), security);
            }
        });
        Self { port, lines, authority, gate, _folder: folder }
    }

    pub fn scene(&self, security: MailSecurity) -> Scene {
        let mut scene = Scene::default();
        scene.config.mail.host = Some("localhost".into());
        scene.config.mail.port = Some(self.port);
        scene.config.mail.security = security;
        scene.config.mail.from = Some("nas@example.org".into());
        scene.config.mail.ca_file = Some(self.authority.to_str().unwrap().into());
        // Alice as her own login service, so that it needs no root.
        scene.config.grant.login = vec!["alice".into()];
        scene
    }

    /// The next mail, and the code in it.
    pub fn mail(&self) -> (String, String) {
        let mut mail = String::new();
        loop {
            let line = self.lines.recv_timeout(SOON).expect("a mail");
            if line == "." {
                break;
            }
            mail += &line;
            mail.push('\n');
        }
        let is_code = |line: &str| line.len() == 6 && line.bytes().all(|b| b.is_ascii_digit());
        let code = mail.lines().map(str::trim).find(|line| is_code(line)).expect("a code in the mail").to_owned();
        (mail, code)
    }

    /// All that was said so far.
    fn said(&self) -> String {
        self.lines.try_iter().collect::<Vec<_>>().join("\n")
    }
}

/// A certificate for localhost, and the file with the authority that has signed it.
fn certificates(folder: &Path) -> (PathBuf, Arc<ServerConfig>) {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = parameters.self_signed(&key).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let issuer = Issuer::new(parameters, key);
    let own = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&own, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(own.serialize_der()).into());
    (file, Arc::new(config.unwrap()))
}

/// One connection of a client (RFC 5321).
struct Session {
    config: Arc<ServerConfig>,
    manner: Manner,
    said: Sender<String>,
    gate: Arc<Barrier>,
}

type Io<T> = std::io::Result<T>;

/// A line without its end; none where the client is gone.
fn line(stream: &mut impl Read) -> Io<Option<String>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        bytes.push(byte[0]);
    }
    Ok(Some(String::from_utf8(bytes).unwrap().trim_end().to_owned()))
}

impl Session {
    fn serve(&self, stream: TcpStream, security: MailSecurity) -> Io<()> {
        if self.manner == Manner::Silent {
            // Until the client gives up.
            return (&stream).read_exact(&mut [0]);
        }
        if self.manner == Manner::Held {
            let _ = self.said.send("connected".into());
            self.gate.wait();
        }
        if security == MailSecurity::Tls {
            return self.converse(&mut self.encrypted(stream), true, true).map(drop);
        }
        let mut stream = stream;
        if self.converse(&mut stream, false, true)? {
            self.converse(&mut self.encrypted(stream), true, false)?;
        }
        Ok(())
    }

    fn encrypted(&self, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
        StreamOwned::new(ServerConnection::new(Arc::clone(&self.config)).unwrap(), stream)
    }

    /// Tells whether the client wants TLS from here on.
    fn converse(&self, stream: &mut (impl Read + Write), encrypted: bool, greets: bool) -> Io<bool> {
        if greets {
            stream.write_all(b"220 localhost\r\n")?;
        }
        let mut known = self.manner != Manner::Strict;
        while let Some(line) = line(stream)? {
            // The test that listens may be over.
            let _ = self.said.send(line.clone());
            let verb = line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
            let answer = match verb.as_str() {
                "EHLO" if encrypted => "250-localhost\r\n250 AUTH PLAIN".into(),
                "EHLO" if self.manner == Manner::Open => "250 localhost".into(),
                "EHLO" => "250-localhost\r\n250 STARTTLS".into(),
                "STARTTLS" => {
                    stream.write_all(b"220 go ahead\r\n")?;
                    return Ok(true);
                }
                "AUTH" if line.ends_with(LOGIN) => {
                    known = true;
                    "235 known".into()
                }
                "AUTH" => "535 unknown".into(),
                "MAIL" if !known => "530 log in first".into(),
                "RCPT" if self.manner == Manner::Refusing => format!("550 {line} refused"),
                "DATA" => self.data(stream)?,
                "QUIT" => "221 bye".into(),
                _ => "250 fine".to_owned(),
            };
            stream.write_all(format!("{answer}\r\n").as_bytes())?;
        }
        Ok(false)
    }

    fn data(&self, stream: &mut (impl Read + Write)) -> Io<String> {
        stream.write_all(b"354 go on\r\n")?;
        while let Some(line) = line(stream)? {
            let over = line == ".";
            let _ = self.said.send(line);
            if over {
                break;
            }
        }
        Ok("250 taken".into())
    }
}

/// Alice with a second step and a recovery address.
fn with_address(tx: &Tx<'_>) -> Result<(), StoreError> {
    let mut stored = Stored::new(alice(), "alice");
    stored.account.methods = Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode);
    stored.account.preferred = Some(Method::SecurityCode);
    stored.account.recovery_email = Some("alice.liddell@example.org".into());
    tx.save_enrolled(&stored, &Enrolment::fresh([7; 20]))
}

#[test]
fn the_address_counts_once_a_mailed_code_came_back() {
    let server = Server::start(MailSecurity::Starttls, Manner::Strict);
    let mut scene = server.scene(MailSecurity::Starttls);
    scene.config.mail.user = Some("nas".into());
    scene.config.mail.password_file = Some("/read/by/the/supervisor".into());
    scene.mail_password = Some("s3cret");
    let engine = Engine::with(scene, |_| Ok(()));
    let mut alice = engine.alice();
    let invalid = json!({ "password": PASSWORD, "recovery_email": "alice@example.org>\r\nBcc: x" });
    assert_eq!(alice.refused("Account.BeginSetup", invalid).0, "InvalidEmail");
    assert!(engine.asked().is_empty(), "nobody types the password twice for a slip in the address");
    let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD, "recovery_email": "alice@example.org" }));
    let setup = &begun["setup"];
    assert_eq!(strings(&begun["available"]), ["security_code", "email_code"]);
    let (mail, code) = server.mail();
    for part in
        ["RCPT TO:<alice@example.org>", "From: twostep <nas@example.org>", "To: alice@example.org", "Auto-Submitted: auto-generated"]
    {
        assert!(mail.contains(part), "{part} in {mail}");
    }
    let subject = mail.lines().find(|line| line.starts_with("Subject: ")).unwrap();
    assert!(!subject.contains(&code), "a subject is shown on a locked phone");
    let soon = json!({ "setup": setup, "recovery_email": "alice@example.net" });
    let (error, parameters) = alice.refused("Account.BeginSetup", soon);
    assert!(error == "MethodUnavailable" && parameters["reason"].as_str().unwrap().contains("too many mails"), "{parameters}");
    let wrong = if code == "000000" { "000001" } else { "000000" };
    assert_eq!(alice.call("Account.ConfirmRecoveryEmail", json!({ "setup": setup, "code": wrong }))["outcome"], "wrong");
    assert_eq!(alice.call("Account.ConfirmRecoveryEmail", json!({ "setup": setup, "code": code }))["outcome"], "confirmed");
    assert_eq!(alice.status().get("recovery_email"), None, "not before the end");
    let (_, done) = alice.finish(setup);
    assert_eq!(strings(&done["methods"]), ["security_code", "email_code", "recovery_code"]);
    assert_eq!(alice.status()["recovery_email"], "alice@example.org");
    let log = engine.log();
    assert!(log.contains("a code was mailed") && !log.contains(&code) && !log.contains("s3cret"), "{log}");
}

#[test]
fn an_address_that_was_not_confirmed_is_left_out() {
    let server = Server::start(MailSecurity::None, Manner::Good);
    let engine = Engine::with(server.scene(MailSecurity::None), |_| Ok(()));
    let mut alice = engine.alice();
    let setup = &alice.call("Account.BeginSetup", json!({ "password": PASSWORD, "recovery_email": "alice@example.org" }))["setup"];
    let (_, done) = alice.finish(setup);
    assert_eq!(strings(&done["methods"]), ["security_code", "recovery_code"]);
    assert_eq!(alice.status().get("recovery_email"), None);
}

#[test]
fn another_address_takes_over_once_it_is_confirmed() {
    let server = Server::start(MailSecurity::Tls, Manner::Good);
    let engine = Engine::with(server.scene(MailSecurity::Tls), with_address);
    let mut service = engine.alice();
    let setup = &service.call("Account.SetRecoveryEmail", json!({ "password": PASSWORD, "recovery_email": "al@example.net" }))["setup"];
    let (_, code) = server.mail();
    assert_eq!(service.status()["recovery_email"], "alice.liddell@example.org", "the former until then");
    assert_eq!(service.refused("Account.FinishSetup", json!({ "setup": setup, "password": PASSWORD })).0, "NoSuchSetup");
    assert_eq!(service.refused("Account.OfferSecurityCode", json!({ "setup": setup })).0, "NoSuchSetup");
    assert_eq!(service.call("Account.ConfirmRecoveryEmail", json!({ "setup": setup, "code": code }))["outcome"], "confirmed");
    assert_eq!(service.status()["recovery_email"], "al@example.net");
    assert_eq!(service.refused("Account.ConfirmRecoveryEmail", json!({ "setup": setup, "code": code })).0, "NoSuchSetup", "it serves once");
    assert!(engine.audit().iter().any(|event| event == "recovery_email_changed"));
}

#[test]
fn a_mailed_code_lets_in_and_the_address_is_masked() {
    let server = Server::start(MailSecurity::None, Manner::Good);
    let engine = Engine::with(server.scene(MailSecurity::None), with_address);
    let mut service = engine.alice();
    let login = service.start()["login"].clone();
    let asked = service.call("Login.Challenge", json!({ "login": login, "method": "email_code" }));
    assert_eq!(asked["sent_to"], "a***@example.org");
    assert!(!asked["prompt"].as_str().unwrap().contains("liddell"));
    let (_, code) = server.mail();
    assert_eq!(service.answer(&login, "email_code", &code)["outcome"], "verified");
}

/// What a login is told where the mail can't be sent.
fn unsent(mut service: Api) -> String {
    let login = service.start()["login"].clone();
    let (error, parameters) = service.refused("Login.Challenge", json!({ "login": login, "method": "email_code" }));
    assert_eq!((error.as_str(), &parameters["method"]), ("MethodUnavailable", &json!("email_code")));
    parameters["reason"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_is_away_is_told_and_the_setup_goes_on_without_it() {
    let server = Server::start(MailSecurity::Starttls, Manner::Good);
    let mut scene = server.scene(MailSecurity::Starttls);
    let nobody = Port::at([127, 0, 0, 1]);
    scene.config.mail.port = Some(nobody.address.port());
    let engine = Engine::with(scene, |_| Ok(()));
    let mut alice = engine.alice();
    let with_mail = json!({ "password": PASSWORD, "recovery_email": "alice@example.org" });
    let (error, parameters) = alice.refused("Account.BeginSetup", with_mail);
    assert_eq!((error.as_str(), &parameters["method"]), ("MethodUnavailable", &json!("email_code")));
    assert!(parameters["reason"].as_str().unwrap().contains("can't be reached"), "{parameters}");
    alice.set_up();
}

#[test]
fn a_server_that_hangs_delays_nobody_else_and_is_given_up() {
    let server = Server::start(MailSecurity::None, Manner::Silent);
    let engine = Engine::with(server.scene(MailSecurity::None), with_address);
    let (service, mut other) = (engine.alice(), engine.alice());
    let waits = std::thread::spawn(|| unsent(service));
    while !waits.is_finished() {
        assert_eq!(other.status()["status"], "enabled");
    }
    assert_eq!(waits.join().unwrap(), "the mail server does not answer");
}

#[test]
fn whoever_waits_for_a_mail_can_go_another_way_meanwhile() {
    let server = Server::start(MailSecurity::None, Manner::Held);
    let engine = Engine::with(server.scene(MailSecurity::None), with_address);
    let mut service = engine.alice();
    let login = service.start()["login"].clone();
    let asked = engine.alice().replies("Login.Challenge", json!({ "login": login, "method": "email_code" }));
    assert_eq!(server.lines.recv_timeout(SOON).unwrap(), "connected");
    assert_eq!(service.call("Login.Wait", json!({ "login": login }))["outcome"], "waiting");
    service.call("Login.Challenge", json!({ "login": login, "method": "security_code" }));
    let wrong = wrong_code(&otpauth::base32(&Enrolment::fresh([7; 20])));
    assert_eq!(service.answer(&login, "security_code", &wrong)["outcome"], "wrong");
    service.call("Login.Cancel", json!({ "login": login }));
    server.gate.wait();
    // The server is given up after ten seconds: none of the calls has waited for that.
    assert_eq!(asked.next()["sent_to"], "a***@example.org");
}

#[test]
fn a_mail_that_did_not_leave_is_not_said_to_be_on_its_way() {
    let server = Server::start(MailSecurity::None, Manner::Refusing);
    let engine = Engine::with(server.scene(MailSecurity::None), with_address);
    let mut service = engine.alice();
    let login = service.start()["login"].clone();
    let mut again = || service.refused("Login.Challenge", json!({ "login": login, "method": "email_code" })).1["reason"].clone();
    assert_eq!(again(), "the mail server refused the mail (see the log)");
    // On a busy machine it may not be so soon that the pause is met, but there are only so many.
    assert!((0..BUDGET).any(|_| again().as_str().unwrap().starts_with("too many mails")));
}

#[test]
fn nothing_is_said_to_a_server_whose_certificate_is_not_trusted() {
    let (server, stranger) = (Server::start(MailSecurity::Starttls, Manner::Strict), Server::start(MailSecurity::Starttls, Manner::Strict));
    let mut scene = stranger.scene(MailSecurity::Starttls);
    scene.config.mail.port = Some(server.port);
    scene.config.mail.user = Some("nas".into());
    scene.mail_password = Some("s3cret");
    let engine = Engine::with(scene, with_address);
    assert!(unsent(engine.alice()).contains("not trusted"));
    assert_eq!(server.said().lines().last(), Some("STARTTLS"));
}

#[test]
fn no_mail_goes_out_in_the_open_where_the_server_has_no_tls() {
    let server = Server::start(MailSecurity::Starttls, Manner::Open);
    let engine = Engine::with(server.scene(MailSecurity::Starttls), with_address);
    unsent(engine.alice());
    assert!(!server.said().contains("MAIL FROM"));
}

#[test]
fn a_refusal_of_the_server_gives_nothing_of_the_address_away() {
    let server = Server::start(MailSecurity::None, Manner::Refusing);
    let engine = Engine::with(server.scene(MailSecurity::None), with_address);
    let reason = unsent(engine.alice());
    assert_eq!(reason, "the mail server refused the mail (see the log)");
    assert!(engine.log().contains("550"), "the operator sees why");
}

#[test]
fn a_server_that_wants_a_login_gets_no_mail_without_the_password() {
    let server = Server::start(MailSecurity::Starttls, Manner::Strict);
    let mut scene = server.scene(MailSecurity::Starttls);
    scene.config.mail.user = Some("nas".into());
    let engine = Engine::with(scene, with_address);
    assert!(unsent(engine.alice()).contains("not set up rightly"));
    assert!(engine.log().contains("mail.password_file"));
}

/// The rest of the wizard, from the QR code on. Returns what it says at the end.
fn finishes(mut person: Person) -> String {
    person.awaits("type in: ");
    let secret = person.awaits("\n");
    person.answers("Code that the app shows: ", &code(&secret, 0));
    person.answers("Password, once more: ", PASSWORD);
    let (status, shown) = person.leaves();
    assert!(status.success(), "{shown}");
    shown
}

#[test]
fn the_wizard_asks_for_the_mailed_code_and_goes_on_without_where_nothing_came() {
    let server = Server::start(MailSecurity::None, Manner::Good);
    let question = "Code from the e-mail (Enter alone goes on without): ";
    for came in [true, false] {
        let engine = Engine::with(server.scene(MailSecurity::None), |_| Ok(()));
        let mut person = Twostep::alice(engine.folder()).at_a_terminal(&["setup", "--email", "alice@example.org"]);
        person.answers("Password: ", PASSWORD);
        person.awaits("This NAS offers: Security Code, e-mail code\n");
        person.awaits(question);
        let (_, mailed) = server.mail();
        person.types(if came { &mailed } else { "" });
        let methods = if came { "Security Code, e-mail code, recovery code" } else { "Security Code, recovery code" };
        let shown = finishes(person);
        assert!(shown.contains(&format!("2-step verification is on: {methods}\n")), "{shown}");
        let address = if came { json!("alice@example.org") } else { json!(null) };
        assert_eq!(engine.alice().status()["recovery_email"], address);
    }
}

/// Alice, who is asked for a mailed code first.
fn with_mail_first(tx: &Tx<'_>) -> Result<(), StoreError> {
    let mut stored = Stored::new(alice(), "alice");
    stored.account.methods = Methods::NONE.with(Method::SecurityCode).with(Method::EmailCode);
    stored.account.preferred = Some(Method::EmailCode);
    stored.account.recovery_email = Some("alice@example.org".into());
    tx.save_enrolled(&stored, &Enrolment::fresh([7; 20]))
}

#[test]
fn a_mail_server_that_is_away_leaves_a_person_the_other_ways_and_a_script_none() {
    let server = Server::start(MailSecurity::None, Manner::Refusing);
    let engine = Engine::with(server.scene(MailSecurity::None), with_mail_first);
    let command = Twostep::alice(engine.folder());
    let script = command.run(&["verify", "alice"], "123456\n");
    assert_eq!(script.status.code(), Some(1), "its answer is no Security Code");
    assert!(String::from_utf8(script.stderr).unwrap().ends_with("twostep: e-mail code: the mail server refused the mail (see the log)\n"));
    let mut person = command.at_a_terminal(&["verify", "alice"]);
    person.awaits("e-mail code: ");
    let secret = otpauth::base32(&Enrolment::fresh([7; 20]));
    person.answers("Enter the code that your authenticator app shows: ", &code(&secret, 0));
    let (status, shown) = person.leaves();
    assert!(status.success() && shown.ends_with("verified\n"), "{shown}");
}
