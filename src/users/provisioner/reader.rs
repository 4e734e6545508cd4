//! Reads the replies: one task, on a connection of its own, only while somebody waits.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::link::Link;
use super::mailbox::Mailbox;
use super::reply;
use crate::breaker::PAUSES;
use crate::database::redis::Connection;

/// Entries in one answer.
const COUNT: usize = 100;

/// How long Redis holds a question; it bounds how long the reader outlives the last waiter,
/// and how late it turns back for somebody with an older tail.
const BLOCK: Duration = Duration::from_millis(250);

/// Runs until nobody waits. After a lost connection it goes on where it was, so that a reply
/// that came in between is not lost.
pub(super) async fn read(mailbox: Arc<Mailbox>, link: Arc<Link>, stream: Arc<str>) {
    let _reading = mailbox.clone().reading();
    let mut connection = None;
    let mut failures = 0;
    while let Some(from) = mailbox.next() {
        match step(&link, &mut connection, &stream, &from.to_string()).await {
            Ok(answer) => {
                failures = 0;
                mailbox.set_hears(true);
                for entry in reply::entries(answer) {
                    mailbox.deliver(entry);
                }
            }
            Err(why) => {
                tracing::debug!(why, "replies cannot be read");
                mailbox.set_hears(false);
                connection = None;
                tokio::time::sleep(PAUSES.after(failures).min(Duration::from_secs(1))).await;
                failures += 1;
            }
        }
    }
}

async fn step(
    link: &Link,
    connection: &mut Option<Connection>,
    stream: &str,
    from: &str,
) -> Result<Value, String> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(link.connect_apart(BLOCK).await?),
    };
    let mut command = redis::cmd("XREAD");
    command
        .arg("COUNT")
        .arg(COUNT)
        .arg("BLOCK")
        .arg(BLOCK.as_millis() as u64)
        .arg("STREAMS")
        .arg(stream)
        .arg(from);
    match tokio::time::timeout(BLOCK + Duration::from_secs(1), connection.query(&command)).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
