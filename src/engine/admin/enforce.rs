//! Enforcing 2-step verification on users and groups, and ending that (Q20, B7).
//!
//! The directory is asked first, for everybody whom the change may concern; what is stored of them is read, decided on and written in one
//! commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use log::info;

use super::pages::{self, PAGE, weight};
use super::{AdminInterface, Asker, named, refused, whole};
use crate::core::account::{Account, Status};
use crate::core::enforcement::{self, Change, Enforced, SubjectKind, User, keeps_a_way_in};
use crate::core::policy::{self, AdminCall, Target};
use crate::engine::desk::{Desk, Trouble};
use crate::engine::directory::Person;
use crate::engine::login::domain;
use crate::engine::store::{Lookup, StoreError, Stored, Subject, Tx, View};
use crate::proto::admin::{self as wire, Changed, Error, Reply};
use crate::proto::varlink::{Failure, Replies, ServiceError};

/// The most users and groups in one call.
const SUBJECTS: usize = 1000;

/// What is asked for.
pub struct Wish {
    /// By name.
    pub users: Vec<String>,
    /// By name.
    pub groups: Vec<String>,
    /// On or off.
    pub enforced: bool,
    /// Only tell.
    pub dry_run: bool,
}

/// Decides, writes, and tells whose status changes.
pub async fn answer(desk: Arc<Desk>, asker: Asker, wish: Wish, replies: &mut Replies<'_, AdminInterface>) -> Result<Reply, Failure<Error>> {
    for (parameter, names) in [("users", &wish.users), ("groups", &wish.groups)] {
        if names.len() > SUBJECTS {
            return Err(Failure::invalid(parameter));
        }
        names.iter().try_for_each(|name| named(parameter, name))?;
    }
    let dry_run = wish.dry_run;
    let wanted = gather(&desk, wish).await?;
    let room = if replies.more() { usize::MAX } else { PAGE };
    let done = whole(async move { carry_out(desk, asker, wanted, (dry_run, room)).await });
    // A list that fits no single reply is told before anything is changed.
    let Some(changed) = done.await? else { return Err(Failure::Service(ServiceError::ExpectedMore {})) };
    pages::send(changed, replies, |changed| Reply::Changed(Changed { changed })).await
}

/// The wish, with all that the directory knows about it.
struct Wanted {
    enforced: bool,
    users: Vec<Arc<Person>>,
    groups: Vec<Wanting>,
    /// Named groups that the directory does not know, or can't look up now: only an end of enforcement can be meant.
    gone: Vec<Gone>,
    /// Everybody whom it may concern, and all administrators, by name.
    concerned: BTreeMap<String, Arc<Person>>,
    /// Some of the administrators can't be looked up now.
    partial: bool,
}

/// One of its groups.
struct Wanting {
    subject: Subject,
    members: Vec<Arc<Person>>,
    /// Some of the members can't be looked up now.
    partial: bool,
}

/// One that is known by its stored name alone, and what to say where it is not stored.
struct Gone {
    name: String,
    why: Error,
}

async fn gather(desk: &Desk, wish: Wish) -> Result<Wanted, Error> {
    let mut users = Vec::new();
    for (name, found) in wish.users.iter().zip(desk.directory.people(&wish.users).await) {
        users.push(found.map_err(Trouble::from)?.ok_or_else(|| Error::NoSuchSubject { name: name.clone() })?);
    }
    let (mut groups, mut gone) = (Vec::new(), Vec::new());
    for name in wish.groups {
        let why = match desk.directory.group(&name).await {
            Ok(Some(team)) => {
                let (members, partial) = existing(desk, &team.members, wish.enforced).await?;
                groups.push(Wanting { subject: Subject { kind: team.kind, name: team.name }, members, partial });
                continue;
            }
            Ok(None) => Error::NoSuchSubject { name: name.clone() },
            Err(silent) => Trouble::from(silent).into(),
        };
        // What is enforced on a group that nobody can look up can still be ended.
        if wish.enforced {
            return Err(why);
        }
        gone.push(Gone { name, why });
    }
    let (administrators, partial) = administrators(desk, wish.enforced).await?;
    let everybody = users.iter().chain(groups.iter().flat_map(|group| &group.members)).chain(&administrators);
    let concerned = everybody.map(|person| (person.name.clone(), Arc::clone(person))).collect();
    Ok(Wanted { enforced: wish.enforced, users, groups, gone, concerned, partial })
}

/// Those of the names that are users, and whether there may be more. Where `all` are wanted, each has to be known.
async fn existing(desk: &Desk, names: &[String], all: bool) -> Result<(Vec<Arc<Person>>, bool), Error> {
    let (mut users, mut partial) = (Vec::new(), false);
    for found in desk.directory.people(names).await {
        match found {
            Ok(user) => users.extend(user),
            Err(silent) if all => return Err(Trouble::from(silent).into()),
            Err(_) => partial = true,
        }
    }
    Ok((users, partial))
}

/// All administrators; where enforcement ends, which takes nobody's way in, those that can be looked up, and whether there may be more.
async fn administrators(desk: &Desk, all: bool) -> Result<(Vec<Arc<Person>>, bool), Error> {
    let (mut users, mut partial) = (Vec::new(), false);
    for group in &desk.config.recovery.administrators {
        match desk.directory.group(group).await {
            Ok(Some(team)) => {
                let (members, more) = existing(desk, &team.members, all).await?;
                users.extend(members);
                partial |= more;
            }
            Ok(None) => {}
            Err(silent) if all => return Err(Trouble::from(silent).into()),
            Err(_) => partial = true,
        }
    }
    users.extend(desk.directory.by_uid(0).await.map_err(Trouble::from)?);
    Ok((users, partial))
}

/// What changes; nothing where that does not fit `room`, and nothing is changed then.
async fn carry_out(
    desk: Arc<Desk>,
    asker: Asker,
    wanted: Wanted,
    (dry_run, room): (bool, usize),
) -> Result<Option<Vec<wire::Change>>, Error> {
    let (store, by, enforced) = (desk.store.clone(), asker.by(), wanted.enforced);
    let plan = move |view: &View<'_>| Plan::make(view, &desk, &asker, &wanted).map(|plan| (plan, asker, wanted));
    if dry_run {
        let (plan, ..) = store.read(plan).await?;
        return Ok(plan?.fitting(room));
    }
    let done = store.write(move |tx| {
        let (plan, asker, wanted) = plan(tx)?;
        match plan {
            Ok(mut plan) => {
                let told = plan.fitting(room);
                if told.is_some() {
                    plan.write(tx, &asker, &wanted)?;
                }
                Ok(Ok(told))
            }
            Err(why) => refused(tx, &asker, AdminCall::Enforce, None, why).map(|refused| refused.map(|()| None)),
        }
    });
    let done = done.await?;
    info!(target: "audit", "Enforce enforced={enforced} by={by:?} done={}", done.is_ok());
    done
}

/// What is to be written, and whose status that changes.
struct Plan {
    users: Vec<Stored>,
    groups: Vec<Subject>,
    changed: Vec<enforcement::Changed>,
}

impl Plan {
    fn make(view: &View<'_>, desk: &Desk, asker: &Asker, wanted: &Wanted) -> Result<Result<Self, Error>, StoreError> {
        let standing = asker.standing(view)?;
        let mut subjects: Vec<Target> = wanted.users.iter().map(|person| asker.target(desk, person)).collect();
        subjects.extend(wanted.groups.iter().map(|group| group_target(desk, asker, wanted, group)));
        for target in subjects {
            if let Err(denied) = policy::allow(&standing, policy::Call::Admin(AdminCall::Enforce), &target) {
                return Ok(Err(denied.into()));
            }
        }
        let mut users: BTreeMap<u32, Stored> = BTreeMap::new();
        for person in &wanted.users {
            users.insert(person.uid, crate::engine::desk::stored(view, person)?);
        }
        let mut groups: Vec<Subject> = wanted.groups.iter().map(|group| group.subject.clone()).collect();
        for Gone { name, why } in &wanted.gone {
            let found = enforced_by_name(view, name)?;
            // Of a group that nobody can look up a delegate can't be told whether it is in reach.
            if found.is_empty() || !(standing.root || standing.administrator) {
                return Ok(Err(why.clone()));
            }
            groups.extend(found);
        }
        for hidden in hidden(view, wanted)? {
            if !(standing.root || standing.administrator) {
                return Ok(Err(Error::StorageFailed { reason: format!("the domain's group {} can't be looked up", hidden.name) }));
            }
            groups.push(hidden);
        }
        Ok(match change(view, desk, wanted, &groups)? {
            Ok(changed) => Ok(Self { users: users.into_values().collect(), groups, changed }),
            Err(lost) => Err(lost.into()),
        })
    }

    fn fitting(&self, room: usize) -> Option<Vec<wire::Change>> {
        let told: Vec<wire::Change> = self.changed.iter().cloned().map(Into::into).collect();
        (told.iter().map(weight).sum::<usize>() <= room).then_some(told)
    }

    fn write(&mut self, tx: &Tx<'_>, asker: &Asker, wanted: &Wanted) -> Result<(), StoreError> {
        let enforced = wanted.enforced;
        let event = if enforced { "enforced" } else { "enforcement_ended" };
        for stored in self.users.iter_mut().filter(|stored| stored.account.enforced != enforced) {
            stored.account.enforced = enforced;
            tx.save(stored)?;
            tx.audit(&asker.entry(event, Some(&stored.name), None))?;
        }
        for group in &self.groups {
            if tx.set_group_enforced(group, enforced)? {
                tx.audit(&asker.entry(event, None, Some(format!("group {}", group.name))))?;
            }
        }
        for group in wanted.groups.iter().filter(|group| enforced && group.subject.kind == SubjectKind::DomainGroup) {
            for member in group.members.iter().filter(|member| domain::counts_on_doubt(member)) {
                tx.keep_groups(member.uid, &member.name, std::slice::from_ref(&group.subject.name), &[])?;
            }
        }
        Ok(())
    }
}

/// Enforced groups of the domain that are meant though a local group has their name: where enforcement ends, and the local one has none to end.
fn hidden(view: &View<'_>, wanted: &Wanted) -> Result<Vec<Subject>, StoreError> {
    let mut hidden = Vec::new();
    for Wanting { subject, .. } in wanted.groups.iter().filter(|group| !wanted.enforced && group.subject.kind == SubjectKind::LocalGroup) {
        let found = enforced_by_name(view, &subject.name)?;
        hidden.extend(found.into_iter().next().filter(|first| first.kind != SubjectKind::LocalGroup));
    }
    Ok(hidden)
}

fn enforced_by_name(view: &View<'_>, name: &str) -> Result<Vec<Subject>, StoreError> {
    let mut found = Vec::new();
    for kind in [SubjectKind::LocalGroup, SubjectKind::DomainGroup] {
        let subject = Subject { kind, name: name.into() };
        if view.is_group_enforced(&subject)? {
            found.push(subject);
        }
    }
    Ok(found)
}

/// A group as the policy sees it. Members are asked for their groups too: a directory may not list the members of a group.
fn group_target(desk: &Desk, asker: &Asker, wanted: &Wanted, group: &Wanting) -> Target {
    let within = |person: &Person| person.groups.iter().any(|g| g.kind == group.subject.kind && g.name == group.subject.name);
    let listed = |person: &Person| group.members.iter().any(|member| member.uid == person.uid);
    let is_in = |person: &Person| within(person) || listed(person);
    let own = asker.person.as_deref().is_some_and(|person| person.partial || is_in(person));
    // Whoever can't be looked up may be one of them.
    let unknown = group.partial || wanted.partial;
    let reaches = unknown || wanted.concerned.values().any(|person| is_in(person) && (desk.is_administrator(person) || person.partial));
    Target::Group { own, administrators: reaches || desk.config.recovery.administrators.contains(&group.subject.name) }
}

/// One of those whom it may concern, with what is stored.
struct Facts<'a> {
    person: &'a Person,
    account: Account,
    groups: Vec<String>,
}

type Decided = Result<Vec<enforcement::Changed>, enforcement::LastWayIn>;

fn change(view: &View<'_>, desk: &Desk, wanted: &Wanted, groups: &[Subject]) -> Result<Decided, StoreError> {
    let facts = wanted.concerned.values().map(|person| facts(view, person, groups, wanted)).collect::<Result<Vec<_>, _>>()?;
    let mut subjects: BTreeSet<(SubjectKind, String)> = groups.iter().map(|group| (group.kind, group.name.clone())).collect();
    subjects.extend(facts.iter().flat_map(|facts| &facts.person.groups).map(|group| (group.kind, group.name.clone())));
    let mut before = Enforced::default();
    for (kind, name) in subjects {
        if view.is_group_enforced(&Subject { kind, name: name.clone() })? {
            before.groups.insert(tagged(kind, &name));
        }
    }
    before.users = facts.iter().filter(|facts| facts.account.enforced).map(|facts| facts.person.name.clone()).collect();
    let change = Change {
        users: wanted.users.iter().map(|person| person.name.clone()).collect(),
        groups: groups.iter().map(|group| tagged(group.kind, &group.name)).collect(),
        enforced: wanted.enforced,
    };
    let after = before.after(&change);
    let users: Vec<User<'_>> = facts
        .iter()
        .map(|facts| {
            let user = User { name: &facts.person.name, groups: &facts.groups, account: &facts.account, administrator: false };
            User { administrator: desk.is_administrator(facts.person) && counts(desk, facts, after.status(&user)), ..user }
        })
        .collect();
    Ok(keeps_a_way_in(&before, &change, &users).map(|()| enforcement::changed(&before, &change, &users)))
}

/// Whether this administrator is one to rely on. The account of the button and root are most often off or without a password, which only
/// root can see: they are no way in for others unless they are in use with a second step.
fn counts(desk: &Desk, facts: &Facts<'_>, after: Status) -> bool {
    let may_be_off = facts.person.uid == 0 || facts.person.name == desk.config.recovery.account;
    !may_be_off || after != Status::Disabled
}

fn facts<'a>(view: &View<'_>, person: &'a Person, groups: &[Subject], wanted: &Wanted) -> Result<Facts<'a>, StoreError> {
    let account = match view.account(person.uid, &person.name)? {
        Lookup::Known(stored) => stored.account,
        Lookup::Unknown | Lookup::Other(_) => Account::default(),
    };
    let mut own: Vec<String> = person.groups.iter().map(|group| tagged(group.kind, &group.name)).collect();
    // Membership counts where either side knows of it.
    for (group, wanting) in groups.iter().zip(&wanted.groups) {
        if wanting.members.iter().any(|member| member.uid == person.uid) {
            own.push(tagged(group.kind, &group.name));
        }
    }
    Ok(Facts { person, account, groups: own })
}

/// A local and a domain group of one name are two groups.
fn tagged(kind: SubjectKind, name: &str) -> String {
    format!("{}:{name}", if kind == SubjectKind::LocalGroup { "local" } else { "domain" })
}
