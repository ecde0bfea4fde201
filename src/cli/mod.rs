//! The operator's command.
//!
//! Each subcommand is a call or two on one of the daemon's sockets; what it prints is for people, or with `--json` for scripts.
#![forbid(unsafe_code)]

pub mod args;
pub mod identify;
mod output;
mod recovery;

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use self::args::{Args, Command, Recovery};
use self::output::Failed;

/// The command, from its arguments to its exit code: 0 done, 1 refused or failed, 2 wrong command line, 3 the daemon does not answer.
#[must_use]
pub fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.command {
        Command::Recovery(Recovery::Identify(what)) => return identify::run(Path::new("/"), what),
        Command::Recovery(Recovery::Call(command)) => recovery::run(command, &args.dir, args.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::ReaderGone) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("twostep: {failed}");
            failed.exit_code()
        }
    }
}
