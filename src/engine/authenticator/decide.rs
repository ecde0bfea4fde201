//! Approve, or deny.
//!
//! A decision takes the login's turn, as a typed answer does, and is judged inside the commit: so of all that comes for one login at once, one is
//! accepted. It runs to its end also where the carrier hangs up.

use std::sync::Arc;

use log::info;
use tokio::sync::OwnedMutexGuard;

use super::Error;
use super::proof::{Phone, refuse};
use crate::core::account::Method;
use crate::core::clock::Moment;
use crate::core::login::phone::{self as logic, Outcome};
use crate::core::login::{Login, Origin};
use crate::engine::desk::{Desk, now};
use crate::engine::login::phone::{put, refresh};
use crate::engine::login::{entry, service};
use crate::engine::phones::Phones;
use crate::engine::phones::board::Over;
use crate::engine::phones::refusals::Refusal;
use crate::engine::store::{AuditEntry, StoreError, Tx};
use crate::proto::authenticator::{Decided, DecisionOutcome};
use crate::proto::secret::Secret;

/// What the phone has signed.
#[derive(Clone, Debug)]
pub struct Said {
    /// The request.
    pub request: String,
    /// Or deny.
    pub approve: bool,
    /// What its user compared, or typed.
    pub number: Option<Secret>,
}

/// Decides a login.
///
/// # Errors
/// `NoSuchRequest`, `NoSuchAuthenticator`, `StorageFailed`.
pub async fn decide(desk: &Arc<Desk>, phone: Phone, said: Said) -> Result<Decided, Error> {
    let moment = desk.clocks().await?;
    let found = desk.phones.board().get(&said.request).filter(|entry| phone.in_force && entry.is_for(&phone.id, phone.uid)).cloned();
    let Some(found) = found.filter(|found| !said.approve || found.method != Method::OnlineCode) else {
        refuse(desk, &phone, Refusal::Request).await;
        return Err(Error::NoSuchRequest {});
    };
    let open = match (found.over(moment.boot), found.login.upgrade()) {
        (None, Some(open)) => open,
        (over, _) => {
            let over = over.unwrap_or(Over::Expired);
            late(&desk.phones, (&found.origin, over), (&phone, &said), moment).into_iter().for_each(|entry| desk.note(entry));
            let expired = Ok(Decided { outcome: DecisionOutcome::Expired });
            return if over == Over::Decided { Err(Error::NoSuchRequest {}) } else { expired };
        }
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

/// What is written down of a decision that came too late: once of each request.
fn late(phones: &Phones, (origin, over): (&Origin, Over), (phone, said): (&Phone, &Said), moment: Moment) -> Option<AuditEntry> {
    let word = if said.approve { "approve" } else { "deny" };
    let why = match over {
        Over::Decided => "decided before",
        Over::Superseded => "superseded",
        Over::Expired => "expired",
    };
    let by = format!("authenticator {}", phone.id);
    let first = phones.board().notes_late(&said.request);
    first.then(|| entry(moment.wall, origin, "decision_late", by, Some(format!("{word}, {why}"))))
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
        let over = phones.board().get(&said.request).and_then(|entry| entry.over(moment.boot)).unwrap_or(Over::Expired);
        late(phones, (origin, over), (phone, said), moment).map_or(Ok(()), |entry| tx.audit(&entry))?;
        let (outcome, account, login) = (Outcome::Expired, stored.account, login.clone());
        return Ok(Ok(logic::Decided { outcome, account, login }));
    }
    let decided = login.decide(&stored.account, (said.approve, said.number.as_ref().map(Secret::expose)), &moment);
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
