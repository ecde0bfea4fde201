//! What the NAS sees of a pairing: the QR code, how it goes, the code that the phone shows. What the phone does is in `engine::authenticator`.

use std::sync::Arc;

use tokio::time::sleep;

use super::setups::{Open, find};
use super::{AccountInterface, Answer};
use crate::core::account::{Method, Refusal};
use crate::core::authenticator::{PER_ACCOUNT, PairingSecret};
use crate::core::pairing::{self as logic, State};
use crate::core::peer::Peer;
use crate::core::policy::AccountCall;
use crate::core::setup::Confirmation;
use crate::engine::desk::{Desk, bytes, token};
use crate::engine::store::{Authenticator, StoreError, Tx};
use crate::proto::account::{self as wire, Error, Pairing, PairingState, PairingStep, Reply};
use crate::proto::secret::Secret;
use crate::proto::varlink::Replies;

/// Offers a pairing for a method, in the place of the setup's last one.
pub(super) async fn offer(desk: &Desk, mut open: Open, method: Method) -> Answer<Reply> {
    let unavailable = |reason: &str| Error::MethodUnavailable { method, reason: reason.into() };
    desk.facilities().check(method).map_err(unavailable)?;
    let address = desk.phones.address.as_deref().ok_or_else(|| unavailable("no address for phones is configured"))?;
    let (uid, boot) = (open.setup.uid, open.now.moment.boot);
    let in_force = desk.store.read(move |view| Ok(view.authenticators(uid)?.len())).await.map_err(Error::from)?;
    let drawn = (token().map_err(Error::from)?, PairingSecret::new(bytes().map_err(Error::from)?));
    let offered = open.setup.offer_pairing(method, drawn, in_force, boot).map_err(Error::from)?;
    let (id, uri) = (offered.id.clone(), Secret::new(offered.uri(address).to_string()));
    let expires_in = offered.left(boot).as_secs();
    desk.phones.leave(open.name.expose(), |phone| open.setup.phone(phone).is_some());
    desk.phones.offer(id, open.name.expose(), |setup| desk.is_setup(setup));
    desk.note_of(open.owner, open.entry("pairing_offered", Some(method.as_str().into())));
    desk.phones.changed(uid);
    Ok(Reply::Pairing(Pairing { uri, expires_in }))
}

/// With `more`: each state as it comes, up to the last one; without: the state now.
pub(super) async fn wait(desk: &Desk, peer: &Peer, name: Secret, replies: &mut Replies<'_, AccountInterface>) -> Answer<Reply> {
    let look = async |name: &Secret| find(desk, peer, AccountCall::WaitPairing, name.clone()).await;
    let mut changes = desk.phones.follow(look(&name).await?.setup.uid);
    let mut told: Option<PairingState> = None;
    loop {
        changes.borrow_and_update();
        let (state, left) = match look(&name).await {
            Ok(open) => {
                let pairing = open.setup.pairing().ok_or_else(|| nothing_offered(desk, Method::QrCode))?;
                (state(&open, pairing), pairing.left(open.now.moment.boot))
            }
            // It was there when this call began, so its pairing is what is over.
            Err(Error::NoSuchSetup {}) if told.is_some() => {
                let over = PairingState { state: PairingStep::Expired, number: None, authenticator: None };
                return Ok(Reply::PairingState(over));
            }
            Err(error) => return Err(error.into()),
        };
        let last = matches!(state.state, PairingStep::Paired | PairingStep::Denied | PairingStep::Expired);
        if last || !replies.more() {
            return Ok(Reply::PairingState(state));
        }
        if told.as_ref() != Some(&state) {
            replies.send(&Reply::PairingState(state.clone())).await?;
            told = Some(state);
        }
        tokio::select! {
            Ok(()) = changes.changed() => {}
            () = sleep(left) => {}
        }
    }
}

fn nothing_offered(desk: &Desk, method: Method) -> Error {
    let reason = desk.facilities().check(method).err().unwrap_or("no pairing was begun in this setup");
    Error::MethodUnavailable { method, reason: reason.into() }
}

fn state(open: &Open, pairing: &logic::Pairing) -> PairingState {
    let plain = |state| PairingState { state, number: None, authenticator: None };
    match pairing.state(open.now.moment.boot) {
        State::Waiting => plain(PairingStep::Waiting),
        State::Approve(number) => PairingState { number: Some(Secret::new(number.to_string())), ..plain(PairingStep::Approve) },
        State::TypeCode => plain(PairingStep::TypeCode),
        State::Denied => plain(PairingStep::Denied),
        State::Expired => plain(PairingStep::Expired),
        State::Paired => {
            let phone = pairing.phone.as_deref().and_then(|id| open.setup.phone(id));
            let authenticator = phone.map(|phone| {
                let (id, name) = (phone.id.clone(), phone.name.clone());
                wire::Authenticator { id, name, paired_at: phone.paired_at, last_seen: None }
            });
            PairingState { authenticator, ..plain(PairingStep::Paired) }
        }
    }
}

/// The code that the phone shows, typed on the NAS.
pub(super) fn confirm_online_code(desk: &Arc<Desk>, mut open: Open, code: &Secret) -> Answer<Reply> {
    if open.setup.pairing().is_none() {
        return Err(nothing_offered(desk, Method::OnlineCode).into());
    }
    let confirmed = open.setup.confirm_online_code(code.expose(), open.now.moment.boot);
    if confirmed.0 != Confirmation::Confirmed {
        desk.note_of(open.owner, open.entry("pairing_code_wrong", None));
    }
    desk.phones.changed(open.setup.uid);
    Ok(Reply::Confirmed(confirmed.into()))
}

/// Whether the phones of a setup may come into force beside those that are there. Looked at before anything is written.
pub(super) fn may_come(tx: &Tx<'_>, uid: u32, phones: &[logic::Phone]) -> Result<Result<(), Error>, StoreError> {
    if phones.is_empty() {
        return Ok(Ok(()));
    }
    let in_force = tx.authenticators(uid)?;
    let gone = phones.iter().find(|phone| phone.known && !in_force.iter().any(|there| there.id == phone.id));
    let new = phones.iter().filter(|phone| !phone.known).count();
    let refused = |phone: &logic::Phone, reason: String| {
        let method = phone.methods.iter().next().unwrap_or(Method::QrCode);
        Ok(Err(Refusal::MethodUnavailable(method, reason).into()))
    };
    match (gone, phones.first()) {
        (Some(gone), _) => refused(gone, "the phone was removed meanwhile: pair it again".into()),
        (None, Some(first)) if in_force.len() + new > PER_ACCOUNT => {
            refused(first, format!("{PER_ACCOUNT} phones are paired: remove one first"))
        }
        _ => Ok(Ok(())),
    }
}

/// Puts them into force.
pub(super) fn come(tx: &Tx<'_>, uid: u32, phones: &[logic::Phone]) -> Result<(), StoreError> {
    for phone in phones.iter().filter(|phone| !phone.known) {
        let (id, name, public_key) = (phone.id.clone(), phone.name.clone(), phone.key.spki().to_vec());
        tx.add_authenticator(&Authenticator { id, uid, name, public_key, paired_at: phone.paired_at, last_seen: None })?;
    }
    Ok(())
}
