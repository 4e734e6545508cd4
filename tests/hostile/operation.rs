//! P: logs, errors, operation, TLS.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, StreamOwned};
use serde_json::{Value, json};

use super::forge_stage::{NOW, Stage, does_not_start, issuer_refused, payload, starts};
use super::stack::locked;
use crate::accounts::stage::{
    ACCESS, CUSTOMER, LOGIN, LoggedIn, REFRESH, RENEW, SIGN_OUT, Stage as Accounts,
};
use crate::common::authority::Authority;
use crate::common::command::{Running, usher as command};
use crate::common::forge::encode;
use crate::common::issuer::now;
use crate::common::{
    App, Client, Introspector, Issuer, Mood, Peers, Signer, Usher, eventually, tls,
};

/// usher that speaks TLS for `a.test`.
fn within_tls(app: &App, issuer: &Issuer, authority: &Authority) -> Usher {
    let pair = authority.server("a", &["a.test"]);
    let listen = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}\n",
        pair.yaml()
    );
    Usher::start(app, issuer, &listen)
}

/// What `openssl s_client` says of a connection.
fn s_client(usher: &Usher, arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &usher.address.to_string(),
            "-servername",
            "a.test",
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// A good request within TLS.
fn passes_within(usher: &Usher, issuer: &Issuer, authority: &Authority) {
    let session =
        tls::connect(usher.address, "a.test", &tls::client(&authority.root, None)).unwrap();
    let mut client = Client::over_tls(session);
    client.send(request("/good", &issuer.token("alice")));
    assert_eq!(client.reply().unwrap().status, 200);
}

fn request(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer {token}\r\n\r\n")
}

/// Everything that usher knows a secret of, at the level that tells most, while all is well and while
/// nothing is.
#[test]
fn p01_secrets_in_the_log() {
    const REDIS: &str = "redis-5Hs9Lc2Pj7Ga4Ue8";
    const POSTGRES: &str = "postgres-5Hs9Lc2Pj7Ga4Ue8";
    const CLIENT: &str = "client-5Hs9Lc2Pj7Ga4Ue8Ri1To6";
    let mut peers = Peers::with_engine();
    let stage = Accounts::sqlite();
    let opaque = Introspector::start();
    let rule = format!(">{REDIS}");
    let words = ["ACL", "SETUSER", "usher", "on", &rule, "~*", "&*", "+@all"];
    let _: redis::Value = peers.wait(peers.house.redis.run(&words));
    let redis = peers
        .house
        .redis
        .url()
        .replace("redis://", &format!("redis://usher:{REDIS}@"));
    let postgres = peers.house.postgres.url();
    let postgres = postgres.replace(":app@", &format!(":{POSTGRES}@"));
    assert!(redis.contains(REDIS) && postgres.contains(POSTGRES));
    let path = stage.folder.path().join("usher.yaml");
    let introspected = format!(
        ", {{ name: opaque, audiences: [app], introspection: {{ url: '{}', client_id: usher, client_secret: \"{CLIENT}\" }} }}]",
        opaque.url()
    );
    let more = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nlog: {{ level: trace }}\n\
         tokens: {{ from: [authorization, {{ cookie: c }}, {{ query: q }}] }}\n\
         users:\n  directory: \"{postgres}\"\n  preset: exness\n  shared_ids: true\n  provisioner: \"{redis}\"\n  wait: 3s\n\
         routes: [{{ path: /feed/**, projects: acme, first_sight: off }}, {{ path: /good, first_sight: off }}]\n"
    );
    let text = stage.yaml("", "", &more);
    let text = text.replacen("}]\naccounts", &format!("}}{introspected}\naccounts"), 1);
    std::fs::write(&path, text).unwrap();
    let running = Running::start(&mut command(&["serve", "--config", path.to_str().unwrap()]));
    std::thread::sleep(Duration::from_secs(2));
    eprintln!("XX {}", running.err());
    let address = running.address("listening");
    let (good, bad) = (
        stage.issuer.token("alice"),
        Issuer::new().token("eve-unmistakable"),
    );
    let reference = "opaque-0123456789-unmistakable";
    opaque.tell(
        reference,
        json!({ "active": true, "sub": "ref", "aud": "app", "email": "r@e", "exp": now() + 600 }),
    );
    let ask = |method: &str, target: &str, lines: &str, body: &str| {
        let mut client = Client::connect(address);
        let length = body.len();
        client.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: {length}\r\n{lines}\r\n{body}"
        ));
        client.reply().unwrap_or_else(|| panic!("{target}"))
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    // Keys, users, sessions: each is used, so that there is something to tell.
    assert_eq!(ask("GET", "/", &bearer(&good), "").status, 200);
    assert_eq!(ask("GET", "/", &bearer(reference), "").status, 200);
    let json_kind = "Content-Type: application/json\r\n";
    let jwt = CUSTOMER.token(
        json!({ "sub": "ada", "iss": "acme", "exp": now() + 300, "userData": {} }).to_string(),
    );
    let login = ask(
        "POST",
        LOGIN,
        json_kind,
        &json!({ "userJwt": jwt }).to_string(),
    );
    let ada = LoggedIn::of(&login);
    assert_eq!(ask("GET", "/feed/1", &bearer(&ada.access), "").status, 200);
    let renewed = ask(
        "POST",
        RENEW,
        json_kind,
        &json!({ "refreshToken": ada.refresh }).to_string(),
    );
    assert_eq!(renewed.status, 200);
    let renewed: Value = serde_json::from_str(&renewed.body).unwrap();
    let second = renewed["refreshToken"].as_str().unwrap().to_owned();
    let sent = Signer::new("HS256", REFRESH.as_bytes()).token(r#"{"sub":"unmistakable"}"#);
    let odd = [
        ("/", bearer(&bad)),
        ("/", format!("Authorization: Basic {bad}\r\n")),
        ("/", bearer("opaque-that-nobody-knows")),
        ("/", format!("Authorization : Bearer {good}\r\n")),
        (
            "/",
            format!("Cookie: c={good}; __Host-usher-refresh={sent}\r\n"),
        ),
        (&format!("/?q={good}"), String::new()),
        (&format!("/%zz?q={good}"), String::new()),
        (&format!("http://x/?q={good}"), String::new()),
    ];
    let go_through = || {
        for (target, lines) in &odd {
            ask("GET", target, lines, "");
        }
        for (path, body) in [
            (LOGIN, json!({ "userJwt": bad })),
            (LOGIN, json!({ "userJwt": jwt, "junk": second })),
            (RENEW, json!({ "refreshToken": sent })),
            (SIGN_OUT, json!({ "refreshToken": sent })),
        ] {
            ask("POST", path, json_kind, &body.to_string());
        }
    };
    go_through();
    // Nobody is there any more who could be asked, and that is told with all that is known of it.
    peers.house.redis.kill();
    peers.house.postgres.kill();
    opaque.set_mood(Mood::Bytes(b"SSH-2.0-x\r\n\r\n".to_vec()));
    let new = stage.issuer.token("somebody-new");
    assert_eq!(ask("GET", "/", &bearer(&new), "").status, 503);
    assert_eq!(
        ask("GET", "/", &bearer("opaque-another-one-0123456789"), "").status,
        503
    );
    go_through();
    let report = {
        let admin = running.address("admin: /livez /readyz /metrics");
        ["/readyz", "/metrics"].map(|path| {
            let mut client = Client::connect(admin);
            client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client.reply().unwrap().body
        })
    };
    let written = eventually("the lines", || {
        let (out, err) = (running.out(), running.err());
        (out.lines().count() >= 2 * odd.len() && err.contains("TRACE")).then_some(out + &err)
    });
    let written = written + &report.concat();
    for told in ["\"kind\":\"access\"", "listening", "breaker", "usher_keys"] {
        assert!(written.contains(told), "{told}");
    }
    let mut secrets = vec![REDIS, POSTGRES, CLIENT, ACCESS, REFRESH, reference];
    for token in [
        &good,
        &bad,
        &sent,
        &new,
        &jwt,
        &ada.access,
        &ada.refresh,
        &second,
    ] {
        secrets.extend(token.split('.').skip(1));
    }
    for secret in secrets {
        assert!(!written.contains(secret), "{secret} was written");
    }
    assert_eq!(ask("GET", "/good", &bearer(&good), "").status, 200);
}

#[test]
fn p02_lines_of_their_own() {
    let stage = Stage::new();
    let heads: [&[u8]; 8] = [
        b"GET /a%0a%7b%22kind%22:%22access%22%7d HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"GET /\"}{\"kind\":\"x HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"GET /\\n\\u000a HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost: app.test\r\nUser-Agent: \x1b[31m\"}{\r\n\r\n",
        b"GET /\x1b[2J HTTP/1.1\r\nHost: app.test\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\"}{\"x\r\n\r\n",
        b"A\"B / HTTP/1.1\r\nHost: app.test\r\n\r\n",
        "GET /\u{2028}\u{202e} HTTP/1.1\r\nHost: app.test\r\n\r\n".as_bytes(),
    ];
    let mut answered = 0;
    for head in heads {
        let mut client = stage.usher.connect();
        client.send(head);
        answered += usize::from(
            client
                .reply()
                .is_some_and(|reply| reply.head.contains("application/json")),
        );
    }
    let sub = "a\",\"kind\":\"x\u{202e}";
    stage.passes("an odd name", &stage.token(&json!({ "sub": sub })));
    let kid = stage.signer.seal(
        "{\"alg\":\"ES256\",\"kid\":\"\\u001b[31m\\n\"}",
        payload(&json!({})),
    );
    let _ = stage.usher.get("/kid", &kid);
    stage.usher.line("/kid");
    let text = stage.usher.text();
    let obeyed = |c: char| c != '\n' && (c.is_control() || "\u{2028}\u{202e}".contains(c));
    assert!(!text.contains(obeyed), "{text:?}");
    assert_eq!(stage.usher.lines().len(), answered + 2, "one line for each");
    stage.passes("a good one", &stage.good());
}

#[test]
fn p03_errors_that_explain() {
    let stage = Stage::new();
    let forger = Signer::new("ES256", b"");
    let good = payload(&json!({}));
    let mut heads = std::collections::BTreeSet::new();
    for (what, token) in [
        ("malformed", "x.y.z".to_owned()),
        (
            "no algorithm",
            stage.signer.seal(r#"{"alg":"none"}"#, &good),
        ),
        (
            "another header",
            stage.signer.seal(r#"{"alg":"ES256","crit":["x"]}"#, &good),
        ),
        ("forged", forger.token(&good)),
        ("expired", stage.token(&json!({ "exp": NOW - 1 }))),
        ("early", stage.token(&json!({ "nbf": NOW + 60 }))),
        ("another audience", stage.token(&json!({ "aud": "x" }))),
        ("another issuer", stage.token(&json!({ "iss": "x" }))),
        ("no id", stage.token(&json!({ "sub": null }))),
        ("an odd id", stage.token(&json!({ "sub": "a\nb" }))),
        ("too long", "a".repeat(8193)),
    ] {
        let reply = stage.usher.get("/", &token);
        assert_eq!(
            (reply.status, reply.body.as_str()),
            (401, r#"{"error":"invalid_token"}"#),
            "{what}"
        );
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\""),
            "{what}"
        );
        let lines = reply.head.lines().filter(|line| !line.starts_with("date:"));
        heads.insert(lines.collect::<Vec<_>>().join("\n"));
    }
    assert_eq!(heads.len(), 1, "they are all the same: {heads:#?}");
    // An app that is away is no reason to tell its address.
    let gone = TcpStream::connect(stage.app.address)
        .unwrap()
        .local_addr()
        .unwrap();
    let issuer = Issuer::new();
    let usher = Usher::before(gone, &issuer, "");
    let reply = usher.get("/", &issuer.token("alice"));
    assert_eq!(reply.status, 502);
    assert!(
        !reply.body.contains("127.0.0.1") && reply.body.len() < 64,
        "{}",
        reply.body
    );
    stage.passes("afterwards", &stage.good());
}

#[test]
fn p04_tokens_in_answers_of_our_own() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(
        &app,
        &issuer,
        "endpoints: { verify: { path: /verify, user_id: id, username: name } }\n",
    );
    let token = issuer.token("alice");
    let told = [
        usher.get("/verify", &token),
        usher.get("/", &token),
        usher.admin("/metrics"),
        usher.admin("/readyz"),
        usher.admin("/livez"),
        usher.admin("/debug/pprof"),
        usher.admin("/config"),
        usher.admin("/tokens"),
    ];
    assert_eq!(told[0].status, 200);
    assert_eq!([5, 6, 7].map(|n: usize| told[n].status), [404; 3]);
    for reply in told {
        for part in token.split('.') {
            assert!(
                !reply.body.contains(part) && !reply.head.contains(part),
                "{}",
                reply.head
            );
        }
    }
    assert_eq!(usher.get("/good", &token).status, 200);
}

#[test]
fn p05_ports_of_operators() {
    let text = "upstream: http://127.0.0.1:1\nissuers: [{ issuer: 'https://a.example', audiences: [x] }]\n";
    let loaded = usher::config::parse(text, "t", &|_| None).unwrap_or_else(|_| panic!("{text}"));
    let admin = loaded.config.admin.expect("it is on by default");
    assert!(format!("{admin:?}").contains("127.0.0.1"), "{admin:?}");
    // What is there is not on the port of callers.
    let stage = Stage::new();
    for path in ["/metrics", "/readyz", "/livez"] {
        assert_eq!(stage.usher.get_as_nobody(path).status, 401, "{path}");
        assert_eq!(stage.usher.get(path, &stage.good()).status, 200);
        assert_eq!(stage.app.last().target(), path, "it is the app's");
    }
    let ask = |method: &str| {
        let mut client = Client::connect(stage.usher.admin);
        client.send(format!(
            "{method} /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
        ));
        client.reply().unwrap().status
    };
    assert_eq!(
        ["POST", "PUT", "DELETE"].map(ask),
        [405; 3],
        "and changes nothing"
    );
    let told = does_not_start(
        &format!("{text}listen: 127.0.0.1:7777\nadmin: 127.0.0.1:7777\n")
            .replace("listen: 127.0.0.1:0", ""),
    );
    assert!(told.contains("admin") || told.contains("listen"), "{told}");
    stage.passes("a good one", &stage.good());
}

#[test]
fn p06_weak_or_odd_handshakes() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let usher = within_tls(&app, &issuer, &authority);
    for version in ["-tls1", "-tls1_1"] {
        let said = s_client(&usher, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(
            said.contains("no peer certificate available"),
            "{version}: {said}"
        );
    }
    for cipher in ["RC4", "3DES", "NULL", "EXPORT", "aNULL", "CBC", "kRSA"] {
        let said = s_client(
            &usher,
            &["-tls1_2", "-cipher", &format!("{cipher}:@SECLEVEL=0")],
        );
        assert!(
            !said.contains("New, TLSv1.2, Cipher is E"),
            "{cipher}: {said}"
        );
    }
    // A name that nobody has here, and none: the first certificate, which the client refuses itself.
    let config = tls::client(&authority.root, None);
    assert!(tls::connect(usher.address, "evil.test", &config).is_err());
    // A ClientHello byte by byte is one all the same.
    let name = rustls::pki_types::ServerName::try_from("a.test").unwrap();
    let mut session = ClientConnection::new(Arc::clone(&config), name).unwrap();
    let mut hello = Vec::new();
    session.write_tls(&mut hello).unwrap();
    let mut socket = TcpStream::connect(usher.address).unwrap();
    socket.set_nodelay(true).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    for byte in hello {
        socket.write_all(&[byte]).unwrap();
    }
    let mut client = Client::over_tls(StreamOwned::new(session, socket));
    client.send(request("/pieces", &issuer.token("alice")));
    assert_eq!(client.reply().unwrap().status, 200);
    // What is no TLS is closed and answered with nothing of ours.
    let mut socket = TcpStream::connect(usher.address).unwrap();
    socket
        .write_all(request("/", &issuer.token("alice")).as_bytes())
        .unwrap();
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    assert!(
        !String::from_utf8_lossy(&said).contains("HTTP/1.1"),
        "{said:?}"
    );
    passes_within(&usher, &issuer, &authority);
}

/// Names of a client's certificate are what its authority has signed, which may be anything; they become
/// headers, and no other header than theirs.
#[test]
fn p06_names_of_certificates() {
    let (app, issuer) = (App::start(), Issuer::new());
    let (servers, clients) = (Authority::new(), Authority::new());
    let usher = Usher::start(
        &app,
        &issuer,
        &format!(
            "listen: {{ address: '127.0.0.1:0', tls: {{ {}, client_ca_file: '{}' }} }}\n\
             headers: {{ X-User-Id: id, X-Dns: certificate.dns, X-Uri: certificate.uri, \
             X-Mail: certificate.email, X-Subject: certificate.subject }}\n",
            servers.server("a", &["a.test"]).yaml(),
            clients.root.display()
        ),
    );
    let text = |text: &str| rcgen::string::Ia5String::try_from(text).unwrap();
    let dns = |name: &str| rcgen::SanType::DnsName(text(name));
    let token = issuer.token("alice");
    let table: [(&str, Vec<rcgen::SanType>, Option<&str>); 7] = [
        ("plain", vec![dns("good.test")], Some("good.test")),
        // Where C reads to the first NUL, this is another name.
        (
            "nul",
            vec![dns("good.test\0.evil.test")],
            Some("good.test%00.evil.test"),
        ),
        (
            "lines",
            vec![dns("good.test\r\nX-User-Id: root")],
            Some("good.test%0D%0AX-User-Id: root"),
        ),
        (
            "controls",
            vec![dns("a\x1b[2J\x7fb\t")],
            Some("a%1B[2J%7Fb%09"),
        ),
        ("blanks", vec![dns(" good.test ")], Some("%20good.test%20")),
        // A comma would be two names, and is none; the others stay.
        ("comma", vec![dns("good.test,root.test")], None),
        (
            "two",
            vec![dns("one.test"), dns("a,b"), dns("two.test")],
            Some("one.test,two.test"),
        ),
    ];
    for (file, names, wanted) in table {
        let own = clients.client_named(file, names);
        let config = tls::client(&servers.root, Some(&own));
        let mut client = Client::over_tls(tls::connect(usher.address, "a.test", &config).unwrap());
        client.send(request("/x", &token));
        assert_eq!(client.reply().unwrap().status, 200, "{file}");
        let received = app.last();
        assert_eq!(received.header("x-dns"), wanted, "{file}");
        assert_eq!(received.folded("x-user-id"), ["x-user-id: alice"], "{file}");
    }
    // The same of the other kinds, and of the subject.
    let hostile = "a\0b\r\nX-User-Id: root";
    let names = vec![
        rcgen::SanType::URI(text(&format!("spiffe://{hostile}"))),
        rcgen::SanType::Rfc822Name(text(&format!("ada@{hostile}"))),
    ];
    let own = clients.client_named("ada\r\nX-User-Id: root", names);
    let config = tls::client(&servers.root, Some(&own));
    let mut client = Client::over_tls(tls::connect(usher.address, "a.test", &config).unwrap());
    client.send(request("/x", &token));
    assert_eq!(client.reply().unwrap().status, 200);
    let received = app.last();
    let encoded = "a%00b%0D%0AX-User-Id: root";
    assert_eq!(
        received.header("x-uri"),
        Some(format!("spiffe://{encoded}").as_str())
    );
    assert_eq!(
        received.header("x-mail"),
        Some(format!("ada@{encoded}").as_str())
    );
    assert_eq!(
        received.header("x-subject"),
        Some("CN=ada%0D%0AX-User-Id: root")
    );
    assert_eq!(received.folded("x-user-id"), ["x-user-id: alice"]);
    // Without a certificate, and with one of another authority, nobody gets in here.
    for config in [
        tls::client(&servers.root, None),
        tls::client(&servers.root, Some(&servers.client("other"))),
    ] {
        if let Ok(session) = tls::connect(usher.address, "a.test", &config) {
            let mut client = Client::over_tls(session);
            client.send(request("/x", &token));
            assert!(client.reply().is_none());
        }
    }
    let own = clients.client("good");
    let config = tls::client(&servers.root, Some(&own));
    let mut client = Client::over_tls(tls::connect(usher.address, "a.test", &config).unwrap());
    client.send(request("/good", &token));
    assert_eq!(client.reply().unwrap().status, 200);
}

#[test]
fn p07_certificates_in_headers() {
    let stage = Stage::new();
    let names = [
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Tls-Client-Cert",
        "X-Forwarded-Tls-Client-Cert-Info",
        "X-SSL-Client-Cert",
        "X-SSL-Client-Verify",
        "X-SSL-Client-DN",
        "X-SSL-Client-S-DN",
        "SSL-Client-Cert",
        "Client-Cert",
        "Client-Cert-Chain",
    ];
    for name in names {
        for spelling in [
            name.to_owned(),
            name.to_ascii_lowercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
        ] {
            let reply =
                stage
                    .usher
                    .get_with("/", &stage.good(), &format!("{spelling}: CN=root\r\n"));
            assert_eq!(reply.status, 200);
            assert!(stage.app.last().folded(name).is_empty(), "{spelling}");
        }
    }
    // Nor do they prove who holds a token that is bound to a certificate.
    let thumbprint = encode([7; 32]);
    let bound = stage.token(&json!({ "cnf": { "x5t#S256": thumbprint } }));
    let lines = format!("Client-Cert: :AAAA:\r\nX-Forwarded-Client-Cert: Hash={thumbprint}\r\n");
    assert_eq!(stage.usher.get_with("/bound", &bound, &lines).status, 401);
    assert_eq!(stage.usher.line("/bound")["reason"], "certificate_mismatch");
    stage.passes("a good one", &stage.good());
}

#[test]
fn p08_typing_errors() {
    let issuer = "issuer: 'https://a.example', audiences: [x]";
    for (wrong, phrase) in [
        (format!("{issuer}, requierd: false"), "Did you mean"),
        (format!("{issuer}, audience: [y]"), "Did you mean"),
        (format!("{issuer}, algorithms: []"), "empty list"),
        (format!("{issuer}, require: {{ type: [] }}"), "empty list"),
        (
            "issuer: 'https://a.example', audiences: []".to_owned(),
            "empty list",
        ),
        (
            "issuer: 'https://a.example', audiences: [any]".to_owned(),
            "any",
        ),
        (
            "issuer: 'https://a.example', audiences: ['${UNSET_A}']".to_owned(),
            "UNSET_A",
        ),
        (format!("{issuer}, issuer: 'https://b.example'"), "issuer"),
    ] {
        let told = issuer_refused(&wrong);
        assert!(
            told.contains(phrase) && told.contains("test.yaml:2"),
            "{wrong}: {told}"
        );
    }
    let base = format!("upstream: http://a:1\nissuers: [{{ {issuer} }}]\n");
    for (wrong, phrase) in [
        ("routes: [{ path: /a, acces: public }]", "Did you mean"),
        ("routes: [{ path: /a, access: Public }]", "routes[0].access"),
        (
            "routes: [{ path: /a, require: { role: [admin] } }]",
            "Did you mean",
        ),
        (
            "routes: [{ path: /a, require: { roles: [] } }]",
            "empty list",
        ),
        (
            "routes: [{ path: /a, access: public, require: { roles: [x] } }]",
            "routes[0]",
        ),
        ("routes: [{ path: a }]", "routes[0].path"),
        ("trusted_proxy: [10.0.0.0/8]", "Did you mean"),
        ("trusted_proxies: [10.0.0.0/99]", "trusted_proxies"),
        ("headers: { X-User-Id: }", "headers"),
        ("listen: 0.0.0.0:8080\nlisten: 0.0.0.0:9090", "listen"),
    ] {
        let told = does_not_start(&format!("{base}{wrong}\n"));
        assert!(told.contains(phrase), "{wrong}: {told}");
    }
    // Each of them, rightly spelt.
    starts(&format!(
        "{}routes: [{{ path: /a, access: public }}, {{ path: /b, require: {{ roles: [admin] }} }}]\n\
         trusted_proxies: [10.0.0.0/8]\nheaders: {{ X-User-Id: id }}\n",
        base.replace(
            "[x]",
            "[x], require: { type: [access] }, algorithms: [RS256]"
        )
    ));
}

#[test]
fn p09_half_a_reload() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let pair = authority.server("live", &["a.test"]);
    let config = folder.path().join("usher.yaml");
    let text = format!(
        "listen: {{ address: '127.0.0.1:0', tls: {{ {} }} }}\nadmin: off\nupstream: http://{}\nissuers: [{}]\n",
        pair.yaml(),
        app.address,
        issuer.yaml()
    );
    std::fs::write(&config, &text).unwrap();
    let running = Running::start(&mut command(&[
        "serve",
        "--config",
        config.to_str().unwrap(),
    ]));
    let address = running.address("listening");
    let trusted = tls::client(&authority.root, None);
    let serves = |what: &str| {
        let mut client = Client::over_tls(tls::connect(address, "a.test", &trusted).unwrap());
        client.send(request("/", &issuer.token("alice")));
        assert_eq!(client.reply().unwrap().status, 200, "{what}");
    };
    serves("at first");
    // Bad files change nothing, whole or half: the one before stays whole.
    for bad in [
        "routes: [{ path: /**, access: public }]\n",
        "upstream: [\n",
        "",
    ] {
        std::fs::write(&config, bad).unwrap();
        running.signal("HUP");
        serves("after a bad file");
    }
    std::fs::write(
        &config,
        format!("{text}routes: [{{ path: /**, access: public }}]\nnonsense: true\n"),
    )
    .unwrap();
    running.signal("HUP");
    eventually("it is refused", || {
        running.err().contains("nonsense").then_some(())
    });
    serves("after it was refused");
    // What is read again are certificates, and half of a pair is none.
    let other = authority.server("other", &["a.test"]);
    std::fs::copy(&other.key, &pair.key).unwrap();
    eventually("it is noticed", || {
        running.err().contains("key").then_some(())
    });
    serves("with the old pair");
    std::fs::write(&pair.certificate, "junk").unwrap();
    serves("with the old pair still");
    let mut client = Client::over_tls(tls::connect(address, "a.test", &trusted).unwrap());
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(
        client.reply().unwrap().status,
        401,
        "nothing has become public"
    );
    serves("at last");
}

/// The numbers of a version.
fn version(text: &str) -> Vec<u64> {
    let plain = text.split(['-', '+']).next().unwrap();
    plain.split('.').map(|part| part.parse().unwrap()).collect()
}

#[test]
fn p10_crates_with_known_flaws() {
    let locked = locked();
    let rules = include_str!("../../deny.toml");
    let mut floors = 0;
    for rule in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("{ crate = \""))
    {
        let (wanted, _) = rule.split_once('"').unwrap();
        let (name, floor) = wanted.split_once(":<").unwrap_or((wanted, ""));
        floors += 1;
        for (_, found) in locked.iter().filter(|(locked, _)| locked == name) {
            assert!(!floor.is_empty(), "{name} {found} is banned");
            let mut floor = version(floor);
            floor.resize(3, 0);
            assert!(version(found) >= floor, "{name} {found} is below {floor:?}");
        }
    }
    assert!(floors >= 28, "{floors}");
    // What the fuzz targets are built of is held to the same.
    let fuzz = super::stack::locked_in(include_str!("../../fuzz/Cargo.lock"));
    for (name, found) in fuzz {
        let banned = |rule: &&str| rule.contains(&format!("{{ crate = \"{name}\","));
        assert!(
            !rules.lines().any(|rule| banned(&rule)),
            "fuzz/Cargo.lock: {name} {found}"
        );
        let marker = format!("{{ crate = \"{name}:<");
        if let Some(rule) = rules
            .lines()
            .find_map(|rule| rule.trim().strip_prefix(&marker))
        {
            let mut floor = version(rule.split('"').next().unwrap());
            floor.resize(3, 0);
            assert!(
                version(&found) >= floor,
                "fuzz/Cargo.lock: {name} {found} is below {floor:?}"
            );
        }
    }
    // And RustSec's database is asked about both, where there is a copy of it.
    let run = include_str!("../run");
    assert!(
        run.contains("checks+=(advisories)")
            && run.contains("--manifest-path fuzz/Cargo.toml --config deny.toml check")
    );
    assert!(
        rules.contains("unknown-registry = \"deny\"") && rules.contains("unknown-git = \"deny\"")
    );
    // Every build takes exactly what is locked.
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["tests/run", "Dockerfile"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for line in text
            .lines()
            .map(str::trim_start)
            .filter(|line| !line.starts_with('#'))
        {
            let builds = [
                "cargo build",
                "cargo test",
                "cargo clippy",
                "cargo doc",
                "cargo install",
                "cargo check",
            ];
            if builds.iter().any(|command| line.contains(command)) && !line.contains("--version") {
                assert!(line.contains("--locked"), "{file}: {line}");
            }
        }
    }
}

#[test]
fn p11_memory_that_others_read() {
    // Secrets come from files, so that neither the command line nor the environment shows them.
    let (app, folder) = (App::start(), tempfile::tempdir().unwrap());
    let secret = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0C";
    std::fs::write(folder.path().join("secret"), secret).unwrap();
    let config = folder.path().join("usher.yaml");
    let text = format!(
        "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nupstream: http://{}\n\
         issuers: [{{ name: a, audiences: any, secret_file: secret, require_exp: false }}]\n",
        app.address
    );
    std::fs::write(&config, text).unwrap();
    let running = Running::start(&mut command(&[
        "serve",
        "--config",
        config.to_str().unwrap(),
    ]));
    let address = running.address("listening");
    for file in ["cmdline", "environ"] {
        let shown = std::fs::read(format!("/proc/{}/{file}", running.id())).unwrap();
        assert!(
            !shown
                .windows(secret.len())
                .any(|part| part == secret.as_bytes()),
            "{file}"
        );
    }
    let mut client = Client::connect(address);
    client.send(request(
        "/",
        &Signer::new("HS256", secret.as_bytes()).token(r#"{"sub":"a"}"#),
    ));
    assert_eq!(client.reply().unwrap().status, 200);
    // Whoever may read the process's memory reads its secrets: the page says what the deployment does.
    let page = include_str!("../../docs/operations.md");
    assert!(
        page.contains("core dump"),
        "docs/operations.md says nothing of core dumps"
    );
    let good = Signer::new("HS256", secret.as_bytes()).token(r#"{"sub":"a"}"#);
    client.send(request("/good", &good));
    assert!(client.reply().unwrap().status == 200);
}

#[test]
fn p12_what_a_refusal_tells() {
    let signer = Signer::new("ES256", b"");
    let set = json!([signer.jwk("k1")]);
    let stage = Stage::with_set_named(signer, &set, "[ES256]", "k1");
    let forger = Signer::new("ES256", b"");
    let kinds = |n: usize| {
        let sub = format!("u-{n}");
        [
            stage.signer.seal(
                r#"{"alg":"ES256","kid":"other"}"#,
                payload(&json!({ "sub": sub })),
            ),
            forger.seal(
                r#"{"alg":"ES256","kid":"k1"}"#,
                payload(&json!({ "sub": sub })),
            ),
            stage.signer.seal(
                r#"{"alg":"ES256","kid":"k1"}"#,
                payload(&json!({ "sub": sub, "exp": NOW - 1 })),
            ),
        ]
    };
    let mut answers = std::collections::BTreeSet::new();
    let mut times = [const { Vec::new() }; 3];
    let mut client = stage.usher.connect();
    for n in 0..1_000 {
        for (kind, token) in kinds(n).into_iter().enumerate() {
            let begun = Instant::now();
            client.send(request("/", &token));
            let reply = client.reply().unwrap();
            times[kind].push(begun.elapsed());
            let lines = reply.head.lines().filter(|line| !line.starts_with("date:"));
            answers.insert(format!(
                "{}\n{}",
                lines.collect::<Vec<_>>().join("\n"),
                reply.body
            ));
        }
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
    // The time tells as much as the page says: a signature is looked at for a key that is known, whether
    // it is good or not, and none for one that is not, which whoever can read the key set knows anyway.
    let [unknown, forged, expired] = times.map(|mut times| {
        times.sort();
        times[500]
    });
    assert!(
        forged < expired * 2 && expired < forged * 2,
        "{forged:?} {expired:?}"
    );
    assert!(unknown < forged * 2, "{unknown:?} {forged:?}");
    stage.passes("a good one", &stage.good());
}

#[test]
fn p13_data_before_the_handshake() {
    let (app, issuer, authority) = (App::start(), Issuer::new(), Authority::new());
    let usher = within_tls(&app, &issuer, &authority);
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (session, early) = (path("session"), path("early"));
    std::fs::write(&early, request("/early", &issuer.token("alice"))).unwrap();
    // A ticket comes with the first answer.
    let first = "sleep 0.3; printf 'GET / HTTP/1.1\\r\\nHost: a.test\\r\\nConnection: close\\r\\n\\r\\n'; sleep 0.3";
    let script = format!(
        "({first}) | openssl s_client -connect {} -servername a.test -tls1_3 -sess_out {session} -ign_eof 2>&1",
        usher.address
    );
    let said = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.contains("Max Early Data: 0"), "{said}");
    let said = s_client(
        &usher,
        &["-tls1_3", "-sess_in", &session, "-early_data", &early],
    );
    assert!(said.contains("Early data was not sent"), "{said}");
    assert!(app.received().iter().all(|one| one.target() != "/early"));
    passes_within(&usher, &issuer, &authority);
}

/// Every file of the source, by its path.
pub fn sources() -> Vec<(String, String)> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let shown = path.strip_prefix(root).unwrap().display().to_string();
                found.push((shown, std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 100);
    found
}
