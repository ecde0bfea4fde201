//! `twostep recovery …`: the reset button and the account it brings back.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::RecoveryCall;
use super::output::{self, Failed};
use crate::client::{self, Client};
use crate::core::time::Wall;
use crate::proto::recovery::{AccountState, DefaultPassword, Error, Event, EventKind, Pressed, SourceKind, SourceState, Status};
use crate::proto::varlink::Empty;
use crate::sys::clock;

/// The daemon answers within this time; it may have to wait for the account files' lock.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Serialize)]
struct Hold {
    hold_ms: i64,
}

/// Runs one subcommand against the sockets in `dir`.
///
/// # Errors
/// See [`Failed`].
pub fn run(command: &RecoveryCall, dir: &Path, json: bool) -> Result<(), Failed> {
    let mut client = Client::connect(&dir.join("recovery.sock"), PATIENCE).map_err(hint)?;
    match command {
        RecoveryCall::Status => {
            let status: Status = call(&mut client, "Status", &Empty {})?;
            if json { output::json(&status) } else { describe(&status, clock::wall()).iter().try_for_each(output::line) }
        }
        RecoveryCall::Monitor => monitor(&mut client, json),
        RecoveryCall::Press { hold } => {
            client.set_time_limit(Some(PATIENCE + Duration::from_millis(hold.unsigned_abs())))?;
            pressed(call(&mut client, "Press", &Hold { hold_ms: *hold })?, json)
        }
        RecoveryCall::Disable => done(call(&mut client, "DisableAccount", &Empty {})?, json, "the account is off"),
        RecoveryCall::ShowPassword => {
            let shown: DefaultPassword = call(&mut client, "ShowDefaultPassword", &Empty {})?;
            if json { output::json(&shown) } else { output::line(shown.password.expose()) }
        }
    }
}

fn call<R: DeserializeOwned>(client: &mut Client, method: &str, parameters: &impl Serialize) -> Result<R, Failed> {
    client.call(&format!("io.twostep.Recovery.{method}"), parameters).map_err(explain)
}

fn done(Empty {}: Empty, json: bool, words: &str) -> Result<(), Failed> {
    if json { output::json(&Empty {}) } else { output::line(words) }
}

/// A press that was refused is a failure of the command, too.
fn pressed(pressed: Pressed, json: bool) -> Result<(), Failed> {
    if json {
        output::json(&pressed)?;
    }
    match pressed.fired {
        Some(press) if press.failed => Err(Failed::Refused(press.outcome)),
        _ if json => Ok(()),
        Some(press) => output::line(format!("pressed and released: {}", press.outcome)),
        None => output::line("pressed and released: it did not fire (too short, or ignored: see `twostep recovery status` and the log)"),
    }
}

fn monitor(client: &mut Client, json: bool) -> Result<(), Failed> {
    output::end_with_reader();
    client.set_time_limit(None)?;
    for event in client.call_more::<Event>("io.twostep.Recovery.Monitor", &Empty {})? {
        let event = event.map_err(explain)?;
        if json { output::json(&event)? } else { output::line(words(&event))? }
    }
    Ok(())
}

/// Says what a person can do about an error of the interface.
fn explain(error: client::Error) -> Failed {
    let client::Error::Service(failure) = &error else { return Failed::Call(error) };
    match failure.typed::<Error>() {
        Some(Error::PermissionDenied {}) => Failed::Refused("only root may do that (try sudo)".into()),
        Some(Error::NotSimulated {}) => {
            Failed::Refused("this board has a real button: press it, or choose the board profile `simulated`".into())
        }
        Some(Error::NoStableAddress { reason }) => Failed::Refused(format!("there is no default password: {reason}")),
        Some(Error::AccountsFailed { reason }) => Failed::Refused(reason),
        None => Failed::Call(error),
    }
}

fn hint(error: client::Error) -> Failed {
    match &error {
        client::Error::Connect { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            Failed::Refused("only root may do that (try sudo)".into())
        }
        _ => Failed::Call(error),
    }
}

fn words(event: &Event) -> String {
    let what = match event.event {
        EventKind::Pressed => "pressed",
        EventKind::Holding => "held",
        EventKind::Fired => "fired",
        EventKind::Released => "released",
        EventKind::Ignored => "ignored",
        EventKind::Stuck => "stuck",
        EventKind::Missing => "missing",
        EventKind::Ready => "ready",
    };
    let mut line = format!("{}: {what}", event.source);
    if event.held_ms > 0 {
        line.push_str(&format!(" ({}.{:03} s)", event.held_ms / 1000, event.held_ms % 1000));
    }
    if let Some(detail) = &event.detail {
        line.push_str(&format!(": {detail}"));
    }
    line
}

fn describe(status: &Status, now: Wall) -> Vec<String> {
    let mut lines = vec![format!("board    {}", status.board), format!("button   {}", button(status))];
    for line in status.reason.iter().flat_map(|reason| reason.lines()) {
        lines.push(format!("         {line}"));
    }
    for source in &status.sources {
        lines.push(format!("         {} ({}): {}", source.name, kind(source.kind), state(source.state)));
    }
    for (i, line) in status.configuration.iter().flat_map(|fault| fault.lines()).enumerate() {
        lines.push(format!("{:<8} {line}", if i == 0 { "wrong" } else { "" }));
    }
    lines.push(match &status.adapter {
        Some(adapter) => format!("adapter  {}: {}", adapter.interface, adapter.origin),
        None => "adapter  none that the default password comes from".into(),
    });
    lines.push(match status.account.name.as_str() {
        "" => "account  in doubt until the configuration is mended".into(),
        name => format!("account  {name}: {}", account(status, now)),
    });
    lines.push(match &status.last {
        Some(last) => format!("last     {} by {}: {}", ago(now, last.at), last.source, last.outcome),
        None => "last     no press yet".into(),
    });
    lines
}

fn button(status: &Status) -> String {
    let hold = format!("hold {}.{:03} s", status.hold_ms / 1000, status.hold_ms % 1000);
    if status.armed { format!("armed, {hold}") } else { format!("not armed, a press does nothing now; {hold}") }
}

fn kind(kind: SourceKind) -> &'static str {
    match kind {
        SourceKind::Input => "input",
        SourceKind::Gpio => "gpio",
        SourceKind::Simulated => "simulated",
    }
}

fn state(state: SourceState) -> &'static str {
    match state {
        SourceState::Ready => "ready",
        SourceState::Held => "held",
        SourceState::Stuck => "stuck: release it",
        SourceState::Missing => "missing",
    }
}

fn account(status: &Status, now: Wall) -> String {
    match (status.account.state, status.account.until) {
        (AccountState::Missing, _) => "missing (a press makes it)".into(),
        (AccountState::Disabled, _) => "disabled".into(),
        (AccountState::Active, _) => "active".into(),
        (AccountState::Recovered, Some(until)) => {
            format!("recovered by the button, off again in {} min", (until.0 - now.0).max(0).div_euclid(60) + 1)
        }
        (AccountState::Recovered, None) => "recovered by the button".into(),
    }
}

fn ago(now: Wall, then: Wall) -> String {
    match now.0 - then.0 {
        seconds @ 0..=119 => format!("{seconds} s ago"),
        seconds @ 120..=7199 => format!("{} min ago", seconds / 60),
        seconds @ 7200..=172_799 => format!("{} h ago", seconds / 3600),
        seconds if seconds >= 172_800 => format!("{} days ago", seconds / 86400),
        _ => "at a time that is in the future of this clock".into(),
    }
}
