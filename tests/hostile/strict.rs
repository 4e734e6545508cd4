//! HTTP/1.1 read by the letter of RFC 9112: what is not exactly right is wrong.

/// A request on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, Vec<u8>)>,
}

impl Message {
    /// Every value of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&[u8]> {
        let named = self.fields.iter().filter(|(given, _)| given == name);
        named.map(|(_, value)| value.as_slice()).collect()
    }
}

/// What a connection carried.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    pub(crate) whole: Vec<Message>,
    /// What cannot be read, if there is something.
    pub(crate) wrong: Option<String>,
    /// Bytes after the last whole request.
    pub(crate) rest: usize,
}

/// Why a message is not there: more bytes may help, or nothing can.
enum Lack {
    More,
    Wrong(String),
}

impl Messages {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut read = Self {
            rest: bytes.len(),
            ..Self::default()
        };
        let mut left = bytes;
        while !left.is_empty() {
            match message(&mut left) {
                Ok(message) => {
                    read.whole.push(message);
                    read.rest = left.len();
                }
                Err(Lack::More) => break,
                Err(Lack::Wrong(why)) => {
                    read.wrong = Some(why);
                    break;
                }
            }
        }
        read
    }
}

fn message(left: &mut &[u8]) -> Result<Message, Lack> {
    let mut bytes = *left;
    let first = line(&mut bytes)?;
    let parts: Vec<&[u8]> = first.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = parts.as_slice() else {
        return wrong(format!("request line {}", first.escape_ascii()));
    };
    let fields = fields(&mut bytes)?;
    let mut message = Message {
        method: text(method),
        target: text(target),
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
    };
    if message.all("host").len() != 1 {
        return wrong("not one Host".to_owned());
    }
    let (lengths, codings) = (
        message.all("content-length"),
        message.all("transfer-encoding"),
    );
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => {}
        ([length], []) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let Some(length) = text(length).parse::<usize>().ok().filter(|_| digits) else {
                return wrong(format!("Content-Length {}", length.escape_ascii()));
            };
            message.body = take(&mut bytes, length)?.to_vec();
        }
        ([], [b"chunked"]) => chunks(&mut bytes, &mut message)?,
        _ => return wrong("more than one framing".to_owned()),
    }
    *left = bytes;
    Ok(message)
}

fn chunks(bytes: &mut &[u8], message: &mut Message) -> Result<(), Lack> {
    loop {
        let size = line(bytes)?;
        let digits = (1..=15).contains(&size.len()) && size.iter().all(u8::is_ascii_hexdigit);
        let Some(size) = usize::from_str_radix(&text(size), 16)
            .ok()
            .filter(|_| digits)
        else {
            return wrong(format!("chunk size {}", size.escape_ascii()));
        };
        if size == 0 {
            message.trailers = fields(bytes)?;
            return Ok(());
        }
        message.body.extend_from_slice(take(bytes, size)?);
        if take(bytes, 2)? != b"\r\n" {
            return wrong("a chunk is longer than its size".to_owned());
        }
    }
}

fn fields(bytes: &mut &[u8]) -> Result<Vec<(String, Vec<u8>)>, Lack> {
    let mut fields = Vec::new();
    loop {
        let line = line(bytes)?;
        if line.is_empty() {
            return Ok(fields);
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return wrong(format!("no field {}", line.escape_ascii()));
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let good = |byte: &u8| matches!(byte, b'\t' | 0x20..=0x7e | 0x80..);
        if name.is_empty() || !name.iter().all(token) || !value.iter().all(good) {
            return wrong(format!("field {}", line.escape_ascii()));
        }
        fields.push((text(name).to_ascii_lowercase(), value.to_vec()));
    }
}

/// A line without its CRLF; no other CR or LF may be in it.
fn line<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Lack> {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Err(Lack::More);
    };
    let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
    match line.split_last() {
        Some((b'\r', line)) if !line.contains(&b'\r') => {
            *bytes = rest;
            Ok(line)
        }
        _ => wrong(format!("line end of {}", line.escape_ascii())),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], Lack> {
    if bytes.len() < count {
        return Err(Lack::More);
    }
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    Ok(taken)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn wrong<T>(why: String) -> Result<T, Lack> {
    Err(Lack::Wrong(why))
}

#[test]
fn the_reader_itself_is_strict() {
    let good = b"POST /a HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\nGET / HTTP/1.1\r\nhost: b\r\n\r\n";
    let read = Messages::read(good);
    assert_eq!((read.whole.len(), read.rest, read.wrong), (2, 0, None));
    assert_eq!(read.whole[0].body, b"abc");
    assert_eq!(read.whole[0].trailers.len(), 1);
    for wrong in [
        "GET / HTTP/1.1\nhost: b\r\n\r\n",
        "GET / HTTP/1.0\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\nhost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\nhost : b\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\ncontent-length: +1\r\n\r\nx",
        "GET / HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: b\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    ] {
        let read = Messages::read(wrong.as_bytes());
        assert!(read.wrong.is_some() && read.whole.is_empty(), "{wrong:?}");
    }
}
