//! The requests that wait for phones: what each phone may see, and which of them still count.
//!
//! ```text
//!   open ──decided, typed──────────────────────────────────────────────────────► decided ────┐
//!     ├──another login of the account asks, or the account is another one now──► superseded ──┤
//!     └──the login is gone──► forgotten                                                       └──its time is over──► forgotten
//! ```
//! A request counts as long as it is open here **and** its login still asks it: both are looked at under the login's turn. Of one account one
//! request for approval or a code is open; those by QR code, which nobody sees before they are scanned, stand each for its own login.

use std::collections::{BTreeSet, HashMap};
use std::sync::Weak;
use std::time::Duration;

use subtle::ConstantTimeEq;
use tokio::sync::Mutex as Turn;
use zeroize::Zeroizing;

use crate::core::account::Method;
use crate::core::login::phone::{Request, Terms};
use crate::core::login::{Login, Origin};
use crate::core::time::{BootTime, Wall};

/// How long it is remembered that a request is over, for whoever decides late and for the audit trail.
const REMEMBERED: Duration = Duration::from_secs(60);
/// So many are there before those that are over are looked for.
const SWEPT_AT: usize = 64;

/// Why a request counts no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// It was answered.
    Decided,
    /// Another one took its place, or it may not be answered any more.
    Superseded,
    /// Its time is over, or its login is.
    Expired,
}

/// One request, as phones see it.
#[derive(Clone)]
pub struct Entry {
    /// Its name.
    pub id: String,
    /// What is asked.
    pub method: Method,
    /// Who logs in where.
    pub origin: Origin,
    /// See [`Request::number`].
    pub number: Option<Zeroizing<String>>,
    /// For people.
    pub requested_at: Wall,
    /// See [`Request::until`].
    pub until: BootTime,
    /// The login, as long as it is there.
    pub login: Weak<Turn<Login>>,
    /// See [`Request::terms`].
    pub terms: Terms,
    /// The phone that has scanned the QR code.
    pub scanned_by: Option<String>,
    token: Option<Zeroizing<String>>,
    over: Option<Over>,
    /// It is in the audit trail that somebody has decided too late, and that somebody was shown the code.
    noted: (bool, bool),
    age: u64,
}

impl Entry {
    /// A request that was just made.
    #[must_use]
    pub fn new(request: &Request, origin: Origin, login: Weak<Turn<Login>>) -> Self {
        Self {
            id: request.id.clone(),
            method: request.method,
            origin,
            number: request.number().map(|number| Zeroizing::new(number.to_owned())),
            requested_at: request.requested_at,
            until: request.until(),
            login,
            terms: request.terms(),
            scanned_by: None,
            token: request.token().map(|token| Zeroizing::new(token.to_owned())),
            over: None,
            noted: (false, false),
            age: 0,
        }
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub fn is_open(&self, now: BootTime) -> bool {
        self.over(now).is_none()
    }

    /// Why it waits for none.
    #[must_use]
    pub fn over(&self, now: BootTime) -> Option<Over> {
        let in_time = now < self.until && self.login.strong_count() > 0;
        self.over.or((!in_time).then_some(Over::Expired))
    }

    /// What only an open one needs is wiped.
    fn end(&mut self, over: Over) {
        self.over.get_or_insert(over);
        (self.token, self.number) = (None, None);
    }

    /// Whether this phone of the account `uid` may see it.
    #[must_use]
    pub fn is_for(&self, authenticator: &str, uid: u32) -> bool {
        let scanned = self.method != Method::QrCode || self.scanned_by.as_deref() == Some(authenticator);
        self.origin.uid == uid && scanned
    }
}

/// See the module.
#[derive(Default)]
pub struct Board {
    entries: HashMap<String, Entry>,
    next_age: u64,
    swept: usize,
}

impl Board {
    /// A request begins; another one of the account is superseded by it. One whose service is only claimed supersedes none that is not: else a
    /// process of the user's own could keep the phone from every real login.
    pub fn open(&mut self, mut entry: Entry, now: BootTime) {
        self.sweep(now);
        if entry.method != Method::QrCode {
            let others = self.entries.values_mut().filter(|other| other.origin.uid == entry.origin.uid && other.method != Method::QrCode);
            let others = others.filter(|other| other.origin.claimed || !entry.origin.claimed);
            others.for_each(|other| other.end(Over::Superseded));
        }
        entry.age = self.next_age;
        self.next_age += 1;
        self.entries.insert(entry.id.clone(), entry);
    }

    /// A request counts no more; for whoever decides late it is remembered, and why.
    pub fn end(&mut self, id: &str, over: Over) {
        if let Some(entry) = self.entries.get_mut(id) {
            entry.end(over);
        }
    }

    /// Whether it is still to be noted that somebody has decided this request too late: once.
    pub fn notes_late(&mut self, id: &str) -> bool {
        self.entries.get_mut(id).is_some_and(|entry| !std::mem::replace(&mut entry.noted.0, true))
    }

    /// Whether it is still to be noted that a phone was shown the code of this request: once.
    pub fn notes_code(&mut self, id: &str) -> bool {
        self.entries.get_mut(id).is_some_and(|entry| !std::mem::replace(&mut entry.noted.1, true))
    }

    /// The accounts that are asked something.
    #[must_use]
    pub fn asked(&self) -> BTreeSet<u32> {
        self.entries.values().filter(|entry| entry.over.is_none()).map(|entry| entry.origin.uid).collect()
    }

    /// Of the account `uid` no request counts any more but those that `stand`.
    pub fn supersede_unless(&mut self, uid: u32, stands: impl Fn(&Entry) -> bool) {
        let gone = self.entries.values_mut().filter(|entry| entry.origin.uid == uid && !stands(entry));
        gone.for_each(|entry| entry.end(Over::Superseded));
    }

    /// The request of this name, open or not.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Whether the request of this name was neither answered nor superseded.
    #[must_use]
    pub fn is_open(&self, id: &str) -> bool {
        self.entries.get(id).is_some_and(|entry| entry.over.is_none())
    }

    /// The open requests that a phone may see, the oldest first.
    #[must_use]
    pub fn for_phone(&self, authenticator: &str, uid: u32, now: BootTime) -> Vec<Entry> {
        let seen = self.entries.values().filter(|entry| entry.is_for(authenticator, uid) && entry.is_open(now));
        let mut seen: Vec<Entry> = seen.cloned().collect();
        seen.sort_unstable_by_key(|entry| entry.age);
        seen
    }

    /// A phone of the account `uid` has scanned the QR code with this token: it may decide from now on.
    pub fn scan(&mut self, token: &str, authenticator: &str, uid: u32, now: BootTime) -> Option<Entry> {
        let is_it = |entry: &Entry| entry.token.as_ref().is_some_and(|own| own.as_bytes().ct_eq(token.as_bytes()).into());
        let entry = self.entries.values_mut().find(|entry| entry.origin.uid == uid && entry.is_open(now) && is_it(entry))?;
        entry.scanned_by = Some(authenticator.to_owned());
        Some(entry.clone())
    }

    /// Where they have doubled since the last time, those that are over go.
    fn sweep(&mut self, now: BootTime) {
        if self.entries.len() >= SWEPT_AT.max(2 * self.swept) {
            self.entries.retain(|_, entry| now < entry.until + REMEMBERED && entry.login.strong_count() > 0);
            self.swept = self.entries.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::account::{Account, Methods};
    use crate::core::clock::ClockFault;
    use crate::core::clock::Moment;
    use crate::core::decision::Facilities;
    use crate::core::email::MailBudget;
    use crate::core::login::phone::{Draw, RequestBudget};
    use crate::core::login::{Means, Now};

    fn at(seconds: u64) -> BootTime {
        BootTime(Duration::from_secs(seconds))
    }

    fn entry(uid: u32, method: Method, id: &str) -> (Entry, Arc<Turn<Login>>) {
        let origin = Origin { uid, user: "alice".into(), service: "sshd".into(), claimed: false, remote: None };
        let mut login = Login::open(origin.clone(), at(0));
        let methods = Methods::NONE.with(Method::SecurityCode).with(method);
        let account = Account { methods, ..Account::default() };
        let (mut mails, mut requests) = (MailBudget::default(), RequestBudget::default());
        let draw = Draw { id: id.into(), token: format!("token of {id}"), random: 1 };
        let means = Means { mails: &mut mails, requests: &mut requests, draw };
        let now = Now { moment: Moment::default(), time: Err(ClockFault::BeforeBuild) };
        let facilities = Facilities { mail: false, phone: true };
        let asked = login.challenge(method, (&account, facilities), means, &now).unwrap();
        let login = Arc::new(Turn::new(login));
        (Entry::new(&asked.request.unwrap().0, origin, Arc::downgrade(&login)), login)
    }

    fn ids(board: &Board, authenticator: &str, uid: u32, seconds: u64) -> Vec<String> {
        board.for_phone(authenticator, uid, at(seconds)).into_iter().map(|entry| entry.id).collect()
    }

    #[test]
    fn a_new_request_supersedes_the_older_of_the_same_account_alone() {
        let mut board = Board::default();
        let (first, _a) = entry(1, Method::LoginApproval, "first");
        let (other, _b) = entry(2, Method::LoginApproval, "other");
        let (second, _c) = entry(1, Method::OnlineCode, "second");
        for one in [first, other, second] {
            board.open(one, at(1));
        }
        assert_eq!((ids(&board, "phone", 1, 2), ids(&board, "phone", 2, 2)), (vec!["second".into()], vec!["other".into()]));
        assert!(!board.is_open("first") && board.get("first").is_some());
    }

    #[test]
    fn what_is_only_claimed_supersedes_no_real_login() {
        let mut board = Board::default();
        let claimed = |id: &str| {
            let (mut entry, login) = entry(1, Method::LoginApproval, id);
            entry.origin.claimed = true;
            (entry, login)
        };
        let (real, (one, _b), (two, _c)) = (entry(1, Method::LoginApproval, "real"), claimed("one"), claimed("two"));
        for next in [real.0, one, two] {
            board.open(next, at(1));
        }
        assert_eq!(ids(&board, "phone", 1, 2), ["real", "two"]);
        let (newer, _d) = entry(1, Method::LoginApproval, "newer");
        board.open(newer, at(1));
        assert_eq!(ids(&board, "phone", 1, 2), ["newer"], "a real one supersedes all");
    }

    #[test]
    fn a_qr_code_is_seen_by_the_phone_that_scanned_it() {
        let mut board = Board::default();
        let (qr, _a) = entry(1, Method::QrCode, "qr");
        let (approval, _b) = entry(1, Method::LoginApproval, "approval");
        board.open(qr, at(1));
        board.open(approval, at(1));
        assert_eq!(ids(&board, "phone", 1, 2), ["approval"]);
        assert!(board.scan("token of qr", "stranger's", 2, at(2)).is_none() && board.scan("token", "phone", 1, at(2)).is_none());
        assert_eq!(board.scan("token of qr", "phone", 1, at(2)).unwrap().id, "qr");
        assert_eq!((ids(&board, "phone", 1, 2).len(), ids(&board, "tablet", 1, 2).len()), (2, 1));
        assert!(board.scan("token of qr", "phone", 1, at(120)).is_none(), "too late");
    }

    #[test]
    fn what_is_over_is_seen_no_more_and_forgotten() {
        let mut board = Board::default();
        let mut logins = vec![];
        for n in 0..1000 {
            let (one, login) = entry(n, Method::LoginApproval, &n.to_string());
            board.open(one, at(1));
            logins.push(login);
            if n % 100 == 99 {
                logins.clear();
            }
        }
        assert!(board.entries.len() < 400, "{}", board.entries.len());
        assert_eq!(ids(&board, "phone", 5, 2).len(), 0, "its login is gone");
        let (last, _login) = entry(7, Method::LoginApproval, "last");
        board.open(last, at(1));
        assert_eq!((ids(&board, "phone", 7, 119).len(), ids(&board, "phone", 7, 120).len()), (1, 0));
        board.end("last", Over::Decided);
        assert_eq!(ids(&board, "phone", 7, 2).len(), 0);
    }
}
