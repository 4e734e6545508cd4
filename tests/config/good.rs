//! What a good configuration means.

use std::time::Duration;

use serde_json::json;
use usher::config::{
    Access, Address, Algorithm, Audiences, Dialect, HeaderSource, KeySource, Listen, Listener,
    Loaded, LogFormat, RouteCors, TokenSource,
};

use super::{BASE, SECRET, good, read, shown};

#[test]
fn the_shortest_configuration_gets_the_defaults() {
    let config = good(BASE);
    assert_eq!(
        config.listeners,
        [Listener {
            listen: Listen::Tcp("0.0.0.0:8080".parse().unwrap()),
            proxy_protocol: None,
            tls: None,
        }]
    );
    assert_eq!(config.admin, Some("127.0.0.1:9901".parse().unwrap()));
    assert_eq!(
        config.upstream.as_ref().unwrap().address,
        Address::Tcp("127.0.0.1".to_owned(), 3000)
    );
    assert_eq!(config.upstream.as_ref().unwrap().max_idle, 256);
    assert_eq!(config.tokens.from, [TokenSource::Authorization]);
    assert!(!config.tokens.pass);
    assert_eq!(config.tokens.cache_weight, 64 << 20);
    assert_eq!(config.tokens.max_bytes, 8 << 10);
    assert_eq!(config.limits.header_bytes, 32 << 10);
    assert_eq!(config.timeouts.keep_alive, Duration::from_secs(75));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.traces, None);
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
traces: { endpoint: 'http://collector:4318/', service: shop, sample: 12.5%, queue: 100, every: 1s }
workers: 2
",
    );
    assert_eq!(config.listeners.len(), 2);
    assert_eq!(config.admin, None);
    let traces = config.traces.as_ref().unwrap();
    assert_eq!(traces.endpoint, "http://collector:4318/v1/traces");
    assert_eq!((traces.service.as_str(), traces.sample), ("shop", 0.125));
    // No message is larger than what may wait.
    assert_eq!((traces.queue, traces.batch), (100, 100));
    assert_eq!(traces.every, Duration::from_secs(1));
    assert_eq!(
        config.upstream.as_ref().unwrap().address,
        Address::Tcp("::1".to_owned(), 3000)
    );
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
}

#[test]
fn json_is_yaml() {
    let config = good(
        r#"{"upstream": "http://127.0.0.1:3000", "workers": 3, "issuers": [{"issuer": "https://a.example", "audiences": ["app"]}]}"#,
    );
    assert_eq!(config.workers, 3);
}

#[test]
fn anchors_work() {
    let config = good(&format!(
        "{BASE}routes:\n  - {{ path: /a, require: &admins {{ roles: [admin] }} }}\n  - {{ path: /b, require: *admins }}\n"
    ));
    assert_eq!(config.routes[1].require.roles, ["admin"]);
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
fn routes_that_differ_in_method_or_host_are_reached() {
    good(&format!(
        "{BASE}routes:\n  - {{ path: /a, methods: [GET] }}\n  - {{ path: /a, methods: [GET, POST] }}\n  - {{ path: /a, host: b.example }}\n  - path: /a\n"
    ));
}

#[test]
fn variables_are_filled_in_after_reading() {
    let config = good(&format!(
        "{}workers: ${{NUMBER}}\nlog: {{ access: '${{NO}}', level: '${{UNSET:-warn}}' }}\nlimits: {{ header_bytes: '${{NUMBER}}0KiB' }}\n\
         routes: [{{ path: /a, outlive_token: '${{YES}}' }}, {{ path: /b, outlive_token: '${{NO}}' }}]\n",
        BASE.replace("http://127.0.0.1:3000", "${APP}")
    ));
    assert_eq!(
        config.upstream.as_ref().unwrap().address,
        Address::Tcp("127.0.0.1".to_owned(), 4000)
    );
    assert_eq!(config.workers, 4);
    assert!(!config.log.access);
    assert_eq!(config.log.denials_per_second, 100);
    assert_eq!(config.log.level, "warn");
    assert_eq!(config.limits.header_bytes, 40 << 10);
    let outlives: Vec<_> = config
        .routes
        .iter()
        .map(|route| route.outlives_token)
        .collect();
    assert_eq!(outlives, [true, false]);
}

#[test]
fn a_variable_never_adds_structure() {
    let config = good(&BASE.replace("[app]", "'${YAML}'"));
    assert_eq!(
        config.issuers[0].audiences,
        Audiences::OneOf(vec!["a\nadmin: off\n- x: [".into()])
    );
    assert!(config.admin.is_some());
    let config = good(&BASE.replace("[app]", "'$${APP}'"));
    assert_eq!(
        config.issuers[0].audiences,
        Audiences::OneOf(vec!["${APP}".into()])
    );
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
        warned(&format!(
            "{BASE}routes: [{{ path: /f/**, access: public, paths: opaque }}]\n"
        )),
        [(Some(4), "routes[0].paths".into())]
    );
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
fn line_ends_of_other_systems_and_a_byte_order_mark_do_no_harm() {
    let config = good(&format!("\u{feff}{BASE}workers: 2\n").replace('\n', "\r\n"));
    assert_eq!(config.workers, 2);
}

#[test]
fn other_proxies_may_ask() {
    let trusts = "trusted_proxies: [10.1.2.3, { network: \"::/0\", everybody: true }]\n";
    let loaded = read(&format!(
        "{BASE}{trusts}forward_auth:\n  - {{ dialect: ingress-nginx }}\n  \
         - {{ dialect: envoy, path: /ask, cache: 3s }}\next_authz: {{ listen: 127.0.0.1:9902 }}\n"
    ));
    let Loaded { config, warnings } = loaded.unwrap();
    let doors: Vec<_> = config
        .forward_auth
        .iter()
        .map(|door| (door.path.as_str(), door.dialect, door.cache.as_secs()))
        .collect();
    let expected = [
        ("/_usher/auth", Dialect::IngressNginx, 0),
        ("/ask", Dialect::Envoy, 3),
    ];
    assert_eq!(doors, expected);
    let listen = config.ext_authz.unwrap().listen;
    assert_eq!(listen.to_string(), "127.0.0.1:9902");
    assert_eq!(config.trusted_proxies.len(), 2);
    let told: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].contains("trusts everybody"), "{told:?}");
    assert!(told[1].contains("still passes for up to 3s"), "{told:?}");
}
