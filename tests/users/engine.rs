//! A small engine and storage writer in the contract's terms, with the ways in which it can be odd.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;

use crate::common::postgres::Postgres;
use crate::common::redis::Redis;

/// How long the engine waits for an answer of Redis on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the engine behaves.
#[derive(Clone)]
pub struct Habits {
    /// Between the reply and the row.
    pub row_after: Duration,
    /// The row is never written.
    pub no_row: bool,
    /// Nothing is said.
    pub no_reply: bool,
    /// The reply is said twice.
    pub twice: bool,
    /// Replies name no request, as older engines do.
    pub old: bool,
    /// Before the reply come replies for others, and junk.
    pub noisy: bool,
    /// Said instead of the user's id.
    pub says: Option<&'static str>,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            row_after: Duration::from_millis(20),
            no_row: false,
            no_reply: false,
            twice: false,
            old: false,
            noisy: false,
            says: None,
        }
    }
}

pub struct Engine {
    task: JoinHandle<()>,
    created: Arc<AtomicU64>,
    storage: Arc<Storage>,
}

/// Writes rows, and writes them again when PostgreSQL is back.
struct Storage {
    url: String,
    client: tokio::sync::Mutex<Arc<tokio_postgres::Client>>,
    written: Mutex<HashSet<String>>,
}

impl Engine {
    /// Reads requests from the group `engine-group`, writes rows, replies.
    pub async fn start(redis: &Redis, postgres: &Postgres, habits: Habits) -> Self {
        let mut connection = redis.connect().await;
        join_group(&mut connection).await;
        let client = redis::Client::open(redis.url()).expect("a URL");
        let created = Arc::new(AtomicU64::new(0));
        let storage = Arc::new(Storage {
            url: postgres.url(),
            client: tokio::sync::Mutex::new(Arc::new(postgres.connect().await)),
            written: Mutex::default(),
        });
        let work = run(client, connection, storage.clone(), habits, created.clone());
        Self {
            task: tokio::spawn(work),
            created,
            storage,
        }
    }

    /// `createUser` requests seen.
    pub fn seen(&self) -> u64 {
        self.created.load(Ordering::SeqCst)
    }

    /// Tells whether the row of an id is there, for whoever runs on a thread of its own. What
    /// the engine does not remember yet is asked of the database: a busy machine may run the
    /// app before the engine hears that its row is written.
    pub fn witness(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        let storage = self.storage.clone();
        let runtime = tokio::runtime::Handle::current();
        move |id| storage.remembers(id) || runtime.block_on(storage.has(id))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join_group(connection: &mut MultiplexedConnection) {
    let _: Result<(), _> = redis::cmd("XGROUP")
        .arg(&["CREATE", "stream:exness", "engine-group", "0", "MKSTREAM"])
        .query_async(connection)
        .await;
}

async fn run(
    client: redis::Client,
    mut connection: MultiplexedConnection,
    storage: Arc<Storage>,
    habits: Habits,
    created: Arc<AtomicU64>,
) {
    loop {
        let read: Result<redis::streams::StreamReadReply, _> = redis::cmd("XREADGROUP")
            .arg(&[
                "GROUP",
                "engine-group",
                "one",
                "COUNT",
                "100",
                "BLOCK",
                "200",
            ])
            .arg(&["STREAMS", "stream:exness", ">"])
            .query_async(&mut connection)
            .await;
        let Ok(read) = read else {
            // Redis refuses for a while, has lost the group, or has hung up.
            tokio::time::sleep(Duration::from_millis(20)).await;
            // What Redis has handed out must not be lost to the library's half second.
            let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
            if let Ok(again) = client
                .get_multiplexed_async_connection_with_config(&patient)
                .await
            {
                connection = again;
                join_group(&mut connection).await;
            }
            continue;
        };
        for entry in read.keys.into_iter().flat_map(|key| key.ids) {
            assert_eq!(entry.map.len(), 1, "exactly one field");
            let message: Json = match &entry.map["message"] {
                Value::BulkString(text) => serde_json::from_slice(text).expect("JSON"),
                other => panic!("{other:?}"),
            };
            created.fetch_add(1, Ordering::SeqCst);
            answer(&mut connection, &habits, &message).await;
            let (storage, habits) = (storage.clone(), habits.clone());
            tokio::spawn(async move { store(&storage, &habits, &message).await });
        }
    }
}

async fn answer(connection: &mut MultiplexedConnection, habits: &Habits, request: &Json) {
    if habits.no_reply {
        return;
    }
    if habits.noisy {
        make_noise(connection).await;
    }
    let says = habits
        .says
        .map_or(request["userId"].clone(), |text| json!(text));
    let mut reply = json!({ "function": "createUser", "message": says });
    if !habits.old {
        reply["requestId"] = request["requestId"].clone();
        reply["correlationId"] = request["requestId"].clone();
    }
    for _ in 0..if habits.twice { 2 } else { 1 } {
        say(connection, "message", reply.to_string().as_bytes()).await;
    }
}

async fn make_noise(connection: &mut MultiplexedConnection) {
    let other =
        json!({ "function": "createUser", "message": "somebody", "requestId": "not-yours" });
    let trade = json!({ "function": "createTrade", "message": { "ok": true }, "requestId": 5 });
    let huge = "x".repeat(200_000);
    let (other, trade) = (other.to_string(), trade.to_string());
    let entries: [(&str, &[u8]); 8] = [
        ("message", other.as_bytes()),
        ("message", trade.as_bytes()),
        ("message", b"{ not json"),
        ("message", b"[1, 2, 3]"),
        ("message", &[0xff, 0xfe, 0x00]),
        ("message", huge.as_bytes()),
        ("other", b"field"),
        ("message", b""),
    ];
    for (field, text) in entries {
        say(connection, field, text).await;
    }
}

async fn say(connection: &mut MultiplexedConnection, field: &str, text: &[u8]) {
    // Redis may be gone by now: then nobody hears it.
    let _: Result<String, _> = redis::cmd("XADD")
        .arg("stream:exnessReceive")
        .arg("*")
        .arg(field)
        .arg(text)
        .query_async(connection)
        .await;
}

async fn store(storage: &Storage, habits: &Habits, request: &Json) {
    if habits.no_row {
        return;
    }
    tokio::time::sleep(habits.row_after).await;
    let id = request["userId"].as_str().expect("an id");
    let email = request["userEmail"].as_str().expect("an e-mail");
    while storage.write(id, email).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    storage.remember(id);
}

impl Storage {
    fn remembers(&self, id: &str) -> bool {
        self.written.lock().expect("not poisoned").contains(id)
    }

    fn remember(&self, id: &str) {
        self.written
            .lock()
            .expect("not poisoned")
            .insert(id.to_owned());
    }

    /// A database that is away has no row to show; whoever asks may ask again.
    async fn has(&self, id: &str) -> bool {
        let Ok(client) = self.client().await else {
            return false;
        };
        let sql = r#"SELECT 1 FROM "User" WHERE "userID" = $1"#;
        let found = matches!(client.query_opt(sql, &[&id]).await, Ok(Some(_)));
        if found {
            self.remember(id);
        }
        found
    }

    /// The storage writer's rule (wire contract §3.2).
    async fn write(&self, id: &str, email: &str) -> Result<(), tokio_postgres::Error> {
        let client = self.client().await?;
        let by_email = r#"UPDATE "User" SET "userID" = $1 WHERE "email" = $2"#;
        let by_id = r#"UPDATE "User" SET "email" = $2 WHERE "userID" = $1"#;
        for sql in [by_email, by_id] {
            if client.execute(sql, &[&id, &email]).await? > 0 {
                return Ok(());
            }
        }
        let insert = r#"INSERT INTO "User" ("userID", "email") VALUES ($1, $2)"#;
        client.execute(insert, &[&id, &email]).await?;
        Ok(())
    }

    async fn client(&self) -> Result<Arc<tokio_postgres::Client>, tokio_postgres::Error> {
        let mut client = self.client.lock().await;
        if client.is_closed() {
            let (fresh, connection) =
                tokio_postgres::connect(&self.url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            *client = Arc::new(fresh);
        }
        Ok(client.clone())
    }
}
