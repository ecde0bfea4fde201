//! The test vectors of docs/phone-protocol.md: what the document says, what the engine reads, and what a signer that nobody here wrote makes of it are
//! the same.

use std::process::Command;

use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::Value;
use twostep::core::authenticator::{PairingSecret, PublicKey, Signed, login_token, login_uri};
use twostep::core::base64url::{decode, encode};

#[path = "support/skip.rs"]
mod skip;

use skip::{Lack, skipped};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/phone-protocol.md");

fn vectors() -> Value {
    let text = std::fs::read_to_string(DOCUMENT).unwrap();
    let (_, after) = text.split_once("```json\n").unwrap();
    serde_json::from_str(after.split_once("```").unwrap().0).unwrap()
}

fn text<'a>(vectors: &'a Value, name: &str) -> &'a str {
    vectors[name].as_str().unwrap_or_else(|| panic!("{name}"))
}

/// The calls, in the order of the document.
fn signed(vectors: &Value) -> Vec<(&'static str, Signed<'_>)> {
    let of = |name| text(vectors, name);
    let (authenticator, login, nonce) = (of("authenticator"), of("login"), of("nonce"));
    vec![
        ("Pair", Signed::Pair { pairing: of("pairing"), public_key: of("public_key"), name: of("name") }),
        ("ConfirmPairing", Signed::ConfirmPairing { authenticator, approve: true, number: Some(of("number")), nonce }),
        ("Pending", Signed::Pending { authenticator, nonce }),
        ("Scan", Signed::Scan { authenticator, qr: of("qr"), nonce }),
        ("Decide", Signed::Decide { authenticator, login, approve: true, number: Some("42"), nonce }),
        ("Decide", Signed::Decide { authenticator, login, approve: false, number: None, nonce }),
        ("OnlineCode", Signed::OnlineCode { authenticator, login, nonce }),
        ("Unpair", Signed::Unpair { authenticator, nonce }),
    ]
}

#[test]
fn the_document_says_what_the_engine_reads() {
    let vectors = vectors();
    let of = |name| text(&vectors, name);
    let key = PublicKey::parse(of("public_key")).unwrap();
    let given = vectors["signed"].as_array().unwrap();
    let signed = signed(&vectors);
    assert_eq!(given.len(), signed.len());
    for (given, (call, signed)) in given.iter().zip(&signed) {
        assert_eq!((text(given, "call"), text(given, "text")), (*call, signed.text().unwrap().as_str()));
        assert!(key.verifies(signed, text(given, "proof")), "{call}");
        let others = vectors["signed"].as_array().unwrap().iter().filter(|other| *other != given);
        assert!(others.into_iter().all(|other| !key.verifies(signed, text(other, "proof"))), "{call}");
    }
    let secret = PairingSecret::new(*decode(of("secret")).unwrap());
    assert!(secret.made(of("mac"), of("public_key"), of("name")));
    assert_eq!(secret.number(of("public_key")), of("number"));
    assert_eq!(*secret.uri(of("address"), of("pairing")), of("uri"));
    assert_eq!(*login_uri(of("address"), of("token")), of("qr"));
    assert_eq!(login_token(of("address"), of("qr")), Some(of("token")));
}

#[test]
fn the_private_key_signs_what_the_engine_reads() {
    let vectors = vectors();
    let key = PublicKey::parse(text(&vectors, "public_key")).unwrap();
    let private = decode::<32>(text(&vectors, "private_key")).unwrap();
    let random = SystemRandom::new();
    let point = &key.spki()[26..];
    let pair = EcdsaKeyPair::from_private_key_and_public_key(&ECDSA_P256_SHA256_FIXED_SIGNING, private.as_slice(), point, &random).unwrap();
    for (call, signed) in signed(&vectors) {
        let proof = pair.sign(&random, signed.text().unwrap().as_bytes()).unwrap();
        assert!(key.verifies(&signed, &encode(proof.as_ref())), "{call}");
    }
}

#[test]
fn an_independent_signer_agrees() {
    if !Command::new("python3").args(["-c", "import cryptography"]).output().is_ok_and(|import| import.status.success()) {
        skipped(Lack::Package, "python3 has no module cryptography (Debian: python3-cryptography)");
        return;
    }
    let vectors = vectors();
    let own = Signed::Decide { authenticator: "A", login: "B", approve: true, number: Some("77"), nonce: "C" };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/phone_vectors.py");
    let run = Command::new("python3").arg(script).arg(DOCUMENT).arg(own.text().unwrap().as_str()).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let proof = String::from_utf8(run.stdout).unwrap();
    assert!(PublicKey::parse(text(&vectors, "public_key")).unwrap().verifies(&own, proof.trim_end()));
}
