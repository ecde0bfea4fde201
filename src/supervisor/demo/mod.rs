//! `twostepd demo`: the same two processes on a simulated board, in a scratch folder, with account files of its own.
//!
//! It presses its own button, shows what happens, and then stays up for the `twostep` command. The tour has a machine of its own beside it, so
//! that the demo answers from the start, and what somebody does in its folder stays, also over restarts. It needs no root and changes nothing outside
//! its folder; whoever runs it counts as root on its sockets.

mod scratch;
mod second_step;
mod tour;

use std::path::Path;
use std::process::ExitCode;

use tokio::sync::oneshot;

use self::scratch::Folder;
use super::password_worker::Judge;
use super::run::{self, Machine};
use crate::config::paths::Paths;

/// The demo, from laying out the folder to its exit code: 0, or 1 where a step of the tour did not do what it should.
#[must_use]
pub fn main(once: bool, dir: Option<&Path>) -> ExitCode {
    match demonstrate(once, dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("twostepd demo: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(once: bool, dir: Option<&Path>) -> Result<(), String> {
    let folder = scratch::lay(dir).map_err(|e| e.to_string())?;
    // Nobody has named it, so nobody looks for it later. A tour that broke off leaves its files for a look.
    let passing = (once && dir.is_none()).then(|| folder.path.clone());
    let paths = Paths::scratch(&folder.path);
    crate::log::init(&scratch::config(&paths).map_err(|e| e.to_string())?.log, "twostepd");
    let (ended, stop) = oneshot::channel();
    let (ready, go) = std::sync::mpsc::sync_channel::<()>(1);
    let guide = std::thread::spawn(move || {
        // Without a supervisor that got ready there is nothing to show.
        let told = go.recv().map_err(|_| String::from("the supervisor did not start")).and_then(|()| guide(&folder, once));
        if once || told.is_err() {
            // The supervisor may have ended by itself.
            let _ = ended.send(());
        }
        told
    });
    stay(paths, || ready.send(()).unwrap_or_default(), stop)?;
    guide.join().map_err(|_| String::from("the tour broke off"))??;
    passing.map_or(Ok(()), |passing| remove(&passing))
}

fn guide(folder: &Folder, once: bool) -> Result<(), String> {
    tour::say(format_args!("twostep demo: a NAS with a simulated reset button, in {}", folder.path.display()))?;
    show(&folder.path)?;
    if once { tour::say("The tour is over: every step did what it should.") } else { tour::say_how_to_go_on(folder) }
}

/// The tour, on a machine of its own beside the demo's, which it leaves as it is, also in a folder used before.
fn show(beside: &Path) -> Result<(), String> {
    let folder = nix::unistd::mkdtemp(&beside.join("tour.XXXXXX")).map_err(|e| format!("{}: {e}", beside.display()))?;
    scratch::lay(Some(&folder)).map_err(|e| e.to_string())?;
    let paths = Paths::scratch(&folder);
    let (ended, stop) = oneshot::channel();
    let (ready, go) = std::sync::mpsc::sync_channel::<()>(1);
    let guided = paths.clone();
    let guide = std::thread::spawn(move || {
        // Without a supervisor that got ready there is nothing to show.
        let told = go.recv().map_err(|_| String::from("the supervisor did not start")).and_then(|()| tour::run(&guided));
        // The supervisor may have ended by itself.
        let _ = ended.send(());
        told
    });
    // A tour that has broken off tells so itself.
    let begin = || ready.send(()).unwrap_or_default();
    run::block_on(machine(paths)?, begin, async { stop.await.unwrap_or_default() }).map_err(|e| e.to_string())?;
    guide.join().map_err(|_| String::from("the tour broke off"))??;
    remove(&folder)
}

/// The demo itself, until somebody stops it, or `stop` says so.
fn stay(paths: Paths, ready: impl FnOnce(), stop: oneshot::Receiver<()>) -> Result<(), String> {
    let sockets = [paths.socket(), paths.recovery_socket()];
    let ran = run::block_on(machine(paths)?, ready, async {
        if stop.await.is_err() {
            // A tour that went well: the demo stays up until somebody stops it.
            std::future::pending::<()>().await;
        }
    });
    ran.map_err(|e| e.to_string())?;
    for socket in sockets {
        // A stopped demo leaves its files for a look, but no dead sockets.
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}

fn machine(paths: Paths) -> Result<Machine, String> {
    Ok(Machine {
        config: scratch::config(&paths).map_err(|e| e.to_string())?,
        board: scratch::board().map_err(|e| e.to_string())?,
        // A demo with a wrong file does not start.
        fault: None,
        certain: true,
        judge: Judge::Shadow(paths.accounts.join("shadow")),
        user: None,
        owner: nix::unistd::getuid().as_raw(),
        runs_hooks: true,
        paths,
    })
}

fn remove(folder: &Path) -> Result<(), String> {
    std::fs::remove_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::client::{self, Client};
    use crate::proto::recovery::{self as wire, AccountState, Status};
    use crate::proto::varlink::Empty;

    /// What root's socket says while this machine runs.
    fn meanwhile<T: Send + 'static>(machine: Machine, root: impl FnOnce(&mut Client) -> T + Send + 'static) -> T {
        let socket = machine.paths.recovery_socket();
        let (ended, stop) = oneshot::channel();
        let (ready, go) = std::sync::mpsc::sync_channel::<()>(1);
        let somebody = std::thread::spawn(move || {
            go.recv().unwrap();
            let said = root(&mut Client::connect(&socket, Duration::from_secs(30)).unwrap());
            let _ = ended.send(());
            said
        });
        run::block_on(machine, || ready.send(()).unwrap(), async { stop.await.unwrap_or_default() }).unwrap();
        somebody.join().unwrap()
    }

    fn laid() -> (tempfile::TempDir, Paths) {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::scratch(&scratch::lay(Some(folder.path())).unwrap().path);
        (folder, paths)
    }

    fn press(root: &mut Client) {
        let _: serde_json::Value = root.call("io.twostep.Recovery.Press", &json!({ "hold_ms": 3200 })).unwrap();
    }

    fn disable(root: &mut Client) -> Result<Empty, client::Error> {
        root.call("io.twostep.Recovery.DisableAccount", &Empty {})
    }

    fn status(root: &mut Client) -> Status {
        root.call("io.twostep.Recovery.Status", &Empty {}).unwrap()
    }

    #[test]
    fn while_the_configuration_is_wrong_the_button_works_and_status_says_what_is_wrong() {
        let (_folder, paths) = laid();
        let fault = Some("twostepd.toml:2: unknown key \"hots\": did you mean \"host\"?".to_owned());
        let machine = Machine { fault: fault.clone(), ..machine(paths.clone()).unwrap() };
        let (status, engine) = meanwhile(machine, move |root| {
            press(root);
            (status(root), paths.socket().exists() || paths.engine().exists())
        });
        assert_eq!(status.account.state, AccountState::Recovered);
        assert_eq!(status.configuration, fault);
        assert!(!engine, "an engine ran, or was to run");
    }

    #[test]
    fn an_open_window_can_be_ended_whatever_the_configuration_says_by_now() {
        let (folder, paths) = laid();
        let by = |(config, fault, certain)| Machine { config, fault, certain, ..machine(paths.clone()).unwrap() };
        meanwhile(by((machine(paths.clone()).unwrap().config, Some("wrong elsewhere".into()), true)), press);
        // Refused by the rules; and by the daemon itself, were it ever to get past them.
        let file = folder.path().join("wrong.toml");
        std::fs::write(&file, "[log]\ntarget = \"stderr\"\n[recovery]\nshell = \"bash\"\n").unwrap();
        let left = || crate::supervisor::configuration(&file);
        let mut unchecked = left().0;
        (unchecked.recovery.shell, unchecked.button.enabled) = ("bash".into(), true);
        for configured in [(unchecked, None, true), left()] {
            let status = meanwhile(by(configured), status);
            assert_eq!((status.account.name.as_str(), status.account.state, status.armed), ("admin", AccountState::Recovered, false));
            assert!(status.configuration.is_some_and(|fault| fault.contains("recovery.shell")));
        }
        let (state, refused) = meanwhile(by(left()), |root| {
            let Empty {} = disable(root).unwrap();
            (status(root).account.state, disable(root).unwrap_err())
        });
        assert_eq!(state, AccountState::Disabled);
        let client::Error::Service(refused) = refused else { panic!("{refused}") };
        let Some(wire::Error::AccountsFailed { reason }) = refused.typed() else { panic!("{refused:?}") };
        assert!(
            reason.starts_with("it is in doubt which account is meant")
                && reason.ends_with("recovery.shell: give a full path, without \":\""),
            "{reason}"
        );
    }

    #[test]
    fn while_it_is_in_doubt_which_account_is_meant_none_is_turned_off() {
        let (folder, paths) = laid();
        let file = folder.path().join("wrong.toml");
        let shadow = || std::fs::read_to_string(paths.accounts.join("shadow")).unwrap();
        let theirs =
            shadow().replace("admin:!:20000:0:99999:7::1:", "admin:$6$salt$own:20000:0:99999:7:::").replace("root:*:", "root:$6$salt$own:");
        assert_eq!(theirs.matches("$own:").count(), 2);
        std::fs::write(paths.accounts.join("shadow"), &theirs).unwrap();
        for doubt in ["account = \"root\"", "acount = \"nasadmin\"", "account = nasadmin"] {
            std::fs::write(&file, format!("[log]\ntarget = \"stderr\"\n[recovery]\n{doubt}\n")).unwrap();
            let (config, fault, certain) = crate::supervisor::configuration(&file);
            let machine = Machine { config, fault, certain, ..machine(paths.clone()).unwrap() };
            let (status, refused) = meanwhile(machine, |root| (status(root), disable(root)));
            assert_eq!((status.account.name.as_str(), status.account.state), ("", AccountState::Missing), "{doubt}");
            assert!(refused.is_err_and(|refused| refused.to_string().contains("AccountsFailed")), "{doubt}");
            assert_eq!(shadow(), theirs, "{doubt}");
        }
    }
}
