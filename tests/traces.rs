//! W3C trace context, and spans for a collector (OTLP over HTTP).

use std::time::Duration;

use serde_json::Value;

use crate::common::app::{Answer, answer};
use crate::common::authority::Authority;
use crate::common::http2::{Http2, get, request};
use crate::common::{App, Issuer, Usher, bridge, eventually, tls};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A collector that takes everything.
fn collector() -> App {
    App::with(|_| Answer::Bytes(answer("200 OK", "content-type: application/json\r\n", "{}")))
}

fn before(app: &App, issuer: &Issuer, collector: &App, more: &str) -> Usher {
    let traces = format!(
        "traces: {{ endpoint: 'http://{}', every: 20ms{more} }}",
        collector.address
    );
    Usher::start(app, issuer, &traces)
}

/// All spans that a collector got.
fn spans(collector: &App) -> Vec<Value> {
    let messages = collector.received().into_iter().map(|received| {
        assert_eq!(received.line(), "POST /v1/traces HTTP/1.1");
        assert_eq!(received.header("content-type"), Some("application/json"));
        serde_json::from_slice::<Value>(&received.body).unwrap()
    });
    let of = |message: Value| {
        let resource = &message["resourceSpans"][0];
        let service = &resource["resource"]["attributes"][0];
        assert_eq!(service["key"], "service.name");
        resource["scopeSpans"][0]["spans"]
            .as_array()
            .unwrap()
            .clone()
    };
    messages.flat_map(of).collect()
}

/// The first span that a collector gets.
fn span(collector: &App) -> Value {
    eventually("a span", || spans(collector).into_iter().next())
}

fn attribute<'a>(span: &'a Value, key: &str) -> Option<&'a str> {
    let all = span["attributes"].as_array().unwrap();
    let found = all.iter().find(|one| one["key"] == key)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

#[test]
fn without_traces_the_context_passes_as_it_came() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let lines = "traceparent: anything at all\r\ntracestate: a=1,b=2\r\ntracestate: c=3\r\n";
    assert_eq!(
        usher.get_with("/", &issuer.token("alice"), lines).status,
        200
    );
    let seen = app.last();
    assert_eq!(seen.all("traceparent"), ["anything at all"]);
    assert_eq!(seen.all("tracestate"), ["a=1,b=2", "c=3"]);
    assert!(!usher.line("/").to_string().contains("trace"));
    assert_eq!(usher.get("/x", &issuer.token("alice")).status, 200);
    assert!(app.last().all("traceparent").is_empty());
    assert!(!usher.admin("/metrics").body.contains("usher_spans"));
}

#[test]
fn a_request_is_a_span_of_the_trace_it_came_with() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let usher = before(&app, &issuer, &collector, ", service: checkout");
    let lines = format!("traceparent: {PARENT}\r\ntracestate: vendor=1\r\n");
    let reply = usher.get_with("/orders/7?token=secret", &issuer.token("alice"), &lines);
    assert_eq!(reply.status, 200);
    let span = span(&collector);
    assert_eq!(span["traceId"], TRACE);
    assert_eq!(span["parentSpanId"], "00f067aa0ba902b7");
    assert_eq!(span["traceState"], "vendor=1");
    assert_eq!(span["kind"], 2);
    assert_eq!(span["name"], "GET default");
    assert!(span.get("status").is_none());
    let own = span["spanId"].as_str().unwrap();
    assert!(own.len() == 16 && own != "00f067aa0ba902b7", "{own}");
    let told = |key| attribute(&span, key);
    assert_eq!(told("http.request.method"), Some("GET"));
    assert_eq!(told("url.path"), Some("/orders/7"));
    assert_eq!(told("url.scheme"), Some("http"));
    assert_eq!(told("server.address"), Some("app.test"));
    assert_eq!(told("client.address"), Some("127.0.0.1"));
    assert_eq!(told("network.protocol.version"), Some("1.1"));
    assert_eq!(told("http.response.status_code"), Some("200"));
    assert_eq!(told("http.response.body.size"), Some("5"));
    assert_eq!(told("usher.outcome"), Some("forwarded"));
    assert_eq!(told("usher.reason"), None);
    let time = |key: &str| -> u64 { span[key].as_str().unwrap().parse().unwrap() };
    assert!(time("startTimeUnixNano") <= time("endTimeUnixNano"));
    assert!(time("endTimeUnixNano") - time("startTimeUnixNano") < 10_000_000_000);
    let all = span.to_string();
    assert!(!all.contains("secret") && !all.contains("alice"), "{all}");
    // The app's parent is this span.
    let seen = app.last();
    assert_eq!(
        seen.header("traceparent"),
        Some(&*format!("00-{TRACE}-{own}-01"))
    );
    assert_eq!(seen.header("tracestate"), Some("vendor=1"));
    assert_eq!(usher.line("/orders/7")["trace"], TRACE);
    let message = String::from_utf8(collector.last().body).unwrap();
    assert!(message.contains("\"checkout\""), "{message}");
    eventually("the count", || {
        (usher.metric("usher_spans_exported_total") == 1.0).then_some(())
    });
}

#[test]
fn denials_and_failures_are_told_too() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let usher = before(&app, &issuer, &collector, "");
    assert_eq!(usher.get_as_nobody("/closed").status, 401);
    let denied = span(&collector);
    assert_eq!(attribute(&denied, "usher.reason"), Some("token_missing"));
    assert_eq!(attribute(&denied, "http.response.status_code"), Some("401"));
    // That is the caller's doing.
    assert!(denied.get("status").is_none() && attribute(&denied, "error.type").is_none());
    assert!(denied.get("parentSpanId").is_none());
    let nobody = format!("127.0.0.1:{}", crate::common::free_port());
    let broken = Usher::before(
        nobody.parse().unwrap(),
        &issuer,
        &format!(
            "traces: {{ endpoint: 'http://{}', every: 20ms }}",
            collector.address
        ),
    );
    assert_eq!(broken.get("/away", &issuer.token("alice")).status, 502);
    let failed = eventually("the other span", || spans(&collector).into_iter().nth(1));
    assert_eq!(failed["status"]["code"], 2);
    assert_eq!(
        attribute(&failed, "error.type"),
        Some("upstream_unreachable")
    );
}

#[test]
fn what_is_not_sampled_passes_and_nobody_is_told() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let usher = before(&app, &issuer, &collector, ", sample: 0%");
    let token = issuer.token("alice");
    let unsampled = PARENT.replace("-01", "-00");
    let lines = format!("traceparent: {unsampled}\r\ntracestate: v=1\r\n");
    assert_eq!(usher.get_with("/a", &token, &lines).status, 200);
    assert_eq!(app.last().header("traceparent"), Some(&*unsampled));
    assert_eq!(app.last().header("tracestate"), Some("v=1"));
    // A request that begins a trace tells the app that nobody listens.
    assert_eq!(
        usher.get_with("/b", &token, "tracestate: v=1\r\n").status,
        200
    );
    let own = app.last().header("traceparent").unwrap().to_owned();
    assert!(own.starts_with("00-") && own.ends_with("-02"), "{own}");
    assert!(app.last().all("tracestate").is_empty());
    // The client's own wish counts.
    assert_eq!(
        usher
            .get_with("/c", &token, &format!("traceparent: {PARENT}\r\n"))
            .status,
        200
    );
    assert_eq!(attribute(&span(&collector), "url.path"), Some("/c"));
    assert_eq!(spans(&collector).len(), 1);
}

#[test]
fn a_context_that_cannot_be_read_begins_a_trace_anew() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let usher = before(&app, &issuer, &collector, "");
    let token = issuer.token("alice");
    let twice = format!("traceparent: {PARENT}\r\ntraceparent: {PARENT}\r\ntracestate: v=1\r\n");
    let upper = format!(
        "traceparent: {}\r\ntracestate: v=1\r\n",
        PARENT.to_uppercase()
    );
    for lines in [twice, upper] {
        assert_eq!(usher.get_with("/", &token, &lines).status, 200);
        let seen = app.last();
        let own = seen.header("traceparent").unwrap();
        assert!(own.ends_with("-03") && !own.contains(TRACE), "{own}");
        assert!(seen.all("tracestate").is_empty());
    }
}

#[test]
fn http_2_takes_part_as_well() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let usher = before(&app, &issuer, &collector, "");
    let client = Http2::connect(usher.address);
    let asked = request(http::Method::GET, "/two", &issuer.token("alice"));
    let asked = asked.header("traceparent", PARENT).body(()).unwrap();
    assert_eq!(client.ask(asked).unwrap().status, 200);
    let span = span(&collector);
    assert_eq!(span["traceId"], TRACE);
    assert_eq!(attribute(&span, "network.protocol.version"), Some("2"));
    let own = format!("00-{TRACE}-{}-01", span["spanId"].as_str().unwrap());
    assert_eq!(app.last().header("traceparent"), Some(&*own));
}

#[test]
fn a_collector_that_is_away_holds_up_nobody_and_loses_what_does_not_fit() {
    let (app, issuer) = (App::start(), Issuer::new());
    let silent = App::with(|_| {
        Answer::Own(Box::new(|stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }))
    });
    let usher = before(&app, &issuer, &silent, ", queue: 4, batch: 1, timeout: 60s");
    let token = issuer.token("alice");
    let mut client = usher.connect();
    for _ in 0..20 {
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: app.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        assert_eq!(client.reply().unwrap().status, 200);
    }
    let lost = "usher_spans_lost_total{cause=\"queue\"}";
    let count = eventually("lost spans", || {
        let count = usher.metric(lost);
        (count >= 15.0).then_some(count)
    });
    // One is with the collector, and four wait.
    assert_eq!(count, 15.0);
    assert_eq!(usher.metric("usher_spans_exported_total"), 0.0);
}

#[test]
fn a_collector_that_comes_back_gets_what_waited_and_one_that_refuses_is_left_alone() {
    let (app, issuer) = (App::start(), Issuer::new());
    let first = std::sync::atomic::AtomicBool::new(true);
    let moody = App::with(move |received| {
        let body = String::from_utf8_lossy(&received.body);
        if body.contains("/bad") {
            return Answer::Bytes(answer("400 Bad Request", "", ""));
        }
        match first.swap(false, std::sync::atomic::Ordering::SeqCst) {
            true => Answer::Bytes(answer("503 Service Unavailable", "", "")),
            false => {
                let partial = "{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}";
                Answer::Bytes(answer("200 OK", "", partial))
            }
        }
    });
    let usher = before(&app, &issuer, &moody, "");
    let token = issuer.token("alice");
    assert_eq!(usher.get("/again", &token).status, 200);
    let refused = "usher_spans_lost_total{cause=\"collector\"}";
    eventually("the second time", || (moody.count() == 2).then_some(()));
    assert_eq!(moody.received()[0].body, moody.received()[1].body);
    // It took the message, and says that it did not want the span.
    eventually("the verdict", || {
        (usher.metric(refused) == 1.0).then_some(())
    });
    assert_eq!(usher.get("/bad", &token).status, 200);
    eventually("the refusal", || {
        (usher.metric(refused) == 2.0).then_some(())
    });
    assert_eq!(moody.count(), 3, "a refusal is final");
}

#[test]
fn the_last_spans_are_sent_before_the_end_over_tls_too() {
    let (app, issuer, collector) = (App::start(), Issuer::new(), collector());
    let authority = Authority::new();
    let pair = authority.server("collector", &["localhost"]);
    let front = bridge::tls(tls::server(&pair, None), collector.address);
    let traces = format!(
        "traces: {{ endpoint: 'https://localhost:{}/v1/traces', ca_file: {}, every: 1h }}",
        front.port(),
        authority.root.display(),
    );
    let mut usher = Usher::start(&app, &issuer, &traces);
    let client = Http2::connect(usher.address);
    assert_eq!(
        client
            .ask(get("/last", &issuer.token("alice")))
            .unwrap()
            .status,
        200
    );
    assert_eq!(usher.line("/last")["status"], 200);
    assert_eq!(collector.count(), 0, "there is an hour left");
    usher.stop();
    assert_eq!(usher.ended(), usher::Ended::Drained);
    assert_eq!(attribute(&span(&collector), "url.path"), Some("/last"));
}
