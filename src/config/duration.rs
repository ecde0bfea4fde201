//! Time spans as people write them: `3s`, `500ms`, `1h`.

/// For `#[serde(with = "human")]`.
pub mod human {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{self, Visitor};
    use serde::{Deserializer, Serializer};

    struct Span;

    impl Visitor<'_> for Span {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time span in quotes, like \"3s\" or \"1h\"")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text).map_err(|e| E::custom(format!("\"{text}\" is no time span (like \"3s\" or \"1h\"): {e}")))
        }
    }

    /// Reads `1h 30m`, `3s`, `500ms`.
    ///
    /// # Errors
    /// Where the text is no time span.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        from.deserialize_str(Span)
    }

    /// Writes what [`deserialize`] reads.
    ///
    /// # Errors
    /// As the serialiser's.
    pub fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&humantime::format_duration(*span))
    }
}
