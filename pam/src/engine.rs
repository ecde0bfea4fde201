//! What the module asks the engine, and the engine at the other end of the socket.
//!
//! An engine that is being started again is waited for; one that answers with what is no decision is not asked twice.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use twostep::client::{Client, Error};
use twostep::core::account::{Method, Status};
use twostep::core::login::Outcome;
use twostep::core::setup::Confirmation;
use twostep::core::time::Monotonic;
use twostep::proto::account::{Begun, Confirmed, SecurityCode};
use twostep::proto::login::{Answered, Challenge, Decision, Started, WaitOutcome};
use twostep::proto::secret::Secret;
use twostep::sys::clock;

use crate::held;

/// How long an absent engine is waited for.
const RESTART: Duration = Duration::from_secs(5);
/// Between two tries to reach it.
const PAUSE: Duration = Duration::from_millis(100);
/// What mailing a code may take more.
const MAILING: Duration = Duration::from_secs(30);

/// Why there is no reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The connection was lost: the engine may be back in a moment, but knows nothing of this login any more.
    Lost,
    /// The engine gives no decision, and why.
    Silent(String),
    /// The engine does not know the account.
    NoSuchAccount,
    /// The login or setup is over.
    Over,
    /// The method can't be used now, and why.
    Unavailable(String),
    /// This may not be done, and why.
    Refused(String),
    /// The user did not wait for it.
    BrokenOff,
}

/// The calls of `io.twostep.Login` and `io.twostep.Account` that a login needs. Each fails with a [`Failure`].
pub trait Engine {
    /// What this login needs.
    fn start(&mut self, user: &str, service: &str, remote: Option<&str>) -> Result<Started, Failure>;
    /// Begins a method. The phones are asked no longer than this engine is there, and no other method is begun.
    fn challenge(&mut self, login: &Secret, method: Method) -> Result<Challenge, Failure>;
    /// Judges a typed code.
    fn answer(&mut self, login: &Secret, method: Method, code: &Secret) -> Result<Answered, Failure>;
    /// What the authenticator says; it is waited for as long as the engine may take for an answer, and `Waiting` is what it has not said then.
    fn wait(&mut self, login: &Secret) -> Result<WaitOutcome, Failure>;
    /// Trusts the address of a verified login, for so many seconds.
    fn trust_address(&mut self, login: &Secret, label: &str) -> Result<u64, Failure>;
    /// Ends a login that was not verified.
    fn cancel(&mut self, login: &Secret);
    /// Whether the second step of an account is on.
    fn status(&mut self, user: &str) -> Result<Status, Failure>;
    /// Goes on with the setup that `start` gave, and names it; with an address, a code is mailed there.
    fn begin_setup(&mut self, user: &str, setup: &Secret, address: Option<&str>) -> Result<Begun, Failure>;
    /// Judges the code that was mailed.
    fn confirm_email(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure>;
    /// The secret to scan.
    fn offer(&mut self, setup: &Secret) -> Result<SecurityCode, Failure>;
    /// Judges the first code made with it.
    fn confirm(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure>;
    /// Puts the setup into force, and gives the recovery codes.
    fn finish(&mut self, setup: &Secret) -> Result<Vec<Secret>, Failure>;
}

/// The engine at the shared socket.
pub struct Socket {
    path: PathBuf,
    owner: u32,
    timeout: Duration,
    restart: Duration,
    client: Option<Client>,
    /// Its end tells the engine that the phones are asked in vain: also that of a process that Ctrl-C ends.
    asking: Option<Client>,
}

impl Socket {
    /// In the folder `dir`. `owner` is who beside root may run the daemon (in a trial, whoever runs it).
    pub fn new(dir: &Path, owner: u32, timeout: Duration) -> Self {
        Self { path: dir.join("twostep.sock"), owner, timeout, restart: RESTART.min(timeout), client: None, asking: None }
    }

    fn client(&mut self, limit: Duration) -> Result<&mut Client, Failure> {
        if self.client.is_none() {
            self.client = Some(self.connect(limit)?);
        }
        self.client.as_mut().ok_or(Failure::Lost)
    }

    fn connect(&self, limit: Duration) -> Result<Client, Failure> {
        let client = Client::connect(&self.path, limit).map_err(|e| unreached(&e))?;
        let run_by = client.run_by().map_err(|e| Failure::Silent(e.to_string()))?;
        if run_by != 0 && run_by != self.owner {
            return Err(Failure::Silent(Error::NotRoot { uid: run_by }.to_string()));
        }
        Ok(match held::back() {
            Some(held_back) => client.interrupted_by(held_back),
            None => client,
        })
    }

    /// Ties what the phones are asked to a connection that nothing else uses. Where that fails they are asked until the request's time is over.
    fn ask_phones(&self, login: &Secret) -> Option<Client> {
        let mut client = self.connect(self.timeout).ok()?;
        let parameters = Parameters { bound: Some(true), ..Parameters::login(login) };
        // Its replies are nobody's: whoever wants to know asks at that moment.
        client.call_more::<Told>("io.twostep.Login.Wait", &parameters).ok()?;
        Some(client)
    }

    fn call(&mut self, method: &str, parameters: &Parameters<'_>, limit: Duration) -> Result<Told, Failure> {
        self.exchange(limit, |client| client.call_raw(method, parameters, Reply::read))
    }

    fn exchange(&mut self, limit: Duration, ask: impl FnOnce(&mut Client) -> Result<Reply, Error>) -> Result<Told, Failure> {
        let client = self.client(limit)?;
        match client.set_time_limit(Some(limit)).and_then(|()| ask(client)) {
            Ok(Reply::Told(told)) => Ok(*told),
            Ok(Reply::Failed(failure)) => Err(failure),
            Err(error) => {
                // Its next reply could be the one to this call.
                self.client = None;
                Err(match error {
                    Error::Closed | Error::Io(_) => Failure::Lost,
                    Error::Interrupted => Failure::BrokenOff,
                    other => Failure::Silent(other.to_string()),
                })
            }
        }
    }

    fn confirmation(&mut self, method: &str, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        let parameters = Parameters { code: Some(code), ..Parameters::setup(setup) };
        let told = self.call(method, &parameters, self.timeout)?;
        let outcome = must(match told.outcome.as_deref() {
            Some("confirmed") => Some(Confirmation::Confirmed),
            Some("wrong") => Some(Confirmation::Wrong),
            Some("locked") => Some(Confirmation::Locked),
            _ => None,
        })?;
        Ok(Confirmed { outcome, hint: told.hint })
    }

    /// Asks until there is an answer, or until an absent engine has been waited for long enough.
    fn call_patiently(&mut self, method: &str, parameters: &Parameters<'_>) -> Result<Told, Failure> {
        let began = clock::monotonic();
        loop {
            match self.call(method, parameters, self.timeout) {
                Err(Failure::Lost) if waited(began) < self.restart => {
                    if held::interrupts(PAUSE) {
                        return Err(Failure::BrokenOff);
                    }
                }
                Err(Failure::Lost) => return Err(Failure::Silent("the service does not answer".into())),
                decided => return decided,
            }
        }
    }
}

fn waited(since: Monotonic) -> Duration {
    clock::monotonic() - since
}

/// Nobody there is somebody who may come back; anything else is not.
fn unreached(error: &Error) -> Failure {
    match error {
        Error::Connect { source, .. } if source.kind() != std::io::ErrorKind::WouldBlock => Failure::Lost,
        other => Failure::Silent(other.to_string()),
    }
}

/// What any call may say. One form for all calls, and one for all replies: each of its own would make the module larger by several KiB.
#[derive(Default, Serialize)]
struct Parameters<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'a Secret>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by_address: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bound: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_email: Option<&'a str>,
}

impl<'a> Parameters<'a> {
    fn login(login: &'a Secret) -> Self {
        Self { login: Some(login), ..Self::default() }
    }

    fn setup(setup: &'a Secret) -> Self {
        Self { setup: Some(setup), ..Self::default() }
    }
}

/// What any reply may say, an error's parameters included.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    decision: Option<Decision>,
    login: Option<Secret>,
    setup: Option<Secret>,
    methods: Option<Vec<Method>>,
    preferred: Option<Method>,
    expires_in: Option<u64>,
    retry_after: Option<u64>,
    notice: Option<String>,
    prompt: Option<Secret>,
    qr: Option<Secret>,
    number: Option<Secret>,
    outcome: Option<String>,
    attempts_left: Option<u32>,
    hint: Option<String>,
    status: Option<Status>,
    available: Option<Vec<Method>>,
    secret: Option<Secret>,
    uri: Option<Secret>,
    recovery_codes: Option<Vec<Secret>>,
    reason: Option<String>,
}

enum Reply {
    Told(Box<Told>),
    Failed(Failure),
}

impl Reply {
    fn read(error: Option<&str>, parameters: &str) -> Option<Self> {
        let told: Told = serde_json::from_str(parameters).ok()?;
        Some(match error {
            None => Self::Told(Box::new(told)),
            Some(name) => Self::Failed(meaning(name, told.reason)),
        })
    }
}

fn meaning(name: &str, reason: Option<String>) -> Failure {
    let reason = |without: &str| reason.unwrap_or_else(|| without.into());
    let known = name.strip_prefix("io.twostep.Login.").or_else(|| name.strip_prefix("io.twostep.Account."));
    match known {
        Some("NoSuchAccount") => Failure::NoSuchAccount,
        Some("NoSuchLogin" | "NoSuchSetup") => Failure::Over,
        Some("MethodNotEnabled") => Failure::Unavailable("not enabled for this account".into()),
        Some("MethodUnavailable" | "InvalidEmail") => Failure::Unavailable(reason("can't be used now")),
        Some("StorageFailed") => Failure::Silent(reason("its state can't be read or written")),
        Some("PermissionDenied" | "NotVerified" | "AlreadyEnabled" | "PasswordlessEnabled" | "SecurityCodeMissing") => {
            Failure::Refused(name.into())
        }
        // No error of these interfaces: whatever answers there is not an engine that this module knows.
        _ => Failure::Silent(name.into()),
    }
}

/// A member that this reply must have.
fn must<T>(member: Option<T>) -> Result<T, Failure> {
    member.ok_or_else(|| Failure::Silent("the answer lacks what it must have".into()))
}

impl Engine for Socket {
    fn start(&mut self, user: &str, service: &str, remote: Option<&str>) -> Result<Started, Failure> {
        let parameters = Parameters { user: Some(user), service: Some(service), remote, ..Parameters::default() };
        let told = self.call_patiently("io.twostep.Login.Start", &parameters)?;
        Ok(Started {
            decision: must(told.decision)?,
            login: told.login,
            methods: told.methods,
            preferred: told.preferred,
            expires_in: told.expires_in,
            setup: told.setup,
            retry_after: told.retry_after,
            notice: told.notice,
            prompt: told.prompt,
        })
    }

    fn challenge(&mut self, login: &Secret, method: Method) -> Result<Challenge, Failure> {
        let limit = if method == Method::EmailCode { self.timeout + MAILING } else { self.timeout };
        let parameters = Parameters { method: Some(method.as_str()), ..Parameters::login(login) };
        self.asking = None;
        let told = self.call("io.twostep.Login.Challenge", &parameters, limit)?;
        if method.needs_authenticator() {
            self.asking = self.ask_phones(login);
        }
        let expires_in = told.expires_in.unwrap_or_default();
        Ok(Challenge { prompt: must(told.prompt)?, qr: told.qr, number: told.number, sent_to: None, expires_in })
    }

    fn answer(&mut self, login: &Secret, method: Method, code: &Secret) -> Result<Answered, Failure> {
        let parameters = Parameters { method: Some(method.as_str()), code: Some(code), ..Parameters::login(login) };
        let told = self.call("io.twostep.Login.Answer", &parameters, self.timeout)?;
        let outcome = must(match told.outcome.as_deref() {
            Some("verified") => Some(Outcome::Verified),
            Some("wrong") => Some(Outcome::Wrong),
            Some("already_used") => Some(Outcome::AlreadyUsed),
            Some("expired") => Some(Outcome::Expired),
            Some("locked") => Some(Outcome::Locked),
            _ => None,
        })?;
        Ok(Answered { outcome, attempts_left: told.attempts_left, retry_after: told.retry_after, hint: told.hint })
    }

    fn wait(&mut self, login: &Secret) -> Result<WaitOutcome, Failure> {
        let parameters = Parameters::login(login);
        let told = self.exchange(self.timeout, |client| client.call_raw_more("io.twostep.Login.Wait", &parameters, Reply::read))?;
        must(match told.outcome.as_deref() {
            Some("waiting") => {
                // The reply that was waited for may still come on this connection.
                self.client = None;
                Some(WaitOutcome::Waiting)
            }
            Some("verified") => Some(WaitOutcome::Verified),
            Some("denied") => Some(WaitOutcome::Denied),
            Some("expired") => Some(WaitOutcome::Expired),
            Some("locked") => Some(WaitOutcome::Locked),
            _ => None,
        })
    }

    fn trust_address(&mut self, login: &Secret, label: &str) -> Result<u64, Failure> {
        let parameters = Parameters { label: Some(label), by_address: Some(true), ..Parameters::login(login) };
        must(self.call("io.twostep.Login.TrustDevice", &parameters, self.timeout)?.expires_in)
    }

    fn cancel(&mut self, login: &Secret) {
        // It expires by itself in two minutes. Without a reply, since whoever has broken off waits for none.
        let _ = self.client(PAUSE).map(|client| client.call_oneway("io.twostep.Login.Cancel", &Parameters::login(login)));
    }

    fn status(&mut self, user: &str) -> Result<Status, Failure> {
        let parameters = Parameters { user: Some(user), ..Parameters::default() };
        must(self.call_patiently("io.twostep.Account.Status", &parameters)?.status)
    }

    fn begin_setup(&mut self, user: &str, setup: &Secret, address: Option<&str>) -> Result<Begun, Failure> {
        let limit = if address.is_some() { self.timeout + MAILING } else { self.timeout };
        let parameters = Parameters { user: Some(user), recovery_email: address, ..Parameters::setup(setup) };
        let told = self.call("io.twostep.Account.BeginSetup", &parameters, limit)?;
        Ok(Begun { setup: must(told.setup)?, available: must(told.available)?, expires_in: told.expires_in.unwrap_or_default() })
    }

    fn confirm_email(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        self.confirmation("io.twostep.Account.ConfirmRecoveryEmail", setup, code)
    }

    fn offer(&mut self, setup: &Secret) -> Result<SecurityCode, Failure> {
        let told = self.call("io.twostep.Account.OfferSecurityCode", &Parameters::setup(setup), self.timeout)?;
        Ok(SecurityCode { secret: must(told.secret)?, uri: must(told.uri)? })
    }

    fn confirm(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        self.confirmation("io.twostep.Account.ConfirmSecurityCode", setup, code)
    }

    fn finish(&mut self, setup: &Secret) -> Result<Vec<Secret>, Failure> {
        must(self.call("io.twostep.Account.FinishSetup", &Parameters::setup(setup), self.timeout)?.recovery_codes)
    }
}

#[cfg(test)]
mod tests;
