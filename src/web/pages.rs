//! What is answered to whom: the routes, what each response carries, and who is turned away before anything is read.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use super::api;
use super::assets;
use super::engine::Engine;
use super::limits::{Buckets, Places, Quiet, Remote};
use crate::sys::clock;

/// What every response says to the browser: nothing but our own files, nobody frames us, nobody is told where one came from.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; manifest-src 'self'; \
         worker-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("permissions-policy"), "camera=(self)"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// How much a browser may ask for, and how long it may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections of one address, but for those on which phones wait; behind a proxy they are all its own, and this does not count.
    pub connections_each: usize,
    /// Accounts of phones that wait for requests, in all: each has a connection to the engine (socket.connections).
    pub streams: usize,
    /// The same of one address: all phones of an office may have one. Each was recognised by the engine, which gives one phone four at most; so
    /// this only keeps whoever sends bad signatures from taking all places for the moments that the engine needs to say no.
    pub streams_each: usize,
    /// Requests that one address may make at once, and connections (each of two hundred phones needs two requests to wait again) …
    pub burst: u32,
    /// … and the time after which it may make one more.
    pub period: Duration,
    /// How long the TLS handshake may take, then the head of each request (also until it begins), then its body.
    pub read: Duration,
    /// How old a connection may be to be kept after an answer; a stream goes on as long as it would.
    pub life: Duration,
    /// How long a write may wait for the other end.
    pub write: Duration,
    /// How often a waiting phone hears something, so that either end notices when the other is gone.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_each: 64,
            streams: 300,
            streams_each: 250,
            burst: 600,
            period: Duration::from_millis(10),
            read: Duration::from_secs(10),
            life: Duration::from_secs(600),
            write: Duration::from_secs(30),
            heartbeat: Duration::from_secs(25),
        }
    }
}

/// What all requests share.
pub struct App {
    pub(super) engine: Arc<Engine>,
    /// See [`Address::origin`](super::address::Address::origin).
    pub(super) origin: String,
    pub(super) limits: Limits,
    pub(super) streams: Arc<Places>,
    insists: bool,
    pub(super) buckets: Buckets,
    too_many: Quiet,
}

impl App {
    /// `insists`: browsers are told to open this host by https alone.
    #[must_use]
    pub fn new(engine: Arc<Engine>, origin: String, insists: bool, limits: Limits) -> Arc<Self> {
        let streams = Places::new(limits.streams, limits.streams_each);
        let buckets = Buckets::new(limits.burst, limits.period);
        Arc::new(Self { engine, origin, limits, streams, insists, buckets, too_many: Quiet::default() })
    }
}

/// All that is answered. Each request must carry its [`Remote`] as an extension.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new();
    for asset in &assets::ALL {
        for place in asset.places() {
            router = router.route(&place, get(move |headers: HeaderMap| async move { asset.answer(&headers) }));
        }
    }
    for method in api::METHODS {
        let call = move |State(app): State<Arc<App>>, request: Request| async move { api::call(&app, method, request).await };
        router = router.route(&format!("/api/{method}"), post(call));
    }
    router
        .route("/api/Pending", post(async |State(app): State<Arc<App>>, request: Request| api::pending(&app, request).await))
        .route("/api/PendingAll", post(async |State(app): State<Arc<App>>, request: Request| api::pending_all(&app, request).await))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(from_fn_with_state(Arc::clone(&app), guard))
        .with_state(app)
}

/// Stands before and behind every answer.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let remote = request.extensions().get().copied().unwrap_or(Remote::UNKNOWN);
    // Strangers choose other paths, and might choose a secret.
    let (method, path) = (request.method().clone(), request.extensions().get::<MatchedPath>().cloned());
    let now = clock::monotonic();
    let mut response = if app.buckets.admits(remote, now) {
        next.run(request).await
    } else {
        if let Some(before) = app.too_many.says(now) {
            log::warn!("too many requests of {remote} (and {before} refusals since this was last said)");
        }
        api::too_many()
    };
    let status = response.status();
    log::debug!("{method} {} {} for {remote}", path.as_ref().map_or("…", MatchedPath::as_str), status.as_u16());
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if app.insists {
        // A day: it counts for the whole host name, and must soon be over once there is no certificate any more.
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=86400"));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A refusal with its JSON body.
pub(super) fn refusal(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [(axum::http::header::CONTENT_TYPE, "application/json")], body.into()).into_response()
}
