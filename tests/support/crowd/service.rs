//! A login service, as sshd's PAM module is one: a connection for each login.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

struct Connection(BufReader<UnixStream>);

impl Connection {
    async fn say(&mut self, method: &str, parameters: Value, more: bool) {
        let call = json!({ "method": format!("io.twostep.Login.{method}"), "parameters": parameters, "more": more });
        let frame = format!("{call}\0");
        self.0.get_mut().write_all(frame.as_bytes()).await.expect("the engine reads");
    }

    /// The next reply.
    async fn hear(&mut self) -> Value {
        let mut frame = Vec::new();
        self.0.read_until(0, &mut frame).await.expect("the engine answers");
        assert_eq!(frame.pop(), Some(0), "the engine hung up");
        let reply: Value = serde_json::from_slice(&frame).expect("a reply");
        assert_eq!(reply.get("error"), None, "{reply}");
        reply
    }
}

/// Logs a user in by Login Approval, to its end: the number that the login showed.
pub async fn log_in(socket: &Path, user: &str) -> String {
    let mut engine = Connection(BufReader::new(UnixStream::connect(socket).await.expect("the engine")));
    engine.say("Start", json!({ "user": user, "service": "sshd", "remote": "192.0.2.7" }), false).await;
    let started = engine.hear().await["parameters"].take();
    assert_eq!(started["decision"], "verify", "{started}");
    let login = &started["login"];
    engine.say("Challenge", json!({ "login": login, "method": "login_approval" }), false).await;
    let number = engine.hear().await["parameters"]["number"].as_str().expect("a number").to_owned();
    engine.say("Wait", json!({ "login": login }), true).await;
    loop {
        let reply = engine.hear().await;
        if reply["continues"] != json!(true) {
            assert_eq!(reply["parameters"]["outcome"], "verified", "{user}");
            return number;
        }
        assert_eq!(reply["parameters"]["outcome"], "waiting", "{user}");
    }
}
