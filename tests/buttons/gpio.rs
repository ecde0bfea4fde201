//! Lines of a GPIO chip, made with gpio-sim.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;

/// A test at a time has a chip: `identify` claims every free line that it finds.
static ALONE: Mutex<()> = Mutex::new(());

/// A GPIO chip of eight lines made with gpio-sim; gone with it.
pub struct Chip {
    folder: PathBuf,
    pub label: String,
    _alone: MutexGuard<'static, ()>,
}

impl Chip {
    pub fn new(label: &str) -> Option<Self> {
        let base = Path::new("/sys/kernel/config/gpio-sim");
        if !may_make("a GPIO line") {
            return None;
        }
        if !base.is_dir() {
            skipped(Lack::Hardware, format_args!("no GPIO line can be made: no {}", base.display()));
            return None;
        }
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = base.join(label);
        fs::create_dir_all(folder.join("bank0/line4")).unwrap();
        let chip = Self { folder, label: label.into(), _alone: alone };
        for (file, text) in [("bank0/num_lines", "8"), ("bank0/label", label), ("bank0/line4/name", "reset-button"), ("live", "1")] {
            fs::write(chip.folder.join(file), text).unwrap();
        }
        Some(chip)
    }

    pub fn read(&self, file: &str) -> String {
        fs::read_to_string(self.folder.join(file)).unwrap().trim().to_owned()
    }

    pub fn set(&self, line: u32, high: bool) {
        let (device, chip) = (self.read("dev_name"), self.read("bank0/chip_name"));
        let pull = format!("/sys/devices/platform/{device}/{chip}/sim_gpio{line}/pull");
        fs::write(pull, if high { "pull-up" } else { "pull-down" }).unwrap();
    }

    fn button(&self, line: Line, active_low: bool, poll_ms: u64) -> Vec<Button> {
        vec![Button::Gpio { name: "reset".into(), chip: self.label.clone(), line, active_low, poll_ms }]
    }
}

impl Drop for Chip {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("live"), "0");
        for folder in ["bank0/line4", "bank0", ""] {
            let _ = fs::remove_dir(self.folder.join(folder));
        }
    }
}

async fn presses_of_a_line(chip: &Chip, button: Vec<Button>, line: u32, pressed: bool) {
    chip.set(line, !pressed);
    let mut watched = Watched::new(button, &settings(), Path::new("/"));
    assert_eq!(watched.next().await, Event::Ready);
    let start = clock::monotonic();
    chip.set(line, pressed);
    let Event::Fired { held } = watched.until(is_fired).await else { unreachable!() };
    let late = (clock::monotonic() - start).checked_sub(HOLD).expect("not before the hold");
    eprintln!("gpio: fired {late:?} after the hold, measured {held:?}");
    chip.set(line, !pressed);
    assert!(matches!(watched.until(is_released).await, Event::Released { fired: true, .. }));
    chip.set(line, pressed);
    assert_eq!(watched.next().await, Event::Pressed);
    chip.set(line, !pressed);
    assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
}

#[test]
fn a_gpio_line_fires_by_name_and_by_offset_and_in_both_polarities() {
    let Some(chip) = Chip::new("twostep-events") else { return };
    block_on(async {
        presses_of_a_line(&chip, chip.button(Line::Name("reset-button".into()), false, 0), 4, true).await;
        presses_of_a_line(&chip, chip.button(Line::Offset(2), true, 0), 2, false).await;
    });
}

#[test]
fn a_polled_gpio_line_fires_in_both_polarities() {
    let Some(chip) = Chip::new("twostep-polled") else { return };
    block_on(async {
        presses_of_a_line(&chip, chip.button(Line::Offset(3), false, 20), 3, true).await;
        presses_of_a_line(&chip, chip.button(Line::Offset(5), true, 20), 5, false).await;
    });
}

#[test]
fn bounces_of_a_gpio_line_more_than_the_kernel_keeps_do_not_hide_a_release() {
    let Some(chip) = Chip::new("twostep-bounce") else { return };
    block_on(async {
        let mut watched = Watched::new(chip.button(Line::Offset(4), false, 0), &settings(), Path::new("/"));
        assert_eq!(watched.next().await, Event::Ready);
        chip.set(4, true);
        assert_eq!(watched.next().await, Event::Pressed);
        for bounce in 0..100 {
            chip.set(4, bounce % 2 == 1);
        }
        chip.set(4, false);
        assert!(matches!(watched.until(is_released).await, Event::Released { fired: false, .. }));
        for bounce in 0..31 {
            chip.set(4, bounce % 2 == 0);
        }
        watched.until(is_fired).await;
    });
}

#[test]
fn a_gpio_line_that_the_key_driver_has_is_explained() {
    let Some(chip) = Chip::new("twostep-claimed") else { return };
    let mut device = gpio_cdev::Chip::new(format!("/dev/{}", chip.read("bank0/chip_name"))).unwrap();
    let _claimed = device.get_line(4).unwrap().request(gpio_cdev::LineRequestFlags::INPUT, 0, "gpio-keys").unwrap();
    block_on(async {
        for poll_ms in [0, 20] {
            let mut watched = Watched::new(chip.button(Line::Offset(4), false, poll_ms), &settings(), Path::new("/"));
            let Event::Missing { reason } = watched.next().await else { panic!("it is claimed") };
            assert!(reason.ends_with("is claimed by gpio-keys: use kind = \"input\""), "{reason}");
        }
        let mut watched = Watched::new(chip.button(Line::Name("absent".into()), false, 0), &settings(), Path::new("/"));
        let Event::Missing { reason } = watched.next().await else { panic!("it is not there") };
        assert!(reason.contains("has no line \"absent\""), "{reason}");
    });
}

#[test]
fn a_gpio_chip_that_goes_and_comes_back_is_noticed() {
    let Some(chip) = Chip::new("twostep-gone") else { return };
    block_on(async {
        let mut watched = Watched::new(chip.button(Line::Offset(4), false, 0), &settings(), Path::new("/"));
        assert_eq!(watched.next().await, Event::Ready);
        chip.set(4, true);
        assert_eq!(watched.next().await, Event::Pressed);
        fs::write(chip.folder.join("live"), "0").unwrap();
        watched.until(is_missing).await;
        fs::write(chip.folder.join("live"), "1").unwrap();
        watched.until(|event| *event == Event::Ready).await;
        chip.set(4, true);
        watched.until(is_fired).await;
    });
}
