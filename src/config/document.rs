//! TOML text to a typed value, with every problem located.
//!
//! serde stops at the first problem. Here the entry at fault is taken out and the rest is read again, so that an operator sees all of
//! them at once. The known keys come from serde's own message: they cannot go stale.
//!
//! It does not know what the values mean: ranges and the like are checked by the types' own rules, which ask [`Document::line`] for the
//! place of a key.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::Value as Shape;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::Problem;
use super::nearest::nearest;

/// More than any file of ours holds, and little enough to read without care.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Problems reported of one file; whoever has more gets the rest after mending these.
const MAX_PROBLEMS: usize = 20;

/// More keys than any table of ours has: in a larger one the key at fault is not searched for.
const MAX_KEYS: usize = 32;

type Table<'t> = DeTable<'t>;

/// What a rule objects to.
pub(super) struct Finding {
    /// As for [`Document::line`].
    pub(super) key: String,
    /// What is wrong, and the way out.
    pub(super) text: String,
}

/// A parsed file that still knows where each key stands.
pub(super) struct Document<'t> {
    text: &'t str,
    root: Spanned<Table<'t>>,
}

impl<'t> Document<'t> {
    /// Parses the syntax.
    pub(super) fn parse(text: &'t str) -> Result<Self, Vec<Problem>> {
        if text.len() > MAX_BYTES {
            return Err(vec![Problem { line: 0, text: format!("larger than {} KiB: this is no file of twostep", MAX_BYTES / 1024) }]);
        }
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root }),
            Err(e) => Err(vec![Problem { line: e.span().map_or(0, |s| line_at(text, s.start)), text: e.message().to_owned() }]),
        }
    }

    /// Reads the whole as a `T`. `shape` is the default value, where there is one: it tells sections from keys.
    pub(super) fn read<T: DeserializeOwned>(&self, shape: &Shape) -> Result<T, Vec<Problem>> {
        let (mut problems, mut taken) = (Vec::new(), Vec::new());
        let mut rest = self.root.clone();
        self.take_out_false_sections(rest.get_mut(), shape, &mut problems);
        loop {
            let error = match read::<T>(&rest) {
                Ok(value) if problems.is_empty() => return Ok(value),
                Ok(_) => break,
                Err(error) => error,
            };
            let at = locate::<T>(&rest, &error);
            // What was taken out before is missing now: no fault of the file's.
            if !missing_in(&at, &error).is_some_and(|key| taken.contains(&key)) {
                problems.push(Problem { line: self.line_of_fault(&at, &error), text: explain(&at, error.message(), shape) });
            }
            if problems.len() >= MAX_PROBLEMS || !take_out(rest.get_mut(), &at) {
                break;
            }
            taken.push(at);
        }
        problems.sort();
        Err(problems)
    }

    /// The line of a key like `recovery.window` or `button.0.key`, or of the nearest section around it; 0 where there is neither.
    pub(super) fn line(&self, key: &str) -> usize {
        let mut line = 0;
        let mut table = self.root.get_ref();
        let mut steps = key.split('.').peekable();
        while let Some(step) = steps.next() {
            let Some((found, value)) = table.get_key_value(step) else { return line };
            line = line_at(self.text, found.span().start);
            let mut value = value.get_ref();
            if let (DeValue::Array(items), Some(Ok(index))) = (value, steps.peek().map(|s| s.parse::<usize>())) {
                let Some(item) = items.get(index) else { return line };
                line = line_at(self.text, item.span().start);
                value = item.get_ref();
                steps.next();
            }
            match value.as_table() {
                Some(inner) => table = inner,
                None => return line,
            }
        }
        line
    }

    /// Asks the rules of a type, and gives their findings the lines.
    pub(super) fn judge<T>(&self, value: T, rules: impl Fn(&T) -> Vec<Finding>) -> Result<T, Vec<Problem>> {
        let place = |f: Finding| Problem { line: self.line(&f.key), text: f.text };
        let mut problems: Vec<Problem> = rules(&value).into_iter().map(place).collect();
        problems.sort();
        if problems.is_empty() { Ok(value) } else { Err(problems) }
    }

    /// Whether the file says anything about a top-level key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.root.get_ref().contains_key(key)
    }

    /// serde would read `log = ["auto"]` as a section by position; people never mean that.
    fn take_out_false_sections(&self, table: &mut Table<'t>, shape: &Shape, problems: &mut Vec<Problem>) {
        let Some(sections) = shape.as_object() else { return };
        let mut wrong = Vec::new();
        for (key, value) in table.iter_mut() {
            let Some(inner) = sections.get(key.get_ref().as_ref()).filter(|s| s.is_object()) else { continue };
            match value.get_mut() {
                DeValue::Table(table) => self.take_out_false_sections(table, inner, problems),
                other => {
                    let text = format!("\"{}\" is a section, not {}: write [{}]", key.get_ref(), kind(other), key.get_ref());
                    problems.push(Problem { line: line_at(self.text, key.span().start), text });
                    wrong.push(key.get_ref().to_string());
                }
            }
        }
        wrong.iter().for_each(|key| drop(table.remove(key.as_str())));
    }

    fn line_of_fault(&self, at: &[String], error: &toml::de::Error) -> usize {
        match self.line(&at.join(".")) {
            0 => error.span().filter(|s| !s.is_empty()).map_or(0, |s| line_at(self.text, s.start)),
            line => line,
        }
    }
}

fn read<T: DeserializeOwned>(table: &Spanned<Table<'_>>) -> Result<T, toml::de::Error> {
    T::deserialize(toml::de::Deserializer::from(table.clone()))
}

/// The path of the key that the message calls missing.
fn missing_in(at: &[String], error: &toml::de::Error) -> Option<Vec<String>> {
    match Fault::read(error.message()) {
        Some(Fault::MissingKey { name }) => Some(at.iter().cloned().chain([name.to_owned()]).collect()),
        _ => None,
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::Array(_) => "a list",
        _ => "a value",
    }
}

/// The path of the entry at fault, as far as it can be told; array items by their index.
fn locate<T: DeserializeOwned>(root: &Spanned<Table<'_>>, error: &toml::de::Error) -> Vec<String> {
    let mut path = Vec::new();
    let Some(span) = error.span() else { return path };
    if !find_in_table(root.get_ref(), &span, &mut path) {
        return path;
    }
    if let Some(Fault::UnknownKey { name, .. }) = Fault::read(error.message())
        && path.last().is_none_or(|last| last != name)
    {
        path.push(name.to_owned());
    } else if table_at(root.get_ref(), &path).is_some() && !error.message().starts_with("missing field") {
        path.extend(culprit::<T>(root, &path, error.message()));
    }
    path
}

fn find_in_table(table: &Table<'_>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    table.iter().any(|(key, value)| {
        path.push(key.get_ref().to_string());
        let found = key.span() == *span || find_in_value(value, span, path);
        if !found {
            path.pop();
        }
        found
    })
}

fn find_in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Vec<String>) -> bool {
    match value.get_ref() {
        DeValue::Table(table) => find_in_table(table, span, path) || value.span() == *span,
        DeValue::Array(items) => {
            let inside = items.iter().enumerate().any(|(i, item)| {
                path.push(i.to_string());
                let found = find_in_value(item, span, path);
                if !found {
                    path.pop();
                }
                found
            });
            inside || value.span() == *span
        }
        _ => value.span() == *span,
    }
}

/// serde reads a `kind = …` table as a whole and forgets which key was wrong: it is the one without which the message changes.
fn culprit<T: DeserializeOwned>(root: &Spanned<Table<'_>>, path: &[String], message: &str) -> Option<String> {
    let table = table_at(root.get_ref(), path).filter(|table| table.len() <= MAX_KEYS)?;
    let keys: Vec<String> = table.keys().map(|k| k.get_ref().to_string()).collect();
    keys.into_iter().filter(|key| key != "kind").find(|key| {
        let mut without = root.clone();
        let whole: Vec<String> = path.iter().chain([key]).cloned().collect();
        take_out(without.get_mut(), &whole) && read::<T>(&without).err().is_none_or(|e| e.message() != message)
    })
}

fn table_at<'a, 't>(table: &'a Table<'t>, path: &[String]) -> Option<&'a Table<'t>> {
    let Some((step, rest)) = path.split_first() else { return Some(table) };
    match (table.get(step.as_str())?.get_ref(), rest.split_first()) {
        (DeValue::Table(inner), _) => table_at(inner, rest),
        (DeValue::Array(items), Some((index, rest))) => table_at(items.get(index.parse::<usize>().ok()?)?.get_ref().as_table()?, rest),
        _ => None,
    }
}

/// Removes an entry. Where it cannot be removed there is nothing more to be learnt from the file.
fn take_out(table: &mut Table<'_>, path: &[String]) -> bool {
    match path {
        [] => false,
        [key] => table.remove(key.as_str()).is_some(),
        [key, rest @ ..] => match table.get_mut(key.as_str()).map(Spanned::get_mut) {
            Some(DeValue::Table(inner)) => take_out(inner, rest),
            Some(DeValue::Array(items)) => match (rest[0].parse::<usize>(), &rest[1..]) {
                // The whole list goes: without one item the indices of the others would tell wrong lines.
                (Ok(_), []) => table.remove(key.as_str()).is_some(),
                (Ok(i), rest) => match items.get_mut(i).map(Spanned::get_mut) {
                    Some(DeValue::Table(inner)) => take_out(inner, rest),
                    _ => false,
                },
                _ => false,
            },
            _ => false,
        },
    }
}

/// What serde's message says, where it is of a form that people need translated.
enum Fault<'m> {
    UnknownKey { name: &'m str, known: Vec<&'m str> },
    UnknownValue { value: &'m str, known: Vec<&'m str> },
    MissingKey { name: &'m str },
    WrongType { expected: &'m str },
}

impl<'m> Fault<'m> {
    fn read(message: &'m str) -> Option<Self> {
        let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
        let (first, known) = match quoted.split_first() {
            Some((first, known)) => (*first, known.to_vec()),
            None => ("", Vec::new()),
        };
        if message.starts_with("unknown field") {
            Some(Self::UnknownKey { name: first, known })
        } else if message.starts_with("unknown variant") {
            Some(Self::UnknownValue { value: first, known })
        } else if message.starts_with("missing field") {
            Some(Self::MissingKey { name: first })
        } else if message.starts_with("invalid type") || message.starts_with("invalid value") {
            message.rsplit_once(", expected ").map(|(_, expected)| Self::WrongType { expected })
        } else {
            None
        }
    }
}

/// Our words for a problem. A value of the wrong type is not repeated: it may be a secret.
fn explain(at: &[String], message: &str, shape: &Shape) -> String {
    let key = dotted(at);
    match Fault::read(message) {
        Some(Fault::UnknownKey { name, known }) => unknown_key(name, &known, shape),
        Some(Fault::UnknownValue { value, known }) => {
            format!("{key}: unknown value \"{value}\": {}", suggestion(value, &known, "it is one of"))
        }
        Some(Fault::MissingKey { name }) => match key.as_str() {
            "" => format!("the key \"{name}\" is missing"),
            key => format!("the key \"{name}\" is missing in {key}"),
        },
        Some(Fault::WrongType { expected }) => format!("{key}: expected {}", plain_type(expected)),
        None => format!("{key}: {message}"),
    }
}

fn unknown_key(name: &str, known: &[&str], shape: &Shape) -> String {
    let elsewhere = places(shape, name);
    match elsewhere.as_slice() {
        _ if nearest(name, known).is_some() => format!("unknown key \"{name}\": {}", suggestion(name, known, "known here are")),
        [] => format!("unknown key \"{name}\": {}", suggestion(name, known, "known here are")),
        places => format!("unknown key \"{name}\" here: did you mean \"{}\"?", places.join("\" or \"")),
    }
}

fn suggestion(name: &str, known: &[&str], all: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("{all} {}", known.join(", ")),
    }
}

/// Where a key of this name stands in the whole configuration.
fn places(shape: &Shape, name: &str) -> Vec<String> {
    let Some(object) = shape.as_object() else { return Vec::new() };
    let mut found = Vec::new();
    for (key, value) in object {
        if key == name {
            found.push(key.clone());
        }
        found.extend(places(value, name).into_iter().map(|inner| format!("{key}.{inner}")));
    }
    found
}

/// A path for people: the items of a list are told apart by the line.
fn dotted(at: &[String]) -> String {
    at.iter().filter(|step| step.parse::<usize>().is_err()).map(String::as_str).collect::<Vec<_>>().join(".")
}

fn plain_type(expected: &str) -> &str {
    match expected {
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        "usize" | "u8" | "u16" | "u32" | "u64" => "a whole number, not negative",
        "a sequence" => "a list in square brackets",
        other => other,
    }
}
