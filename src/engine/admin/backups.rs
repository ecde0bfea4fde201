//! Backups that root asks for, putting one back, and the last resort without one.
//!
//! Not here: those on a schedule (`engine::backups`), carrying a file in and out (the CLI, as root).

use std::sync::Arc;

use log::{info, warn};
use tokio::task::spawn_blocking;

use super::super::backups::MADE;
use super::super::desk::Desk;
use super::super::login::phone::reconsider_all;
use super::super::recovered;
use super::super::store::{BackupKind, Failure, StoreError};
use super::Asker;
use crate::proto::admin::{Backup, BackupFile, Backups, Error, StartedAnew};

pub(super) async fn make(desk: Arc<Desk>, asker: Asker) -> Result<Backup, Error> {
    let name = desk.store.backup(BackupKind::Manual).await?;
    let entry = asker.entry(MADE, None, Some(name.clone()));
    desk.store.write(move |tx| tx.audit(&entry)).await?;
    Ok(Backup { name })
}

pub(super) async fn list(desk: &Desk) -> Result<Backups, Error> {
    let store = desk.store.clone();
    let found = spawn_blocking(move || store.backups()).await.map_err(|e| Error::StorageFailed { reason: e.to_string() })??;
    let told = found.into_iter().map(|one| BackupFile { kind: one.kind.as_str().into(), name: one.name, at: one.at, size: one.size });
    Ok(Backups { backups: told.collect() })
}

pub(super) async fn restore(desk: Arc<Desk>, asker: Asker, name: String) -> Result<(), Error> {
    let standing = desk.recovered().clone();
    let report = desk.store.restore(name.clone(), standing).await?;
    desk.believed.forget();
    reconsider_all(&desk).await;
    let mut detail = format!("{name}; {} accounts kept as they are now", report.kept_accounts);
    if !report.complete {
        detail.push_str("; the former database could not be read whole");
    }
    if let Some(kept) = report.kept {
        detail.push_str(&format!("; the former state is {kept}"));
    }
    info!(target: "audit", "restored {detail} by={:?}", asker.by());
    let entry = asker.entry("restored", None, Some(detail));
    desk.store.write(move |tx| tx.audit(&entry)).await?;
    recovered::again(&desk).await;
    Ok(())
}

/// Only for a database that was set aside. A wrong key or a newer database has its own way out, and nothing of it is given up here.
pub(super) async fn start_anew(desk: Arc<Desk>, asker: Asker, dry_run: bool) -> Result<StartedAnew, Error> {
    // What is only unavailable may work by now.
    let Err(failed) = desk.store.read(|_| Ok(())).await else { return Err(Error::DatabaseWorks {}) };
    let StoreError::Failed(Failure::SetAside { backup, .. }) = &failed else { return Err(failed.into()) };
    let told = StartedAnew { failure: failed.to_string(), backup: backup.clone() };
    if !dry_run {
        desk.store.start_anew().await?;
        desk.believed.forget();
        reconsider_all(&desk).await;
        warn!(target: "audit", "started anew by={:?} after: {failed}", asker.by());
        let entry = asker.entry("started_anew", None, Some(told.failure.clone()));
        desk.store.write(move |tx| tx.audit(&entry)).await?;
        recovered::again(&desk).await;
    }
    Ok(told)
}
