//! The audit trail, and whoever follows it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::pages::{self, PAGE, weight};
use super::{AdminInterface, Asker, named};
use crate::core::peer::Peer;
use crate::core::policy::AdminCall;
use crate::engine::desk::Desk;
use crate::engine::store::AuditEntry;
use crate::proto::admin::{Entries, Entry, Error, Reply};
use crate::proto::varlink::{Failure, Replies};

/// Entries where no limit is given.
const USUAL: u32 = 100;
/// At most so many, whatever the limit.
const MOST: u32 = 10_000;
/// So many new entries are read at once.
const BATCH: u32 = 256;
/// While somebody follows, what waits for a commit gets one this often.
const TICK: Duration = Duration::from_secs(1);

/// Newest first; with `more`, new entries follow. Without, as many as fit one frame.
pub async fn answer(
    desk: &Arc<Desk>,
    peer: &Peer,
    (user, limit): (Option<String>, Option<u32>),
    replies: &mut Replies<'_, AdminInterface>,
) -> Result<Reply, Failure<Error>> {
    if let Some(user) = &user {
        named("user", user)?;
    }
    commit_notes(desk).await;
    let mut audited = desk.store.audited();
    let seen = *audited.borrow_and_update();
    let (of, limit) = (user.clone(), limit.unwrap_or(USUAL).min(MOST));
    let found = desk.store.read(move |view| view.audit_before(None, of.as_deref(), limit)).await.map_err(Error::from)?;
    let mut last = found.first().map_or(seen, |(id, _)| seen.max(*id));
    let found = found.into_iter().map(entry);
    if !replies.more() {
        let mut room = PAGE;
        let entries = found.map_while(|entry| {
            room = room.checked_sub(weight(&entry))?;
            Some(entry)
        });
        return Ok(Reply::Entries(Entries { entries: entries.collect() }));
    }
    let page = pages::send(found, replies, |entries| Reply::Entries(Entries { entries })).await?;
    replies.send(&page).await?;
    loop {
        tokio::select! {
            changed = audited.changed() => changed.map_err(|e| Error::StorageFailed { reason: e.to_string() })?,
            () = sleep(TICK) => {
                commit_notes(desk).await;
                continue;
            }
        }
        // Whoever is no administrator any more learns nothing more.
        Asker::admitted(desk, peer, AdminCall::Audit).await?;
        // A restored trail may end earlier.
        last = last.min(*audited.borrow_and_update());
        follow(desk, user.as_deref(), &mut last, replies).await?;
    }
}

/// Sends what came after `last`.
async fn follow(desk: &Desk, user: Option<&str>, last: &mut i64, replies: &mut Replies<'_, AdminInterface>) -> Result<(), Failure<Error>> {
    loop {
        let (after, of) = (*last, user.map(String::from));
        let new = desk.store.read(move |view| view.audit_after(after, of.as_deref(), BATCH)).await.map_err(Error::from)?;
        let Some((newest, _)) = new.last() else { return Ok(()) };
        *last = *newest;
        let page = pages::send(new.into_iter().map(entry), replies, |entries| Reply::Entries(Entries { entries })).await?;
        replies.send(&page).await?;
    }
}

/// What carries no decision waits for a commit; whoever reads the trail wants to see it. Where there can be none, the rest is still to be read.
async fn commit_notes(desk: &Desk) {
    if desk.store.has_notes()
        && let Err(e) = desk.store.flush().await
    {
        log::debug!("audit entries wait: {e}");
    }
}

fn entry((id, entry): (i64, AuditEntry)) -> Entry {
    let AuditEntry { at, event, user, by, service, remote, detail } = entry;
    Entry { id, at, event, user, by, service, remote, detail }
}
