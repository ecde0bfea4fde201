//! The log facade's way out: syslog, with reconnection, or stderr in the journal's format.
//!
//! ```text
//!            a line can't be sent, and a new connection can't take it either
//! connected ─────────────────────────────────────────────────────────────────► none: this line goes to stderr
//!     ▲                                                                          │
//!     └───────────── the next line finds the log daemon back ◄───────────────────┘
//! ```
//!
//! A line is one line: control characters in it are shown, not sent, so that what a stranger typed can't look like another line. Lines with
//! the target `audit` begin with `audit: `. A log daemon that takes nothing costs [`PATIENCE`] once, then nothing until it takes lines again; so does a reader
//! of stderr ([`Stream`]), where the lines that it does not take are lost, and counted in the next one that gets through.
//!
//! What this does not do: keep lines for later, send over the network, tell which lines are secret (`proto::secret` does).
#![forbid(unsafe_code)]

use std::env;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use syslog::{Facility, LogFormat, LoggerBackend, Severity};

use crate::config::{self, LogLevel, LogTarget};

/// Where the log daemon listens.
const SOCKET: &str = "/dev/log";

/// How long a line may wait for a log daemon, or a reader of stderr, that is alive but busy.
const PATIENCE: Duration = Duration::from_millis(50);

/// The longest message in bytes; every log daemon in use takes a datagram of this size.
const LONGEST: usize = 4096;

/// The target of lines that belong to the audit trail.
const AUDIT: &str = "audit";

/// What the targets of this project's crates begin with.
const OURS: &str = "twostep";

/// Sends what the `log` macros say to where `config` wants it, from now on. `name` is what lines are filed under.
///
/// A second call changes nothing: the first logger stays for the life of the process.
pub fn init(config: &config::Log, name: &str) {
    let journal = env::var("JOURNAL_STREAM").ok();
    let wanted = destination(config.target, is_journal(journal.as_deref(), io::stderr()), Path::new(SOCKET).exists());
    let logger = match wanted {
        Destination::Syslog => Logger::syslog(SOCKET, name, Stream::new(io::stderr())),
        Destination::Stderr => Logger::plain(Stream::new(io::stderr()), io::stderr().is_terminal()),
    };
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(filter(config.level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::Error,
        LogLevel::Warn => LevelFilter::Warn,
        LogLevel::Info => LevelFilter::Info,
        LogLevel::Debug => LevelFilter::Debug,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Destination {
    Syslog,
    Stderr,
}

fn destination(wanted: LogTarget, stderr_is_journal: bool, log_daemon: bool) -> Destination {
    match wanted {
        LogTarget::Syslog => Destination::Syslog,
        LogTarget::Auto if log_daemon && !stderr_is_journal => Destination::Syslog,
        LogTarget::Auto | LogTarget::Stderr => Destination::Stderr,
    }
}

/// Whether the journal reads this stream: `JOURNAL_STREAM` names its device and inode (systemd.exec(5)). The variable alone proves nothing,
/// it is inherited by programs whose stderr goes elsewhere.
fn is_journal(variable: Option<&str>, stream: impl AsFd) -> bool {
    let Some((device, inode)) = variable.and_then(|text| text.split_once(':')) else { return false };
    let Ok(found) = nix::sys::stat::fstat(stream) else { return false };
    device.parse() == Ok(found.st_dev) && inode.parse() == Ok(found.st_ino)
}

/// One way out for log lines.
pub struct Logger {
    way: Mutex<Way>,
}

struct Way {
    syslog: Option<Syslog>,
    plain: Box<dyn Write + Send>,
    /// Words instead of the journal's `<N>`.
    for_people: bool,
    /// Lines that nobody took since the last one that got through.
    lost: u64,
}

impl fmt::Debug for Logger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Logger")
    }
}

impl Logger {
    /// To the log daemon at `socket`, filed under `name`; lines that it does not take go to `plain`.
    #[must_use]
    pub fn syslog(socket: impl Into<PathBuf>, name: &str, plain: impl Write + Send + 'static) -> Self {
        let syslog = Syslog { socket: socket.into(), form: Rfc3164 { name: name.into() }, open: None, stalled: false };
        Self { way: Mutex::new(Way { syslog: Some(syslog), plain: Box::new(plain), for_people: false, lost: 0 }) }
    }

    /// To `plain`: each line behind the journal's `<N>` (sd-daemon(3)), or behind a word where people read it.
    #[must_use]
    pub fn plain(plain: impl Write + Send + 'static, for_people: bool) -> Self {
        Self { way: Mutex::new(Way { syslog: None, plain: Box::new(plain), for_people, lost: 0 }) }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Of the libraries only what an operator must know.
        let ours = metadata.target() == AUDIT || metadata.target().starts_with(OURS);
        ours || metadata.level() <= Level::Warn
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = line(record);
            // A panic while the lock was held leaves a way that still works.
            self.way.lock().unwrap_or_else(PoisonError::into_inner).send(record.level(), &line);
        }
    }

    fn flush(&self) {}
}

impl Way {
    fn send(&mut self, level: Level, line: &str) {
        if self.lost > 0 {
            let lost = format!("lines lost before this one, since nobody took them: {}", self.lost);
            if !self.passes(Level::Warn, &lost) {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if !self.passes(level, line) {
            self.lost += 1;
        }
    }

    fn passes(&mut self, level: Level, line: &str) -> bool {
        if self.syslog.as_mut().is_some_and(|syslog| syslog.send(level, line).is_ok()) {
            return true;
        }
        // One write, so that the lines of two processes don't mix.
        let passed = match self.for_people {
            true => self.plain.write_all(format!("{:<5} {line}\n", level.as_str()).as_bytes()),
            false => self.plain.write_all(format!("<{}>{line}\n", severity(level) as u8).as_bytes()),
        };
        passed.is_ok()
    }
}

/// A stream that others share, such as stderr, written without waiting for a reader that hangs.
///
/// It is not set to non-blocking: that would hold for everybody who has it open. A socket (the journal's is one) is sent to without waiting;
/// anything else is written only when it has room, which for the short lines of a log is enough.
#[derive(Debug)]
pub struct Stream<F> {
    file: F,
    /// A line that was sent in part: what is left of it, to be sent before anything else.
    rest: Vec<u8>,
    /// The last line found no room: don't wait again until a line gets through.
    stalled: bool,
    is_socket: bool,
}

impl<F: AsFd> Stream<F> {
    /// Over this open file.
    pub fn new(file: F) -> Self {
        let is_socket = nix::sys::stat::fstat(&file).is_ok_and(|found| found.st_mode & libc::S_IFMT == libc::S_IFSOCK);
        Self { file, rest: Vec::new(), stalled: false, is_socket }
    }

    /// Sends all of it, or until there is no room for more; returns how much was sent. Waits for [`PATIENCE`] at most, all in all.
    fn push(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut patience = if self.stalled { Duration::ZERO } else { PATIENCE };
        let mut sent = 0;
        while let Some(left) = bytes.get(sent..).filter(|left| !left.is_empty()) {
            let put = match self.is_socket || self.has_room(std::mem::take(&mut patience))? {
                true => self.put(left),
                false => Err(Errno::EAGAIN),
            };
            match put {
                Ok(more) => sent += more,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if self.is_socket && self.has_room(std::mem::take(&mut patience))? => {}
                Err(Errno::EAGAIN) => {
                    self.stalled = true;
                    return Ok(sent);
                }
                Err(error) => return Err(error.into()),
            }
        }
        // Nothing sent shows nothing.
        self.stalled &= bytes.is_empty();
        Ok(sent)
    }

    fn put(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.is_socket {
            true => send(self.file.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL),
            // A pipe that has room has room for this much.
            false => nix::unistd::write(&self.file, bytes.get(..libc::PIPE_BUF).unwrap_or(bytes)),
        }
    }

    fn has_room(&self, patience: Duration) -> io::Result<bool> {
        if self.is_socket && patience.is_zero() {
            return Ok(false);
        }
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)], patience) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl<F: AsFd> Write for Stream<F> {
    /// Takes a line whole or not at all: one that was sent in part is finished before the next one.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let rest = std::mem::take(&mut self.rest);
        let sent = self.push(&rest)?;
        if sent < rest.len() {
            self.rest = rest.get(sent..).unwrap_or_default().into();
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match self.push(line)? {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            sent => {
                self.rest = line.get(sent..).unwrap_or_default().into();
                Ok(line.len())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Syslog {
    socket: PathBuf,
    form: Rfc3164,
    open: Option<syslog::Logger<LoggerBackend, Rfc3164>>,
    /// The last line found a full queue: don't wait again until a line gets through.
    stalled: bool,
}

impl Syslog {
    fn send(&mut self, level: Level, line: &str) -> Result<(), syslog::Error> {
        let refused = match &mut self.open {
            Some(open) => match write(open, level, line) {
                Ok(()) => return self.got_through(),
                Err(error) => Some(error),
            },
            None => None,
        };
        if refused.as_ref().is_some_and(is_full) {
            return Err(self.stall(refused));
        }
        // The log daemon was restarted: its socket is another one now.
        self.open = None;
        let open = self.open.insert(connect(&self.socket, &self.form, self.stalled)?);
        match write(open, level, line) {
            Ok(()) => self.got_through(),
            Err(error) if is_full(&error) => Err(self.stall(Some(error))),
            Err(error) => {
                self.open = None;
                Err(error)
            }
        }
    }

    fn got_through(&mut self) -> Result<(), syslog::Error> {
        self.set_stalled(false);
        Ok(())
    }

    fn stall(&mut self, error: Option<syslog::Error>) -> syslog::Error {
        self.set_stalled(true);
        error.unwrap_or_else(|| io::Error::from(io::ErrorKind::WouldBlock).into())
    }

    fn set_stalled(&mut self, stalled: bool) {
        if self.stalled == stalled {
            return;
        }
        self.stalled = stalled;
        // Where this fails, the worst is one more wait of PATIENCE.
        if let Some(LoggerBackend::Unix(socket)) = self.open.as_ref().map(|open| &open.backend) {
            let _ = socket.set_nonblocking(stalled);
        }
    }
}

fn connect(path: &Path, form: &Rfc3164, stalled: bool) -> Result<syslog::Logger<LoggerBackend, Rfc3164>, syslog::Error> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nonblocking(stalled)?;
    Ok(syslog::Logger::new(LoggerBackend::Unix(socket), form.clone()))
}

fn write(open: &mut syslog::Logger<LoggerBackend, Rfc3164>, level: Level, line: &str) -> Result<(), syslog::Error> {
    open.formatter.format(&mut open.backend, severity(level), line)
}

/// Alive, but its queue is full: a new connection would not help.
fn is_full(error: &syslog::Error) -> bool {
    let (syslog::Error::Write(error) | syslog::Error::Io(error)) = error else { return false };
    error.kind() == io::ErrorKind::WouldBlock
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warn => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
        Level::Debug | Level::Trace => Severity::LOG_DEBUG,
    }
}

/// RFC 3164 without the time, which the receiver then adds (§4.3.2): it knows the local time zone, the `syslog` crate writes UTC as if it
/// were local.
#[derive(Clone)]
struct Rfc3164 {
    name: String,
}

impl LogFormat<&str> for Rfc3164 {
    fn format<W: Write>(&self, to: &mut W, severity: Severity, line: &str) -> syslog::Result<()> {
        let priority = Facility::LOG_AUTHPRIV as u8 | severity as u8;
        write!(to, "<{priority}>{}[{}]: {line}", self.name, std::process::id()).map_err(syslog::Error::Write)
    }
}

/// A record as one line of at most [`LONGEST`] bytes.
fn line(record: &Record<'_>) -> String {
    let mut line = OneLine(String::new());
    if record.target() == AUDIT {
        line.0.push_str("audit: ");
    }
    if write!(line, "{}", record.args()).is_err() {
        line.0.push('…');
    }
    line.0
}

/// Shows control characters instead of passing them on; full at [`LONGEST`] bytes.
struct OneLine(String);

impl fmt::Write for OneLine {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for letter in text.chars() {
            // Room for the longest escape.
            if self.0.len() + 12 > LONGEST {
                return Err(fmt::Error);
            }
            match letter {
                _ if is_hidden(letter) => self.0.extend(letter.escape_default()),
                _ => self.0.push(letter),
            }
        }
        Ok(())
    }
}

/// What a terminal or a viewer obeys in place of showing it: control characters, line separators, and marks that change the direction of writing.
#[must_use]
pub fn is_hidden(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(target: &str, message: &str) -> String {
        line(&Record::builder().target(target).args(format_args!("{message}")).build())
    }

    #[test]
    fn what_somebody_typed_cannot_begin_another_line() {
        assert_eq!(text("twostep", "user \"a\nJan 1 sshd: accepted\""), "user \"a\\nJan 1 sshd: accepted\"");
        assert_eq!(text("twostep", "\u{1b}[2J\r\0\u{85}\u{202e}x"), "\\u{1b}[2J\\r\\u{0}\\u{85}\\u{202e}x");
        assert_eq!(text("twostep", "Zoë"), "Zoë");
    }

    #[test]
    fn audit_lines_are_marked_and_nobody_else_can_mark_one() {
        assert_eq!(text("audit", "press"), "audit: press");
        assert_eq!(text("twostep", "press"), "press");
    }

    #[test]
    fn an_endless_message_is_cut_at_a_letter() {
        let cut = text("twostep", &"é\n".repeat(LONGEST));
        assert!(cut.len() <= LONGEST && cut.ends_with('…'), "{} bytes", cut.len());
    }

    #[test]
    fn auto_prefers_the_journal_then_the_log_daemon() {
        use Destination::{Stderr, Syslog};
        assert_eq!(destination(LogTarget::Auto, true, true), Stderr);
        assert_eq!(destination(LogTarget::Auto, false, true), Syslog);
        assert_eq!(destination(LogTarget::Auto, false, false), Stderr);
        assert_eq!(destination(LogTarget::Syslog, true, false), Syslog);
        assert_eq!(destination(LogTarget::Stderr, false, true), Stderr);
    }

    #[test]
    fn an_inherited_journal_variable_is_not_believed() {
        let (ours, other) = (UnixDatagram::unbound().unwrap(), UnixDatagram::unbound().unwrap());
        let found = nix::sys::stat::fstat(&ours).unwrap();
        let variable = format!("{}:{}", found.st_dev, found.st_ino);
        assert!(is_journal(Some(&variable), &ours));
        assert!(!is_journal(Some(&variable), &other));
        assert!(!is_journal(Some("8"), &ours));
        assert!(!is_journal(None, &ours));
    }

    #[test]
    fn libraries_speak_only_when_it_matters() {
        let logger = Logger::plain(io::sink(), false);
        let enabled = |target: &str, level| logger.enabled(&Metadata::builder().target(target).level(level).build());
        assert!(
            enabled(concat!(env!("CARGO_CRATE_NAME"), "::engine"), Level::Debug)
                && enabled("audit", Level::Info)
                && enabled("evdev", Level::Warn)
        );
        assert!(!enabled("evdev", Level::Info));
    }
}
