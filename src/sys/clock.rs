//! The one place where clocks are read.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::core::clock::{BootId, Moment};
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

/// All clocks at once.
#[must_use]
pub fn moment() -> Moment {
    Moment { wall: wall(), boot: boot_time(), boot_id: boot_id(), synchronised: synchronised() }
}

/// This boot's identity; all zeros where the kernel does not tell.
#[must_use]
pub fn boot_id() -> BootId {
    static THIS_BOOT: OnceLock<BootId> = OnceLock::new();
    *THIS_BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
        BootId(u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes())
    })
}

/// Whether the kernel holds the wall clock for synchronised (adjtimex(2), STA_UNSYNC). A process that may not ask (`ProtectClock=`) never may again:
/// a refusal is remembered.
fn synchronised() -> bool {
    static REFUSED: AtomicBool = AtomicBool::new(false);
    if REFUSED.load(Ordering::Relaxed) {
        return false;
    }
    // SAFETY: a timex of zeros is valid, and with `modes` 0 the call only reads.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: as above; `state` outlives the call.
    if unsafe { libc::adjtimex(&raw mut state) } < 0 {
        REFUSED.store(true, Ordering::Relaxed);
        return false;
    }
    state.status & libc::STA_UNSYNC == 0
}

/// Waits until that time since boot, also through suspend: a machine that wakes up after it goes on at once.
///
/// # Errors
/// Where the kernel has no timer left.
pub async fn wait_for(moment: BootTime) -> io::Result<()> {
    let timer = TimerFd::new(timerfd::ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
    // A zero would switch the timer off.
    let moment = moment.0.max(Duration::from_nanos(1));
    timer.set(Expiration::OneShot(TimeSpec::from_duration(moment)), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    // SAFETY: the descriptor is open, and owned by what is registered until that is dropped.
    let timer = unsafe { AsyncFd::register_with_interest(OwnedFd::from(timer), Interest::READABLE) }?;
    timer.readable().await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_moment_that_has_passed_is_not_waited_for() {
        wait_for(BootTime::default()).await.unwrap();
        wait_for(boot_time()).await.unwrap();
    }

    #[tokio::test]
    async fn a_moment_to_come_is_waited_for() {
        let moment = boot_time() + Duration::from_millis(30);
        wait_for(moment).await.unwrap();
        assert!(boot_time() >= moment);
    }
}
