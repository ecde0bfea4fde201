//! A phone that reaches the engine through twostep-web, as a reverse proxy hands its calls on: the real engine, the real server.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use twostep::config::paths::Paths;
use twostep::web::engine::Engine as Way;
use twostep::web::listener::{self, Bound};
use twostep::web::pages::{self, App, Limits};

use crate::engine::{Api, Engine, PASSWORD, SOON, Scene};
use crate::handset::{ADDRESS, Phone, Scanned};

/// The server, until dropped.
struct Web {
    socket: PathBuf,
    way: Arc<Way>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Web {
    fn start(folder: &Path) -> Self {
        let socket = folder.join("web.sock");
        let bound = Bound::unix(&socket).unwrap();
        let way = Way::new(Paths::scratch(folder).socket());
        let app = App::new(way.clone(), ADDRESS.into(), false, Limits::default());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let carrier = way.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    ended = listener::serve(bound, None, pages::router(app), Limits::default()) => match ended.unwrap() {},
                    never = carrier.carry(ADDRESS) => match never {},
                    _ = stopped => {}
                }
            });
        });
        let web = Self { socket, way, stop: Some(stop), thread: Some(thread) };
        web.await_carrying();
        web
    }

    fn await_carrying(&self) {
        for _ in 0..SOON.as_millis() {
            if self.way.is_carrying() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("the engine is not found");
    }

    fn send(&self, method: &str, parameters: &Value) -> BufReader<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let body = parameters.to_string();
        let head = format!("POST /api/{method} HTTP/1.1\r\nHost: nas.example\r\nOrigin: {ADDRESS}\r\nContent-Type: application/json\r\n");
        stream.write_all(format!("{head}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        BufReader::new(stream)
    }

    /// One call: the status, and what was answered.
    #[track_caller]
    fn post(&self, method: &str, parameters: &Value) -> (u16, Value) {
        let mut answer = String::new();
        self.send(method, parameters).read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// One call that goes well.
    #[track_caller]
    fn call(&self, method: &str, parameters: &Value) -> Value {
        let (status, reply) = self.post(method, parameters);
        assert_eq!(status, 200, "{method}: {reply}");
        reply
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// A phone's open stream.
struct Waiting(BufReader<UnixStream>);

impl Waiting {
    /// What the next event shows. `None` once the stream has ended.
    fn next(&mut self) -> Option<Vec<Value>> {
        let mut line = String::new();
        while self.0.read_line(&mut line).unwrap() > 0 {
            if let Some(data) = line.strip_prefix("data: ") {
                let shown: Value = serde_json::from_str(data).unwrap();
                return Some(shown["requests"].as_array().unwrap().clone());
            }
            line.clear();
        }
        None
    }
}

/// Alice's phone scans a pairing's QR code and confirms the number that it makes of its own key.
#[track_caller]
fn pair(web: &Web, uri: &Value) -> Phone {
    let (mut phone, scanned) = (Phone::new("mine"), Scanned::read(uri));
    let paired = web.call("Pair", &phone.presents(&scanned));
    phone.id = paired["authenticator"].as_str().unwrap().into();
    assert_eq!(paired["number"], scanned.number(&phone.public_key()));
    let confirmed = phone.confirms(&paired["nonce"], paired["number"].as_str());
    assert_eq!(web.call("ConfirmPairing", &confirmed), json!({ "outcome": "paired" }));
    phone
}

#[track_caller]
fn listen(web: &Web, phone: &Phone) -> Waiting {
    let nonce = web.call("Nonce", &json!({ "authenticator": phone.id }));
    Waiting(web.send("Pending", &phone.asks_with(nonce["nonce"].as_str().unwrap())))
}

fn engine() -> Engine {
    let mut scene = Scene::default();
    scene.config.grant.login = vec!["alice".into()];
    // Where the test is not root's, alice is who runs it.
    scene.config.grant.authenticator = vec!["alice".into()];
    scene.config.phone.address = Some(ADDRESS.into());
    Engine::with(scene, |_| Ok(()))
}

/// A setup of alice's with a phone for Login Approval in it, finished.
#[track_caller]
fn set_up(alice: &mut Api, web: &Web) -> Phone {
    let begun = alice.call("Account.BeginSetup", json!({ "password": PASSWORD }));
    let offered = alice.call("Account.OfferPairing", json!({ "setup": begun["setup"], "method": "login_approval" }));
    let phone = pair(web, &offered["uri"]);
    alice.finish(&begun["setup"]);
    phone
}

#[test]
fn a_phone_pairs_and_lets_a_login_in_over_the_web() {
    let engine = engine();
    let web = Web::start(engine.folder());
    let mut alice = engine.alice();
    let phone = set_up(&mut alice, &web);
    let mut waiting = listen(&web, &phone);
    assert_eq!(waiting.next().unwrap(), [json!(null); 0]);
    let login = alice.start()["login"].clone();
    let challenged = alice.call("Login.Challenge", json!({ "login": login, "method": "login_approval" }));
    let shown = waiting.next().unwrap();
    assert_eq!(shown[0]["number"], challenged["number"], "both show the same number");
    let decision = phone.decision(&shown[0], true, shown[0]["number"].as_str());
    assert_eq!(web.call("Decide", &decision), json!({ "outcome": "accepted" }));
    assert_eq!(alice.call("Login.Wait", json!({ "login": login }))["outcome"], "verified");
    // A carrier that keeps what it has carried gains nothing.
    assert_eq!(web.post("Decide", &decision).1["error"], "io.twostep.Authenticator.InvalidProof");
}

#[test]
fn a_phone_that_waits_notices_a_restart_of_the_engine_and_is_carried_for_again() {
    let engine = engine();
    let web = Web::start(engine.folder());
    let phone = set_up(&mut engine.alice(), &web);
    let mut waiting = listen(&web, &phone);
    waiting.next().unwrap();
    let engine = engine.restart();
    assert_eq!(waiting.next(), None);
    // The first answer after the gap comes as soon as the engine is found again. Asked for seldom enough that no limit on requests is met.
    let nonce = json!({ "authenticator": phone.id });
    let pause = Duration::from_millis(50);
    let back = (0..SOON.as_millis() / pause.as_millis()).any(|_| {
        std::thread::park_timeout(pause);
        web.post("Nonce", &nonce).0 == 200
    });
    assert!(back);
    assert_eq!(listen(&web, &phone).next().unwrap(), [json!(null); 0]);
    drop(engine);
}
