//! The phone's calls, carried to the engine as they come.
//!
//! A body is one JSON object, the parameters of the Varlink call. It is looked at only so far that the engine gets nothing but calls of its own
//! interface; what the call means, and whether its signature is good, is for the engine. Bodies are never logged.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, HeaderName, ORIGIN};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::engine::{Answer, Connection, Failure};
use super::limits::{Excused, Place, Remote};
use super::pages::{App, refusal};
use crate::proto::authenticator::Call;
use crate::proto::parameters::{Mismatch, decode};
use crate::sys::clock;

/// The methods with one reply.
pub(super) const METHODS: [&str; 7] = ["Pair", "ConfirmPairing", "Nonce", "Scan", "Decide", "OnlineCode", "Unpair"];

/// The most accounts of one phone on one stream.
const MOST_ACCOUNTS: usize = 32;

/// The longest body in bytes.
const LONGEST: usize = 8 * 1024;

/// One call, one reply.
pub(super) async fn call(app: &App, method: &str, request: Request) -> Response {
    let body = match accepted(app, method, request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let Ok(parameters) = serde_json::from_slice::<&RawValue>(&body) else { return invalid("parameters") };
    match app.engine.call(method, parameters).await {
        // It may hold a code: the body is the reply itself, which is wiped.
        Ok(reply) => ([(CONTENT_TYPE, "application/json")], Body::from(Bytes::from_owner(reply))).into_response(),
        Err(failure) => failed(method, &failure),
    }
}

/// The open requests of a phone, as server-sent events, until either end is gone.
pub(super) async fn pending(app: &App, request: Request) -> Response {
    let (remote, connection_place) = asker(&request);
    let body = match accepted(app, "Pending", request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let Some(place) = app.streams.take(remote) else { return too_many() };
    let Ok(parameters) = serde_json::from_slice::<&RawValue>(&body) else { return invalid("parameters") };
    let (connection, first) = match app.engine.stream("Pending", parameters).await {
        Ok(begun) => begun,
        Err(failure) => return failed("Pending", &failure),
    };
    let (to, events) = mpsc::channel(1);
    // A stranger is not this far: the engine has seen the phone's signature.
    let places = (place, connection_place.map(Place::excuse));
    let pump = Pump { connection, first, authenticator: None, to, heartbeat: app.limits.heartbeat };
    tokio::spawn(async move {
        pump.run().await;
        drop(places);
    });
    stream(events)
}

/// What [`pending_all`] gets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct All<'a> {
    /// Parameters of `Pending`, each signed for itself.
    #[serde(borrow)]
    pending: Vec<&'a RawValue>,
}

/// The same for all accounts that one phone is paired with, over one connection, of which browsers open six to a host. Each event names its
/// authenticator. One that is refused is told, and the others go on; where any other of them ends, all end, and the phone asks again.
pub(super) async fn pending_all(app: &App, request: Request) -> Response {
    let (remote, connection_place) = asker(&request);
    let body = match received(app, request).await {
        Ok(body) => body,
        Err(refused) => return refused,
    };
    let Ok(All { pending }) = serde_json::from_slice::<All<'_>>(&body) else { return invalid("parameters") };
    if !(1..=MOST_ACCOUNTS).contains(&pending.len()) {
        return invalid("pending");
    }
    let mut begun = Vec::new();
    for (index, parameters) in pending.into_iter().enumerate() {
        let authenticator = match checked(app, "Pending", parameters) {
            Ok(Call::Pending { authenticator, .. }) => authenticator,
            Ok(_) => return invalid("pending"),
            Err(refused) => return *refused,
        };
        // The first one was counted as every request is.
        if index > 0 && !app.buckets.admits(remote, clock::monotonic()) {
            return too_many();
        }
        let Some(place) = app.streams.take(remote) else { return too_many() };
        match app.engine.stream("Pending", parameters).await {
            Err(Failure::Service { name, .. }) => begun.push((authenticator, Err(name))),
            Err(failure) => return failed("Pending", &failure),
            Ok(one) => begun.push((authenticator, Ok((one, place)))),
        }
    }
    // A stranger has none of them.
    let excused = connection_place.filter(|_| begun.iter().any(|(_, one)| one.is_ok())).map(Place::excuse);
    let (to, events) = mpsc::channel(1);
    tokio::spawn(pump_all(begun, to, app.limits.heartbeat, excused));
    stream(events)
}

fn asker(request: &Request) -> (Remote, Option<Arc<Place>>) {
    let extensions = request.extensions();
    (extensions.get().copied().unwrap_or(Remote::UNKNOWN), extensions.get::<Arc<Place>>().cloned())
}

fn stream(events: mpsc::Receiver<Bytes>) -> Response {
    // A proxy must hand each event on as it comes.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Body::new(Events(events))).into_response()
}

/// An authenticator's name, and its stream with the place that this takes, or the error that it was refused with.
type Begun = (String, Result<((Connection, Answer), Place), String>);

async fn pump_all(begun: Vec<Begun>, to: mpsc::Sender<Bytes>, heartbeat: Duration, _excused: Option<Excused>) {
    let mut pumps = JoinSet::new();
    for (authenticator, one) in begun {
        match one {
            Ok(((connection, first), place)) => {
                let pump = Pump { connection, first, authenticator: Some(authenticator), to: to.clone(), heartbeat };
                pumps.spawn(async move {
                    let ended = pump.run().await;
                    drop(place);
                    ended
                });
            }
            Err(name) => {
                if to.send(refused(Some(&authenticator), &name)).await.is_err() {
                    return;
                }
            }
        }
    }
    while let Some(Ok(Ended::Refused)) = pumps.join_next().await {}
}

/// How a phone's stream ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// The engine no longer has it for this authenticator, which was told.
    Refused,
    /// One of the ends is gone.
    Gone,
}

/// What the engine says, as events, and a sign of life in between. The connection to the engine ends with the phone's.
struct Pump {
    connection: Connection,
    first: Answer,
    /// Whom each event names, where several share a stream.
    authenticator: Option<String>,
    to: mpsc::Sender<Bytes>,
    heartbeat: Duration,
}

impl Pump {
    async fn run(mut self) -> Ended {
        let (mut continues, mut said) = (self.first.continues, event(self.authenticator.as_deref(), &self.first));
        loop {
            if self.to.send(said).await.is_err() || !continues {
                return Ended::Gone;
            }
            said = tokio::select! {
                () = self.to.closed() => return Ended::Gone,
                () = sleep(self.heartbeat) => Bytes::from_static(b":\n\n"),
                answer = self.connection.receive() => match answer {
                    Ok(answer) => {
                        continues = answer.continues;
                        event(self.authenticator.as_deref(), &answer)
                    }
                    Err(Failure::Service { name, .. }) => {
                        // Nobody may be there any more.
                        let _ = self.to.send(refused(self.authenticator.as_deref(), &name)).await;
                        return Ended::Refused;
                    }
                    Err(_) => return Ended::Gone,
                },
            };
        }
    }
}

/// That a stream ends here.
fn refused(authenticator: Option<&str>, name: &str) -> Bytes {
    format!("event: error\ndata: {}\n\n", Told { authenticator, error: name, parameters: None }.text()).into()
}

fn event(authenticator: Option<&str>, answer: &Answer) -> Bytes {
    // JSON has line ends between its tokens alone, and an event's data ends with its line.
    let told = answer.parameters.replace(['\n', '\r'], " ");
    match authenticator {
        Some(name) => format!("data: {{\"authenticator\":{},\"told\":{told}}}\n\n", serde_json::Value::from(name)),
        None => format!("data: {told}\n\n"),
    }
    .into()
}

/// A body whose pieces come through a channel.
struct Events(mpsc::Receiver<Bytes>);

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|said| said.map(|said| Ok(Frame::data(said))))
    }
}

/// The body of a request that is a call of `method`; else what to answer.
async fn accepted(app: &App, method: &str, request: Request) -> Result<Zeroizing<Vec<u8>>, Response> {
    let body = received(app, request).await?;
    checked(app, method, serde_json::from_slice(&body).map_err(|_| invalid("parameters"))?).map_err(|refused| *refused)?;
    Ok(body)
}

/// The body of a request of our own page, or of a program.
async fn received(app: &App, request: Request) -> Result<Zeroizing<Vec<u8>>, Response> {
    let headers = request.headers();
    if headers.get_all(ORIGIN).iter().any(|origin| origin != app.origin.as_str()) {
        return Err(refusal(StatusCode::FORBIDDEN, r#"{"error":"forbidden"}"#));
    }
    if !is_json(headers) {
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, r#"{"error":"unsupported_media_type"}"#));
    }
    let body = timeout(app.limits.read, whole(request.into_body())).await;
    body.map_err(|_| refusal(StatusCode::REQUEST_TIMEOUT, r#"{"error":"timed_out"}"#))?
}

/// Parameters that are a call of `method`, while there is an engine to carry it to.
fn checked(app: &App, method: &str, parameters: &RawValue) -> Result<Call, Box<Response>> {
    match decode::<Call>(method, Some(parameters)) {
        Ok(call) if app.engine.is_carrying() => Ok(call),
        Ok(_) => Err(unavailable().into()),
        Err(Mismatch::Parameter(name)) => Err(invalid(&name).into()),
        Err(Mismatch::Method) => Err(invalid("parameters").into()),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

/// All of a body, capped before it is kept.
async fn whole(mut body: Body) -> Result<Zeroizing<Vec<u8>>, Response> {
    let too_long = || refusal(StatusCode::PAYLOAD_TOO_LARGE, r#"{"error":"too_long"}"#);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > LONGEST {
        return Err(too_long());
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(if announced > 0 { announced } else { LONGEST }));
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|_| refusal(StatusCode::BAD_REQUEST, r#"{"error":"broken_off"}"#))?;
        let Some(piece) = frame.data_ref() else { continue };
        if bytes.len() + piece.len() > LONGEST {
            return Err(too_long());
        }
        bytes.extend_from_slice(piece);
    }
    Ok(bytes)
}

/// An error as the phone gets it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    authenticator: Option<&'a str>,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<&'a RawValue>,
}

impl Told<'_> {
    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What the engine's failure is to the phone.
fn failed(method: &str, failure: &Failure) -> Response {
    let Failure::Service { name, parameters } = failure else {
        log::warn!("{method} not carried: the engine of twostepd does not answer: {failure}");
        return unavailable();
    };
    let told = Told { authenticator: None, error: name, parameters: serde_json::from_str(parameters).ok() };
    refusal(StatusCode::BAD_REQUEST, told.text())
}

fn invalid(parameter: &str) -> Response {
    let body = serde_json::json!({ "error": "org.varlink.service.InvalidParameter", "parameters": { "parameter": parameter } });
    refusal(StatusCode::BAD_REQUEST, body.to_string())
}

fn unavailable() -> Response {
    refusal(StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"unavailable"}"#)
}

/// For whoever asks more than its share.
pub(super) fn too_many() -> Response {
    refusal(StatusCode::TOO_MANY_REQUESTS, r#"{"error":"too_many"}"#)
}
