//! What a bad configuration is told: line, key, and what to write instead.

use super::{
    BASE, SECRET, each_after_base_has_one_problem, each_has_one_problem,
    each_issuer_has_one_problem, good, problems, read, shown,
};

#[test]
#[rustfmt::skip] // a table: one case a line
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
            .starts_with("usher.yaml:2:10: is not YAML"),
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
#[rustfmt::skip] // a table: one case a line
fn keys_are_known_unique_and_have_values() {
    each_after_base_has_one_problem(&[
        ("timeout: 5s\n", 4, "timeout", "Did you mean `timeouts`?"),
        ("frobnicate: 1\n", 4, "frobnicate", "Known here: `listen`, `admin`, `upstream`"),
        ("limits:\n  conections: 5\n", 5, "limits.conections", "Did you mean `connections`?"),
        ("workers: 1\nworkers: 2\n", 5, "workers", "written twice, first on line 4. Keep one"),
        ("routes:\n", 4, "routes", "has no value. Write one, or remove the key"),
        ("limits: { connections: ~ }\n", 4, "limits.connections", "has no value"),
        ("routes:\n  - path: /a\n    acess: public\n", 6, "routes[0].acess", "Did you mean `access`?"),
        ("<<: { workers: 1 }\n", 4, "<<", "not known here"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn values_have_types() {
    each_after_base_has_one_problem(&[
        ("workers: many\n", 4, "workers", "is \"many\". Write a whole number."),
        ("workers: -1\n", 4, "workers", "Write a whole number"),
        ("workers: 0\n", 4, "workers", "is too small: 0. Write 1 or more."),
        ("workers: 257\n", 4, "workers", "Write 256 or less."),
        ("tokens: { pass: yes }\n", 4, "tokens.pass", "is \"yes\". Write `true` or `false`."),
        ("timeouts: { idle: 5 }\n", 4, "timeouts.idle", "a time with its unit"),
        ("timeouts: { idle: 5M }\n", 4, "timeouts.idle", "`5m`"),
        ("timeouts: { idle: 0s }\n", 4, "timeouts.idle", "is too small: 0s. Write 1ms or more."),
        ("limits: { header_bytes: 64MB }\n", 4, "limits.header_bytes", "`64KiB`"),
        ("limits: { header_bytes: 4KiB }\n", 4, "limits.header_bytes", "is too small: 4KiB. Write 8KiB or more."),
        ("limits: { connections: 0 }\n", 4, "limits.connections", "is too small"),
        ("limits: { target_bytes: 64KiB }\n", 4, "limits.target_bytes", "Write 32KiB or less."),
        ("limits: 5\n", 4, "limits", "is an integer, `5`. Write an object"),
        ("routes: /a\n", 4, "routes", "Write a list"),
        ("admin: 9901\n", 4, "admin", "Write text"),
        ("log: { format: xml }\n", 4, "log.format", "Known here: `json`, `text`."),
        ("log: { level: verbose }\n", 4, "log.level", "Write `error`, `warn`, `info`"),
        ("traces: collector:4318\n", 4, "traces", "such as `http://127.0.0.1:4318`"),
        ("traces: { service: shop }\n", 4, "traces.endpoint", "such as `http://127.0.0.1:4318`"),
        ("traces: { endpoint: 'grpc://c:4317' }\n", 4, "traces.endpoint", "uses grpc, which is not supported"),
        ("traces: { endpoint: 'http://c:4318', sample: 0.5 }\n", 4, "traces.sample", "such as `100%`, `5%` or `0.1%`"),
        ("traces: { endpoint: 'http://c:4318', batch: 4096 }\n", 4, "traces.batch", "Write 2048 or less."),
        ("traces: { endpoint: 'http://c:4318', ca_file: /x }\n", 4, "traces.ca_file", "is for TLS"),
        ("log: { denials_per_second: 0 }\n", 4, "log.denials_per_second", "is too small: 0. Write 1 or more."),
        ("log: { denials_per_second: 1s }\n", 4, "log.denials_per_second", "whole number"),
        ("headers: { X-User-Id: id, X--User-Id: email }\n", 4, "headers.X--User-Id", "reads the same as"),
        ("headers_preset: authelai\n", 4, "headers_preset", "Did you mean `authelia`?"),
        ("tokens: { from: [{ cookie: a, header: b }] }\n", 4, "tokens.from[0]", "Write one key"),
        ("tokens: { from: [cookie] }\n", 4, "tokens.from[0]", "is a word without a value. Write it with its value"),
        ("tokens: { from: [{ authorization: x }] }\n", 4, "tokens.from[0]", "Write the word alone"),
        ("limits: [1, 2]\n", 4, "limits", "is a list. Write an object"),
        ("tokens: { from: [cooky] }\n", 4, "tokens.from[0]", "Did you mean `cookie`?"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn addresses_are_addresses() {
    each_after_base_has_one_problem(&[
        ("listen: localhost:8080\n", 4, "listen", "Write an IP address and a port"),
        ("listen: 'unix:'\n", 4, "listen", "names no socket"),
        (&format!("listen: unix:/{}\n", "a".repeat(107)), 4, "listen", "108 bytes, at most 107"),
        ("listen: systemd-web\n", 4, "listen", "is not an address"),
        ("listen: [unix:/a, unix:/a]\n", 4, "listen[1]", "taken already"),
        ("listen: { mode: 0600 }\n", 4, "listen.address", "is missing. Write an IP address"),
        ("listen: { address: '0.0.0.0:1', mode: 0600 }\n", 4, "listen.mode", "is for Unix sockets"),
        ("listen: { address: 'unix:/a', mode: 0999 }\n", 4, "listen.mode", "Write it in octal"),
        ("listen: { address: 'unix:/a', mode: 1777 }\n", 4, "listen.mode", "Write"),
        ("listen: [{ address: '0.0.0.0:1', adress: 1 }]\n", 4, "listen[0].adress", "Did you mean `address`?"),
        ("listen: { address: '0.0.0.0:1', proxy_protocol: {} }\n", 4, "listen.proxy_protocol.from", "Write the addresses of the proxies"),
        ("listen: { address: '0.0.0.0:1', proxy_protocol: { from: [] } }\n", 4, "listen.proxy_protocol.from", "is an empty list"),
        ("listen: { address: '0.0.0.0:1', proxy_protocol: { from: [0.0.0.0/0] } }\n", 4, "listen.proxy_protocol.from[0]", "trusts everybody"),
        ("listen: { address: '0.0.0.0:1', proxy_protocol: { from: proxy } }\n", 4, "listen.proxy_protocol.from", "is not a network"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: Cargo.toml } }\n", 4, "listen.tls.key_file", "Write both"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: no-such.pem, key_file: Cargo.toml } }\n", 4, "listen.tls.cert_file", "cannot be read"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: Cargo.toml, key_file: Cargo.toml, certificates: [] } }\n", 4, "listen.tls.certificates", "Keep one of the two"),
        ("listen: { address: '0.0.0.0:1', tls: { certificates: [] } }\n", 4, "listen.tls.certificates", "is an empty list"),
        ("listen: { address: '0.0.0.0:1', tls: { certificates: [{ key_file: Cargo.toml }] } }\n", 4, "listen.tls.certificates[0].cert_file", "Write both"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: Cargo.toml, key_file: Cargo.toml, client_certificates: request } }\n", 4, "listen.tls.client_ca_file", "Write the authorities"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: Cargo.toml, key_file: Cargo.toml, client_ca_file: Cargo.toml, client_certificates: maybe } }\n", 4, "listen.tls.client_certificates", "`require`"),
        ("listen: { address: '0.0.0.0:1', tls: { cert_file: Cargo.toml, key_file: Cargo.toml, min_version: 1.1 } }\n", 4, "listen.tls.min_version", "Write `1.2` or `1.3`"),
        ("timeouts: { handshake: 0s }\n", 4, "timeouts.handshake", "is too small"),
        ("admin: unix:/a\n", 4, "admin", "is not an address"),
        ("limits: { connections_per_client: 0 }\n", 4, "limits.connections_per_client", "is too small"),
        ("timeouts: { first_byte: 0s }\n", 4, "timeouts.first_byte", "is too small"),
        ("listen: []\n", 4, "listen", "is an empty list"),
        ("listen: ['0.0.0.0:1', '127.0.0.1:1']\n", 4, "listen[1]", "taken already"),
        ("admin: 127.0.0.1:8080\n", 4, "admin", "a port of its own"),
        ("trusted_proxies: [10.0.0.1, 0.0.0.0/0]\n", 4, "trusted_proxies[1]", "trusts everybody"),
        ("trusted_proxies: ['::/0']\n", 4, "trusted_proxies[0]", "trusts everybody"),
        ("trusted_proxies: [proxy]\n", 4, "trusted_proxies[0]", "is not a network"),
        ("trusted_proxies: [{ network: 10.1.2.3, everybody: true }]\n", 4, "trusted_proxies[0].everybody", "Remove it."),
        ("trusted_proxies: [{ everybody: true }]\n", 4, "trusted_proxies[0].network", "is missing"),
        ("trusted_proxies: [{ network: 0.0.0.0/0 }]\n", 4, "trusted_proxies[0]", "everybody: true"),
        ("trusted_proxies: [0.0.0.0/1]\n", 4, "trusted_proxies[0]", "everybody: true"),
        ("trusted_proxies: [10.0.0.1, 64.0.0.0/7]\n", 4, "trusted_proxies[1]", "strangers could claim any address"),
        ("trusted_proxies: ['2000::/3']\n", 4, "trusted_proxies[0]", "strangers could claim any address"),
        ("trusted_proxies: [10.0.0.0/8, 11.0.0.0/8]\n", 4, "trusted_proxies", "all of 10.0.0.0/7 taken together"),
        ("trusted_proxies: ['2000::/16', '2001::/16']\n", 4, "trusted_proxies", "all of 2000::/15 taken together"),
        ("listen: { address: '0.0.0.0:80', proxy_protocol: { from: [128.0.0.0/1] } }\n", 4, "listen.proxy_protocol.from[0]", "strangers"),
        ("listen: { address: '0.0.0.0:80', proxy_protocol: { from: [10.0.0.0/8, 11.0.0.0/8] } }\n", 4, "listen.proxy_protocol.from", "taken together"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn other_proxies_ask_at_paths_of_their_own() {
    let trusts = |text: &str| format!("trusted_proxies: [10.1.2.3]\n{text}");
    let cases = [
        ("forward_auth: {}\n", 5, "forward_auth.dialect", "Write the proxy that asks: `nginx`"),
        ("forward_auth: { dialect: ngnix }\n", 5, "forward_auth.dialect", "Did you mean `nginx`?"),
        ("forward_auth: /_usher/auth\n", 5, "forward_auth", "Write an object"),
        ("forward_auth: { dialect: nginx, path: auth }\n", 5, "forward_auth.path", "Write the whole path"),
        ("forward_auth: { dialect: nginx, path: /auth/ }\n", 5, "forward_auth.path", "Write it without."),
        ("forward_auth: { dialect: nginx, path: /a/* }\n", 5, "forward_auth.path", "Write one exact path"),
        ("forward_auth: [{ dialect: nginx }, { dialect: caddy }]\n", 5, "forward_auth[1].path", "Give each dialect a path"),
        ("forward_auth: { dialect: nginx, path: /v }\nendpoints: { verify: /v }\n", 5, "forward_auth.path", "the path of an endpoint"),
        ("forward_auth: { dialect: nginx, path: /v }\nroutes: [{ path: /v, access: public }]\n", 5, "forward_auth.path", "the path of a route"),
        ("forward_auth: { dialect: envoy, path: /v }\nroutes: [{ path: /v/w, access: public }]\n", 5, "forward_auth.path", "below it the path of a route, whose requests would never arrive: /v/w"),
        ("forward_auth: { dialect: nginx, cache: 6s }\n", 5, "forward_auth.cache", "Write 5s or less"),
        ("forward_auth: { dialect: nginx, cache: 500ms }\n", 5, "forward_auth.cache", "Write `1s` to `5s`"),
        ("ext_authz: {}\n", 5, "ext_authz.listen", "is missing"),
        ("ext_authz: envoy\n", 5, "ext_authz", "Write an IP address and a port"),
        ("ext_authz: 127.0.0.1:8080\n", 5, "ext_authz", "Give it a port of its own"),
        ("ext_authz: { listen: 127.0.0.1:9901 }\n", 5, "ext_authz.listen", "Give it a port of its own"),
    ].map(|(text, line, key, phrase)| (trusts(text), line, key, phrase));
    let cases: Vec<_> = cases.iter().map(|(text, line, key, phrase)| (text.as_str(), *line, *key, *phrase)).collect();
    each_after_base_has_one_problem(&cases);
    each_after_base_has_one_problem(&[
        ("forward_auth: { dialect: nginx }\n", 4, "forward_auth", "Write the proxy's address there"),
        ("trusted_proxies: []\next_authz: 127.0.0.1:9902\n", 5, "ext_authz", "`trusted_proxies` names nobody"),
    ]);
}

#[test]
fn what_is_said_about_the_upstream_fits_its_address() {
    let cases = [
        (
            "http://app:1', ca_file: Cargo.toml",
            "ca_file",
            "is for TLS",
        ),
        ("http://app:1', server_name: a", "server_name", "is for TLS"),
        (
            "https://app:1', cert_file: Cargo.toml",
            "key_file",
            "Write both",
        ),
        (
            "https://app:1', ca_file: no-such.pem",
            "ca_file",
            "cannot be read",
        ),
        ("http://app:1', host: 'a b'", "host", "is not a host"),
        ("http://app:1', host: 'me@a'", "host", "is not a host"),
        ("http://app:1', max_age: 0s", "max_age", "is too small"),
    ];
    let texts = cases.map(|(members, ..)| {
        let object = format!("{{ url: '{members} }}");
        BASE.replace("http://127.0.0.1:3000", &object)
    });
    let keys = cases.map(|(_, key, _)| format!("upstream.{key}"));
    let table: Vec<_> = (0..cases.len())
        .map(|i| (texts[i].as_str(), 1, keys[i].as_str(), cases[i].2))
        .collect();
    each_has_one_problem(&table);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn the_upstream_is_a_plain_address() {
    let cases = [
        ("https://app:1/api", "has a path"),
        ("h3://app:1", "uses h3, which is not supported"),
        ("'unix:'", "names no socket"),
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
#[rustfmt::skip] // a table: one case a line
fn somebody_must_sign() {
    let upstream = "upstream: http://a:1\n";
    each_has_one_problem(&[
        (upstream, 1, "issuers", "is missing. Write who signs your tokens"),
        (&format!("{upstream}issuers: []\n"), 2, "issuers", "Write who signs"),
        (&format!("{upstream}issuers: [5]\n"), 2, "issuers[0]", "Write an object"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn issuers_are_checked() {
    each_issuer_has_one_problem(&[
        ("issuer: 'https://a.example'", "audiences", "is missing. Write the audience your tokens carry, e.g. `audiences: [app]`, or `audiences: any`"),
        ("issuer: 'https://a.example', audiences: []", "audiences", "is an empty list"),
        ("issuer: 'https://a.example', audiences: [any]", "audiences[0]", "is `any` in a list"),
        ("issuer: 'https://a.example', audiences: 5", "audiences", "in quotes"),
        ("issuer: '', jwks_uri: 'https://a.example', audiences: a, name: x", "issuer", "is empty"),
        ("audiences: [a], name: x", "issuer", "is missing. Write its URL, or where the keys are"),
        ("issuer: me, audiences: [a]", "issuer", "cannot be discovered"),
        ("issuer: 'http://a.example', audiences: [a]", "issuer", "plain http"),
        ("issuer: 'https://169.254.169.254', audiences: [a]", "issuer", "metadata network"),
        ("issuer: me, jwks_uri: 'http://a.example', audiences: [a]", "jwks_uri", "plain http"),
        ("issuer: me, jwks_uri: 'https://[fe80::1]/', audiences: [a]", "jwks_uri", "metadata network"),
        ("issuer: me, jwks_uri: [], audiences: [a]", "jwks_uri", "is an empty list"),
        ("issuer: me, jwks_uri: ['https://a', 'http://b'], audiences: [a]", "jwks_uri[1]", "plain http"),
        ("issuer: me, jwks_uri: ['https://a', 'https://a'], audiences: [a]", "jwks_uri[1]", "is there twice"),
        ("issuer: me, jwks_uri: ['https://a/1', 'https://a/2', 'https://a/3', 'https://a/4', 'https://a/5', 'https://a/6', 'https://a/7', 'https://a/8', 'https://a/9'], audiences: [a]", "jwks_uri", "names 9 places"),
        ("issuer: me, jwks_uri: 'https://[64:ff9b::a9fe:a9fe]/', audiences: [a]", "jwks_uri", "metadata network"),
        ("issuer: me, jwks_uri: 'https://169.254.7.1/', fetch: { allow_addresses: [169.254.7.2] }, audiences: [a]", "jwks_uri", "metadata network"),
        ("issuer: me, jwks_uri: 'https://a', fetch: { allow_addresses: [everywhere] }, audiences: [a]", "fetch.allow_addresses[0]", "is not a network"),
        ("issuer: me, jwks_uri: 'https://a', fetch: { allow_addresses: [0.0.0.0/0] }, audiences: [a]", "fetch.allow_addresses[0]", "every address"),
        ("issuer: me, jwks_uri: 'https://a', jwks_file: b, audiences: [a]", "jwks_file", "second source of keys beside `jwks_uri`"),
        ("issuer: me, jwks_file: /nowhere, audiences: [a]", "jwks_file", "cannot be read: /nowhere"),
        ("issuer: me, public_key_file: /, audiences: [a]", "public_key_file", "not a regular file"),
        ("issuer: me, secret_env: UNSET, audiences: [a]", "secret_env", "\"UNSET\", which is not set"),
        ("issuer: me, secret_env: SHORT, audiences: [a]", "secret_env", "HS256 needs at least 32 bytes and it has 16"),
        ("issuer: me, secret: secret, audiences: [a]", "secret", "well-known sample"),
        ("issuer: me, secret: your-256-bit-secret, audiences: [a]", "secret", "well-known sample"),
        ("issuer: me, secret: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, audiences: [a]", "secret", "over and over"),
        ("issuer: me, secret: 8371628371, audiences: [a]", "secret", "Write the secret in quotes"),
        ("issuer: 'https://a.example', audiences: [a], algorithms: []", "algorithms", "is an empty list"),
        ("issuer: 'https://a.example', audiences: [a], algorithms: [HS256]", "algorithms", "needs a shared secret"),
        ("issuer: 'https://a.example', audiences: [a], algorithms: [HS256, RS256]", "algorithms", "mixes shared secrets"),
        ("issuer: me, secret_env: SECRET, audiences: [a], algorithms: [RS256]", "algorithms", "needs a public key"),
        ("issuer: 'https://a.example', audiences: [a], algorithms: [none]", "algorithms[0]", "`none` is not known here"),
        ("issuer: 'https://a.example', audiences: [a], algorithms: [rs256]", "algorithms[0]", "Did you mean `RS256`?"),
        ("issuer: 'https://a.example', audiences: [a], name: 'my idp'", "name", "Write a short name"),
        ("issuer: 'https://a.example', audiences: [a], leeway: { exp: 1500ms }", "leeway.exp", "whole seconds"),
        ("issuer: 'https://a.example', audiences: [a], leeway: { nbf: 1h }", "leeway.nbf", "more than ten minutes"),
        ("issuer: 'https://a.example', audiences: [a], require: { type: [] }", "require.type", "is an empty list"),
        ("issuer: 'https://a.example', audiences: [a], require: { type: { x: y } }", "require.type", "or a list of these"),
        ("issuer: 'https://a.example', audiences: [a], fetch: { cooldown: 0s }", "fetch.cooldown", "Write 1s or more"),
        ("issuer: 'https://a.example', audiences: [a], requird: true", "requird", "Did you mean `require`?"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn issuers_that_are_asked_are_checked() {
    let url = "url: 'https://a.example/i'";
    let by = "client_id: c, client_secret: '${SECRET}'";
    let asked = |more: &str| format!("name: a, audiences: [a], introspection: {{ {more} }}");
    let beside = |more: &str| format!("{}, {more}", asked(&format!("{url}, {by}")));
    each_issuer_has_one_problem(&[
        (&asked(by), "introspection.url", "is missing. Write the endpoint"),
        (&asked(&format!("url: 'http://a.example/i', {by}")), "introspection.url", "plain http, so anybody on the way reads tokens"),
        (&asked(&format!("url: 'ftp://a.example/i', {by}")), "introspection.url", "neither https nor http"),
        (&asked(&format!("url: 'https://169.254.169.254/i', {by}")), "introspection.url", "metadata network"),
        (&asked(&format!("{url}, client_secret: '${{SECRET}}'")), "introspection.client_id", "is missing"),
        (&asked(&format!("{url}, client_id: '', client_secret: '${{SECRET}}'")), "introspection.client_id", "is empty"),
        (&asked(&format!("{url}, client_id: c")), "introspection.client_secret_file", "is missing. Write how usher proves who it is"),
        (&asked(&format!("{url}, client_id: c, client_secret: '${{SECRET}}', private_key_file: x")), "introspection.private_key_file", "is a second way to prove"),
        (&asked(&format!("{url}, client_id: c, client_secret_env: EMPTY")), "introspection.client_secret_env", "is empty"),
        (&asked(&format!("{url}, client_id: c, client_secret_env: UNSET")), "introspection.client_secret_env", "which is not set"),
        (&asked(&format!("{url}, client_id: c, private_key_file: /nowhere")), "introspection.private_key_file", "cannot be read"),
        (&asked(&format!("{url}, {by}, key_id: k")), "introspection.key_id", "means nothing without `private_key_file`"),
        (&asked(&format!("{url}, {by}, client_auth: header")), "introspection.client_auth", "`header` is not known here"),
        (&asked(&format!("{url}, {by}, prefixes: []")), "introspection.prefixes", "is an empty list"),
        (&asked(&format!("{url}, {by}, prefixes: ['gho_', '']")), "introspection.prefixes[1]", "is how no token begins"),
        (&asked(&format!("{url}, {by}, timeout: 10ms")), "introspection.timeout", "Write 100ms or more"),
        (&asked(&format!("{url}, {by}, max_in_flight: 0")), "introspection.max_in_flight", "Write 1 or more"),
        (&asked(&format!("{url}, {by}, max_bytes: 10MiB")), "introspection.max_bytes", "Write 1MiB or less"),
        (&asked(&format!("{url}, {by}, ur: 1")), "introspection.ur", "Did you mean `url`?"),
        (&beside("algorithms: [ES256]"), "algorithms", "means nothing beside `introspection`"),
        (&beside("fetch: { timeout: 1s }"), "fetch", "means nothing beside `introspection`"),
        (&beside("jwks_uri: 'https://a.example/k'"), "introspection", "second source of keys beside `jwks_uri`"),
    ]);
    let one = format!("  - {{ {} }}\n", asked(&format!("{url}, {by}")));
    let other = one.replace("name: a", "name: b");
    let (prefixed, same) = (one.replace("client_id", "prefixes: [x_, y_], client_id"), other.replace("client_id", "prefixes: [y_], client_id"));
    each_has_one_problem(&[
        (&format!("{BASE}{one}{other}"), 5, "issuers[2].introspection.prefixes", "every opaque token too"),
        (&format!("{BASE}{prefixed}{same}"), 5, "issuers[2].introspection.prefixes", "has \"y_\", which an earlier issuer has too"),
    ]);
    // One for the rest beside one with prefixes, and one for JWTs without `iss`.
    let bare = "  - { name: bare, audiences: any, secret: '${SECRET}' }\n";
    let config = good(&format!("{BASE}{one}{same}{bare}"));
    assert_eq!(config.issuers.len(), 4);
    assert!(!config.issuers[1].require_exp && config.issuers[3].require_exp);
    assert_eq!(config.issuers[1].types, ["bearer"]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn a_state_directory_is_a_folder() {
    each_after_base_has_one_problem(&[
        ("state_dir: ''\n", 4, "state_dir", "is empty"),
        ("state_dir: /dev/null\n", 4, "state_dir", "is not a folder"),
        ("state_dir: /dev/null/usher\n", 4, "state_dir", "nor can it become one"),
    ]);
    assert_eq!(good(&format!("{BASE}state_dir: /var/lib/usher\n")).state_dir.unwrap(), std::path::Path::new("/var/lib/usher"));
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn issuers_differ() {
    let more = |text: &str| format!("{BASE}  - {{ {text} }}\n");
    each_has_one_problem(&[
        (&more("issuer: 'https://idp.example.com/', name: b, audiences: [x]"), 4, "issuers[1].issuer", "the issuer of an earlier entry too"),
        (&more("issuer: 'https://b.example', name: idp.example.com, audiences: [x]"), 4, "issuers[1].name", "two issuers are called"),
        (&(more("name: a, secret_env: SECRET, audiences: [x]") + "  - { name: b, secret_env: SECRET, audiences: [x] }\n"), 5, "issuers[2].issuer", "Only one entry may be for tokens that carry no `iss`"),
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

/// A secret may come from a variable and be written where none belongs.
#[test]
fn no_message_repeats_what_a_variable_holds() {
    let issuer = "{ issuer: 'https://a.example', audiences: [x] }";
    for text in [
        "'${SECRET}'\n".to_owned(),
        "x${SECRET}y\n".to_owned(),
        format!("upstream: '${{SECRET}}'\nissuers: [{issuer}]\n"),
        "upstream: http://a:1\nissuers: '${SECRET}'\n".to_owned(),
        format!("upstream: http://a:1\nissuers: [{issuer}]\nlisten: '${{SECRET}}'\n"),
        format!("upstream: http://a:1\nissuers: [{issuer}]\nroutes: [{{ path: '${{SECRET}}' }}]\n"),
        format!(
            "upstream: http://a:1\nissuers: [{issuer}]\nroutes: [{{ path: /a, access: '${{SECRET}}' }}]\n"
        ),
        format!(
            "upstream: http://a:1\nissuers: [{issuer}]\nusers: {{ directory: '${{SECRET}}' }}\n"
        ),
        "upstream: http://a:1\nissuers: [{ issuer: '${SECRET}', audiences: [x] }]\n".to_owned(),
    ] {
        let told = shown(&read(&text).expect_err(&text));
        assert!(!told.contains(SECRET), "{text}: {told}");
    }
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn headers_are_checked() {
    each_after_base_has_one_problem(&[
        ("headers: { X-A: certificate.serial }\n", 4, "headers.X-A", "Write `certificate.` and one of subject, dns"),
        ("headers: { Host: id }\n", 4, "headers.Host", "has a meaning of its own"),
        ("headers: { content_length: id }\n", 4, "headers.content_length", "has a meaning of its own"),
        ("headers: { Authorization: id }\n", 4, "headers.Authorization", "has a meaning of its own"),
        ("headers: { X-Forwarded-For: id }\n", 4, "headers.X-Forwarded-For", "has a meaning of its own"),
        ("headers: { ':path': id }\n", 4, "headers.:path", "is not the name of a header"),
        ("headers: { 'X Y': id }\n", 4, "headers.X Y", "is not the name of a header"),
        ("headers:\n  X-User-Id: id\n  x_user.id: email\n", 6, "headers.x_user.id", "reads the same as `x-user-id`"),
        ("headers: { X-A: '' }\n", 4, "headers.X-A", "is empty"),
        ("headers: { X-A: [email, user.email] }\n", 4, "headers.X-A[1]", "is `user.email`, which stands alone"),
        ("headers:\n  X-A:\n    - issuer\n    - email\n", 6, "headers.X-A[0]", "is `issuer`, which stands alone"),
        ("headers: { X-A: [claims] }\n", 4, "headers.X-A[0]", "Give it a header of its own"),
        ("headers: { X-A: [certificate.dns] }\n", 4, "headers.X-A[0]", "is `certificate.dns`"),
        ("headers: { X-A: [] }\n", 4, "headers.X-A", "is an empty list"),
        ("header_exceptions: [x_user_id]\n", 4, "header_exceptions[0]", "callers could claim to be anybody"),
        ("headers_preset: authelia\nheaders: { Remote_User: email }\n", 5, "headers.Remote_User", "reads the same"),
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
#[rustfmt::skip] // a table: one case a line
fn tokens_come_from_sound_places() {
    each_after_base_has_one_problem(&[
        ("tokens: { from: [] }\n", 4, "tokens.from", "is an empty list"),
        ("tokens: { from: [authorization, authorization] }\n", 4, "tokens.from[1]", "in the list already"),
        ("tokens: { from: [{ header: Authorization }] }\n", 4, "tokens.from[0]", "Write `authorization` instead"),
        ("tokens: { from: [{ header: Cookie }] }\n", 4, "tokens.from[0]", "Write `{ cookie: name }` instead"),
        ("tokens: { from: [{ header: Connection }] }\n", 4, "tokens.from[0]", "has a meaning of its own"),
        ("tokens: { from: [{ header: X_User_Id }] }\n", 4, "tokens.from[0]", "headers usher sets"),
        ("tokens: { from: [{ cookie: 'a b' }] }\n", 4, "tokens.from[0]", "is not the name of a cookie"),
        ("tokens: { from: [{ query: 'a&b' }] }\n", 4, "tokens.from[0]", "is not a plain name"),
        ("tokens: { max_waiters: 0 }\n", 4, "tokens.max_waiters", "is too small"),
        ("tokens: { cookie_origins: ['https://a.example/'] }\n", 4, "tokens.cookie_origins[0]", "Write `https://a.example`."),
        ("cors: { origins: ['*'] }\n", 4, "cors.origins[0]", "every web page"),
        ("cors: { origins: ['null'] }\n", 4, "cors.origins[0]", "from a sandbox"),
        ("cors: { origins: ['https://A.example:443'] }\n", 4, "cors.origins[0]", "Write `https://a.example`."),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn routes_are_checked() {
    each_after_base_has_one_problem(&[
        ("routes: [{ access: public }]\n", 4, "routes[0].path", "is missing"),
        ("routes: [{ path: [] }]\n", 4, "routes[0].path", "is an empty list"),
        ("routes: [{ path: a }]\n", 4, "routes[0].path", "does not start with `/`"),
        ("routes: [{ path: [/a, /b/../c] }]\n", 4, "routes[0].path[1]", "dot segment"),
        ("routes: [{ path: /a//b }]\n", 4, "routes[0].path", "empty segment"),
        ("routes: [{ path: /a;b }]\n", 4, "routes[0].path", "`;`"),
        ("routes: [{ path: /a%2fb }]\n", 4, "routes[0].path", "upper case"),
        ("routes: [{ path: /a%2Fb }]\n", 4, "routes[0].path", "encoded separator"),
        ("routes: [{ path: '/a\\b' }]\n", 4, "routes[0].path", "apps read in different ways"),
        ("routes: [{ path: /a/**/b }]\n", 4, "routes[0].path", "not the whole last segment"),
        ("routes: [{ path: /a, methods: get }]\n", 4, "routes[0].methods", "Write `GET`."),
        ("routes: [{ path: /a, methods: ['G T'] }]\n", 4, "routes[0].methods[0]", "is not a method"),
        ("routes: [{ path: /a, methods: [] }]\n", 4, "routes[0].methods", "is an empty list"),
        ("routes: [{ path: /a, host: 'a.example:80' }]\n", 4, "routes[0].host", "has a port"),
        ("routes: [{ path: /a, host: 'a.*.example' }]\n", 4, "routes[0].host", "is not a host name"),
        ("routes: [{ path: /a, access: open }]\n", 4, "routes[0].access", "Known here: `public`, `optional`, `required`."),
        ("routes: [{ path: /a, access: public, require: { roles: [a] } }]\n", 4, "routes[0].require", "never looked at on a public route"),
        ("routes: [{ path: /a, access: optional, require: { roles: [a] } }]\n", 4, "routes[0].require", "protects nothing"),
        ("routes: [{ path: /a, require: {} }]\n", 4, "routes[0].require", "asks for nothing"),
        ("routes: [{ path: /a, require: { roles: [] } }]\n", 4, "routes[0].require.roles", "is an empty list"),
        ("routes: [{ path: /a, require: { claims: { x: [] } } }]\n", 4, "routes[0].require.claims.x", "no token can satisfy"),
        ("routes: [{ path: /a, cors: ['*'] }]\n", 4, "routes[0].cors[0]", "every web page"),
        ("routes: [{ path: /a, cors: on }]\n", 4, "routes[0].cors", "is not a URL"),
        ("routes:\n  - path: /a/**\n  - path: [/b, /a/c]\n", 6, "routes[1].path[1]", "is never reached: routes[0]"),
        ("routes:\n  - path: /a\n    methods: [GET]\n  - path: /a\n    methods: [GET]\n", 7, "routes[1].path", "is never reached"),
        ("routes:\n  - { path: /a/b/**, paths: opaque, access: public }\n  - path: /a/**\n", 5, "routes[0].paths", "opaque beside routes[1]"),
        ("routes:\n  - path: /a\nendpoints: { verify: /a }\n", 6, "endpoints.verify", "the path of a route too"),
        ("endpoints: { verify: a }\n", 4, "endpoints.verify", "does not start with `/`"),
        ("endpoints: { verify: /a/* }\n", 4, "endpoints.verify", "has `*`"),
        ("endpoints: { verify: { user_id: id } }\n", 4, "endpoints.verify.path", "is missing"),
        ("endpoints: { verify: { path: /a, username: '' } }\n", 4, "endpoints.verify.username", "is empty"),
    ]);
}

#[test]
#[rustfmt::skip] // a table: one case a line
fn an_unset_variable_is_one_problem() {
    each_has_one_problem(&[
        (&BASE.replace("[app]", "['${UNSET}']"), 3, "issuers[0].audiences[0]", "needs the environment variable UNSET"),
        (&BASE.replace("[app]", "'${UNSET'"), 3, "issuers[0].audiences", "without `}`"),
        (&BASE.replace("[app]", "'${EMPTY}'"), 3, "issuers[0].audiences", "is empty"),
        (&BASE.replace("http://127.0.0.1:3000", "${UNSET}"), 1, "upstream", "write a default: `${UNSET:-value}`"),
    ]);
}

#[test]
fn ten_problems_in_one_file_are_all_reported_at_once() {
    let text = "listen: nowhere
admni: off
upstream: ftp://app
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
