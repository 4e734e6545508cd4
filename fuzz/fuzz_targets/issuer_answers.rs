//! What an issuer answers: only a clear yes about a token is one, and a key set has no more keys than
//! entries.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use usher::identify::{fuzz_introspection, fuzz_key_set};

fuzz_target!(|bytes: &[u8]| {
    let json = serde_json::from_slice::<Value>(bytes).ok();
    if let Some(yes) = fuzz_introspection(bytes) {
        let json = json.as_ref().expect("it is JSON");
        assert_eq!(json["active"], yes, "{json}");
    }
    if let Some((used, skipped)) = fuzz_key_set(bytes) {
        let keys = json.as_ref().and_then(|json| json["keys"].as_array());
        let entries = keys.expect("it has a list").len();
        assert!(
            used > 0 && used <= 100 && used <= entries,
            "{used} of {entries}"
        );
        assert!(
            used + skipped <= entries + 1,
            "{used} and {skipped} of {entries}"
        );
    }
});
