//! What a login of an external user costs: the signature, the transaction in SQLite, the tokens.
//!
//! `accounts USERS LOGINS` makes a database with so many users, and then lets so many of them log in,
//! one after the other, through the endpoint itself but without a network. It prints logins per second of
//! processor time, and by the clock. Without arguments it says so and ends: `cargo bench` runs every target.
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may end with a message"
)]
#![allow(missing_docs, reason = "a program has no reader of its docs")]

use std::time::Instant;

use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use serde_json::json;
use usher::Options;
use usher::body::{Frame, RequestBody};
use usher::clock::Clock;
use usher::edge::Peer;
use usher::head::Head;
use usher::telemetry::Sink;
use usher::upstream::{Metrics, Pool};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Users that are made in one transaction, before anything is measured.
const BATCH: usize = 10_000;

fn main() {
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let [users, logins] = arguments.as_slice() else {
        println!("accounts USERS LOGINS, such as 1000 5000");
        return;
    };
    run(*users, *logins);
}

fn run(users: usize, logins: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let customer = KeyPair::generate(KeySize::Rsa2048).expect("a key");
    let file = folder.path().join("accounts.db");
    let public: PublicKeyX509Der<'_> = customer.public_key().as_der().expect("a public key");
    let pem = format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        BASE64.encode(public.as_ref())
    );
    let yaml = format!(
        "upstream: http://127.0.0.1:9\nadmin: off\nworkers: 1\nlog: {{ access: false }}\n\
         accounts: 'sqlite:{}'\nprojects: [{{ id: acme, public_key: {} }}]\n\
         issued_tokens: {{ rate_limit: 'off', access: {{ secret: aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }}, \
         refresh: {{ secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }} }}\n",
        file.display(),
        json!(pem)
    );
    let settings = usher::config::parse(&yaml, "bench", &|_| None)
        .unwrap_or_else(|problems| panic!("{problems:?}"))
        .config;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let options = Options {
        clock: Clock::System,
        access: Sink::Stdout,
    };
    let parts = runtime
        .block_on(usher::assemble(&settings, options))
        .expect("it is good");
    fill(&file, users);
    let worker = usher::sidecar::Worker {
        sidecar: parts.sidecar,
        pools: Box::new([std::sync::Arc::new(Pool::new(
            settings.upstreams()[0],
            &settings,
            Metrics::default(),
        ))]),
    };
    // Signed beforehand: that is the customer's work. Spread over all users.
    let now = Clock::System.now();
    let requests: Vec<_> = (0..logins)
        .map(|place| request(&customer, place.wrapping_mul(7919) % users.max(1), now))
        .collect();
    let peer = Peer::from(std::net::SocketAddr::from(([203, 0, 113, 7], 50_000)));
    let (started, used) = (Instant::now(), processor_time());
    for (head, body) in requests {
        let (reader, source) = RequestBody::new(Some(body.len() as u64));
        let mut body = Some(body);
        let hints = usher::hints::Hints::default();
        let answer = runtime.block_on(async {
            let mut handled = std::pin::pin!(worker.handle(&peer, Box::new(head), reader, &hints));
            std::future::poll_fn(|cx| {
                loop {
                    if let std::task::Poll::Ready(answer) = handled.as_mut().poll(cx) {
                        return std::task::Poll::Ready(answer);
                    }
                    if !source.is_asked() {
                        return std::task::Poll::Pending;
                    }
                    let frame = body.take().map(|body| Ok(Frame::Data(body.into())));
                    source.fill(frame);
                }
            })
            .await
        });
        assert_eq!(answer.status, 200);
    }
    let (wall, used) = (started.elapsed().as_secs_f64(), processor_time() - used);
    println!(
        "{users} users, {logins} logins: {:.0} a second of processor time ({:.0} µs each), {:.0} a second by the clock",
        logins as f64 / used,
        used / logins as f64 * 1e6,
        logins as f64 / wall
    );
}

/// Users as logins make them, made faster.
fn fill(file: &std::path::Path, users: usize) {
    let mut connection = rusqlite::Connection::open(file).expect("the file");
    for start in (0..users).step_by(BATCH) {
        let transaction = connection.transaction().expect("a transaction");
        for place in start..users.min(start + BATCH) {
            transaction
                .prepare_cached(
                    "INSERT INTO usher_users (id, project, foreign_id, role, email, name, metadata, secure_metadata, \
                     reputation, is_verified, is_active, last_active, created_at, updated_at) \
                     VALUES (?1, 'acme', ?2, 'visitor', ?3, 'Somebody', '{}', '{}', 0, 0, 1, 0, 0, 0)",
                )
                .expect("a statement")
                .execute((uuid::Uuid::new_v4().to_string(), id(place), email(place)))
                .expect("a row");
        }
        transaction.commit().expect("committed");
    }
}

fn id(place: usize) -> String {
    format!("user-{place}")
}

fn email(place: usize) -> String {
    format!("user-{place}@example.com")
}

fn request(customer: &KeyPair, place: usize, now: i64) -> (Head, Vec<u8>) {
    let claims = json!({
        "sub": id(place), "iss": "acme", "iat": now, "exp": now + 3600,
        "userData": { "email": email(place), "name": "Somebody else" },
    });
    let encode = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let signed = format!(
        "{}.{}",
        encode(r#"{"alg":"RS256"}"#),
        encode(&claims.to_string())
    );
    let mut signature = vec![0; customer.public_modulus_len()];
    customer
        .sign(
            &RSA_PKCS1_SHA256,
            &SystemRandom::new(),
            signed.as_bytes(),
            &mut signature,
        )
        .expect("signed");
    let jwt = format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature));
    let body = json!({ "userJwt": jwt }).to_string().into_bytes();
    let head = format!(
        "POST /acme/auth/verify-external-user HTTP/1.1\r\nhost: app.example.com\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    (Head::parse(&head).expect("it is good"), body)
}

/// Seconds that all threads of this process have run, as Linux tells it.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = text.rsplit_once(')').expect("its form");
    let ticks: f64 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<f64>().expect("a number"))
        .sum();
    // USER_HZ is 100 on every Linux that runs Rust.
    ticks / 100.0
}
