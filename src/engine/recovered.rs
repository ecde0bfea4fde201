//! The recovered account (Q28): its second step off, its enforcement suspended, its counters cleared, until it is off again.
//!
//! The supervisor tells it as it happens, and again at each start of the engine: what is right already changes nothing. Where the store fails,
//! the press still lets in, since PAM sees the supervisor's own notice; it is tried again with the next news or start.

use std::sync::Arc;

use log::{error, info};
use tokio::sync::mpsc;

use super::desk::{Desk, stored};
use super::directory::Person;
use super::root::News;
use super::store::{AuditEntry, Lookup, StoreError};
use crate::proto::privileged::Recovered;
use crate::sys::clock;

/// What was told at the start. Awaited before the first login is answered, so that a press while no engine ran counts from the first one on.
pub async fn begin(desk: &Desk, told: Option<Recovered>) {
    *desk.recovered() = told;
    again(desk).await;
}

/// Does what the news want.
pub async fn follow(desk: Arc<Desk>, mut news: mpsc::Receiver<News>) {
    while let Some(news) = news.recv().await {
        *desk.recovered() = match news {
            News::Recovered(recovered) => Some(recovered),
            News::RecoveryOver(_) => None,
        };
        again(&desk).await;
    }
}

/// Puts right what the supervisor told last; also after a restore, which may have brought an older state back.
pub async fn again(desk: &Desk) {
    let recovered = desk.recovered().clone();
    match recovered {
        Some(recovered) => suspend(desk, &recovered).await,
        None => resume_all(desk).await,
    }
}

async fn suspend(desk: &Desk, Recovered { account, press }: &Recovered) {
    let person = match desk.directory.by_name(account).await {
        Ok(Some(person)) => person,
        Ok(None) => return error!("{account} was brought back by the button, but there is no such user"),
        Err(e) => return error!("{account} was brought back by the button: {}", e.0),
    };
    match write(desk, person, *press).await {
        Ok(true) => info!("{account} was brought back by the button: second step off, enforcement suspended"),
        Ok(false) => {}
        Err(e) => error!("{account} was brought back by the button, but its second step is not off yet: {e}"),
    }
}

/// One press changes the account once: a second step that its owner has set up since then stands.
async fn write(desk: &Desk, person: Arc<Person>, press: i64) -> Result<bool, StoreError> {
    let at = clock::wall();
    desk.store
        .write(move |tx| {
            // The account may have been missing, and made anew under another number.
            while let Lookup::Other(gone) = tx.account(person.uid, &person.name)? {
                tx.forget(gone.uid)?;
            }
            let mut stored = stored(tx, &person)?;
            if stored.press == Some(press) {
                return Ok(false);
            }
            stored.account.recover();
            stored.press = Some(press);
            tx.save(&stored)?;
            tx.audit(&AuditEntry {
                at,
                event: "recovered".into(),
                user: Some(person.name.clone()),
                by: "button".into(),
                ..AuditEntry::default()
            })?;
            Ok(true)
        })
        .await
}

/// Enforcement counts again for whoever was recovered.
async fn resume_all(desk: &Desk) {
    let at = clock::wall();
    let resumed = desk.store.write(move |tx| {
        for mut stored in tx.recovered_accounts()? {
            stored.account.recovered = false;
            tx.save(&stored)?;
            let entry =
                AuditEntry { at, event: "recovery_over".into(), user: Some(stored.name), by: "supervisor".into(), ..AuditEntry::default() };
            tx.audit(&entry)?;
        }
        Ok(())
    });
    if let Err(e) = resumed.await {
        error!("the end of the recovery is not noted yet: {e}");
    }
}
