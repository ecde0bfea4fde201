//! Time passes while a phone and a login wait: over the socket, with a clock that the test winds.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use super::*;
use crate::config::Config;
use crate::core::account::{Account, Method, Methods};
use crate::core::authenticator::PublicKey;
use crate::core::authenticator::fake::Signer;
use crate::core::clock::Moment;
use crate::core::login::{Login, Origin, TRUST_WITHIN};
use crate::core::sessions::Owner;
use crate::core::time::Wall;
use crate::core::totp::Enrolment;
use crate::engine::desk::Parts;
use crate::engine::directory::Directory;
use crate::engine::login::LoginInterface;
use crate::engine::mail::Mailer;
use crate::engine::root::RootChannel;
use crate::engine::store::{Authenticator, Options, SealingKey, Store, Stored};
use crate::proto::privileged::Channel;
use crate::proto::secret::Secret;
use crate::proto::server::Server;

const ALICE: u32 = 1001;

/// Seconds since the boot.
static CLOCK: AtomicU64 = AtomicU64::new(1000);

/// They share the clock.
static ONE_BY_ONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn moment() -> Moment {
    let seconds = CLOCK.load(Ordering::Relaxed);
    let boot = BootTime(Duration::from_secs(seconds));
    Moment { wall: Wall(1_790_000_000 + seconds.cast_signed()), boot, synchronised: true, ..Moment::default() }
}

async fn pass(seconds: u64) {
    CLOCK.fetch_add(seconds, Ordering::Relaxed);
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// The two interfaces at a socket in `folder`, for alice with a phone.
async fn serve(folder: &Path, phone: &Signer) -> Arc<Desk> {
    std::fs::write(folder.join("passwd"), format!("root:x:0:0::/:/bin/sh\nalice:x:{ALICE}:{ALICE}::/:/bin/sh\n")).unwrap();
    std::fs::write(folder.join("group"), "root:x:0:\n").unwrap();
    let store = Store::open(Options::new(folder.into(), || moment().wall), SealingKey::from_slice(&[1; 32]));
    let key = PublicKey::parse(&phone.public_key()).unwrap();
    let methods = [Method::SecurityCode, Method::LoginApproval].into_iter().collect::<Methods>();
    let seeded = store.write(move |tx| {
        let mut stored = Stored::new(ALICE, "alice");
        stored.account = Account { methods, preferred: Some(Method::LoginApproval), ..Account::default() };
        tx.save_enrolled(&stored, &Enrolment::fresh([7; 20]))?;
        let (id, name, public_key) = ("PHONE".into(), "phone".into(), key.spki().to_vec());
        tx.add_authenticator(&Authenticator { id, uid: ALICE, name, public_key, paired_at: Wall(0), last_seen: None })
    });
    seeded.await.unwrap();
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    let (root, channel) = RootChannel::new(Channel::new(theirs).unwrap(), mpsc::channel(1).0);
    tokio::spawn(async move {
        let _root = ours;
        let _ended = channel.run().await;
    });
    let mut config = Config::default();
    config.phone.address = Some("https://nas.example".into());
    let mailer = Mailer::new(&config.mail, None);
    let directory = Directory::new(folder.into(), false);
    let desk = Desk::open(Parts { store, directory, root, config, mailer, host: "NAS".into(), moment, owner: 0 }).await;
    let listener = UnixListener::bind(folder.join("socket")).unwrap();
    let server = Server::new(|_| Ok(Peer { pid: 1, uid: 0, gid: 0, groups: vec![] }));
    let server = server.interface(LoginInterface(Arc::clone(&desk))).interface(AuthenticatorInterface(Arc::clone(&desk)));
    tokio::spawn(server.serve(listener));
    desk
}

/// A connection.
struct Line(BufReader<UnixStream>);

impl Line {
    async fn open(folder: &Path) -> Self {
        Self(BufReader::new(UnixStream::connect(folder.join("socket")).await.unwrap()))
    }

    async fn send(&mut self, method: &str, parameters: Value, more: bool) {
        let call = json!({ "method": format!("io.twostep.{method}"), "parameters": parameters, "more": more });
        self.0.get_mut().write_all(format!("{call}\0").as_bytes()).await.unwrap();
    }

    async fn ask(&mut self, method: &str, parameters: Value, more: bool) -> Value {
        self.send(method, parameters, more).await;
        self.next().await
    }

    async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.ask(method, parameters, false).await
    }

    /// The next reply: its parameters, or an error's name.
    async fn next(&mut self) -> Value {
        let mut frame = vec![];
        self.0.read_until(0, &mut frame).await.unwrap();
        let mut reply: Value = serde_json::from_slice(frame.strip_suffix(b"\0").unwrap()).unwrap();
        if reply["error"].is_string() { reply["error"].take() } else { reply["parameters"].take() }
    }
}

async fn watch(phone: &Signer, line: &mut Line) -> Value {
    let nonce = line.call("Authenticator.Nonce", json!({ "authenticator": "PHONE" })).await["nonce"].as_str().unwrap().to_owned();
    let proof = phone.sign(&Signed::Pending { authenticator: "PHONE", nonce: &nonce });
    line.ask("Authenticator.Pending", json!({ "authenticator": "PHONE", "nonce": nonce, "proof": proof }), true).await
}

/// Alice's login, which asks her phone: its name, the challenge, and what the phone was shown.
async fn asked(phone: &Signer, line: &mut Line) -> (Value, Value, Value) {
    let login = line.call("Login.Start", json!({ "user": "alice", "service": "sshd" })).await["login"].clone();
    let challenge = line.call("Login.Challenge", json!({ "login": login, "method": "login_approval" })).await;
    let nonce = nonce(line).await;
    let proof = phone.sign(&Signed::Pending { authenticator: "PHONE", nonce: &nonce });
    let seen = line.call("Authenticator.Pending", json!({ "authenticator": "PHONE", "nonce": nonce, "proof": proof })).await;
    (login, challenge, seen["requests"][0].clone())
}

async fn nonce(line: &mut Line) -> String {
    line.call("Authenticator.Nonce", json!({ "authenticator": "PHONE" })).await["nonce"].as_str().unwrap().to_owned()
}

fn approval(phone: &Signer, challenge: &Value, request: &Value) -> Value {
    let (id, nonce, number) = (request["login"].as_str().unwrap(), request["nonce"].as_str().unwrap(), challenge["number"].as_str());
    let proof = phone.sign(&Signed::Decide { authenticator: "PHONE", login: id, approve: true, number, nonce });
    json!({ "authenticator": "PHONE", "login": id, "approve": true, "number": number, "nonce": nonce, "proof": proof })
}

/// Alice's login on the desk.
fn on(desk: &Desk, login: &Value) -> crate::engine::desk::OpenLogin {
    desk.logins().get(login.as_str().unwrap()).cloned().unwrap()
}

/// Lets all others go on until so many more of them wait for a login's turn, or have it.
async fn queued(open: &crate::engine::desk::OpenLogin, references: usize) {
    let wait = async {
        while Arc::strong_count(open) < references {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("they wait for its turn");
    // The last one has a reference: it waits for its turn as soon as it runs no more.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_login_that_is_cancelled_before_a_decision_has_its_turn_is_not_decided() {
    let _alone = ONE_BY_ONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let phone = Signer::new();
    let desk = serve(folder.path(), &phone).await;
    let (mut carrier, mut service) = (Line::open(folder.path()).await, Line::open(folder.path()).await);
    let (mut cancelling, mut deciding) = (Line::open(folder.path()).await, Line::open(folder.path()).await);
    carrier.ask("Authenticator.Carry", json!({}), true).await;
    let (login, challenge, request) = asked(&phone, &mut service).await;
    let open = on(&desk, &login);
    let turn = open.lock().await;
    let before = Arc::strong_count(&open);
    cancelling.send("Login.Cancel", json!({ "login": login }), false).await;
    queued(&open, before + 2).await;
    deciding.send("Authenticator.Decide", approval(&phone, &challenge, &request), false).await;
    queued(&open, before + 3).await;
    drop(turn);
    assert_eq!(cancelling.next().await, json!({}));
    assert_eq!(deciding.next().await["outcome"], "expired");
    assert!(open.lock().await.verified_by().is_none());
}

#[tokio::test]
async fn a_login_that_makes_room_ends_its_request() {
    let _alone = ONE_BY_ONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let phone = Signer::new();
    let desk = serve(folder.path(), &phone).await;
    let (mut carrier, mut service, mut waiting) =
        (Line::open(folder.path()).await, Line::open(folder.path()).await, Line::open(folder.path()).await);
    carrier.ask("Authenticator.Carry", json!({}), true).await;
    let (login, ..) = asked(&phone, &mut service).await;
    // Somebody who decides has it by now.
    let open = on(&desk, &login);
    assert_eq!(waiting.ask("Login.Wait", json!({ "login": login }), true).await["outcome"], "waiting");
    for _ in 0..64 {
        service.call("Login.Start", json!({ "user": "alice", "service": "sshd" })).await;
    }
    assert_eq!(waiting.next().await["outcome"], "expired", "it is told at once");
    assert!(open.lock().await.asked().is_none());
}

#[tokio::test]
async fn where_all_places_are_taken_a_login_that_only_vouches_goes_first_and_none_for_a_stranger_in_vain() {
    let _alone = ONE_BY_ONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let desk = serve(folder.path(), &Signer::new()).await;
    let (now, before) = (moment().boot, BootTime(moment().boot.0 - TRUST_WITHIN));
    let origin = |uid| Origin { uid, user: "alice".into(), service: "sshd".into(), claimed: false, remote: None };
    let open = |owner, login| desk.open_login(owner, login, now);
    let is_there = |name: &Secret| desk.logins().get(name.expose()).is_some();
    // The older of the two could still trust its device.
    let fresh = open(Owner::Service(1), Login::verified(origin(1), now, 1)).unwrap();
    let vouching = open(Owner::Service(2), Login::verified(origin(2), before, 1)).unwrap();
    for uid in 0..1024 {
        open(Owner::Stranger(uid), Login::open(origin(uid), now)).unwrap();
    }
    for uid in 3..3073 {
        open(Owner::Service(uid), Login::open(origin(uid), now)).unwrap();
    }
    assert!(open(Owner::Stranger(5000), Login::open(origin(5000), now)).is_err());
    assert!(is_there(&fresh) && is_there(&vouching));
    open(Owner::Service(5000), Login::open(origin(5000), now)).unwrap();
    assert!(is_there(&fresh) && !is_there(&vouching));
    open(Owner::Service(5001), Login::open(origin(5001), now)).unwrap();
    assert!(!is_there(&fresh));
    assert!(open(Owner::Service(5002), Login::open(origin(5002), now)).is_err());
}

#[tokio::test]
async fn a_request_that_nobody_answers_expires_on_both_sides_and_its_nonce_too() {
    let _alone = ONE_BY_ONE.lock().await;
    let folder = tempfile::tempdir().unwrap();
    let phone = Signer::new();
    serve(folder.path(), &phone).await;
    let (mut carrier, mut service) = (Line::open(folder.path()).await, Line::open(folder.path()).await);
    let (mut seen, mut waiting) = (Line::open(folder.path()).await, Line::open(folder.path()).await);
    carrier.ask("Authenticator.Carry", json!({}), true).await;
    assert_eq!(watch(&phone, &mut seen).await["requests"], json!([]));
    let login = service.call("Login.Start", json!({ "user": "alice", "service": "sshd" })).await["login"].clone();
    let challenge = service.call("Login.Challenge", json!({ "login": login, "method": "login_approval" })).await;
    let request = seen.next().await["requests"][0].clone();
    assert_eq!(request["expires_in"], 120);
    assert_eq!(waiting.ask("Login.Wait", json!({ "login": login }), true).await["outcome"], "waiting");
    let late = service.call("Authenticator.Nonce", json!({ "authenticator": "PHONE" })).await["nonce"].as_str().unwrap().to_owned();
    // From here on no time passes but the test's: as long as a blocking task waits, the clock does not run ahead while the store works.
    let (_end, ended) = std::sync::mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || ended.recv());
    tokio::time::pause();
    pass(119).await;
    assert_eq!(service.call("Login.Wait", json!({ "login": login })).await["outcome"], "waiting");
    // A little more, since a timer is no earlier than it was asked for.
    pass(2).await;
    assert_eq!(waiting.next().await["outcome"], "expired");
    assert_eq!(seen.next().await["requests"], json!([]));
    let (id, number) = (request["login"].as_str().unwrap(), challenge["number"].as_str());
    for nonce in [request["nonce"].as_str().unwrap(), &late] {
        let proof = phone.sign(&Signed::Decide { authenticator: "PHONE", login: id, approve: true, number, nonce });
        let said = json!({ "authenticator": "PHONE", "login": id, "approve": true, "number": number, "nonce": nonce, "proof": proof });
        assert_eq!(service.call("Authenticator.Decide", said).await, "io.twostep.Authenticator.InvalidProof", "its time is over");
    }
    let nonce = service.call("Authenticator.Nonce", json!({ "authenticator": "PHONE" })).await["nonce"].as_str().unwrap().to_owned();
    let proof = phone.sign(&Signed::Decide { authenticator: "PHONE", login: id, approve: true, number, nonce: &nonce });
    let said = json!({ "authenticator": "PHONE", "login": id, "approve": true, "number": number, "nonce": nonce, "proof": proof });
    assert_eq!(service.call("Authenticator.Decide", said).await["outcome"], "expired", "with a fresh one it is too late all the same");
    assert_eq!(service.call("Login.Wait", json!({ "login": login })).await["outcome"], "expired");
}
