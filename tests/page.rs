//! The page's modules under node: each of tests/web/*.mjs, and the codes that qr.mjs reads.
//!
//! Those codes are drawn by another hand, the crate `qrcode`. What becomes of them in front of a camera is up to qr.mjs.

use std::path::{Path, PathBuf};
use std::process::Command;

use qrcode::bits::Bits;
use qrcode::canvas::{Canvas, MaskPattern};
use qrcode::{EcLevel, Version, ec};
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

fn modules(data: &[u8], check: &[u8], version: Version, level: EcLevel, mask: usize) -> String {
    let mut canvas = Canvas::new(version, level);
    canvas.draw_all_functional_patterns();
    canvas.draw_data(data, check);
    canvas.apply_mask(MASKS[mask]);
    canvas.into_colors().into_iter().map(|color| color.select('1', '0')).collect()
}

/// The code as it should be, and with as many wrong bytes in each of its blocks as can be mended.
fn code(text: &str, level: EcLevel, mask: usize, bits: Bits) -> Value {
    let version = bits.version();
    let most = ec::max_allowed_errors(version, level).unwrap();
    let (mut data, mut check) = ec::construct_codewords(&bits.into_bytes(), version, level).unwrap();
    let dark = modules(&data, &check, version, level, mask);
    // The bytes of the blocks take turns, so that as many in a row as all blocks can bear fall on each alike.
    let damaged = if most <= data.len() { &mut data } else { &mut check };
    for (n, byte) in (1..).zip(&mut damaged[..most]) {
        *byte ^= u8::try_from(n % 255 + 1).unwrap();
    }
    let damaged = modules(&data, &check, version, level, mask);
    json!({ "text": text, "size": version.width(), "level": format!("{level:?}"), "mask": mask, "dark": dark, "damaged": damaged })
}

/// Each version with each level, twice: four versions of a level, or four levels of a version, have all the masks.
fn codes() -> Value {
    let mut codes = Vec::new();
    for (number, (level, first)) in (1..=40).flat_map(|number| LEVELS.into_iter().zip(0..).map(move |level| (number, level))) {
        let turn = usize::try_from(number).unwrap() + first;
        for (mask, pattern) in [(turn % 8, TEXTS[turn % 5]), ((turn + 4) % 8, TEXTS[(turn + 2) % 5])] {
            let (text, bits) = filling(pattern, number, level);
            codes.push(code(&text, level, mask, bits));
        }
    }
    let smallest = (1..=40).find_map(|number| bits(PAIRING, number, EcLevel::L)).unwrap();
    json!({ "pairing": code(PAIRING, EcLevel::L, 3, smallest), "codes": codes })
}

/// The first version that has hooks for modules; Debian 12 has it.
const NODE: (u32, u32) = (18, 19);

fn node_version() -> Option<(u32, u32)> {
    let output = Command::new("node").arg("--version").output().ok()?;
    let mut numbers = std::str::from_utf8(&output.stdout).ok()?.strip_prefix('v')?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[test]
fn the_modules_of_the_page_do_what_they_should() {
    if node_version().is_none_or(|version| version < NODE) {
        skip::skipped(skip::Lack::Package, "no node of version 18.19 or later here (Debian package nodejs)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("codes");
    std::fs::write(&file, codes().to_string()).unwrap();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web");
    let tests = std::fs::read_dir(tests).unwrap().map(|entry| entry.unwrap().path());
    let tests: Vec<PathBuf> = tests.filter(|path| path.extension().is_some_and(|extension| extension == "mjs")).collect();
    assert!(tests.len() >= 2, "{tests:?}");
    let run = Command::new("node").arg("--test").args(&tests).env("QR_CODES", &file).output().unwrap();
    assert!(run.status.success(), "{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
}
