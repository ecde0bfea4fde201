//! Orca, the screen reader, on a desktop of its own: a screen in memory, and a session bus, which starts the bus of accessibility. It speaks to the
//! test instead of a loudspeaker.

use std::cell::RefCell;
use std::io::BufRead;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use super::display::{Screen, XVFB, ask_to_end};
use super::webdriver::{Program, SOON};

const ORCA: &str = "orca";
const BUS: &str = "dbus-daemon";
/// Presses the keys of the keyboard.
const KEYBOARD: &str = "xdotool";
/// What the session bus finds the bus of accessibility by.
const ACCESSIBILITY: &str = "/usr/share/dbus-1/services/org.a11y.Bus.service";
/// After so long without a word, a key has done all that it does.
const SILENCE: Duration = Duration::from_secs(2);
/// So many things the page and the browser have to come to with the Tab key, at most: a reader that is busy may leave out the right one once.
const STOPS: usize = 24;

/// All of it; ended when dropped, after the browser that is placed on it.
pub struct Desktop {
    _reader: Program,
    bus: Program,
    screen: Screen,
    said: Receiver<String>,
    heard: RefCell<Vec<String>>,
    home: tempfile::TempDir,
}

/// Whether all programs are there.
pub fn is_installed() -> bool {
    let programs = [(ORCA, "--version"), (BUS, "--version"), (KEYBOARD, "version"), (XVFB, "-help")];
    let runs = |(program, argument): (&str, &str)| Command::new(program).arg(argument).output().is_ok();
    programs.into_iter().all(runs) && Path::new(ACCESSIBILITY).exists()
}

impl Desktop {
    /// Once it speaks.
    pub fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".local/share/orca");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("orca-customizations.py"), include_str!("orca.py")).unwrap();
        let screen = Screen::start();
        let start = |command: &mut Command| {
            surround(command, &screen.name, home.path());
            Program::start(command.stdout(Stdio::piped()))
        };
        let mut bus = start(Command::new(BUS).args(["--session", "--nofork", "--print-address", "--address"]).arg(address(home.path())));
        bus.said().read_line(&mut String::new()).unwrap();
        let mut reader = start(&mut Command::new(ORCA));
        let lines = reader.said().lines();
        let (says, said) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| says.send(line)));
        let desktop = Self { _reader: reader, bus, screen, said, heard: RefCell::default(), home };
        desktop.hear("Screen reader on.");
        desktop
    }

    /// For a program that is about to start there.
    pub fn place(&self, command: &mut Command) {
        surround(command, &self.screen.name, self.home.path());
    }

    /// Waits until these words are said.
    #[track_caller]
    pub fn hear(&self, words: &str) {
        assert!(self.hears(words, SOON), "never said: {words}\n{:#?}", self.heard.borrow());
    }

    fn hears(&self, words: &str, patience: Duration) -> bool {
        loop {
            match self.said.recv_timeout(patience) {
                Ok(line) => {
                    let is_it = line.contains(words);
                    self.heard.borrow_mut().push(line);
                    if is_it {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Timeout) => return false,
                Err(RecvTimeoutError::Disconnected) => panic!("{ORCA} has ended: {:#?}", self.heard.borrow()),
            }
        }
    }

    /// All that was said since this was asked last, up to what was waited for.
    pub fn heard(&self) -> Vec<String> {
        self.heard.take()
    }

    /// Waits until it knows the page that was opened just now, whose title ends so: what the focus comes to before is not said.
    pub fn settle(&self, title: &str) {
        self.hears(&format!("{title}."), SILENCE * 5);
    }

    /// Gives the keyboard to a window of this class. Without a manager of windows nobody else does.
    #[track_caller]
    pub fn look_at(&self, class: &str) {
        self.keyboard(&["search", "--onlyvisible", "--class", class, "windowfocus"]);
    }

    #[track_caller]
    pub fn press(&self, key: &str) {
        self.keyboard(&["key", key]);
    }

    /// Goes on with the Tab key until these words are said.
    #[track_caller]
    pub fn go_to(&self, words: &str) {
        let is_there = (0..STOPS).any(|_| {
            self.press("Tab");
            self.hears(words, SILENCE)
        });
        assert!(is_there, "the Tab key does not come to: {words}\n{:#?}", self.heard.borrow());
    }

    #[track_caller]
    fn keyboard(&self, arguments: &[&str]) {
        let mut command = Command::new(KEYBOARD);
        self.place(command.args(arguments).stdout(Stdio::null()));
        assert!(command.status().unwrap().success(), "{arguments:?}");
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        // What it has started ends with it.
        ask_to_end(&mut self.bus);
    }
}

fn address(home: &Path) -> String {
    format!("unix:path={}/bus", home.display())
}

/// Lets a program see this desktop, and nothing of somebody's real one.
fn surround(command: &mut Command, screen: &str, home: &Path) {
    let real = ["AT_SPI_BUS_ADDRESS", "LANGUAGE", "NO_AT_BRIDGE", "WAYLAND_DISPLAY"];
    let folders = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"];
    for name in real.iter().chain(&folders) {
        command.env_remove(name);
    }
    command.env("HOME", home).env("XDG_RUNTIME_DIR", home).env("DBUS_SESSION_BUS_ADDRESS", address(home)).env("DISPLAY", screen);
    command.env("GDK_BACKEND", "x11").env("GSETTINGS_BACKEND", "memory").env("LC_ALL", "C.UTF-8");
}
