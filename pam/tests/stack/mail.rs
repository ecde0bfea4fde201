//! Codes by e-mail through real ssh, with a real mail server on loopback.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use twostep::config::{Config, MailSecurity};
use twostep::core::email::BUDGET;

use crate::nas::{App, Nas};
use crate::patience::Lines;
use crate::place::{Place, lacks};
use crate::skip::{Lack, skipped};
use crate::ssh::{INTERACTIVE, SSH, SshServer, with_password};
use crate::terminal::{is_in, is_out};

const ADDRESS: &str = "alice@example.org";

struct MailServer {
    process: Child,
    said: Lines,
    port: u16,
}

impl MailServer {
    /// None, and said so, where it can't be run.
    fn start() -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/support/mail_server.py");
        let mut command = Command::new("python3");
        command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let missing = || skipped(Lack::Package, "no mail server: python3 with aiosmtpd is not installed");
        let Ok(mut process) = command.spawn() else {
            missing();
            return None;
        };
        let said = Lines::new("the mail server", process.stdout.take().unwrap());
        let mut server = Self { process, said, port: 0 };
        let Some(port) = server.said.next() else {
            missing();
            return None;
        };
        server.port = port.parse().unwrap();
        Some(server)
    }

    fn config(&self) -> Config {
        let mut config = Config::default();
        config.mail.host = Some("localhost".into());
        config.mail.port = Some(self.port);
        config.mail.security = MailSecurity::None;
        config.mail.from = Some("nas@example.org".into());
        config
    }

    /// The code in the next mail to alice.
    fn code(&mut self) -> String {
        let mail: Value = serde_json::from_str(&self.said.next().expect("a mail to alice")).unwrap();
        assert_eq!(mail["to"], json!([ADDRESS]), "{mail}");
        let is_code = |line: &&str| line.len() == 6 && line.bytes().all(|byte| byte.is_ascii_digit());
        mail["text"].as_str().unwrap().lines().map(str::trim).find(is_code).expect("a code in the mail").to_owned()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Six digits that are not these.
fn other(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

#[test]
fn ssh_lets_in_with_a_mailed_code_where_the_phone_is_not_at_hand() {
    if lacks(&SSH) {
        return;
    }
    let Some(mut server) = MailServer::start() else { return };
    let app = App::with_key("JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP");
    let enrolled = [(1001, "alice".into(), app)];
    let nas = Nas::with_addresses(server.config(), "alice:x:1001:1001::/:/bin/sh\n", &enrolled, Some(ADDRESS));
    let place = Place::new(&nas);
    let ssh = SshServer::start(&place, INTERACTIVE);
    let mut terminal = with_password(&ssh, "alice");
    terminal.expect("app shows");
    terminal.type_line("?");
    terminal.expect("2  e-mail code\n");
    terminal.type_line("e-mail");
    let code = server.code();
    terminal.expect("a***@example.org");
    terminal.expect(": ");
    terminal.type_line(other(&code));
    terminal.expect("Wrong code.");
    terminal.expect("a***@example.org");
    terminal.type_line(&code);
    is_in(terminal);
    // Another mail so soon is refused with the reason, and the app still serves. On a busy machine it may not be so soon, but there are only so many.
    let mut again = with_password(&ssh, "alice");
    again.expect("app shows");
    let refused = (0..BUDGET).any(|_| {
        again.type_line("?");
        again.expect("Which one");
        again.type_line("2");
        again.expect("Enter the code that ").contains("E-mail code: too many mails")
    });
    assert!(refused);
    again.expect("app shows");
    again.interrupt();
    is_out(again);
}

#[test]
fn an_enforced_first_login_takes_a_recovery_address_also_when_it_is_cut_off() {
    if lacks(&SSH) {
        return;
    }
    let Some(mut server) = MailServer::start() else { return };
    let nas = Nas::with(server.config());
    nas.enforce("alice");
    let place = Place::new(&nas);
    let ssh = SshServer::start(&place, INTERACTIVE);
    let mut cut = with_password(&ssh, "alice");
    cut.expect("is not set up yet.\nRecovery e-mail address");
    cut.type_line("alice at example");
    cut.expect("An address has one @");
    cut.expect("Recovery e-mail address");
    cut.type_line(ADDRESS);
    let code = server.code();
    cut.expect("A code was mailed to alice@example.org");
    cut.type_line(other(&code));
    cut.expect("That is not the code.");
    cut.type_line(&code);
    cut.expect("give it the key: ");
    let app = App::with_key(&cut.expect("\n"));
    cut.expect("app shows");
    cut.interrupt();
    is_out(cut);
    // Who comes now may be another: the address is asked for again, and the app that has scanned proves itself by its code.
    let mut terminal = with_password(&ssh, "alice");
    terminal.expect("if you have scanned its QR code");
    terminal.expect("Recovery e-mail address");
    terminal.type_line("");
    terminal.expect("give it the key: ");
    let anew = terminal.expect("\n");
    assert!(App::with_key(&anew).code(0) != app.code(0), "another secret is shown");
    terminal.expect("app shows");
    terminal.type_line(&app.code(0));
    terminal.expect("The QR code that was scanned before counts");
    terminal.expect("Press Enter");
    terminal.type_line("");
    is_in(terminal);
    let status = nas.call("Account.Status", json!({ "user": "alice" }));
    assert_eq!((&status["recovery_email"], &status["status"]), (&json!(null), &json!("enabled")), "{status}");
}
