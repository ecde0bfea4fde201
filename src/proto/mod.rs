//! What goes over the sockets: frames, Varlink calls and replies, one module per interface, and the privileged channel.
#![forbid(unsafe_code)]

pub mod account;
pub mod admin;
#[cfg(test)]
mod agreement;
pub mod authenticator;
mod connection;
pub mod frame;
pub mod login;
pub mod parameters;
pub mod privileged;
pub mod recovery;
pub mod secret;
pub mod server;
pub mod varlink;
