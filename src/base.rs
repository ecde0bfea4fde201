//! Everything but the supervisor, the commands and the pages: the engine, through which each login passes, and the layers that it stands on.
//!
//! A crate of its own, since it is compiled for more speed than those, which have their size to lose.

pub mod client;
pub mod config;
pub mod core;
pub mod engine;
pub mod log;
pub mod proto;
pub mod sys;

#[cfg(test)]
#[path = "../tests/support/skip.rs"]
mod skip;
