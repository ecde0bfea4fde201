//! `twostep pam check`: whether the second step is in force for each service of this machine's PAM configuration.
//!
//! It reads the configuration and asks nobody but sshd, what its settings are (`sshd -T`). Whether other services converse is not looked at.
//!
//! What somebody wrote down as an exception (`users=`, `exclude_group=`) is told as one and is no fault, on the account line of sshd as on any other.
//! By-passable is what nobody asked for.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
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

/// Where sshd looks for files that an Include names without a folder, whatever its own is (sshd_config(5)).
const SSHD_FOLDER: &str = "/etc/ssh";

/// The machine's own services, and where packages of some distributions put those that `/etc/pam.d` has no file for (pam.d(5)).
const FOLDER: &str = "/etc/pam.d";
const OF_PACKAGES: &str = "/usr/lib/pam.d";

/// What libpam reads for a service without a file.
const OTHER: &str = "other";

/// The service that sshd is taken to use where its settings are not known.
const BY_SSHD: &str = "sshd";

/// What is told of one service.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Told {
    service: String,
    /// none, in_force, doubled, by_passable, unreadable
    state: &'static str,
    /// Exceptions that the lines make, as they are written; those of the account line alone say so behind.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exceptions: Vec<String>,
    /// Why, and what to do; each a sentence for people.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
    #[serde(skip)]
    is_fault: bool,
    /// The second step is there and no password before it, as in what other services include.
    #[serde(skip)]
    is_part: bool,
}

/// Checks the services in `folder`, and sshd by its configuration.
///
/// # Errors
/// Where the folder can't be read, or where a second step is there and can be got round.
pub fn check(folder: &Path, sshd_config: &Path, json: bool) -> Result<(), Failed> {
    let folders: &[&Path] = if folder == Path::new(FOLDER) { &[folder, Path::new(OF_PACKAGES)] } else { &[folder] };
    let told = services(folders, &|| ask_sshd(sshd_config))?;
    for service in &told {
        if json {
            output::json(service)?;
        } else {
            output::line(format_args!("{:16}  {}", service.service, service.words()))?;
            service.notes.iter().try_for_each(|note| output::line(format_args!("{:16}    {note}", "")))?;
        }
    }
    match told.iter().filter(|service| service.is_fault).count() {
        0 => Ok(()),
        1 => Err(Failed::Refused("one service is not as it should be".into())),
        count => Err(Failed::Refused(format!("{count} services are not as they should be"))),
    }
}

/// What sshd's settings come to, or why nobody can tell.
type Sshd = Result<Judged, String>;

/// Of two folders with a file of one name, the first counts.
fn services(folders: &[&Path], sshd: &dyn Fn() -> Sshd) -> Result<Vec<Told>, Failed> {
    let (mut names, sshd) = (names(folders)?, sshd());
    let find = |name: &str| folders.iter().map(|folder| folder.join(name)).find(|path| path.symlink_metadata().is_ok());
    // libpam asks `other` in the place of a service that has no file.
    let without_file = |name: &str| find(name).is_none();
    let by_sshd = sshd.iter().flat_map(|sshd| sshd.others.iter().map(|(name, _)| name).chain([&sshd.service]));
    names.extend(by_sshd.filter(|name| without_file(name) && find(OTHER).is_some()).cloned());
    names.sort_unstable();
    let included = RefCell::new(HashSet::new());
    let mut all = Vec::new();
    for name in names {
        let read = |file: &str| {
            if file != name {
                included.borrow_mut().insert(file.to_owned());
            }
            text(&find(if file == name && without_file(file) { OTHER } else { file })?)
        };
        all.extend(told(name.clone(), &read, &sshd));
    }
    // The passwords are checked where it is included, and there it is judged.
    all.retain(|told| !told.is_part || !included.borrow().contains(&told.service));
    if let Ok(sshd) = &sshd {
        judge_others(&mut all, sshd);
    }
    Ok(all)
}

fn names(folders: &[&Path]) -> Result<Vec<String>, Failed> {
    let mut names = HashSet::new();
    for (folder, n) in folders.iter().zip(0..) {
        let unreadable = |e: std::io::Error| Failed::Refused(format!("{}: {e}", folder.display()));
        let entries = match std::fs::read_dir(folder) {
            Err(e) if n > 0 && e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(unreadable)?,
        };
        for entry in entries {
            let name = entry.map_err(unreadable)?.file_name().to_string_lossy().into_owned();
            // Parts of others, and what editors and dpkg leave behind.
            if !name.starts_with("common-") && !name.starts_with('.') && !name.contains(".dpkg-") && !name.ends_with('~') {
                names.insert(name);
            }
        }
    }
    Ok(names.into_iter().collect())
}

/// None where it is no file that can be read to its end. What is no UTF-8, in a comment of old, counts as other letters.
fn text(path: &Path) -> Option<String> {
    // A pipe is not waited for.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).ok()?;
    let file = Some(file).filter(|file| file.metadata().is_ok_and(|about| about.is_file()))?;
    let mut text = Vec::new();
    let length = file.take(LARGEST + 1).read_to_end(&mut text).ok()?;
    (length as u64 <= LARGEST).then(|| String::from_utf8_lossy(&text).into_owned())
}

/// sshd's settings: what it tells of them itself, where it does, and Match blocks from the file.
fn ask_sshd(config: &Path) -> Sshd {
    let name = config.display().to_string();
    let unread = || format!("{name} can't be read, or is longer than {} KiB", LARGEST / 1024);
    let parse = |text: String| {
        Config::parse(&name, &text, &|pattern| included(&Path::new(SSHD_FOLDER).join(pattern))).map_err(|fault| fault.to_string())
    };
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
        Err(fault) => {
            let unreadable =
                Told { service: name, state: "unreadable", exceptions: vec![], notes: vec![said(&fault)], is_fault: true, is_part: false };
            return Some(unreadable);
        }
    };
    if !service.asks() {
        return None;
    }
    let guard = service.guard();
    let verdict = service.verdict();
    let (state, notes) = judge_auth(&verdict, guard == Guard::Holds);
    let is_fault = !matches!(state, "none" | "in_force");
    let is_part = verdict == Verdict::BeforePassword;
    let mut told = Told { service: name, state, exceptions: exceptions(&service), notes, is_fault, is_part };
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
    let by_sshd = |sshd: &Judged| told.service == sshd.service || sshd.others.iter().any(|(name, _)| *name == told.service);
    if state != "none" && sshd.as_ref().map_or(told.service == BY_SSHD, by_sshd) {
        judge_sshd(&mut told, sshd.as_ref(), guard == Guard::Absent);
        let is_excepted = !service.exceptions(Kind::Account).is_empty();
        for (way, _) in sshd.iter().flat_map(|sshd| &sshd.ways).filter(|_| is_excepted) {
            told.notes.push(format!("{way} alone lets in those who are excepted on the account line."));
        }
    }
    if service.is_quiet() {
        told.notes.push("The dash before the line keeps it out of the log where pam_twostep.so is missing: take the dash away.".into());
    }
    Some(told)
}

fn exceptions(service: &Service) -> Vec<String> {
    let mut exceptions = service.exceptions(Kind::Auth);
    let more = service.exceptions(Kind::Account).into_iter().filter(|exception| !exceptions.contains(exception));
    let more: Vec<String> = more.map(|exception| format!("{exception} (account line)")).collect();
    exceptions.extend(more);
    exceptions
}

/// The services that sshd uses for some, where it has a second step for the others.
fn judge_others(all: &mut [Told], sshd: &Judged) {
    let is_protected =
        |told: &Told| told.state != "none" && (told.service == sshd.service || sshd.others.iter().any(|(name, _)| *name == told.service));
    if !all.iter().any(is_protected) {
        return;
    }
    let everybody = [(sshd.service.clone(), String::new())];
    for (name, who) in everybody.iter().chain(&sshd.others) {
        let who = if who.is_empty() { String::new() } else { format!(" (Match {who})") };
        if let Some(told) = all.iter_mut().find(|told| told.service == *name && told.state == "none") {
            told.passes(format!("sshd may use this service{who}: put the lines of /usr/share/twostep/pam/sshd here too."));
        }
    }
}

impl Told {
    fn words(&self) -> String {
        let except = if self.exceptions.is_empty() { String::new() } else { format!(", except by {}", self.exceptions.join(" ")) };
        match self.state {
            "none" => "no second step".into(),
            "in_force" => format!("in force{except}"),
            "by_passable" => format!("BY-PASSABLE{except}"),
            "doubled" => format!("DOUBLED{except}"),
            _ => "UNREADABLE".into(),
        }
    }

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

/// What to do where sshd lets in past the auth lines.
const MEND: &str = "add the account line (/usr/share/twostep/pam/sshd).";

/// sshd beside its PAM lines; `is_open`: there is no account line, which would stop those who came past the auth lines.
fn judge_sshd(told: &mut Told, sshd: Result<&Judged, &String>, is_open: bool) {
    let sshd = match sshd {
        Ok(sshd) => sshd,
        Err(why) => {
            if is_open {
                told.passes(format!("A key passes without it: {MEND}"));
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
    for (way, who) in sshd.ways.iter().filter(|_| is_open) {
        let who = who.as_ref().map(|who| format!(" (Match {who})")).unwrap_or_default();
        told.passes(format!("{way} passes without it{who}: {MEND}"));
    }
    if let Some(why) = &sshd.left_out {
        if is_open && sshd.ways.is_empty() {
            told.passes(format!("A key may pass without it by a Match block: {MEND}"));
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
        services(&[folder.path()], &|| Ok(sshd(settings))).unwrap()
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
            services(&[folder.path()], &|| sshd.clone()).unwrap().pop().unwrap()
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

    /// As the manual page has it for scripts.
    #[test]
    fn an_exception_that_somebody_wrote_down_is_told_and_no_fault() {
        for exception in ["users=alice", "exclude_group=robots"] {
            for service in ["sshd", "login"] {
                let told = one(service, &format!("@include common-auth\n{AUTH} {exception}\n{ACCOUNT} {exception}\n"));
                assert!(!told.is_fault && told.words() == format!("in force, except by {exception}"), "{told:?}");
                let told = one(service, &format!("@include common-auth\n{AUTH}\n{ACCOUNT} {exception}\n"));
                assert!(!told.is_fault && told.words() == format!("in force, except by {exception} (account line)"), "{told:?}");
                // A key is a way round the password too, which is said where there are keys.
                assert_eq!(told.notes.len(), usize::from(service == "sshd"), "{told:?}");
            }
            // The hole beside it is one.
            let open = one("sshd", &format!("@include common-auth\n{AUTH} {exception}\n"));
            assert!(open.is_fault && open.words() == format!("BY-PASSABLE, except by {exception}"), "{open:?}");
            assert!(open.notes[0].starts_with("A key passes without it: add the account line"), "{open:?}");
        }
    }

    #[test]
    fn each_service_that_sshd_may_use_is_judged_as_its_own() {
        let well = format!("@include common-auth\n{AUTH}\n{ACCOUNT}\n");
        let set = "UsePAM yes\nKbdInteractiveAuthentication yes\nMatch User backup\nPAMServiceName ssh-backup\n";
        let states = |files: &[(&str, &str)]| {
            let told = machine_with(files, set);
            told.iter().map(|told| (told.service.clone(), told.state, told.is_fault)).collect::<Vec<_>>()
        };
        let of = |service: &str, state, is_fault| (service.to_owned(), state, is_fault);
        assert_eq!(states(&[("sshd", &well), ("ssh-backup", &well)]), [of("ssh-backup", "in_force", false), of("sshd", "in_force", false)]);
        let without_account = well.replace(ACCOUNT, "");
        assert_eq!(states(&[("sshd", &well), ("ssh-backup", &without_account)])[0], of("ssh-backup", "by_passable", true));
        let none = "@include common-auth\n";
        let told = machine_with(&[("sshd", &well), ("ssh-backup", none)], set).remove(0);
        assert!(told.state == "by_passable" && told.notes[0].starts_with("sshd may use this service (Match User backup)"), "{told:?}");
        // The other way round too, and without a file `other` counts.
        assert_eq!(states(&[("sshd", none), ("ssh-backup", &well)])[1], of("sshd", "by_passable", true));
        assert_eq!(
            states(&[("sshd", &well), ("other", none)]),
            [of("other", "none", false), of("ssh-backup", "by_passable", true), of("sshd", "in_force", false)]
        );
        // Where nobody wants a second step from ssh, nothing is amiss.
        assert_eq!(states(&[("sshd", none), ("ssh-backup", none)]), [of("ssh-backup", "none", false), of("sshd", "none", false)]);
    }

    /// As Fedora's password-auth and postlogin, and as in polkit's file, which its package puts elsewhere.
    #[test]
    fn parts_are_judged_where_they_are_included_and_what_packages_bring_is_seen() {
        let auth = "auth sufficient pam_unix.so\nauth required pam_deny.so\n";
        let files = [
            ("password-auth", auth),
            ("postlogin", AUTH),
            ("remote", "auth substack password-auth\nauth include postlogin\n"),
            ("alone", AUTH),
        ];
        let told = machine(&files);
        let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
        assert_eq!(states, [("alone", "by_passable"), ("password-auth", "none"), ("remote", "in_force")]);
        let (own, packages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let well = format!("auth required pam_unix.so\n{AUTH}\n");
        for (folder, name, text) in
            [(&own, "sudo", well.as_str()), (&packages, "sudo", auth), (&packages, "polkit-1", auth), (&packages, "su", &well)]
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let told = services(&[own.path(), packages.path()], &|| Err("not asked".into())).unwrap();
        let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
        assert_eq!(states, [("polkit-1", "none"), ("su", "in_force"), ("sudo", "in_force")]);
        assert!(services(&[own.path(), Path::new("/nonexistent")], &|| Err("not asked".into())).is_ok());
        assert!(services(&[Path::new("/nonexistent")], &|| Err("not asked".into())).is_err());
    }

    #[test]
    fn a_comment_in_letters_of_old_hides_no_line_and_a_pipe_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = b"# f\xfcr alle\nauth required pam_unix.so\n".to_vec();
        file.extend(AUTH.as_bytes());
        std::fs::write(folder.path().join("login"), file).unwrap();
        let mode = nix::sys::stat::Mode::S_IRUSR;
        nix::unistd::mkfifo(&folder.path().join("pipe"), mode).unwrap();
        let told = services(&[folder.path()], &|| Err("not asked".into())).unwrap();
        let states: Vec<_> = told.iter().map(|told| (told.service.as_str(), told.state)).collect();
        assert_eq!(states, [("login", "in_force"), ("pipe", "unreadable")]);
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
        assert!(!excepted.is_fault && excepted.exceptions == ["exclude_group=robots"], "{excepted:?}");
        let quiet = one("login", &format!("@include common-auth\n-{AUTH}\n"));
        assert!(!quiet.is_fault && quiet.notes[0].contains("dash"), "{quiet:?}");
    }
}
