//! Who may do what to whom: one function for every method of every interface.
//!
//! | peer | Login, Account | Admin | Authenticator | Recovery |
//! |---|---|---|---|---|
//! | root | any account | all | all | all |
//! | granted `login` | any account | – | – | – |
//! | granted `authenticator` | its own | – | all | – |
//! | administrator | its own | all but backups, import, starting anew; not unlocking or disabling itself | – | – |
//! | delegate | its own | list; enforce, disable and unlock others, with the three exceptions of Q22 | – | – |
//! | anybody | its own | – | – | – |
//!
//! On an enabled account a peer that is neither root nor granted `login` changes nothing by the password alone: it names a login of the
//! account that was verified recently (B13). For the same reason an administrator neither disables nor unlocks the own account here, which
//! would need no second step.
//!
//! An exception to the table: a secret that is in force is shown again to its owner alone. To root, too, another's account is closed, and root's own
//! wants its second step like anybody's. Root can read the sealed database and its key; that takes a program of root's own, and no service that
//! happens to run as root gives secrets away because it was asked to.
//!
//! This module checks no password and looks nobody up.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A delegated role (Q22). Both reach the same methods; which of the two somebody holds is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// System Management.
    SystemManagement,
    /// Access Management.
    AccessManagement,
}

impl Role {
    /// As the protocol writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SystemManagement => "system_management",
            Self::AccessManagement => "access_management",
        }
    }
}

/// What a peer is, as the kernel, the configuration, the directory and the store know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Uid 0, or the user who runs the demo.
    pub root: bool,
    /// Granted `login` in the configuration.
    pub login: bool,
    /// Granted `authenticator` in the configuration.
    pub authenticator: bool,
    /// In an administrators group.
    pub administrator: bool,
    /// Holds a delegated role, in person or by a group.
    pub delegate: bool,
}

/// Whom a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Nobody in particular.
    None,
    /// An account.
    Account {
        /// The peer's own.
        own: bool,
        /// In an administrators group, or root.
        administrator: bool,
        /// 2-step verification is on.
        enabled: bool,
        /// The call names a login of this account that was verified recently.
        vouched: bool,
    },
    /// A group.
    Group {
        /// The peer is a member.
        own: bool,
        /// An administrators group, or one with an administrator among its members.
        administrators: bool,
    },
}

/// The methods of io.twostep.Login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginCall {
    /// See the interface.
    Start,
    /// See the interface.
    Challenge,
    /// See the interface.
    Answer,
    /// See the interface.
    Wait,
    /// See the interface.
    TrustDevice,
    /// See the interface.
    Cancel,
}

/// The methods of io.twostep.Account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountCall {
    /// See the interface.
    Status,
    /// See the interface.
    BeginSetup,
    /// See the interface.
    BeginChange,
    /// See the interface.
    SetupStatus,
    /// See the interface.
    ConfirmRecoveryEmail,
    /// See the interface.
    OfferSecurityCode,
    /// See the interface.
    ConfirmSecurityCode,
    /// See the interface.
    OfferPairing,
    /// See the interface.
    WaitPairing,
    /// See the interface.
    ConfirmOnlineCode,
    /// See the interface.
    FinishSetup,
    /// See the interface.
    CancelSetup,
    /// See the interface.
    EnableMethod,
    /// See the interface.
    DisableMethod,
    /// See the interface.
    SetPreferred,
    /// See the interface.
    SetRecoveryEmail,
    /// See the interface.
    RegenerateRecoveryCodes,
    /// See the interface.
    RemoveAuthenticator,
    /// See the interface.
    RemoveTrustedDevice,
    /// See the interface.
    SetPasswordless,
    /// See the interface.
    Disable,
    /// See the interface.
    ExportSecurityCode,
}

/// The methods of io.twostep.Admin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCall {
    /// See the interface.
    List,
    /// See the interface.
    Enforce,
    /// See the interface.
    DisableFor,
    /// See the interface.
    Unlock,
    /// See the interface.
    Delegate,
    /// See the interface.
    ListDelegations,
    /// See the interface.
    Audit,
    /// See the interface.
    Backup,
    /// See the interface.
    Restore,
    /// See the interface.
    Import,
    /// See the interface.
    ListBackups,
    /// See the interface.
    StartAnew,
}

/// One call of one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// io.twostep.Login.
    Login(LoginCall),
    /// io.twostep.Account.
    Account(AccountCall),
    /// io.twostep.Admin.
    Admin(AdminCall),
    /// io.twostep.Authenticator, whose calls are signed by the phone itself.
    Authenticator,
    /// io.twostep.Recovery.
    Recovery,
}

/// Why a call is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Another's account.
    NotYours,
    /// For root alone.
    RootOnly,
    /// For root and administrators.
    AdministratorsOnly,
    /// For root, administrators and delegates.
    NoRole,
    /// For root and peers granted `authenticator`.
    NotGranted,
    /// A delegate, or an administrator's shortcut, at the own account.
    OwnAccount,
    /// A delegate at a group of the own.
    OwnGroup,
    /// A delegate at an administrator, or at a group that has one.
    Administrator,
    /// The second step has to be passed first: name a login.
    SecondStepRequired,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotYours => "this account is not yours",
            Self::RootOnly => "only root may do this",
            Self::AdministratorsOnly => "only root and administrators may do this",
            Self::NoRole => "only root, administrators and holders of a delegated role may do this",
            Self::NotGranted => "only root and peers granted `authenticator` may do this",
            Self::OwnAccount => "not on your own account: change it with your own second step",
            Self::OwnGroup => "a delegated role does not reach your own groups",
            Self::Administrator => "a delegated role does not reach administrators, nor groups that have one",
            Self::SecondStepRequired => "pass the second step first, and name that login",
        })
    }
}

impl std::error::Error for Denied {}

/// Decides one call. A call about several subjects is decided for each.
///
/// # Errors
/// Why not.
pub fn allow(peer: &Standing, call: Call, target: &Target) -> Result<(), Denied> {
    if call == Call::Account(AccountCall::ExportSecurityCode) {
        return owner_alone(target);
    }
    if peer.root {
        return Ok(());
    }
    match call {
        Call::Login(_) => own_or_granted(peer, target),
        Call::Account(call) => {
            own_or_granted(peer, target)?;
            if wants_second_step(call) && !peer.login { vouched(target) } else { Ok(()) }
        }
        Call::Admin(call) => administration(peer, call, target),
        Call::Authenticator if peer.authenticator => Ok(()),
        Call::Authenticator => Err(Denied::NotGranted),
        Call::Recovery => Err(Denied::RootOnly),
    }
}

fn own_or_granted(peer: &Standing, target: &Target) -> Result<(), Denied> {
    match target {
        Target::Account { .. } if peer.login => Ok(()),
        Target::Account { own: true, .. } => Ok(()),
        Target::Account { own: false, .. } | Target::Group { .. } | Target::None => Err(Denied::NotYours),
    }
}

fn owner_alone(target: &Target) -> Result<(), Denied> {
    match target {
        Target::Account { own: true, .. } => vouched(target),
        Target::Account { own: false, .. } | Target::Group { .. } | Target::None => Err(Denied::NotYours),
    }
}

/// The calls whose parameters name a login (B13). A setup in progress was let in by one of them.
fn wants_second_step(call: AccountCall) -> bool {
    match call {
        AccountCall::BeginChange
        | AccountCall::EnableMethod
        | AccountCall::DisableMethod
        | AccountCall::SetRecoveryEmail
        | AccountCall::RegenerateRecoveryCodes
        | AccountCall::RemoveAuthenticator
        | AccountCall::Disable
        | AccountCall::ExportSecurityCode => true,
        AccountCall::Status
        | AccountCall::BeginSetup
        | AccountCall::SetupStatus
        | AccountCall::ConfirmRecoveryEmail
        | AccountCall::OfferSecurityCode
        | AccountCall::ConfirmSecurityCode
        | AccountCall::OfferPairing
        | AccountCall::WaitPairing
        | AccountCall::ConfirmOnlineCode
        | AccountCall::FinishSetup
        | AccountCall::CancelSetup
        | AccountCall::SetPreferred
        | AccountCall::RemoveTrustedDevice
        | AccountCall::SetPasswordless => false,
    }
}

fn vouched(target: &Target) -> Result<(), Denied> {
    match target {
        Target::Account { enabled: true, vouched: false, .. } => Err(Denied::SecondStepRequired),
        _ => Ok(()),
    }
}

fn administration(peer: &Standing, call: AdminCall, target: &Target) -> Result<(), Denied> {
    let helps = match call {
        AdminCall::Backup | AdminCall::Restore | AdminCall::Import | AdminCall::ListBackups | AdminCall::StartAnew => {
            return Err(Denied::RootOnly);
        }
        AdminCall::Delegate | AdminCall::ListDelegations | AdminCall::Audit if peer.administrator => return Ok(()),
        AdminCall::Delegate | AdminCall::ListDelegations | AdminCall::Audit => return Err(Denied::AdministratorsOnly),
        AdminCall::DisableFor | AdminCall::Unlock => true,
        AdminCall::List | AdminCall::Enforce => false,
    };
    if peer.administrator {
        return if helps && matches!(target, Target::Account { own: true, .. }) { Err(Denied::OwnAccount) } else { Ok(()) };
    }
    if !peer.delegate {
        return Err(Denied::NoRole);
    }
    match target {
        _ if call == AdminCall::List => Ok(()),
        Target::Account { own: true, .. } => Err(Denied::OwnAccount),
        Target::Group { own: true, .. } => Err(Denied::OwnGroup),
        Target::Account { administrator: true, .. } | Target::Group { administrators: true, .. } => Err(Denied::Administrator),
        Target::Account { .. } | Target::Group { .. } => Ok(()),
        Target::None => Err(Denied::NoRole),
    }
}

#[cfg(test)]
mod tests {
    use super::AccountCall as A;
    use super::AdminCall as D;
    use super::LoginCall as L;
    use super::*;

    const ROOT: Standing = Standing { root: true, login: false, authenticator: false, administrator: false, delegate: false };
    const NOBODY: Standing = Standing { root: false, ..ROOT };

    fn account(own: bool, administrator: bool, enabled: bool, vouched: bool) -> Target {
        Target::Account { own, administrator, enabled, vouched }
    }

    #[test]
    fn an_account_without_a_second_step_needs_none_to_be_changed() {
        for enabled in [false, true] {
            let may = allow(&NOBODY, Call::Account(A::Disable), &account(true, false, enabled, false));
            assert_eq!(may.is_ok(), !enabled);
        }
    }

    #[test]
    fn an_administrators_program_cannot_get_around_the_own_second_step() {
        let administrator = Standing { administrator: true, ..NOBODY };
        for call in [D::DisableFor, D::Unlock] {
            let own = account(true, true, true, true);
            assert_eq!(allow(&administrator, Call::Admin(call), &own), Err(Denied::OwnAccount));
            assert_eq!(allow(&administrator, Call::Admin(call), &account(false, true, true, false)), Ok(()));
            assert_eq!(allow(&ROOT, Call::Admin(call), &own), Ok(()));
        }
    }

    #[test]
    fn a_delegate_reaches_neither_self_nor_own_groups_nor_administrators() {
        let delegate = Standing { delegate: true, ..NOBODY };
        let may = |call, target| allow(&delegate, Call::Admin(call), &target);
        for call in [D::Enforce, D::DisableFor, D::Unlock] {
            assert_eq!(may(call, account(true, false, true, true)), Err(Denied::OwnAccount));
            assert_eq!(may(call, account(false, true, true, false)), Err(Denied::Administrator));
            assert_eq!(may(call, Target::Group { own: true, administrators: false }), Err(Denied::OwnGroup));
            assert_eq!(may(call, Target::Group { own: false, administrators: true }), Err(Denied::Administrator));
            assert_eq!(may(call, Target::Group { own: false, administrators: false }), Ok(()));
        }
        assert_eq!(may(D::List, Target::None), Ok(()));
    }

    #[test]
    fn a_secret_in_force_is_shown_to_its_owner_alone_after_the_second_step() {
        let everything = Standing { root: true, login: true, authenticator: true, administrator: true, delegate: true };
        let export = |peer, target| allow(&peer, Call::Account(A::ExportSecurityCode), &target);
        for peer in [everything, NOBODY] {
            for vouched in [false, true] {
                assert_eq!(export(peer, account(false, false, true, vouched)), Err(Denied::NotYours));
            }
            assert_eq!(export(peer, account(true, false, true, false)), Err(Denied::SecondStepRequired));
            assert_eq!(export(peer, account(true, false, true, true)), Ok(()));
        }
    }

    #[test]
    fn a_right_at_one_interface_gives_none_at_another() {
        let everything_but_root = Standing { login: true, authenticator: true, administrator: true, delegate: true, root: false };
        for call in [Call::Recovery, Call::Admin(D::Backup), Call::Admin(D::Restore), Call::Admin(D::Import)] {
            assert_eq!(allow(&everything_but_root, call, &Target::None), Err(Denied::RootOnly));
        }
        assert_eq!(allow(&NOBODY, Call::Login(L::Start), &Target::None), Err(Denied::NotYours));
    }
}
