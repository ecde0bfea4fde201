//! The tour: what the product is, shown and checked step by step over the demo's own sockets.

use std::fmt::Display;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::scratch::{self, Folder};
use super::second_step;
use crate::client::Client;
use crate::config::paths::Paths;
use crate::proto::recovery::{AccountState, DefaultPassword, Event, EventKind, Pressed, Status};
use crate::proto::varlink::Empty;
use crate::sys::crypt;

/// Longer than any step of the tour takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a step of the tour came to.
pub type Step = Result<(), String>;

#[derive(Serialize)]
struct Hold {
    hold_ms: u64,
}

/// Shows everything.
///
/// # Errors
/// The first step that did not do what it should.
pub fn run(paths: &Paths) -> Step {
    let mut recovery = Client::connect(&paths.recovery_socket(), PATIENCE).map_err(text)?;
    let mut shared = Client::connect(&paths.socket(), PATIENCE).map_err(text)?;
    let before = people(&paths.accounts)?;
    second_step::show(&mut shared)?;
    begin(&mut recovery)?;
    short_press(&mut recovery)?;
    long_press(&mut recovery, paths)?;
    untouched(paths, &before)?;
    second_step::lost_phone(&mut shared)?;
    off_again(&mut recovery, paths)
}

/// What somebody at another terminal can try, once the demo stays up.
///
/// # Errors
/// Where standard output is closed.
pub fn say_how_to_go_on(folder: &Folder) -> Step {
    let state = if folder.fresh { "fresh" } else { "as it was left" };
    say(format_args!("\nReady. This machine is {state}; the tour used another one."))?;
    for (name, password) in scratch::PEOPLE {
        say(format_args!("{name}'s password is \"{password}\"."))?;
    }
    say("The demo stays up until Ctrl-C; in another terminal:")?;
    for command in ["setup --user alice", "verify alice", "audit", "recovery press", "recovery status", "recovery disable"] {
        say(format_args!("  cargo run --release --bin twostep -- --dir {} {command}", folder.path.display()))?;
    }
    Ok(())
}

fn begin(recovery: &mut Client) -> Step {
    let status: Status = call(recovery, "Status", &Empty {})?;
    expect(status.account.state == AccountState::Disabled, "the demo does not begin with a disabled account")?;
    say(format_args!("\nThe reset button\n  {} is disabled; alice and bob have passwords of their own", status.account.name))
}

fn short_press(recovery: &mut Client) -> Step {
    say("  holding the button for 1 s …")?;
    let Pressed { fired } = call(recovery, "Press", &Hold { hold_ms: 1000 })?;
    expect(fired.is_none(), "a press of 1 s fired")?;
    let status: Status = call(recovery, "Status", &Empty {})?;
    expect(status.account.state == AccountState::Disabled, "a press of 1 s did something")?;
    say("    nothing: it takes 3 s")
}

fn long_press(recovery: &mut Client, paths: &Paths) -> Step {
    say("  holding the button for 3.2 s …")?;
    let mut monitor = Client::connect(&paths.recovery_socket(), PATIENCE).map_err(text)?;
    let watched = thread::spawn(move || watch(&mut monitor));
    let pressed: Pressed = call(recovery, "Press", &Hold { hold_ms: 3200 })?;
    let fired = watched.join().map_err(|_| String::from("the monitor broke off"))??;
    expect(fired >= 3000, "it fired before 3 s were over")?;
    let carried_out = pressed.fired.ok_or("the press did not fire")?;
    expect(!carried_out.failed, &carried_out.outcome)?;
    let status: Status = call(recovery, "Status", &Empty {})?;
    expect(status.account.state == AccountState::Recovered, "the account is not back")?;
    let shown: DefaultPassword = call(recovery, "ShowDefaultPassword", &Empty {})?;
    expect(accepts(paths, &status.account.name, &shown)?, "the default password is refused")?;
    say(format_args!("    {} is back; its password is the MAC address on the sticker: {}", status.account.name, shown.password.expose()))
}

/// Tells what the button does until it has fired; returns the hold in milliseconds.
fn watch(monitor: &mut Client) -> Result<u64, String> {
    for event in monitor.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {}).map_err(text)? {
        let event = event.map_err(text)?;
        match event.event {
            EventKind::Holding => say(format_args!("    held {} s", event.held_ms / 1000))?,
            EventKind::Fired => {
                say(format_args!("    fired after {} ms, still held", event.held_ms))?;
                return Ok(event.held_ms);
            }
            EventKind::Released => return Err("released without firing".into()),
            _ => {}
        }
    }
    Err("the monitor ended".into())
}

fn untouched(paths: &Paths, before: &[String]) -> Step {
    expect(people(&paths.accounts)? == before, "somebody else's line changed")?;
    say("    alice's and bob's lines are as they were, byte for byte")
}

fn off_again(recovery: &mut Client, paths: &Paths) -> Step {
    let shown: DefaultPassword = call(recovery, "ShowDefaultPassword", &Empty {})?;
    let Empty {} = call(recovery, "DisableAccount", &Empty {})?;
    let status: Status = call(recovery, "Status", &Empty {})?;
    expect(status.account.state == AccountState::Disabled, "the account is still on")?;
    expect(!accepts(paths, &status.account.name, &shown)?, "the default password still works")?;
    say(format_args!("\nAnd off again\n  {} is off: no password works, no key, no session", status.account.name))
}

fn call<R: DeserializeOwned>(client: &mut Client, method: &str, parameters: &impl Serialize) -> Result<R, String> {
    client.call(&format!("io.twostep.Recovery.{method}"), parameters).map_err(text)
}

/// Whether the account's line in the demo's shadow file takes the password, as the system's libcrypt sees it.
fn accepts(paths: &Paths, account: &str, shown: &DefaultPassword) -> Result<bool, String> {
    let shadow = fs::read_to_string(paths.accounts.join("shadow")).map_err(text)?;
    let line = shadow.lines().find_map(|line| line.strip_prefix(account)?.strip_prefix(':'));
    let hash = line.and_then(|rest| rest.split(':').next()).unwrap_or_default();
    crypt::verify(shown.password.expose(), hash).map_err(text)
}

/// The lines of everybody but the recovered account, in all account files.
fn people(etc: &Path) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for file in ["passwd", "group", "shadow"] {
        let content = fs::read_to_string(etc.join(file)).map_err(text)?;
        lines.extend(content.lines().filter(|line| scratch::PEOPLE.iter().any(|(name, _)| line.starts_with(name))).map(String::from));
    }
    Ok(lines)
}

pub(super) fn say(line: impl Display) -> Step {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(|e| format!("standard output: {e}"))
}

pub(super) fn expect(holds: bool, otherwise: &str) -> Step {
    if holds { Ok(()) } else { Err(otherwise.into()) }
}

pub(super) fn text(error: impl Display) -> String {
    error.to_string()
}
