//! The way to the app: a connection from the pool, the request, the answer.
//!
//! [`Upstream::send`] takes an [`Admission`] by value, and only `gate` can build one: what has
//! not passed the gate cannot be forwarded.

mod body;
mod connect;
mod connection;
#[cfg(test)]
mod differential;
mod http2;
mod pool;
mod tunnel;
mod upload;
mod websocket;

use std::sync::Arc;
use std::time::Duration;

use http::header::SEC_WEBSOCKET_PROTOCOL;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use tokio::time::Instant;

use crate::body::{BodyError, RequestBody};
use crate::certificate::Field;
use crate::clock::Clock;
use crate::config::{self, Column, HeaderSource};
use crate::denial::{Denial, Reason};
use crate::edge::{Arrival, Edge, Peer};
use crate::fields::{Fields, write_line};
use crate::gate::Admission;
use crate::head::{Head, Target};
use crate::headers;
use crate::hints::Hints;
use crate::identify::{Identify, Validity, remove_cookie};
use crate::wire::answer::AnswerHead;
use crate::wire::request;

pub use body::AnswerBody;
pub use pool::{Metrics, Pool, SWEEP};
pub use tunnel::Tunnel;

use connection::{Connection, ExchangeError};
use upload::Upload;

/// The app, and how long we wait for it.
pub struct Upstream {
    identify: Arc<Identify>,
    clock: Clock,
    /// Whether the app receives the token.
    pass_token: bool,
    /// The cookie that keeps a refresh token.
    refresh_cookie: Option<String>,
    /// The headers that take a column of the user's row.
    columns: Vec<(HeaderName, Column)>,
    /// The headers that take something of the client's certificate.
    certificate: Vec<(HeaderName, Field)>,
    response: Duration,
    idle: Duration,
}

/// What `send` needs beside the admission: the request as it arrived.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// Who sent it.
    pub peer: &'a Peer,
    /// What the edge learnt.
    pub arrival: &'a Arrival,
    /// The edge, for our name and the rules about trailers.
    pub edge: &'a Arc<Edge>,
    /// The head, stripped.
    pub head: Box<Head>,
    /// The body, not read yet.
    pub body: RequestBody,
    /// Where informational answers go.
    pub hints: &'a Hints,
}

/// What of a request matters when its answer is there.
#[derive(Clone, Copy, Debug)]
struct Kept<'a> {
    /// For how long what streams may go on.
    admission: &'a Admission,
    /// The protocol that a WebSocket's client hears if the app chose none.
    protocol: Option<&'static str>,
}

/// The app's answer.
#[derive(Debug)]
pub struct Answer {
    /// The status; 101 exactly when there is a tunnel.
    pub status: StatusCode,
    /// The fields, less those of the connection with the app.
    pub fields: Fields,
    /// The body, still streaming.
    pub body: AnswerBody,
    /// The app's side of another protocol, if it switches to one.
    pub tunnel: Option<Box<Tunnel>>,
}

impl Upstream {
    /// The way to the app for these settings.
    pub fn new(settings: &config::Config, identify: Arc<Identify>, clock: Clock) -> Self {
        Self {
            identify,
            clock,
            pass_token: settings.tokens.pass,
            refresh_cookie: refresh_cookie(settings),
            columns: settings.headers.iter().filter_map(column).collect(),
            certificate: settings.headers.iter().filter_map(of_certificate).collect(),
            response: settings.timeouts.response,
            idle: settings.timeouts.idle,
        }
    }

    /// Forwards an admitted request and returns the app's answer, its body still streaming.
    ///
    /// A request is sent once more, on a new connection, if the pooled one ended without a byte
    /// of an answer and nothing of the body was taken, and the method is safe (RFC 9110 §9.2.2)
    /// or nothing was written at all.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamBroken`, `UpstreamTimeout`; `RequestTimeout` when the
    /// client stops sending its body, `BadFraming` when what it sends is none.
    pub async fn send(
        &self,
        pool: &Arc<Pool>,
        admission: Admission,
        outgoing: Outgoing<'_>,
    ) -> Result<Answer, Denial> {
        let Outgoing {
            peer,
            arrival,
            edge,
            mut head,
            body,
            hints,
        } = outgoing;
        let kept = Kept {
            admission: &admission,
            protocol: self.protocol_for(arrival, &head),
        };
        self.take_token(&mut head);
        let forwarding = arrival.forwarding.take(&mut head.fields);
        let asked_host = rewrite_host(pool, &mut head);
        if body.is_empty() && tells_a_length(&head.fields) {
            // The app would take the next request for this one's body.
            return Err(Denial::new(Reason::BadFraming, "a length without a body"));
        }
        let mut upload = Upload::new(body, self.idle, edge);
        let chunked = upload.as_ref().is_some_and(|upload| upload.is_chunked());
        let write = |out: &mut Vec<u8>| {
            request::start(&head, out);
            if chunked {
                out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            }
            let host = asked_host.as_deref();
            if let Some(host) = host.or(head.fields.get(&header::HOST)) {
                forwarding.write(peer, host, out);
            }
            self.complete(arrival, edge, &admission, out);
            self.show_certificate(peer, out);
            out.extend_from_slice(b"\r\n");
        };
        if pool.links().is_some() {
            let mut text = Vec::new();
            write(&mut text);
            // Boxed, as is everything that most requests do not need.
            let sending = self.send_over_http2(pool, &text, upload, &admission, hints);
            return Box::pin(sending).await;
        }
        let to_head = head.method == Method::HEAD;
        if let Some(mut connection) = pool.take() {
            let answer = connection.exchange(&write, &mut upload, to_head, self.response, hints);
            match answer.await {
                Ok(answer) => return self.finish(pool, answer, connection, upload, arrival, kept),
                Err(ExchangeError::Closed { unsent })
                    if may_repeat(unsent, &head, upload.as_deref()) =>
                {
                    pool.metrics().retries.inc();
                }
                Err(error) => return Err(failed(&error)),
            };
        }
        let mut connection = Box::pin(pool.connect()).await?;
        let answer = connection.exchange(&write, &mut upload, to_head, self.response, hints);
        match answer.await {
            Ok(answer) => self.finish(pool, answer, connection, upload, arrival, kept),
            Err(error) => Err(failed(&error)),
        }
    }

    /// The same to an app that speaks HTTP/2; `text` is the head as HTTP/1.1 has it.
    async fn send_over_http2(
        &self,
        pool: &Arc<Pool>,
        text: &[u8],
        mut upload: Option<Box<Upload>>,
        admission: &Admission,
        hints: &Hints,
    ) -> Result<Answer, Denial> {
        let limits = request::Limits {
            bytes: text.len() + 1,
            fields: text.len(),
        };
        let head = match request::read(text, limits) {
            Ok(Some((head, _))) => head,
            _ => return Err(Denial::new(Reason::Internal, "our own head cannot be read")),
        };
        let endless = is_endless(&head.fields);
        let mut again = false;
        loop {
            let (place, kept) = match pool.place().filter(|_| !again) {
                Some(place) => (place, true),
                None => (pool.connect_http2().await?, false),
            };
            let exchange = http2::Exchange::start(place, &head, upload.is_some());
            let answered = match exchange {
                Ok(exchange) => {
                    let validity = endless.then(|| self.validity(admission)).flatten();
                    let vigil = validity.map(Validity::watch);
                    let answered =
                        exchange.finish(&mut upload, self.response, self.idle, vigil, hints);
                    answered.await
                }
                Err(error) => Err(error),
            };
            match answered {
                Ok(mut answered) => {
                    headers::strip_hops_from_answer(&mut answered.fields);
                    let mut body = AnswerBody::over_http2(answered.body);
                    self.end_with_token(&mut body, &answered.fields, admission);
                    return Ok(Answer {
                        status: answered.status,
                        fields: answered.fields,
                        body,
                        tunnel: None,
                    });
                }
                Err(ExchangeError::Closed { unsent })
                    if kept && may_repeat(unsent, &head, upload.as_deref()) =>
                {
                    pool.metrics().retries.inc();
                    again = true;
                }
                Err(error) => return Err(failed(&error)),
            }
        }
    }

    fn finish(
        &self,
        pool: &Arc<Pool>,
        answer: AnswerHead,
        connection: Box<Connection>,
        upload: Option<Box<Upload>>,
        arrival: &Arrival,
        kept: Kept<'_>,
    ) -> Result<Answer, Denial> {
        let AnswerHead {
            status,
            mut fields,
            framing,
            keep,
        } = answer;
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let wanted = arrival.upgrade.as_deref();
            wanted
                .and_then(|wanted| tunnel::accept(&mut fields, wanted))
                .ok_or_else(|| broken("the app switched to a protocol that was not asked for"))?;
            if let Some(protocol) = kept
                .protocol
                .filter(|_| !fields.contains(&SEC_WEBSOCKET_PROTOCOL))
            {
                fields.append(&SEC_WEBSOCKET_PROTOCOL, &HeaderValue::from_static(protocol));
            }
            let (stream, early) = connection.into_parts();
            let websocket = fields.lists(&header::UPGRADE, "websocket");
            let validity = self.validity(kept.admission);
            let open = pool.metrics().tunnels.clone();
            let tunnel = Tunnel::new(stream, early, self.idle, validity, websocket, open);
            return Ok(Answer {
                status,
                fields,
                body: AnswerBody::empty(),
                tunnel: Some(Box::new(tunnel)),
            });
        }
        headers::strip_hops_from_answer(&mut fields);
        let mut body = AnswerBody::new(connection, framing, keep, self.idle, upload, pool);
        self.end_with_token(&mut body, &fields, kept.admission);
        Ok(Answer {
            status,
            fields,
            body,
            tunnel: None,
        })
    }

    /// Writes the fields that usher adds beside those of [`crate::edge::Forwarding`]: who forwards,
    /// how, and who is calling. None of them is
    /// there yet: `edge` and [`crate::edge::Forwarding::take`] took out what a client sent.
    fn complete(&self, arrival: &Arrival, edge: &Edge, admission: &Admission, out: &mut Vec<u8>) {
        write_line(out, b"via", &[edge.via().as_bytes()]);
        if let Some(upgrade) = &arrival.upgrade {
            write_line(out, b"upgrade", &[upgrade]);
            write_line(out, b"connection", &[b"upgrade"]);
        } else if arrival.trailers {
            write_line(out, b"te", &[b"trailers"]);
            write_line(out, b"connection", &[b"te"]);
        }
        self.announce(admission, out);
    }

    /// Tells the app by which certificate the connection was made, whether or not a token was asked
    /// for.
    fn show_certificate(&self, peer: &Peer, out: &mut Vec<u8>) {
        let Some(certificate) = &peer.certificate else {
            return;
        };
        for (name, field) in &self.certificate {
            if let Some(value) = certificate.field(*field) {
                let value = headers::encode(&value);
                write_line(out, name.as_str().as_bytes(), &[value.as_bytes()]);
            }
        }
    }

    /// Tells the app who is calling: lines of a head.
    pub fn announce(&self, admission: &Admission, out: &mut Vec<u8>) {
        if let Some(identity) = admission.identity() {
            out.extend_from_slice(identity.lines().as_bytes());
        }
        if let Some(user) = admission.user() {
            for (name, column) in &self.columns {
                let value = match column {
                    Column::Id => Some(user.id.as_str()),
                    Column::Email => user.email.as_deref(),
                    Column::Extra(place) => user.column(*place),
                };
                if let Some(value) = value {
                    let value = headers::encode(value);
                    write_line(out, name.as_str().as_bytes(), &[value.as_bytes()]);
                }
            }
        }
        if admission.is_pending() {
            let name = headers::X_USER_PROVISIONED;
            write_line(out, name.as_str().as_bytes(), &[b"pending"]);
        }
    }

    /// The protocol that a WebSocket's client hears if the app chooses none.
    fn protocol_for(&self, arrival: &Arrival, head: &Head) -> Option<&'static str> {
        arrival.upgrade.as_ref()?;
        self.identify.sources().protocol_for(&head.fields)
    }

    /// Lets an endless answer end when its token does, and a file when its token is revoked.
    fn end_with_token(&self, body: &mut AnswerBody, fields: &Fields, admission: &Admission) {
        body.end_with(|| is_endless(fields), || self.validity(admission));
    }

    /// For how long what streams may go on.
    fn validity(&self, admission: &Admission) -> Option<Validity> {
        let until = admission.until().map(|until| self.instant(until));
        self.identify.validity(admission.verified()?, until)
    }

    /// When a second since 1970 comes.
    fn instant(&self, second: i64) -> Instant {
        let left = second.saturating_sub(self.clock.now());
        Instant::now() + Duration::from_secs(u64::try_from(left).unwrap_or(0))
    }

    /// Takes the token out of a request, unless the app is to receive it.
    ///
    /// The cookie that keeps a refresh token never passes: a browser sends it with every request,
    /// and only usher's own endpoints have a use for it.
    pub fn take_token(&self, head: &mut Head) {
        if let Some(name) = &self.refresh_cookie {
            remove_cookie(&mut head.fields, name);
        }
        if self.pass_token {
            return;
        }
        let query = head.target.query();
        let Some(query) = self.identify.sources().strip(&mut head.fields, query) else {
            return;
        };
        let target = match query.is_empty() {
            true => head.target.path().to_owned(),
            false => format!("{}?{query}", head.target.path()),
        };
        if let Some(target) = Target::parse(&target) {
            head.target = target;
        }
    }
}

fn refresh_cookie(settings: &config::Config) -> Option<String> {
    let accounts = settings.accounts.as_ref()?;
    Some(accounts.tokens.cookie.name.clone())
}

fn of_certificate(header: &config::IdentityHeader) -> Option<(HeaderName, Field)> {
    match header.value {
        HeaderSource::Certificate(field) => Some((header.name.clone(), field)),
        _ => None,
    }
}

fn column(header: &config::IdentityHeader) -> Option<(HeaderName, Column)> {
    match header.value {
        HeaderSource::User(column) => Some((header.name.clone(), column)),
        _ => None,
    }
}

/// Sets the `Host` of the configuration, if there is one, and tells what the client sent: the
/// app still learns it as `X-Forwarded-Host`.
fn rewrite_host(pool: &Pool, head: &mut Head) -> Option<Box<[u8]>> {
    let host = pool.host()?;
    let asked = head.fields.get(&header::HOST).map(Box::from);
    head.fields.insert(&header::HOST, host);
    asked
}

/// Whether a request may be sent once more: nothing of it was, or its method changes nothing (RFC
/// 9110 §9.2.2); and its body is still whole.
fn may_repeat(unsent: bool, head: &Head, upload: Option<&Upload>) -> bool {
    let safe = matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS);
    (unsent || safe) && upload.is_none_or(Upload::is_untouched)
}

fn tells_a_length(fields: &Fields) -> bool {
    fields
        .get(&header::CONTENT_LENGTH)
        .is_some_and(|length| length != b"0")
}

/// Whether an answer goes on for as long as both sides like: events, or messages of a call. A
/// file that takes long is not cut.
fn is_endless(fields: &Fields) -> bool {
    let endless: [&[u8]; 2] = [b"text/event-stream", b"application/grpc"];
    fields.get(&header::CONTENT_TYPE).is_some_and(|kind| {
        let begins = |with: &[u8]| {
            let start = kind.get(..with.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(with))
        };
        endless.into_iter().any(begins)
    })
}

fn broken(detail: &'static str) -> Denial {
    Denial::new(Reason::UpstreamBroken, detail)
}

/// Tells whose fault it is that there is no answer.
fn failed(error: &ExchangeError) -> Denial {
    match error {
        ExchangeError::Late => Denial::new(
            Reason::UpstreamTimeout,
            "the app did not answer within timeouts.response",
        ),
        ExchangeError::Upload(BodyError::TimedOut) => Denial::new(
            Reason::RequestTimeout,
            "the client sent nothing of its body for timeouts.idle",
        ),
        ExchangeError::Upload(BodyError::Expired) => Denial::new(
            Reason::TokenExpired,
            "its `exp` has passed while the call was under way",
        ),
        ExchangeError::Upload(BodyError::Revoked) => Denial::new(
            Reason::TokenRevoked,
            "it was revoked while the call was under way",
        ),
        ExchangeError::Upload(BodyError::Malformed(what)) => Denial::new(Reason::BadFraming, what),
        ExchangeError::Upload(BodyError::Broken(_)) => {
            Denial::new(Reason::ClientGone, "the client's body ended early")
        }
        error => Denial::because(Reason::UpstreamBroken, error.to_string()),
    }
}
