//! What the reset button goes by where the configuration file is wrong.
//!
//! The button is the last way in: a slip in the mail server's section must not take it away. But what may say that it is off, or which account it
//! opens with which password, is not guessed at, since the guess could open what somebody has closed:
//!
//! ```text
//! at fault                                                          the button
//! a section that is neither [button] nor [recovery]                 works as these two say
//! [button], [recovery], a name that may be one of theirs            is not watched
//! syntax                                                            as above, by the section around it
//! a string over several lines with one of these names in it         is not watched
//! the whole file: it can't be read, or has too many faults          is not watched
//! ```
//! `[log]` is at its defaults where it is wrong: it says nothing about a press. So are `[button]`, but off, and `[recovery]`: of a section that is
//! wrong nothing is kept, since a value that the rules refuse is none that anybody could go by, and an open window has to end all the same.

use std::fmt;
use std::ops::Range;

use serde_json::Value as Shape;

use super::document::{Document, is_within};
use super::error::{Error, Problem};
use super::nearest::nearest;
use super::{Button, Config, Log, Recovery, check};

/// The sections that say what a press does.
const OF_THE_BUTTON: [&str; 2] = ["button", "recovery"];

/// Sections with a broken syntax that are left out; a file with more of them is not understood.
const MAX_BROKEN: usize = 20;

/// What is left of a wrong configuration file.
#[derive(Debug)]
pub struct Salvaged {
    /// `[button]`, `[recovery]` and `[log]`, the rest at its defaults, and all of it within the rules. Where it is not `certain`, the button is not
    /// enabled.
    pub config: Config,
    /// Whether all that the file says about a press is understood.
    pub certain: bool,
    /// What is wrong.
    pub error: Error,
}

impl fmt::Display for Salvaged {
    /// What is wrong, a line each, and in the last line what follows from it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let button = match (self.certain, self.config.button.enabled) {
            (true, true) => "the reset button is not affected",
            (true, false) => "the reset button is off, as it says",
            (false, _) => "neither does the reset button, which this may be about",
        };
        write!(f, "{}\nuntil this is mended and twostepd started again the second step does not run; {button}", self.error)
    }
}

/// What is left of this file's text.
pub(super) fn text(text: &str, name: &str) -> Salvaged {
    let defaults = serde_json::to_value(Config::default()).unwrap_or_default();
    let (rest, mut problems) = without_broken_sections(text, &defaults);
    let Some(Ok(document)) = rest.as_deref().map(Document::parse) else {
        return nothing(Error::Invalid { file: name.to_owned(), problems });
    };
    let reading = document.judge(document.read(&defaults), check::config);
    // Three quotation marks that were never closed: what follows, up to the next three, is then a text, and says nothing.
    let swallowed = document.long_strings().iter().any(|text| text.lines().any(|line| speaks_of_the_button(line, &defaults)));
    problems.extend(reading.problems);
    problems.sort();
    let certain = reading.value.is_some() && !reading.at_fault.iter().any(|key| may_be_of_the_button(key, &defaults)) && !swallowed;
    let at_fault = |section| reading.at_fault.iter().any(|key| is_within(key, section));
    let read = reading.value.unwrap_or_default();
    let mut config = Config {
        log: if at_fault("log") { Log::default() } else { read.log },
        button: if at_fault("button") { Button::default() } else { read.button },
        recovery: if at_fault("recovery") { Recovery::default() } else { read.recovery },
        ..Config::default()
    };
    config.button.enabled &= certain;
    Salvaged { config, certain, error: Error::Invalid { file: name.to_owned(), problems } }
}

/// Of a file that is not understood at all.
pub(super) fn nothing(error: Error) -> Salvaged {
    let mut config = Config::default();
    config.button.enabled = false;
    Salvaged { config, certain: false, error }
}

/// The text with empty lines in the place of sections with a broken syntax, and what is wrong with these; no text where one of them may be about
/// the button.
fn without_broken_sections(text: &str, defaults: &Shape) -> (Option<String>, Vec<Problem>) {
    let mut lines: Vec<&str> = text.lines().collect();
    let mut problems = Vec::new();
    for _ in 0..=MAX_BROKEN {
        let rest = lines.join("\n");
        let Err(found) = Document::parse(&rest) else { return (Some(rest), problems) };
        let at = found.first().and_then(|problem| problem.line.checked_sub(1));
        problems.extend(found);
        let Some(section) = at.and_then(|at| lines.get_mut(section_around(text, at))) else { break };
        if section.iter().any(|line| speaks_of_the_button(line, defaults)) {
            break;
        }
        section.fill("");
    }
    (None, problems)
}

/// The lines from one header to the next.
fn section_around(text: &str, line: usize) -> Range<usize> {
    let headers = || text.lines().enumerate().filter(|(_, text)| text.trim_start().starts_with('[')).map(|(at, _)| at);
    let begins = headers().take_while(|at| *at <= line).last().unwrap_or_default();
    begins..headers().find(|at| *at > line).unwrap_or_else(|| text.lines().count())
}

fn speaks_of_the_button(line: &str, defaults: &Shape) -> bool {
    let said = line.split('#').next().unwrap_or_default();
    let words = said.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '-');
    words.filter(|word| !word.is_empty()).any(|word| is_near(word, defaults))
}

/// Whether a key at fault says something about a press, or would if it were spelt right or stood in its place.
fn may_be_of_the_button(key: &str, defaults: &Shape) -> bool {
    let sections: Vec<&str> = defaults.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut steps = key.split('.');
    match nearest(steps.next().unwrap_or_default(), &sections) {
        Some(section) if !OF_THE_BUTTON.contains(&section) => steps.any(|step| is_near(step, defaults)),
        // Whatever it may be.
        _ => true,
    }
}

/// Whether a word is the name of a section or a key of [`OF_THE_BUTTON`], or nearly.
fn is_near(word: &str, defaults: &Shape) -> bool {
    let mut names = OF_THE_BUTTON.to_vec();
    OF_THE_BUTTON.iter().filter_map(|section| defaults.get(section)).for_each(|section| names_in(section, &mut names));
    nearest(word, &names).is_some()
}

fn names_in<'s>(section: &'s Shape, names: &mut Vec<&'s str>) {
    for (name, value) in section.as_object().into_iter().flatten() {
        names.push(name);
        names_in(value, names);
    }
}
