//! Counters of external users; handles are made once.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// What is counted about external users.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Logins of accounts that were there.
    pub known: Counter,
    /// Logins that claimed an account by e-mail.
    pub linked: Counter,
    /// Logins that made an account.
    pub created: Counter,
    /// Logins that were refused.
    pub refused: Counter,
    /// New access tokens.
    pub renewed: Counter,
    /// Refresh tokens that were refused.
    pub not_renewed: Counter,
    /// Refresh tokens that were used twice.
    pub reused: Counter,
    /// Expired refresh tokens that were deleted.
    pub swept: Counter,
    /// Questions whether somebody is suspended that went to the database.
    pub standing_lookups: Counter,
    /// Transactions that failed.
    pub failures: Counter,
    logins: Family<Outcome, Counter>,
    refreshes: Family<Outcome, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let logins = Family::default();
        let refreshes = Family::default();
        let of = |family: &Family<Outcome, Counter>, outcome| {
            family.get_or_create_owned(&Outcome { outcome })
        };
        Self {
            known: of(&logins, "known"),
            linked: of(&logins, "linked"),
            created: of(&logins, "created"),
            refused: of(&logins, "refused"),
            renewed: of(&refreshes, "renewed"),
            not_renewed: of(&refreshes, "refused"),
            reused: of(&refreshes, "reused"),
            swept: Counter::default(),
            standing_lookups: Counter::default(),
            failures: Counter::default(),
            logins,
            refreshes,
        }
    }
}

impl Metrics {
    /// Shows everything under `usher_account_…`.
    pub fn register(&self, registry: &mut Registry) {
        let accounts = registry.sub_registry_with_prefix("account");
        accounts.register("logins", "Logins of external users", self.logins.clone());
        accounts.register(
            "refreshes",
            "Uses of refresh tokens",
            self.refreshes.clone(),
        );
        accounts.register(
            "tokens_swept",
            "Expired refresh tokens that were deleted",
            self.swept.clone(),
        );
        accounts.register(
            "standing_lookups",
            "Questions to the accounts whether somebody is suspended",
            self.standing_lookups.clone(),
        );
        accounts.register(
            "failures",
            "Transactions of the accounts that failed",
            self.failures.clone(),
        );
    }
}
