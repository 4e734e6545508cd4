//! `usher token`: make, read and check tokens.

use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use crate::clock::Clock;
use crate::config::{self, Algorithm};
use crate::identify::mint::SigningKey;
use crate::identify::{Identify, Metrics, Outcome, Settings, fingerprint, inspect};
use crate::identity::Kept;
use crate::secret::Secret;

use super::dev::{Persona, State};
use super::{EX_CONFIG, check, fail};

/// The longest token read; far beyond any that usher accepts.
const MAX_INPUT: u64 = 1024 * 1024;

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
    /// Keys are fetched as `serve` would. Exits with 0 when the token passes, 1 when not.
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
pub(super) fn run(command: Command) -> ExitCode {
    match command {
        Command::Mint(mint) => match mint.token() {
            Ok(token) => {
                println!("{token}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        },
        Command::Inspect { token } => match read(token).and_then(|token| show(&token)) {
            Ok(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(error),
        },
        Command::Verify { config, token } => verify(&config, token),
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

fn verify(file: &std::path::Path, token: String) -> ExitCode {
    let loaded = match config::load(file) {
        Ok(loaded) => loaded,
        Err(problems) => {
            check::print(&problems);
            return ExitCode::from(EX_CONFIG);
        }
    };
    let token = match read(token) {
        Ok(token) => token,
        Err(error) => return fail(error),
    };
    let settings = Settings {
        issuers: loaded.config.issuers,
        tokens: loaded.config.tokens,
        headers: loaded.config.headers,
        kept: Kept::default(),
        identity_bytes: loaded.config.limits.identity_bytes,
        files: loaded.config.files,
        users: 0,
        // Who asks by hand sees what the issuers say now.
        state: None,
        // What is revoked a running usher knows.
        revoked: None,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(format_args!("no runtime: {error}")),
    };
    let (identify, refreshers) = match Identify::new(settings, Clock::System, Metrics::default()) {
        Ok(made) => made,
        Err(error) => return fail(error),
    };
    let steps = runtime.block_on(async {
        for refresher in refreshers {
            tokio::spawn(refresher.run());
        }
        wait_for_keys(&identify).await;
        identify.explain(&token).await
    });
    let mut passed = true;
    for step in steps {
        match step.outcome {
            Outcome::Passed(detail) => println!("passed  {:<12} {detail}", step.name),
            Outcome::Failed(detail) => {
                passed = false;
                println!("FAILED  {:<12} {detail}", step.name);
            }
        }
    }
    match passed {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
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

fn read(token: String) -> Result<String, String> {
    if token != "-" {
        return Ok(token);
    }
    let mut text = String::new();
    std::io::stdin()
        .take(MAX_INPUT)
        .read_to_string(&mut text)
        .map_err(|error| format!("standard input: {error}"))?;
    Ok(text.trim().to_owned())
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
