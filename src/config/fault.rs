//! serde's messages, in our words and with the way out.
//!
//! The known keys and values come from the messages themselves, which serde makes from the types: they cannot go stale. A test holds the
//! messages to this form.

use serde_json::Value as Shape;

use super::nearest::nearest;
use super::place::Step;

/// What a message says, where it is of a form that people need translated.
pub(super) enum Fault<'m> {
    UnknownKey { name: &'m str, known: Vec<&'m str> },
    UnknownValue { value: &'m str, known: Vec<&'m str> },
    MissingKey { name: &'m str },
    WrongType { expected: &'m str },
}

impl<'m> Fault<'m> {
    pub(super) fn read(message: &'m str) -> Option<Self> {
        // A name that was misspelt may hold anything, backquotes too; what is known never does.
        let (subject, known) = message.rsplit_once(", expected ").unwrap_or((message, ""));
        let name = subject.split_once('`').map_or("", |(_, rest)| rest.trim_end_matches('`'));
        let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
        if message.starts_with("unknown field") {
            Some(Self::UnknownKey { name, known })
        } else if message.starts_with("unknown variant") {
            Some(Self::UnknownValue { value: name, known })
        } else if message.starts_with("missing field") {
            Some(Self::MissingKey { name })
        } else if message.starts_with("invalid type") || message.starts_with("invalid value") {
            message.rsplit_once(", expected ").map(|(_, expected)| Self::WrongType { expected })
        } else {
            None
        }
    }
}

/// Our words for a fault at `way`. A value of the wrong type is not repeated: it may be a secret. `shape` is the default value of the
/// whole, where there is one.
pub(super) fn explain(way: &[Step], message: &str, shape: &Shape) -> String {
    let key = dotted(way);
    match Fault::read(message) {
        Some(Fault::UnknownKey { name, known }) => unknown_key(name, &known, shape),
        Some(Fault::UnknownValue { value, known }) => {
            let hint = suggestion(value, &known, "it is one of");
            format!("{key}: unknown value \"{}\": {hint}", value.escape_debug())
        }
        Some(Fault::MissingKey { name }) if key.is_empty() => format!("the key \"{name}\" is missing"),
        Some(Fault::MissingKey { name }) => format!("the key \"{name}\" is missing in {key}"),
        Some(Fault::WrongType { expected }) => format!("{key}: expected {}", plain(expected)),
        None => format!("{key}: {message}"),
    }
}

fn unknown_key(name: &str, known: &[&str], shape: &Shape) -> String {
    let shown = name.escape_debug();
    let elsewhere = places(shape, name);
    if nearest(name, known).is_none() && !elsewhere.is_empty() {
        return format!("unknown key \"{shown}\" here: did you mean \"{}\"?", elsewhere.join("\" or \""));
    }
    format!("unknown key \"{shown}\": {}", suggestion(name, known, "known here are"))
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

/// A way for people: the items of a list are told apart by the line.
pub(super) fn dotted(way: &[Step]) -> String {
    let keys = way.iter().filter_map(|step| match step {
        Step::Key { name, .. } => Some(name.escape_debug().to_string()),
        Step::Item { .. } => None,
    });
    keys.collect::<Vec<_>>().join(".")
}

fn plain(expected: &str) -> &str {
    match expected {
        "a string" => "a text in quotes",
        "a boolean" => "true or false",
        // Ports alone are of this size.
        "u16" => "a port, 1 to 65535",
        "usize" | "u8" | "u32" | "u64" => "a whole number, not negative",
        "a sequence" => "a list in square brackets",
        // Of a number beyond 64 bits.
        "any value" => "a smaller number",
        other => other,
    }
}
