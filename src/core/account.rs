//! The second step of one account as data, and the changes that need no life of their own (a setup has one, see [`setup`](super::setup)).
//!
//! ```text
//!              enforced                 finish a setup
//!   disabled ◄──────────► incomplete ──────────────────► enabled ──► (disable) disabled, or incomplete where enforced
//!       └───────────────── finish a setup ──────────────────▲
//! ```
//! The status is derived, never stored: `enabled` is having the Security Code (Q6), `incomplete` is being enforced without it (Q19).
//! What is secret (the enrolment's key, hashes of recovery codes and of trusted devices) is not in here.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::lockout::Tally;
use super::recovery_code;
use super::totp::Drift;

/// A method of the second step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// A code of an authenticator app (RFC 6238).
    SecurityCode,
    /// A QR code on the login screen, scanned by a paired authenticator.
    QrCode,
    /// The same number on both sides, approved on a paired authenticator.
    LoginApproval,
    /// A code that a paired authenticator shows.
    OnlineCode,
    /// A code mailed to the recovery address.
    EmailCode,
    /// A code from the printed list, each good once.
    RecoveryCode,
}

impl Method {
    /// All, in the order in which they are offered.
    pub const ALL: [Self; 6] =
        [Self::SecurityCode, Self::QrCode, Self::LoginApproval, Self::OnlineCode, Self::EmailCode, Self::RecoveryCode];

    /// As the protocol, the store and the log write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SecurityCode => "security_code",
            Self::QrCode => "qr_code",
            Self::LoginApproval => "login_approval",
            Self::OnlineCode => "online_code",
            Self::EmailCode => "email_code",
            Self::RecoveryCode => "recovery_code",
        }
    }

    /// For people.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::SecurityCode => "Security Code",
            Self::QrCode => "QR Code",
            Self::LoginApproval => "Login Approval",
            Self::OnlineCode => "Online Verification Code",
            Self::EmailCode => "e-mail code",
            Self::RecoveryCode => "recovery code",
        }
    }

    /// Whether the answer is typed, and so can be guessed.
    #[must_use]
    pub fn is_typed(self) -> bool {
        !matches!(self, Self::QrCode | Self::LoginApproval)
    }

    /// Whether it needs a paired authenticator.
    #[must_use]
    pub fn needs_authenticator(self) -> bool {
        matches!(self, Self::QrCode | Self::LoginApproval | Self::OnlineCode)
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Some of the methods, in the order of [`Method::ALL`].
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Methods(u8);

impl Methods {
    /// None.
    pub const NONE: Self = Self(0);

    /// What [`bits`](Self::bits) gave; bits of no method are dropped.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits & 0b11_1111)
    }

    /// For the store: bit 0 is `security_code`, then as in [`Method::ALL`].
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether `method` is one of them.
    #[must_use]
    pub fn contains(self, method: Method) -> bool {
        self.0 & method.bit() != 0
    }

    /// These and `method`.
    #[must_use]
    pub fn with(self, method: Method) -> Self {
        Self(self.0 | method.bit())
    }

    /// These without `method`.
    #[must_use]
    pub fn without(self, method: Method) -> Self {
        Self(self.0 & !method.bit())
    }

    /// These that `keep` agrees to.
    #[must_use]
    pub fn filter(self, keep: impl Fn(Method) -> bool) -> Self {
        self.iter().filter(|m| keep(*m)).collect()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// One by one.
    pub fn iter(self) -> impl Iterator<Item = Method> {
        Method::ALL.into_iter().filter(move |m| self.contains(*m))
    }
}

impl FromIterator<Method> for Methods {
    fn from_iter<I: IntoIterator<Item = Method>>(methods: I) -> Self {
        methods.into_iter().fold(Self::NONE, Self::with)
    }
}

impl fmt::Debug for Methods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The password is enough.
    Disabled,
    /// A second step is asked for.
    Enabled,
    /// Enforced, setup not finished.
    Incomplete,
}

impl Status {
    /// As the protocol writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Enabled => "enabled",
            Self::Incomplete => "incomplete",
        }
    }
}

/// The second step of one account, as the store keeps it. The default is an account that was never touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The methods in force, without recovery codes (they are counted in `recovery_codes_left`).
    pub methods: Methods,
    /// The method asked for first. One of `methods` where there is any.
    pub preferred: Option<Method>,
    /// Enforced by name; enforcement of a group is resolved at each login, see [`enforcement`](super::enforcement).
    pub enforced: bool,
    /// Recovered by the button: no enforcement reaches it until it is disabled again (Q28).
    pub recovered: bool,
    /// It logs in without a password, which excludes the second step (Q8).
    pub passwordless: bool,
    /// The recovery address; here only once a mailed code came back (Q7).
    pub recovery_email: Option<String>,
    /// Unused recovery codes.
    pub recovery_codes_left: u32,
    /// Wrong answers in a row.
    pub failures: Tally,
    /// What is known of the authenticator's clock.
    pub drift: Drift,
    /// Grows at each change of what is in force. A setup remembers it: of two setups the first to finish wins.
    pub generation: u64,
}

/// Why a change is refused. Each is an error of io.twostep.Account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 2-step verification is on: change it, or turn it off first.
    AlreadyEnabled,
    /// 2-step verification, or this method, is not on.
    NotEnabled,
    /// The Security Code can't be turned off alone (Q6).
    SecurityCodeMandatory,
    /// No Security Code was confirmed yet (Q6).
    SecurityCodeMissing,
    /// Passwordless login is on (Q8).
    PasswordlessEnabled,
    /// 2-step verification is on, so passwordless login can't be (Q8).
    TwoStepEnabled,
    /// An administrator enforces it.
    Enforced,
    /// The setup is over: expired, cancelled, or overtaken by another.
    NoSuchSetup,
    /// No account can take this address.
    InvalidEmail(super::email::AddressFault),
    /// The method can't be used now.
    MethodUnavailable(Method, String),
}

impl Account {
    /// Whether a second step is asked for.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.methods.contains(Method::SecurityCode)
    }

    /// The status, where `by_group` says whether a group of the account is enforced.
    #[must_use]
    pub fn status(&self, by_group: bool) -> Status {
        if self.is_enabled() {
            Status::Enabled
        } else if self.is_enforced(by_group) {
            Status::Incomplete
        } else {
            Status::Disabled
        }
    }

    /// Whether enforcement reaches the account, by name or by a group.
    #[must_use]
    pub fn is_enforced(&self, by_group: bool) -> bool {
        (self.enforced || by_group) && !self.recovered
    }

    /// The methods that an answer may come by, recovery codes included.
    #[must_use]
    pub fn answerable(&self) -> Methods {
        if self.is_enabled() && self.recovery_codes_left > 0 {
            self.methods.with(Method::RecoveryCode)
        } else {
            self.methods.without(Method::RecoveryCode)
        }
    }

    /// Turns 2-step verification off by the user (Q23).
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`], and [`Refusal::Enforced`] where an administrator wants it on: a new phone is a change, not an end.
    pub fn disable(&mut self, by_group: bool) -> Result<(), Refusal> {
        if self.is_enforced(by_group) {
            return Err(Refusal::Enforced);
        }
        self.disable_for()
    }

    /// Turns it off by an administrator (Q24); where it is enforced, the account becomes incomplete. The caller drops the enrolment,
    /// recovery codes, authenticators and trusted devices in the same commit (Q25).
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`].
    pub fn disable_for(&mut self) -> Result<(), Refusal> {
        if !self.is_enabled() {
            return Err(Refusal::NotEnabled);
        }
        self.clear();
        // What was guessed at is no more.
        self.failures.reset();
        Ok(())
    }

    /// What the recovery of the account does here (Q28): second step off, enforcement suspended, counters cleared.
    pub fn recover(&mut self) {
        self.clear();
        self.failures.reset();
        self.passwordless = false;
        self.recovered = true;
    }

    fn clear(&mut self) {
        self.methods = Methods::NONE;
        self.preferred = None;
        self.recovery_email = None;
        self.recovery_codes_left = 0;
        self.drift = Drift::default();
        self.generation += 1;
    }

    /// Turns a method on again that needs no setup; `has_phone`: an authenticator is paired.
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`] on an account without 2-step verification, [`Refusal::MethodUnavailable`] with what to do instead.
    pub fn enable_method(&mut self, method: Method, has_phone: bool) -> Result<(), Refusal> {
        if !self.is_enabled() {
            return Err(Refusal::NotEnabled);
        }
        let instead = match method {
            Method::SecurityCode => return Ok(()),
            Method::EmailCode if self.recovery_email.is_some() => {
                self.methods = self.methods.with(method);
                return Ok(());
            }
            Method::EmailCode => "set a recovery e-mail address first",
            // Whichever method a phone was paired for, it answers all.
            Method::QrCode | Method::LoginApproval | Method::OnlineCode if has_phone => {
                self.methods = self.methods.with(method);
                return Ok(());
            }
            Method::RecoveryCode if self.recovery_codes_left > 0 => return Ok(()),
            Method::RecoveryCode => "regenerate the recovery codes",
            Method::QrCode | Method::LoginApproval | Method::OnlineCode => "pair an authenticator in a change of the setup",
        };
        Err(Refusal::MethodUnavailable(method, instead.into()))
    }

    /// A new list of recovery codes has taken the place of the former. Whoever came in by a code of that one vouches for nothing any more.
    pub fn regenerated_codes(&mut self) {
        self.recovery_codes_left = recovery_code::COUNT as u32;
        self.generation += 1;
    }

    /// Turns one method off. Of recovery codes the caller drops the hashes in the same commit. Whatever was begun by it ends with it, as in
    /// [`lose_phone`](Self::lose_phone).
    ///
    /// # Errors
    /// [`Refusal::SecurityCodeMandatory`], [`Refusal::NotEnabled`].
    pub fn disable_method(&mut self, method: Method) -> Result<(), Refusal> {
        if !self.answerable().contains(method) {
            return Err(Refusal::NotEnabled);
        }
        match method {
            Method::SecurityCode => return Err(Refusal::SecurityCodeMandatory),
            Method::RecoveryCode => self.recovery_codes_left = 0,
            _ => self.methods = self.methods.without(method),
        }
        self.generation += 1;
        if self.preferred == Some(method) {
            self.preferred = Some(Method::SecurityCode);
        }
        Ok(())
    }

    /// A phone was removed; `last`: none is paired any more, so the methods that need one go. Whatever the removed one has begun ends with it: the
    /// requests that it saw, the logins that vouch for changes, and the setups that one of them has opened.
    pub fn lose_phone(&mut self, last: bool) {
        self.generation += 1;
        if !last {
            return;
        }
        self.methods = self.methods.filter(|method| !method.needs_authenticator());
        if self.preferred.is_some_and(Method::needs_authenticator) {
            self.preferred = Some(Method::SecurityCode);
        }
    }

    /// Chooses the method asked for first.
    ///
    /// # Errors
    /// [`Refusal::NotEnabled`]; recovery codes can't be preferred, they run out.
    pub fn set_preferred(&mut self, method: Method) -> Result<(), Refusal> {
        if !self.methods.contains(method) {
            return Err(match method {
                Method::RecoveryCode if self.is_enabled() => {
                    Refusal::MethodUnavailable(method, "recovery codes are for emergencies".into())
                }
                _ => Refusal::NotEnabled,
            });
        }
        self.preferred = Some(method);
        Ok(())
    }

    /// Turns passwordless login on or off (Q8).
    ///
    /// # Errors
    /// [`Refusal::TwoStepEnabled`], [`Refusal::Enforced`].
    pub fn set_passwordless(&mut self, passwordless: bool, by_group: bool) -> Result<(), Refusal> {
        if passwordless && self.is_enabled() {
            return Err(Refusal::TwoStepEnabled);
        }
        if passwordless && self.is_enforced(by_group) {
            return Err(Refusal::Enforced);
        }
        self.passwordless = passwordless;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
