//! A configuration is checked in whole: what is taken reaches the engine as it is, what is refused says where and which key.

use serde_json::Value;
use twostep::config::paths::Paths;
use twostep::config::{Config, Error, Handover};

/// The largest file that is looked at here: what is beyond a file of people's is refused by its size.
pub const LARGEST: usize = 4096;

/// The input is the file.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if text.len() > LARGEST {
        return;
    }
    match Config::parse(text, "twostepd.toml") {
        Ok(config) => {
            let handover = Handover { config, paths: Paths::system(), owner: 0 };
            let handed = serde_json::to_value(&handover).expect("a configuration can be handed over");
            assert_eq!(serde_json::from_value::<Handover>(handed).ok(), Some(handover));
        }
        Err(error) => is_located(text, &error, &names(&serde_json::to_value(Config::default()).expect("written"))),
    }
}

/// Each problem is one line, stands where the file has one, and names a key: one of the file's or one of ours.
pub fn is_located(text: &str, error: &Error, known: &[String]) {
    let problems = error.problems();
    assert!(!problems.is_empty(), "refused without a reason");
    let told = error.to_string();
    assert_eq!(told.lines().count(), problems.len(), "{told}");
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
    let written: Option<Value> = toml::from_str(text).ok();
    let keys: Vec<String> = written.iter().flat_map(names).collect();
    for problem in &problems {
        assert!(problem.line <= text.lines().count().max(1), "line {} is not in the file", problem.line);
        // Where the syntax is wrong there are no keys to name.
        let named = |key: &String| problem.text.contains(key.as_str()) || problem.text.contains(&key.escape_debug().to_string());
        assert!(written.is_none() || known.iter().chain(&keys).any(named), "no key is named: {problem:?}");
    }
}

/// All keys at all levels.
pub fn names(value: &Value) -> Vec<String> {
    match value {
        Value::Object(members) => members.iter().flat_map(|(key, value)| [vec![key.clone()], names(value)].concat()).collect(),
        Value::Array(items) => items.iter().flat_map(names).collect(),
        _ => Vec::new(),
    }
}
