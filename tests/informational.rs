//! What the app says ahead of its answer: passed on, bounded, and never taken for the answer.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};

use crate::common::app::{Answer, Received, answer};
use crate::common::http2::{Http2, get};
use crate::common::{App, Issuer, Usher};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\
    Connection: X-Secret\r\nX-Secret: hop\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n";

/// An app that hints at once, and answers when the test says so.
fn hinting() -> (App, mpsc::Sender<()>) {
    let (go, may) = mpsc::channel::<()>();
    let may = Arc::new(Mutex::new(may));
    let app = App::with(move |_| {
        let may = may.clone();
        Answer::Own(Box::new(move |mut stream| {
            stream.write_all(HINT.as_bytes()).unwrap();
            may.lock().unwrap().recv().unwrap();
            stream.write_all(&answer("200 OK", "", "late")).unwrap();
            let _ = stream.read(&mut [0]);
        }))
    });
    (app, go)
}

/// An app that sends these bytes for the path `/odd`, and otherwise behaves.
fn saying(bytes: impl Fn(&Received) -> String + Send + Sync + 'static) -> App {
    App::with(
        move |received| match received.target().starts_with("/odd") {
            true => Answer::Bytes(bytes(received).into_bytes()),
            false => Answer::Bytes(answer("200 OK", "", "hello")),
        },
    )
}

fn ask(token: &str, version: &str) -> String {
    format!("GET /odd HTTP/{version}\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n")
}

#[test]
fn an_early_hint_is_early() {
    let (app, go) = hinting();
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    client.send(ask(&issuer.token("alice"), "1.1"));
    let hint = client.reply().expect("a hint, while the app still thinks");
    assert_eq!(hint.status, 103);
    assert_eq!(hint.header("link"), Some("</style.css>; rel=preload"));
    for name in [
        "connection",
        "x-secret",
        "content-length",
        "transfer-encoding",
    ] {
        assert_eq!(hint.header(name), None, "{name}");
    }
    go.send(()).unwrap();
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "late"));
    assert_eq!(
        usher.line("/odd")["status"],
        200,
        "one line, that of the answer"
    );
}

#[test]
fn a_client_of_http2_gets_it_too() {
    let (app, go) = hinting();
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let client = Http2::connect(usher.address);
    let (mut answer, _) = client.start(get("/odd", &issuer.token("alice")), true);
    let hint = client.wait(async {
        let next = std::future::poll_fn(|cx| answer.poll_informational(cx));
        tokio::time::timeout(Duration::from_secs(10), next).await
    });
    let hint = hint.expect("in time").expect("one").unwrap();
    assert_eq!(hint.status(), StatusCode::EARLY_HINTS);
    assert_eq!(hint.headers()["link"], "</style.css>; rel=preload");
    assert_eq!(hint.headers().len(), 1, "{hint:?}");
    go.send(()).unwrap();
    let reply = client.wait(answer).unwrap();
    assert_eq!(reply.status(), 200);
}

#[test]
fn a_client_of_http10_gets_the_answer_alone() {
    let app = saying(|_| {
        format!(
            "{HINT}{}",
            String::from_utf8(answer("200 OK", "", "end")).unwrap()
        )
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    client.send(ask(&issuer.token("alice"), "1.0"));
    let all = client.rest();
    assert!(
        all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("end"),
        "{all}"
    );
    assert!(!all.contains("103"), "{all}");
}

#[test]
fn several_pass_in_their_order_and_some_are_nobody_elses() {
    let heads = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nx: 1\r\n\r\n\
        HTTP/1.1 103 Early Hints\r\nlink: 2\r\n\r\nHTTP/1.1 199 Odd\r\n\r\n";
    let app = saying(move |_| {
        format!(
            "{heads}{}",
            String::from_utf8(answer("200 OK", "", "end")).unwrap()
        )
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    // Twice, on one connection.
    for _ in 0..2 {
        client.send(ask(&token, "1.1"));
        let statuses: Vec<_> = (0..4).map(|_| client.reply().unwrap().status).collect();
        assert_eq!(statuses, [102, 103, 199, 200]);
    }
    assert_eq!(app.connections(), 1, "and the app's connection is kept");
}

#[test]
fn many_are_bounded_and_an_end_after_one_is_no_reason_to_ask_again() {
    let app = saying(|received| {
        let hint = "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n";
        let end = String::from_utf8(answer("200 OK", "", "end")).unwrap();
        match received.target() {
            "/odd/many" => format!("{}{end}", hint.repeat(50)),
            "/odd/flood" => hint.repeat(5000),
            _ => format!(
                "HTTP/1.1 103 Early Hints\r\nlink: {}\r\n\r\n{end}",
                "y".repeat(70_000)
            ),
        }
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let statuses = |target: &str| {
        let mut client = usher.connect();
        client.send(ask(&token, "1.1").replace("/odd", target));
        let mut statuses = Vec::new();
        loop {
            let status = client.reply().unwrap().status;
            statuses.push(status);
            if status >= 200 {
                return statuses;
            }
        }
    };
    let many = statuses("/odd/many");
    assert_eq!((many.len(), many.last()), (17, Some(&200)));
    for target in ["/odd/flood", "/odd/large"] {
        assert_eq!(statuses(target).last(), Some(&502), "{target}");
        assert_eq!(usher.line(target)["reason"], "upstream_broken");
        usher.serves(&token);
    }
    // The app ends after a hint, on a connection that was kept: it has heard the request.
    let ended = Arc::new(Mutex::new(0));
    let counted = ended.clone();
    let app = App::with(move |received| match received.target() {
        "/ends" => {
            *counted.lock().unwrap() += 1;
            Answer::Last(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())
        }
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let usher = Usher::start(&app, &issuer, "workers: 1");
    usher.serves(&token);
    let mut client = usher.connect();
    client.send(ask(&token, "1.1").replace("/odd", "/ends"));
    assert_eq!(client.reply().unwrap().status, 103);
    assert_eq!(client.reply().unwrap().status, 502);
    assert_eq!(*ended.lock().unwrap(), 1);
}

/// An app in HTTP/2 that hints before it answers.
fn hinting_over_http2() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        for status in [102, 103] {
                            let hint = Response::builder().status(status).header("link", "</a>");
                            respond.send_informational(hint.body(()).unwrap()).unwrap();
                        }
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data("late".into(), true).unwrap();
                    }
                });
            }
        });
    });
    address
}

#[test]
fn an_app_of_http2_hints_to_everybody() {
    let (app, issuer) = (hinting_over_http2(), Issuer::new());
    let usher = Usher::configured(&format!(
        "upstream: h2c://{app}\nissuers: [{}]\n",
        issuer.yaml()
    ));
    let token = issuer.token("alice");
    let mut client = usher.connect();
    client.send(ask(&token, "1.1"));
    for status in [102, 103] {
        let hint = client.reply().unwrap();
        assert_eq!((hint.status, hint.header("link")), (status, Some("</a>")));
    }
    let reply = client.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "late"));
    let over_http2 = Http2::connect(usher.address);
    let (mut answer, _) = over_http2.start(get("/odd", &token), true);
    let first = over_http2.wait(std::future::poll_fn(|cx| answer.poll_informational(cx)));
    assert_eq!(first.unwrap().unwrap().status(), 102);
    assert_eq!(over_http2.wait(answer).unwrap().status(), 200);
}

/// A client that waits for 100 gets one, and the app's hints as well, whatever their order.
#[test]
fn a_hint_and_a_100_do_not_meet() {
    let app = crate::common::app::bare(|mut stream: TcpStream| {
        let mut seen = Vec::new();
        let mut piece = [0; 1024];
        while !seen.ends_with(b"body") {
            let count = stream.read(&mut piece).unwrap();
            if count == 0 {
                return;
            }
            if seen.is_empty() {
                stream.write_all(HINT.as_bytes()).unwrap();
            }
            seen.extend_from_slice(&piece[..count]);
        }
        stream.write_all(&answer("200 OK", "", "thanks")).unwrap();
    });
    let issuer = Issuer::new();
    let usher = Usher::before(app, &issuer, "");
    let mut client = usher.connect();
    client.send(format!(
        "POST /up HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nExpect: 100-continue\r\n\
         Content-Length: 4\r\n\r\n",
        issuer.token("alice")
    ));
    let mut statuses = vec![
        client.reply().unwrap().status,
        client.reply().unwrap().status,
    ];
    statuses.sort_unstable();
    assert_eq!(statuses, [100, 103]);
    client.send("body");
    assert_eq!(client.reply().unwrap().body, "thanks");
}
