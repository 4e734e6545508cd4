//! `usher token`: make, read and check tokens.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::config::{Algorithm, Config, revocation};
use crate::identify::mint::SigningKey;
use crate::identify::{Identify, Metrics, Outcome, Settings, Step, fingerprint, inspect};
use crate::identity::Kept;
use crate::revocation::{self as revoking, Revocation};
use crate::revoked::Revoked;
use crate::secret::Secret;

use super::dev::{Persona, State};
use super::{Failure, pasted, say};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token: for a persona of `usher dev`, or with a key of your own.
    Mint(Mint),
    /// Show what a token says. NOTHING IS VERIFIED: anybody can write a token.
    Inspect {
        /// The token, or `-` to read it from standard input.
        token: String,
    },
    /// Tell step by step why a token passes or fails under a configuration.
    ///
    /// Keys are fetched as `serve` would, and it is asked what is revoked. Exits with 0 when the token passes, 1 when not.
    Verify {
        /// The configuration file.
        #[arg(long, short, env = "USHER_CONFIG", value_name = "FILE")]
        config: PathBuf,
        /// The token, or `-` to read it from standard input.
        token: String,
    },
}

/// How to make a token.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    usher token mint --persona id=42,email=ada@example.com,roles=admin\n  \
    usher token mint --key key.pem --kid k1 --claim iss=https://idp.example.com/ --claim aud=app --claim sub=42\n  \
    usher token mint --secret-file secret --algorithm HS256 --claim user_id:=42 --claim username=ada")]
pub(super) struct Mint {
    /// Somebody to be, signed with the key of `usher dev`.
    #[arg(long, value_name = "CLAIMS", conflicts_with_all = ["key", "secret_file"])]
    persona: Option<Persona>,
    /// Where `usher dev` keeps its key.
    #[arg(long, value_name = "DIR", requires = "persona")]
    state_dir: Option<PathBuf>,
    /// A private key in PEM: PKCS#8 (RSA, P-256, P-384, Ed25519) or PKCS#1.
    #[arg(long, value_name = "FILE", conflicts_with = "secret_file")]
    key: Option<PathBuf>,
    /// A shared secret; its bytes are used exactly as they are.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The algorithm, if the key allows several.
    #[arg(long, value_name = "NAME", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// The name of the key.
    #[arg(long)]
    kid: Option<String>,
    /// The header's `typ`.
    #[arg(long, default_value = "JWT")]
    typ: String,
    /// A claim: `name=text`, or `name:=JSON`. Repeatable.
    #[arg(long = "claim", value_name = "CLAIM", value_parser = claim)]
    claims: Vec<(String, Value)>,
    /// How long the token lives; `exp` and `iat` are set unless they are given as claims.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = humantime::parse_duration)]
    life: Duration,
}

/// Runs the command.
pub(super) fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Mint(mint) => Ok(say(mint.token()?)?),
        Command::Inspect { token } => Ok(say(show(&pasted::token(&token)?)?)?),
        Command::Verify { config, token } => verify(&config, &token),
    }
}

impl Mint {
    fn token(&self) -> Result<String, String> {
        let now = Clock::System.now();
        if let Some(persona) = &self.persona {
            return State::open(self.state_dir.as_deref())?.mint(persona, now, self.life);
        }
        let key = self.signing_key()?;
        let mut claims = Map::new();
        claims.insert("iat".to_owned(), now.into());
        let end = now.saturating_add(i64::try_from(self.life.as_secs()).unwrap_or(i64::MAX));
        claims.insert("exp".to_owned(), end.into());
        claims.extend(self.claims.iter().cloned());
        key.mint(&claims, self.kid.as_deref(), Some(&self.typ))
            .map_err(|error| error.to_string())
    }

    fn signing_key(&self) -> Result<SigningKey, String> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let key = match (&self.key, &self.secret_file) {
            (Some(path), _) => {
                let key = SigningKey::from_pem(&read(path)?);
                match self.algorithm {
                    Some(algorithm) => key.and_then(|key| key.with_algorithm(algorithm)),
                    None => key,
                }
            }
            (None, Some(path)) => {
                let secret = Secret::new(read(path)?);
                SigningKey::from_secret(&secret, self.algorithm.unwrap_or(Algorithm::HS256))
            }
            (None, None) => {
                return Err(
                    "who signs? Give --persona, --key FILE or --secret-file FILE".to_owned(),
                );
            }
        };
        key.map_err(|error| error.to_string())
    }
}

/// What a token says, in words; times also for people.
fn show(token: &str) -> Result<String, String> {
    let inspected = inspect(token).map_err(|denial| {
        let name = fingerprint(token);
        format!("{denial}. If it is opaque, only its issuer can read it; its fingerprint is {name}")
    })?;
    let mut text = format!(
        "NOT VERIFIED: anybody could have written this. `usher token verify` checks it.\n\
         fingerprint  {}\nheader       {:#}\nclaims       {:#}",
        inspected.fingerprint,
        Value::Object(inspected.header),
        Value::Object(inspected.claims.clone()),
    );
    for name in ["iat", "nbf", "exp"] {
        if let Some(seconds) = inspected.claims.get(name).and_then(Value::as_u64) {
            text.push_str(&format!("\n{name}          {}", time(seconds)));
        }
    }
    Ok(text)
}

fn time(seconds: u64) -> String {
    // The year 9999 is the last one that RFC 3339 can write.
    match seconds {
        0..=253_402_300_799 => {
            humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
        }
        _ => "beyond the year 9999".to_owned(),
    }
}

fn verify(file: &Path, token: &str) -> Result<(), Failure> {
    let config = super::load(file)?.config;
    let token = pasted::token(token)?;
    let steps = super::runtime()?.block_on(explain(config, &token))?;
    let line = |step: &Step| match &step.outcome {
        Outcome::Passed(detail) => format!("passed  {:<12} {detail}", step.name),
        Outcome::Failed(detail) => format!("FAILED  {:<12} {detail}", step.name),
    };
    let lines: Vec<_> = steps.iter().map(line).collect();
    let said = say(lines.join("\n"));
    match steps.iter().all(Step::passed) {
        true => Ok(said?),
        // Whether anybody reads that or not.
        false => Err(Failure::No),
    }
}

/// What an usher with this configuration finds, step by step.
async fn explain(config: Config, token: &str) -> Result<Vec<Step>, String> {
    let (revoked, unknown) = match config.revocation.as_ref().map(revoked) {
        Some(reading) => match reading.await {
            Ok(revoked) => (Some(revoked), None),
            Err(why) => (None, Some(why)),
        },
        None => (None, None),
    };
    let settings = Settings {
        issuers: config.issuers,
        tokens: config.tokens,
        headers: config.headers,
        kept: Kept::default(),
        identity_bytes: config.limits.identity_bytes,
        files: config.files,
        users: 0,
        // Who asks by hand sees what the issuers say now.
        state: None,
        revoked,
    };
    let identify = Identify::new(settings, Clock::System, Metrics::default());
    let (identify, refreshers) = identify.map_err(|error| error.to_string())?;
    for refresher in refreshers {
        tokio::spawn(refresher.run());
    }
    wait_for_keys(&identify).await;
    let mut steps = identify.explain(token).await;
    if let Some(why) = unknown {
        let why = format!("nobody can tell whether it is revoked: {why}");
        let (name, outcome) = ("revocation", Outcome::Failed(why));
        steps.push(Step { name, outcome });
    }
    Ok(steps)
}

/// What is revoked, as it is told now.
async fn revoked(settings: &revocation::Settings) -> Result<Arc<Revoked>, String> {
    let metrics = revoking::metrics::Metrics::default();
    let opened = Revocation::open(settings, None, metrics, Clock::System);
    let revocation = opened.map_err(|error| error.to_string())?;
    revocation.read().await?;
    Ok(revocation.revoked().clone())
}

/// Gives each issuer the time of one fetch.
async fn wait_for_keys(identify: &Identify) {
    for _ in 0..100 {
        let settled =
            |issuer: &crate::identify::IssuerState| issuer.has_keys || issuer.last_error.is_some();
        if identify.ready().iter().all(settled) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn algorithm(name: &str) -> Result<Algorithm, String> {
    Algorithm::ALL
        .into_iter()
        .find(|algorithm| algorithm.name() == name)
        .ok_or_else(|| {
            let names: Vec<_> = Algorithm::ALL
                .iter()
                .map(|algorithm| algorithm.name())
                .collect();
            format!("one of {}", names.join(", "))
        })
}

fn claim(text: &str) -> Result<(String, Value), String> {
    let Some((name, value)) = text.split_once('=') else {
        return Err("write name=text or name:=JSON".to_owned());
    };
    match name.strip_suffix(':') {
        Some(name) => match serde_json::from_str(value) {
            Ok(value) => Ok((name.to_owned(), value)),
            Err(error) => Err(format!(
                "`{value}` is not JSON ({error}); write {name}=text for text"
            )),
        },
        None => Ok((name.to_owned(), Value::from(value))),
    }
}
