//! gRPC by a client and a server that others wrote (tonic): all four kinds of calls, with what
//! goes with them.

mod echo;

use std::time::Duration;

use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use crate::common::{Issuer, Usher, eventually_async};
use echo::{App, Client};

/// A client in front of an usher in front of an app.
struct Stage {
    app: App,
    issuer: Issuer,
    usher: Usher,
}

impl Stage {
    async fn new(more: &str) -> Self {
        let (app, issuer) = (App::start().await, Issuer::new());
        let usher = Usher::configured(&format!(
            "upstream: h2c://{}\nissuers: [{}]\n{more}",
            app.address,
            issuer.yaml()
        ));
        Self { app, issuer, usher }
    }

    async fn client(&self) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.usher.address)).unwrap();
        let endpoint = endpoint.timeout(Duration::from_secs(20));
        let channel: Channel = endpoint.connect().await.unwrap();
        Client::new(channel, self.issuer.token("alice"))
    }
}

#[tokio::test]
async fn one_message_each_way_with_metadata_on_all_sides() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let mut call = client.request("hello");
    let metadata = call.metadata_mut();
    metadata.insert("x-asked", "yes".parse().unwrap());
    metadata.insert_bin("x-raw-bin", MetadataValue::from_bytes(&[0, 255, 7]));
    metadata.insert("x-user-id", "forged".parse().unwrap());
    let answer = client.unary(call).await.unwrap();
    assert_eq!(answer.get_ref(), "hello");
    let metadata = answer.metadata();
    assert_eq!(metadata.get("x-echo").unwrap(), "yes");
    // What came after the message.
    assert_eq!(metadata.get("grpc-status").unwrap(), "0");
    let raw = metadata.get_bin("x-raw-bin").unwrap().to_bytes().unwrap();
    assert_eq!(raw.as_ref(), [0, 255, 7]);
    let seen = stage.app.last();
    assert_eq!(seen.get("x-user-id").unwrap(), "alice");
    assert!(seen.get("authorization").is_none());
}

#[tokio::test]
async fn many_messages_one_answer() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let words = (0..100).map(|number| number.to_string());
    let answer = client.client_streaming(words.collect()).await.unwrap();
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(*answer.get_ref(), expected.join(" "));
}

#[tokio::test]
async fn one_message_many_answers() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let call = client.request("50");
    let mut answers = client.server_streaming(call).await.unwrap().into_inner();
    for number in 0..50 {
        let answer = answers.message().await.unwrap();
        assert_eq!(answer, Some(format!("answer {number}")));
    }
    assert_eq!(answers.message().await.unwrap(), None);
    let trailers = answers.trailers().await.unwrap().unwrap();
    assert_eq!(trailers.get("x-trailer").unwrap(), "last");
}

#[tokio::test]
async fn both_talk_by_turns() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let (say, words) = tokio::sync::mpsc::channel(1);
    let mut answers = client.bidirectional(words).await.unwrap().into_inner();
    for number in 0..50 {
        // Nothing is said before the last answer is there.
        say.send(format!("word {number}")).await.unwrap();
        let answer = answers.message().await.unwrap();
        assert_eq!(answer, Some(format!("word {number}")));
    }
    drop(say);
    assert_eq!(answers.message().await.unwrap(), None);
}

#[tokio::test]
async fn large_messages_pass() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let large = "0123456789".repeat(300_000);
    let answer = client.unary(client.request(&large)).await.unwrap();
    assert!(*answer.get_ref() == large);
}

#[tokio::test]
async fn the_apps_errors_arrive_as_they_are() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let error = client.unary(client.request("fail")).await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert_eq!(error.message(), "not today: 100 % \u{e9}");
    assert_eq!(error.details(), [1, 2, 3]);
    assert_eq!(error.metadata().get("x-why").unwrap(), "because");
}

#[tokio::test]
async fn an_app_that_keeps_the_deadline_says_so() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let mut call = client.request("slow");
    call.metadata_mut()
        .insert("x-wait", "deadline".parse().unwrap());
    // The app ends a little before the client would.
    call.set_timeout(Duration::from_secs(5));
    let error = client.unary(call).await.unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded);
    assert_eq!(error.message(), "said the app");
    let told = stage
        .app
        .last()
        .get("grpc-timeout")
        .unwrap()
        .to_str()
        .unwrap()
        .to_owned();
    assert_eq!(told, "5000000u", "as tonic writes five seconds");
}

#[tokio::test]
async fn a_call_whose_time_is_over_is_taken_back_from_the_app() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let mut call = client.request("never");
    call.set_timeout(Duration::from_millis(200));
    let error = client.unary(call).await.unwrap_err();
    let told = [Code::DeadlineExceeded, Code::Cancelled];
    assert!(told.contains(&error.code()), "{error:?}");
    stage.app.taken_back(1).await;
    // The connection is as good as before.
    let answer = client.unary(client.request("after")).await.unwrap();
    assert_eq!(answer.get_ref(), "after");
}

#[tokio::test]
async fn a_stream_that_the_client_drops_ends_at_the_app() {
    let stage = Stage::new("").await;
    let client = stage.client().await;
    let call = client.request("1000000");
    let mut answers = client.server_streaming(call).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_some());
    drop(answers);
    stage.app.taken_back(1).await;
    let (say, words) = tokio::sync::mpsc::channel(1);
    let mut answers = client.bidirectional(words).await.unwrap().into_inner();
    say.send("word".to_owned()).await.unwrap();
    assert_eq!(answers.message().await.unwrap().unwrap(), "word");
    drop((say, answers));
    stage.app.taken_back(2).await;
}

#[tokio::test]
async fn denials_are_statuses_of_grpc() {
    let rules = "routes: [{ path: /test.Echo/Server, require: { roles: [admin] } }]";
    let stage = Stage::new(rules).await;
    let client = stage.client().await;
    let mut nobody = client.request("x");
    nobody.metadata_mut().remove("authorization");
    let error = client.unary(nobody).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    let error = client
        .server_streaming(client.request("1"))
        .await
        .unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert_eq!(stage.app.count(), 0);
    // Also while a stream of messages is on its way.
    let (say, words) = tokio::sync::mpsc::channel(1);
    say.send("word".to_owned()).await.unwrap();
    let mut nobody = Request::new(tonic::codegen::tokio_stream::wrappers::ReceiverStream::new(
        words,
    ));
    nobody
        .metadata_mut()
        .insert("authorization", "Bearer no.token".parse().unwrap());
    let error = client.talk(nobody).await.unwrap_err();
    assert_eq!(error.code(), Code::Unauthenticated);
    assert_eq!(stage.app.count(), 0);
    let counted = "usher_protocol_requests_total{protocol=\"grpc\"}";
    eventually_async("the count", async || {
        (stage.usher.metric(counted) == 3.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_app_that_is_away_is_unavailable() {
    let stage = Stage::new("").await;
    let issuer = Issuer::new();
    let away = Usher::configured(&format!(
        "upstream: h2c://127.0.0.1:{}\nissuers: [{}]\n",
        crate::common::free_port(),
        issuer.yaml()
    ));
    let endpoint = Endpoint::from_shared(format!("http://{}", away.address)).unwrap();
    let client = Client::new(endpoint.connect().await.unwrap(), issuer.token("alice"));
    let error = client.unary(client.request("x")).await.unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert_eq!(stage.app.count(), 0);
}
