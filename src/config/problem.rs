//! One thing that is wrong with a configuration, and what to write instead.

use std::fmt;

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// usher does not start.
    Error,
    /// usher starts; somebody should look all the same.
    Warning,
}

/// One thing that is wrong with a configuration.
///
/// Prints as `usher.yaml:12: issuers[0].audiences: is missing. Write …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The name of the file, as the caller gave it.
    pub file: String,
    /// The line, from 1; `None` when the file could not be read at all.
    pub line: Option<usize>,
    /// The column, from 1.
    pub column: Option<usize>,
    /// The key, such as `issuers[0].audiences`; empty when it is about the whole file.
    pub key: String,
    /// What is wrong, without a full stop.
    pub message: String,
    /// What to do about it: a sentence.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let (true, Some(column)) = (self.key.is_empty(), self.column) {
            write!(f, ":{column}")?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}. {}", self.message, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing_audiences() -> Problem {
        Problem {
            severity: Severity::Error,
            file: "usher.yaml".into(),
            line: Some(12),
            column: Some(3),
            key: "issuers[0].audiences".into(),
            message: "is missing".into(),
            remedy: "Write `audiences: [app]`.".into(),
        }
    }

    #[test]
    fn a_problem_prints_as_file_line_key_message_remedy() {
        assert_eq!(
            missing_audiences().to_string(),
            "usher.yaml:12: issuers[0].audiences: is missing. Write `audiences: [app]`."
        );
    }

    #[test]
    fn a_warning_says_so() {
        let warning = Problem {
            severity: Severity::Warning,
            ..missing_audiences()
        };
        assert!(
            warning
                .to_string()
                .starts_with("usher.yaml:12: warning: issuers[0]")
        );
    }

    #[test]
    fn a_problem_of_the_whole_file_shows_its_column() {
        let syntax = Problem {
            key: String::new(),
            ..missing_audiences()
        };
        assert!(
            syntax
                .to_string()
                .starts_with("usher.yaml:12:3: is missing.")
        );
    }
}
