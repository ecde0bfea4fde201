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
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::engine::{Answer, Connection, Failure};
use super::limits::{Excused, Place, Remote};
use super::pages::{App, refusal};
use crate::proto::authenticator::Call;
use crate::proto::parameters::{Mismatch, decode};

/// The methods with one reply.
pub(super) const METHODS: [&str; 7] = ["Pair", "ConfirmPairing", "Nonce", "Scan", "Decide", "OnlineCode", "Unpair"];

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
    let remote = request.extensions().get().copied().unwrap_or(Remote::UNKNOWN);
    let connection_place = request.extensions().get::<Arc<Place>>().cloned();
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
    tokio::spawn(pump(connection, first, to, app.limits.heartbeat, places));
    // A proxy must hand each event on as it comes.
    let headers = [(CONTENT_TYPE, "text/event-stream"), (HeaderName::from_static("x-accel-buffering"), "no")];
    (headers, Body::new(Events(events))).into_response()
}

/// What the engine says, as events, and a sign of life in between. The connection to the engine ends with the phone's.
async fn pump(mut connection: Connection, first: Answer, to: mpsc::Sender<Bytes>, heartbeat: Duration, _places: (Place, Option<Excused>)) {
    let mut continues = first.continues;
    if to.send(event(&first)).await.is_err() {
        return;
    }
    while continues {
        let said = tokio::select! {
            () = to.closed() => return,
            () = sleep(heartbeat) => Bytes::from_static(b":\n\n"),
            answer = connection.receive() => match answer {
                Ok(answer) => {
                    continues = answer.continues;
                    event(&answer)
                }
                Err(Failure::Service { name, .. }) => {
                    continues = false;
                    format!("event: error\ndata: {}\n\n", Told { error: &name, parameters: None }.text()).into()
                }
                Err(_) => return,
            },
        };
        if to.send(said).await.is_err() {
            return;
        }
    }
}

fn event(answer: &Answer) -> Bytes {
    // JSON has line ends between its tokens alone, and an event's data ends with its line.
    format!("data: {}\n\n", answer.parameters.replace(['\n', '\r'], " ")).into()
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
    let headers = request.headers();
    if headers.get_all(ORIGIN).iter().any(|origin| origin != app.origin.as_str()) {
        return Err(refusal(StatusCode::FORBIDDEN, r#"{"error":"forbidden"}"#));
    }
    if !is_json(headers) {
        return Err(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, r#"{"error":"unsupported_media_type"}"#));
    }
    let body = timeout(app.limits.read, whole(request.into_body())).await;
    let body = body.map_err(|_| refusal(StatusCode::REQUEST_TIMEOUT, r#"{"error":"timed_out"}"#))??;
    let parameters = serde_json::from_slice::<&RawValue>(&body).map_err(|_| invalid("parameters"))?;
    match decode::<Call>(method, Some(parameters)) {
        Ok(_) if app.engine.is_carrying() => Ok(body),
        Ok(_) => Err(unavailable()),
        Err(Mismatch::Parameter(name)) => Err(invalid(&name)),
        Err(Mismatch::Method) => Err(invalid("parameters")),
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
    let told = Told { error: name, parameters: serde_json::from_str(parameters).ok() };
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
