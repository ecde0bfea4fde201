//! NUL-ended JSON frames, capped.
//!
//! [`Inbox`] turns bytes as they come into frames, [`Outbox`] turns values into frames. Neither does I/O, so the server (asynchronous) and
//! the client (blocking) share them. A frame is at most [`MAX`] bytes long and [`DEPTH`] levels deep; the length is checked before memory is
//! taken, the depth before anything is parsed. Frames carry passwords: memory is wiped as soon as nothing is held in it. An empty box keeps at most
//! [`FIRST`] bytes of it, so that calls of the usual length take none from the system.
//!
//! This module does not know what is in a frame.

use std::ffi::CStr;
use std::fmt;
use std::io::{self, Write};
use std::ops::{Deref, Range};

use serde::Serialize;
use zeroize::Zeroize;

/// The longest frame in bytes, without its NUL.
pub const MAX: usize = 64 * 1024;

/// The deepest nesting of arrays and objects in a frame that comes in.
pub const DEPTH: usize = 16;

/// What an empty box takes first, and keeps: most calls and replies fit.
const FIRST: usize = 512;

/// Why bytes are no frame, or a value makes none. After an error the connection can't go on: where the next frame begins is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// More than [`MAX`] bytes.
    TooLong,
    /// Nested deeper than [`DEPTH`].
    TooDeep,
    /// Not UTF-8.
    NotText,
    /// The value can't be written as JSON.
    NotJson,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => write!(f, "a frame is longer than {MAX} bytes"),
            Self::TooDeep => write!(f, "a frame is nested deeper than {DEPTH} levels"),
            Self::NotText => f.write_str("a frame is not UTF-8"),
            Self::NotJson => f.write_str("a value can't be written as JSON"),
        }
    }
}

impl std::error::Error for Error {}

/// Bytes in, frames out.
///
/// Read into [`space`](Self::space), tell how much with [`filled`](Self::filled), then [`take`](Self::take) frames until there is none.
#[derive(Default)]
pub struct Inbox {
    /// Initialised in whole; what counts is in `held`.
    memory: Vec<u8>,
    held: Range<usize>,
    /// Bytes at the front of `held` that are known to be without a NUL.
    searched: usize,
    /// The length of the complete frame at the front, once it is found.
    complete: Option<usize>,
}

impl Inbox {
    /// An empty box, without memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is in it, not even the beginning of a frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where the next read goes; never empty.
    ///
    /// # Errors
    /// [`Error::TooLong`] where a frame without an end has already reached [`MAX`]. (Frames that are complete must be taken first.)
    pub fn space(&mut self) -> Result<&mut [u8], Error> {
        if self.held.end == self.memory.len() {
            self.make_room()?;
        }
        Ok(&mut self.memory[self.held.end..])
    }

    /// `count` bytes have been read into [`space`](Self::space).
    pub fn filled(&mut self, count: usize) {
        self.held.end = (self.held.end + count).min(self.memory.len());
    }

    /// Whether a complete frame is there to be taken.
    pub fn has_frame(&mut self) -> bool {
        if self.complete.is_none() {
            let unsearched = &self.memory[self.held.start + self.searched..self.held.end];
            match CStr::from_bytes_until_nul(unsearched) {
                Ok(end) => self.complete = Some(self.searched + end.count_bytes()),
                Err(_) => self.searched = self.held.len(),
            }
        }
        self.complete.is_some()
    }

    /// The next complete frame, or `None` where more bytes are needed.
    ///
    /// # Errors
    /// Where what is held can't be a frame; see [`Error`].
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, Error> {
        self.has_frame();
        let Some(length) = self.complete else { return Ok(None) };
        let text = str::from_utf8(&self.memory[self.held.start..][..length]).map_err(|_| Error::NotText)?;
        if too_deep(text) {
            return Err(Error::TooDeep);
        }
        Ok(Some(Frame { inbox: self, length }))
    }

    fn make_room(&mut self) -> Result<(), Error> {
        let held = self.held.len();
        if self.held.start > 0 {
            self.memory.copy_within(self.held.clone(), 0);
            self.memory[held..self.held.end].zeroize();
        } else if held > MAX {
            return Err(Error::TooLong);
        } else {
            let mut larger = vec![0; (self.memory.len() * 4).clamp(FIRST, MAX + 1)];
            larger[..held].copy_from_slice(&self.memory);
            self.memory.zeroize();
            self.memory = larger;
        }
        self.held = 0..held;
        Ok(())
    }

    fn drop_front(&mut self, count: usize) {
        let end = self.held.start + count;
        self.memory[self.held.start..end].zeroize();
        self.held.start = end;
        self.searched = 0;
        self.complete = None;
        self.shrink();
    }

    /// Gives back what a longer frame has taken, where nothing is held.
    pub fn shrink(&mut self) {
        if self.held.is_empty() {
            self.held = 0..0;
            if self.memory.len() > FIRST {
                self.memory = Vec::new();
            }
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.memory[self.held.clone()].zeroize();
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("held", &self.held.len()).finish_non_exhaustive()
    }
}

/// A complete frame's text, without the NUL; wiped and taken out of the box when dropped.
pub struct Frame<'a> {
    inbox: &'a mut Inbox,
    length: usize,
}

impl Deref for Frame<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        let start = self.inbox.held.start;
        // Checked once, in `take`; to check again is cheaper than to be wrong.
        str::from_utf8(&self.inbox.memory[start..start + self.length]).unwrap_or_default()
    }
}

impl Drop for Frame<'_> {
    fn drop(&mut self) {
        self.inbox.drop_front(self.length + 1);
    }
}

fn too_deep(text: &str) -> bool {
    // Few frames have so many brackets at all.
    if text.matches('{').count() + text.matches('[').count() <= DEPTH {
        return false;
    }
    let mut depth = 0usize;
    let mut quoted = false;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => drop(bytes.next()),
            b'{' | b'[' if !quoted => depth += 1,
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH {
            return true;
        }
    }
    false
}

/// Values in, bytes out.
#[derive(Default)]
pub struct Outbox {
    /// Initialised in whole; the first `held` bytes count. JSON comes in pieces of a few bytes, which a `Vec` of them alone takes far more slowly.
    memory: Vec<u8>,
    held: usize,
}

impl Outbox {
    /// An empty box, without memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts one frame into the box, in place of what was in it.
    ///
    /// # Errors
    /// [`Error::TooLong`] or [`Error::NotJson`]; the box is empty then.
    pub fn put(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.clear();
        let written = serde_json::to_writer(&mut *self, value);
        match written {
            Ok(()) if self.held <= MAX => self.write_all(&[0]).map_err(|_| Error::TooLong),
            Err(error) if !error.is_io() => self.refuse(Error::NotJson),
            _ => self.refuse(Error::TooLong),
        }
    }

    /// What is to be written to the socket.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.held]
    }

    /// Wipes the box and gives back what a longer frame has taken.
    pub fn clear(&mut self) {
        self.memory[..self.held].zeroize();
        self.held = 0;
        if self.memory.len() > FIRST {
            self.memory = Vec::new();
        }
    }

    fn refuse(&mut self, error: Error) -> Result<(), Error> {
        self.clear();
        Err(error)
    }

    /// Apart from its one caller, which would else prepare for all of this for a single byte.
    #[inline(never)]
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.held + bytes.len();
        if end > self.memory.len() {
            self.grow(end)?;
        }
        self.memory[self.held..end].copy_from_slice(bytes);
        self.held = end;
        Ok(())
    }

    /// Makes room up to `needed`: at most for the longest frame and its NUL.
    #[cold]
    fn grow(&mut self, needed: usize) -> io::Result<()> {
        if needed > MAX + 1 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let mut larger = vec![0; needed.max(self.memory.len() * 4).clamp(FIRST, MAX + 1)];
        larger[..self.held].copy_from_slice(self.bytes());
        self.memory.as_mut_slice().zeroize();
        self.memory = larger;
        Ok(())
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("held", &self.held).finish_non_exhaustive()
    }
}

impl io::Write for Outbox {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Three of four pieces are a quotation mark, a colon and the like.
        if let [byte] = bytes
            && let Some(next) = self.memory.get_mut(self.held)
        {
            *next = *byte;
            self.held += 1;
            return Ok(());
        }
        self.append(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// Puts `bytes` in, `step` at a time, and takes what comes out.
    fn feed(inbox: &mut Inbox, mut bytes: &[u8], steps: impl IntoIterator<Item = usize>) -> Result<Vec<String>, Error> {
        let mut frames = Vec::new();
        let mut steps = steps.into_iter();
        while !bytes.is_empty() {
            let space = inbox.space()?;
            let count = steps.next().unwrap_or(usize::MAX).clamp(1, space.len().min(bytes.len()));
            space[..count].copy_from_slice(&bytes[..count]);
            inbox.filled(count);
            bytes = &bytes[count..];
            while let Some(frame) = inbox.take()? {
                frames.push(frame.to_string());
            }
        }
        Ok(frames)
    }

    fn feed_all(bytes: &[u8]) -> Result<Vec<String>, Error> {
        feed(&mut Inbox::new(), bytes, [])
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut text = "[".repeat(levels).into_bytes();
        text.extend("]".repeat(levels).bytes());
        text.push(0);
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn however_the_bytes_are_split_the_frames_are_the_same(
            texts in prop::collection::vec(prop_oneof!["[^\\x00]{0,30}", (900usize..3000).prop_map(|length| "x".repeat(length))], 0..12),
            steps in prop::collection::vec(1usize..700, 0..64),
        ) {
            let shallow: Vec<String> = texts.into_iter().filter(|text| !too_deep(text)).collect();
            let bytes: Vec<u8> = shallow.iter().flat_map(|text| text.bytes().chain([0])).collect();
            let mut inbox = Inbox::new();
            prop_assert_eq!(feed(&mut inbox, &bytes, steps), Ok(shallow));
            prop_assert!(inbox.is_empty());
        }

        #[test]
        fn no_bytes_whatever_make_it_panic_or_hold_more_than_a_frame(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(b'['), Just(b'"'), Just(b'\\'), any::<u8>()], 0..1500),
            steps in prop::collection::vec(1usize..300, 0..32),
        ) {
            let mut inbox = Inbox::new();
            let _ = feed(&mut inbox, &bytes, steps);
            prop_assert!(inbox.memory.len() <= MAX + 1);
        }

        #[test]
        fn what_is_put_out_comes_in_again(text in ".{0,300}", number: i64) {
            let value = json!({ "text": text, "number": number });
            let mut outbox = Outbox::new();
            outbox.put(&value).unwrap();
            let frames = feed_all(outbox.bytes()).unwrap();
            prop_assert_eq!(frames.len(), 1);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&frames[0]).unwrap(), value);
        }
    }

    #[test]
    fn the_longest_frame_is_taken_and_a_longer_one_is_not() {
        let mut longest = vec![b'x'; MAX];
        longest.push(0);
        assert_eq!(feed_all(&longest).map(|frames| frames.len()), Ok(1));
        longest.insert(0, b'x');
        assert_eq!(feed_all(&longest), Err(Error::TooLong));
    }

    #[test]
    fn bytes_without_end_are_refused_at_the_cap() {
        let mut inbox = Inbox::new();
        assert_eq!(feed(&mut inbox, &vec![b'x'; MAX + 2], []), Err(Error::TooLong));
        assert!(inbox.memory.len() <= MAX + 1);
    }

    #[test]
    fn nesting_is_capped_and_brackets_in_strings_are_none() {
        assert!(feed_all(&nested(DEPTH)).is_ok());
        assert_eq!(feed_all(&nested(DEPTH + 1)), Err(Error::TooDeep));
        let quoted = json!(["[[[[[[[[[[[[[[[[[[[[", "\\\"{{{{{{{{{{{{{{{{{{{{", "\\"]).to_string() + "\0";
        assert_eq!(feed_all(quoted.as_bytes()).map(|frames| frames.len()), Ok(1));
        let many = format!("[{}[]]\0", "[],".repeat(100));
        assert!(feed_all(many.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(feed_all(b"\"\xff\"\0"), Err(Error::NotText));
    }

    #[test]
    fn an_empty_box_holds_little_memory_and_nothing_in_it() {
        let mut inbox = Inbox::new();
        for length in [5000, 400] {
            feed(&mut inbox, &[b"x".repeat(length), b"\0".to_vec()].concat(), []).unwrap();
            assert!(inbox.memory.capacity() <= FIRST && inbox.memory.iter().all(|byte| *byte == 0));
        }
        let mut outbox = Outbox::new();
        for length in [5000, 400] {
            outbox.put(&"x".repeat(length)).unwrap();
            outbox.clear();
            assert!(outbox.bytes().is_empty() && outbox.memory.capacity() <= FIRST && outbox.memory.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_frame_is_wiped_once_it_was_taken() {
        let mut inbox = Inbox::new();
        let text = b"\"hunter2\"\0\"next";
        inbox.space().unwrap()[..text.len()].copy_from_slice(text);
        inbox.filled(text.len());
        drop(inbox.take().unwrap().unwrap());
        assert!(!inbox.memory.windows(7).any(|window| window == b"hunter2"));
        assert!(inbox.memory.windows(4).any(|window| window == b"next"));
    }

    #[test]
    fn a_value_that_is_too_long_is_refused_and_nothing_of_it_kept() {
        let mut outbox = Outbox::new();
        assert_eq!(outbox.put(&"x".repeat(MAX - 2)), Ok(()));
        assert_eq!(outbox.bytes().len(), MAX + 1);
        assert_eq!(outbox.put(&"x".repeat(MAX - 1)), Err(Error::TooLong));
        assert!(outbox.bytes().is_empty());
    }
}
