//! The Security Code of a setup: what is offered in it, and what was offered before the line was cut.
//!
//! Who goes on with a setup may be somebody else at the same address, so nobody is shown a secret that another has seen. A secret of before is taken
//! only where its code is typed unshown: that proves the app to be with who types, and spares a second scan.

use std::convert::Infallible;

use super::{Confirmation, Confirmed, Method, Setup, WRONG_LIMIT};
use crate::core::clock::PlausibleTime;
use crate::core::login::skew_hint;
use crate::core::totp::{self, Drift, Enrolment, Mark, TimeStep, Verdict};

/// Secrets of before that are remembered; one more drops the oldest.
const EARLIER: usize = 4;

const EARLIER_ONE: &str = "the QR code that was scanned before counts: if the app has a later entry for this account, delete that one";

/// One secret.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub enrolment: Enrolment,
    pub drift: Drift,
    pub marks: Vec<(TimeStep, Mark)>,
    pub confirmed: bool,
    wrong: u32,
}

impl Offer {
    fn judge(&mut self, typed: &str, now: PlausibleTime) -> Verdict {
        let marked = |step| Ok::<_, Infallible>(self.marks.iter().find(|(s, _)| *s == step).map(|(_, mark)| *mark));
        let Ok(judged) = totp::judge(&self.enrolment, self.drift, typed, now, marked);
        self.marks.extend(judged.marks);
        self.drift = judged.drift;
        judged.verdict
    }

    /// As the next login finds it: confirmed it has to be anew, by a code that was not used yet.
    fn cut_off(&self) -> Self {
        Self { confirmed: false, wrong: 0, ..self.clone() }
    }
}

impl Setup {
    /// Offers a Security Code made of `random`; the same one each time in one setup.
    pub fn offer_security_code(&mut self, random: [u8; 20]) -> &Enrolment {
        let fresh = || Offer { enrolment: Enrolment::fresh(random), drift: Drift::default(), marks: vec![], wrong: 0, confirmed: false };
        &self.offer.get_or_insert_with(fresh).enrolment
    }

    /// Compares a code of the offered secret, then of those of before the line was cut. The step is used by it.
    pub fn confirm_security_code(&mut self, typed: &str, now: PlausibleTime) -> Confirmed {
        let Some(offer) = &mut self.offer else { return (Confirmation::Wrong, Some("no Security Code was offered in this setup".into())) };
        if offer.confirmed {
            return (Confirmation::Confirmed, None);
        }
        if offer.wrong >= WRONG_LIMIT {
            return (Confirmation::Locked, Some("too many wrong codes: begin the setup again".into()));
        }
        let skew = match offer.judge(typed, now) {
            Verdict::Accepted { .. } => {
                self.confirmed_code();
                return (Confirmation::Confirmed, None);
            }
            // A step is used only by the acceptance above, after which nothing is judged.
            Verdict::AlreadyUsed { .. } => None,
            Verdict::Wrong { skew } => skew,
        };
        if let Some(confirmed) = self.confirm_earlier(typed, now) {
            return confirmed;
        }
        if let Some(offer) = &mut self.offer {
            offer.wrong += 1;
        }
        (Confirmation::Wrong, skew.map(skew_hint))
    }

    fn confirm_earlier(&mut self, typed: &str, now: PlausibleTime) -> Option<Confirmed> {
        for n in 0..self.earlier.len() {
            match self.earlier[n].judge(typed, now) {
                Verdict::Accepted { .. } => {
                    self.offer = Some(self.earlier.swap_remove(n));
                    self.confirmed_code();
                    return Some((Confirmation::Confirmed, Some(EARLIER_ONE.into())));
                }
                Verdict::AlreadyUsed { next_in } => {
                    return Some((Confirmation::Wrong, Some(format!("already used: next code in {next_in} s"))));
                }
                Verdict::Wrong { .. } => {}
            }
        }
        None
    }

    fn confirmed_code(&mut self) {
        if let Some(offer) = &mut self.offer {
            offer.confirmed = true;
        }
        self.earlier.clear();
        self.first.get_or_insert(Method::SecurityCode);
    }

    /// Remembers what was offered in `cut_off`, each secret once, with all that was typed of it.
    pub(super) fn remember(&mut self, cut_off: &Self) {
        for offer in cut_off.earlier.iter().chain(&cut_off.offer) {
            match self.earlier.iter_mut().find(|known| known.enrolment.secret() == offer.enrolment.secret()) {
                Some(known) => known.marks.extend(&offer.marks),
                None => self.earlier.push(offer.cut_off()),
            }
        }
        let surplus = self.earlier.len().saturating_sub(EARLIER);
        self.earlier.drain(..surplus);
    }
}
