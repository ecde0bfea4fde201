//! Changes of what is in force that need no setup: methods on and off, recovery codes, devices, passwordless login, the end of it all.

use std::sync::Arc;

use super::super::desk::{Desk, Trouble, enforcing_groups, stored};
use super::super::login::phone::reconsider;
use super::super::login::{domain, normal};
use super::super::store::{StoreError, Stored, Tx};
use super::{Answer, Caller, DONE, admit, caller, check_password, is_password, tell, whole};
use crate::core::account::{Account, Refusal};
use crate::core::peer::Peer;
use crate::core::recovery_code::{self, RecoveryCode};
use crate::proto::account::{Call, Error, RecoveryCodes, Reply};
use crate::proto::secret::Secret;
use crate::proto::varlink::Failure;

/// The longest name of a device that is looked for, in bytes.
const ID_CAP: usize = 64;

/// Answers a call of this kind.
pub(super) async fn call(desk: &Arc<Desk>, peer: &Peer, call: Call) -> Answer<Reply> {
    let kind = call.kind();
    let from = async |user: Option<String>, login: Option<Secret>| caller(desk, peer, kind, user.as_deref(), login.as_ref()).await;
    match call {
        Call::EnableMethod { user, password, login, method } => {
            let deed = Deed::about("method_enabled", method.as_str());
            let act = move |by: &mut Hand<'_, '_>| {
                let has_phone = !by.tx.authenticators(by.stored.uid)?.is_empty();
                Ok(by.account().enable_method(method, has_phone)?)
            };
            change(desk, from(user, login).await?, Some(password), deed, act).await
        }
        Call::DisableMethod { user, password, login, method } => {
            let deed = Deed::about("method_disabled", method.as_str());
            change(desk, from(user, login).await?, Some(password), deed, move |by| Ok(by.account().disable_method(method)?)).await
        }
        Call::SetPreferred { user, method } => {
            let deed = Deed::about("preferred_method", method.as_str());
            change(desk, from(user, None).await?, None, deed, move |by| Ok(by.account().set_preferred(method)?)).await
        }
        other => others(desk, peer, other).await,
    }
}

/// The changes that are about no single method.
async fn others(desk: &Arc<Desk>, peer: &Peer, call: Call) -> Answer<Reply> {
    let kind = call.kind();
    let from = async |user: Option<String>, login: Option<Secret>| caller(desk, peer, kind, user.as_deref(), login.as_ref()).await;
    match call {
        Call::SetPasswordless { user, password, passwordless } => {
            let deed = Deed { enforced_forbids: passwordless, ..Deed::about("passwordless", if passwordless { "on" } else { "off" }) };
            let act = move |by: &mut Hand<'_, '_>| Ok(by.stored.account.set_passwordless(passwordless, by.by_group)?);
            change(desk, from(user, None).await?, Some(password), deed, act).await
        }
        Call::Disable { user, password, login } => {
            let act = |by: &mut Hand<'_, '_>| Ok(by.stored.account.disable(by.by_group)?);
            let deed = Deed { enforced_forbids: true, ..Deed::plain("disabled") };
            change(desk, from(user, login).await?, Some(password), deed, act).await
        }
        Call::RemoveTrustedDevice { user, id } => {
            let id = known(id)?;
            let deed = Deed::about("trusted_device_removed", &id);
            let act = move |by: &mut Hand<'_, '_>| if by.tx.revoke_device(by.stored.uid, &id)? { Ok(()) } else { Err(Stop::invalid("id")) };
            change(desk, from(user, None).await?, None, deed, act).await
        }
        Call::RemoveAuthenticator { user, password, login, id } => {
            let id = known(id)?;
            let deed = Deed::about("authenticator_removed", &id);
            change(desk, from(user, login).await?, Some(password), deed, move |by| remove_authenticator(by, &id)).await
        }
        Call::RegenerateRecoveryCodes { user, password, login } => {
            let codes = recovery_codes().map_err(Error::from)?;
            let reply = RecoveryCodes { recovery_codes: shown(&codes) };
            let act = move |by: &mut Hand<'_, '_>| regenerate(by, &codes);
            change(desk, from(user, login).await?, Some(password), Deed::plain("recovery_codes_replaced"), act).await?;
            Ok(Reply::RecoveryCodes(reply))
        }
        _ => unreachable!("the other calls are not changes"),
    }
}

/// What is done, as the audit trail names it.
struct Deed {
    event: &'static str,
    detail: Option<String>,
    /// Not for whom enforcement reaches.
    enforced_forbids: bool,
}

impl Deed {
    fn plain(event: &'static str) -> Self {
        Self { event, detail: None, enforced_forbids: false }
    }

    fn about(event: &'static str, detail: &str) -> Self {
        Self { event, detail: Some(detail.into()), enforced_forbids: false }
    }
}

/// What a deed works on, inside the commit.
struct Hand<'a, 'b> {
    tx: &'a Tx<'b>,
    stored: Stored,
    /// A group of the account is enforced.
    by_group: bool,
}

impl Hand<'_, '_> {
    fn account(&mut self) -> &mut Account {
        &mut self.stored.account
    }
}

/// Why a deed is not done. A refusal comes before anything was written.
enum Stop {
    Store(StoreError),
    Refused(Failure<Error>),
}

impl Stop {
    fn invalid(parameter: &str) -> Self {
        Self::Refused(Failure::invalid(parameter))
    }
}

impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Error::from(refusal).into())
    }
}

/// Does one deed, after the password where one is wanted.
async fn change<F>(desk: &Arc<Desk>, caller: Caller, password: Option<Secret>, deed: Deed, act: F) -> Answer<Reply>
where
    F: FnOnce(&mut Hand<'_, '_>) -> Result<(), Stop> + Send + 'static,
{
    password.as_ref().map_or(Ok(()), is_password)?;
    admit(desk, &caller).await?;
    let desk = Arc::clone(desk);
    whole(async move {
        if let Some(password) = password {
            check_password(&desk, (&caller.person.name, caller.owner), &caller.by, password).await?;
        }
        let in_none_of = if deed.enforced_forbids { Some(not_a_member_of(&desk, &caller).await?) } else { None };
        let entry = caller.entry((desk.moment)().wall, deed.event, deed.detail);
        let (told, uid) = (entry.clone(), caller.person.uid);
        let done = desk.store.write(move |tx| match commit(tx, &caller, in_none_of.as_deref(), act) {
            Ok(()) => tx.audit(&entry).map(Ok),
            Err(Stop::Refused(failure)) => Ok(Err(failure)),
            Err(Stop::Store(e)) => Err(e),
        });
        done.await.map_err(Error::from)??;
        reconsider(&desk, uid).await;
        tell(&told);
        Ok(DONE)
    })
    .await
}

/// For so many enforced domain groups the domain is asked; where there are more, nobody knows of the others.
const ASKED: u32 = 64;

/// The enforced domain groups that the caller's account is certainly in none of.
async fn not_a_member_of(desk: &Desk, caller: &Caller) -> Result<Vec<String>, Error> {
    let person = Arc::clone(&caller.person);
    let groups = desk.store.read(move |view| domain::unlisted(view, &person, ASKED)).await?;
    Ok(domain::left(desk, &caller.directory, &caller.person, &groups).await)
}

/// `in_none_of`: enforcement forbids the deed, and may come from any enforced domain group but these.
fn commit(
    tx: &Tx<'_>,
    caller: &Caller,
    in_none_of: Option<&[String]>,
    act: impl FnOnce(&mut Hand<'_, '_>) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let stored = stored(tx, &caller.person)?;
    // Again, in the very commit: it may have been turned on while the password was checked.
    caller.allowed(&stored.account).map_err(|denied| Stop::Refused(Error::from(denied).into()))?;
    let by_group = !enforcing_groups(tx, &caller.person)?.is_empty();
    let before = stored.account.clone();
    let mut hand = Hand { tx, stored, by_group };
    act(&mut hand)?;
    if let Some(in_none_of) = in_none_of.filter(|_| !before.recovered) {
        let unlisted = domain::unlisted(tx, &caller.person, u32::MAX)?;
        if let Some(group) = unlisted.into_iter().find(|group| !in_none_of.contains(group)) {
            let reason =
                format!("whether the domain group {group}, which has to have a second step, has this account can't be looked up now");
            return Err(Stop::Refused(Error::StorageFailed { reason }.into()));
        }
    }
    if hand.stored.account != before {
        tx.save(&hand.stored)?;
    }
    Ok(())
}

/// With the last phone go the methods that need one, and with any the logins that vouch: also the one that has let the caller do this.
fn remove_authenticator(by: &mut Hand<'_, '_>, id: &str) -> Result<(), Stop> {
    let phones = by.tx.authenticators(by.stored.uid)?;
    if !phones.iter().any(|phone| phone.id == id) {
        return Err(Stop::invalid("id"));
    }
    by.tx.remove_authenticator(by.stored.uid, id)?;
    by.account().lose_phone(phones.len() == 1);
    Ok(())
}

fn regenerate(by: &mut Hand<'_, '_>, codes: &[RecoveryCode]) -> Result<(), Stop> {
    if !by.stored.account.is_enabled() {
        return Err(Refusal::NotEnabled.into());
    }
    by.account().regenerated_codes();
    Ok(replace(by.tx, by.stored.uid, codes)?)
}

/// Puts a new list in the place of the former one.
pub(super) fn replace(tx: &Tx<'_>, uid: u32, codes: &[RecoveryCode]) -> Result<(), StoreError> {
    let codes: Vec<Secret> = codes.iter().map(normal).collect();
    tx.replace_recovery_codes(uid, &codes)
}

/// A new list.
pub(super) fn recovery_codes() -> Result<Vec<RecoveryCode>, Trouble> {
    let fresh = |_| {
        let mut random = zeroize::Zeroizing::new([0; recovery_code::BYTES]);
        getrandom::fill(&mut *random).map_err(|e| Trouble::Storage(format!("no random numbers: {e}")))?;
        Ok(RecoveryCode::new(*random))
    };
    (0..recovery_code::COUNT).map(fresh).collect()
}

/// The list as its owner sees it, once.
pub(super) fn shown(codes: &[RecoveryCode]) -> Vec<Secret> {
    codes.iter().map(|code| Secret::new(code.shown().to_string())).collect()
}

/// The name of a device.
fn known(id: String) -> Answer<String> {
    let fits = !id.is_empty() && id.len() <= ID_CAP && id.chars().all(|c| c.is_ascii_graphic());
    if fits { Ok(id) } else { Err(Failure::invalid("id")) }
}
