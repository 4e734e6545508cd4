//! Header blocks that cannot be read: hpack 2 to 6.

use super::{COMPRESSION, Case, END_HEADERS, END_STREAM, Expect, GET, HEADERS, block, run};

#[rustfmt::skip] // a table: one case a line
pub(super) const CASES: &[Case] = &[
    ("7541 2.3.3", "a field whose index is beyond the tables", |p| p.ask_with(&[0xc6]), Expect::Connection(&[COMPRESSION])),
    ("7541 2.3.3", "a literal whose name's index is beyond the tables", |p| p.ask_with(b"\x7f\x07\x04test"), Expect::Connection(&[COMPRESSION])),
    ("7541 4.2", "an update of the table's size at the end of a block", |p| p.ask_with(&[0x20]), Expect::Connection(&[COMPRESSION])),
    ("7541 5.2", "Huffman's code with padding longer than seven bits", |p| p.ask_with(b"\x00\x82\x1f\xff\x04test"), Expect::Connection(&[COMPRESSION])),
    ("7541 5.2", "Huffman's code padded with zeros", |p| p.ask_with(b"\x00\x81\x18\x04test"), Expect::Connection(&[COMPRESSION])),
    ("7541 5.2", "Huffman's code with its end in it", |p| p.ask_with(b"\x00\x84\xff\xff\xff\xff\x04test"), Expect::Connection(&[COMPRESSION])),
    ("7541 6.1", "a field with the index 0", |p| p.ask_with(&[0x80]), Expect::Connection(&[COMPRESSION])),
    ("7541 6.3", "a table larger than was agreed", |p| {
        p.send(HEADERS, END_STREAM | END_HEADERS, 1, &[&[0x3f, 0xe2, 0x1f], &block(&GET)[..]].concat());
    }, Expect::Connection(&[COMPRESSION])),
];

#[test]
fn what_cannot_be_read_ends_the_connection() {
    run(CASES, 8);
}
