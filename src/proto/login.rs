//! The interface io.twostep.Login: the second step of a login.
//!
//! Types only, as in the .varlink file beside this one; the engine answers them. The names of logins and setups let their holder act, so they
//! are kept like secrets.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::varlink::Empty;
use crate::core::login::LoginFault;
use crate::core::policy::{Denied, LoginCall};

pub use crate::core::account::Method;
pub use crate::core::login::Outcome;

/// The interface's full name.
pub const NAME: &str = "io.twostep.Login";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.twostep.Login.varlink");

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Call {
    /// After the password was accepted: is a second step wanted?
    Start {
        /// Who logs in.
        user: String,
        /// The login service.
        service: String,
        /// The client's address.
        remote: Option<String>,
        /// The token of an earlier `TrustDevice`.
        trusted_device: Option<Secret>,
    },
    /// Begins one method of a login, or begins it anew.
    Challenge {
        /// From `Start`.
        login: Secret,
        /// Any that `Start` gave.
        method: Method,
    },
    /// A typed code.
    Answer {
        /// From `Start`.
        login: Secret,
        /// Which method it answers.
        method: Method,
        /// As it was typed.
        code: Secret,
    },
    /// What the authenticator says.
    Wait {
        /// From `Start`.
        login: Secret,
        /// The request lasts no longer than the call.
        bound: Option<bool>,
    },
    /// "Don't verify again on this device."
    TrustDevice {
        /// A verified login.
        login: Secret,
        /// The owner's word for the device.
        label: String,
        /// Remember the address here, and give no token.
        by_address: Option<bool>,
    },
    /// Ends a login.
    Cancel {
        /// From `Start`.
        login: Secret,
    },
}

impl Call {
    /// What [`policy`](crate::core::policy) knows it as.
    #[must_use]
    pub fn kind(&self) -> LoginCall {
        match self {
            Self::Start { .. } => LoginCall::Start,
            Self::Challenge { .. } => LoginCall::Challenge,
            Self::Answer { .. } => LoginCall::Answer,
            Self::Wait { .. } => LoginCall::Wait,
            Self::TrustDevice { .. } => LoginCall::TrustDevice,
            Self::Cancel { .. } => LoginCall::Cancel,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Start`.
    Started(Started),
    /// To `Challenge`.
    Challenge(Challenge),
    /// To `Answer`.
    Answered(Answered),
    /// To `Wait`.
    Waited(Waited),
    /// To `TrustDevice`.
    Trusted(Trusted),
    /// To `Cancel`.
    Done(Empty),
}

/// How a login goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// What to do.
    pub decision: Decision,
    /// With `verify`: the login's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Secret>,
    /// With `verify`: any of these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub methods: Option<Vec<Method>>,
    /// With `verify`: this one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<Method>,
    /// With `verify` and `setup_required`: in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<u64>,
    /// With `setup_required`, for root and granted peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<Secret>,
    /// With `locked`: in seconds; absent where only an administrator can unlock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// For the user's eyes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// With `verify`, where `preferred` needs no `Challenge`: what that would say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<Secret>,
}

/// See [`Started::decision`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Let in: 2-step verification is off.
    NotRequired,
    /// Let in: a trusted device.
    Trusted,
    /// Ask for the second step.
    Verify,
    /// Finish a setup first.
    SetupRequired,
    /// Too many wrong answers.
    Locked,
}

/// What the user is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// One line, complete in itself.
    pub prompt: Secret,
    /// The text to draw as a QR code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qr: Option<Secret>,
    /// The number that the authenticator shows too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Secret>,
    /// The masked address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<String>,
    /// In seconds.
    pub expires_in: u64,
}

/// What became of a typed code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// What became of it.
    pub outcome: Outcome,
    /// After a wrong one: how many more before a wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts_left: Option<u32>,
    /// In seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// What a person should do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<&crate::core::login::Challenge> for Challenge {
    fn from(asked: &crate::core::login::Challenge) -> Self {
        Self {
            prompt: Secret::new(asked.prompt.clone()),
            qr: None,
            number: None,
            sent_to: asked.sent_to.clone(),
            expires_in: asked.expires_in,
        }
    }
}

impl From<&crate::core::login::Answered> for Answered {
    fn from(answered: &crate::core::login::Answered) -> Self {
        let (attempts_left, retry_after) = (answered.attempts_left, answered.retry_after);
        Self { outcome: answered.outcome, attempts_left, retry_after, hint: answered.hint.clone() }
    }
}

/// What the authenticator said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// What it said.
    pub outcome: WaitOutcome,
}

/// See [`Waited::outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitOutcome {
    /// Nothing yet.
    Waiting,
    /// Let in.
    Verified,
    /// Refused on the phone.
    Denied,
    /// The login is over.
    Expired,
    /// Too many wrong answers.
    Locked,
}

/// A device is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// For the client alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted_device: Option<Secret>,
    /// In seconds.
    pub expires_in: u64,
}

/// An error of this interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// Not the peer's account.
    #[serde(rename = "io.twostep.Login.PermissionDenied")]
    PermissionDenied {},
    /// Nobody has this name.
    #[serde(rename = "io.twostep.Login.NoSuchAccount")]
    NoSuchAccount {},
    /// It is over, or there never was one.
    #[serde(rename = "io.twostep.Login.NoSuchLogin")]
    NoSuchLogin {},
    /// The account does not have this method.
    #[serde(rename = "io.twostep.Login.MethodNotEnabled")]
    MethodNotEnabled {
        /// Which.
        method: Method,
    },
    /// The login has not passed its second step, or may not do this any more.
    #[serde(rename = "io.twostep.Login.NotVerified")]
    NotVerified {},
    /// The method can't be used now.
    #[serde(rename = "io.twostep.Login.MethodUnavailable")]
    MethodUnavailable {
        /// Which.
        method: Method,
        /// Why, for people.
        reason: String,
    },
    /// The engine's state can't be read or written: nothing was decided.
    #[serde(rename = "io.twostep.Login.StorageFailed")]
    StorageFailed {
        /// Why, for people.
        reason: String,
    },
}

impl From<LoginFault> for Error {
    fn from(fault: LoginFault) -> Self {
        match fault {
            LoginFault::NoSuchLogin => Self::NoSuchLogin {},
            LoginFault::MethodNotEnabled(method) => Self::MethodNotEnabled { method },
            LoginFault::MethodUnavailable(method, reason) => Self::MethodUnavailable { method, reason },
            LoginFault::NotVerified => Self::NotVerified {},
        }
    }
}

impl From<Denied> for Error {
    fn from(_: Denied) -> Self {
        Self::PermissionDenied {}
    }
}
