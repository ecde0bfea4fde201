//! The tour's part about the second step: set up, verified, refused when used again, and turned off for somebody whose phone is lost.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::tour::{Step, expect, say, text};
use crate::client::Client;
use crate::core::account::Status;
use crate::core::clock::{Horizon, Moment, PlausibleTime, plausible};
use crate::core::login::Outcome;
use crate::core::otpauth;
use crate::core::setup::Confirmation;
use crate::core::shadow::EARLIEST;
use crate::core::time::Wall;
use crate::core::totp::Enrolment;
use crate::proto::account::{AccountStatus, Begun, Confirmed, Finished, SecurityCode};
use crate::proto::login::{Answered, Decision, Started};
use crate::proto::varlink::Empty;
use crate::sys::clock;

const USER: &str = "alice";
const PASSWORD: &str = "wonderland";
/// One time step of the Security Code, in seconds (RFC 6238 §4.1).
const STEP: i64 = 30;

/// Sets up alice's second step, logs her in with it, and tries the code again.
///
/// # Errors
/// The first step that did not do what it should.
pub fn show(shared: &mut Client) -> Step {
    say("\nThe second step")?;
    clear(shared)?;
    let started = start(shared)?;
    expect(started.decision == Decision::NotRequired, "a second step is asked for before there is one")?;
    let app = set_up(shared)?;
    say(format_args!("  {USER} sets it up: password, a QR code for the authenticator app, a code, the password again"))?;
    let started = start(shared)?;
    expect(started.decision == Decision::Verify, "no second step is asked for")?;
    let code = code(&app, STEP)?;
    let answered = answer(shared, &started, &code)?;
    expect(answered.outcome == Outcome::Verified, "the right code is refused")?;
    say(format_args!("  {USER} logs in: the password was right, and the code {code} lets her in"))?;
    let again = start(shared)?;
    let answered = answer(shared, &again, &code)?;
    expect(answered.outcome == Outcome::AlreadyUsed, "a code is accepted twice")?;
    say(format_args!("  somebody who has seen it types it again: {}", answered.hint.unwrap_or_default()))
}

/// What an administrator, back by the button, does for somebody who lost the phone.
///
/// # Errors
/// As [`show`].
pub fn lost_phone(shared: &mut Client) -> Step {
    let Empty {} = call(shared, "Admin.DisableFor", &json!({ "user": USER }))?;
    let started = start(shared)?;
    expect(started.decision == Decision::NotRequired, "the second step is still asked for")?;
    say(format_args!("    as administrator: {USER}'s phone is lost, so her second step is turned off; the password alone lets her in"))
}

/// A demo that was stopped in the midst of its tour begins anew.
fn clear(shared: &mut Client) -> Step {
    let status: AccountStatus = call(shared, "Account.Status", &json!({ "user": USER }))?;
    if status.status == Status::Enabled {
        let Empty {} = call(shared, "Admin.DisableFor", &json!({ "user": USER }))?;
    }
    Ok(())
}

fn set_up(shared: &mut Client) -> Result<Enrolment, String> {
    let begun: Begun = call(shared, "Account.BeginSetup", &json!({ "user": USER, "password": PASSWORD }))?;
    let offered: SecurityCode = call(shared, "Account.OfferSecurityCode", &json!({ "setup": begun.setup }))?;
    let app = otpauth::parse(offered.uri.expose()).map_err(text)?;
    let confirmed: Confirmed = call(shared, "Account.ConfirmSecurityCode", &json!({ "setup": begun.setup, "code": code(&app, 0)? }))?;
    expect(confirmed.outcome == Confirmation::Confirmed, "the app's code is not confirmed")?;
    let finished: Finished = call(shared, "Account.FinishSetup", &json!({ "setup": begun.setup, "password": PASSWORD }))?;
    expect(!finished.recovery_codes.is_empty(), "no recovery codes are given")?;
    Ok(app)
}

fn start(shared: &mut Client) -> Result<Started, String> {
    call(shared, "Login.Start", &json!({ "user": USER, "service": "demo" }))
}

fn answer(shared: &mut Client, started: &Started, code: &str) -> Result<Answered, String> {
    call(shared, "Login.Answer", &json!({ "login": started.login, "method": "security_code", "code": code }))
}

/// What the app shows `ahead` seconds from now: the next code is good already, so that the tour need not wait for it.
fn code(app: &Enrolment, ahead: i64) -> Result<String, String> {
    Ok(app.code_at(time(ahead)?).to_string())
}

fn time(ahead: i64) -> Result<PlausibleTime, String> {
    let moment = Moment { wall: Wall(clock::wall().0.saturating_add(ahead)), ..Moment::default() };
    plausible(&moment, &Horizon { built: EARLIEST, last_commit: None }).map_err(text)
}

fn call<R: DeserializeOwned>(shared: &mut Client, method: &str, parameters: &(impl Serialize + ?Sized)) -> Result<R, String> {
    let parameters: Value = serde_json::to_value(parameters).map_err(text)?;
    shared.call(&format!("io.twostep.{method}"), &parameters).map_err(|e| format!("{method}: {e}"))
}
