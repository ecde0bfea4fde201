//! Phones that wait for what is asked of them.

use std::collections::BTreeMap;

use super::*;

#[test]
fn a_phone_hears_of_each_change_until_it_hangs_up() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    let begun = browser.listen("phone");
    assert_eq!((begun.status, begun.header("content-type")), (200, Some("text/event-stream")));
    assert_eq!(begun.header("cache-control"), Some("no-store"));
    assert!(matches!(scene.engine.next(), Told::Called(_)));
    assert_eq!(browser.event().unwrap(), "data: {\"requests\":[]}\n\n");
    scene.engine.show(&["alice"]);
    let event = browser.event().unwrap();
    let shown: serde_json::Value = serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!((&shown["requests"][0]["account"], &shown["requests"][0]["number"]), (&json!("alice"), &json!("42")));
    drop(browser);
    assert_eq!(scene.engine.next(), Told::StreamEnded);
}

#[test]
fn a_phone_that_waits_hears_a_sign_of_life() {
    let scene = limited(|limits| limits.heartbeat = Duration::from_millis(20));
    let mut browser = scene.browser();
    browser.listen("phone");
    let heard: Vec<_> = (0..3).map(|_| browser.event().unwrap()).collect();
    assert_eq!(heard[1..], [":\n\n", ":\n\n"]);
}

#[test]
fn a_stream_that_is_refused_or_broken_off_says_why() {
    let scene = Scene::start();
    let refused = scene.browser().listen("gone");
    assert_eq!((refused.status, refused.json()["error"].clone()), (400, json!("io.twostep.Authenticator.InvalidProof")));
    let mut browser = scene.browser();
    browser.listen("phone");
    browser.event().unwrap();
    scene.engine.show(&["removed"]);
    assert_eq!(browser.event().unwrap(), "event: error\ndata: {\"error\":\"io.twostep.Authenticator.NoSuchAuthenticator\"}\n\n");
    assert_eq!(browser.event(), None);
    assert_eq!(browser.get("/").status, 200);
}

#[test]
fn each_account_of_a_phone_hears_at_once_however_many_there_are() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    assert_eq!(browser.listen_all(&["first", "second", "third"]).status, 200);
    // All three, in any order, each time.
    let mut heard = || -> BTreeMap<String, Value> {
        let events = (0..3).map(|_| browser.event().unwrap());
        let told = events.map(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap().trim_end()).unwrap());
        told.map(|told| (told["authenticator"].as_str().unwrap().to_owned(), told["told"]["requests"].clone())).collect()
    };
    assert_eq!(heard().into_keys().collect::<Vec<_>>(), ["first", "second", "third"]);
    scene.engine.show(&["alice"]);
    assert!(heard().values().all(|requests| requests[0]["login"] == "of alice"));
}

#[test]
fn an_account_that_is_gone_is_told_and_the_phones_others_go_on() {
    let scene = Scene::start();
    let mut browser = scene.browser();
    browser.listen_all(&["gone", "here"]);
    let mut events = [browser.event().unwrap(), browser.event().unwrap()];
    events.sort();
    assert_eq!(events[0], "data: {\"authenticator\":\"here\",\"told\":{\"requests\":[]}}\n\n");
    let refused = r#"{"authenticator":"gone","error":"io.twostep.Authenticator.InvalidProof"}"#;
    assert_eq!(events[1], format!("event: error\ndata: {refused}\n\n"));
    scene.engine.show(&["alice"]);
    assert!(browser.event().unwrap().contains("of alice"));
    scene.engine.show(&["removed"]);
    assert!(browser.event().unwrap().contains("NoSuchAuthenticator"));
    assert_eq!(browser.event(), None, "nobody is left");
}

#[test]
fn the_accounts_of_a_phone_count_each_and_their_places_are_given_back() {
    let scene = limited(|limits| limits.streams_each = 3);
    let mut first = scene.browser();
    assert_eq!(first.listen_all(&["a", "gone", "b"]).status, 200, "who is refused holds no place");
    assert_eq!(scene.browser().listen_all(&["c", "d"]).status, 429);
    assert_eq!(scene.browser().listen("e").status, 200, "what did not come about holds no place");
    drop(first);
    assert!((0..1000).any(|_| scene.browser().listen_all(&["c", "d"]).status == 200));
    let many: Vec<&str> = vec!["x"; 33];
    assert_eq!(scene.browser().listen_all(&many).status, 400);
    assert_eq!(scene.browser().listen_all(&[]).status, 400);
}

#[test]
fn asking_for_many_accounts_at_once_is_asking_often() {
    let scene = limited(|limits| (limits.burst, limits.period) = (4, Duration::from_secs(60)));
    assert_eq!(scene.browser().listen_all(&["a", "b", "c", "d", "e"]).status, 429);
}

#[test]
fn waiting_phones_of_one_address_are_counted_and_their_places_given_back() {
    let scene = limited(|limits| limits.streams_each = 2);
    let (mut first, mut second) = (scene.browser(), scene.browser());
    assert_eq!([first.listen("phone").status, second.listen("phone").status], [200, 200]);
    let refused = scene.browser().listen("phone");
    assert_eq!((refused.status, refused.json()), (429, json!({ "error": "too_many" })));
    drop(first);
    for _ in 0..2 {
        assert!(matches!(scene.engine.next(), Told::Called(_)));
    }
    assert_eq!(scene.engine.next(), Told::StreamEnded);
    // The place is given back with the stream, a moment before or after the engine hears of its end.
    assert!((0..1000).any(|_| scene.browser().listen("phone").status == 200));
}

#[test]
fn without_the_engine_phones_are_told_to_try_again_and_with_it_they_go_on() {
    let mut scene = Scene::start();
    let mut waiting = scene.browser();
    waiting.listen("phone");
    waiting.event().unwrap();
    scene.engine.go_away();
    assert_eq!(waiting.event(), None, "a waiting phone notices");
    scene.await_carrying(false);
    let mut browser = scene.browser();
    let reply = browser.post("Nonce", &json!({ "authenticator": "phone" }));
    assert_eq!((reply.status, reply.json()), (503, json!({ "error": "unavailable" })));
    assert_eq!(scene.browser().listen("phone").status, 503);
    assert_eq!(browser.get("/").status, 200, "the page still loads");
    scene.engine.come_back();
    scene.await_carrying(true);
    assert_eq!(browser.post("Nonce", &json!({ "authenticator": "phone" })).status, 200);
    assert_eq!(scene.browser().listen("phone").status, 200);
}
