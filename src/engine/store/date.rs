//! Dates in file names.

use crate::core::time::Wall;

/// UTC as `20261124T104846Z`. Times before 1970 and after 9999 are cut to these bounds, so that names keep their length.
pub(super) fn stamp(at: Wall) -> String {
    const LAST: i64 = 253_402_300_799;
    let at = at.0.clamp(0, LAST);
    let (days, second) = (at / 86_400, at % 86_400);
    // Days to date in the proleptic Gregorian calendar, counted from 0000-03-01 in eras of 400 years.
    let day = days + 719_468;
    let (era, day_of_era) = (day / 146_097, day % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// What [`stamp`] wrote; `None` for any other text. A date that does not exist counts on into the next month.
pub(super) fn parse(text: &str) -> Option<Wall> {
    let (day, time) = text.strip_suffix('Z')?.split_once('T')?;
    let digits = |text: &str, count: usize| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(day, 8) || !digits(time, 6) {
        return None;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let (year, month, day) = (number(&day[..4])?, number(&day[4..6])?, number(&day[6..])?);
    let shifted_month = (month + 9) % 12;
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + (153 * shifted_month + 2) / 5 + day - 1;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(Wall(days * 86_400 + number(&time[..2])? * 3600 + number(&time[2..4])? * 60 + number(&time[4..])?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_can_be_read_back() {
        for at in (0..253_402_300_799).step_by(86_400 * 37 + 12_345).chain([951_782_399, 951_782_400, 1_795_517_326]) {
            assert_eq!(parse(&stamp(Wall(at))), Some(Wall(at)));
        }
        for bad in ["", "Z", "20261124T10484Z", "2026112éT104846Z", "20261124 104846Z", "20261124T104846"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_right_at_the_edges() {
        assert_eq!(stamp(Wall(0)), "19700101T000000Z");
        assert_eq!(stamp(Wall(951_782_399)), "20000228T235959Z");
        assert_eq!(stamp(Wall(951_782_400)), "20000229T000000Z");
        assert_eq!(stamp(Wall(1_795_517_326)), "20261124T104846Z");
        assert_eq!(stamp(Wall(-5)), "19700101T000000Z");
        assert_eq!(stamp(Wall(i64::MAX)), "99991231T235959Z");
    }
}
