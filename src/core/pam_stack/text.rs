//! The files of a PAM configuration (pam.conf(5)), as text.

use super::{Action, Actions, Fault, Kind, Line};

/// The longest stack that is read, includes counted in, and how deep they may be nested.
pub(super) const LONGEST: usize = 256;
const DEEPEST: usize = 8;

/// Reads the lines of this kind out of a file, and of what it includes, into a stack.
pub(super) fn include(
    file: &str,
    kind: Kind,
    read: &dyn Fn(&str) -> Option<String>,
    depth: usize,
    into: &mut Vec<Line>,
) -> Result<(), Fault> {
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
            let mut words = words(rest).into_iter();
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

/// The words of a line. One in brackets may hold spaces, and `\]` stands for a bracket in it (pam.conf(5)).
fn words(mut rest: &str) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        rest = rest.trim_start();
        let Some(first) = rest.chars().next() else { return words };
        if first == '[' {
            let inside = &rest[1..];
            let is_end = |(at, _): &(usize, &str)| !inside[..*at].ends_with('\\');
            let end = inside.match_indices(']').find(is_end).map_or(inside.len(), |(at, _)| at);
            words.push(inside[..end].replace("\\]", "]"));
            rest = inside.get(end + 1..).unwrap_or_default();
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
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
    Some((Control::Actions(Actions { success, renew: success, ignore: Action::Ignore, failures: vec![failure] }), rest))
}

/// `success=ok ignore=ignore default=die`; what is not named is bad.
fn bracketed(inside: &str) -> Option<Control> {
    let (mut success, mut renew, mut ignore, mut default, mut failures) = (None, None, None, None, Vec::new());
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
            "new_authtok_reqd" => renew = Some(action),
            _ => failures.push(action),
        }
    }
    let default = default.unwrap_or(Action::Bad);
    failures.push(default);
    let of = |named: Option<Action>| named.unwrap_or(default);
    Some(Control::Actions(Actions { success: of(success), renew: of(renew), ignore: of(ignore), failures }))
}
