//! Files: the configuration itself, those it names, and those kept in the repository.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use usher::config::{KeySource, load, parse, schema};

use super::{BASE, SECRET, shown};

#[test]
fn files_are_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("secret", SECRET);
    write("newline", &format!("{SECRET}\n"));
    write("keys.json", "{}");
    write("private.pem", "-----BEGIN RSA PRIVATE KEY-----\n");
    write("empty", "");
    let config = |source: &str| {
        let text = format!(
            "upstream: http://a:1\nissuers: [{{ issuer: me, audiences: [a], {source} }}]\n"
        );
        write("usher.yaml", &text);
        load(&folder.path().join("usher.yaml"))
    };

    let loaded = config("secret_file: secret").unwrap();
    assert!(loaded.warnings.is_empty());
    assert!(
        matches!(&loaded.config.issuers[0].keys, KeySource::Secret(s) if s.expose() == SECRET.as_bytes())
    );

    let loaded = config("secret_file: newline").unwrap();
    assert!(loaded.warnings[0].message.contains("ends with a newline"));

    let loaded = config("jwks_file: keys.json").unwrap();
    assert!(
        matches!(&loaded.config.issuers[0].keys, KeySource::JwksFile(p) if *p == folder.path().join("keys.json"))
    );

    let phrase = |source: &str| shown(&config(source).unwrap_err());
    assert!(phrase("public_key_file: private.pem").contains("holds a private key"));
    assert!(phrase("jwks_file: empty").contains("is an empty file"));
    assert!(phrase("jwks_file: missing").contains("cannot be read"));
}

#[test]
fn every_example_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let examples: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "yaml"))
        .collect();
    assert!(examples.len() >= 2, "{examples:?}");
    for path in examples {
        let text = fs::read_to_string(&path).unwrap();
        let env = |name: &str| (name == "JWT_SECRET").then(|| SECRET.to_owned());
        let loaded = parse(&text, &path.display().to_string(), &env);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{}", shown(&problems)));
        assert_eq!(shown(&loaded.warnings), "");
    }
}

#[test]
fn the_schema_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/schema.json");
    let kept = fs::read_to_string(path).unwrap();
    let current = format!("{:#}\n", schema());
    assert!(
        kept == current,
        "config/schema.json is stale: run `cargo run -- schema > config/schema.json`"
    );
}

#[test]
fn the_schema_describes_every_key_and_allows_no_null() {
    let schema = schema();
    assert!(!schema.to_string().contains("\"null\""));
    let properties = schema["properties"].as_object().unwrap();
    assert!(properties.len() >= 18);
    for (name, property) in properties {
        assert!(property["description"].is_string(), "{name}");
    }
    assert_eq!(schema["additionalProperties"], json!(false));
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let missing = load(&folder.path().join("none.yaml")).unwrap_err();
    assert!(
        missing[0].to_string().contains("none.yaml: cannot be read"),
        "{}",
        missing[0]
    );
    let path = folder.path().join("latin1.yaml");
    fs::write(&path, b"a: \xe9\n").unwrap();
    assert!(load(&path).unwrap_err()[0].message.contains("not UTF-8"));
}

#[test]
fn check_ends_with_78_when_something_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usher.yaml");
    fs::write(&path, BASE).unwrap();
    let check = || {
        let usher = Command::new(env!("CARGO_BIN_EXE_usher"));
        let output = { usher }.arg("check").arg(&path).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(check().0, Some(0));
    fs::write(&path, "workers: 0\n").unwrap();
    let (code, text) = check();
    assert_eq!(code, Some(78));
    assert!(text.contains("usher.yaml:1"), "{text}");
}

#[test]
fn the_page_about_the_configuration_names_every_key() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let page = fs::read_to_string(page).unwrap();
    let schema = schema();
    let keys = keys(&schema, &schema, "");
    assert!(keys.len() >= 60, "{keys:?}");
    for (name, below) in keys {
        let named = match below.as_str() {
            "" => section(&page, &name).is_some(),
            _ => section(&page, &below).is_some_and(|section| {
                section.contains(&format!("`{name}`"))
                    || section.contains(&format!("`{below}.{name}`"))
            }),
        };
        assert!(
            named,
            "docs/configuration.md does not explain `{name}` {below}"
        );
    }
}

/// What the page says under the heading of a key, up to the next heading.
fn section<'p>(page: &'p str, key: &str) -> Option<&'p str> {
    let heading = format!("\n### `{key}`\n");
    let start = page.find(&heading)? + heading.len();
    let rest = &page[start..];
    Some(&rest[..rest.find("\n##").unwrap_or(rest.len())])
}

/// The keys of an object in the schema and one level further down, each with what it is in.
fn keys(root: &Value, object: &Value, below: &str) -> Vec<(String, String)> {
    let mut keys = Vec::new();
    for (name, property) in object["properties"].as_object().unwrap() {
        keys.push((name.clone(), below.to_owned()));
        if below.is_empty() {
            for object in objects(root, property) {
                keys.extend(self::keys(root, object, name));
            }
        }
    }
    keys
}

/// The objects that a property may be, or be a list of.
fn objects<'s>(root: &'s Value, property: &'s Value) -> Vec<&'s Value> {
    if let Some(name) = property["$ref"].as_str() {
        let definition = root.pointer(name.trim_start_matches('#')).unwrap();
        return objects(root, definition);
    }
    if property["properties"].is_object() {
        return vec![property];
    }
    let choices = property["anyOf"].as_array().into_iter().flatten();
    let items = property.get("items");
    choices
        .chain(items)
        .flat_map(|property| objects(root, property))
        .collect()
}
