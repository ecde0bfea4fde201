//! Presses and windows where something beneath does not answer.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc as blocking;
use std::{fs, io};

use super::*;
use crate::config::Config;
use crate::config::board::Board;
use crate::config::paths::Paths;
use crate::proto::secret::Secret;
use crate::supervisor::password_worker::Judge;
use crate::sys::atomic_file::{Disk, Step};

const PASSWORD: &str = "245EBE000001";

/// A NAS in a folder, with `admin` off.
fn nas() -> (tempfile::TempDir, Paths) {
    let folder = tempfile::tempdir().unwrap();
    let paths = Paths::scratch(folder.path());
    for folder in [&paths.accounts, &paths.config, &paths.state, &paths.run, &paths.faillock] {
        fs::create_dir_all(folder).unwrap();
    }
    fs::write(paths.accounts.join("passwd"), "admin:x:1001:1001::/home/admin:/bin/sh\n").unwrap();
    fs::write(paths.accounts.join("shadow"), "admin:!:19000:0:99999:7:::\n").unwrap();
    fs::write(paths.accounts.join("group"), "sudo:x:27:\nadmin:x:1001:\n").unwrap();
    (folder, paths)
}

/// Its station, on this disk, and what the engine is told.
fn station(paths: &Paths, disk: impl Disk + 'static, source: Source) -> (Arc<Station>, mpsc::UnboundedReceiver<Tell>) {
    let (config, board) = (Config::default(), Board::without_button());
    let (asked, disk) = (source.clone(), Arc::new(disk));
    let recovery = Recovery::open_on(disk, paths.clone(), config.recovery.clone(), Box::new(move || asked.find())).unwrap();
    let (events, _) = mpsc::channel(1);
    let buttons = Buttons::start(&board, &config.button, &paths.root, events);
    let judge = Judge::Shadow(paths.accounts.join("shadow"));
    let (paths, owner, runs_hooks) = (paths.clone(), nix::unistd::getuid().as_raw(), true);
    let machine = Machine { paths, config, fault: None, certain: true, board, judge, user: None, owner, runs_hooks };
    let (tell, told) = mpsc::unbounded_channel();
    (Station::new(machine, buttons, recovery, source, tell), told)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), future).await.expect("it takes no minute") })
}

/// Until every press is carried out.
async fn done(station: &Station) {
    let _ = station.under_way.subscribe().wait_for(|count| *count == 0).await;
}

fn sticker() -> Result<DefaultPassword, NoStableAddress> {
    Ok(DefaultPassword { password: Secret::new(PASSWORD.into()), interface: None, origin: "test".into() })
}

/// A source that hangs until the sender is dropped.
fn hanging() -> (Source, blocking::Sender<()>) {
    let (release, hangs) = blocking::channel::<()>();
    let hangs = Mutex::new(hangs);
    let find = move || {
        let _ = hangs.lock().unwrap().recv();
        sticker()
    };
    (Source::asking(find, "/mnt/secret: it does not answer".into(), [Duration::from_secs(1); 2]), release)
}

#[test]
fn a_source_that_hangs_refuses_the_press_and_keeps_nobody_from_turning_the_account_off() {
    block_on(async {
        let (_folder, paths) = nas();
        let (source, release) = hanging();
        let (station, mut told) = station(&paths, RealDisk, source);
        station.carry_out("reset", None);
        done(&station).await;
        let (_, last) = station.account().await.unwrap();
        let last = last.unwrap();
        assert!(last.failed && last.outcome.ends_with("there is no default password: /mnt/secret: it does not answer"), "{last:?}");
        assert!(station.default_password().await.unwrap_err().reason.contains("does not answer"));
        station.turn_off("somebody".into()).await.unwrap();
        assert!(told.try_recv().is_err());
        // Once it is back, a press is one again.
        drop(release);
        let is_back = async { while station.default_password().await.is_err() {} };
        is_back.await;
        station.carry_out("reset", None);
        done(&station).await;
        assert!(matches!(told.recv().await, Some(Tell::Recovered(_))));
    });
}

/// A disk that is well, then fails for the account files once shadow is replaced, and is well again.
#[derive(Clone, Default)]
struct Ailing(Arc<AtomicU8>);

const FALLS_ILL: u8 = 1;
const ILL: u8 = 2;
const WELL: u8 = 0;

impl Ailing {
    fn becomes(&self, state: u8) {
        self.0.store(state, Ordering::Relaxed);
    }
}

impl Disk for Ailing {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        if !(path.ends_with("etc") || path.parent().is_some_and(|folder| folder.ends_with("etc"))) {
            return Ok(());
        }
        let on = || fs::read_to_string(path.join("shadow")).is_ok_and(|shadow| shadow.contains("admin:$"));
        if self.0.load(Ordering::Relaxed) == FALLS_ILL && step == Step::SyncFolder && on() {
            self.becomes(ILL);
        }
        if self.0.load(Ordering::Relaxed) == ILL { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

#[test]
fn a_press_in_doubt_is_told_to_the_engine_once_it_is_known_to_have_brought_the_account_back() {
    block_on(async {
        let (_folder, paths) = nas();
        let disk = Ailing::default();
        let (station, mut told) = station(&paths, disk.clone(), Source::asking(sticker, String::new(), [Duration::from_secs(60); 2]));
        station.account().await.unwrap();
        disk.becomes(FALLS_ILL);
        station.carry_out("reset", None);
        done(&station).await;
        let last = station.seen().clone().unwrap().1.unwrap();
        assert!(last.failed && last.outcome.starts_with("in doubt: "), "{last:?}");
        assert!(told.try_recv().is_err() && station.window().borrow().is_some());
        disk.becomes(WELL);
        station.end_window();
        assert!(matches!(told.recv().await, Some(Tell::Recovered(Recovered { press: 1, .. }))));
    });
}

/// A disk that does not give the record of the last press, until it is well again.
#[derive(Clone, Default)]
struct WithoutRecord(Arc<AtomicU8>);

impl Disk for WithoutRecord {
    fn before(&self, step: Step, path: &Path) -> io::Result<()> {
        let ill = self.0.load(Ordering::Relaxed) == ILL && step == Step::Read && path.ends_with("recovery.json");
        if ill { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
    }
}

#[test]
fn a_record_that_can_be_read_late_is_told_to_the_engine_late() {
    block_on(async {
        let (_folder, paths) = nas();
        let source = || Source::asking(sticker, String::new(), [Duration::from_secs(60); 2]);
        let (before, mut told) = station(&paths, RealDisk, source());
        before.carry_out("reset", None);
        done(&before).await;
        assert!(matches!(told.recv().await, Some(Tell::Recovered(_))));
        let disk = WithoutRecord(Arc::new(AtomicU8::new(ILL)));
        let (station, mut told) = station(&paths, disk.clone(), source());
        station.start();
        done(&station).await;
        assert!(told.try_recv().is_err() && station.window().borrow().is_some(), "looked at again");
        disk.0.store(WELL, Ordering::Relaxed);
        station.end_window();
        assert!(matches!(told.recv().await, Some(Tell::Recovered(Recovered { press: 1, .. }))));
    });
}
