//! Both directories, the same rules.

use std::path::Path;

use tempfile::TempDir;
use usher::secret::Secret;
use usher::users::settings::{
    DirectorySettings, IssuerUsers, MatchRule, PostgresSettings, ProvisionerSettings, Settings,
    Table,
};
use usher::users::{Caller, Ensured, FirstSight, Sight, Users, Verified};

use super::house::{caller, open};
use crate::common::postgres::Postgres;

const ODD: [&str; 6] = [
    "o'brien",
    "\"; DROP TABLE \"User\"; --",
    "line\nbreak\r\n",
    "\u{1f600} \u{202e}",
    "%_\\ $1 ?1",
    " padded ",
];

fn sqlite(path: &Path, table: Table) -> Settings {
    let directory = DirectorySettings::Sqlite {
        path: path.join("users.db"),
        own_table: true,
    };
    Settings::new(directory, table, ProvisionerSettings::Direct)
}

fn postgres(postgres: &Postgres, table: Table) -> Settings {
    let directory = DirectorySettings::Postgres(PostgresSettings::new(Secret::new(postgres.url())));
    Settings::new(directory, table, ProvisionerSettings::Direct)
}

/// What `direct` promises, whatever the database.
async fn keeps_the_promises(users: &Users) {
    for (place, odd) in ODD.iter().enumerate() {
        let email = format!("{place}{odd}@example.com");
        let sight = users.know(&caller(odd, &email), FirstSight::Wait).await;
        let Sight::Known(user) = sight else {
            panic!("{odd:?}: {sight:?}");
        };
        assert_eq!(
            (user.id.as_str(), user.email.as_deref()),
            (*odd, Some(email.as_str()))
        );
    }
    let stranger = caller("stranger", "0o'brien@example.com");
    assert_eq!(
        users.know(&stranger, FirstSight::Wait).await,
        Sight::Conflict
    );
    assert!(
        matches!(users.verify_user(&stranger).await, Verified::Exists(user) if user.id == "o'brien")
    );
    // The same id with another e-mail: the row stays as it is.
    let moved = users
        .know(&caller("o'brien", "new@example.com"), FirstSight::Wait)
        .await;
    assert!(
        matches!(&moved, Sight::Known(user) if user.email.as_deref() == Some("0o'brien@example.com")),
        "{moved:?}"
    );
    // Known by id alone, where the token has no e-mail.
    let silent = Caller {
        email: None,
        ..caller("o'brien", "")
    };
    assert!(matches!(
        users.know(&silent, FirstSight::Wait).await,
        Sight::Known(_)
    ));
    let ensured = users
        .ensure_user(&caller("ensured", "ensured@example.com"))
        .await;
    assert_eq!(ensured, Ensured::Confirmed);
    assert_eq!(users.check().await, Vec::<String>::new());
}

#[tokio::test]
async fn direct_stores_exactly_in_sqlite() {
    let folder = TempDir::new().expect("a folder");
    let users = open(sqlite(folder.path(), Table::exness())).await;
    keeps_the_promises(&users).await;
    // Another process on the same file knows them too.
    let other = open(sqlite(folder.path(), Table::exness())).await;
    assert!(matches!(
        other.verify_user(&caller("o'brien", "x")).await,
        Verified::Exists(_)
    ));
}

#[tokio::test]
async fn direct_stores_exactly_in_postgres() {
    let peer = Postgres::start().await;
    let users = open(postgres(&peer, Table::exness())).await;
    keeps_the_promises(&users).await;
    assert_eq!(peer.count().await, ODD.len() as i64 + 1);
}

#[tokio::test]
async fn rows_without_an_id_do_not_hide_the_one_with_it() {
    let folder = TempDir::new().expect("a folder");
    let peer = Postgres::start().await;
    let rows = "CREATE TABLE people (id TEXT, email TEXT); \
        INSERT INTO people VALUES (NULL, 'u@example.com'), (NULL, 'u@example.com'), ('u', 'u@example.com')";
    peer.run(rows).await;
    let path = folder.path().join("users.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(rows).unwrap();
    let table = Table {
        name: "people".to_owned(),
        id_column: "id".to_owned(),
        ..Table::exness()
    };
    let mut sqlite = sqlite(folder.path(), table.clone());
    sqlite.directory = DirectorySettings::Sqlite {
        path,
        own_table: false,
    };
    for settings in [postgres(&peer, table), sqlite] {
        let users = open(settings).await;
        let who = caller("u", "u@example.com");
        let sight = users.know(&who, FirstSight::Wait).await;
        assert!(
            matches!(&sight, Sight::Known(user) if user.id == "u"),
            "{sight:?}"
        );
    }
}

#[tokio::test]
async fn many_processes_insert_one_row() {
    let peer = Postgres::start().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let users = open(postgres(&peer, Table::exness())).await;
        tasks.spawn(async move {
            users
                .know(&caller("u", "u@example.com"), FirstSight::Wait)
                .await
        });
    }
    while let Some(sight) = tasks.join_next().await {
        assert!(matches!(sight.expect("answered"), Sight::Known(_)));
    }
    assert_eq!(peer.count().await, 1);
}

#[tokio::test]
async fn nobody_is_made_up_without_a_provisioner() {
    let peer = Postgres::start().await;
    let mut settings = postgres(&peer, Table::exness());
    settings.provisioner = ProvisionerSettings::None;
    let users = open(settings).await;
    let who = caller("u", "u@example.com");
    assert_eq!(users.know(&who, FirstSight::Wait).await, Sight::Unknown);
    assert_eq!(
        users.know(&who, FirstSight::Background).await,
        Sight::Unknown
    );
    assert_eq!(users.verify_user(&who).await, Verified::InProgress);
    assert_eq!(peer.count().await, 0);
}

#[tokio::test]
async fn issuers_do_not_share_users() {
    let folder = TempDir::new().expect("a folder");
    let mut table = Table::exness();
    table.issuer_column = Some("iss\"uer".to_owned());
    table.name_column = Some("display name".to_owned());
    let mut settings = sqlite(folder.path(), table);
    settings.issuers = vec![IssuerUsers {
        issuer: "two".to_owned(),
        id_prefix: "two|".to_owned(),
        ..IssuerUsers::default()
    }];
    let users = open(settings).await;
    let one = Caller {
        issuer: "one",
        name: Some("Ann"),
        ..caller("7", "a@example.com")
    };
    let two = Caller {
        issuer: "two",
        ..one
    };
    for (who, id) in [(one, "7"), (two, "two|7")] {
        let sight = users.know(&who, FirstSight::Wait).await;
        assert!(
            matches!(&sight, Sight::Known(user) if user.id == id),
            "{sight:?}"
        );
    }
}

#[tokio::test]
async fn ids_may_be_numbers_or_uuids_and_columns_may_be_read() {
    let peer = Postgres::start().await;
    peer.run(
        r#"CREATE SCHEMA "my app"; CREATE TABLE "my app"."people" (
            "no" bigint PRIMARY KEY, "mail" text, "plan" text, "key" uuid);
        INSERT INTO "my app"."people" VALUES
            (42, 'a@example.com', 'gold', '6f1c4a9e-0000-4000-8000-000000000001')"#,
    )
    .await;
    let table = Table {
        schema: Some("my app".to_owned()),
        name: "people".to_owned(),
        id_column: "no".to_owned(),
        email_column: "mail".to_owned(),
        name_column: None,
        issuer_column: None,
        extra_columns: vec!["plan".to_owned(), "key".to_owned()],
        rule: MatchRule::Id,
    };
    let users = open(postgres(&peer, table.clone())).await;
    let Sight::Known(user) = users.know(&caller("42", "x"), FirstSight::Wait).await else {
        panic!("not known");
    };
    assert_eq!(user.column(0), Some("gold"));
    assert_eq!(user.column(1), Some("6f1c4a9e-0000-4000-8000-000000000001"));
    let sight = users
        .know(&caller("not a number", "x"), FirstSight::Wait)
        .await;
    assert!(matches!(sight, Sight::Refused(_)), "{sight:?}");
    let by_key = Table {
        id_column: "key".to_owned(),
        ..table
    };
    let users = open(postgres(&peer, by_key)).await;
    let id = "6f1c4a9e-0000-4000-8000-000000000001";
    assert!(matches!(
        users.know(&caller(id, "x"), FirstSight::Wait).await,
        Sight::Known(_)
    ));
}

#[tokio::test]
async fn check_names_what_is_missing() {
    let peer = Postgres::start().await;
    let folder = TempDir::new().expect("a folder");
    open(sqlite(folder.path(), Table::exness())).await;
    let mut column = Table::exness();
    column.id_column = "uid".to_owned();
    let mut table = Table::exness();
    table.name = "Nobody".to_owned();
    for (wrong, told) in [
        (column, r#"table "User" has no column "uid""#),
        (table, r#"the directory has no table "Nobody""#),
    ] {
        let mut file = sqlite(folder.path(), wrong.clone());
        file.directory = DirectorySettings::Sqlite {
            path: folder.path().join("users.db"),
            own_table: false,
        };
        for settings in [postgres(&peer, wrong), file] {
            let users = open(settings).await;
            assert_eq!(users.check().await, [told]);
            let sight = users
                .know(&caller("u", "u@example.com"), FirstSight::Wait)
                .await;
            assert_eq!(
                sight,
                Sight::Unavailable,
                "a wrong name never means: unknown"
            );
        }
    }
}

#[tokio::test]
async fn no_error_shows_a_password() {
    let table = Table::exness();
    for url in [
        "postgres://app:hunter2@host:bad/db",
        "postgres://app:hunter2@127.0.0.1:1/db",
        "postgres://app:hunter2@127.0.0.1:1/db?sslmode=hunter2",
    ] {
        let directory = DirectorySettings::Postgres(PostgresSettings::new(Secret::new(url)));
        let settings = Settings::new(directory, table.clone(), ProvisionerSettings::Direct);
        assert!(!format!("{settings:?}").contains("hunter2"));
        let metrics = usher::users::metrics::Metrics::default();
        match Users::open(settings, metrics, usher::clock::Clock::System).await {
            Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
            Ok(users) => {
                let told = format!("{:?} {users:?}", users.check().await);
                assert!(!told.contains("hunter2"), "{told}");
            }
        }
    }
}
