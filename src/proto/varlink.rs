//! Varlink calls, replies, errors and introspection (<https://varlink.org/Method-Call>, <https://varlink.org/Service>).
//!
//! An interface is a type that implements [`Interface`]: its calls, replies and errors are three enums, its description is the .varlink file
//! itself. [`server`](super::server) carries the calls to it. `upgrade` is refused: nothing here changes to another protocol.
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use twostep_base::core::peer::Peer;
//! use twostep_base::proto::varlink::{Failure, Interface, Replies};
//!
//! struct Counter(u32);
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! enum Call {
//!     CountTo { limit: u32 },
//! }
//!
//! #[derive(Serialize)]
//! #[serde(untagged)]
//! enum Reply {
//!     CountTo { count: u32 },
//! }
//!
//! #[derive(Serialize)]
//! #[serde(tag = "error", content = "parameters")]
//! enum Error {
//!     #[serde(rename = "org.example.counter.TooFar")]
//!     TooFar {},
//! }
//!
//! impl Interface for Counter {
//!     const NAME: &str = "org.example.counter";
//!     const DESCRIPTION: &str = "interface org.example.counter\nmethod CountTo(limit: int) -> (count: int)\nerror TooFar ()\n";
//!     type Call = Call;
//!     type Reply = Reply;
//!     type Error = Error;
//!
//!     async fn call(&self, _peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
//!         let Call::CountTo { limit } = call;
//!         if limit > self.0 {
//!             return Err(Error::TooFar {}.into());
//!         }
//!         for count in 0..limit {
//!             replies.send(&Reply::CountTo { count }).await?;
//!         }
//!         Ok(Reply::CountTo { count: limit })
//!     }
//! }
//! ```

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::core::peer::Peer;

pub use super::connection::Replies;

/// One interface, as the server sees it.
pub trait Interface: Send + Sync + Sized + 'static {
    /// The interface's full name.
    const NAME: &'static str;
    /// The text of its .varlink file.
    const DESCRIPTION: &'static str;
    /// An enum with a variant for each method, named like it; denies unknown fields.
    type Call: DeserializeOwned + Send;
    /// The parameters of every reply: an untagged enum, or one struct.
    type Reply: Serialize + Send + Sync;
    /// The interface's own errors: an enum tagged `error` with content `parameters`, each variant renamed to the error's full name.
    type Error: Serialize + Send;

    /// Answers one call. What is returned is the last reply; earlier ones, for a caller that asked for `more`, go through `replies`.
    ///
    /// The future is dropped wherever it waits once the caller has hung up, so what must be done in whole is handed to another task.
    ///
    /// # Errors
    /// See [`Failure`].
    fn call(
        &self,
        peer: &Peer,
        call: Self::Call,
        replies: &mut Replies<'_, Self>,
    ) -> impl Future<Output = Result<Self::Reply, Failure<Self::Error>>> + Send;
}

/// Why a call has no (further) reply.
#[derive(Debug)]
pub enum Failure<E> {
    /// One of the interface's own errors.
    Interface(E),
    /// One that every service has.
    Service(ServiceError),
    /// The caller is gone, reads too slowly, or a reply was too long for a frame: the connection ends.
    Gone,
}

impl<E> Failure<E> {
    /// A parameter whose type is right and whose value is not.
    #[must_use]
    pub fn invalid(parameter: &str) -> Self {
        Self::Service(ServiceError::InvalidParameter { parameter: parameter.into() })
    }
}

impl<E> From<E> for Failure<E> {
    fn from(error: E) -> Self {
        Self::Interface(error)
    }
}

/// The errors of `org.varlink.service`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum ServiceError {
    /// There is no such interface.
    #[serde(rename = "org.varlink.service.InterfaceNotFound")]
    InterfaceNotFound {
        /// Its name.
        interface: String,
    },
    /// The interface has no such method.
    #[serde(rename = "org.varlink.service.MethodNotFound")]
    MethodNotFound {
        /// Its full name.
        method: String,
    },
    /// The interface has the method, but this service does not implement it.
    #[serde(rename = "org.varlink.service.MethodNotImplemented")]
    MethodNotImplemented {
        /// Its full name.
        method: String,
    },
    /// A parameter is missing, unknown, or of a wrong type.
    #[serde(rename = "org.varlink.service.InvalidParameter")]
    InvalidParameter {
        /// Its name.
        parameter: String,
    },
    /// The caller may not do that, and the interface has no error of its own for it.
    #[serde(rename = "org.varlink.service.PermissionDenied")]
    PermissionDenied {},
    /// The method must be called with `more`.
    #[serde(rename = "org.varlink.service.ExpectedMore")]
    ExpectedMore {},
}

/// No parameters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// A call as it stands in the frame; its parameters are not read yet. Members that Varlink does not know are passed over.
#[derive(Debug, Deserialize)]
pub struct Request<'a> {
    /// The full name: interface, dot, method.
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// Valid JSON, of whatever type.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// No reply is wanted.
    #[serde(default)]
    pub oneway: bool,
    /// Several replies may come.
    #[serde(default)]
    pub more: bool,
    /// Another protocol is wanted after the reply.
    #[serde(default)]
    pub upgrade: bool,
}

impl<'a> Request<'a> {
    /// Reads a frame; `None` where it is no call.
    #[must_use]
    pub fn read(frame: &'a str) -> Option<Self> {
        read_object(frame)
    }
}

fn read_object<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    // Serde would take an array as a struct as well.
    if text.trim_ascii_start().starts_with('{') { serde_json::from_str(text).ok() } else { None }
}

/// A call as a client writes it.
#[derive(Debug, Serialize)]
pub struct Call<'a, P> {
    /// The full name: interface, dot, method.
    pub method: &'a str,
    /// An object.
    pub parameters: &'a P,
    /// No reply is wanted.
    #[serde(skip_serializing_if = "is_false")]
    pub oneway: bool,
    /// Several replies may come.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
}

/// A reply as a service writes it.
#[derive(Debug, Serialize)]
pub struct Reply<'a, P> {
    /// An object.
    pub parameters: &'a P,
    /// Another reply follows.
    #[serde(skip_serializing_if = "is_false")]
    pub continues: bool,
}

/// A reply or an error as it stands in the frame; its parameters are not read yet.
#[derive(Debug, Deserialize)]
pub struct Response<'a> {
    /// Valid JSON, of whatever type.
    #[serde(borrow, default)]
    pub parameters: Option<&'a RawValue>,
    /// Another reply follows.
    #[serde(default)]
    pub continues: bool,
    /// The error's full name; absent in a reply.
    #[serde(borrow, default)]
    pub error: Option<Cow<'a, str>>,
}

impl<'a> Response<'a> {
    /// Reads a frame; `None` where it is no reply.
    #[must_use]
    pub fn read(frame: &'a str) -> Option<Self> {
        read_object(frame)
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What a service says about itself in `GetInfo`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    /// Who made it.
    pub vendor: Cow<'static, str>,
    /// What it is.
    pub product: Cow<'static, str>,
    /// Its version.
    pub version: Cow<'static, str>,
    /// Where to read about it.
    pub url: Cow<'static, str>,
    /// The full names of its interfaces, `org.varlink.service` first.
    pub interfaces: Vec<Cow<'static, str>>,
}

/// The interface `org.varlink.service`, which every server has by itself.
pub(super) struct Introspection {
    descriptions: Vec<(&'static str, &'static str)>,
}

impl Introspection {
    /// Of the interfaces with these names and descriptions, and its own.
    pub(super) fn new(others: impl Iterator<Item = (&'static str, &'static str)>) -> Self {
        Self { descriptions: std::iter::once((Self::NAME, Self::DESCRIPTION)).chain(others).collect() }
    }

    fn info(&self) -> Info {
        Info {
            vendor: "twostep".into(),
            product: "twostep".into(),
            version: env!("CARGO_PKG_VERSION").into(),
            url: "man:twostepd(8)".into(),
            interfaces: self.descriptions.iter().map(|(name, _)| (*name).into()).collect(),
        }
    }

    fn description(&self, interface: String) -> Result<&'static str, ServiceError> {
        let known = self.descriptions.iter().find(|(name, _)| *name == interface);
        known.map(|(_, text)| *text).ok_or(ServiceError::InterfaceNotFound { interface })
    }
}

/// A call of `org.varlink.service`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum IntrospectionCall {
    /// Who made this service, and its interfaces.
    GetInfo {},
    /// The text that describes one of the interfaces.
    GetInterfaceDescription {
        /// Its full name.
        interface: String,
    },
}

/// A reply of `org.varlink.service`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum IntrospectionReply {
    Info(Info),
    Description { description: &'static str },
}

impl Interface for Introspection {
    const NAME: &'static str = "org.varlink.service";
    const DESCRIPTION: &'static str = include_str!("org.varlink.service.varlink");
    type Call = IntrospectionCall;
    type Reply = IntrospectionReply;
    type Error = ServiceError;

    async fn call(
        &self,
        _: &Peer,
        call: IntrospectionCall,
        _: &mut Replies<'_, Self>,
    ) -> Result<IntrospectionReply, Failure<ServiceError>> {
        Ok(match call {
            IntrospectionCall::GetInfo {} => IntrospectionReply::Info(self.info()),
            IntrospectionCall::GetInterfaceDescription { interface } => {
                IntrospectionReply::Description { description: self.description(interface)? }
            }
        })
    }
}
