//! The root process: it watches the button, brings the account back, and keeps the engine alive.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod args;
pub mod buttons;
mod child;
pub mod feedback;
pub mod hooks;
pub mod password;
pub mod recovery;
pub mod sessions;
