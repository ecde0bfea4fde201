//! Pure decisions: events and facts in, wishes out.
//!
//! Nothing here opens a file, reads a clock, draws a random number or uses `unsafe`; time, facts and randomness are parameters.
#![forbid(unsafe_code)]

pub mod account;
pub mod adapter;
pub mod authenticator;
pub mod backup;
pub mod base64url;
pub mod clock;
pub mod decision;
pub mod email;
pub mod enforcement;
pub mod faillock;
pub mod gesture;
pub mod import;
pub mod lockout;
pub mod login;
pub mod nonces;
pub mod otpauth;
pub mod pairing;
pub mod pam_stack;
pub mod passcode;
pub mod pattern;
pub mod peer;
pub mod policy;
pub mod recovery;
pub mod recovery_code;
pub mod sessions;
pub mod setup;
pub mod shadow;
pub mod shares;
pub mod sshd_config;
pub mod time;
pub mod totp;
