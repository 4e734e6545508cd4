//! Projects' keys: in which forms, and how they are rotated while usher runs.

use serde_json::json;

use super::stage::{CUSTOMER, LOGIN, Stage, post};
use crate::common::command::{Running, usher};
use crate::common::{Signer, Usher, eventually};

fn vouch(signer: &Signer) -> String {
    let claims = json!({ "sub": "u", "iss": "acme", "userData": {}, "exp": 4_102_444_800_u64 });
    signer.token(claims.to_string())
}

fn status(usher: &Usher, signer: &Signer) -> u16 {
    post(usher, LOGIN, &json!({ "userJwt": vouch(signer) })).status
}

#[test]
fn a_key_is_current_then_previous_then_gone() {
    let stage = Stage::sqlite();
    let path = |name: &str| stage.folder.path().join(name);
    let (old, new) = (&*CUSTOMER, Signer::new("RS256", b""));
    let previous = format!(", previous_public_key_file: {}", path("old.pem").display());
    let usher = stage.usher_with(&previous, "", "");
    assert_eq!((status(&usher, old), status(&usher, &new)), (200, 403));

    // The old one stays good while the new one begins to be used.
    std::fs::write(path("old.pem"), old.public_pem()).unwrap();
    std::fs::write(path("new.pem"), new.public_pem()).unwrap();
    std::fs::rename(path("new.pem"), path("acme.pem")).unwrap();
    eventually("the new key is read", || {
        (status(&usher, &new) == 200).then_some(())
    });
    eventually("the old key is read as the previous one", || {
        (status(&usher, old) == 200).then_some(())
    });

    std::fs::remove_file(path("old.pem")).unwrap();
    eventually("the old key is gone with its file", || {
        (status(&usher, old) == 403).then_some(())
    });
    assert_eq!(status(&usher, &new), 200);

    // A current key that cannot be read stays: half a file is no rotation.
    std::fs::write(path("acme.pem"), "-----BEGIN PUBLIC").unwrap();
    std::fs::write(path("old.pem"), old.public_pem()).unwrap();
    eventually("the files were looked at", || {
        (status(&usher, old) == 200).then_some(())
    });
    assert_eq!(status(&usher, &new), 200);
}

#[test]
fn keys_come_in_every_form_that_customers_have() {
    let stage = Stage::sqlite();
    let pem = CUSTOMER.public_pem();
    let openssl = |arguments: &[&str]| {
        let input = stage.folder.path().join("acme.pem");
        let output = std::process::Command::new("openssl")
            .args(arguments)
            .arg("-in")
            .arg(input)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pkcs1 = openssl(&["rsa", "-pubin", "-RSAPublicKey_out"]);
    assert!(
        pkcs1.starts_with("-----BEGIN RSA PUBLIC KEY-----"),
        "{pkcs1}"
    );
    for text in [
        pem.clone(),
        pkcs1.clone(),
        data_encoding::BASE64.encode(pem.as_bytes()),
        data_encoding::BASE64.encode(pkcs1.as_bytes()),
    ] {
        let inline = stage.yaml("", "", "").replacen(
            &format!(
                "public_key_file: {}",
                stage.folder.path().join("acme.pem").display()
            ),
            &format!("public_key: {}", json!(text)),
            1,
        );
        let usher = Usher::configured(&inline);
        assert_eq!(status(&usher, &CUSTOMER), 200, "{text}");
    }
}

#[test]
fn a_key_that_cannot_be_used_is_named_at_start() {
    let stage = Stage::sqlite();
    let curve = Signer::new("ES256", b"").public_pem();
    for (text, phrase) in [
        ("junk".to_owned(), "neither PEM nor base64"),
        (curve, "a key for ES256, and one for RS256 is wanted"),
    ] {
        std::fs::write(stage.folder.path().join("acme.pem"), text).unwrap();
        let yaml = stage.yaml("", "", "listen: 127.0.0.1:0\nadmin: off\n");
        let config = usher::config::parse(&yaml, "t", &|_| None).unwrap().config;
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let told = runtime.block_on(usher::bind(config, usher::Options::default()));
        let told = told.err().expect("it does not start").to_string();
        assert!(
            told.contains("project `acme`: ") && told.contains(phrase),
            "{told}"
        );
    }
}

#[test]
fn a_key_whose_file_is_gone_stays_and_it_is_said_what_to_do() {
    let stage = Stage::sqlite();
    let config = stage.folder.path().join("usher.yaml");
    let yaml = stage.yaml("", "", "listen: 127.0.0.1:0\nadmin: off\n");
    std::fs::write(&config, yaml).unwrap();
    let mut serve = usher(&["serve", "--config", config.to_str().unwrap()]);
    let running = Running::start(&mut serve);
    running.address("listening");
    std::fs::remove_file(stage.folder.path().join("acme.pem")).unwrap();
    let event = eventually("an event about the key", || {
        let events = running.events();
        events.into_iter().find(|event| event["project"] == "acme")
    });
    let told = event["message"].as_str().unwrap();
    assert!(
        told.contains("stays in force") && told.contains("take the file out of the configuration"),
        "{told}"
    );
}
