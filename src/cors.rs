//! Cross-origin requests: who may read our answers, and which preflights we answer.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use crate::config;
use crate::head::RequestHead;
use crate::respond::{self, Body};
use crate::route::{Cors, Route};

/// The cross-origin rules that are not a route's own.
#[derive(Debug)]
pub struct Rules {
    origins: Vec<String>,
    max_age: Duration,
    /// Whether a token may come in a cookie, which browsers send only with this permission.
    credentials: bool,
}

/// What a page of some origin may read of an answer.
#[derive(Debug, Default)]
pub struct Grant {
    /// The origin, if it may read anything.
    origin: Option<HeaderValue>,
    /// Whether the answer depends on the origin at all.
    varies: bool,
    credentials: bool,
    /// Whether the app's own answers are left as they are.
    denials_only: bool,
}

impl Rules {
    /// The rules for these settings.
    pub fn new(settings: &config::Config) -> Self {
        let cookie =
            |source: &config::TokenSource| matches!(source, config::TokenSource::Cookie(_));
        Self {
            origins: settings.cors.origins.clone(),
            max_age: settings.cors.max_age,
            credentials: settings.tokens.from.iter().any(cookie),
        }
    }

    /// What the page that asks may read of this route's answers.
    pub fn grant(&self, route: &Route, head: &RequestHead<'_>) -> Grant {
        let (origins, denials_only) = match &route.cors {
            Cors::Off => return Grant::default(),
            Cors::Pass => (&self.origins, true),
            Cors::Answer(origins) => (origins, false),
        };
        Grant {
            origin: allowed(origins, head).cloned(),
            varies: true,
            credentials: self.credentials,
            denials_only,
        }
    }

    /// The answer to a preflight on a route where usher answers them.
    pub fn preflight(&self, route: &Route, head: &RequestHead<'_>) -> Option<Response<Body>> {
        let Cors::Answer(origins) = &route.cors else {
            return None;
        };
        if !head.is_preflight() {
            return None;
        }
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        if allowed(origins, head).is_some() {
            self.permit(head, headers);
        } else {
            let origin = head.headers.get(header::ORIGIN);
            tracing::info!(
                route = route.name,
                ?origin,
                "preflight refused: the origin is not in `cors.origins`"
            );
        }
        Some(response)
    }

    /// Grants the method and the fields that the page asks for: the app decides about those.
    fn permit(&self, head: &RequestHead<'_>, headers: &mut HeaderMap) {
        for (asked, granted) in [
            (
                header::ACCESS_CONTROL_REQUEST_METHOD,
                header::ACCESS_CONTROL_ALLOW_METHODS,
            ),
            (
                header::ACCESS_CONTROL_REQUEST_HEADERS,
                header::ACCESS_CONTROL_ALLOW_HEADERS,
            ),
        ] {
            if let Some(value) = head.headers.get(&asked) {
                headers.insert(granted, value.clone());
            }
            respond::add_to_list(
                headers,
                header::VARY,
                match asked == header::ACCESS_CONTROL_REQUEST_METHOD {
                    true => "access-control-request-method",
                    false => "access-control-request-headers",
                },
            );
        }
        headers.insert(
            header::ACCESS_CONTROL_MAX_AGE,
            HeaderValue::from(self.max_age.as_secs()),
        );
    }
}

impl Grant {
    /// Makes an answer of ours readable.
    pub fn apply(&self, headers: &mut HeaderMap) {
        if !self.varies {
            return;
        }
        respond::add_to_list(headers, header::VARY, "origin");
        let Some(origin) = &self.origin else {
            return;
        };
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("www-authenticate, retry-after"),
        );
        if self.credentials {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                HeaderValue::from_static("true"),
            );
        }
    }

    /// Makes the app's answer readable, on routes where that is our business.
    pub fn apply_to_app(&self, headers: &mut HeaderMap) {
        if self.varies && !self.denials_only {
            self.apply(headers);
        }
    }
}

fn allowed<'a>(origins: &[String], head: &RequestHead<'a>) -> Option<&'a HeaderValue> {
    let origin = crate::headers::single(head.headers, &header::ORIGIN).ok()??;
    origins
        .iter()
        .any(|known| known.as_bytes() == origin.as_bytes())
        .then_some(origin)
}
