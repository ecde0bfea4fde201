//! Approve, or deny.
//!
//! A decision takes the login's turn, as a typed answer does, and is judged inside the commit: so of all that comes for one login at once, one is
//! accepted. It runs to its end also where the carrier hangs up.

use std::sync::Arc;

use log::info;
use tokio::sync::OwnedMutexGuard;

use super::Error;
use super::proof::Phone;
use crate::core::account::Method;
use crate::core::clock::Moment;
use crate::core::login::Login;
use crate::core::login::phone::{self as logic, Outcome};
use crate::engine::desk::{Desk, now};
use crate::engine::login::phone::{put, refresh};
use crate::engine::login::{entry, service};
use crate::engine::phones::Phones;
use crate::engine::store::{StoreError, Tx};
use crate::proto::authenticator::{Decided, DecisionOutcome};

/// What the phone has signed.
#[derive(Clone, Debug)]
pub struct Said {
    /// The request.
    pub request: String,
    /// Or deny.
    pub approve: bool,
    /// What its user compared, or typed.
    pub number: Option<String>,
}

/// Decides a login.
///
/// # Errors
/// `NoSuchRequest`, `NoSuchAuthenticator`, `StorageFailed`.
pub async fn decide(desk: &Arc<Desk>, phone: Phone, said: Said) -> Result<Decided, Error> {
    let moment = desk.clocks().await?;
    let found = desk.phones.board().get(&said.request).filter(|entry| phone.in_force && entry.is_for(&phone.id, phone.uid)).cloned();
    let found = found.ok_or(Error::NoSuchRequest {})?;
    if said.approve && found.method == Method::OnlineCode {
        return Err(Error::NoSuchRequest {});
    }
    let open = match found.login.upgrade() {
        Some(open) if found.is_open(moment.boot) => open,
        _ => return Ok(Decided { outcome: DecisionOutcome::Expired }),
    };
    let mut login = open.lock_owned().await;
    refresh(&desk.phones, &mut login);
    let (then, phones, id) = (Arc::clone(desk), Arc::clone(&desk.phones), phone.id.clone());
    let judge = move |tx: &Tx<'_>| judge(tx, &phones, &login, (&phone, &said), moment).map(|judged| (login, judged));
    let settle = move |(mut login, judged): (OwnedMutexGuard<Login>, Result<logic::Decided, Error>)| {
        let logic::Decided { outcome, login: next, .. } = judged?;
        put(&then.phones, &mut login, next);
        if outcome == Outcome::Approved {
            then.with_budgets((login.origin.uid, login.origin.claimed), |_, requests| requests.reset());
        }
        let origin = &login.origin;
        info!(target: "audit", "login user={:?} service={:?} authenticator={id} outcome={outcome:?}", origin.user, origin.service);
        Ok(Decided { outcome: told(outcome) })
    };
    desk.store.decide(judge, settle).await?
}

fn told(outcome: Outcome) -> DecisionOutcome {
    match outcome {
        Outcome::Approved | Outcome::Denied => DecisionOutcome::Accepted,
        Outcome::WrongNumber => DecisionOutcome::WrongNumber,
        Outcome::Expired => DecisionOutcome::Expired,
        Outcome::Locked => DecisionOutcome::Locked,
    }
}

/// Judges a decision and writes down all that follows from it, in one commit.
fn judge(
    tx: &Tx<'_>,
    phones: &Phones,
    login: &Login,
    (phone, said): (&Phone, &Said),
    moment: Moment,
) -> Result<Result<logic::Decided, Error>, StoreError> {
    let origin = &login.origin;
    if tx.authenticator(&phone.id)?.is_none_or(|stored| stored.uid != origin.uid) {
        return Ok(Err(Error::NoSuchAuthenticator {}));
    }
    let Some(mut stored) = tx.account_by_uid(origin.uid)?.filter(|stored| stored.name == origin.user) else {
        return Ok(Err(Error::NoSuchRequest {}));
    };
    // Superseded while it waited for its turn, or decided by another: neither is there any more.
    let stands = login.request(moment.boot).is_some_and(|request| request.id == said.request) && phones.board().is_open(&said.request);
    if !stands {
        let (outcome, account, login) = (Outcome::Expired, stored.account, login.clone());
        return Ok(Ok(logic::Decided { outcome, account, login }));
    }
    let decided = login.decide(&stored.account, (said.approve, said.number.as_deref()), &moment);
    if decided.account != stored.account {
        stored.account = decided.account.clone();
        tx.save(&stored)?;
    }
    match decided.outcome {
        Outcome::Denied => tx.note_denial(origin.uid, moment.wall, &service(origin), origin.remote.as_deref())?,
        Outcome::Approved => login.told.map_or(Ok(()), |told| tx.denial_told(origin.uid, told))?,
        Outcome::WrongNumber | Outcome::Expired | Outcome::Locked => {}
    }
    tx.authenticator_seen(&phone.id, moment.wall)?;
    if now(tx, moment)?.time.is_ok() {
        tx.believe_clock(moment.wall)?;
    }
    let method = login.asked().map(|request| request.method.as_str().to_owned());
    tx.audit(&entry(moment.wall, origin, event(decided.outcome), format!("authenticator {}", phone.id), method))?;
    Ok(Ok(decided))
}

fn event(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Approved => "login_verified",
        Outcome::Denied => "login_denied",
        Outcome::WrongNumber => "login_wrong",
        Outcome::Expired => "login_expired",
        Outcome::Locked => "login_locked",
    }
}
