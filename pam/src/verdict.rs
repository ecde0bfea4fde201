//! How a login ends, and what PAM is told of it.

use std::ffi::c_int;

use twostep::sys::libpam::{AUTH_ERR, AUTHINFO_UNAVAIL, CONV_ERR, MAXTRIES, PERM_DENIED, SERVICE_ERR, USER_UNKNOWN};
pub use twostep::sys::libpam::{IGNORE, SUCCESS, SYSTEM_ERR};

/// Let in, or not held up. Everything else is a [`Denial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// The second step was passed.
    Verified,
    /// The second step was set up in this login, and so proven.
    SetUp,
    /// The engine trusts this device.
    Trusted,
    /// The engine gave no decision, and the button brought this account back.
    Recovered,
    /// The engine says that no second step is wanted.
    NotRequired,
    /// The configuration makes an exception of this account or service.
    Excepted,
}

impl Pass {
    /// Whether the module vouches for it.
    pub fn is_verified(self) -> bool {
        matches!(self, Self::Verified | Self::SetUp | Self::Trusted | Self::Recovered)
    }
}

/// Not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Why, for PAM.
    pub why: Why,
    /// Why and what to do, for the user; empty where there is nothing to say.
    pub told: String,
    /// What more the log of logins should have.
    pub logged: String,
}

impl Denial {
    /// With words for the user.
    pub fn new(why: Why, told: impl Into<String>) -> Self {
        Self { why, told: told.into(), logged: String::new() }
    }
}

/// Why a login is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The second step was not passed.
    Wrong,
    /// It was tried too often, in this login or before.
    TooMany,
    /// The user broke off, or the client can't ask questions.
    NoAnswer,
    /// The engine gave no decision.
    Undecided,
    /// The engine does not know the account.
    UnknownUser,
    /// It has to be done elsewhere first.
    NotPassed,
    /// The module's own line in the PAM configuration, or the host, is not as it should be.
    Misused,
}

/// What PAM is told.
///
/// Where nothing was verified, the module has no say (`PAM_IGNORE`): a line put before the password's by mistake then does not stand for
/// the password.
pub fn code(result: &Result<Pass, Denial>) -> c_int {
    match result {
        Ok(pass) if pass.is_verified() => SUCCESS,
        Ok(_) => IGNORE,
        Err(denial) => match denial.why {
            Why::Wrong => AUTH_ERR,
            // sshd and login don't ask again after this one.
            Why::TooMany => MAXTRIES,
            Why::NoAnswer => CONV_ERR,
            Why::Undecided => AUTHINFO_UNAVAIL,
            Why::UnknownUser => USER_UNKNOWN,
            Why::NotPassed => PERM_DENIED,
            Why::Misused => SERVICE_ERR,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_denial_is_taken_for_success_or_for_no_say() {
        let all = [Why::Wrong, Why::TooMany, Why::NoAnswer, Why::Undecided, Why::UnknownUser, Why::NotPassed, Why::Misused];
        for why in all {
            let told = code(&Err(Denial::new(why, "")));
            assert!(told != SUCCESS && told != IGNORE, "{why:?}");
        }
    }

    #[test]
    fn where_nothing_was_verified_the_module_does_not_vouch() {
        assert_eq!(code(&Ok(Pass::NotRequired)), IGNORE);
        assert_eq!(code(&Ok(Pass::Excepted)), IGNORE);
        assert_eq!(code(&Ok(Pass::Verified)), SUCCESS);
    }
}
