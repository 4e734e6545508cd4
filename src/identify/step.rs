//! What was checked, for whoever asks why a token passes or fails.

use crate::denial::Denial;

/// One check and how it went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// What was checked.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

impl Step {
    /// Whether the token passed it.
    pub const fn passed(&self) -> bool {
        matches!(self.outcome, Outcome::Passed(_))
    }
}

/// How a check went, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The token passed this check.
    Passed(String),
    /// The token failed here, and nothing after it was looked at.
    Failed(String),
}

/// Writes down each check if somebody wants to read it; otherwise costs nothing.
pub(super) struct Trace(Option<Vec<Step>>);

impl Trace {
    /// Nobody reads.
    pub(super) const fn off() -> Self {
        Self(None)
    }

    /// Every step is kept.
    pub(super) const fn on() -> Self {
        Self(Some(Vec::new()))
    }

    /// Forgets what was noted, before a second try.
    pub(super) fn restart(&mut self) {
        if let Some(steps) = &mut self.0 {
            steps.clear();
        }
    }

    /// Notes how `name` went and hands the result on.
    pub(super) fn step<T>(
        &mut self,
        name: &'static str,
        result: Result<T, Denial>,
        say: impl FnOnce(&T) -> String,
    ) -> Result<T, Denial> {
        if let Some(steps) = &mut self.0 {
            let outcome = match &result {
                Ok(value) => Outcome::Passed(say(value)),
                Err(denial) => Outcome::Failed(denial.to_string()),
            };
            steps.push(Step { name, outcome });
        }
        result
    }

    /// Everything that was noted.
    pub(super) fn into_steps(self) -> Vec<Step> {
        self.0.unwrap_or_default()
    }
}
