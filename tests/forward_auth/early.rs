//! What is refused before a question is read, or because it is none: never in a form that a proxy
//! takes for a yes, and as its dialect says a refusal.

use std::sync::Arc;

use super::{Asked, DIALECTS, DOORS, bearer, question};
use crate::common::app::Answer;
use crate::common::authority::Authority;
use crate::common::http2::{END_STREAM, Fate, Frames};
use crate::common::tls;
use crate::common::{App, Client, Issuer, Usher, eventually};

const GOOD: Asked<'static> = Asked {
    method: "GET",
    target: "/public/x",
    host: "app.test",
    lines: "",
};

/// Few fields are too many, so that it is usher who refuses them and not the library.
const FEW: &str = "limits: { header_count: 20, target_bytes: 1KiB }\n";

/// A question that is refused before its door hears of it.
struct Trick {
    name: &'static str,
    status: u16,
    /// What is changed in the question's text.
    change: fn(&str) -> String,
}

fn with(text: &str, line: &str) -> String {
    text.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
}

fn retarget(text: &str, change: impl Fn(&str) -> String) -> String {
    let target = text.split(' ').nth(1).unwrap();
    text.replacen(target, &change(target), 1)
}

const TRICKS: [Trick; 9] = [
    Trick {
        name: "too many fields",
        status: 431,
        change: |text| with(text, &["x-a: b"; 30].join("\r\n")),
    },
    Trick {
        name: "a long target",
        status: 414,
        change: |text| retarget(text, |target| format!("{target}?{}", "a".repeat(1100))),
    },
    Trick {
        name: "two hosts",
        status: 400,
        change: |text| with(text, "host: other.test"),
    },
    Trick {
        name: "a path with two readings",
        status: 400,
        change: |text| retarget(text, |target| format!("{target}/../x")),
    },
    Trick {
        name: "an escape that is none",
        status: 400,
        change: |text| retarget(text, |target| format!("{target}/%zz")),
    },
    Trick {
        name: "an odd expectation",
        status: 417,
        change: |text| with(text, "expect: nothing"),
    },
    Trick {
        name: "a scheme that is said twice",
        status: 400,
        change: |text| with(text, "x-forwarded-proto: https\r\nx-forwarded-proto: http"),
    },
    Trick {
        name: "TRACE",
        status: 405,
        change: |text| text.replacen(text.split(' ').next().unwrap(), "TRACE", 1),
    },
    Trick {
        name: "below the path",
        status: 400,
        change: |text| {
            retarget(text, |target| {
                format!("{}//", target.trim_end_matches("/public/x"))
            })
        },
    },
];

/// A client's mistake is 403 to nginx, which makes 500 of all that it does not know.
fn expected(dialect: &str, status: u16) -> u16 {
    match dialect {
        "nginx" | "ingress" if status < 500 && status != 401 => 403,
        _ => status,
    }
}

/// The question as HTTP/2 has it, with the content type of gRPC.
fn fields(text: &str, method: &str) -> Vec<(String, String)> {
    let mut lines = text.split("\r\n").take_while(|line| !line.is_empty());
    let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
    let mut fields = vec![
        (":method".to_owned(), method.to_owned()),
        (":scheme".to_owned(), "http".to_owned()),
        (":path".to_owned(), target),
    ];
    for line in lines {
        let (name, value) = line.split_once(':').unwrap();
        let name = match name {
            "Host" => ":authority".to_owned(),
            _ => name.to_ascii_lowercase(),
        };
        fields.push((name, value.trim().to_owned()));
    }
    fields.push((
        "content-type".to_owned(),
        "application/grpc+proto".to_owned(),
    ));
    fields
}

/// Asks over HTTP/2 on a connection of its own.
fn fate(mut frames: Frames, fields: &[(String, String)]) -> Fate {
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    frames.head(1, END_STREAM, &fields);
    frames.fate(1)
}

/// usher with all doors, in the clear and within TLS.
struct House {
    usher: Usher,
    issuer: Issuer,
    config: Arc<rustls::ClientConfig>,
    _authority: Authority,
}

impl House {
    fn new(app: &App, more: &str) -> Self {
        let (authority, issuer) = (Authority::new(), Issuer::new());
        let pair = authority.server("a", &["usher.test"]);
        let listen = format!(
            "listen: [127.0.0.1:0, {{ address: '127.0.0.1:0', tls: {{ {} }} }}]\n",
            pair.yaml()
        );
        let mut config = (*tls::client(&authority.root, None)).clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Self {
            usher: Usher::start(app, &issuer, &format!("{listen}{DOORS}{more}")),
            issuer,
            config: Arc::new(config),
            _authority: authority,
        }
    }

    /// The same question over HTTP/2 in the clear, and chosen by ALPN within TLS.
    fn fates(&self, fields: &[(String, String)]) -> [Fate; 2] {
        let session = tls::connect(self.usher.others[0], "usher.test", &self.config).unwrap();
        assert_eq!(session.conn.alpn_protocol(), Some(&b"h2"[..]));
        [
            fate(Frames::connect(self.usher.address), fields),
            fate(Frames::over(session), fields),
        ]
    }
}

#[test]
fn no_refusal_looks_like_a_yes_over_http2() {
    let app = App::start();
    let house = House::new(&app, FEW);
    let token = bearer(&house.issuer.token("alice"));
    for dialect in DIALECTS {
        let good = question(
            dialect,
            &Asked {
                lines: &token,
                ..GOOD
            },
        );
        for method in ["POST", "GET"] {
            // So that what follows is no accident. Envoy has to ask over HTTP/1.1.
            let wanted = if dialect == "envoy" { 400 } else { 200 };
            let fates = house.fates(&fields(&good, method));
            assert_eq!(fates, [Fate::Answered(wanted); 2], "{dialect}");
            for trick in &TRICKS {
                let method = if trick.name == "TRACE" {
                    "TRACE"
                } else {
                    method
                };
                let fates = house.fates(&fields(&(trick.change)(&good), method));
                let wanted = Fate::Answered(expected(dialect, trick.status));
                assert_eq!(fates, [wanted; 2], "{dialect} {method}: {}", trick.name);
            }
            // What the library may refuse by itself.
            let mut odd = fields(&good, method);
            odd.push(("content-length".to_owned(), "7".to_owned()));
            odd.push(("content-length".to_owned(), "7".to_owned()));
            for fate in house.fates(&odd) {
                assert!(
                    !matches!(fate, Fate::Answered(..400)),
                    "{dialect}: {fate:?}"
                );
            }
        }
    }
    assert_eq!(app.count(), 0);
}

#[test]
fn who_is_not_trusted_hears_no_yes_over_http2() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &DOORS.replace("127.0.0.1/32", "10.9.8.7"));
    for dialect in DIALECTS {
        for method in ["POST", "GET"] {
            let fields = fields(&question(dialect, &GOOD), method);
            let fate = fate(Frames::connect(usher.address), &fields);
            assert_eq!(fate, Fate::Answered(403), "{dialect}");
        }
    }
}

#[test]
fn an_overload_and_a_loop_are_no_yes_over_http2() {
    let never = App::with(|_| Answer::Own(Box::new(|stream| drop(stream.peek(&mut [0; 1])))));
    let house = House::new(&never, "limits: { requests: 2 }\n");
    // What tells a loop is in what the app gets.
    let mut waiting: Vec<_> = (0..2).map(|_| house.usher.connect()).collect();
    for client in &mut waiting {
        client.send("GET /public/x HTTP/1.1\r\nHost: app.test\r\n\r\n");
    }
    let via = eventually("the app was asked twice", || {
        let received = never.received();
        (received.len() == 2).then(|| received[0].header("via").unwrap().to_owned())
    });
    for dialect in DIALECTS {
        let fates = house.fates(&fields(&question(dialect, &GOOD), "POST"));
        assert_eq!(fates, [Fate::Answered(503); 2], "{dialect}");
    }
    drop(waiting);
    eventually("the app is left", || {
        let fields = fields(&question("caddy", &GOOD), "GET");
        (house.fates(&fields) == [Fate::Answered(200); 2]).then_some(())
    });
    for dialect in DIALECTS {
        let question = with(&question(dialect, &GOOD), &format!("via: {via}"));
        let fates = house.fates(&fields(&question, "POST"));
        assert_eq!(fates, [Fate::Answered(508); 2], "{dialect}");
    }
}

/// A proxy that asks beside the door, or at an endpoint, hears no yes either.
#[test]
fn nobody_who_may_ask_hears_grpc() {
    let plain = |fate| matches!(fate, Fate::Answered(400..));
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, DOORS);
    for path in ["/auth", "/_usher", "/_USHER/nginx", "/x"] {
        let text = format!("POST {path} HTTP/1.1\r\nHost: app.test\r\n\r\n");
        let fate = fate(Frames::connect(usher.address), &fields(&text, "POST"));
        assert_eq!(fate, Fate::Answered(401), "{path}");
    }
    let endpoints = "endpoints: { verify: /auth/verify }\nlimits: { header_count: 20 }\n";
    let usher = Usher::start(&app, &issuer, endpoints);
    let text = "POST /auth/verify HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for text in [
        text.to_owned(),
        with(text, "expect: nothing"),
        with(text, "host: other.test"),
        with(text, &["x-a: b"; 30].join("\r\n")),
        with(text, "expect: nothing").replace("verify", "%76erify"),
    ] {
        for method in ["POST", "GET"] {
            let fate = fate(Frames::connect(usher.address), &fields(&text, method));
            assert!(plain(fate), "{method} {text}: {fate:?}");
        }
    }
    // Calls of gRPC to the app hear what gRPC says, and so does nobody else.
    let text = "POST /x HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for (method, status) in [("POST", 200), ("GET", 401), ("PUT", 401)] {
        let fate = fate(Frames::connect(usher.address), &fields(text, method));
        assert_eq!(fate, Fate::Answered(status), "{method}");
    }
    assert_eq!(app.count(), 0);
}

/// Also what cannot be read as a request at all, and its record names the door.
#[test]
fn a_clients_mistake_is_what_the_dialect_knows() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &format!("{DOORS}{FEW}"));
    for dialect in DIALECTS {
        let good = question(dialect, &GOOD);
        let tricks = TRICKS
            .iter()
            .map(|trick| (trick.name, (trick.change)(&good), trick.status));
        let unreadable = [
            (
                "a head without an end",
                with(&good, &format!("x: {}", "a".repeat(40_000))),
                431,
            ),
            ("a name that is none", with(&good, "x y: z"), 400),
            (
                "two lengths",
                with(&good, "content-length: 1\r\ncontent-length: 2"),
                400,
            ),
        ];
        for (name, text, status) in tricks.chain(unreadable) {
            let known = usher.lines().len();
            let mut client = Client::connect(usher.address);
            client.send(&text);
            let reply = client.reply().unwrap();
            assert_eq!(reply.status, expected(dialect, status), "{dialect}: {name}");
            let line = eventually("its line", || usher.lines().into_iter().nth(known));
            assert_eq!(line["door"], "forward_auth", "{dialect}: {name}");
            assert_eq!(line["status"], reply.status, "{dialect}: {name}");
        }
    }
}

/// What comes at a door and is no question is not the app's: its 200 would be a yes.
#[test]
fn what_is_nearly_a_question_is_refused() {
    let (app, issuer) = (App::start(), Issuer::new());
    let public = format!("{DOORS}  - {{ path: /**, access: public }}\n");
    let usher = Usher::start(&app, &issuer, &public);
    for dialect in DIALECTS {
        let good = question(dialect, &GOOD);
        let path = format!("/_usher/{dialect}");
        let envoy = dialect == "envoy";
        let odd = [
            "/", "/x", "//", "/auth", "%2f", "/%2e", ";x", "*", "x", "?/x", "/x?y",
        ];
        for odd in odd.into_iter().filter(|odd| envoy || odd.starts_with('/')) {
            let text = retarget(&good, |_| format!("{path}{odd}"));
            let reply = usher.raw(&text);
            // Behind Envoy's path stands a path, which is another question.
            let question = envoy && odd.starts_with('/') && !["//", "/%2e"].contains(&odd);
            let wanted = if question {
                200
            } else {
                expected(dialect, 400)
            };
            assert_eq!(reply.status, wanted, "{text}");
        }
        // Nor does another spelling of the path make a question, or lead elsewhere.
        let text = retarget(&good, |target| target.replacen("_usher", "%5fusher", 1));
        assert_eq!(usher.raw(&text).status, expected(dialect, 400), "{text}");
    }
    assert_eq!(app.count(), 0);
    usher.raw(retarget(&question("nginx", &GOOD), |_| {
        "/_usher/nginx/mark".to_owned()
    }));
    let line = usher.line("/_usher/nginx/mark");
    assert_eq!(
        [&line["reason"], &line["door"]],
        ["description_refused", "forward_auth"]
    );
    let detail = line["detail"].as_str().unwrap();
    assert!(
        detail.contains("a proxy asks at `/_usher/nginx` itself"),
        "{detail}"
    );
}
