//! The interface io.twostep.Authenticator: what a paired phone does.
//!
//! Types only, as in the .varlink file beside this one; the engine answers them. What a phone signs is in
//! [`core::authenticator`](crate::core::authenticator).

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::varlink::Empty;
use crate::core::policy::Denied;

/// The interface's full name.
pub const NAME: &str = "io.twostep.Authenticator";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.twostep.Authenticator.varlink");

/// A call. What a signature has to cover is in the .varlink file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Call {
    /// A phone that scanned a pairing.
    Pair {
        /// From the QR code.
        pairing: Secret,
        /// SPKI (RFC 5280 §4.1.2.7), base64url without padding.
        public_key: String,
        /// The owner's word for the phone.
        name: String,
        /// HMAC-SHA256 under the pairing's secret, base64url.
        mac: String,
        /// The signature, base64url.
        proof: String,
    },
    /// The number of a pairing was compared, or typed.
    ConfirmPairing {
        /// From `Pair`.
        authenticator: String,
        /// Or deny.
        approve: bool,
        /// What was compared, or typed.
        number: Option<Secret>,
        /// From `Pair`, or `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// A fresh nonce for the next signed call.
    Nonce {
        /// From `Pair`.
        authenticator: String,
    },
    /// The open requests, with `more` again at each change.
    Pending {
        /// From `Pair`.
        authenticator: String,
        /// From `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// The QR code of a login screen.
    Scan {
        /// From `Pair`.
        authenticator: String,
        /// Its whole text.
        qr: Secret,
        /// From `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// Lets a login in, or denies it.
    Decide {
        /// From `Pair`.
        authenticator: String,
        /// [`Request::login`].
        login: String,
        /// Or deny.
        approve: bool,
        /// What was compared, or typed.
        number: Option<Secret>,
        /// From the request, or `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// The Online Verification Code of an open login.
    OnlineCode {
        /// From `Pair`.
        authenticator: String,
        /// [`Request::login`].
        login: String,
        /// From the request, or `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// Forgets this phone.
    Unpair {
        /// From `Pair`.
        authenticator: String,
        /// From `Nonce`.
        nonce: String,
        /// The signature, base64url.
        proof: String,
    },
    /// A carrier is ready for phones.
    Carry {},
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Pair`.
    Paired(Paired),
    /// To `ConfirmPairing`.
    PairingConfirmed(PairingConfirmed),
    /// To `Nonce`.
    Nonce(Nonce),
    /// To `Pending`.
    Requests(Requests),
    /// To `Scan`.
    Scanned(Scanned),
    /// To `Decide`.
    Decided(Decided),
    /// To `OnlineCode`.
    OnlineCode(OnlineCode),
    /// To `Unpair`.
    Done(Empty),
    /// To `Carry`.
    Carrying(Carrying),
}

/// A phone whose key is known now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paired {
    /// Its name in every later call.
    pub authenticator: String,
    /// Whose login it will approve.
    pub account: String,
    /// On which NAS.
    pub host: String,
    /// What the phone's user does next.
    pub next: Next,
    /// To compare; absent where it is typed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Secret>,
    /// To type on the NAS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Secret>,
    /// For `ConfirmPairing`.
    pub nonce: String,
}

/// See [`Paired::next`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Nothing.
    Done,
    /// Compare the number, then `ConfirmPairing`.
    Approve,
    /// The code is typed on the NAS.
    ShowCode,
}

/// See [`PairingOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingConfirmed {
    /// What became of it.
    pub outcome: PairingOutcome,
}

/// What became of a pairing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingOutcome {
    /// In force once the setup is finished.
    Paired,
    /// The phone's user said no.
    Denied,
    /// The pairing is void.
    WrongNumber,
    /// Too late.
    Expired,
}

/// A nonce, good once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nonce {
    /// Opaque.
    pub nonce: String,
}

/// All open requests of the authenticator's account that it can answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requests {
    /// The oldest first.
    pub requests: Vec<Request>,
}

/// A login that waits for the phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The request's name; not the login's own, which lets its holder act.
    pub login: String,
    /// `qr_code`, `login_approval` or `online_code`.
    pub method: String,
    /// Who logs in.
    pub account: String,
    /// Where.
    pub host: String,
    /// Into which service.
    pub service: String,
    /// Whether the service's name is only claimed.
    pub service_claimed: bool,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// To compare; absent where it is typed, and where the method has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Secret>,
    /// For the decision.
    pub nonce: String,
    /// In seconds since 1970.
    pub requested_at: i64,
    /// In seconds.
    pub expires_in: u64,
}

/// See [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// The login whose QR code it is.
    pub request: Request,
}

/// See [`DecisionOutcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    /// What became of it.
    pub outcome: DecisionOutcome,
}

/// What became of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecisionOutcome {
    /// It counts.
    Accepted,
    /// The request is void.
    WrongNumber,
    /// Too late, or superseded.
    Expired,
    /// The account is locked.
    Locked,
}

/// An Online Verification Code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnlineCode {
    /// Six digits.
    pub code: Secret,
    /// In seconds.
    pub expires_in: u64,
}

/// What a carrier serves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carrying {
    /// `https://` and host, as phones open it, without a path.
    pub address: String,
}

/// An error of this interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// Neither root nor granted `authenticator`.
    #[serde(rename = "io.twostep.Authenticator.PermissionDenied")]
    PermissionDenied {},
    /// It was removed, or never was.
    #[serde(rename = "io.twostep.Authenticator.NoSuchAuthenticator")]
    NoSuchAuthenticator {},
    /// It is over, was taken by a phone already, or never was.
    #[serde(rename = "io.twostep.Authenticator.NoSuchPairing")]
    NoSuchPairing {},
    /// It is over, was decided, or is another account's.
    #[serde(rename = "io.twostep.Authenticator.NoSuchRequest")]
    NoSuchRequest {},
    /// The signature or MAC is not the phone's, or its nonce is used or over.
    #[serde(rename = "io.twostep.Authenticator.InvalidProof")]
    InvalidProof {},
    /// No P-256 key as SPKI.
    #[serde(rename = "io.twostep.Authenticator.InvalidKey")]
    InvalidKey {
        /// Why, for people.
        reason: String,
    },
    /// The engine's state can't be read or written: nothing was decided.
    #[serde(rename = "io.twostep.Authenticator.StorageFailed")]
    StorageFailed {
        /// Why, for people.
        reason: String,
    },
    /// No address for phones is configured.
    #[serde(rename = "io.twostep.Authenticator.NoAddress")]
    NoAddress {},
}

impl From<Denied> for Error {
    fn from(_: Denied) -> Self {
        Self::PermissionDenied {}
    }
}
