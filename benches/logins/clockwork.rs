//! The clock that the load generator winds: eight bytes of memory that both processes share, seconds since 1970.
//!
//! The wall clock alone is wound; boot time stays the machine's. Reading them takes no system call, as in the engine's process under its unit, where
//! it may not ask the kernel whether that clock is synchronised.

use std::fs::File;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use twostep::core::clock::Moment;
use twostep::core::time::Wall;
use twostep::sys::clock;

/// The second of the first login.
const FIRST: i64 = 1_800_000_000;

/// A clock that stands at the first login.
pub fn make() -> OwnedFd {
    let made = memfd_create("clock", MFdFlags::MFD_CLOEXEC).expect("memory without a name");
    let file = File::from(made);
    file.write_all_at(&FIRST.to_ne_bytes(), 0).expect("written");
    file.into()
}

/// That of standard input.
fn shared() -> &'static AtomicI64 {
    static SHARED: OnceLock<&AtomicI64> = OnceLock::new();
    SHARED.get_or_init(|| {
        let length = NonZeroUsize::new(size_of::<AtomicI64>()).expect("eight bytes");
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: the kernel chooses a place that nothing else has.
        let place = unsafe { mmap(None, length, access, MapFlags::MAP_SHARED, std::io::stdin().as_fd(), 0) }.expect("shared memory");
        // SAFETY: at the beginning of a page that is never unmapped; whoever has it accesses it as this does.
        unsafe { AtomicI64::from_ptr(place.cast().as_ptr()) }
    })
}

/// Where it stands.
pub fn wall() -> Wall {
    Wall(shared().load(Ordering::Acquire))
}

/// Winds it.
pub fn set(wall: Wall) {
    shared().store(wall.0, Ordering::Release);
}

/// All clocks.
pub fn moment() -> Moment {
    Moment { wall: wall(), boot: clock::boot_time(), boot_id: clock::boot_id(), synchronised: true }
}
