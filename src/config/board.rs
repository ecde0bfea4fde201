//! Board profiles: where a board's reset button, lights and sticker address are.

use serde::{Deserialize, Serialize};

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
#[serde(untagged)]
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

impl Button {
    /// What the source is called in logs and status.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Input { name, .. } | Self::Gpio { name, .. } | Self::Simulated { name } => name,
        }
    }
}
