//! Forward auth: another proxy describes a request, and learns whether it may pass.
//!
//! A yes is 200 and carries every identity header, empty where there is nothing to say, so that
//! a proxy that copies them overwrites what its client has sent. A no is what a proxied request
//! would have got.

use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::clock::Clock;
use crate::config::{self, TokenSource};
use crate::denial::{Denial, Fault};
use crate::edge;
use crate::fields::Fields;
use crate::gate::Admission;
use crate::head::{Head, Scheme};
use crate::respond::{self, Response};

/// nginx takes it before `Cache-Control`, whose `private` it would not keep at all.
const X_ACCEL_EXPIRES: HeaderName = HeaderName::from_static("x-accel-expires");

/// The paths where proxies ask.
#[derive(Debug)]
pub struct ForwardAuth {
    doors: Vec<Door>,
    /// Whether a token may come in a cookie.
    cookies: bool,
    clock: Clock,
}

/// One of them.
#[derive(Debug)]
struct Door {
    settings: config::ForwardAuth,
    /// What a yes that is kept depends on.
    vary: HeaderValue,
}

impl ForwardAuth {
    /// The paths of the configuration, in its order.
    pub fn new(settings: &config::Config, clock: Clock) -> Self {
        let from = &settings.tokens.from;
        let vary = |door: &config::ForwardAuth| {
            // Names of headers and commas fit every header.
            HeaderValue::from_str(&door.vary(from, settings.answers_pages()))
                .unwrap_or(HeaderValue::from_static("*"))
        };
        let door = |door: &config::ForwardAuth| Door {
            vary: vary(door),
            settings: door.clone(),
        };
        Self {
            doors: settings.forward_auth.iter().map(door).collect(),
            cookies: from
                .iter()
                .any(|source| matches!(source, TokenSource::Cookie(_))),
            clock,
        }
    }

    /// Whether anybody asks here at all.
    pub fn is_asked(&self) -> bool {
        !self.doors.is_empty()
    }

    /// Where a target belongs that may not have been read yet: to a door, at its path or below.
    pub fn door(&self, target: &[u8]) -> Option<usize> {
        let mut doors = self.doors.iter();
        doors.position(|door| door.settings.holds(target))
    }

    /// Turns the question's head into the head of the request that it is about; tells its scheme
    /// where the proxy does.
    ///
    /// # Errors
    /// As [`edge::describe`].
    pub fn describe(&self, door: usize, head: &mut Head) -> Result<Option<Scheme>, Denial> {
        let door = &self.doors[door].settings;
        edge::describe(door.dialect, &door.path, head)
    }

    /// What is said of a path that is a door's when it is read, and is not spelt so.
    pub fn misplaced(&self, door: usize) -> Denial {
        edge::misplaced(&self.doors[door].settings.path)
    }

    /// Whether whoever asks at a door passes usher's answer to a preflight on.
    pub fn answers_preflights(&self, door: usize) -> bool {
        self.doors[door].settings.dialect.gives_204_to_clients()
    }

    /// A yes, with every identity header: the fields that are said.
    pub fn allow(&self, door: usize, head: &Head, admission: &Admission, said: Fields) -> Response {
        let door = &self.doors[door];
        let mut response = respond::empty(StatusCode::OK);
        response.fields = said;
        let fields = &mut response.fields;
        let seconds = self.life(door, head, admission);
        let cache = match seconds {
            0 => HeaderValue::from_static("no-store"),
            seconds => {
                fields.append(&header::VARY, &door.vary);
                if door.settings.dialect.is_nginx() {
                    fields.append(&X_ACCEL_EXPIRES, &HeaderValue::from(seconds));
                }
                // Digits fit every header.
                HeaderValue::from_str(&format!("private, max-age={seconds}"))
                    .unwrap_or(HeaderValue::from_static("no-store"))
            }
        };
        fields.append(&header::CACHE_CONTROL, &cache);
        response
    }

    /// A no. `auth_request` knows 2xx, 401 and 403, and makes a 500 of all else: a client's
    /// mistake is 403 to it, so that nobody is woken for it.
    pub fn deny(&self, door: usize, denial: &Denial) -> Response {
        let mut response = respond::denial(denial);
        let known = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];
        if self.doors[door].settings.dialect.is_nginx()
            && denial.reason.fault() == Fault::Client
            && !known.contains(&response.status)
        {
            response.status = StatusCode::FORBIDDEN;
        }
        response
    }

    /// For how many seconds a yes may be kept. Only what rests on a token alone is: with a cookie
    /// or a WebSocket, other headers decide too, and a user who is still to come is there a moment
    /// later.
    fn life(&self, door: &Door, head: &Head, admission: &Admission) -> u64 {
        let Some(verified) = admission.verified() else {
            return 0;
        };
        let by_cookie = self.cookies && head.fields.contains(&header::COOKIE);
        let socket = edge::is_websocket(&head.fields);
        if by_cookie || socket || admission.is_pending() || head.method == Method::OPTIONS {
            return 0;
        }
        // Both count whole seconds, and the one that has begun may be nearly over.
        let left = verified
            .ends
            .saturating_sub(self.clock.now())
            .saturating_sub(1);
        door.settings
            .cache
            .as_secs()
            .min(u64::try_from(left).unwrap_or(0))
    }
}
