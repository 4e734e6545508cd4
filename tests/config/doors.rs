//! What has to stay out of the way of the doors of other proxies, and what they cannot do.

use super::{BASE, SECRET, each_after_base_has_one_problem, good, read};

/// The warnings of a good configuration: key and text.
fn warned(text: &str) -> Vec<(String, String)> {
    let trusts = "trusted_proxies: [10.1.2.3]\n";
    let loaded =
        read(&format!("{BASE}{trusts}{text}")).unwrap_or_else(|problems| panic!("{problems:?}"));
    let warnings = loaded.warnings.into_iter();
    warnings
        .map(|it| (it.key.clone(), it.to_string()))
        .collect()
}

/// Whatever comes at a door or below is the door's; to Envoy's, whatever begins so.
#[test]
#[rustfmt::skip] // a table: one case a line
fn nothing_else_is_at_a_door_or_below() {
    let users = "users: { directory: 'sqlite:users.db' }\n";
    let accounts = format!(
        "accounts: 'sqlite:a.db'\nprojects: [{{ id: acme }}]\n\
         issued_tokens: {{ access: {{ secret: '{SECRET}' }}, refresh: {{ secret: '{SECRET}x' }} }}\n"
    );
    let (first, second) = ("forward_auth[0].path", "forward_auth[1].path");
    let mut cases = Vec::new();
    for dialect in ["nginx", "ingress-nginx", "traefik", "caddy", "haproxy", "envoy"] {
        let door = format!("forward_auth: {{ dialect: {dialect}, path: /v }}\n");
        let both = |one: &str, two: &str| {
            format!("forward_auth: [{{ dialect: {dialect}, path: {one} }}, {{ dialect: caddy, path: {two} }}]\n")
        };
        cases.extend([
            (both("/v", "/v/w"), first, "another door below it: /v/w"),
            (both("/v", "/v"), second, "Give each dialect a path of its own"),
            (format!("{door}routes: [{{ path: [/a, /v/w/**] }}]\n"), "forward_auth.path", "path of a route, whose requests would never arrive: /v/w/**"),
            (format!("{door}endpoints: {{ verify: /v/verify }}\n"), "forward_auth.path", "path of an endpoint"),
            (format!("{door}{users}endpoints: {{ ensure_user: /v/ensure }}\n"), "forward_auth.path", "path of an endpoint"),
        ]);
    }
    // In the other order, and where only Envoy puts a path right behind.
    cases.extend([
        ("forward_auth: [{ dialect: caddy, path: /v/w }, { dialect: envoy, path: /v }]\n".to_owned(), second, "another door below it: /v/w"),
        ("forward_auth: [{ dialect: caddy, path: /vw }, { dialect: envoy, path: /v }]\n".to_owned(), second, "another door below it: /vw"),
        ("forward_auth: { dialect: envoy, path: /v }\nroutes: [{ path: /vw }]\n".to_owned(), "forward_auth.path", "path of a route"),
        ("forward_auth: { dialect: envoy, path: /v }\nendpoints: { verify: /verify }\n".to_owned(), "forward_auth.path", "path of an endpoint"),
        (format!("forward_auth: {{ dialect: nginx, path: /acme }}\n{accounts}"), "forward_auth.path", "of external users"),
    ]);
    let trusts = "trusted_proxies: [10.1.2.3]\n";
    let cases: Vec<_> = cases.iter().map(|(text, key, phrase)| (format!("{trusts}{text}"), *key, *phrase)).collect();
    let cases: Vec<_> = cases.iter().map(|(text, key, phrase)| (text.as_str(), 5, *key, *phrase)).collect();
    assert_eq!(cases.len(), 6 * 5 + 5);
    each_after_base_has_one_problem(&cases);
    // Beside a door there is room, and so there is above it.
    good(&format!(
        "{BASE}{trusts}forward_auth: [{{ dialect: nginx, path: /v/auth }}, {{ dialect: caddy, path: /v/authx }}, {{ dialect: envoy, path: /e }}]\n\
         endpoints: {{ verify: /v/verify }}\nroutes: [{{ path: /v/**, access: public }}, {{ path: /v }}]\n"
    ));
}

#[test]
fn a_cache_that_cannot_work_is_told() {
    let told = |from: &str, more: &str| {
        let text = format!(
            "tokens: {{ from: [authorization, {from}] }}\nforward_auth: {{ dialect: nginx, cache: 2s }}\n{more}"
        );
        let mut found = warned(&text).into_iter();
        found.any(|(key, text)| key == "forward_auth.cache" && text.contains("`Vary`"))
    };
    let two = "{ cookie: session }, websocket_protocol";
    assert!(!told(two, ""), "122 bytes are kept");
    assert!(told(&format!("{two}, {{ header: x-token }}"), ""));
    // Pages make it longer.
    let pages = "routes: [{ path: /a/**, cors: ['https://page.test'] }]\n";
    assert!(told(two, pages));
}

#[test]
fn preflights_and_hosts_that_a_proxy_cannot_tell_of_are_told() {
    let routes = "routes: [{ path: /a/**, cors: ['https://page.test'] }, { path: /b/**, cors: pass }, \
                  { path: /c/**, host: c.test }]\n";
    for (dialect, expected) in [
        ("nginx", &["routes[0].cors"][..]),
        ("ingress-nginx", &["routes[0].cors", "routes[2].host"]),
        ("traefik", &["routes[0].cors"]),
        ("caddy", &["routes[0].cors"]),
        ("haproxy", &[]),
        ("envoy", &[]),
    ] {
        let found = warned(&format!("forward_auth: {{ dialect: {dialect} }}\n{routes}"));
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, expected, "{dialect}");
    }
    assert_eq!(warned(&format!("ext_authz: 127.0.0.1:9902\n{routes}")), []);
}

/// The largest that one house may have are told, and no more.
#[test]
fn a_wide_network_of_ones_own_is_a_warning() {
    for network in ["10.0.0.0/8", "fc00::/7", "2001::/16"] {
        let text = format!("{BASE}trusted_proxies: ['{network}']\n");
        assert_eq!(read(&text).unwrap().warnings.len(), 1, "{network}");
    }
    let text =
        format!("{BASE}trusted_proxies: [{{ network: 0.0.0.0/0, everybody: true }}, 10.0.0.0/8]\n");
    assert_eq!(read(&text).unwrap().warnings.len(), 2);
}
