//! Of what comes over the channel between engine and supervisor only whole messages of the closed list are taken, and those of the engine in
//! their turn alone.

use std::os::unix::net::UnixStream;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncWriteExt;
use twostep::proto::frame::MAX;
use twostep::proto::privileged::{ACCOUNT_CAP, Broken, Channel, Ledger, Notice, OPEN_CHECKS, Order, PASSWORD_CAP, PasswordOutcome};

const NOTICES: [&str; 3] = ["ready", "alive", "check_password"];
const ORDERS: [&str; 5] = ["start", "recovered", "recovery_over", "ping", "password_checked"];

/// The first byte says what root does between the messages; the rest comes over the channel.
pub fn check(input: &[u8]) {
    let (root, stream) = input.split_at(input.len().min(1));
    let stream = super::expanded(stream);
    received::<Order>(&stream, &ORDERS);
    let notices = received::<Notice>(&stream, &NOTICES);
    in_turn(root.first().copied().unwrap_or(0), &notices);
}

/// The messages that are taken from a stream, up to its end or to what ends the engine.
fn received<T: DeserializeOwned + Serialize>(stream: &[u8], known: &[&str]) -> Vec<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let (messages, broken) = runtime.block_on(async {
        let (near, far) = UnixStream::pair().expect("a socketpair");
        near.set_nonblocking(true).expect("set");
        far.set_nonblocking(true).expect("set");
        let mut near = Channel::new(near).expect("a channel");
        let mut far = tokio::net::UnixStream::from_std(far).expect("a stream");
        let mut messages = Vec::new();
        let receiving = async {
            loop {
                match near.receive::<T>().await {
                    Ok(Some(message)) => messages.push(message),
                    Ok(None) => return None,
                    Err(broken) => return Some(broken),
                }
            }
        };
        let sending = async {
            far.write_all(stream).await.expect("the other end reads");
            far.shutdown().await.expect("shut down");
            std::future::pending().await
        };
        let broken = tokio::select! { biased; broken = receiving => broken, never = sending => never };
        (messages, broken)
    });
    let parts: Vec<&[u8]> = stream.split(|byte| *byte == 0).collect();
    for (part, message) in parts.iter().zip(&messages) {
        assert!(part.len() <= MAX);
        is_of_the_list(part, message, known);
    }
    let complete = parts.len() - 1;
    match broken {
        None => {
            assert_eq!(messages.len(), complete, "what is cut off is no message, and none is lost");
            assert!(parts[complete].len() <= MAX);
        }
        Some(Broken::Frame(_)) => {}
        Some(Broken::Unknown) => assert!(messages.len() < complete),
        Some(Broken::Io(error)) => panic!("{error}"),
    }
    messages
}

/// A message has one tag of the list, and says the same when it is written again.
fn is_of_the_list<T: DeserializeOwned + Serialize>(text: &[u8], message: &T, known: &[&str]) {
    let given: serde_json::Value = serde_json::from_slice(text).expect("a message is JSON");
    let tags: Vec<&str> = given.as_object().expect("a message is an object").keys().map(String::as_str).collect();
    assert!(tags.len() == 1 && known.contains(&tags[0]), "{tags:?} was taken");
    let written = serde_json::to_value(message).expect("a message can be written");
    assert_eq!(without_nulls(&written), without_nulls(&given), "a message was read as something else");
}

fn without_nulls(value: &serde_json::Value) -> serde_json::Value {
    match value {
        serde_json::Value::Object(members) => {
            members.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        other => other.clone(),
    }
}

/// What an engine may say, whatever it says.
fn in_turn(root: u8, notices: &[Notice]) {
    let (mut ledger, mut ready, mut pings, mut last, mut open) = (Ledger::default(), false, 0, 0, 0);
    let mut asked = false;
    for (n, notice) in notices.iter().enumerate() {
        if root >> (n % 4) & 1 == 1 {
            pings += 1;
            assert_eq!(ledger.ping(), pings == 1, "an unanswered ping");
        }
        if root >> (4 + n % 4) & 1 == 1 && open > 0 {
            open -= 1;
            ledger.answered(&Order::PasswordChecked { id: last, outcome: PasswordOutcome::Accepted {} });
        }
        if root >> (n % 8) & 1 == 1 && std::mem::take(&mut asked) {
            ledger.answered(&Order::ClockTold { synchronised: true });
        }
        if ledger.admit(notice).is_err() {
            return;
        }
        match notice {
            Notice::Ready {} => assert!(!std::mem::replace(&mut ready, true), "ready twice"),
            Notice::Alive {} => assert_ne!(std::mem::take(&mut pings), 0, "alive unasked"),
            Notice::AskClock {} => assert!(ready && !std::mem::replace(&mut asked, true), "asked about the clock twice at once"),
            Notice::CheckPassword { id, account, password } => {
                open += 1;
                assert!(ready && *id > last && open <= OPEN_CHECKS, "check {id} after {last}, {open} open");
                assert!(!account.is_empty() && account.len() <= ACCOUNT_CAP && password.expose().len() <= PASSWORD_CAP);
                assert!(!account.contains(['/', ':', ',', '\n', '\0']) && !account.starts_with(['-', '+']), "{account:?}");
                last = *id;
            }
        }
    }
}
