//! The command `twostep` as people use it: at a terminal, where each question is awaited and answered, and from a script.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::{Pid, getuid};

use crate::engine::{SOON, alice};
use crate::patience::{ended, output};

/// Ctrl-C.
pub const INTERRUPT: u8 = 0x03;
/// Ctrl-D.
pub const END: u8 = 0x04;
/// Ctrl-Z.
pub const STOP: u8 = 0x1a;

/// The command, run by somebody.
pub struct Twostep {
    program: PathBuf,
    folder: PathBuf,
    uid: Option<u32>,
}

impl Twostep {
    /// Run by whoever runs the test, on the sockets in `folder`.
    pub fn own(folder: &Path) -> Self {
        Self { program: env!("CARGO_BIN_EXE_twostep").into(), folder: folder.into(), uid: None }
    }

    /// Run by alice.
    pub fn alice(folder: &Path) -> Self {
        if alice() == getuid().as_raw() {
            return Self::own(folder);
        }
        // Where it was built, she may not come. Not copied by this process: what another test starts meanwhile would keep the copy open for
        // writing, and then it can't be run.
        let program = folder.join("twostep");
        let copied = Command::new("install").args(["-m", "755", env!("CARGO_BIN_EXE_twostep")]).arg(&program).status();
        assert!(copied.unwrap().success());
        Self { program, folder: folder.into(), uid: Some(alice()) }
    }

    /// As a shell would be given it.
    pub fn line(&self, arguments: &str) -> String {
        format!("{} --dir {} {arguments}", self.program.display(), self.folder.display())
    }

    fn as_somebody(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some(uid) = self.uid {
            command.uid(uid).gid(uid);
        }
        command
    }

    /// Ctrl-C counts, also where whoever runs the tests has had it ignored, as a shell's `&` does.
    fn at_a_keyboard(&self) -> Command {
        let mut command = self.as_somebody("env");
        command.args(["--default-signal=INT,QUIT", "setsid", "--ctty"]);
        command
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.as_somebody(self.program.to_str().unwrap());
        command.arg("--dir").arg(&self.folder).args(arguments);
        command
    }

    /// At a terminal of 80 columns.
    pub fn at_a_terminal(&self, arguments: &[&str]) -> Person {
        let mut command = self.at_a_keyboard();
        command.arg(&self.program).arg("--dir").arg(&self.folder).args(arguments);
        Person::sits_down(command)
    }

    /// A shell's script, at a terminal.
    pub fn script_at_a_terminal(&self, script: &str) -> Person {
        let mut command = self.at_a_keyboard();
        command.args(["bash", "-m", "-c", script]);
        Person::sits_down(command)
    }

    /// From a script that reads as it goes on.
    pub fn piped(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// From a script, with these lines as its input.
    pub fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.piped(arguments);
        // A command that has refused already reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        output(child)
    }
}

/// Who sits at the terminal, and what was shown there.
pub struct Person {
    child: Child,
    terminal: File,
    /// Keeps the terminal's state while nobody else has it open.
    open: File,
    shown: Receiver<Vec<u8>>,
    seen: Vec<u8>,
    /// What was awaited ends here.
    read: usize,
    before: Termios,
}

impl Person {
    fn sits_down(mut command: Command) -> Self {
        // Not openpty: what another test starts meanwhile must not inherit it.
        let terminal = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let open = OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open(ptsname_r(&terminal).unwrap());
        let open = open.unwrap();
        let before = tcgetattr(&open).unwrap();
        assert!(before.local_flags.contains(LocalFlags::ECHO), "a terminal shows what is typed");
        let end = || Stdio::from(open.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        // It keeps what it was given.
        drop(command);
        let terminal = File::from(OwnedFd::from(terminal));
        let mut reads = terminal.try_clone().unwrap();
        let (show, shown) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // It fails when nobody has the terminal open any more.
            while let Ok(length) = reads.read(&mut piece) {
                if length == 0 || show.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { child, terminal, open, shown, seen: Vec::new(), read: 0, before }
    }

    fn takes(&mut self, piece: &[u8]) {
        self.seen.extend(piece.iter().filter(|byte| **byte != b'\r'));
    }

    /// What was shown since the last awaited text.
    fn unread(&self) -> String {
        String::from_utf8_lossy(&self.seen[self.read..]).into_owned()
    }

    /// Waits until `text` is shown. Returns what was shown before it since the last time.
    #[track_caller]
    pub fn awaits(&mut self, text: &str) -> String {
        loop {
            let unread = self.unread();
            if let Some((before, _)) = unread.split_once(text) {
                self.read += before.len() + text.len();
                return before.to_owned();
            }
            match self.shown.recv_timeout(SOON) {
                Ok(piece) => self.takes(&piece),
                Err(_) => panic!("no {text:?} in {unread:?}"),
            }
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    pub fn types(&mut self, line: &str) {
        self.terminal.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    pub fn presses(&mut self, key: u8) {
        self.terminal.write_all(&[key]).unwrap();
    }

    /// Waits for the question, and answers it.
    #[track_caller]
    pub fn answers(&mut self, question: &str, line: &str) -> String {
        let before = self.awaits(question);
        self.types(line);
        before
    }

    /// Waits until the command has ended: how, and all that was ever shown. The terminal must be as it was.
    #[track_caller]
    pub fn leaves(mut self) -> (ExitStatus, String) {
        let status = ended(&mut self.child);
        assert_eq!(tcgetattr(&self.open).unwrap(), self.before, "the terminal is as it was");
        let Self { shown, open, .. } = &mut self;
        // The kernel tells the other end once nobody has it open.
        drop(std::mem::replace(open, File::open("/dev/null").unwrap()));
        let mut rest = Vec::new();
        loop {
            match shown.recv_timeout(SOON) {
                Ok(piece) => rest.push(piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("somebody keeps the terminal open"),
            }
        }
        rest.iter().for_each(|piece| self.takes(piece));
        self.read = 0;
        (status, self.unread())
    }
}
