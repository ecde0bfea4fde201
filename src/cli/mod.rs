//! The operator's command.
//!
//! Each subcommand is a call or two on one of the daemon's sockets; what it prints is for people, or with `--json` for scripts.
#![forbid(unsafe_code)]
// These panic where nobody reads any more.
#![deny(clippy::print_stderr, clippy::print_stdout)]

mod account;
mod admin;
pub mod args;
mod backup;
mod engine;
pub mod identify;
mod output;
mod pam;
mod phone;
mod recovery;
pub mod terminal;
mod verify;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use self::account::Account;
use self::args::{Args, Command, OnOff, Pam, Recovery, RecoveryCall, Whose};
use self::output::Failed;
use self::verify::Asked;

/// Nobody else's.
const OWN: Whose = Whose { user: None };

/// The command, from its arguments to its exit code: 0 done, 1 refused or failed, 2 wrong command line, 3 the daemon does not answer.
#[must_use]
pub fn main() -> ExitCode {
    if std::env::args_os().len() == 1 {
        return help();
    }
    let args = Args::parse();
    let done = match &args.command {
        Command::Status(whose) => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.status()),
        Command::Setup { whose, method, email } => {
            Account::open(&args.dir, whose, args.json).and_then(|mut a| a.setup(*method, email.as_deref()))
        }
        Command::Change { whose, method } => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.change(*method)),
        Command::Disable(whose) => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.disable()),
        Command::Codes(whose) => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.codes()),
        Command::Devices { whose, remove } => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.devices(remove.as_deref())),
        Command::Method { what, method, whose } => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.method(*what, *method)),
        Command::Email { address, whose } => Account::open(&args.dir, whose, args.json).and_then(|mut a| a.email(address)),
        Command::Passwordless { state, whose } => {
            Account::open(&args.dir, whose, args.json).and_then(|mut a| a.passwordless(*state == OnOff::On))
        }
        Command::Export => Account::open(&args.dir, &OWN, args.json).and_then(|mut a| a.export()),
        Command::Backup { list: true, .. } => backup::list(&args.dir, args.json),
        Command::Backup { file, force, list: false } => backup::make(&args.dir, file.as_deref(), *force, args.json),
        Command::Restore { backup: Some(which), .. } => backup::restore(&args.dir, which, args.json),
        Command::Restore { yes, .. } => backup::start_anew(&args.dir, *yes, args.json),
        Command::Verify { user, service, remote, method } => {
            let asked = Asked { user, service, remote: remote.as_deref(), method: *method };
            verify::run(&args.dir, &asked, args.json)
        }
        Command::Pam(Pam::Check { config, sshd_config }) => pam::check(config, sshd_config, args.json),
        Command::Recovery(Recovery::Identify(what)) => return identify::run(Path::new("/"), what),
        Command::Recovery(Recovery::Call(command)) => recovery::run(command, &args.dir, args.json),
        command => admin::run(command, &args.dir, args.json),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::ReaderGone) if shows(&args.command) => ExitCode::SUCCESS,
        Err(Failed::ReaderGone) => ExitCode::FAILURE,
        Err(Failed::Interrupted(signal)) => ExitCode::from(terminal::end_by(signal)),
        Err(failed) => {
            output::say(format_args!("twostep: {failed}"));
            failed.exit_code()
        }
    }
}

/// Whether that is all that it does: where its reader has seen enough, it is done.
fn shows(command: &Command) -> bool {
    match command {
        Command::Status(_) | Command::List { .. } | Command::Audit { .. } | Command::Backup { list: true, .. } => true,
        Command::Devices { remove, .. } => remove.is_none(),
        Command::Recovery(Recovery::Call(call)) => {
            matches!(call, RecoveryCall::Status | RecoveryCall::Monitor | RecoveryCall::ShowPassword)
        }
        _ => false,
    }
}

/// To whoever types the name alone. The parser itself takes the options' defaults for words.
fn help() -> ExitCode {
    let _ = write!(io::stderr(), "{}", args::command().render_help());
    ExitCode::from(2)
}
