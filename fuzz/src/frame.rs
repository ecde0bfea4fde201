//! However a stream is cut into reads, the frames are the same, and no more than one frame at the cap is ever held.

use twostep::proto::frame::{DEPTH, Error, Inbox, MAX, Outbox};

/// What a stream comes to: frames, then at most one error.
type Taken = (Vec<String>, Option<Error>);

/// The first eight bytes say how the rest comes in.
pub fn check(input: &[u8]) {
    let (steps, stream) = input.split_at(input.len().min(8));
    let stream = super::expanded(stream);
    let whole = taken(&stream, &[]);
    assert_eq!(taken(&stream, steps), whole, "cut by {steps:?}");
    assert_eq!(expected(&stream, &whole.0), whole);
    for frame in &whole.0 {
        if let Ok(value) = serde_json::from_str::<serde_json::Value>(frame) {
            comes_in_again(&value);
        }
    }
}

fn taken(stream: &[u8], steps: &[u8]) -> Taken {
    let (mut inbox, mut frames, mut rest, mut held) = (Inbox::new(), Vec::new(), stream, 0);
    let mut steps = steps.iter().cycle();
    loop {
        let space = match inbox.space() {
            Ok(space) => space,
            Err(error) => return (frames, Some(error)),
        };
        assert!((1..=MAX + 1).contains(&space.len()), "room for {}", space.len());
        let step = steps.next().map_or(usize::MAX, |step| 1 + usize::from(*step) * usize::from(*step));
        let count = step.min(space.len()).min(rest.len());
        space[..count].copy_from_slice(&rest[..count]);
        inbox.filled(count);
        (rest, held) = (&rest[count..], held + count);
        assert!(held <= MAX + 1, "{held} bytes are held");
        loop {
            match inbox.take() {
                Ok(Some(frame)) => {
                    held -= frame.len() + 1;
                    frames.push(frame.to_string());
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
        if count == 0 {
            assert_eq!(inbox.is_empty(), held == 0);
            return (frames, None);
        }
    }
}

/// The same by the definition: texts ended by NUL, none longer or deeper than the caps. Depth is judged where a frame is JSON; where it is none,
/// the answer of `seen` is taken.
fn expected(stream: &[u8], seen: &[String]) -> Taken {
    let mut frames = Vec::new();
    let mut parts = stream.split(|byte| *byte == 0).peekable();
    while let Some(part) = parts.next() {
        if part.len() > MAX {
            return (frames, Some(Error::TooLong));
        }
        if parts.peek().is_none() {
            break;
        }
        let Ok(text) = str::from_utf8(part) else { return (frames, Some(Error::NotText)) };
        let json: Option<serde_json::Value> = serde_json::from_str(text).ok();
        if json.map_or(seen.get(frames.len()).is_none(), |value| depth(&value) > DEPTH) {
            return (frames, Some(Error::TooDeep));
        }
        frames.push(text.to_owned());
    }
    (frames, None)
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// What is put out comes in again. (Fractions are in no interface, and JSON does not keep them.)
fn comes_in_again(value: &serde_json::Value) {
    if fractional(value) {
        return;
    }
    let mut outbox = Outbox::new();
    if outbox.put(value).is_err() {
        assert!(outbox.bytes().is_empty(), "a value that is refused leaves something");
        return;
    }
    let (frames, error) = taken(outbox.bytes(), &[]);
    assert_eq!((frames.len(), error), (1, None));
    assert_eq!(serde_json::from_str::<serde_json::Value>(&frames[0]).ok().as_ref(), Some(value));
}

fn fractional(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(items) => items.iter().any(fractional),
        serde_json::Value::Object(members) => members.values().any(fractional),
        other => other.is_f64(),
    }
}
