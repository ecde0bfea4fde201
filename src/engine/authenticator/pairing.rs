//! A phone scans a pairing, compares its number, or wants to be forgotten. What the NAS sees of it is in `account`.

use std::sync::Arc;

use log::info;
use tokio::sync::OwnedMutexGuard;

use super::proof::Phone;
use super::{Answer, Error, nonce, whole};
use crate::core::authenticator::{PublicKey, is_name};
use crate::core::pairing::{Confirmed, Next, PairFault, Presented, State};
use crate::core::sessions::Owner;
use crate::core::setup::{Setup, Taker};
use crate::engine::desk::{Desk, random, stored_as, token};
use crate::engine::login::phone::reconsider;
use crate::engine::phones::{NONCE_LIFE, Newcomer};
use crate::engine::store::AuditEntry;
use crate::proto::authenticator::{self as wire, Paired, PairingConfirmed, PairingOutcome};
use crate::proto::secret::Secret;
use crate::proto::varlink::Failure;

/// The longest name of a pairing that is looked for, in bytes.
const PAIRING_CAP: usize = 64;

/// What a phone says of itself.
pub struct Given {
    /// SPKI, base64url.
    pub public_key: String,
    /// Its owner's word for it.
    pub name: String,
    /// Under the pairing's secret.
    pub mac: String,
    /// By the key.
    pub proof: String,
}

impl From<PairFault> for Error {
    fn from(fault: PairFault) -> Self {
        match fault {
            PairFault::NoSuchPairing => Self::NoSuchPairing {},
            PairFault::InvalidKey(fault) => Self::InvalidKey { reason: fault.to_string() },
            PairFault::InvalidProof => Self::InvalidProof {},
        }
    }
}

/// A phone takes a pairing.
pub async fn pair(desk: &Arc<Desk>, pairing: &str, given: Given) -> Answer<Paired> {
    if !is_name(&given.name) {
        return Err(Failure::invalid("name"));
    }
    let setup = Some(pairing).filter(|pairing| pairing.len() <= PAIRING_CAP).and_then(|pairing| desk.phones.offered(pairing));
    let setup = setup.ok_or(Error::NoSuchPairing {})?;
    let (desk, pairing) = (Arc::clone(desk), pairing.to_owned());
    Ok(whole(async move { take(&desk, &pairing, setup, given).await }).await?)
}

/// The turn of an open setup, and who has opened that: in whose share of the audit trail is what phones do about it.
async fn turn(desk: &Desk, name: &str) -> Option<(OwnedMutexGuard<Setup>, Owner)> {
    let open = desk.setups().get(name).cloned()?;
    let setup = Arc::clone(&open).lock_owned().await;
    let setups = desk.setups();
    // It may have ended while this waited.
    let is_there = setups.get(name).is_some_and(|there| Arc::ptr_eq(there, &open));
    setups.owner(name).filter(|_| is_there).map(|owner| (setup, owner))
}

async fn take(desk: &Desk, pairing: &str, name: String, given: Given) -> Result<Paired, Error> {
    let (mut setup, owner) = turn(desk, &name).await.ok_or(Error::NoSuchPairing {})?;
    let (uid, user, moment) = (setup.uid, setup.user.clone(), (desk.moment)());
    let look = desk.store.read(move |view| Ok((view.authenticators(uid)?, stored_as(view, uid, &user)?.account)));
    let (stored, account) = look.await?;
    // Nobody is to believe that a phone is paired which will never count.
    setup.still_stands(&account, moment.boot).map_err(|_| Error::NoSuchPairing {})?;
    let known: Vec<(String, PublicKey)> =
        stored.into_iter().filter_map(|one| PublicKey::from_spki(&one.public_key).map(|key| (one.id, key))).collect();
    let Given { public_key, name: word, mac, proof } = &given;
    let presented = Presented { public_key, name: word, mac, proof };
    let taker = Taker { id: token()?, known: &known, random: random()?, at: moment.wall };
    let taken = setup.pair(pairing, &presented, taker, moment.boot);
    let (id, next) = match taken {
        Ok(taken) => taken,
        Err(fault) => {
            if fault == PairFault::InvalidProof {
                note(desk, (&setup, owner), "pairing_forged", None);
            }
            // It may be void by now.
            desk.phones.changed(uid);
            return Err(fault.into());
        }
    };
    let key = setup.phone(&id).map(|phone| phone.key.clone()).ok_or(Error::NoSuchPairing {})?;
    note(desk, (&setup, owner), "phone_scanned", Some(word.clone()));
    let until = moment.boot + setup.left(moment.boot);
    desk.phones.leave(&name, |phone| setup.phone(phone).is_some());
    let newcomer = Newcomer { setup: name, uid, key, until, generation: account.generation };
    desk.phones.arrive(id.clone(), newcomer, |setup| desk.is_setup(setup));
    desk.phones.changed(uid);
    let (next, number, code) = match next {
        Next::Done => (wire::Next::Done, None, None),
        Next::Approve(number) => (wire::Next::Approve, (!desk.phones.typed).then(|| Secret::new(number.to_string())), None),
        Next::ShowCode(code) => (wire::Next::ShowCode, None, Some(Secret::new(code.digits().into()))),
    };
    let nonce = nonce(desk, &id, moment.boot + NONCE_LIFE, moment.boot)?;
    Ok(Paired { authenticator: id, account: setup.user.clone(), host: desk.host.clone(), next, number, code, nonce })
}

fn note(desk: &Desk, (setup, owner): (&Setup, Owner), event: &str, detail: Option<String>) {
    let (at, user, by) = ((desk.moment)().wall, Some(setup.user.clone()), "phone".into());
    desk.note_of(owner, AuditEntry { at, event: event.into(), user, by, detail, ..AuditEntry::default() });
}

/// A phone's user has compared the number.
pub async fn confirm(desk: &Desk, phone: &Phone, said: (bool, Option<&str>)) -> Result<PairingConfirmed, Error> {
    let setup = match &phone.setup {
        Some(name) => turn(desk, name).await,
        None => None,
    };
    let Some((mut setup, owner)) = setup else { return Ok(PairingConfirmed { outcome: PairingOutcome::Expired }) };
    let boot = (desk.moment)().boot;
    // What is said again is not written down again.
    let open = setup.pairing().is_some_and(|pairing| matches!(pairing.state(boot), State::Approve(_) | State::TypeCode));
    let outcome = match setup.confirm_pairing(&phone.id, said, boot) {
        Confirmed::Paired => PairingOutcome::Paired,
        Confirmed::Denied => PairingOutcome::Denied,
        Confirmed::WrongNumber => PairingOutcome::WrongNumber,
        Confirmed::Expired => PairingOutcome::Expired,
    };
    match outcome {
        _ if !open => {}
        PairingOutcome::Denied => note(desk, (&setup, owner), "pairing_denied", None),
        PairingOutcome::WrongNumber => note(desk, (&setup, owner), "pairing_wrong_number", None),
        PairingOutcome::Paired | PairingOutcome::Expired => {}
    }
    desk.phones.changed(phone.uid);
    Ok(PairingConfirmed { outcome })
}

/// A phone wants to be forgotten. With an account's last phone go the methods that need one.
pub async fn unpair(desk: &Arc<Desk>, phone: Phone) -> Result<(), Error> {
    if let Some(name) = &phone.setup
        && let Some((mut setup, _)) = turn(desk, name).await
    {
        setup.unpair(&phone.id);
    }
    let desk = Arc::clone(desk);
    whole(async move {
        let (id, uid, at) = (phone.id.clone(), phone.uid, (desk.moment)().wall);
        let removed = desk.store.write(move |tx| {
            let Some(mut stored) = tx.account_by_uid(uid)? else { return Ok(false) };
            if !tx.remove_authenticator(uid, &id)? {
                return Ok(false);
            }
            let last = tx.authenticators(uid)?.is_empty();
            stored.account.lose_phone(last);
            tx.save(&stored)?;
            let (event, by) = ("authenticator_removed".into(), format!("authenticator {id}"));
            tx.audit(&AuditEntry { at, event, user: Some(stored.name), by, detail: Some(id), ..AuditEntry::default() })?;
            Ok(true)
        });
        if removed.await? {
            info!(target: "audit", "authenticator_removed uid={uid} by=\"authenticator {}\"", phone.id);
        }
        desk.phones.forget(&phone.id);
        reconsider(&desk, uid).await;
        Ok(())
    })
    .await
}
