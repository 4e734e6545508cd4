//! An authenticated request reaches the app, and the app sees who it is.

use crate::common::{App, Issuer, Usher};

#[test]
fn the_app_sees_who_is_calling() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let token = issuer.token("alice");
    let reply = usher.get("/hello?a=b", &token);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    let received = app.last();
    assert_eq!(received.line(), "GET /hello?a=b HTTP/1.1");
    assert_eq!(received.header("x-user-id"), Some("alice"));
    assert_eq!(received.header("x-user-email"), Some("alice@example.com"));
    assert_eq!(received.header("x-user-name"), Some("Alice"));
    assert_eq!(received.header("authorization"), None);
    let line = usher.line("/hello");
    assert_eq!(line["user"], "alice");
    assert_eq!(line["outcome"], "forwarded");
}

#[test]
fn nobody_gets_in_without_a_token() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "");
    let reply = usher.get_as_nobody("/");
    assert_eq!(reply.status, 401);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    assert_eq!(app.count(), 0);
    assert_eq!(usher.line("/")["reason"], "token_missing");
}
