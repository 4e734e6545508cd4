//! `usher token`: minting, reading, and why a token passes or fails.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use super::file;
use crate::common::command::{run, said, usher};
use crate::common::issuer::now;
use crate::common::{Issuer, KeyServer, Signer};

#[test]
fn a_minted_token_passes_where_its_key_is_trusted() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "");
    let key = issuer.private_key();
    let iss = format!("iss={}", Issuer::NAME);
    let (code, token, err) = run(&[
        "token",
        "mint",
        "--key",
        key.to_str().unwrap(),
        "--kid",
        "k1",
        "--claim",
        &iss,
        "--claim",
        "aud=app",
        "--claim",
        "sub:=42",
        "--life",
        "2m",
    ]);
    assert_eq!((code, err.as_str()), (0, ""));
    let (code, out, err) = run(&[
        "token",
        "verify",
        "--config",
        config.to_str().unwrap(),
        token.trim(),
    ]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(!out.contains("FAILED"), "{out}");
    for step in [
        "size",
        "shape",
        "header",
        "issuer",
        "algorithm",
        "signature",
        "times",
        "audience",
        "id",
    ] {
        assert!(
            out.lines()
                .any(|line| line.starts_with(&format!("passed  {step}"))),
            "{step}: {out}"
        );
    }
}

#[test]
fn verify_tells_the_step_that_fails() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "limits: { token_bytes: 2KiB }\n");
    let config = config.to_str().unwrap();
    let good = issuer.token("alice");
    let bad = |more| issuer.token_with("alice", more);
    let (signed, made) = good.rsplit_once('.').unwrap();
    let stranger = Issuer::new().token("alice");
    let table = [
        ("size", "x".repeat(3000)),
        ("shape", signed.to_owned()),
        ("header", format!("e30{}", &good[good.find('.').unwrap()..])),
        (
            "payload",
            format!("{}.e.{made}", good.split('.').next().unwrap()),
        ),
        ("issuer", bad(json!({ "iss": "https://evil.test/" }))),
        ("signature", stranger),
        ("times", bad(json!({ "exp": now() - 1 }))),
        ("times", bad(json!({ "nbf": now() + 100 }))),
        ("audience", bad(json!({ "aud": "other" }))),
        ("id", bad(json!({ "sub": null }))),
        ("headers", bad(json!({ "name": "a\nb" }))),
    ];
    for (step, token) in table {
        let (code, out, err) = run(&["token", "verify", "--config", config, &token]);
        assert_eq!((code, err.as_str()), (1, ""), "{step}: {out}");
        let last = out.lines().last().unwrap();
        assert!(
            last.starts_with(&format!("FAILED  {step}")),
            "{step}: {out}"
        );
        assert_eq!(out.matches("FAILED").count(), 1, "{out}");
    }
    let stranger = Issuer::with_kid("stranger").token("alice");
    let (code, out, _) = run(&["token", "verify", "--config", config, &stranger]);
    assert_eq!(code, 1);
    assert!(out.contains("FAILED  key"), "{out}");
    let (code, _, err) = run(&["token", "verify", "--config", "/nowhere.yaml", &good]);
    assert_eq!(code, 78);
    assert!(err.contains("/nowhere.yaml"), "{err}");
}

#[test]
fn verify_fetches_keys_as_serve_would() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let server = KeyServer::start(issuer.jwks());
    let path = folder.path().join("usher.yaml");
    let text = format!(
        "upstream: http://127.0.0.1:9\nissuers: [{{ issuer: \"{}\", audiences: [app] }}]\n",
        server.issuer()
    );
    std::fs::write(&path, text).unwrap();
    let token = issuer.token_with("alice", json!({ "iss": server.issuer() }));
    let verify = [
        "token",
        "verify",
        "--config",
        path.to_str().unwrap(),
        &token,
    ];
    let (code, out, err) = run(&verify);
    assert_eq!(code, 0, "{out}{err}");
    server.set_discovery("{}");
    let (code, out, _) = run(&verify);
    assert_eq!(code, 1);
    assert!(out.contains("FAILED  keys"), "{out}");
}

#[test]
fn inspect_says_that_it_verifies_nothing() {
    let token = Issuer::new().token_with("ålice", json!({ "exp": 1_800_000_000 }));
    let (code, out, err) = run(&["token", "inspect", &token]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.starts_with("NOT VERIFIED"), "{out}");
    assert!(
        out.contains("ålice") && out.contains("2027-01-15T08:00:00Z"),
        "{out}"
    );
    assert!(out.contains(&usher_fingerprint(&token)), "{out}");
    let (code, out, err) = run(&["token", "inspect", "not.a.token"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("token_malformed"), "{err}");
    // A token in the arguments is a token in the list of processes.
    let mut command = usher(&["token", "inspect", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    writeln!(child.stdin.take().unwrap(), "{token}").unwrap();
    let (code, out, _) = said(&child.wait_with_output().unwrap());
    assert_eq!(code, 0);
    assert!(out.contains("ålice"), "{out}");
}

fn usher_fingerprint(token: &str) -> String {
    ::usher::identify::fingerprint(token).to_string()
}

#[test]
fn minting_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, [7; 64]).unwrap();
    let secret = secret.to_str().unwrap();
    let table = [
        (&["token", "mint"][..], 1, "who signs?"),
        (
            &["token", "mint", "--key", "/nowhere.pem"],
            1,
            "/nowhere.pem",
        ),
        (&["token", "mint", "--key", secret], 1, "not PEM"),
        (
            &[
                "token",
                "mint",
                "--secret-file",
                secret,
                "--algorithm",
                "RS256",
            ],
            1,
            "RS256",
        ),
        (
            &[
                "token",
                "mint",
                "--secret-file",
                secret,
                "--algorithm",
                "none",
            ],
            2,
            "HS256",
        ),
        (
            &["token", "mint", "--secret-file", secret, "--claim", "x"],
            2,
            "name=text",
        ),
        (
            &["token", "mint", "--secret-file", secret, "--claim", "x:=y"],
            2,
            "not JSON",
        ),
    ];
    for (arguments, wanted, phrase) in table {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (wanted, ""), "{arguments:?}: {err}");
        assert!(err.contains(phrase), "{arguments:?}: {err}");
    }
    let (code, token, _) = run(&[
        "token",
        "mint",
        "--secret-file",
        secret,
        "--algorithm",
        "HS512",
    ]);
    assert_eq!(code, 0);
    let (_, out, _) = run(&["token", "inspect", token.trim()]);
    assert!(out.contains("HS512"), "{out}");
}

#[test]
fn what_people_paste_is_a_token() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "");
    let token = issuer.token("alice");
    for pasted in [
        format!("Bearer {token}"),
        format!("  {token}\n"),
        format!("Authorization: bearer {token}"),
    ] {
        let verify = [
            "token",
            "verify",
            "--config",
            config.to_str().unwrap(),
            &pasted,
        ];
        let (code, out, err) = run(&verify);
        assert_eq!((code, err.as_str()), (0, ""), "{pasted}: {out}");
        let (code, out, err) = run(&["token", "inspect", &pasted]);
        assert_eq!(code, 0, "{pasted}: {err}");
        assert!(out.contains(&usher_fingerprint(&token)), "{out}");
    }
    let (code, _, err) = run(&["token", "inspect", " "]);
    assert_eq!((code, err.as_str()), (1, "usher: there is no token\n"));
}

#[test]
fn verify_asks_what_is_revoked() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let revoked = folder.path().join("revoked");
    let path = folder.path().join("usher.yaml");
    let text = format!(
        "upstream: http://127.0.0.1:9\nissuers: [{}]\nrevocation: {{ stream: 'file:{}' }}\n",
        issuer.yaml_with(", max_token_life: 1h"),
        revoked.display()
    );
    std::fs::write(&path, text).unwrap();
    let config = path.to_str().unwrap();
    let token = issuer.token("alice");
    let verify = || run(&["token", "verify", "--config", config, &token]);
    let last = |out: &str| out.lines().last().unwrap().to_owned();
    let (code, out, err) = verify();
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert_eq!(last(&out), "passed  revocation   it is not revoked");
    assert!(!revoked.exists(), "who asks writes nothing");
    // As `usher serve` would make it.
    std::fs::write(&revoked, "").unwrap();
    let (code, _, err) = run(&["revoke", "--config", config, "--subject", "alice"]);
    assert_eq!(code, 0, "{err}");
    let (code, out, _) = verify();
    assert_eq!(code, 1);
    assert_eq!(
        last(&out),
        "FAILED  revocation   token_revoked: it was revoked"
    );
    // What nobody can tell is no yes.
    std::fs::write(&revoked, "x".repeat(1000)).unwrap();
    let (code, out, _) = verify();
    assert_eq!(code, 1);
    assert!(
        last(&out).starts_with("FAILED  revocation   nobody can tell"),
        "{out}"
    );
}

#[test]
fn whoever_closes_the_pipe_has_read_enough() {
    let (folder, issuer) = (tempfile::tempdir().unwrap(), Issuer::new());
    let config = file(folder.path(), &issuer, "");
    let token = issuer.token("alice");
    let config = config.to_str().unwrap();
    for arguments in [
        &["token", "inspect", &token][..],
        &["token", "verify", "--config", config, &token],
        &["schema"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = usher(arguments);
        command.stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().unwrap().wait_with_output().unwrap();
        let (code, _, err) = said(&output);
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}");
    }
    let full = std::fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = usher(&["token", "inspect", &token])
        .stdout(full)
        .output()
        .unwrap();
    let (code, _, err) = said(&output);
    assert_eq!(code, 1);
    assert!(err.contains("standard output: "), "{err}");
}

/// A configuration that trusts this key set.
fn trusting(folder: &std::path::Path, keys: &[serde_json::Value]) -> std::path::PathBuf {
    let set = json!({ "keys": keys }).to_string();
    std::fs::write(folder.join("keys.json"), set).unwrap();
    let path = folder.join("usher.yaml");
    let issuer =
        "{ issuer: idp, audiences: any, algorithms: [ES256, RS256], jwks_file: keys.json }";
    std::fs::write(
        &path,
        format!("upstream: http://127.0.0.1:9\nissuers: [{issuer}]\n"),
    )
    .unwrap();
    path
}

#[test]
fn whoever_names_no_key_is_told_how_many_were_tried() {
    let folder = tempfile::tempdir().unwrap();
    let signers: Vec<_> = (0..5).map(|_| Signer::new("ES256", b"")).collect();
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk("k")).collect();
    let keys: Vec<_> = keys
        .into_iter()
        .map(|mut key| {
            key.as_object_mut().unwrap().remove("kid");
            key
        })
        .collect();
    let config = trusting(folder.path(), &keys);
    let claims = json!({ "iss": "idp", "sub": "a", "exp": now() + 60 }).to_string();
    let verify = |token: &str| {
        let verify = [
            "token",
            "verify",
            "--config",
            config.to_str().unwrap(),
            token,
        ];
        run(&verify)
    };
    assert_eq!(verify(&signers[3].token(&claims)).0, 0);
    let (code, out, _) = verify(&signers[4].token(&claims));
    assert_eq!(code, 1);
    assert!(
        out.contains("none of the first 4 of 5 keys that fit verifies it"),
        "{out}"
    );
}

/// RFC 7517 §4.5.
#[test]
fn keys_of_different_kinds_may_have_one_name() {
    let folder = tempfile::tempdir().unwrap();
    let signers = [Signer::new("ES256", b""), Signer::new("RS256", b"")];
    let keys: Vec<_> = signers.iter().map(|signer| signer.jwk("k")).collect();
    let config = trusting(folder.path(), &keys);
    let claims = json!({ "iss": "idp", "sub": "a", "exp": now() + 60 }).to_string();
    for signer in &signers {
        let header = json!({ "alg": signer.algorithm, "kid": "k" }).to_string();
        let token = signer.seal(header, &claims);
        let verify = [
            "token",
            "verify",
            "--config",
            config.to_str().unwrap(),
            &token,
        ];
        let (code, out, err) = run(&verify);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
    }
}
