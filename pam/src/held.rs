//! Ctrl-C that the host holds back.
//!
//! sudo blocks SIGINT and SIGQUIT while it authenticates, and lets them in at its own prompts alone; there its handler takes what has come before,
//! and goes on. So whoever presses Ctrl-C while the engine or the phone is waited for would wait on, and be asked again. A host that blocks neither
//! ends by them itself.
//!
//! This looks whether one is pending, and leaves it to the host: no signal is taken, no handler set, no mask changed.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// Readable as long as one is pending. None where the process has no descriptor left: then nothing is noticed.
pub fn back() -> Option<OwnedFd> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGQUIT].into_iter().collect();
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).ok().map(OwnedFd::from)
}

/// Sleeps for so long, or until one is pending; tells whether one is.
pub fn interrupts(pause: Duration) -> bool {
    let Some(signals) = back() else {
        std::thread::sleep(pause);
        return false;
    };
    let limit = PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX);
    poll(&mut [PollFd::new(signals.as_fd(), PollFlags::POLLIN)], limit).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
pub mod tests {
    use nix::sys::signal::raise;

    use super::*;

    /// As sudo does. Signals and masks are this thread's.
    pub fn with_ctrl_c_held_back(then: impl FnOnce()) {
        let signals: SigSet = [Signal::SIGINT].into_iter().collect();
        signals.thread_block().unwrap();
        raise(Signal::SIGINT).unwrap();
        then();
        // It is there still.
        assert_eq!(signals.wait(), Ok(Signal::SIGINT));
        signals.thread_unblock().unwrap();
    }

    #[test]
    fn a_ctrl_c_that_is_held_back_is_noticed_and_left_to_the_host() {
        assert!(!interrupts(Duration::from_millis(1)));
        with_ctrl_c_held_back(|| {
            assert!(interrupts(Duration::from_secs(60)));
            assert!(interrupts(Duration::from_secs(60)));
        });
        assert!(!interrupts(Duration::from_millis(1)));
    }
}
