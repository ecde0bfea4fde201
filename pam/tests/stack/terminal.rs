//! A terminal, and who sits at it.

use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, tcgetattr};
use twostep::sys::clock;

use crate::nas::SOON;
use crate::patience::ended;

/// What is at the end of the way in.
pub const IN: &str = "welcome-to-the-nas";

/// A program at a terminal.
pub struct Terminal {
    child: Child,
    screen: fs::File,
    /// What was read and is no whole character yet.
    begun: Vec<u8>,
    seen: String,
}

impl Terminal {
    pub fn open(mut command: Command) -> Self {
        // A program that had this end too could not be hung up on.
        let screen = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&screen).and_then(|()| unlockpt(&screen)).unwrap();
        let keyboard = fs::File::options().read(true).write(true).custom_flags(libc::O_NOCTTY).open(ptsname_r(&screen).unwrap()).unwrap();
        let side = || Stdio::from(keyboard.try_clone().unwrap());
        // setsid gives the program this terminal, so that /dev/tty is it; env has Ctrl-C count, also where whoever runs the tests had it ignored.
        let mut on_terminal = Command::new("env");
        on_terminal
            .args(["--default-signal=INT,QUIT", "setsid", "--ctty", "--wait"])
            .arg(command.get_program())
            .args(command.get_args())
            .env_clear();
        on_terminal.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = on_terminal;
        let child = command.stdin(side()).stdout(side()).stderr(side()).spawn().unwrap();
        Self { child, screen: OwnedFd::from(screen).into(), begun: Vec::new(), seen: String::new() }
    }

    /// Reads on until `text` has come, and returns what came before it.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let until = clock::monotonic() + SOON;
        loop {
            if let Some((before, after)) = self.seen.split_once(text) {
                let (before, after) = (before.to_owned(), after.to_owned());
                self.seen = after;
                return before;
            }
            assert!(self.read(until - clock::monotonic()), "{text:?} did not come, but {:?}", self.seen);
        }
    }

    /// The same, where it may be over before: whether it has come.
    pub fn shows(&mut self, text: &str) -> bool {
        let until = clock::monotonic() + SOON;
        while !self.seen.contains(text) {
            if !self.read(until - clock::monotonic()) {
                return false;
            }
        }
        true
    }

    /// Whether something more has come in time.
    fn read(&mut self, limit: Duration) -> bool {
        let timeout = PollTimeout::try_from(limit).unwrap();
        if poll(&mut [PollFd::new(self.screen.as_fd(), PollFlags::POLLIN)], timeout).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        // A terminal whose program has ended gives an error.
        match self.screen.read(&mut bytes) {
            Ok(count) if count > 0 => {
                self.begun.extend(&bytes[..count]);
                let whole = match std::str::from_utf8(&self.begun) {
                    Err(error) if error.error_len().is_none() => error.valid_up_to(),
                    _ => self.begun.len(),
                };
                let read: Vec<u8> = self.begun.drain(..whole).collect();
                self.seen.push_str(&String::from_utf8_lossy(&read).replace('\r', ""));
                true
            }
            _ => false,
        }
    }

    pub fn type_line(&mut self, text: &str) {
        writeln!(self.screen, "{text}").unwrap();
    }

    /// Ctrl-C at a question: not before its answer is read. ssh and sudo take a signal that comes between the text and the reading for none until
    /// somebody types.
    #[track_caller]
    pub fn interrupt(&mut self) {
        let read = nix::libc::SYS_read.to_string();
        self.awaits("reads an answer", |pid| {
            fs::read_to_string(format!("/proc/{pid}/syscall")).is_ok_and(|call| call.split(' ').next() == Some(&read))
        });
        self.interrupt_waiting();
    }

    /// Ctrl-C while no question is open.
    pub fn interrupt_waiting(&mut self) {
        self.screen.write_all(b"\x03").unwrap();
    }

    /// Waits until a process here is as `wanted`. The kernel tells nobody of what is waited for.
    #[track_caller]
    pub fn awaits(&self, what: &str, wanted: impl Fn(u32) -> bool) {
        let until = clock::monotonic() + SOON;
        while !self.processes().into_iter().any(&wanted) {
            assert!(clock::monotonic() < until, "nobody {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether the terminal shows what is typed and takes it by the line, as a shell wants it.
    pub fn is_as_before(&self) -> bool {
        let flags = tcgetattr(&self.screen).unwrap().local_flags;
        flags.contains(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG)
    }

    /// Whatever runs at it, under programs that only start others.
    fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.child.id()];
        let mut at = 0;
        while let Some(pid) = found.get(at) {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        found
    }

    /// Reads to the end; whether the program went well, and its last words.
    pub fn end(self) -> (bool, String) {
        let ended = self.ended();
        (ended.code == Some(0), ended.words)
    }

    /// The same, with how the terminal was left.
    #[track_caller]
    pub fn ended(mut self) -> Ended {
        let until = clock::monotonic() + SOON;
        while self.read(until - clock::monotonic()) {}
        assert!(clock::monotonic() < until, "it does not end, but says {:?}", self.seen);
        let is_as_before = self.is_as_before();
        let Self { mut child, screen, seen, .. } = self;
        // Whatever still runs is hung up on.
        drop(screen);
        Ended { code: ended(&mut child).code(), words: seen, is_as_before }
    }
}

/// How a program at a terminal ended.
pub struct Ended {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub words: String,
    /// See [`Terminal::is_as_before`].
    pub is_as_before: bool,
}

#[track_caller]
pub fn is_in(terminal: Terminal) -> String {
    let (well, words) = terminal.end();
    assert!(well && words.contains(IN), "{words}");
    words
}

#[track_caller]
pub fn is_out(terminal: Terminal) -> String {
    let (well, words) = terminal.end();
    assert!(!well && !words.contains(IN), "{words}");
    words
}
