//! Q: what the libraries below usher let through, and that usher does not. When a library changes its
//! mind, the first half of a test fails, and what is built on it can be looked at again.

use http::{HeaderName, HeaderValue, Method, Uri};

use super::stage::{Recorder, Stage, head};
use crate::common::http2::{END_STREAM, Fate, Frames, Http2, Http2App, request};
use crate::common::{Issuer, Usher};
use crate::forward_auth::{DIALECTS, DOORS, ask};

#[test]
fn q17_uri_drops_the_fragment() {
    let uri: Uri = "/admin#/public".parse().unwrap();
    assert_eq!((uri.path(), uri.query()), ("/admin", None));
    // What usher decides on is what is left, and leaves; a description that holds one is refused.
    let stage = Stage::routed();
    stage.refuses(head("GET", "/admin#/public/x", ""), &[401]);
    let (_, received) = stage.passes(head("GET", "/public/x#/../admin", ""));
    assert_eq!(received.target(), "/public/x");
    let usher = Usher::start(&stage.app, &stage.issuer, DOORS);
    for dialect in DIALECTS {
        let status = ask(&usher, dialect, "/public/x#/../admin", "").status;
        assert!([400, 403].contains(&status), "{dialect}: {status}");
    }
    stage.good();
}

#[test]
fn q18_uri_takes_odd_targets() {
    let stage = Stage::routed();
    for target in [
        "/public/a\\b",
        "/a;b",
        "//a",
        "/public/%00",
        "/public/%zz",
        "/public/%",
        "/public/..",
        "/public/%2e",
    ] {
        assert!(target.parse::<Uri>().is_ok(), "{target}");
        stage.refuses(head("GET", target, ""), &[400]);
    }
    for target in ["admin", "evil:80", "http://user@app.test/public/x"] {
        assert!(
            target.parse::<Uri>().unwrap().authority().is_some(),
            "{target}"
        );
        stage.refuses(head("GET", target, ""), &[400]);
    }
}

#[test]
fn q19_parser_takes_bare_line_feeds_and_any_number_of_hosts() {
    let parse = |text: &str| {
        let mut table = [httparse::EMPTY_HEADER; 8];
        let mut request = httparse::Request::new(&mut table);
        request
            .parse(text.as_bytes())
            .map(|status| status.is_complete())
    };
    let stage = Stage::routed();
    for text in [
        "GET /public/x HTTP/1.1\nHost: app.test\n\n",
        "GET /public/x HTTP/1.1\r\nHost: app.test\n\r\n",
        "GET /public/x HTTP/1.1\r\n\r\n",
        "GET /public/x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ] {
        assert_eq!(parse(text), Ok(true), "{text:?}");
        stage.refuses(text, &[400]);
    }
    assert_eq!(
        parse("\r\n\r\nGET /public/x HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        Ok(true)
    );
    stage.passes("\r\n\r\nGET /public/x HTTP/1.1\r\nHost: app.test\r\n\r\n");
    for text in [
        "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nX : a\r\n\r\n",
        "GET / HTTP/1.1\r\nX: a\0\r\n\r\n",
        "GET / HTTP/1.2\r\n\r\n",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
        stage.refuses(text, &[400]);
    }
}

/// The version of a crate that is built in; the lowest, if there are several.
fn version(name: &str) -> [u64; 3] {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    let marker = format!("name = \"{name}\"\nversion = \"");
    let versions = lock.match_indices(&marker).map(|(place, _)| {
        let text = lock[place + marker.len()..].split('"').next().unwrap();
        let mut numbers = text
            .split(['.', '-', '+'])
            .map(|part| part.parse().unwrap_or(0));
        [(); 3].map(|()| numbers.next().unwrap_or(0))
    });
    versions
        .min()
        .unwrap_or_else(|| panic!("{name} is not built in"))
}

#[test]
fn q20_hyper_takes_a_length_beside_chunks() {
    // Before 1.11 it also kept the length. Requests are read by our own reader all the same.
    assert!(version("hyper") >= [1, 11, 0]);
    assert!(version("h2") >= [0, 4, 18]);
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let bearer = format!("Authorization: Bearer {}\r\n", issuer.token("alice"));
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ] {
        let reply = usher.raw(head("POST", "/x", &format!("{bearer}{lines}")) + "0\r\n\r\n");
        assert_eq!(reply.status, 400);
    }
    assert!(recorder.connections().is_empty());
    // Nor does a framing leave that is not our own.
    let chunked = head(
        "POST",
        "/x",
        &format!("{bearer}transfer-encoding: CHUNKED\r\n"),
    );
    assert_eq!(
        usher.raw(chunked + "5;x=y\r\nhello\r\n0\r\n\r\n").status,
        200
    );
    let whole = recorder.whole();
    assert_eq!(whole[0].all("transfer-encoding"), [b"chunked"]);
    assert_eq!(whole[0].body, b"hello");
    usher.serves(&issuer.token("alice"));
}

#[test]
fn q21_client_of_http2_removes_what_connection_names() {
    // Ours is h2 itself, and gets no such field, whatever the client said.
    let (app, issuer) = (Http2App::echo(10), Issuer::new());
    let usher = Usher::configured(&format!(
        "upstream: h2c://{}\nissuers: [{}]\n",
        app.address,
        issuer.yaml()
    ));
    let token = issuer.token("alice");
    for lines in [
        "Connection: X-User-Id, X-User-Email\r\n",
        "Connection: close\r\nConnection: x-user-id\r\n",
    ] {
        assert_eq!(usher.get_with("/x", &token, lines).status, 200);
        let headers = app.last().headers;
        assert_eq!(headers["x-user-id"], "alice");
        assert_eq!(headers["x-user-email"], "alice@example.com");
        assert!(!headers.contains_key("connection"));
    }
    usher.serves(&token);
}

#[test]
fn q22_trailers_that_are_announced_pass() {
    let (recorder, issuer) = (Recorder::start(), Issuer::new());
    let usher = Usher::before(recorder.address, &issuer, "");
    let lines = format!(
        "Authorization: Bearer {}\r\nTransfer-Encoding: chunked\r\nTrailer: X-User-Id, Content-Length, Host, X-Sum\r\n",
        issuer.token("alice")
    );
    let trailers = "X-User-Id: root\r\nX_User.Id: root\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\nHost: evil\r\n\
        Authorization: Bearer x\r\nX-Forwarded-For: 9.9.9.9\r\nX-Sum: 1\r\n";
    let reply = usher.raw(head("POST", "/x", &lines) + "1\r\na\r\n0\r\n" + trailers + "\r\n");
    assert_eq!(reply.status, 200);
    let whole = recorder.whole();
    assert_eq!(whole[0].trailers, [("x-sum".to_owned(), b"1".to_vec())]);
    usher.serves(&issuer.token("alice"));
}

#[test]
fn q23_library_has_no_time_limits_of_its_own() {
    // Without a word in the configuration each wait has an end.
    let text =
        "upstream: http://127.0.0.1:9\nissuers: [{ name: a, audiences: any, secret_env: X }]";
    let environment = |_: &str| Some("kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C".to_owned());
    let config = usher::config::parse(text, "test.yaml", &environment)
        .unwrap()
        .config;
    let times = &config.timeouts;
    let all = [
        times.first_byte,
        times.handshake,
        times.header_read,
        times.connect,
        times.response,
        times.idle,
        times.keep_alive,
    ];
    for time in all {
        assert!(!time.is_zero() && time.as_secs() <= 120, "{time:?}");
    }
    // Also while it is open which version a client speaks.
    let stage = Stage::new("timeouts: { first_byte: 300ms, header_read: 300ms }");
    for begin in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r",
    ] {
        let mut client = stage.usher.connect();
        client.send(begin);
        assert!(client.is_closed(), "{begin:?}");
    }
    stage.good();
}

#[test]
fn q24_library_does_not_compare_authority_and_host() {
    // An app of the library alone takes both.
    let app = Http2App::echo(10);
    let client = Http2::connect(app.address);
    let asked = request(Method::GET, "/plain", "x").header("host", "evil.test");
    assert_eq!(client.ask(asked.body(()).unwrap()).unwrap().status, 200);
    let stage = Stage::new("");
    let bearer = format!("Bearer {}", stage.token);
    let mut frames = Frames::connect(stage.usher.address);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "app.test"),
        (":path", "/x"),
        ("host", "evil.test"),
        ("authorization", &bearer),
    ];
    frames.head(1, END_STREAM, &fields);
    assert_eq!(frames.fate(1), Fate::Answered(400));
    stage.good();
    assert_eq!(stage.app.count(), 1);
    stage.good();
}

#[test]
fn q25_names_that_look_like_others_are_names() {
    let stage = Stage::new("");
    for name in [
        "x_user_id",
        "x.user.id",
        "x~user~id",
        "x!user!id",
        "x*user*id",
        "x-user--id",
    ] {
        assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "{name}");
        let (_, received) = stage.passes(stage.get("/x", &format!("{name}: root\r\n")));
        assert_eq!(received.folded("x-user-id"), ["x-user-id: alice"], "{name}");
    }
}

#[test]
fn q26_values_that_a_header_takes_or_not() {
    for bad in ["a\r\nb", "a\nb", "a\0b", "a\u{7f}b"] {
        assert!(HeaderValue::from_str(bad).is_err(), "{bad:?}");
    }
    for good in ["", " a ", "a\tb", "\u{eb}"] {
        assert!(HeaderValue::from_str(good).is_ok(), "{good:?}");
    }
    // usher asks nobody: each text has one spelling, of printable ASCII.
    for (text, value) in [
        ("zo\u{eb}", "zo%C3%AB"),
        (" a ", "%20a%20"),
        ("a\tb", "a%09b"),
        ("a\r\nb", "a%0D%0Ab"),
        ("50%", "50%25"),
    ] {
        assert_eq!(usher::headers::encode(text), value);
    }
    let stage = Stage::new("headers: { X-User-Id: id, X-User-Name: name }");
    let (_, received) = stage.passes(stage.get_as(serde_json::json!({ "name": " Zo\u{eb} " })));
    assert_eq!(received.header("x-user-name"), Some("%20Zo%C3%AB%20"));
    stage.good();
}
