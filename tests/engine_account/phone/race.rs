//! One login is let in once, whoever comes first.

use serde_json::json;

use super::*;
use crate::engine::code;
use crate::patience::Meeting;

#[test]
fn of_two_approvals_and_a_typed_code_at_once_one_is_accepted() {
    let mut town = Town::new();
    let mut alice = Alice::with_phone(&mut town);
    for round in 0..10 {
        let (login, challenge) = alice.challenge("login_approval");
        let number = challenge["number"].as_str();
        let request = alice.phone.request(&mut town.carrier);
        let other = json!({ "login": request["login"], "nonce": alice.phone.nonce(&mut town.carrier) });
        let said = [alice.phone.decision(&request, true, number), alice.phone.decision(&other, true, number)];
        let typed = if round == 0 { code(&alice.secret, 1) } else { alice.codes.pop().unwrap() };
        let method = if round == 0 { "security_code" } else { "recovery_code" };
        let start = Meeting::of(3);
        let mut peers: Vec<Api> = (0..2).map(|_| town.engine.client(getuid().as_raw())).collect();
        let mut typing = town.engine.alice();
        let accepted = std::thread::scope(|scope| {
            let deciding = peers.iter_mut().zip(&said).map(|(peer, said)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    match peer.ask("io.twostep.Authenticator.Decide", said).unwrap() {
                        Ok(reply) => reply["outcome"] == "accepted",
                        Err(error) => {
                            assert_eq!(error, "NoSuchRequest");
                            false
                        }
                    }
                })
            });
            let deciding: Vec<_> = deciding.collect();
            let answering = scope.spawn(|| {
                start.wait();
                typing.answer(&login, method, &typed)["outcome"] == "verified"
            });
            let mut accepted: Vec<bool> = deciding.into_iter().map(|one| one.join().unwrap()).collect();
            accepted.push(answering.join().unwrap());
            accepted
        });
        assert_eq!(accepted.iter().filter(|one| **one).count(), 1, "{accepted:?}");
        assert_eq!(alice.outcome(&login), "verified");
        if !accepted[2] && round > 0 {
            alice.codes.push(typed);
            let login = alice.api.start()["login"].clone();
            assert_eq!(alice.api.answer(&login, "recovery_code", alice.codes.last().unwrap())["outcome"], "verified", "it was not spent");
            alice.codes.pop();
        }
        if alice.codes.len() < 2 {
            return;
        }
    }
}
