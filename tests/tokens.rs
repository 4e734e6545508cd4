//! A good token passes, and whatever is off about another one, it is refused with a reason
//! in the log and the same words for everybody else.

mod claims;
mod headers;
mod signatures;

use std::cell::{Cell, RefCell};

use serde_json::{Map, Value, json};
use usher::clock::{Clock, ManualClock};

use crate::common::{App, Client, Issuer, Reply, Signer, Usher, eventually};

/// What the manual clock shows.
const NOW: i64 = 1_800_000_000;

/// An usher that trusts one issuer, whose key is at hand.
struct Bench {
    app: App,
    signer: Signer,
    usher: Usher,
    client: RefCell<Client>,
    asked: Cell<usize>,
    _issuer: Issuer,
}

/// The claims of a good token, with `more` on top; `null` takes a claim away.
fn claims(more: Value) -> Map<String, Value> {
    let mut claims = json!({
        "iss": Issuer::NAME, "aud": Issuer::AUDIENCE, "sub": "alice", "exp": NOW + 600,
    });
    let all = claims.as_object_mut().unwrap();
    for (name, value) in more.as_object().unwrap() {
        match value.is_null() {
            true => all.remove(name),
            false => all.insert(name.clone(), value.clone()),
        };
    }
    all.clone()
}

/// The same as JSON text.
fn payload(more: Value) -> String {
    Value::Object(claims(more)).to_string()
}

/// The text of a good token's claims with one more member, which JSON values cannot express.
fn payload_and(member: &str) -> String {
    let good = payload(json!({}));
    format!("{},{member}}}", good.strip_suffix('}').unwrap())
}

/// The text of a good token's claims without `name`, and with this member in its place.
fn payload_with(name: &str, value: &str) -> String {
    let mut rest = claims(json!({}));
    rest.remove(name);
    let rest = Value::Object(rest).to_string();
    format!("{},\"{name}\":{value}}}", rest.strip_suffix('}').unwrap())
}

impl Bench {
    fn new() -> Self {
        Self::with("")
    }

    /// With more members in the issuer's entry, each followed by a comma.
    fn with(members: &str) -> Self {
        let (app, issuer) = (App::start(), Issuer::new());
        let entry = issuer.yaml().replacen('{', &format!("{{ {members}"), 1);
        let entry = match members.contains("audiences:") {
            true => entry.replace("audiences: [app], ", ""),
            false => entry,
        };
        let yaml = format!("upstream: http://{}\nissuers: [{entry}]\n", app.address);
        let usher = Usher::with_clock(&yaml, Clock::Manual(ManualClock::new(NOW)));
        Self {
            signer: Signer::of(&issuer),
            client: RefCell::new(usher.connect()),
            asked: Cell::new(0),
            app,
            usher,
            _issuer: issuer,
        }
    }

    /// Sends an `Authorization` line on a path of its own.
    fn send(&self, authorization: &str) -> (String, Reply) {
        let number = self.asked.get();
        self.asked.set(number + 1);
        let path = format!("/{number}");
        let mut client = self.client.borrow_mut();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: app.test\r\nAuthorization: {authorization}\r\n\r\n"
        ));
        (path, client.reply().expect("no answer"))
    }

    /// The token passes.
    #[track_caller]
    fn passes(&self, what: &str, token: &str) {
        let before = self.app.count();
        let (path, reply) = self.send(&format!("Bearer {token}"));
        let line = self.usher.line(&path);
        assert_eq!(reply.status, 200, "{what}: {line}");
        assert_eq!(self.app.count(), before + 1, "{what}");
    }

    /// The token is refused for one of these reasons, and nobody but the log is told why.
    #[track_caller]
    fn refuses_for(&self, what: &str, token: &str, reasons: &[&str]) {
        let before = self.app.count();
        let (path, reply) = self.send(&format!("Bearer {token}"));
        let line = self.usher.line(&path);
        assert_eq!(reply.status, 401, "{what}: {line}");
        assert_eq!(
            reply.header("www-authenticate"),
            Some("Bearer error=\"invalid_token\""),
            "{what}"
        );
        assert_eq!(reply.body, r#"{"error":"invalid_token"}"#, "{what}");
        let reason = line["reason"].as_str().unwrap();
        assert!(reasons.contains(&reason), "{what}: {line}");
        // A short one may be in the line by chance.
        assert!(
            token.len() < 20 || !line.to_string().contains(token),
            "{what}: {line}"
        );
        assert_eq!(line["user"], Value::Null, "{what}");
        if !["token_malformed", "token_too_large"].contains(&reason) {
            let name = usher::identify::fingerprint(token).to_string();
            assert_eq!(line["token"], name, "{what}: {line}");
        }
        assert_eq!(self.app.count(), before, "{what}: the app was asked");
    }

    #[track_caller]
    fn refuses(&self, what: &str, token: &str, reason: &str) {
        self.refuses_for(what, token, &[reason]);
    }

    /// After all that, a good one passes.
    #[track_caller]
    fn still_passes(&self) {
        self.passes("a good token", &self.signer.token(payload(json!({}))));
    }
}

#[test]
fn the_scheme_is_bearer_in_any_case_one_space_and_the_token() {
    let bench = Bench::new();
    let token = bench.signer.token(payload(json!({})));
    for scheme in ["Bearer", "bearer", "BEARER", "bEaReR"] {
        let (_, reply) = bench.send(&format!("{scheme} {token}"));
        assert_eq!(reply.status, 200, "{scheme}");
    }
    const BARE: &str = r#"Bearer realm="app""#;
    let other = "Bearer error=\"invalid_token\"";
    let table = [
        (format!("Bearer  {token}"), other, "token_malformed"),
        (format!("Bearer\t{token}"), other, "token_malformed"),
        (format!("Bearer {token} x"), other, "token_malformed"),
        (format!("Bearer {token},{token}"), other, "token_malformed"),
        (format!("Bearer,{token}"), other, "token_malformed"),
        (format!("Bearer=\"{token}\""), other, "token_malformed"),
        ("Bearer".to_owned(), other, "token_malformed"),
        (format!("Bearer-x {token}"), BARE, "scheme_refused"),
        ("Basic YTpi".to_owned(), BARE, "scheme_refused"),
        (token.clone(), BARE, "scheme_refused"),
        (String::new(), BARE, "token_missing"),
    ];
    let before = bench.app.count();
    for (line, challenge, reason) in table {
        let (path, reply) = bench.send(&line);
        assert_eq!(reply.status, 401, "{line}");
        assert_eq!(reply.header("www-authenticate"), Some(challenge), "{line}");
        assert_eq!(bench.usher.line(&path)["reason"], reason, "{line}");
    }
    assert_eq!(bench.app.count(), before);
    bench.still_passes();
}

#[test]
fn no_part_of_a_token_is_a_token() {
    let bench = Bench::new();
    let token = bench.signer.token(payload(json!({})));
    let shapes = ["token_malformed", "signature_refused"];
    for end in 1..token.len() {
        bench.refuses_for(&format!("{end} bytes"), &token[..end], &shapes);
    }
    bench.passes("the whole", &token);
}

#[test]
fn a_token_has_three_segments_and_one_spelling() {
    let bench = Bench::new();
    let good = bench.signer.token(payload(json!({})));
    let parts: Vec<_> = good.split('.').collect();
    let (header, claims, made) = (parts[0], parts[1], parts[2]);
    let last = made.as_bytes()[made.len() - 1];
    // The last character of 64 bytes holds two bits that say nothing; they must be zero.
    let next = char::from(last + 1);
    let table = [
        ("one segment", header.to_owned()),
        ("two segments", format!("{header}.{claims}")),
        ("four segments", format!("{good}.{made}")),
        (
            "five segments, as if encrypted",
            format!("{good}.{made}.{made}"),
        ),
        ("six segments", format!("{good}.{good}")),
        ("an empty header", format!(".{claims}.{made}")),
        ("an empty payload", format!("{header}..{made}")),
        ("an empty signature", format!("{header}.{claims}.")),
        ("dots", "..".to_owned()),
        ("a thousand dots", ".".repeat(1000)),
        ("padding", format!("{good}==")),
        ("padding within", format!("{header}=.{claims}.{made}")),
        (
            "a trailing bit",
            format!("{}{next}", &good[..good.len() - 1]),
        ),
        (
            "the other alphabet",
            format!("{header}.{claims}.+/{}", &made[2..]),
        ),
        ("a tilde", format!("{header}.{claims}.~{}", &made[1..])),
        ("no token at all", "xyz".to_owned()),
        ("equals signs", "===".to_owned()),
        ("not ASCII", format!("{good}é")),
        (
            "JSON serialisation",
            format!(r#"{{"protected":"{header}","payload":"{claims}","signature":"{made}"}}"#),
        ),
    ];
    for (what, token) in table {
        bench.refuses(what, &token, "token_malformed");
    }
    bench.refuses("8 KiB and one", &"a".repeat(8193), "token_too_large");
    bench.passes("the good one", &good);
}

#[test]
fn every_algorithm_is_accepted_and_only_where_the_issuer_has_it() {
    const ALL: [&str; 12] = [
        "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
        "ES384", "EdDSA",
    ];
    let app = App::start();
    let folder = tempfile::tempdir().unwrap();
    let secret: Vec<u8> = (0..64_u8)
        .map(|byte| byte.wrapping_mul(73) ^ 0x5a)
        .collect();
    let mut yaml = format!("upstream: http://{}\nissuers:\n", app.address);
    let signers = ALL.map(|name| {
        let signer = Signer::new(name, &secret);
        let path = folder.path().join(name);
        // PEM for half of them, DER for the others.
        let (key, bytes) = match name {
            _ if name.starts_with("HS") => ("secret_file", secret.clone()),
            _ if name.ends_with("384") => ("public_key_file", signer.public_der()),
            _ => ("public_key_file", signer.public_pem().into_bytes()),
        };
        std::fs::write(&path, bytes).unwrap();
        yaml.push_str(&format!(
            "  - {{ issuer: \"{name}\", name: {name}, {key}: {}, algorithms: [{name}], audiences: [app] }}\n",
            path.display()
        ));
        signer
    });
    let usher = Usher::with_clock(&yaml, Clock::Manual(ManualClock::new(NOW)));
    for issuer in ALL {
        for signer in &signers {
            let token = signer.token(payload(json!({ "iss": issuer })));
            let path = format!("/{issuer}/{}", signer.algorithm);
            let reply = usher.get(&path, &token);
            if signer.algorithm == issuer {
                assert_eq!(reply.status, 200, "{path}");
                assert_eq!(app.last().header("x-user-id"), Some("alice"), "{path}");
            } else {
                assert_eq!(reply.status, 401, "{path}");
                assert_eq!(usher.line(&path)["reason"], "algorithm_refused", "{path}");
            }
        }
    }
    assert_eq!(app.count(), ALL.len());
}

#[test]
fn the_longest_token_is_a_setting() {
    let (app, issuer) = (App::start(), Issuer::new());
    let usher = Usher::start(&app, &issuer, "limits: { token_bytes: 1KiB }");
    let short = issuer.token("alice");
    assert!(short.len() < 1024);
    assert_eq!(usher.get("/short", &short).status, 200);
    let long = issuer.token_with("alice", json!({ "pad": "x".repeat(1024) }));
    assert_eq!(usher.get("/long", &long).status, 401);
    let line = eventually("the line", || {
        usher
            .lines()
            .into_iter()
            .find(|line| line["path"] == "/long")
    });
    assert_eq!(line["reason"], "token_too_large");
}
