//! Redis, PostgreSQL and an engine beside usher, for tests that speak over the wire.
//!
//! They live on a runtime of their own, so that a test may block on a socket while the engine
//! does its work.

use std::sync::Mutex;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use crate::users::engine::{Engine, Habits};
use crate::users::house::House;

pub struct Peers {
    pub house: House,
    engine: Mutex<Option<Engine>>,
    runtime: Runtime,
}

impl Peers {
    /// Redis and PostgreSQL alone: whoever is asked for stays away.
    pub fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            house: runtime.block_on(House::start()),
            engine: Mutex::new(None),
            runtime,
        }
    }

    /// With an engine that does what it should.
    pub fn with_engine() -> Self {
        let peers = Self::start();
        peers.start_engine(Habits::default());
        peers
    }

    pub fn start_engine(&self, habits: Habits) {
        let engine = Engine::start(&self.house.redis, &self.house.postgres, habits);
        *self.engine.lock().unwrap() = Some(self.wait(engine));
    }

    /// Somebody who tells whether the row of an id is there.
    pub fn witness(&self) -> impl Fn(&str) -> bool + Send + Sync + use<> {
        let _runtime = self.runtime.enter();
        let engine = self.engine.lock().unwrap();
        engine.as_ref().expect("an engine runs").witness()
    }

    /// Ends the engine; when this returns, nothing that comes is read by it.
    pub fn stop_engine(&self) {
        self.engine.lock().unwrap().take();
        super::eventually("the engine has hung up", || {
            let clients: String = self.wait(self.house.redis.run(&["CLIENT", "LIST"]));
            (!clients.contains("cmd=xreadgroup")).then_some(())
        });
    }

    /// Runs something to its end.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Starts Redis again, with nothing in it.
    pub fn restart_redis(&mut self) {
        self.runtime.block_on(self.house.redis.restart());
    }

    pub fn restart_postgres(&mut self) {
        self.runtime.block_on(self.house.postgres.restart());
    }

    /// `users`, as the contract's clients know it; `more` are further members, each a line
    /// indented by two.
    pub fn users(&self, more: &str) -> String {
        self.users_through(&self.house.redis.url(), more)
    }

    /// The same with another way to Redis.
    pub fn users_through(&self, redis: &str, more: &str) -> String {
        let postgres = self.house.postgres.url();
        format!(
            "users:\n  directory: \"{postgres}\"\n  preset: exness\n  provisioner: \"{redis}\"\n{more}"
        )
    }

    pub fn insert(&self, id: &str, email: &str) {
        self.wait(self.house.postgres.insert(id, email));
    }

    /// The e-mail in the row with this id.
    pub fn email_of(&self, id: &str) -> Option<String> {
        self.wait(async {
            let client = self.house.postgres.connect().await;
            let sql = r#"SELECT "email" FROM "User" WHERE "userID" = $1"#;
            let row = client.query_opt(sql, &[&id]).await.unwrap();
            row.map(|row| row.get(0))
        })
    }

    pub fn rows(&self) -> i64 {
        self.wait(self.house.postgres.count())
    }

    /// The fields of every entry on the request stream: names and values in turn.
    pub fn entries(&self) -> Vec<Vec<String>> {
        let words = ["XRANGE", "stream:exness", "-", "+"];
        let entries: Vec<(String, Vec<String>)> = self.wait(self.house.redis.run(&words));
        entries.into_iter().map(|(_, fields)| fields).collect()
    }

    /// Every request to the engine; each must be one field called `message`.
    #[track_caller]
    pub fn requests(&self) -> Vec<Value> {
        let read = |fields: Vec<String>| {
            assert_eq!(fields.len(), 2, "one field: {fields:?}");
            assert_eq!(fields[0], "message");
            serde_json::from_str(&fields[1]).unwrap()
        };
        self.entries().into_iter().map(read).collect()
    }

    /// How many requests to the engine there are for a user.
    pub fn asked_for(&self, id: &str) -> usize {
        let requests = self.requests();
        requests.iter().filter(|one| one["userId"] == id).count()
    }

    /// How often Redis was asked anything that usher asks.
    pub fn redis_calls(&self) -> u64 {
        ["evalsha", "eval", "xinfo|stream", "xread", "xadd", "ping"]
            .iter()
            .map(|command| self.wait(self.house.redis.calls(command)))
            .sum()
    }
}
