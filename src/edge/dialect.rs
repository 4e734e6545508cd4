//! The request that another proxy asks about, read from the question in the proxy's own words.
//!
//! Only the words of the configured dialect are read. Each of them must be there once: a proxy
//! that does not set its own header would pass on the one that its client has sent.

use http::{HeaderName, HeaderValue, Method, Version, header};

use crate::config::Dialect;
use crate::denial::{Denial, Reason};
use crate::fields::Fields;
use crate::head::{Head, Scheme, Target};
use crate::headers::{
    X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_METHOD, X_FORWARDED_PROTO, X_FORWARDED_URI,
    X_ORIGINAL_METHOD, X_ORIGINAL_URI, X_ORIGINAL_URL,
};

/// Words of one dialect or another. Once read, they describe nothing any more.
static WORDS: [HeaderName; 7] = [
    header::FORWARDED,
    X_FORWARDED_HOST,
    X_FORWARDED_METHOD,
    X_FORWARDED_URI,
    X_ORIGINAL_METHOD,
    X_ORIGINAL_URI,
    X_ORIGINAL_URL,
];

const BAD_TARGET: Denial = Denial::new(
    Reason::BadTarget,
    "the described target is not a path and perhaps a query",
);

/// What a question says of the request.
struct Described<'a> {
    method: Method,
    target: Target,
    /// Where the question's own `Host` is not the request's.
    host: Option<&'a [u8]>,
    /// `None`: the proxy does not say.
    scheme: Option<Scheme>,
}

/// Turns the head of a question, already stripped, into the head of the request that it is about;
/// tells its scheme where the proxy does.
/// `path` is where questions come, without what the dialect appends to it.
///
/// # Errors
/// `DescriptionRefused` for a question at another path, and for words that are missing, repeated,
/// or no words of the dialect; `BadTarget` for a target that has more than one reading.
pub fn describe(dialect: Dialect, path: &str, head: &mut Head) -> Result<Option<Scheme>, Denial> {
    let fields = &head.fields;
    if dialect != Dialect::Envoy && head.target.path() != path {
        return Err(misplaced(path));
    }
    let described = match dialect {
        Dialect::Nginx => nginx(fields),
        Dialect::IngressNginx => ingress_nginx(fields),
        Dialect::Traefik | Dialect::Caddy | Dialect::Haproxy => forwarded(dialect, fields),
        Dialect::Envoy => envoy(path, head),
    }?;
    let host = described.host.map(HeaderValue::from_bytes).transpose();
    let host = host.map_err(|_| refused("the host is none"))?;
    if host.is_some() {
        // The question's own, which is replaced, has to be one all the same (RFC 9112 §3.2).
        super::host::canonical(head)?;
    }
    let Described {
        method,
        target,
        scheme,
        ..
    } = described;
    (head.method, head.target) = (method, target);
    for word in &WORDS {
        head.fields.remove(word);
    }
    if let Some(host) = host {
        head.fields.insert(&header::HOST, &host);
    }
    Ok(scheme)
}

/// `X-Original-Method` and `X-Original-URI`; `Host` is the request's own. The scheme and the
/// client are what nginx was told to say, in `X-Forwarded-Proto` and `X-Forwarded-For`.
fn nginx(fields: &Fields) -> Result<Described<'_>, Denial> {
    maybe(fields, &X_FORWARDED_FOR)?;
    let scheme = maybe(fields, &X_FORWARDED_PROTO)?;
    Ok(Described {
        method: method(one(fields, &X_ORIGINAL_METHOD)?)?,
        target: described_target(one(fields, &X_ORIGINAL_URI)?)?,
        host: None,
        scheme: scheme.map(self::scheme).transpose()?,
    })
}

/// `X-Original-Method`, and scheme, host and target in `X-Original-URL`. The question's own
/// `Host` is usher's.
fn ingress_nginx(fields: &Fields) -> Result<Described<'_>, Denial> {
    one(fields, &X_FORWARDED_FOR)?;
    let url = one(fields, &X_ORIGINAL_URL)?;
    let (scheme, rest) = split(url, b"://").ok_or_else(|| refused("X-Original-URL is no URL"))?;
    // nginx wrote them one after the other: a client's `Host` holds no slash, so the first one
    // begins the target. Whatever else it holds, the rules about hosts look at.
    let slash = memchr::memchr(b'/', rest).ok_or_else(|| refused("X-Original-URL has no path"))?;
    let (host, rest) = rest.split_at(slash);
    Ok(Described {
        method: method(one(fields, &X_ORIGINAL_METHOD)?)?,
        target: described_target(rest)?,
        host: Some(host),
        scheme: Some(self::scheme(scheme)?),
    })
}

/// `X-Forwarded-Method`, `-Uri`, `-Host`, `-Proto` and `-For`.
fn forwarded(dialect: Dialect, fields: &Fields) -> Result<Described<'_>, Denial> {
    one(fields, &X_FORWARDED_FOR)?;
    let scheme = match (dialect, one(fields, &X_FORWARDED_PROTO)?) {
        // Traefik calls a WebSocket's schemes by their own names.
        (Dialect::Traefik, b"ws") => Scheme::Http,
        (Dialect::Traefik, b"wss") => Scheme::Https,
        (_, name) => self::scheme(name)?,
    };
    Ok(Described {
        method: method(one(fields, &X_FORWARDED_METHOD)?)?,
        target: described_target(one(fields, &X_FORWARDED_URI)?)?,
        host: Some(one(fields, &X_FORWARDED_HOST)?),
        scheme: Some(scheme),
    })
}

/// The request's own method and `Host`, and its target after the path. The scheme and the client
/// are there where `allowed_headers` lets them through.
fn envoy<'a>(path: &str, head: &'a Head) -> Result<Described<'a>, Denial> {
    if head.version == Version::HTTP_2 {
        // Its reader cuts a fragment off before anybody sees it.
        return Err(refused("Envoy has to ask over HTTP/1.1"));
    }
    maybe(&head.fields, &X_FORWARDED_FOR)?;
    let scheme = maybe(&head.fields, &X_FORWARDED_PROTO)?;
    let asked = head.target.path_and_query().strip_prefix(path);
    let asked = asked.filter(|asked| asked.starts_with('/'));
    let asked = asked.ok_or_else(|| misplaced(path))?;
    if head.target.had_fragment() {
        // We would judge less than Envoy forwards.
        return Err(BAD_TARGET);
    }
    Ok(Described {
        method: head.method.clone(),
        target: described_target(asked.as_bytes())?,
        host: None,
        scheme: scheme.map(self::scheme).transpose()?,
    })
}

/// Whoever set up the proxy reads the log, and not the answer.
pub fn misplaced(path: &str) -> Denial {
    Denial::because(
        Reason::DescriptionRefused,
        format!(
            "this is below `{path}` and no question: a proxy asks at `{path}` itself; Envoy puts that before the request's own path"
        ),
    )
}

fn method(text: &[u8]) -> Result<Method, Denial> {
    Method::from_bytes(text).map_err(|_| refused("the method is none"))
}

/// Path and query as the client sent them. A fragment never leaves a client, so two readers
/// would make two things of it; the host of an absolute form is said elsewhere.
///
/// # Errors
/// `BadTarget` for anything else.
pub fn described_target(text: &[u8]) -> Result<Target, Denial> {
    if !text.starts_with(b"/")
        || !text
            .iter()
            .all(|byte| matches!(byte, b'!'..=b'~' if *byte != b'#'))
    {
        return Err(BAD_TARGET);
    }
    let text = str::from_utf8(text).map_err(|_| BAD_TARGET)?;
    Target::parse(text).ok_or(BAD_TARGET)
}

fn scheme(name: &[u8]) -> Result<Scheme, Denial> {
    match name {
        b"http" => Ok(Scheme::Http),
        b"https" => Ok(Scheme::Https),
        _ => Err(refused("the scheme is neither http nor https")),
    }
}

/// The value of a word that must be there once.
fn one<'a>(fields: &'a Fields, name: &HeaderName) -> Result<&'a [u8], Denial> {
    match maybe(fields, name)? {
        Some(value) if !value.is_empty() => Ok(value),
        _ => Err(Denial::because(
            Reason::DescriptionRefused,
            format!("the proxy did not say {name}"),
        )),
    }
}

/// The value of a word that may be there once.
fn maybe<'a>(fields: &'a Fields, name: &HeaderName) -> Result<Option<&'a [u8]>, Denial> {
    fields.single(name).map_err(|_| {
        Denial::because(
            Reason::DescriptionRefused,
            format!("{name} is repeated: one of the two is not the proxy's"),
        )
    })
}

fn split<'a>(text: &'a [u8], mark: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = memchr::memmem::find(text, mark)?;
    Some((&text[..place], &text[place + mark.len()..]))
}

const fn refused(detail: &'static str) -> Denial {
    Denial::new(Reason::DescriptionRefused, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = "Host: app.test\r\nX-Original-Method: POST\r\nX-Original-URI: /a?b=/c\r\n";
    const TRAEFIK: &str = "Host: usher\r\nX-Forwarded-Method: POST\r\nX-Forwarded-Uri: /a?b=/c\r\n\
        X-Forwarded-Host: app.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n";
    const INGRESS: &str = "Host: usher\r\nX-Original-Method: POST\r\n\
        X-Original-URL: https://app.test/a?b=/c\r\nX-Forwarded-For: 192.0.2.1\r\n";

    fn described(dialect: Dialect, line: &str, lines: &str) -> Result<Head, Denial> {
        both(dialect, line, lines).map(|(head, _)| head)
    }

    fn both(dialect: Dialect, line: &str, lines: &str) -> Result<(Head, Option<Scheme>), Denial> {
        let mut head = Head::parse(&format!("{line} HTTP/1.1\r\n{lines}\r\n")).unwrap();
        let scheme = describe(dialect, "/auth", &mut head)?;
        Ok((head, scheme))
    }

    /// Method, target, host and scheme.
    fn said(dialect: Dialect, line: &str, lines: &str) -> (String, String, String, Option<String>) {
        let (head, scheme) = both(dialect, line, lines).unwrap();
        let text = |name| {
            let value = head.fields.single(name).unwrap()?;
            Some(String::from_utf8(value.to_vec()).unwrap())
        };
        (
            head.method.to_string(),
            head.target.path_and_query().to_owned(),
            text(&header::HOST).unwrap(),
            scheme.map(|scheme| scheme.as_str().to_owned()),
        )
    }

    #[test]
    fn each_dialect_has_its_words() {
        let wanted = |scheme: Option<&str>| {
            let [method, target, host] = ["POST", "/a?b=/c", "app.test"].map(str::to_owned);
            (method, target, host, scheme.map(str::to_owned))
        };
        let https = wanted(Some("https"));
        assert_eq!(said(Dialect::Nginx, "GET /auth", PLAIN), wanted(None));
        let lines = format!("{PLAIN}X-Forwarded-Proto: https\r\n");
        assert_eq!(said(Dialect::Nginx, "GET /auth", &lines), https);
        assert_eq!(said(Dialect::IngressNginx, "GET /auth", INGRESS), https);
        for dialect in [Dialect::Traefik, Dialect::Caddy, Dialect::Haproxy] {
            assert_eq!(said(dialect, "GET /auth", TRAEFIK), https);
        }
        let lines = "Host: app.test\r\nX-Forwarded-Proto: https\r\n";
        assert_eq!(said(Dialect::Envoy, "POST /auth/a?b=/c", lines), https);
        let socket = TRAEFIK.replace("Proto: https", "Proto: wss");
        assert_eq!(said(Dialect::Traefik, "GET /auth", &socket), https);
    }

    #[test]
    fn words_of_another_dialect_say_nothing() {
        let others = format!(
            "{PLAIN}X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public\r\n\
            X-Forwarded-Host: evil\r\nX-Original-URL: http://evil/public\r\nForwarded: host=evil\r\n"
        );
        let head = described(Dialect::Nginx, "GET /auth", &others).unwrap();
        assert_eq!(head.target.path_and_query(), "/a?b=/c");
        assert_eq!(head.fields.get(&header::HOST), Some(&b"app.test"[..]));
        assert_eq!(head.fields.len(), 1, "{:?}", head.fields);
        let others = format!("{TRAEFIK}X-Original-URI: /public\r\nX-Original-Method: GET\r\n");
        let head = described(Dialect::Traefik, "GET /auth", &others).unwrap();
        assert_eq!((head.method.as_str(), head.target.path()), ("POST", "/a"));
    }

    #[test]
    fn a_word_that_is_missing_empty_or_repeated_is_a_refusal() {
        let mut cases = 0;
        for (dialect, lines, line) in [
            (Dialect::Nginx, PLAIN, "GET /auth"),
            (Dialect::IngressNginx, INGRESS, "GET /auth"),
            (Dialect::Traefik, TRAEFIK, "GET /auth"),
            (Dialect::Caddy, TRAEFIK, "GET /auth"),
            (Dialect::Haproxy, TRAEFIK, "GET /auth"),
        ] {
            for word in lines.split_inclusive("\r\n").skip(1) {
                let (name, _) = word.split_once(':').unwrap();
                for odd in [
                    lines.replace(word, ""),
                    lines.replace(word, &format!("{name}:\r\n")),
                    lines.replace(word, &format!("{word}{word}")),
                ] {
                    let denial = described(dialect, line, &odd).unwrap_err();
                    assert_eq!(denial.reason, Reason::DescriptionRefused, "{odd}");
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 3 * (2 + 3 + 3 * 5));
        for word in ["X-Forwarded-Proto: http\r\n", "X-Forwarded-For: a\r\n"] {
            let twice = word.repeat(2);
            assert!(described(Dialect::Nginx, "GET /auth", &format!("{PLAIN}{twice}")).is_err());
            let host = format!("Host: app.test\r\n{twice}");
            assert!(described(Dialect::Envoy, "GET /auth/a", &host).is_err());
        }
    }

    #[test]
    fn a_target_has_one_reading_or_none() {
        for odd in [
            "/a#b",
            "/#",
            "a",
            "*",
            "http://app.test/a",
            "//",
            "/a b",
            "/\u{e9}",
            "/a\tb",
            "http:/a",
            "?a",
        ] {
            let lines = PLAIN.replace("/a?b=/c", odd);
            let found = described(Dialect::Nginx, "GET /auth", &lines);
            // Two slashes are for the rules about paths to refuse.
            assert_eq!(found.is_ok(), odd == "//", "{odd}");
        }
    }

    #[test]
    fn a_host_cannot_move_the_path() {
        for (host, path) in [
            ("evil?x=", "/admin"),
            ("evil#", "/admin"),
            ("u@app.test", "/admin"),
            ("app.test:1", "/admin"),
        ] {
            let url = format!("https://{host}{path}");
            let lines = INGRESS.replace("https://app.test/a?b=/c", &url);
            let head = described(Dialect::IngressNginx, "GET /auth", &lines).unwrap();
            assert_eq!(head.target.path(), path);
            assert_eq!(head.fields.get(&header::HOST), Some(host.as_bytes()));
        }
        for odd in [
            "app.test/a",
            "https://app.test",
            "ftp://app.test/a",
            "https:/app.test/a",
        ] {
            let lines = INGRESS.replace("https://app.test/a?b=/c", odd);
            assert!(
                described(Dialect::IngressNginx, "GET /auth", &lines).is_err(),
                "{odd}"
            );
        }
    }

    #[test]
    fn envoys_target_stands_after_the_path_as_it_was_sent() {
        let path = |line| {
            described(Dialect::Envoy, line, "Host: app.test\r\n")
                .map(|head| head.target.path_and_query().to_owned())
        };
        assert_eq!(path("GET /auth/").unwrap(), "/");
        assert_eq!(path("GET /auth/%61?x=%2F").unwrap(), "/%61?x=%2F");
        for odd in [
            "GET /auth",
            "GET /authx",
            "GET /%61uth/x",
            "GET /auth?x",
            "GET /auth/a#b",
        ] {
            assert!(path(odd).is_err(), "{odd}");
        }
    }
}
