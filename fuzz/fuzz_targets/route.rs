//! From bytes to a route: only what is public by every reading finds a public one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::config::Access;
use usher_fuzz::{PARTS, head, peer};

fuzz_target!(|bytes: &[u8]| {
    let Some(mut head) = head(bytes) else { return };
    let peer = peer(false);
    let Ok(arrival) = PARTS.edge.receive(&peer, &mut head) else {
        return;
    };
    let Ok(request) = PARTS.edge.read(&peer, &arrival, &head) else {
        return;
    };
    let Ok(route) = PARTS.routes.find(&request) else {
        return;
    };
    assert_eq!(request.host, request.host.to_ascii_lowercase());
    // The order of the configuration decides, so that the same question has the same answer.
    assert!(std::ptr::eq(
        route,
        PARTS.routes.find(&request).expect("again")
    ));
    if route.access == Access::Public {
        // An app that decodes once more, or that ignores case, is still where we think it is.
        let raw = head.target.path().to_ascii_lowercase();
        let decoded = raw
            .replace("%2f", "/")
            .replace("%2e", ".")
            .replace("%5c", "/");
        assert!(
            request.path.starts_with("/public") || request.path.trim_end_matches('/') == "/health",
            "{raw}"
        );
        assert!(
            !decoded.split(['/', '\\']).any(|part| part == ".."),
            "{raw}"
        );
    }
});
