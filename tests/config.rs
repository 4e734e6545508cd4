//! A configuration is good, or every problem in it is said with line, key and remedy.

use std::fs;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;
use usher::config::{
    Access, Algorithm, Audiences, Config, HeaderSource, KeySource, Listen, Loaded, LogFormat,
    Problem, RouteCors, Severity, TokenSource, load, parse, schema,
};

/// A good start, three lines long; what a test adds begins at line 4.
const BASE: &str = "upstream: http://127.0.0.1:3000\nissuers:\n  - { issuer: https://idp.example.com/, audiences: [app] }\n";

/// 64 bytes that nobody knows.
const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Cv5Bn9My2Kl7Jh4Gf";

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.to_owned()),
        "SHORT" => Some("0123456789abcdef".to_owned()),
        "APP" => Some("http://127.0.0.1:4000".to_owned()),
        "YAML" => Some("a\nadmin: off\n- x: [".to_owned()),
        "NUMBER" => Some("4".to_owned()),
        "NO" => Some("false".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, Vec<Problem>> {
    parse(text, "usher.yaml", &env)
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}\n{text}", shown(&problems)),
    }
}

fn problems(text: &str) -> Vec<Problem> {
    let problems = read(text).expect_err(text);
    problems
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect()
}

fn shown(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Each text must have exactly this one problem: line, key, and a phrase of what is printed.
fn each_has_one_problem(table: &[(&str, usize, &str, &str)]) {
    let mut failures = Vec::new();
    for (text, line, key, phrase) in table {
        let found = match read(text) {
            Ok(_) => "no problem".to_owned(),
            Err(all) => {
                let errors: Vec<_> = all
                    .iter()
                    .filter(|p| p.severity == Severity::Error)
                    .collect();
                match errors.as_slice() {
                    [one]
                        if one.line == Some(*line)
                            && one.key == *key
                            && one.to_string().contains(phrase) =>
                    {
                        continue;
                    }
                    _ => shown(&all),
                }
            }
        };
        failures.push(format!(
            "--- {text}\n    wanted {line}: {key}: …{phrase}…\n    found  {found}"
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The table's texts stand after the base, from line 4.
fn each_after_base_has_one_problem(table: &[(&str, usize, &str, &str)]) {
    let texts: Vec<String> = table
        .iter()
        .map(|(text, ..)| format!("{BASE}{text}"))
        .collect();
    let table: Vec<_> = texts
        .iter()
        .zip(table)
        .map(|(text, (_, line, key, phrase))| (text.as_str(), *line, *key, *phrase))
        .collect();
    each_has_one_problem(&table);
}

/// The table's texts are the members of the one issuer, on line 3.
fn each_issuer_has_one_problem(table: &[(&str, &str, &str)]) {
    let texts: Vec<String> = table
        .iter()
        .map(|(text, ..)| format!("upstream: http://127.0.0.1:3000\nissuers:\n  - {{ {text} }}\n"))
        .collect();
    let keys: Vec<String> = table
        .iter()
        .map(|(_, key, _)| format!("issuers[0]{}{key}", if key.is_empty() { "" } else { "." }))
        .collect();
    let table: Vec<_> = (0..table.len())
        .map(|i| (texts[i].as_str(), 3, keys[i].as_str(), table[i].2))
        .collect();
    each_has_one_problem(&table);
}

#[test]
fn the_shortest_configuration_gets_the_defaults() {
    let config = good(BASE);
    assert_eq!(
        config.listeners,
        [Listen::Tcp("0.0.0.0:8080".parse().unwrap())]
    );
    assert_eq!(
        config.admin,
        Some(Listen::Tcp("127.0.0.1:9901".parse().unwrap()))
    );
    assert_eq!(
        (config.upstream.host.as_str(), config.upstream.port),
        ("127.0.0.1", 3000)
    );
    assert_eq!(config.upstream.max_idle, 256);
    assert_eq!(config.tokens.from, [TokenSource::Authorization]);
    assert!(!config.tokens.pass);
    assert_eq!(config.tokens.cache_weight, 64 << 20);
    assert_eq!(config.tokens.max_bytes, 8 << 10);
    assert_eq!(config.limits.header_bytes, 32 << 10);
    assert_eq!(config.timeouts.keep_alive, Duration::from_secs(75));
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(config.workers >= 1);
    assert!(config.routes.is_empty());
    let names: Vec<_> = config.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["x-user-id", "x-user-email", "x-user-name"]);
}

#[test]
fn the_shortest_issuer_gets_the_defaults() {
    let config = good(BASE);
    let issuer = &config.issuers[0];
    assert_eq!(issuer.name, "idp.example.com");
    assert_eq!(issuer.audiences, Audiences::OneOf(vec!["app".into()]));
    assert_eq!(issuer.algorithms, [Algorithm::RS256, Algorithm::ES256]);
    assert_eq!(issuer.types, ["jwt", "at+jwt"]);
    assert_eq!((issuer.exp_leeway, issuer.nbf_leeway), (0, 5));
    assert!(issuer.require_exp && issuer.required);
    let claims: Vec<_> = issuer
        .claims
        .iter()
        .map(|c| (c.name.as_str(), c.claim.as_str()))
        .collect();
    assert_eq!(
        claims,
        [
            ("id", "sub"),
            ("email", "email"),
            ("name", "name"),
            ("roles", "roles"),
            ("scopes", "scope")
        ]
    );
    let KeySource::Discovery { url, fetch } = &issuer.keys else {
        panic!("{:?}", issuer.keys);
    };
    assert_eq!(
        url,
        "https://idp.example.com/.well-known/openid-configuration"
    );
    assert_eq!(fetch.max_stale, Duration::from_secs(86_400));
}

#[test]
fn everything_can_be_said() {
    let config = good(
        "listen: ['127.0.0.1:0', '[::1]:0']
admin: off
upstream: { url: 'http://[::1]:3000/', max_idle: 8, idle: 30s }
issuers:
  - name: local
    secret_env: SECRET
    audiences: any
    algorithms: [HS256, HS512]
    types: [JWT]
    claims: { id: user_id, team: org.team }
    require: { token_type: access, tier: [1, 2.5, true, gold] }
    require_exp: false
    leeway: { exp: 30s, nbf: 0 }
    required: false
headers:
  X-Who: id
  X-All: claims
  X-From: issuer
  X-Both: [email, name]
header_exceptions: [Remote-User]
endpoints: { verify: { path: /verify, username: name } }
tokens: { from: [{ cookie: at }, authorization, { header: X-Token }], pass: true, cookie_origins: ['https://app.example.com'], cache: { refused_life: 0 } }
cors: { origins: ['https://app.example.com'], max_age: 1h }
routes:
  - { name: open, path: [/a, /b/**], methods: [GET, PROPFIND], host: ['App.Example.com', '*.example.org'], access: public, cors: pass }
  - { path: /c/**, require: { roles: admin, scopes: [read, write], claims: { org: [1, x] } }, paths: opaque, cors: ['https://x.example'] }
trusted_proxies: [10.1.2.3, 10.1.2.0/28, 'fd00::1', unix]
limits: { header_bytes: 64KiB, target_bytes: 4096, requests: 5 }
timeouts: { response: 1h30m }
shutdown: { pause: 0s }
log: { format: text, level: 'info,usher=debug', access: false }
workers: 2
state_dir: state
",
    );
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.admin, None);
    assert_eq!(config.upstream.host, "::1");
    let issuer = &config.issuers[0];
    assert_eq!(issuer.issuer, None);
    assert_eq!(issuer.claims[0].claim, "user_id");
    assert_eq!(issuer.claims[5].claim, "org.team");
    assert_eq!(
        issuer.require[1].values,
        [json!(1), json!(2.5), json!(true), json!("gold")]
    );
    assert_eq!((issuer.exp_leeway, issuer.nbf_leeway), (30, 0));
    assert_eq!(config.headers[1].value, HeaderSource::AllClaims);
    assert_eq!(config.headers[2].value, HeaderSource::Issuer);
    assert_eq!(
        config.headers[3].value,
        HeaderSource::Joined(vec!["email".into(), "name".into()])
    );
    let verify = config.endpoints.verify.as_ref().unwrap();
    assert_eq!(
        (verify.user_id.as_str(), verify.username.as_str()),
        ("user_id", "name")
    );
    assert_eq!(config.tokens.from[0], TokenSource::Cookie("at".into()));
    assert_eq!(config.routes[0].hosts, ["app.example.com", "*.example.org"]);
    assert_eq!(config.routes[0].access, Access::Public);
    assert_eq!(config.routes[0].cors, RouteCors::Pass);
    assert_eq!(config.routes[1].name, "/c/**");
    assert_eq!(config.routes[1].require.roles, ["admin"]);
    assert!(config.routes[1].opaque_paths);
    assert_eq!(config.trusted_proxies.len(), 4);
    assert_eq!(config.limits.header_bytes, 65_536);
    assert_eq!(config.timeouts.response, Duration::from_secs(5400));
    assert_eq!(config.state_dir.as_deref(), Some(Path::new("state")));
}

#[test]
fn json_is_yaml() {
    let config = good(
        r#"{"upstream": "http://127.0.0.1:3000", "workers": 3, "issuers": [{"issuer": "https://a.example", "audiences": ["app"]}]}"#,
    );
    assert_eq!(config.workers, 3);
}

#[test]
fn text_that_is_not_yaml_says_where() {
    each_has_one_problem(&[
        ("upstream: [", 1, "", "is not YAML"),
        ("a: 1\nb:\n\t- x\n", 3, "", "is not YAML"),
        ("a: \"x\n", 2, "", "a missing quote"),
        ("a: !!str b\n", 1, "", "uses a YAML tag"),
        ("a: 1\n---\nb: 2\n", 3, "", "more than one document"),
        ("? [a]\n: b\n", 1, "", "key that is not plain text"),
        ("just text", 1, "", "is \"just text\""),
        ("[a, b]", 1, "", "is a list. Write an object"),
    ]);
}

#[test]
fn a_place_in_the_text_has_a_column() {
    let found = problems("upstream: http://a:1\nissuers: [\n  }\n");
    assert!(
        found[0]
            .to_string()
            .starts_with("usher.yaml:3:3: is not YAML"),
        "{}",
        found[0]
    );
}

#[test]
fn nothing_large_or_deep_is_read() {
    let large = "#".repeat((1 << 20) + 1);
    assert!(problems(&large)[0].message.contains("larger than 1 MiB"));
    let deep = format!("a: {}{}", "[".repeat(40), "]".repeat(40));
    assert!(problems(&deep)[0].message.contains("too deeply"));
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        let alias = format!("*a{}", i - 1);
        laughs += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 10].join(","));
    }
    assert!(problems(&laughs)[0].message.contains("too many values"));
}

#[test]
fn anchors_work() {
    let config = good(&format!(
        "{BASE}routes:\n  - {{ path: /a, require: &admins {{ roles: [admin] }} }}\n  - {{ path: /b, require: *admins }}\n"
    ));
    assert_eq!(config.routes[1].require.roles, ["admin"]);
}

#[test]
fn keys_are_known_unique_and_have_values() {
    each_after_base_has_one_problem(&[
        ("timeout: 5s\n", 4, "timeout", "Did you mean `timeouts`?"),
        (
            "frobnicate: 1\n",
            4,
            "frobnicate",
            "Known here: `listen`, `admin`, `upstream`",
        ),
        (
            "limits:\n  conections: 5\n",
            5,
            "limits.conections",
            "Did you mean `connections`?",
        ),
        (
            "workers: 1\nworkers: 2\n",
            5,
            "workers",
            "written twice, first on line 4. Keep one",
        ),
        (
            "routes:\n",
            4,
            "routes",
            "has no value. Write one, or remove the key",
        ),
        (
            "limits: { connections: ~ }\n",
            4,
            "limits.connections",
            "has no value",
        ),
        (
            "routes:\n  - path: /a\n    acess: public\n",
            6,
            "routes[0].acess",
            "Did you mean `access`?",
        ),
        ("<<: { workers: 1 }\n", 4, "<<", "not known here"),
    ]);
}

#[test]
fn values_have_types() {
    each_after_base_has_one_problem(&[
        (
            "workers: many\n",
            4,
            "workers",
            "is \"many\". Write a whole number.",
        ),
        ("workers: -1\n", 4, "workers", "Write a whole number"),
        (
            "workers: 0\n",
            4,
            "workers",
            "is too small: 0. Write 1 or more.",
        ),
        ("workers: 257\n", 4, "workers", "Write 256 or less."),
        (
            "tokens: { pass: yes }\n",
            4,
            "tokens.pass",
            "is \"yes\". Write `true` or `false`.",
        ),
        (
            "timeouts: { idle: 5 }\n",
            4,
            "timeouts.idle",
            "a time with its unit",
        ),
        ("timeouts: { idle: 5M }\n", 4, "timeouts.idle", "`5m`"),
        (
            "timeouts: { idle: 0s }\n",
            4,
            "timeouts.idle",
            "is too small: 0s. Write 1ms or more.",
        ),
        (
            "limits: { header_bytes: 64MB }\n",
            4,
            "limits.header_bytes",
            "`64KiB`",
        ),
        (
            "limits: { header_bytes: 4KiB }\n",
            4,
            "limits.header_bytes",
            "is too small: 4KiB. Write 8KiB or more.",
        ),
        (
            "limits: { connections: 0 }\n",
            4,
            "limits.connections",
            "is too small",
        ),
        (
            "limits: { target_bytes: 64KiB }\n",
            4,
            "limits.target_bytes",
            "Write 32KiB or less.",
        ),
        (
            "limits: 5\n",
            4,
            "limits",
            "is an integer, `5`. Write an object",
        ),
        ("routes: /a\n", 4, "routes", "Write a list"),
        ("admin: 9901\n", 4, "admin", "Write text"),
        (
            "log: { format: xml }\n",
            4,
            "log.format",
            "Known here: `json`, `text`.",
        ),
        (
            "log: { level: verbose }\n",
            4,
            "log.level",
            "Write `error`, `warn`, `info`",
        ),
        (
            "headers_preset: authelai\n",
            4,
            "headers_preset",
            "Did you mean `authelia`?",
        ),
        (
            "tokens: { from: [{ cookie: a, header: b }] }\n",
            4,
            "tokens.from[0]",
            "Write one key",
        ),
        (
            "tokens: { from: [cookie] }\n",
            4,
            "tokens.from[0]",
            "is a word without a value. Write it with its value",
        ),
        (
            "tokens: { from: [{ authorization: x }] }\n",
            4,
            "tokens.from[0]",
            "Write the word alone",
        ),
        (
            "limits: [1, 2]\n",
            4,
            "limits",
            "is a list. Write an object",
        ),
        (
            "tokens: { from: [cooky] }\n",
            4,
            "tokens.from[0]",
            "Did you mean `cookie`?",
        ),
    ]);
}

#[test]
fn addresses_are_addresses() {
    each_after_base_has_one_problem(&[
        (
            "listen: localhost:8080\n",
            4,
            "listen",
            "Write an IP address and a port",
        ),
        (
            "listen: unix:/run/usher.sock\n",
            4,
            "listen",
            "not supported yet",
        ),
        ("listen: []\n", 4, "listen", "is an empty list"),
        (
            "listen: ['0.0.0.0:1', '127.0.0.1:1']\n",
            4,
            "listen[1]",
            "taken already",
        ),
        ("admin: 127.0.0.1:8080\n", 4, "admin", "a port of its own"),
        (
            "trusted_proxies: [10.0.0.1, 0.0.0.0/0]\n",
            4,
            "trusted_proxies[1]",
            "trusts everybody",
        ),
        (
            "trusted_proxies: ['::/0']\n",
            4,
            "trusted_proxies[0]",
            "trusts everybody",
        ),
        (
            "trusted_proxies: [proxy]\n",
            4,
            "trusted_proxies[0]",
            "is not a network",
        ),
    ]);
}

#[test]
fn the_upstream_is_a_plain_address() {
    let cases = [
        ("https://app:1", "https, which is not supported yet"),
        ("h2c://app:1", "h2c, which is not supported yet"),
        ("unix:/run/app.sock", "unix, which is not supported yet"),
        ("http://app:1/api", "has a path, \"/api\". Remove it"),
        ("ftp://app", "is not supported"),
        ("app:3000", "Write where the app listens"),
        ("http://a:b@app:1", "carries a user name"),
        ("http://127.0.0.1:8080", "usher's own address"),
    ];
    let texts: Vec<String> = cases
        .iter()
        .map(|(url, _)| BASE.replace("http://127.0.0.1:3000", url))
        .collect();
    let table: Vec<_> = texts
        .iter()
        .zip(cases)
        .map(|(text, (_, phrase))| (text.as_str(), 1, "upstream", phrase))
        .collect();
    each_has_one_problem(&table);
    let missing = BASE.replace("upstream: http://127.0.0.1:3000\n", "");
    each_has_one_problem(&[(
        &missing,
        1,
        "upstream",
        "is missing. Write where the app listens",
    )]);
}

#[test]
fn somebody_must_sign() {
    let upstream = "upstream: http://a:1\n";
    each_has_one_problem(&[
        (
            upstream,
            1,
            "issuers",
            "is missing. Write who signs your tokens",
        ),
        (
            &format!("{upstream}issuers: []\n"),
            2,
            "issuers",
            "Write who signs",
        ),
        (
            &format!("{upstream}issuers: [5]\n"),
            2,
            "issuers[0]",
            "Write an object",
        ),
    ]);
}

#[test]
fn issuers_are_checked() {
    each_issuer_has_one_problem(&[
        (
            "issuer: 'https://a.example'",
            "audiences",
            "is missing. Write the audience your tokens carry, e.g. `audiences: [app]`, or `audiences: any`",
        ),
        (
            "issuer: 'https://a.example', audiences: []",
            "audiences",
            "is an empty list",
        ),
        (
            "issuer: 'https://a.example', audiences: [any]",
            "audiences[0]",
            "is `any` in a list",
        ),
        (
            "issuer: 'https://a.example', audiences: 5",
            "audiences",
            "in quotes",
        ),
        (
            "issuer: '', jwks_uri: 'https://a.example', audiences: a, name: x",
            "issuer",
            "is empty",
        ),
        (
            "audiences: [a], name: x",
            "issuer",
            "is missing. Write its URL, or where the keys are",
        ),
        (
            "issuer: me, audiences: [a]",
            "issuer",
            "cannot be discovered",
        ),
        (
            "issuer: 'http://a.example', audiences: [a]",
            "issuer",
            "plain http",
        ),
        (
            "issuer: 'https://169.254.169.254', audiences: [a]",
            "issuer",
            "metadata network",
        ),
        (
            "issuer: me, jwks_uri: 'http://a.example', audiences: [a]",
            "jwks_uri",
            "plain http",
        ),
        (
            "issuer: me, jwks_uri: 'https://[fe80::1]/', audiences: [a]",
            "jwks_uri",
            "metadata network",
        ),
        (
            "issuer: me, jwks_uri: 'https://a', jwks_file: b, audiences: [a]",
            "jwks_file",
            "second source of keys beside `jwks_uri`",
        ),
        (
            "issuer: me, jwks_file: /nowhere, audiences: [a]",
            "jwks_file",
            "cannot be read: /nowhere",
        ),
        (
            "issuer: me, public_key_file: /, audiences: [a]",
            "public_key_file",
            "not a regular file",
        ),
        (
            "issuer: me, secret_env: UNSET, audiences: [a]",
            "secret_env",
            "\"UNSET\", which is not set",
        ),
        (
            "issuer: me, secret_env: SHORT, audiences: [a]",
            "secret_env",
            "HS256 needs at least 32 bytes and it has 16",
        ),
        (
            "issuer: me, secret: secret, audiences: [a]",
            "secret",
            "well-known sample",
        ),
        (
            "issuer: me, secret: your-256-bit-secret, audiences: [a]",
            "secret",
            "well-known sample",
        ),
        (
            "issuer: me, secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, audiences: [a]",
            "secret",
            "over and over",
        ),
        (
            "issuer: me, secret: 8371628371, audiences: [a]",
            "secret",
            "Write the secret in quotes",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], algorithms: []",
            "algorithms",
            "is an empty list",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], algorithms: [HS256]",
            "algorithms",
            "needs a shared secret",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], algorithms: [HS256, RS256]",
            "algorithms",
            "mixes shared secrets",
        ),
        (
            "issuer: me, secret_env: SECRET, audiences: [a], algorithms: [RS256]",
            "algorithms",
            "needs a public key",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], algorithms: [none]",
            "algorithms[0]",
            "`none` is not known here",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], algorithms: [rs256]",
            "algorithms[0]",
            "Did you mean `RS256`?",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], name: 'my idp'",
            "name",
            "Write a short name",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], leeway: { exp: 1500ms }",
            "leeway.exp",
            "whole seconds",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], leeway: { nbf: 1h }",
            "leeway.nbf",
            "more than ten minutes",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], require: { type: [] }",
            "require.type",
            "is an empty list",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], require: { type: { x: y } }",
            "require.type",
            "one value or a list",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], fetch: { cooldown: 0s }",
            "fetch.cooldown",
            "Write 1s or more",
        ),
        (
            "issuer: 'https://a.example', audiences: [a], requird: true",
            "requird",
            "Did you mean `require`?",
        ),
    ]);
}

#[test]
fn issuers_differ() {
    let more = |text: &str| format!("{BASE}  - {{ {text} }}\n");
    each_has_one_problem(&[
        (
            &more("issuer: 'https://idp.example.com/', name: b, audiences: [x]"),
            4,
            "issuers[1].issuer",
            "the issuer of an earlier entry too",
        ),
        (
            &more("issuer: 'https://b.example', name: idp.example.com, audiences: [x]"),
            4,
            "issuers[1].name",
            "two issuers are called",
        ),
        (
            &(more("name: a, secret_env: SECRET, audiences: [x]")
                + "  - { name: b, secret_env: SECRET, audiences: [x] }\n"),
            5,
            "issuers[2].issuer",
            "Only one entry may be for tokens that carry no `iss`",
        ),
    ]);
}

#[test]
fn longer_hashes_need_longer_secrets() {
    let issuer = |algorithm: &str, length: usize| {
        format!(
            "upstream: http://a:1\nissuers: [{{ name: a, audiences: [x], algorithms: [{algorithm}], secret: '{}' }}]\n",
            &SECRET[..length]
        )
    };
    for (algorithm, floor) in [("HS256", 32), ("HS384", 48), ("HS512", 64)] {
        good(&issuer(algorithm, floor));
        assert!(
            problems(&issuer(algorithm, floor - 1))[0]
                .message
                .contains("too short")
        );
    }
}

#[test]
fn no_message_repeats_a_secret() {
    let text = "upstream: http://a:1\nissuers:\n  - { name: a, audiences: [x], secret: hunter2hunter3 }\n  - { name: b, issuer: b, audiences: [x], secret: 7734577345 }\n";
    let all = shown(&read(text).unwrap_err());
    assert!(
        !all.contains("hunter2") && !all.contains("7734577345"),
        "{all}"
    );
}

#[test]
fn headers_are_checked() {
    each_after_base_has_one_problem(&[
        (
            "headers: { Host: id }\n",
            4,
            "headers.Host",
            "has a meaning of its own",
        ),
        (
            "headers: { content_length: id }\n",
            4,
            "headers.content_length",
            "has a meaning of its own",
        ),
        (
            "headers: { Authorization: id }\n",
            4,
            "headers.Authorization",
            "has a meaning of its own",
        ),
        (
            "headers: { X-Forwarded-For: id }\n",
            4,
            "headers.X-Forwarded-For",
            "has a meaning of its own",
        ),
        (
            "headers: { ':path': id }\n",
            4,
            "headers.:path",
            "is not the name of a header",
        ),
        (
            "headers: { 'X Y': id }\n",
            4,
            "headers.X Y",
            "is not the name of a header",
        ),
        (
            "headers:\n  X-User-Id: id\n  x_user.id: email\n",
            6,
            "headers.x_user.id",
            "reads the same as `x-user-id`",
        ),
        ("headers: { X-A: '' }\n", 4, "headers.X-A", "is empty"),
        (
            "headers: { X-A: [] }\n",
            4,
            "headers.X-A",
            "is an empty list",
        ),
        (
            "header_exceptions: [x_user_id]\n",
            4,
            "header_exceptions[0]",
            "callers could claim to be anybody",
        ),
        (
            "headers_preset: authelia\nheaders: { Remote_User: email }\n",
            5,
            "headers.Remote_User",
            "reads the same",
        ),
    ]);
    for name in [
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
        "TE",
        "Trailer",
        "Cookie",
        "Forwarded",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "Keep-Alive",
        "Proxy-Connection",
    ] {
        let found = problems(&format!("{BASE}headers: {{ {name}: id }}\n"));
        assert_eq!(found.len(), 1, "{name}");
    }
}

#[test]
fn presets_can_be_changed_and_added_to() {
    let config = good(&format!(
        "{BASE}headers_preset: authelia\nheaders: {{ Remote-User: email, X-More: id }}\n"
    ));
    let names: Vec<_> = config.headers.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "remote-user",
            "remote-email",
            "remote-name",
            "remote-groups",
            "x-more"
        ]
    );
    assert_eq!(config.headers[0].value, HeaderSource::Claim("email".into()));
    assert_eq!(
        good(&format!("{BASE}headers_preset: oauth2-proxy\n"))
            .headers
            .len(),
        8
    );
    assert_eq!(
        good(&format!("{BASE}headers_preset: remote-user\n"))
            .headers
            .len(),
        1
    );
    assert!(good(&format!("{BASE}headers: {{}}\n")).headers.is_empty());
}

#[test]
fn tokens_come_from_sound_places() {
    each_after_base_has_one_problem(&[
        (
            "tokens: { from: [] }\n",
            4,
            "tokens.from",
            "is an empty list",
        ),
        (
            "tokens: { from: [authorization, authorization] }\n",
            4,
            "tokens.from[1]",
            "in the list already",
        ),
        (
            "tokens: { from: [{ header: Authorization }] }\n",
            4,
            "tokens.from[0]",
            "Write `authorization` instead",
        ),
        (
            "tokens: { from: [{ header: Cookie }] }\n",
            4,
            "tokens.from[0]",
            "Write `{ cookie: name }` instead",
        ),
        (
            "tokens: { from: [{ header: Connection }] }\n",
            4,
            "tokens.from[0]",
            "has a meaning of its own",
        ),
        (
            "tokens: { from: [{ header: X_User_Id }] }\n",
            4,
            "tokens.from[0]",
            "headers usher sets",
        ),
        (
            "tokens: { from: [{ cookie: 'a b' }] }\n",
            4,
            "tokens.from[0]",
            "is not the name of a cookie",
        ),
        (
            "tokens: { from: [{ query: 'a&b' }] }\n",
            4,
            "tokens.from[0]",
            "is not a plain name",
        ),
        (
            "tokens: { max_waiters: 0 }\n",
            4,
            "tokens.max_waiters",
            "is too small",
        ),
        (
            "tokens: { cookie_origins: ['https://a.example/'] }\n",
            4,
            "tokens.cookie_origins[0]",
            "Write `https://a.example`.",
        ),
        (
            "cors: { origins: ['*'] }\n",
            4,
            "cors.origins[0]",
            "every web page",
        ),
        (
            "cors: { origins: ['null'] }\n",
            4,
            "cors.origins[0]",
            "from a sandbox",
        ),
        (
            "cors: { origins: ['https://A.example:443'] }\n",
            4,
            "cors.origins[0]",
            "Write `https://a.example`.",
        ),
    ]);
}

#[test]
fn routes_are_checked() {
    each_after_base_has_one_problem(&[
        (
            "routes: [{ access: public }]\n",
            4,
            "routes[0].path",
            "is missing",
        ),
        (
            "routes: [{ path: [] }]\n",
            4,
            "routes[0].path",
            "is an empty list",
        ),
        (
            "routes: [{ path: a }]\n",
            4,
            "routes[0].path",
            "does not start with `/`",
        ),
        (
            "routes: [{ path: [/a, /b/../c] }]\n",
            4,
            "routes[0].path[1]",
            "dot segment",
        ),
        (
            "routes: [{ path: /a//b }]\n",
            4,
            "routes[0].path",
            "empty segment",
        ),
        ("routes: [{ path: /a;b }]\n", 4, "routes[0].path", "`;`"),
        (
            "routes: [{ path: /a%2fb }]\n",
            4,
            "routes[0].path",
            "upper case",
        ),
        (
            "routes: [{ path: /a%2Fb }]\n",
            4,
            "routes[0].path",
            "encoded separator",
        ),
        (
            "routes: [{ path: '/a\\b' }]\n",
            4,
            "routes[0].path",
            "apps read in different ways",
        ),
        (
            "routes: [{ path: /a/**/b }]\n",
            4,
            "routes[0].path",
            "not the whole last segment",
        ),
        (
            "routes: [{ path: /a, methods: get }]\n",
            4,
            "routes[0].methods",
            "Write `GET`.",
        ),
        (
            "routes: [{ path: /a, methods: ['G T'] }]\n",
            4,
            "routes[0].methods[0]",
            "is not a method",
        ),
        (
            "routes: [{ path: /a, methods: [] }]\n",
            4,
            "routes[0].methods",
            "is an empty list",
        ),
        (
            "routes: [{ path: /a, host: 'a.example:80' }]\n",
            4,
            "routes[0].host",
            "has a port",
        ),
        (
            "routes: [{ path: /a, host: 'a.*.example' }]\n",
            4,
            "routes[0].host",
            "is not a host name",
        ),
        (
            "routes: [{ path: /a, access: open }]\n",
            4,
            "routes[0].access",
            "Known here: `public`, `optional`, `required`.",
        ),
        (
            "routes: [{ path: /a, access: public, require: { roles: [a] } }]\n",
            4,
            "routes[0].require",
            "never looked at on a public route",
        ),
        (
            "routes: [{ path: /a, access: optional, require: { roles: [a] } }]\n",
            4,
            "routes[0].require",
            "protects nothing",
        ),
        (
            "routes: [{ path: /a, require: {} }]\n",
            4,
            "routes[0].require",
            "asks for nothing",
        ),
        (
            "routes: [{ path: /a, require: { roles: [] } }]\n",
            4,
            "routes[0].require.roles",
            "is an empty list",
        ),
        (
            "routes: [{ path: /a, require: { claims: { x: [] } } }]\n",
            4,
            "routes[0].require.claims.x",
            "no token can satisfy",
        ),
        (
            "routes: [{ path: /a, cors: ['*'] }]\n",
            4,
            "routes[0].cors[0]",
            "every web page",
        ),
        (
            "routes: [{ path: /a, cors: on }]\n",
            4,
            "routes[0].cors",
            "is not a URL",
        ),
        (
            "routes:\n  - path: /a/**\n  - path: [/b, /a/c]\n",
            6,
            "routes[1].path[1]",
            "is never reached: routes[0]",
        ),
        (
            "routes:\n  - path: /a\n    methods: [GET]\n  - path: /a\n    methods: [GET]\n",
            7,
            "routes[1].path",
            "is never reached",
        ),
        (
            "routes:\n  - { path: /a/b/**, paths: opaque, access: public }\n  - path: /a/**\n",
            5,
            "routes[0].paths",
            "opaque beside routes[1]",
        ),
        (
            "routes:\n  - path: /a\nendpoints: { verify: /a }\n",
            6,
            "endpoints.verify",
            "the path of a route too",
        ),
        (
            "endpoints: { verify: a }\n",
            4,
            "endpoints.verify",
            "does not start with `/`",
        ),
        (
            "endpoints: { verify: /a/* }\n",
            4,
            "endpoints.verify",
            "has `*`",
        ),
        (
            "endpoints: { verify: { user_id: id } }\n",
            4,
            "endpoints.verify.path",
            "is missing",
        ),
        (
            "endpoints: { verify: { path: /a, username: '' } }\n",
            4,
            "endpoints.verify.username",
            "is empty",
        ),
    ]);
}

#[test]
fn routes_that_differ_in_method_or_host_are_reached() {
    good(&format!(
        "{BASE}routes:\n  - {{ path: /a, methods: [GET] }}\n  - {{ path: /a, methods: [GET, POST] }}\n  - {{ path: /a, host: b.example }}\n  - path: /a\n"
    ));
}

#[test]
fn variables_are_filled_in_after_reading() {
    let config = good(&format!(
        "{}workers: ${{NUMBER}}\nlog: {{ access: '${{NO}}', level: '${{UNSET:-warn}}' }}\nlimits: {{ header_bytes: '${{NUMBER}}0KiB' }}\n",
        BASE.replace("http://127.0.0.1:3000", "${APP}")
    ));
    assert_eq!(config.upstream.port, 4000);
    assert_eq!(config.workers, 4);
    assert!(!config.log.access);
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.limits.header_bytes, 40 << 10);
}

#[test]
fn a_variable_never_adds_structure() {
    let config = good(&format!("{BASE}state_dir: ${{YAML}}\n"));
    assert_eq!(
        config.state_dir.as_deref(),
        Some(Path::new("a\nadmin: off\n- x: ["))
    );
    assert!(config.admin.is_some());
    let config = good(&BASE.replace("[app]", "'$${APP}'"));
    assert_eq!(
        config.issuers[0].audiences,
        Audiences::OneOf(vec!["${APP}".into()])
    );
}

#[test]
fn an_unset_variable_is_one_problem() {
    each_has_one_problem(&[
        (
            &BASE.replace("[app]", "['${UNSET}']"),
            3,
            "issuers[0].audiences[0]",
            "needs the environment variable UNSET",
        ),
        (
            &BASE.replace("[app]", "'${UNSET'"),
            3,
            "issuers[0].audiences",
            "without `}`",
        ),
        (
            &BASE.replace("[app]", "'${EMPTY}'"),
            3,
            "issuers[0].audiences",
            "is empty",
        ),
        (
            &BASE.replace("http://127.0.0.1:3000", "${UNSET}"),
            1,
            "upstream",
            "write a default: `${UNSET:-value}`",
        ),
    ]);
}

#[test]
fn ten_problems_in_one_file_are_all_reported_at_once() {
    let text = "listen: nowhere
admni: off
upstream: https://app
workers: many
issuers:
  - issuer: https://idp.example.com/
  - { issuer: https://b.example, audiences: [app], algorithms: [none] }
headers: { Host: id }
cors: { origins: ['*'] }
routes:
  - path: a
    access: open
limits: { connections: 0 }
timeouts: { idle: 5 }
";
    let found: Vec<_> = problems(text)
        .into_iter()
        .map(|p| (p.line.unwrap_or(0), p.key))
        .collect();
    let wanted = [
        (1, "listen"),
        (2, "admni"),
        (3, "upstream"),
        (4, "workers"),
        (6, "issuers[0].audiences"),
        (7, "issuers[1].algorithms[0]"),
        (8, "headers.Host"),
        (9, "cors.origins[0]"),
        (11, "routes[0].path"),
        (12, "routes[0].access"),
        (13, "limits.connections"),
        (14, "timeouts.idle"),
    ];
    let wanted: Vec<_> = wanted.map(|(line, key)| (line, key.to_owned())).into();
    assert_eq!(found, wanted);
}

#[test]
fn warnings_do_not_fail() {
    let warned = |text: &str| -> Vec<(Option<usize>, String)> {
        let loaded = read(text).unwrap_or_else(|all| panic!("{}", shown(&all)));
        loaded
            .warnings
            .into_iter()
            .map(|w| (w.line, w.key))
            .collect()
    };
    assert_eq!(warned(BASE), []);
    assert_eq!(
        warned(&BASE.replace("[app]", "any")),
        [(Some(3), "issuers[0].audiences".into())]
    );
    let inline = format!(
        "upstream: http://a:1\nissuers: [{{ name: a, audiences: any, secret: {SECRET} }}]\n"
    );
    assert_eq!(warned(&inline), [(Some(2), "issuers[0].secret".into())]);
    assert_eq!(warned(&inline.replace(SECRET, "'${SECRET}'")), []);
    assert_eq!(
        warned(&format!(
            "{BASE}tokens: {{ from: [{{ query: t }}] }}\ntrusted_proxies: [10.0.0.0/8]\n"
        )),
        [
            (Some(4), "tokens.from[0]".into()),
            (Some(5), "trusted_proxies[0]".into())
        ]
    );
}

#[test]
fn files_are_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("secret", SECRET);
    write("newline", &format!("{SECRET}\n"));
    write("keys.json", "{}");
    write("private.pem", "-----BEGIN RSA PRIVATE KEY-----\n");
    write("empty", "");
    let config = |source: &str| {
        let text = format!(
            "upstream: http://a:1\nissuers: [{{ issuer: me, audiences: [a], {source} }}]\n"
        );
        write("usher.yaml", &text);
        load(&folder.path().join("usher.yaml"))
    };

    let loaded = config("secret_file: secret").unwrap();
    assert!(loaded.warnings.is_empty());
    assert!(
        matches!(&loaded.config.issuers[0].keys, KeySource::Secret(s) if s.expose() == SECRET.as_bytes())
    );

    let loaded = config("secret_file: newline").unwrap();
    assert!(loaded.warnings[0].message.contains("ends with a newline"));

    let loaded = config("jwks_file: keys.json").unwrap();
    assert!(
        matches!(&loaded.config.issuers[0].keys, KeySource::JwksFile(p) if *p == folder.path().join("keys.json"))
    );

    let phrase = |source: &str| shown(&config(source).unwrap_err());
    assert!(phrase("public_key_file: private.pem").contains("holds a private key"));
    assert!(phrase("jwks_file: empty").contains("is an empty file"));
    assert!(phrase("jwks_file: missing").contains("cannot be read"));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("none.yaml")).unwrap_err();
    assert!(
        missing[0].to_string().contains("none.yaml: cannot be read"),
        "{}",
        missing[0]
    );
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"a: \xe9\n").unwrap();
    assert!(load(&path).unwrap_err()[0].message.contains("not UTF-8"));
}

#[test]
fn every_example_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let examples: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for path in examples {
        let text = fs::read_to_string(&path).unwrap();
        let env = |name: &str| (name == "JWT_SECRET").then(|| SECRET.to_owned());
        let loaded = parse(&text, &path.display().to_string(), &env);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}", shown(&problems)));
        assert_eq!(shown(&loaded.warnings), "");
    }
}

#[test]
fn the_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let kept = fs::read_to_string(path).unwrap();
    let current = format!("{:#}\n", schema());
    assert!(
        kept == current,
        "config/schema.json is stale: run `cargo run -- schema > config/schema.json`"
    );
}

#[test]
fn the_schema_describes_every_key_and_allows_no_null() {
    let schema = schema();
    assert!(!schema.to_string().contains("\"null\""));
    let properties = schema["properties"].as_object().unwrap();
    assert!(properties.len() >= 18);
    for (name, property) in properties {
        assert!(property["description"].is_string(), "{name}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,200}") {
        let _ = read(&text);
    }

    #[test]
    fn arbitrary_yaml_never_panics(text in "[-a-c:{}\\[\\],#&*!|>'\"%@?~<$\\n\\t 0-9.]{0,120}") {
        let _ = read(&text);
    }

    #[test]
    fn arbitrary_values_never_panic(
        key in "listen|admin|upstream|issuers|headers|tokens|routes|limits|cors|endpoints|workers|log|trusted_proxies",
        value in "[-a-z:/{}\\[\\], '0-9*.%$]{0,60}",
    ) {
        let _ = read(&format!("{BASE}{key}: {value}\n"));
        let _ = read(&format!("{key}:\n  - path: {value}\n    issuer: {value}\n"));
    }

    #[test]
    fn a_problem_stands_within_the_text(text in "[a-c:\\[\\]{}\\n 0-9-]{0,80}") {
        if let Err(problems) = read(&text) {
            for problem in problems {
                prop_assert!(problem.line.unwrap_or(1) <= text.lines().count() + 1);
            }
        }
    }
}
