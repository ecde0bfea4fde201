//! The real server in the test's own process, and an engine that does what the test says.

use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::{oneshot, watch};
use twostep::core::peer::Peer;
use twostep::proto::authenticator::{
    Call, Carrying, DESCRIPTION, Decided, DecisionOutcome, Error, NAME, Nonce, OnlineCode, Reply, Request, Requests,
};
use twostep::proto::secret::Secret;
use twostep::proto::server::Server;
use twostep::proto::varlink::{Failure, Interface, Replies};
use twostep::sys::peer::identify;
use twostep::web::engine::Engine;
use twostep::web::listener::{self, Bound, Tls};
use twostep::web::pages::{self, App, Limits};

use crate::SOON;
use crate::browser::{Browser, HOST};

/// What phones open.
pub const ADDRESS: &str = "https://nas.example:8443";

/// What the engine tells the test.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    Called(Box<Call>),
    /// A stream of Pending was dropped.
    StreamEnded,
}

/// The interface, without any of the engine's checks. The authenticator's name says what happens.
struct Script {
    told: Sender<Told>,
    requests: watch::Receiver<Requests>,
}

struct Ending(Sender<Told>);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.send(Told::StreamEnded);
    }
}

impl Interface for Script {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, _: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        if !matches!(call, Call::Carry {}) {
            let _ = self.told.send(Told::Called(Box::new(call.clone())));
        }
        match call {
            Call::Carry {} => {
                replies.send(&Reply::Carrying(Carrying { address: ADDRESS.into() })).await?;
                std::future::pending().await
            }
            Call::Nonce { authenticator } if authenticator == "gone" => Err(Error::NoSuchAuthenticator {}.into()),
            Call::Nonce { .. } => Ok(Reply::Nonce(Nonce { nonce: "a nonce".into() })),
            Call::Decide { .. } => Ok(Reply::Decided(Decided { outcome: DecisionOutcome::Accepted })),
            Call::OnlineCode { .. } => Ok(Reply::OnlineCode(OnlineCode { code: Secret::new("123456".into()), expires_in: 100 })),
            Call::Pending { authenticator, .. } if authenticator == "gone" => Err(Error::InvalidProof {}.into()),
            Call::Pending { .. } => {
                let _ending = Ending(self.told.clone());
                let mut requests = self.requests.clone();
                loop {
                    let now = requests.borrow_and_update().clone();
                    if now.requests.iter().any(|request| request.account == "removed") {
                        return Err(Error::NoSuchAuthenticator {}.into());
                    }
                    replies.send(&Reply::Requests(now)).await?;
                    if requests.changed().await.is_err() {
                        return Err(Failure::Gone);
                    }
                }
            }
            _ => Err(Error::NoSuchPairing {}.into()),
        }
    }
}

/// A thread with a runtime that ends when this is dropped.
struct Running(Option<oneshot::Sender<()>>, Option<JoinHandle<()>>);

impl Running {
    fn start<F: Future>(work: impl FnOnce() -> F + Send + 'static) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    _ = work() => {}
                    _ = stopped => {}
                }
            });
        });
        Self(Some(stop), Some(thread))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.take());
        let ended = self.1.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking());
    }
}

/// An engine that can go away and come back; the socket stays, as the supervisor keeps it.
pub struct FakeEngine {
    listener: UnixListener,
    told: Sender<Told>,
    heard: Mutex<Receiver<Told>>,
    requests: watch::Sender<Requests>,
    running: Option<Running>,
}

impl FakeEngine {
    pub fn at(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (told, heard) = channel();
        let mut engine = Self { listener, told, heard: Mutex::new(heard), requests: watch::Sender::default(), running: None };
        engine.come_back();
        engine
    }

    pub fn go_away(&mut self) {
        self.running = None;
    }

    pub fn come_back(&mut self) {
        let script = Script { told: self.told.clone(), requests: self.requests.subscribe() };
        let listener = self.listener.try_clone().unwrap();
        let serve =
            async move || Server::new(identify).interface(script).serve(tokio::net::UnixListener::from_std(listener).unwrap()).await;
        self.running = Some(Running::start(serve));
    }

    /// From now on these logins wait.
    pub fn show(&self, accounts: &[&str]) {
        let request = |account: &&str| Request {
            login: format!("of {account}"),
            method: "login_approval".into(),
            account: (*account).into(),
            host: "nas".into(),
            service: "ssh".into(),
            service_claimed: false,
            remote: None,
            number: Some(Secret::new("42".into())),
            nonce: "n".into(),
            requested_at: 1_800_000_000,
            expires_in: 60,
        };
        self.requests.send_replace(Requests { requests: accounts.iter().map(request).collect() });
    }

    /// The next thing that it tells.
    #[track_caller]
    pub fn next(&self) -> Told {
        self.heard.lock().unwrap().recv_timeout(SOON).expect("the engine hears something")
    }

    /// The next thing that it tells, if that comes in time.
    pub fn within(&self, time: Duration) -> Option<Told> {
        self.heard.lock().unwrap().recv_timeout(time).ok()
    }

    /// Whether nothing more was told.
    pub fn heard_nothing(&self) -> bool {
        self.heard.lock().unwrap().try_recv().is_err()
    }
}

/// The server with its engine.
pub struct Scene {
    pub engine: FakeEngine,
    pub carrying: Arc<Engine>,
    pub address: SocketAddr,
    pub certificate: CertificateDer<'static>,
    pub proxy: PathBuf,
    _folder: tempfile::TempDir,
    _running: Running,
}

/// What a scene begins with.
pub struct Setup {
    pub limits: Limits,
    pub insists: bool,
    pub behind_proxy: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { limits: Limits { burst: 10_000, ..Limits::default() }, insists: false, behind_proxy: false }
    }
}

/// A certificate for [`HOST`], and its key.
pub fn certificate() -> (CertificateDer<'static>, KeyPair, String) {
    let key = KeyPair::generate().unwrap();
    let made = CertificateParams::new([HOST.to_owned()]).unwrap().self_signed(&key).unwrap();
    (made.der().clone(), key, made.pem())
}

impl Scene {
    pub fn start() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("engine.sock");
        let engine = FakeEngine::at(&socket);
        let carrying = Engine::new(socket);
        let (certificate, key, _) = certificate();
        let proxy = folder.path().join("web.sock");
        let bound = if setup.behind_proxy { Bound::unix(&proxy).unwrap() } else { Bound::tcp(([127, 0, 0, 1], 0).into()).unwrap() };
        let address = match &bound {
            Bound::Tcp(listener) => listener.local_addr().unwrap(),
            Bound::Unix(_) => ([0; 4], 0).into(),
        };
        let tls = (!setup.behind_proxy).then(|| tls(certificate.clone(), &key));
        let app = App::new(carrying.clone(), ADDRESS.into(), setup.insists, setup.limits);
        let carrier = carrying.clone();
        let running = Running::start(async move || {
            tokio::select! {
                ended = listener::serve(bound, tls, pages::router(app), setup.limits) => match ended.unwrap() {},
                never = carrier.carry(ADDRESS) => match never {},
            }
        });
        let scene = Self { engine, carrying, address, certificate, proxy, _folder: folder, _running: running };
        scene.await_carrying(true);
        scene
    }

    /// A new connection.
    #[track_caller]
    pub fn browser(&self) -> Browser {
        Browser::open(self.address, &self.certificate)
    }

    /// The same, where the server may have enough of it before it is made.
    pub fn try_browser(&self) -> std::io::Result<Browser> {
        Browser::try_open(self.address, &self.certificate)
    }

    /// Waits until the server knows that the engine is there, or away.
    pub fn await_carrying(&self, wanted: bool) {
        for _ in 0..SOON.as_millis() {
            if self.carrying.is_carrying() == wanted {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        panic!("the engine's state does not become {wanted}");
    }
}

fn tls(certificate: CertificateDer<'static>, key: &KeyPair) -> Tls {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Tls::new(Arc::new(builder.with_single_cert(vec![certificate], key).unwrap()), None)
}
