//! The recovered account (Q28): its second step off, its enforcement suspended, its counters cleared, until it is off again.
//!
//! The supervisor tells it as it happens, and again at each start of the engine: what is right already changes nothing. Where the store fails,
//! the press still lets in, since each decision counts it, and PAM sees the supervisor's own notice; it is tried again until it is done.

use std::sync::Arc;
use std::time::Duration;

use log::{error, info};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::desk::{Desk, Trouble, namesake, stored};
use super::directory::Person;
use super::login::phone::reconsider_all;
use super::root::News;
use super::store::{AuditEntry, Lookup, StoreError, Tx};
use crate::core::time::Wall;
use crate::proto::privileged::Recovered;

/// After a failure it is tried again this much later, then twice that, and so on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What was told at the start. Awaited before the first login is answered, so that a press while no engine ran counts from the first one on.
pub async fn begin(desk: &Desk, told: Option<Recovered>) -> bool {
    *desk.recovered() = told;
    again(desk).await
}

/// Does what the news want, and what an earlier try has left undone.
pub async fn follow(desk: Arc<Desk>, mut done: bool, mut news: mpsc::Receiver<News>) {
    let mut pause = FIRST_PAUSE;
    loop {
        tokio::select! {
            told = news.recv() => {
                *desk.recovered() = match told {
                    Some(News::Recovered(recovered)) => Some(recovered),
                    Some(News::RecoveryOver(_)) => None,
                    None => return,
                };
                pause = FIRST_PAUSE;
            }
            () = sleep(pause), if !done => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        done = again(&desk).await;
    }
}

/// Puts right what the supervisor told last, and tells whether that is done; also after a restore, which may have brought an older state back.
pub async fn again(desk: &Desk) -> bool {
    let recovered = desk.recovered().clone();
    match recovered {
        Some(recovered) => suspend(desk, &recovered).await,
        None => resume_all(desk).await,
    }
}

fn failed(what: &str) -> bool {
    error!("{what}");
    false
}

async fn suspend(desk: &Desk, Recovered { account, press }: &Recovered) -> bool {
    let person = match desk.directory.by_name(account).await {
        Ok(Some(person)) => person,
        Ok(None) => return failed(&format!("{account} was brought back by the button, but there is no such user")),
        Err(e) => return failed(&format!("{account} was brought back by the button: {}", e.0)),
    };
    // Their second step is not the press's to remove (Q30).
    match namesake(desk, &person).await {
        Ok(None) => {}
        Ok(Some(other)) => {
            error!(
                "{account} and {other} have the same uid {}, and what is stored for {other} stays: {account} gets in only by the mark of the press",
                person.uid
            );
            return true;
        }
        Err(Trouble::Storage(reason)) => return failed(&format!("{account} was brought back by the button: {reason}")),
    }
    match write(desk, person, *press).await {
        Ok(true) => {
            // Another account may have made way for it.
            reconsider_all(desk).await;
            info!("{account} was brought back by the button: second step off, enforcement suspended");
        }
        Ok(false) => {}
        Err(e) => return failed(&format!("{account} was brought back by the button, but its second step is not off yet: {e}")),
    }
    true
}

async fn write(desk: &Desk, person: Arc<Person>, press: i64) -> Result<bool, StoreError> {
    let at = (desk.moment)().wall;
    desk.store
        .write(move |tx| {
            // The account may have been missing, and made anew under another number.
            while let Lookup::Other(gone) = tx.account(person.uid, &person.name)? {
                tx.forget(gone.uid)?;
            }
            // One account at a time is the button's: for whoever was before, that is over.
            resume(tx, at, Some(person.uid))?;
            let mut stored = stored(tx, &person)?;
            if !stored.count_press(press) {
                return Ok(false);
            }
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
async fn resume_all(desk: &Desk) -> bool {
    let at = (desk.moment)().wall;
    let resumed = desk.store.write(move |tx| resume(tx, at, None));
    resumed.await.map_err(|e| error!("the end of the recovery is not noted yet: {e}")).is_ok()
}

/// The same in a commit, but for the one that is recovered now.
fn resume(tx: &Tx<'_>, at: Wall, but: Option<u32>) -> Result<(), StoreError> {
    for mut stored in tx.recovered_accounts()?.into_iter().filter(|stored| Some(stored.uid) != but) {
        stored.account.recovered = false;
        tx.save(&stored)?;
        let entry =
            AuditEntry { at, event: "recovery_over".into(), user: Some(stored.name), by: "supervisor".into(), ..AuditEntry::default() };
        tx.audit(&entry)?;
    }
    Ok(())
}
