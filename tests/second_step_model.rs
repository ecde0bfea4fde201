//! The second step against a reference model that a reader can check by eye: any interleaving of logins, real and claimed, answers, a phone's decisions,
//! waits, jumps of the wall clock, restarts and unlocking gives the outcome that the model predicts (B1, B2, B5).

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use proptest::prelude::*;
use twostep::core::account::{Account, Method, Methods};
use twostep::core::clock::{BootId, Horizon, Moment, PlausibleTime, plausible};
use twostep::core::decision::Facilities;
use twostep::core::email::MailBudget;
use twostep::core::lockout::{Failures, Tally};
use twostep::core::login::phone::{Draw, Outcome as Decided, RequestBudget};
use twostep::core::login::{CodeState, Failure, Login, Means, Now, Origin, Outcome, Records};
use twostep::core::recovery_code::RecoveryCode;
use twostep::core::time::{BootTime, Wall};
use twostep::core::totp::{Enrolment, Mark, TimeStep};

const START: i64 = 1_790_000_010;
const RECOVERY_CODES: u8 = 3;

#[derive(Clone, Debug)]
enum Event {
    /// By a login service, or by a process that only claims to be one.
    Open(bool),
    /// To one of the logins, the code of the present step and so many.
    Code(usize, i64),
    Junk(usize),
    RecoveryCode(usize, u8),
    /// The phone is asked.
    Ask(usize),
    /// It answers.
    Phone(usize, Said),
    Pass(u64),
    /// The wall clock alone.
    Jump(i64),
    /// Of the whole machine: open logins are gone.
    Restart,
    Unlock,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Right,
    Wrong,
    No,
}

fn wrong_in_a_row() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0_u32), 3_u32..12, 95_u32..101]
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let login = 0..4_usize;
    let event = prop_oneof![
        3 => any::<bool>().prop_map(Event::Open),
        8 => (login.clone(), -1_i64..=1).prop_map(|(login, ahead)| Event::Code(login, ahead)),
        2 => (login.clone(), prop_oneof![-50_i64..-20, 20_i64..50]).prop_map(|(login, ahead)| Event::Code(login, ahead)),
        4 => login.clone().prop_map(Event::Junk),
        4 => login.clone().prop_map(Event::Ask),
        4 => (login.clone(), prop_oneof![2 => Just(Said::Right), 1 => Just(Said::Wrong), 1 => Just(Said::No)])
            .prop_map(|(login, said)| Event::Phone(login, said)),
        2 => (login, 0..RECOVERY_CODES + 1).prop_map(|(login, code)| Event::RecoveryCode(login, code)),
        4 => (0_u64..70).prop_map(Event::Pass),
        1 => (100_u64..1_500).prop_map(Event::Pass),
        1 => (-100_000_i64..100_000).prop_map(Event::Jump),
        1 => (-2_i64..=2).prop_map(|steps| Event::Jump(steps * 30)),
        1 => Just(Event::Restart),
        1 => Just(Event::Unlock),
    ];
    prop::collection::vec(event, 1..60)
}

/// What happens outside: true time, the wall clock's error, the boot.
struct World {
    /// Seconds since the beginning, by a clock that is never wrong.
    true_time: u64,
    error: i64,
    boots: u8,
    booted_at: u64,
}

impl World {
    fn moment(&self) -> Moment {
        let boot = BootTime(Duration::from_secs(self.true_time - self.booted_at));
        let wall = Wall(START + self.true_time.cast_signed() + self.error);
        Moment { wall, boot, boot_id: BootId([self.boots; 16]), synchronised: false }
    }

    fn time(&self) -> PlausibleTime {
        plausible(&self.moment(), &Horizon { built: Wall(0), last_commit: None }).unwrap()
    }

    fn step(&self, ahead: i64) -> u64 {
        (self.time().seconds() / 30).checked_add_signed(ahead).unwrap()
    }
}

/// Wrong answers in a row, and when the last one was.
#[derive(Clone, Copy)]
struct Count {
    in_a_row: u32,
    at: u64,
}

impl Count {
    fn wrong(&mut self, now: u64) {
        *self = Self { in_a_row: self.in_a_row + 1, at: now };
    }

    fn is_locked(self) -> bool {
        self.in_a_row >= 100
    }

    fn wait(self) -> u64 {
        match self.in_a_row {
            0..=4 => 0,
            n @ 5..=9 => 30 << (n - 5),
            _ => 900,
        }
    }
}

/// One login: when it was opened, and when verified.
#[derive(Clone, Copy)]
struct Opened {
    claimed: bool,
    at: u64,
    verified: Option<u64>,
}

/// The reference: a set of steps, a set of codes, two counts.
struct Model {
    used_steps: BTreeSet<u64>,
    used_codes: BTreeSet<u8>,
    real: Count,
    claimed: Count,
    logins: Vec<Opened>,
    /// Those of them that wait for the phone.
    asked: BTreeSet<usize>,
}

enum Typed {
    Step(u64),
    RecoveryCode(u8),
    Junk,
}

impl Model {
    /// A login waits for its own count alone.
    fn count(&mut self, login: usize) -> &mut Count {
        if self.logins[login].claimed { &mut self.claimed } else { &mut self.real }
    }

    /// Whoever was vouched for and passes forgives all; whoever was not forgives what was not.
    fn passed(&mut self, login: usize, now: u64) {
        self.claimed.in_a_row = 0;
        if !self.logins[login].claimed {
            self.real.in_a_row = 0;
        }
        self.logins[login].verified = Some(now);
    }

    fn answer(&mut self, world: &World, login: usize, typed: &Typed) -> Outcome {
        let now = world.true_time;
        match self.logins[login] {
            Opened { verified: Some(at), .. } if now - at < 600 => return Outcome::AlreadyUsed,
            Opened { verified: Some(_), .. } => return Outcome::Expired,
            Opened { at, .. } if now - at >= 120 => return Outcome::Expired,
            Opened { .. } => {}
        }
        // A wait counts from the answer; after a restart, from the restart.
        let count = *self.count(login);
        if count.is_locked() || now - count.at.max(world.booted_at) < count.wait() {
            return Outcome::Locked;
        }
        let used = match typed {
            Typed::Step(step) if step.abs_diff(world.step(0)) <= 1 => !self.used_steps.insert(*step),
            Typed::RecoveryCode(code) if *code < RECOVERY_CODES => !self.used_codes.insert(*code),
            Typed::Step(_) | Typed::RecoveryCode(_) | Typed::Junk => {
                self.count(login).wrong(now);
                return Outcome::Wrong;
            }
        };
        if used {
            return Outcome::AlreadyUsed;
        }
        self.passed(login, now);
        Outcome::Verified
    }

    fn is_open(&self, world: &World, login: usize) -> bool {
        matches!(self.logins[login], Opened { at, verified: None, .. } if world.true_time - at < 120)
    }

    fn ask(&mut self, world: &World, login: usize) -> bool {
        let may = self.is_open(world, login) && !self.count(login).is_locked();
        if may {
            self.asked.insert(login);
        }
        may
    }

    /// A phone that can't be guessed need not wait, but what has locked is closed to it too.
    fn phone(&mut self, world: &World, login: usize, said: Said) -> Decided {
        if !self.is_open(world, login) || !self.asked.remove(&login) {
            return Decided::Expired;
        }
        let locked = self.count(login).is_locked();
        match said {
            Said::Right if !locked => {
                self.passed(login, world.true_time);
                return Decided::Approved;
            }
            Said::Right | Said::Wrong if locked => return Decided::Locked,
            _ => self.count(login).wrong(world.true_time),
        }
        if said == Said::No { Decided::Denied } else { Decided::WrongNumber }
    }

    fn in_a_row(&self) -> (u32, u32) {
        (self.real.in_a_row, self.claimed.in_a_row)
    }
}

/// The engine's side: what the store holds, and the open logins.
struct Engine {
    account: Account,
    enrolment: Enrolment,
    marks: Vec<(TimeStep, Mark)>,
    spent: Vec<RecoveryCode>,
    logins: Vec<Login>,
}

fn recovery_code(n: u8) -> RecoveryCode {
    RecoveryCode::new([n; 10])
}

impl Records for Engine {
    type Error = Infallible;
    fn enrolment(&mut self) -> Result<Option<Enrolment>, Infallible> {
        Ok(Some(self.enrolment.clone()))
    }
    fn mark(&mut self, step: TimeStep) -> Result<Option<Mark>, Infallible> {
        Ok(self.marks.iter().find(|(marked, _)| *marked == step).map(|(_, mark)| *mark))
    }
    fn recovery_code(&mut self, code: &RecoveryCode) -> Result<CodeState, Infallible> {
        let listed = (0..RECOVERY_CODES).any(|n| recovery_code(n) == *code);
        Ok(match (listed, self.spent.contains(code)) {
            (true, false) => CodeState::Unused,
            (true, true) => CodeState::Used,
            (false, _) => CodeState::Unknown,
        })
    }
}

impl Engine {
    fn new((real, claimed): (u32, u32), now: Moment) -> Self {
        let failed = |in_a_row| Failures { in_a_row, last: Some(now) };
        let account = Account {
            methods: Methods::NONE.with(Method::SecurityCode).with(Method::LoginApproval),
            // More than there are, so that an account out of codes still takes (and refuses) them.
            recovery_codes_left: 100,
            failures: Tally { real: failed(real), claimed: failed(claimed) },
            ..Account::default()
        };
        Self { account, enrolment: Enrolment::fresh([5; 20]), marks: vec![], spent: vec![], logins: vec![] }
    }

    fn open(&mut self, world: &World, claimed: bool) {
        let origin = Origin { uid: 1000, user: "alice".into(), service: "sshd".into(), claimed, remote: None };
        self.logins.push(Login::open(origin, world.moment().boot));
    }

    fn text(&self, typed: &Typed) -> (Method, String) {
        match typed {
            Typed::Step(step) => {
                let moment = Moment { wall: Wall((step * 30).cast_signed()), ..Moment::default() };
                let time = plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap();
                (Method::SecurityCode, self.enrolment.code_at(time).to_string())
            }
            Typed::RecoveryCode(n) => (Method::RecoveryCode, recovery_code(*n).shown().to_string()),
            Typed::Junk => (Method::SecurityCode, "no code".into()),
        }
    }

    fn answer(&mut self, world: &World, login: usize, typed: &Typed) -> Outcome {
        let (method, text) = self.text(typed);
        let now = Now { moment: world.moment(), time: Ok(world.time()) };
        let (login_now, account) = (self.logins[login].clone(), self.account.clone());
        let answered = match login_now.answer(&account, (method, &text), &now, self) {
            Ok(answered) => answered,
            Err(Failure::Fault(fault)) => panic!("{fault:?}"),
            Err(Failure::Records(never)) => match never {},
        };
        for (step, mark) in answered.marks {
            assert!(self.marks.iter().all(|(marked, _)| *marked != step), "{step:?} marked twice");
            self.marks.push((step, mark));
        }
        self.spent.extend(answered.spent);
        self.account = answered.account;
        self.logins[login] = answered.login;
        answered.outcome
    }

    fn ask(&mut self, world: &World, login: usize) -> bool {
        let now = Now { moment: world.moment(), time: Ok(world.time()) };
        let draw = Draw { id: "REQUEST".into(), token: "TOKEN".into(), random: 4_711 };
        let (mut mails, mut requests) = (MailBudget::default(), RequestBudget::default());
        let means = Means { mails: &mut mails, requests: &mut requests, draw };
        let phone = Facilities { mail: false, phone: true };
        self.logins[login].challenge(Method::LoginApproval, (&self.account, phone), means, &now).is_ok()
    }

    fn in_a_row(&self) -> (u32, u32) {
        let Tally { real, claimed } = self.account.failures;
        (real.in_a_row, claimed.in_a_row)
    }

    fn phone(&mut self, world: &World, login: usize, said: Said) -> Decided {
        let number = if said == Said::Right { "41" } else { "14" };
        let decided = self.logins[login].decide(&self.account, (said != Said::No, Some(number)), &world.moment());
        self.account = decided.account;
        self.logins[login] = decided.login;
        decided.outcome
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn every_interleaving_ends_as_the_model_says(events in events(), real in wrong_in_a_row(), claimed in wrong_in_a_row()) {
        let mut world = World { true_time: 0, error: 0, boots: 1, booted_at: 0 };
        let mut engine = Engine::new((real, claimed), world.moment());
        let (used_steps, used_codes, logins, asked) = (BTreeSet::new(), BTreeSet::new(), vec![], BTreeSet::new());
        let count = |in_a_row| Count { in_a_row, at: 0 };
        let mut model = Model { used_steps, used_codes, real: count(real), claimed: count(claimed), logins, asked };
        for event in events {
            let (login, typed) = match event {
                Event::Open(claimed) => {
                    engine.open(&world, claimed);
                    model.logins.push(Opened { claimed, at: world.true_time, verified: None });
                    continue;
                }
                Event::Pass(seconds) => {
                    world.true_time += seconds;
                    continue;
                }
                Event::Jump(seconds) => {
                    world.error += seconds;
                    continue;
                }
                Event::Restart => {
                    world.boots += 1;
                    world.booted_at = world.true_time;
                    engine.logins.clear();
                    model.logins.clear();
                    model.asked.clear();
                    continue;
                }
                Event::Unlock => {
                    engine.account.failures.reset();
                    (model.real.in_a_row, model.claimed.in_a_row) = (0, 0);
                    continue;
                }
                Event::Code(login, ahead) => (login, Typed::Step(world.step(ahead))),
                Event::RecoveryCode(login, code) => (login, Typed::RecoveryCode(code)),
                Event::Junk(login) => (login, Typed::Junk),
                Event::Ask(login) => {
                    if let Some(login) = model.logins.len().checked_sub(login + 1) {
                        prop_assert_eq!(engine.ask(&world, login), model.ask(&world, login));
                    }
                    continue;
                }
                Event::Phone(login, said) => {
                    if let Some(login) = model.logins.len().checked_sub(login + 1) {
                        prop_assert_eq!(engine.phone(&world, login, said), model.phone(&world, login, said));
                        prop_assert_eq!(engine.in_a_row(), model.in_a_row());
                    }
                    continue;
                }
            };
            if login >= model.logins.len() {
                continue;
            }
            // The latest logins are the ones that are still open.
            let login = model.logins.len() - 1 - login;
            let expected = model.answer(&world, login, &typed);
            prop_assert_eq!(engine.answer(&world, login, &typed), expected);
            prop_assert_eq!(engine.in_a_row(), model.in_a_row());
            let used: BTreeSet<u64> =
                engine.marks.iter().filter(|(_, mark)| *mark == Mark::Used).map(|(step, _)| step.0).collect();
            prop_assert_eq!(&used, &model.used_steps);
        }
    }
}
