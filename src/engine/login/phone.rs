//! A login and the account's phones: what is on the board, and who waits for the outcome.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{LoginInterface, find};
use crate::core::login::Login;
use crate::core::login::phone::{Request, Waiting};
use crate::core::peer::Peer;
use crate::core::policy::LoginCall;
use crate::core::time::BootTime;
use crate::engine::desk::{Desk, OpenLogin};
use crate::engine::phones::Phones;
use crate::engine::phones::board::{Entry, Over};
use crate::proto::login::{Error, Reply, WaitOutcome, Waited};
use crate::proto::secret::Secret;
use crate::proto::varlink::{Failure, Replies};

/// Lets a login know that its request was superseded. Called by whoever has the login's turn, before anything else.
pub fn refresh(phones: &Phones, login: &mut Login) {
    if login.asked().is_some_and(|request| !phones.board().is_open(&request.id)) {
        login.supersede();
    }
}

/// The phones of the account see this request from now on, in the place of `before`, if it still stands.
pub async fn show(desk: &Desk, (open, login): (&OpenLogin, &Login), request: &Request, before: Option<String>, now: BootTime) {
    let entry = Entry::new(request, login.origin.clone(), Arc::downgrade(open));
    if let Some(before) = before {
        desk.phones.board().end(&before, Over::Superseded);
    }
    desk.phones.board().open(entry, now);
    // Now that it is on the board: a commit since the account was looked at has not seen it there.
    reconsider(desk, login.origin.uid).await;
}

/// What is in force of an account may have changed: what its phones were asked before, and may not be answered any more, is taken from them for
/// good, and whoever waits for it is told. Called after each such commit. Where the account can't be read, nothing stands.
pub async fn reconsider(desk: &Desk, uid: u32) {
    let is_asked = desk.phones.board().asked().contains(&uid);
    if is_asked {
        let stored = desk.store.read(move |view| view.account_by_uid(uid)).await.ok().flatten();
        let stands = |entry: &Entry| stored.as_ref().is_some_and(|of| of.name == entry.origin.user && entry.terms.hold(&of.account));
        desk.phones.board().supersede_unless(uid, stands);
    }
    desk.phones.changed(uid);
}

/// The same for all accounts: what was committed may concern one that the caller can't name.
pub async fn reconsider_all(desk: &Desk) {
    let asked = desk.phones.board().asked();
    for uid in asked {
        reconsider(desk, uid).await;
    }
    desk.phones.all_changed();
}

/// Puts a login in its new place, and takes its request off the board where that is over. Whoever waits is woken.
pub fn put(phones: &Phones, login: &mut Login, then: Login) {
    let asked = login.asked().map(|request| request.id.clone());
    *login = then;
    if let Some(asked) = asked
        && login.asked().is_none()
    {
        phones.board().end(&asked, Over::Decided);
    }
    phones.changed(login.origin.uid);
}

/// Ends what the phones are asked for a login that is given up. Whoever has waited for its turn to decide it finds nothing to decide.
pub fn end(phones: &Phones, login: &mut Login) {
    if let Some(asked) = login.asked() {
        phones.board().end(&asked.id, Over::Expired);
        login.supersede();
    }
    phones.changed(login.origin.uid);
}

/// A request that is taken from the phones when this is dropped, if it is still open then.
struct Bound<'a> {
    phones: &'a Phones,
    uid: u32,
    request: String,
}

impl Drop for Bound<'_> {
    fn drop(&mut self) {
        self.phones.board().end(&self.request, Over::Expired);
        self.phones.changed(self.uid);
    }
}

/// With `more`: a `waiting` at once, then the outcome; without: the state now. What is `bound` ends where the caller hangs up, which drops this.
pub async fn wait(
    desk: &Desk,
    peer: &Peer,
    (name, bound): (&Secret, bool),
    replies: &mut Replies<'_, LoginInterface>,
) -> Result<WaitOutcome, Failure<Error>> {
    let open = find(desk, peer, LoginCall::Wait, name).await?;
    let (uid, asked) = {
        let login = open.lock().await;
        (login.origin.uid, login.asked().map(|request| request.id.clone()))
    };
    // Else a login that has ended would seem to be there still.
    drop(open);
    let _bound = asked.filter(|_| bound && replies.more()).map(|request| Bound { phones: &desk.phones, uid, request });
    let mut changes = desk.phones.follow(uid);
    let mut told = false;
    loop {
        changes.borrow_and_update();
        let (outcome, left) = state(desk, name).await;
        if outcome != WaitOutcome::Waiting || !replies.more() {
            return Ok(outcome);
        }
        if !told {
            replies.send(&Reply::Waited(Waited { outcome })).await?;
            told = true;
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = sleep(left) => {}
        }
    }
}

/// How a login waits, and how long at most. Nothing of it is held between two looks, so that it can end.
async fn state(desk: &Desk, name: &Secret) -> (WaitOutcome, Duration) {
    let Some(open) = desk.logins().get(name.expose()).cloned() else { return (WaitOutcome::Expired, Duration::ZERO) };
    let mut login = open.lock().await;
    refresh(&desk.phones, &mut login);
    let now = (desk.moment)().boot;
    let outcome = match login.waiting(now) {
        Waiting::Waiting => WaitOutcome::Waiting,
        Waiting::Verified => WaitOutcome::Verified,
        Waiting::Denied => WaitOutcome::Denied,
        Waiting::Expired => WaitOutcome::Expired,
        Waiting::Locked => WaitOutcome::Locked,
    };
    (outcome, login.left(now))
}
