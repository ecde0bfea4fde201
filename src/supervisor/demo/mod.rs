//! `twostepd demo`: the same two processes on a simulated board, in a scratch folder, with account files of its own.
//!
//! It presses its own button, shows what happens, and then stays up for the `twostep` command. It needs no root and changes nothing outside
//! its folder; whoever runs it counts as root on its sockets.

mod scratch;
mod second_step;
mod tour;

use std::path::Path;
use std::process::ExitCode;

use tokio::sync::oneshot;

use super::password_worker::Judge;
use super::run::{self, Machine};
use crate::config::paths::Paths;

/// The demo, from laying out the folder to its exit code: 0, or 1 where a step of the tour did not do what it should.
#[must_use]
pub fn main(once: bool, dir: Option<&Path>) -> ExitCode {
    match demonstrate(once, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("twostepd demo: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(once: bool, dir: Option<&Path>) -> Result<(), String> {
    let folder = scratch::lay(dir).map_err(|e| e.to_string())?;
    let paths = Paths::scratch(&folder);
    let config = scratch::config(&paths);
    crate::log::init(&config.log, "twostepd");
    let board = scratch::board().map_err(|e| e.to_string())?;
    let (ended, stop) = oneshot::channel();
    let (ready, go) = std::sync::mpsc::sync_channel::<()>(1);
    let guide = {
        let paths = paths.clone();
        std::thread::spawn(move || {
            // Without a supervisor that got ready there is nothing to show.
            let told = go.recv().map_err(|_| String::from("the supervisor did not start")).and_then(|()| tour::run(&paths, once));
            if once || told.is_err() {
                // The supervisor may have ended by itself.
                let _ = ended.send(());
            }
            told
        })
    };
    let machine = Machine {
        paths: paths.clone(),
        config,
        board,
        judge: Judge::Shadow(paths.accounts.join("shadow")),
        user: None,
        owner: nix::unistd::getuid().as_raw(),
        runs_hooks: true,
    };
    // A tour that has broken off tells so itself.
    let begin = || ready.send(()).unwrap_or_default();
    let ran = run::block_on(machine, begin, async {
        if stop.await.is_err() {
            // A tour that went well: the demo stays up until somebody stops it.
            std::future::pending::<()>().await;
        }
    });
    ran.map_err(|e| e.to_string())?;
    for socket in [paths.socket(), paths.recovery_socket()] {
        // A stopped demo leaves its files for a look, but no dead sockets.
        let _ = std::fs::remove_file(socket);
    }
    guide.join().map_err(|_| String::from("the tour broke off"))?
}
