//! Log lines reach the log daemon, also one that was restarted, and never keep the daemon from its work.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use log::{Level, Log, Record};
use twostep::log::{Logger, Stream};
use twostep::sys::clock;

/// How long what comes at once may take on a busy machine; less than half of what it would be if each line waited (twentieths of a second).
const SOON: Duration = Duration::from_secs(60);

/// What would stand on stderr.
#[derive(Clone, Default)]
struct Stderr(Arc<Mutex<Vec<u8>>>);

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stderr {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn say(logger: &Logger, level: Level, target: &str, text: &str) {
    logger.log(&Record::builder().level(level).target(target).args(format_args!("{text}")).build());
}

fn log_daemon(socket: &Path) -> UnixDatagram {
    let daemon = UnixDatagram::bind(socket).unwrap();
    daemon.set_read_timeout(Some(SOON)).unwrap();
    daemon
}

fn stop(daemon: UnixDatagram, socket: &Path) {
    drop(daemon);
    std::fs::remove_file(socket).unwrap();
}

fn received(daemon: &UnixDatagram) -> String {
    let mut line = [0; 8192];
    let length = daemon.recv(&mut line).expect("a line");
    String::from_utf8(line[..length].to_vec()).unwrap()
}

#[test]
fn a_line_arrives_in_the_form_of_rfc_3164_under_authpriv() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let daemon = log_daemon(&socket);
    let logger = Logger::syslog(&socket, "twostepd", io::sink());
    let name = format!("twostepd[{}]", std::process::id());

    say(&logger, Level::Error, "twostep::supervisor", "no button");
    assert_eq!(received(&daemon), format!("<83>{name}: no button"));
    say(&logger, Level::Info, "audit", "pressed by \"a\nb\"");
    assert_eq!(received(&daemon), format!("<86>{name}: audit: pressed by \"a\\nb\""));
}

#[test]
fn a_log_daemon_that_was_restarted_gets_the_next_line() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let daemon = log_daemon(&socket);
    let stderr = Stderr::default();
    let logger = Logger::syslog(&socket, "twostepd", stderr.clone());
    say(&logger, Level::Info, "twostep", "one");
    assert!(received(&daemon).ends_with(": one"));

    // Restarted between two lines: nothing is lost.
    stop(daemon, &socket);
    let daemon = log_daemon(&socket);
    say(&logger, Level::Info, "twostep", "two");
    assert!(received(&daemon).ends_with(": two"));
    assert_eq!(stderr.text(), "");

    // Away for one line: that line goes to stderr, the next one is sent again.
    stop(daemon, &socket);
    say(&logger, Level::Warn, "twostep", "three");
    assert_eq!(stderr.text(), "<4>three\n");
    let daemon = log_daemon(&socket);
    say(&logger, Level::Info, "twostep", "four");
    assert!(received(&daemon).ends_with(": four"));
    assert_eq!(stderr.text(), "<4>three\n");
}

#[test]
fn a_log_daemon_that_comes_up_later_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let stderr = Stderr::default();
    let logger = Logger::syslog(&socket, "twostepd", stderr.clone());
    say(&logger, Level::Info, "twostep", "early");
    assert_eq!(stderr.text(), "<6>early\n");

    let daemon = log_daemon(&socket);
    say(&logger, Level::Info, "twostep", "late");
    assert!(received(&daemon).ends_with(": late"));
}

#[test]
fn a_log_daemon_that_hangs_delays_nothing_for_long() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("log");
    let daemon = log_daemon(&socket);
    let stderr = Stderr::default();
    let logger = Logger::syslog(&socket, "twostepd", stderr.clone());

    // Many more lines than its queue holds, and nobody reads them.
    let begin = clock::monotonic();
    for number in 0..3000 {
        say(&logger, Level::Info, "twostep", &number.to_string());
    }
    let took = clock::monotonic() - begin;
    assert!(took < SOON, "{took:?} for 3000 lines");

    // Each line is in one place, and none is in both.
    daemon.set_nonblocking(true).unwrap();
    let mut buffer = [0; 8192];
    let mut queued = 0;
    while daemon.recv(&mut buffer).is_ok() {
        queued += 1;
    }
    let aside = stderr.text().lines().count();
    assert!(aside > 0, "its queue took {queued} lines: the test shows nothing");
    assert_eq!(queued + aside, 3000);

    // Awake again, it gets the next line.
    say(&logger, Level::Info, "twostep", "awake");
    assert!(received(&daemon).ends_with(": awake"));
}

#[test]
fn on_stderr_the_journal_reads_the_level_and_people_read_a_word() {
    let (journal, terminal) = (Stderr::default(), Stderr::default());
    for (logger, level) in [(Logger::plain(journal.clone(), false), Level::Error), (Logger::plain(terminal.clone(), true), Level::Error)] {
        say(&logger, level, "twostep", "a\u{1b}b");
    }
    assert_eq!(journal.text(), "<3>a\\u{1b}b\n");
    assert_eq!(terminal.text(), "ERROR a\\u{1b}b\n");
}

/// Many more lines than the way out holds while nobody reads; then all of it is read, and one more line is said.
fn lines_past_a_hang(write: impl Write + Send + 'static, read: &mut impl Read) -> Vec<String> {
    let logger = Logger::plain(write, false);
    let begin = clock::monotonic();
    for number in 0..20_000 {
        say(&logger, Level::Info, "twostep", &format!("{number}{}", ".".repeat(100)));
    }
    let took = clock::monotonic() - begin;
    assert!(took < SOON, "{took:?} while nobody read");

    let mut queued = vec![0; 1 << 22];
    let length = read.read(&mut queued).unwrap();
    say(&logger, Level::Info, "twostep", "awake");
    drop(logger);
    let mut text = String::from_utf8(queued[..length].to_vec()).unwrap();
    read.read_to_string(&mut text).unwrap();
    text.lines().map(String::from).collect()
}

fn assert_counted(lines: &[String]) {
    let [through @ .., lost, awake] = lines else { panic!("{lines:?}") };
    for (number, line) in through.iter().enumerate() {
        assert_eq!(*line, format!("<6>{number}{}", ".".repeat(100)), "a whole line, and none missing in between");
    }
    let count = 20_000 - through.len();
    assert!(count > 0, "nothing was lost: the test shows nothing");
    assert_eq!(*lost, format!("<4>lines lost before this one, since nobody took them: {count}"));
    assert_eq!(awake, "<6>awake");
}

#[test]
fn a_journal_that_hangs_delays_nothing_and_is_told_later_how_much_it_missed() {
    let (ours, mut journal) = UnixStream::pair().unwrap();
    assert_counted(&lines_past_a_hang(Stream::new(ours), &mut journal));
}

#[test]
fn a_pipe_that_nobody_reads_delays_nothing_either() {
    let (mut reader, writer) = io::pipe().unwrap();
    assert_counted(&lines_past_a_hang(Stream::new(writer), &mut reader));
}
