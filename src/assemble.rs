//! Everything that a request meets, made from a configuration, and made again from another one.

mod lasting;
mod part;

use std::fmt;
use std::sync::Arc;

use crate::accounts::{self, Accounts};
use crate::admin::Readiness;
use crate::announced::Announced;
use crate::clock::Clock;
use crate::config::accounts::{Standing, Store};
use crate::config::revocation::IssuerLife;
use crate::config::{self, Address, Config, Files, Listen};
use crate::cors::Rules;
use crate::edge::Edge;
use crate::endpoint::{AccountEndpoints, Claims, Endpoints, ForwardAuth, Projects};
use crate::gate::{Gate, Own};
use crate::identify::{self, Identify, Refresher};
use crate::identity::{CallerClaims, Kept, Slot};
use crate::revocation::{self, Revocation};
use crate::route::Routes;
use crate::sidecar::Sidecar;
use crate::state::StateDir;
use crate::telemetry::{Exporter, Sink};
use crate::tls;
use crate::upstream::{self, Upstream};
use crate::users::{self, Users};

use lasting::Lasting;
use part::{Part, made};

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

/// Why usher does not start, or does not go on.
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
    /// The state directory cannot be used.
    State(String),
    /// What is revoked cannot be told or kept.
    Revocation(revocation::StartError),
    /// The operating system gives no threads.
    Threads(std::io::Error),
    /// Something that goes on as long as usher does has ended.
    Stopped {
        /// What it did.
        what: &'static str,
        /// How it ended.
        why: String,
    },
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
            Self::State(problem) => write!(f, "state_dir: {problem}"),
            Self::Revocation(error) => write!(f, "revocation: {error}"),
            Self::Threads(error) => write!(f, "cannot start worker threads: {error}"),
            Self::Stopped { what, why } => write!(
                f,
                "{what} has stopped: {why}. usher ends rather than go on without it. This is a \
                 defect: start usher again, and report it with what the log says before"
            ),
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
    /// Tasks that keep the issuers' keys fresh, but for those that run already.
    pub refreshers: Vec<Refresher>,
    /// What the workers' pools count.
    pub pools: upstream::Metrics,
    /// What sends spans, where that is configured.
    pub exporter: Option<Exporter>,
    /// TLS to each of the apps, where it is spoken, in the order of [`Config::upstreams`].
    pub upstream_tls: Vec<Option<tls::Client>>,
    /// What is counted about certificates.
    pub tls_metrics: tls::Metrics,
    parts: Parts,
    lasting: Arc<Lasting>,
    /// How long the issuers' tokens live, where they can be revoked.
    lives: Option<Arc<[IssuerLife]>>,
}

/// What the next reload may take over.
#[derive(Default)]
struct Parts {
    users: Option<UsersPart>,
    accounts: Option<AccountsPart>,
    asked: Option<AskedPart>,
    upstream_tls: Vec<Option<TlsPart>>,
}

type UsersPart = Part<config::users::Settings, Arc<Users>>;
type AccountsPart = Part<(Store, Standing), Arc<Accounts>>;
/// Made of accounts and users too, which their serials stand for.
type AskedPart = Part<(config::accounts::Settings, u64, u64), Arc<AccountEndpoints>>;
type TlsPart = Part<(String, config::ClientTls, bool), tls::Client>;

/// Makes the parts; nothing is bound, and no task runs yet.
///
/// # Errors
/// [`StartError`]: a key file is unusable, or the users' settings are.
pub async fn assemble(settings: &Config, options: Options) -> Result<Assembled, StartError> {
    let state = state(settings)?;
    let (lasting, exporter) = Lasting::new(settings, state.as_ref(), options)?;
    let assembled = build(settings, state, Arc::new(lasting), None).await?;
    Ok(Assembled {
        exporter,
        ..assembled
    })
}

impl Assembled {
    /// The same for other settings. What was made of the same is taken over, with all that it
    /// remembers and every connection it has; the rest is made anew. Nothing changes for anybody
    /// until what comes of it is used.
    ///
    /// # Errors
    /// As [`assemble`].
    pub async fn again(&self, settings: &Config) -> Result<Self, StartError> {
        build(settings, state(settings)?, self.lasting.clone(), Some(self)).await
    }

    /// Seconds since 1970.
    pub fn now(&self) -> i64 {
        self.lasting.clock.now()
    }

    /// What is revoked, where anything can be; the same through every reload.
    pub fn revocation(&self) -> Option<Arc<Revocation>> {
        self.lasting.revocation.clone()
    }

    /// Whether traffic may come.
    pub fn readiness(&self) -> Readiness {
        let (users, accounts) = self.depends_on();
        Readiness::new(self.identify.clone(), users, accounts, self.revocation())
    }

    /// From now on these parts are asked.
    pub fn answer_for(&self, readiness: &Readiness) {
        let (users, accounts) = self.depends_on();
        if let (Some(revocation), Some(settings)) = (&self.lasting.revocation, &self.lives) {
            revocation.store().change(settings);
        }
        readiness.change(self.identify.clone(), users, accounts, self.revocation());
    }

    fn depends_on(&self) -> (Option<Arc<Users>>, Option<Arc<Accounts>>) {
        (made(&self.parts.users), made(&self.parts.accounts))
    }

    /// External users, and the projects whose keys may change.
    pub fn accounts(&self) -> Option<(Arc<Accounts>, Arc<Projects>)> {
        let asked = made(&self.parts.asked)?;
        made(&self.parts.accounts).map(|accounts| (accounts, asked.projects().clone()))
    }
}

/// What is read of tokens, and by whom.
struct Read {
    routes: Routes,
    claims: Option<Claims>,
    /// Kept only where somebody reads them: they are the larger part of a remembered token.
    caller: Option<CallerClaims>,
    project: Option<Slot>,
}

impl Read {
    fn new(settings: &Config, kept: &mut Kept) -> Self {
        Self {
            routes: Routes::new(settings, kept),
            claims: Endpoints::claims(&settings.endpoints, kept),
            caller: settings.users.as_ref().map(|_| CallerClaims::new(kept)),
            project: settings.accounts.as_ref().map(|_| Own::claim(kept)),
        }
    }
}

async fn build(
    settings: &Config,
    state: Option<StateDir>,
    lasting: Arc<Lasting>,
    before: Option<&Assembled>,
) -> Result<Assembled, StartError> {
    let nothing = Parts::default();
    let taken = before.map_or(&nothing, |before| &before.parts);
    let mut kept = Kept::default();
    let read = Read::new(settings, &mut kept);
    let users = users(settings, &lasting, taken).await?;
    let serial = users.as_ref().map_or(0, |part| part.serial);
    let (identify, refreshers) = identify(settings, kept, serial, state, &lasting, before)?;
    let accounts = accounts(settings, &lasting, taken).await?;
    let parts = Parts {
        asked: asked(settings, (&users, &accounts), &lasting, taken).await?,
        users,
        accounts,
        upstream_tls: upstream_tls(settings, &lasting, taken).await?,
    };
    Ok(Assembled {
        sidecar: Arc::new(sidecar(settings, read, &identify, &parts, &lasting)),
        identify,
        refreshers,
        pools: lasting.pools.clone(),
        upstream_tls: parts.upstream_tls.iter().map(made).collect(),
        tls_metrics: lasting.tls.clone(),
        exporter: None,
        parts,
        lives: settings
            .revocation
            .as_ref()
            .map(|it| it.issuers.as_slice().into()),
        lasting,
    })
}

fn sidecar(
    settings: &Config,
    read: Read,
    identify: &Arc<Identify>,
    parts: &Parts,
    lasting: &Lasting,
) -> Sidecar {
    let own = made(&parts.accounts).zip(read.project);
    let own = own.map(|(accounts, project)| Own::new(accounts, project));
    let users = made(&parts.users).zip(read.caller);
    let names = read.routes.all().iter().map(|route| route.name.clone());
    Sidecar {
        edge: Arc::new(edge(settings, &lasting.instance)),
        telemetry: lasting.telemetry.for_routes(names.collect()),
        routes: read.routes,
        gate: Gate::new(identify.clone(), users.clone(), own.clone()),
        endpoints: Endpoints::new(
            read.claims,
            identify,
            users,
            made(&parts.asked),
            own.as_ref(),
        )
        .with_logout(&settings.endpoints, identify, lasting.revocation.as_ref()),
        forward_auth: ForwardAuth::new(settings, lasting.clock.clone()),
        announced: Announced::new(&settings.headers),
        cors: Rules::new(settings),
        upstream: Upstream::new(settings, identify.clone(), lasting.clock.clone()),
        max_requests: settings.limits.requests,
        head_bytes: settings.limits.header_bytes + settings.limits.target_bytes,
    }
}

/// `users`: the serial of those who are asked.
fn identify(
    settings: &Config,
    kept: Kept,
    users: u64,
    state: Option<StateDir>,
    lasting: &Lasting,
    before: Option<&Assembled>,
) -> Result<(Arc<Identify>, Vec<Refresher>), StartError> {
    let settings = identify::Settings {
        issuers: settings.issuers.clone(),
        tokens: settings.tokens.clone(),
        headers: settings.headers.clone(),
        kept,
        identity_bytes: settings.limits.identity_bytes,
        files: settings.files.clone(),
        users,
        state,
        revoked: lasting.revoked(),
    };
    let identify = match before {
        Some(before) => before.identify.again(&settings),
        None => Identify::new(settings, lasting.clock.clone(), lasting.identify.clone()),
    };
    let (identify, refreshers) = identify.map_err(StartError::Keys)?;
    Ok((Arc::new(identify), refreshers))
}

/// The state directory, if there is one.
fn state(settings: &Config) -> Result<Option<StateDir>, StartError> {
    let opened = settings
        .state_dir
        .as_deref()
        .map(StateDir::open)
        .transpose();
    opened.map_err(StartError::State)
}

async fn users(
    settings: &Config,
    lasting: &Lasting,
    taken: &Parts,
) -> Result<Option<UsersPart>, StartError> {
    let Some(wanted) = &settings.users else {
        return Ok(None);
    };
    let made_of = (wanted.clone(), settings.files.only(&wanted.files()));
    let (metrics, clock) = (lasting.users().clone(), lasting.clock.clone());
    let opening = async {
        let opened = Users::open(wanted.clone(), metrics, clock).await;
        opened.map(Arc::new).map_err(StartError::Users)
    };
    let part = Part::take_over(&taken.users, made_of, lasting, opening);
    part.await.map(Some)
}

/// The accounts of external users.
async fn accounts(
    settings: &Config,
    lasting: &Lasting,
    taken: &Parts,
) -> Result<Option<AccountsPart>, StartError> {
    let Some(wanted) = &settings.accounts else {
        return Ok(None);
    };
    let kept = (wanted.store.clone(), wanted.standing);
    let made_of = (kept, settings.files.only(&wanted.files()));
    let (metrics, clock) = (lasting.accounts().clone(), lasting.clock.clone());
    let opening = async {
        let opened = Accounts::open(wanted, metrics, clock).await;
        opened.map(Arc::new).map_err(StartError::Accounts)
    };
    let part = Part::take_over(&taken.accounts, made_of, lasting, opening);
    part.await.map(Some)
}

/// The endpoints of external users.
async fn asked(
    settings: &Config,
    (users, accounts): (&Option<UsersPart>, &Option<AccountsPart>),
    lasting: &Lasting,
    taken: &Parts,
) -> Result<Option<AskedPart>, StartError> {
    let (Some(wanted), Some(accounts)) = (&settings.accounts, accounts) else {
        return Ok(None);
    };
    let users_serial = users.as_ref().map_or(0, |part| part.serial);
    let made_of = (wanted.clone(), accounts.serial, users_serial);
    let (accounts, users, clock) = (accounts.made.clone(), made(users), lasting.clock.clone());
    let revoked = lasting.revoked();
    let making = async {
        let asked = AccountEndpoints::new(wanted, accounts, users, revoked, clock);
        let unusable = |why| StartError::Accounts(accounts::StartError(why));
        asked.map(Arc::new).map_err(unusable)
    };
    // The files of projects are followed by themselves.
    let part = Part::take_over(&taken.asked, (made_of, Files::default()), lasting, making);
    part.await.map(Some)
}

async fn upstream_tls(
    settings: &Config,
    lasting: &Lasting,
    taken: &Parts,
) -> Result<Vec<Option<TlsPart>>, StartError> {
    let mut all = Vec::new();
    for app in settings.upstreams() {
        let (Some(tls), Address::Tcp(host, _)) = (&app.tls, &app.address) else {
            all.push(None);
            continue;
        };
        // Its files are followed by themselves.
        let made_of = ((host.clone(), tls.clone(), app.http2), Files::default());
        let making = async { tls::client(host, tls, app.http2).map_err(StartError::Tls) };
        let before = taken.upstream_tls.iter().flatten();
        all.push(Some(
            Part::take_over(before, made_of, lasting, making).await?,
        ));
    }
    Ok(all)
}

fn edge(settings: &Config, instance: &str) -> Edge {
    Edge::new(
        &settings.headers,
        &settings.header_exceptions,
        settings.trusted_proxies.clone(),
        &settings.tokens.from,
        &settings.limits,
        instance,
    )
}
