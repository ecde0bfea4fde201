//! Backups that nobody has to remember: at the supervisor's ticks, where `core::backup` finds one due.
//!
//! It wakes by no timer of its own, and what it does runs beside the logins, on a thread of the store's. A backup that fails is logged and audited,
//! and costs nobody a login.
//!
//! Not here: backups that an operator asks for (`admin`).

use std::sync::Arc;

use log::{info, warn};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use super::desk::Desk;
use super::store::{AuditEntry, BackupKind, Store, StoreError};
use crate::core::backup::Schedule;
use crate::core::time::Wall;

/// The event in the audit trail that tells of a backup.
pub const MADE: &str = "backup";

/// Makes backups until the engine ends.
pub async fn follow(desk: Arc<Desk>) {
    let mut keeper = Keeper::begin(&desk).await;
    loop {
        desk.root.ticked().await;
        keeper.tick(&desk).await;
    }
}

struct Keeper {
    schedule: Schedule,
    /// The newest entry of the audit trail: whatever is decided has one.
    audited: watch::Receiver<i64>,
}

impl Keeper {
    async fn begin(desk: &Desk) -> Self {
        let newest = desk.store.read(|view| view.audit_before(None, None, 1)).await;
        // Where the store does not work, nothing is decided either.
        let newest = newest.ok().and_then(|mut entries| entries.pop());
        let contained = newest.filter(|(_, entry)| entry.event == MADE).map_or(0, |(id, _)| id);
        Self { schedule: Schedule::begin((desk.moment)().boot, contained), audited: desk.store.audited() }
    }

    async fn tick(&mut self, desk: &Desk) {
        let (now, newest) = ((desk.moment)(), *self.audited.borrow());
        if !self.schedule.wants(now.boot, newest) {
            return;
        }
        let last = match last_made(desk.store.clone()).await {
            Ok(last) => last,
            Err(error) => return self.fail(desk, &error),
        };
        if !self.schedule.is_due(&now, last) {
            return;
        }
        match desk.store.backup(BackupKind::Automatic).await {
            Ok(name) => self.done(desk, name, newest).await,
            // An operator's own is being made, and is the newest in a moment.
            Err(StoreError::BackupRunning) => {}
            Err(error) => self.fail(desk, &error),
        }
    }

    async fn done(&mut self, desk: &Desk, name: String, newest: i64) {
        info!("an automatic backup was made: {name}");
        let entry = entry(desk, MADE, name);
        let noted = desk.store.write(move |tx| tx.audit(&entry)).await;
        if let Err(error) = noted {
            warn!("the backup could not be noted in the audit trail: {error}");
        }
        // With its own entry. Where others came between, there is more to back up.
        self.schedule.made((desk.moment)().boot, newest + 1);
    }

    fn fail(&mut self, desk: &Desk, error: &StoreError) {
        warn!("no automatic backup could be made: {error}");
        desk.note(entry(desk, "backup_failed", error.to_string()));
        self.schedule.failed((desk.moment)().boot);
    }
}

fn entry(desk: &Desk, event: &str, detail: String) -> AuditEntry {
    AuditEntry { at: (desk.moment)().wall, event: event.into(), by: "engine".into(), detail: Some(detail), ..AuditEntry::default() }
}

/// When the newest backup of a whole state was made, by the schedule or by an operator.
async fn last_made(store: Store) -> Result<Option<Wall>, StoreError> {
    let looked = spawn_blocking(move || store.backups()).await;
    let mut made = looked.map_err(|e| StoreError::Io(e.to_string()))??;
    made.retain(|backup| matches!(backup.kind, BackupKind::Automatic | BackupKind::Manual));
    Ok(made.pop().map(|backup| backup.at))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::io::AsyncWriteExt;
    use tokio::sync::mpsc;

    use super::super::desk::Parts;
    use super::super::directory::Directory;
    use super::super::mail::Mailer;
    use super::super::root::RootChannel;
    use super::super::store::{BackupFile, Options, SealingKey, Stored};
    use super::*;
    use crate::config::Config;
    use crate::core::clock::Moment;
    use crate::core::time::BootTime;
    use crate::proto::privileged::Channel;

    const MINUTE: u64 = 60;
    const DAY: u64 = 24 * 60 * MINUTE;

    /// Seconds since the boot; each test has a clock of its own.
    struct Clock(AtomicU64);

    impl Clock {
        fn moment(&self) -> Moment {
            let seconds = self.0.load(Ordering::Relaxed);
            Moment { wall: Wall(1_790_000_000 + seconds.cast_signed()), boot: BootTime(Duration::from_secs(seconds)), ..Moment::default() }
        }

        fn pass(&self, seconds: u64) {
            self.0.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    type Moments = (fn() -> Moment, fn() -> Wall);

    /// The desk, and root's end of its channel.
    async fn desk(folder: &Path, (moment, clock): Moments) -> (Arc<Desk>, tokio::net::UnixStream) {
        let store = Store::open(Options { backups: 2, ..Options::new(folder.into(), clock) }, SealingKey::from_slice(&[1; 32]));
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let (root, channel) = RootChannel::new(Channel::new(theirs).unwrap(), mpsc::channel(1).0);
        tokio::spawn(channel.run());
        let config = Config::default();
        let mailer = Mailer::new(&config.mail, None);
        let directory = Directory::new(folder.into(), false);
        let parts = Parts { store, directory, root, config, mailer, host: "NAS".into(), moment, owner: 0 };
        (Desk::open(parts).await, tokio::net::UnixStream::from_std(ours).unwrap())
    }

    async fn decide(desk: &Desk) {
        let entry = entry(desk, "enabled", String::new());
        let decided = desk.store.write(move |tx| {
            tx.save(&Stored::new(1001, "alice"))?;
            tx.audit(&entry)
        });
        decided.await.unwrap();
    }

    fn made(desk: &Desk) -> Vec<BackupFile> {
        desk.store.backups().unwrap().into_iter().filter(|backup| backup.kind == BackupKind::Automatic).collect()
    }

    async fn events(desk: &Desk) -> Vec<(String, String)> {
        let entries = desk.store.read(|view| view.audit_after(0, None, 100)).await.unwrap();
        entries.into_iter().map(|(_, entry)| (entry.event, entry.detail.unwrap_or_default())).collect()
    }

    #[tokio::test]
    async fn each_day_on_which_something_was_decided_ends_in_a_backup_and_the_last_ones_are_kept() {
        static CLOCK: Clock = Clock(AtomicU64::new(1000));
        let folder = tempfile::tempdir().unwrap();
        let (desk, _root) = desk(folder.path(), (|| CLOCK.moment(), || CLOCK.moment().wall)).await;
        let mut keeper = Keeper::begin(&desk).await;
        CLOCK.pass(DAY);
        keeper.tick(&desk).await;
        assert!(made(&desk).is_empty(), "nothing was decided yet");
        let mut newest = vec![];
        for day in 0..4 {
            decide(&desk).await;
            for _ in 0..3 {
                keeper.tick(&desk).await;
                CLOCK.pass(MINUTE);
            }
            let name = made(&desk).pop().unwrap().name;
            assert!(!newest.contains(&name), "day {day}");
            newest.push(name);
            CLOCK.pass(DAY);
            keeper.tick(&desk).await;
        }
        let kept: Vec<_> = made(&desk).into_iter().map(|backup| backup.name).collect();
        assert_eq!(kept, newest[2..], "one a day, and none for a backup's own entry");
        assert!(events(&desk).await.contains(&("backup".into(), newest[3].clone())));
    }

    #[tokio::test]
    async fn an_engine_that_is_started_again_makes_none_for_what_is_in_one_already() {
        static CLOCK: Clock = Clock(AtomicU64::new(1000));
        let clocks: Moments = (|| CLOCK.moment(), || CLOCK.moment().wall);
        let folder = tempfile::tempdir().unwrap();
        let (first, _root) = desk(folder.path(), clocks).await;
        let mut keeper = Keeper::begin(&first).await;
        decide(&first).await;
        keeper.tick(&first).await;
        assert!(made(&first).is_empty(), "a start has better things to do");
        CLOCK.pass(15 * MINUTE);
        keeper.tick(&first).await;
        assert_eq!(made(&first).len(), 1);
        first.store.close().await;

        let (again, _root) = desk(folder.path(), clocks).await;
        let mut keeper = Keeper::begin(&again).await;
        CLOCK.pass(2 * DAY);
        keeper.tick(&again).await;
        assert_eq!(made(&again).len(), 1, "nothing was decided since");
        decide(&again).await;
        again.store.backup(BackupKind::Manual).await.unwrap();
        keeper.tick(&again).await;
        assert_eq!(made(&again).len(), 1, "an operator has just made one");
        CLOCK.pass(DAY);
        keeper.tick(&again).await;
        assert_eq!(made(&again).len(), 2);
    }

    #[tokio::test]
    async fn a_backup_that_fails_is_noted_tried_again_later_and_stops_nothing() {
        static CLOCK: Clock = Clock(AtomicU64::new(1000));
        let folder = tempfile::tempdir().unwrap();
        let (desk, _root) = desk(folder.path(), (|| CLOCK.moment(), || CLOCK.moment().wall)).await;
        let mut keeper = Keeper::begin(&desk).await;
        let backups = folder.path().join("backups");
        std::fs::remove_dir(&backups).unwrap();
        std::fs::write(&backups, "in the way").unwrap();
        decide(&desk).await;
        CLOCK.pass(DAY);
        for _ in 0..5 {
            keeper.tick(&desk).await;
            CLOCK.pass(MINUTE);
        }
        decide(&desk).await;
        let failed = |events: &[(String, String)]| events.iter().filter(|(event, _)| event == "backup_failed").count();
        let noted = events(&desk).await;
        assert_eq!(failed(&noted), 1, "{noted:?}");
        std::fs::remove_file(&backups).unwrap();
        CLOCK.pass(DAY / 4);
        keeper.tick(&desk).await;
        assert_eq!((made(&desk).len(), failed(&events(&desk).await)), (1, 1));
    }

    #[tokio::test]
    async fn the_supervisors_ticks_are_the_ones_that_are_waited_for() {
        static CLOCK: Clock = Clock(AtomicU64::new(1000));
        let folder = tempfile::tempdir().unwrap();
        let (desk, mut root) = desk(folder.path(), (|| CLOCK.moment(), || CLOCK.moment().wall)).await;
        let mut keeper = Keeper::begin(&desk).await;
        decide(&desk).await;
        CLOCK.pass(DAY);
        root.write_all(b"{\"ping\":{}}\0").await.unwrap();
        desk.root.ticked().await;
        keeper.tick(&desk).await;
        assert_eq!(made(&desk).len(), 1);
    }
}
