//! Listeners beside the request path: how they accept, and how long somebody may stay.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limit::Seldom;

/// How long accepting rests after it has failed, whatever it was.
const PAUSE: Duration = Duration::from_millis(200);

/// For a head, and for whoever has said nothing yet.
const HEAD: Duration = Duration::from_secs(5);

/// After this a connection takes no more requests; who has more to ask connects again.
const STAY: Duration = Duration::from_secs(5);

/// For what is under way then. Who reads no answer must not keep the place of others.
const ENDING: Duration = Duration::from_secs(10);

/// Accepts until dropped, and serves each that is to be served in a task of its own.
pub(crate) async fn accept<N, C, S>(
    listener: &'static str,
    next: impl Fn() -> N,
    serve: impl Fn(C) -> Option<S>,
) where
    N: Future<Output = io::Result<C>>,
    S: Future<Output = ()> + Send + 'static,
{
    let short = Seldom::new();
    loop {
        match next().await {
            Ok(came) => {
                if let Some(serving) = serve(came) {
                    tokio::spawn(serving);
                }
            }
            Err(error) => {
                if let Some(times) = short.again() {
                    tracing::warn!(listener, %error, times, "connections cannot be accepted");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits for a place.
pub(crate) async fn place(places: &Arc<Semaphore>) -> io::Result<OwnedSemaphorePermit> {
    let place = places.clone().acquire_owned().await;
    place.map_err(io::Error::other)
}

/// Serves HTTP/1.1 on one connection, for a while.
pub(crate) async fn converse<A>(
    listener: &'static str,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    answer: impl Fn(Request<Incoming>) -> A,
) where
    A: Future<Output = Response<Full<Bytes>>>,
{
    let service = service_fn(|request| {
        let answering = answer(request);
        async move { Ok::<_, Infallible>(answering.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        () = tokio::time::sleep(STAY) => {
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(ENDING, connection).await
        }
    };
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(listener, %error, "a connection ended"),
        Err(_) => tracing::debug!(listener, "closed: nobody reads the answer"),
    }
}
