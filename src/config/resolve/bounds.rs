//! Bounds: numbers, sizes and times within sane limits.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Context;
use crate::config::file::{self, Count, Size, Time};
use crate::config::{Limits, Shutdown, Timeouts};

/// With less, ordinary requests that carry a token and some cookies would be refused.
const LEAST_HEAD: u64 = 8 << 10;

const MILLISECOND: Duration = Duration::from_millis(1);

/// A whole number within a range.
pub(super) fn whole(
    key: &str,
    value: Option<Count>,
    default: usize,
    range: RangeInclusive<usize>,
    cx: &mut Context<'_>,
) -> usize {
    let Some(Count(value)) = value else {
        return default;
    };
    let value = usize::try_from(value).unwrap_or(usize::MAX);
    within(key, value, default, range, |value| value.to_string(), cx)
}

/// A size within a range of bytes.
pub(super) fn size(
    key: &str,
    value: Option<Size>,
    default: u64,
    range: RangeInclusive<u64>,
    cx: &mut Context<'_>,
) -> usize {
    let value = value.map_or(default, |size| size.0);
    let value = within(key, value, default, range, |bytes| shown_size(*bytes), cx);
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// A time of at least so much.
pub(super) fn time(
    key: &str,
    value: Option<Time>,
    default: Duration,
    least: Duration,
    cx: &mut Context<'_>,
) -> Duration {
    let value = value.map_or(default, |time| time.0);
    within(key, value, default, least..=Duration::MAX, shown_time, cx)
}

/// A time that may be nothing.
pub(super) fn any_time(value: Option<Time>, default: Duration) -> Duration {
    value.map_or(default, |time| time.0)
}

fn within<T: PartialOrd + Copy, S: Display>(
    key: &str,
    value: T,
    default: T,
    range: RangeInclusive<T>,
    show: impl Fn(&T) -> S,
    cx: &mut Context<'_>,
) -> T {
    if range.contains(&value) {
        return value;
    }
    let (least, most) = (range.start(), range.end());
    let (message, remedy) = if value < *least {
        ("is too small", format!("Write {} or more.", show(least)))
    } else {
        ("is too large", format!("Write {} or less.", show(most)))
    };
    cx.error(key, format!("{message}: {}", show(&value)), remedy);
    default
}

fn shown_size(bytes: u64) -> String {
    match bytes {
        0 => "0".into(),
        _ if bytes.is_multiple_of(1 << 30) => format!("{}GiB", bytes >> 30),
        _ if bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => bytes.to_string(),
    }
}

fn shown_time(time: &Duration) -> String {
    humantime::format_duration(*time)
        .to_string()
        .replace(' ', "")
}

/// Bounds on what a client can send or hold open.
pub(super) fn limits(file: &file::Limits, cx: &mut Context<'_>) -> Limits {
    let head = size(
        "limits.header_bytes",
        file.header_bytes,
        32 << 10,
        LEAST_HEAD..=1 << 20,
        cx,
    );
    let most = head as u64;
    Limits {
        connections: whole(
            "limits.connections",
            file.connections,
            10_000,
            1..=10_000_000,
            cx,
        ),
        connections_per_client: file.connections_per_client.map(|value| {
            let key = "limits.connections_per_client";
            whole(key, Some(value), 1, 1..=10_000_000, cx)
        }),
        header_bytes: head,
        header_count: whole(
            "limits.header_count",
            file.header_count,
            100,
            10..=10_000,
            cx,
        ),
        target_bytes: size(
            "limits.target_bytes",
            file.target_bytes,
            most.min(8 << 10),
            64..=most,
            cx,
        ),
        identity_bytes: size(
            "limits.identity_bytes",
            file.identity_bytes,
            8 << 10,
            256..=1 << 20,
            cx,
        ),
        requests: whole("limits.requests", file.requests, 10_000, 1..=10_000_000, cx),
        streams: whole("limits.streams", file.streams, 100, 1..=10_000, cx),
    }
}

/// Bounds on time; nothing works in no time.
pub(super) fn timeouts(file: &file::Timeouts, cx: &mut Context<'_>) -> Timeouts {
    let mut bound =
        |key, value, default| time(key, value, Duration::from_secs(default), MILLISECOND, cx);
    let header_read = bound("timeouts.header_read", file.header_read, 10);
    // Whoever wants heads sooner wants their first bytes sooner too.
    let first_byte = file.first_byte.unwrap_or(file::Time(header_read));
    Timeouts {
        first_byte: bound("timeouts.first_byte", Some(first_byte), 10),
        handshake: bound("timeouts.handshake", file.handshake, 10),
        header_read,
        connect: bound("timeouts.connect", file.connect, 3),
        response: bound("timeouts.response", file.response, 60),
        idle: bound("timeouts.idle", file.idle, 90),
        keep_alive: bound("timeouts.keep_alive", file.keep_alive, 75),
        half_closed: any_time(file.half_closed, Duration::from_secs(5)),
    }
}

/// How usher ends; both times may be nothing.
pub(super) fn shutdown(file: &file::Shutdown) -> Shutdown {
    Shutdown {
        pause: any_time(file.pause, Duration::from_secs(5)),
        deadline: any_time(file.deadline, Duration::from_secs(30)),
    }
}
