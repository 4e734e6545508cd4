//! A configuration is good, or every problem in it is said with line, key and remedy.

mod accounts;
mod doors;
mod files;
mod good;
mod problems;
mod properties;
mod users;

use usher::config::{Config, Loaded, Problem, Severity, parse};

/// A good start, three lines long; what a test adds begins at line 4.
const BASE: &str = "upstream: http://127.0.0.1:3000\nissuers:\n  - { issuer: https://idp.example.com/, audiences: [app] }\n";

/// 64 bytes that nobody knows.
const SECRET: &str = "kq3Zr8VtXw1Yb6Nd0Fm5Hs9Lc2Pj7Ga4Ue8Ri1To6Qz3Wx0Cv5Bn9My2Kl7Jh4Gf";

fn env(name: &str) -> Option<String> {
    match name {
        "SECRET" => Some(SECRET.to_owned()),
        "SHORT" => Some("0123456789abcdef".to_owned()),
        "APP" => Some("http://127.0.0.1:4000".to_owned()),
        "YAML" => Some("a\nadmin: off\n- x: [".to_owned()),
        "NUMBER" => Some("4".to_owned()),
        "NO" => Some("false".to_owned()),
        "YES" => Some("true".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) -> Result<Loaded, Vec<Problem>> {
    parse(text, "usher.yaml", &env)
}

fn good(text: &str) -> Config {
    match read(text) {
        Ok(loaded) => loaded.config,
        Err(problems) => panic!("{}\n{text}", shown(&problems)),
    }
}

fn problems(text: &str) -> Vec<Problem> {
    let problems = read(text).expect_err(text);
    problems
        .into_iter()
        .filter(|problem| problem.severity == Severity::Error)
        .collect()
}

fn shown(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Each text must have exactly this one problem: line, key, and a phrase of what is printed.
fn each_has_one_problem(table: &[(&str, usize, &str, &str)]) {
    let mut failures = Vec::new();
    for (text, line, key, phrase) in table {
        let found = match read(text) {
            Ok(_) => "no problem".to_owned(),
            Err(all) => {
                let errors: Vec<_> = all
                    .iter()
                    .filter(|p| p.severity == Severity::Error)
                    .collect();
                match errors.as_slice() {
                    [one]
                        if one.line == Some(*line)
                            && one.key == *key
                            && one.to_string().contains(phrase) =>
                    {
                        continue;
                    }
                    _ => shown(&all),
                }
            }
        };
        failures.push(format!(
            "--- {text}\n    wanted {line}: {key}: …{phrase}…\n    found  {found}"
        ));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The table's texts stand after the base, from line 4.
fn each_after_base_has_one_problem(table: &[(&str, usize, &str, &str)]) {
    let texts: Vec<String> = table
        .iter()
        .map(|(text, ..)| format!("{BASE}{text}"))
        .collect();
    let table: Vec<_> = texts
        .iter()
        .zip(table)
        .map(|(text, (_, line, key, phrase))| (text.as_str(), *line, *key, *phrase))
        .collect();
    each_has_one_problem(&table);
}

/// The table's texts are the members of the one issuer, on line 3.
fn each_issuer_has_one_problem(table: &[(&str, &str, &str)]) {
    let texts: Vec<String> = table
        .iter()
        .map(|(text, ..)| format!("upstream: http://127.0.0.1:3000\nissuers:\n  - {{ {text} }}\n"))
        .collect();
    let keys: Vec<String> = table
        .iter()
        .map(|(_, key, _)| format!("issuers[0]{}{key}", if key.is_empty() { "" } else { "." }))
        .collect();
    let table: Vec<_> = (0..table.len())
        .map(|i| (texts[i].as_str(), 3, keys[i].as_str(), table[i].2))
        .collect();
    each_has_one_problem(&table);
}
