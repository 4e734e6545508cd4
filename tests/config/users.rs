//! Users, their directory and provisioner, and the endpoints that need them.

use std::fs;
use std::time::Duration;

use usher::config::users::{
    DirectorySettings, FirstSight, MatchRule, ProvisionerSettings, RedisAddress, Settings,
    StreamsSettings,
};
use usher::config::{Column, Config, HeaderSource, Problem, load};

use super::{BASE, each_after_base_has_one_problem, good, problems, read, shown};

const SQLITE: &str = "users: { directory: 'sqlite:users.db' }\n";

fn users(text: &str) -> Settings {
    good(&format!("{BASE}{text}")).users.expect("users")
}

fn streams(provisioner: &str) -> StreamsSettings {
    let text = format!(
        "users: {{ directory: 'postgres://db/app', table: t, provisioner: {provisioner} }}\n"
    );
    match users(&text).provisioner {
        ProvisionerSettings::Streams(streams) => streams,
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_users_nobody_is_looked_up() {
    let config = good(BASE);
    assert!(config.users.is_none());
    assert_eq!(config.endpoints.verify_user, None);
    assert_eq!(config.first_sight, FirstSight::Wait);
}

#[test]
fn sqlite_keeps_a_table_of_its_own() {
    let settings = users(SQLITE);
    let DirectorySettings::Sqlite { path, own_table } = &settings.directory else {
        panic!("{:?}", settings.directory);
    };
    assert!(path.ends_with("users.db") && *own_table);
    let table = &settings.table;
    assert_eq!(table.name, "users");
    assert_eq!(
        (table.id_column.as_str(), table.email_column.as_str()),
        ("id", "email")
    );
    assert_eq!(table.name_column.as_deref(), Some("name"));
    assert_eq!(table.issuer_column.as_deref(), Some("issuer"));
    assert_eq!(table.rule, MatchRule::Id);
    assert!(matches!(settings.provisioner, ProvisionerSettings::None));
    assert_eq!(settings.wait, Duration::from_secs(5));
    assert_eq!(
        (settings.max_waiters, settings.ensure_per_minute),
        (1000, 30)
    );
    assert_eq!(settings.presence.fresh, Duration::from_secs(300));
    assert_eq!(settings.presence.max_stale, Duration::from_secs(86_400));
    assert_eq!(settings.presence.capacity, 100_000);

    // A table that somebody names is somebody's, and is not made.
    let settings = users("users: { directory: 'sqlite:users.db', table: people }\n");
    assert!(matches!(
        settings.directory,
        DirectorySettings::Sqlite {
            own_table: false,
            ..
        }
    ));
    assert_eq!(settings.table.issuer_column, None);
    assert_eq!(settings.table.name_column, None);
}

#[test]
fn the_exness_preset_is_the_contracts() {
    let settings = users(
        "users: { directory: 'postgres://app@db/app', preset: exness, provisioner: 'redis://redis:6379' }\n",
    );
    assert_eq!(settings.table, usher::config::users::Table::exness());
    let [rules] = settings.issuers.as_slice() else {
        panic!("{:?}", settings.issuers);
    };
    assert!(rules.link_by_email && rules.trust_email);
    assert_eq!(
        (rules.issuer.as_str(), rules.id_prefix.as_str()),
        ("idp.example.com", "")
    );
    let ProvisionerSettings::Streams(streams) = &settings.provisioner else {
        panic!("{:?}", settings.provisioner);
    };
    assert_eq!(streams.requests, "stream:exness");
    assert_eq!(streams.replies, "stream:exnessReceive");
    assert_eq!(streams.marker, Duration::from_secs(10));
    // What is said wins over the preset.
    let config = BASE.replace("audiences: [app]", "audiences: [app], link_by_email: false")
        + "users: { directory: 'postgres://db/app', preset: exness, id_column: uid, match: id }\n";
    let settings = good(&config).users.expect("users");
    assert!(!settings.issuers[0].link_by_email && settings.issuers[0].trust_email);
    assert_eq!(
        (settings.table.id_column.as_str(), settings.table.rule),
        ("uid", MatchRule::Id)
    );
}

#[test]
fn without_the_preset_nobody_is_linked() {
    let settings = users(
        "users: { directory: 'postgresql://db/app', table: people, schema: app, match: id_or_email }\n",
    );
    assert!(!settings.issuers[0].link_by_email && !settings.issuers[0].trust_email);
    assert_eq!(settings.table.rule, MatchRule::IdOrEmail);
    assert_eq!(settings.table.schema.as_deref(), Some("app"));
    assert_eq!(settings.table.issuer_column, None);
}

#[test]
fn everything_about_users_can_be_said() {
    let config = good(&format!(
        "{BASE}users:
  directory: {{ url: 'postgres://db/app', ca_file: roots.pem, pool: 3, statement_timeout: 500ms, connect_timeout: 250ms }}
  table: people
  id_column: no
  email_column: mail
  name_column: display name
  issuer_column: iss
  provisioner:
    url: rediss://redis:6380
    ca_file: redis.pem
    requests: stream:in
    replies: stream:out
    connect_timeout: 100ms
    response_timeout: 200ms
  first_sight: background
  wait: 2s
  marker: 30s
  max_waiters: 7
  presence: {{ fresh: 1m, max_stale: 1h, capacity: 5 }}
  ensure_per_minute: 9
endpoints: {{ verify_user: /v, ensure_user: /e }}
headers: {{ X-User-Id: user.id, X-Mail: user.email, X-Plan: user.plan, X-Tier: user.plan, X-Odd: 'user.a b', X-Sub: id }}
routes: [{{ path: /a, first_sight: 'off' }}, {{ path: /b }}]
"
    ));
    let settings = config.users.as_ref().expect("users");
    let DirectorySettings::Postgres(postgres) = &settings.directory else {
        panic!("{:?}", settings.directory);
    };
    assert_eq!(postgres.pool, 3);
    assert_eq!(postgres.statement_timeout, Duration::from_millis(500));
    assert_eq!(postgres.connect_timeout, Duration::from_millis(250));
    assert!(
        postgres
            .ca_file
            .as_ref()
            .is_some_and(|path| path.ends_with("roots.pem"))
    );
    let table = &settings.table;
    assert_eq!(table.issuer_column.as_deref(), Some("iss"));
    assert_eq!(table.name_column.as_deref(), Some("display name"));
    assert_eq!(table.extra_columns, ["plan", "a b"], "each once");
    let ProvisionerSettings::Streams(streams) = &settings.provisioner else {
        panic!("{:?}", settings.provisioner);
    };
    assert_eq!(
        (streams.requests.as_str(), streams.replies.as_str()),
        ("stream:in", "stream:out")
    );
    assert_eq!(streams.marker, Duration::from_secs(30));
    assert_eq!(streams.connect_timeout, Duration::from_millis(100));
    assert_eq!(streams.response_timeout, Duration::from_millis(200));
    assert_eq!((settings.max_waiters, settings.ensure_per_minute), (7, 9));
    assert_eq!(settings.presence.capacity, 5);
    assert_eq!(config.first_sight, FirstSight::Background);
    assert_eq!(config.routes[0].first_sight, Some(FirstSight::Off));
    assert_eq!(config.routes[1].first_sight, None);
    assert_eq!(config.endpoints.verify_user.as_deref(), Some("/v"));
    assert_eq!(config.endpoints.ensure_user.as_deref(), Some("/e"));
    assert_eq!(
        sources(&config),
        [
            HeaderSource::User(Column::Id),
            HeaderSource::User(Column::Email),
            HeaderSource::User(Column::Extra(0)),
            HeaderSource::User(Column::Extra(0)),
            HeaderSource::User(Column::Extra(1)),
            HeaderSource::Claim("id".into()),
        ]
    );
}

fn sources(config: &Config) -> Vec<HeaderSource> {
    config
        .headers
        .iter()
        .map(|header| header.value.clone())
        .collect()
}

#[test]
fn redis_may_be_arranged_in_several_ways() {
    let address = |text: &str| streams(text).redis;
    let text = |address: &RedisAddress| match address {
        RedisAddress::Single(url) => String::from_utf8(url.expose().to_vec()).unwrap(),
        other => panic!("{other:?}"),
    };
    for url in ["redis://h", "rediss://u:p@h:1/2", "unix:///run/redis.sock"] {
        assert_eq!(text(&address(&format!("'{url}'"))), url);
        assert_eq!(text(&address(&format!("{{ url: '{url}' }}"))), url);
    }
    let sentinel = address("'redis+sentinel://a:26379,b:26379/engine/2'");
    assert!(
        matches!(&sentinel, RedisAddress::Sentinel { nodes, service, .. } if nodes.len() == 2 && service == "engine"),
        "{sentinel:?}"
    );
    let cluster = address("'rediss+cluster://a,b:2,c'");
    assert!(
        matches!(&cluster, RedisAddress::Cluster(nodes) if nodes.len() == 3),
        "{cluster:?}"
    );
    let text = "users: { directory: 'sqlite:a', provisioner: direct }\n";
    assert!(matches!(
        users(text).provisioner,
        ProvisionerSettings::Direct
    ));
    let text = "users: { directory: 'sqlite:a', provisioner: none }\n";
    assert!(matches!(users(text).provisioner, ProvisionerSettings::None));
}

#[test]
fn urls_may_come_from_files_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| fs::write(folder.path().join(name), text).unwrap();
    write("db", b"postgres://app:hunter2@db/app\n");
    write("redis", b"redis://:hunter3@redis\n");
    write("binary", &[0xff, 0xfe]);
    write("empty", b"");
    write("other", b"mysql://app:hunter2@db/app");
    let config = |directory: &str, provisioner: &str| {
        let users = format!(
            "users: {{ preset: exness, directory: {{ url_file: {directory} }}, provisioner: {{ url_file: {provisioner} }} }}\n"
        );
        write("usher.yaml", format!("{BASE}{users}").as_bytes());
        load(&folder.path().join("usher.yaml"))
    };
    let loaded = config("db", "redis").unwrap_or_else(|all| panic!("{}", shown(&all)));
    let settings = loaded.config.users.expect("users");
    assert!(
        matches!(&settings.directory, DirectorySettings::Postgres(postgres)
            if postgres.url.expose() == b"postgres://app:hunter2@db/app")
    );
    assert!(
        matches!(&settings.provisioner, ProvisionerSettings::Streams(streams)
            if streams.redis == RedisAddress::Single(usher::secret::Secret::new("redis://:hunter3@redis")))
    );
    assert!(!format!("{settings:?}").contains("hunter"));

    for (directory, provisioner, key, phrase) in [
        (
            "none",
            "redis",
            "users.directory.url_file",
            "cannot be read",
        ),
        (
            "empty",
            "redis",
            "users.directory.url_file",
            "is an empty file",
        ),
        (
            "binary",
            "redis",
            "users.directory.url_file",
            "names a file that is not text",
        ),
        (
            "other",
            "redis",
            "users.directory.url_file",
            "is neither `sqlite:` nor `postgres://`",
        ),
        ("db", "none", "users.provisioner.url_file", "cannot be read"),
        (
            "db",
            "binary",
            "users.provisioner.url_file",
            "names a file that is not text",
        ),
        (
            "db",
            "db",
            "users.provisioner.url_file",
            "is not the URL of a Redis server",
        ),
    ] {
        let all = config(directory, provisioner).expect_err(directory);
        let told = shown(&all);
        assert_eq!(all.len(), 1, "{told}");
        assert_eq!((all[0].key.as_str(), all[0].line), (key, Some(4)), "{told}");
        assert!(told.contains(phrase) && !told.contains("hunter"), "{told}");
    }
}

#[test]
fn whoever_speaks_to_postgres_in_clear_over_a_network_is_told() {
    let warnings = |url: &str| {
        let users = format!("users: {{ directory: '{url}', table: t, shared_ids: true }}\n");
        let accounts = format!(
            "accounts: '{url}'\nprojects: [{{ id: acme, public_key: cHVi }}]\nissued_tokens:\n  \
             rate_limit: 'off'\n  access: {{ secret_file: a }}\n  refresh: {{ secret_file: b }}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let secret = |name: &str| {
            fs::write(
                folder.path().join(name),
                format!("{name}kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To"),
            )
            .unwrap()
        };
        secret("a");
        secret("b");
        let file = folder.path().join("usher.yaml");
        fs::write(&file, format!("{BASE}{users}{accounts}")).unwrap();
        let loaded = load(&file).unwrap_or_else(|all| panic!("{}", shown(&all)));
        let about = |warning: &Problem| warning.message.starts_with("is on another machine");
        let told: Vec<_> = loaded.warnings.iter().filter(|one| about(one)).collect();
        told.iter().map(|one| one.key.clone()).collect::<Vec<_>>()
    };
    let both = ["users.directory", "accounts"];
    for clear in [
        "postgres://db/app?sslmode=prefer",
        "postgres://db/app?sslmode=disable",
        "postgres://10.1.2.3/app?sslmode=disable",
        "postgres://localhost,db/app?sslmode=prefer",
    ] {
        assert_eq!(warnings(clear), both, "{clear}");
    }
    for well in [
        "postgres://db/app",
        "postgres://db/app?sslmode=verify-full",
        "postgres://localhost/app",
        "postgres://127.0.0.1/app?sslmode=disable",
        "postgres:///app?host=/run/postgresql&sslmode=disable",
    ] {
        assert_eq!(warnings(well), [""; 0], "{well}");
    }
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn the_directory_and_its_table() {
    each_after_base_has_one_problem(&[
        ("users: {}\n", 4, "users.directory", "is missing. Write `directory: sqlite:"),
        ("users:\n  directory: {}\n", 5, "users.directory.url", "is missing"),
        ("users:\n  directory: mysql://db\n  table: t\n", 5, "users.directory", "is neither `sqlite:` nor `postgres://`"),
        ("users:\n  directory: { url: 'mysql://db' }\n  table: t\n", 5, "users.directory.url", "is neither `sqlite:`"),
        ("users:\n  directory: 'sqlite:'\n", 5, "users.directory", "names no file"),
        ("users:\n  directory:\n    url: 'sqlite:'\n", 6, "users.directory.url", "names no file"),
        ("users:\n  directory: { url: 'sqlite:a', url_file: b }\n", 5, "users.directory", "has both `url` and `url_file`"),
        ("users:\n  directory: postgres://db/app\n", 4, "users.table", "is missing. Write the table that holds your users"),
        ("users:\n  directory: { url: 'postgres://db', pool: 0 }\n  table: t\n", 5, "users.directory.pool", "is too small: 0. Write 1 or more"),
        ("users:\n  directory: { url: 'postgres://db', pool: 1001 }\n  table: t\n", 5, "users.directory.pool", "is too large"),
        ("users:\n  directory:\n    url: postgres://db\n    statement_timeout: 0\n  table: t\n", 7, "users.directory.statement_timeout", "is too small"),
        ("users:\n  directory:\n    url: postgres://db\n    connect_timeout: 0s\n  table: t\n", 7, "users.directory.connect_timeout", "is too small"),
        ("users:\n  directory: postgres://db:port/app\n  table: t\n", 5, "users.directory", "is no URL of PostgreSQL: invalid value for option `port`"),
        ("users:\n  directory: postgres://db/app?sslmode=verify-ca\n  table: t\n", 5, "users.directory", "none of disable, prefer, require and verify-full"),
        ("users:\n  directory: { url: 'postgres://db/app?sslmode=prefer', ca_file: a }\n  table: t\n", 5, "users.directory", "has a `ca_file`, and `sslmode=prefer` goes on in clear"),
        ("users:\n  directory: { url: 'postgres://localhost/app?sslmode=disable', ca_file: a }\n  table: t\n", 5, "users.directory", "has a `ca_file`, and `sslmode=disable` sends all of it in clear"),
        ("users:\n  directory: { url: 'postgres://db', pools: 1 }\n  table: t\n", 5, "users.directory.pools", "Did you mean `pool`"),
        ("users:\n  directory: 'sqlite:a'\n  table: ''\n", 6, "users.table", "is no name of a table or column"),
        ("users:\n  directory: 'sqlite:a'\n  table: \"a\\nb\"\n", 6, "users.table", "is no name"),
        ("users:\n  directory: 'sqlite:a'\n  schema: ''\n", 6, "users.schema", "is no name"),
        ("users:\n  directory: 'sqlite:a'\n  id_column: ''\n", 6, "users.id_column", "is no name"),
        ("users:\n  directory: 'sqlite:a'\n  email_column: \"a\\0b\"\n", 6, "users.email_column", "is no name"),
        ("users:\n  directory: 'sqlite:a'\n  name_column: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n", 6, "users.name_column", "at most 63 bytes"),
        ("users:\n  directory: 'sqlite:a'\n  issuer_column: ''\n", 6, "users.issuer_column", "is no name"),
        ("users:\n  directory: 'sqlite:a'\n  preset: vega\n", 6, "users.preset", "exness"),
        ("users:\n  directory: 'sqlite:a'\n  match: email\n", 6, "users.match", "id_or_email"),
        ("users:\n  directory: 'sqlite:a'\n  first_sight: later\n", 6, "users.first_sight", "background"),
        ("users:\n  directory: 'sqlite:a'\n  wait: 0\n", 6, "users.wait", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  max_waiters: 0\n", 6, "users.max_waiters", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  max_waiters: 1000001\n", 6, "users.max_waiters", "is too large"),
        ("users:\n  directory: 'sqlite:a'\n  ensure_per_minute: 0\n", 6, "users.ensure_per_minute", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  presence: { fresh: 0 }\n", 6, "users.presence.fresh", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  presence: { capacity: 0 }\n", 6, "users.presence.capacity", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  presence:\n    max_stale: 1m\n", 7, "users.presence.max_stale", "is shorter than `fresh`"),
        ("users:\n  directory: 'sqlite:a'\n  provisoner: direct\n", 6, "users.provisoner", "Did you mean `provisioner`"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn the_provisioner() {
    each_after_base_has_one_problem(&[
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis\n", 6, "users.provisioner", "the address has no scheme. Write `redis://host:6379`"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: ''\n", 6, "users.provisioner", "has no scheme"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: http://redis\n", 6, "users.provisioner", "is not the URL of a Redis server"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redisx://redis\n", 6, "users.provisioner", "is not the URL of a Redis server"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: http+unix:///run/redis\n", 6, "users.provisioner", "is not the URL of a Redis server"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'kafka://k' }\n", 6, "users.provisioner.url", "is not the URL of a Redis server"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: {}\n", 6, "users.provisioner.url", "is missing"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', url_file: b }\n", 6, "users.provisioner", "has both `url` and `url_file`"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis+sentinel://a:1\n", 6, "users.provisioner", "the master's group is missing"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis+cluster://a/0\n", 6, "users.provisioner", "a cluster has no database"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis+cluster://a,,b\n", 6, "users.provisioner", "a host is missing"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis+ring://a\n", 6, "users.provisioner", "neither sentinel nor cluster"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: http+cluster://a\n", 6, "users.provisioner", "the scheme is not redis or rediss"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', requests: '' }\n", 6, "users.provisioner.requests", "is empty"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', requests: 'a{b}' }\n", 6, "users.provisioner.requests", "holds braces"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', replies: 'a}' }\n", 6, "users.provisioner.replies", "holds braces"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', connect_timeout: 0 }\n", 6, "users.provisioner.connect_timeout", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: { url: 'redis://a', response_timeout: 0 }\n", 6, "users.provisioner.response_timeout", "is too small"),
        ("users:\n  directory: 'sqlite:a'\n  provisioner: redis://a\n  marker: 999ms\n", 7, "users.marker", "is too small: 999ms. Write 1s or more"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn headers_and_endpoints_that_need_users() {
    each_after_base_has_one_problem(&[
        ("headers:\n  X-Token: id\n  X-Plan: user.plan\n", 6, "headers.X-Plan", "takes a column of the user's row, but nobody is looked up"),
        ("users: { directory: 'sqlite:a' }\nheaders:\n  X-Plan: 'user.'\n", 6, "headers.X-Plan", "is no name of a table or column"),
        ("endpoints:\n  verify_user: /v\n", 5, "endpoints.verify_user", "needs users, and nobody is looked up"),
        ("endpoints:\n  ensure_user: /e\n", 5, "endpoints.ensure_user", "needs users"),
        ("users: { directory: 'sqlite:a' }\nendpoints:\n  verify_user: v\n", 6, "endpoints.verify_user", "Write"),
        ("users: { directory: 'sqlite:a' }\nendpoints:\n  verify_user: /v/*\n", 6, "endpoints.verify_user", "has `*`. Write one exact path"),
        ("users: { directory: 'sqlite:a' }\nendpoints:\n  ensure_user: /e\nroutes: [{ path: /e }]\n", 6, "endpoints.ensure_user", "has the path of a route too: /e"),
        ("users: { directory: 'sqlite:a' }\nendpoints:\n  verify_user: /v\n  ensure_user: /v\n", 7, "endpoints.ensure_user", "is the path of another endpoint"),
        ("users: { directory: 'sqlite:a' }\nendpoints:\n  verify: { path: /v }\n  verify_user: /v\n", 7, "endpoints.verify_user", "is the path of another endpoint"),
        ("users: { directory: 'sqlite:a' }\nroutes: [{ path: /a, first_sight: never }]\n", 5, "routes[0].first_sight", "background"),
    ]);
}

#[test]
fn issuers_that_share_a_directory_must_be_told_apart() {
    let config = |one: &str, two: &str, users: &str| {
        format!(
            "upstream: http://127.0.0.1:3000\nissuers:\n  \
             - {{ issuer: https://a.example/, audiences: [app]{one} }}\n  \
             - {{ issuer: https://b.example/, audiences: [app]{two} }}\n\
             users: {{ directory: 'postgres://db/app', table: t{users} }}\n"
        )
    };
    for (one, two, users) in [
        ("", "", ""),
        ("", ", id_prefix: 'b:'", ""),
        (", id_prefix: 'a:'", "", ""),
        (", id_prefix: 'a'", ", id_prefix: 'ab'", ""),
        (", id_prefix: 'a:'", ", id_prefix: 'a:'", ""),
        ("", "", ", shared_ids: false"),
    ] {
        let text = config(one, two, users);
        let found = problems(&text);
        let told = shown(&found);
        assert_eq!(found.len(), 1, "{told}");
        assert_eq!(
            (found[0].key.as_str(), found[0].line),
            ("users", Some(5)),
            "{told}"
        );
        assert!(
            told.contains("nothing tells equal ids of theirs apart"),
            "{told}"
        );
    }
    for (one, two, users) in [
        (", id_prefix: 'a:'", ", id_prefix: 'b:'", ""),
        ("", "", ", shared_ids: true"),
        ("", "", ", issuer_column: iss"),
    ] {
        assert!(
            read(&config(one, two, users)).is_ok(),
            "{one} {two} {users}"
        );
    }
    // usher's own table has such a column.
    let own = config("", "", "").replace("'postgres://db/app', table: t", "'sqlite:a'");
    assert!(read(&own).is_ok());
    let long = config(
        &format!(", id_prefix: {}", "x".repeat(65)),
        ", id_prefix: b",
        "",
    );
    let found = problems(&long);
    assert_eq!(found.len(), 1, "{}", shown(&found));
    assert_eq!(
        (found[0].key.as_str(), found[0].line),
        ("issuers[0].id_prefix", Some(3))
    );
}

#[test]
fn no_problem_repeats_a_password() {
    for users in [
        "users: { directory: 'mysql://app:hunter2@db' }",
        "users: { directory: { url: 'mysql://app:hunter2@db', url_file: x } }",
        "users: { directory: 'postgres://app:hunter2@db/app', pool: 3 }",
        "users: { directory: ['postgres://app:hunter2@db/app'] }",
        "users: { directory: { url: ['postgres://app:hunter2@db/app'] } }",
        "users: { directory: 'sqlite:a', provisioner: 'http://:hunter2@redis' }",
        "users: { directory: 'sqlite:a', provisioner: 'redis+sentinel://:hunter2@redis' }",
        "users: { directory: 'sqlite:a', provisioner: { url: 'redis+ring://:hunter2@redis' } }",
        "users: { directory: 'sqlite:a', provisioner: ['redis://:hunter2@redis'] }",
    ] {
        let all = read(&format!("{BASE}{users}\n")).expect_err(users);
        assert!(!shown(&all).contains("hunter2"), "{}", shown(&all));
    }
}
