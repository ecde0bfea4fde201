//! The command line of `twostep`.

use std::path::PathBuf;

use clap::{CommandFactory, Parser, Subcommand};

use super::identify;

/// The reset button and the second step of a Linux NAS: the operator's command.
#[derive(Debug, Parser)]
#[command(name = "twostep", version, about, long_about = None, arg_required_else_help = true, after_help = EXIT_CODES)]
pub struct Args {
    /// The folder of the daemon's sockets: another one for a demo.
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/twostep")]
    pub dir: PathBuf,
    /// Print JSON, one object a line, for scripts.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 refused or failed (the reason is on stderr), 2 wrong command line, \
                          3 the daemon does not answer.";

/// See [`Args::command`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// The reset button and the account it brings back (root).
    #[command(subcommand)]
    Recovery(Recovery),
}

/// See [`Command::Recovery`].
#[derive(Debug, Subcommand)]
pub enum Recovery {
    #[command(flatten)]
    Call(RecoveryCall),
    /// Show live what each button of this machine sends, to write a board profile.
    Identify(identify::Args),
}

/// What the daemon is asked.
#[derive(Debug, Subcommand)]
pub enum RecoveryCall {
    /// Show board, button, adapter, account and the last press.
    Status,
    /// Show what the button does, as it does it, until Ctrl-C.
    Monitor,
    /// Press the button of a simulated board.
    Press {
        /// How long, like 3200ms or 3.2s; 3200 alone means milliseconds.
        #[arg(value_name = "HOLD", default_value = "3200ms", value_parser = hold)]
        hold: i64,
    },
    /// Turn the account off: password locked, account expired, sessions ended.
    Disable,
    /// Show the password that a press would set.
    ShowPassword,
}

/// A hold in milliseconds.
fn hold(text: &str) -> Result<i64, String> {
    let millis = match text.parse::<u64>() {
        Ok(plain) => u128::from(plain),
        Err(_) => humantime::parse_duration(text).map_err(|e| format!("{e} (write it like 3200ms)"))?.as_millis(),
    };
    i64::try_from(millis).map_err(|_| "too long".into())
}

/// The definition, for the manual page and the completions.
#[must_use]
pub fn command() -> clap::Command {
    Args::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn a_hold_is_read_as_people_write_it() {
        assert_eq!(hold("3200"), Ok(3200));
        assert_eq!(hold("3s 200ms"), Ok(3200));
        assert!(hold("long").is_err());
    }
}
