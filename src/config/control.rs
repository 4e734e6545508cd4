//! Where usher can be told to change something.

use super::Listener;
use crate::secret::Secret;

/// A listener of its own for what changes things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Where it is: a Unix socket, loopback, or anywhere with certificates of clients.
    pub listener: Listener,
    /// What whoever asks has to show, as a bearer token.
    pub token: Option<Secret>,
    /// Questions answered in a minute.
    pub per_minute: u32,
}
