//! The key that seals the engine's secrets, obtained at each start of the engine and handed over to it.
//!
//! Either `key.cred`, a credential that `systemd-creds` opens (bound to the TPM where there is one), or `key`, a file that is made at the first
//! start. It is the supervisor's own work and not the unit's, so that a TPM that fails costs the engine and never the button. A database whose key
//! is gone is left as it is: no new key is made beside it.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::geteuid;
use zeroize::Zeroizing;

use crate::config::paths::Paths;
use crate::proto::secret::Secret;
use crate::sys::atomic_file::{self, RealDisk};
use crate::sys::process::output_within;

/// The key's length in hexadecimal digits: 256 bits.
const DIGITS: usize = 64;

/// How long systemd-creds may take: a TPM is slow.
const OPENING: Duration = Duration::from_secs(20);

/// The key, made at the very first start.
///
/// # Errors
/// Where there is none for a database that exists, or it can't be read: for people, and nothing of the key is in it.
pub fn obtain(paths: &Paths) -> Result<Secret, String> {
    let (file, credential) = (paths.state.join("key"), paths.state.join("key.cred"));
    if credential.exists() {
        return open_credential(&credential);
    }
    match fs::symlink_metadata(&file) {
        Ok(found) => read(&file, &found),
        Err(e) if e.kind() == io::ErrorKind::NotFound => make(&file, &paths.database()),
        Err(e) => Err(named(&file, e)),
    }
}

fn read(file: &Path, found: &fs::Metadata) -> Result<Secret, String> {
    let safe = found.is_file() && found.mode() & 0o077 == 0 && found.uid() == geteuid().as_raw();
    if !safe {
        return Err(format!("{}: not used, it must be a file of root's with mode 0600", file.display()));
    }
    let mut text = Zeroizing::new(String::new());
    let opened = fs::File::open(file).map_err(|e| named(file, e))?;
    opened.take(256).read_to_string(&mut text).map_err(|e| named(file, e))?;
    checked(&text).ok_or_else(|| format!("{}: not {DIGITS} hexadecimal digits; put the right key back", file.display()))
}

fn make(file: &Path, database: &Path) -> Result<Secret, String> {
    if database.exists() {
        return Err(format!("{} is missing, and {} was sealed with it: put it back from your backup", file.display(), database.display()));
    }
    let mut random = Zeroizing::new([0_u8; DIGITS / 2]);
    getrandom::fill(&mut *random).map_err(|e| format!("no random numbers: {e}"))?;
    let text = Zeroizing::new(random.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    atomic_file::replace(&RealDisk, file, text.as_bytes(), 0o600).map_err(|e| e.to_string())?;
    Ok(Secret::new(text.to_string()))
}

fn open_credential(credential: &PathBuf) -> Result<Secret, String> {
    let mut command = Command::new("systemd-creds");
    command.args(["decrypt", "--name=twostep-key"]).arg(credential).arg("-");
    let output = output_within(command, OPENING).map_err(|e| format!("systemd-creds: {e}"))?;
    let text = Zeroizing::new(output.stdout);
    let key = std::str::from_utf8(&text).ok().filter(|_| output.status.success()).and_then(checked);
    key.ok_or_else(|| format!("{}: systemd-creds does not open it ({})", credential.display(), output.status))
}

fn checked(text: &str) -> Option<Secret> {
    let text = text.trim_end();
    (text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Secret::new(text.into()))
}

fn named(file: &Path, e: io::Error) -> String {
    format!("{}: {e}", file.display())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn scratch() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::scratch(folder.path());
        fs::create_dir_all(&paths.state).unwrap();
        (folder, paths)
    }

    #[test]
    fn the_first_start_makes_a_key_and_the_next_finds_it() {
        let (_folder, paths) = scratch();
        let key = obtain(&paths).unwrap();
        assert_eq!(key.expose().len(), DIGITS);
        assert_eq!(obtain(&paths), Ok(key));
        let mode = fs::metadata(paths.state.join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_database_without_its_key_gets_no_new_one() {
        let (_folder, paths) = scratch();
        fs::create_dir_all(paths.database().parent().unwrap()).unwrap();
        fs::write(paths.database(), "sealed").unwrap();
        let error = obtain(&paths).unwrap_err();
        assert!(error.contains("put it back"), "{error}");
        assert!(!paths.state.join("key").exists());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_none_is_refused() {
        let (_folder, paths) = scratch();
        let file = paths.state.join("key");
        obtain(&paths).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(obtain(&paths).unwrap_err().contains("0600"));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "short").unwrap();
        assert!(obtain(&paths).unwrap_err().contains("hexadecimal"));
    }
}
