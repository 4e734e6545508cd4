//! An engine that loses nothing: what it was given before Redis died it asks for again, and it
//! is done with a request when the row is there.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{Client, FromRedisValue, RedisError};
use serde_json::{Value, json};
use tokio_postgres::NoTls;

const STREAM: &str = "stream:exness";
const GROUP: &str = "engine-group";

/// Between two tries to reach somebody who is away.
const PAUSE: Duration = Duration::from_millis(50);

/// Longer than any fault: what Redis has handed out is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs for ever.
pub async fn run(redis: String, postgres: String) {
    let client = Client::open(redis).unwrap();
    let storage = Storage { url: postgres };
    loop {
        let Err(_) = serve(&client, &storage).await else {
            unreachable!("it ends with an error");
        };
        tokio::time::sleep(PAUSE).await;
    }
}

/// One connection to Redis, to its end.
async fn serve(client: &Client, storage: &Storage) -> Result<(), RedisError> {
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let mut redis = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    let made: Result<(), RedisError> = redis::cmd("XGROUP")
        .arg(&["CREATE", STREAM, GROUP, "0", "MKSTREAM"])
        .query_async(&mut redis)
        .await;
    if let Err(error) = made
        && error.code() != Some("BUSYGROUP")
    {
        return Err(error);
    }
    // First what was handed out and not done, then what is new.
    while take(&mut redis, storage, "0").await? > 0 {}
    loop {
        take(&mut redis, storage, ">").await?;
    }
}

/// Takes some requests and does them; how many.
async fn take(
    redis: &mut MultiplexedConnection,
    storage: &Storage,
    from: &str,
) -> Result<usize, RedisError> {
    let read: StreamReadReply = redis::cmd("XREADGROUP")
        .arg(&["GROUP", GROUP, "one", "COUNT", "100", "BLOCK", "200"])
        .arg(&["STREAMS", STREAM, from])
        .query_async(redis)
        .await?;
    let entries: Vec<_> = read.keys.into_iter().flat_map(|key| key.ids).collect();
    for entry in &entries {
        assert_eq!(entry.map.len(), 1, "exactly one field");
        let text = String::from_redis_value(entry.map["message"].clone()).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        reply(redis, &request).await?;
        storage.write(&request).await;
        let _: i64 = redis::cmd("XACK")
            .arg(&[STREAM, GROUP, &entry.id])
            .query_async(redis)
            .await?;
    }
    Ok(entries.len())
}

async fn reply(redis: &mut MultiplexedConnection, request: &Value) -> Result<(), RedisError> {
    let reply = json!({
        "function": "createUser", "message": request["userId"],
        "requestId": request["requestId"], "correlationId": request["requestId"],
    });
    redis::cmd("XADD")
        .arg(&["stream:exnessReceive", "*", "message", &reply.to_string()])
        .query_async(redis)
        .await
}

/// Who writes rows, and goes on until they are there.
struct Storage {
    url: String,
}

impl Storage {
    async fn write(&self, request: &Value) {
        let id = request["userId"].as_str().expect("an id");
        let email = request["userEmail"].as_str().expect("an e-mail");
        while self.try_write(id, email).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// The storage writer's rule: the row with the e-mail, or with the id, or a new one.
    async fn try_write(&self, id: &str, email: &str) -> Result<(), tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        tokio::spawn(connection);
        let by_email = r#"UPDATE "User" SET "userID" = $1 WHERE "email" = $2"#;
        let by_id = r#"UPDATE "User" SET "email" = $2 WHERE "userID" = $1"#;
        let insert = r#"INSERT INTO "User" ("userID", "email") VALUES ($1, $2)"#;
        for sql in [by_email, by_id, insert] {
            if client.execute(sql, &[&id, &email]).await? > 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}
