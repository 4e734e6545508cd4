//! A part of usher that a reload takes over, unless what it was made of has changed.

use super::lasting::Lasting;
use crate::config::Files;

/// A part, and what it was made of.
#[derive(Clone)]
pub(super) struct Part<S, T> {
    settings: S,
    files: Files,
    /// Differs from that of every other part.
    pub(super) serial: u64,
    pub(super) made: T,
}

impl<S: PartialEq, T: Clone> Part<S, T> {
    /// The part of before if it was made of these settings and files, or else what `make` makes.
    pub(super) async fn take_over<'b, E>(
        before: impl IntoIterator<Item = &'b Self>,
        (settings, files): (S, Files),
        lasting: &Lasting,
        make: impl Future<Output = Result<T, E>>,
    ) -> Result<Self, E>
    where
        S: Clone + 'b,
        T: 'b,
    {
        let same = |part: &&Self| part.settings == settings && part.files == files;
        if let Some(part) = before.into_iter().find(same) {
            return Ok(part.clone());
        }
        Ok(Self {
            made: make.await?,
            serial: lasting.serial(),
            settings,
            files,
        })
    }
}

/// What a part is, if there is one.
pub(super) fn made<S, T: Clone>(part: &Option<Part<S, T>>) -> Option<T> {
    part.as_ref().map(|part| part.made.clone())
}
