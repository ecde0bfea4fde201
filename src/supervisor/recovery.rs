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

use super::accounts::{Accounts, AccountsError, BroughtBack, State, Wanted, Warning};
use super::password::{DefaultPassword, NoStableAddress};
use super::sessions;
use crate::config::paths::Paths;
use crate::config::{self, HashMethod};
use crate::core::clock::{BootId, Moment};
use crate::core::recovery::{self, PasswordIs, Phase, Record, VERSION, Window, Wish};
use crate::core::shadow::{self, PasswordHash};
use crate::core::time::{BootTime, Wall};
use crate::sys::atomic_file::{self, Disk, FileError, RealDisk};
use crate::sys::clock;
use crate::sys::crypt::{self, CryptError};

use self::judgement::Judgement;

pub use self::judgement::FindDefault;
pub use self::outcome::{AccountState, Done, LastPress, Published, RecoveryError, StartAction, WindowEnd};
pub use crate::core::recovery::Now;

mod judgement;
mod outcome;
pub mod tally;

/// How long after a failed turning-off it is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// The bytes kept for a full disk.
const RESERVE: usize = 256 << 10;

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
    judgement: Judgement,
    record: Option<Record>,
    retry: Option<BootTime>,
    /// Why the configuration leaves in doubt which account it is.
    doubt: Option<String>,
}

impl Recovery {
    /// Reads the record. One that cannot be read is set aside (`recovery.json.bad`) and logged: the button works without it. The folders of
    /// `paths` exist already. `find` gives the default password, for comparison with what somebody has set since a press.
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
        let record = read_record(&*disk, &paths).map(|record| completed(&*disk, &paths, record));
        Ok(Self { paths, config, disk, judgement: Judgement::new(find), record, retry: None, doubt: None })
    }

    /// For a configuration that leaves in doubt which account it is, and why: no press is carried out, and of all accounts only that of an open
    /// window is turned off. The account is then that of the last press, which nobody has to guess. As little is known which password is the default
    /// one, so nobody has taken the account over by setting another than the press did.
    #[must_use]
    pub fn in_doubt(mut self, why: &str) -> Self {
        let reason = why.to_owned();
        self.judgement = Judgement::new(Box::new(move || Err(NoStableAddress { reason: reason.clone() })));
        self.config.account = self.record.as_ref().map(|record| record.account.clone()).unwrap_or_default();
        self.doubt = Some(why.into());
        self
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

    /// A press fired: steps 1 to 4 and 6. With a window open, it begins anew.
    ///
    /// # Errors
    /// Where the account is not back; the record, log and audit have the reason. An open window of an earlier press goes on.
    pub fn fire(&mut self, source: &str, hash: PreparedHash, now: &Now) -> Result<Done, RecoveryError> {
        self.sure()?;
        let former = self.leave_other_account(now);
        let record = self.begun(source, hash.0, former, now);
        self.record = Some(record.clone());
        match self.keep() {
            Ok(()) => self.carry_out(record, now),
            Err(error) => Err(self.refuse(record, RecoveryError::Intent(error), now)),
        }
    }

    /// A press fired, and there is no password that it could set: it is noted as refused. An open window of an earlier press goes on.
    pub fn refused(&mut self, source: &str, reason: String, now: &Now) -> RecoveryError {
        let record = self.begun(source, PasswordHash::of_nobody(), self.standing_record().cloned(), now);
        self.refuse(record, RecoveryError::NoPassword(reason), now)
    }

    fn begun(&self, source: &str, hash: PasswordHash, former: Option<Record>, now: &Now) -> Record {
        let record = Record {
            version: VERSION,
            press: self.next_press(),
            account: self.config.account.clone(),
            source: source.into(),
            fired_at: now.wall,
            hash,
            phase: Phase::Intended,
            window: Window::open(self.config.window, now),
            outcome: "begun".into(),
            refused: false,
            former: former.map(Box::new),
        };
        audit(&record, "press fired");
        record
    }

    /// What a start has to do: carry out a press that was cut off, go on with an open window, or end it.
    ///
    /// # Errors
    /// Where that failed; an account that should be off is tried again, see [`Self::window_ends`].
    pub fn at_start(&mut self, now: &Now) -> Result<StartAction, RecoveryError> {
        self.refill_reserve();
        if let Some(why) = self.doubt.clone() {
            self.cut_off_in_doubt(why, now)?;
        }
        let Some(record) = self.record.clone() else { return self.close(now).map(|()| StartAction::Nothing) };
        let wish = match record.phase {
            Phase::Recovered => self.wish(now)?,
            _ => recovery::decide(&record, PasswordIs::Missing, now),
        };
        match wish {
            Wish::Nothing => self.close(now).map(|()| StartAction::Nothing),
            Wish::CarryOut => {
                log::warn!("press {} was cut off before it was complete; it is carried out again", record.press);
                self.carry_out(record, now).map(StartAction::CarriedOut)
            }
            Wish::GoOn(window) => Ok(StartAction::WindowGoesOn(self.go_on(record, window, now))),
            Wish::TurnOff | Wish::TakenOver => self.end_window(wish, now).map(StartAction::Ended),
        }
    }

    /// In doubt no press is carried out, also none that was cut off: by the time that the file is mended, nobody expects it any more, and its owner
    /// may have given the account a password. Only where it came so far that the account is on, perhaps, its window runs.
    fn cut_off_in_doubt(&mut self, why: String, now: &Now) -> Result<(), RecoveryError> {
        let Some(record) = self.record.clone().filter(|record| record.phase == Phase::Intended) else { return Ok(()) };
        let field = self.accounts().password_field(&record.account);
        match field.map(|field| Judgement::at_a_glance(field.as_ref().map(|field| field.as_slice()), &record.hash)) {
            Ok(PasswordIs::Default) | Err(_) => {
                let outcome = cut(&format!("recovered, and cut off after that; its hooks wait for the next press: {why}"));
                self.record = Some(Record { phase: Phase::Recovered, outcome, former: None, ..record });
                Ok(())
            }
            Ok(_) => {
                let refused = self.refuse(record, RecoveryError::InDoubt(why), now);
                if self.open_record().is_none() {
                    self.close(now)?;
                }
                Err(refused)
            }
        }
    }

    /// What the account's password is now, by the default password as it is now.
    fn password_is(&mut self, record: &Record) -> Result<PasswordIs, RecoveryError> {
        let field = self.accounts().password_field(&record.account)?;
        self.judgement.afresh(field.as_ref().map(|field| field.as_slice()), &record.hash)
    }

    /// When [`Self::window_ended`] is to be called; none without an open window, unless something of its end is still to be done.
    #[must_use]
    pub fn window_ends(&self) -> Option<BootTime> {
        self.retry.or_else(|| self.open_record().map(|record| record.window.ends))
    }

    /// The time of [`Self::window_ends`] has come: turns the account off, unless somebody has given it a password of its own.
    ///
    /// # Errors
    /// Where it could not be turned off; it is tried again a minute later, see [`Self::window_ends`].
    pub fn window_ended(&mut self, now: &Now) -> Result<WindowEnd, RecoveryError> {
        if self.open_record().is_none() {
            self.retry = None;
            return self.close(now).map(|()| WindowEnd::NotOpen);
        }
        let wish = self.wish(now)?;
        self.end_window(wish, now)
    }

    /// Turns the account off, whatever its password: no hash, expired, sessions ended, no longer published. `why` is for log and record.
    ///
    /// # Errors
    /// Where it is in doubt which account that is. Where the account files could not be written, or the account is off and only its publication not
    /// removed: both are tried again, see [`Self::window_ends`].
    pub fn turn_off(&mut self, now: &Now, why: &str) -> Result<(), RecoveryError> {
        let account = match self.open_record() {
            Some(record) => record.account.clone(),
            None => self.sure().map(|()| self.config.account.clone())?,
        };
        // Whatever fails below: PAM admits nobody by it any more.
        let unpublished = self.unpublish();
        self.turn_off_account(&account, now)?;
        self.settle(Phase::Off, &account, &format!("{account} is off: {why}"));
        self.or_again(unpublished, now)
    }

    /// The account, for status.
    ///
    /// # Errors
    /// Where the account files cannot be read.
    pub fn account_state(&mut self, now: &Now) -> Result<AccountState, RecoveryError> {
        match self.accounts().state(&self.config.account, now.wall)? {
            State::Missing => return Ok(AccountState::Missing),
            State::Disabled => return Ok(AccountState::Disabled),
            State::Active => {}
        }
        let field = self.accounts().password_field(&self.config.account)?;
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

    fn accounts(&self) -> Accounts {
        Accounts::new(self.paths.accounts.clone(), self.config.lock_wait, Arc::clone(&self.disk))
    }

    /// Whether the configuration says which account it is.
    fn sure(&self) -> Result<(), RecoveryError> {
        self.doubt.clone().map_or(Ok(()), |why| Err(RecoveryError::InDoubt(why)))
    }

    /// The record while its window is open.
    fn open_record(&self) -> Option<&Record> {
        self.record.as_ref().filter(|record| record.phase == Phase::Recovered)
    }

    /// The record of the press that was carried out last, unless its account is off again.
    fn standing_record(&self) -> Option<&Record> {
        let last = self.record.as_ref()?;
        let carried_out = if last.phase == Phase::Intended { last.former.as_deref()? } else { last };
        Some(carried_out).filter(|record| matches!(record.phase, Phase::Recovered | Phase::TakenOver))
    }

    /// One more than any number seen. Record, stamp and the hooks' note are each enough to know it.
    fn next_press(&self) -> u64 {
        let of_file = |path| atomic_file::read(&*self.disk, path).ok().and_then(|text| press_number(&text));
        let known = [self.record.as_ref().map(|record| record.press), of_file(&self.paths.stamp()), of_file(&self.paths.hooks_ran())];
        known.into_iter().flatten().max().unwrap_or_default().saturating_add(1)
    }

    /// The configuration may name another account since: the one whose window is open is not forgotten. Returns the record that stands if this press
    /// is refused.
    fn leave_other_account(&mut self, now: &Now) -> Option<Record> {
        let former = self.standing_record()?.clone();
        if former.phase == Phase::TakenOver || former.account == self.config.account {
            return Some(former);
        }
        let ended = match self.password_is(&former) {
            Ok(PasswordIs::Other) => Ok(()),
            Ok(_) => {
                let unpublished = self.unpublish();
                self.turn_off_account(&former.account, now).and(unpublished)
            }
            Err(error) => Err(error),
        };
        if let Err(error) = ended {
            log::error!("{} still has the default password of an earlier press: {error}", former.account);
        }
        None
    }

    /// Steps 2 to 4 and 6.
    fn carry_out(&mut self, record: Record, now: &Now) -> Result<Done, RecoveryError> {
        // Before the account is on: from then to its window nothing is touched that may keep us waiting.
        let tallies = tally::clear(&self.disk, &self.paths, &record.account);
        let BroughtBack { created, mut warnings } = match self.bring_back(&record, now) {
            Ok(back) => back,
            Err(error) => return Err(self.refuse(record, RecoveryError::Accounts(error), now)),
        };
        let window = Window::open(self.config.window, now);
        warnings.extend(tallies);
        let mut later = |step: Result<(), FileError>| warnings.extend(step.err().map(Warning::File));
        later(self.publish(&record.account, window.ends));
        later(self.renew_stamp(record.press));
        let (press, account, until) = (record.press, record.account.clone(), window.ends);
        let outcome = outcome::carried_out(created, &warnings);
        self.record = Some(Record { phase: Phase::Recovered, window, outcome: cut(&outcome), former: None, ..record });
        // On disk the press would still be to be carried out: what could not be kept is tried again within the window.
        let kept = self.keep();
        self.retry = kept.is_err().then(|| (now.boot + RETRY).min(until));
        warnings.extend(kept.err().map(Warning::File));
        log::info!(target: "audit", "recovery press={press} account={account} outcome={outcome:?}");
        for warning in &warnings {
            log::warn!("press {press}: {warning}");
        }
        Ok(Done { press, account, created, until, warnings })
    }

    fn bring_back(&self, record: &Record, now: &Now) -> Result<BroughtBack, AccountsError> {
        let accounts = self.accounts();
        let wanted = Wanted {
            account: &record.account,
            hash: &record.hash,
            changed: if self.config.must_change_password { Some(0) } else { shadow::day(now.wall) },
            shell: &self.config.shell,
            home: &self.config.home,
            administrators: &self.config.administrators,
        };
        self.with_reserve(AccountsError::is_full, || accounts.bring_back(&wanted)).or_else(|error| {
            // The last step, the folder's sync, may fail with the account already on: then its window must run.
            match accounts.password_field(&record.account) {
                Ok(Some(field)) if field.as_slice() == record.hash.expose().as_bytes() => {
                    Ok(BroughtBack { created: false, warnings: vec![Warning::Other(error.to_string())] })
                }
                _ => Err(error),
            }
        })
    }

    /// Notes that the press was refused. A window that was open goes on, and an account that was taken over stays so, each under its own number: the
    /// engine knows by it which press it has followed, and what was set up since that one stands. Gives the error back.
    fn refuse(&mut self, record: Record, error: RecoveryError, now: &Now) -> RecoveryError {
        let Record { former, source, fired_at, .. } = record.clone();
        log::error!("press {} was refused: {error}", record.press);
        audit(&record, "refused");
        let outcome = cut(&format!("refused: {error}"));
        match former {
            Some(former) if former.phase == Phase::TakenOver => {
                self.record = Some(Record { outcome, source, fired_at, refused: true, ..*former });
                self.keep_or_forget();
            }
            Some(former) => {
                let window = former.window.rest(now).unwrap_or_else(|| Window::open(Duration::ZERO, now));
                self.go_on(Record { outcome, source, fired_at, refused: true, ..*former }, window, now);
            }
            None => {
                self.record = Some(Record { phase: Phase::Failed, outcome, ..record });
                self.keep_or_forget();
            }
        }
        error
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
                let field = self.accounts().password_field(&record.account).map_err(RecoveryError::from);
                field.map(|field| Judgement::at_a_glance(field.as_ref().map(|field| field.as_slice()), &record.hash))
            }
        };
        self.or_again(password.map(|password| recovery::decide(&record, password, now)), now)
    }

    fn end_window(&mut self, wish: Wish, now: &Now) -> Result<WindowEnd, RecoveryError> {
        let Some(record) = self.record.clone() else { return Ok(WindowEnd::NotOpen) };
        match wish {
            Wish::TurnOff => self.turn_off(now, "the time is over and the default password was still set").map(|()| WindowEnd::TurnedOff),
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
        let off = self.with_reserve(AccountsError::is_full, || self.accounts().turn_off(account));
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
            (record.phase, record.outcome, record.refused) = (phase, cut(outcome), false);
            self.keep_or_forget();
        }
        self.refill_reserve();
    }

    fn publish(&self, account: &str, until: BootTime) -> Result<(), FileError> {
        let until_boot_ms = u64::try_from(until.0.as_millis()).unwrap_or(u64::MAX);
        let text = serde_json::to_vec(&Published { account: account.into(), until_boot_ms }).unwrap_or_default();
        atomic_file::replace(&*self.disk, &self.paths.recovered(), &text, 0o600)
    }

    fn unpublish(&self) -> Result<(), RecoveryError> {
        atomic_file::remove(&*self.disk, &self.paths.recovered()).map_err(RecoveryError::Publish)
    }

    fn renew_stamp(&self, press: u64) -> Result<(), FileError> {
        let text = format!("{press}\n");
        self.with_reserve(FileError::is_full, || atomic_file::replace(&*self.disk, &self.paths.stamp(), text.as_bytes(), 0o600))
    }

    fn keep(&self) -> Result<(), FileError> {
        let text = self.record.as_ref().and_then(|record| serde_json::to_vec_pretty(record).ok()).unwrap_or_default();
        self.with_reserve(FileError::is_full, || atomic_file::replace(&*self.disk, &self.paths.recovery_record(), &text, 0o600))
    }

    /// A record that still says "intended" would bring the account back at the next start: where the new one cannot be written, no record is
    /// better, unless the old one says the same. Removing needs no room.
    fn keep_or_forget(&self) {
        if let Err(error) = self.keep() {
            log::error!("the outcome of the press could not be noted: {error}");
            if self.noted() == self.record.as_ref().map(|record| (record.press, record.phase)) {
                return;
            }
            if let Err(error) = atomic_file::remove(&*self.disk, &self.paths.recovery_record()) {
                log::error!("nor the record be removed: {error}");
            }
        }
    }

    /// Which press the record on the disk has, and how far it came there.
    fn noted(&self) -> Option<(u64, Phase)> {
        let text = atomic_file::read(&*self.disk, &self.paths.recovery_record()).ok()?;
        serde_json::from_slice::<Record>(&text).ok().map(|record| (record.press, record.phase))
    }

    fn with_reserve<T, E>(&self, is_full: fn(&E) -> bool, act: impl Fn() -> Result<T, E>) -> Result<T, E> {
        match act() {
            Err(error) if is_full(&error) && self.spend_reserve() => act(),
            outcome => outcome,
        }
    }

    fn spend_reserve(&self) -> bool {
        let reserve = self.paths.reserve();
        let spent = reserve.exists() && atomic_file::remove(&*self.disk, &reserve).is_ok();
        if spent {
            log::warn!("the disk is full: {} was given up for this press", reserve.display());
        }
        spent
    }

    fn refill_reserve(&self) {
        let reserve = self.paths.reserve();
        if !reserve.exists()
            && let Err(error) = atomic_file::replace(&*self.disk, &reserve, &[0xA5; RESERVE], 0o600)
        {
            log::warn!("no room is kept for a press on a full disk: {error}");
        }
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

/// A press number on disk: digits and a line feed.
pub(super) fn press_number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.trim_end().parse().ok()
}

/// A press that has renewed its stamp came to its end, and only the note of that could not be kept: it counts as carried out. What somebody has set
/// since then is judged at the end of its window, as always, and never overwritten.
fn completed(disk: &dyn Disk, paths: &Paths, record: Record) -> Record {
    let stamped = || atomic_file::read(disk, &paths.stamp()).is_ok_and(|text| press_number(&text) == Some(record.press));
    if record.phase != Phase::Intended || !stamped() {
        return record;
    }
    Record {
        phase: Phase::Recovered,
        outcome: "recovered; but the rest of what came of it could not be noted".into(),
        former: None,
        ..record
    }
}

fn read_record(disk: &dyn Disk, paths: &Paths) -> Option<Record> {
    let path = paths.recovery_record();
    let reason = match atomic_file::read(disk, &path) {
        Err(error) if error.is_missing() => return None,
        Err(error) => error.to_string(),
        Ok(text) => match serde_json::from_slice::<Record>(&text) {
            Ok(record) if record.version == VERSION && is_fit(&record.account) => return Some(record),
            Ok(_) => "written by another version".into(),
            // Without serde's message, which may quote the hash.
            Err(error) => format!("no record (line {}, column {})", error.line(), error.column()),
        },
    };
    let aside = path.with_extension("json.bad");
    log::error!(
        "{}: {reason}; set aside as {}. If a press left the account on, turn it off: twostep recovery disable",
        path.display(),
        aside.display()
    );
    if let Err(error) = atomic_file::rename(disk, &path, &aside) {
        log::error!("{error}");
    }
    None
}
