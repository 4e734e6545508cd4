//! The tables in docs/threats.md and the tests are of the same rows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

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

/// The text of each file with tests.
fn files() -> Vec<String> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(root().join("tests/hostile")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            texts.push(fs::read_to_string(&path).unwrap());
        }
    }
    texts
}

/// The tests below `tests/hostile`, by row.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for text in files() {
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

/// What makes a good request that has to pass, or starts with a good configuration: helpers that do so
/// themselves, each in its file.
const GOOD: [&str; 29] = [
    "good(",
    "serves(",
    "serves_within(",
    "passes(",
    "passes_within(",
    "refuses(",
    "refuses_all(",
    "refuses_lines(",
    "refused(&stage",
    "closes(",
    "never_arrives(",
    "keeps_the_id(",
    "fates(",
    "judge(",
    "broken_heads(",
    "broken_chunks(",
    "recovers(",
    "still_good(",
    "answer_times(",
    "served_good(",
    "outage(",
    "accepts(",
    "starts(",
    "issuer_starts(",
    "LoggedIn::of(",
    ".login(",
    "gateways::",
    ", 200)",
    "== 200",
];

/// Tests at whose end nobody is left who could answer, with the reason.
const WITHOUT: [(&str, &str); 6] = [
    (
        "e17_app_answers_early_and_its_connection_is_reused",
        "bob's requests are the good ones, and usher has ended",
    ),
    (
        "i03_tokens_of_wycheproof",
        "each group has an usher of its own, and a good request at its end",
    ),
    (
        "l08_status_of_the_answer",
        "`outage` makes a good request after each answer",
    ),
    ("g12_end_while_the_app_hangs", "it is about usher's end"),
    (
        "i08_the_crate_with_the_timing_leak",
        "it is about what is linked",
    ),
    ("p10_crates_with_known_flaws", "it is about what is linked"),
];

/// The last statement of a function, as rustfmt sets it.
fn last_statement(body: &str) -> String {
    let lines: Vec<_> = body.lines().collect();
    let begins = |line: &&str| {
        line.strip_prefix("    ").is_some_and(|rest| {
            !rest.starts_with([' ', '}', ')', ']', '/', '.', '"']) && !rest.is_empty()
        })
    };
    let last = lines.iter().rposition(begins).unwrap();
    lines[last..].join("\n")
}

/// A defence that takes usher down is none: after each attack a good request passes, and beside each bad
/// configuration a good one starts. So the last thing that a test does is that.
#[test]
fn every_test_of_a_row_ends_with_something_good() {
    let (mut seen, mut without) = (0, BTreeSet::new());
    for text in files() {
        for function in text.split("#[test]\nfn ").skip(1) {
            let name = function.split('(').next().unwrap();
            if row_of(name).is_none() {
                continue;
            }
            let body = function.split("\n}\n").next().unwrap();
            let last = last_statement(body);
            seen += 1;
            if WITHOUT.iter().any(|(known, _)| *known == name) {
                without.insert(name.to_owned());
                continue;
            }
            let good = GOOD.iter().any(|word| last.contains(word));
            assert!(good, "{name} ends with:\n{last}");
        }
    }
    assert!(seen > 272, "{seen}");
    assert_eq!(without.len(), WITHOUT.len(), "{without:?}");
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

/// The page with the counts, and whether it counts right.
#[test]
fn the_counts_are_what_there_is() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let page = read("tests/hostile/README.md");
    let told = |what: &str| -> usize {
        let line = page
            .lines()
            .find(|line| line.starts_with(&format!("| {what}")));
        let digits = line.unwrap().rsplit("| ").next().unwrap().replace(',', "");
        digits.trim_end_matches(" |").parse().expect(what)
    };
    let rows = table();
    let facts = rows.keys().filter(|row| row.starts_with('Q')).count();
    assert_eq!(told("facts"), facts);
    assert_eq!(told("rows"), rows.len() - facts);
    assert_eq!(told("tests named"), tests().values().flatten().count());
    let targets = fs::read_dir(root().join("fuzz/fuzz_targets")).unwrap();
    assert_eq!(told("targets that are fuzzed"), targets.count());
    let executions = |line: &str| -> Option<usize> {
        line.split('|').nth(2)?.trim().replace(',', "").parse().ok()
    };
    let ran = read("fuzz/README.md");
    let (_, last) = ran.split_once("## Last run").unwrap();
    let executions: usize = last.lines().filter_map(executions).sum();
    assert_eq!(told("inputs that they have read"), executions);
}

/// Each row has a defence that is taken out by `tests/hostile/mutants`, or a reason why there is none; and
/// each line that it takes out is still there.
#[test]
fn every_row_has_its_mutant() {
    let ran = Command::new("python3")
        .args(["tests/hostile/mutants", "--check"])
        .current_dir(root())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout);
    let wrong = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{told}{wrong}");
}
