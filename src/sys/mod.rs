//! The machine: clocks, buttons, lights, adapters, peers, libcrypt, files, sandbox, systemd, and patience with what may hang.
//!
//! The only unsafe code of the project lives here, each block with the reason why it is sound.

pub mod adapters;
pub mod atomic_file;
pub mod button;
pub mod carry;
pub mod clock;
pub mod crypt;
pub mod gpio;
pub mod input;
pub mod leds;
pub mod libpam;
mod nodes;
pub mod nss;
pub mod pam;
pub mod patience;
pub mod peer;
pub mod process;
pub mod sandbox;
pub mod systemd;
