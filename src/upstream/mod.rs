//! The way to the app: a connection from the pool, the request, the answer.
//!
//! [`Upstream::send`] takes an [`Admission`] by value, and only `gate` can build one: what has
//! not passed the gate cannot be forwarded.

mod body;
mod pool;
mod tunnel;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;

use crate::config::{self, Column, HeaderSource};
use crate::denial::{Denial, Reason};
use crate::edge::{Arrival, Edge, Peer};
use crate::gate::Admission;
use crate::headers::{self, Fields};
use crate::identify::Identify;

pub use body::{AnswerBody, BodyError, RequestBody};
pub use pool::{Metrics, Pool, SWEEP};
pub use wire::WireError;

use body::Progress;
use pool::Connection;
use wire::{Answer, Wire, WireBody};

/// The app, and how long we wait for it.
pub struct Upstream {
    identify: Arc<Identify>,
    /// Whether the app receives the token.
    pass_token: bool,
    /// The names of the identity headers, in the order of `Identity::headers`.
    names: Vec<HeaderName>,
    /// The headers that take a column of the user's row.
    columns: Vec<(HeaderName, Column)>,
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
    pub parts: Box<Parts>,
    /// The body, not read yet.
    pub body: Incoming,
    /// Keeps whoever waits for the last request waiting while a tunnel is open.
    pub guard: &'a crate::drain::Guard,
}

impl Upstream {
    /// The way to the app for these settings.
    pub fn new(settings: &config::Config, identify: Arc<Identify>) -> Self {
        Self {
            identify,
            pass_token: settings.tokens.pass,
            names: settings
                .headers
                .iter()
                .map(|header| header.name.clone())
                .collect(),
            columns: settings.headers.iter().filter_map(column).collect(),
            response: settings.timeouts.response,
            idle: settings.timeouts.idle,
        }
    }

    /// Forwards an admitted request and returns the app's answer, its body still streaming.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamBroken`, `UpstreamTimeout`; `RequestTimeout` when the
    /// client stops sending its body.
    pub async fn send(
        &self,
        pool: &Arc<Pool>,
        admission: Admission,
        outgoing: Outgoing<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        if outgoing.arrival.upgrade.is_none() && outgoing.body.is_end_stream() {
            return self.send_lean(pool, &admission, outgoing).await;
        }
        Box::pin(self.send_streaming(pool, admission, outgoing)).await
    }

    /// Sends a request with a body or an upgrade through hyper's client.
    async fn send_streaming(
        &self,
        pool: &Arc<Pool>,
        admission: Admission,
        outgoing: Outgoing<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let upgrade = outgoing.arrival.upgrade.clone();
        let (edge, guard) = (outgoing.edge, outgoing.guard);
        let mut parts = outgoing.parts;
        let downstream = parts.extensions.remove::<OnUpgrade>();
        self.prepare(
            &mut parts,
            outgoing.peer,
            outgoing.arrival,
            edge,
            &admission,
        );
        let (body, progress) = RequestBody::new(outgoing.body, self.idle, edge);
        if body.size_hint().exact().is_none() {
            // Said out loud, since hyper takes a GET without a length for one without a body.
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        let (answer, connection) = self.exchange(pool, parts, body, progress).await?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let (Some(wanted), Some(downstream)) = (upgrade, downstream) else {
                return Err(broken("the app switched protocols without being asked"));
            };
            return tunnel::open(answer, &wanted, downstream, self.idle, guard.clone());
        }
        Ok(self.finish(pool, answer, connection))
    }

    /// Sends a request without a body through the lean client; once more on a new connection
    /// if a pooled one ended without a byte of an answer and the method is safe.
    async fn send_lean(
        &self,
        pool: &Arc<Pool>,
        admission: &Admission,
        mut outgoing: Outgoing<'_>,
    ) -> Result<Response<AnswerBody>, Denial> {
        let mut head = Vec::new();
        let to_head = outgoing.parts.method == Method::HEAD;
        if let Some(mut wire) = pool.take_wire() {
            self.write_head(wire.head(), admission, &mut outgoing);
            match wire.exchange(to_head, self.response).await {
                Ok(answer) => return Ok(self.finish_lean(pool, answer, wire)),
                Err(WireError::Closed) if is_safe(&outgoing.parts.method) => {
                    pool.metrics().retries.inc();
                    head = std::mem::take(wire.head());
                }
                Err(error) => return Err(wire_failed(&error)),
            };
        }
        let mut wire = Box::pin(pool.connect_wire()).await?;
        match head.is_empty() {
            true => self.write_head(wire.head(), admission, &mut outgoing),
            false => *wire.head() = head,
        }
        match wire.exchange(to_head, self.response).await {
            Ok(answer) => Ok(self.finish_lean(pool, answer, wire)),
            Err(error) => Err(wire_failed(&error)),
        }
    }

    /// Writes the request as it leaves, straight into the bytes that are sent.
    fn write_head(&self, head: &mut Vec<u8>, admission: &Admission, outgoing: &mut Outgoing<'_>) {
        let parts = &mut outgoing.parts;
        if !self.pass_token {
            self.strip_token(parts);
        }
        outgoing.arrival.forwarding.make_room(&mut parts.headers);
        wire::start_head(parts, head);
        let host = parts.headers.get(header::HOST);
        let (peer, arrival, edge) = (outgoing.peer, outgoing.arrival, outgoing.edge);
        self.complete(
            peer,
            arrival,
            edge,
            admission,
            host,
            &mut Fields::Head(head),
        );
        head.extend_from_slice(b"\r\n");
    }

    fn finish_lean(
        &self,
        pool: &Arc<Pool>,
        answer: Answer,
        wire: Box<Wire>,
    ) -> Response<AnswerBody> {
        let Answer {
            status,
            mut headers,
            framing,
            keep,
        } = answer;
        headers::strip_hops_from_answer(&mut headers);
        let body = WireBody::new(wire, framing, keep, self.idle);
        let mut response = Response::new(AnswerBody::from_wire(body, pool));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Turns the request that arrived into the one that leaves.
    fn prepare(
        &self,
        parts: &mut Parts,
        peer: &Peer,
        arrival: &Arrival,
        edge: &Edge,
        admission: &Admission,
    ) {
        if parts.uri.scheme().is_some() {
            // Origin form (RFC 9112 §3.2.1): we are the app's origin, not its proxy.
            if let Some(target) = parts.uri.path_and_query().cloned() {
                parts.uri = target.into();
            }
        }
        if !self.pass_token {
            self.strip_token(parts);
        }
        parts.version = Version::HTTP_11;
        let mut headers = std::mem::take(&mut parts.headers);
        arrival.forwarding.make_room(&mut headers);
        let host = headers.get(header::HOST).cloned();
        let mut fields = Fields::Map(&mut headers);
        self.complete(peer, arrival, edge, admission, host.as_ref(), &mut fields);
        parts.headers = headers;
    }

    /// Sets the fields that usher adds: who forwards, how, and who is calling.
    fn complete(
        &self,
        peer: &Peer,
        arrival: &Arrival,
        edge: &Edge,
        admission: &Admission,
        host: Option<&HeaderValue>,
        fields: &mut Fields<'_>,
    ) {
        if let Some(host) = host {
            arrival.forwarding.write(peer, host, fields);
        }
        fields.append(&header::VIA, edge.via());
        if let Some(upgrade) = &arrival.upgrade {
            fields.set(&header::UPGRADE, upgrade);
            fields.set(&header::CONNECTION, &HeaderValue::from_static("upgrade"));
        } else if arrival.trailers {
            fields.set(&header::TE, &HeaderValue::from_static("trailers"));
            fields.set(&header::CONNECTION, &HeaderValue::from_static("te"));
        }
        self.announce(admission, fields);
    }

    /// Tells the app who is calling.
    fn announce(&self, admission: &Admission, fields: &mut Fields<'_>) {
        if let Some(identity) = admission.identity() {
            for (name, value) in self.names.iter().zip(&identity.headers) {
                if let Some(value) = value {
                    fields.set(name, value);
                }
            }
        }
        if let Some(user) = admission.user() {
            for (name, column) in &self.columns {
                let value = match column {
                    Column::Id => Some(user.id.as_str()),
                    Column::Email => user.email.as_deref(),
                    Column::Extra(place) => user.column(*place),
                };
                if let Some(value) = value {
                    fields.set(name, &headers::encode(value));
                }
            }
        }
        if admission.is_pending() {
            fields.set(
                &headers::X_USER_PROVISIONED,
                &HeaderValue::from_static("pending"),
            );
        }
    }

    fn strip_token(&self, parts: &mut Parts) {
        let query = parts.uri.query();
        let Some(query) = self.identify.sources().strip(&mut parts.headers, query) else {
            return;
        };
        let target = match query.is_empty() {
            true => parts.uri.path().to_owned(),
            false => format!("{}?{query}", parts.uri.path()),
        };
        if let Ok(target) = target.parse() {
            parts.uri = target;
        }
    }

    /// Sends on a pooled connection, or a new one; once more on a new one if that is safe.
    async fn exchange(
        &self,
        pool: &Arc<Pool>,
        parts: Box<Parts>,
        body: RequestBody,
        progress: Option<Arc<Progress>>,
    ) -> Result<(Response<Incoming>, Connection), Denial> {
        let mut request = Request::from_parts(*parts, body);
        if let Some(mut connection) = pool.take() {
            let again = repeatable(&request).then(|| copy_head(&request));
            let sent = connection.sender.try_send_request(request);
            match self.in_time(sent, progress.as_ref()).await? {
                Ok(answer) => return Ok((answer, connection)),
                Err(mut error) => match error.take_message().or(again) {
                    // Not a byte was written, or the method is safe and there is no body
                    // (RFC 9110 §9.2.2): the pooled connection was dead, so the request was
                    // not processed, or may be repeated.
                    Some(unsent) => {
                        pool.metrics().retries.inc();
                        request = unsent;
                    }
                    None => return Err(exchange_failed(&error.into_error())),
                },
            }
        }
        let mut connection = pool.connect().await?;
        let sent = connection.sender.send_request(request);
        match self.in_time(sent, progress.as_ref()).await? {
            Ok(answer) => Ok((answer, connection)),
            Err(error) => Err(exchange_failed(&error)),
        }
    }

    /// Waits for the answer's head: `timeouts.response` after the last byte of the request left.
    async fn in_time<F: Future>(
        &self,
        sent: F,
        progress: Option<&Arc<Progress>>,
    ) -> Result<F::Output, Denial> {
        let sent = std::pin::pin!(sent);
        let Some(progress) = progress else {
            return tokio::time::timeout(self.response, sent)
                .await
                .map_err(|_| late());
        };
        let mut sent = sent;
        loop {
            let seen = progress.count();
            match tokio::time::timeout(self.response, sent.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(_) if progress.count() == seen && !progress.awaits_client() => {
                    return Err(late());
                }
                Err(_) => {}
            }
        }
    }

    fn finish(
        &self,
        pool: &Arc<Pool>,
        answer: Response<Incoming>,
        connection: Connection,
    ) -> Response<AnswerBody> {
        let (mut parts, body) = answer.into_parts();
        headers::strip_hops_from_answer(&mut parts.headers);
        parts.version = Version::HTTP_11;
        Response::from_parts(parts, AnswerBody::new(body, self.idle, pool, connection))
    }
}

fn column(header: &config::IdentityHeader) -> Option<(HeaderName, Column)> {
    match header.value {
        HeaderSource::User(column) => Some((header.name.clone(), column)),
        _ => None,
    }
}

/// Whether a method changes nothing, so that a request may be sent twice (RFC 9110 §9.2.2).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a request may be sent twice although the first may have been processed:
/// a safe method without a body.
fn repeatable(request: &Request<RequestBody>) -> bool {
    is_safe(request.method()) && request.body().is_end_stream()
}

fn copy_head(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}

fn late() -> Denial {
    Denial::new(
        Reason::UpstreamTimeout,
        "the app did not answer within timeouts.response",
    )
}

fn broken(detail: &'static str) -> Denial {
    Denial::new(Reason::UpstreamBroken, detail)
}

fn wire_failed(error: &WireError) -> Denial {
    match error {
        WireError::Late => late(),
        error => Denial::because(Reason::UpstreamBroken, error.to_string()),
    }
}

/// Tells whose fault it is that there is no answer.
fn exchange_failed(error: &hyper::Error) -> Denial {
    if let Some(cause) = body::cause(error) {
        return match cause {
            BodyError::TimedOut => Denial::new(
                Reason::RequestTimeout,
                "the client sent nothing of its body for timeouts.idle",
            ),
            BodyError::Broken(_) | BodyError::Wire(_) => {
                Denial::new(Reason::ClientGone, "the client's body ended early")
            }
        };
    }
    Denial::because(Reason::UpstreamBroken, format!("no usable answer: {error}"))
}
