//! What the phone page reads from QR codes, tried on codes that another hand draws (the crate `qrcode`).
//!
//! The reader is JavaScript (src/web/assets/qr), and so are the pictures it gets to see: tests/web/qr.mjs draws them from the modules written here,
//! turned, blurred, in bad light, and says under node what is wrong.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use qrcode::bits::Bits;
use qrcode::canvas::{Canvas, MaskPattern};
use qrcode::{Color, EcLevel, Version, ec};
use serde_json::{Value, json};

#[path = "support/skip.rs"]
mod skip;

const LEVELS: [EcLevel; 4] = [EcLevel::L, EcLevel::M, EcLevel::Q, EcLevel::H];
const MASKS: [MaskPattern; 8] = [
    MaskPattern::Checkerboard,
    MaskPattern::HorizontalLines,
    MaskPattern::VerticalLines,
    MaskPattern::DiagonalLines,
    MaskPattern::LargeCheckerboard,
    MaskPattern::Fields,
    MaskPattern::Diamonds,
    MaskPattern::Meadow,
];
/// Text that the densest mode for each part makes into one of digits, capitals, bytes, two- and three-byte letters, and a mixture.
const TEXTS: [&str; 5] =
    ["0123456789", "HTTPS://NAS:8443/ $%*+-.", "https://nas.example/pair#", "Größe Ελλάδα 日本語 ", "ab12345678CDEFGHIJKé"];
/// What a phone scans to be paired with a NAS.
const PAIRING: &str = "https://nas.example:8443/pair#1.AAAAAAAAAAAAAAAAAAAAAA.BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

fn modules(bits: Bits, level: EcLevel, mask: MaskPattern) -> Vec<Color> {
    let version = bits.version();
    let (data, check) = ec::construct_codewords(&bits.into_bytes(), version, level).unwrap();
    let mut canvas = Canvas::new(version, level);
    canvas.draw_all_functional_patterns();
    canvas.draw_data(&data, &check);
    canvas.apply_mask(mask);
    canvas.into_colors()
}

fn bits(text: &str, version: i16, level: EcLevel) -> Option<Bits> {
    let mut bits = Bits::new(Version::Normal(version));
    bits.push_optimal_data(text.as_bytes()).ok()?;
    bits.push_terminator(level).ok()?;
    Some(bits)
}

/// The longest beginning of `pattern`, repeated, that the code has room for.
fn filling(pattern: &str, version: i16, level: EcLevel) -> (String, Bits) {
    let letters: Vec<char> = pattern.chars().cycle().take(7100).collect();
    let (mut fits, mut too_long) = (0, letters.len());
    while too_long - fits > 1 {
        let length = usize::midpoint(fits, too_long);
        let text: String = letters[..length].iter().collect();
        if bits(&text, version, level).is_some() { fits = length } else { too_long = length }
    }
    let text: String = letters[..fits].iter().collect();
    let bits = bits(&text, version, level).unwrap();
    (text, bits)
}

fn code(text: &str, version: i16, level: EcLevel, mask: usize, bits: Bits) -> Value {
    let dark: String = modules(bits, level, MASKS[mask]).into_iter().map(|color| color.select('1', '0')).collect();
    json!({ "text": text, "version": version, "level": format!("{level:?}"), "mask": mask, "dark": dark })
}

/// One code a line.
fn codes() -> String {
    let mut lines = String::new();
    for (n, (version, level)) in (1..=40).flat_map(|version| LEVELS.map(|level| (version, level))).enumerate() {
        for (mask, pattern) in (0..MASKS.len()).zip(TEXTS.iter().cycle().skip(n)) {
            let (text, bits) = filling(pattern, version, level);
            writeln!(lines, "{}", code(&text, version, level, mask, bits)).unwrap();
        }
    }
    let smallest = (1..=40).find_map(|version| Some((version, bits(PAIRING, version, EcLevel::L)?)));
    let (version, bits) = smallest.unwrap();
    writeln!(lines, "{}", code(PAIRING, version, EcLevel::L, 3, bits)).unwrap();
    lines
}

#[test]
fn the_phone_page_reads_what_others_draw() {
    if Command::new("node").arg("--version").output().is_err() {
        skip::skipped("no node here (Debian package nodejs)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("codes");
    std::fs::write(&file, codes()).unwrap();
    let test = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web/qr.mjs");
    let run = Command::new("node").arg("--test").arg(test).env("QR_CODES", &file).output().unwrap();
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
