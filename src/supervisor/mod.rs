//! The root process: it watches the button, brings the account back, and keeps the engine alive.
//!
//! It never reads a byte from a stranger: only root's own socket and the engine's channel, whose messages are a closed list.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod args;
pub mod buttons;
mod child;
mod demo;
pub mod feedback;
mod guesses;
pub mod hooks;
mod key;
mod monitor;
pub mod password;
mod password_worker;
pub mod recovery;
mod recovery_socket;
mod run;
pub mod sessions;
mod station;
mod synchronisation;

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use nix::unistd::{Uid, geteuid};

use self::args::{Args, Command};
use self::password_worker::Judge;
use self::run::{Fault, Machine};
use crate::config::board::Board;
use crate::config::paths::Paths;
use crate::config::{self, Config, validate};
use crate::sys::atomic_file::RealDisk;
use crate::sys::systemd;

/// The user that the engine becomes.
const ENGINE_USER: &str = "twostep";

/// The daemon, from its arguments to its exit code.
#[must_use]
pub fn main() -> ExitCode {
    // No command of anybody's, so neither help nor completion knows of it.
    if std::env::args_os().nth(1).is_some_and(|mode| mode == password_worker::MODE) {
        return password_worker::main();
    }
    match Args::parse().command {
        Command::Run { config } => exit(run(&config)),
        Command::Demo { once, dir } => demo::main(once, dir.as_deref()),
        Command::Validate { files } => validate::run(&files, &Paths::system()),
        Command::Hooks { config } => exit(run_hooks(&config)),
    }
}

fn exit(ended: Result<(), impl Display>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The journal or syslog has it for later, stderr for whoever started us by hand.
            // Where it ended before it knew its configuration, that goes where it usually does.
            crate::log::init(&config::Log::default(), "twostepd");
            log::error!("{e}");
            eprintln!("twostepd: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(config: &Path) -> Result<(), Fault> {
    if !geteuid().is_root() {
        return Err("run needs root: the button changes /etc/shadow (see `twostepd demo` for a look without root)".into());
    }
    let paths = Paths::system();
    let (config, fault, certain) = configuration(config);
    let board = board(&paths);
    let owner = Uid::effective().as_raw();
    let runs_hooks = !systemd::booted();
    let machine = Machine { paths, config, fault, certain, board, judge: Judge::Pam, user: Some(ENGINE_USER), owner, runs_hooks };
    run::block_on(machine, || {}, std::future::pending())
}

/// The configuration, what is wrong with its file, and whether it is certain what that says about a press. A wrong one does not end the process: the
/// window of an earlier press has to end, and the button to work where the file leaves no doubt about it (see [`config::Salvaged`]).
fn configuration(file: &Path) -> (Config, Option<String>, bool) {
    match Config::load_or_salvage(file) {
        Ok(config) => {
            crate::log::init(&config.log, "twostepd");
            (config, None, true)
        }
        Err(salvaged) => {
            let fault = salvaged.to_string();
            crate::log::init(&salvaged.config.log, "twostepd");
            fault.lines().for_each(|line| log::error!("{line}"));
            systemd::states(fault.lines().next().unwrap_or_default());
            (salvaged.config, Some(fault), salvaged.certain)
        }
    }
}

/// The board's profile. Without one no button is watched, and everything else works.
fn board(paths: &Paths) -> Board {
    match Board::of_this_machine(paths) {
        Ok(board) => {
            log::info!("board: {}", board.name);
            board
        }
        Err(e) => {
            log::error!("no button is watched: {e}");
            Board::without_button()
        }
    }
}

fn run_hooks(config: &Path) -> Result<(), Fault> {
    let config = match Config::load_or_salvage(config) {
        Err(salvaged) if !salvaged.certain => return Err(salvaged.error.into()),
        // What else is wrong keeps no hook from running.
        Err(salvaged) => salvaged.config,
        Ok(config) => config,
    };
    crate::log::init(&config.log, "twostepd");
    hooks::run_pending(&RealDisk, &Paths::system(), &config.recovery.account, config.recovery.hook_time)?;
    Ok(())
}
