//! What the browser's camera sees: a film of one frame (YUV4MPEG2, which Chromium reads from a file).

use std::path::Path;

/// Width and height of the frame, in pixels.
const SIZE: (usize, usize) = (640, 480);
/// Luma of a screen's white and black, as a camera sees them.
const WHITE: u8 = 225;
const BLACK: u8 = 30;

/// Puts a picture of dark (`true`) and light squares into the middle of the frame, each `scale` pixels wide; the rest is the grey of a room.
pub fn film(file: &Path, rows: &[Vec<bool>], scale: usize) {
    let (width, height) = SIZE;
    let (wide, high) = (rows[0].len() * scale, rows.len() * scale);
    assert!(wide <= width && high <= height, "{wide}x{high} does not fit");
    let (left, top) = ((width - wide) / 2, (height - high) / 2);
    let mut luma = vec![120_u8; width * height];
    for (y, line) in luma.chunks_mut(width).enumerate().skip(top).take(high) {
        for (x, pixel) in line.iter_mut().enumerate().skip(left).take(wide) {
            *pixel = if rows[(y - top) / scale][(x - left) / scale] { BLACK } else { WHITE };
        }
    }
    let mut film = format!("YUV4MPEG2 W{width} H{height} F10:1 Ip A1:1 C420jpeg\n").into_bytes();
    // More than one, since a reader may want to look ahead.
    for _ in 0..5 {
        film.extend_from_slice(b"FRAME\n");
        film.extend_from_slice(&luma);
        film.extend(std::iter::repeat_n(128, width * height / 2));
    }
    std::fs::write(file, film).unwrap();
}

/// The squares of a QR code drawn in a terminal, dark ones `true`: with half blocks, one character for two squares above one another, or with
/// `##` for one. What is drawn is light on the terminal's own dark ground; after the colours of black on white it is dark.
pub fn drawn(text: &str) -> Vec<Vec<bool>> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let coloured = line.strip_prefix("\x1b[30;47m").map(|line| line.strip_suffix("\x1b[0m").unwrap());
        let (line, is_dark) = (coloured.unwrap_or(line), coloured.is_some());
        if line.contains('#') {
            rows.push(line.as_bytes().chunks(2).map(|square| (square == b"##") == is_dark).collect());
            continue;
        }
        let halves = line.chars().map(|block| match block {
            '█' => (is_dark, is_dark),
            '▀' => (is_dark, !is_dark),
            '▄' => (!is_dark, is_dark),
            ' ' => (!is_dark, !is_dark),
            other => panic!("{other:?} is no half block"),
        });
        let (upper, lower): (Vec<bool>, Vec<bool>) = halves.unzip();
        rows.extend([upper, lower]);
    }
    rows
}
