//! TOML text to a typed value, with every problem located.
//!
//! serde stops at the first problem. Here the entry at fault is taken out and the rest is read again, so that an operator sees all of
//! them at once.
//!
//! It does not know what the values mean: ranges and the like are checked by the types' own rules, which name the key at fault; its
//! line is found here.

use serde::de::DeserializeOwned;
use serde_json::Value as Shape;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::error::Problem;
use super::fault::{Fault, dotted, explain};
use super::place::{Step, locate, read, take_out};

/// More than any file of ours holds, and little enough to read without care.
pub(super) const MAX_BYTES: usize = 64 * 1024;

/// Problems reported of one file; whoever has more gets the rest after mending these.
const MAX_PROBLEMS: usize = 20;

/// What could be read of a file.
pub(super) struct Reading<T> {
    /// With defaults in the place of what is wrong; none where even so it can't be read.
    pub(super) value: Option<T>,
    /// The keys at fault, like `recovery.window`; what is not in `value` is among them.
    pub(super) at_fault: Vec<String>,
    /// What is wrong with them, in the order of the lines.
    pub(super) problems: Vec<Problem>,
}

impl<T> Reading<T> {
    /// The value, where nothing is wrong.
    pub(super) fn sound(self) -> Result<T, Vec<Problem>> {
        self.value.filter(|_| self.problems.is_empty()).ok_or(self.problems)
    }
}

impl<T> From<T> for Reading<T> {
    fn from(value: T) -> Self {
        Self { value: Some(value), at_fault: Vec::new(), problems: Vec::new() }
    }
}

/// What a rule objects to.
pub(super) struct Finding {
    /// A key like `recovery.window`, in a list with the item's index: `button.0.key`.
    pub(super) key: String,
    /// What is wrong, and the way out.
    pub(super) text: String,
    /// The section that must have been read in whole for it to hold: what is missing there may only be misspelt.
    pub(super) of_whole: Option<&'static str>,
}

/// A parsed file that still knows where each key stands.
pub(super) struct Document<'t> {
    text: &'t str,
    root: Spanned<DeTable<'t>>,
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
    pub(super) fn read<T: DeserializeOwned>(&self, shape: &Shape) -> Reading<T> {
        let mut reading = Reading { value: None, at_fault: Vec::new(), problems: Vec::new() };
        let mut taken = Vec::new();
        let mut rest = self.root.clone();
        self.take_out_false_sections(rest.get_mut(), shape, "", &mut reading);
        let Reading { value, at_fault, problems } = &mut reading;
        while problems.len() < MAX_PROBLEMS {
            let error = match read::<T>(&rest) {
                Ok(read) => {
                    *value = Some(read);
                    break;
                }
                Err(error) => error,
            };
            let way = locate::<T>(&rest, &error);
            at_fault.push(dotted(&way));
            if !is_missing_since(&taken, &way, &error) {
                problems.push(Problem { line: self.line_of(&way, &error), text: explain(&way, error.message(), shape) });
            }
            if !take_out(rest.get_mut(), &way) {
                break;
            }
            taken.push(way);
        }
        problems.sort();
        reading
    }

    /// Asks the rules of a type about what could be read, and gives their findings the lines.
    pub(super) fn judge<T>(&self, mut reading: Reading<T>, rules: impl Fn(&T) -> Vec<Finding>) -> Reading<T> {
        let Some(value) = &reading.value else { return reading };
        let holds = |found: &Finding| !found.of_whole.is_some_and(|section| reading.at_fault.iter().any(|key| is_within(key, section)));
        let found: Vec<Finding> = rules(value).into_iter().filter(holds).collect();
        for Finding { key, text, .. } in found {
            reading.problems.push(Problem { line: self.line(&key), text });
            reading.at_fault.push(key);
        }
        reading.problems.sort();
        reading
    }

    /// Whether the file says anything about a top-level key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.root.get_ref().contains_key(key)
    }

    /// The strings that go over several lines, as they stand in the file.
    pub(super) fn long_strings(&self) -> Vec<&'t str> {
        let mut found = Vec::new();
        self.root.get_ref().values().for_each(|value| gather_long_strings(self.text, value, &mut found));
        found
    }

    /// The line of a finding's key, or of the nearest section around it; 0 where there is neither.
    fn line(&self, key: &str) -> usize {
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

    /// serde would read `log = ["auto"]` as a section by position; people never mean that.
    fn take_out_false_sections<T>(&self, table: &mut DeTable<'t>, shape: &Shape, within: &str, reading: &mut Reading<T>) {
        let Some(sections) = shape.as_object() else { return };
        let mut wrong = Vec::new();
        for (key, value) in table.iter_mut() {
            let Some(inner) = sections.get(key.get_ref().as_ref()).filter(|s| s.is_object()) else { continue };
            if let DeValue::Table(table) = value.get_mut() {
                self.take_out_false_sections(table, inner, &format!("{within}{}.", key.get_ref()), reading);
            } else {
                let text = format!("\"{0}\" is a section: write [{0}]", key.get_ref());
                reading.problems.push(Problem { line: line_at(self.text, key.span().start), text });
                reading.at_fault.push(format!("{within}{}", key.get_ref()));
                wrong.push(key.get_ref().to_string());
            }
        }
        wrong.iter().for_each(|key| drop(table.remove(key.as_str())));
    }

    fn line_of(&self, way: &[Step], error: &Error) -> usize {
        let offset = way.last().map(Step::offset).or_else(|| error.span().filter(|s| !s.is_empty()).map(|s| s.start));
        offset.map_or(0, |offset| line_at(self.text, offset))
    }
}

fn gather_long_strings<'t>(text: &'t str, value: &Spanned<DeValue<'_>>, found: &mut Vec<&'t str>) {
    match value.get_ref() {
        DeValue::String(_) => found.extend(text.get(value.span()).filter(|string| string.contains('\n'))),
        DeValue::Array(items) => items.iter().for_each(|item| gather_long_strings(text, item, found)),
        DeValue::Table(table) => table.values().for_each(|value| gather_long_strings(text, value, found)),
        _ => {}
    }
}

/// Whether the message calls a key missing that was taken out here: no fault of the file's.
fn is_missing_since(taken: &[Vec<Step>], way: &[Step], error: &Error) -> bool {
    let Some(Fault::MissingKey { name: missing }) = Fault::read(error.message()) else { return false };
    taken.iter().any(|before| match before.split_last() {
        Some((Step::Key { name, .. }, table)) => name == missing && table == way,
        _ => false,
    })
}

/// Whether a key is of this section, or the section itself.
pub(super) fn is_within(key: &str, section: &str) -> bool {
    key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn line_at(text: &str, offset: usize) -> usize {
    // What is missing at the end is missing in the last line, not behind it.
    let text = text.strip_suffix('\n').unwrap_or(text);
    1 + text.as_bytes().iter().take(offset).filter(|b| **b == b'\n').count()
}
