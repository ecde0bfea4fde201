//! What the service manager is told: readiness, the watchdog, the end. Under anything else than systemd all of it does nothing.
//!
//! The variables stay in this process's environment, since they can't be removed once there are threads: whoever starts a child clears its
//! environment (`supervisor::child`, `supervisor::hooks`), and the unit listens to the main process alone.
#![forbid(unsafe_code)]

use std::time::Duration;

use log::debug;
use sd_notify::NotifyState;

/// Whether systemd runs this machine; inside a container it is asked of the container.
#[must_use]
pub fn booted() -> bool {
    sd_notify::booted().unwrap_or(false)
}

/// The service is up: its sockets are served and its buttons watched.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The main loop turns.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// The service ends on purpose.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// How often [`alive`] is to be called: half of what the service manager waits for. Absent where it does not watch this process.
#[must_use]
pub fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|limit| limit / 2).filter(|period| !period.is_zero())
}

fn tell(states: &[NotifyState<'_>]) {
    // A service manager that takes no message notices by itself that none came.
    if let Err(error) = sd_notify::notify(states) {
        debug!("service manager not told {states:?}: {error}");
    }
}
