//! The unprivileged process that answers the shared socket.
#![forbid(unsafe_code)]

pub mod store;
