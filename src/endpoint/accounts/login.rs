//! Somebody logs in: what a customer's server signed is exchanged for tokens of ours.

use http::StatusCode;
use serde_json::Value;

use crate::accounts::{Account, Entrance, Login, Profile};
use crate::config::accounts::OWN_ISSUER;
use crate::denial::{Denial, Reason};
use crate::identify::{Rules, Vouched, fingerprint};
use crate::users::{Caller, FirstSight, MAX_TEXT, Sight};

use super::super::Answer;
use super::tokens::{Fresh, Seed};
use super::{AccountEndpoints, Asked, words};

impl AccountEndpoints {
    pub(super) async fn login(&self, asked: &Asked<'_>) -> Answer {
        let answer = self.enter(asked).await;
        if answer
            .as_ref()
            .is_err_and(|refused| refused.response.status.is_client_error())
        {
            self.accounts.metrics.refused.inc();
        }
        answer.unwrap_or_else(|refused| *refused)
    }

    async fn enter(&self, asked: &Asked<'_>) -> Result<Answer, Box<Answer>> {
        let jwt = user_jwt(&asked.body.bytes)?;
        let (project, now) = (&asked.project.settings.id, self.clock.now());
        let seed = self.tokens.seed(now).map_err(broken)?;
        let login = self.vouched(asked, &jwt, &seed)?;
        let metrics = &self.accounts.metrics;
        let (account, count) = match self.accounts.login(login).await {
            Ok(Entrance::Known(account)) => (account, &metrics.known),
            Ok(Entrance::Linked(account)) => (account, &metrics.linked),
            Ok(Entrance::Created(account)) => (account, &metrics.created),
            Ok(Entrance::Taken(field)) => {
                let why = format!("userData.{field} is taken by another user of the project");
                return Err(Box::new(words::invalid(&why)));
            }
            Ok(Entrance::Vanished) => return Err(Box::new(vanished())),
            Err(_) => return Err(Box::new(words::unavailable())),
        };
        count.inc();
        self.make_known(&account).await?;
        let fresh = self
            .tokens
            .refresh(project, &account.id, &seed)
            .map_err(broken)?;
        self.welcome(project, &account, &fresh, now)
    }

    /// What the customer's server says, if it was that server.
    fn vouched(&self, asked: &Asked<'_>, jwt: &str, seed: &Seed) -> Result<Login, Box<Answer>> {
        let project = &asked.project.settings;
        let keys = asked.project.keys();
        if keys.is_empty() {
            return Err(refused(
                "Missing JWT keys",
                "missing-keys",
                Denial::new(Reason::ProjectKeyMissing, "the project has no public key"),
            ));
        }
        let rules = Rules {
            audiences: &project.audiences,
            require_exp: project.require_exp,
            max_bytes: self.bodies.most(),
            now: self.clock.now(),
        };
        let vouched = Vouched::verify(jwt, keys.iter(), &rules).map_err(|denial| {
            refused(
                "Invalid token",
                "invalid-token",
                denial.of_token(fingerprint(jwt)),
            )
        })?;
        if vouched.text("iss") != Some(project.id.as_str()) {
            return Err(refused(
                "Project ID mismatch",
                "project-mismatch",
                Denial::new(
                    Reason::ClaimRefused,
                    "its `iss` is not the project of the path",
                ),
            ));
        }
        let now = self.clock.now_millis();
        let told = |why: String| Box::new(words::invalid(&why));
        let foreign_id = foreign_id(&vouched).map_err(|why| told(why.to_owned()))?;
        let data = vouched.claims.get("userData").and_then(Value::as_object);
        let data = data.ok_or_else(|| told("userData must be an object".to_owned()))?;
        let profile = Profile::read(data, &project.limits, now);
        Ok(Login {
            project: project.id.clone(),
            foreign_id,
            profile: profile.map_err(|invalid| told(invalid.0))?,
            link_by_email: project.link_by_email,
            relink: project.relink,
            new_id: uuid::Uuid::new_v4().to_string(),
            token: seed.kept.clone(),
            now,
        })
    }

    /// Lets everybody else know of them; a client that repeats the login repeats this, too.
    async fn make_known(&self, account: &Account) -> Result<(), Box<Answer>> {
        let Some(users) = &self.provision else {
            return Ok(());
        };
        let caller = Caller {
            issuer: OWN_ISSUER,
            id: &account.id,
            email: account.email.as_deref(),
            name: account.name.as_deref(),
            email_verified: false,
            known: None,
        };
        let sight = users.know(&caller, FirstSight::Background).await;
        if matches!(sight, Sight::Known(_) | Sight::SentPending) {
            return Ok(());
        }
        tracing::warn!(
            id = account.id,
            ?sight,
            "an external user could not be made known"
        );
        let denial = Denial::new(
            Reason::UsersUnavailable,
            "the provisioner did not take the user",
        );
        let details = "The user could not be provisioned; please try again";
        Err(Box::new(words::broken(details, denial)))
    }

    fn welcome(
        &self,
        project: &str,
        account: &Account,
        fresh: &Fresh,
        now: i64,
    ) -> Result<Answer, Box<Answer>> {
        let access = self
            .tokens
            .access(project, &account.id, now)
            .map_err(broken)?;
        let user = serde_json::to_string(account)
            .map_err(|_| broken(Denial::new(Reason::Internal, "an account is no JSON")))?;
        let mut answer = Answer::good(format!(
            r#"{{"success":true,"accessToken":"{access}","refreshToken":"{}","user":{user}}}"#,
            fresh.token
        ));
        self.jar
            .keep(&mut answer.response.fields, &fresh.token, now, fresh.ends);
        Ok(answer)
    }
}

fn user_jwt(body: &[u8]) -> Result<String, Box<Answer>> {
    let missing = || {
        let denial = Denial::new(Reason::TokenMissing, "the body has no `userJwt`");
        let status = StatusCode::BAD_REQUEST;
        Box::new(words::refused(
            status,
            "Missing userJwt",
            "missing-jwt",
            denial,
        ))
    };
    if body.is_empty() {
        return Err(missing());
    }
    let Ok(Value::Object(mut members)) = serde_json::from_slice(body) else {
        return Err(Box::new(words::invalid("The body must be a JSON object")));
    };
    match members.remove("userJwt") {
        None | Some(Value::Null) => Err(missing()),
        Some(Value::String(jwt)) if jwt.is_empty() => Err(missing()),
        Some(Value::String(jwt)) => Ok(jwt),
        Some(_) => {
            let denial = Denial::new(Reason::TokenMalformed, "`userJwt` is not text");
            Err(refused("Invalid token", "invalid-token", denial))
        }
    }
}

/// The customer's id of the user, as it is stored.
fn foreign_id(vouched: &Vouched) -> Result<String, &'static str> {
    let id = vouched.subject().map_err(|denial| match denial.reason {
        Reason::IdMissing => "sub is missing",
        _ => "sub must be text that is not empty, without control characters or blanks around it",
    })?;
    match id.len() <= MAX_TEXT {
        true => Ok(id.into()),
        false => Err("sub must be at most 1024 bytes long"),
    }
}

fn refused(error: &str, code: &str, denial: Denial) -> Box<Answer> {
    Box::new(words::refused(StatusCode::FORBIDDEN, error, code, denial))
}

pub(super) fn broken(denial: Denial) -> Box<Answer> {
    Box::new(words::broken("The token could not be made", denial))
}

fn vanished() -> Answer {
    let denial = Denial::new(
        Reason::Internal,
        "the account was written and was not there",
    );
    let (status, error) = (
        StatusCode::INTERNAL_SERVER_ERROR,
        "Unexpected error fetching user after login",
    );
    words::refused(status, error, "missing-user", denial)
}
