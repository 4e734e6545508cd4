//! Who creates users.

use std::time::Duration;

use super::{Context, bounds, users};
use crate::config::file::{self, Streams, TextOr};
use crate::config::users::{ProvisionerSettings, RedisAddress, StreamsSettings};

const KEY: &str = "users.provisioner";
const REMEDY: &str = "Write `redis://host:6379`, `rediss://…` for TLS, `redis+sentinel://…`, `redis+cluster://…`, `direct` or `none`.";
const MILLISECOND: Duration = Duration::from_millis(1);

/// Resolves the provisioner; nobody creates users unless the file says who.
pub(super) fn resolve(file: &file::Users, cx: &mut Context<'_>) -> ProvisionerSettings {
    let settings = match &file.provisioner {
        None => return ProvisionerSettings::None,
        Some(TextOr::Text(text)) => match text.as_str() {
            "none" => return ProvisionerSettings::None,
            "direct" => return ProvisionerSettings::Direct,
            url => parse(KEY, url, REMEDY, cx).map(StreamsSettings::new),
        },
        Some(TextOr::Full(streams)) => address(streams, cx).map(|redis| full(redis, streams, cx)),
    };
    let Some(mut settings) = settings else {
        return ProvisionerSettings::None;
    };
    settings.marker = bounds::time(
        "users.marker",
        file.marker,
        settings.marker,
        Duration::from_secs(1),
        cx,
    );
    ProvisionerSettings::Streams(settings)
}

fn address(streams: &Streams, cx: &mut Context<'_>) -> Option<RedisAddress> {
    let (key, url) = users::one_url(
        KEY,
        streams.url.as_ref(),
        streams.url_file.as_deref(),
        REMEDY,
        cx,
    )?;
    parse(&key, &url, REMEDY, cx)
}

/// The message never repeats the URL: it may hold a password.
pub(super) fn parse(
    key: &str,
    url: &str,
    remedy: &str,
    cx: &mut Context<'_>,
) -> Option<RedisAddress> {
    let scheme = url.split("://").next().unwrap_or_default();
    let known = matches!(scheme, "redis" | "rediss" | "unix" | "redis+unix");
    let parsed = RedisAddress::parse(url).and_then(|address| match address {
        RedisAddress::Single(_) if !known => Err("is not the URL of a Redis server"),
        address => Ok(address),
    });
    match parsed {
        Ok(address) => Some(address),
        Err(message) => {
            cx.error(key, message, remedy);
            None
        }
    }
}

fn full(redis: RedisAddress, streams: &Streams, cx: &mut Context<'_>) -> StreamsSettings {
    let mut settings = StreamsSettings::new(redis);
    settings.ca_file = streams.ca_file.as_deref().map(|path| cx.file(path));
    for (name, key, given) in [
        (&mut settings.requests, "requests", &streams.requests),
        (&mut settings.replies, "replies", &streams.replies),
    ] {
        if let Some(given) = given {
            // A brace would move the stream to another slot than its markers.
            if given.is_empty() || given.contains(['{', '}']) || given.len() > 512 {
                let key = format!("{KEY}.{key}");
                cx.error(
                    &key,
                    "is empty, longer than 512 bytes, or holds braces",
                    "Write a name such as `stream:users`.",
                );
            }
            name.clone_from(given);
        }
    }
    settings.connect_timeout = bounds::time(
        "users.provisioner.connect_timeout",
        streams.connect_timeout,
        settings.connect_timeout,
        MILLISECOND,
        cx,
    );
    settings.response_timeout = bounds::time(
        "users.provisioner.response_timeout",
        streams.response_timeout,
        settings.response_timeout,
        MILLISECOND,
        cx,
    );
    settings
}
