//! A press: what it does, step by step, and what stands where it is refused.
//!
//! What this does not do: end a window, or repair what was cut off; a start calls [`Recovery::carry_out`] for that.

use std::time::Duration;

use super::kept::press_number;
use super::outcome::{self, Done, RecoveryError};
use super::{PreparedHash, RETRY, Recovery, audit, cut, tally};
use crate::core::recovery::{Now, PasswordIs, Phase, Record, VERSION, Window};
use crate::core::shadow::{self, PasswordHash};
use crate::supervisor::accounts::{AccountsError, BroughtBack, Wanted, Warning};
use crate::sys::atomic_file::{self, FileError};

impl Recovery {
    /// A press fired: steps 1 to 4 and 6. With a window open, it begins anew.
    ///
    /// # Errors
    /// Where the account is not back; the record, log and audit have the reason. An open window of an earlier press goes on. Where nobody can tell
    /// ([`RecoveryError::Unknown`]) it is looked at again, see [`Self::window_ends`].
    pub fn fire(&mut self, source: &str, hash: PreparedHash, now: &Now) -> Result<Done, RecoveryError> {
        self.may_press()?;
        // A press needs no record of another: a new one takes its place.
        if let Err(unread) = self.read_late(now) {
            log::error!("{unread}");
        }
        let record = self.begun(source, hash.0, self.unsettled_record().cloned(), now);
        self.record = Some(record.clone());
        match self.keep() {
            Ok(()) => {
                let blind = std::mem::take(&mut self.unread);
                self.off_unread = None;
                self.carry_out(record.clone(), now).map_err(|error| match self.record.as_ref().map(|record| record.phase) {
                    // The window of the press whose record it has taken the place of may be open.
                    Some(Phase::Failed) if blind => self.leave_in_doubt(record, error, now),
                    _ => error,
                })
            }
            // What is on the disk, and unread, stands.
            Err(error) if self.unread => {
                self.record = None;
                log::error!("a press was refused: {error}");
                Err(RecoveryError::Intent(error))
            }
            Err(error) => Err(self.refuse(record, RecoveryError::Intent(error), now)),
        }
    }

    /// A press fired, and there is no password that it could set: it is noted as refused. An open window of an earlier press goes on.
    pub fn refused(&mut self, source: &str, reason: String, now: &Now) -> RecoveryError {
        if let Err(in_doubt) = self.may_press() {
            return in_doubt;
        }
        // It must not take the place of one that stands.
        if let Err(unread) = self.read_late(now) {
            log::error!("a press was refused: {reason}; {unread}");
            return RecoveryError::NoPassword(reason);
        }
        let record = self.begun(source, PasswordHash::of_nobody(), self.unsettled_record().cloned(), now);
        self.refuse(record, RecoveryError::NoPassword(reason), now)
    }

    /// Where it is in doubt which account is meant, the log alone has the press: no record could name its account.
    fn may_press(&self) -> Result<(), RecoveryError> {
        self.sure().inspect_err(|in_doubt| log::error!("a press was refused: {in_doubt}"))
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

    /// One more than any number seen. Record, stamp and the hooks' note are each enough to know it.
    fn next_press(&self) -> u64 {
        let of_file = |path| atomic_file::read(&*self.disk, path).ok().and_then(|text| press_number(&text));
        let known = [self.record.as_ref().map(|record| record.press), of_file(&self.paths.stamp()), of_file(&self.paths.hooks_ran())];
        known.into_iter().flatten().max().unwrap_or_default().saturating_add(1)
    }

    /// The configuration may name another account since: the one whose window is open is turned off, and so not left to a press that is refused; unless it
    /// has a password of its own. Returns it where that fails.
    fn leave_other_accounts(&mut self, record: &mut Record, now: &Now) -> Option<Box<Record>> {
        let Record { account, former, .. } = record;
        while let Some(other) = former.take_if(|former| former.phase != Phase::TakenOver && former.account != *account) {
            let unpublished = self.unpublish();
            if let Err(error) = self.leave(&other, now).and(unpublished) {
                log::error!("{} still has the default password of an earlier press: {error}", other.account);
                *former = Some(other.clone());
                return Some(other);
            }
            *former = other.former;
        }
        None
    }

    /// Turns the account of another press off, unless it has a password of its own.
    fn leave(&mut self, other: &Record, now: &Now) -> Result<(), RecoveryError> {
        if self.password_is(other)? == PasswordIs::Other { Ok(()) } else { self.turn_off_account(&other.account, now) }
    }

    /// Tried once more, now that the account of this press has its window. What an operator should know where it fails again.
    fn leave_at_last(&mut self, other: &Record, now: &Now) -> Option<Warning> {
        let error = self.leave(other, now).err()?;
        Some(Warning::Other(format!("{0} still has the default password of an earlier press: {error}; passwd -l {0}", other.account)))
    }

    /// Steps 2 to 4 and 6.
    pub(super) fn carry_out(&mut self, mut record: Record, now: &Now) -> Result<Done, RecoveryError> {
        // Before the account is on: from then to its window nothing is touched that may keep us waiting.
        let other = self.leave_other_accounts(&mut record, now);
        let tallies = tally::clear(&self.disk, &self.paths, &record.account);
        let BroughtBack { created, mut warnings } = match self.bring_back(&record, now) {
            Ok(back) => back,
            Err(error @ RecoveryError::Unknown(_)) => return Err(self.leave_in_doubt(record, error, now)),
            Err(error) => return Err(self.refuse(record, error, now)),
        };
        let window = Window::open(self.config.window, now);
        warnings.extend(tallies);
        let mut later = |step: Result<(), FileError>| warnings.extend(step.err().map(Warning::File));
        later(self.publish(&record.account, window.ends));
        later(self.renew_stamp(record.press));
        let (press, account, until) = (record.press, record.account.clone(), window.ends);
        let mut outcome = outcome::carried_out(created, &warnings);
        self.record = Some(Record { phase: Phase::Recovered, window, outcome: cut(&outcome), refused: false, former: None, ..record });
        // On disk the press would still be to be carried out: what could not be kept is tried again within the window.
        let kept = self.keep();
        self.retry = kept.is_err().then(|| (now.boot + RETRY).min(until));
        warnings.extend(kept.err().map(Warning::File));
        if let Some(told) = other.and_then(|other| self.leave_at_last(&other, now)) {
            outcome = format!("{outcome}; but {told}");
            self.record = self.record.take().map(|record| Record { outcome: cut(&outcome), ..record });
            self.keep_or_later();
            warnings.push(told);
        }
        log::info!(target: "audit", "recovery press={press} account={account} outcome={outcome:?}");
        for warning in &warnings {
            log::warn!("press {press}: {warning}");
        }
        Ok(Done { press, account, created, until, warnings })
    }

    fn bring_back(&self, record: &Record, now: &Now) -> Result<BroughtBack, RecoveryError> {
        let wanted = Wanted {
            account: &record.account,
            hash: &record.hash,
            changed: if self.config.must_change_password { Some(0) } else { shadow::day(now.wall) },
            shell: &self.config.shell,
            home: &self.config.home,
            administrators: &self.config.administrators,
        };
        self.with_reserve(AccountsError::is_full, || self.accounts.bring_back(&wanted)).or_else(|error| {
            // The last step, the folder's sync, may fail with the account already on: then its window must run.
            match self.accounts.password_field(&record.account) {
                Ok(Some(field)) if field.as_slice() == record.hash.expose().as_bytes() => {
                    Ok(BroughtBack { created: false, warnings: vec![Warning::Other(error.to_string())] })
                }
                Ok(_) => Err(RecoveryError::Accounts(error)),
                Err(_) => Err(RecoveryError::Unknown(error)),
            }
        })
    }

    /// Notes that the press was refused, and why. Gives the error back.
    pub(super) fn refuse(&mut self, record: Record, error: RecoveryError, now: &Now) -> RecoveryError {
        self.stand_back(record, &format!("refused: {error}"), now);
        error
    }

    /// Notes with this outcome that the press was refused. A window that was open goes on, an account that was taken over stays so, and a press in doubt
    /// is looked at again, each under its own number: the engine knows by it which press it has followed, and what was set up since that one stands.
    pub(super) fn stand_back(&mut self, record: Record, outcome: &str, now: &Now) {
        let Record { former, source, fired_at, .. } = record.clone();
        log::error!("press {}: {outcome}", record.press);
        audit(&record, "refused");
        let outcome = cut(outcome);
        let Some(former) = former else {
            self.record = Some(Record { phase: Phase::Failed, outcome, ..record });
            return self.keep_or_forget();
        };
        let stands = Record { outcome, source, fired_at, refused: true, ..*former };
        match stands.phase {
            Phase::Intended => self.stay_in_doubt(stands, now),
            Phase::TakenOver => {
                self.record = Some(stands);
                self.keep_or_forget();
            }
            _ => {
                let window = stands.window.rest(now).unwrap_or_else(|| Window::open(Duration::ZERO, now));
                self.go_on(stands, window, now);
            }
        }
    }
}
