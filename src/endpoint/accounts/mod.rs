//! `POST /:projectId/auth/verify-external-user`, `…/request-new-access-token`, `…/sign-out`, and
//! `GET /.well-known/jwks.json`: external users, by the contract that their clients know.
//!
//! A customer's server signs a token about its user; here it is exchanged for tokens of ours.

mod caller;
mod cookie;
mod login;
mod projects;
mod refresh;
mod tokens;
mod words;

use std::sync::Arc;

use http::{HeaderValue, Method, header};
use tokio::sync::Semaphore;

use crate::accounts::Accounts;
use crate::body::RequestBody;
use crate::clock::Clock;
use crate::config::accounts::Settings;
use crate::head::RequestHead;
use crate::respond;
use crate::revoked::Revoked;
use crate::route::AccountTarget as Question;
use crate::users::Users;

use self::caller::Callers;
use self::cookie::Jar;
use self::projects::Project;
use self::tokens::Tokens;
use super::Answer;
use super::body::{Bodies, Body};

pub use self::projects::Projects;

/// Bodies beyond a small size that are in memory at once; a megabyte or two each.
const LARGE_BODIES: usize = 32;

/// The endpoints.
pub struct AccountEndpoints {
    accounts: Arc<Accounts>,
    projects: Arc<Projects>,
    tokens: Tokens,
    jar: Jar,
    callers: Callers,
    bodies: Bodies,
    /// Who has to know of them besides.
    provision: Option<Arc<Users>>,
    base_path: String,
    /// What is revoked, where anything can be.
    revoked: Option<Arc<Revoked>>,
    clock: Clock,
}

/// A request that may be answered: whose project it is about, and what it says.
struct Asked<'a> {
    project: &'a Project,
    head: &'a RequestHead<'a>,
    body: Body<'a>,
}

impl AccountEndpoints {
    /// Reads keys.
    ///
    /// # Errors
    /// Names the key that cannot be used.
    pub fn new(
        settings: &Settings,
        accounts: Arc<Accounts>,
        users: Option<Arc<Users>>,
        revoked: Option<Arc<Revoked>>,
        clock: Clock,
    ) -> Result<Self, String> {
        Ok(Self {
            accounts,
            projects: Arc::new(Projects::read(&settings.projects)?),
            tokens: Tokens::new(&settings.tokens)?,
            jar: Jar::new(settings.tokens.cookie.clone()),
            callers: Callers::new(settings),
            bodies: Bodies::new(
                settings.max_body,
                Semaphore::new(LARGE_BODIES),
                "the body exceeds issued_tokens.max_body",
            ),
            provision: users.filter(|_| settings.provision),
            base_path: settings.base_path.clone(),
            revoked,
            clock,
        })
    }

    /// The projects, whose keys may change while we run.
    pub fn projects(&self) -> &Arc<Projects> {
        &self.projects
    }

    pub(super) async fn answer(
        &self,
        question: Question,
        head: &RequestHead<'_>,
        body: RequestBody,
    ) -> Answer {
        let method = match question {
            Question::Keys => Method::GET,
            _ => Method::POST,
        };
        if head.method != method {
            return Answer::wrong_method(if method == Method::GET { "GET" } else { "POST" });
        }
        if question == Question::Keys {
            return self.keys();
        }
        match self.ask(question, head, body).await {
            Ok(asked) => match question {
                Question::Login => self.login(&asked).await,
                Question::Refresh => self.refresh(&asked).await,
                Question::SignOut | Question::Keys => self.sign_out(&asked).await,
            },
            Err(refused) => {
                if question == Question::Login && refused.response.status.is_client_error() {
                    self.accounts.metrics.refused.inc();
                }
                *refused
            }
        }
    }

    /// What comes before the body's content, in the contract's order.
    async fn ask<'a>(
        &'a self,
        question: Question,
        head: &'a RequestHead<'a>,
        body: RequestBody,
    ) -> Result<Asked<'a>, Box<Answer>> {
        if question == Question::Login {
            self.callers.count(head.client).map_err(words::limited)?;
        }
        self.callers.check(head, &body)?;
        let project = self.project(&head.path).ok_or_else(words::no_project)?;
        // Only a login brings somebody's data along.
        let large = question == Question::Login;
        let body = self.bodies.read(body, large).await;
        let body = body.map_err(words::unread)?;
        Ok(Asked {
            project,
            head,
            body,
        })
    }

    /// The project that a path names, between `base_path` and `/auth`.
    fn project(&self, path: &str) -> Option<&Project> {
        let rest = path.strip_prefix(self.base_path.as_str())?;
        let id = rest.strip_prefix('/')?.split('/').next()?;
        self.projects.find(id)
    }

    /// The public halves of what signs access tokens; anybody may have them, and keep them.
    fn keys(&self) -> Answer {
        let mut answer = Answer::good(self.tokens.key_set());
        let kept = HeaderValue::from_static("public, max-age=300");
        answer.response.fields.insert(&header::CACHE_CONTROL, &kept);
        answer
    }

    /// The refresh token goes, and so does the cookie, whatever else is said.
    async fn sign_out(&self, asked: &Asked<'_>) -> Answer {
        let now = self.clock.now();
        // All that are there: a cookie that somebody planted must not save the real one.
        for token in refresh::tokens(asked, self.jar.name()) {
            if let Ok(used) = self.tokens.read(&token, now)
                && self.accounts.sign_out(used.hash).await.is_err()
            {
                // The contract knows no other answer; the token ends with its time.
                tracing::warn!("a refresh token was not deleted: the accounts cannot be asked");
            }
        }
        let mut response = respond::empty(http::StatusCode::NO_CONTENT);
        self.jar.clear(&mut response.fields);
        let no_store = HeaderValue::from_static("no-store");
        response.fields.insert(&header::CACHE_CONTROL, &no_store);
        Answer {
            response,
            denial: None,
            verified: None,
        }
    }
}
