//! Envoy's questions by gRPC, asked by a client of our own; tests/gateways asks them with Envoy.

use std::collections::HashMap;
use std::net::SocketAddr;

use envoy_types::ext_authz::v3::pb::{
    Address, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue,
    HeaderValueOption, HttpResponse, OkHttpResponse,
};
use envoy_types::pb::envoy::config::core::v3::socket_address::PortSpecifier;
use envoy_types::pb::envoy::config::core::v3::{self as core, HeaderMap, SocketAddress};
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{HttpRequest, Peer, Request};
use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use envoy_types::pb::google::protobuf::value::Kind;
use serde_json::json;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::common::{App, Issuer, Usher, eventually};

pub(crate) const DOOR: &str = r#"
trusted_proxies: [127.0.0.1]
ext_authz: 127.0.0.1:0
routes:
  - { path: /public/**, access: public }
  - { path: /admin/**, require: { roles: [admin] } }
  - { path: /posts, methods: [GET], access: public }
"#;

fn start(more: &str) -> (Issuer, Usher) {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &format!("{DOOR}{more}"));
    (issuer, usher)
}

/// Asks one question after the other on one connection.
fn ask_all(
    address: SocketAddr,
    questions: Vec<CheckRequest>,
) -> Vec<Result<CheckResponse, Status>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let mut client = AuthorizationClient::new(endpoint.connect().await.unwrap());
        let mut answers = Vec::new();
        for question in questions {
            let answer = client.check(question).await;
            answers.push(answer.map(tonic::Response::into_inner));
        }
        answers
    })
}

pub(crate) fn ask(usher: &Usher, question: CheckRequest) -> CheckResponse {
    let answers = ask_all(usher.ext_authz.unwrap(), vec![question]);
    answers.into_iter().next().unwrap().unwrap()
}

/// The status that Envoy hears about `GET /` with a token.
pub fn verdict(usher: &Usher, token: &str) -> u16 {
    let bearer = format!("Bearer {token}");
    let answer = ask(usher, question("/", &[("authorization", &bearer)]));
    match answer.http_response.unwrap() {
        HttpResponse::OkResponse(_) => 200,
        HttpResponse::DeniedResponse(denied) => u16::try_from(denied.status.unwrap().code).unwrap(),
        HttpResponse::ErrorResponse(_) => 0,
    }
}

/// What Envoy says of `GET` for app.test from 192.0.2.7, over TLS.
pub(crate) fn question(path: &str, headers: &[(&str, &str)]) -> CheckRequest {
    let headers = headers
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    changed(path, |http| http.headers.extend(headers))
}

pub(crate) fn changed(path: &str, change: impl FnOnce(&mut HttpRequest)) -> CheckRequest {
    let mut http = HttpRequest {
        method: "GET".to_owned(),
        path: path.to_owned(),
        host: "app.test".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        headers: HashMap::from(
            [
                (":path", path),
                (":method", "GET"),
                (":authority", "app.test"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        ),
        ..HttpRequest::default()
    };
    change(&mut http);
    let socket = SocketAddress {
        address: "192.0.2.7".to_owned(),
        port_specifier: Some(PortSpecifier::PortValue(4711)),
        ..SocketAddress::default()
    };
    let address = core::Address {
        address: Some(Address::SocketAddress(socket)),
    };
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(Peer {
                address: Some(address),
                ..Peer::default()
            }),
            request: Some(Request {
                http: Some(http),
                ..Request::default()
            }),
            ..AttributeContext::default()
        }),
    }
}

fn code(answer: &CheckResponse) -> i32 {
    answer.status.as_ref().unwrap().code
}

#[track_caller]
fn yes(answer: &CheckResponse) -> &OkHttpResponse {
    assert_eq!(code(answer), i32::from(Code::Ok), "{answer:?}");
    match answer.http_response.as_ref().unwrap() {
        HttpResponse::OkResponse(ok) => ok,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn no(answer: &CheckResponse) -> (&DeniedHttpResponse, i32) {
    assert_ne!(code(answer), i32::from(Code::Ok));
    match answer.http_response.as_ref().unwrap() {
        HttpResponse::DeniedResponse(denied) => (denied, denied.status.as_ref().unwrap().code),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn status(answer: &CheckResponse) -> i32 {
    no(answer).1
}

/// Names and values that are set, each in place of all others of the name.
fn set(ok: &OkHttpResponse) -> Vec<(&str, &str)> {
    let overwrite = i32::from(HeaderAppendAction::OverwriteIfExistsOrAdd);
    let headers = ok.headers.iter().map(|option| {
        assert_eq!(option.append_action, overwrite);
        let header = option.header.as_ref().unwrap();
        (header.key.as_str(), header.value.as_str())
    });
    headers.collect()
}

fn metadata(answer: &CheckResponse) -> Vec<(&str, &str)> {
    let fields = &answer.dynamic_metadata.as_ref().unwrap().fields;
    let mut pairs: Vec<_> = fields
        .iter()
        .map(|(name, value)| match value.kind.as_ref().unwrap() {
            Kind::StringValue(text) => (name.as_str(), text.as_str()),
            other => panic!("{other:?}"),
        })
        .collect();
    pairs.sort_unstable();
    pairs
}

#[test]
fn a_yes_sets_the_identity_and_takes_the_clients_word_away() {
    let (issuer, usher) = start("");
    let token = format!(
        "Bearer {}",
        issuer.token_with("alice", json!({ "name": null }))
    );
    let forged = [
        ("authorization", token.as_str()),
        ("x-user-id", "mallory"),
        ("x_user_id", "mallory"),
        ("x.user-email", "ceo@corp"),
        ("remote-user", "root"),
        ("x-custom", "stays"),
    ];
    let answer = ask(&usher, question("/x?y=1", &forged));
    let ok = yes(&answer);
    assert_eq!(
        set(ok),
        [
            ("x-user-id", "alice"),
            ("x-user-email", "alice@example.com")
        ]
    );
    let mut gone: Vec<_> = ok.headers_to_remove.iter().map(String::as_str).collect();
    gone.sort_unstable();
    assert_eq!(
        gone,
        [
            "authorization",
            "remote-user",
            "x-user-name",
            "x-user-provisioned",
            "x.user-email",
            "x_user_id"
        ]
    );
    assert_eq!(metadata(&answer), [("issuer", "idp"), ("subject", "alice")]);
    let line = usher.line("/x");
    assert_eq!(
        [&line["door"], &line["client"], &line["host"]],
        ["ext_authz", "192.0.2.7", "app.test"]
    );
    assert_eq!([&line["outcome"], &line["user"]], ["answered", "alice"]);

    let answer = ask(&usher, question("/public/x", &forged));
    let ok = yes(&answer);
    assert_eq!(set(ok), []);
    for name in [
        "x-user-id",
        "x-user-email",
        "x_user_id",
        "remote-user",
        "authorization",
    ] {
        assert!(
            ok.headers_to_remove.iter().any(|gone| gone == name),
            "{name}"
        );
    }
    assert_eq!(metadata(&answer), []);
}

#[test]
fn a_no_is_what_a_proxied_request_would_get() {
    let (issuer, usher) = start("");
    let token = format!("Bearer {}", issuer.token("alice"));
    let cases = [
        (
            question("/x", &[]),
            401,
            Code::Unauthenticated,
            "token_missing",
        ),
        (
            question("/x", &[("authorization", "Bearer bad")]),
            401,
            Code::Unauthenticated,
            "token_malformed",
        ),
        (
            question("/admin/x", &[("authorization", &token)]),
            403,
            Code::PermissionDenied,
            "insufficient_scope",
        ),
        (
            question("/public/../x", &[]),
            400,
            Code::InvalidArgument,
            "bad_path",
        ),
        (
            question("/public#/x", &[]),
            400,
            Code::InvalidArgument,
            "bad_target",
        ),
    ];
    for (question, wanted, grpc, reason) in cases {
        let answer = ask(&usher, question);
        let (denied, status) = no(&answer);
        assert_eq!(
            (status, code(&answer)),
            (wanted, i32::from(grpc)),
            "{reason}"
        );
        assert_eq!(metadata(&answer), [("reason", reason)]);
        let header = |name: &str| {
            let mut headers = denied
                .headers
                .iter()
                .filter_map(|option| option.header.as_ref());
            headers
                .find(|header| header.key == name)
                .map(|header| header.value.as_str())
        };
        assert_eq!(
            header("www-authenticate").is_some(),
            wanted == 401 || wanted == 403
        );
        assert_eq!(header("cache-control"), Some("no-store"));
        assert!(denied.body.starts_with("{\"error\":\""), "{}", denied.body);
        assert!(
            denied.headers.iter().all(|option| !option
                .header
                .as_ref()
                .unwrap()
                .key
                .contains("user"))
        );
    }
}

#[test]
fn the_rules_are_about_what_envoy_describes() {
    let (issuer, usher) = start("");
    let token = format!("Bearer {}", issuer.token("alice"));
    let with = |path: &str, change: fn(&mut HttpRequest)| ask(&usher, changed(path, change));
    yes(&with("/posts?page=2", |_| {}));
    assert_eq!(
        status(&with("/posts", |http| http.method = "POST".to_owned())),
        401
    );
    assert_eq!(status(&with("/admin?/public/", |_| {})), 401);
    for method in ["CONNECT", "TRACE", "", "GE T"] {
        let answer = ask(
            &usher,
            changed("/public/x", |http| http.method = method.to_owned()),
        );
        assert!([400, 405].contains(&status(&answer)), "{method}");
    }
    for path in [
        "",
        "*",
        "public/x",
        "http://app.test/public/x",
        "/public/%",
        "/public/\u{e9}",
        "/a b",
        "//x",
    ] {
        let answer = ask(&usher, question(path, &[]));
        assert_eq!(status(&answer), 400, "{path}");
    }
    assert_eq!(
        status(&with("/public/x", |http| http.host = "a,b".to_owned())),
        400
    );
    assert_eq!(status(&with("/public/x", |http| http.host.clear())), 400);
    assert_eq!(
        status(&with("/public/x", |http| http.scheme = "ftp".to_owned())),
        400
    );
    // Envoy joins lines of one name, unless it sends them raw: neither is one token.
    let joined = format!("{token},{token}");
    assert_eq!(
        status(&ask(&usher, question("/x", &[("authorization", &joined)]))),
        401
    );
    let raw = |lines: &[(&str, &[u8])]| {
        let line = |(key, value): &(&str, &[u8])| HeaderValue {
            key: (*key).to_owned(),
            raw_value: value.to_vec(),
            ..HeaderValue::default()
        };
        let headers = lines.iter().map(line).collect();
        ask(
            &usher,
            changed("/x", |http| http.header_map = Some(HeaderMap { headers })),
        )
    };
    let token = token.as_bytes();
    yes(&raw(&[
        (":path", b"/public/x"),
        ("authorization", token),
        ("x", b"\xff"),
    ]));
    assert_eq!(
        status(&raw(&[("authorization", token), ("authorization", token)])),
        400
    );
    assert_eq!(
        status(&raw(&[("authorization", token), ("x", b"a\r\nb")])),
        400
    );
    assert_eq!(
        status(&raw(&[("authorization", token), ("host", b"evil.test")])),
        400
    );
    // Nothing at all is a no, and no error that a proxy could take for a yes.
    assert_eq!(status(&ask(&usher, CheckRequest::default())), 400);
    let empty = CheckRequest {
        attributes: Some(AttributeContext::default()),
    };
    assert_eq!(status(&ask(&usher, empty)), 400);
}

#[test]
fn the_token_is_taken_from_wherever_it_was() {
    let from =
        "tokens: { from: [authorization, { cookie: s }, { header: x-token }, { query: t }] }\n";
    let (issuer, usher) = start(from);
    let token = issuer.token("alice");
    let answer = ask(
        &usher,
        question("/x", &[("cookie", &format!("a=b; s={token}; c=d"))]),
    );
    assert!(
        set(yes(&answer)).contains(&("cookie", "a=b; c=d")),
        "{answer:?}"
    );
    let answer = ask(&usher, question("/x", &[("cookie", &format!("s={token}"))]));
    assert!(
        yes(&answer)
            .headers_to_remove
            .iter()
            .any(|gone| gone == "cookie")
    );
    let answer = ask(&usher, question("/x", &[("x-token", &token)]));
    assert!(
        yes(&answer)
            .headers_to_remove
            .iter()
            .any(|gone| gone == "x-token")
    );
    let answer = ask(&usher, question(&format!("/x?a=b&t={token}&c=d"), &[]));
    assert_eq!(yes(&answer).query_parameters_to_remove, ["t"]);
    let (issuer, usher) = start("tokens: { pass: true }\n");
    let bearer = format!("Bearer {}", issuer.token("alice"));
    let answer = ask(&usher, question("/x", &[("authorization", &bearer)]));
    assert!(
        !yes(&answer)
            .headers_to_remove
            .iter()
            .any(|gone| gone == "authorization")
    );
}

#[test]
fn only_trusted_proxies_may_ask() {
    let elsewhere = DOOR.replace("[127.0.0.1]", "[10.9.8.7]");
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, &elsewhere);
    let small = question("/public/x", &[]);
    // Nobody reads what a stranger says, so nobody finds it too long.
    let long = question("/public/x", &[("x-long", &"x".repeat(1 << 20))]);
    let answers = ask_all(usher.ext_authz.unwrap(), vec![small, long]);
    for answer in answers {
        assert_eq!(answer.unwrap_err().code(), Code::PermissionDenied);
    }
    let lines = eventually("two access lines", || {
        Some(usher.lines()).filter(|lines| lines.len() == 2)
    });
    for line in lines {
        assert_eq!(
            [&line["reason"], &line["door"]],
            ["proxy_untrusted", "ext_authz"]
        );
    }
}

/// What a user asks in a crowd: sometimes without a token, or for what is public or an admin's.
fn of_the_crowd(user: usize, token: &str) -> (CheckRequest, i32, bool) {
    let bearer = format!("Bearer {token}");
    let with = [("authorization", bearer.as_str())];
    match user % 5 {
        0 => (question("/public/x", &with), 0, false),
        1 => (question("/admin/x", &with), 403, false),
        2 => (question("/x", &[]), 401, false),
        _ => (question("/x", &with), 0, true),
    }
}

/// As Envoy does: one connection, on which very many questions are under way.
#[test]
fn thousands_of_users_at_once_on_one_connection_are_told_apart() {
    const USERS: usize = 3000;
    let (issuer, usher) = start("");
    let tokens = (0..USERS).map(|user| issuer.token(&format!("user-{user}")));
    let tokens: Vec<_> = tokens.collect();
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let address = usher.ext_authz.unwrap();
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect().await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        for (user, token) in tokens.into_iter().enumerate() {
            let mut client = AuthorizationClient::new(channel.clone());
            all.spawn(async move {
                let (question, wanted, known) = of_the_crowd(user, &token);
                let answer = client.check(question).await.unwrap().into_inner();
                if wanted != 0 {
                    return assert_eq!(status(&answer), wanted);
                }
                let set = set(yes(&answer));
                let id = set.iter().find(|(name, _)| *name == "x-user-id");
                let name = format!("user-{user}");
                assert_eq!(id, known.then_some(&("x-user-id", name.as_str())));
            });
        }
        let mut answered = 0;
        while let Some(done) = all.join_next().await {
            done.unwrap();
            answered += 1;
        }
        assert_eq!(answered, USERS);
    });
}

/// All that usher would have taken out itself, and nothing that Envoy needs or says.
#[test]
fn a_yes_removes_what_would_not_have_been_forwarded() {
    let (issuer, usher) = start("limits: { header_count: 300 }\n");
    let token = format!("Bearer {}", issuer.token("alice"));
    let mut sent = vec![("authorization", token.as_str())];
    let plain: Vec<_> = usher::headers::guarded().collect();
    let odd: Vec<_> = plain
        .iter()
        .filter(|name| name.contains('-'))
        .map(|name| name.replace('-', "_"))
        .collect();
    sent.extend(plain.iter().map(|name| (*name, "http")));
    sent.extend(odd.iter().map(|name| (name.as_str(), "http")));
    sent.extend([
        ("x-mine", "stays"),
        ("connection", "x-nominated"),
        ("x-nominated", "goes"),
    ]);
    sent.retain(|(name, _)| *name != "expect");
    let answer = ask(&usher, question("/x", &sent));
    let ok = yes(&answer);
    let gone = |name: &str| {
        ok.headers_to_remove
            .iter()
            .filter(|gone| *gone == name)
            .count()
    };
    let kept = [
        "connection",
        "expect",
        "te",
        "transfer-encoding",
        "upgrade",
        "x-envoy-external-address",
        "x-envoy-internal",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-mine",
    ];
    let set: Vec<_> = set(ok).into_iter().map(|(name, _)| name).collect();
    let mut names = 0;
    for name in sent.iter().map(|(name, _)| *name) {
        let wanted = usize::from(!kept.contains(&name) && !set.contains(&name));
        assert_eq!(gone(name), wanted, "{name}");
        names += 1;
    }
    assert!(names > 170, "{names}");
    // Also where Envoy's own client is a proxy that is trusted.
    let local = |path: &str, name: &str| {
        let mut question = question(path, &[(name, "evil.test"), ("authorization", &token)]);
        let peer = question
            .attributes
            .as_mut()
            .unwrap()
            .source
            .as_mut()
            .unwrap();
        let address = peer.address.as_mut().unwrap().address.as_mut().unwrap();
        let Address::SocketAddress(socket) = address else {
            panic!("{address:?}");
        };
        socket.address = "127.0.0.1".to_owned();
        ask(&usher, question)
    };
    for name in [
        "x-forwarded-host",
        "forwarded",
        "x-original-url",
        "x-rewrite-url",
    ] {
        let answer = local("/x", name);
        assert!(
            yes(&answer).headers_to_remove.contains(&name.to_owned()),
            "{name}"
        );
    }
}

#[test]
fn pages_hear_what_they_may_read() {
    let routes =
        "  - { path: /pages/**, cors: ['https://page.test'] }\n  - { path: /own/**, cors: pass }\n";
    let (issuer, usher) = start(routes);
    let token = format!("Bearer {}", issuer.token("alice"));
    let page = ("origin", "https://page.test");
    let preflight = |path: &str, origin: &str| {
        let lines = [("origin", origin), ("access-control-request-method", "PUT")];
        let mut question = question(path, &lines);
        let attributes = question.attributes.as_mut().unwrap();
        let http = attributes.request.as_mut().unwrap().http.as_mut().unwrap();
        http.method = "OPTIONS".to_owned();
        ask(&usher, question)
    };
    let fields = |options: &[HeaderValueOption]| {
        let pairs = options.iter().map(|option| {
            let header = option.header.as_ref().unwrap();
            (
                header.key.clone(),
                header.value.clone(),
                option.append_action,
            )
        });
        pairs.collect::<Vec<_>>()
    };
    let value = |options: &[HeaderValueOption], name: &str| {
        let found = fields(options).into_iter().find(|(key, ..)| key == name);
        found.map(|(_, value, _)| value)
    };
    let answer = preflight("/pages/x", "https://page.test");
    let (denied, status) = no(&answer);
    assert_eq!(status, 204);
    for (name, wanted) in [
        ("access-control-allow-origin", "https://page.test"),
        ("access-control-allow-methods", "PUT"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(value(&denied.headers, name).as_deref(), Some(wanted));
    }
    // Each line of a list stays.
    let vary: Vec<_> = fields(&denied.headers)
        .into_iter()
        .filter(|(name, ..)| name == "vary")
        .collect();
    assert_eq!(vary.len(), 3, "{vary:?}");
    let append = i32::from(HeaderAppendAction::AppendIfExistsOrAdd);
    assert!(vary[1..].iter().all(|(.., how)| *how == append), "{vary:?}");
    assert_eq!(metadata(&answer), []);
    assert_eq!(usher.line("/pages/x")["outcome"], "answered");
    let answer = preflight("/pages/x", "https://evil.test");
    assert_eq!(
        value(&no(&answer).0.headers, "access-control-allow-origin"),
        None
    );
    yes(&preflight("/own/x", "https://page.test"));
    assert_eq!(self::status(&preflight("/x", "https://page.test")), 401);

    let answer = ask(&usher, question("/pages/x", &[page]));
    let allowed = value(&no(&answer).0.headers, "access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some("https://page.test"));
    let answer = ask(
        &usher,
        question("/pages/x", &[page, ("authorization", &token)]),
    );
    let told = &yes(&answer).response_headers_to_add;
    let allowed = value(told, "access-control-allow-origin");
    assert_eq!(allowed.as_deref(), Some("https://page.test"));
    let vary = fields(told).into_iter().find(|(name, ..)| name == "vary");
    assert_eq!(vary, Some(("vary".to_owned(), "origin".to_owned(), append)));
    for path in ["/own/x", "/x"] {
        let answer = ask(&usher, question(path, &[page, ("authorization", &token)]));
        assert_eq!(yes(&answer).response_headers_to_add, [], "{path}");
    }
}

#[test]
fn a_drain_lets_questions_finish() {
    let (_issuer, mut usher) = start("");
    let answer = ask(&usher, question("/public/x", &[]));
    yes(&answer);
    usher.stop();
    assert_eq!(usher.ended(), usher::Ended::Drained);
}
