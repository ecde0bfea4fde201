//! An engine that is there, absent, slow, killed, or answers rubbish.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread::JoinHandle;

use super::*;
use crate::held::tests::with_ctrl_c_held_back;
use crate::step::without_decision;
use crate::verdict::Why;

/// For what must come.
const SOON: Duration = Duration::from_secs(60);
/// For what must not.
const SHORT: Duration = Duration::from_millis(300);

const NOT_REQUIRED: &str = r#"{"parameters":{"decision":"not_required"}}"#;

fn me() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// Takes one call on each of so many connections and answers with this; nothing closes without an answer.
fn serve(listener: UnixListener, answers: &'static [&'static str]) -> JoinHandle<()> {
    std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().unwrap();
            let mut byte = [0];
            while connection.read(&mut byte).unwrap() == 1 && byte != [0] {}
            connection.write_all(answer.as_bytes()).unwrap();
            if !answer.is_empty() {
                connection.write_all(b"\0").unwrap();
            }
        }
    })
}

fn at(folder: &Path) -> UnixListener {
    UnixListener::bind(folder.join("twostep.sock")).unwrap()
}

fn start(engine: &mut Socket) -> Result<Started, Failure> {
    engine.start("alice", "sshd", None)
}

#[test]
fn an_absent_engine_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let late = std::thread::spawn(move || {
        std::thread::sleep(SHORT);
        serve(at(&path), &[NOT_REQUIRED]).join().unwrap();
    });
    let mut engine = Socket::new(folder.path(), me(), SOON);
    assert!(start(&mut engine).is_ok());
    late.join().unwrap();
}

#[test]
fn one_that_dies_with_the_question_is_asked_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(at(folder.path()), &["", "", NOT_REQUIRED]);
    assert!(start(&mut Socket::new(folder.path(), me(), SOON)).is_ok());
    server.join().unwrap();
}

#[test]
fn one_that_stays_away_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(start(&mut Socket::new(folder.path(), me(), SHORT)), Err(Failure::Silent(_))));
}

#[test]
fn one_that_is_slow_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = at(folder.path());
    assert!(matches!(start(&mut Socket::new(folder.path(), me(), SHORT)), Err(Failure::Silent(_))));
}

#[test]
fn rubbish_is_no_decision_and_is_not_asked_for_twice() {
    for rubbish in ["hunter2", "{}", r#"{"parameters":{"decision":"welcome"}}"#, r#"{"parameters":{}}"#, r#"{"error":"org.example.No"}"#] {
        let folder = tempfile::tempdir().unwrap();
        let answers: &'static [&'static str] = Box::leak(Box::new([rubbish]));
        let server = serve(at(folder.path()), answers);
        let told = start(&mut Socket::new(folder.path(), me(), SOON));
        assert!(matches!(&told, Err(Failure::Silent(why)) if !why.contains("hunter2")), "{rubbish}: {told:?}");
        server.join().unwrap();
    }
}

/// Root becomes another for it: user ids are a thread's, but for the C library, which changes those of all.
fn by_somebody_else(folder: &Path) -> (UnixListener, u32) {
    const SOMEBODY: u32 = 12_345;
    if me() != 0 {
        return (at(folder), me());
    }
    std::os::unix::fs::chown(folder, Some(SOMEBODY), None).unwrap();
    let folder = folder.to_owned();
    let listens = move || {
        // SAFETY: the call takes three numbers, and changes nothing of this process but this thread's effective id.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, -1, SOMEBODY, -1) }, 0);
        at(&folder)
    };
    (std::thread::spawn(listens).join().unwrap(), SOMEBODY)
}

#[test]
fn an_engine_run_by_somebody_else_is_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let (_listener, somebody) = by_somebody_else(folder.path());
    let believes = |owner| start(&mut Socket::new(folder.path(), owner, SHORT));
    assert!(matches!(believes(somebody + 1), Err(Failure::Silent(why)) if why.contains("not by root")));
    assert!(matches!(believes(somebody), Err(Failure::Silent(why)) if why.contains("in time")));
}

#[test]
fn nobody_who_breaks_off_waits_for_an_engine_or_is_let_in_without_one() {
    let folder = tempfile::tempdir().unwrap();
    with_ctrl_c_held_back(|| {
        // Absent, and slow.
        assert_eq!(start(&mut Socket::new(folder.path(), me(), SOON)), Err(Failure::BrokenOff));
        let _listener = at(folder.path());
        assert_eq!(start(&mut Socket::new(folder.path(), me(), SOON)), Err(Failure::BrokenOff));
    });
    let told = without_decision(&Failure::BrokenOff, "admin", &|_| true).map_err(|denial| denial.why);
    assert_eq!(told, Err(Why::NoAnswer));
}

/// Takes a call and answers with this; the connection stays open.
fn answers(listener: &UnixListener, answer: &str) -> (std::os::unix::net::UnixStream, String) {
    let (mut connection, _) = listener.accept().unwrap();
    let (mut call, mut byte) = (Vec::new(), [0]);
    while connection.read(&mut byte).unwrap() == 1 && byte != [0] {
        call.extend(byte);
    }
    // Whoever has gone already does not wait for it.
    let _ = connection.write_all(format!("{answer}\0").as_bytes());
    (connection, String::from_utf8(call).unwrap())
}

#[test]
fn the_phones_are_asked_as_long_as_the_module_is_there_and_goes_no_other_way() {
    const ASKED: &str = r#"{"parameters":{"prompt":"Approve"}}"#;
    let folder = tempfile::tempdir().unwrap();
    let (listener, login) = (at(folder.path()), Secret::new("x".into()));
    let server = std::thread::spawn(move || {
        let (first, _) = answers(&listener, ASKED);
        let (mut bound, call) = answers(&listener, WAITING);
        assert!(call.contains("io.twostep.Login.Wait") && call.contains("\"bound\":true") && call.contains("\"more\":true"), "{call}");
        // Also where it has not read what was answered (then the kernel says reset).
        let end = bound.read(&mut [0]).or_else(|error| if error.kind() == ErrorKind::ConnectionReset { Ok(0) } else { Err(error) });
        assert_eq!(end.unwrap(), 0, "hung up");
        drop(first);
    });
    let mut engine = Socket::new(folder.path(), me(), SOON);
    assert!(engine.challenge(&login, Method::LoginApproval).is_ok());
    assert!(engine.asking.is_some());
    // This one has no answer.
    engine.timeout = SHORT;
    assert!(engine.challenge(&login, Method::SecurityCode).is_err());
    server.join().unwrap();
}

const WAITING: &str = "{\"parameters\":{\"outcome\":\"waiting\"},\"continues\":true}";

#[test]
fn a_phone_is_waited_for_and_its_answer_told_when_it_comes() {
    let folder = tempfile::tempdir().unwrap();
    const LATER: &str = "{\"parameters\":{\"outcome\":\"waiting\"},\"continues\":true}\0{\"parameters\":{\"outcome\":\"verified\"}}";
    let server = serve(at(folder.path()), &[LATER]);
    let mut engine = Socket::new(folder.path(), me(), SOON);
    assert_eq!(engine.wait(&Secret::new("x".into())), Ok(WaitOutcome::Verified));
    server.join().unwrap();
}

#[test]
fn a_phone_that_says_nothing_is_no_failure_and_does_not_disturb_the_next_call() {
    let folder = tempfile::tempdir().unwrap();
    let listener = at(folder.path());
    let server = std::thread::spawn(move || {
        // Said ahead, so that it is there whenever the short time begins.
        let (waited, _) = answers(&listener, &format!("{NOT_REQUIRED}\0{WAITING}"));
        serve(listener, &[NOT_REQUIRED]).join().unwrap();
        drop(waited);
    });
    let mut engine = Socket::new(folder.path(), me(), SOON);
    assert!(start(&mut engine).is_ok());
    engine.timeout = SHORT;
    assert_eq!(engine.wait(&Secret::new("x".into())), Ok(WaitOutcome::Waiting));
    engine.timeout = SOON;
    assert!(start(&mut engine).is_ok());
    server.join().unwrap();
    // An engine that does not even say that it waits gives no decision.
    let folder = tempfile::tempdir().unwrap();
    let _listener = at(folder.path());
    let told = Socket::new(folder.path(), me(), SHORT).wait(&Secret::new("x".into()));
    assert!(matches!(told, Err(Failure::Silent(_))), "{told:?}");
}

#[test]
fn each_error_of_the_interfaces_has_its_meaning() {
    let silent = |why: &str| Failure::Silent(why.into());
    let refused = |name: &str| Failure::Refused(name.into());
    let unavailable = |why: &str| Failure::Unavailable(why.into());
    for (name, reason, expected) in [
        ("Login.NoSuchAccount", None, Failure::NoSuchAccount),
        ("Login.NoSuchLogin", None, Failure::Over),
        ("Login.MethodNotEnabled", None, unavailable("not enabled for this account")),
        ("Login.MethodUnavailable", Some("no server"), unavailable("no server")),
        ("Login.StorageFailed", Some("full"), silent("full")),
        ("Login.PermissionDenied", None, refused("io.twostep.Login.PermissionDenied")),
        ("Login.NotVerified", None, refused("io.twostep.Login.NotVerified")),
        ("Account.NoSuchAccount", None, Failure::NoSuchAccount),
        ("Account.NoSuchSetup", None, Failure::Over),
        ("Account.MethodUnavailable", Some("the clock"), unavailable("the clock")),
        ("Account.InvalidEmail", Some("two @"), unavailable("two @")),
        ("Account.StorageFailed", Some("full"), silent("full")),
        ("Account.AlreadyEnabled", None, refused("io.twostep.Account.AlreadyEnabled")),
        ("Login.Unheard", None, silent("io.twostep.Login.Unheard")),
    ] {
        assert_eq!(meaning(&format!("io.twostep.{name}"), reason.map(str::to_owned)), expected, "{name}");
    }
    assert_eq!(meaning("org.varlink.service.MethodNotFound", None), silent("org.varlink.service.MethodNotFound"));
}

/// One form for all replies must not read one call's words as another's.
#[test]
fn a_word_that_this_call_does_not_know_is_no_decision() {
    let folder = tempfile::tempdir().unwrap();
    const WAITING: &str = r#"{"parameters":{"outcome":"waiting","prompt":"x","status":"disabled"}}"#;
    let server = serve(at(folder.path()), &[WAITING, WAITING, WAITING]);
    let (login, code) = (Secret::new("x".into()), Secret::new("1".into()));
    let mut engine = Socket::new(folder.path(), me(), SOON);
    assert!(matches!(engine.answer(&login, Method::SecurityCode, &code), Err(Failure::Silent(_))));
    engine.client = None;
    assert!(matches!(engine.confirm(&login, &code), Err(Failure::Silent(_))));
    engine.client = None;
    assert!(matches!(engine.start("alice", "sshd", None), Err(Failure::Silent(_))));
    server.join().unwrap();
}
