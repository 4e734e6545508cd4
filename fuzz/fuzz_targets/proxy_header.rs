//! A PROXY header is read to its last byte, the same in whatever pieces it comes, or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::listener::fuzz_proxy_header;
use usher_fuzz::PARTS;

fuzz_target!(|bytes: &[u8]| {
    let read = |bytes: &[u8]| PARTS.now(fuzz_proxy_header(bytes));
    let Some((address, length)) = read(bytes) else {
        return;
    };
    assert!((15..=16 + 4096).contains(&length) && length <= bytes.len());
    // What follows does not count, and nothing shorter is a header.
    assert_eq!(read(&bytes[..length]), Some((address, length)));
    assert_eq!(read(&bytes[..length - 1]), None);
});
