//! twostep: the reset button and the second step of a Linux NAS.
//!
//! Read from the top down; each layer uses only those above it (`tests/layers.rs` checks it).
//!
//! | module | what it is |
//! |---|---|
//! | [`core`] | pure decisions: no I/O, no clock, no randomness, no unsafe |
//! | [`proto`] | what goes over the sockets: Varlink and the privileged channel |
//! | [`sys`] | the kernel, libcrypt, PAM and systemd behind small traits; the only unsafe code |
//! | [`config`] | the configuration file, the board profiles and their detection |
//! | [`log`] | the log facade's way to syslog or to the journal |
//! | [`client`] | a blocking Varlink client |
//! | [`supervisor`] | the root process: button, recovery, accounts, the engine's keeper |
//! | [`engine`] | the unprivileged process that answers the shared socket |
//! | [`cli`] | the operator's command |
//! | [`web`] | the unprivileged process that serves paired phones |
//!
//! Two crates of their own are in here, for another balance of size and speed (`Cargo.toml`): all but the supervisor, the commands and the pages is
//! `twostep_base` (`src/base.rs`), and the cipher of the engine's secrets is `twostep_cipher` (`src/cipher`).

pub mod cli;
pub mod supervisor;
pub mod web;

pub use twostep_base::{client, config, core, engine, log, proto, sys};

#[cfg(test)]
#[path = "../tests/support/script.rs"]
mod script;
#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
