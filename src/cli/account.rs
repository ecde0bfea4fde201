//! `twostep status | setup | change | disable | export | codes | devices | method`: one account's second step.

use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::args::{MethodChange, Whose};
use super::engine;
use super::output::{self, Failed};
use super::phone;
use super::terminal;
use super::verify;
use crate::client::{self, Client};
use crate::core::account::{Method, Status};
use crate::core::setup::Confirmation;
use crate::proto::account::{AccountStatus, Begun, Confirmed, Error, Finished, Pairing, RecoveryCodes, SecurityCode, Setting};
use crate::proto::secret::Secret;
use crate::proto::varlink::Empty;

/// A password check may wait for a domain controller.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// So many wrong codes, and the setup is given up.
const TRIES: u32 = 5;

/// What a setup or change goes through.
struct Wanted {
    /// A code was mailed.
    mailed: bool,
    /// A phone for this method.
    phone: Option<Method>,
    /// A Security Code.
    code: bool,
}

/// One conversation with the engine about one account.
pub struct Account<'a> {
    client: Client,
    dir: &'a Path,
    user: Option<&'a str>,
    json: bool,
}

impl<'a> Account<'a> {
    /// Connects to the shared socket in `dir`.
    ///
    /// # Errors
    /// Where nobody answers there.
    pub fn open(dir: &'a Path, whose: &'a Whose, json: bool) -> Result<Self, Failed> {
        let client = engine::connect(dir, PATIENCE)?;
        Ok(Self { client, dir, user: whose.user.as_deref(), json })
    }

    fn call<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize) -> Result<R, Failed> {
        self.client.call(&format!("io.twostep.Account.{method}"), parameters).map_err(explain)
    }

    /// Parameters with the user, where another than the own is meant, and the members of `more`.
    fn with(&self, more: Value) -> Value {
        let mut all = Map::new();
        if let Some(user) = self.user {
            all.insert("user".into(), user.into());
        }
        if let Value::Object(more) = more {
            all.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
        }
        Value::Object(all)
    }

    /// `twostep status`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn status(&mut self) -> Result<(), Failed> {
        let status: AccountStatus = self.call("Status", &self.with(json!({})))?;
        if self.json { output::json(&status) } else { describe(&status).iter().try_for_each(output::line) }
    }

    /// `twostep setup`: the wizard.
    ///
    /// # Errors
    /// See [`Failed`]; nothing is in force then.
    pub fn setup(&mut self, method: Option<Method>, email: Option<&str>) -> Result<(), Failed> {
        let password = terminal::ask_secret("Password")?;
        let begun: Begun = self.call("BeginSetup", &self.with(json!({ "password": password, "recovery_email": email })))?;
        if !self.json {
            output::line(format_args!("This NAS offers: {}", output::titles(&begun.available)))?;
        }
        let mailed = email.is_some() && begun.available.contains(&Method::EmailCode);
        if let Some(address) = email.filter(|_| !mailed) {
            output::say(format_args!(
                "no codes can be mailed to {address}: no mail server is configured (mail.host in twostepd.toml); going on without"
            ));
        }
        self.go_through(&begun.setup, &Wanted { mailed, phone: method, code: true })
    }

    /// `twostep change`: a new secret, or a phone for `method`.
    ///
    /// # Errors
    /// See [`Failed`]; what was in force stays so.
    pub fn change(&mut self, method: Option<Method>) -> Result<(), Failed> {
        let (password, login) = self.authorise(false)?;
        let begun: Begun = self.call("BeginChange", &self.with(json!({ "password": password, "login": login })))?;
        self.go_through(&begun.setup, &Wanted { mailed: false, phone: method, code: method.is_none() })
    }

    /// `twostep email`: another recovery address, in force once its code is confirmed.
    ///
    /// # Errors
    /// See [`Failed`]; the former address stays.
    pub fn email(&mut self, address: &str) -> Result<(), Failed> {
        let (password, login) = self.authorise(false)?;
        let parameters = self.with(json!({ "password": password, "login": login, "recovery_email": address }));
        let begun: Setting = self.call("SetRecoveryEmail", &parameters)?;
        let confirmed = self.confirm("ConfirmRecoveryEmail", &begun.setup, "Code from the e-mail", false);
        self.or_cancelled(&begun.setup, confirmed)?;
        self.done(&format!("codes are mailed to {address} from now on"))
    }

    /// `twostep passwordless`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn passwordless(&mut self, on: bool) -> Result<(), Failed> {
        let password = terminal::ask_secret("Password")?;
        let Empty {} = self.call("SetPasswordless", &self.with(json!({ "password": password, "passwordless": on })))?;
        self.done(if on { "passwordless login is on" } else { "passwordless login is off" })
    }

    /// `twostep disable`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn disable(&mut self) -> Result<(), Failed> {
        let (password, login) = self.authorise(false)?;
        let Empty {} = self.call("Disable", &self.with(json!({ "password": password, "login": login })))?;
        self.done("2-step verification is off: the password alone lets in")
    }

    /// `twostep export`: the secret in force, to its owner.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn export(&mut self) -> Result<(), Failed> {
        // Also where root asks for its own.
        let (password, login) = self.authorise(true)?;
        let shown: SecurityCode = self.call("ExportSecurityCode", &self.with(json!({ "password": password, "login": login })))?;
        if !self.json && !std::io::stdout().is_terminal() {
            return output::line(shown.uri.expose());
        }
        self.show_offer(&shown)?;
        output::say("Whoever sees this makes your codes: scan it with the second phone, then clear the screen.");
        Ok(())
    }

    /// `twostep codes`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn codes(&mut self) -> Result<(), Failed> {
        let (password, login) = self.authorise(false)?;
        let made: RecoveryCodes = self.call("RegenerateRecoveryCodes", &self.with(json!({ "password": password, "login": login })))?;
        if self.json { output::json(&made) } else { show_codes(&made.recovery_codes) }
    }

    /// `twostep devices`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn devices(&mut self, remove: Option<&str>) -> Result<(), Failed> {
        let status: AccountStatus = self.call("Status", &self.with(json!({})))?;
        if let Some(id) = remove {
            return if status.authenticators.iter().any(|phone| phone.id == id) { self.remove_phone(id) } else { self.remove_device(id) };
        }
        for phone in &status.authenticators {
            if self.json { output::json(phone)? } else { output::line(format_args!("{}  {} (phone)", phone.id, phone.name))? }
        }
        for device in &status.trusted_devices {
            if self.json { output::json(device)? } else { output::line(format_args!("{}  {}", device.id, device.label))? }
        }
        let none = status.trusted_devices.is_empty() && status.authenticators.is_empty();
        if none && !self.json { output::line("no trusted devices") } else { Ok(()) }
    }

    fn remove_device(&mut self, id: &str) -> Result<(), Failed> {
        let Empty {} = self.call("RemoveTrustedDevice", &self.with(json!({ "id": id })))?;
        self.done("that device is asked for the second step again")
    }

    fn remove_phone(&mut self, id: &str) -> Result<(), Failed> {
        let (password, login) = self.authorise(false)?;
        let Empty {} = self.call("RemoveAuthenticator", &self.with(json!({ "password": password, "login": login, "id": id })))?;
        self.done("that phone answers for this account no more")
    }

    /// `twostep method`.
    ///
    /// # Errors
    /// See [`Failed`].
    pub fn method(&mut self, what: MethodChange, method: Method) -> Result<(), Failed> {
        let title = method.title();
        match what {
            MethodChange::Prefer => {
                let Empty {} = self.call("SetPreferred", &self.with(json!({ "method": method })))?;
                self.done(&format!("the {title} is asked for first"))
            }
            MethodChange::Enable | MethodChange::Disable => {
                let (password, login) = self.authorise(false)?;
                let (call, state) = if matches!(what, MethodChange::Enable) { ("EnableMethod", "on") } else { ("DisableMethod", "off") };
                let Empty {} = self.call(call, &self.with(json!({ "password": password, "login": login, "method": method })))?;
                self.done(&format!("the {title} is {state}"))
            }
        }
    }

    /// The password, and for the own account a login whose second step was just passed: the password alone changes nothing. Root needs it only
    /// where it is asked for `always`.
    fn authorise(&mut self, always: bool) -> Result<(Secret, Option<Secret>), Failed> {
        let password = terminal::ask_secret("Password")?;
        let status: AccountStatus = self.call("Status", &self.with(json!({})))?;
        let needs_login = status.status == Status::Enabled && (always || !nix::unistd::geteuid().is_root());
        let login = if needs_login { Some(verify::pass(&mut self.client, self.dir, &status.user)?) } else { None };
        Ok((password, login))
    }

    fn go_through(&mut self, setup: &Secret, wanted: &Wanted) -> Result<(), Failed> {
        let done = self.steps(setup, wanted);
        self.or_cancelled(setup, done)
    }

    fn or_cancelled(&mut self, setup: &Secret, done: Result<(), Failed>) -> Result<(), Failed> {
        if done.is_err() {
            // What is not cancelled expires by itself.
            let _ = self.call::<Empty>("CancelSetup", &json!({ "setup": setup }));
        }
        done
    }

    fn steps(&mut self, setup: &Secret, wanted: &Wanted) -> Result<(), Failed> {
        if wanted.mailed {
            self.confirm("ConfirmRecoveryEmail", setup, "Code from the e-mail (Enter alone goes on without)", true)?;
        }
        if let Some(method) = wanted.phone {
            self.pair(setup, method)?;
        }
        if wanted.code {
            if wanted.phone.is_some() && !self.json {
                output::line("Next the Security Code, for when the phone is out of reach")?;
            }
            let offered: SecurityCode = self.call("OfferSecurityCode", &json!({ "setup": setup }))?;
            self.show_offer(&offered)?;
            self.confirm("ConfirmSecurityCode", setup, "Code that the app shows", false)?;
        }
        let password = terminal::ask_secret("Password, once more")?;
        let mut finished: Finished = self.call("FinishSetup", &json!({ "setup": setup, "password": password }))?;
        // What a setup began with is asked for first already.
        let other = wanted.phone.filter(|method| *method != finished.preferred);
        let preferred = other.map_or(Ok(Empty {}), |method| self.call("SetPreferred", &self.with(json!({ "method": method }))));
        if let (Some(method), Ok(_)) = (other, &preferred) {
            finished.preferred = method;
        }
        if self.json {
            output::json(&finished)?;
        } else {
            output::line(format_args!("2-step verification is on: {}", output::titles(&finished.methods)))?;
            output::line(format_args!("At a login, {} is asked for first", finished.preferred.title()))?;
            if !finished.recovery_codes.is_empty() {
                show_codes(&finished.recovery_codes)?;
            }
        }
        preferred.map(|Empty {}| ())
    }

    /// Pairs a phone: its QR code, then what the method wants on both sides.
    fn pair(&mut self, setup: &Secret, method: Method) -> Result<(), Failed> {
        let offered: Pairing = self.call("OfferPairing", &json!({ "setup": setup, "method": method }))?;
        if self.json {
            output::json(&offered)?;
        } else {
            let drawn = if std::io::stdout().is_terminal() { terminal::qr(offered.uri.expose()) } else { None };
            output::line(if drawn.is_some() { "Scan the QR code with the phone, or open there:" } else { "Open on the phone:" })?;
            output::line(offered.uri.expose())?;
            drawn.map_or(Ok(()), |drawn| output::text(&drawn))?;
        }
        let limit = Duration::from_secs(offered.expires_in) + PATIENCE;
        loop {
            // A connection of its own: this one is for the code that may be asked for meanwhile.
            let state = phone::pairing(self.dir, setup, limit, |number| {
                let what = format!("The number is {number}: approve on the phone if it is the same there, or type it in there");
                // For people, also where a script reads the results.
                if self.json {
                    output::say(what);
                    return Ok(());
                }
                output::line(what)
            });
            match state.map_err(explain)?? {
                phone::Paired::Code => self.confirm("ConfirmOnlineCode", setup, "Code that the phone shows", false)?,
                phone::Paired::Phone(_) if self.json => return Ok(()),
                phone::Paired::Phone(name) => return output::line(format_args!("paired: {name}")),
            }
        }
    }

    fn show_offer(&self, offered: &SecurityCode) -> Result<(), Failed> {
        if self.json {
            return output::json(offered);
        }
        let drawn = if std::io::stdout().is_terminal() { terminal::qr(offered.uri.expose()) } else { None };
        let how = if drawn.is_some() { "Scan the QR code with an authenticator app, or type in" } else { "Type into an authenticator app" };
        output::line(format_args!("{how}: {}", offered.secret.expose()))?;
        output::line(offered.uri.expose())?;
        // Last, so that it stands whole above the question on a screen of 24 lines.
        drawn.map_or(Ok(()), |drawn| output::text(&drawn))
    }

    /// Where it may be `skipped`, an empty answer does that.
    fn confirm(&mut self, method: &str, setup: &Secret, question: &str, skipped: bool) -> Result<(), Failed> {
        for _ in 0..TRIES {
            let code = terminal::ask_secret(question)?;
            if skipped && code.expose().trim().is_empty() {
                return Ok(());
            }
            let confirmed: Confirmed = self.call(method, &json!({ "setup": setup, "code": code }))?;
            let hint = confirmed.hint.map(|hint| format!(": {hint}")).unwrap_or_default();
            match confirmed.outcome {
                Confirmation::Confirmed => return Ok(()),
                Confirmation::Wrong => output::say(format_args!("that is not the code{hint}")),
                Confirmation::Locked => return Err(Failed::Refused(format!("no more codes are taken{hint}"))),
            }
        }
        Err(Failed::Refused("too many wrong codes; nothing was changed".into()))
    }

    fn done(&self, words: &str) -> Result<(), Failed> {
        if self.json { output::json(&Empty {}) } else { output::line(words) }
    }
}

fn show_codes(codes: &[Secret]) -> Result<(), Failed> {
    output::line("Recovery codes, each good once. They are shown only now; keep them away from the phone:")?;
    codes.iter().try_for_each(|code| output::line(format_args!("  {}", code.expose())))
}

fn describe(status: &AccountStatus) -> Vec<String> {
    let state = match (status.status, status.enforced) {
        (Status::Enabled, _) => "on",
        (Status::Incomplete, _) => "to be set up at the next login (enforced)",
        (Status::Disabled, _) => "off",
    };
    let mut lines = vec![format!("{}: 2-step verification is {state}", status.user)];
    if !status.methods.is_empty() {
        let name = |m: &Method| if status.preferred == Some(*m) { format!("{} (asked for first)", m.title()) } else { m.title().into() };
        lines.push(format!("methods         {}", status.methods.iter().map(name).collect::<Vec<_>>().join(", ")));
        lines.push(format!("recovery codes  {} left", status.recovery_codes_left));
        lines.push(format!("e-mail          {}", status.recovery_email.as_deref().unwrap_or("none")));
        lines.push(format!("trusted devices {}", status.trusted_devices.len()));
        lines.push(format!("phones          {}", status.authenticators.len()));
    }
    if status.passwordless {
        lines.push("passwordless login is on".into());
    }
    lines
}

/// Says what a person can do about an error of the interface.
fn explain(error: client::Error) -> Failed {
    let client::Error::Service(failure) = &error else { return Failed::Call(error) };
    let wait = |retry_after: Option<u64>| retry_after.map(|s| format!("; try again in {s} s")).unwrap_or_default();
    let Some(typed) = failure.typed::<Error>() else { return Failed::Call(error) };
    Failed::Refused(match typed {
        Error::PermissionDenied {} => "that is not your account (try sudo)".into(),
        Error::NoSuchAccount {} => "there is no such account".into(),
        Error::NoSuchSetup {} => "the setup is over: begin again".into(),
        Error::WrongPassword { retry_after } => format!("wrong password{}", wait(retry_after)),
        Error::Locked { retry_after } => format!("too many wrong answers{}", wait(retry_after)),
        Error::SecurityCodeMissing {} => "the Security Code has to be set up first".into(),
        Error::SecurityCodeMandatory {} => "the Security Code can't be turned off alone: `twostep disable` turns all off".into(),
        Error::PasswordlessEnabled {} => {
            "passwordless login is on, which excludes the second step: turn it off first (`twostep passwordless off`)".into()
        }
        Error::TwoStepEnabled {} => {
            "2-step verification is on, which excludes passwordless login: turn it off first (`twostep disable`)".into()
        }
        Error::Enforced {} => "an administrator wants 2-step verification on this account (a new phone: `twostep change`)".into(),
        Error::AlreadyEnabled {} => "2-step verification is on already (a new phone: `twostep change`)".into(),
        Error::NotEnabled {} => "2-step verification, or this method, is not on: `twostep setup`".into(),
        Error::SecondStepRequired {} => "the password alone changes nothing here: pass the second step first".into(),
        Error::InvalidEmail { reason } => reason,
        Error::MethodUnavailable { method, reason } => format!("{}: {reason}", method.title()),
        Error::StorageFailed { reason } => format!("nothing was decided: {reason}"),
    })
}
