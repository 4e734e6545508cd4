//! Names in disguise: a proxy takes away or overwrites what clients may not send as it is usually
//! spelt, and many apps read other spellings as the same.

use super::{DIALECTS, ask, bearer, mistake, start};

/// What a name may hold besides letters and digits (RFC 9110 §5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

#[test]
fn every_odd_spelling_is_refused() {
    let (_app, issuer, usher) = start("");
    let token = bearer(&issuer.token("alice"));
    let mut cases = 0;
    for dialect in DIALECTS {
        for first in SEPARATORS.chars() {
            for second in SEPARATORS.chars() {
                let names = [
                    format!("X{first}User{second}Id"),
                    format!("x{first}{second}user-ID"),
                ];
                for name in names {
                    let plain = name.eq_ignore_ascii_case("X-User-Id");
                    let wanted = if plain { 200 } else { mistake(dialect) };
                    let lines = format!("{name}: root\r\n{token}");
                    assert_eq!(
                        ask(&usher, dialect, "/x", &lines).status,
                        wanted,
                        "{dialect} {name}"
                    );
                    cases += 1;
                }
            }
        }
    }
    assert_eq!(cases, 6 * 15 * 15 * 2);
    let line = usher
        .lines()
        .into_iter()
        .rfind(|line| line["reason"] == "header_refused");
    let line = line.unwrap();
    assert_eq!(
        [&line["path"], &line["host"], &line["client"]],
        ["/x", "app.test", "192.0.2.7"]
    );
}

#[test]
fn so_is_every_name_that_clients_may_not_send() {
    let (_app, _issuer, usher) = start("");
    let mut names = 0;
    for name in usher::headers::guarded().filter(|name| name.contains('-')) {
        for separator in ["_", ".", "--", "-_"] {
            let name = name.replace('-', separator);
            for dialect in ["nginx", "traefik", "envoy"] {
                let reply = ask(&usher, dialect, "/public/x", &format!("{name}: x\r\n"));
                assert_eq!(reply.status, mistake(dialect), "{dialect} {name}");
            }
        }
        names += 1;
    }
    assert!(names > 80, "{names}");
    // Others are the client's own, and those that the configuration lets through.
    for name in ["X_Custom", "X--Api-Version", "x.user.ids", "sec_ch_ua"] {
        let reply = ask(&usher, "caddy", "/public/x", &format!("{name}: x\r\n"));
        assert_eq!(reply.status, 200, "{name}");
    }
    let (_app, _issuer, usher) = start("header_exceptions: [Remote-Name]\n");
    let reply = ask(&usher, "caddy", "/public/x", "Remote_Name: x\r\n");
    assert_eq!(reply.status, 200);
}
