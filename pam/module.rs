//! `pam_twostep.so`: the symbols that libpam looks for, and nothing else.

use std::ffi::{c_char, c_int};

use pam_twostep::{Handle, IGNORE, SUCCESS};

/// # Safety
/// Called by libpam.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_authenticate(handle: *mut Handle, flags: c_int, argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: libpam's own arguments.
    unsafe { pam_twostep::authenticate(handle, flags, argc, argv) }
}

/// There are no credentials to give.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_setcred(_: *mut Handle, _: c_int, _: c_int, _: *const *const c_char) -> c_int {
    SUCCESS
}

/// # Safety
/// Called by libpam.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pam_sm_acct_mgmt(handle: *mut Handle, flags: c_int, argc: c_int, argv: *const *const c_char) -> c_int {
    // SAFETY: libpam's own arguments.
    unsafe { pam_twostep::account(handle, flags, argc, argv) }
}

/// No say.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_chauthtok(_: *mut Handle, _: c_int, _: c_int, _: *const *const c_char) -> c_int {
    IGNORE
}

/// No say.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_open_session(_: *mut Handle, _: c_int, _: c_int, _: *const *const c_char) -> c_int {
    IGNORE
}

/// No say.
#[unsafe(no_mangle)]
pub extern "C" fn pam_sm_close_session(_: *mut Handle, _: c_int, _: c_int, _: *const *const c_char) -> c_int {
    IGNORE
}
