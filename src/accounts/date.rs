//! Dates as JSON has them: ISO 8601 with milliseconds and `Z`.

/// Milliseconds of a day.
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A moment, in milliseconds since 1970. Years are written with four digits at least.
pub fn render(millis: i64) -> String {
    let (days, rest) = (millis.div_euclid(DAY), millis.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    let (second, milli) = (rest / 1000 % 60, rest % 1000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// A date (`2000-02-29`), or a moment with its zone (`2000-02-29T12:30:00+02:00`, RFC 3339),
/// in milliseconds since 1970.
pub fn parse(text: &str) -> Option<i64> {
    // Nothing longer is a date, and nothing else than ASCII is cut in two.
    if text.len() > 40 || !text.is_ascii() {
        return None;
    }
    let (date, time) = text.split_at_checked(10)?;
    let days = parse_days(date)?;
    if time.is_empty() {
        return Some(days * DAY);
    }
    let time = time.strip_prefix(['T', 't', ' '])?;
    Some(days * DAY + parse_time(time)?)
}

fn parse_days(text: &str) -> Option<i64> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    if parts.next().is_some() || !(1..=12).contains(&month) || day < 1 {
        return None;
    }
    let days = from_civil(year, month, day);
    // A day that the month does not have lies in the next one.
    (civil(days) == (year, month, day)).then_some(days)
}

/// `12:30`, `12:30:05`, `12:30:05.123`, each with a zone.
fn parse_time(text: &str) -> Option<i64> {
    let zone = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let mut parts = clock.split(':');
    let hour = digits(parts.next()?, 2)?;
    let minute = digits(parts.next()?, 2)?;
    let second = parts.next().map_or(Some(0), |text| digits(text, 2))?;
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second - parse_zone(zone)?;
    Some(seconds * 1000 + millis)
}

/// Seconds east of Greenwich.
fn parse_zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (digits(hours, 2)?, digits(minutes, 2)?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = (hours * 60 + minutes) * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn digits(text: &str, count: usize) -> Option<i64> {
    let all = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a date in the Gregorian calendar: years are counted from March, so that a
/// leap day comes last.
fn from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// The date of a day since 1970.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for (text, written) in [
            ("1970-01-01", "1970-01-01T00:00:00.000Z"),
            ("1901-12-31", "1901-12-31T00:00:00.000Z"),
            ("2000-02-29", "2000-02-29T00:00:00.000Z"),
            ("1990-05-04T12:30:05Z", "1990-05-04T12:30:05.000Z"),
            (
                "1990-05-04T00:30:05.12345+02:00",
                "1990-05-03T22:30:05.123Z",
            ),
            ("1990-05-04T23:30-01:30", "1990-05-05T01:00:00.000Z"),
        ] {
            assert_eq!(parse(text).map(render).as_deref(), Some(written), "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "1990",
            "1990-13-01",
            "1990-02-29",
            "1900-02-29",
            "1990-04-31",
            "1990-1-1",
            "1990-00-10",
            "1990-01-00",
            "1990-01-01T",
            "1990-01-01T25:00Z",
            "1990-01-01T10:00",
            "1990-01-01T10:00:60Z",
            "1990-01-01T10:00:00.Z",
            "1990-01-01T10:00:00+2:00",
            "01.02.1990",
            "1990-01-01é",
            "+199-01-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn every_day_comes_back() {
        for day in -200_000..200_000 {
            let (year, month, date) = civil(day);
            assert_eq!(from_civil(year, month, date), day);
        }
    }
}
