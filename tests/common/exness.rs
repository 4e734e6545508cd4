//! The service whose clients call verify-user and ensure-user: its tokens are signed with a
//! shared secret, carry `userId` and `email`, and often no `exp`.

use serde_json::{Map, Value, json};
use usher::config::Algorithm;
use usher::identify::mint::SigningKey;
use usher::secret::Secret;

use super::{App, Client, Peers, Reply, Usher};

const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Cv5Bn9My2Kl7Jh4Gf";

pub const VERIFY: &str = "/api/v1/auth/verify-user";
pub const ENSURE: &str = "/api/v1/auth/ensure-user";

/// Its entry under `issuers`.
pub fn issuer() -> String {
    format!(
        "{{ name: exness, secret: {SECRET}, audiences: any, algorithms: [HS256, HS384, HS512], \
         claims: {{ id: userId }}, require_exp: false }}"
    )
}

/// usher in front of `app` with these peers, `members` of `users` (indented by two) and `more`
/// lines of configuration.
pub fn usher(app: &App, peers: &Peers, members: &str, more: &str) -> Usher {
    Usher::configured(&yaml(app, &peers.users(members), more))
}

/// A configuration with both endpoints.
pub fn yaml(app: &App, users: &str, more: &str) -> String {
    let (app, issuer) = (app.address, issuer());
    format!(
        "upstream: http://{app}\nissuers: [{issuer}]\n{users}\
         endpoints: {{ verify_user: {VERIFY}, ensure_user: {ENSURE} }}\n{more}"
    )
}

/// A token with exactly these claims.
pub fn sign(claims: &Value, algorithm: Algorithm) -> String {
    let key = SigningKey::from_secret(&Secret::new(SECRET), algorithm).unwrap();
    let claims: &Map<String, Value> = claims.as_object().unwrap();
    key.mint(claims, None, Some("JWT")).unwrap()
}

/// A token for this user, without `exp`.
pub fn token(id: &str, email: &str) -> String {
    sign(&json!({ "userId": id, "email": email }), Algorithm::HS256)
}

/// `POST` with header lines, each ending in CRLF.
#[track_caller]
pub fn post_with(usher: &Usher, path: &str, lines: &str) -> Reply {
    usher.raw(head(path, lines))
}

/// `POST` with a token.
#[track_caller]
pub fn post(usher: &Usher, path: &str, token: &str) -> Reply {
    post_with(usher, path, &format!("Authorization: Bearer {token}\r\n"))
}

/// Sends a `POST` and does not wait.
pub fn start_post(usher: &Usher, path: &str, token: &str) -> Client {
    let mut client = usher.connect();
    client.send(head(path, &format!("Authorization: Bearer {token}\r\n")));
    client
}

fn head(path: &str, lines: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n{lines}\r\n")
}

/// Status, body and the fields that go with them.
#[track_caller]
pub fn is(reply: &Reply, status: u16, body: &str) {
    assert_eq!((reply.status, reply.body.as_str()), (status, body));
    assert_eq!(
        reply.header("content-type"),
        Some("application/json; charset=utf-8")
    );
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(
        reply.header("www-authenticate").is_some(),
        status == 401,
        "{}",
        reply.head
    );
    let later = status == 503 || status == 429;
    assert_eq!(
        reply.header("retry-after").is_some(),
        later,
        "{}",
        reply.head
    );
    if let Some(seconds) = reply.header("retry-after") {
        assert!((1..=60).contains(&seconds.parse::<u32>().unwrap()));
    }
}
