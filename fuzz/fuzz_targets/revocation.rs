//! What is on a stream of revocations, and in a file of them: read as what it says, and written so again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::revocation::fuzz;
use usher::revoked::Entry;

fuzz_target!(|bytes: &[u8]| {
    let (on_stream, in_file, read) = fuzz(bytes);
    assert!(read <= bytes.len() as u64);
    // No more entries than there are lines, whatever is in them.
    let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
    assert!(in_file.len() <= lines, "{lines} lines");
    let text = str::from_utf8(bytes)
        .ok()
        .and_then(|text| Entry::parse(text).ok());
    for entry in on_stream.iter().chain(&in_file).chain(&text) {
        let written = entry.to_string();
        assert_eq!(Entry::parse(&written).as_ref(), Ok(entry), "{written}");
        assert_eq!(entry.merged(entry), *entry);
    }
});
