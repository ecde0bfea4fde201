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
use super::store::{AuditEntry, StoreError};

/// Does what `first` (from the start) and then the news want.
pub async fn follow(desk: Arc<Desk>, first: Option<String>, mut news: mpsc::Receiver<News>) {
    // A press before this start: what it changed in the store may be undone since by its account's own new setup, which stands.
    if let Some(account) = first {
        suspend(&desk, &account, false).await;
    } else {
        resume_all(&desk).await;
    }
    while let Some(news) = news.recv().await {
        match news {
            News::Recovered(account) => suspend(&desk, &account, true).await,
            News::RecoveryOver(_) => resume_all(&desk).await,
        }
    }
}

/// `anew`: a press has just fired. Else only an account that is not known as recovered yet is changed.
async fn suspend(desk: &Desk, account: &str, anew: bool) {
    let person = match desk.directory.by_name(account).await {
        Ok(Some(person)) => person,
        Ok(None) => return error!("{account} was brought back by the button, but there is no such user"),
        Err(e) => return error!("{account} was brought back by the button: {}", e.0),
    };
    match write(desk, person, anew).await {
        Ok(true) => info!("{account} was brought back by the button: second step off, enforcement suspended"),
        Ok(false) => {}
        Err(e) => error!("{account} was brought back by the button, but its second step is not off yet: {e}"),
    }
}

async fn write(desk: &Desk, person: Arc<Person>, anew: bool) -> Result<bool, StoreError> {
    let at = (desk.moment)().wall;
    desk.store
        .write(move |tx| {
            let mut stored = stored(tx, &person)?;
            if stored.account.recovered && !anew {
                return Ok(false);
            }
            stored.account.recover();
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
    let at = (desk.moment)().wall;
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
