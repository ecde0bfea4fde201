//! Waiting with a limit, for what a program says, for its end, for others: what hangs fails its test, and does not hang it.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus, Output};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use twostep::sys::process::Process;

/// How long a busy machine may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What a program says, line by line, until it closes its end. It is read on also while nobody asks, so that the program can always write.
#[allow(dead_code, reason = "not every test program listens")]
pub struct Lines {
    of: &'static str,
    said: Receiver<String>,
}

#[allow(dead_code, reason = "as above")]
impl Lines {
    /// `of` is how the program is called where it says nothing.
    pub fn new(of: &'static str, pipe: impl Read + Send + 'static) -> Self {
        let lines = BufReader::new(pipe).lines();
        let (tell, said) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // Read to its end, whether or not somebody listens.
                let _ = tell.send(line);
            }
        });
        Self { of, said }
    }
}

impl Iterator for Lines {
    type Item = String;

    #[track_caller]
    fn next(&mut self) -> Option<String> {
        match self.said.recv_timeout(LIMIT) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("{} says nothing for {} s", self.of, LIMIT.as_secs()),
        }
    }
}

/// Waits for its end. It is killed where it does not come, and the test fails.
#[allow(dead_code, reason = "not every test program waits for one")]
#[track_caller]
pub fn ended(child: &mut Child) -> ExitStatus {
    // The number of one that was waited for already may be another's by now.
    if let Some(status) = child.try_wait().unwrap() {
        return status;
    }
    let watched = watch(child);
    let status = child.wait().unwrap();
    assert_in_time(watched);
    status
}

/// Asks it to end, and waits for that.
#[allow(dead_code, reason = "as above")]
#[track_caller]
pub fn stop(child: &mut Child) -> ExitStatus {
    if child.try_wait().unwrap().is_none() {
        kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
    }
    ended(child)
}

/// The same as [`ended`], with what it says until then.
#[allow(dead_code, reason = "as above")]
#[track_caller]
pub fn output(child: Child) -> Output {
    let watched = watch(&child);
    let output = child.wait_with_output().unwrap();
    assert_in_time(watched);
    output
}

/// Kills it where it does not end in time; says whether it did.
fn watch(child: &Child) -> JoinHandle<bool> {
    let process = Process::open(child.id().cast_signed()).unwrap();
    std::thread::spawn(move || {
        let in_time = process.ends_within(LIMIT);
        if !in_time {
            // It may have ended just now.
            let _ = process.signal(Signal::SIGKILL);
        }
        in_time
    })
}

#[track_caller]
fn assert_in_time(watched: JoinHandle<bool>) {
    let in_time = watched.join().unwrap();
    assert!(in_time || std::thread::panicking(), "it does not end within {} s", LIMIT.as_secs());
}

/// A barrier for one time. Who waits fails where another has failed on the way to it.
#[allow(dead_code, reason = "as above")]
pub struct Meeting {
    missing: Mutex<usize>,
    complete: Condvar,
}

#[allow(dead_code, reason = "as above")]
impl Meeting {
    pub fn of(count: usize) -> Self {
        Self { missing: Mutex::new(count), complete: Condvar::new() }
    }

    /// Waits until so many have come.
    #[track_caller]
    pub fn wait(&self) {
        // A number is whole after any panic.
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        *missing -= 1;
        if *missing == 0 {
            return self.complete.notify_all();
        }
        let waited = self.complete.wait_timeout_while(missing, LIMIT, |missing| *missing > 0);
        let missing = *waited.unwrap_or_else(PoisonError::into_inner).0;
        assert_eq!(missing, 0, "so many others do not come");
    }
}
