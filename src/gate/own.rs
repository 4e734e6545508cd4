//! Tokens that usher minted itself: whose project they are for, and who is suspended.

use std::sync::Arc;

use serde_json::Value;

use crate::accounts::{Accounts, Verdict};
use crate::config::accounts::OWN_ISSUER;
use crate::denial::{Denial, Reason};
use crate::identity::{Identity, Kept, Slot};
use crate::route::Route;

/// What is asked of a token of our own besides.
#[derive(Clone, Debug)]
pub struct Own {
    accounts: Arc<Accounts>,
    project: Slot,
}

impl Own {
    /// Where such tokens say their project; made before issuers are, so that it is kept.
    pub fn claim(kept: &mut Kept) -> Slot {
        kept.slot("projectId")
    }

    /// Asks these accounts.
    pub const fn new(accounts: Arc<Accounts>, project: Slot) -> Self {
        Self { accounts, project }
    }

    /// Whether we minted it. No other issuer can have the name: the configuration looks.
    pub fn minted(&self, identity: &Identity) -> bool {
        &*identity.issuer == OWN_ISSUER
    }

    /// Refuses what we minted where no project is served.
    ///
    /// # Errors
    /// `ProjectRefused`.
    pub fn keep_out(&self, identity: &Identity) -> Result<(), Denial> {
        self.serves(identity, &[])
    }

    /// Lets pass who belongs to a project of the route, and is not suspended where that counts.
    pub(super) async fn admit(&self, identity: &Identity, route: &Route) -> Result<(), Denial> {
        self.serves(identity, &route.projects)?;
        if !route.deny_suspended {
            return Ok(());
        }
        match self.accounts.standing(identity.id()).await {
            Ok(Verdict::Good) => Ok(()),
            Ok(Verdict::Suspended) => Err(Denial::new(
                Reason::AccountSuspended,
                "the account is suspended",
            )),
            Ok(Verdict::Gone) => Err(Denial::new(Reason::UserUnknown, "the account is deleted")),
            Err(_) => Err(Denial::new(
                Reason::UsersUnavailable,
                "the accounts cannot be asked whether the caller is suspended",
            )),
        }
    }

    fn serves(&self, identity: &Identity, projects: &[String]) -> Result<(), Denial> {
        if !self.minted(identity) {
            return Ok(());
        }
        let project = identity.claim(self.project).and_then(Value::as_str);
        match projects
            .iter()
            .any(|served| Some(served.as_str()) == project)
        {
            true => Ok(()),
            false => Err(Denial::new(
                Reason::ProjectRefused,
                "the token's project is not among the route's `projects`",
            )),
        }
    }
}
