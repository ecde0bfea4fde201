//! A QR code drawn with characters, for the text of a prompt.
//!
//! ssh shows no colours in a prompt (it escapes all control characters but line breaks), so light modules are drawn and dark ones left blank,
//! which is the right way round on a dark terminal. Apps read the reverse too.

use qrcode::{Color, EcLevel, QrCode};
use zeroize::Zeroizing;

/// How it is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Half blocks, two rows of modules a line.
    Blocks,
    /// `##`, for terminals without UTF-8.
    Ascii,
    /// Not at all: the key is typed.
    None,
}

/// The quiet zone around it. ISO/IEC 18004 asks for four modules; apps read it with two, which leaves room on a terminal of 80 columns.
const QUIET: usize = 2;

/// The drawing, each row with its line break. None where it is not wanted, or where the text is too long for one.
pub fn draw(text: &str, form: Form) -> Option<Zeroizing<String>> {
    if form == Form::None {
        return None;
    }
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let colors = code.into_colors();
    let side = width + 2 * QUIET;
    let light = |x: usize, y: usize| {
        let at = |n: usize| n.checked_sub(QUIET).filter(|n| *n < width);
        let place = at(x).zip(at(y)).and_then(|(x, y)| colors.get(y * width + x));
        place.is_none_or(|color| *color == Color::Light)
    };
    // Room for all of it at once: a text that grows leaves copies behind that nobody wipes.
    let mut drawn = Zeroizing::new(String::with_capacity(side * (3 * side + 1)));
    match form {
        Form::Blocks => {
            for y in (0..side).step_by(2) {
                for x in 0..side {
                    drawn.push(match (light(x, y), y + 1 < side && light(x, y + 1)) {
                        (true, true) => '█',
                        (true, false) => '▀',
                        (false, true) => '▄',
                        (false, false) => ' ',
                    });
                }
                drawn.push('\n');
            }
        }
        Form::Ascii => {
            for y in 0..side {
                for x in 0..side {
                    drawn.push_str(if light(x, y) { "##" } else { "  " });
                }
                drawn.push('\n');
            }
        }
        Form::None => {}
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URI: &str = "otpauth://totp/nas:alice?secret=JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP&issuer=nas";

    #[test]
    fn both_forms_show_the_same_modules() {
        let blocks = draw(URI, Form::Blocks).unwrap();
        let ascii = draw(URI, Form::Ascii).unwrap();
        let of_ascii: Vec<Vec<bool>> =
            ascii.lines().map(|line| line.as_bytes().chunks(2).map(|module| module == b"##").collect()).collect();
        let side = of_ascii.len();
        let mut of_blocks = vec![Vec::new(); side];
        for (row, line) in blocks.lines().enumerate() {
            of_blocks[2 * row] = line.chars().map(|c| matches!(c, '█' | '▀')).collect();
            if let Some(lower) = of_blocks.get_mut(2 * row + 1) {
                *lower = line.chars().map(|c| matches!(c, '█' | '▄')).collect();
            }
        }
        assert_eq!(of_ascii, of_blocks);
        assert!(of_ascii.iter().all(|row| row.len() == side) && side < 80);
        assert!(of_ascii[0].iter().all(|light| *light) && of_ascii[side - 1].iter().all(|light| *light), "a light border");
        // The corner of a finder pattern is dark.
        assert!(!of_ascii[QUIET][QUIET]);
    }

    #[test]
    fn what_fits_no_code_is_left_out() {
        assert!(draw(&"x".repeat(5000), Form::Blocks).is_none());
        assert!(draw(URI, Form::None).is_none());
    }

    #[test]
    fn no_control_character_but_the_line_break_is_in_it() {
        for form in [Form::Blocks, Form::Ascii] {
            assert!(draw(URI, form).unwrap().chars().all(|c| c == '\n' || !c.is_control()));
        }
    }
}
