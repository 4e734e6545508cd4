//! What the log says of users: one line each, nothing raw, nothing secret.

use std::io::Write;
use std::sync::{Arc, Mutex};

use usher::clock::Clock;
use usher::secret::Secret;
use usher::users::metrics::Metrics;
use usher::users::settings::RedisAddress;
use usher::users::{FirstSight, Sight, Users};

use super::engine::{Engine, Habits};
use super::house::{House, caller, settings};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("not poisoned")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_created_user_is_one_line_with_its_request() {
    // With a single dispatcher, an event first met on another test's thread, where nobody
    // listens, would be off for this one too; with two, all are asked.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let (one, two) = (house.open().await, house.open().await);
    let who = caller("a\nINFO forged", "u@example.com");
    let sights = tokio::join!(
        one.know(&who, FirstSight::Wait),
        one.know(&who, FirstSight::Wait),
        two.know(&who, FirstSight::Wait)
    );
    assert!(matches!(
        sights,
        (Sight::Known(_), Sight::Known(_), Sight::Known(_))
    ));
    let text = String::from_utf8(lines.0.lock().expect("not poisoned").clone()).expect("text");
    let created: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("user created"))
        .collect();
    let [line] = created.as_slice() else {
        panic!("{text}");
    };
    assert!(
        line.contains("request_id=") && line.contains(r#"id="a\nINFO forged""#),
        "{line}"
    );
}

#[tokio::test]
async fn a_password_in_a_url_is_shown_nowhere() {
    let house = House::start().await;
    for url in [
        "redis://user:hunter2@127.0.0.1:1",
        "redis://user:hunter2@host:port",
        "http://user:hunter2@host",
        "rediss://user:hunter2@host/#insecure",
        "hunter2",
    ] {
        let settings = settings(&house.postgres, RedisAddress::Single(Secret::new(url)));
        assert!(!format!("{settings:?}").contains("hunter2"));
        match Users::open(settings, Metrics::default(), Clock::System).await {
            Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
            Ok(users) => {
                let told = format!("{:?} {users:?}", users.check().await);
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }
}
