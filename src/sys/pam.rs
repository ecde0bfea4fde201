//! One password checked by PAM, through libpam loaded at run time.
//!
//! It blocks for as long as PAM modules please (a domain controller, a fail delay), so it is called in a process of its own that can be
//! ended. What this does not do: open a session, change a password, count anything.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr;

use zeroize::Zeroizing;

use super::libpam::{
    ACCT_EXPIRED, AUTH_ERR, BUF_ERR, CONV_ERR, CRED_INSUFFICIENT, Conversation, DISALLOW_NULL_AUTHTOK, ERROR_MSG, ITEM_USER, MAXTRIES,
    Message, NEW_AUTHTOK_REQD, PERM_DENIED, PROMPT_ECHO_OFF, Response, SILENT, SUCCESS, TEXT_INFO, USER_UNKNOWN,
};

/// What PAM says about a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the account's, and the account may be used.
    Accepted,
    /// It is not, or the account is unknown, locked or expired.
    Refused,
    /// PAM can't tell now.
    Unavailable(String),
}

/// libpam can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPam(String);

impl fmt::Display for NoPam {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "libpam can't be used: {}", self.0)
    }
}

impl std::error::Error for NoPam {}

/// The most messages in one call of the conversation (PAM_MAX_NUM_MSG).
const MOST_MESSAGES: c_int = 32;

/// What the conversation may answer with, once.
struct Answer<'a> {
    password: &'a CStr,
    given: bool,
}

type Start = unsafe extern "C" fn(*const c_char, *const c_char, *const Conversation, *mut *mut c_void) -> c_int;
type WithCode = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type GetItem = unsafe extern "C" fn(*const c_void, c_int, *mut *const c_void) -> c_int;

struct Library {
    start: Start,
    authenticate: WithCode,
    acct_mgmt: WithCode,
    get_item: GetItem,
    end: WithCode,
}

/// Checks `password` of `account` by the PAM service `service`.
///
/// # Errors
/// Where there is no libpam.
pub fn check(service: &str, account: &str, password: &str) -> Result<Verdict, NoPam> {
    let library = Library::load()?;
    let texts = (CString::new(service), CString::new(account), CString::new(password).map(|p| Zeroizing::new(p.into_bytes_with_nul())));
    let (Ok(service), Ok(account), Ok(password)) = texts else { return Ok(Verdict::Refused) };
    let Ok(password) = CStr::from_bytes_with_nul(&password) else { return Ok(Verdict::Refused) };
    let mut answer = Answer { password, given: false };
    let conversation = Conversation { converse: Some(converse), data: (&raw mut answer).cast() };
    let mut handle = ptr::null_mut();
    // SAFETY: all texts end in NUL; conversation and answer outlive the handle, which is ended below.
    let started = unsafe { (library.start)(service.as_ptr(), account.as_ptr(), &raw const conversation, &raw mut handle) };
    if started != SUCCESS || handle.is_null() {
        return Ok(Verdict::Unavailable(format!("pam_start: error {started}")));
    }
    let code = library.verdict(handle, &account);
    // SAFETY: the handle was made by pam_start, and is not used after this.
    unsafe { (library.end)(handle, code) };
    Ok(meaning(code))
}

fn meaning(code: c_int) -> Verdict {
    match code {
        // A password that is right and due to be changed is right.
        SUCCESS | NEW_AUTHTOK_REQD => Verdict::Accepted,
        PERM_DENIED | AUTH_ERR | CRED_INSUFFICIENT | USER_UNKNOWN | MAXTRIES | ACCT_EXPIRED => Verdict::Refused,
        other => Verdict::Unavailable(format!("PAM error {other}")),
    }
}

impl Library {
    fn load() -> Result<Self, NoPam> {
        // SAFETY: the name ends in NUL; libpam's initialisers touch nothing of ours. It is never unloaded.
        let handle = unsafe { libc::dlopen(c"libpam.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(NoPam("libpam.so.0 can't be loaded; install libpam0g".into()));
        }
        let find = |name: &CStr| {
            // SAFETY: the handle is valid, the name ends in NUL.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            if found.is_null() { Err(NoPam(format!("it has no {}", name.to_string_lossy()))) } else { Ok(found) }
        };
        // SAFETY: each of these functions has had this signature since Linux-PAM 0.x (pam_appl.h), and none is null.
        unsafe {
            Ok(Self {
                start: std::mem::transmute::<*mut c_void, Start>(find(c"pam_start")?),
                authenticate: std::mem::transmute::<*mut c_void, WithCode>(find(c"pam_authenticate")?),
                acct_mgmt: std::mem::transmute::<*mut c_void, WithCode>(find(c"pam_acct_mgmt")?),
                get_item: std::mem::transmute::<*mut c_void, GetItem>(find(c"pam_get_item")?),
                end: std::mem::transmute::<*mut c_void, WithCode>(find(c"pam_end")?),
            })
        }
    }

    /// The password, then the account, then whether it is still the same account.
    fn verdict(&self, handle: *mut c_void, account: &CStr) -> c_int {
        // SAFETY: the handle was made by pam_start and has not been ended.
        let code = unsafe { (self.authenticate)(handle, SILENT | DISALLOW_NULL_AUTHTOK) };
        if code != SUCCESS {
            return code;
        }
        // SAFETY: as above.
        let code = unsafe { (self.acct_mgmt)(handle, SILENT | DISALLOW_NULL_AUTHTOK) };
        if code != SUCCESS && code != NEW_AUTHTOK_REQD {
            return code;
        }
        let mut user = ptr::null();
        // SAFETY: as above; the item is a text that ends in NUL and belongs to the handle.
        let same = unsafe {
            (self.get_item)(handle, ITEM_USER, &raw mut user) == SUCCESS && !user.is_null() && CStr::from_ptr(user.cast()) == account
        };
        if same { code } else { PERM_DENIED }
    }
}

/// Answers the one question for the password; anything else that wants an answer is refused.
///
/// # Safety
/// Called by libpam with its own arrays and with the [`Answer`] of [`check`].
unsafe extern "C" fn converse(count: c_int, messages: *mut *const Message, responses: *mut *mut Response, data: *mut c_void) -> c_int {
    if !(1..=MOST_MESSAGES).contains(&count) || messages.is_null() || responses.is_null() || data.is_null() {
        return CONV_ERR;
    }
    let count = count.unsigned_abs() as usize;
    // SAFETY: `data` is the Answer of `check`, which is not used elsewhere while PAM runs.
    let answer = unsafe { &mut *data.cast::<Answer<'_>>() };
    // SAFETY: Linux-PAM passes an array of `count` pointers to messages.
    let messages = unsafe { std::slice::from_raw_parts(messages, count) };
    // SAFETY: as above; a message is read only.
    let styles = messages.iter().map(|message| if message.is_null() { 0 } else { unsafe { (**message).style } });
    let mut asks = 0;
    for style in styles.clone() {
        match style {
            PROMPT_ECHO_OFF => asks += 1,
            TEXT_INFO | ERROR_MSG => {}
            _ => return CONV_ERR,
        }
    }
    if asks > 1 || (asks == 1 && answer.given) {
        return CONV_ERR;
    }
    // SAFETY: calloc'ed as PAM frees it; zeroed entries are valid responses.
    let room = unsafe { libc::calloc(count, size_of::<Response>()) }.cast::<Response>();
    if room.is_null() {
        return BUF_ERR;
    }
    for (index, style) in styles.enumerate() {
        if style == PROMPT_ECHO_OFF {
            answer.given = true;
            // SAFETY: the index is within the array made above; strdup copies a text that ends in NUL.
            unsafe { (*room.add(index)).text = libc::strdup(answer.password.as_ptr()) };
        }
    }
    // SAFETY: libpam gave the place for the pointer, and owns the array from here on.
    unsafe { *responses = room };
    SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::{Lack, skipped};

    #[test]
    fn only_success_lets_in() {
        assert_eq!(meaning(SUCCESS), Verdict::Accepted);
        assert_eq!(meaning(NEW_AUTHTOK_REQD), Verdict::Accepted);
        for code in [PERM_DENIED, AUTH_ERR, CRED_INSUFFICIENT, USER_UNKNOWN, MAXTRIES, ACCT_EXPIRED] {
            assert_eq!(meaning(code), Verdict::Refused, "{code}");
        }
        for code in [1, 2, 3, 4, BUF_ERR, 9, 14, CONV_ERR, 25, 26, 99, -1] {
            assert!(matches!(meaning(code), Verdict::Unavailable(_)), "{code}");
        }
    }

    #[test]
    fn an_account_that_does_not_exist_is_never_accepted() {
        match check("twostep-no-such-service", "nobody-of-that-name", "wonderland") {
            Ok(verdict) => assert_ne!(verdict, Verdict::Accepted),
            Err(e) => skipped(Lack::Package, e),
        }
    }

    #[test]
    fn the_password_is_given_once_and_other_questions_are_refused() {
        let ask = |styles: &[c_int], answer: &mut Answer<'_>| {
            let messages: Vec<Message> = styles.iter().map(|&style| Message { style, text: c"?".as_ptr() }).collect();
            let mut pointers: Vec<*const Message> = messages.iter().map(|m| &raw const *m).collect();
            let mut responses = ptr::null_mut();
            // SAFETY: the arrays are as libpam passes them, and outlive the call.
            let code = unsafe { converse(styles.len() as c_int, pointers.as_mut_ptr(), &raw mut responses, (&raw mut *answer).cast()) };
            if !responses.is_null() {
                for index in 0..styles.len() {
                    // SAFETY: made by calloc and strdup in `converse`.
                    unsafe { libc::free((*responses.add(index)).text.cast()) };
                }
                // SAFETY: as above.
                unsafe { libc::free(responses.cast()) };
            }
            code
        };
        let mut answer = Answer { password: c"wonderland", given: false };
        assert_eq!(ask(&[TEXT_INFO, PROMPT_ECHO_OFF], &mut answer), SUCCESS);
        assert_eq!(ask(&[PROMPT_ECHO_OFF], &mut answer), CONV_ERR);
        assert_eq!(ask(&[2], &mut Answer { password: c"x", given: false }), CONV_ERR);
        assert_eq!(ask(&[PROMPT_ECHO_OFF, PROMPT_ECHO_OFF], &mut Answer { password: c"x", given: false }), CONV_ERR);
    }
}
