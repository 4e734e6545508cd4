//! Everything that a request meets, made from a configuration.

use std::fmt;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use rustls::RootCertStore;

use crate::accounts::{self, Accounts};
use crate::admin::Readiness;
use crate::announced::Announced;
use crate::clock::Clock;
use crate::config::{self, Address, Config, Listen};
use crate::cors::Rules;
use crate::edge::Edge;
use crate::endpoint::{AccountEndpoints, Endpoints, ForwardAuth, Projects};
use crate::gate::{Gate, Own};
use crate::identify::{self, Identify, Refresher};
use crate::identity::{CallerClaims, Kept};
use crate::route::Routes;
use crate::sidecar::Sidecar;
use crate::telemetry::{Exporter, Sink, Telemetry, Tracer};
use crate::tls;
use crate::upstream::{self, Upstream};
use crate::users::{self, Users};

/// What a caller of [`crate::bind`] may want otherwise than `usher serve`.
#[derive(Debug)]
pub struct Options {
    /// Where "now" comes from.
    pub clock: Clock,
    /// Where access lines go.
    pub access: Sink,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: Clock::System,
            access: Sink::Stdout,
        }
    }
}

/// Why usher does not start.
#[derive(Debug)]
pub enum StartError {
    /// An address cannot be listened on.
    Bind(Listen, std::io::Error),
    /// The keys of an issuer cannot be used.
    Keys(identify::StartError),
    /// The directory or the provisioner cannot be used.
    Users(users::StartError),
    /// Certificates or keys for TLS cannot be used.
    Tls(String),
    /// The accounts of external users, or their keys, cannot be used.
    Accounts(accounts::StartError),
    /// The operating system gives no threads.
    Threads(std::io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(listen, error) => {
                let remedy = match listen {
                    Listen::Tcp(_) => {
                        "Is another process there (ss -ltnp)? Set `listen`, `admin` or `ext_authz` to another address."
                    }
                    Listen::Unix(_) => {
                        "Is another process there (ss -lxp)? Is its folder there, and may usher write in it?"
                    }
                    Listen::Systemd(_) => {
                        "Name a socket of the .socket unit (FileDescriptorName=), and start usher by systemd."
                    }
                };
                write!(f, "cannot listen on {listen}: {error}. {remedy}")
            }
            Self::Keys(error) => write!(f, "{error}"),
            Self::Users(error) => write!(f, "users: {error}"),
            Self::Tls(problem) => write!(f, "TLS: {problem}"),
            Self::Accounts(error) => write!(f, "accounts: {error}"),
            Self::Threads(error) => write!(f, "cannot start worker threads: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// The parts of an usher, without its sockets.
pub struct Assembled {
    /// What all workers share.
    pub sidecar: Arc<Sidecar>,
    /// Who is this?
    pub identify: Arc<Identify>,
    /// Whether traffic may come.
    pub readiness: Arc<Readiness>,
    /// Tasks that keep the issuers' keys fresh.
    pub refreshers: Vec<Refresher>,
    /// What the workers' pools count.
    pub pools: upstream::Metrics,
    /// TLS to the app, where it is spoken.
    pub upstream_tls: Option<tls::Client>,
    /// What sends spans, where that is configured.
    pub exporter: Option<Exporter>,
    /// What is counted about certificates.
    pub tls_metrics: tls::Metrics,
    /// External users, and the projects whose keys may change.
    pub accounts: Option<(Arc<Accounts>, Arc<Projects>)>,
}

/// Makes the parts; nothing is bound, and no task runs yet.
///
/// # Errors
/// [`StartError`]: a key file is unusable, or the users' settings are.
pub async fn assemble(settings: &Config, options: Options) -> Result<Assembled, StartError> {
    let mut registry = Registry::with_prefix("usher");
    let mut kept = Kept::default();
    let routes = Routes::new(settings, &mut kept);
    let claims = Endpoints::claims(&settings.endpoints, &mut kept);
    // Kept only where somebody reads them: they are the larger part of a remembered token.
    let caller = settings
        .users
        .as_ref()
        .map(|_| CallerClaims::new(&mut kept));
    let project = settings.accounts.as_ref().map(|_| Own::claim(&mut kept));
    let (identify, refreshers) = identify(settings, kept, &options.clock, &mut registry)?;
    let users = users(settings, &options.clock, &mut registry).await?;
    let accounts = accounts(settings, users.as_ref(), &options.clock, &mut registry).await?;
    let (accounts, asked) = accounts.unzip();
    let own = accounts.clone().zip(project);
    let own = own.map(|(accounts, project)| Own::new(accounts, project));
    let projects = asked
        .as_ref()
        .map(|asked: &AccountEndpoints| asked.projects().clone());
    let pools = upstream::Metrics::default();
    pools.register(&mut registry);
    let tls_metrics = tls::Metrics::default();
    tls_metrics.register(&mut registry);
    let (tracer, exporter) = traces(settings, &mut registry)?.unzip();
    let names = routes.all().iter().map(|route| route.name.clone());
    let forward_auth = ForwardAuth::new(settings, options.clock.clone());
    let telemetry = Telemetry::new(
        &settings.log,
        names.collect(),
        registry,
        options.clock.clone(),
        options.access,
        tracer,
    );
    let sidecar = Sidecar {
        edge: Arc::new(edge(settings)),
        routes,
        gate: Gate::new(identify.clone(), users.clone().zip(caller), own.clone()),
        endpoints: Endpoints::new(
            claims,
            &identify,
            users.clone().zip(caller),
            asked,
            own.as_ref(),
        ),
        forward_auth,
        announced: Announced::new(&settings.headers),
        cors: Rules::new(settings),
        upstream: Upstream::new(settings, identify.clone(), options.clock.clone()),
        telemetry,
        max_requests: settings.limits.requests,
    };
    Ok(Assembled {
        sidecar: Arc::new(sidecar),
        readiness: Arc::new(Readiness::new(identify.clone(), users, accounts.clone())),
        identify,
        refreshers,
        pools,
        upstream_tls: upstream_tls(&settings.upstream)?,
        exporter,
        tls_metrics,
        accounts: accounts.zip(projects),
    })
}

fn identify(
    settings: &Config,
    kept: Kept,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<(Arc<Identify>, Vec<Refresher>), StartError> {
    let metrics = identify::Metrics::default();
    metrics.register(registry);
    let settings = identify::Settings {
        issuers: settings.issuers.clone(),
        tokens: settings.tokens.clone(),
        headers: settings.headers.clone(),
        kept,
        identity_bytes: settings.limits.identity_bytes,
    };
    let (identify, refreshers) =
        Identify::new(settings, clock.clone(), metrics).map_err(StartError::Keys)?;
    Ok((Arc::new(identify), refreshers))
}

async fn users(
    settings: &Config,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<Option<Arc<Users>>, StartError> {
    let Some(settings) = &settings.users else {
        return Ok(None);
    };
    let metrics = users::metrics::Metrics::default();
    metrics.register(registry);
    let users = Users::open(settings.clone(), metrics, clock.clone()).await;
    users.map(Arc::new).map(Some).map_err(StartError::Users)
}

fn upstream_tls(settings: &config::Upstream) -> Result<Option<tls::Client>, StartError> {
    let (Some(tls), Address::Tcp(host, _)) = (&settings.tls, &settings.address) else {
        return Ok(None);
    };
    let client = tls::client(host, tls, settings.http2).map_err(StartError::Tls)?;
    Ok(Some(client))
}

/// What takes spans and what sends them, where that is configured.
fn traces(
    settings: &Config,
    registry: &mut Registry,
) -> Result<Option<(Tracer, Exporter)>, StartError> {
    let Some(settings) = &settings.traces else {
        return Ok(None);
    };
    let roots = match settings.endpoint.starts_with("https:") {
        true => tls::roots(settings.ca_file.as_deref()).map_err(StartError::Tls)?,
        false => RootCertStore::empty(),
    };
    let made = Tracer::new(settings, roots, registry).map_err(StartError::Tls)?;
    Ok(Some(made))
}

/// External users: their accounts, and the endpoints that they ask.
async fn accounts(
    settings: &Config,
    users: Option<&Arc<Users>>,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<Option<(Arc<Accounts>, AccountEndpoints)>, StartError> {
    let Some(settings) = &settings.accounts else {
        return Ok(None);
    };
    let metrics = accounts::metrics::Metrics::default();
    metrics.register(registry);
    let opened = Accounts::open(settings, metrics, clock.clone()).await;
    let accounts = Arc::new(opened.map_err(StartError::Accounts)?);
    let users = users.cloned();
    let asked = AccountEndpoints::new(settings, accounts.clone(), users, clock.clone());
    let asked = asked.map_err(|why| StartError::Accounts(accounts::StartError(why)))?;
    Ok(Some((accounts, asked)))
}

fn edge(settings: &Config) -> Edge {
    Edge::new(
        &settings.headers,
        &settings.header_exceptions,
        settings.trusted_proxies.clone(),
        &settings.tokens.from,
        &settings.limits,
        &instance(),
    )
}

/// A name for this process among all the proxies in the world, for `Via`.
fn instance() -> String {
    let mut bytes = [0; 6];
    // Without randomness the name is the same everywhere; a chain of two ushers then looks
    // like a loop, which is refused rather than let through.
    let _ = getrandom::fill(&mut bytes);
    data_encoding::HEXLOWER.encode(&bytes)
}
