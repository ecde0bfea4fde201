//! `io.twostep.Login`: the second step of a login.
//!
//! What decides is in `core::login`; here the facts are gathered, the decision is committed, and only then told. An answer runs to its end also
//! where the one who gave it has hung up.

mod answer;
pub mod domain;
pub mod known;
mod notice;
pub mod phone;

use std::sync::Arc;

use tokio::sync::OwnedMutexGuard;

use self::answer::{Asker, answer};
use super::clocks::trust_clock;
use super::desk::{Desk, OpenLogin, Trouble, draw, enforcing_groups, now, now_by, owner, stored};
use super::directory::{Directory, Person};
use super::store::{AuditEntry, Denial, State, StoreError, Stored, Trust, Tx};
use crate::core::account::Method;
use crate::core::authenticator::login_uri;
use crate::core::decision::{self, Facts};
use crate::core::login::{self as logic, Login, LoginFault, Mail, Means, Origin, TRUST_LIFE};
use crate::core::peer::Peer;
use crate::core::policy::{self, LoginCall, Standing, Target};
use crate::core::recovery_code::RecoveryCode;
use crate::core::sessions::Owner;
use crate::core::setup::Setup;
use crate::core::time::Wall;
use crate::proto::login::{Call, Challenge, DESCRIPTION, Decision, Error, NAME, Reply, Started, Trusted, Waited};
use crate::proto::privileged::is_account;
use crate::proto::secret::Secret;
use crate::proto::varlink::{Empty, Failure, Interface, Replies};

/// The longest service name, address and label in bytes.
const TEXT_CAP: usize = 256;

/// The interface.
pub struct LoginInterface(pub Arc<Desk>);

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

impl Interface for LoginInterface {
    const NAME: &'static str = NAME;
    const DESCRIPTION: &'static str = DESCRIPTION;
    type Call = Call;
    type Reply = Reply;
    type Error = Error;

    async fn call(&self, peer: &Peer, call: Call, replies: &mut Replies<'_, Self>) -> Result<Reply, Failure<Error>> {
        let desk = &self.0;
        let kind = call.kind();
        match call {
            Call::Start { user, service, remote, trusted_device } => {
                fits("service", Some(&service))?;
                fits("remote", remote.as_deref())?;
                if !is_account(&user) {
                    return Err(Failure::invalid("user"));
                }
                // Boxed, as all that is long: the future of all calls stays small then, and malloc keeps small ones at hand.
                Ok(Reply::Started(Box::pin(start(desk, peer, (user, service, remote), trusted_device)).await?))
            }
            Call::Challenge { login, method } => {
                let open = find(desk, peer, kind, &login).await?;
                Ok(Reply::Challenge(Box::pin(challenge(desk, open, method)).await?))
            }
            Call::Answer { login, method, code } => {
                let (_, login) = turn(desk, peer, kind, &login).await?;
                let asker = Asker { owner: owner(&desk.rank(peer), peer, peer.uid), by: by(peer) };
                Ok(Reply::Answered(Box::pin(answer(desk, login, (method, code), asker)).await?))
            }
            Call::Wait { login, bound } => {
                let outcome = Box::pin(phone::wait(desk, peer, (&login, bound.unwrap_or(false)), replies)).await?;
                Ok(Reply::Waited(Waited { outcome }))
            }
            Call::TrustDevice { login, label, by_address } => {
                fits("label", Some(&label))?;
                let open = find(desk, peer, kind, &login).await?;
                let (desk, by) = (Arc::clone(desk), by(peer));
                let trusted = tokio::spawn(async move { trust_device(&desk, open, label, by_address.unwrap_or(false), by).await });
                Ok(Reply::Trusted(trusted.await.map_err(|e| Error::StorageFailed { reason: e.to_string() })??))
            }
            Call::Cancel { login } => {
                let (_, mut turn) = turn(desk, peer, kind, &login).await?;
                desk.logins().close(login.expose());
                phone::end(&desk.phones, &mut turn);
                Ok(Reply::Done(Empty {}))
            }
        }
    }
}

fn fits(parameter: &str, text: Option<&str>) -> Result<(), Failure<Error>> {
    match text {
        Some(text) if text.len() > TEXT_CAP || text.chars().any(char::is_control) => Err(Failure::invalid(parameter)),
        _ => Ok(()),
    }
}

/// Who calls, for the audit trail.
pub fn by(peer: &Peer) -> String {
    format!("uid {}", peer.uid)
}

async fn start(
    desk: &Desk,
    peer: &Peer,
    (user, service, remote): (String, String, Option<String>),
    token: Option<Secret>,
) -> Result<Started, Error> {
    let rank = desk.rank(peer);
    let directory = desk.directory.asked_by(&rank, peer.uid);
    let person = directory.by_name(&user).await.map_err(Trouble::from)?;
    let own = person.as_ref().is_some_and(|person| person.uid == peer.uid);
    policy::allow(&rank, policy::Call::Login(LoginCall::Start), &account(own))?;
    let person = person.ok_or(Error::NoSuchAccount {})?;
    let claimed = !(rank.root || rank.login);
    let origin = Origin { uid: person.uid, user: person.name.clone(), service, claimed, remote };
    let decided = decide(desk, &directory, (&person, &origin), token).await?;
    begin(desk, &rank, peer, origin, &decided)
}

/// What [`begin`] needs to know.
struct Decided {
    now: logic::Now,
    decision: decision::Decision,
    stored: Arc<Stored>,
    denial: Option<Denial>,
    /// The enforced domain group as whose member the account counts while that can't be known.
    counts: Option<String>,
}

impl Decided {
    /// See [`Login::told`].
    fn told(&self) -> Option<(Wall, u32)> {
        self.denial.as_ref().map(|denial| (denial.at, denial.times))
    }
}

async fn decide(
    desk: &Desk,
    directory: &Directory,
    (of, origin): (&Arc<Person>, &Origin),
    token: Option<Secret>,
) -> Result<Box<Decided>, StoreError> {
    let (person, facilities, claimed) = (Arc::clone(of), desk.facilities(), origin.claimed);
    let pressed = desk.recovered().as_ref().filter(|recovered| recovered.account == person.name).map(|recovered| recovered.press);
    // An address that was trusted while the configuration said so is no longer when it does not.
    let by_address = desk.config.login.trust_by_address.contains(&origin.service) && !origin.claimed;
    let place = origin.remote.clone().filter(|_| by_address && token.is_none()).map(|remote| (origin.service.clone(), remote));
    let plain = token.is_none() && place.is_none() && pressed.is_none();
    let state = desk.store.state().filter(|_| plain);
    if let Some(decided) = state.and_then(|state| at_once(desk, of, origin, state)) {
        return Ok(decided);
    }
    // Trust ends by the wall clock, so root may have to be asked for it; nobody else waits for that.
    let moment = if token.is_some() || place.is_some() { desk.clocks().await? } else { (desk.moment)() };
    let (mut decided, device, seen) = desk
        .store
        .read(move |view| {
            let mut stored = stored(view, &person)?;
            // Also while the press can't be written down: on a full disk all of this can be read.
            if let Some(press) = pressed {
                stored.count_press(press);
            }
            let by_group = !enforcing_groups(view, &person)?.is_empty();
            let clock = if token.is_some() || place.is_some() { trust_clock(view, moment)? } else { None };
            let device = match (clock, &token, &place) {
                (Some(clock), Some(token), _) => view.device_by_token(person.uid, token, clock)?,
                (Some(clock), None, Some((service, remote))) => view.device_by_address(person.uid, service, remote, clock)?,
                (None, ..) | (_, None, None) => None,
            };
            let facts = Facts { account: &stored.account, by_group, trusted: device.is_some(), claimed, facilities };
            let decision = decision::decide(&facts, &moment);
            let denial = view.denial(person.uid)?;
            let seen = domain::seen(view, &person, &stored.account, decision == decision::Decision::NotRequired)?;
            // Boxed: it goes from thread to thread and from future to future.
            Ok((
                Box::new(Decided { now: now(view, moment)?, decision, stored: Arc::new(stored), denial, counts: None }),
                device.map(|device| device.id),
                seen,
            ))
        })
        .await?;
    if let Some(state) = state
        && decided.stored.account.is_enabled()
        && decided.denial.is_none()
        && seen.is_empty()
    {
        desk.known.keep(Arc::clone(of), Arc::clone(&decided.stored), state);
    }
    // What is only claimed leaves the notice for the owner's next real login, and no trace at the device.
    if let (decision::Decision::Trusted, Some(device), false) = (decided.decision, device, origin.claimed) {
        let (uid, told) = (origin.uid, decided.told());
        let used = desk.store.write(move |tx| {
            told.map_or(Ok(()), |told| tx.denial_told(uid, told))?;
            tx.device_used(&device, moment.wall)
        });
        used.await?;
    }
    if !seen.is_empty()
        && let Some(group) = Box::pin(domain::settle(desk, directory, of, seen)).await
    {
        (decided.decision, decided.counts) = (decision::Decision::SetupRequired, Some(group));
    }
    Ok(decided)
}

/// Decides by what is known of the account, where that is all there is to it.
fn at_once(desk: &Desk, person: &Arc<Person>, origin: &Origin, state: State) -> Option<Box<Decided>> {
    let (stored, clocks, moment) = (desk.known.get(person, state)?, desk.store.believed_clocks()?, (desk.moment)());
    // Enforcement asks nothing of an account whose second step is on.
    let facts = Facts { account: &stored.account, by_group: false, trusted: false, claimed: origin.claimed, facilities: desk.facilities() };
    let decision = decision::decide(&facts, &moment);
    Some(Box::new(Decided { now: now_by(clocks, moment), decision, stored, denial: None, counts: None }))
}

fn begin(desk: &Desk, rank: &Standing, peer: &Peer, origin: Origin, decided: &Decided) -> Result<Started, Error> {
    let moment = decided.now.moment;
    let owner = owner(rank, peer, origin.uid);
    let word = word(&decided.decision);
    let detail = match &decided.counts {
        Some(group) => format!("{word}: was seen in the domain group {group}, which is not known in whole now"),
        None => word.into(),
    };
    desk.note_of(owner, entry(moment.wall, &origin, "login_started", by(peer), Some(detail)));
    let plain = |decision| Started {
        decision,
        login: None,
        methods: None,
        preferred: None,
        expires_in: None,
        setup: None,
        retry_after: None,
        notice: decided.denial.as_ref().map(|denial| notice::denied(denial, moment.wall)),
        prompt: None,
    };
    Ok(match decided.decision {
        decision::Decision::NotRequired => plain(Decision::NotRequired),
        decision::Decision::Trusted => plain(Decision::Trusted),
        decision::Decision::Locked { retry_after } => Started { retry_after, ..plain(Decision::Locked) },
        decision::Decision::SetupRequired if origin.claimed => plain(Decision::SetupRequired),
        decision::Decision::SetupRequired => {
            let (setup, expires_in, more) = setup(desk, owner, origin, (by(peer), &decided.stored))?;
            let plain = plain(Decision::SetupRequired);
            let notice =
                plain.notice.into_iter().chain(more.into_iter().flatten().map(String::from)).reduce(|one, next| one + "; " + &next);
            Started { setup: Some(setup), expires_in: Some(expires_in), notice, ..plain }
        }
        decision::Decision::Verify { methods, preferred } => {
            let login = Login::open(origin, moment.boot).after(decided.told());
            let expires_in = login.expires_in(moment.boot);
            let prompt = login.at_once(preferred, (&decided.stored.account, desk.facilities()), &decided.now);
            let name = desk.open_login(owner, login, moment.boot)?;
            Started {
                login: Some(name),
                methods: Some(methods.iter().collect()),
                preferred: Some(preferred),
                expires_in: Some(expires_in),
                prompt: prompt.map(|prompt| Secret::new(prompt.into())),
                ..plain(Decision::Verify)
            }
        }
    })
}

/// The setup that an enforced account has to finish first, the seconds for it, and what its user should know: that it follows one that was begun a moment
/// ago, that it ends the passwordless login.
fn setup(
    desk: &Desk,
    owner: Owner,
    origin: Origin,
    (by, stored): (String, &Stored),
) -> Result<(Secret, u64, [Option<&'static str>; 2]), Error> {
    let (now, uid) = ((desk.moment)(), origin.uid);
    let resumed = entry(now.wall, &origin, "setup_resumed", by, None);
    let mut setup = Setup::at_login(origin, &stored.account, desk.facilities(), now.boot);
    let mut follows = false;
    for (name, open) in desk.setups().of(owner) {
        // One that is being answered for right now is not cut off.
        follows |= open.try_lock().is_ok_and(|before| setup.follow((name, &before), now.boot));
    }
    if follows {
        desk.note_of(owner, resumed);
    }
    let notices = [setup.was_cut_off().then_some(notice::CUT_OFF), stored.account.passwordless.then_some(notice::PASSWORDLESS)];
    let expires_in = setup.expires_in(now.boot);
    let opened = desk.open_setup(owner, setup)?;
    // Whoever waits for a phone in one that has made room for it waits in vain.
    desk.phones.changed(uid);
    Ok((opened, expires_in, notices))
}

/// The open login of this name, where the peer may touch it.
async fn find(desk: &Desk, peer: &Peer, call: LoginCall, name: &Secret) -> Result<OpenLogin, Error> {
    Ok(turn(desk, peer, call, name).await?.0)
}

/// The same, with its turn.
async fn turn(desk: &Desk, peer: &Peer, call: LoginCall, name: &Secret) -> Result<(OpenLogin, OwnedMutexGuard<Login>), Error> {
    let open = desk.logins().get(name.expose()).cloned().ok_or(Error::NoSuchLogin {})?;
    let login = Arc::clone(&open).lock_owned().await;
    let own = login.origin.uid == peer.uid;
    // Whoever may not touch it learns nothing of it.
    policy::allow(&desk.rank(peer), policy::Call::Login(call), &account(own)).map_err(|_| Error::NoSuchLogin {})?;
    Ok((open, login))
}

fn account(own: bool) -> Target {
    Target::Account { own, administrator: false, enabled: false, vouched: false }
}

/// A mail is sent without the login's turn, since it takes its time: whoever gives up meanwhile, or goes another way, does not wait for it.
async fn challenge(desk: &Desk, open: OpenLogin, method: Method) -> Result<Challenge, Error> {
    let (asked, mail) = ask(desk, &open, method).await?;
    if let Some((mail, user)) = mail
        && let Err(reason) = desk.mailer.send_code(&mail, &user, &desk.host).await
    {
        open.lock().await.unsent(&mail.code);
        return Err(Error::MethodUnavailable { method, reason });
    }
    Ok(asked)
}

/// Begins the method; gives the mail that has to leave, and for whom.
async fn ask(desk: &Desk, open: &OpenLogin, method: Method) -> Result<(Challenge, Option<(Mail, String)>), Error> {
    let mut login = open.lock().await;
    phone::refresh(&desk.phones, &mut login);
    let before = login.asked().map(|request| request.id.clone());
    let (uid, user, facilities, moment) = (login.origin.uid, login.origin.user.clone(), desk.facilities(), desk.clocks().await?);
    let (account, now) = desk
        .store
        .read(move |view| {
            let account = view.account_by_uid(uid)?.filter(|stored| stored.name == user).map(|stored| stored.account);
            Ok((account.unwrap_or_default(), now(view, moment)?))
        })
        .await?;
    let draw = draw()?;
    let of = (uid, login.origin.claimed);
    let begun =
        desk.with_budgets(of, |mails, requests| login.challenge(method, (&account, facilities), Means { mails, requests, draw }, &now))?;
    if let Some((request, true)) = &begun.request {
        phone::show(desk, (open, &login), request, before, now.moment.boot).await;
    }
    let request = begun.request.as_ref().map(|(request, _)| request);
    let token = request.and_then(|request| request.token()).zip(desk.phones.address.as_ref());
    let qr = token.map(|(token, address)| Secret::new(login_uri(address, token).to_string()));
    let number = request.and_then(|request| request.number()).map(|number| Secret::new(number.into()));
    let asked = Challenge { prompt: Secret::new(begun.prompt), qr, number, sent_to: begun.sent_to, expires_in: begun.expires_in };
    Ok((asked, begun.mail.map(|mail| (mail, login.origin.user.clone()))))
}

async fn trust_device(desk: &Desk, open: OpenLogin, label: String, by_address: bool, by: String) -> Result<Trusted, Error> {
    let mut login = open.lock().await;
    let moment = (desk.moment)();
    let (judged, origin) = (login.clone(), login.origin.clone());
    let address = match (by_address, &origin.remote) {
        (false, _) => None,
        (true, Some(remote)) if desk.config.login.trust_by_address.contains(&origin.service) && !origin.claimed => Some(remote.clone()),
        (true, _) => return Err(Error::PermissionDenied {}),
    };
    let trust = move |tx: &Tx<'_>| {
        let stored = tx.account_by_uid(origin.uid)?.filter(|stored| stored.name == origin.user);
        let trusting = match stored.map_or(Err(LoginFault::NotVerified), |stored| judged.trust_device(&stored.account, moment.boot)) {
            Ok(trusting) => trusting,
            Err(fault) => return Ok(Err(Error::from(fault))),
        };
        let trust = Trust { uid: origin.uid, label: &label, now: moment.wall, lifetime: TRUST_LIFE };
        let token = match &address {
            Some(remote) => tx.trust_address(trust, &origin.service, remote).map(|()| None)?,
            None => Some(tx.trust_device(trust)?),
        };
        tx.audit(&entry(moment.wall, &origin, "device_trusted", by, None))?;
        Ok(Ok((trusting, token)))
    };
    let (trusting, token) = desk.store.write(trust).await??;
    *login = trusting;
    Ok(Trusted { trusted_device: token, expires_in: TRUST_LIFE.as_secs() })
}

/// The form in which the store hashes a recovery code.
#[must_use]
pub fn normal(code: &RecoveryCode) -> Secret {
    Secret::new(code.normal().to_string())
}

/// An entry about a login.
pub fn entry(at: Wall, origin: &Origin, event: &str, by: String, detail: Option<String>) -> AuditEntry {
    let service = service(origin);
    AuditEntry {
        at,
        event: event.into(),
        user: Some(origin.user.clone()),
        by,
        service: Some(service),
        remote: origin.remote.clone(),
        detail,
    }
}

/// The service of a login, as people are told.
pub fn service(origin: &Origin) -> String {
    if origin.claimed { format!("{} (claimed)", origin.service) } else { origin.service.clone() }
}

fn word(decision: &decision::Decision) -> &'static str {
    match decision {
        decision::Decision::NotRequired => "not_required",
        decision::Decision::Trusted => "trusted",
        decision::Decision::Verify { .. } => "verify",
        decision::Decision::SetupRequired => "setup_required",
        decision::Decision::Locked { .. } => "locked",
    }
}

impl From<LoginFault> for Failure<Error> {
    fn from(fault: LoginFault) -> Self {
        Self::Interface(fault.into())
    }
}
