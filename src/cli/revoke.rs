//! `usher revoke`: a token, a session, a user, a key or an issuer must die now.

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::{ArgGroup, Args};

use crate::accounts::parse_date;
use crate::config;
use crate::identify::fingerprint;
use crate::revocation::{Ask, Failure, Store, Stored};
use crate::revoked::{Before, Second};

use super::{EX_CONFIG, check, fail};

/// The longest token read; far beyond any that usher accepts.
const MAX_INPUT: u64 = 1024 * 1024;

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
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let loaded = match config::load(&arguments.config) {
        Ok(loaded) => loaded,
        Err(problems) => {
            check::print(&problems);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let Some(settings) = loaded.config.revocation else {
        return fail("NOT revoked: the configuration has no `revocation`");
    };
    let store = match Store::open(&settings) {
        Ok(store) => store,
        Err(error) => return fail(format_args!("NOT revoked: {error}")),
    };
    let ask = match arguments.ask() {
        Ok(ask) => ask,
        Err(error) => return fail(error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("NOT revoked: no runtime: {error}")),
    };
    match runtime.block_on(store.revoke(&ask, arguments.min_replicas)) {
        Ok(stored) => {
            println!("{}", describe(&stored));
            ExitCode::SUCCESS
        }
        Err(Failure::Unclear(why)) => fail(format_args!("NOT revoked: {why}")),
        Err(failure) => fail(failure),
    }
}

impl Arguments {
    fn ask(&self) -> Result<Ask, String> {
        let fingerprint = match &self.token {
            Some(token) => Some(fingerprint(token_of(token)?).to_string()),
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

/// The token itself, with what people copy along left out.
fn token_of(text: &str) -> Result<String, String> {
    let mut read = String::new();
    let text = match text {
        "-" => {
            let input = std::io::stdin().take(MAX_INPUT).read_to_string(&mut read);
            input.map_err(|error| format!("NOT revoked: standard input: {error}"))?;
            read.trim()
        }
        text => text.trim(),
    };
    match text {
        "" => Err("NOT revoked: there is no token".to_owned()),
        text => Ok(text.strip_prefix("Bearer ").unwrap_or(text).to_owned()),
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
