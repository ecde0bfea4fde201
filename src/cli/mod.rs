//! The operator's command.
#![forbid(unsafe_code)]

pub mod identify;
