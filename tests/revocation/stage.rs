//! Ushers that share a stream of revocations, and the command that revokes.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::command;
use crate::common::redis::Redis;
use crate::common::{App, Issuer, Usher, eventually};

/// One Redis, one issuer, one app, and a file with the configuration of the command.
pub struct Stage {
    pub redis: Redis,
    pub app: App,
    pub issuer: Issuer,
    pub folder: tempfile::TempDir,
    pub runtime: tokio::runtime::Runtime,
}

impl Stage {
    pub fn new() -> Self {
        Self::with(App::start())
    }

    pub fn with(app: App) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stage = Self {
            redis: runtime.block_on(Redis::start()),
            app,
            issuer: Issuer::new(),
            folder: tempfile::tempdir().unwrap(),
            runtime,
        };
        stage.write_config("");
        stage
    }

    /// The issuer, whose tokens live an hour at most.
    pub fn issuers(&self) -> String {
        let issuer = self.issuer.yaml_with(", max_token_life: 1h");
        format!("issuers: [{issuer}]\n")
    }

    pub fn revocation(&self) -> String {
        format!("revocation: {{ stream: \"{}\" }}\n", self.redis.url())
    }

    /// The whole configuration, save for the addresses.
    pub fn yaml(&self, more: &str) -> String {
        let own = match more.contains("revocation:") {
            true => String::new(),
            false => self.revocation(),
        };
        format!(
            "upstream: http://{}\n{}{own}{more}",
            self.app.address,
            self.issuers()
        )
    }

    /// A ready usher in this process.
    pub fn usher(&self, more: &str) -> Usher {
        let usher = Usher::configured(&self.yaml(more));
        ready(&usher);
        usher
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("usher.yaml")
    }

    pub fn write_config(&self, more: &str) {
        std::fs::write(self.config(), self.yaml(more)).unwrap();
    }

    /// `usher revoke` with these arguments: its exit code and what it says.
    #[track_caller]
    pub fn try_revoke(&self, arguments: &[&str]) -> (i32, String, String) {
        revoke(&self.config(), arguments)
    }

    /// The same, and it has to succeed.
    #[track_caller]
    pub fn revoke(&self, arguments: &[&str]) -> String {
        let (code, out, err) = self.try_revoke(arguments);
        assert_eq!(code, 0, "{err}");
        out
    }

    /// Runs a Redis command.
    pub fn redis(&self, words: &[&str]) -> redis::Value {
        self.runtime.block_on(self.redis.run(words))
    }
}

#[track_caller]
pub fn revoke(config: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut all = vec!["revoke", "--config", config.to_str().unwrap()];
    all.extend(arguments);
    command::run(&all)
}

#[track_caller]
pub fn ready(usher: &Usher) {
    eventually("a ready usher", || {
        (usher.admin("/readyz").status == 200).then_some(())
    });
}

/// Asks until the token is refused, and tells how long that took; it must be for the right reason.
#[track_caller]
pub fn dies(usher: &Usher, token: &str) -> Duration {
    let begun = Instant::now();
    eventually("a refused token", || {
        (usher.get("/dead", token).status == 401).then_some(())
    });
    let took = begun.elapsed();
    let reply = usher.get("/dead", token);
    assert_eq!(reply.status, 401);
    assert!(reply.head.contains("invalid_token"), "{}", reply.head);
    eventually("the reason in an access line", || {
        let lines = usher.lines();
        lines
            .iter()
            .any(|line| line["reason"] == "token_revoked")
            .then_some(())
    });
    took
}
