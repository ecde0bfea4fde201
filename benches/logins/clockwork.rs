//! The clock that the load generator winds: eight bytes in an unnamed file, seconds since 1970.
//!
//! Reading it is one system call, as reading the machine's own clocks is (adjtimex). Boot time stays the machine's.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use nix::sys::memfd::{MFdFlags, memfd_create};
use twostep::core::clock::Moment;
use twostep::core::time::Wall;
use twostep::sys::clock;

/// The second of the first login.
const FIRST: i64 = 1_800_000_000;

/// A clock that stands at the first login.
pub fn make() -> OwnedFd {
    let made = memfd_create("clock", MFdFlags::MFD_CLOEXEC).expect("a file without a name");
    let file = File::from(made);
    file.write_all_at(&FIRST.to_ne_bytes(), 0).expect("written");
    file.into()
}

fn file() -> &'static File {
    static FILE: OnceLock<File> = OnceLock::new();
    FILE.get_or_init(|| File::from(std::io::stdin().as_fd().try_clone_to_owned().expect("the clock as standard input")))
}

/// Where it stands.
pub fn wall() -> Wall {
    let mut bytes = [0; 8];
    file().read_exact_at(&mut bytes, 0).expect("eight bytes");
    Wall(i64::from_ne_bytes(bytes))
}

/// Winds it.
pub fn set(wall: Wall) {
    file().write_all_at(&wall.0.to_ne_bytes(), 0).expect("written");
}

/// All clocks.
pub fn moment() -> Moment {
    Moment { wall: wall(), boot: clock::boot_time(), boot_id: clock::boot_id(), synchronised: true }
}
