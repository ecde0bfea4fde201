//! A program that speaks PAM, with a configuration folder of its own: the real libpam and the real module, and a conversation that the
//! test leads.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

pub use twostep::sys::libpam::{AUTHINFO_UNAVAIL, CONV_ERR, MAXTRIES, PERM_DENIED, SERVICE_ERR, SUCCESS, USER_UNKNOWN};
use twostep::sys::libpam::{Conversation, ERROR_MSG, ITEM_RHOST, ITEM_USER, Message, PROMPT_ECHO_ON, Response, TEXT_INFO};

use crate::nas::module;

/// One call of the stack.
#[derive(Clone, Copy, Debug)]
pub enum Do {
    Authenticate,
    SetCred,
    Account,
    OpenSession,
    CloseSession,
    ChangePassword,
    /// The host puts another user's name into the transaction.
    Become(&'static CStr),
}

/// What the conversation function does with a question.
pub enum Reply {
    Text(Vec<u8>),
    /// A response without a text.
    Null,
    /// Success, without any response.
    NoResponses,
    /// PAM_CONV_ERR
    Fail,
    /// Another user's name is put into the transaction, then this is typed.
    AsOther(&'static CStr, String),
}

impl Reply {
    pub fn typed(text: impl Into<String>) -> Self {
        Self::Text(text.into().into_bytes())
    }
}

/// What came of a transaction.
pub struct Done {
    /// The codes of the calls, in order.
    pub codes: Vec<c_int>,
    /// Every message that was shown.
    pub shown: Vec<String>,
}

type Start = unsafe extern "C" fn(*const c_char, *const c_char, *const Conversation, *const c_char, *mut *mut c_void) -> c_int;
type WithCode = unsafe extern "C" fn(*mut c_void, c_int) -> c_int;
type SetItem = unsafe extern "C" fn(*mut c_void, c_int, *const c_void) -> c_int;

/// libpam, for this program alone, as Python or PHP load it.
struct Library(*mut c_void);

impl Library {
    fn load() -> Self {
        // SAFETY: the name ends in NUL.
        let handle = unsafe { libc::dlopen(c"libpam.so.0".as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "no libpam.so.0: install libpam0g");
        Self(handle)
    }

    /// # Safety
    /// `F` is the type of that function.
    unsafe fn find<F: Copy>(&self, name: &CStr) -> F {
        // SAFETY: the handle is valid, and the name ends in NUL.
        let found = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!found.is_null(), "libpam has no {name:?}");
        // SAFETY: as the caller promises; a function pointer is as large as a pointer.
        unsafe { std::mem::transmute_copy(&found) }
    }
}

type Answer<'a> = dyn FnMut(&str) -> Reply + 'a;

/// What the conversation function works on.
struct Talk<'a> {
    answer: Box<Answer<'a>>,
    shown: Vec<String>,
    handle: *mut c_void,
    set_item: SetItem,
}

/// A service of PAM: each line names its type and control, and `pam_twostep` stands for the module with its folder.
pub struct Service {
    folder: tempfile::TempDir,
    name: &'static str,
    /// The client's address, as sshd names it.
    remote: Option<CString>,
}

impl Service {
    pub fn new(name: &'static str, dir: &Path, lines: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let module = format!("{} dir={}", module().display(), dir.display());
        std::fs::write(folder.path().join(name), lines.replace("pam_twostep", &module)).unwrap();
        std::fs::write(folder.path().join("other"), "auth required pam_deny.so\naccount required pam_deny.so\n").unwrap();
        Self { folder, name, remote: None }
    }

    /// The same, asked by a client at this address.
    pub fn from(self, address: &str) -> Self {
        Self { remote: Some(CString::new(address).unwrap()), ..self }
    }

    /// One transaction of `user`: these calls, with each question answered by `answer`.
    pub fn run(&self, user: &str, calls: &[Do], answer: impl FnMut(&str) -> Reply) -> Done {
        let library = Library::load();
        let (service, user) = (CString::new(self.name).unwrap(), CString::new(user).unwrap());
        let folder = CString::new(self.folder.path().to_str().unwrap()).unwrap();
        // SAFETY: the types are those of pam_appl.h.
        let (start, set_item, end): (Start, SetItem, WithCode) =
            unsafe { (library.find(c"pam_start_confdir"), library.find(c"pam_set_item"), library.find(c"pam_end")) };
        let mut talk = Talk { answer: Box::new(answer), shown: Vec::new(), handle: ptr::null_mut(), set_item };
        let conversation = Conversation { converse: Some(converse), data: (&raw mut talk).cast() };
        let mut handle = ptr::null_mut();
        // SAFETY: all texts end in NUL; conversation and talk outlive the handle, which is ended below.
        let started = unsafe { start(service.as_ptr(), user.as_ptr(), &raw const conversation, folder.as_ptr(), &raw mut handle) };
        assert_eq!(started, SUCCESS, "pam_start_confdir");
        talk.handle = handle;
        if let Some(remote) = &self.remote {
            // SAFETY: PAM_RHOST takes a text, which it copies.
            assert_eq!(unsafe { set_item(handle, ITEM_RHOST, remote.as_ptr().cast()) }, SUCCESS);
        }
        let mut codes = Vec::new();
        for call in calls {
            let (name, flags) = match call {
                Do::Authenticate => (c"pam_authenticate", 0),
                Do::SetCred => (c"pam_setcred", 2),
                Do::Account => (c"pam_acct_mgmt", 0),
                Do::OpenSession => (c"pam_open_session", 0),
                Do::CloseSession => (c"pam_close_session", 0),
                Do::ChangePassword => (c"pam_chauthtok", 0),
                Do::Become(other) => {
                    // SAFETY: PAM_USER takes a text, which it copies.
                    codes.push(unsafe { set_item(handle, ITEM_USER, other.as_ptr().cast()) });
                    continue;
                }
            };
            // SAFETY: each of them has this type, and the handle is valid.
            codes.push(unsafe { library.find::<WithCode>(name)(handle, flags) });
        }
        // SAFETY: the handle is not used after this.
        unsafe { end(handle, SUCCESS) };
        Done { codes, shown: talk.shown }
    }

    /// The auth line alone, and nothing typed but these; a question more breaks off.
    pub fn login(&self, user: &str, typed: &[&str]) -> Done {
        let mut typed = typed.iter();
        self.run(user, &[Do::Authenticate], |_| typed.next().map_or(Reply::Fail, |text| Reply::typed(*text)))
    }
}

/// # Safety
/// Called by modules with arrays as in pam_conv(3), and with the [`Talk`] of [`Service::run`].
unsafe extern "C" fn converse(count: c_int, messages: *mut *const Message, responses: *mut *mut Response, data: *mut c_void) -> c_int {
    assert_eq!(count, 1);
    // SAFETY: the Talk outlives the transaction and is used nowhere else while it runs; one message is there.
    let (talk, message) = unsafe { (&mut *data.cast::<Talk<'_>>(), &**messages) };
    // SAFETY: a message's text ends in NUL.
    let text = unsafe { CStr::from_ptr(message.text) }.to_str().unwrap().to_owned();
    talk.shown.push(text.clone());
    let reply = match message.style {
        PROMPT_ECHO_ON => (talk.answer)(&text),
        ERROR_MSG | TEXT_INFO => Reply::Null,
        hidden => panic!("style {hidden} for {text:?}"),
    };
    let text = match reply {
        Reply::Fail => return CONV_ERR,
        Reply::NoResponses => return SUCCESS,
        Reply::Null => None,
        Reply::Text(text) => Some(text),
        Reply::AsOther(user, text) => {
            // SAFETY: the handle is the transaction's; PAM_USER takes a text, which it copies.
            assert_eq!(unsafe { (talk.set_item)(talk.handle, ITEM_USER, user.as_ptr().cast()) }, SUCCESS);
            Some(text.into_bytes())
        }
    };
    // SAFETY: zeroed entries are valid responses; the text is copied with a NUL behind it.
    unsafe {
        let room = libc::calloc(1, size_of::<Response>()).cast::<Response>();
        if let Some(text) = text {
            let copy = libc::calloc(1, text.len() + 1).cast::<u8>();
            ptr::copy_nonoverlapping(text.as_ptr(), copy, text.len());
            (*room).text = copy.cast();
        }
        *responses = room;
    }
    SUCCESS
}
