//! Envoy's questions: what is described is judged as what it would be, were it sent to usher itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::config::Access;
use usher_fuzz::PARTS;

fuzz_target!(|bytes: &[u8]| {
    let Some((mut head, peer)) = usher::ext_authz::fuzz(bytes) else {
        return;
    };
    let target = head.target.path_and_query().to_owned();
    assert!(
        target.starts_with('/') && !target.contains('#'),
        "{target:?}"
    );
    let Ok(arrival) = PARTS.edge.receive_described(&peer, &mut head) else {
        return;
    };
    let Ok(request) = PARTS.edge.read(&peer, &arrival, &head) else {
        return;
    };
    let Ok(route) = PARTS.routes.find_to_app(&request) else {
        return;
    };
    // The same head, asked directly.
    let direct = PARTS.routes.find(&request).expect("found before");
    assert!(std::ptr::eq(route, direct));
    if route.access == Access::Public {
        let decoded = head.target.path().to_ascii_lowercase().replace("%2f", "/");
        let decoded = decoded.replace("%2e", ".").replace("%5c", "/");
        assert!(
            !decoded.split(['/', '\\']).any(|part| part == ".."),
            "{target}"
        );
    }
    for (name, _) in head.fields.iter() {
        assert!(!name.eq_ignore_ascii_case(b"x-user-id"), "{target}");
    }
});
