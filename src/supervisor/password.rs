//! The default password: which secret of the sticker a press sets, and where it came from.

use crate::proto::secret::Secret;

/// What a press would set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultPassword {
    /// The password itself.
    pub password: Secret,
    /// The interface whose address it is made from, where there is one.
    pub interface: Option<String>,
    /// Where it came from, for people: `permanent address`, `nvmem qnap-mcu-eeprom0`, `file …`.
    pub origin: String,
}
