//! Replies in pages that fit a frame.

use serde::Serialize;

use super::AdminInterface;
use crate::proto::admin::{Error, Reply};
use crate::proto::frame;
use crate::proto::varlink::{Failure, Replies};

/// Bytes of items on a page; the rest of a frame is the envelope's.
pub const PAGE: usize = frame::MAX - 1024;

/// A page that is being filled.
#[derive(Debug)]
pub struct Page<T> {
    items: Vec<T>,
    bytes: usize,
}

impl<T> Default for Page<T> {
    fn default() -> Self {
        Self { items: Vec::new(), bytes: 0 }
    }
}

impl<T: Serialize> Page<T> {
    /// Adds an item; where it does not fit any more, gives the full page and begins the next one with it.
    pub fn add(&mut self, item: T) -> Option<Vec<T>> {
        let weight = weight(&item);
        let full = (self.bytes + weight > PAGE && !self.items.is_empty()).then(|| std::mem::take(self).items);
        self.bytes += weight;
        self.items.push(item);
        full
    }

    /// The last page, which may be empty.
    pub fn finish(self) -> Vec<T> {
        self.items
    }
}

/// Bytes that an item takes, with its comma.
pub fn weight(item: &impl Serialize) -> usize {
    serde_json::to_string(item).map_or(0, |text| text.len() + 1)
}

/// Sends all pages but the last, which it returns. `ExpectedMore` where one page is not enough and the caller asked for no more.
pub async fn send<T: Serialize>(
    items: impl IntoIterator<Item = T>,
    replies: &mut Replies<'_, AdminInterface>,
    reply: impl Fn(Vec<T>) -> Reply,
) -> Result<Reply, Failure<Error>> {
    let (mut page, mut full) = (Page::default(), Vec::new());
    for item in items {
        full.extend(page.add(item));
    }
    for items in full {
        replies.send(&reply(items)).await?;
    }
    Ok(reply(page.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_page_is_longer_than_a_frame_and_none_is_lost() {
        let (mut page, mut pages) = (Page::default(), Vec::new());
        for n in 0..10_000 {
            pages.extend(page.add(format!("{n:0100}")));
        }
        pages.push(page.finish());
        assert!(pages.len() > 1 && pages.iter().all(|page| serde_json::to_string(page).unwrap().len() < frame::MAX));
        let all: Vec<String> = pages.concat();
        assert_eq!(all, (0..10_000).map(|n| format!("{n:0100}")).collect::<Vec<_>>());
    }
}
