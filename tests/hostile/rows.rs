//! The tables in docs/threats.md and the tests are of the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The row that a function is named after: `a01_…` is A01.
fn row_of(name: &str) -> Option<String> {
    let (row, _) = name.split_once('_')?;
    let (letter, number) = row.split_at_checked(1)?;
    let letter = letter.chars().all(|c| c.is_ascii_lowercase());
    let number = number.len() == 2 && number.chars().all(|c| c.is_ascii_digit());
    (letter && number).then(|| row.to_ascii_uppercase())
}

/// The tests below `tests/hostile`, by row.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests/hostile")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let mut before = "";
        for line in text.lines().map(str::trim) {
            let name = line.strip_prefix("fn ").unwrap_or_default();
            let name = name.split(['(', '<']).next().unwrap_or_default();
            if let Some(row) = row_of(name) {
                assert_eq!(before, "#[test]", "{name} is not run");
                tests.entry(row).or_default().push(name.to_owned());
            }
            before = line;
        }
    }
    tests
}

/// The rows of the page, each with all of its line.
fn table() -> BTreeMap<String, String> {
    let page = fs::read_to_string(root().join("docs/threats.md")).unwrap();
    let mut rows = BTreeMap::new();
    for line in page.lines() {
        let first = line
            .strip_prefix("| ")
            .and_then(|rest| rest.split(" | ").next());
        let row = first.and_then(|id| row_of(&format!("{}_", id.to_ascii_lowercase())));
        if let Some(row) = row {
            let known = rows.insert(row.clone(), line.to_owned());
            assert_eq!(known, None, "{row} is there twice");
        }
    }
    rows
}

#[test]
fn every_row_has_its_test_and_every_test_its_row() {
    let (tests, table) = (tests(), table());
    let tested: BTreeSet<_> = tests.keys().collect();
    assert_eq!(table.keys().collect::<BTreeSet<_>>(), tested);
    for (row, names) in &tests {
        for name in names {
            let known = table[row].contains(&format!("`{name}`"));
            assert!(known, "docs/threats.md, {row}: no `{name}`");
        }
    }
    let count = |letter: char| table.keys().filter(|row| row.starts_with(letter)).count();
    let counts: Vec<_> = ('A'..='Q').map(count).collect();
    assert_eq!(
        counts,
        [
            21, 9, 26, 29, 27, 21, 12, 21, 11, 13, 17, 15, 17, 8, 19, 13, 27
        ]
    );
}

#[test]
fn every_place_in_the_tables_is_there() {
    let mut places = 0;
    for (row, line) in table() {
        for place in line.split('`').skip(1).step_by(2) {
            if ["src/", "tests/", "docs/", "examples/"]
                .iter()
                .any(|folder| place.starts_with(folder))
            {
                assert!(root().join(place).exists(), "{row}: {place}");
                places += 1;
            }
        }
    }
    assert!(places > 100, "{places}");
}
