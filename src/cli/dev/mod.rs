//! `usher dev`: the main job on a laptop, with nothing else installed.

mod echo;
mod persona;
mod state;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use crate::clock::Clock;
use crate::config;
use crate::telemetry;

use super::{Failure, fail, say, serve};

pub(super) use persona::Persona;
pub(super) use state::State;

/// The issuer of the tokens that `dev` mints.
pub(super) const ISSUER: &str = "usher-dev";
/// Who those tokens are meant for.
pub(super) const AUDIENCE: &str = "usher-dev";

/// What `usher dev` may be told.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where to listen; only loopback, since anybody who reaches it can be anybody.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` answer; only loopback.
    #[arg(long, default_value = "127.0.0.1:9901", value_name = "ADDRESS")]
    admin: SocketAddr,
    /// The app to protect. Without it, a built-in app shows what it received.
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// Where users are looked up, such as `postgres://app@localhost/app`.
    ///
    /// Without it, and without --redis, usher keeps them itself in the state directory.
    #[arg(long, value_name = "URL", requires = "redis")]
    database: Option<String>,
    /// The Redis of an engine that creates users on first sight (see examples/engine.rs).
    #[arg(long, value_name = "URL", requires = "database")]
    redis: Option<String>,
    /// Somebody to be, such as `id=42,email=ada@example.com,roles=admin|user`. Repeatable.
    ///
    /// Every key becomes a claim; `id` is the user's id (`sub`), and `|` separates the members
    /// of a list. Without any, there are `ada` (admin) and `bob`.
    #[arg(long, value_name = "CLAIMS")]
    persona: Vec<Persona>,
    /// Where the issuer's key is kept, so that tokens survive a restart.
    /// [default: $XDG_STATE_HOME/usher-dev or ~/.local/state/usher-dev]
    #[arg(long, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    /// How long the printed tokens live.
    #[arg(long, default_value = "12h", value_name = "TIME", value_parser = humantime::parse_duration)]
    life: std::time::Duration,
}

/// Prepares the state, starts the built-in app, prints what to try, and serves.
pub(super) fn run(arguments: &Arguments) -> ExitCode {
    for address in [arguments.listen, arguments.admin] {
        if !address.ip().is_loopback() {
            return fail(format_args!(
                "`dev` listens on loopback only, not on {address}: whoever reaches it can be anybody. \
                 Use 127.0.0.1, or write a configuration and run `usher serve`."
            ));
        }
    }
    let state = match State::open(arguments.state_dir.as_deref()) {
        Ok(state) => state,
        Err(error) => return fail(error),
    };
    let upstream = match &arguments.upstream {
        Some(url) => url.clone(),
        None => match echo::start() {
            Ok(address) => format!("http://{address}"),
            Err(error) => return fail(format_args!("the built-in app cannot start: {error}")),
        },
    };
    let text = configuration(arguments, &state, &upstream);
    let loaded = match config::parse(&text, "dev", &|name| std::env::var(name).ok()) {
        Ok(loaded) => loaded,
        Err(problems) => return Failure::Config(problems).exit(),
    };
    telemetry::start_events(&loaded.config.log);
    let personas = match arguments.persona.is_empty() {
        true => Persona::defaults(),
        false => arguments.persona.clone(),
    };
    let tokens: Result<Vec<_>, _> = personas
        .iter()
        .map(|persona| {
            let token = state.mint(persona, Clock::System.now(), arguments.life)?;
            Ok::<_, String>((persona.describe(), token))
        })
        .collect();
    let tokens = match tokens {
        Ok(tokens) => tokens,
        Err(error) => return fail(error),
    };
    serve::serve(loaded.config, None, |bound| {
        // With port 0 only the sockets know.
        let address = bound.addresses().first().copied();
        let addresses = (
            address.unwrap_or(arguments.listen),
            bound.admin_address().unwrap_or(arguments.admin),
        );
        // Whoever closed it has read enough.
        let _ = say(guide(arguments, &state, addresses, &tokens));
    })
}

/// The configuration that `dev` stands for; a real one looks like it.
fn configuration(arguments: &Arguments, state: &State, upstream: &str) -> String {
    // JSON strings are YAML strings: paths and URLs may hold whatever they like.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    format!(
        "listen: {listen}\n\
         admin: {admin}\n\
         upstream: {upstream}\n\
         issuers:\n\
         \x20 - name: dev\n\
         \x20   issuer: {ISSUER}\n\
         \x20   audiences: [{AUDIENCE}]\n\
         \x20   algorithms: [ES256]\n\
         \x20   jwks_file: {keys}\n\
         headers: {{ X-User-Id: id, X-User-Email: email, X-User-Name: name, X-User-Roles: roles }}\n\
         users: {users}\n\
         endpoints:\n\
         \x20 verify: {{ path: /api/auth/verify, user_id: id, username: name }}\n\
         \x20 verify_user: /api/v1/auth/verify-user\n\
         \x20 ensure_user: /api/v1/auth/ensure-user\n\
         cors: {{ origins: [\"http://localhost:3000\", \"http://localhost:5173\"] }}\n\
         shutdown: {{ pause: 0s, deadline: 2s }}\n\
         log: {{ format: text, level: warn }}\n\
         workers: 1\n",
        listen = quoted(&arguments.listen.to_string()),
        admin = quoted(&arguments.admin.to_string()),
        upstream = quoted(upstream),
        users = users(arguments, state),
        keys = quoted(&state.key_set().display().to_string()),
    )
}

/// The engine's users, or usher's own in a file. JSON is YAML.
fn users(arguments: &Arguments, state: &State) -> serde_json::Value {
    match (&arguments.database, &arguments.redis) {
        (Some(database), Some(redis)) => serde_json::json!({
            "directory": { "url": database },
            "preset": "exness",
            "provisioner": { "url": redis },
        }),
        _ => serde_json::json!({
            "directory": format!("sqlite:{}", state.folder().join("users.db").display()),
            "provisioner": "direct",
        }),
    }
}

/// What to try, with tokens that work as printed.
fn guide(
    arguments: &Arguments,
    state: &State,
    (address, admin): (SocketAddr, SocketAddr),
    tokens: &[(String, String)],
) -> String {
    let mut text = format!("usher dev: http://{address} protects ");
    match &arguments.upstream {
        Some(url) => text.push_str(url),
        None => text.push_str("a built-in app that shows what it received"),
    }
    let _ = write!(
        text,
        "\n\nNobody gets in without a token:\n\n  curl -i http://{address}/\n"
    );
    for (persona, token) in tokens {
        let _ = write!(
            text,
            "\nBe {persona}:\n\n  curl -H 'Authorization: Bearer {token}' http://{address}/\n",
        );
    }
    let _ = write!(
        text,
        "\nAsk whether a token is good: the same with http://{address}/api/auth/verify\n\
         Ask whether the user exists: the same with -X POST and http://{address}/api/v1/auth/verify-user\n\
         Another token: usher token mint --persona id=7,name=eve\n\
         How it goes: curl http://{admin}/readyz · curl http://{admin}/metrics\n\
         The issuer's key is in {dir}; Ctrl-C ends.\n",
        dir = state.folder().display(),
    );
    text
}
