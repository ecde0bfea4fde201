//! An answer is judged, counted and written down in one commit, and only then told.

use std::sync::Arc;

use log::info;
use tokio::sync::OwnedMutexGuard;

use super::{entry, normal, phone};
use crate::core::account::Method;
use crate::core::clock::{Moment, PlausibleTime};
use crate::core::login::{self as logic, CodeState, Login, Origin, Outcome, Records};
use crate::core::recovery_code::RecoveryCode;
use crate::core::sessions::Owner;
use crate::core::totp::{Enrolment, Mark, TimeStep};
use crate::engine::desk::{Desk, now};
use crate::engine::store::{StoreError, Stored, Tx};
use crate::proto::login::{Answered, Error};
use crate::proto::secret::Secret;

/// Whoever hangs up once the answer is on its way changes nothing: it is judged, counted and put in place all the same.
pub(super) async fn answer(
    desk: &Arc<Desk>,
    mut login: OwnedMutexGuard<Login>,
    (method, code): (Method, Secret),
    asker: Asker,
) -> Result<Answered, Error> {
    let moment = desk.clocks().await?;
    phone::refresh(&desk.phones, &mut login);
    let (then, trail) = (Arc::clone(desk), Arc::clone(desk));
    let judge = move |tx: &Tx<'_>| judge(tx, &login, (method, &code), moment, (&trail, asker)).map(|judged| (login, judged));
    let settle = move |(mut login, judged): (OwnedMutexGuard<Login>, Result<Judged, Error>)| {
        let Judged { answered, told } = judged?;
        let logic::Answered { outcome, attempts_left, retry_after, hint, login: next, .. } = answered;
        let asked = login.asked().is_some_and(|request| request.method != Method::QrCode);
        phone::put(&then.phones, &mut login, next);
        if outcome == Outcome::Verified && asked {
            let by_phone = method.needs_authenticator();
            let of = (login.origin.uid, login.origin.claimed);
            then.with_budgets(of, |_, requests| if by_phone { requests.reset() } else { requests.give_back() });
        }
        if outcome != Outcome::Verified && told {
            let Origin { user, service, .. } = &login.origin;
            info!(target: "audit", "login user={user:?} service={service:?} method={method} outcome={outcome:?}");
        }
        Ok(Answered { outcome, attempts_left, retry_after, hint })
    };
    desk.store.decide(judge, settle).await?
}

/// Who answers.
pub(super) struct Asker {
    pub(super) owner: Owner,
    pub(super) by: String,
}

/// What an answer came to.
struct Judged {
    answered: logic::Answered,
    /// Whether it is in the audit trail.
    told: bool,
}

/// Judges an answer and writes down all that follows from it, in one commit.
fn judge(
    tx: &Tx<'_>,
    login: &Login,
    (method, code): (Method, &Secret),
    moment: Moment,
    (desk, asker): (&Desk, Asker),
) -> Result<Result<Judged, Error>, StoreError> {
    let origin = &login.origin;
    let known = tx.state().and_then(|state| desk.known.stored(origin.uid, state));
    let stored = if known.is_some() { known } else { tx.account_by_uid(origin.uid)?.map(Arc::new) };
    let Some(stored) = stored.filter(|stored| stored.name == origin.user) else {
        return Ok(Err(Error::NoSuchLogin {}));
    };
    let now = now(tx, moment)?;
    let mut ledger = Ledger { tx, stored: &stored, time: now.time.ok(), step: None };
    let answered = match login.answer(&stored.account, (method, code.expose()), &now, &mut ledger) {
        Ok(answered) => answered,
        Err(logic::Failure::Records(e)) => return Err(e),
        Err(logic::Failure::Fault(fault)) => return Ok(Err(fault.into())),
    };
    let step = ledger.step;
    for (marked, mark) in &answered.marks {
        // A step somebody else was first with is used: the judgement above has looked in this very commit.
        tx.mark_step(origin.uid, *marked, *mark, step.unwrap_or(*marked))?;
    }
    if let Some(code) = &answered.spent {
        tx.use_recovery_code(origin.uid, &normal(code), moment.wall)?;
    }
    if answered.account != stored.account {
        let mut stored = Arc::unwrap_or_clone(stored);
        stored.account = answered.account.clone();
        tx.save(&stored)?;
    }
    if let (Outcome::Verified, Some(told)) = (answered.outcome, login.told) {
        tx.denial_told(origin.uid, told)?;
    }
    if now.time.is_ok() {
        tx.believe_clock(moment.wall)?;
    }
    let row = entry(moment.wall, origin, outcome_event(answered.outcome), asker.by, Some(method.as_str().into()));
    // The others are bounded by what they count or use up.
    let decides = matches!(answered.outcome, Outcome::Verified | Outcome::Wrong);
    let row = if decides { Some(row) } else { desk.within_share(asker.owner, row) };
    row.as_ref().map_or(Ok(()), |row| tx.audit(row))?;
    Ok(Ok(Judged { answered, told: row.is_some() }))
}

/// The store's records of one account, inside a commit.
struct Ledger<'a, 'b> {
    tx: &'a Tx<'b>,
    stored: &'a Stored,
    time: Option<PlausibleTime>,
    /// That of now, once the enrolment was asked for.
    step: Option<TimeStep>,
}

impl Records for Ledger<'_, '_> {
    type Error = StoreError;

    fn enrolment(&mut self) -> Result<Option<Enrolment>, StoreError> {
        let enrolment = self.tx.enrolment(self.stored)?;
        self.step = enrolment.as_ref().zip(self.time).map(|(enrolment, time)| enrolment.step(time));
        Ok(enrolment)
    }

    fn mark(&mut self, step: TimeStep) -> Result<Option<Mark>, StoreError> {
        self.tx.mark(self.stored.uid, step)
    }

    fn recovery_code(&mut self, code: &RecoveryCode) -> Result<CodeState, StoreError> {
        self.tx.recovery_code(self.stored.uid, &normal(code))
    }
}

fn outcome_event(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Verified => "login_verified",
        Outcome::Wrong => "login_wrong",
        Outcome::AlreadyUsed => "login_already_used",
        Outcome::Expired => "login_expired",
        Outcome::Locked => "login_locked",
    }
}
