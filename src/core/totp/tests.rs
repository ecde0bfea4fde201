//! RFC 6238's vectors, skew, drift and used steps.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::core::clock::{Horizon, Moment, plausible};
use crate::core::time::{BootTime, Wall};

const NOON: u64 = 1_790_000_010;

fn at(seconds: u64) -> PlausibleTime {
    let moment = Moment { wall: Wall(seconds.cast_signed()), boot: BootTime(Duration::ZERO), ..Moment::default() };
    plausible(&moment, &Horizon { built: Wall(0), last_commit: None }).unwrap_or_else(|fault| panic!("{fault}"))
}

fn enrolment() -> Enrolment {
    Enrolment::fresh(*b"12345678901234567890")
}

fn code(step: u64) -> String {
    enrolment().totp().generate(step * 30).to_string()
}

/// An account's side of the Security Code, kept as the store keeps it.
#[derive(Default)]
struct Account {
    marks: BTreeMap<TimeStep, Mark>,
    drift: Drift,
}

impl Account {
    fn answer(&mut self, typed: &str, now: u64) -> Verdict {
        let mark = |step| Ok::<_, Infallible>(self.marks.get(&step).copied());
        let Ok(judged) = judge(&enrolment(), self.drift, typed, at(now), mark);
        for (step, mark) in judged.marks {
            assert_eq!(self.marks.insert(step, mark), None, "a mark is made once");
        }
        self.drift = judged.drift;
        judged.verdict
    }
}

const WRONG: Verdict = Verdict::Wrong { skew: None };

/// RFC 6238, appendix B; the keys are those of its reference implementation, as long as the hash.
#[test]
fn the_vectors_of_the_standard_are_met() {
    let key = |length| b"1234567890".iter().copied().cycle().take(length).collect::<Vec<u8>>();
    for (time, sha1, sha256, sha512) in [
        (59, "94287082", "46119246", "90693936"),
        (1_111_111_109, "07081804", "68084774", "25091201"),
        (1_111_111_111, "14050471", "67062674", "99943326"),
        (1_234_567_890, "89005924", "91819424", "93441116"),
        (2_000_000_000, "69279037", "90698825", "38618901"),
        (20_000_000_000, "65353130", "77737706", "47863826"),
    ] {
        for (algorithm, length, expected) in [(Algorithm::Sha1, 20, sha1), (Algorithm::Sha256, 32, sha256), (Algorithm::Sha512, 64, sha512)]
        {
            let enrolment = Enrolment::existing(key(length), algorithm, 8, 30).unwrap();
            // The last vector is of the year 2603, which no plausible clock shows.
            let codes = Codes::new(&enrolment, &TypedCode::parse(expected).unwrap());
            assert!(codes.matches(TimeStep(time / 30)), "{algorithm:?} at {time}");
            assert!(!codes.matches(TimeStep(time / 30 + 1)));
        }
    }
}

#[test]
fn the_code_of_this_step_and_of_its_neighbours_is_accepted_once() {
    let step = NOON / 30;
    for typed in [step - 1, step, step + 1] {
        let mut account = Account::default();
        assert_eq!(account.answer(&code(typed), NOON), Verdict::Accepted { step: TimeStep(typed) });
        assert!(matches!(account.answer(&code(typed), NOON), Verdict::AlreadyUsed { .. }));
    }
    for typed in [step - 2, step + 2] {
        assert_eq!(Account::default().answer(&code(typed), NOON), WRONG);
    }
}

#[test]
fn blanks_and_dashes_do_not_matter_and_anything_else_does() {
    let code = code(NOON / 30);
    for typed in [format!("{} {}", &code[..3], &code[3..]), format!(" {}–{}\u{a0}", &code[..2], &code[2..]), code.replace("", "-")] {
        assert!(matches!(Account::default().answer(&typed, NOON), Verdict::Accepted { .. }), "{typed}");
    }
    for typed in ["", " ", &code[1..], &format!("{code}0"), &format!("+{code}"), &format!("{code}\0"), &"1".repeat(1000), "١٢٣٤٥٦"] {
        assert_eq!(Account::default().answer(typed, NOON), WRONG, "{typed}");
    }
}

#[test]
fn a_code_is_wrong_without_its_leading_zero_and_with_one_too_many() {
    let step = (0..).map(|later| NOON / 30 + later).find(|step| code(*step).starts_with('0')).unwrap();
    for typed in [code(step).trim_start_matches('0'), &format!("0{}", code(step))] {
        assert_eq!(Account::default().answer(typed, step * 30), WRONG, "{typed}");
    }
    assert!(matches!(Account::default().answer(&code(step), step * 30), Verdict::Accepted { .. }));
}

#[test]
fn already_used_tells_when_the_next_code_is_shown() {
    let mut account = Account::default();
    let step = NOON / 30;
    let now = step * 30 + 18;
    account.answer(&code(step), now);
    assert_eq!(account.answer(&code(step), now), Verdict::AlreadyUsed { next_in: 12 });
    account.answer(&code(step + 1), now);
    assert_eq!(account.answer(&code(step), now), Verdict::AlreadyUsed { next_in: 42 });
    assert_eq!(account.answer(&code(step), now + 30), Verdict::AlreadyUsed { next_in: 12 });
    let mut account = Account::default();
    account.answer(&code(step), now);
    assert_eq!(account.answer(&code(step), now + 30), Verdict::AlreadyUsed { next_in: 0 }, "the code shown now is unused");
}

#[test]
fn a_code_of_another_time_is_wrong_now_and_for_ever() {
    for ahead in [-650_i64, -5, 5, 10, 120, 119 * 2, -14 * 120] {
        let step = (NOON / 30).checked_add_signed(ahead).unwrap();
        let mut account = Account::default();
        assert_eq!(account.answer(&code(step), NOON), WRONG);
        assert_eq!(account.answer(&code(step), NOON), WRONG, "the same again tells nothing");
        let found = account.marks.contains_key(&TimeStep(step));
        assert_eq!(found, ahead != -650, "{ahead}: {:?}", account.marks);
        if found {
            assert_eq!(account.answer(&code(step), step * 30), WRONG, "not even when its time has come");
        }
    }
}

#[test]
fn two_consecutive_codes_of_a_slow_clock_give_the_hint_and_the_third_is_accepted() {
    for ahead in [-10_i64, -4, 2, 6, 10] {
        let (mut account, step) = (Account::default(), NOON / 30);
        let shown = |n: u64| code((step + n).checked_add_signed(ahead).unwrap());
        assert_eq!(account.answer(&shown(0), NOON), WRONG);
        let skew = Skew { seconds: ahead * 30, learnt: true };
        assert_eq!(account.answer(&shown(1), NOON + 30), Verdict::Wrong { skew: Some(skew) });
        assert!(matches!(account.answer(&shown(1), NOON + 31), Verdict::Wrong { .. }), "both are burnt");
        assert!(matches!(account.answer(&shown(2), NOON + 60), Verdict::Accepted { .. }), "{ahead}");
        assert!(matches!(account.answer(&code(step + 30), NOON + 900), Verdict::Accepted { .. }), "the right time always counts");
        assert_eq!(account.drift, Drift::default(), "and ends the drift");
    }
}

#[test]
fn an_hour_off_is_told_but_never_allowed_for() {
    let (mut account, step) = (Account::default(), NOON / 30 + 121);
    account.answer(&code(step), NOON);
    let skew = Skew { seconds: 3_630, learnt: false };
    assert_eq!(account.answer(&code(step + 1), NOON + 30), Verdict::Wrong { skew: Some(skew) });
    assert_eq!(account.answer(&code(step + 2), NOON + 60), WRONG);
}

#[test]
fn codes_that_are_not_consecutive_tell_nothing() {
    let step = NOON / 30 + 5;
    for second in [step - 1, step + 2, step + 3] {
        let mut account = Account::default();
        account.answer(&code(step), NOON);
        assert_eq!(account.answer(&code(second), NOON + 30), WRONG);
        assert_eq!(account.drift.steps, 0);
    }
    let mut account = Account::default();
    account.answer(&code(step), NOON);
    account.answer("000000", NOON + 10);
    assert_eq!(account.answer(&code(step + 1), NOON + 30), WRONG, "another wrong code came between");
}

#[test]
fn used_codes_replayed_in_a_row_move_nothing() {
    let (mut account, step) = (Account::default(), NOON / 30);
    for n in 0..3 {
        account.answer(&code(step + n), NOON + 30 * n);
    }
    for n in 0..3 {
        assert_eq!(account.answer(&code(step + n), NOON + 180 + 30 * n), WRONG);
    }
    assert_eq!(account.drift, Drift::default());
}

#[test]
fn a_clock_wrong_for_a_while_neither_reopens_a_code_nor_locks_out() {
    let mut account = Account::default();
    let used = code(NOON / 30);
    account.answer(&used, NOON);
    let ahead = NOON + 86_400 * 40;
    assert!(matches!(account.answer(&code(ahead / 30), ahead), Verdict::Accepted { .. }));
    assert!(matches!(account.answer(&used, NOON + 20), Verdict::AlreadyUsed { .. }), "fell back: still used");
    assert!(matches!(account.answer(&code(NOON / 30 + 1), NOON + 30), Verdict::Accepted { .. }));
}

#[test]
fn imports_of_odd_shape_are_refused() {
    let existing = |length, digits, period| Enrolment::existing(vec![0; length], Algorithm::Sha1, digits, period);
    assert_eq!(existing(9, 6, 30), Err(EnrolmentFault::SecretLength { bits: 72 }));
    assert_eq!(existing(129, 6, 30), Err(EnrolmentFault::SecretLength { bits: 1032 }));
    assert_eq!(existing(20, 9, 30), Err(EnrolmentFault::Digits(9)));
    assert_eq!(existing(20, 6, 0), Err(EnrolmentFault::Period(0)));
    assert!(existing(10, 7, 60).is_ok());
}

#[test]
fn an_enrolment_is_not_printed() {
    assert!(!format!("{:?}", enrolment()).contains("49"));
}

proptest! {
    // A wrong code costs a few hundred HMACs.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_typed_whenever_no_step_is_accepted_twice(answers in prop::collection::vec((-15_i64..15, 0_u64..90, -3_i64..3), 1..40)) {
        let (mut account, mut now, mut accepted) = (Account::default(), NOON, BTreeMap::new());
        for (ahead, passed, jump) in answers {
            now = (now + passed).saturating_add_signed(jump * 300);
            let step = (now / 30).checked_add_signed(ahead).unwrap();
            if let Verdict::Accepted { step } = account.answer(&code(step), now) {
                prop_assert!(accepted.insert(step, now).is_none(), "{:?} twice", step);
                prop_assert!((step.0.cast_signed() - (now / 30).cast_signed()).abs() <= LEARNABLE.cast_signed() / 30 + 1);
            }
            prop_assert!(account.drift.steps.abs() <= 10);
        }
    }

    #[test]
    fn no_text_at_no_time_panics(typed: String, digits in "[0-9 -]{0,12}", seconds in 0_u64..1_800_000_000, drift in -10_i32..=10, suspect: u64) {
        let drift = Drift { steps: drift, suspect: Some(Suspect { step: TimeStep(suspect), ahead: 3 }) };
        for typed in [typed, digits] {
            let Ok(_) = judge(&enrolment(), drift, &typed, at(seconds), |_| Ok::<_, Infallible>(None));
        }
    }
}
