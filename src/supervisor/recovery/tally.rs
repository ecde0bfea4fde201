//! pam_faillock's tally of the account that a press brings back: while it stands, the right password is refused.
//!
//! The folder is the usual one and, where /etc/security/faillock.conf names another, that one too. It may be anywhere, also on a server that does not
//! answer: so a thread of its own looks there, which a press waits for no longer than [`PATIENCE`]. What this does not do: read the
//! arguments of pam_faillock's lines in /etc/pam.d, or make anything writable: the unit says where the daemon may write.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::config::paths::Paths;
use crate::core::faillock;
use crate::supervisor::accounts::Warning;
use crate::sys::atomic_file::{self, Disk};

/// How long a press waits for the folders. A disk that has to spin up first takes longer, and gets its time: the thread goes on.
const PATIENCE: Duration = Duration::from_secs(2);

/// Removes the account's tallies; a warning for each that stays, as far as that is known in time.
pub(super) fn clear(disk: &Arc<dyn Disk>, paths: &Paths, account: &str) -> Vec<Warning> {
    let (tell, told) = mpsc::channel();
    let (disk, paths, account) = (Arc::clone(disk), paths.clone(), account.to_owned());
    let begun = thread::Builder::new().name("tally".into()).spawn(move || {
        let stay = remove(&*disk, &paths, &account);
        // Nobody waits any more.
        if let Err(mpsc::SendError(stay)) = tell.send(stay) {
            stay.iter().for_each(|warning| log::warn!("{warning}"));
        }
    });
    match begun.map(|_| told.recv_timeout(PATIENCE)) {
        Ok(Ok(stay)) => stay,
        Ok(Err(_)) => vec![Warning::SilentTally],
        Err(error) => vec![Warning::Other(format!("failed logins may still lock the account: {error}"))],
    }
}

fn remove(disk: &dyn Disk, paths: &Paths, account: &str) -> Vec<Warning> {
    let named = named(disk, paths);
    let folders = std::iter::once(&paths.faillock).chain(&named);
    folders.filter_map(|folder| atomic_file::remove(disk, &folder.join(account)).err().map(Warning::Tally)).collect()
}

/// The folder that the configuration of pam_faillock names, where that is another than the usual one.
fn named(disk: &dyn Disk, paths: &Paths) -> Option<PathBuf> {
    // An unreadable file is like none: the usual folder is seen to in any case.
    let conf = atomic_file::read(disk, &paths.faillock_conf()).ok()?;
    faillock::tally_folder(&String::from_utf8_lossy(&conf)).map(PathBuf::from).filter(|folder| *folder != paths.faillock)
}

/// What an operator should know at the start: a press could not clear a tally in the folder that the configuration of pam_faillock names.
#[must_use]
pub fn foresee(disk: &dyn Disk, paths: &Paths) -> Option<String> {
    let folder = named(disk, paths)?;
    let error = closed(&folder)?;
    Some(format!(
        "{}: {} ({}): a press could not let in an account that failed logins have locked. {WAY_OUT}",
        paths.faillock_conf().display(),
        folder.display(),
        error.desc()
    ))
}

/// The daemon may write where its unit says.
pub(in crate::supervisor) const WAY_OUT: &str = "Give twostepd.service that folder (systemctl edit twostepd: [Service] ReadWritePaths=…), or clear it by hand: faillock --user … --reset";

/// Why nothing can be removed from the folder; where it does not exist yet, from where it would be made.
fn closed(folder: &Path) -> Option<Errno> {
    folder.ancestors().find_map(|folder| match access(folder, AccessFlags::W_OK) {
        Ok(()) => Some(None),
        Err(Errno::ENOENT) => None,
        Err(error) => Some(Some(error)),
    })?
}
