//! What the engine writes to its standard error: a pipe of its own, whose lines the supervisor passes on to the log.
//!
//! The supervisor's own stream is the journal's, or a terminal: whoever shares it could write lines in the supervisor's name, flood it, or shut
//! it down for both. Here a line is one line, begins with `engine: `, and is cut at [`LONGEST`]; the log shows its control characters. An engine
//! that writes more than [`BURST`] is not read for a while: its pipe fills, and its own logger counts what it could not write.
//!
//! This does not judge what is said: an engine that is compromised can lie about itself.

use std::time::Duration;

use log::Level;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::sleep;

/// The longest line in bytes; what is beyond is left out.
const LONGEST: usize = 4096;

/// So many bytes are passed on before the next [`PAUSE`]; a line counts as at least [`LINE`].
const BURST: usize = 64 * 1024;
const LINE: usize = 128;
const PAUSE: Duration = Duration::from_secs(1);

/// Passes lines on until the stream ends.
pub(super) async fn relay(from: impl AsyncRead + Unpin) {
    read_lines(from, |level, text| log::log!(target: concat!(env!("CARGO_CRATE_NAME"), "::engine"), level, "engine: {text}")).await;
}

async fn read_lines(mut from: impl AsyncRead + Unpin, mut pass: impl FnMut(Level, &str)) {
    let (mut memory, mut line, mut spent) = ([0; 1024], Vec::new(), 0);
    // A stream that fails says nothing more, like one that has ended.
    while let Ok(count @ 1..) = from.read(&mut memory).await {
        for byte in &memory[..count] {
            match byte {
                b'\n' => {
                    spent += LINE.max(line.len());
                    finish(&mut line, &mut pass);
                }
                byte if line.len() < LONGEST => line.push(*byte),
                _ => spent += 1,
            }
        }
        if spent >= BURST {
            sleep(PAUSE).await;
            spent = 0;
        }
    }
    finish(&mut line, &mut pass);
}

fn finish(line: &mut Vec<u8>, pass: &mut impl FnMut(Level, &str)) {
    let (level, text) = graded(line);
    if !text.is_empty() {
        let cut = if line.len() < LONGEST { "" } else { "…" };
        pass(level, &format!("{}{cut}", String::from_utf8_lossy(text)));
    }
    line.clear();
}

/// The level that its logger writes in front, as for the journal (sd-daemon(3)); a line without one is a panic's, or worse.
fn graded(line: &[u8]) -> (Level, &[u8]) {
    let level = |digit| match digit {
        b'0'..=b'3' => Some(Level::Error),
        b'4' => Some(Level::Warn),
        b'5' | b'6' => Some(Level::Info),
        b'7' => Some(Level::Debug),
        _ => None,
    };
    match line {
        [b'<', digit, b'>', text @ ..] => level(*digit).map_or((Level::Warn, line), |level| (level, text)),
        _ => (Level::Warn, line),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::timeout;

    use super::*;

    async fn passed(bytes: &[u8]) -> Vec<(Level, String)> {
        let mut lines = Vec::new();
        read_lines(bytes, |level, text| lines.push((level, text.to_owned()))).await;
        lines
    }

    #[tokio::test]
    async fn a_line_keeps_its_level_and_one_without_is_a_warning() {
        let said = passed(b"<6>audit: enabled\n<3>disk full\nthread panicked\n\n<9>x\n<7>\nlast").await;
        let expected = [
            (Level::Info, "audit: enabled"),
            (Level::Error, "disk full"),
            (Level::Warn, "thread panicked"),
            (Level::Warn, "<9>x"),
            (Level::Warn, "last"),
        ];
        assert_eq!(said, expected.map(|(level, text)| (level, text.to_owned())));
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_and_what_is_no_text_is_shown() {
        let long = [b"<4>".as_slice(), &[b'x'; 3 * LONGEST], b"\nnext \xff\n"].concat();
        let said = passed(&long).await;
        assert_eq!(said.len(), 2);
        assert_eq!(said[0].1, format!("{}…", "x".repeat(LONGEST - 3)));
        assert_eq!(said[1].1, "next \u{fffd}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_in_the_engines_pipe() {
        for (piece, least) in [("x\n".to_owned(), 100), ("y".repeat(10_000), 5)] {
            let (mut engine, ours) = tokio::io::duplex(1024);
            let flood = async move {
                for _ in 0..500_000 / piece.len() {
                    engine.write_all(piece.as_bytes()).await.unwrap();
                }
            };
            let mut passing = std::pin::pin!(async { tokio::join!(flood, read_lines(ours, |_, _| {})) });
            assert!(timeout(PAUSE * least, &mut passing).await.is_err(), "half a megabyte passed at once");
            passing.await;
        }
    }
}
