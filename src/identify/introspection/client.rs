//! The question (RFC 7662 §2.1), and how usher proves who asks.

use data_encoding::{BASE64, HEXLOWER};
use http::{HeaderValue, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::{Map, Value};

use super::Told;
use crate::clock::Clock;
use crate::config;
use crate::identify::fetch::{self, Bounds, Failure, Fetcher, Form};
use crate::identify::mint::SigningKey;
use crate::identify::start;
use crate::secret::Secret;

/// What a form leaves as it is.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_');

/// Connections that are kept open for the next question.
const MAX_IDLE: usize = 8;

/// Seconds for which an assertion is good; it is made for each question.
const ASSERTION_LIFE: i64 = 60;

/// A client of an introspection endpoint.
pub(super) struct Client {
    fetcher: Fetcher,
    url: Uri,
    authentication: Authentication,
}

/// How usher proves who it is.
enum Authentication {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Basic(HeaderValue),
    /// `client_secret_post`: what is added to the form.
    Post { id: String, secret: Secret },
    /// `private_key_jwt` (RFC 7523 §2.2).
    Assertion(Box<Assertion>),
}

struct Assertion {
    id: String,
    key: SigningKey,
    kid: Option<String>,
    audience: String,
    clock: Clock,
}

impl Client {
    /// Reads certificates and keys.
    pub(super) fn new(settings: &config::Introspection, clock: &Clock) -> Result<Self, String> {
        let url = start::parse(&settings.url)?;
        let ca = settings.ca_file.as_deref().map(start::read).transpose()?;
        let roots = fetch::roots(ca.as_deref(), std::slice::from_ref(&url))?;
        let bounds = Bounds {
            timeout: settings.timeout,
            max_bytes: settings.max_bytes,
            max_idle: MAX_IDLE,
            allowed: settings.allow_addresses.clone(),
        };
        Ok(Self {
            fetcher: Fetcher::new(roots, bounds)?,
            url,
            authentication: Authentication::new(&settings.client, clock)?,
        })
    }

    /// Where it asks.
    pub(super) fn url(&self) -> &Uri {
        &self.url
    }

    /// Asks about a token. An error holds neither the token nor a secret.
    pub(super) async fn ask(&self, token: &str) -> Result<Told, Failure> {
        let answered = self.fetcher.post(&self.url, || self.form(token)).await;
        answered.and_then(|body| Told::read(&body).map_err(Failure::answered))
    }

    fn form(&self, token: &str) -> Result<Form, String> {
        let mut form = Form {
            text: format!(
                "token={}&token_type_hint=access_token",
                encode(token.as_bytes())
            ),
            credentials: None,
        };
        match &self.authentication {
            Authentication::Basic(header) => form.credentials = Some(header.clone()),
            Authentication::Post { id, secret } => {
                let (id, secret) = (encode(id.as_bytes()), encode(secret.expose()));
                let own = format!("&client_id={id}&client_secret={secret}");
                form.text.push_str(&own);
            }
            Authentication::Assertion(assertion) => form.text.push_str(&assertion.form()?),
        }
        Ok(form)
    }
}

impl Authentication {
    fn new(client: &config::ClientAuthentication, clock: &Clock) -> Result<Self, String> {
        use config::ClientAuthentication as Settings;
        Ok(match client {
            Settings::Basic { id, secret } => Self::Basic(basic(id, secret)?),
            Settings::Post { id, secret } => Self::Post {
                id: id.clone(),
                secret: secret.clone(),
            },
            Settings::PrivateKey {
                id,
                pem,
                algorithm,
                kid,
                audience,
            } => {
                let key = SigningKey::from_pem(pem.expose());
                let key = key.and_then(|key| match algorithm {
                    Some(algorithm) => key.with_algorithm(*algorithm),
                    None => Ok(key),
                });
                Self::Assertion(Box::new(Assertion {
                    id: id.clone(),
                    key: key.map_err(|error| format!("`private_key_file`: {error}"))?,
                    kid: kid.clone(),
                    audience: audience.clone(),
                    clock: clock.clone(),
                }))
            }
        })
    }
}

impl Assertion {
    /// A fresh one, as members of a form.
    fn form(&self) -> Result<String, String> {
        let now = self.clock.now();
        let mut once = [0; 16];
        getrandom::fill(&mut once).map_err(|_| "no random bytes from the operating system")?;
        let claims: Map<String, Value> = [
            ("iss", self.id.clone().into()),
            ("sub", self.id.clone().into()),
            ("aud", self.audience.clone().into()),
            ("jti", HEXLOWER.encode(&once).into()),
            ("iat", now.into()),
            ("exp", now.saturating_add(ASSERTION_LIFE).into()),
        ]
        .into_iter()
        .map(|(name, value): (_, Value)| (name.to_owned(), value))
        .collect();
        let minted = self.key.mint(&claims, self.kid.as_deref(), Some("JWT"));
        let minted = minted.map_err(|error| error.to_string())?;
        Ok(format!(
            "&client_id={}&client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer\
             &client_assertion={minted}",
            encode(self.id.as_bytes())
        ))
    }
}

/// RFC 6749 §2.3.1: both are encoded as in a form before they are joined.
fn basic(id: &str, secret: &Secret) -> Result<HeaderValue, String> {
    let joined = format!("{}:{}", encode(id.as_bytes()), encode(secret.expose()));
    let text = format!("Basic {}", BASE64.encode(joined.as_bytes()));
    let mut header = HeaderValue::try_from(text).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, FORM).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_secrets_are_encoded_before_they_are_joined() {
        let header = basic("a:b", &Secret::new("p%s w\u{e9}")).unwrap();
        let text = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let joined = BASE64.decode(text.as_bytes()).unwrap();
        assert_eq!(joined, b"a%3Ab:p%25s%20w%C3%A9");
        assert!(header.is_sensitive() && !format!("{header:?}").contains("Basic"));
    }
}
