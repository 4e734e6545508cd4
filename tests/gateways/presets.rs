//! Headers of other names, each in every place that its README tells of: usher's word arrives, and a
//! client's never does, although the examples take these names out.

use super::cases::{get, only};
use super::stage::{Door, Stage};

fn holds(door: Door, place: (&str, &str)) {
    let changes = [("issuers:", "headers_preset: authelia\nissuers:"), place];
    let stage = match door {
        // usher tells Envoy the names by itself.
        Door::EnvoyGrpc => Stage::changed(door, &changes[..1]),
        _ => Stage::changed(door, &changes),
    };
    let forged = "Remote-User: root\r\nREMOTE-USER: admin\r\n";
    for lines in [forged, ""] {
        let outcome = get(&stage, "/x", &format!("{lines}{}", stage.bearer("alice")));
        only(outcome.passed(), "remote-user", Some("alice"));
        only(
            get(&stage, "/public/x", lines).passed(),
            "remote-user",
            None,
        );
    }
}

#[test]
fn nginx() {
    holds(
        Door::Nginx,
        (
            "            include not-from-clients.conf;",
            "            auth_request_set $of_usher $upstream_http_remote_user;\n            \
             proxy_set_header Remote-User $of_usher;\n            include not-from-clients.conf;",
        ),
    );
}

#[test]
fn haproxy() {
    let list = "\"x-user-provisioned\" }";
    holds(
        Door::Haproxy,
        (list, "\"x-user-provisioned\", \"remote-user\" }"),
    );
}

#[test]
fn caddy() {
    let list = "X-User-Name X-User-Provisioned";
    holds(
        Door::Caddy,
        (list, "X-User-Name X-User-Provisioned Remote-User"),
    );
}

#[test]
fn traefik() {
    holds(
        Door::Traefik,
        ("X-User-Provisioned]", "X-User-Provisioned, Remote-User]"),
    );
}

#[test]
fn envoy_over_http() {
    let line = "                              - exact: x-user-provisioned\n";
    let both = format!("{line}                              - exact: remote-user\n");
    holds(Door::EnvoyHttp, (line, &both));
}

#[test]
fn envoy_over_grpc() {
    holds(Door::EnvoyGrpc, ("", ""));
}
