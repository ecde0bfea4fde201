//! Names with `*` in them, as board profiles use them.

/// Whether `text` is what `pattern` says; each `*` stands for any text, the empty one too.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(last) = parts.next_back() else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in parts {
        // The earliest place leaves the most for the parts that follow.
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        let same = [
            ("keys", "keys"),
            ("gpio*keys", "gpio-keys"),
            ("*", ""),
            ("TS-*", "TS-453"),
            ("*keys", "gpio_keys"),
            ("a*b*c", "a-b-b-c"),
            ("a*a", "aa"),
        ];
        for (pattern, text) in same {
            assert!(matches(pattern, text), "{pattern} is {text}");
        }
        let other = [
            ("keys", "keys2"),
            ("gpio*", "my gpio"),
            ("a*b", "a-b-c"),
            ("a*a", "a"),
            ("*a*b*", "ba"),
            ("", "x"),
            ("TS-*", "ts-453"),
            ("*é", "e"),
        ];
        for (pattern, text) in other {
            assert!(!matches(pattern, text), "{pattern} is not {text}");
        }
    }

    #[test]
    fn many_stars_take_no_more_time_than_a_few() {
        assert!(!matches(&"a*".repeat(1000), &"a".repeat(500)));
    }
}
