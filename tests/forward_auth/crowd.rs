//! Thousands of users at once, over everything that a proxy may ask over: each answer is about its
//! own request.

use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::task::JoinSet;

use super::{Asked, DIALECTS, DOORS, bearer, question, start};
use crate::common::authority::Authority;
use crate::common::http2::{Http2, read};
use crate::common::{App, Client, Issuer, Usher, tls};

const USERS: usize = 3000;

fn tokens(issuer: &Issuer) -> Vec<String> {
    let users = 0..USERS;
    users
        .map(|user| issuer.token(&format!("user-{user}")))
        .collect()
}

/// The question of a user, and the status of its answer.
fn asked(dialect: &str, kind: u8, token: &str) -> (String, u16) {
    let (target, lines, status) = match kind {
        0 => ("/public/x", bearer(token), 200),
        1 => ("/admin/x", bearer(token), 403),
        2 => ("/x", String::new(), 401),
        _ => ("/x", bearer(token), 200),
    };
    let asked = Asked {
        method: "GET",
        target,
        host: "app.test",
        lines: &lines,
    };
    (question(dialect, &asked), status)
}

/// The identity in an answer to a question of this kind.
fn expected(kind: u8, user: usize) -> Option<String> {
    match kind {
        0 => Some(String::new()),
        1 | 2 => None,
        _ => Some(format!("user-{user}")),
    }
}

/// Many users through few connections that proxies keep, in any order, some of them refused:
/// each answer is about its own request.
#[test]
fn no_identity_leaks_into_the_next_answer() {
    let (_app, issuer, usher) = start("");
    let tokens = &tokens(&issuer);
    let address = usher.address;
    thread::scope(|scope| {
        for dialect in DIALECTS {
            scope.spawn(move || interleave(dialect, &|| Client::connect(address), tokens));
        }
    });
}

fn interleave(dialect: &str, connect: &dyn Fn() -> Client, tokens: &[String]) {
    let mut runner = TestRunner::new(Config {
        cases: 20,
        failure_persistence: None,
        ..Config::default()
    });
    // Who asks, on which of three connections, and what.
    let requests = prop::collection::vec((0..tokens.len(), 0..3_usize, 0..4_u8), 200);
    runner
        .run(&requests, |requests| {
            let mut connections: Vec<_> = (0..3).map(|_| connect()).collect();
            for (user, connection, kind) in requests {
                let (text, status) = asked(dialect, kind, &tokens[user]);
                let client = &mut connections[connection];
                client.send(text);
                let reply = client.reply().expect("an answer");
                prop_assert_eq!(reply.status, status);
                let expected = expected(kind, user);
                prop_assert_eq!(reply.header("x-user-id"), expected.as_deref());
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_proxy_may_ask_over_a_unix_socket() {
    let (app, issuer) = (App::start(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.sock");
    let listen = format!("listen: unix:{}\n", path.display());
    let tokens = &tokens(&issuer);
    {
        let doors = DOORS.replace("127.0.0.1/32", "unix");
        let usher = Usher::start(&app, &issuer, &format!("{listen}{doors}"));
        thread::scope(|scope| {
            for dialect in DIALECTS {
                let path = &path;
                scope.spawn(move || interleave(dialect, &|| Client::over_unix(path), tokens));
            }
        });
        drop(usher);
    }
    // A socket is no proxy's by itself.
    let usher = Usher::start(&app, &issuer, &format!("{listen}{DOORS}"));
    for dialect in DIALECTS {
        let asked = Asked {
            method: "GET",
            target: "/public/x",
            host: "app.test",
            lines: "",
        };
        let mut client = Client::over_unix(&path);
        client.send(question(dialect, &asked));
        assert_eq!(client.reply().unwrap().status, 403, "{dialect}");
    }
    drop(usher);
}

/// The question as a request of HTTP/2.
fn over_http2(text: &str) -> Request<()> {
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let target = lines.next().unwrap().split(' ').nth(1).unwrap();
    let lines: Vec<_> = lines.map(|line| line.split_once(": ").unwrap()).collect();
    let host = lines.iter().find(|(name, _)| *name == "Host").unwrap().1;
    let mut request = Request::get(format!("http://{host}{target}"));
    for (name, value) in lines.iter().filter(|(name, _)| *name != "Host") {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Every user asks at once on one connection: as many questions are under way as usher lets be.
async fn ask_at_once(send: SendRequest<Bytes>, tokens: Arc<Vec<String>>) {
    let dialects = ["nginx", "ingress", "traefik", "caddy", "haproxy"];
    let mut all = JoinSet::new();
    for user in 0..USERS {
        let (send, tokens) = (send.clone(), tokens.clone());
        all.spawn(async move {
            let (kind, dialect) = (u8::try_from(user / 5 % 5).unwrap(), dialects[user % 5]);
            let (text, status) = asked(dialect, kind, &tokens[user]);
            let mut send = send.ready().await.unwrap();
            let (answer, _) = send.send_request(over_http2(&text), true).unwrap();
            let answer = read(answer).await.unwrap();
            assert_eq!(answer.status, status, "{dialect}");
            assert_eq!(answer.header("x-user-id"), expected(kind, user).as_deref());
        });
    }
    let mut answered = 0;
    while let Some(done) = all.join_next().await {
        done.unwrap();
        answered += 1;
    }
    assert_eq!(answered, USERS);
}

#[test]
fn many_questions_at_once_on_one_connection_of_http2() {
    let (_app, issuer, usher) = start("");
    let tokens = Arc::new(tokens(&issuer));
    let client = Http2::connect(usher.address);
    client.wait(ask_at_once(client.send.clone(), tokens));
}

#[test]
fn the_same_within_tls() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let pair = authority.server("a", &["usher.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}\n",
        pair.yaml()
    );
    let usher = Usher::start(&app, &issuer, &format!("{listen}{DOORS}"));
    let tokens = Arc::new(tokens(&issuer));
    let mut config = (*tls::client(&authority.root, None)).clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(usher.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("usher.test").unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(async move { drop(connection.await) });
        ask_at_once(send, tokens).await;
    });
}
