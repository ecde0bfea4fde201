//! Where in a parsed file serde found fault.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer, Error};

use super::fault::Fault;

/// More keys than any table of ours has: in a larger one the key at fault is not searched for.
const MAX_KEYS: usize = 32;

/// One step on the way from the file's top to an entry. Its offset in the text tells its line, and one item from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A key of a table.
    Key {
        /// Its name.
        name: String,
        /// Where it stands.
        offset: usize,
    },
    /// An item of a list.
    Item {
        /// Where it begins.
        offset: usize,
    },
}

impl Step {
    fn key<V>(key: &Spanned<impl AsRef<str>>, _value: V) -> Self {
        Self::Key { name: key.get_ref().as_ref().to_owned(), offset: key.span().start }
    }

    pub(super) fn offset(&self) -> usize {
        match self {
            Self::Key { offset, .. } | Self::Item { offset } => *offset,
        }
    }
}

/// Reads a table as a `T`.
pub(super) fn read<T: DeserializeOwned>(table: &Spanned<DeTable<'_>>) -> Result<T, Error> {
    T::deserialize(Deserializer::from(table.clone()))
}

/// The way to the entry at fault, as far as it can be told.
pub(super) fn locate<T: DeserializeOwned>(root: &Spanned<DeTable<'_>>, error: &Error) -> Vec<Step> {
    let mut way = Vec::new();
    let Some(span) = error.span() else { return way };
    if !find_in_table(root.get_ref(), &span, &mut way) {
        return way;
    }
    way.extend(item_at_fault::<T>(root, &way, error.message()));
    let Some(table) = table_at(root.get_ref(), &way) else { return way };
    match Fault::read(error.message()) {
        // serde reads a `kind = …` table as a whole and points at all of it.
        Some(Fault::UnknownKey { name, .. }) => {
            way.extend(table.get_key_value(name).map(|(key, value)| Step::key(key, value)));
        }
        Some(Fault::MissingKey { .. }) => {}
        _ => way.extend(culprit::<T>(root, &way, table, error.message())),
    }
    way
}

fn find_in_table(table: &DeTable<'_>, span: &Range<usize>, way: &mut Vec<Step>) -> bool {
    table.iter().any(|(key, value)| {
        way.push(Step::key(key, value));
        let found = key.span() == *span || find_in_value(value, span, way);
        if !found {
            way.pop();
        }
        found
    })
}

fn find_in_value(value: &Spanned<DeValue<'_>>, span: &Range<usize>, way: &mut Vec<Step>) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => find_in_table(table, span, way),
        // The first of several `[[…]]` tables has the place of the whole list: which item it is, is found out afterwards.
        DeValue::Array(items) if value.span() != *span => items.iter().any(|item| {
            way.push(Step::Item { offset: item.span().start });
            let found = find_in_value(item, span, way);
            if !found {
                way.pop();
            }
            found
        }),
        _ => false,
    };
    inside || value.span() == *span
}

/// serde points at all of a list of `kind = …` tables: its first item at fault is the last one needed for the message.
fn item_at_fault<T: DeserializeOwned>(root: &Spanned<DeTable<'_>>, way: &[Step], message: &str) -> Option<Step> {
    let (Step::Key { name, .. }, above) = way.split_last()? else { return None };
    let items = table_at(root.get_ref(), above)?.get(name.as_str())?.get_ref().as_array()?;
    let offsets: Vec<usize> = items.iter().take(MAX_KEYS).map(|item| item.span().start).collect();
    let steps = offsets.iter().map(|offset| Step::Item { offset: *offset });
    steps.into_iter().find(|step| {
        let mut without = root.clone();
        offsets.iter().filter(|offset| **offset > step.offset()).for_each(|offset| {
            let later: Vec<Step> = way.iter().cloned().chain([Step::Item { offset: *offset }]).collect();
            take_out(without.get_mut(), &later);
        });
        read::<T>(&without).is_err_and(|e| e.message() == message)
    })
}

/// The key of a `kind = …` table that is wrong: the one without which the message changes.
fn culprit<T: DeserializeOwned>(root: &Spanned<DeTable<'_>>, way: &[Step], table: &DeTable<'_>, message: &str) -> Option<Step> {
    let steps = table.iter().take(MAX_KEYS).filter(|(key, _)| key.get_ref() != "kind").map(|(key, value)| Step::key(key, value));
    steps.into_iter().find(|step| {
        let mut without = root.clone();
        let whole: Vec<Step> = way.iter().chain([step]).cloned().collect();
        take_out(without.get_mut(), &whole) && read::<T>(&without).err().is_none_or(|e| e.message() != message)
    })
}

fn table_at<'a, 't>(table: &'a DeTable<'t>, way: &[Step]) -> Option<&'a DeTable<'t>> {
    let (Step::Key { name, .. }, rest) = (match way.split_first() {
        None => return Some(table),
        Some(split) => split,
    }) else {
        return None;
    };
    match (table.get(name.as_str())?.get_ref(), rest.split_first()) {
        (DeValue::Table(inner), _) => table_at(inner, rest),
        (DeValue::Array(items), Some((step, rest))) => {
            let item = items.iter().find(|item| item.span().start == step.offset())?;
            table_at(item.get_ref().as_table()?, rest)
        }
        _ => None,
    }
}

/// Removes an entry. Where that cannot be done there is nothing more to be learnt from the file.
pub(super) fn take_out(table: &mut DeTable<'_>, way: &[Step]) -> bool {
    let [Step::Key { name, .. }, rest @ ..] = way else { return false };
    if rest.is_empty() {
        return table.remove(name.as_str()).is_some();
    }
    match table.get_mut(name.as_str()).map(Spanned::get_mut) {
        Some(DeValue::Table(inner)) => take_out(inner, rest),
        Some(DeValue::Array(items)) => take_out_of_list(items, rest),
        _ => false,
    }
}

fn take_out_of_list(items: &mut DeArray<'_>, way: &[Step]) -> bool {
    let [Step::Item { offset }, rest @ ..] = way else { return false };
    if rest.is_empty() {
        let before = items.len();
        *items = items.iter().filter(|item| item.span().start != *offset).cloned().collect();
        return items.len() < before;
    }
    let item = items.iter_mut().find(|item| item.span().start == *offset).map(Spanned::get_mut);
    match item {
        Some(DeValue::Table(inner)) => take_out(inner, rest),
        _ => false,
    }
}
