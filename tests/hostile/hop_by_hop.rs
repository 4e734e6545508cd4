//! B: what belongs to a connection ends there, and takes nothing of ours along.

use std::sync::{Arc, OnceLock};

use super::stage::{ROUTES, Recorder, Stage, head};
use crate::common::app::{Answer, answer};
use crate::common::http2::Http2App;
use crate::common::{App, Client, Issuer, Usher};

/// After this the id is still there, once.
#[track_caller]
fn keeps_the_id(stage: &Stage, lines: &str) {
    let (_, received) = stage.passes(stage.get("/x", lines));
    assert_eq!(
        received.folded("x-user-id"),
        ["x-user-id: alice"],
        "{lines}"
    );
    assert_eq!(received.header("x-user-email"), Some("alice@example.com"));
}

#[test]
fn b01_connection_deletes_the_injected_header() {
    let stage = Stage::new("");
    for lines in [
        "Connection: close, X-User-Id\r\n",
        "Connection: X-User-Id\r\nX-User-Id: root\r\n",
        "Connection: keep-alive, X-User-Id, X-User-Email\r\n",
    ] {
        keeps_the_id(&stage, lines);
    }
}

#[test]
fn b02_connection_token_in_lower_case() {
    let stage = Stage::new("");
    for lines in [
        "connection: x-user-id\r\n",
        "CONNECTION: X-USER-ID\r\n",
        "connection: x_user_id\r\n",
    ] {
        keeps_the_id(&stage, lines);
    }
}

#[test]
fn b03_many_connection_lines_with_odd_spacing() {
    let stage = Stage::new("");
    let thousand: Vec<String> = (0..1000).map(|number| format!("x-{number}")).collect();
    for lines in [
        "Connection: close\r\nConnection: X-User-Id\r\n".to_owned(),
        "Connection: ,,\tX-User-Id\t, ,\r\n".to_owned(),
        "Connection:\r\nConnection:X-User-Id\r\n".to_owned(),
        "Connection: \"X-User-Id\", X-User-Id;q=1\r\n".to_owned(),
        "Connection: X-User-Id\r\n".repeat(50),
        format!("Connection: {},X-User-Id\r\n", thousand.join(",")),
    ] {
        keeps_the_id(&stage, &lines);
    }
    // All of it together has the limit that every head has.
    let members = ["x-another-member"; 3000].join(",");
    stage.refuses(
        stage.get("/x", &format!("Connection: {members}\r\n")),
        &[431],
    );
}

#[test]
fn b04_connection_towards_an_app_of_http2() {
    let (app, issuer) = (Http2App::echo(10), Issuer::new());
    let yaml = format!(
        "upstream: h2c://{}\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    );
    let usher = Usher::configured(&yaml);
    let token = issuer.token("alice");
    for lines in [
        "Connection: X-User-Id\r\n",
        "Connection: close, x-user-id\r\nX-User-Id: root\r\n",
    ] {
        assert_eq!(usher.get_with("/x", &token, lines).status, 200, "{lines}");
        let headers = app.last().headers;
        assert_eq!(headers.get_all("x-user-id").iter().count(), 1);
        assert_eq!(headers["x-user-id"], "alice", "{lines}");
        assert!(!headers.contains_key("connection"));
    }
    usher.serves(&token);
}

#[test]
fn b05_connection_removes_managed_headers() {
    let stage = Stage::new("");
    let lines = "X-Mine: 1\r\nCookie: a=b\r\nConnection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, \
        X-Real-IP, X-Request-Id, Via, Host, Content-Length, Content-Type, Transfer-Encoding, Cookie, Authorization, X-Mine\r\n\
        Content-Length: 4\r\nContent-Type: text/plain\r\n";
    let (_, received) = stage.passes(stage.post(lines, "body"));
    assert_eq!(received.body, b"body");
    for (name, value) in [
        ("host", "app.test"),
        ("content-length", "4"),
        ("content-type", "text/plain"),
        ("cookie", "a=b"),
        ("x-user-id", "alice"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "app.test"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    assert!(received.header("via").is_some());
    // What is the client's may go, an id of the request among it, and nobody's word is made up.
    for name in ["x-mine", "x-request-id", "x-real-ip", "connection"] {
        assert_eq!(received.header(name), None, "{name}");
    }
    // Chunks stay chunks, read by the letter.
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let token = issuer.token("alice");
    let lines = format!(
        "Authorization: Bearer {token}\r\nTransfer-Encoding: chunked\r\n\
         Connection: Transfer-Encoding, Content-Length, Host, Via, X-User-Id\r\n"
    );
    let chunked = head("POST", "/x", &lines) + "4\r\nbody\r\n0\r\n\r\n";
    assert_eq!(usher.raw(chunked).status, 200);
    usher.serves(&token);
    let whole = recorder.whole();
    assert_eq!((whole.len(), whole[0].body.as_slice()), (2, &b"body"[..]));
    assert_eq!(whole[0].all("transfer-encoding"), [b"chunked"]);
    assert_eq!(whole[0].all("x-user-id"), [b"alice"]);
    // Nor can a client behind a trusted proxy take away what that proxy says.
    let stage = Stage::new("trusted_proxies: [127.0.0.1]");
    let lines = "X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                 Connection: X-Forwarded-For, X-Forwarded-Proto\r\n";
    let (_, received) = stage.passes(stage.get("/x", lines));
    assert_eq!(
        received.header("x-forwarded-for"),
        Some("192.0.2.7, 127.0.0.1")
    );
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    // The token counts, whatever is said of it.
    let nominated = "Connection: Authorization\r\n";
    keeps_the_id(&stage, nominated);
    stage.refuses(
        head(
            "GET",
            "/x",
            &format!("Authorization: Bearer bad\r\n{nominated}"),
        ),
        &[401],
    );
}

#[test]
fn b06_hop_by_hop_headers_are_forwarded() {
    let stage = Stage::routed();
    let lines = "Keep-Alive: timeout=9\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic x\r\n\
        Proxy-Authenticate: y\r\nTE: gzip\r\nUpgrade: foo\r\nHTTP2-Settings: AAA\r\nKeep_Alive: 1\r\n\
        Proxy_Authorization: Basic x\r\n";
    for bytes in [stage.get("/x", lines), head("GET", "/public/x", lines)] {
        let (_, received) = stage.passes(bytes);
        for name in [
            "keep-alive",
            "proxy-connection",
            "proxy-authorization",
            "proxy-authenticate",
            "te",
            "upgrade",
            "http2-settings",
            "connection",
        ] {
            assert_eq!(received.folded(name), [""; 0], "{name}");
        }
    }
    // Trailers are announced to the app where the client takes them, and nothing else is. What the
    // client announces of its own ones is no field of the connection (RFC 9110 §6.6.2).
    let (_, received) = stage.passes(stage.get(
        "/x",
        "TE: trailers, gzip\r\nConnection: TE\r\nTrailer: X-Sum\r\n",
    ));
    assert_eq!(received.all("te"), ["trailers"]);
    assert_eq!(received.all("trailer"), ["X-Sum"]);
    stage.good();
}

#[test]
fn b07_proxy_header_becomes_a_variable() {
    let stage = Stage::routed();
    for name in ["Proxy", "proxy", "PROXY"] {
        let line = format!("{name}: http://evil.test\r\n");
        for bytes in [stage.get("/x", &line), head("GET", "/public/x", &line)] {
            assert_eq!(stage.passes(bytes).1.folded("proxy"), [""; 0], "{name}");
        }
    }
}

#[test]
fn b08_answer_nominates_what_frames_it() {
    let app = App::with(|received| match received.target() {
        "/odd" => Answer::Bytes(answer(
            "200 OK",
            "Connection: Set-Cookie, Content-Length, Content-Type, X-Inner, \x22odd\r\nKeep-Alive: timeout=1\r\n\
             Proxy-Connection: x\r\nX-Inner: 1\r\nSet-Cookie: a=b\r\n",
            "hello",
        )),
        _ => Answer::Bytes(answer("200 OK", "", "hello")),
    });
    let stage = Stage::before(app, "");
    let (reply, _) = stage.passes(stage.get("/odd", ""));
    assert_eq!(reply.body, "hello", "its length still holds");
    for name in ["connection", "keep-alive", "proxy-connection", "x-inner"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    stage.good();
}

#[test]
fn b09_loop_through_the_app() {
    let back = Arc::new(OnceLock::new());
    let leads = back.clone();
    let app = App::with(move |received| match received.target() {
        "/good" => Answer::Bytes(answer("200 OK", "", "hello")),
        _ => {
            let mut client = Client::connect(*leads.get().unwrap());
            client.send(format!("{}\r\n\r\n", received.head));
            let status = client.reply().unwrap().status;
            Answer::Bytes(answer(&format!("{status} Again"), "", ""))
        }
    });
    let stage = Stage::before(app, ROUTES);
    back.set(stage.usher.address).unwrap();
    for lines in ["", "Via: 1.1 other\r\n", "Connection: Via\r\n"] {
        let before = stage.app.count();
        let reply = stage.usher.get_with("/public/x", &stage.token, lines);
        assert_eq!(reply.status, 508, "{lines}");
        assert_eq!(stage.app.count(), before + 1, "one hop and no more");
        stage.good();
    }
}
