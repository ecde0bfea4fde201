//! The Security Code (RFC 6238): a typed code, a time and the used steps in; the verdict, the steps to mark and the drift out.
//!
//! A code is good at the current time step and one step around it, and around the learnt drift. A step serves once: whoever commits its
//! mark first is let in, and the store's unique index is the judge between two at once.
//!
//! What a guesser may learn: nothing. A wrong code that belongs to a time step further away is answered like any other wrong code, and the
//! step is *burnt*: it will be wrong for ever, so that "this will be good later" is never true. Only a second wrong code, of the very next
//! step and at the same distance, shows that somebody holds the authenticator; then the drift is hinted at and, if small, learnt, and the
//! code after it is accepted. Both are counted as failures.
//! A used step answers "already used", which is no failure; a burnt one answers "wrong".
//!
//! This module counts no failures (see [`lockout`](super::lockout)), stores nothing and judges no clock (see [`clock`](super::clock)).

use std::fmt;

use subtle::ConstantTimeEq;
use totp_rs::{Builder, Totp};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::clock::PlausibleTime;

/// Steps accepted around the expected one (RFC 6238 §5.2 recommends one).
const SKEW: u64 = 1;
/// The largest drift that is learnt, in seconds. More would let an observed run of codes live too long.
const LEARNABLE: u64 = 300;
/// Around each whole hour, for a time zone mistaken for the time: so many seconds are looked at, and hinted at, never learnt.
const ZONE_SLACK: u64 = 90;
const ZONE_HOURS: i64 = 14;
/// The longest text that is looked at as a code.
const LONGEST_CODE: usize = 64;

/// A number of periods since 1970 (RFC 6238 §4.2, `T`). Fits in an `i64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeStep(pub u64);

impl TimeStep {
    fn offset(self, steps: i64) -> Option<Self> {
        self.0.checked_add_signed(steps).map(Self)
    }

    /// Steps from `origin` to `self`.
    fn distance(self, origin: Self) -> i64 {
        self.0.cast_signed().wrapping_sub(origin.0.cast_signed())
    }
}

/// The hash under the HMAC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Algorithm {
    /// What every authenticator app understands.
    #[default]
    Sha1,
    /// For imports.
    Sha256,
    /// For imports.
    Sha512,
}

impl Algorithm {
    /// As an otpauth URI and the store write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA1",
            Self::Sha256 => "SHA256",
            Self::Sha512 => "SHA512",
        }
    }

    /// The other way round.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sha1, Self::Sha256, Self::Sha512].into_iter().find(|a| a.as_str().eq_ignore_ascii_case(text))
    }
}

impl From<Algorithm> for totp_rs::Algorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha1 => Self::SHA1,
            Algorithm::Sha256 => Self::SHA256,
            Algorithm::Sha512 => Self::SHA512,
        }
    }
}

/// What authenticator and engine share. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Enrolment {
    secret: Vec<u8>,
    #[zeroize(skip)]
    algorithm: Algorithm,
    digits: u8,
    period: u64,
}

/// Why an enrolment is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentFault {
    /// Fewer than 80 bits (the shortest that authenticator apps were ever given), or more than 1024.
    SecretLength {
        /// What it has.
        bits: usize,
    },
    /// Not 6 to 8 digits.
    Digits(u64),
    /// Not 15 to 120 seconds.
    Period(u64),
}

impl fmt::Display for EnrolmentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SecretLength { bits } => write!(f, "the secret has {bits} bits; 80 to 1024 are possible"),
            Self::Digits(digits) => write!(f, "codes of {digits} digits; 6 to 8 are possible"),
            Self::Period(seconds) => write!(f, "a new code each {seconds} s; 15 to 120 are possible"),
        }
    }
}

impl std::error::Error for EnrolmentFault {}

impl Enrolment {
    /// A fresh enrolment of 160 bits (RFC 4226 §4, R6), six digits, 30 s, SHA-1: what every authenticator app understands.
    /// `random` comes from the system's generator.
    #[must_use]
    pub fn fresh(random: [u8; 20]) -> Self {
        Self { secret: random.to_vec(), algorithm: Algorithm::Sha1, digits: 6, period: 30 }
    }

    /// An enrolment that was made elsewhere, or read back from the store.
    ///
    /// # Errors
    /// What is out of range.
    pub fn existing(secret: Vec<u8>, algorithm: Algorithm, digits: u64, period: u64) -> Result<Self, EnrolmentFault> {
        let mut secret = Zeroizing::new(secret);
        if !(10..=128).contains(&secret.len()) {
            return Err(EnrolmentFault::SecretLength { bits: secret.len() * 8 });
        }
        let short = u8::try_from(digits).ok().filter(|d| (6..=8).contains(d)).ok_or(EnrolmentFault::Digits(digits))?;
        if !(15..=120).contains(&period) {
            return Err(EnrolmentFault::Period(period));
        }
        Ok(Self { secret: std::mem::take(&mut *secret), algorithm, digits: short, period })
    }

    /// The key itself, to be sealed or shown to its owner.
    #[must_use]
    pub fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// The hash under the HMAC.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// 6 to 8.
    #[must_use]
    pub fn digits(&self) -> u8 {
        self.digits
    }

    /// Seconds of a time step.
    #[must_use]
    pub fn period(&self) -> u64 {
        self.period
    }

    /// The time step of `now`.
    #[must_use]
    pub fn step(&self, now: PlausibleTime) -> TimeStep {
        TimeStep(now.seconds() / self.period)
    }

    /// The code of `now`, for whoever plays the authenticator (the demo, a benchmark).
    #[must_use]
    pub fn code_at(&self, now: PlausibleTime) -> Zeroizing<String> {
        Zeroizing::new(self.totp().generate(now.seconds()).to_string())
    }

    fn totp(&self) -> Totp {
        // `build` would refuse the 80-bit secrets of older apps; lengths, digits and period were checked when `self` was made.
        Builder::new()
            .with_algorithm(self.algorithm.into())
            .with_digits(self.digits)
            .with_step_duration(self.period)
            .with_secret(self.secret.clone())
            .build_noncompliant()
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment({}, {} digits, {} s, …)", self.algorithm.as_str(), self.digits, self.period)
    }
}

/// The codes of one enrolment, and a typed one.
struct Codes<'a> {
    enrolment: &'a Enrolment,
    totp: Totp,
    /// As a number; of other digits than a code has, it is none of them.
    typed: Zeroizing<u32>,
}

impl<'a> Codes<'a> {
    fn new(enrolment: &'a Enrolment, typed: &TypedCode) -> Self {
        let number = typed.0.iter().fold(0u32, |number, digit| number.wrapping_mul(10).wrapping_add((digit - b'0').into()));
        let typed = if typed.0.len() == usize::from(enrolment.digits) { number } else { u32::MAX };
        Self { enrolment, totp: enrolment.totp(), typed: Zeroizing::new(typed) }
    }

    /// Compared over all digits, whatever differs first.
    fn matches(&self, step: TimeStep) -> bool {
        let Some(start) = step.0.checked_mul(self.enrolment.period) else { return false };
        let code = truncated(self.totp.sign(start).as_ref(), self.enrolment.digits).map(Zeroizing::new);
        code.is_some_and(|code| code.ct_eq(&*self.typed).into())
    }
}

/// The code of a signature (RFC 4226 §5.3), as a number: to write each of a window as text takes longer than to compare them.
fn truncated(signature: &[u8], digits: u8) -> Option<u32> {
    let offset = usize::from(signature.last()? & 0xf);
    let number = u32::from_be_bytes(*signature.get(offset..)?.first_chunk()?) & 0x7fff_ffff;
    Some(number % 10u32.pow(digits.into()))
}

/// The digits of a typed code: spaces and dashes are dropped, anything else makes it wrong.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TypedCode(Vec<u8>);

impl TypedCode {
    /// The digits of `text`, where nothing but digits, spaces and dashes is in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > LONGEST_CODE {
            return None;
        }
        let mut digits = Vec::with_capacity(text.len());
        for c in text.chars().filter(|c| !is_separator(*c)) {
            digits.push(u8::try_from(c).ok().filter(u8::is_ascii_digit)?);
        }
        (!digits.is_empty()).then_some(Self(digits))
    }

    /// Whether these are the digits of `expected`, in constant time.
    #[must_use]
    pub fn is(&self, expected: &[u8]) -> bool {
        self.0.as_slice().ct_eq(expected).into()
    }
}

/// What people and apps put between groups of a code: blanks (no-break ones too), the hyphen and its typographic kin.
#[must_use]
pub fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

/// What a step was marked with. A marked step is never accepted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A code of it was accepted.
    Used,
    /// A code of it was typed at a wrong time.
    Burnt,
}

/// What is known of an authenticator's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Learnt: the authenticator is this many steps ahead.
    pub steps: i32,
    /// The last answer, if it was wrong here and right somewhere else.
    pub suspect: Option<Suspect>,
}

/// One wrong code that belonged to another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The step it belonged to.
    pub step: TimeStep,
    /// How far that was ahead of the time.
    pub ahead: i32,
}

/// What may be said about the clocks, once two consecutive steps have matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// The authenticator is this many seconds ahead of this machine; negative: behind.
    pub seconds: i64,
    /// Whether it is allowed for from now on.
    pub learnt: bool,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Let in, if the mark is the first of its step.
    Accepted {
        /// The step it was accepted for.
        step: TimeStep,
    },
    /// No failure.
    AlreadyUsed {
        /// Seconds until the authenticator shows a code that was not used yet; 0 where it shows one now.
        next_in: u64,
    },
    /// A failure.
    Wrong {
        /// What may be told.
        skew: Option<Skew>,
    },
}

/// The verdict and what has to be committed before it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// What to answer.
    pub verdict: Verdict,
    /// Steps to mark; each is new.
    pub marks: Vec<(TimeStep, Mark)>,
    /// The drift from now on.
    pub drift: Drift,
}

/// Judges one typed code. `mark` tells how a step of this enrolment was marked.
///
/// # Errors
/// Those of `mark`.
pub fn judge<E>(
    enrolment: &Enrolment,
    drift: Drift,
    typed: &str,
    now: PlausibleTime,
    mut mark: impl FnMut(TimeStep) -> Result<Option<Mark>, E>,
) -> Result<Judgement, E> {
    let wrong = |drift| Judgement { verdict: Verdict::Wrong { skew: None }, marks: vec![], drift };
    let Some(typed) = TypedCode::parse(typed) else { return Ok(wrong(Drift { suspect: None, ..drift })) };
    let codes = Codes::new(enrolment, &typed);
    let present = enrolment.step(now);

    let matching: Vec<TimeStep> = window(present, drift.steps).into_iter().filter(|s| codes.matches(*s)).collect();
    let Some(&step) = matching.first() else { return elsewhere(&codes, drift, present, mark) };
    let mut marks = Vec::with_capacity(1);
    for step in &matching {
        match mark(*step)? {
            Some(Mark::Used) => {
                let next_in = next_unused(enrolment, drift, (*step, now), mark)?;
                return Ok(Judgement { verdict: Verdict::AlreadyUsed { next_in }, marks: vec![], drift });
            }
            Some(Mark::Burnt) => return Ok(wrong(drift)),
            None => marks.push((*step, Mark::Used)),
        }
    }
    let steps = if step.distance(present).unsigned_abs() <= SKEW { 0 } else { drift.steps };
    Ok(Judgement { verdict: Verdict::Accepted { step }, marks, drift: Drift { steps, suspect: None } })
}

/// The steps a code may belong to: around the time, and around the learnt drift. The former always counts, so that a drift learnt
/// while this machine's clock was wrong locks nobody out once it is right.
fn window(present: TimeStep, drift: i32) -> Vec<TimeStep> {
    let around = |centre: i64| (-SKEW.cast_signed()..=SKEW.cast_signed()).filter_map(move |skew| present.offset(centre + skew));
    let mut steps: Vec<TimeStep> = around(0).collect();
    if drift != 0 {
        steps.extend(around(drift.into()));
        steps.sort_unstable();
        steps.dedup();
    }
    steps
}

/// The largest drift that is learnt, in steps.
fn learnable(period: u64) -> i64 {
    (LEARNABLE / period).cast_signed()
}

/// Distances at which a wrong code is looked for.
fn searched(period: u64) -> impl Iterator<Item = i64> {
    let (near, hour, slack) = (learnable(period), (3_600 / period).cast_signed(), ZONE_SLACK.div_ceil(period).cast_signed());
    let zones = (-ZONE_HOURS..=ZONE_HOURS).filter(|h| *h != 0).flat_map(move |h| (-slack..=slack).map(move |s| h * hour + s));
    (-near..=near).chain(zones)
}

/// A code that is not good now. It is always a failure.
fn elsewhere<E>(
    codes: &Codes<'_>,
    drift: Drift,
    present: TimeStep,
    mut mark: impl FnMut(TimeStep) -> Result<Option<Mark>, E>,
) -> Result<Judgement, E> {
    let (mut marks, mut found, mut repeated) = (vec![], vec![], false);
    for ahead in searched(codes.enrolment.period) {
        let Some(step) = present.offset(ahead).filter(|s| codes.matches(*s)) else { continue };
        match mark(step)? {
            // A used step is a replay and says nothing about a clock.
            Some(Mark::Used) => {}
            Some(Mark::Burnt) => repeated |= drift.suspect.is_some_and(|s| s.step == step),
            None => {
                marks.push((step, Mark::Burnt));
                found.push(Suspect { step, ahead: i32::try_from(ahead).unwrap_or(0) });
            }
        }
    }
    let follows = |s: &&Suspect| {
        drift.suspect.is_some_and(|last| s.step.distance(last.step) == 1 && (s.ahead - last.ahead).unsigned_abs() <= SKEW as u32)
    };
    let Some(second) = found.iter().find(follows) else {
        // The same code typed again is no new evidence, and takes none away.
        let suspect = if repeated { drift.suspect } else { found.first().copied() };
        return Ok(Judgement { verdict: Verdict::Wrong { skew: None }, marks, drift: Drift { suspect, ..drift } });
    };
    let learnt = i64::from(second.ahead).abs() <= learnable(codes.enrolment.period);
    let skew = Skew { seconds: i64::from(second.ahead) * codes.enrolment.period.cast_signed(), learnt };
    let steps = if learnt { second.ahead } else { drift.steps };
    Ok(Judgement { verdict: Verdict::Wrong { skew: Some(skew) }, marks, drift: Drift { steps, suspect: None } })
}

/// Seconds until the authenticator shows a code that is not marked: it showed that of `typed` just now, or a moment ago.
fn next_unused<E>(
    enrolment: &Enrolment,
    drift: Drift,
    (typed, now): (TimeStep, PlausibleTime),
    mut mark: impl FnMut(TimeStep) -> Result<Option<Mark>, E>,
) -> Result<u64, E> {
    const LOOKED_AT: u64 = 10;
    let present = enrolment.step(now);
    let shown = present.offset(drift.steps.into()).unwrap_or(present).max(typed);
    let mut later = 0;
    while later < LOOKED_AT && mark(TimeStep(shown.0.saturating_add(later)))?.is_some() {
        later += 1;
    }
    Ok(if later == 0 { 0 } else { (present.0 + later) * enrolment.period - now.seconds() })
}

#[cfg(test)]
mod tests;
