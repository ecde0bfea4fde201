//! The calls of a setup, of a change, and of a new recovery address; `core::setup` has their life.
//!
//! Calls on one setup are taken one after the other: each holds its turn until it has been answered for. Who waits for a turn finds the setup
//! gone where the one before has finished or cancelled it.

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use super::super::desk::{Desk, Trouble, now, owner, random, stored, stored_as};
use super::super::login::by;
use super::super::login::phone::reconsider;
use super::super::store::{AuditEntry, StoreError, Tx};
use super::changes::{recovery_codes, replace, shown};
use super::export::security_code;
use super::pairing;
use super::{Answer, Caller, DONE, admit, caller, check_password, is_password, tell, whole};
use crate::core::account::{Account, Method, Methods, Refusal};
use crate::core::clock::Moment;
use crate::core::email::Address;
use crate::core::login::{Login, Now};
use crate::core::peer::Peer;
use crate::core::policy::{self, AccountCall, Target};
use crate::core::recovery_code::RecoveryCode;
use crate::core::sessions::Owner;
use crate::core::setup::{self as logic, Confirmation, Purpose, Setup};
use crate::proto::account::{Begun, Call, Error, Finished, Reply, SecurityCode, Setting, SetupStatus};
use crate::proto::secret::Secret;
use crate::proto::varlink::Failure;

/// Answers a call of this kind.
pub(super) async fn call(desk: &Arc<Desk>, peer: &Peer, call: Call) -> Answer<Reply> {
    let kind = call.kind();
    let open = async |name: Secret| find(desk, peer, kind, name).await;
    match call {
        Call::BeginSetup { .. } | Call::BeginChange { .. } | Call::SetRecoveryEmail { .. } => first(desk, peer, call).await,
        Call::SetupStatus { setup } => Ok(Reply::Setup(open(setup).await?.status())),
        Call::ConfirmRecoveryEmail { setup, code } => confirm_email(desk, open(setup).await?, code).await,
        Call::OfferSecurityCode { setup } => Ok(Reply::SecurityCode(offer(desk, open(setup).await?)?)),
        Call::ConfirmSecurityCode { setup, code } => confirm_code(desk, open(setup).await?, &code),
        Call::OfferPairing { method, .. } if !method.needs_authenticator() => Err(Failure::invalid("method")),
        Call::OfferPairing { setup, method } => pairing::offer(desk, open(setup).await?, method).await,
        Call::ConfirmOnlineCode { setup, code } => pairing::confirm_online_code(desk, open(setup).await?, &code),
        Call::FinishSetup { setup, password } => {
            password.as_ref().map_or(Ok(()), is_password)?;
            let (desk, open) = (Arc::clone(desk), open(setup).await?);
            Ok(Reply::Finished(whole(async move { finish(&desk, open, password).await }).await?))
        }
        Call::CancelSetup { setup } => {
            let open = open(setup).await?;
            desk.note_of(open.owner, open.entry("setup_cancelled", None));
            desk.setups().close(open.name.expose());
            desk.phones.changed(open.setup.uid);
            Ok(DONE)
        }
        _ => unreachable!("the other calls are not about setups"),
    }
}

/// The calls that begin one, or go on with one that a login began.
async fn first(desk: &Arc<Desk>, peer: &Peer, call: Call) -> Answer<Reply> {
    let kind = call.kind();
    let from = async |user: Option<String>, login: Option<Secret>| caller(desk, peer, kind, user.as_deref(), login.as_ref()).await;
    match call {
        Call::BeginSetup { user, password, setup, recovery_email } => {
            let caller = from(user, None).await?;
            match (password, setup) {
                (Some(password), None) => Ok(Reply::Begun(begin(desk, caller, Purpose::Setup, password, recovery_email).await?)),
                (None, Some(setup)) => {
                    let open = find(desk, peer, kind, setup).await?;
                    Ok(Reply::Begun(resume(desk, &caller, open, recovery_email).await?))
                }
                (None, None) => Err(Failure::invalid("password")),
                (Some(_), Some(_)) => Err(Failure::invalid("setup")),
            }
        }
        Call::BeginChange { user, password, login } => {
            let caller = from(user, login).await?;
            Ok(Reply::Begun(begin(desk, caller, Purpose::Change, password, None).await?))
        }
        Call::SetRecoveryEmail { user, password, login, recovery_email } => {
            let caller = from(user, login).await?;
            let begun = begin(desk, caller, Purpose::RecoveryEmail, password, Some(recovery_email)).await?;
            Ok(Reply::Setting(Setting { setup: begun.setup }))
        }
        _ => unreachable!("the other calls begin none"),
    }
}

/// An open setup, for one call.
pub(super) struct Open {
    pub(super) name: Secret,
    pub(super) setup: OwnedMutexGuard<Setup>,
    /// Its account, as it is in force.
    account: Account,
    pub(super) now: Now,
    pub(super) owner: Owner,
    by: String,
}

/// The setup of this name, where the peer may touch it and it may still go on.
pub(super) async fn find(desk: &Desk, peer: &Peer, call: AccountCall, name: Secret) -> Result<Open, Error> {
    let open = desk.setups().get(name.expose()).cloned().ok_or(Error::NoSuchSetup {})?;
    let setup = Arc::clone(&open).lock_owned().await;
    let is_there = desk.setups().get(name.expose()).is_some_and(|there| Arc::ptr_eq(there, &open));
    let (uid, user, rank) = (setup.uid, setup.user.clone(), desk.rank(peer));
    let target = Target::Account { own: uid == peer.uid, administrator: false, enabled: false, vouched: false };
    // Whoever may not touch it learns nothing of it.
    let allowed = policy::allow(&rank, policy::Call::Account(call), &target).is_ok();
    if !is_there || !allowed {
        return Err(Error::NoSuchSetup {});
    }
    let moment = desk.clocks().await.map_err(Error::from)?;
    let (account, now) = desk.store.read(move |view| Ok((stored_as(view, uid, &user)?.account, now(view, moment)?))).await?;
    setup.still_stands(&account, moment.boot)?;
    Ok(Open { name, setup, account, now, owner: owner(&rank, peer, uid), by: by(peer) })
}

impl Open {
    fn status(&self) -> SetupStatus {
        let progress = self.setup.progress(&self.account);
        SetupStatus {
            user: self.setup.user.clone(),
            ready: progress.ready.iter().collect(),
            missing: progress.missing.iter().collect(),
            recovery_email: progress.recovery_email,
            expires_in: self.setup.expires_in(self.now.moment.boot),
        }
    }

    pub(super) fn entry(&self, event: &str, detail: Option<String>) -> AuditEntry {
        let (at, user, by) = (self.now.moment.wall, Some(self.setup.user.clone()), self.by.clone());
        AuditEntry { at, event: event.into(), user, by, detail, ..AuditEntry::default() }
    }
}

/// Begins one by the account's password.
async fn begin(desk: &Arc<Desk>, caller: Caller, purpose: Purpose, password: Secret, address: Option<String>) -> Answer<Begun> {
    is_password(&password)?;
    // Before the password, so that nobody types it twice for a slip in the address.
    address.as_deref().map_or(Ok(()), is_address)?;
    admit(desk, &caller).await?;
    let desk = Arc::clone(desk);
    whole(async move {
        check_password(&desk, (&caller.person.name, caller.owner), &caller.by, password).await?;
        let person = Arc::clone(&caller.person);
        let account = desk.store.read(move |view| Ok(stored(view, &person)?.account)).await.map_err(Error::from)?;
        // Again: it may have been turned on while the password was checked.
        caller.allowed(&account).map_err(Error::from)?;
        let account_of = (caller.person.uid, caller.person.name.as_str());
        let setup = Setup::begin(account_of, purpose, &account, desk.facilities(), (desk.moment)().boot).map_err(Error::from)?;
        let setup = match address {
            Some(address) => with_address(&desk, &setup, &address).await?,
            None => setup,
        };
        desk.note_of(caller.owner, caller.entry((desk.moment)().wall, begun(purpose), None));
        let (available, expires_in) = (setup.available().iter().collect(), setup.expires_in((desk.moment)().boot));
        let setup = desk.open_setup(caller.owner, setup).map_err(Error::from)?;
        // Whose phones another one has made room for it.
        desk.phones.changed(caller.person.uid);
        Ok(Begun { setup, available, expires_in })
    })
    .await
}

/// Goes on with one that a login gave, or that its own user has lost sight of.
async fn resume(desk: &Arc<Desk>, caller: &Caller, mut open: Open, address: Option<String>) -> Answer<Begun> {
    if open.setup.uid != caller.person.uid || open.setup.purpose() != Purpose::Setup {
        return Err(Error::NoSuchSetup {}.into());
    }
    let desk = Arc::clone(desk);
    whole(async move {
        if let Some(address) = address {
            *open.setup = with_address(&desk, &open.setup, &address).await?;
        }
        desk.note_of(open.owner, open.entry(begun(Purpose::Setup), None));
        let (available, expires_in) = (open.setup.available().iter().collect(), open.setup.expires_in((desk.moment)().boot));
        Ok(Begun { setup: open.name, available, expires_in })
    })
    .await
}

fn begun(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Setup => "setup_begun",
        Purpose::Change => "change_begun",
        Purpose::RecoveryEmail => "recovery_email_begun",
    }
}

fn is_address(text: &str) -> Answer<()> {
    Address::parse(text).map(drop).map_err(|fault| Error::from(Refusal::InvalidEmail(fault)).into())
}

/// The setup with this address, and a code on its way to it. Where no code could be sent, the setup stays what it was.
async fn with_address(desk: &Desk, setup: &Setup, address: &str) -> Result<Setup, Error> {
    let (mut setup, random, boot) = (setup.clone(), random()?, (desk.moment)().boot);
    let mail = desk.with_mail_budget(setup.uid, |budget| setup.set_email(address, desk.facilities(), (budget, random), boot))?;
    if let Some(mail) = mail {
        let sent = desk.mailer.send_code(&mail, &setup.user, &desk.host).await;
        sent.map_err(|reason| Error::MethodUnavailable { method: Method::EmailCode, reason })?;
    }
    Ok(setup)
}

async fn confirm_email(desk: &Arc<Desk>, mut open: Open, code: Secret) -> Answer<Reply> {
    let desk = Arc::clone(desk);
    whole(async move {
        let boot = open.now.moment.boot;
        let (outcome, hint) = open.setup.confirm_email(code.expose(), boot);
        if outcome != Confirmation::Confirmed {
            desk.note_of(open.owner, open.entry("recovery_email_wrong", None));
        } else if open.setup.purpose() == Purpose::RecoveryEmail {
            change_address(&desk, &open).await?;
            desk.setups().close(open.name.expose());
        }
        Ok(Reply::Confirmed((outcome, hint).into()))
    })
    .await
}

/// Puts the confirmed address of an enabled account into force.
async fn change_address(desk: &Desk, open: &Open) -> Result<(), Error> {
    let (setup, boot, entry) = (open.setup.clone(), open.now.moment.boot, open.entry("recovery_email_changed", None));
    let told = entry.clone();
    let changed = desk.store.write(move |tx| {
        let mut stored = stored_as(tx, setup.uid, &setup.user)?;
        match setup.finish_email(&stored.account, boot) {
            Ok(account) => stored.account = account,
            Err(refusal) => return Ok(Err(Error::from(refusal))),
        }
        tx.save(&stored)?;
        tx.audit(&entry).map(Ok)
    });
    changed.await??;
    reconsider(desk, open.setup.uid).await;
    tell(&told);
    Ok(())
}

fn offer(desk: &Desk, mut open: Open) -> Result<SecurityCode, Error> {
    if open.setup.purpose() == Purpose::RecoveryEmail {
        return Err(Error::NoSuchSetup {});
    }
    let mut random = zeroize::Zeroizing::new([0; 20]);
    getrandom::fill(&mut *random).map_err(|e| Trouble::Storage(format!("no random numbers: {e}")))?;
    let user = open.setup.user.clone();
    Ok(security_code(open.setup.offer_security_code(*random), &desk.host, &user))
}

/// Nothing is waited for from the judgement on, so no hang-up comes between.
fn confirm_code(desk: &Desk, mut open: Open, code: &Secret) -> Answer<Reply> {
    let unavailable = |reason: String| Error::MethodUnavailable { method: Method::SecurityCode, reason };
    let time = open.now.time.map_err(|fault| unavailable(fault.to_string()))?;
    let confirmed = open.setup.confirm_security_code(code.expose(), time);
    if confirmed.0 != Confirmation::Confirmed {
        desk.note_of(open.owner, open.entry("setup_code_wrong", None));
    } else {
        end_former(desk, &mut open.setup);
    }
    Ok(Reply::Confirmed(confirmed.into()))
}

/// Whoever has confirmed a code goes on here: the setups that this one follows are void, and whoever waits for a phone in one waits in vain.
fn end_former(desk: &Desk, setup: &mut Setup) {
    for name in setup.takes_over() {
        drop(desk.setups().close(&name));
        desk.phones.leave(&name, |_| false);
    }
    desk.phones.changed(setup.uid);
}

/// Puts all of a setup into force, in one commit.
async fn finish(desk: &Desk, open: Open, password: Option<Secret>) -> Answer<Finished> {
    if !open.setup.progress(&open.account).missing.is_empty() {
        return Err(Error::SecurityCodeMissing {}.into());
    }
    match password {
        Some(password) => check_password(desk, (&open.setup.user, open.owner), &open.by, password).await?,
        None if open.setup.wants_password() => return Err(Failure::invalid("password")),
        None => {}
    }
    let codes = recovery_codes().map_err(Error::from)?;
    let list = shown(&codes);
    let (setup, moment, by) = (open.setup.clone(), desk.clocks().await.map_err(Error::from)?, open.by.clone());
    // Opened before the commit, so that nothing can fail after it; until then nobody knows its name.
    let login = verified_login(desk, &open, moment).map_err(Error::from)?;
    let committed = desk.store.write(move |tx| commit(tx, &setup, &codes, moment, by)).await;
    match committed.map_err(Error::from).and_then(|judged| judged) {
        Ok((finished, entry)) => {
            desk.setups().close(open.name.expose());
            reconsider(desk, open.setup.uid).await;
            tell(&entry);
            Ok(Finished {
                methods: finished.account.answerable().iter().collect(),
                preferred: finished.account.preferred.unwrap_or(Method::SecurityCode),
                recovery_codes: if finished.new_recovery_codes { list } else { Vec::new() },
                login,
            })
        }
        Err(error) => {
            login.and_then(|login| desk.logins().close(login.expose()));
            Err(error.into())
        }
    }
}

/// The login that the setup belongs to, as verified.
fn verified_login(desk: &Desk, open: &Open, moment: Moment) -> Result<Option<Secret>, Trouble> {
    let Some(origin) = open.setup.login() else { return Ok(None) };
    let login = Login::verified(origin.clone(), moment.boot, open.account.generation + 1);
    desk.open_login(open.owner, login, moment.boot).map(Some)
}

type Committed = Result<(logic::Finished, AuditEntry), Error>;

fn commit(tx: &Tx<'_>, setup: &Setup, codes: &[RecoveryCode], moment: Moment, by: String) -> Result<Committed, StoreError> {
    let mut stored = stored_as(tx, setup.uid, &setup.user)?;
    let finished = match setup.finish(&stored.account, moment.boot) {
        Ok(finished) => finished,
        Err(refusal) => return Ok(Err(refusal.into())),
    };
    if let Err(refused) = pairing::may_come(tx, setup.uid, &finished.phones)? {
        return Ok(Err(refused));
    }
    stored.account = finished.account.clone();
    match &finished.enrolment {
        Some(enrolment) => tx.save_enrolled(&stored, enrolment)?,
        None => tx.save(&stored)?,
    }
    pairing::come(tx, stored.uid, &finished.phones)?;
    let time = now(tx, moment)?.time.ok();
    let step = finished.enrolment.as_ref().zip(time).map(|(enrolment, time)| enrolment.step(time));
    for (marked, mark) in &finished.marks {
        tx.mark_step(stored.uid, *marked, *mark, step.unwrap_or(*marked))?;
    }
    if finished.new_recovery_codes {
        replace(tx, stored.uid, codes)?;
    }
    if finished.revoke_trusted_devices {
        tx.revoke_devices(stored.uid)?;
    }
    if time.is_some() {
        tx.believe_clock(moment.wall)?;
    }
    let entry = entry(&finished, setup, moment, by);
    tx.audit(&entry)?;
    Ok(Ok((finished, entry)))
}

fn entry(finished: &logic::Finished, setup: &Setup, moment: Moment, by: String) -> AuditEntry {
    let event = if setup.purpose() == Purpose::Setup { "enabled" } else { "changed" };
    let methods = words(finished.account.answerable());
    AuditEntry {
        at: moment.wall,
        event: event.into(),
        user: Some(setup.user.clone()),
        by,
        service: finished.login.as_ref().map(|origin| origin.service.clone()),
        remote: finished.login.as_ref().and_then(|origin| origin.remote.clone()),
        detail: Some(if finished.ends_passwordless { format!("{methods}; passwordless login ended") } else { methods }),
    }
}

fn words(methods: Methods) -> String {
    methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
}
