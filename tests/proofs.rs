//! What must hold whatever comes between: each code lets in once, no answer that was given is forgotten, no wrong answer is forgiven by a
//! crash, and the button's account gets in. On the real two processes.

use std::collections::BTreeMap;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use serde_json::{Value, json};
use twostep::client::{Client, Error};
use twostep::core::lockout::FREE;
use twostep::core::totp::Enrolment;
use twostep::proto::admin::Entries;
use twostep::proto::login::{Answered, Decision, Outcome, Started};
use twostep::proto::varlink::Empty;
use twostep::sys::clock;

#[path = "support/nas.rs"]
mod nas;
#[path = "support/patience.rs"]
mod patience;
#[path = "support/skip.rs"]
mod skip;

use nas::{Nas, SOON, answer, call, code, connect_as, decision, enrol, refused, start, wrong_code};
use patience::Meeting;

const ROUNDS: usize = 200;
const AT_ONCE: usize = 64;

fn people(count: usize) -> String {
    (0..count).map(|n| format!("{}:x:{}:100::/:/bin/sh\n", user(n), 3000 + n)).collect()
}

fn user(n: usize) -> String {
    format!("user{n:03}")
}

fn typed(client: &mut Client, started: &Started, code: &str) -> Result<Answered, Error> {
    client.call("io.twostep.Login.Answer", &json!({ "login": started.login, "method": "security_code", "code": code }))
}

/// What one code, submitted on many connections at the same moment, came to on each of them.
struct Race {
    clients: Vec<Client>,
}

impl Race {
    fn run(&mut self, user: &str, app: &Enrolment) -> BTreeMap<String, usize> {
        let (barrier, shown) = (Meeting::of(self.clients.len()), code(app, 0));
        let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
            let runs: Vec<_> = self.clients.iter_mut().map(|client| scope.spawn(|| submit(client, user, &shown, &barrier))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        let mut counts = BTreeMap::new();
        for outcome in outcomes {
            *counts.entry(format!("{outcome:?}")).or_default() += 1;
        }
        counts
    }
}

fn submit(client: &mut Client, user: &str, code: &str, barrier: &Meeting) -> Outcome {
    let login = start(client, user);
    barrier.wait();
    let outcome = answer(client, &login, code);
    let Empty {} = call(client, "Login.Cancel", json!({ "login": login.login }));
    outcome
}

#[test]
fn of_64_who_type_one_code_at_once_one_is_let_in_and_the_honest_user_is_not_locked() {
    let nas = Nas::start(&people(ROUNDS), "staff:x:100:\n");
    let mut root = nas.root();
    let mut race = Race { clients: (0..AT_ONCE).map(|_| nas.root()).collect() };
    let began = clock::monotonic();
    for round in 0..ROUNDS {
        // A user of its own in each round: one code serves once, and the next comes only after half a minute.
        let user = user(round);
        let app = enrol(&mut root, &user);
        let counts = race.run(&user, &app);
        let expected = BTreeMap::from([("AlreadyUsed".to_owned(), AT_ONCE - 1), ("Verified".to_owned(), 1)]);
        assert_eq!(counts, expected, "round {round}");
        let login = start(&mut root, &user);
        assert_eq!(login.decision, Decision::Verify, "round {round}: not locked");
        let wrong = typed(&mut root, &login, &wrong_code(&app)).unwrap();
        assert_eq!((wrong.outcome, wrong.attempts_left), (Outcome::Wrong, Some(FREE - 1)), "round {round}: none was counted as wrong");
    }
    eprintln!("{ROUNDS} rounds of {AT_ONCE}: {} ms", (clock::monotonic() - began).as_millis());
}

/// xorshift64*: small, seeded, and printed.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }
}

/// TWOSTEP_SEED, or a fresh one.
fn seed() -> u64 {
    let seed = std::env::var("TWOSTEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| getrandom::u64().unwrap()) | 1;
    eprintln!("TWOSTEP_SEED={seed}");
    seed
}

/// Engines that are killed one after another, before their pauses grow too long.
const KILLS: usize = 6;
/// NAS boxes that are tried beside one another.
const BOXES: usize = 3;
/// Accounts, and connections to each, at each kill.
const RACERS: usize = 4;
const CONNECTIONS: usize = 8;

/// Types the code until somebody says what it came to, through any number of crashes; then the answer, if it came.
fn until_answered(nas: &Nas, user: &str, code: &str) -> Outcome {
    let until = clock::monotonic() + SOON * 2;
    loop {
        assert!(clock::monotonic() < until, "{user} is told nothing");
        let Ok(mut client) = Client::connect(&nas.socket(), SOON) else { continue };
        let started: Result<Started, Error> = client.call("io.twostep.Login.Start", &json!({ "user": user, "service": "test" }));
        let Ok(started) = started else { continue };
        if let Ok(answered) = typed(&mut client, &started, code) {
            return answered.outcome;
        }
    }
}

/// Guesses wrong, twice before the engine is killed and then until it is gone; gives how many answers came.
fn guess(client: &mut Client, user: &str, app: &Enrolment, barrier: &Meeting) -> u32 {
    let (wrong, login) = (wrong_code(app), start(client, user));
    for _ in 0..2 {
        assert_eq!(answer(client, &login, &wrong), Outcome::Wrong);
    }
    barrier.wait();
    2 + (2..FREE - 1).take_while(|_| typed(client, &login, &wrong).is_ok_and(|answered| answered.outcome == Outcome::Wrong)).count() as u32
}

fn one_kill(nas: &Nas, round: usize, chance: &mut Chance) {
    let mut root = nas.root();
    let first = round * (RACERS + 1);
    let racers: Vec<(String, String)> = (first..first + RACERS).map(|n| (user(n), code(&enrol(&mut root, &user(n)), 0))).collect();
    let victim = user(first + RACERS);
    let app = enrol(&mut root, &victim);
    let after = Duration::from_micros(chance.next(12_000));
    let barrier = Meeting::of(RACERS * CONNECTIONS + 2);
    let (outcomes, guessed) = std::thread::scope(|scope| {
        let (barrier, mut runs) = (&barrier, Vec::new());
        for (user, code) in &racers {
            for _ in 0..CONNECTIONS {
                runs.push((user, scope.spawn(move || (barrier.wait(), until_answered(nas, user, code)).1)));
            }
        }
        let guessing = scope.spawn(|| guess(&mut root, &victim, &app, barrier));
        barrier.wait();
        std::thread::sleep(after);
        assert!(nas.kill_engine());
        let outcomes: Vec<_> = runs.into_iter().map(|(user, run)| (user, run.join().unwrap())).collect();
        (outcomes, guessing.join().unwrap())
    });
    let told = outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Verified).count();
    eprintln!("killed after {} µs: {told} of {RACERS} were told that they are in, {guessed} wrong answers were told", after.as_micros());
    for (user, code) in &racers {
        let verified = outcomes.iter().filter(|(of, outcome)| *of == user && *outcome == Outcome::Verified).count();
        assert!(verified <= 1, "{user} was let in {verified} times by one code");
        assert!(outcomes.iter().all(|(_, outcome)| matches!(outcome, Outcome::Verified | Outcome::AlreadyUsed)), "{outcomes:?}");
        assert_eq!(until_answered(nas, user, code), Outcome::AlreadyUsed, "{user}: forgotten");
    }
    let mut root = nas.root();
    let login = start(&mut root, &victim);
    let wrong = typed(&mut root, &login, &wrong_code(&app)).unwrap();
    // Answered wrong ones are counted, and this one more; one that got no answer may be.
    let left = wrong.attempts_left.unwrap_or(0);
    assert!(left <= (FREE - guessed - 1).max(1), "{guessed} wrong answers were told, and {left} attempts are left");
}

#[test]
fn a_crash_lets_nobody_in_twice_and_forgets_no_answer() {
    let seed = seed();
    std::thread::scope(|scope| {
        for number in 0..BOXES {
            scope.spawn(move || {
                let mut chance = Chance(seed.wrapping_add(2 * number as u64));
                let nas = Nas::start(&people(KILLS * (RACERS + 1)), "staff:x:100:\n");
                nas.after_the_tour();
                for round in 0..KILLS {
                    one_kill(&nas, round, &mut chance);
                }
            });
        }
    });
}

/// Presses the button while the engine is killed again and again.
fn press_while_the_engine_dies(nas: &Nas) {
    std::thread::scope(|scope| {
        let (over, is_over) = channel::<()>();
        let killer = scope.spawn(move || {
            let mut killed = 0;
            while is_over.recv_timeout(Duration::from_millis(5)) == Err(RecvTimeoutError::Timeout) {
                killed += usize::from(nas.kill_engine());
            }
            killed
        });
        nas.press();
        drop(over);
        assert!(killer.join().unwrap() > 0);
    });
}

#[test]
fn the_recovered_admin_gets_in_with_the_password_alone_even_if_the_engine_was_down_at_the_press() {
    let nas = Nas::start("", "administrators:x:500:admin\n");
    nas.after_the_tour();
    let app = enrol(&mut nas.root(), "admin");
    let mut root = nas.root();
    let _: Value = call(&mut root, "Admin.Enforce", json!({ "users": ["admin"], "groups": [], "enforced": true }));
    let login = start(&mut root, "admin");
    assert_eq!(answer(&mut root, &login, &wrong_code(&app)), Outcome::Wrong);
    press_while_the_engine_dies(&nas);
    assert_eq!(decision(&mut nas.root(), "admin"), Decision::NotRequired);

    // Whoever sets it up again keeps it, over restarts of the engine, until the next press.
    enrol(&mut nas.root(), "admin");
    assert!(nas.kill_engine());
    assert_eq!(decision(&mut nas.root(), "admin"), Decision::Verify);
    press_while_the_engine_dies(&nas);
    assert_eq!(decision(&mut nas.root(), "admin"), Decision::NotRequired);
    let mut follower = nas.root();
    let mut trail = follower.call_more::<Entries>("io.twostep.Admin.Audit", &json!({ "user": "admin", "limit": 0 })).unwrap();
    trail.next().unwrap().unwrap();
    let Empty {} = call(&mut nas.recovery(), "Recovery.DisableAccount", json!({}));
    while trail.next().unwrap().unwrap().entries.iter().all(|entry| entry.event != "recovery_over") {}
    assert_eq!(decision(&mut nas.root(), "admin"), Decision::SetupRequired, "off again, so it is enforced again");
}

/// Everything that takes a user's name, with parameters that are in order.
fn about(user: &str) -> Vec<(&'static str, Value)> {
    let password = "builder";
    vec![
        ("Login.Start", json!({ "user": user, "service": "ssh" })),
        ("Account.Status", json!({ "user": user })),
        ("Account.BeginSetup", json!({ "user": user, "password": password })),
        ("Account.SetPreferred", json!({ "user": user, "method": "security_code" })),
        ("Account.RemoveTrustedDevice", json!({ "user": user, "id": "x" })),
        ("Account.SetPasswordless", json!({ "user": user, "password": password, "passwordless": true })),
    ]
}

/// Those of them that would take a second step away, or open a way around it.
fn weakening(user: &str) -> Vec<(&'static str, Value)> {
    let password = "builder";
    vec![
        ("Account.BeginChange", json!({ "user": user, "password": password })),
        ("Account.EnableMethod", json!({ "user": user, "password": password, "method": "email_code" })),
        ("Account.DisableMethod", json!({ "user": user, "password": password, "method": "email_code" })),
        ("Account.SetRecoveryEmail", json!({ "user": user, "password": password, "recovery_email": "mallory@example.org" })),
        ("Account.RegenerateRecoveryCodes", json!({ "user": user, "password": password })),
        ("Account.RemoveAuthenticator", json!({ "user": user, "password": password, "id": "x" })),
        ("Account.Disable", json!({ "user": user, "password": password })),
    ]
}

#[test]
fn a_stranger_reaches_nothing_of_another_account() {
    let nas = Nas::start("", "");
    let mut root = nas.root();
    enrol(&mut root, "bob");
    let login = start(&mut root, "bob");
    let Some(mut stranger) = connect_as(1001, &nas.socket()) else { return };
    for (method, parameters) in about("bob").into_iter().chain(weakening("bob")) {
        assert_eq!(refused(&mut stranger, method, parameters), "PermissionDenied", "{method}");
    }
    for (method, more) in [
        ("Login.Challenge", json!({ "method": "security_code" })),
        ("Login.Answer", json!({ "method": "security_code", "code": "000000" })),
        ("Login.Wait", json!({})),
        ("Login.TrustDevice", json!({ "label": "x" })),
        ("Login.Cancel", json!({})),
    ] {
        let mut parameters = more;
        parameters["login"] = serde_json::to_value(&login.login).unwrap();
        assert_eq!(refused(&mut stranger, method, parameters), "NoSuchLogin", "{method}");
    }
    assert_eq!(decision(&mut root, "bob"), Decision::Verify);
}

#[test]
fn malware_under_bobs_uid_that_knows_his_password_cannot_take_his_second_step_away() {
    let nas = Nas::start("", "");
    let mut root = nas.root();
    let app = enrol(&mut root, "bob");
    let Some(mut malware) = connect_as(1002, &nas.socket()) else { return };
    for (method, parameters) in weakening("bob") {
        assert_eq!(refused(&mut malware, method, parameters), "SecondStepRequired", "{method}");
    }
    assert_eq!(refused(&mut malware, "Admin.DisableFor", json!({ "user": "bob" })), "PermissionDenied");
    assert_eq!(decision(&mut root, "bob"), Decision::Verify);
    // Bob himself, who has passed it, can.
    let login = start(&mut malware, "bob");
    assert_eq!(answer(&mut malware, &login, &code(&app, 0)), Outcome::Verified);
    let Empty {} = call(&mut malware, "Account.Disable", json!({ "password": "builder", "login": login.login }));
    assert_eq!(decision(&mut root, "bob"), Decision::NotRequired);
}
