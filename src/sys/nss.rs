//! Enumerating users and groups through NSS, which nix does not do.
//!
//! The C library keeps the place of an enumeration in one variable of the process, so one runs at a time; a second one is refused and does not
//! wait, since a directory that is away may keep the first one for long. Not here: look-ups by name or number (nix has them).

use std::ffi::{CStr, c_char};
use std::io;
use std::sync::{Mutex, TryLockError};

use nix::errno::Errno;

static TURN: Mutex<()> = Mutex::new(());

/// The names of up to `most` users, in the order in which NSS gives them.
///
/// # Errors
/// [`io::ErrorKind::ResourceBusy`] where another enumeration runs, and the C library's.
pub fn users(most: usize) -> io::Result<Vec<String>> {
    // SAFETY: the three functions take no argument; `enumerate` lets one thread at a time call them.
    let (begin, end) = (|| unsafe { libc::setpwent() }, || unsafe { libc::endpwent() });
    enumerate(most, begin, end, || {
        // SAFETY: the entry is the C library's and stays until the next call, which this thread alone makes.
        unsafe { libc::getpwent().as_ref() }.map(|entry| entry.pw_name)
    })
}

/// The names of up to `most` groups.
///
/// # Errors
/// As [`users`].
pub fn groups(most: usize) -> io::Result<Vec<String>> {
    // SAFETY: as in `users`.
    let (begin, end) = (|| unsafe { libc::setgrent() }, || unsafe { libc::endgrent() });
    enumerate(most, begin, end, || {
        // SAFETY: as in `users`.
        unsafe { libc::getgrent().as_ref() }.map(|entry| entry.gr_name)
    })
}

fn enumerate(most: usize, begin: impl Fn(), end: impl Fn(), next: impl Fn() -> Option<*mut c_char>) -> io::Result<Vec<String>> {
    let _turn = match TURN.try_lock() {
        Ok(turn) => turn,
        // The C library begins anew each time.
        Err(TryLockError::Poisoned(turn)) => turn.into_inner(),
        Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::ResourceBusy.into()),
    };
    begin();
    let mut names = Vec::new();
    let ended = loop {
        if names.len() >= most {
            break Errno::UnknownErrno;
        }
        Errno::clear();
        match next() {
            None => break Errno::last(),
            // SAFETY: NSS gives NUL-ended names; this one is copied before the next call.
            Some(name) if !name.is_null() => names.push(unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()),
            Some(_) => {}
        }
    };
    end();
    match ended {
        // ENOENT: how some modules say that there is no more.
        Errno::UnknownErrno | Errno::ENOENT => Ok(names),
        error => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_enumerates_root_and_no_more_than_asked_for() {
        assert!(users(10_000).unwrap().contains(&"root".into()));
        assert_eq!(users(1).unwrap().len(), 1);
        let turn = TURN.lock().unwrap();
        assert_eq!(groups(1).unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        drop(turn);
        assert!(groups(10_000).unwrap().contains(&"root".into()));
    }
}
