//! What the account's owner is told at the next login.

use crate::core::time::Wall;
use crate::engine::store::Denial;

/// To whoever is given a setup in the place of one that was cut off.
pub const CUT_OFF: &str = "a setup of this account was begun from your address a moment ago: if you have scanned its QR code, go on with the code that \
                           the app shows; if that was not you, somebody knows your password";

/// To whoever is given a setup that ends the account's passwordless login.
pub const PASSWORDLESS: &str = "a second step excludes passwordless login, which ends with this setup";

/// In words, for one line. Times are told as a span: the reader's time zone is not known here.
#[must_use]
pub fn denied(denial: &Denial, now: Wall) -> String {
    let from = denial.remote.as_ref().map_or(String::new(), |remote| format!(" from {remote}"));
    let (service, when) = (&denial.service, ago(now.0.saturating_sub(denial.at.0)));
    match denial.times {
        1 => format!("a login request{from} ({service}) was denied on your phone {when}"),
        times => format!("{times} login requests were denied on your phone, the last{from} ({service}) {when}"),
    }
}

/// So many seconds; none where the clock was set back meanwhile.
fn ago(seconds: i64) -> String {
    let of = |count: i64, unit: &str| if count == 1 { format!("1 {unit} ago") } else { format!("{count} {unit}s ago") };
    match seconds {
        ..60 => "a moment ago".into(),
        60..3_600 => of(seconds / 60, "minute"),
        3_600..86_400 => of(seconds / 3_600, "hour"),
        _ => of(seconds / 86_400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denial_says_from_where_into_what_and_when() {
        let denial =
            |remote: Option<&str>, times| Denial { at: Wall(1_000), service: "sshd".into(), remote: remote.map(Into::into), times };
        let told = denied(&denial(Some("192.0.2.7"), 1), Wall(1_000 + 300));
        assert_eq!(told, "a login request from 192.0.2.7 (sshd) was denied on your phone 5 minutes ago");
        let told = denied(&denial(None, 3), Wall(1_000 + 86_400));
        assert_eq!(told, "3 login requests were denied on your phone, the last (sshd) 1 day ago");
        assert!(denied(&denial(None, 1), Wall(0)).ends_with("a moment ago"), "the clock was set back");
    }

    #[test]
    fn spans_are_rounded_down() {
        let told = [59, 60, 119, 3_599, 3_600, 86_399, 86_400 * 9].map(ago);
        assert_eq!(told, ["a moment ago", "1 minute ago", "1 minute ago", "59 minutes ago", "1 hour ago", "23 hours ago", "9 days ago"]);
    }
}
