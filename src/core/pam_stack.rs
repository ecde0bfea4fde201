//! A PAM configuration as text, and whether its second step can be got round.
//!
//! A stack is followed as Linux-PAM follows it (pam.conf(5)), over every outcome that its modules may have, with the second step failing or left
//! out: where that can still end in success, the second step is by-passable, and the module that made it so is named.
//!
//! This module reads no files, and knows nothing of what other modules do, but for a few: `pam_deny` never succeeds, `pam_permit` always does,
//! and `pam_rootok` lets root in, who is asked for nothing.

use std::collections::HashSet;

/// The module that is looked for.
pub const OURS: &str = "pam_twostep.so";

/// The longest stack that is followed, includes counted in, and how deep they may be nested.
const LONGEST: usize = 256;
const DEEPEST: usize = 8;

/// Modules that check a password, or what stands for it.
const PASSWORDS: [&str; 8] = [
    "pam_unix.so",
    "pam_sss.so",
    "pam_winbind.so",
    "pam_ldap.so",
    "pam_krb5.so",
    "pam_kanidm.so",
    "pam_himmelblau.so",
    "pam_systemd_home.so",
];

/// A stack's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Who it is.
    Auth,
    /// Whether the account may be used.
    Account,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Account => "account",
        }
    }
}

/// What a control makes of a module's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Ignore,
    Bad,
    Die,
    Ok,
    Done,
    Reset,
    Jump(usize),
}

/// What a control makes of each outcome that a module may have.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Actions {
    success: Action,
    ignore: Action,
    /// Of every other outcome that is named, and of those that are not. A module says in more than one way that it failed.
    failures: Vec<Action>,
}

/// A line of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Line {
    Module { actions: Actions, name: String, words: Vec<String>, is_quiet: bool },
    Substack(Vec<Self>),
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A line can't be read: the file, and the line's number.
    Unreadable(String, usize),
    /// A file that is included is not there.
    Missing(String),
    /// Too long, or nested too deep.
    TooLong,
}

/// What the auth lines of a service come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no second step.
    Absent,
    /// Nobody gets in without it.
    InForce,
    /// It stands more than once: two codes are asked for.
    Doubled,
    /// It comes before a password was checked, or without one.
    BeforePassword,
    /// Somebody may get in without it; by this module, where one is to blame.
    ByPassable(Option<String>),
}

/// A service, as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    auth: Vec<Line>,
    account: Vec<Line>,
}

impl Service {
    /// Reads a service's file; `read` gives the text of any file of the same folder, by its name.
    ///
    /// # Errors
    /// [`Fault`]
    pub fn parse(name: &str, read: &dyn Fn(&str) -> Option<String>) -> Result<Self, Fault> {
        let stack = |kind| {
            let mut lines = Vec::new();
            include(name, kind, read, 0, &mut lines).map(|()| lines)
        };
        Ok(Self { auth: stack(Kind::Auth)?, account: stack(Kind::Account)? })
    }

    /// Whether anybody is asked who they are.
    #[must_use]
    pub fn asks(&self) -> bool {
        !self.auth.is_empty()
    }

    /// Whether the account lines have the module.
    #[must_use]
    pub fn guards_account(&self) -> bool {
        ours(&self.account).next().is_some()
    }

    /// Whether a dash before one of the module's lines keeps it out of the log where the module is missing. That still is a failure, of which the
    /// control decides.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        is_quiet(&self.auth) || is_quiet(&self.account)
    }

    /// The exceptions that a line makes by itself, as they are written.
    #[must_use]
    pub fn exceptions(&self) -> Vec<String> {
        let is_exception = |word: &&String| word.starts_with("users=") || word.starts_with("exclude_group=");
        ours(&self.auth).flat_map(|words| words.iter().filter(is_exception).cloned()).collect()
    }

    /// What its auth lines come to.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match ours(&self.auth).count() {
            0 => return Verdict::Absent,
            1 => {}
            _ => return Verdict::Doubled,
        }
        let names: Vec<&str> = modules(&self.auth).map(|(name, _)| name).collect();
        let place = names.iter().position(|name| *name == OURS).unwrap_or_default();
        if !names[..place].iter().any(|name| PASSWORDS.contains(name)) {
            return Verdict::BeforePassword;
        }
        let ends = follow(&self.auth, &End { impression: Impression::Undefined, over: false, by: None });
        match ends.into_iter().find(|end| end.impression == Impression::Positive) {
            Some(end) => Verdict::ByPassable(end.by),
            None => Verdict::InForce,
        }
    }
}

/// All modules of a stack, with their words.
fn modules(lines: &[Line]) -> Box<dyn Iterator<Item = (&str, &[String])> + '_> {
    Box::new(lines.iter().flat_map(|line| match line {
        Line::Module { name, words, .. } => Box::new(std::iter::once((name.as_str(), words.as_slice()))),
        Line::Substack(lines) => modules(lines),
    }))
}

fn is_quiet(lines: &[Line]) -> bool {
    lines.iter().any(|line| match line {
        Line::Module { name, is_quiet, .. } => name == OURS && *is_quiet,
        Line::Substack(lines) => is_quiet(lines),
    })
}

fn ours(lines: &[Line]) -> impl Iterator<Item = &[String]> {
    modules(lines).filter(|(name, _)| *name == OURS).map(|(_, words)| words)
}

fn include(file: &str, kind: Kind, read: &dyn Fn(&str) -> Option<String>, depth: usize, into: &mut Vec<Line>) -> Result<(), Fault> {
    if depth > DEEPEST {
        return Err(Fault::TooLong);
    }
    let text = read(file).ok_or_else(|| Fault::Missing(file.into()))?;
    for (line, number) in joined(&text) {
        if let Some(other) = line.strip_prefix("@include") {
            include(other.trim(), kind, read, depth + 1, into)?;
            continue;
        }
        let unreadable = || Fault::Unreadable(file.into(), number);
        let (of, rest) = line.split_once(char::is_whitespace).ok_or_else(unreadable)?;
        // A leading dash is for modules that may be absent: nothing is logged then.
        let is_quiet = of.starts_with('-');
        if of.trim_start_matches('-').eq_ignore_ascii_case(kind.word()) {
            let (control, rest) = control(rest.trim_start()).ok_or_else(unreadable)?;
            let mut words = rest.split_whitespace().map(str::to_owned);
            let module = words.next().ok_or_else(unreadable)?;
            match control {
                Control::Include => include(&module, kind, read, depth + 1, into)?,
                Control::Substack => {
                    let mut lines = Vec::new();
                    include(&module, kind, read, depth + 1, &mut lines)?;
                    into.push(Line::Substack(lines));
                }
                Control::Actions(actions) => {
                    let name = module.rsplit('/').next().unwrap_or_default().to_owned();
                    into.push(Line::Module { actions, name, words: words.collect(), is_quiet });
                }
            }
        }
        if into.len() > LONGEST {
            return Err(Fault::TooLong);
        }
    }
    Ok(())
}

/// The lines without comments, those that end in a backslash joined, each with its number.
fn joined(text: &str) -> Vec<(String, usize)> {
    let mut lines = Vec::new();
    let mut open: Option<(String, usize)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default();
        let (mut whole, first) = open.take().unwrap_or((String::new(), number));
        match line.trim_end().strip_suffix('\\') {
            Some(part) => {
                whole.push_str(part);
                whole.push(' ');
                open = Some((whole, first));
            }
            None => {
                whole.push_str(line);
                lines.push((whole.trim().to_owned(), first));
            }
        }
    }
    lines.extend(open.map(|(whole, first)| (whole.trim().to_owned(), first)));
    lines.retain(|(line, _)| !line.is_empty());
    lines
}

enum Control {
    Include,
    Substack,
    Actions(Actions),
}

fn control(text: &str) -> Option<(Control, &str)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inside, rest) = rest.split_once(']')?;
        return Some((bracketed(inside)?, rest));
    }
    let (word, rest) = text.split_once(char::is_whitespace)?;
    let (success, failure) = match word.to_ascii_lowercase().as_str() {
        "required" => (Action::Ok, Action::Bad),
        "requisite" => (Action::Ok, Action::Die),
        "sufficient" => (Action::Done, Action::Ignore),
        "optional" => (Action::Ok, Action::Ignore),
        "include" => return Some((Control::Include, rest)),
        "substack" => return Some((Control::Substack, rest)),
        _ => return None,
    };
    Some((Control::Actions(Actions { success, ignore: Action::Ignore, failures: vec![failure] }), rest))
}

/// `success=ok ignore=ignore default=die`; what is not named is bad.
fn bracketed(inside: &str) -> Option<Control> {
    let (mut success, mut ignore, mut default, mut failures) = (None, None, None, Vec::new());
    for word in inside.split_whitespace() {
        let (outcome, action) = word.split_once('=')?;
        let action = match action {
            "ignore" => Action::Ignore,
            "bad" => Action::Bad,
            "die" => Action::Die,
            "ok" => Action::Ok,
            "done" | "end" => Action::Done,
            "reset" => Action::Reset,
            number => Action::Jump(number.parse().ok()?),
        };
        match outcome {
            "success" => success = Some(action),
            "ignore" => ignore = Some(action),
            // Of more than one, libpam takes the first.
            "default" => default = default.or(Some(action)),
            // As good as success, but for the application.
            "new_authtok_reqd" => {}
            _ => failures.push(action),
        }
    }
    let default = default.unwrap_or(Action::Bad);
    failures.push(default);
    Some(Control::Actions(Actions { success: success.unwrap_or(default), ignore: ignore.unwrap_or(default), failures }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Impression {
    Undefined,
    Positive,
    Negative,
}

/// Where a way through a stack ends.
#[derive(Clone, Debug)]
struct End {
    impression: Impression,
    /// Nothing after it counts.
    over: bool,
    /// The module that left the second step out.
    by: Option<String>,
}

/// All ends of a stack in which the second step did not succeed.
fn follow(lines: &[Line], from: &End) -> Vec<End> {
    let mut ends = Vec::new();
    let mut seen = HashSet::new();
    let mut open = vec![(0, from.clone())];
    while let Some((at, state)) = open.pop() {
        let Some(line) = lines.get(at).filter(|_| !state.over) else {
            ends.push(state);
            continue;
        };
        if !seen.insert((at, state.impression)) {
            continue;
        }
        match line {
            Line::Substack(inner) => {
                // What is over in a substack is not over for the stack around it.
                open.extend(follow(inner, &state).into_iter().map(|end| (at + 1, End { over: false, ..end })));
            }
            Line::Module { name, actions, .. } => {
                let skips =
                    |count: usize| lines.iter().skip(at + 1).take(count).any(|line| ours(std::slice::from_ref(line)).next().is_some());
                let later = || skips(lines.len());
                let mut go = |action: Action| match step(action, &state) {
                    (jump, None) => {
                        let by = if skips(jump) { Some(name.clone()) } else { state.by.clone() };
                        open.push((at + 1 + jump, End { by, ..state.clone() }));
                    }
                    (_, Some(mut end)) => {
                        if end.over && later() {
                            end.by = Some(name.clone());
                        }
                        open.push((at + 1, end));
                    }
                };
                match name.as_str() {
                    OURS | "pam_deny.so" | "pam_rootok.so" => actions.failures.iter().copied().for_each(&mut go),
                    "pam_permit.so" => go(actions.success),
                    _ => actions.failures.iter().copied().chain([actions.ignore, actions.success]).for_each(&mut go),
                }
            }
        }
    }
    ends
}

/// One outcome: the lines to skip, or the state after it.
fn step(action: Action, state: &End) -> (usize, Option<End>) {
    let after = |impression, over| Some(End { impression, over, ..state.clone() });
    let good = if state.impression == Impression::Negative { Impression::Negative } else { Impression::Positive };
    match action {
        Action::Jump(count) => (count, None),
        Action::Ignore => (0, after(state.impression, false)),
        Action::Reset => (0, after(Impression::Undefined, false)),
        Action::Bad => (0, after(Impression::Negative, false)),
        Action::Die => (0, after(Impression::Negative, true)),
        Action::Ok => (0, after(good, false)),
        Action::Done => (0, after(good, good == Impression::Positive)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMON: &str = "auth [success=1 default=ignore] pam_unix.so nullok\nauth requisite pam_deny.so\nauth required pam_permit.so\n\
                          auth optional pam_cap.so\n";
    const LINE: &str = "auth [success=ok ignore=ignore default=die] pam_twostep.so";

    fn service(text: &str) -> Service {
        let read = |name: &str| match name {
            "it" => Some(text.to_owned()),
            "common-auth" => Some(COMMON.to_owned()),
            "common-account" => Some("account required pam_unix.so\n".to_owned()),
            _ => None,
        };
        Service::parse("it", &read).unwrap()
    }

    fn verdict(text: &str) -> Verdict {
        service(text).verdict()
    }

    fn by(module: &str) -> Verdict {
        Verdict::ByPassable(Some(module.into()))
    }

    #[test]
    fn the_shipped_lines_are_in_force_where_they_say_that_they_belong() {
        assert_eq!(verdict("@include common-auth\n@include common-account\n"), Verdict::Absent);
        assert_eq!(verdict(&format!("@include common-auth\n{LINE}\n@include common-account\n")), Verdict::InForce);
        assert_eq!(verdict(&format!("auth substack common-auth\n{LINE}\nauth optional pam_ssh_add.so\n")), Verdict::InForce);
        // Root needs no password for su either.
        assert_eq!(verdict(&format!("auth sufficient pam_rootok.so\n@include common-auth\n{LINE}\n")), Verdict::InForce);
        for control in ["required", "requisite"] {
            assert_eq!(verdict(&format!("@include common-auth\nauth {control} /lib/security/pam_twostep.so debug\n")), Verdict::InForce);
        }
    }

    #[test]
    fn a_control_that_does_not_hold_is_found() {
        for control in ["optional", "sufficient", "[success=ok default=ignore]", "[success=done default=ignore]", "[default=reset]"] {
            let found = verdict(&format!("@include common-auth\nauth {control} pam_twostep.so\nauth required pam_permit.so\n"));
            assert!(matches!(found, Verdict::ByPassable(_)), "{control}: {found:?}");
        }
    }

    #[test]
    fn each_way_to_fail_has_to_end_the_login() {
        for control in [
            "success=ok ignore=ignore authinfo_unavail=ignore default=die",
            "success=ok ignore=ignore default=die maxtries=reset",
            "success=ok ignore=ignore conv_err=1 default=die",
            "success=ok ignore=ignore module_unknown=ignore default=die",
            "success=ok auth_err=die default=ignore",
            "success=ok auth_err=die default=ignore default=die",
        ] {
            let found = verdict(&format!("@include common-auth\nauth [{control}] pam_twostep.so\nauth required pam_permit.so\n"));
            assert!(matches!(found, Verdict::ByPassable(None)), "{control}: {found:?}");
        }
        for control in
            ["success=ok new_authtok_reqd=ok ignore=ignore user_unknown=bad default=die", "success=ok ignore=ignore auth_err=bad"]
        {
            let found = verdict(&format!("@include common-auth\nauth [{control}] pam_twostep.so\nauth required pam_permit.so\n"));
            assert_eq!(found, Verdict::InForce, "{control}");
        }
        // Another module's too: this one lets in past the line while a directory is down.
        let past = "auth [success=ok authinfo_unavail=1 default=die] pam_sss.so\n";
        assert_eq!(verdict(&format!("auth required pam_unix.so\n{past}{LINE}\n")), by("pam_sss.so"));
    }

    #[test]
    fn a_dash_is_seen_and_leaves_the_line_in_force() {
        let quiet = service(&format!("@include common-auth\n-{LINE}\n"));
        assert!(quiet.is_quiet() && quiet.verdict() == Verdict::InForce);
        assert!(service(&format!("@include common-auth\n{LINE}\n-account required pam_twostep.so\n")).is_quiet());
        assert!(!service(&format!("-auth optional pam_cap.so\n@include common-auth\n{LINE}\n")).is_quiet());
    }

    #[test]
    fn a_module_that_ends_or_jumps_past_it_is_named() {
        let unix = "auth required pam_unix.so\n";
        assert_eq!(verdict(&format!("{unix}auth sufficient pam_ssh_agent_auth.so\n{LINE}\n")), by("pam_ssh_agent_auth.so"));
        assert_eq!(
            verdict(&format!("{unix}auth [success=1 default=ignore] pam_succeed_if.so user = bob\n{LINE}\n")),
            by("pam_succeed_if.so")
        );
        assert_eq!(verdict(&format!("auth sufficient pam_unix.so\n{LINE}\n")), by("pam_unix.so"));
        assert_eq!(verdict(&format!("auth [success=end default=ignore] pam_unix.so\n{LINE}\n")), by("pam_unix.so"));
        // A jump that lands on it is none past it.
        assert_eq!(
            verdict(&format!("auth [success=1 default=ignore] pam_unix.so\nauth requisite pam_deny.so\n{LINE}\n")),
            Verdict::InForce
        );
    }

    #[test]
    fn what_ends_a_substack_does_not_end_the_stack() {
        let read = |name: &str| match name {
            "it" => Some(format!("auth substack inner\n{LINE}\n")),
            "inner" => Some("auth sufficient pam_unix.so\n".to_owned()),
            _ => None,
        };
        assert_eq!(Service::parse("it", &read).unwrap().verdict(), Verdict::InForce);
    }

    #[test]
    fn doubled_and_misplaced_lines_are_found() {
        assert_eq!(verdict(&format!("@include common-auth\n{LINE}\n{LINE}\n")), Verdict::Doubled);
        assert_eq!(verdict(&format!("{LINE}\n@include common-auth\n")), Verdict::BeforePassword);
        assert_eq!(verdict(&format!("{LINE}\nauth required pam_permit.so\n")), Verdict::BeforePassword);
    }

    #[test]
    fn exceptions_and_account_lines_are_seen() {
        let it =
            service(&format!("@include common-auth\n{LINE} users=alice debug exclude_group=robots\naccount required pam_twostep.so\n"));
        assert_eq!(it.exceptions(), ["users=alice", "exclude_group=robots"]);
        assert!(it.guards_account() && it.asks());
        assert!(!service("session required pam_unix.so\n").asks());
    }

    #[test]
    fn comments_and_continued_lines_are_read_as_pam_does() {
        assert_eq!(verdict("@include common-auth\n# auth required pam_twostep.so\n"), Verdict::Absent);
        assert_eq!(verdict("@include common-auth # the password\nauth \\\n  required \\\n  pam_twostep.so\n"), Verdict::InForce);
        assert_eq!(verdict("@include common-auth\nAUTH Required pam_twostep.so\n"), Verdict::InForce);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let fault = |text: &str| Service::parse("it", &|name: &str| (name == "it").then(|| text.to_owned())).unwrap_err();
        assert_eq!(fault("\nauth maybe pam_unix.so\n"), Fault::Unreadable("it".into(), 2));
        assert_eq!(fault("auth [success=ok pam_unix.so\n"), Fault::Unreadable("it".into(), 1));
        assert_eq!(fault("auth required\n"), Fault::Unreadable("it".into(), 1));
        assert_eq!(fault("@include nothing\n"), Fault::Missing("nothing".into()));
        assert_eq!(fault("@include it\n"), Fault::TooLong);
        assert_eq!(fault(&"auth required pam_unix.so\n".repeat(LONGEST + 1)), Fault::TooLong);
    }
}
