//! A board profile is checked in whole, as the configuration is.

use twostep::config::board::Board;

use super::configuration::{LARGEST, is_located};

const KEYS: [&str; 16] = [
    "name",
    "origin",
    "detect",
    "button",
    "feedback",
    "sticker",
    "compatible",
    "model",
    "vendor",
    "product",
    "kind",
    "device",
    "chip",
    "line",
    "nvmem",
    "length",
];

/// The input is the file.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if text.len() > LARGEST {
        return;
    }
    match Board::parse(text, "board.toml") {
        Ok(board) => {
            let written = serde_json::to_value(&board).expect("a profile can be written");
            assert_eq!(serde_json::from_value::<Board>(written).ok(), Some(board));
        }
        Err(error) => is_located(text, &error, &KEYS.map(String::from)),
    }
}
