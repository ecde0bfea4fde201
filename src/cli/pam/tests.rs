//! PAM configurations, and what is told of each.

use super::*;

const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n";
const AUTH: &str = "auth [success=ok ignore=ignore default=die] pam_twostep.so";
const ACCOUNT: &str = "account [success=ok ignore=ignore default=die] pam_twostep.so";

fn machine(files: &[(&str, &str)]) -> Vec<Told> {
    machine_with(files, "UsePAM yes\nKbdInteractiveAuthentication yes\n")
}

fn machine_with(files: &[(&str, &str)], settings: &str) -> Vec<Told> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("common-auth"), COMMON).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    services(&[folder.path()], &|| Ok(sshd(settings))).unwrap()
}

fn sshd(text: &str) -> Judged {
    Config::parse("sshd_config", text, &|_| None).unwrap().judge()
}

fn one(name: &str, text: &str) -> Told {
    machine(&[(name, text)]).pop().unwrap()
}

#[test]
fn each_service_is_told_in_order_and_parts_of_others_are_not() {
    let text = format!("@include common-auth\n{AUTH}\n");
    let told = machine(&[("sudo", &text), ("cups", "@include common-auth\n"), ("cron", "session required pam_env.so\n"), ("sudo~", &text)]);
    let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state, told.is_fault)).collect();
    assert_eq!(states, [("cups", "none", false), ("sudo", "in_force", false)]);
}

#[test]
fn an_ssh_that_a_key_gets_round_is_a_fault() {
    let open = one("sshd", &format!("@include common-auth\n{AUTH}\n"));
    assert!(open.is_fault && open.state == "by_passable" && open.notes[0].contains("A key passes"), "{open:?}");
    let closed = one("sshd", &format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
    assert!(!closed.is_fault && closed.notes.is_empty(), "{closed:?}");
}

#[test]
fn an_account_line_that_does_not_hold_is_a_fault() {
    for (lines, word) in [
        ("account optional pam_twostep.so\naccount required pam_permit.so".to_owned(), "default=die"),
        (format!("account sufficient pam_localuser.so\n{ACCOUNT}"), "pam_localuser.so"),
    ] {
        for service in ["sshd", "login"] {
            let told = one(service, &format!("@include common-auth\n{AUTH}\n{lines}\n"));
            assert!(told.is_fault && told.state == "by_passable" && told.notes[0].contains(word), "{told:?}");
        }
    }
}

#[test]
fn sshds_own_settings_are_judged_with_its_lines() {
    let folder = tempfile::tempdir().unwrap();
    let told = |lines: &str, sshd: Sshd| {
        std::fs::write(folder.path().join("common-auth"), COMMON).unwrap();
        std::fs::write(folder.path().join("sshd"), format!("@include common-auth\n{AUTH}\n{lines}\n")).unwrap();
        services(&[folder.path()], &|| sshd.clone()).unwrap().pop().unwrap()
    };
    let well = "UsePAM yes\nKbdInteractiveAuthentication yes\n";
    let without_keys = told("", Ok(sshd(&format!("{well}PubkeyAuthentication no\n"))));
    assert!(!without_keys.is_fault && without_keys.notes.is_empty(), "{without_keys:?}");
    for (settings, state, word) in [
        ("UsePAM no\nKbdInteractiveAuthentication yes\n", "by_passable", "UsePAM yes"),
        ("UsePAM yes\nKbdInteractiveAuthentication no\n", "in_force", "KbdInteractiveAuthentication yes"),
        ("UsePAM yes\nKbdInteractiveAuthentication yes\nAuthenticationMethods publickey\n", "in_force", "AuthenticationMethods"),
    ] {
        let told = told(ACCOUNT, Ok(sshd(settings)));
        assert!(told.is_fault && told.state == state && told.notes[0].contains(word), "{told:?}");
    }
    let some = told("", Ok(sshd(&format!("{well}PubkeyAuthentication no\nMatch User backup\nPubkeyAuthentication yes\n"))));
    assert!(some.is_fault && some.notes[0].starts_with("A key passes without it (Match User backup)"), "{some:?}");
    let unknown = told(ACCOUNT, Ok(sshd("Port 22\n")));
    assert!(
        !unknown.is_fault && unknown.notes.len() == 2 && unknown.notes.iter().all(|note| note.starts_with("Not judged")),
        "{unknown:?}"
    );
    let unread = told(ACCOUNT, Err("it can't be read".into()));
    assert!(!unread.is_fault && unread.notes[0].contains("Not judged"), "{unread:?}");
    assert!(told("", Err("it can't be read".into())).is_fault);
}

/// As the manual page has it for scripts.
#[test]
fn an_exception_that_somebody_wrote_down_is_told_and_no_fault() {
    for exception in ["users=alice", "exclude_group=robots"] {
        for service in ["sshd", "login"] {
            let told = one(service, &format!("@include common-auth\n{AUTH} {exception}\n{ACCOUNT} {exception}\n"));
            assert!(!told.is_fault && told.words() == format!("in force, except by {exception}"), "{told:?}");
            let told = one(service, &format!("@include common-auth\n{AUTH}\n{ACCOUNT} {exception}\n"));
            assert!(!told.is_fault && told.words() == format!("in force, except by {exception} (account line)"), "{told:?}");
            // A key is a way round the password too, which is said where there are keys.
            assert_eq!(told.notes.len(), usize::from(service == "sshd"), "{told:?}");
        }
        // The hole beside it is one.
        let open = one("sshd", &format!("@include common-auth\n{AUTH} {exception}\n"));
        assert!(open.is_fault && open.words() == format!("BY-PASSABLE, except by {exception}"), "{open:?}");
        assert!(open.notes[0].starts_with("A key passes without it: add the account line"), "{open:?}");
    }
}

#[test]
fn each_service_that_sshd_may_use_is_judged_as_its_own() {
    let well = format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n");
    let set = "UsePAM yes\nKbdInteractiveAuthentication yes\nMatch User backup\nPAMServiceName ssh-backup\n";
    let states = |files: &[(&str, &str)]| {
        let told = machine_with(files, set);
        told.iter().map(|told| (told.service.clone(), told.state, told.is_fault)).collect::<Vec<_>>()
    };
    let of = |service: &str, state, is_fault| (service.to_owned(), state, is_fault);
    assert_eq!(states(&[("sshd", &well), ("ssh-backup", &well)]), [of("ssh-backup", "in_force", false), of("sshd", "in_force", false)]);
    let without_account = well.replace(ACCOUNT, "");
    assert_eq!(states(&[("sshd", &well), ("ssh-backup", &without_account)])[0], of("ssh-backup", "by_passable", true));
    let none = "@include common-auth\n";
    let told = machine_with(&[("sshd", &well), ("ssh-backup", none)], set).remove(0);
    assert!(told.state == "by_passable" && told.notes[0].starts_with("sshd may use this service (Match User backup)"), "{told:?}");
    // The other way round too, and without a file `other` counts.
    assert_eq!(states(&[("sshd", none), ("ssh-backup", &well)])[1], of("sshd", "by_passable", true));
    assert_eq!(
        states(&[("sshd", &well), ("other", none)]),
        [of("other", "none", false), of("ssh-backup", "by_passable", true), of("sshd", "in_force", false)]
    );
    // Where nobody wants a second step from ssh, nothing is amiss.
    assert_eq!(states(&[("sshd", none), ("ssh-backup", none)]), [of("ssh-backup", "none", false), of("sshd", "none", false)]);
}

/// As Fedora's password-auth and postlogin, and as in polkit's file, which its package puts elsewhere.
#[test]
fn parts_are_judged_where_they_are_included_and_what_packages_bring_is_seen() {
    let auth = "auth sufficient pam_unix.so\nauth required pam_deny.so\n";
    let files = [
        ("password-auth", auth),
        ("postlogin", AUTH),
        ("remote", "auth substack password-auth\nauth include postlogin\n"),
        ("alone", AUTH),
    ];
    let told = machine(&files);
    let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
    assert_eq!(states, [("alone", "by_passable"), ("password-auth", "none"), ("remote", "in_force")]);
    let (own, packages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let well = format!("auth required pam_unix.so\n{AUTH}\n");
    for (folder, name, text) in
        [(&own, "sudo", well.as_str()), (&packages, "sudo", auth), (&packages, "polkit-1", auth), (&packages, "su", &well)]
    {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let told = services(&[own.path(), packages.path()], &|| Err("not asked".into())).unwrap();
    let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
    assert_eq!(states, [("polkit-1", "none"), ("su", "in_force"), ("sudo", "in_force")]);
    assert!(services(&[own.path(), Path::new("/nonexistent")], &|| Err("not asked".into())).is_ok());
    assert!(services(&[Path::new("/nonexistent")], &|| Err("not asked".into())).is_err());
}

#[test]
fn a_comment_in_letters_of_old_hides_no_line_and_a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = b"# f\xfcr alle\nauth required pam_unix.so\n".to_vec();
    file.extend(AUTH.as_bytes());
    std::fs::write(folder.path().join("login"), file).unwrap();
    let mode = nix::sys::stat::Mode::S_IRUSR;
    nix::unistd::mkfifo(&folder.path().join("pipe"), mode).unwrap();
    let told = services(&[folder.path()], &|| Err("not asked".into())).unwrap();
    let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
    assert_eq!(states, [("login", "in_force"), ("pipe", "unreadable")]);
}

#[test]
fn a_file_too_long_to_be_read_to_its_end_is_not_judged() {
    let padding = "# as long as it gets\n".repeat(4 * 1024);
    let long = format!("@include common-auth\n{AUTH}\n{padding}auth sufficient pam_permit.so\n");
    let told = one("login", &long);
    assert!(told.is_fault && told.state == "unreadable", "{told:?}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("it"), "#".repeat(64 * 1024)).unwrap();
    assert!(text(&folder.path().join("it")).is_some());
    std::fs::write(folder.path().join("it"), "#".repeat(64 * 1024 + 1)).unwrap();
    assert_eq!(text(&folder.path().join("it")), None);
}

#[test]
fn many_match_blocks_do_not_hide_what_holds_for_everybody() {
    let blocks: String = (0..9).map(|n| format!("Match User u{n}\nPubkeyAuthentication yes\n")).collect();
    let well = format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n");
    let ssh = |lines: &str, settings: &str| machine_with(&[("sshd", lines)], &format!("{settings}{blocks}")).pop().unwrap();
    let off = ssh(&well, "UsePAM no\nKbdInteractiveAuthentication yes\n");
    assert!(off.is_fault && off.state == "by_passable" && off.notes[0].contains("UsePAM yes"), "{off:?}");
    let on = ssh(&well, "UsePAM yes\nKbdInteractiveAuthentication yes\n");
    assert!(!on.is_fault && on.notes.len() == 1 && on.notes[0].starts_with("Not judged: Match blocks"), "{on:?}");
    let untold = together(Err("it can't be read".into()), Some("usepam no\nkbdinteractiveauthentication yes\n")).unwrap();
    assert_eq!((untold.uses_pam, untold.left_out.as_deref()), (Some(false), Some("it can't be read")));
    assert!(together(Err("it can't be read".into()), None).is_err());
    // A key may be let in by one of them.
    let unguarded = ssh(&well.replace(ACCOUNT, ""), "UsePAM yes\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\n");
    assert!(unguarded.is_fault && unguarded.state == "by_passable", "{unguarded:?}");
}

#[test]
fn includes_are_found_by_name_in_order_and_what_is_not_understood_is_not_guessed() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["b.conf", "a.conf", ".c.conf", "d.conf~"] {
        std::fs::write(folder.path().join(name), name).unwrap();
    }
    let found = |pattern: &str| included(&folder.path().join(pattern)).map(|found| found.into_iter().map(|(_, text)| text).collect());
    assert_eq!(found("*.conf"), Some(vec!["a.conf".to_owned(), "b.conf".to_owned()]));
    assert_eq!(found("b.conf"), Some(vec!["b.conf".to_owned()]));
    assert_eq!(found("none/*.conf"), Some(vec![]));
    assert_eq!([found("?.conf"), found("*/a.conf")], [None, None]);
}

#[test]
fn an_account_line_where_nobody_is_asked_is_a_fault() {
    let sudo = one("sudo", &format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
    assert!(sudo.is_fault && sudo.notes[0].contains("account line"), "{sudo:?}");
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    for (text, state, word) in [
        (format!("@include common-auth\n{AUTH}\n{AUTH}\n"), "doubled", "Keep one"),
        (format!("{AUTH}\n@include common-auth\n"), "by_passable", "after the password's"),
        (format!("auth sufficient pam_unix.so\n{AUTH}\n"), "by_passable", "pam_unix.so"),
        ("@include common-auth\nauth optional pam_twostep.so\n".into(), "by_passable", "default=die"),
        ("@include nothing\n".into(), "unreadable", "nothing"),
        ("auth perhaps pam_unix.so\n".into(), "unreadable", "line 1"),
    ] {
        let told = one("login", &text);
        assert!(told.is_fault && told.state == state && told.notes[0].contains(word), "{told:?}");
    }
    let past = one("cockpit", &format!("auth sufficient pam_cockpit_cert.so\n@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
    assert!(!past.is_fault && past.state == "in_force" && past.notes[0].contains("pam_cockpit_cert.so"), "{past:?}");
    let excepted = one("login", &format!("@include common-auth\n{AUTH} exclude_group=robots\n"));
    assert!(!excepted.is_fault && excepted.exceptions == ["exclude_group=robots"], "{excepted:?}");
    let quiet = one("login", &format!("@include common-auth\n-{AUTH}\n"));
    assert!(!quiet.is_fault && quiet.notes[0].contains("dash"), "{quiet:?}");
}
