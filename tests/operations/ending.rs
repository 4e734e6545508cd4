//! The end: readiness turns first, then no new connections, then what is under way finishes.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{self, Sender};

use serde_json::Value;
use usher::Ended;

use crate::common::app::{Answer, answer};
use crate::common::command::{Running, usher};
use crate::common::{App, Client, Issuer, Usher, eventually};

/// An app whose answer to `/slow` waits for the sender.
fn slow_app() -> (App, Sender<()>) {
    let (go, gone) = mpsc::channel();
    let gone = Mutex::new(Some(gone));
    let app = App::with(move |received| {
        if received.target() != "/slow" {
            return Answer::Bytes(answer("200 OK", "", "hello"));
        }
        let gone = gone.lock().unwrap().take().unwrap();
        Answer::Own(Box::new(move |mut stream| {
            // Also when the test is over.
            let _ = gone.recv();
            let _ = stream.write_all(&answer("200 OK", "", "slow"));
        }))
    });
    (app, go)
}

fn ask_slowly(address: std::net::SocketAddr, app: &App, token: &str) -> Client {
    let mut client = Client::connect(address);
    client.send(format!(
        "GET /slow HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    eventually("the slow request", || (app.count() > 0).then_some(()));
    client
}

#[test]
fn readiness_turns_first_and_requests_under_way_finish() {
    let ((app, go), issuer) = (slow_app(), Issuer::new());
    let mut usher = Usher::start(&app, &issuer, "shutdown: { pause: 1s, deadline: 20s }");
    let token = issuer.token("alice");
    let mut idle = usher.connect();
    idle.send(format!(
        "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    assert_eq!(idle.reply().unwrap().status, 200);
    let mut slow = ask_slowly(usher.address, &app, &token);
    assert_eq!(usher.admin("/readyz").status, 200);
    usher.stop();
    let report = eventually("unready", || {
        let reply = usher.admin("/readyz");
        (reply.status == 503).then_some(reply.body)
    });
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!(
        (&report["ready"], &report["draining"]),
        (&false.into(), &true.into())
    );
    // Load balancers need a moment; until they know, new requests are served.
    assert_eq!(usher.get("/", &token).status, 200);
    eventually("the end of accepting", || {
        TcpStream::connect(usher.address).is_err().then_some(())
    });
    assert!(idle.is_closed());
    assert_eq!(usher.admin("/livez").status, 200);
    go.send(()).unwrap();
    let reply = slow.reply().unwrap();
    assert_eq!((reply.status, reply.body.as_str()), (200, "slow"));
    assert_eq!(reply.header("connection"), Some("close"));
    let admin = usher.admin;
    assert_eq!(usher.ended(), Ended::Drained);
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn a_drain_has_a_deadline() {
    let ((app, _go), issuer) = (slow_app(), Issuer::new());
    let mut usher = Usher::start(&app, &issuer, "shutdown: { pause: 0s, deadline: 300ms }");
    let mut slow = ask_slowly(usher.address, &app, &issuer.token("alice"));
    usher.stop();
    assert_eq!(usher.ended(), Ended::Cut);
    assert!(slow.reply().is_none());
}

/// The real binary in front of a slow app, with a request under way.
fn with_a_slow_request(shutdown: &str) -> (Running, Client, Sender<()>) {
    let ((app, go), issuer) = (slow_app(), Issuer::new());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("usher.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://{}\nissuers: [{}]\nshutdown: {shutdown}\n",
        app.address,
        issuer.yaml()
    );
    std::fs::write(&config, text).unwrap();
    let running = Running::start(&mut usher(&["serve", "--config", config.to_str().unwrap()]));
    let slow = ask_slowly(running.address("listening"), &app, &issuer.token("alice"));
    (running, slow, go)
}

#[test]
fn sigterm_waits_for_the_request_under_way() {
    let (mut running, mut slow, go) = with_a_slow_request("{ pause: 0s, deadline: 20s }");
    running.signal("TERM");
    eventually("the drain", || {
        running.err().contains("no new connections").then_some(())
    });
    assert!(running.runs());
    go.send(()).unwrap();
    assert_eq!(slow.reply().unwrap().body, "slow");
    assert_eq!(running.ended().code(), Some(0));
    let line = eventually("the last line", || {
        running
            .out()
            .lines()
            .find(|line| line.contains("/slow"))
            .map(str::to_owned)
    });
    assert!(line.contains("\"status\":200"), "{line}");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [("TERM", "TERM"), ("INT", "TERM"), ("INT", "INT")] {
        let (mut running, mut slow, _go) = with_a_slow_request("{ pause: 60s, deadline: 60s }");
        running.signal(first);
        eventually("the drain", || {
            running.err().contains("not ready any more").then_some(())
        });
        assert!(running.runs());
        running.signal(second);
        assert_eq!(running.ended().code(), Some(0));
        assert!(slow.reply().is_none());
        assert!(running.err().contains("ended at once"), "{}", running.err());
    }
}
