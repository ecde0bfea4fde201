//! Every method of every interface as each kind of peer. The table is the specification; a method that is missing in it fails the test.

use twostep::core::policy::{Call, Denied, Standing, Target, allow};
use twostep::proto::{account, admin, login, recovery};
use zlink::idl::Interface;

#[path = "support/permissions.rs"]
mod permissions;

use permissions::TABLE;

const AUTHENTICATOR: &str = include_str!("../src/proto/io.twostep.Authenticator.varlink");

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
