//! A path is refused, or has one reading, which reads as itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::edge::canonical_path;

fuzz_target!(|raw: &str| {
    let Ok(path) = canonical_path(raw) else {
        return;
    };
    let text = path.text.as_ref();
    let again = canonical_path(text).expect("a canonical path is a path");
    assert_eq!(again.text, text);
    assert!(again.opaque || !path.opaque);
    assert!(text.starts_with('/') && text.is_ascii() && !text.contains('\\'));
    assert!(!text.bytes().any(|byte| byte.is_ascii_control()));
    let segments = text.split(['/', ';']).map(|part| part.to_ascii_lowercase());
    for segment in segments {
        assert!(segment != "." && segment != "..", "{raw:?}");
        assert!(
            !["%2e", "%5c", "%00"]
                .iter()
                .any(|escape| segment.contains(escape)),
            "{raw:?}"
        );
    }
    if !path.opaque {
        assert!(!text.contains("//") && !text.contains(';') && !text.contains("%2F"));
    }
});
