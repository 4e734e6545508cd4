//! What usher decided on is what the app reads, whoever has written the app's server.

use super::grid;
use super::readers::{Read, Reader};
use super::stage::statuses;
use crate::common::{Client, Issuer, Usher, eventually};

/// How many requests are made up; each goes to every reader.
const REQUESTS: usize = 1_500;

const ROUTES: &str = "
routes:
  - { path: /public/**, access: public }
  - { path: /tenant/**, host: open.test, access: public }
";

const METHODS: [&str; 5] = ["GET", "GET", "GET", "POST", "DELETE"];

/// What paths begin with, and what they are made of.
const ROOTS: [&str; 10] = [
    "/public/",
    "/public/",
    "/public/",
    "/tenant/",
    "/",
    "/public",
    "//public/",
    "/./public/",
    "http://open.test/public/",
    "http://evil.test/tenant/",
];
const PLAIN: [&str; 14] = [
    "a",
    "b",
    "admin",
    "public",
    "/",
    "/c",
    "%61",
    "%2D",
    "%c3%a9",
    "%20",
    "?",
    "?x=/../",
    "&",
    "%252e%252e",
];
const ODD: [&str; 30] = [
    "//",
    ".",
    "..",
    "/../",
    "/./",
    "%2e",
    "%2E%2e",
    "/%2e%2e/",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    ";",
    ";x=y",
    "%3b",
    "%",
    "%2",
    "%zz",
    "%25",
    "%252f",
    "%00",
    "%0a",
    "%0d%0a",
    "%09",
    "#",
    "%23",
    "%3f",
    "%c0%af",
    "%ef%bc%8f",
    "%u002e",
];

const HOSTS: [&str; 8] = [
    "app.test",
    "open.test",
    "open.test",
    "OPEN.test",
    "open.test.",
    "open.test:80",
    "open.test.:8080",
    "evil.test",
];
const ODD_HOSTS: [&str; 8] = [
    "open.test..",
    "evil.test, open.test",
    "evil@open.test",
    "open.test/x",
    "open.test\tevil.test",
    "[::1]",
    "open.test:80:81",
    "open.test%00",
];

/// Lines that a client may add; `@` stands for a character that some read as `-`.
const LINES: [&str; 16] = [
    "X-User-Id: root\r\n",
    "X@User@Id: root\r\n",
    "X-User@Id: root\r\n",
    "x@USER-id:root\r\n",
    "X--User-Id: root\r\n",
    "X-User-Id : root\r\n",
    "X-User-Id:\troot\r\n",
    "X-User-Id: root\r\nX-User-Id: root\r\n",
    "Connection: X-User-Id\r\n",
    "Connection: close, x-user-id\r\n",
    "X-Forwarded-Host: open.test\r\n",
    "X-Original-URL: /public/x\r\n",
    "X-HTTP-Method-Override: GET\r\n",
    "X: y\r\n X-User-Id: root\r\n",
    "X-User-Ids: fine\r\n",
    "X-Rewrite-URL: /admin\r\n",
];
const CHARACTERS: &[u8] = b"_._.~!*+'`|^$%&#";

/// Always the same numbers (xorshift), so that a failure comes again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn pick<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.roll(all.len())]
    }
}

/// A request that somebody might send.
struct Made {
    method: &'static str,
    target: String,
    host: &'static str,
    lines: String,
}

impl Made {
    fn by(dice: &mut Dice) -> Self {
        let mut target = dice.pick(&ROOTS).to_owned();
        for _ in 0..dice.roll(6) {
            let odd = dice.roll(4) == 0;
            target.push_str(dice.pick(if odd { &ODD } else { &PLAIN }));
        }
        let mut lines = String::new();
        for _ in 0..dice.roll(3) {
            let separator = char::from(CHARACTERS[dice.roll(CHARACTERS.len())]);
            lines.push_str(&dice.pick(&LINES).replace('@', &separator.to_string()));
        }
        Self {
            method: dice.pick(&METHODS),
            target,
            host: if dice.roll(8) == 0 {
                dice.pick(&ODD_HOSTS)
            } else {
                dice.pick(&HOSTS)
            },
            lines,
        }
    }

    fn bytes(&self, bearer: &str) -> String {
        let (method, target, host, lines) = (self.method, &self.target, self.host, &self.lines);
        format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{bearer}{lines}Content-Length: 0\r\n\r\n"
        )
    }

    /// What has to leave: the target as a path, without its fragment.
    fn expected(&self) -> &str {
        let whole = self.target.split('#').next().unwrap();
        match whole.strip_prefix("http://") {
            Some(rest) => &rest[rest.find('/').unwrap()..],
            None => whole,
        }
    }
}

/// One usher before each reader, and a connection to it that is kept while it lasts.
struct Way {
    reader: Reader,
    usher: Usher,
    client: Option<Client>,
}

impl Way {
    fn new(reader: Reader, issuer: &Issuer) -> Self {
        let usher = Usher::before(
            reader.address,
            issuer,
            &format!("{ROUTES}log: {{ access: false }}\n"),
        );
        Self {
            reader,
            usher,
            client: None,
        }
    }

    fn ask(&mut self, bytes: &str) -> (u16, String) {
        for kept in [true, false] {
            let client = self.client.get_or_insert_with(|| self.usher.connect());
            client.send(bytes);
            if let Some(reply) = client.reply() {
                let closes = reply
                    .header("connection")
                    .is_some_and(|value| value == "close");
                if closes {
                    self.client = None;
                }
                return (reply.status, reply.body);
            }
            // What usher has closed meanwhile is opened anew, once.
            assert!(kept, "no answer to {bytes:?}");
            self.client = None;
        }
        unreachable!("the second turn answers or panics");
    }
}

/// A host as the rules see it.
fn plain(host: &str) -> String {
    let name = host.split(':').next().unwrap().to_ascii_lowercase();
    name.trim_end_matches('.').to_owned()
}

#[test]
fn nobody_reads_a_protected_path_where_usher_read_a_public_one() {
    let issuer = Issuer::new();
    let bearer = format!("Authorization: Bearer {}\r\n", issuer.token("alice"));
    let readers = [Reader::nginx(), Reader::node(), Reader::python()];
    let mut ways = readers.map(|reader| Way::new(reader, &issuer));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut open, mut known, mut refused, mut closed) = (0, 0, 0, 0);
    for _ in 0..REQUESTS {
        let made = Made::by(&mut dice);
        let token = dice.roll(3) == 0;
        let bytes = made.bytes(if token { &bearer } else { "" });
        let answers: Vec<_> = ways.iter_mut().map(|way| way.ask(&bytes)).collect();
        let status = answers[0].0;
        match status {
            200 if token => known += 1,
            200 => open += 1,
            401 => closed += 1,
            _ => refused += 1,
        }
        for (way, (other, body)) in ways.iter().zip(&answers) {
            let name = way.reader.name;
            assert_eq!(*other, status, "{name} {bytes:?}");
            assert!([200, 400, 401].contains(other), "{other} {bytes:?}");
            if status == 200 {
                check(name, &made, token, &Read::of(body));
            }
        }
    }
    assert!(
        open > 150 && known > 100 && refused > 300 && closed > 80,
        "{open} {known} {refused} {closed}"
    );
    for way in &ways {
        way.usher.serves(&issuer.token("alice"));
    }
}

#[track_caller]
fn check(name: &str, made: &Made, token: bool, read: &Read) {
    let shown = format!("{name}: {read:?} of {}", made.bytes("").escape_debug());
    assert_eq!(read.method, made.method, "{shown}");
    // Python makes one slash of several at the beginning, which never come.
    assert_eq!(read.target, made.expected(), "{shown}");
    let host = match made.target.strip_prefix("http://") {
        Some(rest) => rest.split('/').next().unwrap(),
        None => made.host,
    };
    assert_eq!(plain(&read.host), plain(host), "{shown}");
    let public_route = format!("{}/", read.path).starts_with("/public/");
    let tenant_route =
        format!("{}/", read.path).starts_with("/tenant/") && plain(&read.host) == "open.test";
    assert!(token || public_route || tenant_route, "{shown}");
    // A public route forwards nobody's name; a token counts elsewhere alone.
    let wanted = if public_route || tenant_route {
        ""
    } else {
        "alice"
    };
    assert_eq!(read.ids, wanted, "{shown}");
}

/// Sends these cases of the grid, by their numbers, through usher to a reader; returns those that were let in.
/// Of each that was let in the reader has read one request, and of all of them nothing else.
#[track_caller]
fn one_request_each(reader: &Reader, numbers: &[usize]) -> Vec<usize> {
    let (issuer, name) = (Issuer::new(), reader.name);
    let usher = Usher::before(reader.address, &issuer, "");
    let token = issuer.token("alice");
    let cases = grid::cases(&token);
    let (mut let_in, mut good) = (Vec::new(), 0);
    for (turn, number) in numbers.iter().enumerate() {
        let bytes = named(&cases[*number].bytes, &format!("/x?{number}"));
        let mut client = usher.connect();
        client.send(&bytes);
        let got = statuses(&mut client);
        cases[*number].check(&got);
        if got.first() == Some(&200) {
            let_in.push(*number);
        }
        if turn % 10 == 9 {
            usher.serves(&token);
            good += 1;
        }
    }
    usher.serves(&token);
    let log = eventually("the last line", || {
        let log = reader.log();
        let seen = log.iter().filter(|seen| *seen == "GET /good").count();
        (seen == good + 1).then_some(log)
    });
    let of = |line: &str| log.iter().filter(|seen| *seen == line).count();
    for number in &let_in {
        assert_eq!(of(&format!("POST /x?{number}")), 1, "{name} {number}");
    }
    // A reader notes a request whose body breaks later; never two of one, and nothing that nobody sent.
    for line in &log {
        let known = ["GET /good", "GET /marker"].contains(&line.as_str());
        assert!(
            known || (line.starts_with("POST /x?") && of(line) == 1),
            "{name}: {line}"
        );
    }
    let_in
}

/// All of the grid through nginx; through Node what was let in, and every seventh of the others, which it
/// never gets to see. Python's h11 reads all of it in `e02`.
#[test]
fn nginx_and_node_get_one_request_for_each_that_was_let_in() {
    let all: Vec<usize> = (0..grid::cases("x").len()).collect();
    let let_in = one_request_each(&Reader::nginx(), &all);
    assert!(
        all.len() > 3_400 && let_in.len() > 150,
        "{} {}",
        all.len(),
        let_in.len()
    );
    let some: Vec<usize> = all
        .iter()
        .copied()
        .filter(|number| number % 7 == 0 || let_in.contains(number))
        .collect();
    let again = one_request_each(&Reader::node(), &some);
    assert_eq!(
        again, let_in,
        "what is let in does not hang on who is behind"
    );
}

/// The case with another target, so that each can be told in a log.
fn named(bytes: &[u8], target: &str) -> Vec<u8> {
    let rest = bytes
        .strip_prefix(b"POST /x ")
        .expect("every case begins so");
    [b"POST ", target.as_bytes(), b" ", rest].concat()
}
