//! Which ids the engine's user has.
//!
//! The local passwd tells them, which is quick and depends on nobody. Only where that does not have the user, NSS is asked: nsswitch.conf may name
//! a domain, and one that is away answers late or never. Both happen on threads, and NSS is waited for only as long as the caller's
//! [`Patience`] lasts: the loop has a button to watch.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, User};
use tokio::task::spawn_blocking;

use crate::core::shadow;
use crate::sys::atomic_file::{self, RealDisk};
use crate::sys::patience::Patience;

/// A user's number, and that of the primary group.
pub(super) type Ids = (Uid, Gid);

/// Those of the user with this name, by `passwd`, else by `nss`.
pub(super) async fn ids(
    name: &'static str,
    passwd: PathBuf,
    elsewhere: Patience,
    nss: impl FnOnce(&str) -> io::Result<Option<Ids>> + Send + 'static,
) -> io::Result<Ids> {
    let found = spawn_blocking(move || {
        if let Some(ids) = local(name, &passwd)? {
            return Ok(ids);
        }
        let asked = elsewhere.ask(&format!("user {name}"), move || nss(name));
        let silent = |why: String| missing(name, &passwd, &format!(", and no other source of nsswitch.conf can be asked: {why}"));
        let found = asked.map_err(|no_answer| silent(no_answer.to_string()))?.map_err(|e| silent(e.to_string()))?;
        found.ok_or_else(|| missing(name, &passwd, ", nor in another source of nsswitch.conf"))
    });
    found.await.unwrap_or_else(|e| Err(io::Error::other(e)))
}

/// What the C library finds.
pub(super) fn by_nss(name: &str) -> io::Result<Option<Ids>> {
    Ok(User::from_name(name)?.map(|user| (user.uid, user.gid)))
}

/// A system without passwd has its users elsewhere.
fn local(name: &str, passwd: &Path) -> io::Result<Option<Ids>> {
    match atomic_file::read(&RealDisk, passwd) {
        Ok(text) => Ok(shadow::passwd_entry(&text, name).map(|entry| (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid)))),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn missing(name: &str, passwd: &Path, elsewhere: &str) -> io::Error {
    let way_out = format!("make it with `systemd-sysusers` or `useradd --system {name}`");
    io::Error::other(format!("there is no user {name} in {}{elsewhere}. The way out: {way_out}", passwd.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// So long that a test which waits for it fails.
    const LONG: Duration = Duration::from_secs(60);

    fn ids_of(number: u32) -> Ids {
        (Uid::from_raw(number), Gid::from_raw(number + 1))
    }

    /// A folder with this passwd in it.
    fn system(passwd: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("passwd");
        fs::write(&file, passwd).unwrap();
        (folder, file)
    }

    #[tokio::test]
    async fn nobody_else_is_asked_for_a_local_user() {
        let (_folder, passwd) = system("root:x:0:0::/root:/bin/sh\ntwostep:x:990:991::/:/usr/sbin/nologin\n");
        let domain = |_: &str| panic!("a domain was asked");
        assert_eq!(ids("twostep", passwd, Patience::new(LONG), domain).await.unwrap(), ids_of(990));
    }

    #[tokio::test]
    async fn a_user_whom_the_files_lack_is_taken_from_elsewhere_while_the_loop_goes_on() {
        let (folder, passwd) = system("root:x:0:0::/root:/bin/sh\n");
        for passwd in [passwd, folder.path().join("none")] {
            let (press, presses) = mpsc::channel();
            // It answers once something else has happened on the loop.
            let domain = move |name: &str| {
                presses.recv().unwrap();
                Ok((name == "twostep").then_some(ids_of(70_000)))
            };
            let asked = ids("twostep", passwd, Patience::new(LONG), domain);
            let (found, ()) = tokio::join!(biased; asked, async { press.send(()).unwrap() });
            assert_eq!(found.unwrap(), ids_of(70_000));
        }
    }

    #[tokio::test]
    async fn a_domain_that_is_away_is_left_behind_and_the_way_out_is_said() {
        let (_folder, passwd) = system("");
        let (_answer, hangs) = mpsc::channel::<()>();
        let away = move |_: &str| {
            let _ = hangs.recv();
            Ok(None)
        };
        let refused = |refused: io::Result<Ids>| refused.unwrap_err().to_string();
        let silent = refused(ids("twostep", passwd.clone(), Patience::new(Duration::ZERO), away).await);
        assert!(silent.contains("it does not answer") && silent.contains("useradd --system twostep"), "{silent}");
        let nowhere = refused(ids("twostep", passwd.clone(), Patience::new(LONG), |_| Ok(None)).await);
        assert!(nowhere.starts_with(&format!("there is no user twostep in {}, nor in another", passwd.display())), "{nowhere}");
    }
}
