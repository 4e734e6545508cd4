//! Dates as JSON has them: ISO 8601 with milliseconds and `Z`.

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset};

/// Nanoseconds of a millisecond.
const MILLI: i128 = 1_000_000;

/// A moment, in milliseconds since 1970; beyond the years that the calendar has, its end.
pub fn render(millis: i64) -> String {
    let nanos = i128::from(millis) * MILLI;
    let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(match millis < 0 {
        true => PrimitiveDateTime::MIN.assume_utc(),
        false => PrimitiveDateTime::MAX.assume_utc(),
    });
    // The sign counts as a digit.
    let width = if moment.year() < 0 { 5 } else { 4 };
    format!(
        "{:0width$}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        moment.year(),
        u8::from(moment.month()),
        moment.day(),
        moment.hour(),
        moment.minute(),
        moment.second(),
        moment.millisecond()
    )
}

/// A date (`2000-02-29`), or a moment with its zone (`2000-02-29T12:30:00+02:00`, RFC 3339),
/// in milliseconds since 1970.
pub fn parse(text: &str) -> Option<i64> {
    // Nothing longer is a date, and nothing else than ASCII is cut in two.
    if text.len() > 40 || !text.is_ascii() {
        return None;
    }
    let (date, time) = text.split_at_checked(10)?;
    let (date, (time, zone)) = (parse_date(date)?, parse_time(time)?);
    let nanos = date
        .with_time(time)
        .assume_offset(zone)
        .unix_timestamp_nanos();
    i64::try_from(nanos.div_euclid(MILLI)).ok()
}

fn parse_date(text: &str) -> Option<Date> {
    let mut parts = text.split('-');
    let year = digits(parts.next()?, 4)?;
    let month = digits(parts.next()?, 2)?;
    let day = digits(parts.next()?, 2)?;
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(i32::from(year), month, u8::try_from(day).ok()?);
    date.ok().filter(|_| parts.next().is_none())
}

/// Nothing, or `12:30`, `12:30:05`, `12:30:05.123` after a `T`, each with a zone.
fn parse_time(text: &str) -> Option<(Time, UtcOffset)> {
    if text.is_empty() {
        return Some((Time::MIDNIGHT, UtcOffset::UTC));
    }
    let text = text.strip_prefix(['T', 't', ' '])?;
    let zone = text.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = text.split_at(zone);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let millis = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
    let mut parts = clock.split(':');
    let (hour, minute) = (two(parts.next()?)?, two(parts.next()?)?);
    let second = parts.next().map_or(Some(0), two)?;
    let time = Time::from_hms_milli(hour, minute, second, millis).ok()?;
    let zone = parse_zone(zone)?;
    parts.next().is_none().then_some((time, zone))
}

fn parse_zone(text: &str) -> Option<UtcOffset> {
    if matches!(text, "Z" | "z") {
        return Some(UtcOffset::UTC);
    }
    let (sign, rest) = text.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    // A clock's: 23:59 at most.
    let zone = Time::from_hms(two(hours)?, two(minutes)?, 0).ok()?;
    let (hours, minutes) = (
        i8::try_from(zone.hour()).ok()?,
        i8::try_from(zone.minute()).ok()?,
    );
    let zone = UtcOffset::from_hms(hours, minutes, 0).ok()?;
    Some(if sign == "-" { -zone } else { zone })
}

fn two(text: &str) -> Option<u8> {
    digits(text, 2).and_then(|number| u8::try_from(number).ok())
}

fn digits(text: &str, count: usize) -> Option<u16> {
    let all = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    all.then(|| text.parse().ok()).flatten()
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
        const DAY: i64 = 24 * 60 * 60 * 1000;
        for day in -200_000..200_000 {
            assert_eq!(parse(&render(day * DAY)), Some(day * DAY));
        }
    }

    #[test]
    fn what_is_beyond_the_calendar_is_its_end() {
        assert_eq!(render(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(render(i64::MIN), "-9999-01-01T00:00:00.000Z");
        assert_eq!(render(-62_167_219_200_001), "-0001-12-31T23:59:59.999Z");
    }
}
