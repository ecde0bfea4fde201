//! `io.twostep.Admin`: other people's accounts.
//!
//! Who may do what is decided in `core::policy`, once for each subject, inside the very commit that does it: a role that was taken back a moment
//! ago counts no more. What was decided is audited in the same commit, and runs to its end also where the caller has hung up.
//!
//! Not here: backups and starting anew ([`backups`]), lists ([`list`]), enforcement ([`enforce`]), the audit trail ([`trail`]).

mod backups;
mod enforce;
mod list;
mod pages;
mod trail;

use std::sync::Arc;

use log::info;

use super::desk::{Desk, Trouble, namesake};
use super::directory::Person;
use super::login::phone::{reconsider, reconsider_all};
use super::store::{AuditEntry, Lookup, StoreError, Stored, Subject, Tx, View};
use crate::core::account::Method;
use crate::core::clock::Moment;
use crate::core::enforcement::{SubjectKind, may_import};
use crate::core::import;
use crate::core::lockout::Tally;
use crate::core::peer::Peer;
use crate::core::policy::{self, AdminCall, Denied, Role, Standing, Target};
use crate::core::totp::Mark;
use crate::proto::admin::{Call, DESCRIPTION, Delegation, Delegations, Error, NAME, Reply};
use crate::proto::privileged::is_account;
use crate::proto::secret::Secret;
use crate::proto::varlink::{Empty, Failure, Interface, Replies};

/// The interface.
pub struct AdminInterface(pub Arc<Desk>);

impl From<Trouble> for Error {
    fn from(Trouble::Storage(reason): Trouble) -> Self {
        Self::StorageFailed { reason }
    }
}

impl From<StoreError> for Error {
    fn from(e: StoreError) -> Self {
        match e {
            StoreError::NoSuchBackup(name) => Self::NoSuchSubject { name },
            StoreError::Works => Self::DatabaseWorks {},
            e => Self::StorageFailed { reason: e.to_string() },
        }
    }
}

impl Interface for AdminInterface {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        let desk = Arc::clone(&self.0);
        let asker = Asker::admitted(&desk, peer, call.kind()).await?;
        match call {
            Call::List { kind, filter } => list::answer(&desk, kind, filter, replies).await,
            Call::Enforce { users, groups, enforced, dry_run } => {
                let wish = enforce::Wish { users, groups, enforced, dry_run: dry_run.unwrap_or(false) };
                enforce::answer(desk, asker, wish, replies).await
            }
            Call::DisableFor { user } => {
                let person = find(&desk, &user).await?;
                let namesake = namesake(&desk, &person).await.map_err(Error::from)?;
                let act = move |tx: &Tx<'_>, asker: &Asker, standing: &Standing, person: &Person| match namesake {
                    // What is stored is the other's, who still needs it.
                    Some(name) => Err(StoreError::IdentityTaken { uid: person.uid, name }),
                    None => disable_for(tx, asker, standing, person),
                };
                done(whole(help(desk, asker, AdminCall::DisableFor, person, act)).await?)
            }
            Call::Unlock { user } => {
                let person = find(&desk, &user).await?;
                done(whole(help(desk, asker, AdminCall::Unlock, person, unlock)).await?)
            }
            Call::Delegate { subject, role, granted } => {
                named("subject", &subject)?;
                done(whole(delegate(desk, asker, subject, (role, granted))).await?)
            }
            Call::ListDelegations {} => list_delegations(&desk, replies).await,
            Call::Audit { user, limit } => trail::answer(&desk, peer, (user, limit), replies).await,
            Call::Backup {} => Ok(Reply::Backup(whole(backups::make(desk, asker)).await?)),
            Call::ListBackups {} => Ok(Reply::Backups(backups::list(&desk).await?)),
            Call::Restore { name } => done(whole(backups::restore(desk, asker, name)).await?),
            Call::StartAnew { dry_run } => Ok(Reply::StartedAnew(whole(backups::start_anew(desk, asker, dry_run.unwrap_or(false))).await?)),
            Call::Import { user, text } => {
                let person = find(&desk, &user).await?;
                done(whole(import(desk, asker, person, text)).await?)
            }
        }
    }
}

fn done((): ()) -> Result<Reply, Failure<Error>> {
    Ok(Reply::Done(Empty {}))
}

/// Runs a decision to its end, also where the caller hangs up.
async fn whole<T: Send + 'static>(work: impl Future<Output = Result<T, Error>> + Send + 'static) -> Result<T, Error> {
    tokio::spawn(work).await.map_err(|e| Error::StorageFailed { reason: e.to_string() })?
}

/// Refuses what can be nobody's name.
fn named(parameter: &str, name: &str) -> Result<(), Failure<Error>> {
    if is_account(name) { Ok(()) } else { Err(Failure::invalid(parameter)) }
}

async fn find(desk: &Desk, user: &str) -> Result<Arc<Person>, Failure<Error>> {
    named("user", user)?;
    let found = desk.directory.by_name(user).await.map_err(|e| Error::from(Trouble::from(e)))?;
    Ok(found.ok_or_else(|| Error::NoSuchSubject { name: user.into() })?)
}

/// Somebody of whom nothing forbids anything: whoever may not do it to this one may do it to nobody.
const ANYBODY: Target = Target::Account { own: false, administrator: false, enabled: false, vouched: false };

/// Whoever calls. The roles are looked at in each commit anew.
#[derive(Clone)]
struct Asker {
    uid: u32,
    /// Without the delegated roles.
    rank: Standing,
    person: Option<Arc<Person>>,
    /// See [`Desk::moment`].
    moment: fn() -> Moment,
}

impl Asker {
    /// Whoever may make this call at all.
    async fn admitted(desk: &Desk, peer: &Peer, call: AdminCall) -> Result<Self, Error> {
        let mut rank = desk.rank(peer);
        let mut person = None;
        if !rank.root {
            person = desk.directory.asked_by(&rank, peer.uid).by_uid(peer.uid).await.map_err(Trouble::from)?;
            rank.administrator = person.as_deref().is_some_and(|person| desk.is_administrator(person));
        }
        let asker = Self { uid: peer.uid, rank, person, moment: desk.moment };
        match policy::allow(&rank, policy::Call::Admin(call), &ANYBODY) {
            Err(Denied::NoRole) => {
                let roles = asker.clone();
                let standing = desk.store.read(move |view| roles.standing(view)).await?;
                policy::allow(&standing, policy::Call::Admin(call), &ANYBODY)?;
            }
            otherwise => otherwise?,
        }
        Ok(asker)
    }

    /// With the delegated roles of this moment.
    fn standing(&self, view: &View<'_>) -> Result<Standing, StoreError> {
        let mut standing = self.rank;
        if let Some(person) = &self.person {
            let groups = person.groups.iter().map(|group| (group.kind, &group.name));
            for (kind, name) in groups.chain([(person.kind, &person.name)]) {
                standing.delegate |= !view.roles(&Subject { kind, name: name.clone() })?.is_empty();
            }
        }
        Ok(standing)
    }

    fn by(&self) -> String {
        format!("uid {}", self.uid)
    }

    fn entry(&self, event: &str, user: Option<&str>, detail: Option<String>) -> AuditEntry {
        AuditEntry {
            at: (self.moment)().wall,
            event: event.into(),
            user: user.map(Into::into),
            by: self.by(),
            detail,
            ..AuditEntry::default()
        }
    }

    /// A person as the policy sees it. Whose groups are not known in whole may be an administrator.
    fn target(&self, desk: &Desk, person: &Person) -> Target {
        let administrator = desk.is_administrator(person) || person.partial;
        Target::Account { own: person.uid == self.uid, administrator, enabled: false, vouched: false }
    }
}

/// Writes a refusal down and gives it: whoever holds a role is held to it.
fn refused(tx: &Tx<'_>, asker: &Asker, call: AdminCall, user: Option<&str>, why: Error) -> Result<Result<(), Error>, StoreError> {
    let reason = match &why {
        Error::PermissionDenied { reason } | Error::LastWayIn { reason } => reason.clone(),
        _ => return Ok(Err(why)),
    };
    tx.audit(&asker.entry("refused", user, Some(format!("{call:?}: {reason}"))))?;
    Ok(Err(why))
}

type Helped = Result<Result<(), Error>, StoreError>;

/// Helps one person, in one commit, where the asker may.
async fn help(
    desk: Arc<Desk>,
    asker: Asker,
    call: AdminCall,
    person: Arc<Person>,
    act: impl FnOnce(&Tx<'_>, &Asker, &Standing, &Person) -> Helped + Send + 'static,
) -> Result<(), Error> {
    let target = asker.target(&desk, &person);
    let user = person.name.clone();
    let by = asker.by();
    let helped = desk.store.write(move |tx| {
        let standing = asker.standing(tx)?;
        match policy::allow(&standing, policy::Call::Admin(call), &target) {
            Ok(()) => act(tx, &asker, &standing, &person),
            Err(denied) => refused(tx, &asker, call, Some(&person.name), denied.into()),
        }
    });
    let helped = helped.await?;
    // Another account may have made way for this one.
    reconsider_all(&desk).await;
    info!(target: "audit", "{call:?} user={user:?} by={by:?} done={}", helped.is_ok());
    helped
}

fn disable_for(tx: &Tx<'_>, asker: &Asker, standing: &Standing, person: &Person) -> Helped {
    let mut stored = match tx.account(person.uid, &person.name)? {
        Lookup::Known(stored) => stored,
        Lookup::Unknown => return Ok(Err(Error::NotEnabled {})),
        Lookup::Other(_) if standing.root || standing.administrator => return forget(tx, asker, person),
        Lookup::Other(other) => return Err(StoreError::IdentityTaken { uid: other.uid, name: other.name }),
    };
    if stored.account.disable_for().is_err() {
        return Ok(Err(Error::NotEnabled {}));
    }
    tx.save(&stored)?;
    tx.audit(&asker.entry("disabled_for", Some(&person.name), None))?;
    Ok(Ok(()))
}

/// Makes way for a person whose uid or name is stored for somebody who was deleted or renamed, and has neither any more: see [`namesake`].
fn forget(tx: &Tx<'_>, asker: &Asker, person: &Person) -> Helped {
    while let Lookup::Other(gone) = tx.account(person.uid, &person.name)? {
        tx.forget(gone.uid)?;
        let detail = format!("what was stored for uid {} named {}", gone.uid, gone.name);
        tx.audit(&asker.entry("forgotten", Some(&person.name), Some(detail)))?;
    }
    Ok(Ok(()))
}

fn unlock(tx: &Tx<'_>, asker: &Asker, _: &Standing, person: &Person) -> Helped {
    let Lookup::Known(mut stored) = tx.account(person.uid, &person.name)? else { return Ok(Err(Error::NotEnabled {})) };
    if !stored.account.is_enabled() && stored.account.failures.is_clear() {
        return Ok(Err(Error::NotEnabled {}));
    }
    let Tally { real, claimed } = stored.account.failures;
    let detail = format!("{} wrong answers in a row, and {} by processes of its own", real.in_a_row, claimed.in_a_row);
    stored.account.failures.reset();
    tx.save(&stored)?;
    tx.audit(&asker.entry("unlocked", Some(&person.name), Some(detail)))?;
    Ok(Ok(()))
}

/// A user first, else a group, by canonical name.
async fn subject(desk: &Desk, name: &str) -> Result<Option<Subject>, Error> {
    if let Some(person) = desk.directory.by_name(name).await.map_err(Trouble::from)? {
        return Ok(Some(Subject { kind: person.kind, name: person.name.clone() }));
    }
    let team = desk.directory.group(name).await.map_err(Trouble::from)?;
    Ok(team.map(|team| Subject { kind: team.kind, name: team.name }))
}

async fn delegate(desk: Arc<Desk>, asker: Asker, name: String, (role, granted): (Role, bool)) -> Result<(), Error> {
    let known = match subject(&desk, &name).await {
        // What was given to somebody who is gone, or can't be looked up, can still be taken back.
        Ok(None) | Err(_) if !granted => None,
        Ok(None) => return Err(Error::NoSuchSubject { name }),
        other => other?,
    };
    let write = desk.store.write(move |tx| {
        let standing = asker.standing(tx)?;
        if let Err(denied) = policy::allow(&standing, policy::Call::Admin(AdminCall::Delegate), &Target::None) {
            return refused(tx, &asker, AdminCall::Delegate, None, denied.into());
        }
        let subjects: Vec<Subject> = match known {
            Some(known) => vec![known],
            None => tx.delegations()?.into_iter().map(|(subject, _)| subject).filter(|subject| subject.name == name).collect(),
        };
        if subjects.is_empty() {
            return Ok(Err(Error::NoSuchSubject { name }));
        }
        for subject in subjects {
            if tx.set_delegated(&subject, role, granted)? {
                let event = if granted { "delegated" } else { "delegation_ended" };
                let (user, whom) = who(&subject);
                tx.audit(&asker.entry(event, user, Some(format!("{} to {whom}", role.as_str()))))?;
            }
        }
        Ok(Ok(()))
    });
    write.await?
}

/// For the trail: the account, where it is one, and the subject in words.
fn who(subject: &Subject) -> (Option<&str>, String) {
    match subject.kind {
        SubjectKind::LocalUser | SubjectKind::DomainUser => (Some(&subject.name), subject.name.clone()),
        SubjectKind::LocalGroup | SubjectKind::DomainGroup => (None, format!("group {}", subject.name)),
    }
}

async fn list_delegations(desk: &Desk, replies: &mut Replies<'_, AdminInterface>) -> Result<Reply, Failure<Error>> {
    let found = desk.store.read(|view| view.delegations()).await.map_err(Error::from)?;
    let all = found.into_iter().map(|(subject, role)| Delegation { subject: subject.name, role: role.as_str().into() });
    pages::send(all, replies, |delegations| Reply::Delegations(Delegations { delegations })).await
}

async fn import(desk: Arc<Desk>, asker: Asker, person: Arc<Person>, text: Secret) -> Result<(), Error> {
    let imported = import::parse(text.expose(), &person.name)?;
    drop(text);
    let moment = (desk.moment)();
    let uid = person.uid;
    let imported = desk.store.write(move |tx| take_over(tx, &asker, &person, &imported, moment)).await?;
    reconsider(&desk, uid).await;
    imported
}

fn take_over(tx: &Tx<'_>, asker: &Asker, person: &Person, imported: &import::Imported, moment: Moment) -> Helped {
    let mut stored = match tx.account(person.uid, &person.name)? {
        Lookup::Known(stored) => stored,
        Lookup::Unknown => Stored::new(person.uid, &person.name),
        Lookup::Other(other) => return Err(StoreError::IdentityTaken { uid: other.uid, name: other.name }),
    };
    if let Err(lost) = may_import(&person.name, &stored.account) {
        return refused(tx, asker, AdminCall::Import, Some(&person.name), lost.into());
    }
    let account = &mut stored.account;
    account.methods = account.methods.with(Method::SecurityCode);
    account.preferred = Some(Method::SecurityCode);
    account.generation += 1;
    account.failures.reset();
    tx.save_enrolled(&stored, &imported.enrolment)?;
    tx.revoke_devices(person.uid)?;
    let step = super::desk::now(tx, moment)?.time.ok().map(|time| imported.enrolment.step(time));
    for used in &imported.used {
        tx.mark_step(person.uid, *used, Mark::Used, step.unwrap_or(*used))?;
    }
    let left_out = (!imported.left_out.is_empty()).then(|| format!("left out: {}", imported.left_out.join(", ")));
    tx.audit(&asker.entry("imported", Some(&person.name), left_out))?;
    Ok(Ok(()))
}
