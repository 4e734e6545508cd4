//! Where spans of requests go.

use std::path::PathBuf;
use std::time::Duration;

use super::url::Url;
use super::{Context, bounds, tls};
use crate::config::Traces;
use crate::config::file::{self, Share, TextOr};

const REMEDY: &str =
    "Write a collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`.";

/// Where an address has no path, the one that OTLP names.
const PATH: &str = "/v1/traces";

/// Where spans go, if anywhere.
pub(super) fn resolve(file: Option<&TextOr<file::Traces>>, cx: &mut Context<'_>) -> Option<Traces> {
    let none = file::Traces::default();
    let (key, url, file) = match file? {
        TextOr::Text(url) => ("traces", Some(url), &none),
        TextOr::Full(full) => ("traces.endpoint", full.endpoint.as_ref(), full),
    };
    let Some(url) = url else {
        cx.report.missing(key, REMEDY);
        return None;
    };
    let endpoint = endpoint(key, url, cx)?;
    let queue = bounds::whole("traces.queue", file.queue, 2048, 1..=1_000_000, cx);
    let ca_file = ca_file(file.ca_file.as_ref(), &endpoint, cx);
    Some(Traces {
        endpoint,
        ca_file,
        service: service(file.service.as_deref(), cx),
        sample: file.sample.map_or(1.0, |Share(share)| share),
        queue,
        batch: bounds::whole(
            "traces.batch",
            file.batch,
            512.min(queue),
            1..=queue.min(8192),
            cx,
        ),
        every: time("traces.every", file.every, 5, cx),
        timeout: time("traces.timeout", file.timeout, 10, cx),
    })
}

fn endpoint(key: &str, text: &str, cx: &mut Context<'_>) -> Option<String> {
    let wrong = match Url::parse(text) {
        Ok(url) if url.scheme == "https" || url.scheme == "http" => {
            return Some(match url.path == "/" {
                true => format!("{}{PATH}", text.trim_end_matches('/')),
                false => text.to_owned(),
            });
        }
        Ok(url) => format!("uses {}, which is not supported", url.scheme),
        Err((message, _)) => message.to_owned(),
    };
    cx.error(key, wrong, REMEDY);
    None
}

fn ca_file(text: Option<&String>, endpoint: &str, cx: &mut Context<'_>) -> Option<PathBuf> {
    const KEY: &str = "traces.ca_file";
    let text = text?;
    if endpoint.starts_with("https:") {
        return tls::existing(KEY, text, cx);
    }
    cx.error(
        KEY,
        "is for TLS, which `traces.endpoint` does not ask for",
        "Write `https://` there, or remove it.",
    );
    None
}

fn service(text: Option<&str>, cx: &mut Context<'_>) -> String {
    let text = text.unwrap_or("usher");
    if text.is_empty() || text.len() > 255 || text.contains(char::is_control) {
        cx.error(
            "traces.service",
            "is not a name",
            "Write a short name, such as `usher` or `checkout-usher`.",
        );
    }
    text.to_owned()
}

fn time(key: &str, value: Option<file::Time>, default: u64, cx: &mut Context<'_>) -> Duration {
    let least = Duration::from_millis(10);
    bounds::time(key, value, Duration::from_secs(default), least, cx)
}
