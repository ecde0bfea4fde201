//! The known word nearest to a misspelt one.

/// The nearest of `known`, where it is near enough to be meant: at most one slip in three letters, two for a longer one.
pub(super) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // A word this long is no slip of the finger, and the distance takes time in its square.
    if word.len() > 64 {
        return None;
    }
    let (far, near) = known.iter().map(|k| (distance(word, k), *k)).min_by_key(|(d, _)| *d)?;
    (far <= (near.len() / 3).max(1)).then_some(near)
}

/// How many letters must be added, left out, changed or swapped with their neighbour (Damerau's distance, restricted).
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            rows[i][j] = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                rows[i][j] = rows[i][j].min(rows[i - 2][j - 2] + 1);
            }
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_mended_and_another_word_is_not() {
        let known = ["recovery", "button", "log", "hold"];
        assert_eq!(nearest("recovry", &known), Some("recovery"));
        assert_eq!(nearest("buton", &known), Some("button"));
        assert_eq!(nearest("hodl", &known), Some("hold"));
        assert_eq!(nearest("mail", &known), None);
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }
}
