//! The one place where clocks are read.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::core::time::{BootTime, Monotonic, Wall};

fn read(clock: ClockId) -> Duration {
    // These clocks exist on every kernel that runs this program (Linux 2.6.39), so reading them cannot fail.
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// Time since boot, standing still in suspend.
#[must_use]
pub fn monotonic() -> Monotonic {
    Monotonic(read(ClockId::CLOCK_MONOTONIC))
}

/// Time since boot, going on in suspend.
#[must_use]
pub fn boot_time() -> BootTime {
    BootTime(read(ClockId::CLOCK_BOOTTIME))
}

/// The wall clock, in whole seconds; before 1970 it is negative.
#[must_use]
pub fn wall() -> Wall {
    Wall(clock_gettime(ClockId::CLOCK_REALTIME).map_or(0, |t| t.tv_sec()))
}
