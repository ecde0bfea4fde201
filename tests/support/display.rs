//! A screen in memory alone, for browsers that want a window; nobody sees it.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::webdriver::Program;

pub const XVFB: &str = "Xvfb";
/// How often is looked whether a program has done what it does not tell of.
pub const PACE: Duration = Duration::from_millis(20);
/// How long a program may take to clean up behind itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// A screen; ended when dropped, and with it the browser on it.
pub struct Screen {
    server: Program,
    /// What DISPLAY is set to.
    pub name: String,
}

impl Screen {
    pub fn start() -> Self {
        let mut command = Command::new(XVFB);
        command.args(["-displayfd", "1", "-screen", "0", "800x1000x24", "-nolisten", "tcp"]);
        let mut server = Program::start(command.stdout(Stdio::piped()));
        let mut number = String::new();
        server.said().read_line(&mut number).unwrap();
        assert!(!number.is_empty(), "{XVFB} does not start");
        Self { server, name: format!(":{}", number.trim()) }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Killed at once, it would leave its socket behind in the folder that all screens share.
        ask_to_end(&mut self.server);
    }
}

/// Asks a program to end, and waits until it has, or for so long as it may take. Dropped, it is killed.
pub fn ask_to_end(program: &mut Program) {
    let child = &mut program.0;
    if !matches!(child.try_wait(), Ok(None)) || kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).is_err() {
        return;
    }
    for _ in 0..PATIENCE.as_millis() / PACE.as_millis() {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::park_timeout(PACE);
    }
}
