//! The rules for the values of a configuration: ranges, names and what excludes what.
//!
//! Pure: whether a user or a shell exists on this machine is asked where it is used.

use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use super::document::Finding;
use super::phone::spelling;
use super::{Button, Config, Grant, Login, MOST_CONNECTIONS, Mail, MailSecurity, Password, Phone, Recovery, Socket, Web};
use crate::core::adapter::Mac;
use crate::core::email::Address;
use crate::core::recovery::may_be_recovered;

/// The placeholders of a password template.
const PLACEHOLDERS: [&str; 3] = ["{mac}", "{mac:lower}", "{mac:colons}"];

/// The longest name of a service in bytes, as `Login.Start` takes it.
const SERVICE_CAP: usize = 256;

/// Everything that is wrong with the values.
pub(super) fn config(config: &Config) -> Vec<Finding> {
    let mut rules = Rules(Vec::new());
    rules.button(&config.button);
    rules.recovery(&config.recovery);
    rules.password(&config.recovery.password);
    rules.socket(&config.socket);
    rules.grant(&config.grant);
    rules.login(&config.login);
    rules.mail(&config.mail);
    rules.phone(&config.phone, &config.web);
    rules.0
}

struct Rules(Vec<Finding>);

impl Rules {
    fn want(&mut self, good: bool, key: &str, otherwise: &str) {
        if !good {
            self.0.push(Finding { key: key.to_owned(), text: format!("{key}: {otherwise}"), of_whole: None });
        }
    }

    /// As [`want`](Self::want), where it depends on other keys of the section too.
    fn want_together(&mut self, section: &'static str, good: bool, key: &str, otherwise: &str) {
        let before = self.0.len();
        self.want(good, key, otherwise);
        self.0.iter_mut().skip(before).for_each(|found| found.of_whole = Some(section));
    }

    fn span(&mut self, key: &str, value: Duration, least: Duration, most: Duration) {
        let show = humantime::format_duration;
        let text = format!("{} is out of range: give {} to {}", show(value), show(least), show(most));
        self.want((least..=most).contains(&value), key, &text);
    }

    fn count(&mut self, key: &str, value: usize, least: usize, most: usize) {
        self.want((least..=most).contains(&value), key, &format!("{value} is out of range: give {least} to {most}"));
    }

    fn button(&mut self, button: &Button) {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        self.span("button.hold", button.hold, s(1), s(20));
        self.span("button.debounce", button.debounce, Duration::ZERO, ms(200));
        self.span("button.stuck_after", button.stuck_after, s(2), s(600));
        let text = format!("{} must be longer than button.hold", humantime::format_duration(button.stuck_after));
        self.want_together("button", button.stuck_after > button.hold, "button.stuck_after", &text);
        self.span("button.grace", button.grace, Duration::ZERO, s(600));
        self.span("button.cooldown", button.cooldown, Duration::ZERO, s(3600));
    }

    fn recovery(&mut self, recovery: &Recovery) {
        let s = Duration::from_secs;
        self.want(
            account_name(&recovery.account),
            "recovery.account",
            "no account name: letters, digits, \"_\", \"-\" and \".\", at most 32",
        );
        let may = may_be_recovered(&recovery.account);
        self.want(may, "recovery.account", "this account is never opened by the button: name an administrator's account");
        let named = !recovery.administrators.is_empty();
        self.want_together("recovery.administrators", named, "recovery.administrators", "name at least one group");
        let groups = recovery.administrators.iter().all(|name| account_name(name));
        self.want(groups, "recovery.administrators", "not each of these is a group name");
        self.span("recovery.window", recovery.window, s(60), s(24 * 3600));
        self.span("recovery.lock_wait", recovery.lock_wait, Duration::ZERO, s(60));
        self.span("recovery.hook_time", recovery.hook_time, s(1), s(600));
        for (key, path) in [("recovery.shell", &recovery.shell), ("recovery.home", &recovery.home)] {
            self.want(passwd_path(path), key, "give a full path, without \":\"");
        }
        let refuses = ["/nologin", "/false"].iter().any(|end| recovery.shell.ends_with(end));
        self.want(!refuses, "recovery.shell", "this shell refuses every login: name one that opens");
    }

    fn password(&mut self, password: &Password) {
        let given = [&password.file, &password.mac, &password.interface].iter().filter(|way| way.is_some()).count();
        self.want(given <= 1, "recovery.password", "give at most one of \"file\", \"mac\" and \"interface\"");
        if let Some(file) = &password.file {
            self.want(full_path(file), "recovery.password.file", "give a full path");
        }
        if let Some(mac) = &password.mac {
            // The value is not shown: it is the password.
            let text = "no address of an adapter: write it like 24:5E:BE:00:00:01, the first byte even, not all zero";
            self.want(Mac::from_str(mac).is_ok_and(Mac::is_unicast), "recovery.password.mac", text);
        }
        if let Some(name) = &password.interface {
            self.want(interface_name(name), "recovery.password.interface", "no interface name: 1 to 15 letters, without \"/\" and spaces");
        }
        if let Err(text) = template(&password.template, password.file.is_some()) {
            self.want_together("recovery.password", false, "recovery.password.template", &text);
        }
    }

    fn socket(&mut self, socket: &Socket) {
        self.count("socket.connections", socket.connections, 2, MOST_CONNECTIONS);
        self.count("socket.connections_per_uid", socket.connections_per_uid, 1, MOST_CONNECTIONS);
        self.want(socket.reserved > 0, "socket.reserved", "at least 1: else strangers could keep root out");
        let text = format!("{} must be less than socket.connections, which is {}", socket.reserved, socket.connections);
        self.want_together("socket", socket.reserved < socket.connections, "socket.reserved", &text);
        self.span("socket.idle", socket.idle, Duration::from_secs(1), Duration::from_secs(24 * 3600));
    }

    fn grant(&mut self, grant: &Grant) {
        for (key, names) in [("grant.login", &grant.login), ("grant.authenticator", &grant.authenticator)] {
            self.want(names.iter().all(|name| account_name(name)), key, "not each of these is the name of a local user");
        }
    }

    fn login(&mut self, login: &Login) {
        let text = format!("not each of these is the name of a service: give 1 to {SERVICE_CAP} bytes, without control characters");
        self.want(login.trust_by_address.iter().all(|name| service_name(name)), "login.trust_by_address", &text);
    }

    fn phone(&mut self, phone: &Phone, web: &Web) {
        if let Some(address) = &phone.address {
            let text = match spelling(address) {
                Some(right) => format!("write it as browsers do: \"{right}\""),
                None => "write it like https://nas.example.org:8443, without a path".into(),
            };
            self.want(spelling(address).is_some_and(|right| right == *address), "phone.address", &text);
        }
        self.want(web.listen.port() != 0, "web.listen", "0 is no port: give 1 to 65535");
        let text = "give both web.certificate and web.key, or neither";
        self.want_together("web", web.certificate.is_some() == web.key.is_some(), "web.certificate", text);
        let text = "the reverse proxy has the certificate: give web.socket, or web.certificate";
        self.want(web.socket.is_none() || web.certificate.is_none(), "web.socket", text);
        for (key, file) in [("web.socket", &web.socket), ("web.certificate", &web.certificate), ("web.key", &web.key)] {
            self.want(file.as_deref().is_none_or(full_path), key, "give a full path");
        }
    }

    fn mail(&mut self, mail: &Mail) {
        let Some(host) = &mail.host else {
            let others = [&mail.from, &mail.user, &mail.password_file, &mail.ca_file].iter().any(|value| value.is_some());
            return self.want_together("mail", !others && mail.port.is_none(), "mail", "no mail server is named: give mail.host");
        };
        self.want(host_name(host), "mail.host", "no name and no address of a server");
        self.want(mail.port != Some(0), "mail.port", "0 is no port: give 1 to 65535");
        let local = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        let text = "\"none\" is for a server on this machine (localhost): give \"starttls\" or \"tls\"";
        self.want(local || mail.security != MailSecurity::None, "mail.security", text);
        match mail.from.as_deref().map(Address::parse) {
            None => self.want_together("mail", false, "mail.from", "give the sender's address"),
            Some(from) => self.want(from.is_ok(), "mail.from", "no address: write it like nas@example.org"),
        }
        let text = "give both mail.user and mail.password_file, or neither";
        self.want_together("mail", mail.user.is_some() == mail.password_file.is_some(), "mail.user", text);
        for (key, file) in [("mail.password_file", &mail.password_file), ("mail.ca_file", &mail.ca_file)] {
            self.want(file.as_deref().is_none_or(full_path), key, "give a full path");
        }
    }
}

/// The names that useradd and adduser let through.
fn account_name(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.len() <= 32 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
}

/// What a login service may call itself in `Login.Start`: mostly the name of a file in /etc/pam.d.
fn service_name(name: &str) -> bool {
    (1..=SERVICE_CAP).contains(&name.len()) && !name.chars().any(char::is_control)
}

fn full_path(path: &str) -> bool {
    path.starts_with('/') && path.len() > 1 && path.len() < 4096 && !path.chars().any(char::is_control)
}

/// The name or the address of a server.
pub(super) fn host_name(name: &str) -> bool {
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.parse::<IpAddr>().is_ok() || name.len() <= 253 && name.trim_end_matches('.').split('.').all(label)
}

/// A path that fits into a field of /etc/passwd.
fn passwd_path(path: &str) -> bool {
    full_path(path) && !path.contains(':')
}

fn interface_name(name: &str) -> bool {
    // IFNAMSIZ is 16 with the NUL; the kernel refuses the rest as well (dev_valid_name).
    (1..16).contains(&name.len()) && name != "." && name != ".." && !name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace())
}

/// What is wrong with a template. One without an address would be the same password on every machine.
fn template(template: &str, file: bool) -> Result<(), String> {
    let bare = PLACEHOLDERS.iter().fold(template.to_owned(), |text, placeholder| text.replace(placeholder, ""));
    if template.len() > 64 || !template.chars().all(|c| (' '..='~').contains(&c)) {
        return Err("give at most 64 printable ASCII characters".into());
    }
    if bare.contains(['{', '}']) {
        return Err(format!("braces are for {} alone", PLACEHOLDERS.join(", ")));
    }
    if bare.len() == template.len() && !file {
        return Err(format!("one of {} must be in it: else every machine has the same password", PLACEHOLDERS.join(", ")));
    }
    Ok(())
}
