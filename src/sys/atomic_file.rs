//! A file replaced whole or not at all, and the system's lock on the account files.
//!
//! A replacement is written beside the file, under a fixed name of our own (`.shadow.twostep`), with the old file's owner, group, mode, label
//! and ACL; it is synced, renamed over the file, and the folder is synced. Whatever stops this in between, the file is either the old one or
//! the new one. What a power cut left under that name is thrown away by the next replacement. There is no backup like shadow-utils' `shadow-`:
//! it would keep a former hash on disk and a second copy of every other one, and the edit itself loses nothing of anybody else.
//!
//! A link is followed, as shadow-utils do, and the file behind it is replaced. Each step goes through [`Disk`], so that tests can stop at any.

use std::ffi::{CStr, CString};
use std::fmt;
use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};

use super::clock;

/// The largest file that is read or replaced here: 16 MiB.
pub const LARGEST: usize = 16 << 20;

/// One kind of step on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read a file.
    Read,
    /// Open the lock file.
    Lock,
    /// Create an empty file.
    Create,
    /// Write its content and sync it.
    Write,
    /// Put a file or folder in its place.
    Rename,
    /// Sync a folder.
    SyncFolder,
    /// Remove a file.
    Remove,
    /// Make a folder.
    MakeFolder,
}

/// The disk, one step at a time. The default methods are the real steps; a fake decides in [`Disk::before`] which of them happen.
pub trait Disk: Send + Sync {
    /// Called before each step; an error is the step's.
    ///
    /// # Errors
    /// Where the step must fail.
    fn before(&self, step: Step, path: &Path) -> io::Result<()>;
}

/// The disk as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn before(&self, _: Step, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A step that failed: what, where and why.
#[derive(Debug)]
pub struct FileError {
    /// The step.
    pub step: Step,
    /// The file or folder.
    pub path: PathBuf,
    /// The kernel's reason.
    pub source: io::Error,
}

impl FileError {
    /// Whether the disk (or a quota on it) is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the file does not exist.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// What an operator can do about it, where that is known.
    fn way_out(&self) -> Option<&'static str> {
        match self.source.raw_os_error() {
            Some(libc::EROFS) => Some("the file system is read-only; mount it writable"),
            Some(libc::ENOSPC | libc::EDQUOT) => Some("make room on this file system"),
            Some(libc::EPERM) if geteuid().is_root() => Some("it is immutable (chattr -i) or a security module forbids it"),
            Some(libc::EACCES | libc::EPERM) => Some("this needs root and no security module against it"),
            Some(libc::EBUSY) => Some("the file is a mount point of its own and cannot be replaced"),
            Some(libc::ELOOP) => Some("remove the link"),
            _ => None,
        }
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Read => "read",
            Step::Lock => "lock",
            Step::Create => "create",
            Step::Write => "write",
            Step::Rename => "replace",
            Step::SyncFolder => "sync",
            Step::Remove => "remove",
            Step::MakeFolder => "make",
        };
        write!(f, "cannot {step} {}: {}", self.path.display(), self.source)?;
        self.way_out().map_or(Ok(()), |way| write!(f, " ({way})"))
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

fn step<T>(disk: &dyn Disk, step: Step, path: &Path, act: impl FnOnce() -> io::Result<T>) -> Result<T, FileError> {
    disk.before(step, path).and_then(|()| act()).map_err(|source| FileError { step, path: path.into(), source })
}

/// Reads a regular file of at most [`LARGEST`] bytes; a link is followed.
///
/// # Errors
/// Where it is missing, larger, no regular file or unreadable.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, FileError> {
    step(disk, Step::Read, path, || {
        // Without O_NONBLOCK a fifo in the file's place would hold us here.
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut content = Vec::new();
        file.take(LARGEST as u64 + 1).read_to_end(&mut content)?;
        if content.len() > LARGEST { Err(io::Error::other("larger than 16 MiB")) } else { Ok(content) }
    })
}

/// Replaces the file by one with this content, durably. The old file's owner, group, mode, label and ACL are kept; a new file gets `mode`.
///
/// # Errors
/// At the step that failed. The file is then the old one; only where the last step, the folder's sync, failed it is the new one.
pub fn replace(disk: &dyn Disk, path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    let target = match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => step(disk, Step::Read, path, || fs::canonicalize(path))?,
        _ => path.to_path_buf(),
    };
    let old = fs::metadata(&target).ok();
    let draft = draft_of(&target);
    let drafted = write_draft(disk, &draft, content, old.as_ref().map(|old| (target.as_path(), old)), mode);
    let renamed = drafted.and_then(|()| step(disk, Step::Rename, &target, || fs::rename(&draft, &target)));
    if let Err(error) = renamed {
        // On a full disk the draft would keep the room that is missing.
        let _ = remove(disk, &draft);
        return Err(error);
    }
    sync_folder(disk, folder_of(&target))
}

fn write_draft(disk: &dyn Disk, draft: &Path, content: &[u8], like: Option<(&Path, &Metadata)>, mode: u32) -> Result<(), FileError> {
    let mut file = create(disk, draft)?;
    step(disk, Step::Write, draft, || {
        match like {
            Some((path, old)) => copy_attributes(path, old, &file)?,
            None => file.set_permissions(Permissions::from_mode(mode))?,
        }
        file.write_all(content)?;
        file.sync_all()
    })
}

fn create(disk: &dyn Disk, draft: &Path) -> Result<File, FileError> {
    remove(disk, draft)?;
    step(disk, Step::Create, draft, || {
        OpenOptions::new().write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(draft)
    })
}

/// Removes a file if it is there.
///
/// # Errors
/// Where it is there and stays.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    step(disk, Step::Remove, path, || match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    })
}

/// Renames a file and syncs its folder.
///
/// # Errors
/// At the step that failed.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), FileError> {
    step(disk, Step::Rename, to, || fs::rename(from, to))?;
    sync_folder(disk, folder_of(to))
}

fn sync_folder(disk: &dyn Disk, folder: &Path) -> Result<(), FileError> {
    step(disk, Step::SyncFolder, folder, || File::open(folder)?.sync_all())
}

/// Makes a folder of mode 0700 with this owner and group, complete or not at all. One that is there, or a link, is left alone.
///
/// Without root the owner stays.
///
/// # Errors
/// Where the parent is missing, or at the step that failed.
pub fn make_folder(disk: &dyn Disk, path: &Path, uid: u32, gid: u32) -> Result<(), FileError> {
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    let draft = draft_of(path);
    step(disk, Step::MakeFolder, path, || {
        match fs::DirBuilder::new().mode(0o700).create(&draft) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && fs::symlink_metadata(&draft)?.is_dir() => {}
            other => other?,
        }
        if geteuid().is_root() { std::os::unix::fs::lchown(&draft, Some(uid), Some(gid)) } else { Ok(()) }
    })?;
    rename(disk, &draft, path)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn draft_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".twostep");
    path.with_file_name(name)
}

/// What belongs to the file and not to its content. `security.ima` and `security.evm` are left out: they sign the old content.
const KEPT_ATTRIBUTES: [&CStr; 3] = [c"security.selinux", c"security.SMACK64", c"system.posix_acl_access"];

fn copy_attributes(path: &Path, old: &Metadata, new: &File) -> io::Result<()> {
    let fresh = new.metadata()?;
    let other = |wanted: u32, is: u32| (wanted != is && geteuid().is_root()).then_some(wanted);
    if let (uid, gid) = (other(old.uid(), fresh.uid()), other(old.gid(), fresh.gid()))
        && (uid.is_some() || gid.is_some())
    {
        fchown(new, uid, gid)?;
    }
    new.set_permissions(Permissions::from_mode(old.mode() & 0o7777))?;
    let path = CString::new(path.as_os_str().as_encoded_bytes())?;
    for name in KEPT_ATTRIBUTES {
        copy_attribute(&path, new, name)?;
    }
    Ok(())
}

fn copy_attribute(path: &CStr, new: &File, name: &CStr) -> io::Result<()> {
    let mut value = [0_u8; 4096];
    // SAFETY: path and name end in NUL, and the kernel writes at most `value.len()` bytes into `value`.
    let length = unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    let Ok(length) = usize::try_from(length) else {
        let error = io::Error::last_os_error();
        return if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) { Ok(()) } else { Err(error) };
    };
    let mut fresh = [0_u8; 4096];
    // SAFETY: the descriptor is open, name ends in NUL, and the kernel writes at most `fresh.len()` bytes into `fresh`.
    let same = unsafe { libc::fgetxattr(new.as_raw_fd(), name.as_ptr(), fresh.as_mut_ptr().cast(), fresh.len()) };
    if usize::try_from(same).is_ok_and(|same| fresh[..same] == value[..length]) {
        return Ok(());
    }
    // SAFETY: the descriptor is open, name ends in NUL, and the kernel reads `length` initialised bytes of `value`.
    let set = unsafe { libc::fsetxattr(new.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), length, 0) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The lock on the account files could not be had.
#[derive(Debug)]
pub enum LockError {
    /// Another tool kept it longer than we wait.
    Held {
        /// The lock file.
        path: PathBuf,
        /// The tool's process, where it is known.
        by: Option<i32>,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock file cannot be opened or locked.
    File(FileError),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { path, by, waited } => {
                write!(f, "{} has been locked by another tool for {} s", path.display(), waited.as_secs_f32())?;
                by.map_or(Ok(()), |pid| write!(f, " (process {pid})"))?;
                f.write_str("; end it or wait for it, then try again")
            }
            Self::File(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// The lock on the account files of one folder, held until dropped.
#[derive(Debug)]
pub struct AccountLock {
    _file: File,
}

/// Takes the system's lock on the account files in `folder`, as lckpwdf(3) does: a write lock on all of `.pwd.lock`. It is tied to the open
/// file and not to the process (F_OFD_SETLK), so that two threads of ours exclude each other too.
///
/// shadow-utils' own `passwd.lock` and its like, which only count while the process named in them lives, are waited for within the same
/// `wait`, then passed over with a warning: their tools keep `.pwd.lock` for as long as such a file stands, so one that is seen under this
/// lock is most probably left over, and its number in use again. Only a tool that takes no `.pwd.lock` (`--prefix`, another libc) is at work then.
///
/// # Errors
/// After `wait` without `.pwd.lock`, with the process that holds it; at once where that file cannot be opened or locked.
pub fn lock_accounts(disk: &dyn Disk, folder: &Path, wait: Duration) -> Result<AccountLock, LockError> {
    let path = folder.join(".pwd.lock");
    let file = open_lock(disk, &path).map_err(LockError::File)?;
    let failed = |source| LockError::File(FileError { step: Step::Lock, path: path.clone(), source });
    let start = clock::monotonic();
    let mut pause = Duration::from_millis(1);
    loop {
        let waited = clock::monotonic() - start;
        let is_over = waited >= wait;
        match try_lock(&file).map_err(failed)? {
            None => {
                let foreign = foreign_lock_files(folder);
                if foreign.is_empty() || is_over {
                    foreign.iter().for_each(|(path, pid)| warn_of_left_over(path, *pid));
                    return Ok(AccountLock { _file: file });
                }
                // Others may want this lock and not care about that file: it is given back while we wait.
                unlock(&file).map_err(failed)?;
            }
            Some(by) if is_over => return Err(LockError::Held { path, by, waited: wait }),
            Some(_) => {}
        }
        std::thread::sleep(pause.min(wait - waited));
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// Takes a lock of our own on `path`; none where somebody has it.
///
/// # Errors
/// Where the file cannot be opened or locked.
pub fn try_lock_file(disk: &dyn Disk, path: &Path) -> Result<Option<AccountLock>, FileError> {
    let file = open_lock(disk, path)?;
    let held = try_lock(&file).map_err(|source| FileError { step: Step::Lock, path: path.into(), source })?;
    Ok(held.is_none().then_some(AccountLock { _file: file }))
}

fn open_lock(disk: &dyn Disk, path: &Path) -> Result<File, FileError> {
    step(disk, Step::Lock, path, || {
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
    })
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    libc::flock { l_type: kind as libc::c_short, l_whence: libc::SEEK_SET as libc::c_short, l_start: 0, l_len: 0, l_pid: 0 }
}

/// None: the lock is ours. Else who has it, where the kernel knows: an OFD lock has no process.
fn try_lock(file: &File) -> io::Result<Option<Option<i32>>> {
    let mut wanted = whole_file(libc::F_WRLCK);
    match fcntl(file, FcntlArg::F_OFD_SETLK(&wanted)) {
        Ok(_) => Ok(None),
        Err(nix::Error::EAGAIN | nix::Error::EACCES) => {
            fcntl(file, FcntlArg::F_OFD_GETLK(&mut wanted))?;
            Ok(Some((wanted.l_pid > 0).then_some(wanted.l_pid)))
        }
        Err(error) => Err(error.into()),
    }
}

fn unlock(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)))?;
    Ok(())
}

/// The lock files of shadow-utils whose process lives. One with our own number is none: we make no such files.
fn foreign_lock_files(folder: &Path) -> Vec<(PathBuf, i32)> {
    let named = ["passwd.lock", "group.lock", "gshadow.lock", "shadow.lock"].into_iter().filter_map(|name| {
        let path = folder.join(name);
        let mut text = [0; 32];
        let length = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).ok()?.read(&mut text).ok()?;
        let pid = std::str::from_utf8(&text[..length]).ok()?.trim_matches(['\0', '\n', ' ']).parse().ok().filter(|&pid: &i32| pid > 0)?;
        let is_foreign = pid.unsigned_abs() != std::process::id();
        (is_foreign && matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(nix::Error::EPERM))).then_some((path, pid))
    });
    named.collect()
}

/// As long as such a file is there, useradd and its like refuse to work: the way out is told.
fn warn_of_left_over(path: &Path, pid: i32) {
    log::warn!(
        "{} is taken as left over: process {pid} lives, but does not hold .pwd.lock as useradd and its like do; remove it unless that is one of them",
        path.display()
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::{Lack, skipped};

    #[test]
    fn an_access_list_is_kept() {
        // Version 2; owner rw, user 1000 r, group r, mask r, others nothing (the kernel's posix_acl_xattr_entry, little endian).
        let entries: [(u16, u16, u32); 5] = [(1, 6, !0), (2, 4, 1000), (4, 4, !0), (16, 4, !0), (32, 0, !0)];
        let entry = |(tag, perm, id): (u16, u16, u32)| [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat();
        let list: Vec<u8> = 2_u32.to_le_bytes().into_iter().chain(entries.into_iter().flat_map(entry)).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shadow");
        fs::write(&path, "old").unwrap();
        let name = CString::new(path.to_str().unwrap()).unwrap();
        // SAFETY: both names end in NUL, and the kernel reads `list.len()` bytes of `list`.
        let set = unsafe { libc::setxattr(name.as_ptr(), KEPT_ATTRIBUTES[2].as_ptr(), list.as_ptr().cast(), list.len(), 0) };
        if set != 0 {
            skipped(Lack::FileSystem, "this file system keeps no access lists");
            return;
        }
        replace(&RealDisk, &path, b"new", 0o600).unwrap();
        let mut kept = [0_u8; 256];
        // SAFETY: both names end in NUL, and the kernel writes at most `kept.len()` bytes into `kept`.
        let length = unsafe { libc::getxattr(name.as_ptr(), KEPT_ATTRIBUTES[2].as_ptr(), kept.as_mut_ptr().cast(), kept.len()) };
        assert_eq!(&kept[..usize::try_from(length).unwrap()], list);
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn a_new_file_has_the_mode_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        replace(&RealDisk, &folder.path().join("pressed"), b"1", 0o644).unwrap();
        assert_eq!(fs::metadata(folder.path().join("pressed")).unwrap().mode() & 0o7777, 0o644);
    }
}
