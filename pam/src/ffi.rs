//! libpam's side: the only unsafe code.
//!
//! The functions are looked up in the libpam that is already in the process: it has called us, so it is there. So the module needs no
//! libpam to be built or linked against, and works where the host has loaded libpam for itself alone (RTLD_LOCAL: Python, PHP, twostepd's own
//! password worker), where symbols left undefined would not be found.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

use twostep::proto::secret::Secret;
use twostep::sys::libpam::{
    Conversation, ERROR_MSG, ITEM_AUTHTOK, ITEM_CONV, ITEM_RHOST, ITEM_SERVICE, ITEM_USER, Message, PROMPT_ECHO_ON, Response, SILENT,
    SUCCESS, TEXT_INFO,
};
use zeroize::{Zeroize, Zeroizing};

use crate::account::Passed;
use crate::talk::{LONGEST_ANSWER, Reply, Silence, Talk, Tone};

/// A PAM transaction; only libpam looks inside.
#[repr(C)]
pub struct Handle {
    _private: [u8; 0],
}

type Cleanup = unsafe extern "C" fn(*mut Handle, *mut c_void, c_int);
type GetItem = unsafe extern "C" fn(*const Handle, c_int, *mut *const c_void) -> c_int;
type GetUser = unsafe extern "C" fn(*mut Handle, *mut *const c_char, *const c_char) -> c_int;
type SetData = unsafe extern "C" fn(*mut Handle, *const c_char, *mut c_void, Option<Cleanup>) -> c_int;
type GetData = unsafe extern "C" fn(*const Handle, *const c_char, *mut *const c_void) -> c_int;

/// A text of the transaction.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Item {
    /// PAM_SERVICE
    Service = ITEM_SERVICE,
    /// PAM_USER
    User = ITEM_USER,
    /// PAM_RHOST
    RemoteHost = ITEM_RHOST,
    /// PAM_AUTHTOK
    Password = ITEM_AUTHTOK,
}

/// The longest user, service and host name that is taken, in bytes.
const LONGEST_NAME: usize = 256;

/// Under this name the transaction remembers who passed the auth line.
const PASSED: &CStr = c"pam_twostep passed";

struct Library {
    handle: *mut c_void,
    get_item: GetItem,
    get_user: GetUser,
    set_data: SetData,
    get_data: GetData,
}

impl Library {
    fn present() -> Option<Self> {
        // SAFETY: the name ends in NUL; RTLD_NOLOAD loads nothing and runs nothing.
        let handle = unsafe { libc::dlopen(c"libpam.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_NOLOAD) };
        if handle.is_null() {
            return None;
        }
        let find = |name: &CStr| {
            // SAFETY: the handle is valid, the name ends in NUL.
            let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
            (!found.is_null()).then_some(found)
        };
        let found = (find(c"pam_get_item"), find(c"pam_get_user"), find(c"pam_set_data"), find(c"pam_get_data"));
        let (Some(get_item), Some(get_user), Some(set_data), Some(get_data)) = found else {
            // SAFETY: opened above and not used again.
            unsafe { libc::dlclose(handle) };
            return None;
        };
        // SAFETY: these functions have had these signatures since Linux-PAM 0.x (pam_modules.h), and none is null.
        unsafe {
            Some(Self {
                handle,
                get_item: std::mem::transmute::<*mut c_void, GetItem>(get_item),
                get_user: std::mem::transmute::<*mut c_void, GetUser>(get_user),
                set_data: std::mem::transmute::<*mut c_void, SetData>(set_data),
                get_data: std::mem::transmute::<*mut c_void, GetData>(get_data),
            })
        }
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: opened in `present`; libpam itself stays, since it is running.
        unsafe { libc::dlclose(self.handle) };
    }
}

/// One transaction, as long as a call of it lasts.
pub struct Pam {
    handle: *mut Handle,
    libpam: Library,
    silent: bool,
}

impl Pam {
    /// None where the process has no libpam.
    ///
    /// # Safety
    /// `handle` is the one that libpam gave to the entry that is running, and is used no longer than that.
    pub unsafe fn new(handle: *mut Handle, flags: c_int) -> Option<Self> {
        let libpam = Library::present()?;
        (!handle.is_null()).then_some(Self { handle, libpam, silent: flags & SILENT != 0 })
    }

    /// Who logs in; asked for where PAM does not know yet. None where that fails or the name is no text.
    pub fn ask_user(&self) -> Option<String> {
        let mut user = ptr::null();
        // SAFETY: the handle is valid (see `new`); libpam has its own prompt where none is given.
        let code = unsafe { (self.libpam.get_user)(self.handle, &raw mut user, ptr::null()) };
        if code != SUCCESS || user.is_null() {
            return None;
        }
        // SAFETY: libpam owns the text, which ends in NUL and is not changed while it is copied.
        name(unsafe { CStr::from_ptr(user) })
    }

    /// A text of the transaction. None where it is not set, empty, too long or no text.
    pub fn name(&self, item: Item) -> Option<String> {
        self.text(item).and_then(name)
    }

    /// The password that another module has asked for.
    pub fn password(&self) -> Option<Secret> {
        let text = self.text(Item::Password)?;
        let fits = text.count_bytes() <= LONGEST_ANSWER;
        text.to_str().ok().filter(|_| fits).map(|text| Secret::new(text.to_owned()))
    }

    fn text(&self, item: Item) -> Option<&CStr> {
        let value = self.item(item as c_int)?;
        // SAFETY: these items are texts that end in NUL; libpam owns them, and nothing changes them while `self` is borrowed for reading.
        Some(unsafe { CStr::from_ptr(value.cast()) })
    }

    fn item(&self, item: c_int) -> Option<*const c_void> {
        let mut value = ptr::null();
        // SAFETY: the handle is valid (see `new`), and libpam writes one pointer.
        let code = unsafe { (self.libpam.get_item)(self.handle, item, &raw mut value) };
        (code == SUCCESS && !value.is_null()).then_some(value)
    }

    /// Notes who passed the auth line and how, or that nobody did. Tells whether that worked.
    pub fn remember(&self, passed: Option<&Passed>) -> bool {
        let note = passed.and_then(|passed| CString::new(passed.note()).ok()).map_or(ptr::null_mut(), CString::into_raw);
        // SAFETY: the handle is valid, the name ends in NUL, and `forget` takes the note back as it was made.
        let code = unsafe { (self.libpam.set_data)(self.handle, PASSED.as_ptr(), note.cast(), Some(forget)) };
        if code != SUCCESS && !note.is_null() {
            // SAFETY: made by into_raw above, and not taken over by libpam.
            drop(unsafe { CString::from_raw(note) });
        }
        code == SUCCESS
    }

    /// Who passed the auth line in this transaction, and how.
    pub fn passed(&self) -> Option<Passed> {
        let mut note = ptr::null();
        // SAFETY: the handle is valid, the name ends in NUL, and libpam writes one pointer.
        let code = unsafe { (self.libpam.get_data)(self.handle, PASSED.as_ptr(), &raw mut note) };
        if code != SUCCESS || note.is_null() {
            return None;
        }
        // SAFETY: `remember` put a text there that ends in NUL and lives until it is replaced.
        unsafe { CStr::from_ptr(note.cast()) }.to_str().ok().and_then(Passed::from_note)
    }

    /// One message; the answer, where one is wanted.
    fn converse(&self, style: c_int, text: &str) -> Result<Reply, Silence> {
        let conversation: *const Conversation = self.item(ITEM_CONV).ok_or(Silence)?.cast();
        // SAFETY: PAM_CONV is a struct pam_conv that libpam owns while the entry runs.
        let (converse, data) = unsafe { ((*conversation).converse, (*conversation).data) };
        let converse = converse.ok_or(Silence)?;
        let text = terminated(text);
        let message = Message { style, text: text.as_ptr().cast() };
        let mut messages = [&raw const message];
        let mut responses: *mut Response = ptr::null_mut();
        // SAFETY: the arrays are as pam_conv(3) wants them, and outlive the call; `data` is the host's own.
        let code = unsafe { converse(1, messages.as_mut_ptr(), &raw mut responses, data) };
        let answer = match code {
            // SAFETY: on success the host hands over an array of one response, or none.
            SUCCESS => unsafe { taken(responses) },
            _ => None,
        };
        answer.ok_or(Silence)
    }
}

/// Takes the note of [`Pam::remember`] back.
///
/// # Safety
/// Called by libpam with the pointer that was given to pam_set_data.
unsafe extern "C" fn forget(_: *mut Handle, note: *mut c_void, _: c_int) {
    if !note.is_null() {
        // SAFETY: made by CString::into_raw in `remember`; libpam does not use it after this.
        drop(unsafe { CString::from_raw(note.cast()) });
    }
}

fn name(text: &CStr) -> Option<String> {
    let text = text.to_str().ok()?;
    let fits = (1..=LONGEST_NAME).contains(&text.len()) && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

/// The text with a NUL behind it and none within.
fn terminated(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() + 1));
    bytes.extend(text.bytes().filter(|byte| *byte != 0));
    bytes.push(0);
    bytes
}

/// Copies the answer out of an array of one response, wipes it and frees both. None where there is none.
///
/// # Safety
/// `responses` is null or an array of one from malloc, whose text is null or from malloc and ends in NUL (pam_conv(3)). Neither is used again.
unsafe fn taken(responses: *mut Response) -> Option<Reply> {
    if responses.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let text = unsafe { (*responses).text };
    // SAFETY: from malloc, see the caller's promise; the text was copied out.
    unsafe { libc::free(responses.cast()) };
    if text.is_null() {
        return None;
    }
    // SAFETY: it ends in NUL, as the caller promises.
    let length = unsafe { libc::strlen(text) };
    // SAFETY: so many bytes are there, from malloc, and nobody else has them.
    let bytes = unsafe { std::slice::from_raw_parts_mut(text.cast::<u8>(), length) };
    let readable = bytes.get(..length).filter(|bytes| bytes.len() <= LONGEST_ANSWER).and_then(|bytes| str::from_utf8(bytes).ok());
    let reply = match readable.filter(|text| !text.chars().any(char::is_control)) {
        Some(text) => Reply::Typed(Secret::new(text.to_owned())),
        None => Reply::Unreadable,
    };
    bytes.zeroize();
    // SAFETY: from malloc, see the caller's promise; `bytes` is not used after this.
    unsafe { libc::free(text.cast()) };
    Some(reply)
}

impl Talk for Pam {
    fn ask(&mut self, text: &str) -> Result<Reply, Silence> {
        self.converse(PROMPT_ECHO_ON, text)
    }

    fn tell(&mut self, tone: Tone, text: &str) {
        if !self.silent {
            // Some hosts give a response to this too, which is wiped and freed; whether it is shown is theirs to say.
            let _ = self.converse(if tone == Tone::Error { ERROR_MSG } else { TEXT_INFO }, text);
        }
    }
}

/// How important a line in the log is.
#[derive(Clone, Copy, Debug)]
#[repr(i32)]
pub enum Level {
    /// The module can't do its work.
    Error = libc::LOG_ERR,
    /// A login was refused, or let in by way of an exception.
    Notice = libc::LOG_NOTICE,
    /// `debug`
    Debug = libc::LOG_DEBUG,
}

/// Writes a line to the log of logins. The host's syslog settings are left as they are.
pub fn log(level: Level, line: &str) {
    let line = terminated(line);
    // SAFETY: the format takes one text that ends in NUL, and gets one.
    unsafe { libc::syslog(libc::LOG_AUTHPRIV | level as c_int, c"%s".as_ptr(), line.as_ptr()) };
}

/// The words behind the module's name. None where they are no text.
///
/// # Safety
/// `argv` points to `argc` texts that end in NUL and outlive the result, as libpam passes them.
pub unsafe fn words<'a>(argc: c_int, argv: *const *const c_char) -> Option<Vec<&'a str>> {
    let count = usize::try_from(argc).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    if argv.is_null() {
        return None;
    }
    // SAFETY: as the caller promises.
    let words = unsafe { std::slice::from_raw_parts(argv, count) };
    // SAFETY: as the caller promises; null is looked for before.
    words.iter().map(|word| if word.is_null() { None } else { unsafe { CStr::from_ptr(*word) }.to_str().ok() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An array of one response, as a host makes it.
    fn response(text: Option<&[u8]>) -> *mut Response {
        // SAFETY: plain allocations of the right sizes; a zeroed Response is valid.
        unsafe {
            let array = libc::calloc(1, size_of::<Response>()).cast::<Response>();
            if let Some(text) = text {
                let copy = libc::calloc(1, text.len() + 1).cast::<u8>();
                ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
                (*array).text = copy.cast();
            }
            array
        }
    }

    fn taken_from(text: Option<&[u8]>) -> Option<Reply> {
        // SAFETY: made by `response`.
        unsafe { taken(response(text)) }
    }

    #[test]
    fn answers_are_taken_as_they_are_and_never_beyond_their_bounds() {
        let typed = |text: &str| Some(Reply::Typed(Secret::new(text.into())));
        assert_eq!(taken_from(Some(b"123456")), typed("123456"));
        assert_eq!(taken_from(Some(b"")), typed(""));
        assert_eq!(taken_from(Some(&[b'1'; LONGEST_ANSWER])), typed(&"1".repeat(LONGEST_ANSWER)));
        for unreadable in [&[b'1'; LONGEST_ANSWER + 1][..], &[b'1'; 1 << 20], b"\xff\xfe", b"12\x1b[2J", b"123456\n"] {
            assert_eq!(taken_from(Some(unreadable)), Some(Reply::Unreadable));
        }
        assert_eq!(taken_from(None), None);
        // SAFETY: null is allowed.
        assert_eq!(unsafe { taken(ptr::null_mut()) }, None);
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        assert_eq!(name(c"alice").as_deref(), Some("alice"));
        let long = CString::new("x".repeat(LONGEST_NAME + 1)).unwrap();
        for none in [c"", c"al\nice", c"\xff", &long] {
            assert_eq!(name(none), None);
        }
    }

    #[test]
    fn a_text_never_ends_early() {
        assert_eq!(&**terminated("a\0b"), b"ab\0");
    }

    #[test]
    fn words_that_are_no_text_are_no_options() {
        let argv = [c"debug".as_ptr(), c"timeout=3".as_ptr()];
        let bad = [c"debug".as_ptr(), c"\xff".as_ptr(), ptr::null()];
        // SAFETY: the arrays have as many texts as is said, or null.
        unsafe {
            assert_eq!(words(2, argv.as_ptr()), Some(vec!["debug", "timeout=3"]));
            assert_eq!(words(0, ptr::null()), Some(vec![]));
            assert_eq!(words(2, ptr::null()), None);
            assert_eq!(words(-1, argv.as_ptr()), None);
            assert_eq!(words(2, bad.as_ptr()), None);
            assert_eq!(words(3, bad.as_ptr()), None);
        }
    }
}
