//! `twostep pam check`: whether the second step is in force for each service of this machine's PAM configuration.
//!
//! It reads the configuration and asks nobody. Whether a service converses (sshd's own settings) is not looked at.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Serialize;

use super::output::{self, Failed};
use crate::core::pam_stack::{Fault, Service, Verdict};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Services that run their account lines without having asked: for somebody root becomes, a job at its hour, a sudo that remembers.
const WITHOUT_ASKING: [&str; 10] = ["atd", "chfn", "chsh", "cron", "crond", "su", "su-l", "sudo", "sudo-i", "systemd-user"];

/// Whose way in by a key leaves the auth lines out.
const BY_KEY: [&str; 1] = ["sshd"];

/// What is told of one service.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Told {
    service: String,
    /// none, in_force, doubled, by_passable, unreadable
    state: &'static str,
    /// Why, and what to do; each a sentence for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip)]
    is_fault: bool,
}

/// Checks the services in `folder`.
///
/// # Errors
/// Where the folder can't be read, or where a second step is there and can be got round.
pub fn check(folder: &Path, json: bool) -> Result<(), Failed> {
    let told = services(folder)?;
    for service in &told {
        if json {
            output::json(service)?;
        } else {
            output::line(format_args!("{:16}  {}", service.service, words(service.state)))?;
            service.notes.iter().try_for_each(|note| output::line(format_args!("{:16}    {note}", "")))?;
        }
    }
    match told.iter().filter(|service| service.is_fault).count() {
        0 => Ok(()),
        1 => Err(Failed::Refused("one service is not as it should be".into())),
        count => Err(Failed::Refused(format!("{count} services are not as they should be"))),
    }
}

fn words(state: &str) -> &str {
    match state {
        "none" => "no second step",
        "in_force" => "in force",
        "by_passable" => "BY-PASSABLE",
        "doubled" => "DOUBLED",
        _ => "UNREADABLE",
    }
}

fn services(folder: &Path) -> Result<Vec<Told>, Failed> {
    let unreadable = |e: std::io::Error| Failed::Refused(format!("{}: {e}", folder.display()));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
        // Parts of others, and what editors and dpkg leave behind.
        if !name.starts_with("common-") && !name.starts_with('.') && !name.contains(".dpkg-") && !name.ends_with('~') {
            names.push(name);
        }
    }
    names.sort_unstable();
    let read = |name: &str| text(&folder.join(name));
    Ok(names.into_iter().filter_map(|name| told(name, &read)).collect())
}

/// None where it is no file that can be read as text; an absolute name stands for itself.
fn text(path: &Path) -> Option<String> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|about| about.is_file()))?;
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn told(name: String, read: &dyn Fn(&str) -> Option<String>) -> Option<Told> {
    let service = match Service::parse(&name, read) {
        Ok(service) => service,
        Err(fault) => return Some(Told { service: name, state: "unreadable", notes: vec![said(&fault)], is_fault: true }),
    };
    if !service.asks() {
        return None;
    }
    let mut notes = Vec::new();
    let state = match service.verdict() {
        Verdict::Absent => "none",
        Verdict::InForce => "in_force",
        Verdict::Doubled => {
            notes.push(
                "pam_twostep.so stands more than once: two codes are asked for, and the second is another one. Keep one line.".into(),
            );
            "doubled"
        }
        Verdict::BeforePassword => {
            notes.push("No password is checked before pam_twostep.so: put its line after the password's.".into());
            "by_passable"
        }
        Verdict::ByPassable(Some(by)) => {
            notes.push(format!("{by} lets in without it: put the line of pam_twostep.so before, or change that control."));
            "by_passable"
        }
        Verdict::ByPassable(None) => {
            notes.push("A failed second step is not the end: use [success=ok ignore=ignore default=die].".into());
            "by_passable"
        }
    };
    let mut is_fault = !matches!(state, "none" | "in_force");
    if state != "none" && BY_KEY.contains(&name.as_str()) && !service.guards_account() {
        notes.push("A key passes without it: add the account line (/usr/share/twostep/pam/sshd).".into());
        is_fault = true;
    }
    if service.guards_account() && WITHOUT_ASKING.contains(&name.as_str()) {
        notes.push("The account line refuses those who were not asked this time: take it out here.".into());
        is_fault = true;
    }
    if service.is_quiet() {
        notes.push("The dash before the line keeps it out of the log where pam_twostep.so is missing: take the dash away.".into());
    }
    notes.extend(service.exceptions().into_iter().map(|exception| format!("An exception is made: {exception}")));
    Some(Told { service: name, state, notes, is_fault })
}

fn said(fault: &Fault) -> String {
    match fault {
        Fault::Unreadable(file, line) => format!("{file}, line {line}, is no line of PAM's."),
        Fault::Missing(file) => format!("{file} is included, and can't be read."),
        Fault::TooLong => "Too many lines, or a file that includes itself.".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\nauth required pam_permit.so\n";
    const AUTH: &str = "auth [success=ok ignore=ignore default=die] pam_twostep.so";
    const ACCOUNT: &str = "account [success=ok ignore=ignore default=die] pam_twostep.so";

    fn machine(files: &[(&str, &str)]) -> Vec<Told> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("common-auth"), COMMON).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        services(folder.path()).unwrap()
    }

    fn one(name: &str, text: &str) -> Told {
        machine(&[(name, text)]).pop().unwrap()
    }

    #[test]
    fn each_service_is_told_in_order_and_parts_of_others_are_not() {
        let text = format!("@include common-auth\n{AUTH}\n");
        let told =
            machine(&[("sudo", &text), ("cups", "@include common-auth\n"), ("cron", "session required pam_env.so\n"), ("sudo~", &text)]);
        let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state, told.is_fault)).collect();
        assert_eq!(states, [("cups", "none", false), ("sudo", "in_force", false)]);
    }

    #[test]
    fn an_ssh_that_a_key_gets_round_is_a_fault() {
        let open = one("sshd", &format!("@include common-auth\n{AUTH}\n"));
        assert!(open.is_fault && open.notes[0].contains("key"), "{open:?}");
        let closed = one("sshd", &format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
        assert!(!closed.is_fault && closed.notes.is_empty(), "{closed:?}");
    }

    #[test]
    fn an_account_line_where_nobody_is_asked_is_a_fault() {
        let sudo = one("sudo", &format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
        assert!(sudo.is_fault && sudo.notes[0].contains("account line"), "{sudo:?}");
    }

    #[test]
    fn what_is_wrong_is_said_with_what_to_do() {
        for (text, state, word) in [
            (format!("@include common-auth\n{AUTH}\n{AUTH}\n"), "doubled", "Keep one"),
            (format!("{AUTH}\n@include common-auth\n"), "by_passable", "after the password's"),
            (format!("auth sufficient pam_unix.so\n{AUTH}\n"), "by_passable", "pam_unix.so"),
            ("@include common-auth\nauth optional pam_twostep.so\n".into(), "by_passable", "default=die"),
            ("@include nothing\n".into(), "unreadable", "nothing"),
            ("auth perhaps pam_unix.so\n".into(), "unreadable", "line 1"),
        ] {
            let told = one("login", &text);
            assert!(told.is_fault && told.state == state && told.notes[0].contains(word), "{told:?}");
        }
        let excepted = one("login", &format!("@include common-auth\n{AUTH} exclude_group=robots\n"));
        assert!(!excepted.is_fault && excepted.notes[0].contains("robots"), "{excepted:?}");
        let quiet = one("login", &format!("@include common-auth\n-{AUTH}\n"));
        assert!(!quiet.is_fault && quiet.notes[0].contains("dash"), "{quiet:?}");
    }
}
