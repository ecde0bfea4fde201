//! `io.twostep.Authenticator`: what a paired phone does, through whoever carries it.
//!
//! ```text
//! may the peer carry? ──► is there such a phone? ──► its nonce, used up by this ──► its signature ──► the call itself
//! ```
//! The carrier is believed nothing. What is decided is decided by the phone's signature, over a text that names the call and holds a nonce of this
//! engine's, and against the account as it is in the very commit.
//!
//! What decides is in `core`: `authenticator`, `pairing` and `login::phone`.

mod decide;
mod pairing;
mod pending;
mod proof;

use std::future::pending as for_ever;
use std::sync::Arc;

use super::desk::{Desk, Trouble, token};
use super::phones::NONCE_LIFE;
use super::store::StoreError;
use crate::core::authenticator::Signed;
use crate::core::peer::Peer;
use crate::core::policy::{self, Target};
use crate::core::time::BootTime;
use crate::proto::authenticator::{Call, Carrying, DESCRIPTION, Error, NAME, Nonce, Reply, Requests, Scanned};
use crate::proto::secret::Secret;
use crate::proto::varlink::{Empty, Failure, Interface, Replies};

/// What a call comes to.
type Answer<T> = Result<T, Failure<Error>>;

/// The interface.
pub struct AuthenticatorInterface(pub Arc<Desk>);

impl From<Trouble> for Error {
    fn from(Trouble::Storage(reason): Trouble) -> Self {
        Self::StorageFailed { reason }
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        Self::StorageFailed { reason: e.to_string() }
    }
}

impl Interface for AuthenticatorInterface {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Answer<Reply> {
        let desk = &self.0;
        policy::allow(&desk.rank(peer), policy::Call::Authenticator, &Target::None).map_err(Error::from)?;
        match call {
            Call::Carry {} => carry(desk, replies).await,
            Call::Pair { pairing, public_key, name, mac, proof } => {
                let presented = pairing::Given { public_key, name, mac, proof };
                Ok(Reply::Paired(pairing::pair(desk, pairing.expose(), presented).await?))
            }
            Call::Nonce { authenticator } => {
                proof::find(desk, &authenticator).await?;
                Ok(Reply::Nonce(Nonce { nonce: asked_for(desk, &authenticator)? }))
            }
            Call::Pending { authenticator, nonce, proof } => {
                let signed = Signed::Pending { authenticator: &authenticator, nonce: &nonce };
                let phone = proof::prove(desk, (&authenticator, &nonce), &signed, &proof).await?;
                proof::seen(desk, &phone).await;
                Ok(Reply::Requests(Requests { requests: pending::follow(desk, phone, replies).await? }))
            }
            signed => once(desk, signed).await,
        }
    }
}

/// What a phone has signed, and what has one reply.
async fn once(desk: &Arc<Desk>, call: Call) -> Answer<Reply> {
    match call {
        Call::ConfirmPairing { authenticator, approve, number, nonce, proof } => {
            let (id, number) = (authenticator.as_str(), number.as_ref().map(Secret::expose));
            let signed = Signed::ConfirmPairing { authenticator: id, approve, number, nonce: &nonce };
            let phone = proof::prove(desk, (id, &nonce), &signed, &proof).await?;
            Ok(Reply::PairingConfirmed(pairing::confirm(desk, &phone, (approve, number)).await?))
        }
        Call::Scan { authenticator, qr, nonce, proof } => {
            let signed = Signed::Scan { authenticator: &authenticator, qr: qr.expose(), nonce: &nonce };
            let phone = proof::prove(desk, (&authenticator, &nonce), &signed, &proof).await?;
            proof::seen(desk, &phone).await;
            Ok(Reply::Scanned(Scanned { request: pending::scan(desk, &phone, qr.expose())? }))
        }
        Call::Decide { authenticator, login, approve, number, nonce, proof } => {
            let (id, said) = (authenticator.as_str(), number.as_ref().map(Secret::expose));
            let signed = Signed::Decide { authenticator: id, login: &login, approve, number: said, nonce: &nonce };
            let phone = proof::prove(desk, (id, &nonce), &signed, &proof).await?;
            let (said, desk) = (decide::Said { request: login, approve, number }, Arc::clone(desk));
            // What was signed is decided, be the carrier there to hear of it or not.
            Ok(Reply::Decided(whole(async move { decide::decide(&desk, phone, said).await }).await?))
        }
        Call::OnlineCode { authenticator, login, nonce, proof } => {
            let signed = Signed::OnlineCode { authenticator: &authenticator, login: &login, nonce: &nonce };
            let phone = proof::prove(desk, (&authenticator, &nonce), &signed, &proof).await?;
            proof::seen(desk, &phone).await;
            Ok(Reply::OnlineCode(pending::online_code(desk, &phone, &login).await?))
        }
        Call::Unpair { authenticator, nonce, proof } => {
            let signed = Signed::Unpair { authenticator: &authenticator, nonce: &nonce };
            let phone = proof::prove(desk, (&authenticator, &nonce), &signed, &proof).await?;
            pairing::unpair(desk, phone).await?;
            Ok(Reply::Done(Empty {}))
        }
        _ => unreachable!("the other calls are not signed, or go on"),
    }
}

/// Phones are in reach for as long as the carrier waits here.
async fn carry(desk: &Desk, replies: &mut Replies<'_, AuthenticatorInterface>) -> Answer<Reply> {
    let address = desk.phones.address.clone().ok_or(Error::NoAddress {})?;
    let carrying = Reply::Carrying(Carrying { address });
    if !replies.more() {
        return Ok(carrying);
    }
    let _carrier = desk.phones.carry();
    replies.send(&carrying).await?;
    // Until the carrier hangs up, or the engine ends.
    for_ever().await
}

/// A nonce for what this phone has signed.
fn nonce(desk: &Desk, authenticator: &str, until: BootTime, now: BootTime) -> Result<String, Error> {
    let nonce = token()?;
    desk.phones.nonces().give(authenticator, nonce.clone(), until, now);
    Ok(nonce)
}

/// A nonce that somebody asks for in the name of this phone.
fn asked_for(desk: &Desk, authenticator: &str) -> Result<String, Error> {
    let (nonce, now) = (token()?, (desk.moment)().boot);
    desk.phones.nonces().issue(authenticator, nonce.clone(), now + NONCE_LIFE, now);
    Ok(nonce)
}

/// Runs `work` to its end, also where the caller hangs up.
async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
    tokio::spawn(work).await.unwrap_or_else(|e| Err(Error::StorageFailed { reason: e.to_string() }))
}

#[cfg(test)]
mod tests;
