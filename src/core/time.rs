//! Points in time, each type named after its clock, so that no two clocks are ever compared.
//!
//! [`Monotonic`] is for holds and time limits, [`BootTime`] for what must age through suspend (the recovery window), and [`Wall`] only for
//! time steps and for people. `sys::clock` reads them.

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Time since boot without suspend (`CLOCK_MONOTONIC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Monotonic(pub Duration);

/// Time since boot with suspend (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct BootTime(pub Duration);

/// Seconds since 1970-01-01T00:00:00Z (`CLOCK_REALTIME`); negative before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(pub i64);

impl Add<Duration> for Monotonic {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub for Monotonic {
    type Output = Duration;
    /// The time from `earlier` to `self`; zero where `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for BootTime {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span))
    }
}

impl Sub for BootTime {
    type Output = Duration;
    /// The time from `earlier` to `self`; zero where `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
