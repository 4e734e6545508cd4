//! Collects problems and knows where in the file each key stands.

use std::collections::{HashMap, HashSet};

use super::problem::{Problem, Severity};

/// A position in the file, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// Problems found so far, and the places of all keys.
#[derive(Debug)]
pub(super) struct Report {
    file: String,
    places: HashMap<String, Place>,
    /// Keys whose value, or part of it, came from a variable.
    expanded: HashSet<String>,
    /// What variables hold, and their names: it may be a secret, wherever it was written.
    filled: Vec<(String, String)>,
    found: Vec<Problem>,
}

/// What is shorter than this is no secret, and may stand in a message by chance.
const SHORTEST: usize = 6;

/// More problems than this help nobody.
const MOST: usize = 200;

impl Report {
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.to_owned(),
            places: HashMap::new(),
            expanded: HashSet::new(),
            filled: Vec::new(),
            found: Vec::new(),
        }
    }

    /// Remembers where a key stands first.
    pub(super) fn place(&mut self, key: &str, place: Place) {
        self.places.entry(key.to_owned()).or_insert(place);
    }

    /// Remembers that a variable was filled in.
    pub(super) fn expanded(&mut self, key: &str) {
        self.expanded.insert(key.to_owned());
    }

    /// Remembers what a variable holds, so that no message repeats it.
    pub(super) fn filled(&mut self, name: &str, value: &str) {
        if value.len() >= SHORTEST {
            self.filled.push((name.to_owned(), value.to_owned()));
        }
    }

    /// A text with the names of variables in place of what they hold.
    fn masked(&self, mut text: String) -> String {
        for (name, value) in &self.filled {
            // Values are shown as they are, or as Rust writes a string.
            for shown in [value.clone(), value.escape_debug().to_string()] {
                if text.contains(&shown) {
                    text = text.replace(&shown, &format!("${{{name}}}"));
                }
            }
        }
        text
    }

    /// Whether a variable was filled in there.
    pub(super) fn is_expanded(&self, key: &str) -> bool {
        self.expanded.contains(key)
    }

    /// Notes what keeps usher from starting.
    pub(super) fn error(
        &mut self,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.nearest_place(key);
        self.add(Severity::Error, place, key, message.into(), remedy.into());
    }

    /// Notes what somebody should look at.
    pub(super) fn warn(
        &mut self,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let place = self.nearest_place(key);
        self.add(Severity::Warning, place, key, message.into(), remedy.into());
    }

    /// Notes that a key is missing, unless something was wrong with it or within it:
    /// then it is missing only because that was taken out.
    pub(super) fn missing(&mut self, key: &str, remedy: impl Into<String>) {
        if !self.is_spoilt(key) {
            self.error(key, "is missing", remedy);
        }
    }

    /// Whether something is wrong with a key or within it.
    pub(super) fn is_spoilt(&self, key: &str) -> bool {
        let within = |found: &str| {
            found
                .strip_prefix(key)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.found
            .iter()
            .any(|problem| problem.severity == Severity::Error && within(&problem.key))
    }

    /// Notes an error at a place that no key names, or that another key names too.
    pub(super) fn error_at(
        &mut self,
        place: Place,
        key: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.add(
            Severity::Error,
            Some(place),
            key,
            message.into(),
            remedy.into(),
        );
    }

    /// Everything found, in the order of the file.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.found
            .sort_by_key(|problem| (problem.line, problem.column));
        self.found
    }

    pub(super) fn has_errors(&self) -> bool {
        self.found
            .iter()
            .any(|problem| problem.severity == Severity::Error)
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Option<Place>,
        key: &str,
        message: String,
        remedy: String,
    ) {
        if self.found.len() >= MOST {
            return;
        }
        let (message, remedy) = (self.masked(message), self.masked(remedy));
        self.found.push(Problem {
            severity,
            file: self.file.clone(),
            line: place.map(|place| place.line),
            column: place.map(|place| place.column),
            key: key.to_owned(),
            message,
            remedy,
        });
    }

    /// The place of a key, or else of what it should stand in.
    fn nearest_place(&self, key: &str) -> Option<Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(*place);
            }
            key = parent(key)?;
        }
    }
}

/// `a.b[1]` → `a.b` → `a` → the root, which is called by the empty name.
fn parent(key: &str) -> Option<&str> {
    if key.is_empty() {
        return None;
    }
    Some(key.rfind(['.', '[']).map_or("", |end| &key[..end]))
}

/// The key of a member of an object.
pub(super) fn member(key: &str, name: &str) -> String {
    if key.is_empty() {
        name.to_owned()
    } else {
        format!("{key}.{name}")
    }
}

/// The key of an element of a list.
pub(super) fn element(key: &str, index: usize) -> String {
    format!("{key}[{index}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_stands_where_its_parent_stands() {
        let mut report = Report::new("f");
        report.place("", Place { line: 1, column: 1 });
        report.place("a[0]", Place { line: 7, column: 3 });
        report.missing("a[0].b", "Write it.");
        report.missing("c", "Write it.");
        let lines: Vec<_> = report.into_problems().iter().map(|p| p.line).collect();
        assert_eq!(lines, [Some(1), Some(7)]);
    }

    #[test]
    fn what_was_taken_out_is_not_missing() {
        let mut report = Report::new("f");
        report.error("a.b[1]", "is wrong", "Write another.");
        report.missing("a.b", "Write it.");
        report.missing("a", "Write it.");
        report.missing("a.bc", "Write it.");
        let keys: Vec<_> = report.into_problems().into_iter().map(|p| p.key).collect();
        assert_eq!(keys, ["a.b[1]", "a.bc"]);
    }
}
