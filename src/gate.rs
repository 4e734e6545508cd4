//! The decision point: who is this, and may they pass?
//!
//! Only this module can build an [`Admission`], and `upstream::send` takes one by value.

mod own;

use std::sync::Arc;

use serde_json::Value;

use crate::config::Access;
use crate::denial::{Denial, Reason};
use crate::head::RequestHead;
use crate::identify::{Asked, Identify, Verified, fingerprint};
use crate::identity::{CallerClaims, Identity};
use crate::route::{Cors, Require, Route};
use crate::users::{Caller, FirstSight, Sight, User, Users};

pub use own::Own;

/// The gate's yes: somebody, or nobody in particular.
#[derive(Debug)]
pub struct Admission {
    verified: Option<Arc<Verified>>,
    user: Option<Arc<User>>,
    pending: bool,
    until: Option<i64>,
}

impl Admission {
    /// Who was admitted; `None` on public routes and for callers without a token.
    pub fn identity(&self) -> Option<&Identity> {
        self.verified.as_deref().map(|verified| &verified.identity)
    }

    /// The verified token, for the record.
    pub fn verified(&self) -> Option<&Arc<Verified>> {
        self.verified.as_ref()
    }

    /// The user's row, where users are looked up and this one is known.
    pub fn user(&self) -> Option<&User> {
        self.user.as_deref()
    }

    /// The first second at which what streams has to end: the token is good no more, and the
    /// route does not let streams outlive it.
    pub fn until(&self) -> Option<i64> {
        self.until
    }

    /// Whether the user is still being created.
    pub fn is_pending(&self) -> bool {
        self.pending
    }

    fn nobody() -> Self {
        Self {
            verified: None,
            user: None,
            pending: false,
            until: None,
        }
    }
}

/// What the gate asks.
pub struct Gate {
    identify: Arc<Identify>,
    users: Option<KnownUsers>,
    own: Option<Own>,
}

/// Users, and where a token says what they are looked up by.
struct KnownUsers {
    users: Arc<Users>,
    claims: CallerClaims,
}

impl Gate {
    /// A gate that asks `identify`, `users` by these claims where users are looked up, and more
    /// of our `own` tokens where we mint some.
    pub fn new(
        identify: Arc<Identify>,
        users: Option<(Arc<Users>, CallerClaims)>,
        own: Option<Own>,
    ) -> Self {
        let users = users.map(|(users, claims)| KnownUsers { users, claims });
        Self {
            identify,
            users,
            own,
        }
    }

    /// Decides about a request. The order is part of the promise: what the route asks, who it
    /// is, what they may.
    ///
    /// # Errors
    /// Every denial whose fault is the caller's token or our ability to check it.
    pub async fn admit(&self, head: &RequestHead<'_>, route: &Route) -> Result<Admission, Denial> {
        if route.access == Access::Public || passes_as_preflight(head, route) {
            return Ok(Admission::nobody());
        }
        let Some(bearer) = self.identify.sources().find(&asked(head))? else {
            return match route.access {
                Access::Optional => Ok(Admission::nobody()),
                _ => Err(Denial::new(
                    Reason::TokenMissing,
                    "no token in any of `tokens.from`",
                )),
            };
        };
        let verified = match self
            .identify
            .identify(&bearer.token, head.certificate)
            .await
        {
            Ok(verified) => verified,
            Err(denial) => return Err(denial.of_token(fingerprint(&bearer.token))),
        };
        allow(&route.require, &verified.identity)
            .map_err(|denial| denial.of_token(verified.fingerprint))?;
        if let Some(own) = &self.own
            && own.minted(&verified.identity)
        {
            let admitted = Box::pin(own.admit(&verified.identity, route)).await;
            admitted.map_err(|denial| denial.of_token(verified.fingerprint))?;
        }
        let known = self.know(&verified, route.first_sight).await;
        let (user, pending) = known.map_err(|denial| denial.of_token(verified.fingerprint))?;
        let ends = verified.ends;
        Ok(Admission {
            until: (ends != i64::MAX && !route.outlives_token).then_some(ends),
            verified: Some(verified),
            user,
            pending,
        })
    }

    /// Makes sure that the user exists: whose row it is, and whether it is still to come.
    async fn know(
        &self,
        verified: &Arc<Verified>,
        mode: FirstSight,
    ) -> Result<(Option<Arc<User>>, bool), Denial> {
        let (Some(known), true) = (&self.users, mode != FirstSight::Off) else {
            return Ok((None, false));
        };
        let caller = Caller::of(&verified.identity, known.claims);
        if let Some(user) = known.users.recall(&caller) {
            return Ok((Some(user), false));
        }
        match Box::pin(self.hold(verified, known.users.know(&caller, mode))).await? {
            Sight::Known(user) => Ok((Some(user), false)),
            Sight::SentPending => Ok((None, true)),
            Sight::Unasked => Ok((None, false)),
            Sight::Pending => Err(Denial::new(
                Reason::UserPending,
                "no row after `users.wait`",
            )),
            Sight::Unknown => Err(Denial::new(
                Reason::UserUnknown,
                "no row, and the provisioner is `none`",
            )),
            Sight::Conflict => Err(Denial::new(
                Reason::IdentityConflict,
                "a row with this e-mail belongs to another id",
            )),
            Sight::Busy => Err(Denial::new(
                Reason::Overloaded,
                "users.max_waiters is reached",
            )),
            Sight::Unavailable => Err(Denial::new(
                Reason::UsersUnavailable,
                "the directory or the provisioner cannot be asked",
            )),
            Sight::Refused(why) => Err(Denial::new(Reason::UserRefused, why)),
        }
    }
}

impl Gate {
    /// Waits for an answer, and no longer than the token is good for.
    async fn hold<T>(
        &self,
        verified: &Arc<Verified>,
        answer: impl Future<Output = T>,
    ) -> Result<T, Denial> {
        let Some(validity) = self.identify.validity(verified, None) else {
            return Ok(answer.await);
        };
        let mut vigil = validity.watch();
        tokio::select! {
            answer = answer => {
                self.identify.stands(verified)?;
                Ok(answer)
            }
            _ = vigil.over() => Err(Denial::new(
                Reason::TokenRevoked,
                "it was revoked while the request waited for its user",
            )),
        }
    }
}

fn asked<'a>(head: &RequestHead<'a>) -> Asked<'a> {
    Asked {
        method: head.method,
        fields: head.fields,
        query: head.query,
        scheme: head.scheme.as_str(),
        authority: head.authority,
        upgrade: head.upgrade,
    }
}

/// A browser cannot send a token with a preflight, so where the app answers preflights they
/// pass as nobody's.
fn passes_as_preflight(head: &RequestHead<'_>, route: &Route) -> bool {
    route.cors == Cors::Pass && head.is_preflight()
}

/// Whether an identity has what the route requires.
fn allow(require: &Require, identity: &Identity) -> Result<(), Denial> {
    if let Some((slot, roles)) = &require.roles {
        let has = |role: &String| {
            identity
                .claim(*slot)
                .is_some_and(|value| is_member(value, role))
        };
        if !roles.iter().any(has) {
            return Err(lacks("none of the roles"));
        }
    }
    if let Some((slot, scopes)) = &require.scopes {
        let has = |scope: &String| {
            identity
                .claim(*slot)
                .is_some_and(|value| has_scope(value, scope))
        };
        if !scopes.iter().all(has) {
            return Err(lacks("not all of the scopes"));
        }
    }
    for (slot, values) in &require.claims {
        let has = |wanted: &Value| {
            identity
                .claim(*slot)
                .is_some_and(|value| equals_or_holds(value, wanted))
        };
        if !values.iter().any(has) {
            return Err(lacks("none of the values of a claim"));
        }
    }
    Ok(())
}

fn lacks(detail: &'static str) -> Denial {
    Denial::new(Reason::InsufficientScope, detail)
}

/// A role is a member of an array, or the one string.
fn is_member(value: &Value, role: &str) -> bool {
    match value {
        Value::String(only) => only == role,
        Value::Array(members) => members.iter().any(|member| member == role),
        _ => false,
    }
}

/// A scope is a word of a string (RFC 8693 §4.2), or a member of an array.
fn has_scope(value: &Value, scope: &str) -> bool {
    match value {
        Value::String(words) => words.split(' ').any(|word| word == scope),
        other => is_member(other, scope),
    }
}

fn equals_or_holds(value: &Value, wanted: &Value) -> bool {
    value == wanted
        || value
            .as_array()
            .is_some_and(|members| members.contains(wanted))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn membership_is_exact() {
        assert!(is_member(&json!(["user", "admin"]), "admin"));
        assert!(is_member(&json!("admin"), "admin"));
        for value in [
            json!(["admin-readonly"]),
            json!("user,admin"),
            json!(["user,admin"]),
            json!({"admin": true}),
            json!(null),
        ] {
            assert!(!is_member(&value, "admin"), "{value}");
        }
    }

    #[test]
    fn scopes_are_words_or_members() {
        assert!(has_scope(&json!("read write"), "write"));
        assert!(has_scope(&json!(["read", "write"]), "write"));
        assert!(!has_scope(&json!("read writer"), "write"));
        assert!(!has_scope(&json!(["read write"]), "write"));
    }

    #[test]
    fn claims_equal_or_hold_the_value() {
        assert!(equals_or_holds(&json!(7), &json!(7)));
        assert!(equals_or_holds(&json!([7, "x"]), &json!("x")));
        assert!(!equals_or_holds(&json!("7"), &json!(7)));
        assert!(!equals_or_holds(&json!(true), &json!("true")));
    }
}
