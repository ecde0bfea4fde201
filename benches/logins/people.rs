//! Invented users: as many as wanted, each with a secret of its own, members of three groups.

use std::path::Path;

use twostep::core::clock::{Horizon, PlausibleTime, plausible};
use twostep::core::time::Wall;
use twostep::core::totp::Enrolment;
use twostep::engine::directory::{Entry, Key, Nss, Silent, Team};

/// The uid of the first.
const FIRST: u32 = 100_000;
/// The groups of each.
const GROUPS: [(u32, &str); 3] = [(50_000, "everyone"), (50_001, "staff"), (50_002, "ssh")];

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

/// The first so many of them, as a domain tells of them.
pub struct People(pub u32);

impl Nss for People {
    fn user(&self, key: &Key) -> Result<Option<Entry>, Silent> {
        let index = match key {
            Key::Name(name) => name.strip_prefix("user").and_then(|index| index.parse().ok()),
            Key::Uid(uid) => uid.checked_sub(FIRST),
        };
        let known = index.filter(|index| *index < self.0).map(user);
        Ok(known.map(|(uid, name)| Entry { name, uid, gid: GROUPS[0].0 }))
    }

    fn groups_of(&self, _: &str, _: u32) -> Result<Vec<(u32, String)>, Silent> {
        Ok(GROUPS.map(|(gid, name)| (gid, name.into())).into())
    }

    fn group(&self, _: &str) -> Result<Option<Team>, Silent> {
        Ok(None)
    }

    fn users(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }

    fn groups(&self) -> Result<Vec<String>, Silent> {
        Ok(Vec::new())
    }
}

/// An account file without anybody in it.
pub fn write_files(folder: &Path) {
    for name in ["passwd", "group"] {
        std::fs::write(folder.join(name), "").expect("an account file");
    }
}
