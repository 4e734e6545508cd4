//! The access log: one line a request, in JSON, whatever the request.

use std::io::Write;
use std::sync::Mutex;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::common::app::{Answer, answer};
use crate::common::{App, Issuer, Usher, eventually};

fn names(line: &Value) -> Vec<&str> {
    let mut names: Vec<_> = line
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

#[test]
fn a_line_tells_who_asked_what_and_how_it_ended() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "routes: [{ path: /open, access: public, name: lobby }]",
    );
    let token = issuer.token("alice");
    assert_eq!(usher.get("/good?secret=1", &token).status, 200);
    assert_eq!(usher.get_as_nobody("/open").status, 200);
    assert_eq!(usher.get_as_nobody("/bad").status, 401);
    let line = usher.line("/good");
    let always = [
        "bytes", "client", "host", "kind", "level", "method", "outcome", "path", "route",
        "seconds", "status", "time",
    ];
    let sorted = |more: &[&'static str]| {
        let mut names = [&always, more].concat();
        names.sort_unstable();
        names
    };
    assert_eq!(names(&line), sorted(&["issuer", "user", "token"]));
    let expected = json!({
        "kind": "access", "level": "info", "method": "GET", "host": "app.test", "path": "/good",
        "status": 200, "outcome": "forwarded", "issuer": "idp", "user": "alice", "bytes": 5,
        "client": "127.0.0.1", "token": usher::identify::fingerprint(&token).to_string(),
    });
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&line[name], value, "{name}");
    }
    assert!(line["seconds"].as_f64().unwrap() < 10.0);
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    let line = usher.line("/open");
    assert_eq!(names(&line), sorted(&[]));
    assert_eq!(line["route"], "lobby");
    let line = usher.line("/bad");
    assert_eq!(names(&line), sorted(&["reason", "detail"]));
    assert_eq!(
        (&line["outcome"], &line["status"]),
        (&json!("denied"), &json!(401))
    );
}

#[test]
fn each_request_leaves_one_line_when_its_answer_ends() {
    let (half, halves) = mpsc::channel::<()>();
    let halves = Mutex::new(Some(halves));
    let app = App::with(move |received| {
        let Some(halves) = halves
            .lock()
            .unwrap()
            .take()
            .filter(|_| received.target() == "/slow")
        else {
            return Answer::Bytes(answer("200 OK", "", "hello"));
        };
        Answer::Own(Box::new(move |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
                .unwrap();
            halves.recv().unwrap();
            stream.write_all(b"67890").unwrap();
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let mut slow = usher.connect();
    slow.send(format!(
        "GET /slow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    eventually("the slow request", || (app.count() == 1).then_some(()));
    // Lines come in order: were there one for the slow request, it would be before this one.
    for number in 0..20 {
        assert_eq!(usher.get(&format!("/{number}"), &token).status, 200);
    }
    usher.line("/19");
    assert_eq!(usher.lines().len(), 20);
    assert_eq!(usher.metric("usher_requests_in_flight"), 1.0);
    half.send(()).unwrap();
    assert_eq!(slow.reply().unwrap().body, "1234567890");
    assert_eq!(usher.line("/slow")["bytes"], 10);
    assert_eq!(usher.lines().len(), 21);
}

#[test]
fn an_answer_that_broke_off_is_told() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(Some(gone));
    let app = App::with(move |_| {
        let gone = gone.lock().unwrap().take().unwrap();
        Answer::Own(Box::new(move |mut stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345")
                .unwrap();
            gone.recv().unwrap();
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    let token = issuer.token("alice");
    client.send(format!(
        "GET /cut HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    client.until("12345");
    go.send(()).unwrap();
    assert_eq!(client.rest(), "");
    let line = usher.line("/cut");
    assert_eq!(line["bytes"], 5);
    assert!(line["cut"].is_string(), "{line}");
}

#[test]
fn a_client_that_left_is_told() {
    let app = App::with(|_| {
        Answer::Own(Box::new(|mut stream| {
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        }))
    });
    let issuer = Issuer::new();
    let usher = Usher::start(&app, &issuer, "");
    let mut client = usher.connect();
    let token = issuer.token("alice");
    client.send(format!(
        "GET /left HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    eventually("the request", || (app.count() == 1).then_some(()));
    drop(client);
    assert_eq!(usher.line("/left")["reason"], "client_gone");
}

#[test]
fn nobody_can_write_a_line_of_their_own() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let heads: [&[u8]; 10] = [
        b"GET /a%0a%7b%22kind%22:%22access%22%7d HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\"}{\"kind\":\"x HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\\n\\u000a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\u{2028}\u{85}\u{202e} HTTP/1.1\r\nHost: a\r\n\r\n".as_bytes(),
        b"GET / HTTP/1.1\r\nHost: a\"}{\"x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: \x1b[31m\"}\r\n\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: a\r\n\r\n",
        b"A\"B / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    let mut answered = 0;
    for head in heads {
        let mut client = usher.connect();
        client.send(head);
        if client
            .reply()
            .is_some_and(|reply| reply.head.contains("application/json"))
        {
            answered += 1;
        }
    }
    let evil = issuer.token_with("alice", json!({ "sub": "a\",\"kind\":\"x\u{202e}" }));
    assert_eq!(usher.get("/evil", &evil).status, 200);
    answered += 1;
    usher.line("/evil");
    let text = usher.text();
    let obeyed = |c: char| c != '\n' && (c.is_control() || "\u{2028}\u{202e}".contains(c));
    assert!(!text.contains(obeyed), "{text:?}");
    let lines = usher.lines();
    assert_eq!(lines.len(), answered, "{lines:#?}");
    assert!(answered > 5);
    for line in lines {
        assert_eq!(line["kind"], "access");
    }
}

#[test]
fn lines_for_people_are_lines_too() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "log: { format: text }");
    let token = issuer.token("a\u{202e}\u{1b}b");
    assert_eq!(usher.get("/control", &token).status, 401);
    assert_eq!(usher.get_as_nobody("/\u{202e}\u{2028}").status, 400);
    let token = issuer.token("\u{202e}x");
    assert_eq!(usher.get("/mirror", &token).status, 200);
    let text = eventually("three lines", || {
        let text = usher.text();
        (text.lines().count() == 3).then_some(text)
    });
    assert!(
        text.contains(" 401 GET /control ") && text.contains("reason=\"identity_refused\""),
        "{text}"
    );
    // Who it was is what one looks for first.
    let passed = text
        .lines()
        .find(|line| line.contains(" /mirror "))
        .unwrap();
    let fingerprint = usher::identify::fingerprint(&token).to_string();
    let (time, rest) = passed.split_once(' ').unwrap();
    assert!(
        time.ends_with('Z') && rest.starts_with("127.0.0.1 200 GET /mirror "),
        "{passed}"
    );
    let size = rest.split(' ').nth(4).unwrap().strip_suffix('B').unwrap();
    assert!(size.parse::<u64>().unwrap() > 0, "{passed}");
    for said in [
        " route=\"default\"".to_owned(),
        format!(" token=\"{fingerprint}\""),
    ] {
        assert!(passed.contains(&said), "{passed}");
    }
    assert!(
        text.chars()
            .all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')),
        "{text:?}"
    );
}

#[test]
fn lines_can_be_switched_off() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "log: { access: false }");
    for _ in 0..3 {
        assert_eq!(usher.get("/", &issuer.token("alice")).status, 200);
    }
    assert_eq!(usher.get_as_nobody("/").status, 401);
    assert_eq!(usher.text(), "");
    assert_eq!(usher.metric("usher_requests_in_flight"), 0.0);
}
