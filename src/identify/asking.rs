//! Tokens that their issuer is asked about: who asks whom, and what is remembered of it.

use std::sync::Arc;

use uuid::Uuid;

use super::introspection::{Introspection, Told};
use super::issuer::Proof;
use super::seen::Name;
use super::step::Trace;
use super::token::Verified;
use super::{Identify, introspected};
use crate::denial::{Denial, Reason};

impl Identify {
    /// Asks the issuer about a token, and remembers what it says.
    pub(super) async fn ask(
        &self,
        place: usize,
        name: &Name,
        token: &str,
    ) -> Result<Arc<Verified>, Denial> {
        let asked = self.asked(place)?;
        let refuse = |denial: Denial| {
            self.seen.refuse(name, denial.clone(), asked.lives);
            denial
        };
        match asked.ask(*name, token).await {
            Ok(Told::Inactive) => Err(refuse(inactive())),
            Ok(Told::Active(claims)) => {
                let (context, mut trace) = (self.context(), Trace::off());
                let verified = introspected::verify(&context, place, token, &claims, &mut trace);
                let verified = verified.map_err(refuse)?;
                Ok(self.seen.remember(name, verified, asked.lives))
            }
            Err(denial) => self
                .aged(name)
                .inspect(|_| asked.count_stale())
                .ok_or(denial),
        }
    }

    fn asked(&self, place: usize) -> Result<&Arc<Introspection>, Denial> {
        match self.issuers.get(place).map(|issuer| &issuer.proof) {
            Some(Proof::Introspection(asked)) => Ok(asked),
            _ => Err(Denial::new(Reason::Internal, "its issuer cannot be asked")),
        }
    }

    /// A yes whose time is over, but which counts while nobody can tell (`max_stale`).
    fn aged(&self, name: &Name) -> Option<Arc<Verified>> {
        let verified = self.seen.aged(name)?;
        let stands = self.still_stands(&verified, self.clock.now());
        stands.then_some(verified)
    }

    /// The same step by step, past what is remembered.
    pub(super) async fn explain_asking(
        &self,
        place: usize,
        token: &str,
        trace: &mut Trace,
    ) -> Result<Verified, Denial> {
        let name = self.seen.name(token.as_bytes())?;
        let heard = self.asked(place)?.ask(name, token).await;
        let told = heard.and_then(|told| match told {
            Told::Active(claims) => Ok(claims),
            Told::Inactive => Err(inactive()),
        });
        let issuer = self
            .issuers
            .get(place)
            .map(|issuer| Arc::clone(&issuer.name));
        let issuer = issuer.unwrap_or_default();
        let claims = trace.step("introspection", told, |claims| {
            format!(
                "`{issuer}` says it is active, and {} things about it",
                claims.len()
            )
        })?;
        introspected::verify(&self.context(), place, token, &claims, trace)
    }

    /// Asks every issuer that is asked about tokens whether it would answer: a token that nobody
    /// has made must be no good. What is wrong, each with the issuer's name.
    pub async fn check(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (place, issuer) in self.issuers.iter().enumerate() {
            let Ok(asked) = self.asked(place) else {
                continue;
            };
            // Nobody has made this one.
            let token = format!("usher-check-{}", Uuid::new_v4());
            let Ok(name) = self.seen.name(token.as_bytes()) else {
                continue;
            };
            let problem = match asked.ask(name, &token).await {
                Ok(Told::Inactive) => continue,
                Ok(Told::Active(_)) => "calls a token active that nobody has made".to_owned(),
                Err(denial) => format!("cannot be asked: {}", denial.detail),
            };
            problems.push(format!("issuer `{}` {problem}", issuer.name));
        }
        problems
    }
}

/// What the issuer's no means.
fn inactive() -> Denial {
    Denial::new(
        Reason::TokenInactive,
        "its issuer says that it is not active",
    )
}
