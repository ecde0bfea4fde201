//! The supervisor's notice that the button brought an account back (B6): `recovered` in the folder with the sockets.
//!
//! It lets that account in where the engine gives no decision, so it is believed only where nobody but root can have written it, and only
//! until the window it names is over.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use serde::Deserialize;
use twostep::core::time::BootTime;

/// The largest notice that is read.
const LARGEST: u64 = 4096;

#[derive(Deserialize)]
struct Notice {
    account: String,
    until_boot_ms: u64,
}

/// Whether the notice in `dir` speaks of `user` at this moment. `owner` is whose files are believed: root, or in a trial whoever runs it.
pub fn admits(dir: &Path, owner: u32, user: &str, now: BootTime) -> bool {
    notice(dir, owner).is_some_and(|notice| notice.account == user && now.0 < Duration::from_millis(notice.until_boot_ms))
}

fn notice(dir: &Path, owner: u32) -> Option<Notice> {
    let none = Mode::empty();
    let folder = open(dir, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, none).ok()?;
    let folder = File::from(folder);
    let about = folder.metadata().ok()?;
    if about.uid() != owner || about.mode() & 0o022 != 0 {
        return None;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(&folder, "recovered", flags, none).ok()?);
    let about = file.metadata().ok()?;
    if !about.is_file() || about.uid() != owner || about.mode() & 0o077 != 0 || about.len() > LARGEST {
        return None;
    }
    let mut text = Vec::new();
    file.take(LARGEST).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const NOW: BootTime = BootTime(Duration::from_secs(100));

    /// A folder as the supervisor makes it, with a notice of admin that holds for a second more.
    fn published() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("recovered");
        fs::write(&file, r#"{"account":"admin","until_boot_ms":101000}"#).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        folder
    }

    fn me() -> u32 {
        nix::unistd::geteuid().as_raw()
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn it_admits_its_account_until_the_window_is_over() {
        let folder = published();
        assert!(admits(folder.path(), me(), "admin", NOW));
        assert!(!admits(folder.path(), me(), "alice", NOW));
        assert!(!admits(folder.path(), me(), "Admin", NOW));
        assert!(!admits(folder.path(), me(), "admin", BootTime(Duration::from_secs(101))));
    }

    #[test]
    fn without_a_notice_nobody_is_admitted() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!admits(folder.path(), me(), "admin", NOW));
        assert!(!admits(&folder.path().join("nowhere"), me(), "admin", NOW));
    }

    #[test]
    fn what_somebody_else_can_have_written_is_not_believed() {
        let folder = published();
        let file = folder.path().join("recovered");
        for bits in [0o620, 0o602, 0o640] {
            mode(&file, bits);
            assert!(!admits(folder.path(), me(), "admin", NOW), "{bits:o}");
        }
        mode(&file, 0o600);
        for bits in [0o775, 0o757, 0o777] {
            mode(folder.path(), bits);
            assert!(!admits(folder.path(), me(), "admin", NOW), "{bits:o}");
        }
        mode(folder.path(), 0o755);
        assert!(!admits(folder.path(), me() + 1, "admin", NOW), "another owner");
        assert!(admits(folder.path(), me(), "admin", NOW));
    }

    #[test]
    fn a_link_or_a_pipe_is_no_notice() {
        let folder = published();
        let file = folder.path().join("recovered");
        fs::rename(&file, folder.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &file).unwrap();
        assert!(!admits(folder.path(), me(), "admin", NOW));
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, Mode::S_IRUSR).unwrap();
        assert!(!admits(folder.path(), me(), "admin", NOW));
        let link = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(published().path(), link.path().join("run")).unwrap();
        assert!(!admits(&link.path().join("run"), me(), "admin", NOW));
    }

    #[test]
    fn rubbish_is_no_notice() {
        let folder = published();
        let file = folder.path().join("recovered");
        let long = format!(r#"{{"account":"admin","until_boot_ms":101000{}}}"#, " ".repeat(5000));
        for text in ["", "admin", "{}", r#"{"account":"admin"}"#, r#"{"account":"admin","until_boot_ms":-1}"#, "[1", &long] {
            fs::write(&file, text).unwrap();
            assert!(!admits(folder.path(), me(), "admin", NOW), "{text:.20}");
        }
    }
}
