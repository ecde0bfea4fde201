//! The table of who may call what, over the real sockets: every method as each kind of peer, and what belongs to a login or a setup also in other
//! hands than those that began it.

use std::os::unix::fs::PermissionsExt;

use nix::unistd::getuid;
use serde_json::{Value, json};
use twostep::config::paths::Paths;
use twostep::core::lockout::{Failures, LOCKED_AT, Tally};
use twostep::core::otpauth;
use twostep::core::totp::Enrolment;

use super::demo::Demo;
use super::engine::{Api, BOB, Engine, PASSWORD, Scene, alice, code, connect_as, strings};
use super::permissions::TABLE;
use super::root_is_missing;

const SERVICE: &str = include_str!("../../src/proto/org.varlink.service.varlink");

/// The kinds of peers, in the order of the table's columns.
const ROOT: usize = 0;
const PORTAL: usize = 1;
const ALICE: usize = 5;
const KINDS: [&str; 7] = ["root", "granted login", "granted authenticator", "administrator", "delegate", "the account itself", "stranger"];

/// How a peer is told that it may not.
const DENIED: [&str; 4] = ["PermissionDenied", "SecondStepRequired", "NoSuchLogin", "NoSuchSetup"];

fn uid(kind: usize) -> u32 {
    [0, 1101, 1102, 1103, 1104, alice(), BOB][kind]
}

/// Alice, who is enabled, and one of each kind of peer.
struct Town {
    engine: Engine,
    peers: Vec<Api>,
    codes: Vec<String>,
}

/// What a call is made with.
struct Facts {
    session: Value,
    login: Option<Value>,
    code: String,
}

impl Town {
    fn new() -> Self {
        let mut scene = Scene {
            passwd: "portal:x:1101:1101::/:/bin/sh\ncarrier:x:1102:1102::/:/bin/sh\ncarol:x:1103:1103::/:/bin/sh\ndora:x:1104:1104::/:/bin/sh\n",
            group: "administrators:x:500:carol\n",
            ..Scene::default()
        };
        scene.config.grant.login = vec!["portal".into()];
        scene.config.grant.authenticator = vec!["carrier".into()];
        let engine = Engine::with(scene, |_| Ok(()));
        let mut peers: Vec<Api> = (0..KINDS.len()).map(|kind| engine.client(uid(kind))).collect();
        peers[ROOT].call("Admin.Delegate", json!({ "subject": "dora", "role": "system_management", "granted": true }));
        Self { engine, peers, codes: vec![] }
    }

    fn root(&mut self) -> &mut Api {
        &mut self.peers[ROOT]
    }

    /// Makes alice enabled again where an earlier call has turned that off, with a list of codes that are known here.
    fn restore(&mut self) {
        let status = self.root().call("Account.Status", json!({ "user": "alice" }));
        if status["status"] != "enabled" {
            let setup = self.root().call("Account.BeginSetup", json!({ "user": "alice", "password": PASSWORD }))["setup"].clone();
            self.codes = strings(&self.root().finish(&setup).1["recovery_codes"]);
        } else if self.codes.len() < 4 || status["recovery_codes_left"] != self.codes.len() {
            let list = self.root().call("Account.RegenerateRecoveryCodes", json!({ "user": "alice", "password": PASSWORD }));
            self.codes = strings(&list["recovery_codes"]);
        }
    }

    /// A login of alice that was verified just now.
    fn verified(&mut self) -> Value {
        let code = self.codes.pop().unwrap();
        self.root().verified(&code)
    }

    /// What the call needs, begun by a peer that may.
    fn facts(&mut self, method: &str, beginner: usize, vouched: bool) -> Facts {
        self.restore();
        let session = match session_of(method) {
            Some("login") => self.peers[beginner].start()["login"].clone(),
            Some(_) => {
                let login = self.verified();
                let change = json!({ "user": "alice", "password": PASSWORD, "login": login });
                self.peers[beginner].call("Account.BeginChange", change)["setup"].clone()
            }
            None => Value::Null,
        };
        let login = vouched.then(|| self.verified());
        let code = if method.ends_with(".Answer") { self.codes.pop().unwrap() } else { "000000".into() };
        Facts { session, login, code }
    }

    /// Ends what [`facts`](Self::facts) has begun; it may be over.
    fn clear(&mut self, facts: &Facts) {
        for method in ["io.twostep.Login.Cancel", "io.twostep.Account.CancelSetup"] {
            let name = session_of(method).unwrap();
            let _over = self.root().ask(method, &json!({ name: facts.session }));
        }
        if let Some(login) = &facts.login {
            let _over = self.root().ask("io.twostep.Login.Cancel", &json!({ "login": login }));
        }
    }

    /// `y` where the peer is let through, `-` where it is not.
    fn tries(&mut self, method: &str, kind: usize, beginner: usize, vouched: bool) -> char {
        let facts = self.facts(method, beginner, vouched);
        let asked = self.engine.asked().len();
        let said = self.peers[kind].ask(method, &parameters(method, &facts)).unwrap();
        let context = format!("{method} by {}, begun by {}, vouched for: {vouched}: {said:?}", KINDS[kind], KINDS[beginner]);
        if method.ends_with(".ExportSecurityCode") && kind != ALICE && said.is_err() {
            // It names nobody, so it is about the peer's own account, with another password and no secret.
            self.clear(&facts);
            return '-';
        }
        let denied = said.as_ref().is_err_and(|error| DENIED.contains(&error.as_str()));
        if denied {
            assert_eq!(self.engine.asked().len(), asked, "a password was looked at: {context}");
            let second_step = said.as_ref().is_err_and(|error| error == "SecondStepRequired");
            assert!(!second_step || !vouched && wants_login(method), "{context}");
            let hidden = ["NoSuchLogin", "NoSuchSetup"].contains(&said.as_ref().unwrap_err().as_str());
            assert_eq!(hidden, session_of(method).is_some(), "whoever may not touch it learns nothing of it: {context}");
        } else if let Err(error) = &said {
            let odd = ["InvalidParameter", "MethodNotFound", "InterfaceNotFound", "StorageFailed"].contains(&error.as_str());
            assert!(!odd || NO_SUCH_ID.contains(&method), "{context}");
        }
        if let Some(list) = said.ok().and_then(|reply| reply.get("recovery_codes").map(strings)).filter(|list| !list.is_empty()) {
            self.codes = list;
        }
        self.clear(&facts);
        if denied { '-' } else { 'y' }
    }
}

/// These are called with the id of nothing.
const NO_SUCH_ID: [&str; 2] = ["io.twostep.Account.RemoveAuthenticator", "io.twostep.Account.RemoveTrustedDevice"];

/// The parameter that names a login or a setup in progress, where the call is about one.
fn session_of(method: &str) -> Option<&'static str> {
    match method.strip_prefix("io.twostep.").unwrap() {
        "Login.Start" => None,
        method if method.starts_with("Login.") => Some("login"),
        "Account.SetupStatus"
        | "Account.ConfirmRecoveryEmail"
        | "Account.OfferSecurityCode"
        | "Account.ConfirmSecurityCode"
        | "Account.OfferPairing"
        | "Account.WaitPairing"
        | "Account.ConfirmOnlineCode"
        | "Account.FinishSetup"
        | "Account.CancelSetup" => Some("setup"),
        _ => None,
    }
}

/// Whether the call may name a login that vouches for it.
fn wants_login(method: &str) -> bool {
    TABLE.iter().any(|(name, _, who)| *name == method && who.contains('2'))
}

/// Good ones, for alice.
fn parameters(method: &str, facts: &Facts) -> Value {
    let user = "alice";
    let mut parameters = match method.strip_prefix("io.twostep.").unwrap() {
        "Login.Start" => json!({ "user": user, "service": "test" }),
        "Login.Challenge" => json!({ "method": "security_code" }),
        "Login.Answer" => json!({ "method": "recovery_code", "code": facts.code }),
        "Login.TrustDevice" => json!({ "label": "laptop" }),
        "Account.Status" => json!({ "user": user }),
        "Account.BeginSetup" | "Account.BeginChange" | "Account.RegenerateRecoveryCodes" | "Account.Disable" => {
            json!({ "user": user, "password": PASSWORD })
        }
        "Account.ConfirmRecoveryEmail" | "Account.ConfirmSecurityCode" | "Account.ConfirmOnlineCode" => json!({ "code": facts.code }),
        "Account.OfferPairing" => json!({ "method": "qr_code" }),
        "Account.FinishSetup" | "Account.ExportSecurityCode" => json!({ "password": PASSWORD }),
        "Account.EnableMethod" | "Account.DisableMethod" => json!({ "user": user, "password": PASSWORD, "method": "email_code" }),
        "Account.SetPreferred" => json!({ "user": user, "method": "security_code" }),
        "Account.SetRecoveryEmail" => json!({ "user": user, "password": PASSWORD, "recovery_email": "alice@example.org" }),
        "Account.RemoveAuthenticator" => json!({ "user": user, "password": PASSWORD, "id": "none" }),
        "Account.RemoveTrustedDevice" => json!({ "user": user, "id": "none" }),
        "Account.SetPasswordless" => json!({ "user": user, "password": PASSWORD, "passwordless": true }),
        "Admin.List" => json!({ "kind": "local_user" }),
        "Admin.Enforce" => json!({ "users": [user], "groups": [], "enforced": false }),
        "Admin.DisableFor" | "Admin.Unlock" => json!({ "user": user }),
        "Admin.Delegate" => json!({ "subject": "dora", "role": "system_management", "granted": true }),
        "Admin.Restore" => json!({ "name": "none" }),
        "Admin.Import" => json!({ "user": user, "text": otpauth::uri(&Enrolment::fresh([7; 20]), "NAS", user).as_str() }),
        "Login.Wait" | "Login.Cancel" | "Account.SetupStatus" | "Account.OfferSecurityCode" | "Account.WaitPairing" => json!({}),
        "Account.CancelSetup" | "Admin.ListDelegations" | "Admin.Audit" | "Admin.Backup" | "Admin.ListBackups" => json!({}),
        "Admin.StartAnew" => json!({ "dry_run": true }),
        "Authenticator.Carry" => json!({}),
        "Authenticator.Pair" => json!({ "pairing": "none", "public_key": "none", "name": "phone", "mac": "none", "proof": "none" }),
        "Authenticator.Nonce" => json!({ "authenticator": "none" }),
        "Authenticator.Pending" | "Authenticator.Unpair" => signed(json!({})),
        "Authenticator.Scan" => signed(json!({ "qr": "none" })),
        "Authenticator.OnlineCode" => signed(json!({ "login": "none" })),
        "Authenticator.ConfirmPairing" => signed(json!({ "approve": true })),
        "Authenticator.Decide" => signed(json!({ "login": "none", "approve": true })),
        other => panic!("{other} is called with nothing yet"),
    };
    if let Some(name) = session_of(method) {
        parameters[name] = facts.session.clone();
    }
    if let Some(login) = &facts.login {
        parameters["login"] = login.clone();
    }
    parameters
}

/// With what every signed call of a phone has.
fn signed(mut parameters: Value) -> Value {
    for member in ["authenticator", "nonce", "proof"] {
        parameters[member] = json!("none");
    }
    parameters
}

/// The interfaces that the engine serves.
fn served(peer: &mut Api) -> Vec<String> {
    strings(&peer.ask("org.varlink.service.GetInfo", &json!({})).unwrap().unwrap()["interfaces"])
}

#[test]
fn each_peer_may_call_what_the_table_says_and_nothing_else() {
    if root_is_missing("the table of permissions over the socket") {
        return;
    }
    let mut town = Town::new();
    let served = served(town.root());
    for (method, _, who) in TABLE {
        let interface = method.rsplit_once('.').unwrap().0;
        let beginners = if session_of(method).is_some() { vec![ROOT, PORTAL, ALICE] } else { vec![ROOT] };
        for (kind, may) in who.chars().enumerate() {
            if !served.iter().any(|name| name == interface) {
                let said = town.peers[kind].ask(method, &json!({})).unwrap();
                assert_eq!(said, Err("InterfaceNotFound".into()), "{method} by {}", KINDS[kind]);
                continue;
            }
            for beginner in &beginners {
                let alone = town.tries(method, kind, *beginner, false);
                let vouched = if wants_login(method) { town.tries(method, kind, *beginner, true) } else { alone };
                let seen = match (alone, vouched) {
                    ('-', 'y') => '2',
                    (alone, _) => alone,
                };
                assert_eq!(seen, may, "{method} by {}, begun by {}", KINDS[kind], KINDS[*beginner]);
            }
        }
    }
    for interface in ["io.twostep.Login", "io.twostep.Account", "io.twostep.Admin", "io.twostep.Authenticator"] {
        assert!(served.iter().any(|name| name == interface), "{interface} is not served");
    }
    assert!(!served.iter().any(|name| name == "io.twostep.Recovery"), "the engine can't reach the button");
}

#[test]
fn anybody_may_ask_what_the_service_is() {
    if root_is_missing("introspection by each kind of peer") {
        return;
    }
    let mut town = Town::new();
    let described = SERVICE.lines().filter_map(|line| line.strip_prefix("method ")?.split_once('('));
    let methods: Vec<&str> = described.map(|(name, _)| name).collect();
    assert_eq!(methods, ["GetInfo", "GetInterfaceDescription"], "a method that nobody has tried");
    for peer in &mut town.peers {
        for interface in served(peer) {
            let asked = json!({ "interface": interface });
            let text = peer.ask("org.varlink.service.GetInterfaceDescription", &asked).unwrap().unwrap()["description"].clone();
            assert!(text.as_str().unwrap().contains(&format!("interface {interface}\n")));
        }
    }
}

/// What alice's own process can do with her password, but without a code: anything, except to weaken the second step.
#[test]
fn malware_under_alices_uid_that_knows_her_password_cannot_weaken_her_second_step() {
    let engine = Engine::start();
    let mut malware = engine.alice();
    let (_, codes) = malware.set_up();
    let before = malware.status();
    // A login of hers that nobody has verified, as a session and as what vouches.
    let login = malware.start()["login"].clone();
    for (method, ..) in TABLE {
        if ["io.twostep.Authenticator", "io.twostep.Recovery"].iter().any(|interface| method.starts_with(interface)) {
            continue;
        }
        for session in [&login, &json!("0".repeat(32))] {
            for vouching in [None, Some(&login)].into_iter().filter(|vouching| vouching.is_none() || wants_login(method)) {
                let facts = Facts { session: session.clone(), login: vouching.cloned(), code: "AAAA-AAAA-AAAA-AAAA".into() };
                let said = malware.ask(method, &parameters(method, &facts)).unwrap();
                if wants_login(method) {
                    assert_eq!(said, Err("SecondStepRequired".into()), "{method}");
                }
            }
        }
    }
    assert_eq!(malware.status(), before);
    let verified = malware.verified(&codes[0]);
    malware.call("Account.Disable", json!({ "password": PASSWORD, "login": verified }));
}

/// What nobody's code is.
const NO_CODE: &str = "0000";

#[test]
fn whoever_guesses_from_alices_own_processes_never_keeps_her_out_of_ssh() {
    if root_is_missing("a login service beside alice's own processes") {
        return;
    }
    let engine = Engine::start();
    let mut malware = engine.alice();
    let (secret, _) = malware.set_up();
    let login = malware.start()["login"].clone();
    let left: Vec<Value> = (0..5).map(|_| malware.answer(&login, "security_code", NO_CODE)["attempts_left"].clone()).collect();
    assert_eq!(json!(left), json!([4, 3, 2, 1, 0]));
    assert_eq!(malware.answer(&login, "security_code", NO_CODE)["outcome"], "locked");
    assert_eq!(malware.start()["decision"], "locked");
    let sshd = |engine: &Engine| engine.client(0);
    let login = sshd(&engine).start()["login"].clone();
    let wrong = sshd(&engine).answer(&login, "security_code", NO_CODE);
    assert_eq!((&wrong["outcome"], &wrong["attempts_left"]), (&json!("wrong"), &json!(4)), "her own first one");
    // After many hours more of it.
    let engine = engine.restart_with(|tx| {
        let mut stored = tx.account_by_uid(alice())?.unwrap();
        let Tally { real, claimed } = stored.account.failures;
        assert_eq!((real.in_a_row, claimed.in_a_row), (1, 5), "each is on the disk");
        stored.account.failures.claimed = Failures { in_a_row: LOCKED_AT - 1, last: None };
        tx.save(&stored)
    });
    let mut malware = engine.alice();
    let login = malware.start()["login"].clone();
    assert_eq!(malware.answer(&login, "security_code", NO_CODE)["outcome"], "wrong");
    let shut = malware.start();
    assert_eq!((&shut["decision"], shut.get("retry_after")), (&json!("locked"), None));
    let login = sshd(&engine).start()["login"].clone();
    let let_in = sshd(&engine).answer(&login, "security_code", &code(&secret, 1));
    assert_eq!(let_in["outcome"], "verified");
    assert_eq!(malware.start()["decision"], "verify", "alice was there");
}

#[test]
fn an_administrator_unlocks_what_alices_own_processes_have_locked() {
    if root_is_missing("an administrator beside alice's own processes") {
        return;
    }
    let engine = Engine::start();
    let (_, codes) = engine.alice().set_up();
    let engine = engine.restart_with(|tx| {
        let mut stored = tx.account_by_uid(alice())?.unwrap();
        stored.account.failures.claimed = Failures { in_a_row: LOCKED_AT, last: None };
        tx.save(&stored)
    });
    let mut own = engine.alice();
    assert_eq!(own.start()["decision"], "locked");
    engine.client(0).call("Admin.Unlock", json!({ "user": "alice" }));
    own.verified(&codes[0]);
    let unlocked = engine.trail().into_iter().find(|entry| entry.event == "unlocked").unwrap();
    assert_eq!(unlocked.detail.as_deref(), Some("0 wrong answers in a row, and 100 by processes of its own"));
}

#[test]
fn the_recovery_socket_is_for_root_alone() {
    if root_is_missing("the recovery socket in other hands") {
        return;
    }
    // Its folder is open to all: whoever is kept out is kept out by the socket itself.
    let demo = Demo::start(|_| {});
    let socket = Paths::scratch(demo.folder()).recovery_socket();
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let recovery = |name: &&str| name.starts_with("io.twostep.Recovery.");
    let methods = TABLE.iter().map(|(name, ..)| *name).filter(recovery).chain(["org.varlink.service.GetInfo"]);
    for method in methods {
        let parameters = if method.ends_with(".Press") { json!({ "hold_ms": 3200 }) } else { json!({}) };
        for kind in (0..KINDS.len()).filter(|kind| uid(*kind) != 0) {
            assert_eq!(connect_as(uid(kind), &socket).ask(method, &parameters), None, "{method} by {}", KINDS[kind]);
        }
    }
    let mut root = connect_as(getuid().as_raw(), &socket);
    assert!(root.ask("io.twostep.Recovery.Status", &json!({})).unwrap().is_ok());
}

#[test]
fn whoever_floods_the_audit_trail_pushes_nobody_out_of_it() {
    let mut town = Town::new();
    let bob = json!({ "user": "bob", "service": "flood" });
    let mut stranger = town.engine.client(BOB);
    for _ in 0..250 {
        stranger.call("Login.Start", bob.clone());
    }
    let audit = town.root().call("Admin.Audit", json!({ "limit": 1000 }));
    let left = audit["entries"].as_array().unwrap().iter().filter(|row| row["service"] == "flood (claimed)").count();
    assert_eq!(left, 100, "{audit}");
}
