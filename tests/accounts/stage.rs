//! A customer with a project, and usher with accounts in either database.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use usher::clock::{Clock, ManualClock};

use crate::common::issuer::now;
use crate::common::postgres::Postgres;
use crate::common::{App, Issuer, Reply, Signer, Usher};

pub const ACCESS: &str = "access-kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
pub const REFRESH: &str = "refresh-8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Ckq3";

/// The key of the customer's server; making one takes a while.
pub static CUSTOMER: LazyLock<Signer> = LazyLock::new(|| Signer::new("RS256", b""));

pub const LOGIN: &str = "/acme/auth/verify-external-user";
pub const RENEW: &str = "/acme/auth/request-new-access-token";
pub const SIGN_OUT: &str = "/acme/auth/sign-out";

/// Where accounts are, and what is before and behind usher.
pub struct Stage {
    pub app: App,
    pub issuer: Issuer,
    pub folder: TempDir,
    pub postgres: Option<Server>,
    pub clock: ManualClock,
}

pub struct Server {
    pub postgres: Postgres,
    runtime: Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let postgres = runtime.block_on(Postgres::start());
        Self { postgres, runtime }
    }

    pub fn run(&self, sql: &str) {
        self.runtime.block_on(self.postgres.run(sql));
    }

    pub fn number(&self, sql: &str) -> i64 {
        self.runtime.block_on(async {
            let client = self.postgres.connect().await;
            client.query_one(sql, &[]).await.expect(sql).get(0)
        })
    }

    /// Runs something to its end.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn restart(&mut self) {
        self.runtime.block_on(self.postgres.restart());
    }
}

impl Stage {
    pub fn sqlite() -> Self {
        Self::with(None)
    }

    pub fn postgres() -> Self {
        Self::with(Some(Server::start()))
    }

    fn with(postgres: Option<Server>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("acme.pem"), CUSTOMER.public_pem()).unwrap();
        Self {
            app: App::start(),
            issuer: Issuer::new(),
            folder,
            postgres,
            clock: ManualClock::new(now()),
        }
    }

    /// Both databases, one after the other.
    pub fn each(test: impl Fn(Self)) {
        for stage in [Self::sqlite(), Self::postgres()] {
            test(stage);
        }
    }

    /// The URL of the accounts.
    pub fn url(&self) -> String {
        match &self.postgres {
            Some(server) => server.postgres.url(),
            None => format!("sqlite:{}", self.file().display()),
        }
    }

    pub fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("accounts.db")
    }

    /// Runs statements in the database, beside usher.
    pub fn sql(&self, sql: &str) {
        match &self.postgres {
            Some(server) => server.run(sql),
            None => self.open().execute_batch(sql).expect(sql),
        }
    }

    /// The number that a query answers.
    pub fn number(&self, sql: &str) -> i64 {
        match &self.postgres {
            Some(server) => server.number(sql),
            None => self.open().query_row(sql, [], |row| row.get(0)).expect(sql),
        }
    }

    fn open(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection
            .busy_timeout(std::time::Duration::from_secs(5))
            .unwrap();
        connection
    }

    /// A configuration; `project` and `tokens` are further members, each after a comma.
    pub fn yaml(&self, project: &str, tokens: &str, more: &str) -> String {
        let (app, issuer, url) = (self.app.address, self.issuer.yaml(), self.url());
        let key = self.folder.path().join("acme.pem");
        let key = key.display();
        format!(
            "upstream: http://{app}\nissuers: [{issuer}]\naccounts: \"{url}\"\n\
             projects: [{{ id: acme, public_key_file: {key}{project} }}, {{ id: bare }}]\n\
             issued_tokens: {{ access: {{ secret: {ACCESS} }}, refresh: {{ secret: {REFRESH} }}, \
             rate_limit: off{tokens} }}\n{more}"
        )
    }

    /// usher as a new installation has it.
    pub fn usher(&self) -> Usher {
        self.usher_with("", "", "")
    }

    /// usher as the service that it stands in for.
    pub fn replyke(&self) -> Usher {
        self.usher_with("", ", preset: replyke", "")
    }

    pub fn usher_with(&self, project: &str, tokens: &str, more: &str) -> Usher {
        let yaml = self.yaml(project, tokens, more);
        Usher::with_clock(&yaml, Clock::Manual(self.clock.clone()))
    }

    /// What the customer's server signs about a user; `null` takes a claim away.
    pub fn vouch_with(&self, sub: &str, data: Value, more: Value) -> String {
        let now = usher::clock::Clock::Manual(self.clock.clone()).now();
        let mut claims = json!({
            "sub": sub, "iss": "acme", "aud": "replyke.com", "iat": now, "exp": now + 300,
            "userData": data,
        });
        let claims = claims.as_object_mut().unwrap();
        for (name, value) in more.as_object().unwrap() {
            match value.is_null() {
                true => claims.remove(name),
                false => claims.insert(name.clone(), value.clone()),
            };
        }
        CUSTOMER.token(Value::Object(claims.clone()).to_string())
    }

    pub fn vouch(&self, sub: &str, data: Value) -> String {
        self.vouch_with(sub, data, json!({}))
    }

    /// Logs in, which must succeed.
    #[track_caller]
    pub fn login(&self, usher: &Usher, sub: &str, data: Value) -> LoggedIn {
        LoggedIn::of(&login(usher, &self.vouch(sub, data)))
    }
}

/// The answer to a login.
pub struct LoggedIn {
    pub access: String,
    pub refresh: String,
    pub user: Map<String, Value>,
    pub cookie: String,
}

impl LoggedIn {
    #[track_caller]
    pub fn of(reply: &Reply) -> Self {
        assert_eq!(reply.status, 200, "{}", reply.body);
        let body: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(body["success"], true);
        Self {
            access: body["accessToken"].as_str().unwrap().to_owned(),
            refresh: body["refreshToken"].as_str().unwrap().to_owned(),
            user: body["user"].as_object().unwrap().clone(),
            cookie: reply.header("set-cookie").unwrap().to_owned(),
        }
    }

    pub fn id(&self) -> &str {
        self.user["id"].as_str().unwrap()
    }
}

/// `POST` with JSON and more header lines, each ending in CRLF.
#[track_caller]
pub fn post_with(usher: &Usher, path: &str, body: &str, lines: &str) -> Reply {
    usher.raw(request(path, body, lines))
}

/// The text of such a request.
pub fn request(path: &str, body: &str, lines: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n{lines}\r\n{body}",
        body.len()
    )
}

#[track_caller]
pub fn post(usher: &Usher, path: &str, body: &Value) -> Reply {
    post_with(usher, path, &body.to_string(), "")
}

#[track_caller]
pub fn login(usher: &Usher, jwt: &str) -> Reply {
    post(usher, LOGIN, &json!({ "userJwt": jwt }))
}

/// Renews with a token in the body.
#[track_caller]
pub fn renew(usher: &Usher, refresh: &str) -> Reply {
    post(usher, RENEW, &json!({ "refreshToken": refresh }))
}

/// Status and code of a refusal, which is JSON and is never kept.
#[track_caller]
pub fn is(reply: &Reply, status: u16, error: &str, code: &str) {
    let wanted = format!(r#"{{"error":"{error}","code":"auth/{code}"}}"#);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (status, wanted.as_str())
    );
    plain(reply);
}

#[track_caller]
pub fn has_code(reply: &Reply, status: u16, code: &str) {
    let body: Value = serde_json::from_str(&reply.body).unwrap();
    let code = format!("auth/{code}");
    assert_eq!(
        (reply.status, &body["code"]),
        (status, &Value::from(code)),
        "{body}"
    );
    plain(reply);
}

#[track_caller]
pub fn plain(reply: &Reply) {
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
}

/// What a token of ours says.
pub fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&crate::common::forge::decode(payload)).unwrap()
}
