//! What `twostep recovery identify` shows of a button.

use evdev::KeyCode;
use twostep::cli::identify::{Args, identify};

use super::*;
use crate::gpio::Chip;
use crate::input::{send, uinput};

/// Sends what is written, so that a test can wait for it.
struct Shown(std::sync::mpsc::Sender<String>);

impl std::io::Write for Shown {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.send(String::from_utf8_lossy(text).into_owned()).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What `twostep recovery identify` shows: the button is pressed as soon as it asks for it, and released as soon as it has heard that.
fn identified(gpio: bool, mut press: impl FnMut(bool)) -> String {
    let (sender, shown) = std::sync::mpsc::channel();
    let args = Args { seconds: 15, gpio };
    let listening = std::thread::spawn(move || identify(Path::new("/"), &args, &mut Shown(sender)));
    let (mut text, mut steps) = (String::new(), [("Ctrl-C ends", true), (" pressed\n", false)].into_iter().peekable());
    while let Ok(more) = shown.recv() {
        text += &more;
        while let Some((_, down)) = steps.next_if(|(awaited, _)| text.contains(awaited)) {
            press(down);
        }
    }
    assert!(listening.join().unwrap().unwrap(), "there is something to listen to: {text}");
    text
}

#[test]
fn identify_shows_an_input_button_and_its_profile() {
    let Some(mut device) = uinput("twostep-test panel", &[KeyCode::BTN_2, KeyCode::KEY_POWER]) else { return };
    let text = identified(false, |down| send(&mut device, KeyCode::BTN_2, i32::from(down)));
    eprintln!("{text}");
    for part in [
        "\"twostep-test panel\"",
        "BTN_2 (258) pressed",
        "BTN_2 (258) released after ",
        "device = \"twostep-test panel\"\nkey = \"BTN_2\"\n# Not grab",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}

#[test]
fn identify_shows_a_gpio_button_and_its_profile() {
    let Some(chip) = Chip::new("twostep-identify") else { return };
    chip.set(4, true);
    let text = identified(true, |down| chip.set(4, !down));
    eprintln!("{text}");
    for part in [
        "\"twostep-identify\", 8 lines",
        "4  \"reset-button\"  input, free",
        "\"twostep-identify\" line 4 \"reset-button\" pressed",
        "chip = \"twostep-identify\"\nline = 4\nactive_low = true\n",
    ] {
        assert!(text.contains(part), "no {part} in: {text}");
    }
}
