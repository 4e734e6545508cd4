//! Requests that two readers frame in two ways, if one of them is lenient: bytes around
//! `Transfer-Encoding: chunked` wherever some reader was known to skip or to keep them.

use std::io::Write;
use std::process::{Command, Stdio};

use data_encoding::BASE64;
use serde_json::Value;

use super::stage::head;
use super::strict::Message;
use crate::gateways::installed;

/// What follows the odd request, as its body or as a request of its own.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Bytes that are blanks to some readers, letters to others, and line ends to a few.
const BYTES: [u8; 13] = [
    0x01, 0x04, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x1f, 0x20, 0x7f, 0xa0, 0xff,
];

/// Every other byte that is no letter, digit or mark.
fn other_bytes() -> impl Iterator<Item = u8> {
    (0x01..=0x20)
        .chain(0x7f..=0xff)
        .filter(|byte| !BYTES.contains(byte))
}

/// Where the byte stands, as `@`.
const PLACES: [&str; 10] = [
    "Transfer-Encoding:@chunked",
    "Transfer-Encoding@: chunked",
    "@Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked@",
    "X: X@Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked@X: X",
    "X: X\r@Transfer-Encoding: chunked",
    "X: X@\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r@X: X",
    "Transfer-Encoding: chunked@\nX: X",
];

/// What has no byte to vary.
const NAMED: [&str; 34] = [
    "Transfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: identity chunked",
    "Transfer-Encoding: chunked chunked",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: CHUNKED",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: cow",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding:\r\n chunked",
    "Transfer\\Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Transfer.Encoding: chunked",
    "Transfer Encoding: chunked",
    "X-Transfer-Encoding: chunked",
    "Transfer-Encoding\u{2003}: chunked",
    "Transfer-Encoding: \u{2003}chunked",
    "Transfer-Encoding: \u{212a}chunked",
    "Content-Length: +5",
    "Content-Length: -0",
    "Content-Length: 5e0",
    "Content-Length: 5, 5",
    "Content-Length: 0x5",
    "Content_Length: 5",
    "Content-Length : 5",
    "Expect: 100-continue, x",
    "Expect: x 100-continue",
    "Expect:100-continue\r\nExpect: y",
];

/// Bodies in chunks that are none to a reader by the letter.
const CHUNKS: [&str; 12] = [
    "0\n\r\n",
    "5;\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "00000000000000005\r\nhello\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFF5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\x0c\r\nhello\r\n0\r\n\r\n",
    "0_5\r\nhello\r\n0\r\n\r\n",
    "5\r\r\nhello\r\n0\r\n\r\n",
    "0\r\nX: y\r\n z\r\n\r\n",
];

/// A request, and a good one behind it on the same connection.
pub(super) struct Case {
    pub(super) bytes: Vec<u8>,
}

impl Case {
    /// What may be answered: one answer, perhaps a no to what was smuggled as a request without a
    /// token, and the last one's; a connection whose framing is in doubt says nothing more.
    #[track_caller]
    pub(super) fn check(&self, statuses: &[u16]) {
        let fine = matches!(
            statuses,
            [400 | 417 | 501]
                | [200, 200]
                | [200, 401, 200]
                | [200, 400]
                | [417, 200]
                | [417, 401, 200]
                | [417, 400]
        );
        assert!(fine, "{statuses:?} to {}", self.bytes.escape_ascii());
    }
}

/// Every case, with a token that is good.
pub(super) fn cases(token: &str) -> Vec<Case> {
    let lines = PLACES.iter().flat_map(|place| {
        let (before, after) = place.split_once('@').unwrap();
        BYTES.map(move |byte| [before.as_bytes(), &[byte], after.as_bytes()].concat())
    });
    let named = NAMED.iter().map(|line| line.as_bytes().to_vec());
    let mut cases = Vec::new();
    // The rest of the bytes, each at each place, in the one arrangement in which most would be fooled.
    for place in &PLACES {
        let (before, after) = place.split_once('@').unwrap();
        for byte in other_bytes() {
            let line = [before.as_bytes(), &[byte], after.as_bytes()].concat();
            let body = format!("0\r\n\r\n{SMUGGLED}");
            let length = format!("Content-Length: {}\r\n", body.len());
            cases.push(case(token, &[length.as_bytes(), &line, b"\r\n"], &body));
        }
    }
    for line in lines.chain(named) {
        for body in [format!("0\r\n\r\n{SMUGGLED}"), SMUGGLED.to_owned()] {
            let length = format!("Content-Length: {}\r\n", body.len());
            for (first, last) in [("", ""), (length.as_str(), ""), ("", length.as_str())] {
                for keep in ["", "Connection: keep-alive\r\n"] {
                    cases.push(case(
                        token,
                        &[
                            first.as_bytes(),
                            &line,
                            b"\r\n",
                            last.as_bytes(),
                            keep.as_bytes(),
                        ],
                        &body,
                    ));
                }
            }
        }
    }
    for body in CHUNKS {
        cases.push(case(
            token,
            &[b"Transfer-Encoding: chunked\r\n"],
            &format!("{body}{SMUGGLED}"),
        ));
    }
    cases
}

fn case(token: &str, lines: &[&[u8]], body: &str) -> Case {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let whole = head("POST", "/x", &bearer);
    let marker = head("GET", "/marker", &format!("{bearer}Connection: close\r\n"));
    let begin = whole.strip_suffix("\r\n").unwrap();
    let bytes = [
        begin.as_bytes(),
        &lines.concat(),
        b"\r\n",
        body.as_bytes(),
        marker.as_bytes(),
    ]
    .concat();
    Case { bytes }
}

/// Fields of HTTP/2 that would be two requests, two framings or another head in HTTP/1.1, as header
/// blocks of literals (RFC 7541 §6.2.2). Each takes one of the bytes at one place.
pub(super) fn blocks(token: &str) -> Vec<Vec<u8>> {
    const HOLES: [(&str, &str); 14] = [
        (":method", "PO@ST"),
        (":method", "POST@"),
        (":path", "/x@"),
        (":path", "/@x"),
        (":path", "/x@ HTTP/1.1"),
        (":authority", "app@.test"),
        (":scheme", "http@"),
        ("x-a", "@b"),
        ("x-a", "b@"),
        ("x-a", "b@c: d"),
        ("x@a", "b"),
        ("@transfer-encoding", "chunked"),
        ("transfer-encoding@", "chunked"),
        ("content-length@", "5"),
    ];
    const WHOLE: [(&str, &str); 10] = [
        ("transfer-encoding", "chunked"),
        ("content-length", "5"),
        ("content-length", "+0"),
        ("connection", "x-user-id"),
        ("upgrade", "h2c"),
        ("te", "chunked"),
        ("transfer_encoding", "chunked"),
        ("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: app.test"),
        (
            ":path",
            "/x HTTP/1.1\r\nHost: app.test\r\n\r\nGET /smuggled",
        ),
        (":path", "/x\r\nTransfer-Encoding: chunked\r\nX: y"),
    ];
    let holes = HOLES
        .iter()
        .flat_map(|(name, value)| BYTES.map(|byte| (filled(name, byte), filled(value, byte))));
    let whole = WHOLE.map(|(name, value)| (name.into(), value.into()));
    holes
        .chain(whole)
        .map(|field| stream(token, field))
        .collect()
}

fn filled(text: &str, byte: u8) -> Vec<u8> {
    let fill = |one: u8| if one == b'@' { byte } else { one };
    text.bytes().map(fill).collect()
}

/// A good request with this field, in place of its own of that name if it has one.
fn stream(token: &str, (name, value): (Vec<u8>, Vec<u8>)) -> Vec<u8> {
    let bearer = format!("Bearer {token}");
    let good = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "app.test"),
        (":path", "/x"),
        ("authorization", &bearer),
    ];
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> =
        good.map(|(name, value)| (name.into(), value.into())).into();
    match fields.iter_mut().find(|(given, _)| *given == name) {
        Some(field) => field.1 = value,
        None => fields.push((name, value)),
    }
    literals(&fields)
}

/// Literals that nothing indexes; lengths of up to 127 and beyond (RFC 7541 §5.1).
fn literals(fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            match u8::try_from(text.len()) {
                Ok(short @ 0..127) => block.push(short),
                _ => {
                    let mut rest = text.len() - 127;
                    block.push(127);
                    while rest >= 128 {
                        block.push(u8::try_from(rest % 128).unwrap() | 128);
                        rest /= 128;
                    }
                    block.push(u8::try_from(rest).unwrap());
                }
            }
            block.extend_from_slice(text);
        }
    }
    block
}

/// Another reader's opinion: Python's h11 finds the same requests in what the app got.
#[track_caller]
pub(super) fn h11_agrees(connections: &[Vec<u8>], ours: &[Message]) {
    const READ: &str = r#"
import base64, h11, json, sys
for line in sys.stdin:
    server = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    server.receive_data(base64.b64decode(line))
    current = None
    while True:
        event = server.next_event()
        if event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
            break
        if event is h11.PAUSED:
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            server.start_next_cycle()
        elif isinstance(event, h11.Request):
            current = {"method": event.method.decode(), "target": event.target.decode("latin-1"), "body": b""}
        elif isinstance(event, h11.Data):
            current["body"] += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            current["body"] = base64.b64encode(current["body"]).decode()
            print(json.dumps(current))
            server.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            server.send(h11.EndOfMessage())
            if server.our_state is h11.MUST_CLOSE:
                break
            server.start_next_cycle()
"#;
    let mut child = Command::new(installed("bin/python"))
        .args(["-c", READ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = connections
        .iter()
        .map(|bytes| BASE64.encode(bytes) + "\n")
        .collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(
        output.status.success(),
        "h11 could not read what the app got"
    );
    let theirs: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(theirs.len(), ours.len());
    for (theirs, ours) in theirs.iter().zip(ours) {
        let body = BASE64.encode(&ours.body);
        let read = [&theirs["method"], &theirs["target"], &theirs["body"]];
        assert_eq!(read, [ours.method.as_str(), &ours.target, &body]);
    }
}
