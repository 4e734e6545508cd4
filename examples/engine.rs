//! A small engine and storage writer in the terms of the contract that usher speaks:
//! it reads `createUser` from a Redis stream as a member of `engine-group`, writes the row,
//! acknowledges, and replies.
//!
//! ```text
//! cargo run --example engine -- redis://127.0.0.1 postgres://postgres@127.0.0.1/postgres
//! ```
//!
//! It makes the table and the consumer group when they are not there. A real engine replies
//! before its storage writer has inserted the row, and so does this one.
#![allow(
    clippy::expect_used,
    reason = "an example ends with a message when a peer is missing"
)]

use std::error::Error;

use redis::AsyncCommands;
use redis::streams::{StreamReadOptions, StreamReadReply};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};

const REQUESTS: &str = "stream:exness";
const REPLIES: &str = "stream:exnessReceive";
const GROUP: &str = "engine-group";
const CONSUMER: &str = "engine-example";

const TABLE: &str = r#"CREATE TABLE IF NOT EXISTS "User" (
    "id" serial PRIMARY KEY, "email" text NOT NULL UNIQUE, "userID" text NOT NULL UNIQUE, "balance" double precision)"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let redis = arguments
        .next()
        .unwrap_or_else(|| "redis://127.0.0.1".to_owned());
    let database = arguments
        .next()
        .unwrap_or_else(|| "postgres://postgres@127.0.0.1/postgres".to_owned());
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .expect("nobody has chosen another provider");
    let (storage, connection) = tokio_postgres::connect(&database, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            eprintln!("engine: PostgreSQL is gone: {error}");
        }
    });
    storage.batch_execute(TABLE).await?;
    let client = redis::Client::open(redis)?;
    // The blocking read below must not run into a response timeout.
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(None);
    let mut engine = client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?;
    join_group(&mut engine).await?;
    println!("engine: waiting for createUser on {REQUESTS}");
    loop {
        let options = StreamReadOptions::default()
            .group(GROUP, CONSUMER)
            .count(16)
            .block(5000);
        let read: Option<StreamReadReply> =
            engine.xread_options(&[REQUESTS], &[">"], &options).await?;
        for entry in read
            .into_iter()
            .flat_map(|read| read.keys)
            .flat_map(|key| key.ids)
        {
            if let Some(text) = entry.get::<String>("message") {
                serve(&mut engine, &storage, &text).await?;
            }
            let _: i64 = engine.xack(REQUESTS, GROUP, &[entry.id]).await?;
        }
    }
}

/// Makes the group when it is not there; it starts with what comes from now on.
async fn join_group(engine: &mut redis::aio::MultiplexedConnection) -> redis::RedisResult<()> {
    let made: redis::RedisResult<()> = engine.xgroup_create_mkstream(REQUESTS, GROUP, "$").await;
    match made {
        Err(error) if error.code() == Some("BUSYGROUP") => Ok(()),
        made => made,
    }
}

/// Replies first and writes the row after: whoever waits must look at the table, not at the reply.
async fn serve(
    engine: &mut redis::aio::MultiplexedConnection,
    storage: &Client,
    text: &str,
) -> Result<(), Box<dyn Error>> {
    let Ok(request) = serde_json::from_str::<Value>(text) else {
        eprintln!("engine: an entry that is not JSON is skipped");
        return Ok(());
    };
    let field = |name: &str| {
        request
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (id, email, request_id) = (field("userId"), field("userEmail"), field("requestId"));
    if field("function") != "createUser" || id.is_empty() || email.is_empty() {
        return Ok(());
    }
    let reply = json!({
        "function": "createUser", "message": id, "requestId": request_id, "correlationId": request_id,
    });
    let _: String = engine
        .xadd(REPLIES, "*", &[("message", reply.to_string())])
        .await?;
    store(storage, id, email).await?;
    println!("engine: created {id:?} for request {request_id}");
    Ok(())
}

/// A row with that e-mail gets the id; else a row with that id gets the e-mail; else a new row.
async fn store(storage: &Client, id: &str, email: &str) -> Result<(), tokio_postgres::Error> {
    let by_email = r#"UPDATE "User" SET "userID" = $1 WHERE "email" = $2"#;
    let by_id = r#"UPDATE "User" SET "email" = $2 WHERE "userID" = $1"#;
    for update in [by_email, by_id] {
        if storage.execute(update, &[&id, &email]).await? > 0 {
            return Ok(());
        }
    }
    let insert = r#"INSERT INTO "User" ("userID", "email") VALUES ($1, $2) ON CONFLICT DO NOTHING"#;
    storage.execute(insert, &[&id, &email]).await?;
    Ok(())
}
