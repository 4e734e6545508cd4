//! Every reason for a denial happens: each is made to, over the wire, and told by its id.

use serde_json::json;
use usher::denial::Reason;

use crate::common::app::{Answer, answer};
use crate::common::issuer::now;
use crate::common::redis::Redis;
use crate::common::{App, Introspector, Issuer, KeyServer, Mood, Usher, eventually};

/// Where the requests of these tests go, so that their access lines are found.
const PATH: &str = "/denied";

/// An usher that has denied something on [`PATH`].
struct Scene {
    usher: Usher,
    /// The status that the client saw, if it was still there.
    status: Option<u16>,
}

/// What most scenes are made of.
struct Stage {
    app: App,
    issuer: Issuer,
    folder: tempfile::TempDir,
}

impl Stage {
    fn new() -> Self {
        Self::with(App::start())
    }

    /// The app hangs, after taking the request.
    fn hanging() -> Self {
        let hang = |mut stream| {
            let _ = std::io::Read::read(&mut stream, &mut [0]);
        };
        Self::with(App::with(move |_| Answer::Own(Box::new(hang))))
    }

    fn with(app: App) -> Self {
        Self {
            app,
            issuer: Issuer::new(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn usher(&self, more: &str) -> Usher {
        Usher::start(&self.app, &self.issuer, more)
    }

    /// With users in SQLite; `members` of `users`, each followed by a comma.
    fn users(&self, members: &str, more: &str) -> Usher {
        let path = self.folder.path().join("users.db");
        self.usher(&format!(
            "users: {{ {members} directory: \"sqlite:{}\" }}\n{more}",
            path.display()
        ))
    }

    /// With revocations that are told there.
    fn revoking(&self, stream: &str) -> Usher {
        let issuer = self.issuer.yaml_with(", max_token_life: 1h");
        Usher::configured(&format!(
            "upstream: http://{}\nissuers: [{issuer}]\n\
             revocation: {{ stream: \"{stream}\" }}\n",
            self.app.address
        ))
    }

    fn token(&self) -> String {
        self.issuer.token("alice")
    }
}

/// External users, whose endpoints are below [`PATH`].
struct External {
    folder: tempfile::TempDir,
}

impl External {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("accounts.db")
    }

    fn usher(&self, stage: &Stage, more: &str) -> Usher {
        use crate::accounts::stage::{ACCESS, CUSTOMER, REFRESH};
        let key = json!(CUSTOMER.public_pem());
        stage.usher(&format!(
            "accounts: \"sqlite:{}\"\nprojects: [{{ id: acme, public_key: {key} }}, {{ id: bare }}]\n\
             issued_tokens: {{ access: {{ secret: {ACCESS} }}, refresh: {{ secret: {REFRESH} }}, max_body: 4KiB }}\n\
             endpoints: {{ base_path: {PATH} }}\n{more}",
            self.file().display()
        ))
    }

    fn sql(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.execute_batch(sql).unwrap();
    }

    fn post(&self, path: &str, body: &str) -> String {
        crate::accounts::stage::request(&format!("{PATH}/{path}"), body, "")
    }

    /// A request with this body is denied.
    fn asks(&self, path: &str, body: &str) -> Scene {
        let usher = self.usher(&Stage::new(), "");
        bytes(usher, self.post(path, body))
    }

    fn login(&self, usher: &Usher) -> serde_json::Value {
        let claims = json!({ "sub": "u", "iss": "acme", "exp": now() + 300, "userData": {} });
        let jwt = crate::accounts::stage::CUSTOMER.token(claims.to_string());
        let body = json!({ "userJwt": jwt }).to_string();
        let reply = usher.raw(self.post("acme/auth/verify-external-user", &body));
        serde_json::from_str(&reply.body).unwrap()
    }

    fn access(&self, usher: &Usher) -> String {
        self.login(usher)["accessToken"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A body with a refresh token.
    fn refresh(&self, usher: &Usher) -> String {
        json!({ "refreshToken": self.login(usher)["refreshToken"] }).to_string()
    }
}

/// A head for [`PATH`] with these lines.
fn head(line: &str, lines: &str) -> String {
    format!("{line} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A request in these bytes is denied.
fn bytes(usher: Usher, bytes: impl AsRef<[u8]>) -> Scene {
    let status = Some(usher.raw(bytes).status);
    Scene { usher, status }
}

/// A request with these lines is denied.
fn lines(usher: Usher, lines: &str) -> Scene {
    let head = head(&format!("GET {PATH}"), lines);
    bytes(usher, head)
}

/// A request with this token is denied.
fn token(more: &str, make: impl FnOnce(&Issuer) -> String) -> Scene {
    let stage = Stage::new();
    let token = make(&stage.issuer);
    lines(stage.usher(more), &bearer(&token))
}

/// A request with a token of these claims is denied.
fn claims(more: serde_json::Value) -> Scene {
    token("", |issuer| issuer.token_with("alice", more))
}

/// A request with a good token is denied.
fn good(stage: &Stage, usher: Usher) -> Scene {
    lines(usher, &bearer(&stage.token()))
}

/// A token that its issuer is asked about, who is in this mood and does not know it.
fn opaque(mood: Mood) -> Scene {
    let server = Introspector::start();
    server.set_mood(mood);
    let usher = Usher::configured(&format!(
        "upstream: http://127.0.0.1:9\nissuers: [{{ name: idp, audiences: any, introspection: {{ \
         url: \"{}\", client_id: usher, client_secret: x }} }}]\n",
        server.url()
    ));
    lines(usher, &bearer("opaque"))
}

/// Makes it happen; `None` where nothing that a client sends can: `Internal` is our own mistake.
fn scene(reason: Reason) -> Option<Scene> {
    Some(match reason {
        Reason::Internal => return None,
        Reason::RequestMalformed => bytes(
            Stage::new().usher(""),
            head(&format!("GET {PATH}"), "Broken : field\r\n"),
        ),
        Reason::BadTarget => {
            let usher = Stage::new().usher("");
            bytes(
                usher,
                format!("GET ftp://app.test{PATH} HTTP/1.1\r\nHost: app.test\r\n\r\n"),
            )
        }
        Reason::BadPath => {
            let usher = Stage::new().usher("");
            bytes(usher, head(&format!("GET {PATH}/.."), ""))
        }
        Reason::BadHost => bytes(
            Stage::new().usher(""),
            format!("GET {PATH} HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        ),
        Reason::BadFraming => lines(
            Stage::new().usher(""),
            "Transfer-Encoding: gzip, chunked\r\n",
        ),
        Reason::ProxyUntrusted => {
            let doors = format!(
                "trusted_proxies: [10.9.8.7]\nforward_auth: {{ path: {PATH}, dialect: nginx }}"
            );
            lines(Stage::new().usher(&doors), "")
        }
        Reason::DescriptionRefused => {
            let doors = format!(
                "trusted_proxies: [127.0.0.1]\nforward_auth: {{ path: {PATH}, dialect: caddy }}"
            );
            lines(Stage::new().usher(&doors), "")
        }
        Reason::HeaderRefused => {
            let doors =
                "trusted_proxies: [127.0.0.1]\nforward_auth: { path: /door, dialect: caddy }";
            let question = format!(
                "GET /door HTTP/1.1\r\nHost: usher\r\nX-Forwarded-Method: GET\r\nX-Forwarded-Uri: {PATH}\r\n\
                 X-Forwarded-Host: app.test\r\nX-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.7\r\n\
                 X--User-Id: root\r\n\r\n"
            );
            bytes(Stage::new().usher(doors), question)
        }
        Reason::TokenTwice => lines(Stage::new().usher(""), &bearer("x").repeat(2)),
        Reason::TokenMissing => lines(Stage::new().usher(""), ""),
        Reason::SchemeRefused => lines(Stage::new().usher(""), "Authorization: Basic YTpi\r\n"),
        Reason::TokenTooLarge => token("", |_| "x".repeat(9000)),
        Reason::TokenMalformed => token("", |_| "x".to_owned()),
        Reason::TokenInactive => opaque(Mood::Good),
        Reason::IntrospectionUnavailable => opaque(Mood::Bytes(answer("500 Oops", "", ""))),
        Reason::TokenHeaderRefused => token("", |issuer| {
            let header = r#"{"alg":"ES256","crit":["x"]}"#;
            crate::common::Signer::of(issuer).seal(header, "{}")
        }),
        Reason::AlgorithmRefused => token("", |issuer| {
            let claims = serde_json::Value::Object(issuer.claims("alice", json!({})));
            crate::common::Signer::new("HS256", b"secret").token(claims.to_string())
        }),
        Reason::IssuerUnknown => claims(json!({ "iss": "https://evil.test/" })),
        Reason::KeyUnknown => token("", |_| Issuer::with_kid("other").token("alice")),
        Reason::SignatureRefused => token("", |_| Issuer::new().token("alice")),
        Reason::TokenExpired => claims(json!({ "exp": now() - 1 })),
        Reason::TokenNotYetValid => claims(json!({ "nbf": now() + 100 })),
        Reason::AudienceRefused => claims(json!({ "aud": "other" })),
        Reason::ClaimRefused => claims(json!({ "exp": "soon" })),
        Reason::IdMissing => claims(json!({ "sub": null })),
        Reason::TokenRevoked => {
            let stage = Stage::new();
            let token = stage.token();
            let file = stage.folder.path().join("revoked");
            let print = usher::identify::fingerprint(&token);
            std::fs::write(&file, format!("v1 {print} - -\n")).unwrap();
            let usher = stage.revoking(&format!("file:{}", file.display()));
            eventually("a ready usher", || {
                (usher.admin("/readyz").status == 200).then_some(())
            });
            lines(usher, &bearer(&token))
        }
        Reason::RevocationsUnavailable => {
            let stage = Stage::new();
            let usher = stage.revoking("redis://127.0.0.1:9");
            good(&stage, usher)
        }
        Reason::CertificateMismatch => {
            let thumbprint = "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
            claims(json!({ "cnf": { "x5t#S256": thumbprint } }))
        }
        Reason::IdentityRefused => claims(json!({ "sub": "a\nb" })),
        Reason::IdentityTooLarge => {
            let long = json!({ "email": "e".repeat(300) });
            token("limits: { identity_bytes: 256 }", |issuer| {
                issuer.token_with("alice", long)
            })
        }
        Reason::InsufficientScope => {
            let stage = Stage::new();
            let usher = stage.usher("routes: [{ path: /**, require: { roles: [admin] } }]");
            good(&stage, usher)
        }
        Reason::CrossSite => {
            let stage = Stage::new();
            let usher = stage.usher("tokens: { from: [{ cookie: session }] }");
            let cookie = format!("Cookie: session={}\r\nContent-Length: 0\r\n", stage.token());
            bytes(usher, head(&format!("POST {PATH}"), &cookie))
        }
        Reason::IdentityConflict => {
            let stage = Stage::new();
            let usher = stage.users("provisioner: direct, match: id_or_email,", "");
            assert_eq!(usher.get("/first", &stage.token()).status, 200);
            let claims = json!({ "email": "alice@example.com" });
            lines(usher, &bearer(&stage.issuer.token_with("bob", claims)))
        }
        Reason::UserUnknown => {
            let stage = Stage::new();
            let usher = stage.users("provisioner: none,", "");
            good(&stage, usher)
        }
        Reason::UserRefused => {
            let stage = Stage::new();
            let usher = stage.users("provisioner: direct,", "");
            lines(usher, &bearer(&stage.issuer.token(&"a".repeat(1025))))
        }
        Reason::RateLimited => {
            let stage = Stage::new();
            let members = "provisioner: \"redis://127.0.0.1:9\", ensure_per_minute: 1,";
            let usher = stage.users(members, &format!("endpoints: {{ ensure_user: {PATH} }}"));
            let post = head(
                &format!("POST {PATH}"),
                &format!("{}Content-Length: 0\r\n", bearer(&stage.token())),
            );
            usher.raw(&post);
            bytes(usher, post)
        }
        Reason::UserPending => {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let redis = runtime.block_on(Redis::start());
            let stage = Stage::new();
            let usher = stage.users(
                &format!("provisioner: \"{}\", wait: 200ms,", redis.url()),
                "",
            );
            good(&stage, usher)
        }
        Reason::UsersUnavailable => {
            let stage = Stage::new();
            let usher = stage.users("provisioner: \"redis://127.0.0.1:9\",", "");
            good(&stage, usher)
        }
        Reason::ProjectRefused => {
            let stage = Stage::new();
            let external = External::new();
            let usher = external.usher(&stage, "");
            let token = external.access(&usher);
            lines(usher, &bearer(&token))
        }
        Reason::AccountSuspended => {
            let stage = Stage::new();
            let external = External::new();
            let routes = format!("routes: [{{ path: {PATH}, projects: [acme], suspended: deny }}]");
            let usher = external.usher(&stage, &routes);
            let token = external.access(&usher);
            external.sql(
                "INSERT INTO usher_suspensions (id, user_id, start_at) SELECT 's', id, 0 FROM usher_users",
            );
            lines(usher, &bearer(&token))
        }
        Reason::ProjectKeyMissing => {
            External::new().asks("bare/auth/verify-external-user", "{\"userJwt\":\"x\"}")
        }
        Reason::ProjectUnknown => External::new().asks("other/auth/sign-out", "{}"),
        Reason::RefreshRefused => {
            let external = External::new();
            let usher = external.usher(&Stage::new(), "");
            let body = external.refresh(&usher);
            bytes(
                usher,
                external.post("bare/auth/request-new-access-token", &body),
            )
        }
        Reason::RefreshReused => {
            let external = External::new();
            let usher = external.usher(&Stage::new(), "");
            let body = external.refresh(&usher);
            let again = external.post("acme/auth/request-new-access-token", &body);
            assert_eq!(usher.raw(&again).status, 200);
            external.sql("UPDATE usher_refresh_tokens SET replaced_at = 0 WHERE replaced_at > 0");
            bytes(usher, again)
        }
        Reason::BodyTooLarge => External::new().asks("acme/auth/sign-out", &"x".repeat(5000)),
        Reason::MediaTypeRefused => {
            let external = External::new();
            let usher = external.usher(&Stage::new(), "");
            let post = external.post("acme/auth/sign-out", "{}");
            bytes(usher, post.replace("application/json", "text/plain"))
        }
        Reason::MethodRefused => bytes(Stage::new().usher(""), head(&format!("TRACE {PATH}"), "")),
        Reason::RequestTimeout => {
            let stage = Stage::new();
            let usher = stage.usher("timeouts: { idle: 100ms }");
            let body = format!("{}Content-Length: 9\r\n", bearer(&stage.token()));
            bytes(usher, head(&format!("POST {PATH}"), &body) + "half")
        }
        Reason::TargetTooLong => {
            let usher = Stage::new().usher("limits: { target_bytes: 64 }");
            bytes(usher, head(&format!("GET {PATH}?{}", "x".repeat(64)), ""))
        }
        Reason::ExpectationFailed => lines(Stage::new().usher(""), "Expect: 200-ok\r\n"),
        Reason::HeadersTooLarge => lines(
            Stage::new().usher("limits: { header_count: 10 }"),
            &"X: y\r\n".repeat(11),
        ),
        Reason::ClientGone => {
            let stage = Stage::hanging();
            let usher = stage.usher("");
            let mut client = usher.connect();
            client.send(head(&format!("GET {PATH}"), &bearer(&stage.token())));
            eventually("the request", || (stage.app.count() == 1).then_some(()));
            Scene {
                usher,
                status: None,
            }
        }
        Reason::KeysUnavailable => keys(|server| server.set_mood(Mood::Hang), |_| {}),
        Reason::KeyPending => keys(|_| {}, |server| server.set_mood(Mood::Hang)),
        Reason::Overloaded => {
            let app = App::with(|_| {
                let half = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345";
                Answer::Own(Box::new(|mut stream| {
                    std::io::Write::write_all(&mut stream, half).unwrap();
                    let _ = std::io::Read::read(&mut stream, &mut [0]);
                }))
            });
            let stage = Stage::with(app);
            let usher = stage.usher("limits: { requests: 1 }");
            // A request is under way until its answer has ended, not only until it began.
            let mut first = usher.connect();
            first.send(head("GET /first", &bearer(&stage.token())));
            first.until("12345");
            good(&stage, usher)
        }
        Reason::LoopDetected => {
            let stage = Stage::new();
            let usher = stage.usher("");
            assert_eq!(usher.get("/first", &stage.token()).status, 200);
            let via = stage.app.last().header("via").unwrap().to_owned();
            lines(usher, &format!("{}Via: {via}\r\n", bearer(&stage.token())))
        }
        Reason::UpstreamUnreachable => {
            let mut stage = Stage::new();
            let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            stage.app.address = free.local_addr().unwrap();
            drop(free);
            let usher = stage.usher("");
            good(&stage, usher)
        }
        Reason::UpstreamBroken => {
            let stage = Stage::with(App::with(|_| Answer::Last(b"SSH-2.0\r\n\r\n".to_vec())));
            let usher = stage.usher("");
            good(&stage, usher)
        }
        Reason::UpstreamTimeout => {
            let stage = Stage::hanging();
            let usher = stage.usher("timeouts: { response: 100ms }");
            good(&stage, usher)
        }
    })
}

/// A token with an unknown `kid` meets a key server that was prepared, and then changed.
fn keys(prepare: impl FnOnce(&KeyServer), change: impl FnOnce(&KeyServer)) -> Scene {
    let stage = Stage::new();
    let server = KeyServer::start(stage.issuer.jwks());
    prepare(&server);
    let usher = Usher::configured(&format!(
        "upstream: http://{}\ntokens: {{ key_wait: 200ms }}\nissuers: [{{ issuer: \"{}\", \
         audiences: [app], algorithms: [ES256], jwks_uri: \"{}\", fetch: {{ cooldown: 1s }} }}]\n",
        stage.app.address,
        Issuer::NAME,
        server.jwks_uri()
    ));
    eventually("the first fetch", || {
        let ready = usher.admin("/readyz").status == 200;
        (ready || !server.fetches().is_empty() && usher.get("/early", &stage.token()).status == 503)
            .then_some(())
    });
    change(&server);
    lines(usher, &bearer(&Issuer::with_kid("other").token("alice")))
}

#[test]
fn every_reason_happens_and_is_told() {
    std::thread::scope(|scope| {
        for reason in Reason::ALL {
            scope.spawn(move || {
                let Some(scene) = scene(*reason) else {
                    return;
                };
                let line = eventually(reason.id(), || {
                    let lines = scene.usher.lines();
                    let mut denied = lines.into_iter().filter(|line| {
                        line["path"]
                            .as_str()
                            // A head that cannot be read has none.
                            .is_some_and(|path| path.starts_with(PATH) || path == "-")
                    });
                    denied.find(|line| line["reason"] == reason.id())
                });
                assert!(line["detail"].is_string(), "{line}");
                assert_eq!(line["outcome"], "denied");
                if let Some(status) = scene.status {
                    assert_eq!(status, reason.status().as_u16(), "{line}");
                    assert_eq!(line["status"], status);
                }
                let metrics = scene.usher.admin("/metrics").body;
                let label = format!("outcome=\"denied\",reason=\"{}\"}} ", reason.id());
                assert!(metrics.contains(&label), "{label}: {metrics}");
            });
        }
    });
}

#[test]
fn an_answer_that_is_over_makes_room() {
    let stage = Stage::with(App::with(|_| Answer::Bytes(answer("200 OK", "", "hello"))));
    let usher = stage.usher("limits: { requests: 1 }");
    let mut client = usher.connect();
    for _ in 0..20 {
        client.send(head("GET /", &bearer(&stage.token())));
        assert_eq!(client.reply().unwrap().status, 200);
    }
}
