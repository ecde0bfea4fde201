//! What no engine can go below here: the disk's fdatasync, and an echo over the same kind of socket with another process.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use twostep::sys::clock;

/// As long as the frames of a login, about.
const FRAME: usize = 128;
/// As much as the store's log takes for a small commit.
const PAGE: usize = 4096;
/// How often each is tried.
const TRIES: usize = 400;

/// p50 of two echoes and one fdatasync.
pub struct Floor {
    pub appended: Duration,
    pub overwritten: Duration,
}

impl Floor {
    /// The mean of two measurements, one before and one after.
    pub fn and(self, other: Self) -> Self {
        Self { appended: (self.appended + other.appended) / 2, overwritten: (self.overwritten + other.overwritten) / 2 }
    }
}

/// Answers one connection with what it says.
pub fn echo(socket: &Path) {
    let listener = UnixListener::bind(socket).expect("a socket");
    println!("READY");
    let (mut caller, _) = listener.accept().expect("a caller");
    let mut frame = [0; FRAME];
    while caller.read_exact(&mut frame).is_ok() {
        caller.write_all(&frame).expect("an echo");
    }
}

/// Measures both on the disk of `folder`.
pub fn measure(folder: &Path) -> Floor {
    let socket = folder.join("echo");
    let mut child = crate::role(&["echo", socket.to_str().expect("a plain name")], None);
    crate::next_line(&mut std::io::BufReader::new(child.stdout.take().expect("a pipe")));
    let mut echo = UnixStream::connect(&socket).expect("the echo");
    let path = folder.join("floor");
    let file = OpenOptions::new().create_new(true).write(true).open(&path).expect("a file");
    let appended = median(&mut echo, |turn| write(&file, (turn * PAGE) as u64));
    let overwritten = median(&mut echo, |turn| write(&file, (turn % 64 * PAGE) as u64));
    drop(echo);
    child.wait().expect("the echo's end");
    std::fs::remove_file(path).and_then(|()| std::fs::remove_file(socket)).expect("removed");
    Floor { appended, overwritten }
}

fn write(file: &File, at: u64) {
    file.write_all_at(&[at as u8; PAGE], at).and_then(|()| file.sync_data()).expect("written");
}

fn median(echo: &mut UnixStream, sync: impl Fn(usize)) -> Duration {
    let mut frame = [7; FRAME];
    let mut waits: Vec<Duration> = (0..TRIES)
        .map(|turn| {
            let begun = clock::monotonic();
            for _ in 0..2 {
                echo.write_all(&frame).and_then(|()| echo.read_exact(&mut frame)).expect("an echo");
            }
            sync(turn);
            clock::monotonic() - begun
        })
        .collect();
    waits.sort_unstable();
    waits[waits.len() / 2]
}
