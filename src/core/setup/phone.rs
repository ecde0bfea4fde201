//! The phones of a setup: a pairing for each method, and those that have scanned one.

use super::{Confirmation, Confirmed, Method, Methods, Purpose, Refusal, Setup};
use crate::core::authenticator::{PER_ACCOUNT, PairingSecret, PublicKey};
use crate::core::pairing::{self, Next, PairFault, Pairing, Phone, Presented};
use crate::core::passcode::Answer;
use crate::core::time::{BootTime, Wall};

/// So many pairings are offered in one setup: two for each phone and method, and some slips.
const OFFERS: u32 = 32;

/// A phone that takes a pairing, beside what it says of itself.
pub struct Taker<'a> {
    /// What it is called where its key is new to the account.
    pub id: String,
    /// The phones that the account has in force: name and key of each.
    pub known: &'a [(String, PublicKey)],
    /// Uniform over all of u64.
    pub random: u64,
    /// For people.
    pub at: Wall,
}

impl Setup {
    /// Offers a pairing for `method`, in the place of the last one; `in_force` phones are there already.
    ///
    /// # Errors
    /// `NoSuchSetup` in one that is about something else, `MethodUnavailable` where no phone reaches us, too many are paired, or too many were
    /// offered.
    pub fn offer_pairing(
        &mut self,
        method: Method,
        drawn: (String, PairingSecret),
        in_force: usize,
        now: BootTime,
    ) -> Result<&Pairing, Refusal> {
        if self.purpose == Purpose::RecoveryEmail {
            return Err(Refusal::NoSuchSetup);
        }
        // One that was denied, or whose pairing this one replaces, takes no place.
        self.phones.retain(|phone| !phone.methods.is_empty());
        let unavailable = |reason: String| Refusal::MethodUnavailable(method, reason);
        if !method.needs_authenticator() || !self.available.contains(method) {
            return Err(unavailable("the address for phones is not configured, or does not answer".into()));
        }
        if in_force + self.phones.iter().filter(|phone| !phone.known).count() >= PER_ACCOUNT || self.phones.len() >= PER_ACCOUNT {
            return Err(unavailable(format!("{PER_ACCOUNT} phones are paired: remove one first")));
        }
        if self.pairings >= OFFERS {
            return Err(unavailable("too many pairings were offered in this setup: begin it anew".into()));
        }
        self.pairings += 1;
        Ok(self.pairing.insert(Pairing::offer(method, drawn, now, self.until)))
    }

    /// The latest offer.
    #[must_use]
    pub fn pairing(&self) -> Option<&Pairing> {
        self.pairing.as_ref()
    }

    /// A phone takes the pairing `id`: what the phone is called, and what its user does next.
    ///
    /// # Errors
    /// [`PairFault`]
    pub fn pair(&mut self, id: &str, presented: &Presented<'_>, taker: Taker<'_>, now: BootTime) -> Result<(String, Next), PairFault> {
        if self.is_over(now) {
            return Err(PairFault::NoSuchPairing);
        }
        let pairing = self.pairing.as_mut().filter(|pairing| pairing.id == id).ok_or(PairFault::NoSuchPairing)?;
        let key = pairing.judge(presented, now)?;
        let here = self.phones.iter().find(|phone| phone.key == key).map(|phone| phone.id.clone());
        let known = taker.known.iter().find(|(_, known)| *known == key).map(|(id, _)| id.clone());
        let name = match (here, known) {
            (Some(id), _) => id,
            (None, known) => {
                let (known, id) = (known.is_some(), known.unwrap_or(taker.id));
                let (name, paired_at) = (presented.name.to_owned(), taker.at);
                self.phones.push(Phone { id: id.clone(), name, key, paired_at, known, methods: Methods::NONE });
                id
            }
        };
        let next = pairing.scanned(&name, presented.public_key, taker.random, now);
        if next == Next::Done {
            self.paired();
        }
        Ok((name, next))
    }

    /// The phone says what its user compared.
    pub fn confirm_pairing(&mut self, phone: &str, said: (bool, Option<&str>), now: BootTime) -> pairing::Confirmed {
        let Some(pairing) = self.pairing.as_mut().filter(|_| now < self.until) else { return pairing::Confirmed::Expired };
        let outcome = pairing.confirm(phone, said, now);
        if outcome == pairing::Confirmed::Paired {
            self.paired();
        }
        outcome
    }

    /// The code that the phone shows was typed.
    pub fn confirm_online_code(&mut self, typed: &str, now: BootTime) -> Confirmed {
        let answer = self.pairing.as_mut().and_then(|pairing| pairing.confirm_code(typed, now));
        match answer {
            Some(Answer::Right) => {
                self.paired();
                (Confirmation::Confirmed, None)
            }
            Some(Answer::Wrong) => (Confirmation::Wrong, None),
            Some(Answer::Void) => (Confirmation::Locked, Some("too many wrong codes: have another pairing code shown".into())),
            None if self.is_paired_for(Method::OnlineCode) => (Confirmation::Confirmed, None),
            None => (Confirmation::Wrong, Some("no phone shows a code for this setup".into())),
        }
    }

    fn is_paired_for(&self, method: Method) -> bool {
        let paired = self.pairing.as_ref().filter(|pairing| pairing.method == method).and_then(|pairing| pairing.phone.as_ref());
        self.phones.iter().any(|phone| paired == Some(&phone.id) && phone.methods.contains(method))
    }

    /// The pairing's phone has done all that it wants.
    fn paired(&mut self) {
        let Some(Pairing { method, phone: Some(id), .. }) = &self.pairing else { return };
        if let Some(phone) = self.phones.iter_mut().find(|phone| phone.id == *id) {
            phone.methods = phone.methods.with(*method);
            self.first.get_or_insert(*method);
        }
    }

    /// The phone of this name that has scanned a pairing of this setup.
    #[must_use]
    pub fn phone(&self, id: &str) -> Option<&Phone> {
        self.phones.iter().find(|phone| phone.id == id)
    }

    /// The phone wants to be forgotten; tells whether there was one.
    pub fn unpair(&mut self, id: &str) -> bool {
        let before = self.phones.len();
        self.phones.retain(|phone| phone.id != id);
        if let Some(pairing) = self.pairing.as_mut().filter(|pairing| pairing.phone.as_deref() == Some(id)) {
            pairing.void();
        }
        self.phones.len() < before
    }

    /// What phones were paired for.
    pub(super) fn paired_for(&self) -> Methods {
        self.phones.iter().flat_map(|phone| phone.methods.iter()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Account;
    use super::super::tests::{confirm_code, enabled_account};
    use super::*;
    use crate::core::authenticator::Signed;
    use crate::core::authenticator::fake::Signer;
    use crate::core::decision::Facilities;
    use crate::core::login::Origin;
    use crate::core::pairing::State;

    const PHONE: Facilities = Facilities { mail: false, phone: true };

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    fn begin(account: &Account) -> Setup {
        let purpose = if account.is_enabled() { Purpose::Change } else { Purpose::Setup };
        Setup::begin((1000, "alice"), purpose, account, PHONE, at(0)).unwrap()
    }

    fn pair_known(
        setup: &mut Setup,
        signer: &Signer,
        (method, id): (Method, &str),
        known: &[(String, PublicKey)],
    ) -> Result<(String, Next), PairFault> {
        setup.offer_pairing(method, (id.into(), PairingSecret::new([7; 32])), known.len(), at(1)).unwrap();
        let (public_key, name) = (signer.public_key(), "phone");
        let mac = Signer::mac([7; 32], &public_key, name);
        let proof = signer.sign(&Signed::Pair { pairing: id, public_key: &public_key, name });
        let presented = Presented { public_key: &public_key, name, mac: &mac, proof: &proof };
        let taker = Taker { id: format!("of {id}"), known, random: 4_711, at: Wall(5) };
        setup.pair(id, &presented, taker, at(1))
    }

    fn pair(setup: &mut Setup, signer: &Signer, method: Method, id: &str) -> (String, Next) {
        pair_known(setup, signer, (method, id), &[]).unwrap()
    }

    #[test]
    fn a_phone_and_the_code_come_into_force_together_and_the_phone_is_asked_first() {
        let (mut setup, account, phone) = (begin(&Account::default()), Account::default(), Signer::new());
        assert_eq!(pair(&mut setup, &phone, Method::QrCode, "P"), ("of P".into(), Next::Done));
        let progress = setup.progress(&account);
        assert_eq!((progress.ready, progress.missing), (Methods::NONE.with(Method::QrCode), Methods::NONE.with(Method::SecurityCode)));
        assert_eq!(setup.finish(&account, at(2)).unwrap_err(), Refusal::SecurityCodeMissing, "the alternative is wanted");
        confirm_code(&mut setup);
        let done = setup.finish(&account, at(2)).unwrap();
        assert_eq!(done.account.preferred, Some(Method::QrCode));
        assert!(done.account.methods.contains(Method::QrCode) && done.account.methods.contains(Method::SecurityCode));
        let ids: Vec<&str> = done.phones.iter().map(|phone| phone.id.as_str()).collect();
        assert_eq!(ids, ["of P"]);
    }

    #[test]
    fn what_was_confirmed_first_is_asked_for_first() {
        let (mut setup, account, phone) = (begin(&Account::default()), Account::default(), Signer::new());
        confirm_code(&mut setup);
        pair(&mut setup, &phone, Method::QrCode, "P");
        assert_eq!(setup.finish(&account, at(2)).unwrap().account.preferred, Some(Method::SecurityCode));
    }

    #[test]
    fn one_phone_is_paired_for_several_methods_under_one_name() {
        let (mut setup, phone, other) = (begin(&Account::default()), Signer::new(), Signer::new());
        pair(&mut setup, &phone, Method::QrCode, "P");
        let (name, Next::Approve(number)) = pair(&mut setup, &phone, Method::LoginApproval, "Q") else { panic!("approve") };
        assert_eq!(name, "of P");
        assert!(!setup.progress(&Account::default()).ready.contains(Method::LoginApproval), "not yet");
        assert_eq!(setup.confirm_pairing("of P", (true, Some(&number)), at(2)), pairing::Confirmed::Paired);
        let (name, next) = pair(&mut setup, &other, Method::OnlineCode, "R");
        assert!(name == "of R" && matches!(next, Next::ShowCode(_)));
        assert_eq!(setup.confirm_online_code("000000", at(2)).0, Confirmation::Wrong);
        assert_eq!(setup.confirm_online_code("004711", at(2)).0, Confirmation::Confirmed);
        assert_eq!(setup.confirm_online_code("004711", at(2)).0, Confirmation::Confirmed, "a second time is no mistake");
        confirm_code(&mut setup);
        let done = setup.finish(&Account::default(), at(3)).unwrap();
        assert_eq!(done.phones.len(), 2);
        assert!(Method::ALL.into_iter().filter(|method| method.needs_authenticator()).all(|method| done.account.methods.contains(method)));
    }

    #[test]
    fn what_was_not_confirmed_leaves_no_phone() {
        let mut setup = begin(&Account::default());
        confirm_code(&mut setup);
        pair(&mut setup, &Signer::new(), Method::LoginApproval, "P");
        let done = setup.finish(&Account::default(), at(2)).unwrap();
        assert!(done.phones.is_empty() && !done.account.methods.contains(Method::LoginApproval));
        assert_eq!(setup.confirm_pairing("of P", (false, None), at(2)), pairing::Confirmed::Denied);
        assert_eq!(setup.pairing().unwrap().state(at(2)), State::Denied);
        pair(&mut setup, &Signer::new(), Method::QrCode, "Q");
        assert!(setup.unpair("of Q") && !setup.unpair("of Q"));
        assert!(setup.finish(&Account::default(), at(2)).unwrap().phones.is_empty(), "forgotten again");
    }

    #[test]
    fn a_new_offer_takes_the_place_of_the_last() {
        let (mut setup, phone) = (begin(&Account::default()), Signer::new());
        setup.offer_pairing(Method::QrCode, ("OLD".into(), PairingSecret::new([7; 32])), 0, at(1)).unwrap();
        pair(&mut setup, &phone, Method::QrCode, "NEW");
        let presented = Presented { public_key: "", name: "", mac: "", proof: "" };
        let taker = Taker { id: String::new(), known: &[], random: 0, at: Wall(0) };
        assert_eq!(setup.pair("OLD", &presented, taker, at(1)).unwrap_err(), PairFault::NoSuchPairing);
    }

    #[test]
    fn the_phone_that_an_account_has_keeps_its_name_and_a_ninth_is_refused() {
        let account = enabled_account();
        let (mut change, phone) = (begin(&account), Signer::new());
        let key = PublicKey::parse(&phone.public_key()).unwrap();
        let known = vec![("OLD".to_owned(), key)];
        assert_eq!(pair_known(&mut change, &phone, (Method::QrCode, "P"), &known).unwrap().0, "OLD");
        let done = change.finish(&account, at(2)).unwrap();
        assert!(done.phones[0].known && done.account.methods.contains(Method::QrCode));
        let mut change = begin(&account);
        let full = change.offer_pairing(Method::QrCode, ("P".into(), PairingSecret::new([7; 32])), PER_ACCOUNT, at(1));
        assert!(matches!(full, Err(Refusal::MethodUnavailable(Method::QrCode, _))));
    }

    #[test]
    fn a_phone_that_was_denied_takes_no_place() {
        let account = enabled_account();
        let mut change = begin(&account);
        for attempt in 0..2 * PER_ACCOUNT {
            let (id, Next::Approve(_)) = pair(&mut change, &Signer::new(), Method::LoginApproval, &attempt.to_string()) else { panic!() };
            assert_eq!(change.confirm_pairing(&id, (false, None), at(2)), pairing::Confirmed::Denied);
        }
    }

    #[test]
    fn whoever_goes_on_with_a_setup_does_not_take_over_its_phone() {
        let (account, phone) = (Account { enforced: true, ..Account::default() }, Signer::new());
        let (user, service, remote) = ("alice".to_owned(), "sshd".to_owned(), Some("192.0.2.7".to_owned()));
        let origin = Origin { uid: 1000, user, service, claimed: false, remote };
        let mut before = Setup::at_login(origin.clone(), &account, PHONE, at(0));
        pair(&mut before, &phone, Method::QrCode, "P");
        let mut setup = Setup::at_login(origin, &account, PHONE, at(2));
        assert!(setup.follow(("A", &before), at(2)));
        confirm_code(&mut setup);
        let done = setup.finish(&account, at(3)).unwrap();
        assert_eq!((done.phones.len(), done.account.preferred), (0, Some(Method::SecurityCode)));
    }

    #[test]
    fn one_setup_offers_so_many_pairings_and_no_more() {
        let mut setup = begin(&Account::default());
        let offers = (0..100).map(|_| setup.offer_pairing(Method::QrCode, ("P".into(), PairingSecret::new([7; 32])), 0, at(1)).is_ok());
        assert_eq!(offers.filter(|offered| *offered).count(), 32);
    }

    #[test]
    fn no_pairing_is_offered_where_no_phone_reaches_us() {
        let account = Account::default();
        let mut setup = Setup::begin((1000, "alice"), Purpose::Setup, &account, Facilities::default(), at(0)).unwrap();
        let offered = setup.offer_pairing(Method::QrCode, ("P".into(), PairingSecret::new([7; 32])), 0, at(1));
        assert!(matches!(offered, Err(Refusal::MethodUnavailable(Method::QrCode, _))));
    }
}
