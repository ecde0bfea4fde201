//! Board profiles: where a board's reset button, lights and sticker address are.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use evdev::KeyCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Error;
use super::document::{Document, Finding};

/// The shortest and the longest poll of a line without an interrupt, in milliseconds: often enough for a hold, seldom enough for an idle NAS.
const POLL_MS: std::ops::RangeInclusive<u64> = 10..=200;

/// Beyond the last key that the kernel knows (`KEY_CNT`).
const KEY_COUNT: u16 = 0x300;

/// One profile, one file in `board-configs/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// The name that people know the board by.
    pub name: String,
    /// Where the facts were taken from (a device-tree file, a driver).
    pub origin: String,
    /// How the board is recognised; absent: only by choosing the profile.
    #[serde(default)]
    pub detect: Detect,
    /// Its buttons: each is watched, each with its own state.
    #[serde(default, rename = "button")]
    pub buttons: Vec<Button>,
    /// What shows or sounds while the button is held.
    #[serde(default, rename = "feedback")]
    pub feedback: Vec<Feedback>,
    /// Where the sticker's address is kept, if not in an adapter.
    #[serde(default)]
    pub sticker: Option<Sticker>,
}

/// Any of these lists that is given must match; within one, any entry does. `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Detect {
    /// Against each entry of the device tree's `/compatible`.
    pub compatible: Vec<String>,
    /// Against the device tree's `/model`.
    pub model: Vec<String>,
    /// Against DMI `sys_vendor`.
    pub vendor: Vec<String>,
    /// Against DMI `product_name` and `board_name`.
    pub product: Vec<String>,
}

/// Where the sticker's address is kept, if not in an adapter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sticker {
    /// The name of an nvmem device below /sys/bus/nvmem/devices; `*` stands for any text.
    pub nvmem: String,
    /// Where the address begins in it, in bytes.
    pub offset: u64,
    /// 17 for a text like `24:5E:BE:00:00:01`, 12 for one without colons, 6 for plain bytes.
    pub length: usize,
}

/// One way to read a button.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Button {
    /// A key of an input device.
    Input {
        /// What the source is called in logs and status; unique in the profile.
        name: String,
        /// The input device's name, or its link below /dev/input/by-path; `*` stands for any text.
        device: String,
        /// `KEY_RESTART`, `BTN_1`, … or a number.
        key: String,
        /// Take the device for ourselves: only where reset is its only key.
        #[serde(default)]
        grab: bool,
    },
    /// A line of a GPIO chip.
    Gpio {
        /// What the source is called in logs and status; unique in the profile.
        name: String,
        /// The chip's label, its name (`gpiochip0`) or its path.
        chip: String,
        /// The line's offset or name.
        line: Line,
        /// Whether the line is low while the button is pressed.
        #[serde(default)]
        active_low: bool,
        /// Read at this interval, for lines without an interrupt; 0: wait for events. In milliseconds, 10 to 200.
        #[serde(default)]
        poll_ms: u64,
    },
    /// No button at all: pressed by `twostep recovery press`.
    Simulated {
        /// What the source is called in logs and status; unique in the profile.
        name: String,
    },
}

/// A GPIO line, by offset or by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected the line's offset (a number) or its name (a text in quotes)")]
pub enum Line {
    /// Its offset on the chip.
    Offset(u32),
    /// Its name, as `gpioinfo` shows it.
    Name(String),
}

/// What shows or sounds while the button is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Feedback {
    /// A light below /sys/class/leds.
    Led {
        /// Its name there.
        name: String,
    },
    /// A GPIO output that drives a light or a buzzer.
    Gpio {
        /// The chip's label, its name or its path.
        chip: String,
        /// The line's offset or name.
        line: Line,
        /// Whether a low line means on.
        #[serde(default)]
        active_low: bool,
    },
    /// An input device that sounds (SND_TONE or SND_BELL).
    Beeper {
        /// The input device's name; `*` stands for any text.
        device: String,
    },
}

impl Board {
    /// A machine whose button is not known: nothing is watched, everything else works.
    #[must_use]
    pub fn without_button() -> Self {
        Self {
            name: "unknown".into(),
            origin: "no profile fits".into(),
            detect: Detect::default(),
            buttons: Vec::new(),
            feedback: Vec::new(),
            sticker: None,
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// Where the file can't be read, or anything in it is wrong.
    pub fn load(file: &Path) -> Result<Self, Error> {
        Self::parse(&super::text_of(file)?, &file.to_string_lossy())
    }

    /// Reads a profile from its text; `name` is what the errors call it.
    ///
    /// # Errors
    /// Where anything in it is wrong: all of it, with the lines.
    pub fn parse(text: &str, name: &str) -> Result<Self, Error> {
        let invalid = |problems| Error::Invalid { file: name.to_owned(), problems };
        let document = Document::parse(text).map_err(invalid)?;
        // What a profile without its wrong parts says is not judged: each of its parts may be needed.
        let board: Self = document.read(&Value::Null).sound().map_err(invalid)?;
        // `button = []` says on purpose that there is none.
        let may_be_none = document.has("button");
        document.judge(board.into(), |board: &Self| board.check(may_be_none)).sound().map_err(invalid)
    }

    fn check(&self, may_be_none: bool) -> Vec<Finding> {
        let mut found = Findings(Vec::new());
        found.want(label(&self.name), "name", "give the board's name in at most 128 characters");
        found.want(shown(&self.origin, 512), "origin", "say in at most 512 characters where the facts were taken from");
        found.want(
            may_be_none || !self.buttons.is_empty(),
            "button",
            "no [[button]]: describe one, or write \"button = []\" where the board has none",
        );
        let mut names = BTreeSet::new();
        for (i, button) in self.buttons.iter().enumerate() {
            let unique = names.insert(button.name());
            let text = format!("another button is called \"{}\" as well: give each its own name", button.name());
            found.want(unique, &format!("button.{i}.name"), &text);
            found.button(i, button);
        }
        self.feedback.iter().enumerate().for_each(|(i, feedback)| found.feedback(i, feedback));
        self.sticker.iter().for_each(|sticker| found.sticker(sticker));
        let simulated = self.buttons.iter().any(|b| matches!(b, Button::Simulated { .. }));
        let text = "a simulated board is never detected: leave \"detect\" out";
        found.want(!simulated || self.detect == Detect::default(), "detect", text);
        let entries = [&self.detect.compatible, &self.detect.model, &self.detect.vendor, &self.detect.product];
        let empty = entries.into_iter().flatten().any(|entry| entry.trim_matches(['*', ' ']).is_empty());
        found.want(!empty, "detect", "an entry that fits every board is none: name this one");
        found.0
    }
}

struct Findings(Vec<Finding>);

impl Findings {
    fn want(&mut self, good: bool, key: &str, otherwise: &str) {
        if !good {
            let shown = key.split('.').filter(|step| step.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
            self.0.push(Finding { key: key.to_owned(), text: format!("{shown}: {otherwise}"), of_whole: None });
        }
    }

    fn button(&mut self, i: usize, button: &Button) {
        let at = |key: &str| format!("button.{i}.{key}");
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let named = (1..=32).contains(&button.name().len()) && button.name().chars().all(plain);
        self.want(named, &at("name"), "give 1 to 32 letters, digits, \"-\" or \"_\"");
        match button {
            Button::Input { device, key, .. } => {
                self.want(label(device), &at("device"), "give the input device's name, as `twostep recovery identify` shows it");
                let text = format!("\"{}\" is no key: give a name like KEY_RESTART or a number", key.escape_debug());
                self.want(key_code(key).is_some(), &at("key"), &text);
            }
            Button::Gpio { chip, line, poll_ms, .. } => {
                self.line(&at("chip"), chip, &at("line"), line);
                let text = format!("{poll_ms} is out of range: give 0 (wait for events) or {} to {}", POLL_MS.start(), POLL_MS.end());
                self.want(*poll_ms == 0 || POLL_MS.contains(poll_ms), &at("poll_ms"), &text);
            }
            Button::Simulated { .. } => {}
        }
    }

    fn line(&mut self, chip_key: &str, chip: &str, line_key: &str, line: &Line) {
        let path = chip.strip_prefix("/dev/").unwrap_or(chip);
        self.want(label(chip) && !path.contains('/'), chip_key, "give the chip's label, its name (gpiochip0) or its path below /dev");
        let good = match line {
            // As many lines as a chip with dynamic numbers can have (GPIO_DYNAMIC_MAX is beyond it).
            Line::Offset(offset) => *offset < 1024,
            Line::Name(name) => label(name),
        };
        self.want(good, line_key, "give an offset below 1024, or the line's name");
    }

    fn feedback(&mut self, i: usize, feedback: &Feedback) {
        let at = |key: &str| format!("feedback.{i}.{key}");
        match feedback {
            Feedback::Led { name } => self.want(file_name(name), &at("name"), "give the light's name below /sys/class/leds"),
            Feedback::Gpio { chip, line, .. } => self.line(&at("chip"), chip, &at("line"), line),
            Feedback::Beeper { device } => self.want(label(device), &at("device"), "give the input device's name"),
        }
    }

    fn sticker(&mut self, sticker: &Sticker) {
        self.want(file_name(&sticker.nvmem), "sticker.nvmem", "give the device's name below /sys/bus/nvmem/devices");
        let lengths = "give 17 (text with colons), 12 (text without) or 6 (bytes)";
        self.want([17, 12, 6].contains(&sticker.length), "sticker.length", lengths);
        self.want(sticker.offset < 1 << 20, "sticker.offset", "give an offset below 1 MiB");
    }
}

/// A short text that can be shown in a line.
fn label(text: &str) -> bool {
    shown(text, 128)
}

fn shown(text: &str, most: usize) -> bool {
    text.len() <= most && !text.trim().is_empty() && !text.chars().any(char::is_control)
}

fn file_name(text: &str) -> bool {
    label(text) && !text.contains('/') && text != "." && text != ".."
}

/// A key by its kernel name, or by its number.
fn key_code(text: &str) -> Option<u16> {
    let number = || text.parse().ok().filter(|code| *code < KEY_COUNT);
    KeyCode::from_str(text).ok().map(KeyCode::code).or_else(number)
}

impl Button {
    /// What the source is called in logs and status.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Input { name, .. } | Self::Gpio { name, .. } | Self::Simulated { name } => name,
        }
    }
}
