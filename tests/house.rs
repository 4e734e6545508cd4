//! The house is as ARCHITECTURE.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn plan() -> String {
    fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap()
}

/// The table of layers, from top to bottom: a module, and what it uses.
fn layers() -> Vec<(String, BTreeSet<String>)> {
    let plan = plan();
    let (_, table) = plan.split_once("\n## Layers\n").unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.contains("| `"));
    rows.map(|row| {
        let mut names = row.split('`').skip(1).step_by(2).map(str::to_owned);
        (names.next().unwrap(), names.collect())
    })
    .collect()
}

/// Every Rust file, tests left out.
fn sources() -> Vec<PathBuf> {
    let mut folders = vec![root().join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && path.file_name().is_some_and(|name| name != "tests") {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                files.push(path);
            }
        }
    }
    assert!(files.len() >= 50, "{files:?}");
    files
}

/// The module at the top of the crate that a file belongs to.
fn module(file: &Path) -> String {
    let inner = file.strip_prefix(root().join("src")).unwrap();
    let first = inner.components().next().unwrap().as_os_str();
    first.to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// What the text names after `crate::`, also in braces.
fn named(text: &str) -> BTreeSet<String> {
    let name = |text: &str| -> String {
        let letters = text.chars();
        letters
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = BTreeSet::new();
    for (place, found) in text.match_indices("crate::") {
        let rest = &text[place + found.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap();
                names.extend(list.split(',').map(|item| name(item.trim())));
            }
            None => {
                names.insert(name(rest));
            }
        }
    }
    names.remove("");
    names
}

#[test]
fn every_module_uses_what_the_plan_says_and_only_what_stands_above_it() {
    let mut used: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in sources() {
        let module = module(&file);
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        used.entry(module).or_default().extend(named(code));
    }
    let layers = layers();
    let mut above = BTreeSet::new();
    for (module, uses) in &layers {
        let mut found = used.remove(module).unwrap_or_default();
        found.remove(module);
        assert_eq!(&found, uses, "what `{module}` uses, and ARCHITECTURE.md");
        let below: Vec<_> = found.difference(&above).collect();
        assert!(below.is_empty(), "`{module}` uses {below:?} below it");
        above.insert(module.clone());
    }
    assert!(used.is_empty(), "not in ARCHITECTURE.md: {:?}", used.keys());
}

#[test]
fn every_room_is_on_the_plan() {
    let plan = plan();
    let (_, tree) = plan.split_once("\n## The tree\n").unwrap();
    let tree = tree.split("\n## ").next().unwrap();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let mut name = entry.file_name().into_string().unwrap();
        if entry.path().is_dir() {
            name.push('/');
            // `route.rs` stands for `route/` too.
            if entry.path().with_extension("rs").exists() {
                continue;
            }
        }
        let room = tree.lines().any(|line| line.trim().starts_with(&name));
        assert!(room, "ARCHITECTURE.md does not know src/{name}");
    }
}
