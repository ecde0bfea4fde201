//! `twostep list | enforce | disable-for | unlock | delegate | audit | import`: other people's accounts.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroizing;

use super::account::PATIENCE;
use super::args::{Command, ListKind, Role};
use super::engine;
use super::output::{self, Failed};
use crate::client::{self, Client};
use crate::core::account::Status;
use crate::core::enforcement::SubjectKind;
use crate::proto::admin::{Changed, Delegations, Entries, Entry, Error, Subject, Subjects};
use crate::proto::secret::Secret;
use crate::proto::varlink::Empty;

/// The longest text that is imported, in bytes.
const IMPORT_CAP: u64 = 32 * 1024;

/// Runs one of the commands; the others are not for here.
///
/// # Errors
/// See [`Failed`].
pub fn run(command: &Command, dir: &Path, json: bool) -> Result<(), Failed> {
    let mut admin = Admin { client: engine::connect(dir, PATIENCE)?, json };
    match command {
        Command::List { kind, filter } => admin.list(*kind, filter.as_deref()),
        Command::Enforce { users, groups, off, dry_run } => admin.enforce(users, groups, *off, *dry_run),
        Command::DisableFor { user } => {
            admin.done("DisableFor", &json!({ "user": user }), &format!("2-step verification of {user} is off"))
        }
        Command::Unlock { user } => admin.done("Unlock", &json!({ "user": user }), &format!("{user} can try again")),
        Command::Delegate { subject: Some(subject), role: Some(role), revoke } => admin.delegate(subject, *role, !revoke),
        Command::Delegate { .. } => admin.delegations(),
        Command::Audit { user, limit, follow } => admin.audit(user.as_deref(), *limit, *follow),
        Command::Import { user, file } => admin.import(user, file.as_deref()),
        _ => Ok(()),
    }
}

struct Admin {
    client: Client,
    json: bool,
}

impl Admin {
    fn call<R: DeserializeOwned>(&mut self, method: &str, parameters: &impl Serialize) -> Result<R, Failed> {
        self.client.call(&format!("io.twostep.Admin.{method}"), parameters).map_err(explain)
    }

    fn done(&mut self, method: &str, parameters: &impl Serialize, words: &str) -> Result<(), Failed> {
        let Empty {} = self.call(method, parameters)?;
        if self.json { output::json(&Empty {}) } else { output::line(words) }
    }

    fn list(&mut self, kind: ListKind, filter: Option<&str>) -> Result<(), Failed> {
        let kind = match kind {
            ListKind::Users => SubjectKind::LocalUser,
            ListKind::Groups => SubjectKind::LocalGroup,
            ListKind::DomainUsers => SubjectKind::DomainUser,
            ListKind::DomainGroups => SubjectKind::DomainGroup,
        };
        let mut parameters = json!({ "kind": kind });
        if let Some(filter) = filter {
            parameters["filter"] = filter.into();
        }
        let mut none = true;
        for page in self.client.call_more::<Subjects>("io.twostep.Admin.List", &parameters)? {
            for subject in page.map_err(explain)?.subjects {
                none = false;
                if self.json { output::json(&subject)? } else { output::line(row(&subject))? }
            }
        }
        self.or_say(none, if filter.is_some() { "none of that name" } else { "none" })
    }

    fn enforce(&mut self, users: &[String], groups: &[String], off: bool, dry_run: bool) -> Result<(), Failed> {
        let parameters = json!({ "users": users, "groups": groups, "enforced": !off, "dry_run": dry_run });
        let changed: Changed = self.call("Enforce", &parameters)?;
        if self.json {
            return output::json(&changed);
        }
        let would = if dry_run { "would become" } else { "is now" };
        for change in &changed.changed {
            output::line(format_args!("{}: {} {would} {}", change.user, change.from, change.to))?;
        }
        if changed.changed.is_empty() { output::line("nobody's status changes") } else { Ok(()) }
    }

    fn delegate(&mut self, subject: &str, role: Role, granted: bool) -> Result<(), Failed> {
        let (role, title) = match role {
            Role::SystemManagement => ("system_management", "System Management"),
            Role::AccessManagement => ("access_management", "Access Management"),
        };
        let words = if granted { format!("{subject} holds {title}") } else { format!("{subject} no longer holds {title}") };
        self.done("Delegate", &json!({ "subject": subject, "role": role, "granted": granted }), &words)
    }

    fn delegations(&mut self) -> Result<(), Failed> {
        let all: Delegations = self.call("ListDelegations", &Empty {})?;
        for delegation in &all.delegations {
            if self.json { output::json(delegation)? } else { output::line(format_args!("{}  {}", delegation.subject, delegation.role))? }
        }
        self.or_say(all.delegations.is_empty(), "nobody holds a delegated role")
    }

    /// A person is told that there is nothing; a script sees it.
    fn or_say(&self, none: bool, words: &str) -> Result<(), Failed> {
        if none && !self.json { output::line(words) } else { Ok(()) }
    }

    fn audit(&mut self, user: Option<&str>, limit: u32, follow: bool) -> Result<(), Failed> {
        let mut parameters = json!({ "limit": limit });
        if let Some(user) = user {
            parameters["user"] = user.into();
        }
        if !follow {
            let entries: Entries = self.call("Audit", &parameters)?;
            entries.entries.iter().try_for_each(|entry| show(entry, self.json))?;
            let none = user.map_or("nothing was decided yet".into(), |user| format!("nothing was decided about {user}"));
            return self.or_say(entries.entries.is_empty(), &none);
        }
        output::end_with_reader();
        self.client.set_time_limit(None)?;
        for page in self.client.call_more::<Entries>("io.twostep.Admin.Audit", &parameters)? {
            page.map_err(explain)?.entries.iter().try_for_each(|entry| show(entry, self.json))?;
        }
        Ok(())
    }

    fn import(&mut self, user: &str, file: Option<&Path>) -> Result<(), Failed> {
        let mut text = Zeroizing::new(String::new());
        let (name, read): (String, io::Result<usize>) = match file.filter(|file| *file != Path::new("-")) {
            Some(file) => (file.display().to_string(), File::open(file).and_then(|f| f.take(IMPORT_CAP + 1).read_to_string(&mut text))),
            None => ("standard input".into(), io::stdin().take(IMPORT_CAP + 1).read_to_string(&mut text)),
        };
        let length = read.map_err(|e| Failed::Refused(format!("{name}: {e}")))?;
        if length as u64 > IMPORT_CAP {
            return Err(Failed::Refused(format!("{name}: longer than {IMPORT_CAP} bytes, which no such file is")));
        }
        let text = Secret::new(text.to_string());
        self.done("Import", &json!({ "user": user, "text": text }), &format!("{user} has the imported Security Code"))
    }
}

fn row(subject: &Subject) -> String {
    let status = subject.status.map_or("", Status::as_str);
    let by = if subject.enforced_by.is_empty() { String::new() } else { format!(" by {}", subject.enforced_by.join(", ")) };
    let enforced = if subject.enforced || !subject.enforced_by.is_empty() { format!("  enforced{by}") } else { String::new() };
    format!("{:<24} {status}{enforced}", subject.name)
}

fn show(entry: &Entry, json: bool) -> Result<(), Failed> {
    if json {
        return output::json(entry);
    }
    let mut line = format!("{}  {:<20} {:<12} by {}", output::date(entry.at), entry.event, entry.user.as_deref().unwrap_or("-"), entry.by);
    let more = [("service", &entry.service), ("from", &entry.remote), ("", &entry.detail)];
    for (word, value) in more {
        if let Some(value) = value {
            line.push_str(&format!("  {word}{}{value}", if word.is_empty() { "" } else { " " }));
        }
    }
    output::line(line)
}

/// Says what a person can do about an error of the interface.
pub fn explain(error: client::Error) -> Failed {
    let client::Error::Service(failure) = &error else { return Failed::Call(error) };
    let Some(typed) = failure.typed::<Error>() else { return Failed::Call(error) };
    Failed::Refused(match typed {
        Error::PermissionDenied { reason } => reason,
        Error::NoSuchSubject { name } => format!("there is no user or group {name}"),
        Error::LastWayIn { reason } => format!("refused: {reason}"),
        Error::NotEnabled {} => "2-step verification is not on for that account".into(),
        Error::InvalidImport { reason } => reason,
        Error::DatabaseWorks {} => "the database works: there is nothing to start anew".into(),
        Error::StorageFailed { reason } => format!("nothing was decided: {reason}"),
    })
}
