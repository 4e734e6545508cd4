//! Users over real peers, as one process of several.

use std::time::Duration;

use usher::clock::Clock;
use usher::secret::Secret;
use usher::users::metrics::Metrics;
use usher::users::settings::{
    DirectorySettings, IssuerUsers, PostgresSettings, ProvisionerSettings, RedisAddress, Settings,
    StreamsSettings, Table,
};
use usher::users::{Caller, Users};

use crate::common::postgres::Postgres;
use crate::common::redis::Redis;

/// Redis, PostgreSQL, and as many processes of usher as a test opens.
pub struct House {
    pub redis: Redis,
    pub postgres: Postgres,
}

impl House {
    pub async fn start() -> Self {
        Self {
            redis: Redis::start().await,
            postgres: Postgres::start().await,
        }
    }

    pub fn settings(&self) -> Settings {
        settings(
            &self.postgres,
            RedisAddress::Single(Secret::new(self.redis.url())),
        )
    }

    pub async fn open(&self) -> Users {
        open(self.settings()).await
    }

    /// `createUser` entries on the request stream.
    pub async fn requests(&self) -> u64 {
        self.redis.run(&["XLEN", "stream:exness"]).await
    }
}

pub fn settings(postgres: &Postgres, redis: RedisAddress) -> Settings {
    let directory = PostgresSettings::new(Secret::new(postgres.url()));
    Settings::new(
        DirectorySettings::Postgres(directory),
        Table::exness(),
        ProvisionerSettings::Streams(StreamsSettings::new(redis)),
    )
}

pub async fn open(settings: Settings) -> Users {
    Users::open(settings, Metrics::default(), Clock::System)
        .await
        .expect("users open")
}

/// Settings under which the issuer's e-mails are believed.
pub fn linking(mut settings: Settings) -> Settings {
    settings.issuers = vec![IssuerUsers {
        issuer: "idp".to_owned(),
        link_by_email: true,
        ..IssuerUsers::default()
    }];
    settings
}

pub fn short(mut settings: Settings, wait: u64) -> Settings {
    settings.wait = Duration::from_millis(wait);
    settings
}

pub fn caller<'a>(id: &'a str, email: &'a str) -> Caller<'a> {
    Caller {
        issuer: "idp",
        id,
        email: Some(email),
        name: None,
        email_verified: false,
        known: None,
    }
}
