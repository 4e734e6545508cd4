//! A service of gRPC with one method of each kind, and its client; what a generator would write.
//! Messages are text, so that no compiler of protocol buffers is needed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use tokio::sync::mpsc;
use tonic::client::Grpc as GrpcClient;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::tokio_stream::{Stream, iter};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::server::{
    ClientStreamingService, Grpc as GrpcServer, ServerStreamingService, StreamingService,
    UnaryService,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::common::eventually_async;

/// Messages as they are.
#[derive(Clone, Debug, Default)]
struct Text;

impl Codec for Text {
    type Encode = String;
    type Decode = String;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Text {
    type Item = String;
    type Error = Status;

    fn encode(&mut self, item: String, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(item.as_bytes());
        Ok(())
    }
}

impl Decoder for Text {
    type Item = String;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<String>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        Ok(Some(String::from_utf8(bytes.to_vec()).unwrap()))
    }
}

/// What the app saw.
#[derive(Clone)]
pub struct App {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<MetadataMap>>>,
    taken_back: Arc<AtomicUsize>,
}

impl App {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let app = Self {
            address: listener.local_addr().unwrap(),
            heads: Arc::default(),
            taken_back: Arc::default(),
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service.clone());
                tokio::spawn(connection);
            }
        });
        app
    }

    /// How many calls came.
    pub fn count(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    /// The last call's metadata.
    pub fn last(&self) -> MetadataMap {
        self.heads.lock().unwrap().last().unwrap().clone()
    }

    /// Waits until so many calls were given up before their end.
    pub async fn taken_back(&self, count: usize) {
        eventually_async("a call that is taken back", async || {
            (self.taken_back.load(Ordering::SeqCst) == count).then_some(())
        })
        .await;
    }

    fn note(&self, metadata: &MetadataMap) -> Unfinished {
        self.heads.lock().unwrap().push(metadata.clone());
        Unfinished(Some(self.taken_back.clone()))
    }
}

/// Counts a call that is dropped before its end.
struct Unfinished(Option<Arc<AtomicUsize>>);

impl Unfinished {
    fn finish(&mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

type Incoming = http::Request<hyper::body::Incoming>;

impl Service<Incoming> for App {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Incoming) -> Self::Future {
        let app = self.clone();
        Box::pin(async move {
            let mut grpc = GrpcServer::new(Text);
            let response = match request.uri().path() {
                "/test.Echo/Unary" => grpc.unary(app, request).await,
                "/test.Echo/Client" => grpc.client_streaming(app, request).await,
                "/test.Echo/Server" => grpc.server_streaming(app, request).await,
                "/test.Echo/Both" => grpc.streaming(app, request).await,
                other => panic!("no method {other}"),
            };
            Ok(response)
        })
    }
}

impl UnaryService<String> for App {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let mut unfinished = self.note(request.metadata());
        Box::pin(async move {
            let answered = unary(request).await;
            unfinished.finish();
            answered
        })
    }
}

async fn unary(request: Request<String>) -> Result<Response<String>, Status> {
    match request.get_ref().as_str() {
        "never" => std::future::pending().await,
        "slow" => {
            let timeout = request.metadata().get("grpc-timeout").unwrap();
            let micros = timeout.to_str().unwrap().strip_suffix('u').unwrap();
            let time = Duration::from_micros(micros.parse().unwrap());
            // A tenth of it is enough for a test.
            tokio::time::sleep(time / 10).await;
            Err(Status::deadline_exceeded("said the app"))
        }
        "fail" => {
            let mut metadata = MetadataMap::new();
            metadata.insert("x-why", "because".parse().unwrap());
            Err(Status::with_details_and_metadata(
                Code::FailedPrecondition,
                "not today: 100 % \u{e9}",
                Bytes::from_static(&[1, 2, 3]),
                metadata,
            ))
        }
        _ => {
            let metadata = request.metadata().clone();
            let mut response = Response::new(request.into_inner());
            let echo = response.metadata_mut();
            if let Some(asked) = metadata.get("x-asked") {
                echo.insert("x-echo", asked.clone());
            }
            if let Some(raw) = metadata.get_bin("x-raw-bin") {
                let raw = raw.to_bytes().unwrap();
                echo.insert_bin("x-raw-bin", MetadataValue::from_bytes(&raw));
            }
            Ok(response)
        }
    }
}

impl ClientStreamingService<String> for App {
    type Response = String;
    type Future = BoxFuture<Response<String>, Status>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let mut unfinished = self.note(request.metadata());
        Box::pin(async move {
            let mut words = Vec::new();
            let mut said = request.into_inner();
            while let Some(word) = said.message().await? {
                words.push(word);
            }
            unfinished.finish();
            Ok(Response::new(words.join(" ")))
        })
    }
}

/// Answers that may be dropped before their end, and end with trailers.
pub struct Answers {
    said: Pin<Box<dyn Stream<Item = Result<String, Status>> + Send>>,
    unfinished: Unfinished,
}

impl Stream for Answers {
    type Item = Result<String, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.said.as_mut().poll_next(cx);
        if let Poll::Ready(None) = next {
            self.unfinished.finish();
        }
        next
    }
}

impl ServerStreamingService<String> for App {
    type Response = String;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<String>) -> Self::Future {
        let unfinished = self.note(request.metadata());
        Box::pin(async move {
            let count: u32 = request.get_ref().parse().unwrap();
            let answers = (0..count).map(|number| Ok(format!("answer {number}")));
            let mut trailers = MetadataMap::new();
            trailers.insert("x-trailer", "last".parse().unwrap());
            let end = Status::with_metadata(Code::Ok, "", trailers);
            let said = Box::pin(iter(answers.chain([Err(end)])));
            Ok(Response::new(Answers { said, unfinished }))
        })
    }
}

impl StreamingService<String> for App {
    type Response = String;
    type ResponseStream = Answers;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn call(&mut self, request: Request<Streaming<String>>) -> Self::Future {
        let unfinished = self.note(request.metadata());
        Box::pin(async move {
            let said = Box::pin(request.into_inner());
            Ok(Response::new(Answers { said, unfinished }))
        })
    }
}

/// The client.
pub struct Client {
    channel: Channel,
    token: String,
}

impl Client {
    pub fn new(channel: Channel, token: String) -> Self {
        Self { channel, token }
    }

    /// A message with the token.
    pub fn request(&self, word: &str) -> Request<String> {
        self.signed(word.to_owned())
    }

    fn signed<T>(&self, inner: T) -> Request<T> {
        let mut request = Request::new(inner);
        let token = format!("Bearer {}", self.token).parse().unwrap();
        request.metadata_mut().insert("authorization", token);
        request
    }

    async fn ready(&self) -> GrpcClient<Channel> {
        let mut grpc = GrpcClient::new(self.channel.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    pub async fn unary(&self, request: Request<String>) -> Result<Response<String>, Status> {
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Unary");
        self.ready().await.unary(request, path, Text).await
    }

    pub async fn client_streaming(
        &self,
        words: VecDeque<String>,
    ) -> Result<Response<String>, Status> {
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Client");
        let request = self.signed(iter(words));
        self.ready()
            .await
            .client_streaming(request, path, Text)
            .await
    }

    pub async fn server_streaming(
        &self,
        request: Request<String>,
    ) -> Result<Response<Streaming<String>>, Status> {
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Server");
        self.ready()
            .await
            .server_streaming(request, path, Text)
            .await
    }

    pub async fn bidirectional(
        &self,
        words: mpsc::Receiver<String>,
    ) -> Result<Response<Streaming<String>>, Status> {
        self.talk(self.signed(ReceiverStream::new(words))).await
    }

    pub async fn talk(
        &self,
        request: Request<ReceiverStream<String>>,
    ) -> Result<Response<Streaming<String>>, Status> {
        let path = http::uri::PathAndQuery::from_static("/test.Echo/Both");
        self.ready().await.streaming(request, path, Text).await
    }
}
