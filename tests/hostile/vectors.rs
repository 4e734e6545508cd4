//! Public test vectors, sent to a running usher.
//!
//! `USHER_VECTORS` names the folder where they are. Without it nothing of this runs, which is said
//! loudly; `tests/run` looks that it did where the folder is there.

use std::io::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::accounts::stage::{LOGIN, Stage, login};

/// A part of the vectors.
pub fn folder(part: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("USHER_VECTORS") else {
        // Past what the test runner captures: a test that did not run is not one that passed.
        let _ = writeln!(
            std::io::stderr(),
            "\n=== USHER_VECTORS is not set: {part} was NOT run ==="
        );
        return None;
    };
    Some(PathBuf::from(folder).join(part))
}

/// Every file of JSONTestSuite within the body of a login: what is JSON is taken, what is none is
/// refused, and where the suite leaves it open there is one answer, always the same.
#[test]
fn bodies_of_the_json_test_suite() {
    let Some(folder) = folder("jsontestsuite/test_parsing") else {
        return;
    };
    let stage = Stage::sqlite();
    let usher = stage.usher();
    let jwt = stage.vouch("ada", json!({}));
    let ask = |text: &[u8]| {
        let body = [
            format!("{{\"userJwt\":\"{jwt}\",\"x\":").as_bytes(),
            text,
            b"}",
        ]
        .concat();
        let head = format!(
            "POST {LOGIN} HTTP/1.1\r\nHost: app.test\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        usher.raw([head.as_bytes(), &body].concat()).status
    };
    let (mut good, mut bad, mut open) = (0, 0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let text = std::fs::read(entry.path()).unwrap();
        let status = ask(&text);
        match name.split('_').next().unwrap() {
            "y" => {
                assert_eq!(status, 200, "{name}");
                good += 1;
            }
            "n" => {
                assert_eq!(status, 400, "{name}");
                bad += 1;
            }
            _ => {
                assert!([200, 400].contains(&status), "{name}: {status}");
                assert_eq!(status, ask(&text), "{name}");
                open += 1;
            }
        }
    }
    assert_eq!((good, bad, open), (95, 188, 35));
    assert_eq!(login(&usher, &jwt).status, 200);
}
