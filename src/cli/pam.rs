//! `twostep pam check`: whether the second step is in force for each service of this machine's PAM configuration.
//!
//! It reads the configuration and asks nobody but sshd, what its settings are (`sshd -T`). Whether other services converse is not looked at.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;

use super::output::{self, Failed};
use crate::core::pam_stack::{Fault, Guard, Kind, Service, Verdict};
use crate::core::pattern;
use crate::core::sshd_config::{Config, Found, Judged};

/// The largest file that is read, in bytes.
const LARGEST: u64 = 64 * 1024;

/// Services that run their account lines without having asked: for somebody root becomes, a job at its hour, a sudo that remembers.
const WITHOUT_ASKING: [&str; 10] = ["atd", "chfn", "chsh", "cron", "crond", "su", "su-l", "sudo", "sudo-i", "systemd-user"];

/// sshd's program; no path is searched.
const SSHD: &str = "/usr/sbin/sshd";

/// The service that sshd is taken to use where its settings are not known.
const BY_SSHD: &str = "sshd";

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

/// Checks the services in `folder`, and sshd by its configuration.
///
/// # Errors
/// Where the folder can't be read, or where a second step is there and can be got round.
pub fn check(folder: &Path, sshd_config: &Path, json: bool) -> Result<(), Failed> {
    let told = services(folder, &|| ask_sshd(sshd_config))?;
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

/// What sshd's settings come to, or why nobody can tell.
type Sshd = Result<Judged, String>;

fn services(folder: &Path, sshd: &dyn Fn() -> Sshd) -> Result<Vec<Told>, Failed> {
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
    let sshd = sshd();
    Ok(names.into_iter().filter_map(|name| told(name, &read, &sshd)).collect())
}

/// None where it is no file that can be read as text to its end; an absolute name stands for itself.
fn text(path: &Path) -> Option<String> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|about| about.is_file()))?;
    let mut text = String::new();
    let length = file.take(LARGEST + 1).read_to_string(&mut text).ok()?;
    (length as u64 <= LARGEST).then_some(text)
}

/// sshd's settings: what it tells of them itself, where it does, and Match blocks from the file.
fn ask_sshd(config: &Path) -> Sshd {
    let name = config.display().to_string();
    let folder = config.parent().unwrap_or(Path::new("/"));
    let unread = || format!("{name} can't be read, or is longer than {} KiB", LARGEST / 1024);
    let parse = |text: String| Config::parse(&name, &text, &|pattern| included(&folder.join(pattern))).map_err(|fault| fault.to_string());
    let read = text(config).ok_or_else(unread).and_then(parse);
    let told = Command::new(SSHD).arg("-T").arg("-f").arg(config).env_clear().stdin(Stdio::null()).stderr(Stdio::null()).output();
    let told = told.ok().filter(|told| told.status.success()).and_then(|told| String::from_utf8(told.stdout).ok());
    together(read, told.as_deref())
}

/// The settings in the file, and those that sshd tells: these hold for everybody, whatever the file is like.
fn together(read: Result<Config, String>, told: Option<&str>) -> Sshd {
    match (read, told) {
        (Ok(read), Some(told)) => Ok(read.with_told(told).judge()),
        (Err(why), Some(told)) => Ok(Judged { left_out: Some(why), ..Config::default().with_told(told).judge() }),
        (read, None) => read.map(|read| read.judge()),
    }
}

/// The files that an Include names, in sshd's order; None where they can't be told. `*` in the name alone is understood.
fn included(pattern: &Path) -> Option<Vec<Found>> {
    let (folder, name) = (pattern.parent()?, pattern.file_name()?.to_str()?);
    if folder.to_str()?.contains(['*', '?', '[']) || name.contains(['?', '[']) {
        return None;
    }
    let mut names: Vec<String> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
        // As no file at all.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(_) => return None,
    };
    names.retain(|found| pattern::matches(name, found) && (name.starts_with('.') || !found.starts_with('.')));
    names.sort_unstable();
    let named = |name: String| text(&folder.join(&name)).map(|text| (folder.join(name).display().to_string(), text));
    names.into_iter().map(named).collect()
}

fn told(name: String, read: &dyn Fn(&str) -> Option<String>, sshd: &Sshd) -> Option<Told> {
    let service = match Service::parse(&name, read) {
        Ok(service) => service,
        Err(fault) => return Some(Told { service: name, state: "unreadable", notes: vec![said(&fault)], is_fault: true }),
    };
    if !service.asks() {
        return None;
    }
    let guard = service.guard();
    let (state, notes) = judge_auth(&service.verdict(), guard == Guard::Holds);
    let is_fault = !matches!(state, "none" | "in_force");
    let mut told = Told { service: name, state, notes, is_fault };
    if WITHOUT_ASKING.contains(&told.service.as_str()) {
        if guard != Guard::Absent {
            told.fault("The account line refuses those who were not asked this time: take it out here.");
        }
    } else if let Guard::ByPassable(by) = &guard {
        told.passes(match by {
            Some(by) => format!("{by} lets in past the account line: put the line of pam_twostep.so before, or change that control."),
            None => "A refusal by the account line is not the end: use [success=ok ignore=ignore default=die].".into(),
        });
    }
    let by_sshd = sshd.as_ref().map_or(BY_SSHD, |sshd| sshd.service.as_str());
    if state != "none" && told.service == by_sshd {
        judge_sshd(&mut told, sshd.as_ref(), past_account(&service, &guard).as_deref());
    }
    if service.is_quiet() {
        told.notes.push("The dash before the line keeps it out of the log where pam_twostep.so is missing: take the dash away.".into());
    }
    let mut exceptions = service.exceptions(Kind::Auth);
    exceptions
        .extend(service.exceptions(Kind::Account).into_iter().filter(|exception| !service.exceptions(Kind::Auth).contains(exception)));
    told.notes.extend(exceptions.into_iter().map(|exception| format!("An exception is made: {exception}")));
    Some(told)
}

/// What to do against those whom the account lines don't stop, where sshd has let them in without the auth lines; None where they stop all.
fn past_account(service: &Service, guard: &Guard) -> Option<String> {
    if *guard == Guard::Absent {
        return Some("add the account line (/usr/share/twostep/pam/sshd).".into());
    }
    let exceptions = service.exceptions(Kind::Account);
    (!exceptions.is_empty()).then(|| format!("take {} off the account line.", exceptions.join(" ")))
}

impl Told {
    fn fault(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
        self.is_fault = true;
    }

    /// The same, where it lets somebody in.
    fn passes(&mut self, note: impl Into<String>) {
        self.fault(note);
        self.state = "by_passable";
    }
}

/// The state by the auth lines, and why. Who gets past them is refused where the account line `holds`.
fn judge_auth(verdict: &Verdict, holds: bool) -> (&'static str, Vec<String>) {
    let (state, note) = match verdict {
        Verdict::Absent => return ("none", Vec::new()),
        Verdict::InForce => return ("in_force", Vec::new()),
        Verdict::Doubled => (
            "doubled",
            "pam_twostep.so stands more than once: two codes are asked for, and the second is another one. Keep one line.".into(),
        ),
        Verdict::BeforePassword => {
            ("by_passable", "No password is checked before pam_twostep.so: put its line after the password's.".into())
        }
        Verdict::ByPassable(Some(by)) if holds => {
            ("in_force", format!("{by} lets in past the auth line; the account line refuses whoever needs a second step then."))
        }
        Verdict::ByPassable(Some(by)) => {
            ("by_passable", format!("{by} lets in without it: put the line of pam_twostep.so before, or change that control."))
        }
        Verdict::ByPassable(None) => {
            ("by_passable", "A failed second step is not the end: use [success=ok ignore=ignore default=die].".into())
        }
    };
    (state, vec![note])
}

/// sshd beside its PAM lines; `mend` says what to do where the account lines don't stop all who came past the auth lines.
fn judge_sshd(told: &mut Told, sshd: Result<&Judged, &String>, mend: Option<&str>) {
    let sshd = match sshd {
        Ok(sshd) => sshd,
        Err(why) => {
            if let Some(mend) = mend {
                told.passes(format!("A key passes without it: {mend}"));
            }
            return told.notes.push(format!("Not judged: sshd's own settings ({why})."));
        }
    };
    match sshd.uses_pam {
        Some(true) => {}
        Some(false) => told.passes("sshd asks none of these lines: set UsePAM yes."),
        None => told.notes.push("Not judged: whether sshd asks these lines (UsePAM is not set, and `sshd -T` does not tell).".into()),
    }
    match sshd.asks {
        Some(true) => {}
        Some(false) => told.fault(
            "sshd can't ask for a code, and refuses who needs one: set KbdInteractiveAuthentication yes, and have keyboard-interactive in \
             AuthenticationMethods.",
        ),
        None => told.notes.push(
            "Not judged: whether sshd can ask for a code (KbdInteractiveAuthentication is not set, and `sshd -T` does not tell).".into(),
        ),
    }
    told.notes
        .extend(sshd.unasked.iter().map(|who| format!("Can't be asked for a code, and is refused where one is needed: Match {who}.")));
    for (way, who) in &sshd.ways {
        let Some(mend) = mend else { break };
        let who = who.as_ref().map(|who| format!(" (Match {who})")).unwrap_or_default();
        told.passes(format!("{way} passes without it{who}: {mend}"));
    }
    if let Some(why) = &sshd.left_out {
        if let Some(mend) = mend.filter(|_| sshd.ways.is_empty()) {
            told.passes(format!("A key may pass without it by a Match block: {mend}"));
        }
        told.notes.push(format!("Not judged: Match blocks ({why})."));
    }
}

fn said(fault: &Fault) -> String {
    match fault {
        Fault::Unreadable(file, line) => format!("{file}, line {line}, is no line of PAM's."),
        Fault::Missing(file) => format!("{file} can't be read, or is longer than {} KiB.", LARGEST / 1024),
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
        machine_with(files, "UsePAM yes\nKbdInteractiveAuthentication yes\n")
    }

    fn machine_with(files: &[(&str, &str)], settings: &str) -> Vec<Told> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("common-auth"), COMMON).unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        services(folder.path(), &|| Ok(sshd(settings))).unwrap()
    }

    fn sshd(text: &str) -> Judged {
        Config::parse("sshd_config", text, &|_| None).unwrap().judge()
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
        assert!(open.is_fault && open.state == "by_passable" && open.notes[0].contains("A key passes"), "{open:?}");
        let closed = one("sshd", &format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
        assert!(!closed.is_fault && closed.notes.is_empty(), "{closed:?}");
    }

    #[test]
    fn an_account_line_that_does_not_hold_is_a_fault() {
        for (lines, word) in [
            ("account optional pam_twostep.so\naccount required pam_permit.so".to_owned(), "default=die"),
            (format!("account sufficient pam_localuser.so\n{ACCOUNT}"), "pam_localuser.so"),
        ] {
            for service in ["sshd", "login"] {
                let told = one(service, &format!("@include common-auth\n{AUTH}\n{lines}\n"));
                assert!(told.is_fault && told.state == "by_passable" && told.notes[0].contains(word), "{told:?}");
            }
        }
    }

    #[test]
    fn sshds_own_settings_are_judged_with_its_lines() {
        let folder = tempfile::tempdir().unwrap();
        let told = |lines: &str, sshd: Sshd| {
            std::fs::write(folder.path().join("common-auth"), COMMON).unwrap();
            std::fs::write(folder.path().join("sshd"), format!("@include common-auth\n{AUTH}\n{lines}\n")).unwrap();
            services(folder.path(), &|| sshd.clone()).unwrap().pop().unwrap()
        };
        let well = "UsePAM yes\nKbdInteractiveAuthentication yes\n";
        let without_keys = told("", Ok(sshd(&format!("{well}PubkeyAuthentication no\n"))));
        assert!(!without_keys.is_fault && without_keys.notes.is_empty(), "{without_keys:?}");
        for (settings, state, word) in [
            ("UsePAM no\nKbdInteractiveAuthentication yes\n", "by_passable", "UsePAM yes"),
            ("UsePAM yes\nKbdInteractiveAuthentication no\n", "in_force", "KbdInteractiveAuthentication yes"),
            ("UsePAM yes\nKbdInteractiveAuthentication yes\nAuthenticationMethods publickey\n", "in_force", "AuthenticationMethods"),
        ] {
            let told = told(ACCOUNT, Ok(sshd(settings)));
            assert!(told.is_fault && told.state == state && told.notes[0].contains(word), "{told:?}");
        }
        let some = told("", Ok(sshd(&format!("{well}PubkeyAuthentication no\nMatch User backup\nPubkeyAuthentication yes\n"))));
        assert!(some.is_fault && some.notes[0].starts_with("A key passes without it (Match User backup)"), "{some:?}");
        let unknown = told(ACCOUNT, Ok(sshd("Port 22\n")));
        assert!(
            !unknown.is_fault && unknown.notes.len() == 2 && unknown.notes.iter().all(|note| note.starts_with("Not judged")),
            "{unknown:?}"
        );
        let unread = told(ACCOUNT, Err("it can't be read".into()));
        assert!(!unread.is_fault && unread.notes[0].contains("Not judged"), "{unread:?}");
        assert!(told("", Err("it can't be read".into())).is_fault);
    }

    #[test]
    fn an_exception_on_the_account_line_of_ssh_lets_a_key_in_and_is_told() {
        for exception in ["users=alice", "exclude_group=robots"] {
            let told = one("sshd", &format!("@include common-auth\n{AUTH}\n{ACCOUNT} {exception}\n"));
            assert!(told.is_fault && told.state == "by_passable", "{told:?}");
            assert!(told.notes[0].starts_with("A key passes") && told.notes[0].contains(exception), "{told:?}");
            let login = one("login", &format!("@include common-auth\n{AUTH} {exception}\n{ACCOUNT} {exception}\n"));
            assert!(!login.is_fault && login.notes == [format!("An exception is made: {exception}")], "{login:?}");
            let login = one("login", &format!("@include common-auth\n{AUTH}\n{ACCOUNT} {exception}\n"));
            assert!(!login.is_fault && login.notes == [format!("An exception is made: {exception}")], "{login:?}");
        }
    }

    #[test]
    fn a_file_too_long_to_be_read_to_its_end_is_not_judged() {
        let padding = "# as long as it gets\n".repeat(4 * 1024);
        let long = format!("@include common-auth\n{AUTH}\n{padding}auth sufficient pam_permit.so\n");
        let told = one("login", &long);
        assert!(told.is_fault && told.state == "unreadable", "{told:?}");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("it"), "#".repeat(64 * 1024)).unwrap();
        assert!(text(&folder.path().join("it")).is_some());
        std::fs::write(folder.path().join("it"), "#".repeat(64 * 1024 + 1)).unwrap();
        assert_eq!(text(&folder.path().join("it")), None);
    }

    #[test]
    fn many_match_blocks_do_not_hide_what_holds_for_everybody() {
        let blocks: String = (0..9).map(|n| format!("Match User u{n}\nPubkeyAuthentication yes\n")).collect();
        let well = format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n");
        let ssh = |lines: &str, settings: &str| machine_with(&[("sshd", lines)], &format!("{settings}{blocks}")).pop().unwrap();
        let off = ssh(&well, "UsePAM no\nKbdInteractiveAuthentication yes\n");
        assert!(off.is_fault && off.state == "by_passable" && off.notes[0].contains("UsePAM yes"), "{off:?}");
        let on = ssh(&well, "UsePAM yes\nKbdInteractiveAuthentication yes\n");
        assert!(!on.is_fault && on.notes.len() == 1 && on.notes[0].starts_with("Not judged: Match blocks"), "{on:?}");
        let untold = together(Err("it can't be read".into()), Some("usepam no\nkbdinteractiveauthentication yes\n")).unwrap();
        assert_eq!((untold.uses_pam, untold.left_out.as_deref()), (Some(false), Some("it can't be read")));
        assert!(together(Err("it can't be read".into()), None).is_err());
        // A key may be let in by one of them.
        let unguarded = ssh(&well.replace(ACCOUNT, ""), "UsePAM yes\nKbdInteractiveAuthentication yes\nPubkeyAuthentication no\n");
        assert!(unguarded.is_fault && unguarded.state == "by_passable", "{unguarded:?}");
    }

    #[test]
    fn includes_are_found_by_name_in_order_and_what_is_not_understood_is_not_guessed() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.conf", "a.conf", ".c.conf", "d.conf~"] {
            std::fs::write(folder.path().join(name), name).unwrap();
        }
        let found = |pattern: &str| included(&folder.path().join(pattern)).map(|found| found.into_iter().map(|(_, text)| text).collect());
        assert_eq!(found("*.conf"), Some(vec!["a.conf".to_owned(), "b.conf".to_owned()]));
        assert_eq!(found("b.conf"), Some(vec!["b.conf".to_owned()]));
        assert_eq!(found("none/*.conf"), Some(vec![]));
        assert_eq!([found("?.conf"), found("*/a.conf")], [None, None]);
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
        let past = one("cockpit", &format!("auth sufficient pam_cockpit_cert.so\n@include common-auth\n{AUTH}\n{ACCOUNT}\n"));
        assert!(!past.is_fault && past.state == "in_force" && past.notes[0].contains("pam_cockpit_cert.so"), "{past:?}");
        let excepted = one("login", &format!("@include common-auth\n{AUTH} exclude_group=robots\n"));
        assert!(!excepted.is_fault && excepted.notes[0].contains("robots"), "{excepted:?}");
        let quiet = one("login", &format!("@include common-auth\n-{AUTH}\n"));
        assert!(!quiet.is_fault && quiet.notes[0].contains("dash"), "{quiet:?}");
    }
}
