//! `twostep backup | restore`: carrying the engine's state out and in, and the last resort without a backup.
//!
//! The engine writes in its own folder alone, so the file is carried between there and anywhere else by this command, as root.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::admin;
use super::engine;
use super::output::{self, Failed, date};
use super::terminal;
use crate::client;
use crate::config::paths::Paths;
use crate::core::time::Wall;
use crate::proto::admin::{Backup, Backups, Error, StartedAnew};
use crate::proto::varlink::Empty;
use crate::sys::carry::{self, Fault, Folder};
use crate::sys::clock;

/// A large database on a slow disk.
const PATIENCE: Duration = Duration::from_secs(15 * 60);

/// How a database file begins (the SQLite file format, 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// What has to be typed before everything is given up.
const CONFIRMATION: &str = "start anew";

const LOST: &str = "\
Starting anew loses what the database held:
  - every account's second step: Security Codes, recovery codes, paired phones, trusted devices
  - whom it is enforced on, delegated roles, counts of wrong answers, and the audit trail
Until they set it up again, everybody is let in by the password alone. The damaged file is kept.";

fn call<R: DeserializeOwned>(dir: &Path, method: &str, parameters: &impl Serialize) -> Result<R, Failed> {
    let mut client = engine::connect(dir, PATIENCE)?;
    client.call(&format!("io.twostep.Admin.{method}"), parameters).map_err(explain)
}

fn explain(error: client::Error) -> Failed {
    if let client::Error::Service(failure) = &error
        && let Some(Error::NoSuchSubject { name }) = failure.typed()
    {
        return Failed::Refused(format!("there is neither a file nor a backup {name}: `twostep backup --list` shows the backups"));
    }
    admin::explain(error)
}

fn refused(fault: &Fault) -> Failed {
    Failed::Refused(match fault {
        Fault::Exists(_) => format!("{fault} (--force replaces it)"),
        Fault::Foreign(path) => format!("{} is no backup of twostep", path.display()),
        Fault::NotPlain(_) | Fault::NotAName(_) | Fault::Io(..) => fault.to_string(),
    })
}

fn backups(dir: &Path) -> Result<Folder, Failed> {
    let paths = Paths::behind(dir);
    Folder::open(&paths.engine(), Paths::BACKUPS).map_err(|fault| refused(&fault))
}

/// `twostep backup [FILE]`.
///
/// # Errors
/// See [`Failed`].
pub fn make(dir: &Path, file: Option<&Path>, force: bool, json: bool) -> Result<(), Failed> {
    if let Some(file) = file.filter(|file| !force && !file.is_dir() && file.symlink_metadata().is_ok()) {
        // Before a copy is made in vain.
        return Err(refused(&Fault::Exists(file.into())));
    }
    if let Some(folder) = file.map(folder_of).filter(|folder| !folder.is_dir()) {
        return Err(Failed::Refused(format!("{}: there is no such folder (is the disk mounted?)", folder.display())));
    }
    let made: Backup = call(dir, "Backup", &Empty {})?;
    let Some(file) = file else {
        return if json { output::json(&made) } else { output::line(made.name) };
    };
    let file = if file.is_dir() { carry::within(file, &made.name).map_err(|fault| refused(&fault))? } else { file.into() };
    let size = carry_out(dir, &made.name, &file, force)?;
    if json {
        return output::json(&json!({ "name": made.name, "file": file.to_string_lossy(), "size": size }));
    }
    output::line(format_args!("{}: a sealed copy of all second steps, {} KiB", file.display(), size.div_ceil(1024)))?;
    output::line(key(&Paths::behind(dir)))
}

/// A copy that does not come to where it is wanted is taken back: repeated, it would push out the good ones.
fn carry_out(dir: &Path, name: &str, file: &Path, force: bool) -> Result<u64, Failed> {
    let backups = backups(dir)?;
    backups.carry_out(name, file, force).map_err(|fault| {
        if let Err(left) = backups.remove(name) {
            output::say(format_args!("{left}; that copy is needed no longer"));
        }
        refused(&fault)
    })
}

fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// What else has to be kept.
fn key(paths: &Paths) -> String {
    let (key, credential) = (paths.state.join("key"), paths.state.join("key.cred"));
    let (file, bound) = if credential.exists() {
        (credential, " Where that is bound to this machine's TPM, no other machine opens it.")
    } else {
        (key, "")
    };
    format!(
        "It is worth nothing without the key that it was sealed with, {}: keep a copy of that too, apart from it.{bound}",
        file.display()
    )
}

/// `twostep backup --list`.
///
/// # Errors
/// See [`Failed`].
pub fn list(dir: &Path, json: bool) -> Result<(), Failed> {
    let found: Backups = call(dir, "ListBackups", &Empty {})?;
    for one in &found.backups {
        let line = format!("{}  {:<9} {:>7} KiB  {}", date(one.at), one.kind, one.size.div_ceil(1024), one.name);
        if json { output::json(one)? } else { output::line(line)? }
    }
    if found.backups.is_empty() && !json { output::line("no backups yet") } else { Ok(()) }
}

/// `twostep restore BACKUP`: a file, else a name.
///
/// # Errors
/// See [`Failed`]; the present state goes on then.
pub fn restore(dir: &Path, which: &Path, json: bool) -> Result<(), Failed> {
    if which.is_file() {
        // Only root may, and it says so better than the folder would.
        let _: Backups = call(dir, "ListBackups", &Empty {})?;
        let (folder, name) = (backups(dir)?, carried(clock::wall()));
        folder.carry_in(which, MAGIC, &name).map_err(|fault| refused(&fault))?;
        let restored: Result<Empty, Failed> = call(dir, "Restore", &json!({ "name": name }));
        // The engine has its own copy, or does not want it.
        if let Err(fault) = folder.remove(&name) {
            output::say(format_args!("{fault}; it is needed no longer"));
        }
        restored.map_err(|failed| in_words_of(which, &name, failed))?;
    } else {
        let name = which.to_str().ok_or_else(|| refused(&Fault::NotPlain(which.into())))?;
        let Empty {} = call(dir, "Restore", &json!({ "name": name }))?;
    }
    if json { output::json(&Empty {}) } else { output::line("restored; trusted devices are asked again") }
}

/// Whoever named a file hears of that one, not of the name that it had on its way.
fn in_words_of(file: &Path, carried: &str, failed: Failed) -> Failed {
    match failed {
        Failed::Refused(reason) => Failed::Refused(reason.replace(carried, &file.to_string_lossy())),
        other => other,
    }
}

/// A name for what is carried in: the engine takes its form for a backup, and the oldest of all.
fn carried(now: Wall) -> String {
    let stamp: String = date(now).to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("00000000-{stamp}-carried.db")
}

/// `twostep restore --anew`.
///
/// # Errors
/// See [`Failed`].
pub fn start_anew(dir: &Path, yes: bool, json: bool) -> Result<(), Failed> {
    let told: StartedAnew = call(dir, "StartAnew", &json!({ "dry_run": true }))?;
    output::say(&told.failure);
    std::iter::once("").chain(LOST.lines()).for_each(output::say);
    if !yes && terminal::ask(&format!("Type \"{CONFIRMATION}\" to go on"))?.trim() != CONFIRMATION {
        return Err(Failed::Refused("nothing was changed".into()));
    }
    let done: StartedAnew = call(dir, "StartAnew", &Empty {})?;
    if json { output::json(&done) } else { output::line("started anew: nobody has a second step now, and nothing is enforced") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_carried_in_has_the_name_of_a_backup() {
        assert_eq!(carried(Wall(1_795_517_326)), "00000000-20261124T104846Z-carried.db");
        assert_eq!(carried(Wall(-1)), "00000000-19700101T000000Z-carried.db");
    }

    #[test]
    fn the_key_is_named() {
        let state = tempfile::tempdir().unwrap();
        let paths = Paths { state: state.path().into(), ..Paths::system() };
        assert!(key(&paths).contains(&format!("{}/key:", state.path().display())) && !key(&paths).contains("TPM"));
        std::fs::write(state.path().join("key.cred"), "").unwrap();
        assert!(key(&paths).contains("key.cred") && key(&paths).contains("TPM"));
    }
}
