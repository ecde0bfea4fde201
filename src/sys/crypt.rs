//! Password hashes by the system's own libcrypt, loaded at run time, so that a hash made here is one that login understands.
//!
//! `libcrypt.so.1` or `.so.2` (libxcrypt, or glibc's former one). Where the library does not know yescrypt, SHA-512 crypt is used and
//! said so. What this does not do: choose or store passwords, or check one against PAM.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::fmt;
use std::sync::OnceLock;

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

/// A hash method of crypt(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// yescrypt, `$y$`, at the library's default cost.
    Yescrypt,
    /// SHA-512 crypt, `$6$`, at its default of 5000 rounds.
    Sha512,
}

impl Method {
    fn prefix(self) -> &'static CStr {
        match self {
            Self::Yescrypt => c"$y$",
            Self::Sha512 => c"$6$",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Yescrypt => "yescrypt",
            Self::Sha512 => "SHA-512 crypt",
        })
    }
}

/// A new hash, and how it was made: not by the method asked for where the library lacks it.
pub struct Hashed {
    /// The hash in crypt(5) form.
    pub hash: Zeroizing<String>,
    /// The method that made it.
    pub method: Method,
}

/// No hash could be made or checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CryptError {
    /// There is no usable libcrypt.
    NoLibrary(String),
    /// The kernel gave no random bytes for the salt.
    NoRandomness(String),
    /// The password holds a NUL byte, or is longer than 512 bytes.
    Unfit,
    /// The library refused the method or the hash.
    Refused,
}

impl fmt::Display for CryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLibrary(reason) => write!(f, "no libcrypt can be loaded ({reason}); install libcrypt1 or libxcrypt"),
            Self::NoRandomness(reason) => write!(f, "no random bytes for the salt: {reason}"),
            Self::Unfit => f.write_str("the password holds a NUL byte or is longer than 512 bytes"),
            Self::Refused => f.write_str("libcrypt refuses this hash method"),
        }
    }
}

impl std::error::Error for CryptError {}

/// Hashes a password with a new salt.
///
/// # Errors
/// Where there is no libcrypt, no randomness, or the password is unfit.
pub fn hash(password: &str, method: Method) -> Result<Hashed, CryptError> {
    let library = library()?;
    let (setting, method) = match (library.setting(method)?, method) {
        (Some(setting), method) => (setting, method),
        (None, Method::Yescrypt) => (library.setting(Method::Sha512)?.ok_or(CryptError::Refused)?, Method::Sha512),
        (None, Method::Sha512) => return Err(CryptError::Refused),
    };
    Ok(Hashed { hash: library.crypt(password, &setting)?, method })
}

/// Whether the password gives this hash. A field that holds no hash (`!`, `*`, nothing) matches no password.
///
/// # Errors
/// Where there is no libcrypt, or it does not know the hash's method.
pub fn verify(password: &str, hash: &str) -> Result<bool, CryptError> {
    if hash.is_empty() || hash.starts_with(['!', '*']) {
        return Ok(false);
    }
    let setting = CString::new(hash).map_err(|_| CryptError::Refused)?;
    let made = library()?.crypt(password, &setting)?;
    Ok(made.as_bytes().ct_eq(hash.as_bytes()).into())
}

type CryptR = unsafe extern "C" fn(*const c_char, *const c_char, *mut c_void) -> *mut c_char;
type GensaltRn = unsafe extern "C" fn(*const c_char, c_ulong, *const c_char, c_int, *mut c_char, c_int) -> *mut c_char;

/// At least the `struct crypt_data` of every libcrypt: 32 KiB in libxcrypt, 128 KiB and a little in glibc's.
const WORK_AREA: usize = 256 << 10;

#[repr(align(16))]
struct WorkArea([u8; WORK_AREA]);

struct Library {
    crypt_r: CryptR,
    gensalt_rn: Option<GensaltRn>,
}

fn library() -> Result<&'static Library, CryptError> {
    static LIBRARY: OnceLock<Result<Library, CryptError>> = OnceLock::new();
    LIBRARY.get_or_init(|| Library::load(&[c"libcrypt.so.1", c"libcrypt.so.2"])).as_ref().map_err(Clone::clone)
}

impl Library {
    fn load(names: &[&CStr]) -> Result<Self, CryptError> {
        // SAFETY: each name ends in NUL, and loading libcrypt runs no code of its own that could break ours. It is never unloaded.
        let handle =
            names.iter().map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) }).find(|h| !h.is_null());
        let handle = handle.ok_or_else(|| CryptError::NoLibrary(load_error()))?;
        // SAFETY: the handle is the library's and stays valid, the name ends in NUL.
        let (crypt_r, gensalt_rn) =
            unsafe { (libc::dlsym(handle, c"crypt_r".as_ptr()), libc::dlsym(handle, c"crypt_gensalt_rn".as_ptr())) };
        if crypt_r.is_null() {
            return Err(CryptError::NoLibrary("it has no crypt_r".into()));
        }
        // SAFETY: crypt_r(3) has this signature in every libcrypt.
        let crypt_r = unsafe { std::mem::transmute::<*mut c_void, CryptR>(crypt_r) };
        // SAFETY: crypt_gensalt_rn(3) has this signature; a null pointer was sorted out.
        let gensalt_rn = (!gensalt_rn.is_null()).then(|| unsafe { std::mem::transmute::<*mut c_void, GensaltRn>(gensalt_rn) });
        Ok(Self { crypt_r, gensalt_rn })
    }

    /// Method, cost and a random salt in crypt(5) form; none where the library does not know the method.
    fn setting(&self, method: Method) -> Result<Option<CString>, CryptError> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| CryptError::NoRandomness(error.to_string()))?;
        let Some(gensalt) = self.gensalt_rn else { return Ok((method == Method::Sha512).then(|| plain_setting(random))) };
        let mut setting = [0_u8; 192];
        let (salt, room) = (random.as_ptr().cast(), setting.as_mut_ptr().cast());
        // SAFETY: the prefix ends in NUL; the lengths are those of `random` and `setting`, which outlive the call.
        let made = unsafe { gensalt(method.prefix().as_ptr(), 0, salt, random.len() as c_int, room, setting.len() as c_int) };
        let known = !made.is_null() && setting.starts_with(method.prefix().to_bytes());
        Ok(known.then(|| CStr::from_bytes_until_nul(&setting).ok().map(CStr::to_owned)).flatten())
    }

    fn crypt(&self, password: &str, setting: &CStr) -> Result<Zeroizing<String>, CryptError> {
        if password.len() > 512 || password.as_bytes().contains(&0) {
            return Err(CryptError::Unfit);
        }
        let mut phrase = Zeroizing::new(Vec::with_capacity(password.len() + 1));
        phrase.extend_from_slice(password.as_bytes());
        phrase.push(0);
        let mut area = Box::new(WorkArea([0; WORK_AREA]));
        // SAFETY: phrase and setting end in NUL; the work area is zeroed, as crypt_r(3) wants it, aligned, and larger than any crypt_data.
        let made = unsafe { (self.crypt_r)(phrase.as_ptr().cast(), setting.as_ptr(), (&raw mut *area).cast()) };
        // SAFETY: where it is not null, it points to a text in the work area (or in the library) that ends in NUL and is still there.
        let made = (!made.is_null()).then(|| unsafe { CStr::from_ptr(made) }.to_str().map(str::to_owned));
        area.0.zeroize();
        match made {
            // A failure token instead of a hash begins with `*`.
            Some(Ok(hash)) if !hash.starts_with('*') && hash.len() >= 13 => Ok(Zeroizing::new(hash)),
            _ => Err(CryptError::Refused),
        }
    }
}

/// For a libcrypt without crypt_gensalt: `$6$` and 16 characters of salt, 6 random bits each.
fn plain_setting(random: [u8; 16]) -> CString {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let salt = random.iter().map(|byte| ALPHABET[usize::from(byte & 63)]);
    CString::new(b"$6$".iter().copied().chain(salt).collect::<Vec<u8>>()).unwrap_or_default()
}

fn load_error() -> String {
    // SAFETY: dlerror returns null or a text ending in NUL that stays until the next dl call of this thread.
    let text = unsafe { libc::dlerror() };
    // SAFETY: as above, and null was sorted out.
    if text.is_null() { "unknown".into() } else { unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned() }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use crate::skip::{Lack, skipped};

    /// perl's crypt() is the system's libcrypt, called by somebody else.
    fn perl_says(password: &str, hash: &str) -> Option<bool> {
        let script = "print crypt($ARGV[0], $ARGV[1]) eq $ARGV[1] ? 'yes' : 'no'";
        let output = Command::new("perl").args(["-e", script, password, hash]).output().ok()?;
        Some(output.stdout == b"yes")
    }

    #[test]
    fn the_system_accepts_the_hashes_made_here() {
        for method in [Method::Yescrypt, Method::Sha512] {
            let made = hash("245EBE000001", method).unwrap();
            assert!(made.hash.starts_with(made.method.prefix().to_str().unwrap()));
            assert_eq!(verify("245EBE000001", &made.hash), Ok(true));
            assert_eq!(verify("245ebe000001", &made.hash), Ok(false));
            let Some(accepted) = perl_says("245EBE000001", &made.hash) else {
                skipped(Lack::Package, "no perl to judge the hash");
                continue;
            };
            assert!(accepted, "{method}: {}", *made.hash);
            assert_eq!(perl_says("245EBE000002", &made.hash), Some(false));
        }
    }

    #[test]
    fn each_hash_has_a_salt_of_its_own() {
        assert_ne!(*hash("a", Method::Sha512).unwrap().hash, *hash("a", Method::Sha512).unwrap().hash);
    }

    #[test]
    fn a_hash_made_by_openssl_is_understood() {
        let Ok(output) = Command::new("openssl").args(["passwd", "-6", "-salt", "twostepsalt", "wonderland"]).output() else {
            skipped(Lack::Package, "no openssl to make a hash");
            return;
        };
        let made = String::from_utf8(output.stdout).unwrap();
        assert_eq!(verify("wonderland", made.trim()), Ok(true));
        assert_eq!(verify("wonderlane", made.trim()), Ok(false));
    }

    #[test]
    fn a_field_without_a_hash_matches_nothing() {
        for field in ["", "!", "*", "!!", "!$6$salt$hash", "*0"] {
            assert_eq!(verify("", field), Ok(false), "{field:?}");
            assert_eq!(verify("a", field), Ok(false), "{field:?}");
        }
        assert_eq!(verify("a", "$nosuch$salt$hash"), Err(CryptError::Refused));
        assert_eq!(verify("a\0b", "$6$salt$hash"), Err(CryptError::Unfit));
    }

    #[test]
    fn a_library_without_gensalt_still_hashes() {
        let library = Library { gensalt_rn: None, ..Library::load(&[c"libcrypt.so.1", c"libcrypt.so.2"]).unwrap() };
        assert_eq!(library.setting(Method::Yescrypt), Ok(None));
        let setting = library.setting(Method::Sha512).unwrap().unwrap();
        let made = library.crypt("245EBE000001", &setting).unwrap();
        assert_eq!(verify("245EBE000001", &made), Ok(true));
    }

    #[test]
    fn a_missing_library_is_said() {
        let error = Library::load(&[c"libnosuchcrypt.so.9"]).err().unwrap();
        assert!(error.to_string().contains("libnosuchcrypt.so.9"), "{error}");
    }
}
