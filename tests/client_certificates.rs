//! Certificates of clients: asked for, checked, and what tokens are bound to (RFC 8705).

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::BASE64URL_NOPAD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::json;

use crate::common::authority::{Authority, Pair};
use crate::common::{App, Client, Issuer, Reply, Usher, eventually, tls};

struct House {
    usher: Usher,
    app: App,
    issuer: Issuer,
    servers: Authority,
    clients: Authority,
}

/// What a token says of its holder's certificate.
fn thumbprint(pair: &Pair) -> String {
    let certificate = CertificateDer::from_pem_file(&pair.certificate).unwrap();
    BASE64URL_NOPAD.encode(digest(&SHA256, &certificate).as_ref())
}

impl House {
    fn new(wanted: &str) -> Self {
        let (servers, clients) = (Authority::new(), Authority::new());
        let (app, issuer) = (App::start(), Issuer::new());
        let listen = format!(
            "listen:\n  - {{ address: '127.0.0.1:0', tls: {{ {}, client_ca_file: '{}'{wanted} }} }}\n\
             endpoints: {{ verify: {{ path: /verify, user_id: sub, username: sub }} }}\n",
            servers.server("a", &["a.test"]).yaml(),
            clients.root.display()
        );
        let usher = Usher::start(&app, &issuer, &listen);
        Self {
            usher,
            app,
            issuer,
            servers,
            clients,
        }
    }

    /// Asks with a certificate or without one; `None` where TLS was refused.
    fn ask(&self, own: Option<&Pair>, path: &str, token: &str) -> Option<Reply> {
        let config = tls::client(&self.servers.root, own);
        let session = tls::connect(self.usher.address, "a.test", &config).ok()?;
        let mut client = Client::over_tls(session);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n"
        ));
        client.reply()
    }

    fn status(&self, own: Option<&Pair>, token: &str) -> Option<u16> {
        self.ask(own, "/x", token).map(|reply| reply.status)
    }

    fn failures(&self, cause: &str) -> f64 {
        let name = format!("usher_connections_handshake_failures_total{{cause=\"{cause}\"}}");
        self.usher.metric(&name)
    }

    /// A token that is bound to a certificate.
    fn bound_to(&self, pair: &Pair) -> String {
        let cnf = json!({ "cnf": { "x5t#S256": thumbprint(pair) } });
        self.issuer.token_with("alice", cnf)
    }
}

#[test]
fn a_client_without_a_good_certificate_is_refused_where_one_is_required() {
    let house = House::new("");
    let token = house.issuer.token("alice");
    let good = house.clients.client("good");
    assert_eq!(house.status(Some(&good), &token), Some(200));
    assert_eq!(house.status(None, &token), None);
    eventually("it is counted", || {
        (house.failures("certificate_missing") == 1.0).then_some(())
    });
    // Of an authority that nobody named; of a server; of one whose time is over.
    let unknown = Authority::new();
    let strangers = [
        unknown.client("stranger"),
        house.servers.client("elsewhere"),
        house.clients.expired("expired", &[]),
    ];
    for stranger in &strangers {
        assert_eq!(house.status(Some(stranger), &token), None);
    }
    eventually("they are counted", || {
        (house.failures("certificate_refused") == 3.0).then_some(())
    });
    assert_eq!(house.app.count(), 1);
    assert_eq!(house.status(Some(&good), &token), Some(200));
}

#[test]
fn a_client_may_have_none_where_one_is_requested() {
    let house = House::new(", client_certificates: request");
    let token = house.issuer.token("alice");
    assert_eq!(house.status(None, &token), Some(200));
    assert_eq!(
        house.status(Some(&house.clients.client("good")), &token),
        Some(200)
    );
    assert_eq!(
        house.status(Some(&Authority::new().client("stranger")), &token),
        None
    );
    // A certificate is no token.
    let own = house.clients.client("good");
    let config = tls::client(&house.servers.root, Some(&own));
    let mut client =
        Client::over_tls(tls::connect(house.usher.address, "a.test", &config).unwrap());
    client.send("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 401);
}

#[test]
fn a_bound_token_is_good_for_its_holder_alone() {
    let house = House::new(", client_certificates: request");
    let (alice, mallory) = (
        house.clients.client("alice"),
        house.clients.client("mallory"),
    );
    let token = house.bound_to(&alice);
    // Before it is remembered, and after.
    for _ in 0..2 {
        assert_eq!(house.status(None, &token), Some(401));
        assert_eq!(house.status(Some(&mallory), &token), Some(401));
        assert_eq!(house.status(Some(&alice), &token), Some(200));
    }
    let refused = house.ask(Some(&mallory), "/stolen", &token).unwrap();
    assert_eq!(refused.body, r#"{"error":"invalid_token"}"#);
    assert!(
        refused
            .header("www-authenticate")
            .unwrap()
            .contains("invalid_token")
    );
    assert_eq!(
        house.usher.line("/stolen")["reason"],
        "certificate_mismatch"
    );
    assert_eq!(house.app.count(), 2);
    // usher's own answers ask the same.
    assert_eq!(
        house.ask(Some(&mallory), "/verify", &token).unwrap().status,
        401
    );
    assert_eq!(
        house.ask(Some(&alice), "/verify", &token).unwrap().status,
        200
    );
}

/// Over a connection without TLS nobody can show a certificate, whatever a header says.
#[test]
fn a_bound_token_is_good_for_nobody_in_the_clear() {
    let (app, issuer, clients) = (App::start(), Issuer::new(), Authority::new());
    let usher = Usher::start(&app, &issuer, "trusted_proxies: [127.0.0.1]");
    let alice = clients.client("alice");
    let cnf = json!({ "cnf": { "x5t#S256": thumbprint(&alice) } });
    let token = issuer.token_with("alice", cnf);
    let pem = std::fs::read_to_string(&alice.certificate).unwrap();
    let lines = format!(
        "X-Forwarded-Client-Cert: Hash={}\r\nSSL-Client-Cert: {}\r\n",
        thumbprint(&alice),
        pem.replace('\n', "%0A")
    );
    assert_eq!(usher.get_with("/x", &token, &lines).status, 401);
    assert_eq!(app.count(), 0);
}

#[test]
fn changed_authorities_of_clients_are_followed() {
    let house = House::new("");
    let token = house.issuer.token("alice");
    let (old, next) = (house.clients.client("old"), Authority::new());
    assert_eq!(house.status(Some(&old), &token), Some(200));
    std::fs::copy(&next.root, &house.clients.root).unwrap();
    let new = next.client("new");
    eventually("the new authority is read", || {
        (house.status(Some(&new), &token) == Some(200)).then_some(())
    });
    assert_eq!(house.status(Some(&old), &token), None);
}

/// A session that is resumed would not be asked for its certificate again.
#[test]
fn sessions_with_certificates_are_not_resumed() {
    let house = House::new("");
    let own = house.clients.client("own");
    let config = tls::client(&house.servers.root, Some(&own));
    for _ in 0..3 {
        let session = tls::connect(house.usher.address, "a.test", &config).unwrap();
        let kind = session.conn.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        let mut client = Client::over_tls(session);
        client.send(format!(
            "GET /x HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {}\r\n\r\n",
            house.issuer.token("alice")
        ));
        assert_eq!(client.reply().unwrap().status, 200);
    }
}

/// `headers` of every field of a certificate.
const SHOWN: &str = "headers: { X-User-Id: id, X-Client-Subject: certificate.subject, \
    X-Client-Dns: certificate.dns, X-Client-Uri: certificate.uri, X-Client-Thumb: certificate.thumbprint }\n\
    routes: [{ path: /open/**, access: public }]\n";

#[test]
fn the_app_learns_who_the_certificate_is_for_and_from_nobody_else() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        &format!(
            "listen:\n  - {{ address: '127.0.0.1:0', tls: {{ {}, client_ca_file: '{}', \
             client_certificates: request }} }}\n  - 127.0.0.1:0\n{SHOWN}",
            servers.server("a", &["a.test"]).yaml(),
            clients.root.display()
        ),
    );
    let token = issuer.token("alice");
    let names = vec![
        rcgen::SanType::DnsName("pod.test".try_into().unwrap()),
        rcgen::SanType::URI("spiffe://test/ns/a/sa/b".try_into().unwrap()),
    ];
    let own = clients.client_named("Söhne, Inc.", names);
    let forged = "X-Client-Subject: CN=root\r\nX_Client_Uri: spiffe://evil\r\nX-Client-Dns: evil\r\n\
        X-Client-Thumb: evil\r\n";
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: a.test\r\n{forged}Authorization: Bearer {token}\r\n\r\n"
        )
    };
    let over_tls = |own: Option<&Pair>| {
        let config = tls::client(&servers.root, own);
        Client::over_tls(tls::connect(usher.address, "a.test", &config).unwrap())
    };
    let thumb = thumbprint(&own);
    let shown = [
        ("x-client-subject", "CN=S%C3%B6hne\\, Inc."),
        ("x-client-dns", "pod.test"),
        ("x-client-uri", "spiffe://test/ns/a/sa/b"),
        ("x-client-thumb", thumb.as_str()),
    ];
    let mut client = over_tls(Some(&own));
    // Also where no token is asked for.
    for path in ["/a", "/open/a"] {
        client.send(request(path));
        assert_eq!(client.reply().unwrap().status, 200);
        let received = app.last();
        for (name, value) in shown {
            assert_eq!(received.header(name), Some(value), "{path}");
            assert_eq!(received.folded(name).len(), 1, "{path} {name}");
        }
    }
    // Without a certificate, and without TLS, nobody says anything.
    let plain = Client::connect(usher.others[0]);
    for mut client in [over_tls(None), plain] {
        client.send(request("/a"));
        assert_eq!(client.reply().unwrap().status, 200);
        for (name, _) in shown {
            assert_eq!(app.last().folded(name), [""; 0]);
        }
    }
}
