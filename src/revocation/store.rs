//! Revoking: a revocation is stored, or whoever wants it hears that it is not certain.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::ask::{Ask, Unclear};
use super::known::Known;
use super::{Place, StartError};
use crate::config::revocation::{IssuerLife, Settings};
use crate::revoked::Entry;

/// Where revocations go.
#[derive(Debug)]
pub struct Store {
    place: Arc<Place>,
    /// A reload swaps them.
    issuers: ArcSwap<Arc<[IssuerLife]>>,
    /// In an usher that serves: it need not read what it has stored itself.
    known: Option<Arc<Known>>,
}

/// A revocation that is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// As it is stored.
    pub entry: Entry,
    /// How many replicas have it, where that was asked.
    pub replicas: Option<u64>,
}

/// Why a revocation may not be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nobody knows what is meant.
    Unclear(String),
    /// It is certainly not stored.
    NotStored(String),
    /// It may be stored, or not. To try again does no harm.
    Unknown(String),
    /// It is stored, but fewer replicas have it than were wanted.
    TooFewReplicas(Stored),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unclear(why) => f.write_str(why),
            Self::NotStored(why) => write!(f, "NOT revoked: {why}"),
            Self::Unknown(why) => write!(
                f,
                "perhaps NOT revoked: {why}. Try again: to revoke twice does no harm"
            ),
            Self::TooFewReplicas(stored) => write!(
                f,
                "stored, but only {} replicas have it: a failover may lose it. Try again",
                stored.replicas.unwrap_or(0)
            ),
        }
    }
}

impl From<Unclear> for Failure {
    fn from(Unclear(why): Unclear) -> Self {
        Self::Unclear(why)
    }
}

impl Store {
    /// For a command, which reads nothing.
    ///
    /// # Errors
    /// When the address or a file cannot be used.
    pub fn open(settings: &Settings) -> Result<Self, StartError> {
        let place = Arc::new(Place::new(&settings.source)?);
        Ok(Self::new(place, settings, None))
    }

    pub(super) fn new(place: Arc<Place>, settings: &Settings, known: Option<Arc<Known>>) -> Self {
        Self {
            place,
            issuers: ArcSwap::from_pointee(settings.issuers.as_slice().into()),
            known,
        }
    }

    /// These are the issuers from now on.
    pub fn change(&self, issuers: &Arc<[IssuerLife]>) {
        self.issuers.store(Arc::new(issuers.clone()));
    }

    /// Revokes, and returns when it is stored; with `replicas` when so many have it besides.
    ///
    /// # Errors
    /// [`Failure`]; only with [`Failure::NotStored`] nothing has happened for certain.
    pub async fn revoke(&self, ask: &Ask, replicas: u64) -> Result<Stored, Failure> {
        let order = ask.order(&self.issuers.load())?;
        let stored = match &*self.place {
            Place::Stream(stream) => stream.store(&order, replicas).await,
            Place::File(_) if replicas > 0 => {
                return Err(Failure::Unclear("a file has no replicas".to_owned()));
            }
            Place::File(journal) => journal.store(&order).await,
        };
        let known = |stored: &Stored| {
            if let Some(known) = &self.known {
                known.take([stored.entry]);
            }
        };
        match &stored {
            Ok(stored) | Err(Failure::TooFewReplicas(stored)) => known(stored),
            Err(_) => {}
        }
        stored
    }
}
