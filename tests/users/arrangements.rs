//! Redis and PostgreSQL as they are arranged elsewhere: cluster, sentinel, TLS.

use usher::secret::Secret;
use usher::users::settings::{
    DirectorySettings, PostgresSettings, ProvisionerSettings, RedisAddress, Settings,
    StreamsSettings, Table,
};
use usher::users::{FirstSight, Sight};

use super::engine::{Engine, Habits};
use super::house::{House, caller, open, settings};
use crate::common::authority::Authority;
use crate::common::postgres::Postgres;
use crate::common::redis::{RedisCluster, Sentinel, TlsRedis};

#[tokio::test]
async fn a_cluster_of_three_creates_each_user_once() {
    let cluster = RedisCluster::start().await;
    let postgres = Postgres::start().await;
    let urls = cluster.urls().into_iter().map(Secret::new).collect();
    let mut settings = settings(&postgres, RedisAddress::Cluster(urls));
    // Names with a tag, so that requests and replies are on different nodes for certain.
    if let ProvisionerSettings::Streams(streams) = &mut settings.provisioner {
        streams.requests = "{a}:requests".to_owned();
        streams.replies = "{b}:replies".to_owned();
    }
    let (one, two) = (open(settings.clone()).await, open(settings).await);
    assert_eq!(one.check().await, Vec::<String>::new());
    let who = caller("u", "u@example.com");
    let (first, second) = tokio::join!(
        one.know(&who, FirstSight::Background),
        two.know(&who, FirstSight::Background)
    );
    assert_eq!((first, second), (Sight::SentPending, Sight::SentPending));
    postgres.insert("u", "u@example.com").await;
    assert!(matches!(
        two.know(&who, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    let mut found = 0;
    for node in &cluster.nodes {
        let keys: Vec<String> = node.run(&["KEYS", "{a}:requests"]).await;
        if !keys.is_empty() {
            found += node.run::<u64>(&["XLEN", "{a}:requests"]).await;
        }
    }
    assert_eq!(found, 1);
}
#[tokio::test]
async fn the_sentinels_name_the_master() {
    let house = House::start().await;
    let _engine = Engine::start(&house.redis, &house.postgres, Habits::default()).await;
    let sentinel = Sentinel::start(&house.redis).await;
    let address = RedisAddress::Sentinel {
        nodes: vec![
            Secret::new("redis://127.0.0.1:1"),
            Secret::new(sentinel.url()),
        ],
        service: "engine".to_owned(),
        master: Secret::new("redis://any"),
    };
    let users = open(settings(&house.postgres, address)).await;
    let sight = users
        .know(&caller("u", "u@example.com"), FirstSight::Wait)
        .await;
    assert!(matches!(sight, Sight::Known(_)), "{sight:?}");
}

#[tokio::test]
async fn redis_over_tls_is_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let redis = TlsRedis::start(&authority).await;
    let postgres = Postgres::start().await;
    let _engine = Engine::start(&redis.redis, &postgres, Habits::default()).await;
    for (trusted, authority) in [(false, other), (true, authority)] {
        let mut streams = StreamsSettings::new(RedisAddress::Single(Secret::new(redis.url())));
        streams.ca_file = Some(authority.root.clone());
        let mut settings = settings(&postgres, streams.redis.clone());
        settings.provisioner = ProvisionerSettings::Streams(streams);
        let users = open(settings).await;
        let sight = users
            .know(&caller("u", "u@example.com"), FirstSight::Wait)
            .await;
        match trusted {
            true => assert!(matches!(sight, Sight::Known(_)), "{sight:?}"),
            false => assert_eq!(sight, Sight::Unavailable),
        }
    }
}

#[tokio::test]
async fn postgres_over_tls_is_verified() {
    let (authority, other) = (Authority::new(), Authority::new());
    let postgres = Postgres::start_tls(&authority).await;
    postgres.insert("u", "u@example.com").await;
    for mode in ["prefer", "require", "verify-full"] {
        for (trusted, root) in [(false, &other.root), (true, &authority.root)] {
            let mut directory = PostgresSettings::new(Secret::new(postgres.tls_url(mode)));
            directory.ca_file = Some(root.clone());
            let users = open(Settings::new(
                DirectorySettings::Postgres(directory),
                Table::exness(),
                ProvisionerSettings::None,
            ));
            let sight = users
                .await
                .know(&caller("u", "u@example.com"), FirstSight::Wait)
                .await;
            match trusted {
                true => assert!(matches!(sight, Sight::Known(_)), "{mode}: {sight:?}"),
                false => assert_eq!(sight, Sight::Unavailable, "{mode}"),
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_not_asked_where_tls_is_required() {
    let postgres = Postgres::start().await;
    for (mode, expected) in [
        ("verify-full", Sight::Unavailable),
        ("prefer", Sight::Unknown),
    ] {
        let directory = PostgresSettings::new(Secret::new(postgres.tls_url(mode)));
        let users = open(Settings::new(
            DirectorySettings::Postgres(directory),
            Table::exness(),
            ProvisionerSettings::None,
        ));
        let sight = users
            .await
            .know(&caller("u", "u@example.com"), FirstSight::Wait)
            .await;
        assert_eq!(sight, expected, "{mode}");
    }
}
