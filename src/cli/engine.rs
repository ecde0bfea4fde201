//! The engine's socket: reached at once, or waited for with a word to whoever waits.
//!
//! The supervisor holds that socket, so connecting succeeds also while there is no engine; only a call shows whether one answers.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::output::{self, Failed};
use crate::client::{Client, Error};
use crate::proto::varlink::Empty;

/// An engine that runs answers within this time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One that is started again does within this time.
const LONGEST: Duration = Duration::from_secs(15);

/// Connects to the engine that serves in `dir`; each of its answers may take as long as `patience`.
///
/// # Errors
/// Where nobody listens there, or no engine answers.
pub fn connect(dir: &Path, patience: Duration) -> Result<Client, Failed> {
    let socket = dir.join("twostep.sock");
    let mut client = match answering(&socket, AT_ONCE) {
        Err(error) if is_silence(&error) => {
            output::say(format_args!("twostep: the engine does not answer; waiting up to {} s for it", LONGEST.as_secs()));
            answering(&socket, LONGEST).map_err(|error| if is_silence(&error) { Failed::NoEngine } else { error.into() })?
        }
        answered => answered?,
    };
    client.set_time_limit(Some(patience))?;
    Ok(client)
}

fn answering(socket: &Path, limit: Duration) -> Result<Client, Error> {
    let mut client = Client::connect(socket, limit)?;
    match client.call::<Value>("org.varlink.service.GetInfo", &Empty {}) {
        // Somebody answers; what is wrong shows at the call that matters.
        Ok(_) | Err(Error::Service(_)) => Ok(client),
        Err(error) => Err(error),
    }
}

/// Nobody answers yet, or who began to has just ended.
fn is_silence(error: &Error) -> bool {
    match error {
        Error::TimedOut | Error::Closed => true,
        Error::Connect { source, .. } => matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
        _ => false,
    }
}
