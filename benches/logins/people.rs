//! Invented users: as many as wanted, each with a secret of its own, members of three groups.

use twostep::core::clock::{Horizon, PlausibleTime, plausible};
use twostep::core::enforcement::SubjectKind;
use twostep::core::time::Wall;
use twostep::core::totp::Enrolment;
use twostep::engine::directory::{Key, Membership, Person, Silent, Source, Team};

/// The uid of the first.
const FIRST: u32 = 100_000;

/// The uid and name of the user number `index`.
pub fn user(index: u32) -> (u32, String) {
    (FIRST + index, format!("user{index}"))
}

/// What the user number `index` and the engine share.
pub fn enrolment(index: u32) -> Enrolment {
    let mut secret = [0x5a; 20];
    secret[..4].copy_from_slice(&index.to_be_bytes());
    Enrolment::fresh(secret)
}

/// A wall clock's second as the time of a code.
pub fn time(wall: Wall) -> PlausibleTime {
    let moment = twostep::core::clock::Moment { wall, synchronised: true, ..Default::default() };
    plausible(&moment, &Horizon { built: wall, last_commit: None }).expect("a plausible time")
}

/// The first so many of them.
pub struct People(pub u32);

impl Source for People {
    fn person(&self, key: &Key) -> Result<Option<Person>, Silent> {
        let index = match key {
            Key::Name(name) => name.strip_prefix("user").and_then(|index| index.parse().ok()),
            Key::Uid(uid) => uid.checked_sub(FIRST),
        };
        let Some(index) = index.filter(|index| *index < self.0) else { return Ok(None) };
        let (uid, name) = user(index);
        let groups = ["everyone", "staff", "ssh"].map(|group| Membership { name: group.into(), kind: SubjectKind::LocalGroup });
        Ok(Some(Person { uid, name, kind: SubjectKind::LocalUser, groups: groups.into() }))
    }

    fn group(&self, _: &str) -> Result<Option<Team>, Silent> {
        Ok(None)
    }

    fn list(&self, _: SubjectKind) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }
}
