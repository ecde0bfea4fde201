//! The interface io.twostep.Account: 2-step verification of one's own account.
//!
//! Types only, as in the .varlink file beside this one; the engine answers them. The names of logins and setups let their holder act, so they
//! are kept like secrets.

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::varlink::Empty;
use crate::core::account::Refusal;
use crate::core::policy::{AccountCall, Denied};
use crate::core::time::Wall;

pub use crate::core::account::{Method, Status};
pub use crate::core::setup::Confirmation;

/// The interface's full name.
pub const NAME: &str = "io.twostep.Account";

/// Its description.
pub const DESCRIPTION: &str = include_str!("io.twostep.Account.varlink");

/// A call. `user` absent is the peer's own account; `login` is a login of it that was verified in the last ten minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "each parameter is one of those named above, or described at its method")]
pub enum Call {
    /// What is set up.
    Status { user: Option<String> },
    /// Begins a setup, by the password or by the `setup` of a login.
    BeginSetup { user: Option<String>, password: Option<Secret>, setup: Option<Secret>, recovery_email: Option<String> },
    /// Begins a change of what is in force.
    BeginChange { user: Option<String>, password: Secret, login: Option<Secret> },
    /// What a setup has and needs.
    SetupStatus { setup: Secret },
    /// The code mailed to the recovery address.
    ConfirmRecoveryEmail { setup: Secret, code: Secret },
    /// Asks for a secret to scan.
    OfferSecurityCode { setup: Secret },
    /// The first code made with it.
    ConfirmSecurityCode { setup: Secret, code: Secret },
    /// Asks for a pairing to scan.
    OfferPairing { setup: Secret, method: Method },
    /// How the pairing goes.
    WaitPairing { setup: Secret },
    /// The code that the authenticator shows.
    ConfirmOnlineCode { setup: Secret, code: Secret },
    /// Puts all of it into force.
    FinishSetup { setup: Secret, password: Option<Secret> },
    /// Drops all of it.
    CancelSetup { setup: Secret },
    /// Turns one method on.
    EnableMethod { user: Option<String>, password: Secret, login: Option<Secret>, method: Method },
    /// Turns one method off.
    DisableMethod { user: Option<String>, password: Secret, login: Option<Secret>, method: Method },
    /// Chooses the method asked for first.
    SetPreferred { user: Option<String>, method: Method },
    /// Begins a change of the recovery address.
    SetRecoveryEmail { user: Option<String>, password: Secret, login: Option<Secret>, recovery_email: String },
    /// Replaces the recovery codes.
    RegenerateRecoveryCodes { user: Option<String>, password: Secret, login: Option<Secret> },
    /// Forgets a phone, by its `id`.
    RemoveAuthenticator { user: Option<String>, password: Secret, login: Option<Secret>, id: String },
    /// Trusts a device no longer, by its `id`.
    RemoveTrustedDevice { user: Option<String>, id: String },
    /// Turns passwordless login on or off.
    SetPasswordless { user: Option<String>, password: Secret, passwordless: bool },
    /// Turns 2-step verification off.
    Disable { user: Option<String>, password: Secret, login: Option<Secret> },
    /// The secret in force once more, to its owner alone.
    ExportSecurityCode { password: Secret, login: Option<Secret> },
}

impl Call {
    /// What [`policy`](crate::core::policy) knows it as.
    #[must_use]
    pub fn kind(&self) -> AccountCall {
        match self {
            Self::Status { .. } => AccountCall::Status,
            Self::BeginSetup { .. } => AccountCall::BeginSetup,
            Self::BeginChange { .. } => AccountCall::BeginChange,
            Self::SetupStatus { .. } => AccountCall::SetupStatus,
            Self::ConfirmRecoveryEmail { .. } => AccountCall::ConfirmRecoveryEmail,
            Self::OfferSecurityCode { .. } => AccountCall::OfferSecurityCode,
            Self::ConfirmSecurityCode { .. } => AccountCall::ConfirmSecurityCode,
            Self::OfferPairing { .. } => AccountCall::OfferPairing,
            Self::WaitPairing { .. } => AccountCall::WaitPairing,
            Self::ConfirmOnlineCode { .. } => AccountCall::ConfirmOnlineCode,
            Self::FinishSetup { .. } => AccountCall::FinishSetup,
            Self::CancelSetup { .. } => AccountCall::CancelSetup,
            Self::EnableMethod { .. } => AccountCall::EnableMethod,
            Self::DisableMethod { .. } => AccountCall::DisableMethod,
            Self::SetPreferred { .. } => AccountCall::SetPreferred,
            Self::SetRecoveryEmail { .. } => AccountCall::SetRecoveryEmail,
            Self::RegenerateRecoveryCodes { .. } => AccountCall::RegenerateRecoveryCodes,
            Self::RemoveAuthenticator { .. } => AccountCall::RemoveAuthenticator,
            Self::RemoveTrustedDevice { .. } => AccountCall::RemoveTrustedDevice,
            Self::SetPasswordless { .. } => AccountCall::SetPasswordless,
            Self::Disable { .. } => AccountCall::Disable,
            Self::ExportSecurityCode { .. } => AccountCall::ExportSecurityCode,
        }
    }
}

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Reply {
    /// To `Status`.
    Status(AccountStatus),
    /// To `BeginSetup` and `BeginChange`.
    Begun(Begun),
    /// To `SetupStatus`.
    Setup(SetupStatus),
    /// To `ConfirmRecoveryEmail`, `ConfirmSecurityCode` and `ConfirmOnlineCode`.
    Confirmed(Confirmed),
    /// To `OfferSecurityCode` and `ExportSecurityCode`.
    SecurityCode(SecurityCode),
    /// To `OfferPairing`.
    Pairing(Pairing),
    /// To `WaitPairing`.
    PairingState(PairingState),
    /// To `FinishSetup`.
    Finished(Finished),
    /// To `SetRecoveryEmail`.
    Setting(Setting),
    /// To `RegenerateRecoveryCodes`.
    RecoveryCodes(RecoveryCodes),
    /// To all others.
    Done(Empty),
}

/// What is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountStatus {
    /// Canonical name.
    pub user: String,
    /// Derived.
    pub status: Status,
    /// By name or by a group.
    pub enforced: bool,
    /// In force.
    pub methods: Vec<Method>,
    /// Asked for first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preferred: Option<Method>,
    /// Confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_email: Option<String>,
    /// Logs in without a password.
    pub passwordless: bool,
    /// Paired phones.
    pub authenticators: Vec<Authenticator>,
    /// Devices that need no second step.
    pub trusted_devices: Vec<TrustedDevice>,
    /// Unused ones.
    pub recovery_codes_left: u32,
}

/// A paired phone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authenticator {
    /// Its name in the protocol.
    pub id: String,
    /// Its owner's word for it.
    pub name: String,
    /// Since when.
    pub paired_at: Wall,
    /// Its last signed call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Wall>,
}

/// A trusted device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedDevice {
    /// Its name in the protocol, not its token.
    pub id: String,
    /// Its owner's word for it.
    pub label: String,
    /// Since when.
    pub trusted_at: Wall,
    /// Until when.
    pub expires_at: Wall,
    /// Its last login.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<Wall>,
}

/// A setup or change was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    /// Its name.
    pub setup: Secret,
    /// What can be set up.
    pub available: Vec<Method>,
    /// In seconds.
    pub expires_in: u64,
}

/// What a setup has and needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupStatus {
    /// Whose it is.
    pub user: String,
    /// Confirmed in it.
    pub ready: Vec<Method>,
    /// To be confirmed before it can finish.
    pub missing: Vec<Method>,
    /// Confirmed or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_email: Option<String>,
    /// In seconds.
    pub expires_in: u64,
}

/// What became of a confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmed {
    /// What became of it.
    pub outcome: Confirmation,
    /// What a person should do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<crate::core::setup::Confirmed> for Confirmed {
    fn from((outcome, hint): crate::core::setup::Confirmed) -> Self {
        Self { outcome, hint }
    }
}

/// A secret to scan, or to type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityCode {
    /// Base32.
    pub secret: Secret,
    /// To draw as a QR code.
    pub uri: Secret,
}

/// A pairing to scan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// To draw as a QR code.
    pub uri: Secret,
    /// In seconds.
    pub expires_in: u64,
}

/// How a pairing goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingState {
    /// How it goes.
    pub state: PairingStep,
    /// The number shown on both sides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<Secret>,
    /// Once it is paired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authenticator: Option<Authenticator>,
}

/// See [`PairingState::state`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingStep {
    /// Not scanned yet.
    Waiting,
    /// The phone's user compares the number.
    Approve,
    /// The phone shows a code.
    TypeCode,
    /// Done.
    Paired,
    /// Refused on the phone.
    Denied,
    /// Too late.
    Expired,
}

/// All of a setup is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finished {
    /// In force.
    pub methods: Vec<Method>,
    /// Asked for first.
    pub preferred: Method,
    /// Shown once; empty where the former ones stay.
    pub recovery_codes: Vec<Secret>,
    /// The login that is verified by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Secret>,
}

/// A setting that waits for a confirmation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// To confirm it by.
    pub setup: Secret,
}

/// A new list, shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryCodes {
    /// The former ones are void.
    pub recovery_codes: Vec<Secret>,
}

/// An error of this interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "error", content = "parameters")]
pub enum Error {
    /// Not the peer's account.
    #[serde(rename = "io.twostep.Account.PermissionDenied")]
    PermissionDenied {},
    /// Nobody has this name.
    #[serde(rename = "io.twostep.Account.NoSuchAccount")]
    NoSuchAccount {},
    /// It is over, or there never was one.
    #[serde(rename = "io.twostep.Account.NoSuchSetup")]
    NoSuchSetup {},
    /// Not the account's password.
    #[serde(rename = "io.twostep.Account.WrongPassword")]
    WrongPassword {
        /// Seconds until the next is looked at.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// Too many wrong passwords or answers.
    #[serde(rename = "io.twostep.Account.Locked")]
    Locked {
        /// Seconds, where waiting helps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_after: Option<u64>,
    },
    /// No Security Code was confirmed in this setup.
    #[serde(rename = "io.twostep.Account.SecurityCodeMissing")]
    SecurityCodeMissing {},
    /// The Security Code can't be turned off alone.
    #[serde(rename = "io.twostep.Account.SecurityCodeMandatory")]
    SecurityCodeMandatory {},
    /// Passwordless login is on.
    #[serde(rename = "io.twostep.Account.PasswordlessEnabled")]
    PasswordlessEnabled {},
    /// 2-step verification is on.
    #[serde(rename = "io.twostep.Account.TwoStepEnabled")]
    TwoStepEnabled {},
    /// An administrator enforces it.
    #[serde(rename = "io.twostep.Account.Enforced")]
    Enforced {},
    /// Change it, or turn it off first.
    #[serde(rename = "io.twostep.Account.AlreadyEnabled")]
    AlreadyEnabled {},
    /// 2-step verification, or this method, is not on.
    #[serde(rename = "io.twostep.Account.NotEnabled")]
    NotEnabled {},
    /// Name a login of this account that was verified recently.
    #[serde(rename = "io.twostep.Account.SecondStepRequired")]
    SecondStepRequired {},
    /// No address to mail to.
    #[serde(rename = "io.twostep.Account.InvalidEmail")]
    InvalidEmail {
        /// Why, for people.
        reason: String,
    },
    /// The method can't be used now.
    #[serde(rename = "io.twostep.Account.MethodUnavailable")]
    MethodUnavailable {
        /// Which.
        method: Method,
        /// Why, for people.
        reason: String,
    },
    /// The engine's state can't be read or written: nothing was changed.
    #[serde(rename = "io.twostep.Account.StorageFailed")]
    StorageFailed {
        /// Why, for people.
        reason: String,
    },
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::AlreadyEnabled => Self::AlreadyEnabled {},
            Refusal::NotEnabled => Self::NotEnabled {},
            Refusal::SecurityCodeMandatory => Self::SecurityCodeMandatory {},
            Refusal::SecurityCodeMissing => Self::SecurityCodeMissing {},
            Refusal::PasswordlessEnabled => Self::PasswordlessEnabled {},
            Refusal::TwoStepEnabled => Self::TwoStepEnabled {},
            Refusal::Enforced => Self::Enforced {},
            Refusal::NoSuchSetup => Self::NoSuchSetup {},
            Refusal::InvalidEmail(fault) => Self::InvalidEmail { reason: fault.to_string() },
            Refusal::MethodUnavailable(method, reason) => Self::MethodUnavailable { method, reason },
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::SecondStepRequired => Self::SecondStepRequired {},
            _ => Self::PermissionDenied {},
        }
    }
}
