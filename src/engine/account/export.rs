//! The secret that is in force, shown to its owner once more.
//!
//! Whoever has it makes codes for as long as it is in force, and nobody notices. So all that a change asks for is asked for here, of the account's own
//! processes alone (`core::policy`), and an account that is locked by wrong answers, of real logins or of claimed ones, gives nothing away until it is open
//! again. The answer leaves after the audit entry is on the disk.
//!
//! Not here: secrets that are only offered in a setup (`setups`).

use std::sync::Arc;

use super::super::desk::{Desk, stored};
use super::super::store::{StoreError, Tx};
use super::{Answer, Caller, admit, check_password, is_password, tell, whole};
use crate::core::clock::Moment;
use crate::core::lockout::Gate;
use crate::core::otpauth;
use crate::core::totp::Enrolment;
use crate::proto::account::{Error, Reply, SecurityCode};
use crate::proto::secret::Secret;

/// Answers the call.
pub(super) async fn answer(desk: &Arc<Desk>, caller: Caller, password: Secret) -> Answer<Reply> {
    is_password(&password)?;
    admit(desk, &caller).await?;
    let desk = Arc::clone(desk);
    whole(async move {
        check_password(&desk, (&caller.person.name, caller.owner), &caller.by, password).await?;
        let (moment, person) = ((desk.moment)(), Arc::clone(&caller.person));
        let entry = caller.entry(moment.wall, "security_code_exported", None);
        let told = entry.clone();
        let taken = desk.store.write(move |tx| match take(tx, &caller, &moment)? {
            Ok(enrolment) => tx.audit(&entry).map(|()| Ok(enrolment)),
            Err(refusal) => Ok(Err(refusal)),
        });
        let enrolment = taken.await.map_err(Error::from)??;
        tell(&told);
        Ok(Reply::SecurityCode(security_code(&enrolment, &desk.host, &person.name)))
    })
    .await
}

/// The enrolment in force, where it may be shown at this moment.
fn take(tx: &Tx<'_>, caller: &Caller, now: &Moment) -> Result<Result<Enrolment, Error>, StoreError> {
    let stored = stored(tx, &caller.person)?;
    // Again, in the very commit: all of it may have changed while the password was checked.
    if let Err(denied) = caller.allowed(&stored.account) {
        return Ok(Err(denied.into()));
    }
    match stored.account.failures.strictest(now) {
        Gate::Open { .. } => {}
        gate => return Ok(Err(Error::Locked { retry_after: gate.retry_after() })),
    }
    Ok(tx.enrolment(&stored)?.filter(|_| stored.account.is_enabled()).ok_or(Error::NotEnabled {}))
}

/// An enrolment as authenticator apps take it.
pub(super) fn security_code(enrolment: &Enrolment, host: &str, user: &str) -> SecurityCode {
    let secret = Secret::new(otpauth::base32(enrolment).to_string());
    SecurityCode { secret, uri: Secret::new(otpauth::uri(enrolment, host, user).to_string()) }
}
