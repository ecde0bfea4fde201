//! Callers that mean harm: each gets the proper error or is cut off, memory stays bounded, and others are served meanwhile.

use std::io::{BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use twostep::proto::frame;
use twostep::proto::recovery::Owner;
use twostep::proto::server::Limits;

#[path = "support/patience.rs"]
mod patience;
#[path = "support/raw.rs"]
mod raw;
#[path = "support/service.rs"]
mod service;
#[path = "support/skip.rs"]
mod skip;

use raw::{ServerProcess, claimed, connect_as, cut_off, exchange, is_refusal, others_are_served, receive, send};
use service::{FOR_EVER, SOON, Service, Setup, Told, UNTIL_RELEASED};
use skip::{Lack, skipped};

/// The user who may call everything; others get PermissionDenied from io.twostep.Recovery.
const OWNER: u32 = 1000;

const MIB: u64 = 1024;

fn setup(limits: Limits) -> Setup {
    Setup { limits, identify: claimed, owner: Owner(OWNER), release: Arc::default() }
}

fn start() -> Service {
    Service::start(setup(Limits::default()))
}

fn reply_to(service: &Service, text: &str) -> Option<String> {
    exchange(&connect_as(OWNER, &service.socket()), text)
}

/// Ends what takes too long much sooner than in service.
fn impatient() -> Limits {
    let short = Duration::from_millis(300);
    Limits { idle: short, frame: short, write: short, ..Limits::default() }
}

#[test]
#[ignore = "no test: it is the server process of the other tests"]
fn server_process() {
    let Some(socket) = std::env::var_os("TWOSTEP_TEST_SOCKET") else { return };
    let limits = match std::env::var("TWOSTEP_TEST_SERVER").unwrap().as_str() {
        "default" => Limits::default(),
        "slow readers" => Limits { write: impatient().write, ..Limits::default() },
        "thousands" => Limits { connections: 4000, per_uid: 4000, idle: Duration::from_secs(2), ..Limits::default() },
        "forty descriptors" => {
            setrlimit(Resource::RLIMIT_NOFILE, 40, 40).unwrap();
            Limits { per_uid: 512, ..Limits::default() }
        }
        other => panic!("no variant {other}"),
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(stop);
    });
    service::serve(Path::new(&socket), setup(limits), channel().0, || println!("LISTENING"), async { drop(stopped.await) });
}

#[test]
fn sixty_four_mebibytes_without_an_end_are_cut_off_at_the_cap() {
    let server = ServerProcess::start("default");
    let before = server.memory("VmRSS");
    let attackers: Vec<_> = (0..8)
        .map(|_| {
            let mut attacker = connect_as(OWNER, &server.socket());
            std::thread::spawn(move || {
                let chunk = [b'x'; 64 * 1024];
                (0..1024).find_map(|count| attacker.write_all(&chunk).err().map(|error| (count, error)))
            })
        })
        .collect();
    assert!(others_are_served(&server.socket()));
    for attacker in attackers {
        let (chunks, error) = attacker.join().unwrap().expect("64 MiB were taken");
        assert!(is_refusal(&error), "{error}");
        // A frame, and what the socket's own buffer holds.
        assert!(chunks < 64, "{chunks} chunks were taken");
    }
    let grown = server.memory("VmHWM") - before;
    assert!(grown < 4 * MIB, "{grown} KiB");
}

/// Whether the service answers on this connection, or has closed it.
fn is_open(stream: &UnixStream) -> bool {
    exchange(stream, r#"{"method":"org.varlink.service.GetInfo"}"#).is_some()
}

#[test]
fn a_thousand_idle_connections_of_one_user_keep_nobody_else_out() {
    let Some(_) = room_for_descriptors(1100) else { return };
    let service = start();
    let idle: Vec<UnixStream> = (0..1000).map(|_| connect_as(OWNER, &service.socket())).collect();
    assert!(others_are_served(&service.socket()));
    assert_eq!(idle.iter().filter(|stream| is_open(stream)).count(), Limits::default().per_uid);
    // Places are given back.
    drop(idle);
    let later = std::iter::repeat_with(|| is_open(&connect_as(OWNER, &service.socket())));
    assert!(later.take(10_000).any(|open| open));
}

#[test]
fn strangers_by_the_hundred_leave_room_for_root() {
    let Some(_) = room_for_descriptors(1100) else { return };
    let service = start();
    let strangers: Vec<UnixStream> = (0..500).map(|number| connect_as(3000 + number / 10, &service.socket())).collect();
    let limits = Limits::default();
    assert_eq!(strangers.iter().filter(|stream| is_open(stream)).count(), limits.connections - limits.reserved);
    assert!(!others_are_served(&service.socket()));
    assert!(is_open(&connect_as(0, &service.socket())));
}

#[test]
fn a_thousand_idle_connections_cost_little_memory_and_are_closed_in_time() {
    let Some(_) = room_for_descriptors(1100) else { return };
    let server = ServerProcess::start("thousands");
    let before = server.memory("VmRSS");
    let idle: Vec<UnixStream> = (0..1000).map(|_| connect_as(OWNER, &server.socket())).collect();
    assert!(others_are_served(&server.socket()));
    assert!(idle.iter().all(cut_off));
    assert!(others_are_served(&server.socket()));
    let grown = server.memory("VmHWM") - before;
    assert!(grown < 8 * MIB, "{grown} KiB");
}

#[test]
fn a_service_out_of_descriptors_goes_on_once_there_are_some() {
    let server = ServerProcess::start("forty descriptors");
    let first = connect_as(OWNER, &server.socket());
    assert!(is_open(&first));
    let flood: Vec<UnixStream> = (0..100).map(|_| connect_as(OWNER, &server.socket())).collect();
    assert!(is_open(&first));
    drop(flood);
    assert!(others_are_served(&server.socket()));
}

#[test]
fn half_a_frame_is_not_waited_for() {
    let service = Service::start(setup(Limits { frame: impatient().frame, ..Limits::default() }));
    let attacker = connect_as(OWNER, &service.socket());
    (&attacker).write_all(b"{\"method\":\"io.twostep.Recovery.St").unwrap();
    assert!(others_are_served(&service.socket()));
    assert!(cut_off(&attacker));
}

#[test]
fn a_frame_that_drips_is_not_waited_for() {
    let service = Service::start(setup(Limits { frame: impatient().frame, ..Limits::default() }));
    let mut attacker = connect_as(OWNER, &service.socket());
    // One byte whenever nothing has come back for a moment.
    attacker.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    let drips = (0..4000).find(|_| attacker.write_all(b" ").is_err_and(|error| is_refusal(&error)) || cut_off(&attacker));
    assert!(drips.is_some());
    assert!(others_are_served(&service.socket()));
}

#[test]
fn a_frame_that_ends_with_the_connection_is_no_call() {
    let service = start();
    let attacker = connect_as(OWNER, &service.socket());
    (&attacker).write_all(br#"{"method":"io.twostep.Recovery.DisableAccount"}"#).unwrap();
    attacker.shutdown(Shutdown::Write).unwrap();
    assert!(cut_off(&attacker));
    assert!(service.told.try_recv().is_err());
}

#[test]
fn an_idle_connection_is_closed() {
    // No other limit is met before the test gives up.
    let long = SOON * 10;
    let service = Service::start(setup(Limits { idle: impatient().idle, frame: long, write: long, ..Limits::default() }));
    assert!(cut_off(&connect_as(OWNER, &service.socket())), "without a call");
    // On a busy machine it may be over before the call is made.
    let called = std::iter::repeat_with(|| connect_as(OWNER, &service.socket())).take(1000).find(is_open);
    assert!(cut_off(&called.expect("one is in time")), "after a call");
}

#[test]
fn what_is_no_call_is_cut_off() {
    let service = start();
    for text in [
        "",
        " ",
        "null",
        "7",
        "\"io.twostep.Recovery.Status\"",
        "[]",
        r#"["io.twostep.Recovery.Status"]"#,
        "{}",
        "{",
        r#"{"method":"io.twostep.Recovery.Status"}}"#,
        r#"{"method":"io.twostep.Recovery.Status"} {"method":"io.twostep.Recovery.Status"}"#,
        r#"{"method":7}"#,
        r#"{"method":null}"#,
        r#"{"method":["io.twostep.Recovery.Status"]}"#,
        r#"{"method":"io.twostep.Recovery.Status","more":"yes"}"#,
        r#"{"method":"io.twostep.Recovery.Status","oneway":1}"#,
        r#"{"method":"io.twostep.Recovery.Status","method":"io.twostep.Recovery.Status"}"#,
        r#"{"method":"io.twostep.Recovery.Status","parameters":{"a":}}"#,
        r#"{"method":"\ud800"}"#,
        r#"{'method':'io.twostep.Recovery.Status'}"#,
        "GET / HTTP/1.1\r\nHost: nas\r\n\r\n",
    ] {
        assert_eq!(reply_to(&service, text), None, "{text}");
    }
    let not_text = connect_as(OWNER, &service.socket());
    (&not_text).write_all(b"{\"method\":\"\xff\xfe\"}\0").unwrap();
    assert!(cut_off(&not_text));
    assert!(others_are_served(&service.socket()));
}

#[test]
fn wrong_calls_get_the_error_that_says_what_is_wrong() {
    let service = start();
    let connection = connect_as(OWNER, &service.socket());
    for (call, error, member, value) in [
        (r#""io.twostep.Recovery.Explode""#, "MethodNotFound", "method", "io.twostep.Recovery.Explode"),
        (r#""io.twostep.Recovery.status""#, "MethodNotFound", "method", "io.twostep.Recovery.status"),
        (r#""org.varlink.service.GetMoney""#, "MethodNotFound", "method", "org.varlink.service.GetMoney"),
        (r#""io.twostep.Recovery.""#, "MethodNotFound", "method", "io.twostep.Recovery."),
        (r#""io.twostep.Nothing.Status""#, "InterfaceNotFound", "interface", "io.twostep.Nothing"),
        (r#""io.twostep.Recovery""#, "InterfaceNotFound", "interface", "io.twostep"),
        (r#""Status""#, "InterfaceNotFound", "interface", "Status"),
        (r#""""#, "InterfaceNotFound", "interface", ""),
        (r#""io.twostep.Recovery.Press""#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":null"#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":{"hold_ms":"3"}"#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":{"hold_ms":-1}"#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":{"hold_ms":1e400}"#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":{"hold_ms":[[[{}]]]}"#, "InvalidParameter", "parameter", "hold_ms"),
        (r#""io.twostep.Recovery.Press","parameters":[3200]"#, "InvalidParameter", "parameter", "parameters"),
        (r#""io.twostep.Recovery.Press","parameters":"3200""#, "InvalidParameter", "parameter", "parameters"),
        (r#""io.twostep.Recovery.Status","parameters":{"uid":0}"#, "InvalidParameter", "parameter", "uid"),
        (r#""io.twostep.Recovery.Status","upgrade":true"#, "InvalidParameter", "parameter", "upgrade"),
        (r#""org.varlink.service.GetInterfaceDescription""#, "InvalidParameter", "parameter", "interface"),
    ] {
        let answer = exchange(&connection, &format!("{{\"method\":{call}}}")).expect(call);
        let expected = serde_json::json!({ "error": format!("org.varlink.service.{error}"), "parameters": { member: value } });
        assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap(), expected, "{call}");
    }
    // And the connection is as good as ever.
    assert!(is_open(&connection));
}

#[test]
fn a_stranger_is_denied_before_anything_is_done() {
    let service = start();
    let denied = exchange(&connect_as(4000, &service.socket()), r#"{"method":"io.twostep.Recovery.DisableAccount"}"#);
    assert_eq!(denied.as_deref(), Some(r#"{"error":"io.twostep.Recovery.PermissionDenied","parameters":{}}"#));
    assert!(service.told.try_recv().is_err());
}

#[test]
fn deep_nesting_is_cut_off() {
    let service = start();
    let nested = |levels: usize| {
        let value = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        format!(r#"{{"method":"io.twostep.Recovery.Press","parameters":{{"hold_ms":{value}}}}}"#)
    };
    // The call itself and its parameters are two levels.
    assert!(reply_to(&service, &nested(frame::DEPTH - 2)).unwrap().contains("InvalidParameter"));
    assert_eq!(reply_to(&service, &nested(frame::DEPTH - 1)), None);
    assert_eq!(reply_to(&service, &nested(30_000)), None);
    let objects = format!(r#"{{"method":{}"#, r#"{"a":"#.repeat(10_000));
    assert_eq!(reply_to(&service, &objects), None);
}

#[test]
fn a_hang_up_ends_the_call_that_waits() {
    let service = start();
    for call in [
        r#"{"method":"io.twostep.Recovery.Monitor","more":true}"#.to_string(),
        format!(r#"{{"method":"io.twostep.Recovery.Press","parameters":{{"hold_ms":{FOR_EVER}}}}}"#),
    ] {
        let caller = connect_as(OWNER, &service.socket());
        send(&caller, &call);
        assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Waiting), "{call}");
        drop(caller);
        assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Dropped), "{call}");
    }
}

#[test]
fn a_hang_up_is_noticed_behind_calls_that_were_not_read_yet() {
    let service = start();
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, r#"{"method":"io.twostep.Recovery.Monitor","more":true}"#);
    for _ in 0..50 {
        send(&caller, r#"{"method":"io.twostep.Recovery.Status"}"#);
    }
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Waiting));
    drop(caller);
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Dropped));
}

#[test]
fn a_caller_that_only_stops_sending_gets_its_reply() {
    let service = start();
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, r#"{"method":"io.twostep.Recovery.Monitor","more":true}"#);
    caller.shutdown(Shutdown::Write).unwrap();
    let mut replies = BufReader::new(&caller);
    assert!(receive(&mut replies).unwrap().contains("ready"));
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Waiting));
    assert!(reply_to(&service, r#"{"method":"io.twostep.Recovery.Press","parameters":{"hold_ms":10}}"#).is_some());
    assert!(receive(&mut replies).unwrap().contains("pressed"));
    assert!(receive(&mut replies).unwrap().contains("released"));
}

#[test]
fn a_caller_that_stops_sending_and_goes_away_later_is_missed() {
    let service = Service::start(setup(Limits { gone: Duration::from_millis(20), ..Limits::default() }));
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, r#"{"method":"io.twostep.Recovery.Monitor","more":true}"#);
    caller.shutdown(Shutdown::Write).unwrap();
    assert!(receive(&mut BufReader::new(&caller)).unwrap().contains("ready"));
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Waiting));
    drop(caller);
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Dropped));
}

#[test]
fn a_oneway_call_is_done_though_its_caller_is_gone() {
    let service = start();
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, r#"{"method":"io.twostep.Recovery.Status","oneway":true}"#);
    send(&caller, r#"{"method":"io.twostep.Recovery.Explode","oneway":true}"#);
    send(&caller, r#"{"method":"io.twostep.Recovery.Monitor","oneway":true,"more":true}"#);
    send(&caller, r#"{"method":"io.twostep.Recovery.DisableAccount","oneway":true}"#);
    drop(caller);
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Disabled));
}

#[test]
fn a_oneway_call_that_waits_is_not_dropped_with_its_caller() {
    let release = Arc::default();
    let service = Service::start(Setup { release: Arc::clone(&release), ..setup(Limits::default()) });
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, &format!(r#"{{"method":"io.twostep.Recovery.Press","parameters":{{"hold_ms":{UNTIL_RELEASED}}},"oneway":true}}"#));
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Waiting));
    drop(caller);
    // By then the service has seen the hang-up as well.
    assert!(others_are_served(&service.socket()));
    release.notify_one();
    assert_eq!(service.told.recv_timeout(SOON), Ok(Told::Released));
}

#[test]
fn a_oneway_call_has_no_reply() {
    let service = start();
    let caller = connect_as(OWNER, &service.socket());
    send(&caller, r#"{"method":"io.twostep.Recovery.Explode","oneway":true}"#);
    let answer = exchange(&caller, r#"{"method":"io.twostep.Recovery.Status"}"#);
    assert!(answer.unwrap().contains("board"));
}

#[test]
fn whoever_reads_nothing_is_cut_off_and_nothing_is_kept_for_it() {
    let server = ServerProcess::start("slow readers");
    let before = server.memory("VmRSS");
    let call = r#"{"method":"org.varlink.service.GetInterfaceDescription","parameters":{"interface":"io.twostep.Recovery"}}"#;
    let calls = format!("{call}\0").repeat(1000);
    let attackers: Vec<_> = (0..8)
        .map(|_| {
            let (mut attacker, calls) = (connect_as(OWNER, &server.socket()), calls.clone());
            std::thread::spawn(move || (0..100).find_map(|_| attacker.write_all(calls.as_bytes()).err()))
        })
        .collect();
    assert!(others_are_served(&server.socket()));
    assert!(attackers.into_iter().all(|attacker| attacker.join().unwrap().is_some_and(|error| is_refusal(&error))));
    let grown = server.memory("VmHWM") - before;
    assert!(grown < 4 * MIB, "{grown} KiB");
}

#[test]
fn ten_thousand_calls_at_once_are_answered_in_order() {
    let service = start();
    let caller = connect_as(OWNER, &service.socket());
    let mut sending = caller.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for number in 0..10_000 {
            let method = if number % 2 == 0 { format!("Nothing{number}") } else { "Status".into() };
            write!(sending, "{{\"method\":\"io.twostep.Recovery.{method}\"}}\0").unwrap();
        }
    });
    let mut replies = BufReader::new(&caller);
    for number in 0..10_000 {
        let reply = receive(&mut replies).unwrap();
        let expected = if number % 2 == 0 { format!("Nothing{number}\"") } else { "board".into() };
        assert!(reply.contains(&expected), "reply {number} is {reply}");
    }
    sender.join().unwrap();
    assert!(others_are_served(&service.socket()));
}

#[test]
fn the_longest_frame_is_read_and_one_byte_more_is_not() {
    let service = start();
    let padded = |length: usize| {
        let call = r#"{"method":"io.twostep.Recovery.Status"}"#;
        call.to_string() + &" ".repeat(length - call.len())
    };
    assert!(reply_to(&service, &padded(frame::MAX)).unwrap().contains("board"));
    assert_eq!(reply_to(&service, &padded(frame::MAX + 1)), None);
}

#[test]
fn a_name_too_long_for_the_error_that_repeats_it_is_cut_off() {
    let service = start();
    let call = |length: usize| format!(r#"{{"method":"{}.Status"}}"#, "x".repeat(length));
    assert!(reply_to(&service, &call(60_000)).unwrap().contains("InterfaceNotFound"));
    assert_eq!(reply_to(&service, &call(frame::MAX - 22)), None);
}

/// Raises this process's own limit, or says why the test can't be run.
fn room_for_descriptors(count: u64) -> Option<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    // Services in this process need one for each connection too, and other tests run beside.
    let wanted = soft.max(count * 4).min(hard);
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).unwrap();
    if wanted < count * 2 {
        skipped(Lack::OpenFiles, format_args!("only {wanted} descriptors may be opened here"));
        return None;
    }
    Some(())
}
