//! Carrying a file out of, or into, a folder that an unprivileged user writes to.
//!
//! Whoever owns the folder may put links, pipes or other people's files there, to have root read or write somewhere else. So the folder is opened
//! once, without following a link, and all that is done in it goes through that: no link is followed, and what is carried out is a plain file of the
//! folder's owner.
//!
//! What is carried out appears under its name whole or not at all, for its reader alone. Not here: what the files mean.
#![forbid(unsafe_code)]

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags, openat, renameat2};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

/// A folder that somebody else writes to.
#[derive(Debug)]
pub struct Folder {
    folder: OwnedFd,
    path: PathBuf,
    owner: (u32, u32),
}

/// Why a file was not carried.
#[derive(Debug)]
pub enum Fault {
    /// There is a file of that name, which was not to be replaced.
    Exists(PathBuf),
    /// More than a name: it would lead out of the folder.
    NotAName(String),
    /// A folder, a device, or in the other's folder a link or a file that is not the owner's.
    NotPlain(PathBuf),
    /// It does not begin as it should.
    Foreign(PathBuf),
    /// The kernel's reason.
    Io(PathBuf, io::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exists(path) => write!(f, "{} exists already", path.display()),
            Self::NotAName(name) => write!(f, "{name:?} is no file's name"),
            Self::NotPlain(path) => write!(f, "{} is no plain file, or not its folder's owner's", path.display()),
            Self::Foreign(path) => write!(f, "{} is no such file", path.display()),
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

impl std::error::Error for Fault {}

fn at(path: &Path) -> impl Fn(io::Error) -> Fault {
    move |error| Fault::Io(path.into(), error)
}

/// The place of a file of this name, which may be somebody else's word, in `folder`.
///
/// # Errors
/// [`Fault::NotAName`] where it would lie elsewhere.
pub fn within(folder: &Path, name: &str) -> Result<PathBuf, Fault> {
    plain_name(name).map(|()| folder.join(name))
}

impl Folder {
    /// The folder `name` in `parent`, which only root writes to, or its owner.
    ///
    /// # Errors
    /// Where it is missing, or a link.
    pub fn open(parent: &Path, name: &str) -> Result<Self, Fault> {
        let path = parent.join(name);
        let opened = File::open(parent).map_err(at(parent))?;
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let folder = File::from(openat(&opened, name, flags, Mode::empty()).map_err(|e| at(&path)(e.into()))?);
        let found = folder.metadata().map_err(at(&path))?;
        Ok(Self { owner: (found.uid(), found.gid()), folder: folder.into(), path })
    }

    /// Copies the file `name` to `to`, with mode 0600. Returns its length.
    ///
    /// # Errors
    /// [`Fault::Exists`] unless it may be replaced; nothing is left behind then, nor on any other error.
    pub fn carry_out(&self, name: &str, to: &Path, replace: bool) -> Result<u64, Fault> {
        plain_name(name)?;
        let from = self.path.join(name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.folder, name, flags, Mode::empty()).map_err(|e| at(&from)(e.into()))?);
        let found = file.metadata().map_err(at(&from))?;
        if !found.is_file() || found.uid() != self.owner.0 {
            return Err(Fault::NotPlain(from));
        }
        if to.symlink_metadata().is_ok_and(|there| !there.is_file()) {
            // A folder, a device, a link: not even where it may be replaced.
            return Err(Fault::NotPlain(to.into()));
        }
        let draft = draft(to)?;
        let carried = fill(&draft, file, found.len()).map_err(at(&draft)).and_then(|()| put(&draft, to, replace));
        if carried.is_err() {
            // It may be in its place already, or never have been made.
            let _ = fs::remove_file(&draft);
        }
        carried.map(|()| found.len())
    }

    /// Copies a file, which must begin with `magic`, into the folder as `name`, and gives it to the folder's owner.
    ///
    /// # Errors
    /// Where there is one of that name already, too; what was begun is removed.
    pub fn carry_in(&self, from: &Path, magic: &[u8], name: &str) -> Result<(), Fault> {
        plain_name(name)?;
        let mut file = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(from).map_err(at(from))?;
        let found = file.metadata().map_err(at(from))?;
        if !found.is_file() {
            return Err(Fault::NotPlain(from.into()));
        }
        let mut begin = Vec::new();
        file.by_ref().take(magic.len() as u64).read_to_end(&mut begin).map_err(at(from))?;
        if begin != magic {
            return Err(Fault::Foreign(from.into()));
        }
        file.rewind().map_err(at(from))?;
        let to = self.path.join(name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(&self.folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|e| at(&to)(e.into()))?;
        let carried = self.give(file.take(found.len()), made.into()).map_err(at(&to));
        if carried.is_err() {
            // The first error is the one that counts.
            let _ = self.remove(name);
        }
        carried
    }

    fn give(&self, mut from: impl Read, mut to: File) -> io::Result<()> {
        io::copy(&mut from, &mut to)?;
        let made = to.metadata()?;
        if (made.uid(), made.gid()) != self.owner {
            fchown(&to, Some(self.owner.0), Some(self.owner.1))?;
        }
        to.sync_all()
    }

    /// Removes a file of the folder.
    ///
    /// # Errors
    /// The kernel's.
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        plain_name(name)?;
        unlinkat(self.folder.as_fd(), name, UnlinkatFlags::NoRemoveDir).map_err(|e| at(&self.path.join(name))(e.into()))
    }
}

/// A name may come from whoever owns the folder.
fn plain_name(name: &str) -> Result<(), Fault> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(only)), None) if only == name => Ok(()),
        _ => Err(Fault::NotAName(name.to_owned())),
    }
}

/// The name under which a file is written before it is put in its place; what a power cut has left there goes.
fn draft(to: &Path) -> Result<PathBuf, Fault> {
    let name = to.file_name().ok_or_else(|| Fault::NotPlain(to.into()))?;
    let mut draft = std::ffi::OsString::from(".");
    draft.push(name);
    draft.push(".twostep");
    let draft = to.with_file_name(draft);
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Fault::Io(draft, error)),
        _ => Ok(draft),
    }
}

fn fill(draft: &Path, from: impl Read, length: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(draft)?;
    if io::copy(&mut from.take(length), &mut file)? != length {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it was cut short meanwhile"));
    }
    file.sync_all()
}

fn put(draft: &Path, to: &Path, replace: bool) -> Result<(), Fault> {
    if replace {
        fs::rename(draft, to).map_err(at(to))?;
    } else {
        put_new(draft, to)?;
    }
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(folder).and_then(|folder| folder.sync_all()) {
        // Some network and FUSE file systems sync no folders; the file is in its place.
        Err(error) if !matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EINVAL | Errno::EOPNOTSUPP)) => {
            Err(at(folder)(error))
        }
        _ => Ok(()),
    }
}

fn put_new(draft: &Path, to: &Path) -> Result<(), Fault> {
    match renameat2(AT_FDCWD, draft, AT_FDCWD, to, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EEXIST) => Err(Fault::Exists(to.into())),
        // A file system (NFS, FUSE) that can't do both in one step.
        Err(Errno::EINVAL | Errno::ENOSYS) if to.symlink_metadata().is_ok() => Err(Fault::Exists(to.into())),
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::rename(draft, to).map_err(at(to)),
        Err(error) => Err(Fault::Io(to.into(), error.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::skip::{Lack, skipped};

    #[test]
    fn a_name_that_leads_out_of_the_folder_is_refused() {
        let (scratch, theirs, folder) = scene();
        fs::create_dir_all(theirs.join("etc")).unwrap();
        fs::write(theirs.join("etc/job"), "x").unwrap();
        fs::write(scratch.path().join("job"), "x").unwrap();
        for name in ["../job", "etc/job", "/etc/passwd", "..", ".", "", "./etc", "etc/"] {
            assert!(matches!(folder.carry_out(name, &scratch.path().join("out"), true), Err(Fault::NotAName(_))), "{name:?}");
            assert!(matches!(folder.remove(name), Err(Fault::NotAName(_))), "{name:?}");
        }
        assert!(!scratch.path().join("out").exists());
    }

    /// A scratch folder with `theirs` in it, and an opened handle on that.
    fn scene() -> (tempfile::TempDir, PathBuf, Folder) {
        let scratch = tempfile::tempdir().unwrap();
        let theirs = scratch.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        let folder = Folder::open(scratch.path(), "theirs").unwrap();
        (scratch, theirs, folder)
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_carried_out_whole_for_its_reader_alone() {
        let (scratch, theirs, folder) = scene();
        fs::write(theirs.join("a"), vec![7; 300_000]).unwrap();
        let to = scratch.path().join("copy");
        assert_eq!(folder.carry_out("a", &to, false).unwrap(), 300_000);
        assert_eq!((fs::read(&to).unwrap(), to.metadata().unwrap().mode() & 0o777), (vec![7; 300_000], 0o600));
        assert_eq!(names(scratch.path()), ["copy", "theirs"]);
    }

    #[test]
    fn a_file_that_exists_is_replaced_only_on_request() {
        let (scratch, theirs, folder) = scene();
        fs::write(theirs.join("a"), "new").unwrap();
        let to = scratch.path().join("copy");
        fs::write(&to, "old").unwrap();
        assert!(matches!(folder.carry_out("a", &to, false), Err(Fault::Exists(_))));
        assert_eq!((fs::read_to_string(&to).unwrap().as_str(), names(scratch.path()).len()), ("old", 2));
        folder.carry_out("a", &to, true).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        symlink(&to, scratch.path().join("link")).unwrap();
        for never in ["link", "theirs"] {
            assert!(matches!(folder.carry_out("a", &scratch.path().join(never), true), Err(Fault::NotPlain(_))), "{never}");
        }
    }

    #[test]
    fn nothing_that_a_link_a_pipe_or_a_folder_leads_to_is_carried_out() {
        let (scratch, theirs, folder) = scene();
        let secret = scratch.path().join("secret");
        fs::write(&secret, "root's own").unwrap();
        symlink(&secret, theirs.join("link")).unwrap();
        fs::create_dir(theirs.join("folder")).unwrap();
        nix::unistd::mkfifo(&theirs.join("pipe"), Mode::S_IRWXU).unwrap();
        for name in ["link", "folder", "pipe", "missing"] {
            assert!(folder.carry_out(name, &scratch.path().join("copy"), true).is_err(), "{name}");
        }
        assert_eq!(names(scratch.path()), ["secret", "theirs"]);
        symlink(&theirs, scratch.path().join("elsewhere")).unwrap();
        assert!(Folder::open(scratch.path(), "elsewhere").is_err());
    }

    #[test]
    fn a_file_of_somebody_else_is_not_carried_out() {
        if !nix::unistd::geteuid().is_root() {
            skipped(Lack::Root, "only root can give a file away");
            return;
        }
        let (scratch, theirs, _) = scene();
        std::os::unix::fs::chown(&theirs, Some(12_345), Some(12_345)).unwrap();
        let folder = Folder::open(scratch.path(), "theirs").unwrap();
        fs::write(theirs.join("a"), "root's own").unwrap();
        assert!(matches!(folder.carry_out("a", &scratch.path().join("copy"), false), Err(Fault::NotPlain(_))));
    }

    #[test]
    fn what_is_carried_in_belongs_to_the_folders_owner() {
        let (scratch, theirs, _) = scene();
        let root = nix::unistd::geteuid().is_root();
        if root {
            std::os::unix::fs::chown(&theirs, Some(12_345), Some(23_456)).unwrap();
        }
        let folder = Folder::open(scratch.path(), "theirs").unwrap();
        let from = scratch.path().join("copy");
        fs::write(&from, "magic and more").unwrap();
        folder.carry_in(&from, b"magic", "a").unwrap();
        let made = theirs.join("a").metadata().unwrap();
        assert_eq!((fs::read_to_string(theirs.join("a")).unwrap().as_str(), made.mode() & 0o777), ("magic and more", 0o600));
        assert_eq!((made.uid(), made.gid()), (folder.owner.0, folder.owner.1));
        assert!(matches!(folder.carry_in(&from, b"magic", "a"), Err(Fault::Io(..))), "there is one");
        assert!(matches!(folder.carry_in(&from, b"other", "b"), Err(Fault::Foreign(_))));
        assert!(matches!(folder.carry_in(scratch.path(), b"", "c"), Err(Fault::NotPlain(_))));
        folder.remove("a").unwrap();
        assert!(names(&theirs).is_empty());
    }

    #[test]
    fn nothing_is_written_through_a_link_that_waits_in_the_folder() {
        let (scratch, theirs, folder) = scene();
        let (from, target) = (scratch.path().join("copy"), scratch.path().join("target"));
        fs::write(&from, "magic").unwrap();
        symlink(&target, theirs.join("a")).unwrap();
        assert!(folder.carry_in(&from, b"magic", "a").is_err());
        assert!(!target.exists() && theirs.join("a").symlink_metadata().unwrap().is_symlink(), "neither followed nor removed");
    }
}
