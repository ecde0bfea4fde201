//! Configurations of sshd, as sshd reads them.

use super::*;

/// As `sshd -T` says it where nothing but PAM is turned on.
const TOLD: &str = "port 22\nusepam yes\nkbdinteractiveauthentication yes\npubkeyauthentication yes\npasswordauthentication no\n\
                    hostbasedauthentication no\npermitrootlogin without-password\nauthenticationmethods any\n";

fn config(text: &str) -> Config {
    let find = |pattern: &str| match pattern {
        "sshd_config.d/*.conf" => Some(vec![
            ("a.conf".to_owned(), "KbdInteractiveAuthentication yes\nMatch User bob\nPubkeyAuthentication no\n".to_owned()),
            ("b.conf".to_owned(), "UsePAM yes\n".to_owned()),
        ]),
        "itself" => Some(vec![("itself".to_owned(), "Include itself\n".to_owned())]),
        "none" => Some(vec![]),
        _ => None,
    };
    Config::parse("sshd_config", text, &find).unwrap()
}

fn told(text: &str, told: &str) -> Judged {
    config(text).with_told(told).judge()
}

fn ways(text: &str) -> Vec<(Way, Option<String>)> {
    told(text, TOLD).ways
}

#[test]
fn what_sshd_tells_is_what_holds() {
    let judged = told("UsePAM no\nPubkeyAuthentication no\n", TOLD);
    assert_eq!(judged.service, "sshd");
    assert_eq!((judged.uses_pam, judged.asks, judged.ways), (Some(true), Some(true), vec![(Way::Key, None)]));
    let off =
        told("", &TOLD.replace("usepam yes", "usepam no").replace("kbdinteractiveauthentication yes", "kbdinteractiveauthentication no"));
    assert_eq!((off.uses_pam, off.asks), (Some(false), Some(false)));
    assert_eq!(told("", &format!("{TOLD}pamservicename ssh-outside\n")).service, "ssh-outside");
}

#[test]
fn of_what_stands_only_in_the_file_no_default_is_guessed() {
    let judged = config("Port 22\n").judge();
    assert_eq!((judged.uses_pam, judged.asks), (None, None));
    assert_eq!(judged.ways, [(Way::Key, None)], "a key may pass");
    let judged = config("UsePAM yes\nUsePAM no\nChallengeResponseAuthentication=no\nPubkeyAuthentication \"no\" # keys\n").judge();
    assert_eq!((judged.uses_pam, judged.asks, judged.ways), (Some(true), Some(false), vec![]));
}

#[test]
fn included_files_count_where_they_stand_and_a_match_in_one_ends_with_it() {
    let judged = config("Include sshd_config.d/*.conf\nKbdInteractiveAuthentication no\n").judge();
    assert_eq!((judged.uses_pam, judged.asks), (Some(true), Some(true)));
    assert_eq!(config("UsePAM no\nInclude none sshd_config.d/*.conf\n").judge().uses_pam, Some(false));
    // In a Match block they are for those whom it names.
    let judged = config("UsePAM yes\nKbdInteractiveAuthentication no\nMatch User alice\nInclude sshd_config.d/*.conf\n").judge();
    assert_eq!(judged.asks, Some(false));
}

#[test]
fn each_way_that_leaves_the_auth_lines_out_is_found() {
    for (keyword, way) in
        [("hostbasedauthentication", Way::HostBased), ("gssapiauthentication", Way::Gssapi), ("kerberosauthentication", Way::Kerberos)]
    {
        let open = TOLD.replace("pubkeyauthentication yes", "pubkeyauthentication no").replace("hostbasedauthentication no\n", "");
        assert_eq!(told("", &open).ways, []);
        assert_eq!(told("", &format!("{open}{keyword} yes\n")).ways, [(way, None)]);
    }
}

#[test]
fn lists_of_methods_are_ways_only_where_no_question_is_in_them() {
    let with = |methods: &str| told("", &TOLD.replace("methods any", &format!("methods {methods}")));
    for methods in ["publickey,keyboard-interactive", "keyboard-interactive:pam", "publickey,password", "hostbased keyboard-interactive"] {
        assert_eq!(with(methods).ways, [], "{methods}");
    }
    for methods in ["publickey", "publickey,publickey", "keyboard-interactive publickey"] {
        assert_eq!(with(methods).ways, [(Way::Key, None)], "{methods}");
    }
    assert_eq!(with("publickey,password").asks, Some(false));
    assert_eq!(with("publickey publickey,keyboard-interactive:pam").asks, Some(true));
}

#[test]
fn match_blocks_open_ways_for_some_and_close_them_for_none() {
    let both = "AuthenticationMethods publickey,keyboard-interactive";
    // As README has it: keys alone still pass sshd for admin.
    assert_eq!(ways(&format!("Match User *,!admin\n{both}\n")), [(Way::Key, None)]);
    let closed = TOLD.replace("methods any", "methods publickey,keyboard-interactive");
    assert_eq!(told("Match User backup\nX11Forwarding no\n", &closed).ways, []);
    assert_eq!(told("Match User backup\nAuthenticationMethods publickey\n", &closed).ways, [(Way::Key, Some("User backup".into()))]);
    let two = "Match User a\nHostbasedAuthentication yes\nMatch Address 192.0.2.0/24\nAuthenticationMethods hostbased\n";
    assert_eq!(told(two, &closed).ways, [(Way::HostBased, Some("User a and Address 192.0.2.0/24".into()))]);
    assert_eq!(ways(&format!("Match all\n{both}\n")), []);
    assert_eq!(told("Match Group robots\nKbdInteractiveAuthentication no\n", TOLD).unasked, ["Group robots"]);
    // Of two that name one person, the first counts.
    assert_eq!(
        told("Match User a\nAuthenticationMethods keyboard-interactive\nMatch all\nAuthenticationMethods publickey\n", TOLD).ways,
        [(Way::Key, None)]
    );
}

/// sshd_config(5) of OpenSSH 9.8 and later: "Specifies the service name used for Pluggable Authentication Modules (PAM) authentication,
/// authorisation and session controls when UsePAM is enabled. The default is sshd". For Match, see [`Config::judge`].
#[test]
fn each_service_is_found_that_a_match_block_may_put_in_the_place_of_the_usual_one() {
    let named = |text: &str, said: &str| {
        let judged = told(text, said);
        (judged.service, judged.others)
    };
    let pair = |name: &str, who: &str| (name.to_owned(), who.to_owned());
    let text = "Match User backup\nPAMServiceName ssh-backup\nMatch Address 192.0.2.0/24\nPAMServiceName sshd\n\
                Match User b\npamservicename=ssh-backup\n";
    assert_eq!(named(text, TOLD), ("sshd".into(), vec![pair("ssh-backup", "User backup")]));
    let other = format!("{TOLD}pamservicename ssh-outside\n");
    let all = vec![pair("ssh-backup", "User backup"), pair("sshd", "Address 192.0.2.0/24")];
    assert_eq!(named(text, &other), ("ssh-outside".into(), all));
    assert_eq!(named("Match all\nPAMServiceName ssh-all\n", TOLD), ("sshd".into(), vec![pair("ssh-all", "all")]));
    // They hide nothing else, however many.
    let many: String = (0..=BLOCKS).map(|n| format!("Match User u{n}\nPAMServiceName s{n}\n")).collect();
    let judged = told(&many, TOLD);
    assert_eq!((judged.others.len(), judged.left_out), (BLOCKS + 1, None));
}

/// servconf.c: "Directive 'UsePAM' is not allowed within a Match block".
#[test]
fn pam_is_not_turned_off_for_some() {
    assert_eq!(config("UsePAM yes\nMatch all\nUsePAM no\n").judge().uses_pam, Some(true));
}

#[test]
fn quotes_and_backslashes_are_taken_as_sshd_takes_them() {
    for line in [
        "PubkeyAuthentication 'no'",
        "PubkeyAuthentication=\"no\"",
        "PubkeyAuthentication n'o' # keys",
        "\"PubkeyAuthentication\" no",
        "=PubkeyAuthentication no",
    ] {
        assert_eq!(config(line).judge().ways, [], "{line}");
    }
    let all = |line: &str| words(line).unwrap_or_default();
    assert_eq!(all("Banner 'a b' \"c d\"e f#g"), ["Banner", "a b", "c de", "f#g"]);
    assert_eq!(all(r#"Banner \' \" \\ a\ b DOMAIN\bob 'a\ b' "\"""#), ["Banner", "'", "\"", "\\", "a b", r"DOMAIN\bob", r"a\ b", "\""]);
    assert_eq!(all("Banner '' x"), ["Banner", "", "x"]);
    for line in ["# it's", "   ", "#\"x", "="] {
        assert_eq!(words(line), Some(Vec::new()), "{line}");
    }
    for line in ["Banner 'x", "Banner \"x'", "Banner x'", "\"Banner x"] {
        assert_eq!(words(line), None, "{line}");
    }
}

#[test]
fn what_cannot_be_read_is_said() {
    let fault = |text: &str| {
        Config::parse("sshd_config", text, &|pattern: &str| match pattern {
            "itself" => Some(vec![("itself".to_owned(), "Include itself\n".to_owned())]),
            _ => None,
        })
        .unwrap_err()
    };
    assert_eq!(fault("\nUsePAM\n"), Fault::Unreadable("sshd_config".into(), 2));
    assert_eq!(fault("Banner \"x\n"), Fault::Unreadable("sshd_config".into(), 1));
    assert_eq!(fault("Include elsewhere\n"), Fault::Include("elsewhere".into()));
    assert_eq!(fault("Include itself\n"), Fault::TooLong);
    let many: String = (0..=BLOCKS).map(|n| format!("Match User u{n}\nPubkeyAuthentication yes\n")).collect();
    let judged = config(&format!("UsePAM no\n{many}Match all\nPubkeyAuthentication no\n")).judge();
    assert_eq!((judged.uses_pam, judged.left_out.is_some(), judged.ways), (Some(false), true, vec![]));
}
