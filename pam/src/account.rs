//! The account line: nobody passes by a way that left the second step out, as sshd does for a key.

use twostep::core::account::Status;

use crate::engine::Engine;
use crate::step::without_decision;
use crate::talk::{Talk, Tone};
use crate::verdict::{Denial, Pass, Why};

const VERIFIED: &str = "+";
const NOT_WANTED: &str = "-";

const LEFT_OUT: &str = "2-step verification is on for this account, and this login (by a key, or by itself) left it out. Log in with password \
                        and code (ssh -o PubkeyAuthentication=no), or have the server ask for key and code (AuthenticationMethods \
                        publickey,keyboard-interactive).";
const NOT_SET_UP: &str = "2-step verification is required for this account, and is not set up yet. Log in with the password once to set it up (ssh -o \
                          PubkeyAuthentication=no), or run `twostep setup` on the machine.";

/// What a transaction remembers of its auth line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    /// Who passed.
    pub user: String,
    /// Whether anything was verified. Otherwise no second step was wanted.
    pub is_verified: bool,
}

impl Passed {
    /// As a text that libpam keeps.
    pub fn note(&self) -> String {
        format!("{}{}", if self.is_verified { VERIFIED } else { NOT_WANTED }, self.user)
    }

    /// From such a text.
    pub fn from_note(note: &str) -> Option<Self> {
        let (is_verified, user) = match note.split_at_checked(1)? {
            (VERIFIED, user) => (true, user),
            (NOT_WANTED, user) => (false, user),
            _ => return None,
        };
        Some(Self { user: user.into(), is_verified })
    }

    /// What it comes to on the account line.
    pub fn pass(&self) -> Pass {
        if self.is_verified { Pass::Verified } else { Pass::NotRequired }
    }
}

/// Whether `user` may go on. `passed` is how this very transaction went through the auth line, where it did: who was not asked there is not vouched
/// for here either.
///
/// # Errors
/// Where the second step was left out, or nobody can tell.
pub fn check(
    user: &str,
    passed: Option<Pass>,
    engine: &mut dyn Engine,
    talk: &mut dyn Talk,
    is_recovered: &dyn Fn(&str) -> bool,
) -> Result<Pass, Denial> {
    if let Some(pass) = passed {
        return Ok(pass);
    }
    let result = match engine.status(user) {
        Ok(Status::Disabled) => Ok(Pass::NotRequired),
        Ok(Status::Enabled) => Err(Denial::new(Why::NotPassed, LEFT_OUT)),
        Ok(Status::Incomplete) => Err(Denial::new(Why::NotPassed, NOT_SET_UP)),
        Err(failure) => without_decision(&failure, user, is_recovered),
    };
    if let Err(denial) = &result
        && !denial.told.is_empty()
    {
        talk.tell(Tone::Error, &denial.told);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Failure;
    use crate::script::{Line, play_account};

    fn check(user: &str, passed: Option<Pass>, lines: Vec<Line>) -> Result<Pass, Why> {
        play_account(user, passed, lines).map_err(|denial| denial.why)
    }

    #[test]
    fn who_passed_the_auth_line_is_asked_about_no_more() {
        assert_eq!(check("alice", Some(Pass::Verified), vec![]), Ok(Pass::Verified));
        assert_eq!(check("alice", Some(Pass::NotRequired), vec![]), Ok(Pass::NotRequired));
    }

    #[test]
    fn the_note_of_a_transaction_says_who_and_how_and_nothing_else_is_one() {
        for is_verified in [true, false] {
            let passed = Passed { user: "alice".into(), is_verified };
            assert_eq!(Passed::from_note(&passed.note()), Some(passed));
        }
        assert!(["", "alice", "\u{e9}alice"].iter().all(|note| Passed::from_note(note).is_none()));
    }

    #[test]
    fn a_key_alone_is_refused_where_the_second_step_is_on_or_due() {
        assert_eq!(check("alice", None, vec![Line::Status(Ok(Status::Disabled))]), Ok(Pass::NotRequired));
        let on = vec![Line::Status(Ok(Status::Enabled)), Line::Tell(Tone::Error, "AuthenticationMethods")];
        assert_eq!(check("alice", None, on), Err(Why::NotPassed));
        let due = vec![Line::Status(Ok(Status::Incomplete)), Line::Tell(Tone::Error, "to set it up")];
        assert_eq!(check("alice", None, due), Err(Why::NotPassed));
    }

    #[test]
    fn without_a_decision_only_the_recovered_account_passes() {
        for failure in [Failure::Silent("down".into()), Failure::Lost] {
            assert_eq!(check("admin", None, vec![Line::Status(Err(failure.clone()))]), Ok(Pass::Recovered));
            let lines = vec![Line::Status(Err(failure)), Line::Tell(Tone::Error, "can't be checked")];
            assert_eq!(check("alice", None, lines), Err(Why::Undecided));
        }
        assert_eq!(check("admin", None, vec![Line::Status(Err(Failure::NoSuchAccount))]), Err(Why::UnknownUser));
    }
}
