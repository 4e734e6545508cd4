//! curl, over everything that it speaks.

use std::process::Command;

use serde_json::{Value, json};

use super::site::LARGE;
use super::{NAME, Stage, said};

impl Stage {
    /// curl with a token.
    fn curl(&self, secure: bool, arguments: &[&str]) -> String {
        let bearer = self.bearer();
        self.curl_as_nobody(secure, &[&["--header", &bearer], arguments].concat())
    }

    /// curl; `{}` in the arguments is where the site is.
    fn curl_as_nobody(&self, secure: bool, arguments: &[&str]) -> String {
        let (usher, scheme) = match secure {
            true => (&self.secure, "https"),
            false => (&self.usher, "http"),
        };
        let port = usher.address.port();
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "20",
                "--noproxy",
                "*",
            ])
            .arg("--cacert")
            .arg(self.root())
            .args(["--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
        let place = format!("{scheme}://{NAME}:{port}");
        command.args(
            arguments
                .iter()
                .map(|argument| argument.replace("{}", &place)),
        );
        said(&mut command)
    }
}

const TOLD: &str = "%{http_version} %{response_code} %{size_download}\\n";

/// What there is to speak: whether within TLS, how curl is asked, and what it tells.
const SPOKEN: [(bool, &str, &str); 5] = [
    (false, "--http1.0", "1.1"),
    (false, "--http1.1", "1.1"),
    (false, "--http2-prior-knowledge", "2"),
    (true, "--http1.1", "1.1"),
    (true, "--http2", "2"),
];

#[test]
fn bodies_pass_both_ways() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "y".repeat(LARGE)).unwrap();
    let data = format!("@{}", file.display());
    for (secure, how, version) in SPOKEN {
        let shown = format!("{how} {secure}");
        let large = stage.curl(
            secure,
            &[
                how,
                "--write-out",
                TOLD,
                "--output",
                "/dev/null",
                "{}/large",
            ],
        );
        assert_eq!(large, format!("{version} 200 {LARGE}\n"), "{shown}");
        // A large body waits for a 100 in HTTP/1.1.
        let sum = stage.curl(secure, &[how, "--data-binary", &data, "{}/sum"]);
        let sum: Value = serde_json::from_str(&sum).unwrap();
        assert_eq!(sum, json!({ "bytes": LARGE }), "{shown}");
        let range = [
            "--range",
            "10-19",
            "--write-out",
            " %{response_code}",
            "{}/large",
        ];
        let part = stage.curl(secure, &[&[how], &range[..]].concat());
        assert_eq!(part, "xxxxxxxxxx 206", "{shown}");
        let head = stage.curl(secure, &[how, "--head", "{}/large"]);
        let length = format!("content-length: {LARGE}");
        assert!(head.to_lowercase().contains(&length), "{shown}: {head}");
    }
}

#[test]
fn uploads_of_unknown_length_pass() {
    let stage = Stage::new();
    for (secure, how, _) in &SPOKEN[1..] {
        let chunked = [
            "--request",
            "POST",
            "--header",
            "transfer-encoding: chunked",
        ];
        let chunked = if how.starts_with("--http1") {
            &chunked[..]
        } else {
            &chunked[..2]
        };
        let sent = [&[*how], chunked, &["--data-binary", "some words", "{}/sum"]].concat();
        let sum: Value = serde_json::from_str(&stage.curl(*secure, &sent)).unwrap();
        assert_eq!(sum, json!({ "bytes": 10 }), "{how}");
    }
}

#[test]
fn one_connection_serves_many_requests() {
    let stage = Stage::new();
    // curl 7.88 says its preface again on a kept connection in the clear, and fails at any server.
    let kept = SPOKEN[1..]
        .iter()
        .filter(|(_, how, _)| !how.ends_with("prior-knowledge"));
    for (secure, how, _) in kept {
        let urls = ["{}/a", "{}/b", "{}/large", "{}/c"];
        let mut arguments = vec![*how, "--write-out", "%{num_connects} "];
        for url in urls {
            arguments.extend([url, "--output", "/dev/null"]);
        }
        assert_eq!(stage.curl(*secure, &arguments), "1 0 0 0 ", "{how}");
    }
}

#[test]
fn methods_and_refusals_are_told() {
    let stage = Stage::new();
    for (secure, how, _) in SPOKEN {
        let options = stage.curl(secure, &[how, "--request", "OPTIONS", "{}/x"]);
        assert!(options.contains("\"OPTIONS\""), "{how}: {options}");
        let told = [
            "--write-out",
            "%{response_code}",
            "--output",
            "/dev/null",
            "{}/x",
        ];
        let nobody = stage.curl_as_nobody(secure, &[&[how], &told[..]].concat());
        assert_eq!(nobody, "401", "{how}");
    }
    // An upgrade to HTTP/2 is ignored (RFC 9113 §3.1).
    let told = stage.curl(
        false,
        &[
            "--http2",
            "--write-out",
            TOLD,
            "--output",
            "/dev/null",
            "{}/x",
        ],
    );
    assert!(told.starts_with("1.1 200 "), "{told}");
}
