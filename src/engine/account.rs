//! `io.twostep.Account`: 2-step verification of one's own account.
//!
//! ```text
//! who may? ──► is a second step wanted first? ──► the password ──► one commit ──► the answer
//! ```
//! In this order, so that a stranger learns nothing, and whoever has the password alone changes nothing (B13). What the first two have found is
//! looked at again inside the commit, since a password check takes its time. From the password on all runs to its end, also where the caller
//! hangs up.
//!
//! What decides is in `core`: `policy`, `setup` and `account`. Setups are in `setups`, changes of what is in force in `changes`, what shows a secret
//! again in `export`.

mod changes;
mod export;
mod pairing;
mod setups;

use std::sync::Arc;

use log::info;

use super::desk::{Desk, Trouble, enforcing_groups, owner, stored};
use super::directory::{Directory, Person};
use super::login::{by, domain};
use super::store::{AuditEntry, StoreError};
use crate::core::account::{Account, Status};
use crate::core::peer::Peer;
use crate::core::policy::{self, AccountCall, Denied, Standing, Target};
use crate::core::sessions::Owner;
use crate::core::time::Wall;
use crate::proto::account::{AccountStatus, Authenticator, Call, DESCRIPTION, Error, NAME, Reply, TrustedDevice};
use crate::proto::privileged::{PASSWORD_CAP, PasswordOutcome, is_account};
use crate::proto::secret::Secret;
use crate::proto::varlink::{Empty, Failure, Interface, Replies};

/// What a call comes to.
type Answer<T> = Result<T, Failure<Error>>;

/// The interface.
pub struct AccountInterface(pub Arc<Desk>);

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

impl Interface for AccountInterface {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Answer<Reply> {
        let (desk, kind) = (&self.0, call.kind());
        match call {
            Call::Status { user } => {
                let caller = caller(desk, peer, kind, user.as_deref(), None).await?;
                Ok(Reply::Status(status(desk, &caller.directory, caller.person).await?))
            }
            Call::WaitPairing { setup } => pairing::wait(desk, peer, setup, replies).await,
            Call::BeginSetup { .. }
            | Call::BeginChange { .. }
            | Call::SetupStatus { .. }
            | Call::ConfirmRecoveryEmail { .. }
            | Call::OfferSecurityCode { .. }
            | Call::ConfirmSecurityCode { .. }
            | Call::OfferPairing { .. }
            | Call::ConfirmOnlineCode { .. }
            | Call::FinishSetup { .. }
            | Call::CancelSetup { .. }
            | Call::SetRecoveryEmail { .. } => setups::call(desk, peer, call).await,
            Call::EnableMethod { .. }
            | Call::DisableMethod { .. }
            | Call::SetPreferred { .. }
            | Call::RegenerateRecoveryCodes { .. }
            | Call::RemoveAuthenticator { .. }
            | Call::RemoveTrustedDevice { .. }
            | Call::SetPasswordless { .. }
            | Call::Disable { .. } => changes::call(desk, peer, call).await,
            Call::ExportSecurityCode { password, login } => {
                let caller = caller(desk, peer, kind, None, login.as_ref()).await?;
                export::answer(desk, caller, password).await
            }
        }
    }
}

/// Who calls what about whom, and what lets them.
#[derive(Clone)]
struct Caller {
    rank: Standing,
    kind: AccountCall,
    /// With the caller's share of it.
    directory: Directory,
    person: Arc<Person>,
    own: bool,
    /// The generation of the account for which a recently verified login vouches that is named.
    vouched: Option<u64>,
    owner: Owner,
    by: String,
}

impl Caller {
    /// Whether the call may go on, with the account as it is. A second step that was passed before the account was set up anew, or turned off, was
    /// another one's.
    fn allowed(&self, account: &Account) -> Result<(), Denied> {
        let vouched = self.vouched == Some(account.generation);
        let target = Target::Account { own: self.own, administrator: false, enabled: account.is_enabled(), vouched };
        policy::allow(&self.rank, policy::Call::Account(self.kind), &target)
    }

    fn entry(&self, at: Wall, event: &str, detail: Option<String>) -> AuditEntry {
        let (user, by) = (Some(self.person.name.clone()), self.by.clone());
        AuditEntry { at, event: event.into(), user, by, detail, ..AuditEntry::default() }
    }
}

/// Finds out whose account is meant, and whether the peer may ask for it at all.
async fn caller(desk: &Desk, peer: &Peer, kind: AccountCall, user: Option<&str>, login: Option<&Secret>) -> Answer<Caller> {
    let rank = desk.rank(peer);
    let directory = desk.directory.asked_by(&rank, peer.uid);
    let found = match user {
        Some(user) if !is_account(user) => return Err(Failure::invalid("user")),
        Some(user) => directory.by_name(user).await,
        None => directory.by_uid(peer.uid).await,
    };
    let person = found.map_err(|silent| Error::from(Trouble::from(silent)))?;
    let own = user.is_none() || person.as_ref().is_some_and(|person| person.uid == peer.uid);
    let target = Target::Account { own, administrator: false, enabled: false, vouched: false };
    // Whoever may not ask is not told whether there is such an account.
    policy::allow(&rank, policy::Call::Account(kind), &target).map_err(Error::from)?;
    let person = person.filter(|person| is_account(&person.name)).ok_or(Error::NoSuchAccount {})?;
    let vouched = vouched(desk, &person, login).await;
    let owner = owner(&rank, peer, person.uid);
    Ok(Caller { rank, kind, directory, person, own, vouched, owner, by: by(peer) })
}

async fn vouched(desk: &Desk, person: &Person, login: Option<&Secret>) -> Option<u64> {
    let open = login.and_then(|name| desk.logins().get(name.expose()).cloned())?;
    let login = open.lock().await;
    login.vouches_for(person.uid, (desk.moment)().boot).filter(|_| login.origin.user == person.name)
}

/// Lets a change go on to its password, or asks for the second step first.
async fn admit(desk: &Desk, caller: &Caller) -> Answer<()> {
    let person = Arc::clone(&caller.person);
    let account = desk.store.read(move |view| Ok(stored(view, &person)?.account)).await.map_err(Error::from)?;
    caller.allowed(&account).map_err(|denied| refused(desk, caller, denied).into())
}

/// Writes a refusal down: somebody without the second step is at an account that has one.
fn refused(desk: &Desk, caller: &Caller, denied: Denied) -> Error {
    desk.note_of(caller.owner, caller.entry((desk.moment)().wall, "account_refused", Some(denied.to_string())));
    denied.into()
}

/// Checks the account's password.
async fn check_password(desk: &Desk, (user, owner): (&str, Owner), by: &str, password: Secret) -> Result<(), Error> {
    let entry = |event: &str| {
        let (at, event, user, by) = ((desk.moment)().wall, event.into(), Some(user.into()), by.into());
        AuditEntry { at, event, user, by, ..AuditEntry::default() }
    };
    match desk.root.check_password(user, password).await {
        PasswordOutcome::Accepted {} => Ok(()),
        PasswordOutcome::Wrong { retry_after } => {
            desk.note(entry("password_wrong"));
            Err(Error::WrongPassword { retry_after })
        }
        PasswordOutcome::Waiting { retry_after } => {
            desk.note_of(owner, entry("password_waits"));
            Err(Error::Locked { retry_after: Some(retry_after) })
        }
        PasswordOutcome::Unavailable { reason } => Err(Error::StorageFailed { reason: format!("the password can't be checked: {reason}") }),
    }
}

/// Whether root would look at this password; else it is the wrong parameter and no guess.
fn is_password(password: &Secret) -> Answer<()> {
    let fits = password.expose().len() <= PASSWORD_CAP && !password.expose().contains('\0');
    if fits { Ok(()) } else { Err(Failure::invalid("password")) }
}

/// Runs `work` to its end, also where the caller hangs up.
async fn whole<T: Send + 'static>(work: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
    tokio::spawn(work).await.unwrap_or_else(|e| Err(Error::StorageFailed { reason: e.to_string() }.into()))
}

/// Tells the log what has been committed.
fn tell(entry: &AuditEntry) {
    let AuditEntry { event, user, by, detail, .. } = entry;
    info!(target: "audit", "{event} user={:?} by={by:?} {}", user.as_deref().unwrap_or_default(), detail.as_deref().unwrap_or_default());
}

async fn status(desk: &Desk, directory: &Directory, person: Arc<Person>) -> Result<AccountStatus, Error> {
    let now = (desk.moment)().wall;
    let of = Arc::clone(&person);
    let gathered = desk.store.read(move |view| {
        let stored = stored(view, &person)?;
        let by_group = !enforcing_groups(view, &person)?.is_empty();
        let authenticators = view.authenticators(person.uid)?.into_iter().map(|one| {
            let super::store::Authenticator { id, name, paired_at, last_seen, .. } = one;
            Authenticator { id, name, paired_at, last_seen }
        });
        let trusted_devices = view.trusted_devices(person.uid, now)?.into_iter().map(|one| {
            let super::store::TrustedDevice { id, label, trusted_at, expires_at, last_used, .. } = one;
            TrustedDevice { id, label, trusted_at, expires_at, last_used }
        });
        let account = &stored.account;
        let seen = domain::seen(view, &person, account, !account.is_enforced(by_group))?;
        let status = AccountStatus {
            user: person.name.clone(),
            status: account.status(by_group),
            enforced: account.is_enforced(by_group),
            methods: account.answerable().iter().collect(),
            preferred: account.preferred,
            recovery_email: account.recovery_email.clone(),
            passwordless: account.passwordless,
            authenticators: authenticators.collect(),
            trusted_devices: trusted_devices.collect(),
            recovery_codes_left: account.recovery_codes_left,
        };
        Ok((status, seen))
    });
    let (mut status, seen) = gathered.await?;
    // As its next login is judged.
    if domain::settle(desk, directory, &of, seen).await.is_some() {
        (status.status, status.enforced) = (Status::Incomplete, true);
    }
    Ok(status)
}

const DONE: Reply = Reply::Done(Empty {});
