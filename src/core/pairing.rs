//! The life of one pairing, from its QR code to a phone that a setup may put into force.
//!
//! ```text
//!   offered ──a phone has scanned it──► (qr_code) ───────────────────────────────────────────► paired
//!      │                          ├──► (login_approval) approve ──the right number, approved──► paired
//!      │                          │                        └──denied, or a wrong number──────► denied
//!      │                          └──► (online_code) type the code ──the right code──────────► paired
//!      │                                                  └──three wrong ones────────────────► denied
//!      ├─ five wrong macs or proofs ──► void
//!      └─ 5 min, another offer, the setup is over ──► over, from every state but paired
//! ```
//! One phone takes a pairing: a second that has seen the same QR code comes too late, and its number would differ. The number comes from the key
//! that reached the engine, and the phone makes it of the key that it has itself: so a carrier that swaps the key shows itself (see
//! [`authenticator`](super::authenticator)).
//!
//! Nothing is in force by a pairing alone: see [`setup`](super::setup).

use std::time::Duration;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::account::{Method, Methods};
use super::authenticator::{KeyFault, PairingSecret, PublicKey, Signed};
use super::passcode::{Answer, Passcode};
use super::time::{BootTime, Wall};

/// How long a pairing waits.
pub const LIFE: Duration = Duration::from_secs(300);
/// Wrong macs or proofs that void a pairing.
pub const WRONG_LIMIT: u8 = 5;

/// A phone that has scanned a pairing of a setup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone {
    /// Its name in the protocol.
    pub id: String,
    /// Its owner's word for it.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// Since when.
    pub paired_at: Wall,
    /// Whether the account has it in force already.
    pub known: bool,
    /// What it was paired for in this setup.
    pub methods: Methods,
}

/// What a phone says of itself.
#[derive(Clone, Copy, Debug)]
pub struct Presented<'a> {
    /// SPKI, base64url.
    pub public_key: &'a str,
    /// Its owner's word for it.
    pub name: &'a str,
    /// Under the pairing's secret.
    pub mac: &'a str,
    /// By the key.
    pub proof: &'a str,
}

/// Why a phone is not paired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairFault {
    /// It is over, was taken, or never was.
    NoSuchPairing,
    /// The key is none that can sign.
    InvalidKey(KeyFault),
    /// The mac or the proof is wrong.
    InvalidProof,
}

/// What the phone's user does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Done,
    /// Compare this number, or type it, then confirm.
    Approve(Zeroizing<String>),
    /// Type this code on the NAS.
    ShowCode(Passcode),
}

/// What became of a number that was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmed {
    /// The phone is paired.
    Paired,
    /// Its user said no.
    Denied,
    /// The pairing is void.
    WrongNumber,
    /// Too late.
    Expired,
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Not scanned yet.
    Waiting,
    /// The phone's user compares this number.
    Approve(Zeroizing<String>),
    /// The phone shows a code.
    TypeCode,
    /// Done.
    Paired,
    /// Refused, or wrong.
    Denied,
    /// Over.
    Expired,
}

#[derive(Clone, Debug)]
enum Stage {
    Offered { wrong: u8 },
    Approve { number: Zeroizing<String> },
    TypeCode { code: Passcode },
    Paired,
    Denied,
    Void,
}

/// One pairing.
#[derive(Clone, Debug)]
pub struct Pairing {
    /// Its unguessable name.
    pub id: String,
    /// What it is for.
    pub method: Method,
    /// The phone that has scanned it.
    pub phone: Option<String>,
    secret: PairingSecret,
    until: BootTime,
    stage: Stage,
}

impl Pairing {
    /// Offers a pairing. `end` is the end of its setup.
    #[must_use]
    pub fn offer(method: Method, (id, secret): (String, PairingSecret), now: BootTime, end: BootTime) -> Self {
        Self { id, method, phone: None, secret, until: (now + LIFE).min(end), stage: Stage::Offered { wrong: 0 } }
    }

    /// What its QR code says.
    #[must_use]
    pub fn uri(&self, address: &str) -> Zeroizing<String> {
        self.secret.uri(address, &self.id)
    }

    /// How long it still waits.
    #[must_use]
    pub fn left(&self, now: BootTime) -> Duration {
        self.until - now
    }

    /// Judges what a phone says of itself. What is wrong is counted.
    ///
    /// # Errors
    /// [`PairFault`]
    pub fn judge(&mut self, presented: &Presented<'_>, now: BootTime) -> Result<PublicKey, PairFault> {
        let Stage::Offered { wrong } = &mut self.stage else { return Err(PairFault::NoSuchPairing) };
        if now >= self.until {
            return Err(PairFault::NoSuchPairing);
        }
        let Presented { public_key, name, mac, proof } = *presented;
        let key = PublicKey::parse(public_key).map_err(PairFault::InvalidKey)?;
        let signed = Signed::Pair { pairing: &self.id, public_key, name };
        if self.secret.made(mac, public_key, name) && key.verifies(&signed, proof) {
            return Ok(key);
        }
        *wrong += 1;
        if *wrong >= WRONG_LIMIT {
            self.stage = Stage::Void;
        }
        Err(PairFault::InvalidProof)
    }

    /// The phone `id`, whose key was judged as `public_key`, takes the pairing. `random` makes the code.
    pub fn scanned(&mut self, id: &str, public_key: &str, random: u64, now: BootTime) -> Next {
        self.phone = Some(id.to_owned());
        let (stage, next) = match self.method {
            Method::LoginApproval => {
                let number = Zeroizing::new(self.secret.number(public_key));
                (Stage::Approve { number: number.clone() }, Next::Approve(number))
            }
            Method::OnlineCode => {
                let code = Passcode::new(random, now);
                (Stage::TypeCode { code: code.clone() }, Next::ShowCode(code))
            }
            _ => (Stage::Paired, Next::Done),
        };
        self.stage = stage;
        next
    }

    /// The phone `id` says what its user compared.
    pub fn confirm(&mut self, id: &str, (approve, number): (bool, Option<&str>), now: BootTime) -> Confirmed {
        if self.phone.as_deref() != Some(id) {
            return Confirmed::Expired;
        }
        let outcome = match &self.stage {
            Stage::Paired => return Confirmed::Paired,
            Stage::Denied => return Confirmed::Denied,
            Stage::TypeCode { .. } if !approve && now < self.until => Confirmed::Denied,
            Stage::Approve { .. } if now < self.until && !approve => Confirmed::Denied,
            Stage::Approve { number: right } if now < self.until => {
                let same = number.is_some_and(|number| right.as_bytes().ct_eq(number.as_bytes()).into());
                if same { Confirmed::Paired } else { Confirmed::WrongNumber }
            }
            _ => return Confirmed::Expired,
        };
        self.stage = if outcome == Confirmed::Paired { Stage::Paired } else { Stage::Denied };
        outcome
    }

    /// The code that the phone shows, as it was typed on the NAS; none where none is awaited.
    pub fn confirm_code(&mut self, typed: &str, now: BootTime) -> Option<Answer> {
        if now >= self.until {
            return None;
        }
        let Stage::TypeCode { code } = &mut self.stage else { return None };
        let answer = code.answer(typed, now);
        match answer {
            Answer::Right => self.stage = Stage::Paired,
            Answer::Wrong => {}
            Answer::Void => self.stage = Stage::Denied,
        }
        Some(answer)
    }

    /// The phone that took it is gone.
    pub fn void(&mut self) {
        self.stage = Stage::Denied;
    }

    /// How it goes.
    #[must_use]
    pub fn state(&self, now: BootTime) -> State {
        match &self.stage {
            Stage::Paired => State::Paired,
            Stage::Denied => State::Denied,
            Stage::Void => State::Expired,
            _ if now >= self.until => State::Expired,
            Stage::Offered { .. } => State::Waiting,
            Stage::Approve { number } => State::Approve(number.clone()),
            Stage::TypeCode { .. } => State::TypeCode,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::authenticator::fake::Signer;
    use super::*;

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    fn offered(method: Method) -> Pairing {
        Pairing::offer(method, ("PAIRING".into(), PairingSecret::new([7; 32])), at(0), at(600))
    }

    fn scan(pairing: &mut Pairing, signer: &Signer) -> Result<Next, PairFault> {
        let (public_key, name) = (signer.public_key(), "phone");
        let mac = Signer::mac([7; 32], &public_key, name);
        let proof = signer.sign(&Signed::Pair { pairing: "PAIRING", public_key: &public_key, name });
        pairing.judge(&Presented { public_key: &public_key, name, mac: &mac, proof: &proof }, at(1))?;
        Ok(pairing.scanned("ID", &public_key, 4_711, at(1)))
    }

    #[test]
    fn a_pairing_for_a_qr_code_is_done_with_the_scan_and_taken_once() {
        let mut pairing = offered(Method::QrCode);
        assert_eq!(pairing.state(at(1)), State::Waiting);
        assert_eq!(scan(&mut pairing, &Signer::new()), Ok(Next::Done));
        assert_eq!(pairing.state(at(1_000)), State::Paired);
        assert_eq!(scan(&mut pairing, &Signer::new()), Err(PairFault::NoSuchPairing));
    }

    #[test]
    fn a_login_approval_is_paired_by_the_number_of_its_own_key() {
        let (mut pairing, phone) = (offered(Method::LoginApproval), Signer::new());
        let Ok(Next::Approve(number)) = scan(&mut pairing, &phone) else { panic!("approve") };
        assert_eq!(*number, PairingSecret::new([7; 32]).number(&phone.public_key()));
        assert_eq!(pairing.state(at(1)), State::Approve(number.clone()));
        assert_eq!(pairing.clone().confirm("ID", (true, Some("none")), at(2)), Confirmed::WrongNumber);
        assert_eq!(pairing.clone().confirm("ID", (true, None), at(2)), Confirmed::WrongNumber);
        assert_eq!(pairing.clone().confirm("OTHER", (true, Some(&number)), at(2)), Confirmed::Expired);
        assert_eq!(pairing.clone().confirm("ID", (true, Some(&number)), at(300)), Confirmed::Expired);
        let mut denied = pairing.clone();
        assert_eq!(denied.confirm("ID", (false, None), at(2)), Confirmed::Denied);
        assert_eq!(denied.confirm("ID", (true, Some(&number)), at(2)), Confirmed::Denied, "no is no");
        assert_eq!(denied.state(at(2)), State::Denied);
        assert_eq!(pairing.confirm("ID", (true, Some(&number)), at(2)), Confirmed::Paired);
        assert_eq!(pairing.state(at(2)), State::Paired);
    }

    #[test]
    fn a_wrong_number_ends_the_pairing() {
        let mut pairing = offered(Method::LoginApproval);
        let Ok(Next::Approve(number)) = scan(&mut pairing, &Signer::new()) else { panic!("approve") };
        assert_eq!(pairing.confirm("ID", (true, Some("none")), at(2)), Confirmed::WrongNumber);
        assert_eq!(pairing.confirm("ID", (true, Some(&number)), at(2)), Confirmed::Denied);
    }

    #[test]
    fn an_online_code_is_typed_on_the_nas_within_three_tries() {
        let mut pairing = offered(Method::OnlineCode);
        assert_eq!(pairing.confirm_code("004711", at(1)), None, "not scanned yet");
        let Ok(Next::ShowCode(code)) = scan(&mut pairing, &Signer::new()) else { panic!("code") };
        assert_eq!(code.digits(), "004711");
        let mut guessed = pairing.clone();
        assert_eq!(guessed.confirm_code("000000", at(2)), Some(Answer::Wrong));
        assert_eq!(guessed.confirm_code("000000", at(2)), Some(Answer::Wrong));
        assert_eq!(guessed.confirm_code("000000", at(2)), Some(Answer::Void));
        assert_eq!((guessed.confirm_code("004711", at(2)), guessed.state(at(2))), (None, State::Denied));
        assert_eq!(pairing.clone().confirm_code("004711", at(300)), None);
        assert_eq!(pairing.confirm("ID", (true, None), at(2)), Confirmed::Expired, "the phone can't confirm its own code");
        assert_eq!(pairing.confirm_code("004 711", at(2)), Some(Answer::Right));
        assert_eq!(pairing.state(at(2)), State::Paired);
    }

    #[test]
    fn a_carrier_that_swaps_the_key_or_the_name_is_found_out_and_five_times_are_enough() {
        let (mut pairing, phone, carrier) = (offered(Method::QrCode), Signer::new(), Signer::new());
        let (public_key, name) = (phone.public_key(), "phone");
        let (mac, swapped) = (Signer::mac([7; 32], &public_key, name), carrier.public_key());
        let signed = |key: &str, name: &str| carrier.sign(&Signed::Pair { pairing: "PAIRING", public_key: key, name });
        let own = phone.sign(&Signed::Pair { pairing: "PAIRING", public_key: &public_key, name });
        let tries = [
            Presented { public_key: &swapped, name, mac: &mac, proof: &signed(&swapped, name) },
            Presented { public_key: &public_key, name: "evil", mac: &mac, proof: &own },
            Presented { public_key: &public_key, name, mac: &mac, proof: &signed(&public_key, name) },
            Presented { public_key: &public_key, name, mac: &Signer::mac([8; 32], &public_key, name), proof: &own },
        ];
        for presented in &tries {
            assert_eq!(pairing.judge(presented, at(1)).unwrap_err(), PairFault::InvalidProof, "{presented:?}");
        }
        let bad_key = Presented { public_key: "AAAA", ..tries[0] };
        assert!(matches!(pairing.judge(&bad_key, at(1)), Err(PairFault::InvalidKey(_))));
        assert_eq!(scan(&mut pairing.clone(), &phone), Ok(Next::Done), "four wrong ones void nothing");
        assert_eq!(pairing.judge(&tries[0], at(1)).unwrap_err(), PairFault::InvalidProof);
        assert_eq!(scan(&mut pairing, &phone), Err(PairFault::NoSuchPairing));
        assert_eq!(pairing.state(at(1)), State::Expired);
    }

    #[test]
    fn a_pairing_waits_five_minutes_and_no_longer_than_its_setup() {
        let pairing = offered(Method::QrCode);
        assert_eq!((pairing.left(at(0)), pairing.state(at(300))), (LIFE, State::Expired));
        let late = Pairing::offer(Method::QrCode, ("P".into(), PairingSecret::new([7; 32])), at(500), at(600));
        assert_eq!(late.left(at(500)), Duration::from_secs(100));
    }
}
