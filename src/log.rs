//! The log facade's way out: syslog, with reconnection, or stderr in the journal's format.
#![forbid(unsafe_code)]
