//! No header that an app could take for one of ours passes the edge.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher_fuzz::{PARTS, head, peer};

/// As a lenient app reads a name.
fn folded(name: &[u8]) -> String {
    let dashed = name.iter().map(|byte| match byte {
        letter if letter.is_ascii_alphanumeric() => char::from(letter.to_ascii_lowercase()),
        _ => '-',
    });
    let mut text: String = dashed.collect();
    // A run counts as one. One in front stays: every app that folds keeps it.
    while text.contains("--") {
        text = text.replace("--", "-");
    }
    text
}

fuzz_target!(|bytes: &[u8]| {
    let (trusted, bytes) = match bytes.split_first() {
        Some((first, rest)) => (first % 2 == 1, rest),
        None => return,
    };
    let Some(mut head) = head(bytes) else { return };
    let nominated = usher::headers::nominated(&head.fields);
    if PARTS.edge.receive(&peer(trusted), &mut head).is_err() {
        return;
    }
    for (name, _) in head.fields.iter() {
        let name = folded(name);
        for ours in [
            "x-user-id",
            "x-user-email",
            "x-roles",
            "remote-user",
            "x-forwarded-user",
            "connection",
            "keep-alive",
        ] {
            assert_ne!(name, ours);
        }
        assert!(
            trusted
                || ![
                    "forwarded",
                    "x-forwarded-for",
                    "x-real-ip",
                    "x-original-url"
                ]
                .contains(&name.as_str())
        );
    }
    for name in nominated {
        let kept = [
            "host",
            "authorization",
            "cookie",
            "content-length",
            "content-type",
            "x-access-token",
        ];
        let ours = head.fields.contains(&name);
        assert!(
            !ours
                || kept.contains(&name.as_str())
                || name.as_str().starts_with("sec-")
                || trusted
                || ["origin", "expect", "te", "via"].contains(&name.as_str()),
            "{name} was nominated"
        );
    }
});
