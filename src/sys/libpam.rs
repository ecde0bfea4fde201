//! Linux-PAM's declarations (`_pam_types.h`, `pam_appl.h`, `pam_modules.h`), as far as the password worker and the module pam_twostep need them.
//!
//! Both look its functions up in the libpam of the running system, so nothing is linked. What is declared here costs no code.

use std::ffi::{c_char, c_int, c_void};

/// A message of a module to whoever logs in.
#[repr(C)]
#[derive(Debug)]
pub struct Message {
    /// One of the styles below.
    pub style: c_int,
    /// Ends in NUL.
    pub text: *const c_char,
}

/// The answer, from malloc.
#[repr(C)]
#[derive(Debug)]
pub struct Response {
    /// Null, or from malloc; ends in NUL.
    pub text: *mut c_char,
    /// Of no use.
    pub code: c_int,
}

/// pam_conv(3): so many messages, and where the array of responses goes.
pub type Converse = unsafe extern "C" fn(c_int, *mut *const Message, *mut *mut Response, *mut c_void) -> c_int;

/// How to talk with whoever logs in.
#[repr(C)]
#[derive(Debug)]
pub struct Conversation {
    /// The program's function.
    pub converse: Option<Converse>,
    /// The program's own, for that function.
    pub data: *mut c_void,
}

// What functions return.
pub const SUCCESS: c_int = 0;
pub const SERVICE_ERR: c_int = 3;
pub const SYSTEM_ERR: c_int = 4;
pub const BUF_ERR: c_int = 5;
pub const PERM_DENIED: c_int = 6;
pub const AUTH_ERR: c_int = 7;
pub const CRED_INSUFFICIENT: c_int = 8;
pub const AUTHINFO_UNAVAIL: c_int = 9;
pub const USER_UNKNOWN: c_int = 10;
pub const MAXTRIES: c_int = 11;
pub const NEW_AUTHTOK_REQD: c_int = 12;
pub const ACCT_EXPIRED: c_int = 13;
pub const CONV_ERR: c_int = 19;
pub const IGNORE: c_int = 25;

// The styles of a message.
pub const PROMPT_ECHO_OFF: c_int = 1;
pub const PROMPT_ECHO_ON: c_int = 2;
pub const ERROR_MSG: c_int = 3;
pub const TEXT_INFO: c_int = 4;

// The items of a transaction.
pub const ITEM_SERVICE: c_int = 1;
pub const ITEM_USER: c_int = 2;
pub const ITEM_RHOST: c_int = 4;
pub const ITEM_CONV: c_int = 5;
pub const ITEM_AUTHTOK: c_int = 6;

// Flags of a call.
pub const DISALLOW_NULL_AUTHTOK: c_int = 1;
pub const SILENT: c_int = 0x8000;
