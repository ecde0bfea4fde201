//! Every method of every interface as each kind of peer. The table is the specification; a method that is missing in it fails the test.

use twostep::core::policy::{AccountCall as A, AdminCall as D, Call, Denied, LoginCall as L, Standing, Target, allow};
use twostep::proto::{account, admin, login, recovery};
use zlink::idl::Interface;

const AUTHENTICATOR: &str = include_str!("../src/proto/io.twostep.Authenticator.varlink");

/// Columns: root, granted `login`, granted `authenticator`, administrator, delegate, the account itself, stranger.
/// `y` may, `2` may where a recent second step vouches for it, `-` may not. The account is enabled, ordinary, and not the peer's own except
/// in the column that says so.
const TABLE: &[(&str, Call, &str)] = &[
    ("io.twostep.Login.Start", Call::Login(L::Start), "yy---y-"),
    ("io.twostep.Login.Challenge", Call::Login(L::Challenge), "yy---y-"),
    ("io.twostep.Login.Answer", Call::Login(L::Answer), "yy---y-"),
    ("io.twostep.Login.Wait", Call::Login(L::Wait), "yy---y-"),
    ("io.twostep.Login.TrustDevice", Call::Login(L::TrustDevice), "yy---y-"),
    ("io.twostep.Login.Cancel", Call::Login(L::Cancel), "yy---y-"),
    ("io.twostep.Account.Status", Call::Account(A::Status), "yy---y-"),
    ("io.twostep.Account.BeginSetup", Call::Account(A::BeginSetup), "yy---y-"),
    ("io.twostep.Account.BeginChange", Call::Account(A::BeginChange), "yy---2-"),
    ("io.twostep.Account.SetupStatus", Call::Account(A::SetupStatus), "yy---y-"),
    ("io.twostep.Account.ConfirmRecoveryEmail", Call::Account(A::ConfirmRecoveryEmail), "yy---y-"),
    ("io.twostep.Account.OfferSecurityCode", Call::Account(A::OfferSecurityCode), "yy---y-"),
    ("io.twostep.Account.ConfirmSecurityCode", Call::Account(A::ConfirmSecurityCode), "yy---y-"),
    ("io.twostep.Account.OfferPairing", Call::Account(A::OfferPairing), "yy---y-"),
    ("io.twostep.Account.WaitPairing", Call::Account(A::WaitPairing), "yy---y-"),
    ("io.twostep.Account.ConfirmOnlineCode", Call::Account(A::ConfirmOnlineCode), "yy---y-"),
    ("io.twostep.Account.FinishSetup", Call::Account(A::FinishSetup), "yy---y-"),
    ("io.twostep.Account.CancelSetup", Call::Account(A::CancelSetup), "yy---y-"),
    ("io.twostep.Account.EnableMethod", Call::Account(A::EnableMethod), "yy---2-"),
    ("io.twostep.Account.DisableMethod", Call::Account(A::DisableMethod), "yy---2-"),
    ("io.twostep.Account.SetPreferred", Call::Account(A::SetPreferred), "yy---y-"),
    ("io.twostep.Account.SetRecoveryEmail", Call::Account(A::SetRecoveryEmail), "yy---2-"),
    ("io.twostep.Account.RegenerateRecoveryCodes", Call::Account(A::RegenerateRecoveryCodes), "yy---2-"),
    ("io.twostep.Account.RemoveAuthenticator", Call::Account(A::RemoveAuthenticator), "yy---2-"),
    ("io.twostep.Account.RemoveTrustedDevice", Call::Account(A::RemoveTrustedDevice), "yy---y-"),
    ("io.twostep.Account.SetPasswordless", Call::Account(A::SetPasswordless), "yy---y-"),
    ("io.twostep.Account.Disable", Call::Account(A::Disable), "yy---2-"),
    ("io.twostep.Account.ExportSecurityCode", Call::Account(A::ExportSecurityCode), "-----2-"),
    ("io.twostep.Admin.List", Call::Admin(D::List), "y--yy--"),
    ("io.twostep.Admin.Enforce", Call::Admin(D::Enforce), "y--yy--"),
    ("io.twostep.Admin.DisableFor", Call::Admin(D::DisableFor), "y--yy--"),
    ("io.twostep.Admin.Unlock", Call::Admin(D::Unlock), "y--yy--"),
    ("io.twostep.Admin.Delegate", Call::Admin(D::Delegate), "y--y---"),
    ("io.twostep.Admin.ListDelegations", Call::Admin(D::ListDelegations), "y--y---"),
    ("io.twostep.Admin.Audit", Call::Admin(D::Audit), "y--y---"),
    ("io.twostep.Admin.Backup", Call::Admin(D::Backup), "y------"),
    ("io.twostep.Admin.Restore", Call::Admin(D::Restore), "y------"),
    ("io.twostep.Admin.Import", Call::Admin(D::Import), "y------"),
    ("io.twostep.Admin.ListBackups", Call::Admin(D::ListBackups), "y------"),
    ("io.twostep.Admin.StartAnew", Call::Admin(D::StartAnew), "y------"),
    ("io.twostep.Authenticator.Pair", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.ConfirmPairing", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.Nonce", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.Pending", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.Scan", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.Decide", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.OnlineCode", Call::Authenticator, "y-y----"),
    ("io.twostep.Authenticator.Unpair", Call::Authenticator, "y-y----"),
    ("io.twostep.Recovery.Status", Call::Recovery, "y------"),
    ("io.twostep.Recovery.Monitor", Call::Recovery, "y------"),
    ("io.twostep.Recovery.ShowDefaultPassword", Call::Recovery, "y------"),
    ("io.twostep.Recovery.DisableAccount", Call::Recovery, "y------"),
    ("io.twostep.Recovery.Press", Call::Recovery, "y------"),
];

/// The peers in the order of the columns, and whether the account is their own.
fn peers() -> [(Standing, bool); 7] {
    let nobody = Standing::default();
    [
        (Standing { root: true, ..nobody }, false),
        (Standing { login: true, ..nobody }, false),
        (Standing { authenticator: true, ..nobody }, false),
        (Standing { administrator: true, ..nobody }, false),
        (Standing { delegate: true, ..nobody }, false),
        (nobody, true),
        (nobody, false),
    ]
}

#[test]
fn the_table_says_who_may_call_what() {
    for (name, call, who) in TABLE {
        for ((peer, own), may) in peers().into_iter().zip(who.chars()) {
            let decide = |vouched| allow(&peer, *call, &Target::Account { own, administrator: false, enabled: true, vouched });
            let seen = match (decide(false), decide(true)) {
                (Ok(()), Ok(())) => 'y',
                (Err(Denied::SecondStepRequired), Ok(())) => '2',
                (Err(_), Err(_)) => '-',
                (Ok(()), Err(_)) | (Err(_), Ok(())) => '?',
            };
            assert_eq!(seen, may, "{name} by {peer:?}, own account: {own}");
        }
    }
}

#[test]
fn the_table_has_every_method_of_every_interface() {
    let mut methods = vec![];
    for description in [login::DESCRIPTION, account::DESCRIPTION, admin::DESCRIPTION, AUTHENTICATOR, recovery::DESCRIPTION] {
        let interface = Interface::try_from(description).unwrap();
        methods.extend(interface.methods().map(|method| format!("{}.{}", interface.name(), method.name())));
    }
    assert_eq!(TABLE.iter().map(|(name, ..)| (*name).to_owned()).collect::<Vec<_>>(), methods);
    for (name, call, _) in TABLE {
        if let Call::Login(_) | Call::Account(_) | Call::Admin(_) = call {
            let short = name.rsplit('.').next().unwrap();
            assert!(format!("{call:?}").ends_with(&format!("({short})")), "{name} is decided as {call:?}");
        }
    }
}
