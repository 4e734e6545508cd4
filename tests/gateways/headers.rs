//! What clients may not send, in whatever spelling, through every proxy.

use super::cases::{get, only};
use super::stage::Stage;

/// What a name may hold besides letters and digits (RFC 9110 §5.6.2).
const SEPARATORS: &str = "!#$%&'*+-.^_`|~";

/// What a proxy has to understand itself, as it is usually spelt.
const CONNECTIONS: [&str; 5] = ["connection", "expect", "te", "transfer-encoding", "upgrade"];

/// usher's own header, with any separator and runs of them.
pub(super) fn odd_spellings() -> Vec<String> {
    let each = SEPARATORS.chars().flat_map(|one| {
        [
            format!("X{one}User{one}Id"),
            format!("x-{one}user-id"),
            format!("X-User{one}{one}Id"),
        ]
    });
    each.collect()
}

/// Each name by which usher or another proxy says something: the app never gets the client's value,
/// under no name, or the request is refused.
pub(super) fn nothing_forged_arrives(stage: &Stage) {
    let alice = stage.bearer("alice");
    let mut names = 0;
    for name in usher::headers::guarded() {
        let spellings = ["-", "_", ".", "--", "-!"].map(|separator| name.replace('-', separator));
        for (place, spelling) in spellings.iter().enumerate() {
            let same = place > 0 && !name.contains('-');
            if same || CONNECTIONS.contains(&spelling.as_str()) {
                continue;
            }
            for (target, lines) in [("/x", alice.as_str()), ("/public/x", "")] {
                let outcome = get(stage, target, &format!("{spelling}: forged\r\n{lines}"));
                match outcome.received.as_slice() {
                    [] => {
                        assert!([400, 403].contains(&outcome.status()), "{spelling}");
                        // What is spelt as usual is taken away, and nobody is refused for it.
                        assert_ne!(place, 0, "{:?}: {spelling}", stage.door);
                    }
                    [received] => {
                        assert!(!received.head.contains("forged"), "{}", received.head);
                        only(received, "x-user-id", lines.lines().next().map(|_| "alice"));
                    }
                    more => panic!("{}", more.len()),
                }
            }
            names += 1;
        }
    }
    assert!(names > 400, "{names}");
}

/// What the app is told about the way of a request is the proxy's word, and about the host that was
/// decided on.
pub(crate) fn one_host_and_method(stage: &Stage) {
    let forged = "X-Forwarded-Host: evil.test\r\nForwarded: host=evil.test;proto=https\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.9\r\nX-Original-URL: /admin/x\r\n\
        X-Rewrite-URL: /admin/x\r\nX-HTTP-Method-Override: DELETE\r\nX-Method-Override: DELETE\r\n\
        X-HTTP-Method: DELETE\r\nProxy: http://evil.test\r\n";
    let outcome = get(stage, "/x", &format!("{forged}{}", stage.bearer("alice")));
    let received = outcome.passed();
    let head = received.head.to_lowercase();
    for gone in ["evil", "203.0.113.9", "delete", "admin"] {
        assert!(!head.contains(gone), "{:?}: {head}", stage.door);
    }
    for host in received.all("x-forwarded-host") {
        assert_eq!(host, "app.test");
    }
    assert_eq!(received.header("host"), Some("app.test"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
}
