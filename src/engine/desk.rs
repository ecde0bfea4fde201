//! What the interfaces share: the store, the directory, root, and the open logins and setups.
//!
//! Each interface decides in `core`, with facts that are gathered here; whatever counts is read and written inside one closure of the store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use log::error;
use tokio::sync::Mutex as Turn;

use super::clocks::Believed;
use super::directory::{Directory, Person, Silent};
use super::login::known::KnownAccounts;
use super::login::{domain, phone};
use super::mail::Mailer;
use super::phones::Phones;
use super::root::Root;
use super::store::{AuditEntry, BelievedClocks, Lookup, Store, StoreError, Stored, Subject, View};
use crate::config::{Config, WEB_USER};
use crate::core::base64url;
use crate::core::clock::{ClockFault, Horizon, Moment, plausible};
use crate::core::decision::Facilities;
use crate::core::email::MailBudget;
use crate::core::login::phone::{Draw, RequestBudget};
use crate::core::login::{Login, Now};
use crate::core::peer::Peer;
use crate::core::policy::Standing;
use crate::core::sessions::{Caps, Owner, Sessions};
use crate::core::setup::Setup;
use crate::core::shadow::EARLIEST;
use crate::core::shares::Shares;
use crate::core::time::BootTime;
use crate::proto::privileged::Recovered;
use crate::proto::secret::Secret;

/// How many logins may be open.
const LOGINS: Caps = Caps { total: 4096, strangers: 1024, per_owner: 64 };
/// How many setups may be open.
const SETUPS: Caps = Caps { total: 512, strangers: 256, per_owner: 8 };

/// One open login; whoever holds the turn changes it, one after the other.
pub type OpenLogin = Arc<Turn<Login>>;

/// One open setup, in the same way.
pub type OpenSetup = Arc<Turn<Setup>>;

/// See the module.
pub struct Desk {
    /// What must outlive a crash.
    pub store: Store,
    /// Users and groups.
    pub directory: Directory,
    /// The supervisor.
    pub root: Root,
    /// The checked configuration.
    pub config: Config,
    /// Sends mails, where a server is configured.
    pub mailer: Mailer,
    /// What phones wait for, and who carries for them.
    pub phones: Arc<Phones>,
    /// This machine's name, for people and authenticator apps.
    pub host: String,
    /// All clocks: `sys::clock::moment`, or a clock that somebody else winds.
    pub moment: fn() -> Moment,
    pub(super) believed: Believed,
    /// The uid that counts as root beside 0.
    owner: u32,
    granted_login: Vec<u32>,
    granted_authenticator: Vec<u32>,
    logins: Mutex<Sessions<OpenLogin>>,
    /// Seconds of boot time at which the logins that are over were last looked for.
    swept: AtomicU64,
    setups: Mutex<Sessions<OpenSetup>>,
    /// By account, and by whether the service is only claimed: a process of the user's own takes nothing from real logins.
    budgets: Mutex<HashMap<(u32, bool), Budgets>>,
    recovered: Mutex<Option<Recovered>>,
    /// The strangers' shares of the audit trail.
    shares: Mutex<Shares>,
    pub(super) silent: domain::SilentGroups,
    pub(super) known: KnownAccounts,
}

/// What one account may cause.
#[derive(Default)]
struct Budgets {
    mails: MailBudget,
    requests: RequestBudget,
}

/// Why a call can't be answered; each interface has its own error for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The store or the directory gave no answer: nothing was decided.
    Storage(String),
}

impl From<StoreError> for Trouble {
    fn from(e: StoreError) -> Self {
        Self::Storage(e.to_string())
    }
}

impl From<Silent> for Trouble {
    fn from(Silent(reason): Silent) -> Self {
        Self::Storage(reason)
    }
}

/// What the engine is built from.
pub struct Parts {
    /// See [`Desk::store`].
    pub store: Store,
    /// See [`Desk::directory`].
    pub directory: Directory,
    /// See [`Desk::root`].
    pub root: Root,
    /// See [`Desk::config`].
    pub config: Config,
    /// See [`Desk::mailer`].
    pub mailer: Mailer,
    /// See [`Desk::host`].
    pub host: String,
    /// See [`Desk::moment`].
    pub moment: fn() -> Moment,
    /// The uid that counts as root beside 0.
    pub owner: u32,
}

impl Desk {
    /// Puts the parts together; looks up who is granted what. A granted name that does not exist is logged and grants nothing.
    pub async fn open(parts: Parts) -> Arc<Self> {
        let Parts { store, directory, root, config, mailer, host, moment, owner } = parts;
        let granted_login = numbers(&directory, &config.grant.login).await;
        let granted_authenticator = numbers(&directory, &config.grant.authenticator).await;
        Arc::new(Self {
            store,
            directory,
            root,
            phones: Arc::new(Phones::new(&config.phone)),
            config,
            mailer,
            host,
            moment,
            believed: Believed::default(),
            owner,
            granted_login,
            granted_authenticator,
            logins: Mutex::new(Sessions::new(LOGINS)),
            swept: AtomicU64::new(0),
            setups: Mutex::new(Sessions::new(SETUPS)),
            budgets: Mutex::default(),
            recovered: Mutex::default(),
            shares: Mutex::default(),
            silent: domain::SilentGroups::default(),
            known: KnownAccounts::default(),
        })
    }

    /// What the kernel and the configuration say about a peer: without its roles, which need the directory.
    #[must_use]
    pub fn rank(&self, peer: &Peer) -> Standing {
        Standing {
            root: peer.is_root() || peer.uid == self.owner,
            login: self.granted_login.contains(&peer.uid),
            authenticator: self.granted_authenticator.contains(&peer.uid),
            administrator: false,
            delegate: false,
        }
    }

    /// Whether somebody is an administrator: root, or a member of an administrators group.
    #[must_use]
    pub fn is_administrator(&self, person: &Person) -> bool {
        person.uid == 0 || person.is_in_any(&self.config.recovery.administrators)
    }

    /// What can be used now.
    #[must_use]
    pub fn facilities(&self) -> Facilities {
        Facilities { mail: self.mailer.is_configured(), phone: self.phones.in_reach() }
    }

    /// The open logins; those that are over go.
    pub fn logins(&self) -> MutexGuard<'_, Sessions<OpenLogin>> {
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open setups; those that are over go.
    pub fn setups(&self) -> MutexGuard<'_, Sessions<OpenSetup>> {
        self.setups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a login. Where all places are taken, the oldest of the verified ones make room, which have let in: first those that only vouch, then,
    /// where there is none, those whose device may still be trusted.
    ///
    /// # Errors
    /// Where there is no room for its owner, or no randomness.
    pub fn open_login(&self, owner: Owner, login: Login, now: BootTime) -> Result<Secret, Trouble> {
        let name = name()?;
        let mut logins = self.logins();
        let mut ended = vec![];
        // Once a second: to look at all for each new one would make many slow.
        if self.swept.swap(now.0.as_secs(), Ordering::Relaxed) != now.0.as_secs() {
            ended = sweep(&mut logins, Login::is_over, now);
        }
        // Those that only vouch go before the other verified ones.
        logins.make_room(owner, |open| {
            let open = open.try_lock().ok()?;
            open.verified_by().map(|_| !open.only_vouches(now))
        });
        let opened = logins.open(name.expose().into(), owner, Arc::new(Turn::new(login)));
        drop(logins);
        for open in ended.iter().chain(opened.as_ref().ok().and_then(Option::as_ref)) {
            // Whoever has the turn of one right now wakes those who wait for it.
            if let Ok(mut login) = open.try_lock() {
                phone::end(&self.phones, &mut login);
            }
        }
        opened.map_err(|_| full("logins"))?;
        Ok(name)
    }

    /// Opens a setup.
    ///
    /// # Errors
    /// As [`open_login`](Self::open_login).
    pub fn open_setup(&self, owner: Owner, setup: Setup) -> Result<Secret, Trouble> {
        let name = name()?;
        let mut setups = self.setups();
        sweep(&mut setups, Setup::is_over, (self.moment)().boot);
        setups.open(name.expose().into(), owner, Arc::new(Turn::new(setup))).map_err(|_| full("setups"))?;
        Ok(name)
    }

    /// Lets `act` take from the mail budget of an account.
    pub fn with_mail_budget<T>(&self, uid: u32, act: impl FnOnce(&mut MailBudget) -> T) -> T {
        self.with_budgets((uid, false), |mails, _| act(mails))
    }

    /// Lets `act` take from all budgets of an account's logins, of those whose service is only claimed, or of the others.
    pub fn with_budgets<T>(&self, of: (u32, bool), act: impl FnOnce(&mut MailBudget, &mut RequestBudget) -> T) -> T {
        let now = (self.moment)().boot;
        let mut budgets = self.budgets.lock().unwrap_or_else(PoisonError::into_inner);
        budgets.retain(|_, budget| !budget.mails.is_over(now) || !budget.requests.is_over(now));
        let Budgets { mails, requests } = budgets.entry(of).or_default();
        act(mails, requests)
    }

    /// Whether a setup of this name is open.
    #[must_use]
    pub fn is_setup(&self, name: &str) -> bool {
        self.setups().get(name).is_some()
    }

    /// The account that the button brought back and that is not off again, as the supervisor told last.
    pub fn recovered(&self) -> MutexGuard<'_, Option<Recovered>> {
        self.recovered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves an entry without a decision for the next commit.
    pub fn note(&self, entry: AuditEntry) {
        self.store.note(entry);
    }

    /// The same, where `owner`'s share of the trail has room for it.
    pub fn note_of(&self, owner: Owner, entry: AuditEntry) {
        if let Some(entry) = self.within_share(owner, entry) {
            self.note(entry);
        }
    }

    /// An entry that neither decides nor counts anything, if there is room for it: a stranger may cause as many as it likes.
    #[must_use]
    pub fn within_share(&self, owner: Owner, entry: AuditEntry) -> Option<AuditEntry> {
        let Owner::Stranger(uid) = owner else { return Some(entry) };
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let left_out = shares.take(uid, (self.moment)().boot)?;
        let before = (left_out > 0).then(|| format!("{left_out} entries of uid {uid} were left out before this one"));
        let detail = [entry.detail, before].into_iter().flatten().reduce(|detail, before| format!("{detail}; {before}"));
        Some(AuditEntry { detail, ..entry })
    }
}

/// What is stored for a person, or a fresh account. A uid or name that belongs to another stored account decides nothing.
///
/// # Errors
/// The store's.
pub fn stored(view: &View<'_>, person: &Person) -> Result<Stored, StoreError> {
    stored_as(view, person.uid, &person.name)
}

/// The same by number and canonical name.
///
/// # Errors
/// The store's.
pub fn stored_as(view: &View<'_>, uid: u32, name: &str) -> Result<Stored, StoreError> {
    match view.account(uid, name)? {
        Lookup::Known(stored) => Ok(stored),
        Lookup::Unknown => Ok(Stored::new(uid, name)),
        Lookup::Other(other) => Err(StoreError::IdentityTaken { uid: other.uid, name: other.name }),
    }
}

/// Whoever else is stored for this person's number, and still has it: two accounts of one uid, of which only one can be stored. Who was stored and is
/// gone is nobody.
///
/// # Errors
/// Where that can't be known now.
pub async fn namesake(desk: &Desk, person: &Person) -> Result<Option<String>, Trouble> {
    let uid = person.uid;
    let stored = desk.store.read(move |view| view.account_by_uid(uid)).await?;
    let Some(other) = stored.filter(|stored| stored.name != person.name) else { return Ok(None) };
    let found = desk.directory.by_name(&other.name).await?;
    Ok(found.filter(|found| found.uid == uid && found.name == other.name).map(|found| found.name.clone()))
}

/// The enforced groups of a person.
///
/// # Errors
/// The store's.
pub fn enforcing_groups(view: &View<'_>, person: &Person) -> Result<Vec<String>, StoreError> {
    let mut through = Vec::new();
    if !view.enforces_groups()? {
        return Ok(through);
    }
    for group in &person.groups {
        if view.is_group_enforced(&Subject { kind: group.kind, name: group.name.clone() })? {
            through.push(group.name.clone());
        }
    }
    Ok(through)
}

/// All clocks, and whether the wall clock may be used.
///
/// # Errors
/// The store's.
pub fn now(view: &View<'_>, moment: Moment) -> Result<Now, StoreError> {
    let clocks = BelievedClocks { believed: view.believed_clock()?, latest: None };
    match now_by(clocks, moment) {
        Now { time: Err(ClockFault::FarAhead { .. }), .. } => Ok(now_by(BelievedClocks { latest: view.latest_clock()?, ..clocks }, moment)),
        now => Ok(now),
    }
}

/// The same by clocks that are known.
#[must_use]
pub fn now_by(clocks: BelievedClocks, moment: Moment) -> Now {
    let judged = |last_commit| plausible(&moment, &Horizon { built: EARLIEST, last_commit });
    let time = match judged(clocks.believed) {
        // At the last commit the clock may have stood back.
        Err(ClockFault::FarAhead { .. }) if clocks.latest.is_some() => judged(clocks.latest),
        time => time,
    };
    Now { moment, time }
}

/// Whose session it is, for the caps.
#[must_use]
pub fn owner(rank: &Standing, peer: &Peer, uid: u32) -> Owner {
    if rank.root || rank.login { Owner::Service(uid) } else { Owner::Stranger(peer.uid) }
}

/// An unguessable name: 128 bits.
fn name() -> Result<Secret, Trouble> {
    Ok(Secret::new(format!("{:032x}", u128::from_be_bytes(bytes()?))))
}

/// Uniformly random bytes.
///
/// # Errors
/// Where the kernel gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], Trouble> {
    let mut random = [0; N];
    getrandom::fill(&mut random).map_err(|e| Trouble::Storage(format!("no random numbers: {e}")))?;
    Ok(random)
}

/// An unguessable text for a phone: 128 bits in base64url.
///
/// # Errors
/// As [`bytes`].
pub fn token() -> Result<String, Trouble> {
    Ok(base64url::encode(&bytes::<16>()?))
}

/// What a challenge may be made of.
///
/// # Errors
/// As [`bytes`].
pub fn draw() -> Result<Draw, Trouble> {
    Ok(Draw { id: token()?, token: token()?, random: random()? })
}

/// Uniform over all of u64.
///
/// # Errors
/// Where the kernel gives none.
pub fn random() -> Result<u64, Trouble> {
    getrandom::u64().map_err(|e| Trouble::Storage(format!("no random numbers: {e}")))
}

fn full(what: &str) -> Trouble {
    Trouble::Storage(format!("too many {what} are open; try again in a minute"))
}

/// Ends those that are over. One that somebody is changing right now is not.
fn sweep<T>(sessions: &mut Sessions<Arc<Turn<T>>>, is_over: fn(&T, BootTime) -> bool, now: BootTime) -> Vec<Arc<Turn<T>>> {
    sessions.retain(|session| session.try_lock().map_or(true, |session| !is_over(&session, now)))
}

async fn numbers(directory: &Directory, names: &[String]) -> Vec<u32> {
    let mut numbers = Vec::new();
    for name in names {
        match directory.by_name(name).await {
            Ok(Some(person)) => numbers.push(person.uid),
            // Granted by default, and made with the phone's pages.
            Ok(None) if name == WEB_USER => {}
            Ok(None) => error!("grant: there is no user {name}"),
            Err(Silent(reason)) => error!("grant: {name}: {reason}"),
        }
    }
    numbers
}
