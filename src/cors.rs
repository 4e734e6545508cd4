//! Cross-origin requests: who may read our answers, and which preflights we answer.

use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use crate::config;
use crate::fields::Fields;
use crate::head::RequestHead;
use crate::limit::Seldom;
use crate::respond::{self, Response};
use crate::route::{Cors, Route, Target};

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
            origin: allowed(origins, head).and_then(|origin| HeaderValue::from_bytes(origin).ok()),
            varies: true,
            // The refresh token of external users is in a cookie.
            credentials: self.credentials || matches!(route.target, Target::Account(_)),
            denials_only,
        }
    }

    /// The answer to a preflight on a route where usher answers them.
    pub fn preflight(&self, route: &Route, head: &RequestHead<'_>) -> Option<Response> {
        let Cors::Answer(origins) = &route.cors else {
            return None;
        };
        if !head.is_preflight() {
            return None;
        }
        let mut response = respond::empty(StatusCode::NO_CONTENT);
        if allowed(origins, head).is_some() {
            self.permit(head, &mut response.fields);
        } else {
            tell_refused(route, head);
        }
        Some(response)
    }

    /// Grants the method and the fields that the page asks for: the app decides about those.
    fn permit(&self, head: &RequestHead<'_>, fields: &mut Fields) {
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
            let value = head.fields.get(&asked);
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
                fields.insert(&granted, &value);
            }
            respond::add_to_list(
                fields,
                &header::VARY,
                match asked == header::ACCESS_CONTROL_REQUEST_METHOD {
                    true => "access-control-request-method",
                    false => "access-control-request-headers",
                },
            );
        }
        fields.insert(
            &header::ACCESS_CONTROL_MAX_AGE,
            &HeaderValue::from(self.max_age.as_secs()),
        );
    }
}

impl Grant {
    /// Makes an answer of ours readable.
    pub fn apply(&self, fields: &mut Fields) {
        if !self.varies {
            return;
        }
        respond::add_to_list(fields, &header::VARY, "origin");
        let Some(origin) = &self.origin else {
            return;
        };
        fields.insert(&header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        fields.insert(
            &header::ACCESS_CONTROL_EXPOSE_HEADERS,
            &HeaderValue::from_static("www-authenticate, retry-after"),
        );
        if self.credentials {
            fields.insert(
                &header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
                &HeaderValue::from_static("true"),
            );
        }
    }

    /// Makes the app's answer readable, on routes where that is our business.
    pub fn apply_to_app(&self, fields: &mut Fields) {
        if self.varies && !self.denials_only {
            self.apply(fields);
        }
    }
}

fn allowed<'a>(origins: &[String], head: &RequestHead<'a>) -> Option<&'a [u8]> {
    let origin = head.fields.single(&header::ORIGIN).ok()??;
    origins
        .iter()
        .any(|known| known.as_bytes() == origin)
        .then_some(origin)
}
/// No token is needed for a preflight, so this is told seldom.
fn tell_refused(route: &Route, head: &RequestHead<'_>) {
    static REFUSED: Seldom = Seldom::new();
    if let Some(times) = REFUSED.again() {
        let origin = head.fields.get(&header::ORIGIN).unwrap_or_default();
        tracing::info!(
            route = route.name,
            origin = %origin.escape_ascii(),
            times,
            "preflight refused: the origin is not in `cors.origins`"
        );
    }
}
