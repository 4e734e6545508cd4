//! Who creates users.

use std::time::Duration;

use super::{Context, bounds, users};
use crate::config::file::{self, Hidden, List, Streams, TextOr};
use crate::config::users::{ProvisionerSettings, RedisAddress, StreamsSettings};
use crate::secret::Secret;

const KEY: &str = "users.provisioner";
const REMEDY: &str = "Write `redis://host:6379`, `rediss://host:6379`, `direct` or `none`.";
const MILLISECOND: Duration = Duration::from_millis(1);

/// Resolves the provisioner; nobody creates users unless the file says who.
pub(super) fn resolve(file: &file::Users, cx: &mut Context<'_>) -> ProvisionerSettings {
    let settings = match &file.provisioner {
        None => return ProvisionerSettings::None,
        Some(TextOr::Text(text)) => match text.as_str() {
            "none" => return ProvisionerSettings::None,
            "direct" => return ProvisionerSettings::Direct,
            url => single(KEY, url, cx).map(StreamsSettings::new),
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
    let url = (streams.url.is_some() || streams.url_file.is_some()).then(|| {
        users::one_url(
            KEY,
            streams.url.as_ref(),
            streams.url_file.as_deref(),
            REMEDY,
            cx,
        )
    });
    match (url, &streams.sentinel, &streams.cluster) {
        (Some(url), None, None) => single(&format!("{KEY}.url"), &url?, cx),
        (url, Some(sentinel), None) => {
            let nodes = all(
                "users.provisioner.sentinel.nodes",
                sentinel.nodes.as_ref(),
                cx,
            )?;
            let Some(service) = sentinel.service.clone() else {
                cx.report.missing(
                    "users.provisioner.sentinel.service",
                    "Write the group's name, such as `mymaster`.",
                );
                return None;
            };
            Some(RedisAddress::Sentinel {
                nodes,
                service,
                // Only user, password, database and TLS of it are used.
                master: Secret::new(url.flatten().unwrap_or_else(|| "redis://master".to_owned())),
            })
        }
        (None, None, Some(nodes)) => {
            let nodes = all("users.provisioner.cluster", Some(nodes), cx)?;
            Some(RedisAddress::Cluster(nodes))
        }
        (None, None, None) => {
            cx.report.missing(&format!("{KEY}.url"), REMEDY);
            None
        }
        _ => {
            cx.error(
                KEY,
                "names servers in several ways",
                "Keep one of `url`, `sentinel` (with `url` for its master's password) and `cluster`.",
            );
            None
        }
    }
}

fn single(key: &str, url: &str, cx: &mut Context<'_>) -> Option<RedisAddress> {
    is_redis(key, url, cx).then(|| RedisAddress::Single(Secret::new(url)))
}

fn all(key: &str, urls: Option<&List<Hidden>>, cx: &mut Context<'_>) -> Option<Vec<Secret>> {
    let urls = urls.map(|list| list.keyed(key)).unwrap_or_default();
    if urls.is_empty() {
        cx.report.missing(
            key,
            "Write at least one URL, such as `redis://redis-0:6379`.",
        );
        return None;
    }
    let mut secrets = Vec::new();
    for (key, url) in urls {
        if is_redis(&key, &url.0, cx) {
            secrets.push(Secret::new(url.0.as_bytes()));
        }
    }
    Some(secrets)
}

/// The message never repeats the URL: it may hold a password.
fn is_redis(key: &str, url: &str, cx: &mut Context<'_>) -> bool {
    let good = ["redis://", "rediss://", "unix://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if !good {
        cx.error(key, "is not the URL of a Redis server", REMEDY);
    }
    good
}

fn full(redis: RedisAddress, streams: &Streams, cx: &mut Context<'_>) -> StreamsSettings {
    let mut settings = StreamsSettings::new(redis);
    settings.ca_file = streams.ca_file.as_deref().map(|path| cx.path(path));
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
