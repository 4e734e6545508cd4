//! The documents and the tests name the same rows.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// `h01` of `fn h01_no_algorithm`, for each test under `tests/hostile`.
fn tests() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join("tests/hostile")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_none_or(|end| end != "rs") {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            for (attributes, name) in functions(&text) {
                if attributes.contains("test]") && !attributes.contains("#[ignore") {
                    found.extend(id(&name).map(|id| (id, name.clone())));
                }
            }
        }
    }
    found
}

/// What stands before each function, and its name.
fn functions(text: &str) -> Vec<(String, String)> {
    let mut attributes = String::new();
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("#[") || line.starts_with("//") {
            attributes.push_str(line);
            continue;
        }
        let line = line.trim_start_matches("pub ").trim_start_matches("async ");
        if let Some(rest) = line.strip_prefix("fn ") {
            let name = rest.split(['(', '<']).next().unwrap().to_owned();
            found.push((attributes.clone(), name));
        }
        attributes.clear();
    }
    found
}

/// A letter, two digits, and a name.
fn id(name: &str) -> Option<String> {
    let (id, rest) = name.split_once('_')?;
    let mut letters = id.chars();
    let row = letters.next().is_some_and(|c| c.is_ascii_lowercase())
        && id.len() == 3
        && letters.all(|c| c.is_ascii_digit());
    (row && !rest.is_empty()).then(|| id.to_owned())
}

/// The rows of the tables: `| H01 | … | … | [test] |`.
fn rows() -> Vec<(String, String)> {
    let page = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let cells = page.lines().filter_map(|line| line.strip_prefix("| "));
    cells
        .filter_map(|line| {
            let first = line.split(" | ").next()?;
            let named = id(&format!("{}_x", first.to_ascii_lowercase()))?;
            Some((named, line.to_owned()))
        })
        .collect()
}

#[test]
fn every_threat_has_a_test_and_every_test_a_threat() {
    let (tests, rows) = (tests(), rows());
    let tested: BTreeSet<_> = tests.iter().map(|(id, _)| id.as_str()).collect();
    let written: BTreeSet<_> = rows.iter().map(|(id, _)| id.as_str()).collect();
    assert!(rows.len() > 130, "{}", rows.len());
    assert_eq!(rows.len(), written.len(), "a threat stands there twice");
    let untested: Vec<_> = written.difference(&tested).collect();
    let unwritten: Vec<_> = tested.difference(&written).collect();
    assert!(
        untested.is_empty(),
        "in docs/threats.md, without a test: {untested:?}"
    );
    assert!(
        unwritten.is_empty(),
        "tested, not in docs/threats.md: {unwritten:?}"
    );
}

#[test]
fn every_row_names_its_tests_and_code_that_exists() {
    let tests = tests();
    for (id, row) in rows() {
        for (_, name) in tests.iter().filter(|(tested, _)| *tested == id) {
            assert!(
                row.contains(&format!("`{name}`")),
                "{id} does not name {name}"
            );
        }
        for path in row.split('`').filter(|text| text.starts_with("src/")) {
            assert!(root().join(path).exists(), "{id}: no {path}");
        }
    }
}
