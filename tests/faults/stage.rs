//! Everybody in the play: the ushers, and all that they depend on, each with a way to break it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::block_in_place;

use super::callers::{Forgery, Mortal, Person, forgeries};
use super::engine;
use super::model::Model;
use super::schedule::{Fault, Kind, Peer, USHERS};
use super::sidecar::Sidecar;
use super::way::{State, Way};
use crate::common::app::{Answer, Received, answer};
use crate::common::postgres::Postgres;
use crate::common::redis::Redis;
use crate::common::{App, Issuer, KeyServer, free_port};

/// Requests on this path must never come to the app.
pub const NEVER: &str = "/never";

/// How many people there are whose rows are there.
const KNOWN: usize = 50;

/// How many are waiting to be revoked at a time.
const MORTALS: usize = 6;

/// When somebody came to the app for the first time.
pub type Sights = Arc<Mutex<HashMap<String, SystemTime>>>;

pub struct Stage {
    pub model: Arc<Model>,
    pub sidecars: Vec<Sidecar>,
    pub known: Vec<Person>,
    pub mortals: Mutex<Vec<Arc<Mortal>>>,
    pub forgeries: Vec<Forgery>,
    pub issuer: Issuer,
    pub sights: Sights,
    pub redis: tokio::sync::Mutex<Redis>,
    pub postgres: tokio::sync::Mutex<Postgres>,
    /// Everybody who was new, and whether Redis was well meanwhile.
    newcomers: Mutex<Vec<(String, bool)>>,
    /// Whether callers go on.
    pub goes_on: AtomicBool,
    number: AtomicUsize,
    ways: Ways,
}

struct Ways {
    issuer: Way,
    redis: Way,
    postgres: Way,
    app: Way,
}

impl Stage {
    pub async fn start() -> Arc<Self> {
        let (redis, postgres) = (Redis::durable().await, Postgres::start().await);
        // Who came to the app before their row did can be told in the end.
        postgres
            .run(r#"ALTER TABLE "User" ADD "made" timestamptz DEFAULT clock_timestamp()"#)
            .await;
        tokio::spawn(engine::run(redis.url(), postgres.url()));
        let (issuer, model, sights) =
            (Issuer::new(), Arc::new(Model::default()), Sights::default());
        let ways = Ways {
            issuer: Way::to(KeyServer::start(issuer.jwks()).address, free_port()).await,
            redis: Way::to(local(redis.url().rsplit(':').next().unwrap()), free_port()).await,
            postgres: Way::to(local(&postgres.port().to_string()), free_port()).await,
            app: Way::to(app(&model, &sights).address, free_port()).await,
        };
        let yaml = configuration(&ways);
        let stage = Arc::new(Self {
            sidecars: (0..USHERS)
                .map(|number| Sidecar::start(number, &yaml))
                .collect(),
            known: (0..KNOWN)
                .map(|at| Person::new(&issuer, format!("known-{at}")))
                .collect(),
            forgeries: forgeries(&issuer, "known-0"),
            mortals: Mutex::default(),
            issuer,
            model,
            sights,
            redis: redis.into(),
            postgres: postgres.into(),
            newcomers: Mutex::default(),
            goes_on: AtomicBool::new(true),
            number: AtomicUsize::new(0),
            ways,
        });
        stage.insert_known().await;
        for _ in 0..MORTALS {
            stage.add_mortal();
        }
        stage
    }

    async fn insert_known(&self) {
        let postgres = self.postgres.lock().await;
        let sql = r#"INSERT INTO "User" ("userID", "email") SELECT n, n || '@example.com'
            FROM (SELECT 'known-' || g AS n FROM generate_series(0, 49) g
                  UNION ALL SELECT 'mortal-' || g FROM generate_series(0, 4999) g) AS all_names"#;
        postgres.run(sql).await;
    }

    /// Somebody whom nobody has seen.
    pub fn somebody_new(&self) -> Person {
        Person::new(&self.issuer, format!("new-{}", self.next()))
    }

    /// One more whose row is there, and whose token will be revoked.
    pub fn add_mortal(&self) {
        let mut mortals = self.mortals.lock().unwrap();
        let name = format!("mortal-{}", mortals.len());
        mortals.push(Arc::new(Mortal::new(&self.issuer, name)));
    }

    pub fn all_mortals(&self) -> Vec<Arc<Mortal>> {
        self.mortals.lock().unwrap().clone()
    }

    /// Somebody was new from the one moment on, and is let in by all since the other.
    pub fn note_newcomer(&self, name: &str, begun: Instant, ended: Instant) {
        let well = self.model.redis_was_well(begun, ended);
        self.newcomers.lock().unwrap().push((name.to_owned(), well));
    }

    pub fn newcomers(&self) -> Vec<(String, bool)> {
        self.newcomers.lock().unwrap().clone()
    }

    fn next(&self) -> usize {
        self.number.fetch_add(1, Ordering::SeqCst)
    }

    pub fn goes_on(&self) -> bool {
        self.goes_on.load(Ordering::SeqCst)
    }

    /// A fault from its beginning to its end.
    pub async fn suffer(&self, fault: Fault) {
        let number = self.model.begin(fault.peer, fault.kind);
        match fault.peer {
            Peer::Issuer => self.spoil(&self.ways.issuer, fault).await,
            Peer::App => self.spoil(&self.ways.app, fault).await,
            Peer::Redis => self.break_redis(fault).await,
            Peer::Postgres => self.break_postgres(fault).await,
            Peer::Usher(at) => self.break_usher(&self.sidecars[at], fault).await,
        }
        self.model.end(number);
    }

    async fn spoil(&self, way: &Way, fault: Fault) {
        way.set(match fault.kind {
            Kind::Kill => State::Down,
            Kind::Stop => State::Stopped,
            Kind::Slow => State::Slow(fault.delay),
            Kind::Reset => State::Resetting,
            Kind::Junk => State::Junk,
        });
        tokio::time::sleep(fault.lasts).await;
        way.set(State::Open);
    }

    async fn break_redis(&self, fault: Fault) {
        let mut redis = self.redis.lock().await;
        match fault.kind {
            Kind::Kill => {
                block_in_place(|| redis.kill());
                tokio::time::sleep(fault.lasts).await;
                redis.restart().await;
            }
            Kind::Stop => {
                redis.signal("STOP");
                tokio::time::sleep(fault.lasts).await;
                redis.signal("CONT");
            }
            _ => self.spoil(&self.ways.redis, fault).await,
        }
    }

    async fn break_postgres(&self, fault: Fault) {
        let mut postgres = self.postgres.lock().await;
        match fault.kind {
            Kind::Kill => {
                block_in_place(|| postgres.kill());
                tokio::time::sleep(fault.lasts).await;
                postgres.restart().await;
            }
            Kind::Stop => {
                postgres.signal_all("STOP");
                tokio::time::sleep(fault.lasts).await;
                postgres.signal_all("CONT");
            }
            _ => self.spoil(&self.ways.postgres, fault).await,
        }
    }

    async fn break_usher(&self, usher: &Sidecar, fault: Fault) {
        match fault.kind {
            Kind::Kill => {
                let killed = Instant::now();
                block_in_place(|| usher.kill());
                if usher.keeps {
                    self.model.inherit(usher.number, usher.life().0, killed);
                }
                tokio::time::sleep(fault.lasts).await;
                usher.restart();
            }
            Kind::Slow => stutter(usher, fault.lasts).await,
            _ => {
                usher.signal("STOP");
                tokio::time::sleep(fault.lasts).await;
                usher.signal("CONT");
            }
        }
    }
}

/// It runs for a fifth of the time.
async fn stutter(usher: &Sidecar, lasts: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        usher.signal("STOP");
        tokio::time::sleep(Duration::from_millis(80)).await;
        usher.signal("CONT");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn local(port: &str) -> SocketAddr {
    format!("127.0.0.1:{port}").parse().unwrap()
}

/// The app answers with who it was told is calling, and knows who may never come.
fn app(model: &Arc<Model>, sights: &Sights) -> App {
    let (model, sights) = (model.clone(), sights.clone());
    App::with(move |received: &Received| {
        let target = received.target();
        let name = received.header("x-user-id").unwrap_or("nobody");
        if target.starts_with(NEVER) {
            model.blame(format!("the app has seen {target} as {name}"));
        } else if target != format!("/{name}") {
            model.blame(format!("the app was told that {target} is {name}"));
        }
        note(&sights, name);
        Answer::Bytes(answer("200 OK", "", name))
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "what the database writes down is the time of a real clock"
)]
fn note(sights: &Sights, name: &str) {
    let now = SystemTime::now();
    let mut sights = sights.lock().unwrap();
    sights.entry(name.to_owned()).or_insert(now);
}

fn configuration(ways: &Ways) -> String {
    let (issuer, audience) = (Issuer::NAME, Issuer::AUDIENCE);
    let keys = ways.issuer.address;
    format!(
        "upstream: http://{app}\n\
         issuers:\n\
         - name: idp\n\
         \x20 issuer: \"{issuer}\"\n\
         \x20 audiences: [{audience}]\n\
         \x20 algorithms: [ES256]\n\
         \x20 jwks_uri: http://{keys}/keys\n\
         \x20 fetch: {{ timeout: 1s, refresh: 30s }}\n\
         \x20 max_token_life: 5h\n\
         users:\n\
         \x20 directory: \"postgres://app:app@{postgres}/postgres?sslmode=disable\"\n\
         \x20 preset: exness\n\
         \x20 provisioner: \"redis://{redis}\"\n\
         \x20 wait: 2s\n\
         \x20 presence: {{ fresh: 2s }}\n\
         revocation: {{ stream: \"redis://{redis}\" }}\n\
         timeouts: {{ connect: 1s, response: 2s }}\n",
        app = ways.app.address,
        postgres = ways.postgres.address,
        redis = ways.redis.address,
    )
}
