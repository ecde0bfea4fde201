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

#[cfg(test)]
mod tests {
    use tokio::sync::{Mutex, mpsc};

    use super::*;
    use crate::config::Config;
    use crate::core::account::Methods;
    use crate::core::enforcement::SubjectKind;
    use crate::core::totp::Algorithm;
    use crate::engine::desk::Parts;
    use crate::engine::directory::{Directory, Person};
    use crate::engine::mail::Mailer;
    use crate::engine::root::RootChannel;
    use crate::engine::store::{Options, SealingKey, Store};
    use crate::proto::privileged::Channel;
    use crate::sys::clock;

    /// Alice is known when they are judged: the first changes what the others have to be judged by.
    #[tokio::test]
    async fn of_wrong_answers_that_share_a_commit_each_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["passwd", "group"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let store = Store::open(Options::new(folder.path().into(), clock::wall), SealingKey::from_slice(&[1; 32]));
        let mut alice = Stored::new(1001, "alice");
        alice.account.methods = Methods::NONE.with(Method::SecurityCode);
        alice.account.preferred = Some(Method::SecurityCode);
        let enrolment = Enrolment::existing(vec![7; 20], Algorithm::Sha1, 6, 30).ok().unwrap();
        store.write(move |tx| tx.save_enrolled(&alice, &enrolment)).await.unwrap();
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let (root, _channel) = RootChannel::new(Channel::new(ours).unwrap(), mpsc::channel(1).0);
        let directory = Directory::new(folder.path().into(), false);
        let mailer = Mailer::new(&Config::default().mail, None);
        let desk = Desk::open(Parts {
            store,
            directory,
            root,
            config: Config::default(),
            mailer,
            host: "NAS".into(),
            moment: clock::moment,
            owner: 0,
        })
        .await;
        let state = desk.store.state().unwrap();
        let stored = desk.store.read(|view| view.account_by_uid(1001)).await.unwrap().unwrap();
        let person = Person { uid: 1001, name: "alice".into(), kind: SubjectKind::LocalUser, groups: vec![], partial: false };
        desk.known.keep(Arc::new(person), Arc::new(stored), state);
        let wrong = async || {
            let origin = Origin { uid: 1001, user: "alice".into(), service: "sshd".into(), claimed: false, remote: None };
            let login = Arc::new(Mutex::new(Login::open(origin, clock::boot_time()))).lock_owned().await;
            let asker = Asker { owner: Owner::Service(1001), by: "test".into() };
            answer(&desk, login, (Method::SecurityCode, Secret::new("000000".into())), asker).await.ok().unwrap().attempts_left
        };
        let left = tokio::join!(wrong(), wrong(), wrong());
        let mut left = [left.0, left.1, left.2];
        left.sort_unstable();
        assert_eq!(left, [Some(2), Some(3), Some(4)]);
        let stored = desk.store.read(|view| view.account_by_uid(1001)).await.unwrap().unwrap();
        assert_eq!(stored.account.failures.real.in_a_row, 3);
    }
}
