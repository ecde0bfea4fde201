//! A fired press carried out, step by step.
//!
//! [`Recovery::fire`] does, in this order, each step idempotent:
//!
//! 1. the intent, in `recovery.json`: where it cannot be kept, nothing is done, since nobody would turn the account off again after a power cut;
//! 2. pam_faillock's tally (`tally`), which is waited for shortly;
//! 3. the account files (`accounts`);
//! 4. `recovered` in the run folder;
//! 6. the stamp `pressed`, which starts the hooks.
//!
//! The caller does the rest: it tells the engine (5) and gives feedback (7). `core::recovery` has the states and decides; here is what touches
//! files. All calls block (lock, disk, ending sessions): run them off the event loop. Whoever holds a [`Recovery`] is its only user.
//!
//! Disk full: a file of 256 KiB, `reserve`, lies beside the record. Where a step finds no room, it is removed and the step tried once more.
//!
//! What this does not do: choose the password, wait for the window's end (arm one timer for [`Recovery::window_ends`]), or talk to anybody.

use std::sync::Arc;
use std::time::Duration;

use super::accounts::{Accounts, AccountsError, State};
use super::password::{DefaultPassword, NoStableAddress};
use super::sessions;
use crate::config::paths::Paths;
use crate::config::{self, HashMethod};
use crate::core::clock::{BootId, Moment};
use crate::core::recovery::{self, PasswordIs, Phase, Record, Window, Wish};
use crate::core::shadow::{self, PasswordHash};
use crate::core::time::{BootTime, Wall};
use crate::sys::atomic_file::{Disk, RealDisk};
use crate::sys::clock;
use crate::sys::crypt::{self, CryptError};

use self::judgement::Judgement;
use self::kept::read_record;

pub(super) use self::kept::press_number;

pub use self::judgement::FindDefault;
pub use self::outcome::{AccountState, Done, LastPress, Published, RecoveryError, StartAction, WindowEnd};
pub use crate::core::recovery::Now;

mod doubt;
mod judgement;
mod kept;
mod outcome;
mod press;
pub mod tally;

/// How long after a failed turning-off it is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The longest outcome that the record keeps, in characters.
const OUTCOME: usize = 1000;

/// What every clock says now.
#[must_use]
pub fn now() -> Now {
    let Moment { wall, boot, boot_id: BootId(id), .. } = clock::moment();
    let known = id.iter().any(|&byte| byte != 0);
    Now { wall, boot, boot_id: if known { format!("{:032x}", u128::from_be_bytes(id)) } else { String::new() } }
}

/// The hash of the default password, ready to be set.
#[derive(Clone, Debug)]
pub struct PreparedHash(PasswordHash);

impl PreparedHash {
    /// The hash.
    #[must_use]
    pub fn hash(&self) -> &PasswordHash {
        &self.0
    }
}

/// Hashes the default password; done while the button is held, since it takes some tenths of a second, and without a [`Recovery`], which an
/// earlier press may still be using.
///
/// # Errors
/// Where there is no libcrypt, or the password is unfit.
pub fn prepare(method: HashMethod, password: &DefaultPassword) -> Result<PreparedHash, CryptError> {
    let method = match method {
        HashMethod::Yescrypt => crypt::Method::Yescrypt,
        HashMethod::Sha512 => crypt::Method::Sha512,
    };
    let hashed = crypt::hash(password.password.expose(), method)?;
    if hashed.method != method {
        log::warn!("this system's libcrypt does not know {method}: the default password is hashed by {}", hashed.method);
    }
    PasswordHash::new(hashed.hash.to_string()).map(PreparedHash).map_err(|_| CryptError::Refused)
}

/// The last press and what belongs to it.
pub struct Recovery {
    paths: Paths,
    config: config::Recovery,
    disk: Arc<dyn Disk>,
    accounts: Accounts,
    judgement: Judgement,
    record: Option<Record>,
    /// Whether the record is still to be read: until now the disk did not give it.
    unread: bool,
    retry: Option<BootTime>,
    /// Whether somebody wanted the account off while the record was still to be read, and whether it was turned off then.
    off_unread: Option<bool>,
    /// Whether the record is still to be written, as far as a press in doubt or somebody's wish wants it.
    unkept: bool,
    /// Why the configuration leaves in doubt which account it is.
    doubt: Option<String>,
}

impl Recovery {
    /// Reads the record. One that is none is set aside (`recovery.json.bad`) and logged, and one that can't be read now is read later: the button works
    /// without it. The folders of `paths` exist already. `find` gives the default password, for comparison with what somebody has set since a press.
    ///
    /// # Errors
    /// Where the configuration cannot work.
    pub fn open(paths: Paths, config: config::Recovery, find: FindDefault) -> Result<Self, RecoveryError> {
        Self::open_on(Arc::new(RealDisk), paths, config, find)
    }

    /// As [`Self::open`], on this disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, paths: Paths, config: config::Recovery, find: FindDefault) -> Result<Self, RecoveryError> {
        let fit = |key, value: &str, fits: fn(&str) -> bool| match fits(value) {
            true => Ok(()),
            false => Err(RecoveryError::Config { key, value: value.into() }),
        };
        fit("recovery.account", &config.account, is_fit)?;
        fit("recovery.shell", &config.shell, shadow::is_path_field)?;
        fit("recovery.home", &config.home, shadow::is_path_field)?;
        let (record, unread) = match read_record(&*disk, &paths) {
            Ok(record) => (record, false),
            Err(error) => {
                log::error!("{error}");
                (None, true)
            }
        };
        let accounts = Accounts::new(paths.accounts.clone(), config.lock_wait, Arc::clone(&disk));
        Ok(Self {
            paths,
            config,
            disk,
            accounts,
            judgement: Judgement::new(find),
            record,
            unread,
            retry: None,
            off_unread: None,
            unkept: false,
            doubt: None,
        })
    }

    /// For a configuration that leaves in doubt which account it is, and why: no press is carried out, and of all accounts only that of an open
    /// window is turned off. The account is then that of the last press, which nobody has to guess. As little is known which password is the default
    /// one, so nobody has taken the account over by setting another than the press did.
    #[must_use]
    pub fn in_doubt(mut self, why: &str) -> Self {
        let reason = why.to_owned();
        self.judgement = Judgement::new(Box::new(move || Err(NoStableAddress { reason: reason.clone() })));
        self.account_of_last();
        self.doubt = Some(why.into());
        self
    }

    fn account_of_last(&mut self) {
        self.config.account = self.record.as_ref().map(|record| record.account.clone()).unwrap_or_default();
    }

    /// The account; empty where the configuration leaves it in doubt and there was no press yet.
    #[must_use]
    pub fn account(&self) -> &str {
        &self.config.account
    }

    /// As [`prepare`], by the configured method.
    ///
    /// # Errors
    /// As [`prepare`].
    pub fn prepare(&self, password: &DefaultPassword) -> Result<PreparedHash, CryptError> {
        prepare(self.config.hash, password)
    }

    /// What a start has to do: carry out a press that was cut off, go on with an open window, or end it.
    ///
    /// # Errors
    /// Where that failed; an account that should be off is tried again, see [`Self::window_ends`].
    pub fn at_start(&mut self, now: &Now) -> Result<StartAction, RecoveryError> {
        self.refill_reserve();
        let read = self.read_late(now);
        self.or_again(read, now)?;
        if let Some(why) = self.doubt.clone() {
            self.cut_off_in_doubt(&why, now)?;
        }
        let Some(record) = self.record.clone() else { return self.close(now).map(|()| StartAction::Nothing) };
        let wish = match record.phase {
            Phase::Recovered => self.wish(now)?,
            // What was reported as failed is no longer expected: it is completed only where it came to its end.
            Phase::Intended if record.refused => return self.look_again(record, now).map(StartAction::from),
            _ => recovery::decide(&record, PasswordIs::Missing, now),
        };
        match wish {
            Wish::Nothing => self.close(now).map(|()| StartAction::Nothing),
            Wish::CarryOut => {
                log::warn!("press {} was cut off before it was complete; it is carried out again", record.press);
                self.carry_out(record, now).map(StartAction::CarriedOut)
            }
            Wish::GoOn(window) => {
                self.call_hooks_again(record.press);
                Ok(StartAction::WindowGoesOn(self.go_on(record, window, now)))
            }
            Wish::TurnOff | Wish::TakenOver => self.end_window(wish, now).map(StartAction::Ended),
        }
    }

    /// What the account's password is now, by the default password as it is now.
    fn password_is(&mut self, record: &Record) -> Result<PasswordIs, RecoveryError> {
        let field = self.accounts.password_field(&record.account)?;
        self.judgement.afresh(field.as_ref().map(|field| field.as_slice()), &record.hash)
    }

    /// When [`Self::window_ended`] is to be called; none without an open window, unless something of its end is still to be done.
    #[must_use]
    pub fn window_ends(&self) -> Option<BootTime> {
        self.retry.or_else(|| self.open_record().map(|record| record.window.ends))
    }

    /// The time of [`Self::window_ends`] has come: turns the account off, unless somebody has given it a password of its own; or looks again what came of
    /// a press in doubt.
    ///
    /// # Errors
    /// Where it could not be turned off; it is tried again a minute later, see [`Self::window_ends`].
    pub fn window_ended(&mut self, now: &Now) -> Result<WindowEnd, RecoveryError> {
        if self.unread {
            return self.at_start(now).map(WindowEnd::from);
        }
        self.unkept = self.unkept && self.keep().is_err();
        if let Some(record) = self.intended_record().cloned() {
            return self.look_again(record, now);
        }
        if self.open_record().is_none() {
            return self.close(now).map(|()| WindowEnd::NotOpen);
        }
        let wish = self.wish(now)?;
        self.end_window(wish, now)
    }

    /// Turns the account off, whatever its password: no hash, expired, sessions ended, no longer published. `why` is for log and record.
    ///
    /// # Errors
    /// Where it is in doubt which account that is. Where the account files could not be written, or the account is off and only its publication not
    /// removed: then an open window, or a press in doubt, has no time left, so that it is ended as soon as it can be, see [`Self::window_ends`].
    pub fn turn_off(&mut self, now: &Now, why: &str) -> Result<(), RecoveryError> {
        if let Err(unread) = self.read_late(now) {
            log::error!("{unread}");
        }
        let account = match self.open_record().or(self.intended_record()) {
            Some(record) => record.account.clone(),
            None => self.sure().map(|()| self.config.account.clone())?,
        };
        let off = self.put_off(&account, now, why);
        if off.is_err() {
            self.leave_no_time(&account, now);
        }
        if self.unread {
            self.off_unread = Some(off.is_ok());
            self.retry = Some(now.boot + RETRY);
        }
        off
    }

    /// Somebody wants the account off, which it can't be now. What they set or lock until then is judged as at any window's end.
    fn leave_no_time(&mut self, account: &str, now: &Now) {
        let is_open = |record: &&mut Record| record.account == account && matches!(record.phase, Phase::Recovered | Phase::Intended);
        if let Some(record) = self.record.as_mut().filter(is_open) {
            record.window = Window::open(Duration::ZERO, now);
            // A start carries it out no more.
            record.refused |= record.phase == Phase::Intended;
            self.keep_or_later();
        }
    }

    fn put_off(&mut self, account: &str, now: &Now, why: &str) -> Result<(), RecoveryError> {
        // Whatever fails below: PAM admits nobody by it any more.
        let unpublished = self.unpublish();
        self.turn_off_account(account, now)?;
        self.settle(Phase::Off, account, &format!("{account} is off: {why}"));
        // Another account's press may be what stands now.
        self.retry = self.open_record().or(self.intended_record()).map(|_| now.boot + RETRY);
        self.or_again(unpublished, now)
    }

    /// The account, for status.
    ///
    /// # Errors
    /// Where the account files cannot be read.
    pub fn account_state(&mut self, now: &Now) -> Result<AccountState, RecoveryError> {
        match self.accounts.state(&self.config.account, now.wall)? {
            State::Missing => return Ok(AccountState::Missing),
            State::Disabled => return Ok(AccountState::Disabled),
            State::Active => {}
        }
        let field = self.accounts.password_field(&self.config.account)?;
        let Some(record) = self.record.as_ref().filter(|record| record.phase == Phase::Recovered && record.account == self.config.account)
        else {
            return Ok(AccountState::Active);
        };
        // What can't be told is not yet taken over.
        if matches!(self.judgement.remembered(field.as_ref().map(|field| field.as_slice()), &record.hash), Ok(PasswordIs::Other)) {
            return Ok(AccountState::Active);
        }
        let rest = record.window.ends - now.boot;
        let until = Wall(now.wall.0.saturating_add(i64::try_from(rest.as_secs()).unwrap_or(i64::MAX)));
        Ok(AccountState::Recovered { until: (now.wall >= shadow::EARLIEST).then_some(until) })
    }

    /// The last press, for status.
    #[must_use]
    pub fn last(&self) -> Option<LastPress> {
        let Record { press, account, source, fired_at, phase, outcome, refused, .. } = self.record.clone()?;
        Some(LastPress { press, account, at: fired_at, source, phase, outcome, failed: refused || phase == Phase::Failed })
    }

    /// The account that the engine must know as recovered, and the press that did it; none once it is off.
    #[must_use]
    pub fn standing(&self) -> Option<(&str, u64)> {
        self.standing_record().map(|record| (record.account.as_str(), record.press))
    }

    /// Whether the configuration says which account it is.
    fn sure(&self) -> Result<(), RecoveryError> {
        self.doubt.clone().map_or(Ok(()), |why| Err(RecoveryError::InDoubt(why)))
    }

    /// The record while its window is open.
    fn open_record(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.phase == Phase::Recovered)
    }

    /// The record of a press that is not carried out yet, or in doubt.
    fn intended_record(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.phase == Phase::Intended)
    }

    /// The record of the press that was carried out last, unless its account is off again.
    fn standing_record(&self) -> Option<&Record> {
        let mut record = self.record.as_ref()?;
        while record.phase == Phase::Intended {
            record = record.former.as_deref()?;
        }
        Some(record).filter(|record| matches!(record.phase, Phase::Recovered | Phase::TakenOver))
    }

    /// The record that stands where a new press is refused.
    fn unsettled_record(&self) -> Option<&Record> {
        self.intended_record().or_else(|| self.standing_record())
    }

    /// The window goes on, until the time returned.
    fn go_on(&mut self, record: Record, window: Window, now: &Now) -> BootTime {
        let (ends, account) = (window.ends, record.account.clone());
        self.retry = None;
        self.record = Some(Record { window, ..record });
        if let Err(error) = self.keep() {
            log::error!("how much of the window is left could not be noted: {error}");
            self.retry = Some((now.boot + RETRY).min(ends));
        }
        if let Err(error) = self.publish(&account, ends) {
            log::error!("while the engine is away, {account} may not get in: {error}");
        }
        ends
    }

    /// What is to be done about the open window. Whose password it is counts at the window's end alone, so only then it is hashed.
    fn wish(&mut self, now: &Now) -> Result<Wish, RecoveryError> {
        let Some(record) = self.record.clone() else { return Ok(Wish::Nothing) };
        let password = match record.window.rest(now) {
            None => self.password_is(&record),
            Some(_) => {
                let field = self.accounts.password_field(&record.account).map_err(RecoveryError::from);
                field.map(|field| Judgement::at_a_glance(field.as_ref().map(|field| field.as_slice()), &record.hash))
            }
        };
        self.or_again(password.map(|password| recovery::decide(&record, password, now)), now)
    }

    fn end_window(&mut self, wish: Wish, now: &Now) -> Result<WindowEnd, RecoveryError> {
        let Some(record) = self.record.clone() else { return Ok(WindowEnd::NotOpen) };
        match wish {
            Wish::TurnOff => {
                let why = "the time is over and the default password was still set";
                self.put_off(&record.account, now, why).map(|()| WindowEnd::TurnedOff)
            }
            Wish::TakenOver => {
                let unpublished = self.unpublish();
                self.settle(Phase::TakenOver, &record.account, &format!("{} has a password of its own and stays on", record.account));
                self.or_again(unpublished, now).map(|()| WindowEnd::TakenOver)
            }
            Wish::GoOn(window) => {
                self.go_on(record, window, now);
                Ok(WindowEnd::NotYet)
            }
            Wish::Nothing | Wish::CarryOut => Ok(WindowEnd::NotOpen),
        }
    }

    fn turn_off_account(&mut self, account: &str, now: &Now) -> Result<(), RecoveryError> {
        let off = self.with_reserve(AccountsError::is_full, || self.accounts.turn_off(account));
        if let Some(uid) = self.or_again(off, now)? {
            let ended = sessions::end(&self.paths.root, uid, sessions::GRACE);
            if ended.left {
                log::warn!("some processes of {account} could not be ended");
            }
        }
        Ok(())
    }

    /// Without an open window nobody is admitted.
    fn close(&mut self, now: &Now) -> Result<(), RecoveryError> {
        self.retry = None;
        let unpublished = self.unpublish();
        self.or_again(unpublished, now)
    }

    /// What failed is tried again when [`Self::window_ends`] says so.
    fn or_again<T, E: Into<RecoveryError>>(&mut self, step: Result<T, E>, now: &Now) -> Result<T, RecoveryError> {
        if step.is_err() {
            self.retry = Some(now.boot + RETRY);
        }
        step.map_err(Into::into)
    }

    fn settle(&mut self, phase: Phase, account: &str, outcome: &str) {
        self.retry = None;
        log::info!(target: "audit", "recovery account={account} outcome={outcome:?}");
        if let Some(record) = self.record.as_mut().filter(|record| record.account == account) {
            match record.former.take_if(|former| former.account != account) {
                // Of another account, which has its own window still, or none.
                Some(former) => *record = Record { outcome: cut(outcome), refused: false, ..*former },
                None => (record.phase, record.outcome, record.refused, record.former) = (phase, cut(outcome), false, None),
            }
            self.keep_or_forget();
        }
        self.refill_reserve();
    }
}

/// Whether the button may have to do with an account of this name.
fn is_fit(account: &str) -> bool {
    shadow::is_account_name(account) && recovery::may_be_recovered(account)
}

fn audit(record: &Record, what: &str) {
    let Record { press, account, source, .. } = record;
    log::info!(target: "audit", "recovery press={press} account={account} source={source:?} outcome={what:?}");
}

fn cut(text: &str) -> String {
    text.chars().take(OUTCOME).collect()
}
