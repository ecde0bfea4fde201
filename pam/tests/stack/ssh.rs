//! ssh and its server, driven through a terminal.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};

use twostep::config::Config;

use crate::nas::{App, Nas};
use crate::place::{Place, lacks};
use crate::terminal::{IN, Terminal, is_in, is_out};

/// OpenSSH's server on the loopback, one process a connection; it ends with the test's process.
pub struct SshServer {
    place: Place,
    port: u16,
}

impl SshServer {
    pub fn start(place: &Place, settings: &str) -> Self {
        let at = |name: &str| place.path(name).display().to_string();
        let (host_key, config, log) = (at("host_key"), at("sshd_config"), at("sshd.log"));
        // The second server of a place has the first one's.
        if !Path::new(&host_key).exists() {
            keygen(&host_key);
        }
        let usual = "UsePAM yes\nPidFile none\nStrictModes no\nUseDNS no\nLoginGraceTime 600\nPrintMotd no\nPrintLastLog no\n";
        fs::write(&config, format!("HostKey {host_key}\n{usual}{settings}\n")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = place.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let mut command = server.command(&["/usr/sbin/sshd", "-i", "-E", &log, "-f", &config]);
                let socket = OwnedFd::from(connection);
                let child = command.stdin(socket.try_clone().unwrap()).stdout(socket).stderr(Stdio::null()).spawn();
                std::thread::spawn(move || child.unwrap().wait());
            }
        });
        Self { place: place.clone(), port }
    }

    /// The client, at a terminal.
    fn login(&self, user: &str, options: &[&str]) -> Terminal {
        let port = self.port.to_string();
        let mut words =
            vec!["/usr/bin/ssh", "-F", "none", "-p", &port, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"];
        words.extend(["-o", "NumberOfPasswordPrompts=1"]);
        words.extend(options);
        let target = format!("{user}@127.0.0.1");
        words.extend([target.as_str(), "echo", IN]);
        Terminal::open(self.place.command(&words))
    }
}

impl Drop for SshServer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.place.path("sshd.log"));
            eprintln!("the server's log:\n{}", log.unwrap_or_default());
        }
    }
}

fn keygen(file: &str) {
    let made = Command::new("/usr/bin/ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", file]).status().unwrap();
    assert!(made.success());
}

pub const SSH: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen"];
const KEYBOARD: [&str; 2] = ["-o", "PreferredAuthentications=keyboard-interactive"];
pub const INTERACTIVE: &str = "KbdInteractiveAuthentication yes\nPasswordAuthentication no";

/// Gives the password, and goes on to the second question.
#[track_caller]
pub fn with_password(server: &SshServer, user: &str) -> Terminal {
    let mut terminal = server.login(user, &KEYBOARD);
    terminal.expect("Password: ");
    terminal.type_line(if user == "alice" { "wonderland" } else { "builder" });
    terminal
}

#[test]
fn ssh_asks_for_a_code_says_what_was_wrong_with_it_and_lets_in() {
    if lacks(&SSH) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    let server = SshServer::start(&place, INTERACTIVE);
    is_in(with_password(&server, "bob"));
    let mut terminal = with_password(&server, "alice");
    terminal.expect("Enter the code that your authenticator app shows: ");
    terminal.type_line(&app.wrong_code());
    terminal.expect("Wrong code.\nEnter the code");
    // Good for a minute at least, so that it is not out by the second time.
    let code = app.code(1);
    terminal.type_line(&code);
    is_in(terminal);
    let mut used = with_password(&server, "alice");
    used.expect("app shows");
    used.type_line(&code);
    used.expect("Already used: ");
    used.interrupt();
    is_out(used);
}

#[test]
fn ssh_offers_the_other_ways_and_a_recovery_code_lets_in() {
    if lacks(&SSH) {
        return;
    }
    let nas = Nas::start();
    nas.enforce("alice");
    let place = Place::new(&nas);
    let server = SshServer::start(&place, INTERACTIVE);
    // The connection is lost while the QR code is on the screen.
    let mut cut = with_password(&server, "alice");
    cut.expect("is not set up yet.\n██");
    let key = |terminal: &mut Terminal| {
        terminal.expect("give it the key: ");
        terminal.expect("\n")
    };
    let scanned = key(&mut cut);
    cut.interrupt();
    is_out(cut);
    let mut terminal = with_password(&server, "alice");
    terminal.expect("if you have scanned its QR code, go on with the code");
    assert_ne!(key(&mut terminal), scanned, "what another may have seen is shown to nobody");
    let app = App::with_key(&scanned);
    terminal.expect("Then enter the code that the app shows: ");
    terminal.type_line(&app.wrong_code());
    terminal.expect("That is not the code.");
    terminal.expect("(? shows the QR code again): ");
    terminal.type_line(&app.code(0));
    terminal.expect("keep them away from the phone:\n  ");
    let recovery = terminal.expect("\n");
    terminal.expect("Press Enter");
    terminal.type_line("");
    is_in(terminal);
    let mut by_recovery = with_password(&server, "alice");
    by_recovery.expect("app shows");
    by_recovery.type_line("?");
    by_recovery.expect("Ways to verify:\n  1  Security Code\n  2  recovery code\n");
    by_recovery.type_line("recovery");
    by_recovery.expect("Enter one of your recovery codes");
    by_recovery.type_line(&recovery);
    is_in(by_recovery);
}

#[test]
fn ssh_says_that_an_account_is_locked() {
    if lacks(&SSH) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    let server = SshServer::start(&place, INTERACTIVE);
    for reason in ["Too many wrong codes.", "Too many wrong answers: try again in "] {
        let mut terminal = with_password(&server, "alice");
        for _ in 0..3 {
            terminal.expect("app shows");
            terminal.type_line(&app.wrong_code());
        }
        let words = is_out(terminal);
        assert!(words.contains(reason), "{words}");
    }
    let locked = is_out(with_password(&server, "alice"));
    assert!(locked.contains("Too many wrong answers: try again in "), "{locked}");
}

#[test]
fn a_key_alone_does_not_pass_and_is_told_what_does() {
    if lacks(&SSH) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    let key = place.path("key").display().to_string();
    keygen(&key);
    for user in ["alice", "bob"] {
        fs::copy(format!("{key}.pub"), place.path("home").join(user).join(".ssh/authorized_keys")).unwrap();
    }
    let by_key = ["-i", key.as_str(), "-o", "PreferredAuthentications=publickey"];
    let server = SshServer::start(&place, INTERACTIVE);
    is_in(server.login("bob", &by_key));
    let words = is_out(server.login("alice", &by_key));
    assert!(words.contains("left it out") && words.contains("AuthenticationMethods"), "{words}");
    // As those words say: both.
    let server = SshServer::start(&place, &format!("{INTERACTIVE}\nAuthenticationMethods publickey,keyboard-interactive"));
    let mut terminal = server.login("alice", &["-i", key.as_str()]);
    terminal.expect("Password: ");
    terminal.type_line("wonderland");
    terminal.expect("app shows");
    terminal.type_line(&app.code(0));
    is_in(terminal);
}

#[test]
fn a_client_that_can_only_send_the_password_is_refused_and_uses_up_no_tries() {
    if lacks(&SSH) {
        return;
    }
    let nas = Nas::start();
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    let server = SshServer::start(&place, "PasswordAuthentication yes\nKbdInteractiveAuthentication yes");
    for _ in 0..6 {
        let mut terminal = server.login("alice", &["-o", "PreferredAuthentications=password"]);
        terminal.expect("password: ");
        terminal.type_line("wonderland");
        is_out(terminal);
    }
    let mut batch = server.login("alice", &["-o", "BatchMode=yes"]);
    batch.expect("Permission denied");
    is_out(batch);
    let mut terminal = with_password(&server, "alice");
    terminal.expect("app shows");
    terminal.type_line(&app.code(0));
    is_in(terminal);
}

#[test]
fn an_address_is_trusted_only_where_both_configurations_say_so() {
    if lacks(&SSH) {
        return;
    }
    let answered = |server: &SshServer, app: &App, steps: i64, answer: &str| {
        let mut terminal = with_password(server, "alice");
        terminal.expect("app shows");
        terminal.type_line(&app.code(steps));
        terminal.expect("when you log in from 127.0.0.1?");
        terminal.expect("[y/N] ");
        terminal.type_line(answer);
        is_in(terminal);
    };
    let asked_again = |server: &SshServer| {
        let mut terminal = with_password(server, "alice");
        terminal.expect("app shows");
        terminal.interrupt();
        is_out(terminal);
    };
    let mut config = Config::default();
    config.login.trust_by_address = vec!["sshd".into()];
    let nas = Nas::with(config);
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    place.protect("sshd", &nas, "trust_address");
    let server = SshServer::start(&place, INTERACTIVE);
    answered(&server, &app, 0, "n");
    asked_again(&server);
    answered(&server, &app, 1, "y");
    is_in(with_password(&server, "alice"));
    // Turning it off and on forgets the address (Q25).
    nas.call("Admin.DisableFor", serde_json::json!({ "user": "alice" }));
    nas.enrol("alice");
    asked_again(&server);
    // A daemon that is not configured to trusts none.
    let nas = Nas::with(Config::default());
    let (app, place) = (nas.enrol("alice"), Place::new(&nas));
    place.protect("sshd", &nas, "trust_address");
    let server = SshServer::start(&place, INTERACTIVE);
    answered(&server, &app, 0, "y");
    asked_again(&server);
}
