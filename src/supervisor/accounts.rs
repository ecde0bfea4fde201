//! The account files: an account brought back, or turned off.
//!
//! The files are written in this order, each only where it changes, each replaced atomically, all under the system's lock:
//!
//! 1. **group**, 2. **gshadow**: a group of its own and the membership. A name there that passwd does not know yet means nothing.
//! 3. the **home folder** of a new account, complete before anything points to it.
//! 4. **passwd**: the new entry, or a usable login shell and `x`. Without a shadow line no password matches it.
//! 5. **shadow**: the one replacement that switches the account on.
//!
//! Where shadow has a usable hash already and passwd is about to change (a line without an account, a login shell that refuses), that line is
//! first written off: else a cut between 4 and 5 would leave the account on with its former hash.
//!
//! So after a cut at any point the account is as closed as before or completely on, and doing it all again ends the same. Turning off begins
//! with shadow for the same reason.
//!
//! What this does not do: choose the password, decide when an account goes off, or change an account that NSS knows from elsewhere: where the
//! local files do not have the name, a local account is made, which `files` in nsswitch.conf finds first.

use std::fmt;
use std::ops::RangeInclusive;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::geteuid;
use zeroize::Zeroizing;

use super::recovery::tally;
use crate::core::shadow::{self, NewAccount, PasswordHash};
use crate::core::time::Wall;
use crate::sys::atomic_file::{self, Disk, FileError, LockError, Step};
use crate::sys::patience::{NoAnswer, Patience};

/// How long a home folder or a login shell is waited for, each: meanwhile the lock keeps other tools from the account files.
const PATIENCE: Duration = Duration::from_secs(2);

/// What it may be.
const AWAY: &str = "a network mount that is away?";

/// The account files of one folder.
pub struct Accounts {
    folder: PathBuf,
    lock_wait: Duration,
    disk: Arc<dyn Disk>,
    /// For what may lie on a network mount: home folders and login shells.
    elsewhere: Patience,
}

/// How an account is to come back.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Its name.
    pub account: &'a str,
    /// The hash of the default password.
    pub hash: &'a PasswordHash,
    /// The day of the last change that shadow shall show; see [`shadow::with_password`].
    pub changed: Option<i64>,
    /// The login shell for an account that has none that works.
    pub shell: &'a str,
    /// The home folder of a new account.
    pub home: &'a str,
    /// Members of any of these groups are administrators.
    pub administrators: &'a [String],
}

/// An account that is back.
#[derive(Debug, Default)]
pub struct BroughtBack {
    /// Whether it had to be made.
    pub created: bool,
    /// What could not be done for it.
    pub warnings: Vec<Warning>,
}

/// Something that did not keep the account from coming back, and that an operator should know.
#[derive(Debug)]
pub enum Warning {
    /// None of the administrators' groups exists; a new one would give no rights, so none is made.
    NoAdministratorsGroup(Vec<String>),
    /// The configured login shell does not exist, so the account keeps what it has.
    NoShell(String),
    /// The account's login shell does not answer, so it has got the configured one.
    SilentShell(String),
    /// The configured login shell does not answer, so the account keeps what it has.
    SilentConfiguredShell(String),
    /// The home folder of a new account does not answer.
    SilentHome(String),
    /// A tally of failed logins stands, and pam_faillock refuses the right password by it.
    Tally(FileError),
    /// Where the tallies are kept, nothing answers; what becomes of them is logged once it does.
    SilentTally,
    /// The home folder of an account that was made anew is another's: a former account of that name had another id.
    ForeignHome {
        /// The folder.
        home: String,
        /// Whose it is.
        of: u32,
        /// The account's own ids.
        uid: u32,
        /// Its group.
        gid: u32,
    },
    /// Something beside the account files failed.
    File(FileError),
    /// Something else failed.
    Other(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoAdministratorsGroup(names) => {
                write!(
                    f,
                    "none of the groups {} exists: the account is in no administrators' group (recovery.administrators)",
                    names.join(", ")
                )
            }
            Self::NoShell(shell) => write!(f, "{shell} is no program: the account keeps its login shell (recovery.shell)"),
            Self::SilentShell(shell) => {
                write!(f, "its login shell {shell} does not answer ({AWAY}) and was replaced: chsh -s {shell} gives it back")
            }
            Self::SilentConfiguredShell(shell) => {
                write!(f, "{shell} does not answer ({AWAY}): the account keeps its login shell (recovery.shell)")
            }
            Self::SilentHome(home) => write!(f, "its home folder {home} does not answer ({AWAY}); it was not made"),
            Self::ForeignHome { home, of, uid, gid } => {
                write!(f, "{home} was left by another account (uid {of}) and is not given away unasked: chown -hR {uid}:{gid} {home}")
            }
            Self::Tally(error) => write!(f, "failed logins may still lock the account: {error}. {}", tally::WAY_OUT),
            Self::SilentTally => f.write_str(
                "failed logins may still lock the account: where pam_faillock keeps them (dir in faillock.conf) does not answer yet",
            ),
            Self::File(error) => error.fmt(f),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

/// The account files were not changed, or not completely.
#[derive(Debug)]
pub enum AccountsError {
    /// The lock could not be had.
    Lock(LockError),
    /// A file could not be read or replaced.
    File(FileError),
    /// Each id for ordinary accounts is taken.
    NoFreeId(RangeInclusive<u32>),
}

impl AccountsError {
    /// Whether the disk is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self, Self::File(error) | Self::Lock(LockError::File(error)) if error.is_full())
    }
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lock(error) => error.fmt(f),
            Self::File(error) => error.fmt(f),
            Self::NoFreeId(range) => {
                write!(f, "no free user id from {} to {}; raise UID_MAX in login.defs or remove an account", range.start(), range.end())
            }
        }
    }
}

impl std::error::Error for AccountsError {}

impl From<FileError> for AccountsError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// What the files say about an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There is no such account.
    Missing,
    /// No password matches it, or it is expired.
    Disabled,
    /// It can log in.
    Active,
}

/// The four texts. They hold hashes, so they are wiped.
#[derive(Clone, PartialEq, Eq)]
struct Texts {
    group: Zeroizing<Vec<u8>>,
    gshadow: Option<Zeroizing<Vec<u8>>>,
    passwd: Zeroizing<Vec<u8>>,
    /// A system without a shadow file gets one.
    shadow: Zeroizing<Vec<u8>>,
}

/// The texts as they shall be, and what else belongs to it.
struct Plan {
    texts: Texts,
    /// The user and group that get the home folder.
    home_of: Option<(u32, u32)>,
    back: BroughtBack,
}

impl Accounts {
    /// The account files in `folder`, whose lock is waited for at most this long.
    #[must_use]
    pub fn new(folder: PathBuf, lock_wait: Duration, disk: Arc<dyn Disk>) -> Self {
        Self { folder, lock_wait, disk, elsewhere: Patience::new(PATIENCE) }
    }

    /// Brings an account back: unlocked, not expired, with this hash, a shell, and in an administrators' group; made anew where it is missing.
    ///
    /// # Errors
    /// Where nothing, or not the whole, could be written; each file is the old or the new one.
    pub fn bring_back(&self, wanted: &Wanted<'_>) -> Result<BroughtBack, AccountsError> {
        let disk = &*self.disk;
        let _lock = atomic_file::lock_accounts(disk, &self.folder, self.lock_wait).map_err(AccountsError::Lock)?;
        let old = self.read_all()?;
        let login_defs = atomic_file::read(disk, &self.folder.join("login.defs")).unwrap_or_default();
        let mut plan = self.plan(&old, wanted, shadow::id_range(&login_defs))?;
        self.write("group", &old.group, &plan.texts.group)?;
        if let (Some(old), Some(new)) = (&old.gshadow, &plan.texts.gshadow) {
            self.write("gshadow", old, new)?;
        }
        if let Some((uid, gid)) = plan.home_of {
            plan.back.warnings.extend(self.make_home(wanted.home, uid, gid));
        }
        let closed = closed_meanwhile(&old, &plan.texts, wanted.account);
        self.write("shadow", &old.shadow, &closed)?;
        self.write("passwd", &old.passwd, &plan.texts.passwd)?;
        self.write("shadow", &closed, &plan.texts.shadow)?;
        Ok(plan.back)
    }

    /// Turns an account off: no hash, expired. Returns its user id; none where there is no such account.
    ///
    /// # Errors
    /// As [`Self::bring_back`].
    pub fn turn_off(&self, account: &str) -> Result<Option<u32>, AccountsError> {
        let _lock = atomic_file::lock_accounts(&*self.disk, &self.folder, self.lock_wait).map_err(AccountsError::Lock)?;
        let (passwd, shadow) = (self.read("passwd")?, self.read_shadow()?);
        let entry = shadow::passwd_entry(&passwd, account);
        if entry.is_some() || shadow::shadow_entry(&shadow, account).is_some() {
            self.write("shadow", &shadow, &Zeroizing::new(shadow::with_account_off(&shadow, account)))?;
        }
        if entry.is_some_and(|entry| entry.password != b"x") {
            self.write("passwd", &passwd, &Zeroizing::new(shadow::with_shadowed_password(&passwd, account, None)))?;
        }
        Ok(entry.map(|entry| entry.uid))
    }

    /// The account's password field in shadow; none where passwd or shadow has no such account.
    ///
    /// # Errors
    /// Where the files cannot be read.
    pub fn password_field(&self, account: &str) -> Result<Option<Zeroizing<Vec<u8>>>, AccountsError> {
        let (passwd, shadow) = (self.read("passwd")?, self.read_shadow()?);
        let entry = shadow::passwd_entry(&passwd, account).and_then(|_| shadow::shadow_entry(&shadow, account));
        Ok(entry.map(|entry| Zeroizing::new(entry.password.to_vec())))
    }

    /// Whether the account is there and can log in.
    ///
    /// # Errors
    /// Where the files cannot be read.
    pub fn state(&self, account: &str, now: Wall) -> Result<State, AccountsError> {
        let (passwd, shadow) = (self.read("passwd")?, self.read_shadow()?);
        let Some(entry) = shadow::passwd_entry(&passwd, account) else { return Ok(State::Missing) };
        let usable = match shadow::shadow_entry(&shadow, account) {
            Some(line) => line.is_usable(now),
            // A hash in passwd itself, from before shadow passwords.
            None => !matches!(entry.password, b"x") && !entry.password.starts_with(b"!") && !entry.password.starts_with(b"*"),
        };
        Ok(if usable { State::Active } else { State::Disabled })
    }

    fn plan(&self, old: &Texts, wanted: &Wanted<'_>, ids: RangeInclusive<u32>) -> Result<Plan, AccountsError> {
        let mut plan = Plan { texts: old.clone(), home_of: None, back: BroughtBack::default() };
        let gid = match shadow::passwd_entry(&old.passwd, wanted.account) {
            Some(entry) => {
                let shell = self.working_shell(entry.shell, wanted.shell, &mut plan.back.warnings);
                plan.texts.passwd = Zeroizing::new(shadow::with_shadowed_password(&old.passwd, wanted.account, shell));
                entry.gid
            }
            None => plan_new(&mut plan, wanted, ids)?,
        };
        plan_membership(&mut plan, wanted, gid);
        plan.texts.shadow = Zeroizing::new(shadow::with_password(&old.shadow, wanted.account, wanted.hash, wanted.changed));
        Ok(plan)
    }

    /// The shell that an account with this one gets; none where it keeps its own.
    fn working_shell<'a>(&self, has: &[u8], configured: &'a str, warnings: &mut Vec<Warning>) -> Option<&'a str> {
        let has = if has.is_empty() { b"/bin/sh" } else { has };
        let own = std::str::from_utf8(has).ok().filter(|_| !shadow::shell_refuses(has));
        let works = own.map_or(Ok(false), |own| self.is_program(own));
        if matches!(works, Ok(true)) {
            return None;
        }
        match self.is_program(configured) {
            Ok(true) => {
                warnings.extend(own.filter(|_| works.is_err()).map(|own| Warning::SilentShell(own.into())));
                return Some(configured);
            }
            Ok(false) => warnings.push(Warning::NoShell(configured.into())),
            Err(_) => warnings.push(Warning::SilentConfiguredShell(configured.into())),
        }
        None
    }

    fn is_program(&self, shell: &str) -> Result<bool, NoAnswer> {
        let (disk, path) = (Arc::clone(&self.disk), PathBuf::from(shell));
        self.elsewhere.ask(shell, move || is_program(&*disk, &path))
    }

    /// The home folder of a new account; what an operator should know of it.
    fn make_home(&self, home: &str, uid: u32, gid: u32) -> Option<Warning> {
        let (disk, path) = (Arc::clone(&self.disk), home.to_owned());
        let made = self.elsewhere.ask(home, move || {
            let failed = atomic_file::make_folder(&*disk, Path::new(&path), uid, gid).err().map(Warning::File);
            failed.or_else(|| foreign_home(&path, uid, gid))
        });
        made.unwrap_or_else(|_| Some(Warning::SilentHome(home.into())))
    }

    fn read_all(&self) -> Result<Texts, FileError> {
        let gshadow = match self.read("gshadow") {
            Err(error) if error.is_missing() => None,
            other => Some(other?),
        };
        Ok(Texts { group: self.read("group")?, gshadow, passwd: self.read("passwd")?, shadow: self.read_shadow()? })
    }

    fn read(&self, file: &str) -> Result<Zeroizing<Vec<u8>>, FileError> {
        atomic_file::read(&*self.disk, &self.folder.join(file)).map(Zeroizing::new)
    }

    fn read_shadow(&self) -> Result<Zeroizing<Vec<u8>>, FileError> {
        match self.read("shadow") {
            Err(error) if error.is_missing() => Ok(Zeroizing::default()),
            other => other,
        }
    }

    fn write(&self, file: &str, old: &Zeroizing<Vec<u8>>, new: &Zeroizing<Vec<u8>>) -> Result<(), FileError> {
        if old == new { Ok(()) } else { atomic_file::replace(&*self.disk, &self.folder.join(file), new, 0o600) }
    }
}

/// Whether the home folder of a new account was there before, as another's. Who is not root (a demo) gives no folder away in any case.
fn foreign_home(home: &str, uid: u32, gid: u32) -> Option<Warning> {
    let of = std::fs::symlink_metadata(home).ok()?.uid();
    (geteuid().is_root() && of != uid).then(|| Warning::ForeignHome { home: home.into(), of, uid, gid })
}

/// shadow as it stands while passwd is replaced: a former hash of the account must not come to use by that.
fn closed_meanwhile(old: &Texts, new: &Texts, account: &str) -> Zeroizing<Vec<u8>> {
    let is_locked = |field: &[u8]| matches!(field.first(), Some(b'!' | b'*'));
    match shadow::shadow_entry(&old.shadow, account) {
        Some(line) if old.passwd != new.passwd && !is_locked(line.password) => {
            Zeroizing::new(shadow::with_account_off(&old.shadow, account))
        }
        _ => old.shadow.clone(),
    }
}

fn is_program(disk: &dyn Disk, path: &Path) -> bool {
    let found = disk.before(Step::Read, path).and_then(|()| std::fs::metadata(path));
    found.is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// Adds the account, with a group of its own unless there is one of its name. Returns its gid.
fn plan_new(plan: &mut Plan, wanted: &Wanted<'_>, ids: RangeInclusive<u32>) -> Result<u32, AccountsError> {
    let Texts { group, gshadow, passwd, .. } = &mut plan.texts;
    let name = wanted.account;
    let free = shadow::free_id(passwd, group, ids.clone()).ok_or_else(|| AccountsError::NoFreeId(ids.clone()));
    let (uid, gid) = match shadow::group_entry(group, name) {
        // A cut after the group was written leaves its id for the account.
        Some(own) if ids.contains(&own.gid) && !shadow::uses_uid(passwd, own.gid) => (own.gid, own.gid),
        Some(own) => (free?, own.gid),
        None => {
            let id = free?;
            *group = Zeroizing::new(shadow::with_group(group, name, id));
            (id, id)
        }
    };
    if let Some(gshadow) = gshadow {
        *gshadow = Zeroizing::new(shadow::with_group_shadow(gshadow, name));
    }
    *passwd = Zeroizing::new(shadow::with_account(passwd, &NewAccount { name, uid, gid, home: wanted.home, shell: wanted.shell }));
    plan.home_of = Some((uid, gid));
    plan.back.created = true;
    Ok(gid)
}

fn plan_membership(plan: &mut Plan, wanted: &Wanted<'_>, gid: u32) {
    let Texts { group, gshadow, .. } = &mut plan.texts;
    let entries = |name: &&String| shadow::group_entry(group, name).is_some();
    let Some(first) = wanted.administrators.iter().find(entries) else {
        plan.back.warnings.push(Warning::NoAdministratorsGroup(wanted.administrators.to_vec()));
        return;
    };
    let belongs = |name: &String| shadow::group_entry(group, name).is_some_and(|entry| entry.gid == gid || entry.has(wanted.account));
    let member_of = wanted.administrators.iter().find(|name| belongs(name)).unwrap_or(first);
    let primary = shadow::group_entry(group, member_of).is_some_and(|entry| entry.gid == gid);
    if !primary {
        *group = Zeroizing::new(shadow::with_member(group, member_of, wanted.account));
        if let Some(gshadow) = gshadow {
            *gshadow = Zeroizing::new(shadow::with_shadow_member(gshadow, member_of, wanted.account));
        }
    }
}
