//! Time spans as people write them: `3s`, `500ms`, `1h`.

/// For `#[serde(with = "human")]`.
pub mod human {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Reads `1h 30m`, `3s`, `500ms`.
    ///
    /// # Errors
    /// Where the text is no time span.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(from)?;
        humantime::parse_duration(&text).map_err(|e| de::Error::custom(format!("\"{text}\" is no time span (like \"3s\" or \"1h\"): {e}")))
    }

    /// Writes what [`deserialize`] reads.
    ///
    /// # Errors
    /// As the serialiser's.
    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*span))
    }
}
