//! `usher revoke`: a token, a session, a user, a key or an issuer must die now.

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use clap::{ArgGroup, Args};

use crate::accounts::parse_date;
use crate::identify::fingerprint;
use crate::revocation::{self, Ask, Store, Stored};
use crate::revoked::{Before, Second};

use super::{Failure, pasted};

/// What is revoked.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(after_help = "Examples:\n  \
    usher revoke --config usher.yaml --fingerprint 5f2b0c1d9a7e4b33a1c2d4e5f6071829   as the access line says it\n  \
    usher revoke --config usher.yaml --issuer idp --jti 7b1d1bd6                      one token\n  \
    usher revoke --config usher.yaml --issuer idp --subject 42                        all of a user, issued until now\n  \
    usher revoke --config usher.yaml --issuer idp --session 08a5019c                  all of a session (`sid`)\n  \
    usher revoke --config usher.yaml --issuer idp --kid k1                            all that a key has made\n  \
    usher revoke --config usher.yaml --issuer idp --everything                        all of the issuer, issued until now\n\n\
    Exits with 0 only when it is stored; otherwise it says what is known. To revoke twice does no harm; \
    to take a revocation back is not possible: whoever is meant logs in again.")]
pub(super) struct Arguments {
    /// The configuration file, of which `revocation` and `issuers` count.
    #[arg(long, short, env = "USHER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// The issuer, by its configured name or its `iss`; may be left out if there is only one.
    #[arg(long, value_name = "ISS")]
    issuer: Option<String>,
    /// One token, by its `jti`.
    #[arg(long, value_name = "ID", group = "what")]
    jti: Option<String>,
    /// One token, by its fingerprint: 32 hex digits, as in logs and `usher token inspect`.
    #[arg(long, value_name = "HEX", group = "what", conflicts_with = "issuer")]
    fingerprint: Option<String>,
    /// One token: itself, or `-` to read it from standard input.
    #[arg(long, value_name = "TOKEN", group = "what", conflicts_with = "issuer")]
    token: Option<String>,
    /// The tokens of a user, by the user's id, issued until now.
    #[arg(long, value_name = "SUB", group = "what")]
    subject: Option<String>,
    /// The tokens of a session, by their `sid`.
    #[arg(long, visible_alias = "sid", value_name = "SID", group = "what")]
    session: Option<String>,
    /// The tokens that a key has made, by its `kid`.
    #[arg(long, value_name = "KID", group = "what")]
    kid: Option<String>,
    /// All tokens of the issuer that were issued until now.
    #[arg(long, group = "what")]
    everything: bool,
    /// With --subject and --everything: those issued until this time, such as
    /// `2027-01-31T12:00:00Z`.
    #[arg(long, value_name = "TIME", value_parser = date)]
    before: Option<i64>,
    /// Succeed only if so many replicas of Redis have it too (WAIT).
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_replicas: u64,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = super::load(&arguments.config)?.config;
    let not = |why: String| Failure::Told(format!("NOT revoked: {why}"));
    let Some(settings) = config.revocation else {
        return Err(not("the configuration has no `revocation`".to_owned()));
    };
    let store = Store::open(&settings).map_err(|error| not(error.to_string()))?;
    let ask = arguments.ask().map_err(not)?;
    let runtime = super::runtime().map_err(not)?;
    match runtime.block_on(store.revoke(&ask, arguments.min_replicas)) {
        Ok(stored) => {
            // It is stored, whoever reads that.
            let _ = super::say(describe(&stored));
            Ok(())
        }
        Err(revocation::Failure::Unclear(why)) => Err(not(why)),
        Err(failure) => Err(Failure::Told(failure.to_string())),
    }
}

impl Arguments {
    fn ask(&self) -> Result<Ask, String> {
        let fingerprint = match &self.token {
            Some(token) => Some(fingerprint(pasted::token(token)?).to_string()),
            None => self.fingerprint.clone(),
        };
        Ok(Ask {
            issuer: self.issuer.clone(),
            jti: self.jti.clone(),
            fingerprint,
            subject: self.subject.clone(),
            session: self.session.clone(),
            kid: self.kid.clone(),
            everything: self.everything,
            before: self.before,
            clamp: false,
        })
    }
}

fn describe(stored: &Stored) -> String {
    let entry = &stored.entry;
    let which = match entry.before {
        Before::Always => "every token of it".to_owned(),
        Before::At(second) => format!("every token of it issued up to {}", time(second)),
    };
    let until = match entry.until {
        Second::At(second) => format!("until {}, when the last of them has expired", time(second)),
        Second::Never => "for ever, since its tokens have no longest life".to_owned(),
    };
    let replicas = stored
        .replicas
        .map(|have| format!("; replicas that have it: {have}"));
    format!(
        "revoked: {which}; known {until}; stored as {}{}",
        entry.mark,
        replicas.unwrap_or_default()
    )
}

fn time(second: u32) -> String {
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(second.into())).to_string()
}

fn date(text: &str) -> Result<i64, String> {
    let millis = parse_date(text)
        .ok_or_else(|| "write a date such as 2027-01-31, or 2027-01-31T12:00:00Z".to_owned())?;
    Ok(millis.div_euclid(1000))
}
