//! What the module asks the engine, and the engine at the other end of the socket.
//!
//! An engine that is being started again is waited for; one that answers with what is no decision is not asked twice.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use twostep::client::{Client, Error, ServiceFailure};
use twostep::core::account::{Method, Status};
use twostep::core::time::Monotonic;
use twostep::proto::account::{self, AccountStatus, Begun, Confirmed, Finished, SecurityCode, SetupStatus};
use twostep::proto::login::{self, Answered, Challenge, Started, Trusted, WaitOutcome, Waited};
use twostep::proto::secret::Secret;
use twostep::proto::varlink::Empty;
use twostep::sys::clock;

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
}

/// The calls of `io.twostep.Login` and `io.twostep.Account` that a login needs. Each fails with a [`Failure`].
#[expect(clippy::missing_errors_doc, reason = "all fail alike")]
pub trait Engine {
    /// What this login needs.
    fn start(&mut self, user: &str, service: &str, remote: Option<&str>) -> Result<Started, Failure>;
    /// Begins a method.
    fn challenge(&mut self, login: &Secret, method: Method) -> Result<Challenge, Failure>;
    /// Judges a typed code.
    fn answer(&mut self, login: &Secret, method: Method, code: &Secret) -> Result<Answered, Failure>;
    /// What the authenticator has said so far.
    fn wait(&mut self, login: &Secret) -> Result<WaitOutcome, Failure>;
    /// Trusts the address of a verified login.
    fn trust_address(&mut self, login: &Secret, label: &str) -> Result<Trusted, Failure>;
    /// Ends a login that was not verified.
    fn cancel(&mut self, login: &Secret);
    /// Whether the second step of an account is on.
    fn status(&mut self, user: &str) -> Result<Status, Failure>;
    /// Goes on with the setup that `start` gave.
    fn begin_setup(&mut self, user: &str, setup: &Secret) -> Result<Begun, Failure>;
    /// What the setup has so far.
    fn setup_status(&mut self, setup: &Secret) -> Result<SetupStatus, Failure>;
    /// The secret to scan.
    fn offer(&mut self, setup: &Secret) -> Result<SecurityCode, Failure>;
    /// Judges the first code made with it.
    fn confirm(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure>;
    /// Puts the setup into force.
    fn finish(&mut self, setup: &Secret) -> Result<Finished, Failure>;
}

/// The engine at the shared socket.
pub struct Socket {
    path: PathBuf,
    owner: u32,
    timeout: Duration,
    restart: Duration,
    client: Option<Client>,
}

impl Socket {
    /// In the folder `dir`. `owner` is who beside root may run the daemon (in a trial, whoever runs it).
    pub fn new(dir: &std::path::Path, owner: u32, timeout: Duration) -> Self {
        Self { path: dir.join("twostep.sock"), owner, timeout, restart: RESTART.min(timeout), client: None }
    }

    fn client(&mut self, limit: Duration) -> Result<&mut Client, Failure> {
        if self.client.is_none() {
            let client = Client::connect(&self.path, limit).map_err(|e| unreached(&e))?;
            let run_by = client.run_by().map_err(|e| Failure::Silent(e.to_string()))?;
            if run_by != 0 && run_by != self.owner {
                return Err(Failure::Silent(Error::NotRoot { uid: run_by }.to_string()));
            }
            self.client = Some(client);
        }
        self.client.as_mut().ok_or(Failure::Lost)
    }

    fn call<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize, limit: Duration) -> Result<R, Failure> {
        let client = self.client(limit)?;
        let replied = client.set_time_limit(Some(limit)).and_then(|()| client.call(&format!("io.twostep.{method}"), parameters));
        replied.map_err(|error| {
            if !matches!(error, Error::Service(_)) {
                // Its next reply could be the one to this call.
                self.client = None;
            }
            failure(&error)
        })
    }

    /// Asks until there is an answer, or until an absent engine has been waited for long enough.
    fn call_patiently<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize) -> Result<R, Failure> {
        let began = clock::monotonic();
        loop {
            match self.call(method, parameters, self.timeout) {
                Err(Failure::Lost) if waited(began) < self.restart => sleep(PAUSE),
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

fn failure(error: &Error) -> Failure {
    match error {
        Error::Closed | Error::Io(_) => Failure::Lost,
        Error::Service(failure) => refusal(failure),
        other => Failure::Silent(other.to_string()),
    }
}

fn refusal(failure: &ServiceFailure) -> Failure {
    if let Some(error) = failure.typed::<login::Error>() {
        return match error {
            login::Error::NoSuchAccount {} => Failure::NoSuchAccount,
            login::Error::NoSuchLogin {} => Failure::Over,
            login::Error::MethodNotEnabled { .. } => Failure::Unavailable("not enabled for this account".into()),
            login::Error::MethodUnavailable { reason, .. } => Failure::Unavailable(reason),
            login::Error::StorageFailed { reason } => Failure::Silent(reason),
            login::Error::PermissionDenied {} | login::Error::NotVerified {} => Failure::Refused(failure.name.clone()),
        };
    }
    match failure.typed::<account::Error>() {
        Some(account::Error::NoSuchAccount {}) => Failure::NoSuchAccount,
        Some(account::Error::NoSuchSetup {}) => Failure::Over,
        Some(account::Error::MethodUnavailable { reason, .. }) => Failure::Unavailable(reason),
        Some(account::Error::StorageFailed { reason }) => Failure::Silent(reason),
        Some(_) => Failure::Refused(failure.name.clone()),
        // No error of these interfaces: whatever answers there is not an engine that this module knows.
        None => Failure::Silent(failure.name.clone()),
    }
}

impl Engine for Socket {
    fn start(&mut self, user: &str, service: &str, remote: Option<&str>) -> Result<Started, Failure> {
        let mut parameters = Map::new();
        parameters.insert("user".into(), user.into());
        parameters.insert("service".into(), service.into());
        if let Some(remote) = remote {
            parameters.insert("remote".into(), remote.into());
        }
        self.call_patiently("Login.Start", &Value::Object(parameters))
    }

    fn challenge(&mut self, login: &Secret, method: Method) -> Result<Challenge, Failure> {
        let limit = if method == Method::EmailCode { self.timeout + MAILING } else { self.timeout };
        self.call("Login.Challenge", &Chosen { login, method }, limit)
    }

    fn answer(&mut self, login: &Secret, method: Method, code: &Secret) -> Result<Answered, Failure> {
        self.call("Login.Answer", &Typed { login, method, code }, self.timeout)
    }

    fn wait(&mut self, login: &Secret) -> Result<WaitOutcome, Failure> {
        self.call("Login.Wait", &OfLogin { login }, self.timeout).map(|Waited { outcome }| outcome)
    }

    fn trust_address(&mut self, login: &Secret, label: &str) -> Result<Trusted, Failure> {
        self.call("Login.TrustDevice", &Trusting { login, label, by_address: true }, self.timeout)
    }

    fn cancel(&mut self, login: &Secret) {
        // It expires by itself in two minutes.
        let _ = self.call::<Empty>("Login.Cancel", &OfLogin { login }, PAUSE);
    }

    fn status(&mut self, user: &str) -> Result<Status, Failure> {
        self.call_patiently("Account.Status", &json!({ "user": user })).map(|told: AccountStatus| told.status)
    }

    fn begin_setup(&mut self, user: &str, setup: &Secret) -> Result<Begun, Failure> {
        self.call("Account.BeginSetup", &OfUser { user, setup }, self.timeout)
    }

    fn setup_status(&mut self, setup: &Secret) -> Result<SetupStatus, Failure> {
        self.call("Account.SetupStatus", &OfSetup { setup }, self.timeout)
    }

    fn offer(&mut self, setup: &Secret) -> Result<SecurityCode, Failure> {
        self.call("Account.OfferSecurityCode", &OfSetup { setup }, self.timeout)
    }

    fn confirm(&mut self, setup: &Secret, code: &Secret) -> Result<Confirmed, Failure> {
        self.call("Account.ConfirmSecurityCode", &Confirming { setup, code }, self.timeout)
    }

    fn finish(&mut self, setup: &Secret) -> Result<Finished, Failure> {
        self.call("Account.FinishSetup", &OfSetup { setup }, self.timeout)
    }
}

// Parameters that hold secrets are borrowed: a JSON value would keep copies that nobody wipes.

#[derive(Serialize)]
struct OfLogin<'a> {
    login: &'a Secret,
}

#[derive(Serialize)]
struct Chosen<'a> {
    login: &'a Secret,
    method: Method,
}

#[derive(Serialize)]
struct Typed<'a> {
    login: &'a Secret,
    method: Method,
    code: &'a Secret,
}

#[derive(Serialize)]
struct Trusting<'a> {
    login: &'a Secret,
    label: &'a str,
    by_address: bool,
}

#[derive(Serialize)]
struct OfUser<'a> {
    user: &'a str,
    setup: &'a Secret,
}

#[derive(Serialize)]
struct OfSetup<'a> {
    setup: &'a Secret,
}

#[derive(Serialize)]
struct Confirming<'a> {
    setup: &'a Secret,
    code: &'a Secret,
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::thread::JoinHandle;

    use super::*;

    /// For what must come.
    const SOON: Duration = Duration::from_secs(20);
    /// For what must not.
    const SHORT: Duration = Duration::from_millis(300);

    const VERIFY: &str = r#"{"parameters":{"decision":"not_required"}}"#;

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    /// Takes one call on each of so many connections and answers with this; nothing closes without an answer.
    fn serve(listener: UnixListener, answers: &'static [&'static str]) -> JoinHandle<()> {
        std::thread::spawn(move || {
            for answer in answers {
                let (mut connection, _) = listener.accept().unwrap();
                let mut byte = [0];
                while connection.read(&mut byte).unwrap() == 1 && byte != [0] {}
                connection.write_all(answer.as_bytes()).unwrap();
                if !answer.is_empty() {
                    connection.write_all(b"\0").unwrap();
                }
            }
        })
    }

    fn at(folder: &Path) -> UnixListener {
        UnixListener::bind(folder.join("twostep.sock")).unwrap()
    }

    fn start(engine: &mut Socket) -> Result<Started, Failure> {
        engine.start("alice", "sshd", None)
    }

    #[test]
    fn an_absent_engine_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let late = std::thread::spawn(move || {
            sleep(SHORT);
            serve(at(&path), &[VERIFY]).join().unwrap();
        });
        let mut engine = Socket::new(folder.path(), me(), SOON);
        assert!(start(&mut engine).is_ok());
        late.join().unwrap();
    }

    #[test]
    fn one_that_dies_with_the_question_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let server = serve(at(folder.path()), &["", "", VERIFY]);
        assert!(start(&mut Socket::new(folder.path(), me(), SOON)).is_ok());
        server.join().unwrap();
    }

    #[test]
    fn one_that_stays_away_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(start(&mut Socket::new(folder.path(), me(), SHORT)), Err(Failure::Silent(_))));
    }

    #[test]
    fn one_that_is_slow_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let _listener = at(folder.path());
        assert!(matches!(start(&mut Socket::new(folder.path(), me(), SHORT)), Err(Failure::Silent(_))));
    }

    #[test]
    fn rubbish_is_no_decision_and_is_not_asked_for_twice() {
        for rubbish in
            ["hunter2", "{}", r#"{"parameters":{"decision":"welcome"}}"#, r#"{"parameters":{}}"#, r#"{"error":"org.example.No"}"#]
        {
            let folder = tempfile::tempdir().unwrap();
            let answers: &'static [&'static str] = Box::leak(Box::new([rubbish]));
            let server = serve(at(folder.path()), answers);
            let told = start(&mut Socket::new(folder.path(), me(), SOON));
            assert!(matches!(&told, Err(Failure::Silent(why)) if !why.contains("hunter2")), "{rubbish}: {told:?}");
            server.join().unwrap();
        }
    }

    #[test]
    fn an_engine_run_by_somebody_else_is_not_believed() {
        if me() == 0 {
            eprintln!("SKIPPED: everything here is run by root");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let _listener = at(folder.path());
        assert!(matches!(start(&mut Socket::new(folder.path(), me() + 1, SOON)), Err(Failure::Silent(_))));
    }

    #[test]
    fn each_error_of_the_interfaces_has_its_meaning() {
        let silent = |why: &str| Failure::Silent(why.into());
        let refused = |name: &str| Failure::Refused(name.into());
        let unavailable = |why: &str| Failure::Unavailable(why.into());
        let method = |reason: &str| json!({ "method": "email_code", "reason": reason });
        for (name, parameters, meaning) in [
            ("Login.NoSuchAccount", json!({}), Failure::NoSuchAccount),
            ("Login.NoSuchLogin", json!({}), Failure::Over),
            ("Login.MethodNotEnabled", json!({ "method": "qr_code" }), unavailable("not enabled for this account")),
            ("Login.MethodUnavailable", method("no server"), unavailable("no server")),
            ("Login.StorageFailed", json!({ "reason": "full" }), silent("full")),
            ("Login.PermissionDenied", json!({}), refused("io.twostep.Login.PermissionDenied")),
            ("Login.NotVerified", json!({}), refused("io.twostep.Login.NotVerified")),
            ("Account.NoSuchAccount", json!({}), Failure::NoSuchAccount),
            ("Account.NoSuchSetup", json!({}), Failure::Over),
            ("Account.MethodUnavailable", method("the clock"), unavailable("the clock")),
            ("Account.StorageFailed", json!({ "reason": "full" }), silent("full")),
            ("Account.AlreadyEnabled", json!({}), refused("io.twostep.Account.AlreadyEnabled")),
            ("Login.Unheard", json!({}), silent("io.twostep.Login.Unheard")),
        ] {
            assert_eq!(refusal(&ServiceFailure { name: format!("io.twostep.{name}"), parameters }), meaning, "{name}");
        }
    }
}
