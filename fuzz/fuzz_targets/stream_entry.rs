//! Whatever stands on the stream of replies: it confirms only whom it names.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::users::fuzz_replies;

fuzz_target!(|bytes: &[u8]| {
    let confirmed = fuzz_replies(bytes, "u-1");
    let text = String::from_utf8_lossy(bytes);
    let named = text.contains("u-1") || text.contains("user Already Exist") || text.contains("\\u");
    assert!(confirmed == 0 || named, "{text:?}");
});
