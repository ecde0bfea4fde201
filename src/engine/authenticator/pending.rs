//! What waits for a phone: the open requests, the QR code that it scanned, the code that it shows.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::proof::{Phone, find};
use super::{Answer, AuthenticatorInterface, Error, nonce};
use crate::core::account::Method;
use crate::core::authenticator::login_token;
use crate::core::time::BootTime;
use crate::engine::desk::Desk;
use crate::engine::login::entry;
use crate::engine::login::phone::refresh;
use crate::engine::phones::board::Entry;
use crate::proto::authenticator::{OnlineCode, Reply, Request, Requests};
use crate::proto::secret::Secret;
use crate::proto::varlink::Replies;

/// All that a phone sees now; with `more`, again at each change. Ends where newer streams of the phone need the place.
pub async fn follow(desk: &Arc<Desk>, mut phone: Phone, replies: &mut Replies<'_, AuthenticatorInterface>) -> Answer<Vec<Request>> {
    let mut changes = desk.phones.follow(phone.uid);
    let stream = desk.phones.stream(&phone.id);
    let mut shown: Option<Vec<String>> = None;
    loop {
        changes.borrow_and_update();
        // Whoever was removed meanwhile is told so, also where that was before the changes were followed.
        phone = find(desk, &phone.id).await?;
        let now = (desk.moment)().boot;
        let entries = visible(desk, &phone, now);
        let ids: Vec<String> = entries.iter().map(|entry| entry.id.clone()).collect();
        if !replies.more() {
            return requests(desk, &phone, entries, now);
        }
        let next = wakes_in(desk, &phone, &entries, now);
        if shown.as_ref() != Some(&ids) {
            replies.send(&Reply::Requests(Requests { requests: requests(desk, &phone, entries, now)? })).await?;
            shown = Some(ids);
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = sleep(next.unwrap_or_default()), if next.is_some() => {}
            () = stream.over() => {
                let now = (desk.moment)().boot;
                return requests(desk, &phone, visible(desk, &phone, now), now);
            }
        }
    }
}

fn visible(desk: &Desk, phone: &Phone, now: BootTime) -> Vec<Entry> {
    if phone.in_force { desk.phones.board().for_phone(&phone.id, phone.uid, now) } else { Vec::new() }
}

/// When something ends by itself; never, where nothing is open.
fn wakes_in(desk: &Desk, phone: &Phone, entries: &[Entry], now: BootTime) -> Option<Duration> {
    let setup = desk.phones.newcomer(&phone.id).filter(|_| !phone.in_force).map(|newcomer| newcomer.until);
    entries.iter().map(|entry| entry.until).chain(setup).min().map(|end| end - now)
}

fn requests(desk: &Desk, phone: &Phone, entries: Vec<Entry>, now: BootTime) -> Answer<Vec<Request>> {
    entries.into_iter().map(|entry| Ok(request(desk, phone, entry, now)?)).collect()
}

/// As a phone sees it, with a nonce for what it decides.
fn request(desk: &Desk, phone: &Phone, entry: Entry, now: BootTime) -> Result<Request, Error> {
    let nonce = nonce(desk, &phone.id, entry.until, now)?;
    Ok(Request {
        login: entry.id,
        method: entry.method.as_str().into(),
        account: entry.origin.user,
        host: desk.host.clone(),
        service: entry.origin.service,
        service_claimed: entry.origin.claimed,
        remote: entry.origin.remote,
        number: entry.number.filter(|_| !desk.phones.typed).map(|number| Secret::new(number.to_string())),
        nonce,
        requested_at: entry.requested_at.0,
        expires_in: (entry.until - now).as_secs(),
    })
}

/// The phone has scanned a login's QR code: it sees the login from now on.
pub fn scan(desk: &Desk, phone: &Phone, qr: &str) -> Result<Request, Error> {
    let now = (desk.moment)().boot;
    let token = desk.phones.address.as_deref().and_then(|address| login_token(address, qr)).filter(|_| phone.in_force);
    let entry = token.and_then(|token| desk.phones.board().scan(token, &phone.id, phone.uid, now));
    let entry = entry.ok_or(Error::NoSuchRequest {})?;
    desk.phones.changed(phone.uid);
    request(desk, phone, entry, now)
}

/// The code of a login, for the phone's user to type there.
pub async fn online_code(desk: &Desk, phone: &Phone, id: &str) -> Result<OnlineCode, Error> {
    let found = desk.phones.board().get(id).filter(|entry| phone.in_force && entry.is_for(&phone.id, phone.uid)).cloned();
    let found = found.filter(|entry| entry.method == Method::OnlineCode).ok_or(Error::NoSuchRequest {})?;
    let open = found.login.upgrade().ok_or(Error::NoSuchRequest {})?;
    let mut login = open.lock().await;
    refresh(&desk.phones, &mut login);
    let (uid, moment) = (phone.uid, (desk.moment)());
    let stored = desk.store.read(move |view| view.account_by_uid(uid)).await?;
    let account = stored.filter(|stored| stored.name == login.origin.user).map(|stored| stored.account).unwrap_or_default();
    let asked = login.request(moment.boot).filter(|request| request.id == id && request.stands(&account));
    let code = asked.and_then(|request| request.code()).ok_or(Error::NoSuchRequest {})?;
    let left = code.left(moment.boot).min(login.left(moment.boot));
    if left.is_zero() {
        return Err(Error::NoSuchRequest {});
    }
    if desk.phones.board().notes_code(id) {
        desk.note(entry(moment.wall, &login.origin, "online_code_shown", format!("authenticator {}", phone.id), None));
    }
    Ok(OnlineCode { code: Secret::new(code.digits().into()), expires_in: left.as_secs() })
}
