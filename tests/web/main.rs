//! What a browser sees of twostep-web.

mod browser;
#[path = "../support/crowd/mod.rs"]
mod crowd;
mod load;
#[path = "../support/patience.rs"]
mod patience;
mod process;
mod scene;
#[path = "../support/skip.rs"]
mod skip;
mod waiting;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};
use twostep::proto::authenticator::Call;
use twostep::proto::secret::Secret;
use twostep::web::pages::Limits;

use browser::{Browser, HOST, connect};
use scene::{ADDRESS, Scene, Setup, Told};

/// How long a test waits for what must come at once.
pub const SOON: Duration = Duration::from_secs(60);

const JSON: (&str, &str) = ("Content-Type", "application/json");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; manifest-src 'self'; \
                      worker-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

fn limited(change: impl FnOnce(&mut Limits)) -> Scene {
    let mut setup = Setup::default();
    change(&mut setup.limits);
    Scene::with(setup)
}

#[test]
fn the_page_is_one_and_each_answer_locks_the_browser_in() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let page = browser.get("/");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    for path in ["/pair", "/scan", "/?from=home"] {
        assert_eq!(browser.get(path).body, page.body, "{path}");
    }
    let replies = [
        page,
        browser.get("/assets/app.js"),
        browser.get("/nowhere"),
        browser.post("Nonce", &json!({ "authenticator": "phone" })),
        browser.post("Nonce", &json!({ "authenticator": "gone" })),
        browser.ask("PUT", "/", &[]),
    ];
    for reply in &replies {
        assert_eq!(reply.header("content-security-policy"), Some(POLICY), "{reply:?}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("permissions-policy"), Some("camera=(self)"));
        assert_eq!(reply.header("cross-origin-opener-policy"), Some("same-origin"));
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(reply.header("strict-transport-security"), None, "nobody vouches for this certificate");
    }
    let caching: Vec<_> = replies.iter().map(|reply| reply.header("cache-control").unwrap()).collect();
    assert_eq!(caching, ["no-cache", "no-cache", "no-store", "no-store", "no-store", "no-store"]);
}

#[test]
fn only_with_a_real_certificate_is_the_browser_told_to_insist() {
    let scene = Scene::with(Setup { insists: true, ..Setup::default() });
    assert_eq!(scene.browser().get("/").header("strict-transport-security"), Some("max-age=86400"));
}

#[test]
fn files_are_fetched_once_and_then_only_asked_about() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    for path in ["/assets/style.css", "/manifest.webmanifest", "/sw.js", "/assets/icons/icon-192.png"] {
        let whole = browser.get(path);
        assert_eq!(whole.status, 200, "{path}");
        let tag = whole.header("etag").unwrap();
        let known = browser.ask("GET", path, &[("If-None-Match", tag)]);
        assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", Some(tag)), "{path}");
        let head = browser.ask("HEAD", path, &[]);
        assert_eq!((head.status, head.header("content-length")), (200, whole.header("content-length")), "{path}");
    }
}

#[test]
fn nothing_but_the_known_places_is_there() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    for path in [
        "/assets",
        "/assets/",
        "/assets/../Cargo.toml",
        "/assets/..%2f..%2fassets.rs",
        "/..//../etc/passwd",
        "/assets/index.html",
        "/api",
        "/api/Carry",
        "/api/nonce",
        "/favicon.ico",
    ] {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
    assert_eq!(browser.request("POST", "/api/Carry", &[JSON], Some("{}")).status, 404);
}

#[test]
fn a_wrong_verb_is_told_the_right_one() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let reply = browser.get("/api/Nonce");
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST")));
    let reply = browser.request("POST", "/", &[JSON], Some("{}"));
    assert_eq!((reply.status, reply.header("allow")), (405, Some("GET,HEAD")));
    assert_eq!(browser.ask("OPTIONS", "/api/Decide", &[]).status, 405, "no other origin is let in");
}

#[test]
fn a_call_is_carried_as_it_came_and_the_answer_as_well() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let decision = json!({ "authenticator": "a", "login": "l", "approve": true, "number": "42", "nonce": "n", "proof": "p" });
    let reply = browser.post("Decide", &decision);
    assert_eq!((reply.status, reply.json()), (200, json!({ "outcome": "accepted" })));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let Told::Called(call) = scene.engine.next() else { panic!("no call") };
    let text = |text: &str| text.to_owned();
    let wanted = Call::Decide {
        authenticator: text("a"),
        login: text("l"),
        approve: true,
        number: Some(Secret::new(text("42"))),
        nonce: text("n"),
        proof: text("p"),
    };
    assert_eq!(*call, wanted);
    let reply = browser.post("OnlineCode", &json!({ "authenticator": "a", "login": "l", "nonce": "n", "proof": "p" }));
    assert_eq!(reply.json(), json!({ "code": "123456", "expires_in": 100 }));
}

#[test]
fn an_error_of_the_engine_comes_with_its_name() {
    let scene = Scene::start();
    let reply = scene.browser().post("Nonce", &json!({ "authenticator": "gone" }));
    assert_eq!(reply.status, 400);
    assert_eq!(reply.json(), json!({ "error": "io.twostep.Authenticator.NoSuchAuthenticator", "parameters": {} }));
}

#[test]
fn what_is_no_call_of_the_interface_never_reaches_the_engine() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let refused = |parameter: &str| json!({ "error": "org.varlink.service.InvalidParameter", "parameters": { "parameter": parameter } });
    let deep = format!("{{\"authenticator\":{}{}}}", "[".repeat(3000), "]".repeat(3000));
    for (body, parameter) in [
        ("", "parameters"),
        ("{", "parameters"),
        ("[]", "parameters"),
        ("[\"phone\"]", "parameters"),
        ("{}", "authenticator"),
        ("{\"authenticator\":7}", "authenticator"),
        ("{\"authenticator\":\"phone\",\"more\":1}", "more"),
        ("{\"authenticator\":\"phone\"}\u{0}{}", "parameters"),
        (&deep, "authenticator"),
    ] {
        let reply = browser.request("POST", "/api/Nonce", &[JSON], Some(body));
        assert_eq!((reply.status, reply.json()), (400, refused(parameter)), "{body:.60}");
    }
    assert!(scene.engine.heard_nothing());
}

#[test]
fn another_site_is_refused_and_so_is_a_form() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let body = Some("{\"authenticator\":\"phone\"}");
    for origin in
        ["https://evil.example", "https://nas.example", "http://nas.example:8443", "null", "https://nas.example:8443.evil.example"]
    {
        assert_eq!(browser.request("POST", "/api/Nonce", &[JSON, ("Origin", origin)], body).status, 403, "{origin}");
    }
    let both = [JSON, ("Origin", ADDRESS), ("Origin", "https://evil.example")];
    assert_eq!(browser.request("POST", "/api/Nonce", &both, body).status, 403);
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        assert_eq!(browser.request("POST", "/api/Nonce", &[("Content-Type", kind)], body).status, 415, "{kind}");
    }
    assert_eq!(browser.request("POST", "/api/Nonce", &[], body).status, 415);
    assert!(scene.engine.heard_nothing());
    let ours = [("Content-Type", "application/json; charset=utf-8"), ("Origin", ADDRESS)];
    assert_eq!(browser.request("POST", "/api/Nonce", &ours, body).status, 200);
}

#[test]
fn a_long_body_is_refused_whether_it_is_announced_or_not() {
    let scene = Scene::start();
    let long = json!({ "authenticator": "x".repeat(8 * 1024) }).to_string();
    assert_eq!(scene.browser().request("POST", "/api/Nonce", &[JSON], Some(&long)).status, 413);
    let fits = json!({ "authenticator": "x".repeat(8 * 1024 - 20) }).to_string();
    assert_eq!(fits.len(), 8 * 1024);
    assert_eq!(scene.browser().request("POST", "/api/Nonce", &[JSON], Some(&fits)).status, 200);
    let mut browser = scene.browser();
    let head = format!("POST /api/Nonce HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n");
    browser.send(head.as_bytes()).unwrap();
    // Refused already at the third piece; then nobody reads any more.
    let piece = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let _ = (0..3).try_for_each(|_| browser.send(piece.as_bytes()));
    assert_eq!(browser.reply(false).status, 413);
}

#[test]
fn huge_heads_are_refused() {
    let scene = Scene::start();
    // They fit into what the kernel keeps: whoever can't send all of it might not get to hear the answer.
    for head in [
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\nX: {}\r\n\r\n", "x".repeat(20 * 1024)),
        format!("GET /{} HTTP/1.1\r\nHost: {HOST}\r\n\r\n", "x".repeat(20 * 1024)),
        format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{}\r\n", "X: y\r\n".repeat(500)),
    ] {
        let mut browser = scene.browser();
        // It stops reading somewhere.
        let _ = browser.send(head.as_bytes());
        let answer = browser.closed();
        assert!(answer.starts_with("HTTP/1.1 431 ") || answer.starts_with("HTTP/1.1 414 "), "{answer:?}");
    }
    assert_eq!(scene.browser().get("/").status, 200);
}

#[test]
fn whoever_asks_too_often_is_told_so_and_nobody_else() {
    let scene = limited(|limits| (limits.burst, limits.period) = (5, Duration::from_secs(3600)));
    let mut browser = scene.browser();
    let mut seen: Vec<u16> = (0..4).map(|_| browser.get("/").status).collect();
    seen.push(browser.post("Nonce", &json!({ "authenticator": "phone" })).status);
    assert_eq!(seen, [200; 5]);
    let refused = browser.post("Nonce", &json!({ "authenticator": "phone" }));
    assert_eq!((refused.status, refused.header("connection")), (429, Some("close")));
    assert_eq!(browser.closed(), "", "nor does it keep its connection");
    assert_eq!([scene.browser().get("/").status, scene.browser().get("/nowhere").status], [429; 2], "whatever the path");
    assert_eq!(refused.json(), json!({ "error": "too_many" }));
    assert_eq!(refused.header("content-security-policy"), Some(POLICY));
}

#[test]
fn behind_a_proxy_its_word_tells_who_asks() {
    let limits = Limits { burst: 1, period: Duration::from_secs(3600), ..Limits::default() };
    let scene = Scene::with(Setup { limits, behind_proxy: true, ..Setup::default() });
    let mut proxy = Browser::behind_proxy(&scene.proxy);
    let mut status = |from: &str| {
        let reply = proxy.ask("GET", "/", &[("X-Forwarded-For", from)]);
        if reply.status == 429 {
            proxy = Browser::behind_proxy(&scene.proxy);
        }
        reply.status
    };
    assert_eq!([status("192.0.2.7"), status("192.0.2.7")], [200, 429]);
    assert_eq!(status("198.51.100.1, 192.0.2.7"), 429, "what the client wrote itself does not count");
    assert_eq!([status("192.0.2.8"), status("2001:db8::1"), status("2001:db8::2")], [200, 200, 429]);
}

#[test]
fn on_the_network_nobody_chooses_the_own_address() {
    let scene = limited(|limits| (limits.burst, limits.period) = (1, Duration::from_secs(3600)));
    let mut browser = scene.browser();
    assert_eq!(browser.ask("GET", "/", &[("X-Forwarded-For", "192.0.2.1")]).status, 200);
    assert_eq!(browser.ask("GET", "/", &[("X-Forwarded-For", "192.0.2.2")]).status, 429);
}

/// A new connection on which this was sent. A busy machine may need several: of the short time, the handshake and what follows have as much each.
fn sent_in_time(scene: &Scene, bytes: &str) -> Browser {
    let open = || {
        let mut browser = scene.try_browser().ok()?;
        browser.send(bytes.as_bytes()).ok()?;
        Some(browser)
    };
    (0..1000).find_map(|_| open()).expect("one is in time")
}

/// Whether the other end closes the connection, also with what was not read (then it says reset); what it said before.
fn is_closed(stream: &mut TcpStream, said: &mut Vec<u8>) -> bool {
    stream.read_to_end(said).map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |_| true)
}

#[test]
fn whoever_sends_drop_by_drop_is_cut_off() {
    let scene = limited(|limits| limits.read = Duration::from_millis(100));
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: nas.example\r\nX-Slow:"] {
        sent_in_time(&scene, begun).closed();
    }
    let head = format!("POST /api/Nonce HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{");
    assert!((0..1000).any(|_| sent_in_time(&scene, &head).closed().starts_with("HTTP/1.1 408 ")));
    // Between two requests as well.
    let whole = format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    assert!((0..1000).any(|_| sent_in_time(&scene, &whole).closed().starts_with("HTTP/1.1 200 ")));
    // And before TLS is agreed on.
    let mut stream = connect(scene.address);
    stream.write_all(&[0x16, 0x03, 0x01]).unwrap();
    assert!(is_closed(&mut stream, &mut Vec::new()));
}

#[test]
fn whoever_does_not_read_is_cut_off() {
    let scene = limited(|limits| (limits.write, limits.streams_each) = (Duration::from_millis(100), 1));
    let mut browser = scene.browser();
    assert_eq!(browser.listen("phone").status, 200);
    assert!(matches!(scene.engine.next(), Told::Called(_)));
    // Nobody reads the events, so they fill all buffers in between.
    let long = "x".repeat(30_000);
    let ended = (0..100_000).find_map(|number| {
        scene.engine.show(&[&format!("{long}{number}")]);
        scene.engine.within(Duration::from_millis(1))
    });
    assert_eq!(ended, Some(Told::StreamEnded));
    // Its place is free again, though it has not hung up.
    assert!((0..1000).any(|_| scene.browser().listen("phone").status == 200));
    drop(browser);
}

#[test]
fn connections_over_the_cap_are_closed_at_once() {
    let scene = limited(|limits| limits.connections_each = 2);
    let (mut first, second) = (scene.browser(), scene.browser());
    let mut third = connect(scene.address);
    let _ = third.write_all(b"\x16");
    let mut said = Vec::new();
    assert!(is_closed(&mut third, &mut said) && said.is_empty());
    assert_eq!(first.get("/").status, 200);
    drop((first, second));
    // The places are given back as soon as the server has noticed.
    let again = (0..10_000).find_map(|_| browser::handshake(scene.address, &scene.certificate, rustls::ALL_VERSIONS).ok());
    assert!(again.is_some());
}

#[test]
fn handshakes_are_counted_as_well() {
    let scene = limited(|limits| (limits.burst, limits.period) = (2, Duration::from_secs(3600)));
    let (_first, _second) = (scene.browser(), scene.browser());
    assert!(browser::handshake(scene.address, &scene.certificate, rustls::ALL_VERSIONS).is_err());
}

#[test]
fn a_connection_has_an_end_but_no_stream_is_cut_short() {
    let scene = limited(|limits| limits.life = Duration::ZERO);
    let mut browser = scene.browser();
    let last = browser.get("/");
    assert_eq!((last.status, last.header("connection")), (200, Some("close")));
    assert_eq!(browser.closed(), "");
    let mut browser = scene.browser();
    browser.listen("phone");
    browser.event().unwrap();
    scene.engine.show(&["alice"]);
    assert!(browser.event().unwrap().contains("alice"));
    let scene = limited(|limits| limits.life = Duration::from_secs(3600));
    let mut browser = scene.browser();
    assert_eq!([browser.get("/").header("connection"), browser.get("/").header("connection")], [None, None]);
}

#[test]
fn only_tls_is_spoken_on_the_network() {
    let scene = Scene::start();
    let mut stream = connect(scene.address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: nas.example\r\n\r\n").unwrap();
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{:?}", String::from_utf8_lossy(&said));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        browser::handshake(scene.address, &scene.certificate, &[version]).unwrap();
    }
}
