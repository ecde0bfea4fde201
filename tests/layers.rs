//! Who may use whom: the layers of the source tree, checked from the paths that stand in it.
//!
//! Each module at the top of `src` is a layer. A path (`use crate::…`, `crate::…` in the middle of an expression, `super::…` that climbs out)
//! may lead to the own layer and to those that [`LAYERS`] names. `core` moreover knows no files, sockets, clocks, randomness or logs, and
//! `unsafe` stands in `sys` alone. Tests inside the modules obey the layers, but may read files.

use std::fmt;
use std::path::{Path, PathBuf};

/// A layer and what it may use; `sys::peer` means that module alone.
const LAYERS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("proto", &["core"]),
    ("sys", &["core"]),
    ("config", &["core"]),
    ("log", &["config"]),
    ("client", &["proto", "sys::clock", "sys::peer"]),
    ("supervisor", &["core", "proto", "sys", "config", "client", "log"]),
    ("engine", &["core", "proto", "sys", "config", "client", "log"]),
    // A crate of its own.
    ("cipher", &[]),
    ("cli", &["core", "proto", "sys", "config", "client", "log"]),
    ("web", &["core", "proto", "sys", "config", "client", "log"]),
];

/// What `core` must not name: modules of std that act, other crates that do, and types that read a clock.
const NOT_PURE_STD: &[&str] = &["fs", "net", "io", "os", "env", "process", "thread", "sync"];
const NOT_PURE_CRATES: &[&str] = &["tokio", "nix", "libc", "log", "rusqlite", "getrandom", "rand", "syslog", "mac_address"];
const NOT_PURE_TYPES: &[&str] = &["Instant", "SystemTime"];

#[derive(Debug, PartialEq, Eq)]
struct Breach {
    line: usize,
    what: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// A word or sign of the source, without comments and literals.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Token {
    text: String,
    line: usize,
}

fn tokens(source: &str) -> Vec<Token> {
    let letters: Vec<char> = source.chars().collect();
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    while let Some(&letter) = letters.get(at) {
        let start = at;
        at = match letter {
            '/' if letters.get(at + 1) == Some(&'/') => end_of_line(&letters, at),
            '/' if letters.get(at + 1) == Some(&'*') => end_of_comment(&letters, at),
            '"' => end_of_text(&letters, at),
            'r' | 'b' | 'c' if raw_hashes(&letters, at).is_some() => end_of_raw(&letters, at),
            '\'' => end_of_quote(&letters, at),
            _ if letter.is_alphanumeric() || letter == '_' => {
                let end = letters[at..].iter().position(|c| !c.is_alphanumeric() && *c != '_').map_or(letters.len(), |length| at + length);
                found.push(Token { text: letters[at..end].iter().collect(), line });
                end
            }
            ':' if letters.get(at + 1) == Some(&':') => {
                found.push(Token { text: "::".into(), line });
                at + 2
            }
            _ => {
                if !letter.is_whitespace() {
                    found.push(Token { text: letter.into(), line });
                }
                at + 1
            }
        };
        line += letters[start..at.min(letters.len())].iter().filter(|c| **c == '\n').count();
    }
    found
}

fn end_of_line(letters: &[char], at: usize) -> usize {
    letters[at..].iter().position(|c| *c == '\n').map_or(letters.len(), |length| at + length)
}

fn end_of_comment(letters: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < letters.len() {
        match (letters[at], letters.get(at + 1)) {
            ('/', Some('*')) => (depth, at) = (depth + 1, at + 2),
            ('*', Some('/')) if depth == 1 => return at + 2,
            ('*', Some('/')) => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn end_of_text(letters: &[char], at: usize) -> usize {
    let mut end = at + 1;
    while end < letters.len() && letters[end] != '"' {
        end += if letters[end] == '\\' { 2 } else { 1 };
    }
    end + 1
}

/// How many `#` a raw text that begins here has: `r"`, `br##"`, …
fn raw_hashes(letters: &[char], at: usize) -> Option<usize> {
    let rest = &letters[at..];
    let prefix = rest.iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let before = at.checked_sub(1).map(|before| letters[before]);
    if before.is_some_and(|c| c.is_alphanumeric() || c == '_') || prefix > 2 || rest.get(prefix - 1) != Some(&'r') {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|c| **c == '#').count();
    (rest.get(prefix + hashes) == Some(&'"')).then_some(hashes)
}

fn end_of_raw(letters: &[char], at: usize) -> usize {
    let hashes = raw_hashes(letters, at).unwrap_or_default();
    let begin = at + letters[at..].iter().position(|c| *c == '"').unwrap_or_default() + 1;
    let mut close = vec!['"'];
    close.extend(std::iter::repeat_n('#', hashes));
    letters[begin..].windows(close.len()).position(|window| window == close).map_or(letters.len(), |length| begin + length + close.len())
}

/// A character literal, or the sign of a lifetime.
fn end_of_quote(letters: &[char], at: usize) -> usize {
    match (letters.get(at + 1), letters.get(at + 2)) {
        (Some('\\'), _) => letters[at + 3..].iter().position(|c| *c == '\'').map_or(letters.len(), |length| at + 4 + length),
        (Some(_), Some('\'')) => at + 3,
        _ => at + 1,
    }
}

/// What the checks need to know of each place in the source.
struct Reader<'a> {
    tokens: &'a [Token],
    /// The module that the file is.
    module: Vec<String>,
    /// The modules opened inside the file, each with the depth of braces it was opened at and whether it is for tests.
    opened: Vec<(String, usize, bool)>,
    depth: usize,
    found: Vec<Breach>,
}

fn check(module: &[&str], source: &str) -> Vec<Breach> {
    let tokens = tokens(source);
    let module = module.iter().map(|part| (*part).to_owned()).collect();
    let mut reader = Reader { tokens: &tokens, module, opened: Vec::new(), depth: 0, found: Vec::new() };
    for at in 0..tokens.len() {
        reader.look_at(at);
    }
    reader.found
}

impl Reader<'_> {
    fn text(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", |token| &token.text)
    }

    fn layer(&self) -> &str {
        self.module.first().map_or("", String::as_str)
    }

    fn in_test(&self) -> bool {
        self.opened.iter().any(|(_, _, test)| *test)
    }

    fn breach(&mut self, at: usize, what: String) {
        self.found.push(Breach { line: self.tokens[at].line, what });
    }

    fn look_at(&mut self, at: usize) {
        let first = at == 0 || self.text(at - 1) != "::";
        match self.text(at) {
            "{" => self.depth += 1,
            "}" => {
                self.depth = self.depth.saturating_sub(1);
                self.opened.retain(|(_, depth, _)| *depth < self.depth + 1);
            }
            "mod" if self.text(at + 2) == "{" => {
                let test = self.text(at.wrapping_sub(2)) == ")" && self.text(at.wrapping_sub(3)) == "test"
                    || self.text(at.wrapping_sub(3)) == ")" && self.text(at.wrapping_sub(4)) == "test";
                self.opened.push((self.text(at + 1).to_owned(), self.depth + 1, test));
            }
            // What is in the other crate stands in ours, too, where `src/lib.rs` puts it.
            "crate" | "twostep_base" if first && !self.module.is_empty() && self.text(at + 1) == "::" => self.paths(at, at + 2, &[]),
            "super" if first && self.text(at + 1) == "::" => self.climb(at),
            "unsafe" if self.layer() != "sys" => self.breach(at, "`unsafe` stands in src/sys alone".into()),
            word if self.layer() == "core" && !self.in_test() && (first || NOT_PURE_TYPES.contains(&word)) => self.look_for_effects(at),
            _ => {}
        }
    }

    /// `super::` once or more, from wherever in the file this is.
    fn climb(&mut self, at: usize) {
        let mut here: Vec<String> = self.module.clone();
        here.extend(self.opened.iter().map(|(name, _, _)| name.clone()));
        let mut next = at;
        while self.text(next) == "super" && self.text(next + 1) == "::" {
            here.pop();
            next += 2;
        }
        self.paths(at, next, &here);
    }

    /// Each path of a tree like `a::{b, c::d}` that begins at `next`, behind `prefix`.
    fn paths(&mut self, at: usize, mut next: usize, prefix: &[String]) {
        let mut path = prefix.to_vec();
        loop {
            match self.text(next) {
                "{" => return self.branches(next, &path),
                "*" if path.is_empty() => return self.breach(at, "everything of the crate is named at once: name the layer".into()),
                word if word.chars().all(|c| c.is_alphanumeric() || c == '_') && !word.is_empty() => path.push(word.to_owned()),
                _ => break,
            }
            if self.text(next + 1) != "::" {
                break;
            }
            next += 2;
        }
        self.judge(at, &path);
    }

    fn branches(&mut self, open: usize, prefix: &[String]) {
        let (mut depth, mut next) = (0_usize, open);
        loop {
            match self.text(next) {
                "{" => depth += 1,
                "}" => depth -= 1,
                "" => return,
                _ => {}
            }
            if depth == 0 {
                return;
            }
            if depth == 1 && matches!(self.text(next), "{" | ",") && !matches!(self.text(next + 1), "}" | "self") {
                self.paths(next + 1, next + 1, prefix);
            }
            next += 1;
        }
    }

    /// Whether this file's layer may use that path.
    fn judge(&mut self, at: usize, path: &[String]) {
        let Some((layer, allowed)) = LAYERS.iter().find(|(layer, _)| *layer == self.layer()) else { return };
        let Some(target) = path.first().filter(|target| *target != layer) else { return };
        if !LAYERS.iter().any(|(known, _)| known == target) {
            // An item of the crate's root, which is none of a layer.
            return;
        }
        let deeper = path.get(1).map(|module| format!("{target}::{module}"));
        if allowed.iter().any(|name| name == target || deeper.as_deref() == Some(*name)) {
            return;
        }
        let may = if allowed.is_empty() { "nothing of ours".into() } else { allowed.join(", ") };
        self.breach(at, format!("`{layer}` uses `{}`, but may use {may}", path.join("::")));
    }

    fn look_for_effects(&mut self, at: usize) {
        let (word, next, module) = (self.text(at), self.text(at + 1), self.text(at + 2));
        let named = match word {
            "std" if next == "::" && NOT_PURE_STD.contains(&module) => format!("std::{module}"),
            // `use std::{fs, fmt}`
            "std" if next == "::" && module == "{" => match self.in_braces(at + 2).find(|word| NOT_PURE_STD.contains(word)) {
                Some(module) => format!("std::{module}"),
                None => return,
            },
            _ if next == "::" && NOT_PURE_CRATES.contains(&word) => word.to_owned(),
            _ if NOT_PURE_TYPES.contains(&word) => word.to_owned(),
            _ => return,
        };
        self.breach(at, format!("`core` is pure, but names `{named}`"));
    }

    fn in_braces(&self, open: usize) -> impl Iterator<Item = &str> {
        self.tokens[open..].iter().map(|token| token.text.as_str()).take_while(|text| *text != ";")
    }
}

/// Every Rust file below a folder.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// `src/engine/store/mod.rs` is engine::store.
fn module_of(path: &Path) -> Vec<String> {
    let mut parts: Vec<String> = path.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod") {
        parts.pop();
    }
    parts
}

#[test]
fn the_source_keeps_its_layers() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 20, "only {} files found in {}", files.len(), source.display());
    let mut breaches = Vec::new();
    for file in files.iter().map(|file| file.strip_prefix(&source).unwrap()).filter(|file| !file.starts_with("bin")) {
        let module = module_of(file);
        let module: Vec<&str> = module.iter().map(String::as_str).filter(|part| !matches!(*part, "lib" | "base")).collect();
        let text = std::fs::read_to_string(source.join(file)).unwrap();
        breaches.extend(check(&module, &text).into_iter().map(|breach| format!("src/{}:{breach}", file.display())));
    }
    assert!(breaches.is_empty(), "layers are broken (README, \"How it is built\"):\n{}", breaches.join("\n"));
}

/// That each folder and file at the top of `src` has its place in [`LAYERS`].
#[test]
fn every_module_at_the_top_is_a_layer() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(source).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let known = matches!(name, "lib" | "base" | "bin") || LAYERS.iter().any(|(layer, _)| *layer == name);
        assert!(known, "src/{name} is no layer: say in tests/layers.rs what it may use");
    }
}

fn breaches(module: &[&str], source: &str) -> Vec<String> {
    check(module, source).iter().map(ToString::to_string).collect()
}

#[test]
fn a_forbidden_use_is_named_with_its_line_and_rule() {
    let source = "use std::fmt;\nuse crate::engine::store;\n";
    assert_eq!(
        breaches(&["supervisor"], source),
        ["2: `supervisor` uses `engine::store`, but may use core, proto, sys, config, client, log"]
    );
    assert_eq!(breaches(&["cli"], "use twostep_base::engine::store;").len(), 1, "by the name of its own crate as well");
    assert_eq!(breaches(&["config", "board"], "use crate::sys::clock;"), ["1: `config` uses `sys::clock`, but may use core"]);
    assert_eq!(breaches(&["engine"], source), [""; 0]);
}

#[test]
fn paths_are_found_wherever_they_stand() {
    assert_eq!(breaches(&["core"], "fn f() { crate::sys::clock::wall() }").len(), 1);
    assert_eq!(breaches(&["engine"], "use crate::{core::{self, time}, cli::args, supervisor};").len(), 2);
    assert_eq!(breaches(&["core", "totp"], "use super::super::proto::secret;").len(), 1);
    assert_eq!(breaches(&["core", "totp"], "mod tests { use super::super::time; use super::super::super::sys; }").len(), 1);
    assert_eq!(breaches(&["proto"], "use crate::*;").len(), 1);
    assert_eq!(breaches(&["client"], "use crate::sys::peer; use crate::sys::{peer::identify, pam};").len(), 1);
}

#[test]
fn comments_texts_and_own_modules_are_no_use() {
    let source = "//! [`crate::sys`]\n/* crate::sys /* nested */ */ const A: &str = \"crate::sys \\\" crate::sys\"; const B: &str = r#\"crate::\"sys\"#;\n\
                  fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' } use crate::core::time;";
    assert_eq!(breaches(&["core"], source), [""; 0]);
    assert_eq!(breaches(&["core"], "const A: char = '\\\\'; use crate::sys;").len(), 1);
}

#[test]
fn core_acts_on_nothing() {
    for line in
        ["std::fs::read(x)", "use std::{fmt, net};", "std::time::Instant::now()", "rand::random()", "log::info!(\"x\")", "use tokio::time;"]
    {
        assert_eq!(breaches(&["core", "totp"], line).len(), 1, "{line}");
        assert_eq!(breaches(&["engine"], line), [""; 0], "{line}");
        assert_eq!(breaches(&["core", "totp"], &format!("#[cfg(test)]\nmod tests {{ {line} }}")), [""; 0], "{line}");
        assert_eq!(breaches(&["core", "totp"], &format!("#[cfg(test)]\nmod tests {{ }} {line}")).len(), 1, "{line}");
    }
    assert_eq!(breaches(&["core"], "use std::time::Duration;"), [""; 0]);
}

#[test]
fn unsafe_stands_in_sys_alone() {
    assert_eq!(breaches(&["engine"], "fn f() { unsafe { g() } }"), ["1: `unsafe` stands in src/sys alone"]);
    assert_eq!(breaches(&["sys", "gpio"], "fn f() { unsafe { g() } }"), [""; 0]);
    assert_eq!(breaches(&["engine"], "#![forbid(unsafe_code)] // unsafe"), [""; 0]);
}
