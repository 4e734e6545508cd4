//! nghttp, which shows the frames that it sends and gets.

use std::process::Command;

use super::{NAME, Stage, said};

impl Stage {
    fn nghttp(&self, secure: bool, arguments: &[&str]) -> String {
        let usher = if secure { &self.secure } else { &self.usher };
        let scheme = if secure { "https" } else { "http" };
        let place = format!("{scheme}://{}", usher.address);
        let mut command = Command::new("nghttp");
        command
            .args(["--verbose", "--null-out", "--timeout=20"])
            .args(["--header", &self.bearer()])
            .args(["--header", &format!(":authority: {NAME}")])
            .args(
                arguments
                    .iter()
                    .map(|argument| argument.replace("{}", &place)),
            );
        said(&mut command)
    }
}

fn count(text: &str, wanted: &str) -> usize {
    text.matches(wanted).count()
}

#[test]
fn many_requests_share_a_connection() {
    let stage = Stage::new();
    for secure in [false, true] {
        let told = stage.nghttp(secure, &["--multiply=20", "{}/api", "{}/large"]);
        assert_eq!(count(&told, ":status: 200"), 40, "{told}");
        assert_eq!(
            count(&told, "recv SETTINGS frame"),
            2,
            "one, and one that acknowledges: {told}"
        );
        assert_eq!(count(&told, "RST_STREAM"), 0, "{told}");
        assert!(!told.contains("connection_error"), "{told}");
    }
    assert_eq!(stage.usher.metric("usher_connections_http2_total"), 1.0);
    assert_eq!(stage.secure.metric("usher_connections_http2_total"), 1.0);
}

#[test]
fn bodies_and_trailers_are_sent() {
    let stage = Stage::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "z".repeat(1_000_000)).unwrap();
    let data = format!("--data={}", file.display());
    for secure in [false, true] {
        let told = stage.nghttp(secure, &[&data, "--trailer=x-last: yes", "{}/sum"]);
        assert_eq!(count(&told, ":status: 200"), 1, "{told}");
        let received = stage.app.last();
        assert_eq!(received.body.len(), 1_000_000);
        assert_eq!(received.header("x-user-id"), Some("alice"));
    }
}

#[test]
fn a_peer_with_small_windows_and_frames_is_served() {
    let stage = Stage::new();
    // 2^10 - 1 bytes of a stream, 2^12 - 1 of the connection, at once.
    let small = [
        "--window-bits=10",
        "--connection-window-bits=12",
        "--header-table-size=0",
    ];
    let told = stage.nghttp(false, &[&small[..], &["{}/sum"]].concat());
    assert_eq!(count(&told, ":status: 200"), 1, "{told}");
    let told = stage.nghttp(false, &[&small[..], &["{}/large"]].concat());
    assert_eq!(count(&told, ":status: 200"), 1, "{told}");
    assert!(
        count(&told, "recv DATA frame") >= super::site::LARGE / 1024,
        "no piece is larger"
    );
}
