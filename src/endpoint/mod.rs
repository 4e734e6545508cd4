//! usher's own answers, one file each. They speak the contracts of the services that clients
//! were written for, so each says a denial in its own words.

mod accounts;
mod body;
mod forward_auth;
mod logout;
mod users;
mod verify;

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use crate::body::RequestBody;
use crate::config;
use crate::denial::{Denial, Reason};
use crate::gate::Own;
use crate::head::RequestHead;
use crate::identify::{Identify, Verified};
use crate::identity::{CallerClaims, Kept};
use crate::respond::{self, Response};
use crate::revocation::Revocation;
use crate::route::Target;
use crate::users::Users;

pub use accounts::{AccountEndpoints, Projects};
pub use forward_auth::ForwardAuth;
use logout::Logout;
use users::{Question, UserEndpoints};
pub use verify::Claims;
use verify::Verify;

/// The endpoints that the configuration names.
pub struct Endpoints {
    verify: Option<Verify>,
    users: Option<UserEndpoints>,
    accounts: Option<Arc<AccountEndpoints>>,
    logout: Option<Logout>,
}

/// An answer, and why it is a denial if it is one.
#[derive(Debug)]
pub struct Answer {
    /// What the client gets.
    pub response: Response,
    /// What the log and the metrics get.
    pub denial: Option<Denial>,
    /// Whose token it was, for the log.
    pub verified: Option<Arc<Verified>>,
}

impl Endpoints {
    /// Which claims the endpoints will read.
    pub fn claims(settings: &config::Endpoints, kept: &mut Kept) -> Option<verify::Claims> {
        settings
            .verify
            .as_ref()
            .map(|verify| verify::Claims::new(verify, kept))
    }

    /// The same, with the one where identity providers tell of logouts.
    #[must_use]
    pub fn with_logout(
        mut self,
        settings: &config::Endpoints,
        identify: &Arc<Identify>,
        revocation: Option<&Arc<Revocation>>,
    ) -> Self {
        let told = settings.backchannel_logout.as_ref().zip(revocation);
        self.logout = told.map(|(settings, revocation)| {
            Logout::new(settings, identify.clone(), revocation.clone())
        });
        self
    }

    /// The endpoints, asking `identify` and, where users are looked up, `users` by these claims.
    pub fn new(
        claims: Option<verify::Claims>,
        identify: &Arc<Identify>,
        users: Option<(Arc<Users>, CallerClaims)>,
        accounts: Option<Arc<AccountEndpoints>>,
        own: Option<&Own>,
    ) -> Self {
        let asked =
            |(users, caller)| UserEndpoints::new(identify.clone(), users, caller, own.cloned());
        Self {
            users: users.map(asked),
            verify: claims.map(|claims| Verify::new(claims, identify.clone(), own.cloned())),
            accounts,
            logout: None,
        }
    }

    /// Answers a request whose route leads here.
    pub async fn answer(
        &self,
        target: Target,
        head: &RequestHead<'_>,
        body: RequestBody,
    ) -> Answer {
        if let (Target::Account(question), Some(accounts)) = (target, &self.accounts) {
            return accounts.answer(question, head, body).await;
        }
        if let (Target::Logout, Some(logout)) = (target, &self.logout) {
            return logout.answer(head, body).await;
        }
        match (target, &self.verify, &self.users) {
            (Target::Verify, Some(verify), _) => verify.answer(head).await,
            (Target::VerifyUser, _, Some(users)) => users.answer(Question::Verify, head).await,
            (Target::EnsureUser, _, Some(users)) => users.answer(Question::Ensure, head).await,
            _ => Answer::denied(Denial::new(
                Reason::Internal,
                "a route leads to no endpoint",
            )),
        }
    }
}

impl Answer {
    fn good(body: String) -> Self {
        let mut response = respond::json(StatusCode::OK, body);
        let fields = &mut response.fields;
        fields.insert(
            &header::CACHE_CONTROL,
            &HeaderValue::from_static("no-store"),
        );
        Self {
            response,
            denial: None,
            verified: None,
        }
    }

    fn denied(denial: Denial) -> Self {
        Self {
            response: respond::denial(&denial),
            denial: Some(denial),
            verified: None,
        }
    }

    /// A denial with the contract's status and body.
    fn refused(status: StatusCode, body: impl Into<Bytes>, denial: Denial) -> Self {
        let mut response = respond::json(status, body);
        respond::explain(&denial, &mut response.fields);
        if status != StatusCode::UNAUTHORIZED {
            // A challenge would blame the token, which the contract's status does not.
            response.fields.remove(&header::WWW_AUTHENTICATE);
        }
        Self {
            response,
            denial: Some(denial),
            verified: None,
        }
    }

    /// The same answer, with whose token it was.
    fn about(mut self, verified: Arc<Verified>) -> Self {
        self.verified = Some(verified);
        self
    }

    /// Another method than the contract's.
    fn wrong_method(allowed: &'static str) -> Self {
        let mut answer = Self::denied(Denial::new(
            Reason::MethodRefused,
            "the endpoint has another method",
        ));
        let fields = &mut answer.response.fields;
        fields.insert(&header::ALLOW, &HeaderValue::from_static(allowed));
        answer
    }
}
