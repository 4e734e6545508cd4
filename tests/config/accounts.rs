//! External users: accounts, projects, and the tokens that they get.

use std::fs;
use std::time::Duration;

use usher::config::accounts::{IssuedKey, PublicKey, SameSite, Settings, Store};
use usher::config::{Algorithm, Audiences, Config, KeySource, Severity, load};

use super::{BASE, SECRET, each_after_base_has_one_problem, good, problems, read, shown};

/// After the base, on lines 4 to 6.
const ALL: &str = "accounts: 'sqlite:accounts.db'\n\
    projects: [{ id: acme, public_key: cHVi }]\n\
    issued_tokens: { rate_limit: 'off', access: { secret: aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }, refresh: { secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To } }\n";

fn settings(config: Config) -> Settings {
    config.accounts.expect("accounts")
}

#[test]
fn without_any_of_it_there_are_none() {
    assert!(good(BASE).accounts.is_none());
}

#[test]
fn the_defaults_are_those_of_a_new_installation() {
    let config = good(&format!("{BASE}{ALL}"));
    let own = config.issuers.last().expect("one more issuer");
    assert_eq!(
        (own.name.as_str(), own.issuer.as_deref()),
        ("accounts", Some("replyke.com"))
    );
    assert_eq!(
        own.audiences,
        Audiences::OneOf(vec!["replyke.com".to_owned()])
    );
    assert!(matches!(&own.keys, KeySource::Secret(_)) && own.algorithms == [Algorithm::HS256]);
    let settings = settings(config);
    assert!(matches!(&settings.store, Store::Sqlite(path) if path.ends_with("accounts.db")));
    let [project] = settings.projects.as_slice() else {
        panic!("{:?}", settings.projects);
    };
    assert_eq!(project.current, Some(PublicKey::Inline("cHVi".to_owned())));
    assert_eq!(
        (project.previous.as_ref(), &project.audiences),
        (None, &Audiences::Any)
    );
    assert!(project.require_exp && !project.link_by_email && !project.relink);
    assert_eq!(
        (project.limits.bio, project.limits.metadata),
        (300, 512 << 10)
    );
    let tokens = &settings.tokens;
    assert_eq!(tokens.access.life, Duration::from_secs(1800));
    assert_eq!(tokens.refresh.life, Duration::from_secs(2_592_000));
    assert_eq!(
        tokens.rotation.map(|rotation| rotation.grace),
        Some(Duration::from_secs(30))
    );
    let cookie = &tokens.cookie;
    assert_eq!(
        (cookie.name.as_str(), cookie.same_site),
        ("__Host-usher-refresh", SameSite::Lax)
    );
    assert!(cookie.secure && cookie.domain.is_none());
    assert_eq!(
        (settings.base_path.as_str(), settings.max_body),
        ("", 2 << 20)
    );
    assert!(settings.rate_limit.is_none() && !settings.provision);
    assert_eq!(settings.standing.fresh, Duration::from_secs(30));
}

#[test]
fn the_replyke_preset_is_the_contracts() {
    let settings = settings(good(&format!(
        "{BASE}{}",
        ALL.replace("rate_limit: 'off'", "preset: replyke")
    )));
    let project = &settings.projects[0];
    assert!(!project.require_exp && project.link_by_email && !project.relink);
    assert!(settings.tokens.rotation.is_none());
    let cookie = &settings.tokens.cookie;
    assert_eq!(
        (cookie.name.as_str(), cookie.same_site),
        ("replyke-refresh-jwt", SameSite::None)
    );
    let rate = settings.rate_limit.expect("a limit");
    assert_eq!(
        (rate.calls, rate.per, rate.clients),
        (25, Duration::from_secs(300), 100_000)
    );
}

#[test]
fn everything_can_be_said() {
    let text = format!(
        "upstream: http://127.0.0.1:3000
accounts: {{ url: 'postgres://db/app', pool: 3, statement_timeout: 500ms }}
projects:
  - {{ id: acme, public_key: cHVi, previous_public_key: b2xk, audiences: [a], require_exp: false, link_by_email: true, relink: true, limits: {{ bio: 5, metadata: 1KiB, secure_metadata: 2KiB }} }}
  - {{ id: beta, public_key: cHVi }}
issued_tokens:
  issuer: https://us.test
  audience: app
  access: {{ secret: {SECRET}, algorithm: HS512, life: 5m }}
  refresh: {{ secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To, life: 1d }}
  rotate: true
  grace: 5s
  cookie: {{ name: r, secure: false, same_site: strict, domain: example.com }}
  rate_limit: {{ calls: 3, per: 1m, clients: 7 }}
  max_body: 64KiB
  provision: true
  id_prefix: 'ext:'
  standing: {{ fresh: 1s, max_stale: 2s, capacity: 3 }}
users: {{ directory: 'sqlite:users.db', provisioner: direct }}
endpoints: {{ base_path: /api/v5 }}
trusted_proxies: [10.0.0.1]
cors: {{ origins: [https://web.test] }}
routes: [{{ path: /feed/**, projects: [acme, beta], suspended: deny }}, {{ path: /b, projects: acme }}]
"
    );
    let config = good(&text);
    assert_eq!(config.issuers.len(), 1, "its own are enough");
    assert_eq!(config.issuers[0].algorithms, [Algorithm::HS512]);
    assert_eq!(config.routes[0].projects, ["acme", "beta"]);
    assert!(config.routes[0].deny_suspended && !config.routes[1].deny_suspended);
    let prefix = &config.users.as_ref().expect("users").issuers[0];
    assert_eq!(
        (prefix.issuer.as_str(), prefix.id_prefix.as_str()),
        ("accounts", "ext:")
    );
    let settings = settings(config);
    assert!(matches!(&settings.store, Store::Postgres(postgres) if postgres.pool == 3));
    assert_eq!(settings.origins, ["https://web.test"]);
    assert_eq!(settings.base_path, "/api/v5");
    assert!(settings.provision && settings.projects[0].relink);
    assert!(matches!(&settings.tokens.access.key, IssuedKey::Shared(_)));
}

#[test]
fn what_makes_no_sense_is_told() {
    let all = |from: &str, to: &str| ALL.replacen(from, to, 1);
    let access = "access: { secret: aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }";
    let id = "{ id: acme, public_key: cHVi }";
    let of_project =
        |members: &str| all("public_key: cHVi", &format!("public_key: cHVi, {members}"));
    let of_tokens = |members: &str| {
        all(
            "rate_limit: 'off'",
            &format!("rate_limit: 'off', {members}"),
        )
    };
    let rows: Vec<(String, usize, &str, &str)> = vec![
        (
            all("accounts: 'sqlite:accounts.db'\n", ""),
            1,
            "accounts",
            "is missing",
        ),
        (
            all("sqlite:accounts.db", "sqlite:"),
            4,
            "accounts",
            "names no file",
        ),
        (
            all("sqlite:accounts.db", "mysql://db"),
            4,
            "accounts",
            "neither `sqlite:` nor `postgres://`",
        ),
        (
            all("projects: [{ id: acme, public_key: cHVi }]\n", ""),
            1,
            "projects",
            "is missing",
        ),
        (all("id: acme, ", ""), 5, "projects[0].id", "is missing"),
        (
            all("id: acme", "id: a/b"),
            5,
            "projects[0].id",
            "not a short plain name",
        ),
        (
            all(id, &format!("{id}, {id}")),
            5,
            "projects[1].id",
            "two projects are called `acme`",
        ),
        (
            of_project("public_key_file: x"),
            5,
            "projects[0].public_key_file",
            "second key",
        ),
        (
            of_project("relink: true"),
            5,
            "projects[0].relink",
            "which is off",
        ),
        (
            of_project("audiences: []"),
            5,
            "projects[0].audiences",
            "empty list",
        ),
        (
            of_project("limits: { bio: 0 }"),
            5,
            "projects[0].limits.bio",
            "too small",
        ),
        (
            of_project("publik_key: x"),
            5,
            "projects[0].publik_key",
            "Did you mean `public_key`?",
        ),
        (
            all("cHVi", "'-----BEGIN PRIVATE KEY-----'"),
            5,
            "projects[0].public_key",
            "private key, which usher must not have",
        ),
        (
            all(&format!("{access}, "), ""),
            6,
            "issued_tokens.access",
            "is missing",
        ),
        (
            all(access, "access: {}"),
            6,
            "issued_tokens.access",
            "is missing",
        ),
        (
            all(access, "access: { secret: short }"),
            6,
            "issued_tokens.access.secret",
            "too short",
        ),
        (
            all(
                access,
                "access: { secret: rq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To }",
            ),
            6,
            "issued_tokens.refresh",
            "has the key of `access`",
        ),
        (
            all(
                "Ue8Ri1To }, refresh",
                "Ue8Ri1To, algorithm: ES256 }, refresh",
            ),
            6,
            "issued_tokens.access.algorithm",
            "needs a private key",
        ),
        (
            all("Ue8Ri1To }, refresh", "Ue8Ri1To, key_file: x }, refresh"),
            6,
            "issued_tokens.access.key_file",
            "second key beside `secret`",
        ),
        (
            of_tokens("issuer: ''"),
            6,
            "issued_tokens.issuer",
            "is empty",
        ),
        (
            of_tokens("issuer: https://idp.example.com/"),
            6,
            "issued_tokens.issuer",
            "entry under `issuers`",
        ),
        (
            of_tokens("cookie: { name: 'a b' }"),
            6,
            "issued_tokens.cookie.name",
            "not the name of a cookie",
        ),
        (
            of_tokens("cookie: { name: c, same_site: none, secure: false }"),
            6,
            "issued_tokens.cookie.same_site",
            "browsers drop",
        ),
        (
            of_tokens("cookie: { name: __Host-c, domain: example.com }"),
            6,
            "issued_tokens.cookie.name",
            "`__Host-`",
        ),
        (
            of_tokens("cookie: { domain: 'a;b' }"),
            6,
            "issued_tokens.cookie.domain",
            "not a domain",
        ),
        (
            all("'off'", "never"),
            6,
            "issued_tokens.rate_limit",
            "another word than `off`",
        ),
        (
            all("'off'", "{ calls: 0 }"),
            6,
            "issued_tokens.rate_limit.calls",
            "too small",
        ),
        (
            of_tokens("max_body: 1GiB"),
            6,
            "issued_tokens.max_body",
            "too large",
        ),
        (
            of_tokens("provision: true"),
            6,
            "issued_tokens.provision",
            "there is none",
        ),
        (
            of_tokens("standing: { fresh: 1h }"),
            6,
            "issued_tokens.standing.max_stale",
            "shorter than `fresh`",
        ),
        (
            format!("{ALL}endpoints: {{ base_path: /api/ }}\n"),
            7,
            "endpoints.base_path",
            "ends with `/`",
        ),
        (
            "endpoints: { base_path: /api }\n".to_owned(),
            4,
            "endpoints.base_path",
            "there are none",
        ),
        (
            format!("{ALL}routes: [{{ path: /a, projects: [acmee] }}]\n"),
            7,
            "routes[0].projects[0]",
            "Did you mean `acme`?",
        ),
        (
            format!("{ALL}routes: [{{ path: /a, suspended: deny }}]\n"),
            7,
            "routes[0].suspended",
            "serves no project",
        ),
        (
            format!("{ALL}routes: [{{ path: /a, access: public, projects: acme }}]\n"),
            7,
            "routes[0].projects",
            "public route",
        ),
        (
            format!("{ALL}routes: [{{ path: /acme/auth/sign-out }}]\n"),
            7,
            "routes[0].path",
            "an endpoint of external users",
        ),
    ];
    let table: Vec<_> = rows
        .iter()
        .map(|(text, line, key, phrase)| (text.as_str(), *line, *key, *phrase))
        .collect();
    each_after_base_has_one_problem(&table);
}

#[test]
fn a_secret_that_an_issuer_knows_is_no_secret_of_ours() {
    let issuers = format!(
        "upstream: http://127.0.0.1:3000\nissuers: [{{ name: idp, secret: {SECRET}, audiences: any }}]\n"
    );
    let tokens = ALL.replacen("aq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To", SECRET, 1);
    let found = problems(&format!("{issuers}{tokens}"));
    let [one] = found.as_slice() else {
        panic!("{}", shown(&found));
    };
    assert!(
        one.message.contains("the secret of the issuer `idp`"),
        "{one}"
    );
    assert!(!one.to_string().contains(SECRET));
}

#[test]
fn what_somebody_should_look_at_is_a_warning() {
    let text = ALL
        .replace("rate_limit: 'off', ", "")
        .replace(", public_key: cHVi", "");
    let warnings = read(&format!("{BASE}{text}")).expect("good").warnings;
    let told = shown(&warnings);
    assert!(warnings.iter().all(|one| one.severity == Severity::Warning));
    assert!(
        told.contains("issued_tokens: limits logins by the address of the peer"),
        "{told}"
    );
    assert!(told.contains("projects[0]: has no public key"), "{told}");
    let trusted = format!("{BASE}{text}trusted_proxies: [10.0.0.1]\n");
    assert!(!shown(&read(&trusted).expect("good").warnings).contains("limits logins"));
}

#[test]
fn files_are_read_and_a_previous_key_may_be_gone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("usher.yaml");
    let text = ALL.replace(
        "public_key: cHVi",
        "public_key_file: acme.pem, previous_public_key_file: old.pem",
    );
    fs::write(&file, format!("{BASE}{text}")).unwrap();
    let found = load(&file).expect_err("no key");
    assert!(
        found
            .iter()
            .any(|one| one.key == "projects[0].public_key_file"),
        "{}",
        shown(&found)
    );
    fs::write(folder.path().join("acme.pem"), "a key").unwrap();
    let loaded = load(&file).expect("good");
    assert!(
        shown(&loaded.warnings).contains("there is no previous key"),
        "{}",
        shown(&loaded.warnings)
    );
    let project = &settings(loaded.config).projects[0];
    assert_eq!(
        project.previous,
        Some(PublicKey::File(folder.path().join("old.pem")))
    );
}
