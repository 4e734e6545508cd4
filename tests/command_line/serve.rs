//! `usher serve`: it starts, or says why not.

use std::net::TcpListener;

use super::file;
use crate::common::command::{Running, run, usher};
use crate::common::{Client, Issuer};

#[test]
fn it_serves_until_it_is_told_to_end() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(
        folder.path(),
        &issuer,
        "shutdown: { pause: 0s, deadline: 1s }\n",
    );
    let mut running = Running::start(&mut usher(&["serve", "--config", config.to_str().unwrap()]));
    let mut client = Client::connect(running.address("listening"));
    client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().unwrap().status, 401);
    running.signal("TERM");
    assert_eq!(running.ended().code(), Some(0));
    assert!(
        running.out().contains("\"path\":\"/a\""),
        "{}",
        running.out()
    );
}

#[test]
fn the_file_may_be_named_in_the_environment() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "");
    let running = Running::start(usher(&["serve"]).env("USHER_CONFIG", &config));
    running.address("listening");
}

#[test]
fn a_missing_or_bad_file_is_named() {
    let (code, out, err) = run(&["serve", "--config", "/nowhere/usher.yaml"]);
    assert_eq!((code, out.as_str()), (78, ""));
    assert!(
        err.contains("/nowhere/usher.yaml") && err.contains("Check that the file is there"),
        "{err}"
    );
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "lisen: x\n");
    let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, 78);
    assert!(
        err.contains("usher.yaml:5") && err.contains("lisen"),
        "{err}"
    );
    let (code, _, err) = run(&["serve"]);
    assert_eq!(code, 2);
    assert!(err.contains("--config"), "{err}");
}

#[test]
fn a_key_file_that_cannot_be_used_is_named() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    std::fs::write(issuer.key_set(), "{}").unwrap();
    let config = file(folder.path(), &issuer, "");
    let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_ne!(code, 0);
    assert!(err.contains("jwks.json") && err.contains("idp"), "{err}");
}

#[test]
fn an_address_in_use_is_named() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["listen", "admin"] {
        let config = file(folder.path(), &issuer, "");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace(&format!("{key}: 127.0.0.1:0"), &format!("{key}: {address}"));
        std::fs::write(&config, text).unwrap();
        let (code, _, err) = run(&["serve", "--config", config.to_str().unwrap()]);
        assert_eq!(code, 1, "{key}");
        assert!(
            err.contains(&format!("cannot listen on {address}")),
            "{err}"
        );
        assert!(err.contains("ss -ltnp"), "{err}");
    }
}
