//! The supervisor's loop: button events in; hashes prepared, presses carried out, windows ended; the service manager told.
//!
//! ```text
//! Pressed ──► the hash is prepared (a thread)
//! Fired ────► the press is carried out (a thread; one at a time) ──► engine told, feedback, log
//! window ends ──► the account is turned off, or stays where it has a password of its own
//! ```
//!
//! Nothing here waits for the engine, and nothing blocks: what may wait (locks, disks, hashing) runs on a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use log::{error, info, warn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval_at, sleep};

use super::buttons::ButtonEvent;
use super::child::{Keeper, Spec, Tell};
use super::feedback::{Feedback, Pattern};
use super::station::Station;
use crate::core::gesture::Event;
use crate::sys::systemd;

/// Where no service manager names a period, the engine is asked this often whether it is alive.
const TICK: Duration = Duration::from_secs(30);
