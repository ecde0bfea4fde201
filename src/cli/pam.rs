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
mod tests;
