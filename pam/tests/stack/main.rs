//! The module as it is installed: the real libpam loads it, the real engine decides.

mod breaks;
#[path = "../../../tests/support/camera.rs"]
mod camera;
mod figures;
mod host;
mod mail;
mod nas;
#[path = "../../../tests/support/patience.rs"]
mod patience;
mod phone;
mod place;
#[path = "../../../tests/support/port.rs"]
mod port;
mod programs;
#[path = "../../../tests/support/skip.rs"]
mod skip;
mod ssh;
mod terminal;
#[path = "../../../tests/support/webdriver.rs"]
mod webdriver;

use std::ffi::c_int;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use serde_json::json;
use twostep::config::paths::Paths;

use host::{AUTHINFO_UNAVAIL, CONV_ERR, Do, Done, MAXTRIES, PERM_DENIED, Reply, SERVICE_ERR, SUCCESS, Service, USER_UNKNOWN};
use nas::{App, Nas};
use skip::{Lack, skipped};

/// As in the shipped stanzas. Somebody else has asked for the password.
const AUTH: &str = "auth required pam_permit.so\nauth [success=ok ignore=ignore default=die] pam_twostep timeout=10\n";
const ACCOUNT: &str = "account [success=ok ignore=ignore default=die] pam_twostep timeout=10\naccount required pam_permit.so\n";

fn sshd(nas: &Nas) -> Service {
    Service::new("sshd", nas.folder.path(), &format!("{AUTH}{ACCOUNT}"))
}

#[track_caller]
fn ends(done: &Done, code: c_int) {
    assert_eq!(done.codes, [code], "{:?}", done.shown);
}

#[test]
fn who_has_no_second_step_notices_nothing() {
    let nas = Nas::start();
    let done = sshd(&nas).run("alice", &[Do::Authenticate, Do::SetCred, Do::Account], |text| panic!("{text}"));
    assert_eq!((done.codes, done.shown), (vec![SUCCESS; 3], vec![]));
}

#[test]
fn a_code_lets_in_once_and_a_wrong_one_can_be_corrected() {
    let nas = Nas::start();
    let (app, service) = (nas.enrol("alice"), sshd(&nas));
    let (code, wrong) = (app.code(0), app.wrong_code());
    let mut typed = [wrong, code.clone()].into_iter();
    let done = service.run("alice", &[Do::Authenticate, Do::SetCred, Do::Account], |_| Reply::typed(typed.next().unwrap()));
    assert_eq!(done.codes, [SUCCESS; 3], "{:?}", done.shown);
    assert_eq!(done.shown.len(), 2);
    assert!(done.shown[1].starts_with("Wrong code.\n"), "{:?}", done.shown);
    let again = service.login("alice", &[&code, &code]);
    ends(&again, CONV_ERR);
    assert!(again.shown[1].starts_with("Already used: "), "{:?}", again.shown);
    // The next one, which an app with a fast clock shows.
    ends(&service.login("alice", &[&app.code(1)]), SUCCESS);
}

#[test]
fn three_wrong_codes_end_the_login_and_five_make_wait() {
    let nas = Nas::start();
    let (app, service) = (nas.enrol("alice"), sshd(&nas));
    let wrong = app.wrong_code();
    ends(&service.login("alice", &[&wrong, &wrong, &wrong]), MAXTRIES);
    let locked = service.login("alice", &[&wrong, &wrong, &wrong]);
    ends(&locked, MAXTRIES);
    assert!(locked.shown.last().unwrap().starts_with("Too many wrong answers: try again in "), "{:?}", locked.shown);
    let at_once = service.login("alice", &[]);
    ends(&at_once, MAXTRIES);
    assert!(at_once.shown[0].starts_with("Too many wrong answers: try again in "), "{:?}", at_once.shown);
}

#[test]
fn an_enforced_user_sets_up_in_the_login_also_in_two_goes() {
    let nas = Nas::start();
    nas.enforce("alice");
    let service = sshd(&nas).from("192.0.2.7");
    // The line is cut while the QR code is on the screen.
    let cut = service.login("alice", &[]);
    ends(&cut, CONV_ERR);
    let key = |text: &str| text.split_once("give it the key: ").unwrap().1.lines().next().unwrap().to_owned();
    let scanned = key(&cut.shown[0]);
    let (mut app, mut recovery) = (None, None);
    let done = service.run("alice", &[Do::Authenticate, Do::Account], |text| {
        if text.contains("give it the key") {
            assert_ne!(key(text), scanned, "what another may have seen is shown to nobody");
            assert!(text.contains("if you have scanned its QR code"), "{text}");
            // Whoever did scan it has no need to do so again.
            let scanned = app.insert(App::with_key(&scanned));
            return Reply::typed(scanned.code(0));
        }
        recovery = text.lines().find_map(|line| line.strip_prefix("  ")).map(str::to_owned);
        Reply::typed("")
    });
    assert_eq!(done.codes, [SUCCESS; 2], "{:?}", done.shown);
    // From the next login on a second step is asked for.
    let (app, recovery) = (app.unwrap(), recovery.expect("recovery codes are shown"));
    ends(&service.login("alice", &[&app.code(1)]), SUCCESS);
    let by_recovery = service.login("alice", &["?", "recovery", &recovery]);
    ends(&by_recovery, SUCCESS);
    assert!(by_recovery.shown.last().unwrap().contains("9 recovery codes are left"), "{:?}", by_recovery.shown);
    ends(&service.login("alice", &[&recovery, ""]), CONV_ERR);
}

#[test]
fn whoever_left_the_second_step_out_is_stopped_by_the_account_line() {
    let nas = Nas::start();
    nas.enrol("alice");
    nas.enforce("bob");
    let service = sshd(&nas);
    for (user, code, words) in [("alice", PERM_DENIED, "left it out"), ("bob", PERM_DENIED, "to set it up"), ("admin", SUCCESS, "")] {
        let done = service.run(user, &[Do::Account], |text| panic!("{text}"));
        ends(&done, code);
        assert!(done.shown.concat().contains(words), "{user}: {:?}", done.shown);
    }
    // A failed auth line is none that was passed.
    let done = service.run("alice", &[Do::Authenticate, Do::Account], |_| Reply::Fail);
    assert_eq!(done.codes, [CONV_ERR, PERM_DENIED]);
}

#[test]
fn the_account_line_vouches_only_for_what_was_verified() {
    let nas = Nas::start();
    let app = nas.enrol("alice");
    let alone = |options: &str| {
        let lines = format!("auth required pam_permit.so\nauth required pam_twostep {options}\naccount required pam_twostep\n");
        Service::new("sshd", nas.folder.path(), &lines)
    };
    let code = app.code(0);
    let done = alone("").run("alice", &[Do::Authenticate, Do::Account], |_| Reply::typed(&*code));
    assert_eq!(done.codes, [SUCCESS; 2], "{:?}", done.shown);
    // Nothing was asked: a stack of which nothing else has a say is then one that refuses.
    for (user, options) in [("bob", ""), ("daemon", "users=root")] {
        let done = alone(options).run(user, &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
        assert_eq!(done.codes[0], SUCCESS, "{user}");
        assert_ne!(done.codes[1], SUCCESS, "{user}");
    }
}

#[test]
fn no_kind_of_answer_lets_in_or_uses_up_tries() {
    let nas = Nas::start();
    let (app, service) = (nas.enrol("alice"), sshd(&nas));
    for (what, reply) in [
        ("null", (|| Reply::Null) as fn() -> Reply),
        ("no responses", || Reply::NoResponses),
        ("an error", || Reply::Fail),
        ("overlong", || Reply::Text(vec![b'1'; 1 << 20])),
        ("binary", || Reply::Text(b"\xff\x00\xfe\x01".to_vec())),
        ("empty", || Reply::typed("")),
        ("blank", || Reply::typed("   ")),
        ("a question mark", || Reply::typed("?")),
        ("the name", || Reply::typed("alice")),
    ] {
        let done = service.run("alice", &[Do::Authenticate], |_| reply());
        assert!(matches!(done.codes[..], [CONV_ERR | MAXTRIES]), "{what}: {:?} {:?}", done.codes, done.shown);
    }
    let done = service.login("alice", &[&app.code(0)]);
    ends(&done, SUCCESS);
    assert_eq!(done.shown.len(), 1, "nothing was counted: {:?}", done.shown);
}

#[test]
fn the_user_cannot_change_on_the_way() {
    let nas = Nas::start();
    let (app, service) = (nas.enrol("alice"), sshd(&nas));
    let code = app.code(0);
    let done = service.run("alice", &[Do::Authenticate, Do::Account], |_| Reply::AsOther(c"bob", code.clone()));
    assert_eq!(done.codes[0], SERVICE_ERR);
    // Nor between the two lines.
    nas.enrol("bob");
    let code = app.code(1);
    let done = service.run("alice", &[Do::Authenticate, Do::Become(c"bob"), Do::Account], |_| Reply::typed(&*code));
    assert_eq!(done.codes, [SUCCESS, SUCCESS, PERM_DENIED], "{:?}", done.shown);
}

#[test]
fn the_daemons_own_service_goes_round_in_no_circle() {
    let nas = Nas::start();
    nas.enrol("alice");
    let service = Service::new("twostep", nas.folder.path(), &format!("{AUTH}{ACCOUNT}"));
    let done = service.run("alice", &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
    assert_eq!(done.codes, [SUCCESS; 2]);
}

#[test]
fn sessions_and_passwords_are_none_of_its_business() {
    let nas = Nas::start();
    let lines =
        "session required pam_twostep\nsession required pam_permit.so\npassword required pam_twostep\npassword required pam_permit.so\n";
    let service = Service::new("sshd", nas.folder.path(), lines);
    let done = service.run("alice", &[Do::OpenSession, Do::CloseSession, Do::ChangePassword], |text| panic!("{text}"));
    assert_eq!(done.codes, [SUCCESS; 3]);
    // Alone it vouches for nothing.
    let alone = Service::new("sshd", nas.folder.path(), "auth required pam_twostep\nsession required pam_twostep\n");
    let done = alone.run("alice", &[Do::Authenticate, Do::OpenSession], |text| panic!("{text}"));
    assert!(done.codes.iter().all(|code| *code != SUCCESS), "{:?}", done.codes);
}

#[test]
fn a_line_that_cant_be_obeyed_lets_nobody_in_and_says_so() {
    let nas = Nas::start();
    for (option, word) in [("nullok", "engine"), ("user=bob", "user=bob"), ("timeout=never", "timeout")] {
        let lines = format!("auth required pam_twostep {option}\naccount required pam_twostep {option}\n");
        let done = Service::new("sshd", nas.folder.path(), &lines).run("alice", &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
        assert_eq!(done.codes, [SERVICE_ERR; 2], "{option}");
        assert!(done.shown[0].contains(word), "{:?}", done.shown);
    }
}

#[test]
fn exceptions_are_made_by_name_and_by_group() {
    let nas = Nas::start();
    nas.enrol("alice");
    // Only root and daemon are people of the machine too, and the NAS knows no daemon.
    for (user, options, code) in [
        ("daemon", "users=root", SUCCESS),
        ("daemon", "users=root,daemon", USER_UNKNOWN),
        ("daemon", "exclude_group=daemon", SUCCESS),
        ("daemon", "exclude_group=root", USER_UNKNOWN),
        ("alice", "users=alice,root", CONV_ERR),
        ("alice", "exclude_group=no-such-group", CONV_ERR),
    ] {
        ends(&excepting(&nas, options).login(user, &[]), code);
    }
}

fn excepting(nas: &Nas, options: &str) -> Service {
    let lines = format!("auth required pam_permit.so\nauth [success=ok ignore=ignore default=die] pam_twostep {options}\n");
    Service::new("sshd", nas.folder.path(), &lines)
}

#[test]
fn where_nobody_knows_who_a_name_is_no_exception_is_made() {
    let nas = Nas::start();
    nas.enrol("alice");
    // The machine knows no alice, or no such listed name: as while a directory is down.
    ends(&excepting(&nas, "users=root").login("alice", &[]), CONV_ERR);
    ends(&excepting(&nas, "users=root,no-such-user").login("daemon", &[]), USER_UNKNOWN);
}

#[test]
fn an_engine_killed_on_the_way_is_waited_for_and_begun_with_again() {
    let nas = Nas::start();
    let (app, service) = (nas.enrol("alice"), sshd(&nas));
    let mut first = true;
    let done = service.run("alice", &[Do::Authenticate], |_| {
        if std::mem::take(&mut first) {
            nas.kill_engine();
        }
        Reply::typed(app.code(0))
    });
    ends(&done, SUCCESS);
    assert!(done.shown[1].contains("once more, please."), "{:?}", done.shown);
    nas.kill_engine();
    ends(&service.login("alice", &[&app.code(1)]), SUCCESS);
}

#[test]
fn without_an_engine_only_the_account_that_the_button_brought_back_gets_in() {
    let mut nas = Nas::start();
    nas.enrol("alice");
    nas.press();
    nas.crash();
    let lines = format!("{AUTH}{ACCOUNT}").replace("timeout=10", "timeout=1");
    let service = Service::new("sshd", nas.folder.path(), &lines);
    let done = service.run("admin", &[Do::Authenticate, Do::SetCred, Do::Account], |text| panic!("{text}"));
    assert_eq!((done.codes, done.shown), (vec![SUCCESS; 3], vec![]));
    for user in ["alice", "bob"] {
        let done = service.run(user, &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
        assert_eq!(done.codes, [AUTHINFO_UNAVAIL; 2], "{user}");
        assert!(done.shown[0].contains("can't be checked now"), "{:?}", done.shown);
    }
    // By key alone too: nothing is left of a second step that could be asked for.
    ends(&service.run("admin", &[Do::Account], |text| panic!("{text}")), SUCCESS);
    std::fs::set_permissions(nas.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    ends(&service.login("admin", &[]), AUTHINFO_UNAVAIL);
}

#[test]
fn with_a_ruined_database_alice_is_told_so_and_the_button_lets_admin_in() {
    let nas = Nas::start();
    nas.enrol("alice");
    nas.ruin_database();
    let service = sshd(&nas);
    let refused = service.login("alice", &[]);
    ends(&refused, AUTHINFO_UNAVAIL);
    assert!(refused.shown[0].starts_with("2-step verification can't be checked now"), "{:?}", refused.shown);
    ends(&service.login("admin", &[]), AUTHINFO_UNAVAIL);
    nas.press();
    let done = service.run("admin", &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
    assert_eq!(done.codes, [SUCCESS; 2], "{:?}", done.shown);
    ends(&service.login("alice", &[]), AUTHINFO_UNAVAIL);
    assert!(!refused.shown[0].contains(nas.folder.path().to_str().unwrap()), "{:?}", refused.shown);
}

#[test]
fn on_a_full_disk_no_code_is_taken_and_the_button_lets_admin_in() {
    let body = || {
        let mount = |args: &[&str]| Command::new("mount").args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
        let mut state = None;
        // The mounts are this thread's, and those of what it starts.
        let is_own = nix::unistd::geteuid().is_root() && unshare(CloneFlags::CLONE_NEWNS).is_ok() && mount(&["--make-rprivate", "/"]);
        let nas = Nas::start_with(|folder| {
            let engine = Paths::scratch(folder).engine();
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&engine).unwrap();
            let small = ["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", engine.to_str().unwrap()];
            state = (is_own && mount(&small)).then_some(engine);
        });
        let Some(state) = state else {
            skipped(Lack::Root, "no right to mount a small file system");
            return;
        };
        let app = nas.enrol("alice");
        nas.enrol("admin");
        let mut filler = fs::File::create(state.join("filler")).unwrap();
        while std::io::Write::write_all(&mut filler, &[1; 512]).is_ok() {}
        // Whatever room the database still has is used up.
        let enforce = |on: bool| nas.try_call("Admin.Enforce", json!({ "users": ["bob"], "groups": [], "enforced": on }));
        assert!((0..1000).any(|n| enforce(n % 2 == 0).is_err()), "the disk is not full");
        let service = sshd(&nas);
        let refused = service.login("alice", &[&app.code(0)]);
        ends(&refused, AUTHINFO_UNAVAIL);
        assert!(refused.shown[1].contains("can't be checked now"), "{:?}", refused.shown);
        nas.press();
        let done = service.run("admin", &[Do::Authenticate, Do::Account], |text| panic!("{text}"));
        assert_eq!(done.codes, [SUCCESS; 2], "{:?}", done.shown);
        filler.set_len(0).unwrap();
        ends(&service.login("alice", &[&app.code(0)]), SUCCESS);
    };
    std::thread::scope(|scope| scope.spawn(body).join()).unwrap();
}

#[test]
fn an_account_that_is_none_is_refused() {
    let nas = Nas::start();
    ends(&sshd(&nas).login("mallory", &[]), USER_UNKNOWN);
    for odd in ["al ice", "../alice", &"x".repeat(300), "al\u{1b}ice"] {
        let done = sshd(&nas).login(odd, &[]);
        assert!(!matches!(done.codes[..], [SUCCESS]), "{odd}");
    }
}

#[test]
fn by_mail_where_there_is_no_mail_is_no_way() {
    let nas = Nas::start();
    let app = nas.enrol("alice");
    let methods = nas.call("Account.Status", json!({ "user": "alice" }))["methods"].clone();
    assert!(!methods.to_string().contains("email"), "{methods}");
    let done = sshd(&nas).login("alice", &["?", "e-mail", &app.code(0)]);
    // Where it is the only way, the code is asked for again at once.
    assert!(done.shown.iter().any(|text| text.contains("There is no")), "{:?}", done.shown);
}

/// What this process holds: open files, and mappings of the module.
fn held() -> (usize, usize) {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    (files, maps.lines().filter(|line| line.contains("libpam_twostep")).count())
}

fn resident_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// In a process of its own, since other tests load the module too.
#[test]
fn it_is_loaded_and_unloaded_a_thousand_times() {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap());
    let output = child.args(["--exact", "a_thousand_times", "--ignored", "--nocapture"]).output().unwrap();
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn a_thousand_times() {
    let nas = Nas::start();
    nas.enrol("alice");
    let service = sshd(&nas);
    let once = |n: usize| {
        let (user, code) = if n.is_multiple_of(2) { ("alice", CONV_ERR) } else { ("bob", SUCCESS) };
        ends(&service.login(user, &[]), code);
    };
    (0..100).for_each(once);
    let (before, resident) = (held(), resident_kib());
    (0..1000).for_each(once);
    assert_eq!(held(), before);
    assert_eq!(before.1, 0, "it stays mapped");
    let grown = resident_kib().saturating_sub(resident);
    assert!(grown < 1024, "{grown} KiB more than after a hundred times");
}

/// The socket is not handed to a program that the host starts meanwhile.
#[test]
fn no_descriptor_outlives_an_exec() {
    let nas = Nas::start();
    let app = nas.enrol("alice");
    let done = sshd(&nas).run("alice", &[Do::Authenticate], |_| {
        for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
            let Ok(target) = std::fs::read_link(entry.path()) else { continue };
            let Ok(info) = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", entry.file_name().display())) else { continue };
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim();
            let cloexec = i32::from_str_radix(flags, 8).unwrap() & libc::O_CLOEXEC != 0;
            assert!(cloexec || !target.to_string_lossy().starts_with("socket:"), "{} is inherited", target.display());
        }
        Reply::typed(app.code(0))
    });
    ends(&done, SUCCESS);
}

#[test]
fn a_slow_engine_and_one_that_answers_rubbish_let_nobody_in() {
    let folder = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(folder.path().join("twostep.sock")).unwrap();
    let service = Service::new("sshd", folder.path(), &AUTH.replace("timeout=10", "timeout=1"));
    ends(&service.login("alice", &[]), AUTHINFO_UNAVAIL);
    let rubbish: [&[u8]; 5] =
        [b"\0", b"welcome\0", b"{\"parameters\":{\"decision\":\"verify\"}}\0", &[b'x'; 70_000], b"{\"parameters\":{\"decision\":7}}\0"];
    for answer in rubbish {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                use std::io::Write;
                // The connection of the slow engine is still in the backlog.
                let (mut connection, _) = listener.accept().unwrap();
                connection.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
                let _ = connection.write_all(answer);
                let (mut next, _) = listener.accept().unwrap();
                let _ = next.write_all(answer);
            });
            ends(&service.login("alice", &[]), AUTHINFO_UNAVAIL);
            // Releases the second accept where the first was the one.
            let _ = std::os::unix::net::UnixStream::connect(folder.path().join("twostep.sock"));
        });
    }
}
