//! A phone: its key, its stream, its approvals.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use twostep::core::base64url::encode;
use twostep::sys::clock;

use super::Approval;
use super::tls::{Connection, Way};

/// Before the point of every P-256 key (RFC 5480).
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];

/// The name of an account.
pub fn user(index: usize) -> String {
    format!("user{index}")
}

/// See the module.
pub struct Phone {
    pub index: usize,
    pub id: String,
    key: EcdsaKeyPair,
}

impl Phone {
    pub fn new(index: usize) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).expect("a key");
        Self { index, id: format!("phone-{index:016}"), key }
    }

    /// SPKI, DER.
    pub fn public_key(&self) -> Vec<u8> {
        [&SPKI_HEAD, self.key.public_key().as_ref()].concat()
    }

    fn sign(&self, fields: &[&str]) -> String {
        let text = format!("twostep/1 {}", fields.join("\n"));
        encode(self.key.sign(&SystemRandom::new(), text.as_bytes()).expect("a signature").as_ref())
    }

    /// Returns once twostep-web has found the engine.
    pub async fn is_carried_for(&self, way: &Way) {
        let mut connection = way.open().await;
        while !connection.is_carried_for(&json!({ "authenticator": self.id })).await {
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits for requests and approves each; says so once it waits.
    pub async fn waits(&self, way: &Way, approvals: &[Mutex<Option<Approval>>], afresh: bool, tell: mpsc::Sender<()>) {
        let (mut stream, mut kept, mut seen) = (way.open().await, None, HashSet::new());
        let nonce = stream.call("Nonce", &json!({ "authenticator": self.id })).await;
        let nonce = nonce["nonce"].as_str().expect("a nonce");
        let proof = self.sign(&["pending", &self.id, nonce]);
        stream.listen(&json!({ "authenticator": self.id, "nonce": nonce, "proof": proof })).await;
        assert_eq!(stream.event().await, json!({ "requests": [] }));
        tell.send(()).await.expect("somebody counts");
        drop(tell);
        loop {
            let shown = stream.event().await;
            for request in shown["requests"].as_array().expect("requests") {
                if seen.insert(request["login"].to_string()) {
                    self.approve(request, &mut kept, way, approvals).await;
                    kept = kept.filter(|_| !afresh);
                }
            }
        }
    }

    async fn approve(&self, request: &Value, kept: &mut Option<Connection>, way: &Way, approvals: &[Mutex<Option<Approval>>]) {
        assert_eq!(request["account"], user(self.index), "no other account's login");
        let text = |name: &str| request[name].as_str().expect("text");
        let (login, number, nonce) = (text("login"), text("number"), text("nonce"));
        let proof = self.sign(&["decide", &self.id, login, "approve", number, nonce]);
        let said = json!({ "authenticator": self.id, "login": login, "approve": true, "number": number, "nonce": nonce, "proof": proof });
        let posted = clock::monotonic();
        let before = approvals[self.index].lock().expect("unbroken").replace(Approval { number: number.into(), posted });
        assert!(before.is_none(), "one login of an account at a time");
        let connection = match kept {
            Some(connection) => connection,
            None => kept.insert(way.open().await),
        };
        assert_eq!(connection.call("Decide", &said).await, json!({ "outcome": "accepted" }));
    }
}
