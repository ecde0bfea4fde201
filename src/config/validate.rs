//! `twostepd validate`: whether configuration files and board profiles are good, before they are used.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::board::Board;
use super::detect::profiles;
use super::document::Document;
use super::paths::Paths;
use super::{Config, Error, notes, text_of};

/// What a file is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Configuration,
    Profile,
}

/// [`validate`] to stdout and stderr, as a process ends: 0 all good, 1 not.
#[must_use]
pub fn run(files: &[PathBuf], paths: &Paths) -> ExitCode {
    match validate(files, paths, &mut io::stdout().lock(), &mut io::stderr().lock()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

/// Checks the files, or without any all that are installed, and prints for each a line `FILE: ok` and notes (see [`notes`]) to `out`, or
/// what is wrong to `errors`. The answer is whether all are good.
///
/// # Errors
/// Where `out` or `errors` takes nothing more.
pub fn validate(files: &[PathBuf], paths: &Paths, out: &mut impl Write, errors: &mut impl Write) -> io::Result<bool> {
    let mut good = true;
    let mut chosen: Vec<(PathBuf, Option<Kind>)> = files.iter().map(|file| (file.clone(), None)).collect();
    if files.is_empty() {
        chosen = own(paths);
        match profiles(&paths.boards) {
            Ok(shipped) => chosen.extend(shipped.into_iter().map(|file| (file, Some(Kind::Profile)))),
            Err(error) => {
                writeln!(errors, "{error}")?;
                good = false;
            }
        }
    }
    for (file, kind) in chosen {
        match check(&file, kind) {
            Ok(notes) => {
                writeln!(out, "{}: ok", file.display())?;
                for note in notes {
                    writeln!(out, "{}: note: {note}", file.display())?;
                }
            }
            Err(error) => {
                writeln!(errors, "{error}")?;
                good = false;
            }
        }
    }
    Ok(good)
}

/// The configuration and `board.toml`; either may be absent.
fn own(paths: &Paths) -> Vec<(PathBuf, Option<Kind>)> {
    let own = [(paths.configuration(), Some(Kind::Configuration)), (paths.board(), Some(Kind::Profile))];
    own.into_iter().filter(|(file, _)| file.symlink_metadata().is_ok()).collect()
}

fn check(file: &Path, kind: Option<Kind>) -> Result<Vec<String>, Error> {
    let text = text_of(file)?;
    let name = file.to_string_lossy();
    match kind.unwrap_or_else(|| kind_of(file, &text)) {
        Kind::Configuration => Config::parse(&text, &name).map(|config| notes::of(&config)),
        Kind::Profile => Board::parse(&text, &name).map(|_| Vec::new()),
    }
}

/// By the name where it says it, else by keys that only a profile has.
fn kind_of(file: &Path, text: &str) -> Kind {
    let named = |path: Option<&std::ffi::OsStr>, name: &str| path.is_some_and(|p| p == name);
    if named(file.file_name(), "twostepd.toml") {
        return Kind::Configuration;
    }
    if named(file.file_name(), "board.toml") || named(file.parent().and_then(Path::file_name), "board-configs") {
        return Kind::Profile;
    }
    let of_a_profile = |document: Document<'_>| ["name", "origin", "detect", "feedback", "sticker"].iter().any(|key| document.has(key));
    // A file with a broken syntax is told so either way.
    if Document::parse(text).is_ok_and(of_a_profile) { Kind::Profile } else { Kind::Configuration }
}
