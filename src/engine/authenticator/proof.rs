//! Which phone it is, and whether it said so itself.

use log::debug;

use super::Error;
use crate::core::authenticator::{PublicKey, Signed};
use crate::core::time::Wall;
use crate::engine::desk::{Desk, Trouble};
use crate::engine::phones::refusals::Refusal;
use crate::engine::store::AuditEntry;

/// The longest name of a phone that is looked for, in bytes.
const ID_CAP: usize = 64;
/// A phone that was seen so recently is not noted again, so that an open page costs no commit at each call. In seconds.
const SEEN_FOR: i64 = 300;

/// A phone that is there.
#[derive(Clone, Debug)]
pub struct Phone {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub uid: u32,
    /// The account has it in force; else only a setup has seen it.
    pub in_force: bool,
    /// The open setup in which it has scanned a pairing.
    pub setup: Option<String>,
    /// Its last signed call that was noted.
    pub last_seen: Option<Wall>,
    key: PublicKey,
}

/// The phone of this name.
///
/// # Errors
/// `NoSuchAuthenticator`, `StorageFailed`.
pub async fn find(desk: &Desk, id: &str) -> Result<Phone, Error> {
    if id.len() > ID_CAP {
        return Err(Error::NoSuchAuthenticator {});
    }
    let now = (desk.moment)().boot;
    let newcomer = desk.phones.newcomer(id).filter(|newcomer| now < newcomer.until && desk.is_setup(&newcomer.setup));
    let (name, uid) = (id.to_owned(), newcomer.as_ref().map(|newcomer| newcomer.uid));
    let look = desk.store.read(move |view| {
        let stored = view.authenticator(&name)?;
        let account = if stored.is_none()
            && let Some(uid) = uid
        {
            view.account_by_uid(uid)?
        } else {
            None
        };
        Ok((stored, account.map_or(0, |of| of.account.generation)))
    });
    let (stored, generation) = look.await?;
    let newcomer = newcomer.filter(|newcomer| stored.is_some() || newcomer.generation == generation);
    let (id, setup) = (id.to_owned(), newcomer.as_ref().map(|newcomer| newcomer.setup.clone()));
    match (stored, newcomer) {
        (Some(stored), _) => {
            let key = PublicKey::from_spki(&stored.public_key);
            let key = key.ok_or_else(|| Error::from(Trouble::Storage("a stored key is none".into())))?;
            Ok(Phone { id, uid: stored.uid, in_force: true, setup, last_seen: stored.last_seen, key })
        }
        (None, Some(newcomer)) => Ok(Phone { id, uid: newcomer.uid, in_force: false, setup, last_seen: None, key: newcomer.key }),
        (None, None) => Err(Error::NoSuchAuthenticator {}),
    }
}

/// The phone that has made this call. The nonce is used up, whether it has or not.
///
/// # Errors
/// `NoSuchAuthenticator`, `InvalidProof`, `StorageFailed`.
pub async fn prove(desk: &Desk, (id, nonce): (&str, &str), signed: &Signed<'_>, proof: &str) -> Result<Phone, Error> {
    let phone = find(desk, id).await?;
    let fresh = desk.phones.nonces().take(id, nonce, (desk.moment)().boot);
    let refusal = match fresh {
        true if phone.key.verifies(signed, proof) => return Ok(phone),
        true => Refusal::Proof,
        false => Refusal::Nonce,
    };
    refuse(desk, &phone, refusal).await;
    Err(Error::InvalidProof {})
}

/// Writes down what this phone, or whoever speaks in its name, is refused: see [`Refusals`](crate::engine::phones::refusals).
pub async fn refuse(desk: &Desk, phone: &Phone, what: Refusal) {
    let moment = (desk.moment)();
    let uid = phone.uid;
    let Some(kept_back) = desk.phones.refusals().count(uid, what, moment.boot) else { return };
    let stored = desk.store.read(move |view| view.account_by_uid(uid)).await.ok().flatten();
    let others = if kept_back > 0 { format!(", and {kept_back} more since the last entry") } else { String::new() };
    let detail = Some(format!("authenticator {}: {what}{others}", phone.id));
    let (event, by, user) = ("phone_refused".into(), "phone".into(), stored.map(|stored| stored.name));
    desk.note(AuditEntry { at: moment.wall, event, user, by, detail, ..AuditEntry::default() });
}

/// Notes that the phone was there. What it asks does not depend on that.
pub async fn seen(desk: &Desk, phone: &Phone) {
    let now = (desk.moment)().wall;
    let recently = phone.last_seen.is_some_and(|seen| (0..SEEN_FOR).contains(&now.0.saturating_sub(seen.0)));
    if !phone.in_force || recently {
        return;
    }
    let id = phone.id.clone();
    if let Err(error) = desk.store.write(move |tx| tx.authenticator_seen(&id, now)).await {
        debug!("a phone was seen, which is not noted: {error}");
    }
}
