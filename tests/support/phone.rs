//! A phone as a program of its own would be: a key, the signed texts of the description, and somebody who carries its calls.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use twostep::client::Client;
use twostep::config::paths::Paths;
use twostep::core::base64url::{decode, encode};

use super::engine::{Api, SOON};

/// What phones open in these tests.
pub const ADDRESS: &str = "https://nas.example:8443";

/// Before the point of every P-256 key.
const SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];

/// Somebody who is ready for phones, until dropped.
pub struct Carrier(UnixStream);

impl Carrier {
    /// Waits at the engine in `folder`.
    pub fn waits(folder: &Path) -> Self {
        let socket = UnixStream::connect(Paths::scratch(folder).socket()).unwrap();
        let mut client = Client::over(socket.try_clone().unwrap());
        client.set_time_limit(Some(SOON)).unwrap();
        let mut stream = client.call_more::<Value>("io.twostep.Authenticator.Carry", &json!({})).unwrap();
        assert_eq!(stream.next().unwrap().unwrap(), json!({ "address": ADDRESS }));
        Self(socket)
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        // It may be closed already.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

/// A phone. What it is called by the engine is empty until it is paired.
pub struct Phone {
    key: EcdsaKeyPair,
    pub name: String,
    pub id: String,
}

/// What a pairing's QR code holds.
pub struct Scanned {
    pub pairing: String,
    secret: [u8; 32],
}

impl Scanned {
    #[track_caller]
    pub fn read(uri: &Value) -> Self {
        let text = uri.as_str().unwrap();
        let fragment = text.strip_prefix(&format!("{ADDRESS}/pair#1.")).unwrap_or_else(|| panic!("{text}"));
        let (pairing, secret) = fragment.split_once('.').unwrap();
        assert!(decode::<16>(pairing).is_some());
        Self { pairing: pairing.into(), secret: *decode::<32>(secret).unwrap() }
    }

    fn hmac(&self, text: &str) -> hmac::Tag {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.secret), text.as_bytes())
    }

    /// What the phone shows: made of its own key.
    pub fn number(&self, public_key: &str) -> String {
        let tag = self.hmac(&format!("twostep/1 number\n{public_key}"));
        let first = u64::from_be_bytes(tag.as_ref()[..8].try_into().unwrap());
        format!("{:04}", first % 10_000)
    }
}

impl Phone {
    pub fn new(name: &str) -> Self {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random).unwrap();
        Self { key, name: name.into(), id: String::new() }
    }

    /// It is known by this name already, or says so.
    pub fn called(self, id: &str) -> Self {
        Self { id: id.into(), ..self }
    }

    pub fn public_key(&self) -> String {
        encode(&[&SPKI_HEAD, self.key.public_key().as_ref()].concat())
    }

    pub fn sign(&self, text: &str) -> String {
        encode(self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap().as_ref())
    }

    /// What it sends once it has scanned a pairing.
    pub fn presents(&self, scanned: &Scanned) -> Value {
        let (public_key, name, pairing) = (self.public_key(), &self.name, &scanned.pairing);
        let mac = encode(scanned.hmac(&format!("{public_key}\n{name}")).as_ref());
        let proof = self.sign(&format!("twostep/1 pair\n{pairing}\n{public_key}\n{name}"));
        json!({ "pairing": pairing, "public_key": public_key, "name": name, "mac": mac, "proof": proof })
    }

    /// Scans a pairing: the engine's reply.
    #[track_caller]
    pub fn pair(&mut self, carrier: &mut Api, uri: &Value) -> Value {
        let paired = carrier.call("Authenticator.Pair", self.presents(&Scanned::read(uri)));
        self.id = paired["authenticator"].as_str().unwrap().into();
        paired
    }

    #[track_caller]
    pub fn confirm_pairing(&self, carrier: &mut Api, nonce: &Value, number: Option<&str>) -> Value {
        carrier.call("Authenticator.ConfirmPairing", self.confirms(nonce, number))["outcome"].clone()
    }

    /// The parameters of `ConfirmPairing`.
    #[track_caller]
    pub fn confirms(&self, nonce: &Value, number: Option<&str>) -> Value {
        let (word, nonce) = (if number.is_some() { "approve" } else { "deny" }, nonce.as_str().unwrap());
        let proof = self.sign(&format!("twostep/1 pair-confirm\n{}\n{word}\n{}\n{nonce}", self.id, number.unwrap_or_default()));
        json!({ "authenticator": self.id, "approve": number.is_some(), "number": number, "nonce": nonce, "proof": proof })
    }

    #[track_caller]
    pub fn nonce(&self, carrier: &mut Api) -> String {
        carrier.call("Authenticator.Nonce", json!({ "authenticator": self.id }))["nonce"].as_str().unwrap().into()
    }

    /// The parameters of `Pending`.
    #[track_caller]
    pub fn asks(&self, carrier: &mut Api) -> Value {
        let nonce = self.nonce(carrier);
        self.asks_with(&nonce)
    }

    /// The same, with this nonce.
    pub fn asks_with(&self, nonce: &str) -> Value {
        let proof = self.sign(&format!("twostep/1 pending\n{}\n{nonce}", self.id));
        json!({ "authenticator": self.id, "nonce": nonce, "proof": proof })
    }

    /// What waits for it now.
    #[track_caller]
    pub fn pending(&self, carrier: &mut Api) -> Vec<Value> {
        let asks = self.asks(carrier);
        carrier.call("Authenticator.Pending", asks)["requests"].as_array().unwrap().clone()
    }

    /// The one request that waits for it.
    #[track_caller]
    pub fn request(&self, carrier: &mut Api) -> Value {
        let pending = self.pending(carrier);
        assert_eq!(pending.len(), 1, "{pending:?}");
        pending[0].clone()
    }

    /// The parameters of `Decide`, with the request's own nonce.
    pub fn decision(&self, request: &Value, approve: bool, number: Option<&str>) -> Value {
        let (login, nonce) = (request["login"].as_str().unwrap(), request["nonce"].as_str().unwrap());
        let word = if approve { "approve" } else { "deny" };
        let proof = self.sign(&format!("twostep/1 decide\n{}\n{login}\n{word}\n{}\n{nonce}", self.id, number.unwrap_or_default()));
        json!({ "authenticator": self.id, "login": login, "approve": approve, "number": number, "nonce": nonce, "proof": proof })
    }

    #[track_caller]
    pub fn approve(&self, carrier: &mut Api, request: &Value, number: Option<&str>) -> Value {
        carrier.call("Authenticator.Decide", self.decision(request, true, number))["outcome"].clone()
    }

    #[track_caller]
    pub fn deny(&self, carrier: &mut Api, request: &Value) -> Value {
        carrier.call("Authenticator.Decide", self.decision(request, false, None))["outcome"].clone()
    }

    /// The parameters of `Scan`.
    #[track_caller]
    pub fn scans(&self, carrier: &mut Api, qr: &Value) -> Value {
        let (nonce, qr) = (self.nonce(carrier), qr.as_str().unwrap());
        let proof = self.sign(&format!("twostep/1 scan\n{}\n{qr}\n{nonce}", self.id));
        json!({ "authenticator": self.id, "qr": qr, "nonce": nonce, "proof": proof })
    }

    /// The parameters of `OnlineCode`, with the request's own nonce.
    pub fn asks_code(&self, request: &Value) -> Value {
        let (login, nonce) = (request["login"].as_str().unwrap(), request["nonce"].as_str().unwrap());
        let proof = self.sign(&format!("twostep/1 code\n{}\n{login}\n{nonce}", self.id));
        json!({ "authenticator": self.id, "login": login, "nonce": nonce, "proof": proof })
    }

    /// The parameters of `Unpair`.
    #[track_caller]
    pub fn unpairs(&self, carrier: &mut Api) -> Value {
        let nonce = self.nonce(carrier);
        let proof = self.sign(&format!("twostep/1 unpair\n{}\n{nonce}", self.id));
        json!({ "authenticator": self.id, "nonce": nonce, "proof": proof })
    }
}
