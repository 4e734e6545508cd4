//! From a tree of nodes to the mirror, with every wrong value reported, not only the first.

use serde_path_to_error::{Path, Segment};

use super::file::File;
use super::near::nearest;
use super::report::{Report, element, member};
use super::source::{Node, Step};

/// After so many wrong values the rest does not matter.
const MOST: usize = 200;

/// Reads the mirror; what does not fit is reported, taken out, and the rest read again.
/// `None` when nothing is left of it.
pub(super) fn read(mut root: Node, report: &mut Report) -> Option<File> {
    for _ in 0..MOST {
        let error = match serde_path_to_error::deserialize(&root) {
            Ok(file) => return Some(file),
            Err(error) => error,
        };
        let steps = steps(error.path());
        let (message, remedy) = explain(&error.inner().to_string());
        report.error(&key(&steps), message, remedy);
        if steps.is_empty() {
            return None;
        }
        root.prune(&steps);
    }
    None
}

/// Down to the enum's variant: half an enum cannot be taken out.
fn steps(path: &Path) -> Vec<Step> {
    path.iter()
        .map_while(|segment| match segment {
            Segment::Seq { index } => Some(Step::Element(*index)),
            Segment::Map { key } => Some(Step::Member(key.clone())),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

fn key(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |key, step| match step {
        Step::Member(name) => member(&key, name),
        Step::Element(index) => element(&key, *index),
    })
}

/// serde's words, in ours: what is wrong, and what to do.
fn explain(error: &str) -> (String, String) {
    let unknown = error
        .strip_prefix("unknown field ")
        .or_else(|| error.strip_prefix("unknown variant "));
    if let Some(rest) = unknown {
        return unknown_name(rest);
    }
    let wrong = error
        .strip_prefix("invalid type: ")
        .or_else(|| error.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "));
    match wrong {
        Some((found, expected)) => (
            format!("is {}", found_words(found)),
            format!("Write {}.", expected_words(expected)),
        ),
        None => (error.to_owned(), "Write another value.".into()),
    }
}

/// `` `requird`, expected one of `a`, `b` ``
fn unknown_name(rest: &str) -> (String, String) {
    let mut names = rest.split('`').skip(1).step_by(2);
    let name = names.next().unwrap_or_default();
    let known: Vec<&str> = names.collect();
    let list = known
        .iter()
        .map(|name| format!("`{name}`"))
        .collect::<Vec<_>>()
        .join(", ");
    let remedy = match nearest(name, known.iter().copied()) {
        Some(near) => format!("Did you mean `{near}`? Known here: {list}."),
        None => format!("Known here: {list}."),
    };
    (format!("`{name}` is not known here"), remedy)
}

fn found_words(found: &str) -> String {
    match found {
        "unit value" => "empty".into(),
        "map" => "an object".into(),
        "sequence" => "a list".into(),
        "unit variant" => "a word without a value".into(),
        _ => {
            let article = if found.starts_with("integer") {
                "an"
            } else {
                "a"
            };
            match found.strip_prefix("string ") {
                Some(text) => text.to_owned(),
                None => format!(
                    "{article} {}",
                    found
                        .replace("boolean ", "boolean, ")
                        .replace("integer ", "integer, ")
                ),
            }
        }
    }
}

/// serde calls a struct by its Rust name, which means nothing to the reader of a file.
fn expected_words(expected: &str) -> &str {
    match expected {
        "a string" => "text; a number or `true` meant as text stands in quotes",
        "a sequence" => "a list: `[a, b]`, or one entry a line after `- `",
        "newtype variant" => "it with its value, such as `{ cookie: name }`",
        "unit variant" | "unit" => "the word alone",
        _ if expected.starts_with("struct ") => {
            "an object: keys with values, each on a line of its own"
        }
        _ => expected,
    }
}
