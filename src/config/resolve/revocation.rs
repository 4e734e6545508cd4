//! Which tokens are revoked before they expire.

use std::time::Duration;

use super::{Context, bounds, provisioner, users};
use crate::config::Issuer;
use crate::config::file::{self, RevocationStream, TextOr, Time};
use crate::config::report::{element, member};
use crate::config::revocation::{IssuerLife, Settings, Source, StreamSettings};

const KEY: &str = "revocation.stream";
const REMEDY: &str = "Write `stream: redis://redis:6379/usher:revocations`, or \
    `stream: file:/var/lib/usher/revoked` for one usher without Redis.";
const LIFE: &str = "Write how long its tokens live at most, such as `max_token_life: 12h`; longer ones \
    are refused. With `any` they are not, and what is revoked stays so for ever.";
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// Resolves revocation; `None` when the file has none. `mirrors`: how many of the issuers have an
/// entry under `issuers`.
pub(super) fn resolve(
    file: Option<&file::Revocation>,
    issuers: &[Issuer],
    mirrors: usize,
    state_dir: bool,
    cx: &mut Context<'_>,
) -> Option<Settings> {
    let file = file?;
    let source = source(file, cx)?;
    if matches!(source, Source::Stream(_)) && !state_dir {
        cx.report.warn(
            "revocation",
            "has no `state_dir` to keep a snapshot in: an usher that starts while Redis is away is not ready before it is back",
            "Write `state_dir: /var/lib/usher`, a folder of this usher's own.",
        );
    }
    let hour = Duration::from_secs(3600);
    let staleness = |time: Time, cx: &mut Context<'_>| {
        bounds::time("revocation.max_staleness", Some(time), hour, SECOND, cx)
    };
    Some(Settings {
        source,
        clock_skew: skew(file.clock_skew, cx),
        max_snapshot_age: bounds::time(
            "revocation.max_snapshot_age",
            file.max_snapshot_age,
            hour,
            Duration::ZERO,
            cx,
        ),
        max_staleness: file.max_staleness.map(|time| staleness(time, cx)),
        capacity: bounds::whole(
            "revocation.capacity",
            file.capacity,
            4_000_000,
            1000..=100_000_000,
            cx,
        ),
        issuers: lives(issuers, mirrors, cx),
    })
}

fn skew(value: Option<Time>, cx: &mut Context<'_>) -> Duration {
    const KEY: &str = "revocation.clock_skew";
    let time = bounds::any_time(value, Duration::from_secs(2));
    if time.subsec_nanos() != 0 || time > Duration::from_secs(600) {
        let message = "is not whole seconds, or more than ten minutes";
        cx.error(KEY, message, "Write `2s`: tokens count in seconds.");
    }
    time
}

/// Each issuer has to say how long its tokens live, or a revocation could not end.
fn lives(issuers: &[Issuer], mirrors: usize, cx: &mut Context<'_>) -> Vec<IssuerLife> {
    let mut lives = Vec::new();
    for (place, issuer) in issuers.iter().enumerate() {
        if issuer.max_token_life.is_none() && place < mirrors {
            let key = member(&element("issuers", place), "max_token_life");
            cx.report.missing(&key, LIFE);
        }
        lives.push(IssuerLife::of(issuer));
    }
    lives
}

fn source(file: &file::Revocation, cx: &mut Context<'_>) -> Option<Source> {
    match &file.stream {
        None => {
            cx.report.missing(KEY, REMEDY);
            None
        }
        Some(TextOr::Text(text)) => match text.strip_prefix("file:") {
            Some("") => {
                cx.error(KEY, "names no file", REMEDY);
                None
            }
            Some(path) => Some(Source::File(cx.path(path))),
            None => stream(KEY, text, cx).map(Source::Stream),
        },
        Some(TextOr::Full(full)) => {
            let (url, url_file) = (full.url.as_ref(), full.url_file.as_deref());
            let (key, url) = users::one_url(KEY, url, url_file, REMEDY, cx)?;
            let settings = stream(&key, &url, cx)?;
            Some(Source::Stream(self::full(settings, full, cx)))
        }
    }
}

fn stream(key: &str, url: &str, cx: &mut Context<'_>) -> Option<StreamSettings> {
    let (url, name) = named(url);
    let mut settings = StreamSettings::new(provisioner::parse(key, &url, REMEDY, cx)?);
    if let Some(name) = name {
        check_name(key, &name, cx);
        settings.name = name;
    }
    Some(settings)
}

/// The stream's name is what the path of a URL ends in, if that is no number: a number is the
/// database's. The path of a Unix socket is all the socket's.
fn named(url: &str) -> (String, Option<String>) {
    let whole = || (url.to_owned(), None);
    let Some((scheme, rest)) = url.split_once("://") else {
        return whole();
    };
    let mut segments: Vec<&str> = rest.split('/').collect();
    // The host, and with sentinels the group of the master, come first.
    let least = if scheme.ends_with("+sentinel") { 2 } else { 1 };
    match segments.last() {
        Some(last)
            if !scheme.contains("unix")
                && segments.len() > least
                && !last.is_empty()
                && !last.starts_with('?')
                && !last.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            let name = (*last).to_owned();
            segments.pop();
            (format!("{scheme}://{}", segments.join("/")), Some(name))
        }
        _ => whole(),
    }
}

fn check_name(key: &str, name: &str, cx: &mut Context<'_>) {
    if name.is_empty() || name.len() > 512 || name.contains(['?', '#', '%']) {
        cx.error(
            key,
            "has a stream's name that is empty, longer than 512 bytes, or holds `?`, `#` or `%`",
            "Write a name such as `usher:revocations`.",
        );
    }
}

fn full(
    mut settings: StreamSettings,
    file: &RevocationStream,
    cx: &mut Context<'_>,
) -> StreamSettings {
    settings.ca_file = file.ca_file.as_deref().map(|path| cx.path(path));
    if let Some(name) = &file.name {
        check_name(&member(KEY, "name"), name, cx);
        settings.name.clone_from(name);
    }
    for (name, given, time) in [
        (
            "connect_timeout",
            file.connect_timeout,
            &mut settings.connect_timeout,
        ),
        (
            "response_timeout",
            file.response_timeout,
            &mut settings.response_timeout,
        ),
    ] {
        *time = bounds::time(&member(KEY, name), given, *time, MILLISECOND, cx);
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_may_end_in_the_streams_name() {
        for (url, rest, name) in [
            ("redis://h", "redis://h", None),
            ("redis://h:1/2", "redis://h:1/2", None),
            ("redis://h:1/usher:r", "redis://h:1", Some("usher:r")),
            ("rediss://u:p@h/2/r", "rediss://u:p@h/2", Some("r")),
            ("redis+cluster://a,b/r", "redis+cluster://a,b", Some("r")),
            ("redis+sentinel://a/g", "redis+sentinel://a/g", None),
            ("redis+sentinel://a/g/3", "redis+sentinel://a/g/3", None),
            (
                "redis+sentinel://a/g/3/r",
                "redis+sentinel://a/g/3",
                Some("r"),
            ),
            ("unix:///run/redis", "unix:///run/redis", None),
        ] {
            let named = named(url);
            assert_eq!(
                (named.0.as_str(), named.1.as_deref()),
                (rest, name),
                "{url}"
            );
        }
    }
}
