//! Who may know whom: the table in the crate's documentation, kept true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The layers, from the words that everybody speaks to what nobody may know.
const LAYERS: [&str; 8] = [
    "words",
    "settings",
    "storage",
    "abilities",
    "decision",
    "after the gate",
    "the line",
    "outside",
];

/// Layers whose modules may know each other.
const SOCIABLE: [&str; 5] = ["words", "decision", "after the gate", "the line", "outside"];

/// What breaks the table all the same, and why.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "telemetry",
        "identify",
        "the record keeps the verified token alive instead of copying its names",
    ),
    (
        "headers",
        "config",
        "the classes of names are made from the configured identity headers",
    ),
];

/// Beside the table: it puts everything together.
const ROOT: [&str; 4] = ["assemble", "lib", "main", "run"];

fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inner = path.strip_prefix(&root).unwrap();
                let module = inner.iter().next().unwrap().to_str().unwrap();
                let module = module.trim_end_matches(".rs").to_owned();
                // What tests use is nobody's business.
                let text = std::fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
                found.push((module, path, text));
            }
        }
    }
    assert!(found.len() > 50);
    found
}

/// Module → layer, as the table says.
fn table() -> BTreeMap<String, usize> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let text = std::fs::read_to_string(path).unwrap();
    let mut table = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let (layer, modules) = line.split_once(" | ").unwrap();
        let Some(place) = LAYERS.iter().position(|known| *known == layer) else {
            assert_eq!(layer, "layer", "no such layer");
            continue;
        };
        for name in modules.split('`').skip(1).step_by(2) {
            assert_eq!(
                table.insert(name.to_owned(), place),
                None,
                "{name} is there twice"
            );
        }
    }
    assert!(table.len() > 10);
    table
}

/// The modules of this crate that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_module_has_a_layer() {
    let table = table();
    let modules: BTreeSet<_> = sources().into_iter().map(|(module, ..)| module).collect();
    for module in &modules {
        let known = table.contains_key(module) || ROOT.contains(&module.as_str());
        assert!(known, "{module} is not in the table of src/lib.rs");
    }
    for module in table.keys() {
        assert!(
            modules.contains(module),
            "the table names {module}, which is not there"
        );
    }
}

#[test]
fn nobody_knows_a_layer_above_or_a_stranger_beside() {
    let table = table();
    let mut broken = BTreeSet::new();
    for (module, path, text) in sources() {
        let Some(own) = table.get(&module) else {
            continue;
        };
        for name in named(&text) {
            if name == module || ROOT.contains(&name) && LAYERS[*own] == "outside" {
                continue;
            }
            let other = table.get(name);
            let allowed = other.is_some_and(|other| {
                other < own || other == own && SOCIABLE.contains(&LAYERS[*own])
            });
            if !allowed {
                broken.insert((module.clone(), name.to_owned(), path.clone()));
            }
        }
    }
    let is_exception = |module: &str, name: &str| {
        EXCEPTIONS
            .iter()
            .any(|(who, whom, _)| (*who, *whom) == (module, name))
    };
    let unknown: Vec<_> = broken
        .iter()
        .filter(|(module, name, _)| !is_exception(module, name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    for (who, whom, why) in EXCEPTIONS {
        let needed = broken
            .iter()
            .any(|(module, name, _)| (module.as_str(), name.as_str()) == (who, whom));
        assert!(
            needed,
            "{who} does not know {whom} any more; {why} is no reason"
        );
    }
}

#[test]
fn what_others_made_stays_in_one_folder() {
    let homes = [
        ("jsonwebtoken", &["identify"][..]),
        ("clap", &["cli", "main"]),
        ("tonic", &["ext_authz"]),
        ("envoy_types", &["ext_authz"]),
        ("deadpool_postgres", &["database"]),
        // Statements are beside what they are about.
        ("rusqlite", &["accounts", "database", "users"]),
        // A URL is read by who will connect to it.
        (
            "tokio_postgres",
            &["accounts", "config", "database", "users"],
        ),
    ];
    for (name, folders) in homes {
        let uses = |text: &str| {
            let code = text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"));
            code.into_iter()
                .any(|line| line.contains(&format!("{name}::")))
        };
        let users: BTreeSet<_> = sources()
            .into_iter()
            .filter(|(.., text)| uses(text))
            .map(|(module, ..)| module)
            .collect();
        let folders: BTreeSet<_> = folders.iter().map(|folder| (*folder).to_owned()).collect();
        assert_eq!(users, folders, "{name}");
    }
}

#[test]
fn only_the_gate_makes_admissions() {
    for (module, path, text) in sources() {
        let makes = text.contains("Admission {") && !text.contains("struct Admission {");
        assert!(!makes || module == "gate", "{}", path.display());
    }
}
