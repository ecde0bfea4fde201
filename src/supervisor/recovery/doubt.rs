//! A press of which nobody can tell what came of it: the account files failed under it and can't be read afterwards, or the power went, and by now the
//! configuration leaves in doubt which account is meant.
//!
//! The first kind stays *Intended*: the account may be on with the default password, and somebody must turn it off again. It is looked at again each
//! minute until the files can be read. What this does not do: touch them; [`Recovery::carry_out`] and [`Recovery::put_off`] do.

use super::judgement::Judgement;
use super::outcome::{RecoveryError, WindowEnd};
use super::{RETRY, Recovery, audit, cut};
use crate::core::recovery::{Now, PasswordIs, Phase, Record};
use crate::core::shadow::PasswordHash;
use crate::supervisor::accounts::State;

impl Recovery {
    /// The press may have brought the account back. Shown as failed, since nobody may count on it. Gives the error back.
    pub(super) fn leave_in_doubt(&mut self, record: Record, error: RecoveryError, now: &Now) -> RecoveryError {
        log::error!("press {} is in doubt: {error}", record.press);
        audit(&record, "in doubt");
        // What an earlier press in doubt may have done, this one may have, too: one look at the account tells of both.
        let is_same = |former: &Record| former.phase == Phase::Intended && former.account == record.account;
        let former = record.former.and_then(|former| if is_same(&former) { former.former } else { Some(former) });
        let outcome = cut(&format!("in doubt: {error}; looked at again each minute"));
        self.stay_in_doubt(Record { outcome, refused: true, former, ..record }, now);
        error
    }

    pub(super) fn stay_in_doubt(&mut self, record: Record, now: &Now) {
        self.retry = Some(now.boot + RETRY);
        self.record = Some(record);
        self.keep_or_later();
    }

    /// Looks again what came of a press in doubt.
    pub(super) fn look_again(&mut self, record: Record, now: &Now) -> Result<WindowEnd, RecoveryError> {
        let field = self.or_again(self.accounts.password_field(&record.account), now)?;
        let field = field.as_ref().map(|field| field.as_slice());
        // Known by its text, nobody has to be asked for the default password.
        let is_set = |by: &Record| by.account == record.account && Judgement::at_a_glance(field, &by.hash) == PasswordIs::Default;
        let password = match std::iter::successors(Some(&record), |record| record.former.as_deref()).any(is_set) {
            true => Ok(PasswordIs::Default),
            false => self.judgement.afresh(field, &record.hash),
        };
        let password = self.or_again(password, now)?;
        let state = self.accounts.state(&record.account, now.wall);
        match password {
            // Somebody has locked the account since, or let it expire. To carry the press out would unlock it, and a window would leave the default
            // password behind a lock that anybody's unlocking opens. Nobody counts on this press: the account is turned off as whoever locked it meant.
            PasswordIs::Default if self.or_again(state, now)? != State::Active => {
                let why = "it was locked while a press was in doubt, with the default password set";
                self.put_off(&record.account, now, why).map(|()| WindowEnd::TurnedOff)
            }
            // As somebody wanted, or nobody can wait for it any more.
            PasswordIs::Default if record.window.rest(now).is_none() => {
                let why = "a press was in doubt for so long that its time is over";
                self.put_off(&record.account, now, why).map(|()| WindowEnd::TurnedOff)
            }
            PasswordIs::Default => {
                // What is set stays, be it another press's: by it the account is known to be on, also where the files can't be written now.
                let set = field.and_then(|field| std::str::from_utf8(field).ok()).and_then(|set| PasswordHash::new(set.into()).ok());
                let hash = set.unwrap_or_else(|| record.hash.clone());
                self.carry_out(Record { hash, ..record }, now).map(WindowEnd::CarriedOut)
            }
            password => {
                self.retry = None;
                let nothing = "the account files failed under it, and the default password is not set";
                let outcome = format!("refused: {nothing}{}", lost(&record.account, password));
                self.stand_back(record, &outcome, now);
                // Of the press before it.
                if self.open_record().or(self.intended_record()).is_some() {
                    return Ok(WindowEnd::NotYet);
                }
                self.close(now).map(|()| WindowEnd::NotOpen)
            }
        }
    }

    /// Where the configuration is in doubt no press is carried out, also none that was cut off: by the time that the file is mended, nobody expects it any
    /// more, and its owner may have given the account a password. Only where it came so far that the account is on, perhaps, its window runs.
    pub(super) fn cut_off_in_doubt(&mut self, why: &str, now: &Now) -> Result<(), RecoveryError> {
        let mut refused = Ok(());
        // One behind the other, where the last one came while the one before it was in doubt.
        while let Some(record) = self.record.clone().filter(|record| record.phase == Phase::Intended) {
            let field = self.accounts.password_field(&record.account);
            match field.map(|field| Judgement::at_a_glance(field.as_ref().map(|field| field.as_slice()), &record.hash)) {
                Ok(PasswordIs::Default) | Err(_) => {
                    let outcome = cut(&format!("recovered, and cut off after that; its hooks wait for the next press: {why}"));
                    self.record = Some(Record { phase: Phase::Recovered, outcome, refused: false, former: None, ..record });
                    return Ok(());
                }
                Ok(password) => {
                    let error = RecoveryError::InDoubt(why.into());
                    let outcome = format!("refused{}: {error}", lost(&record.account, password));
                    self.stand_back(record, &outcome, now);
                    refused = Err(error);
                }
            }
        }
        if refused.is_err() && self.open_record().is_none() {
            self.close(now)?;
        }
        refused
    }
}

/// What a press has perhaps cost that was cut off inside the account files: a hash that was in use is written off there before passwd changes.
fn lost(account: &str, password: PasswordIs) -> String {
    match password {
        PasswordIs::Off => format!("; {account} is off, and a password of its own that it may have had before this press is gone"),
        _ => String::new(),
    }
}
