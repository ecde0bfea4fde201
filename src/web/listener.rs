//! Connections: accepted, counted, and served HTTP/1.1, over TLS or behind a reverse proxy.
//!
//! ```text
//! accepted ──► counted ──► TLS handshake ──► request ⇄ answer ──► closed
//!                 │ too many      │ too slow     │ too slow, too large, hang-up
//!                 └───────────────┴──────────────┴────────────────────────────► closed
//! ```
//! Without a connection there is no timer. One that asks for nothing is closed after the time for a request's head, one that asks too often or has
//! lived long after an answer; so none holds its place for ever but where a phone waits.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::fs::{self, Permissions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use nix::sys::socket::{setsockopt, sockopt};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::certificate::Renewal;
use super::limits::{Buckets, Place, Places, Quiet, Remote};
use super::pages::Limits;
use super::patience::Patient;
use crate::sys::clock;

/// How long accepting rests where the process has no descriptor or memory left.
const REST: Duration = Duration::from_millis(200);

/// The longest head of a request in bytes.
const LONGEST_HEAD: usize = 16 * 1024;

/// The most header fields.
const MOST_FIELDS: usize = 64;

/// After this many milliseconds without the other end's acknowledgement a connection is over: a phone that left the network says no good-bye.
const UNACKNOWLEDGED: u32 = 60_000;

/// A socket that listens, before there is a runtime.
#[derive(Debug)]
pub enum Bound {
    /// For TLS.
    Tcp(std::net::TcpListener),
    /// For a reverse proxy.
    Unix(std::os::unix::net::UnixListener),
}

impl Bound {
    /// Listens at a TCP address. `[::]` takes IPv4 as well, and where there is no IPv6 that alone.
    ///
    /// # Errors
    /// Where the kernel refuses it.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let bound = match std::net::TcpListener::bind(address) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT) && address.ip().is_unspecified() => {
                std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()))
            }
            other => other,
        }?;
        bound.set_nonblocking(true)?;
        Ok(Self::Tcp(bound))
    }

    /// Listens at a Unix socket for our own group, which the proxy's user is in: whoever connects is believed about who asks. A socket that nobody
    /// listens on any more is replaced.
    ///
    /// # Errors
    /// Where the kernel refuses it, or somebody listens there.
    pub fn unix(path: &Path) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket()) {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(io::ErrorKind::AddrInUse.into());
            }
            fs::remove_file(path)?;
        }
        let bound = std::os::unix::net::UnixListener::bind(path)?;
        fs::set_permissions(path, Permissions::from_mode(0o660))?;
        bound.set_nonblocking(true)?;
        Ok(Self::Unix(bound))
    }
}

/// The TLS configuration in force; a new one is for new connections.
#[derive(Clone)]
pub struct Tls {
    config: Arc<Mutex<Arc<ServerConfig>>>,
    renewal: Option<Arc<Renewal>>,
}

impl Tls {
    /// With this to begin with. `renewal` is asked at each connection: without one nothing wakes.
    #[must_use]
    pub fn new(config: Arc<ServerConfig>, renewal: Option<Renewal>) -> Self {
        Self { config: Arc::new(Mutex::new(config)), renewal: renewal.map(Arc::new) }
    }

    /// From now on this.
    pub fn replace(&self, config: Arc<ServerConfig>) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn acceptor(&self) -> TlsAcceptor {
        if let Some(config) = self.renewal.as_ref().and_then(|renewal| renewal.due(clock::wall())) {
            self.replace(config);
        }
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

/// What every connection is served with.
#[derive(Clone)]
struct Serving {
    router: Router,
    limits: Limits,
    /// On a Unix socket the proxy tells who asks.
    behind_proxy: bool,
}

/// Serves until it is dropped; connections under way end with the runtime.
///
/// # Errors
/// Where the socket can't be watched.
pub async fn serve(bound: Bound, tls: Option<Tls>, router: Router, limits: Limits) -> io::Result<Infallible> {
    let behind_proxy = matches!(bound, Bound::Unix(_));
    let serving = Serving { router, limits, behind_proxy };
    let each = if behind_proxy { limits.connections } else { limits.connections_each };
    let places = Places::new(limits.connections, each);
    // Each handshake is work, so it is counted before it begins; a proxy's connections are its own affair.
    let buckets = Buckets::new(limits.burst, limits.period);
    let refused = Quiet::default();
    match bound {
        Bound::Unix(listener) => {
            let listener = UnixListener::from_std(listener)?;
            loop {
                if let Some((stream, _)) = rested(listener.accept().await).await
                    && let Some(place) = admitted(&places, Remote::UNKNOWN, &refused)
                {
                    tokio::spawn(serving.clone().over(stream, None, Remote::UNKNOWN, place));
                }
            }
        }
        Bound::Tcp(listener) => {
            let listener = TcpListener::from_std(listener)?;
            loop {
                let Some((stream, from)) = rested(listener.accept().await).await else { continue };
                let remote = Remote::at(from.ip());
                if !buckets.admits(remote, clock::monotonic()) {
                    refuse(remote, "too many came in a short time", &refused);
                    continue;
                }
                let Some(place) = admitted(&places, remote, &refused) else { continue };
                // A socket that refuses these is served without them.
                let _ = stream.set_nodelay(true);
                let _ = setsockopt(&stream, sockopt::TcpUserTimeout, &UNACKNOWLEDGED);
                tokio::spawn(serving.clone().over(stream, tls.as_ref().map(Tls::acceptor), remote, place));
            }
        }
    }
}

async fn rested<T>(accepted: io::Result<T>) -> Option<T> {
    match accepted {
        Ok(accepted) => Some(accepted),
        Err(error) => {
            log::debug!("no connection accepted: {error}");
            sleep(REST).await;
            None
        }
    }
}

fn admitted(places: &Arc<Places>, remote: Remote, refused: &Quiet) -> Option<Place> {
    let place = places.take(remote);
    if place.is_none() {
        refuse(remote, "too many are open", refused);
    }
    place
}

fn refuse(remote: Remote, reason: &str, refused: &Quiet) {
    if let Some(before) = refused.says(clock::monotonic()) {
        log::warn!("connection of {remote} refused: {reason} (and {before} more since this was last said)");
    }
}

impl Serving {
    async fn over(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        tls: Option<TlsAcceptor>,
        remote: Remote,
        place: Place,
    ) {
        let Some(acceptor) = tls else { return self.http(stream, remote, place).await };
        match timeout(self.limits.read, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, remote, place).await,
            Ok(Err(error)) => log::debug!("TLS with {remote}: {error}"),
            Err(_) => log::debug!("TLS with {remote}: the handshake took too long"),
        }
    }

    async fn http(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, remote: Remote, place: Place) {
        let (Self { router, limits, behind_proxy }, place) = (self, Arc::new(place));
        let (service, begun) = (TowerToHyperService::new(router), clock::monotonic());
        let answer = service_fn(move |mut request: Request<Incoming>| {
            let remote = if behind_proxy { forwarded(request.headers()) } else { remote };
            request.extensions_mut().insert(remote);
            request.extensions_mut().insert(Arc::clone(&place));
            let answered = service.call(request.map(Body::new));
            async move {
                let mut response = answered.await?;
                // With an answer, so that no request is lost on its way.
                if clock::monotonic() - begun >= limits.life {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(response)
            }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.read)
            .max_buf_size(LONGEST_HEAD)
            .max_headers(MOST_FIELDS)
            .serve_connection(TokioIo::new(Patient::new(stream, limits.write)), answer);
        if let Err(error) = served.await {
            log::debug!("connection of {remote}: {error}");
        }
    }
}

/// Who asks the proxy. Of several such fields the last one is the proxy's.
fn forwarded(headers: &HeaderMap) -> Remote {
    let last = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    last.map_or(Remote::UNKNOWN, Remote::forwarded)
}
