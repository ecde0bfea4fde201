//! A service that answers, drips, hangs up or talks rubbish.

use std::io::Write;

use nix::sys::socket::{Backlog, bind, listen};

use super::*;
use crate::proto::varlink::Empty;

/// For what does not come.
const SHORT: Duration = Duration::from_millis(50);
/// For what does.
const SOON: Duration = Duration::from_secs(60);

/// A client, and the other end after it has answered whatever comes with `answer`.
fn answered_with(answer: &[u8]) -> (Client, UnixStream) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(answer).unwrap();
    let mut client = Client::over(ours);
    client.set_time_limit(Some(SOON)).unwrap();
    (client, theirs)
}

/// The same, and the rest of the answer is not waited for.
fn answered_in_part_with(answer: &[u8]) -> (Client, UnixStream) {
    let (mut client, service) = answered_with(answer);
    client.set_time_limit(Some(SHORT)).unwrap();
    (client, service)
}

fn call(client: &mut Client) -> Result<Empty, Error> {
    client.call("org.example.Test.Ask", &Empty {})
}

#[test]
fn a_service_that_does_not_answer_is_given_up() {
    let (mut client, _service) = answered_in_part_with(b"{\"parameters\":{}");
    assert!(matches!(call(&mut client), Err(Error::TimedOut)));
    // A late answer must not be taken for the next call's.
    assert!(matches!(call(&mut client), Err(Error::Protocol(_))));
}

#[test]
fn the_last_reply_is_waited_for_and_the_latest_taken_where_none_follows() {
    const FIRST: &str = "{\"parameters\":{\"n\":1},\"continues\":true}\0";
    let last = format!("{FIRST}{{\"parameters\":{{\"n\":2}}}}\0{{\"parameters\":{{}}}}\0");
    let read = |error: Option<&str>, parameters: &str| error.is_none().then(|| parameters.to_owned());
    let ask = |client: &mut Client| client.call_raw_more("org.example.Test.Watch", &Empty {}, read);
    let (mut client, _service) = answered_with(last.as_bytes());
    assert_eq!(ask(&mut client).unwrap(), "{\"n\":2}");
    assert!(call(&mut client).is_ok(), "the call has ended");
    let (mut client, _service) = answered_in_part_with(FIRST.as_bytes());
    assert_eq!(ask(&mut client).unwrap(), "{\"n\":1}");
    assert!(matches!(call(&mut client), Err(Error::Protocol(_))), "more may come");
    let (mut client, _service) = answered_in_part_with(b"");
    assert!(matches!(ask(&mut client), Err(Error::TimedOut)));
}

#[test]
fn a_service_that_answers_byte_by_byte_gains_no_time() {
    let (mut client, mut service) = answered_in_part_with(b"{");
    let drip = std::thread::spawn(move || {
        while service.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    assert!(matches!(call(&mut client), Err(Error::TimedOut)));
    drop(client);
    drip.join().unwrap();
}

#[test]
fn a_reply_is_given_up_where_something_interrupts_and_the_interruption_is_left_to_others() {
    let (interrupted, mut interrupts) = UnixStream::pair().unwrap();
    let (client, _service) = answered_with(b"{}\0");
    let mut client = client.interrupted_by(interrupted.try_clone().unwrap().into());
    assert!(call(&mut client).is_ok());
    interrupts.write_all(b"x").unwrap();
    assert!(matches!(call(&mut client), Err(Error::Interrupted)));
    assert!(matches!(call(&mut client), Err(Error::Protocol(_))), "a late answer must not be taken for the next call's");
    assert_eq!((&interrupted).read(&mut [0; 2]).unwrap(), 1);
}

#[test]
fn a_service_that_goes_away_is_noticed() {
    let (mut client, service) = answered_with(b"{\"parameters\":{}");
    drop(service);
    assert!(matches!(call(&mut client), Err(Error::Closed)));
}

#[test]
fn what_is_no_reply_is_refused_and_not_quoted() {
    let long = vec![b' '; frame::MAX + 2];
    for answer in [&b"hunter2\0"[..], b"[]\0", b"{\"parameters\":\"hunter2\"}\0", b"\xff\0", b"{\"continues\":true}\0", &long] {
        let (mut client, _service) = answered_with(answer);
        match call(&mut client) {
            Err(Error::Protocol(what)) => assert!(!what.contains("hunter2"), "{what}"),
            other => panic!("{other:?} to {:?}", String::from_utf8_lossy(answer)),
        }
    }
}

#[test]
fn an_error_of_the_service_does_not_end_the_connection() {
    let (mut client, _service) = answered_with(b"{\"error\":\"org.example.Test.No\"}\0{}\0");
    match call(&mut client) {
        Err(Error::Service(failure)) => assert_eq!(failure.to_string(), "org.example.Test.No"),
        other => panic!("{other:?}"),
    }
    assert!(call(&mut client).is_ok());
}

#[test]
fn a_reply_can_be_read_as_it_came() {
    let (mut client, _service) = answered_with(b"{\"error\":\"org.example.Test.No\",\"parameters\":{\"a\":1}}\0{}\0{}\0");
    let mut raw = |read: fn(Option<&str>, &str) -> Option<String>| client.call_raw("org.example.Test.Ask", &Empty {}, read);
    let whole = |error: Option<&str>, parameters: &str| Some(format!("{error:?} {parameters}"));
    assert_eq!(raw(whole).unwrap(), "Some(\"org.example.Test.No\") {\"a\":1}");
    assert_eq!(raw(whole).unwrap(), "None {}");
    assert!(matches!(raw(|_, _| None), Err(Error::Protocol(_))));
    assert!(matches!(raw(whole), Err(Error::Protocol(_))), "an unread reply ends it");
}

#[test]
fn nobody_listening_is_told_with_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nothing.sock");
    let error = Client::connect(&path, SHORT).unwrap_err().to_string();
    assert!(error.contains("nothing.sock") && error.contains("twostepd"), "{error}");
}

#[test]
fn a_service_that_does_not_accept_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("full.sock");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(1).unwrap()).unwrap();
    let mut waiting = Vec::new();
    let refused = (0..10).find_map(|_| Client::connect(&path, SHORT).map(|client| waiting.push(client)).err());
    assert!(matches!(refused, Some(Error::Connect { .. })), "{refused:?}");
}

#[test]
fn a_service_run_by_a_user_is_not_taken_for_root() {
    let (client, _service) = answered_with(b"");
    match client.require_root() {
        Ok(()) => assert!(nix::unistd::geteuid().is_root()),
        Err(Error::NotRoot { uid }) => assert_eq!(uid, nix::unistd::geteuid().as_raw()),
        Err(other) => panic!("{other}"),
    }
}
