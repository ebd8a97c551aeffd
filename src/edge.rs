//! Builds the edge in order, runs it, and stops it in order.
//!
//! Start: certificates, ports, then keeper, resolve, probe, chatter, admin, and the listeners last. Nothing waits for NATS or
//! DNS: until a region is known, calls get an honest 503. Only an edge that takes over from another one is ready first and
//! listens then (`succeed.rs`). Stop: see `stop.rs`.

mod ports;

mod stop;

mod succeed;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use frontdoor_telemetry::export::{self, ExportError, Spans, Teller};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin, Events, Painter, Ready, Token};
use crate::canary::Canaries;
use crate::chatter::{Chatter, Turn};
use crate::config::{self, Settings};
use crate::explain::Diary;
use crate::handover::{HandoverError, Offered};
use crate::keeper::Keeper;
use crate::lastgood;
use crate::listen::certificates::{CertificateError, Certificates, acceptor};
use crate::listen::{self, BindError, Farewell, Front, Scheme};
use crate::metrics::Metrics;
use crate::notify::{self, Word};
use crate::orders::{self, Clerk, Desk};
use crate::probe::Prober;
use crate::proxy::{Admission, EdgeProxy, ReplayBudget};
use crate::region::RegionIndex;
use crate::reload::{self, Reload};
use crate::resolve::{self, Resolve, ResolverError};
use crate::route::{Policy, RetryBudget};
use crate::table::{self, Event, SnapshotReader, Table};
use crate::upstream::{self, Dialer, Pool, TrustError};
use ports::Ports;

/// Why the edge cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// A certificate is of no use.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// Regions cannot be spoken to over TLS.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// DNS cannot be set up.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A metric cannot be registered.
    #[error(transparent)]
    Metrics(#[from] prometheus::Error),
    /// The admin token cannot be read.
    #[error("the admin token cannot be read from {file}: {source}")]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The ready file cannot be written.
    #[error("cannot write {file}: {source}")]
    ReadyFile {
        /// The file.
        file: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The running edge cannot be succeeded.
    #[error(transparent)]
    Handover(#[from] HandoverError),
    /// It was to take over, and is not ready.
    #[error("not ready within {patience:?}, so the running edge goes on: {}", missing.join(", "))]
    NotReady {
        /// The time it had.
        patience: Duration,
        /// What is missing.
        missing: Vec<&'static str>,
    },
    /// A socket's own address cannot be read.
    #[error(transparent)]
    Socket(#[from] std::io::Error),
}

/// How this run of the edge begins.
#[derive(Debug, Default)]
pub struct Start {
    /// Written when the edge serves: the addresses it listens on, as JSON.
    pub ready_file: Option<PathBuf>,
    /// Take over from the edge that runs.
    pub upgrade: bool,
    /// Sockets that the service manager opened.
    pub activated: Offered,
}

/// What all background tasks share.
struct World {
    settings: Settings,
    dialer: Arc<Dialer>,
    metrics: Arc<Metrics>,
    events: mpsc::Sender<Event>,
    reader: SnapshotReader,
    budget: Arc<RetryBudget>,
    policy: Arc<ArcSwap<Policy>>,
    diary: Arc<Diary>,
    spans: Spans,
}

/// News that waits for the keeper. It takes a microsecond for each, so a full queue means that it is not running.
const EVENTS: usize = 4096;

/// Runs the edge until `shutdown`, then stops it in order.
///
/// # Errors
/// If it cannot start. Once it runs, it does not fail: it degrades and says so.
pub async fn run(
    settings: Settings,
    start: Start,
    shutdown: CancellationToken,
) -> Result<(), EdgeError> {
    let watched = reload::watch(&settings).await;
    let certificates = Arc::new(Certificates::load(&settings.certificates)?);
    let acceptor = acceptor(Arc::clone(&certificates))?;
    let token = token(&settings.admin)?;
    let dialer = Dialer::new(&settings.regions, settings.region_tls.as_ref())?;
    let dialer = Arc::new(dialer);
    let (takeover, offered) =
        succeed::sockets(&settings.upgrade, start.upgrade, start.activated).await?;
    let ports = Ports::open(&settings.listen, offered)?;
    let names: Vec<String> = settings
        .regions
        .iter()
        .map(|r| r.name.to_string())
        .collect();
    let metrics = Arc::new(Metrics::new(&names)?);
    reload::show_expiries(&settings, &certificates, &metrics);
    let teller = Teller {
        service: "frontdoor-edge",
        instance: rand::random(),
        region: None,
    };
    let (spans, exporter) = export::open(&settings.telemetry, teller, metrics.spans.clone())?;
    let (writer, reader) = table::place();
    let (events, inbox) = mpsc::channel(EVENTS);
    let budget = Arc::new(RetryBudget::default());
    let ready = Arc::new(Ready::default());
    let keeper = Keeper {
        table: Table::new(
            settings.regions.iter().map(|r| (r.name.clone(), r.weight)),
            settings.limits,
        ),
        events: inbox,
        writer,
        reader: reader.clone(),
        budget: Arc::clone(&budget),
        metrics: Arc::clone(&metrics),
    };
    let world = World {
        policy: Arc::new(ArcSwap::from_pointee(settings.policy)),
        diary: Arc::new(Diary::new(settings.explain)),
        spans,
        settings,
        dialer,
        metrics,
        events,
        reader,
        budget,
    };

    let background = CancellationToken::new();
    // What only one edge at these ports may do; it ends earlier when there is a successor.
    let serving = background.child_token();
    let mut tasks = JoinSet::new();
    tasks.spawn(keeper.run(background.clone()));
    if let Some(exporter) = exporter {
        tasks.spawn(exporter.run(background.clone()));
    }
    world.start(&mut tasks, &background, &serving)?;
    let orders = world.take_orders(&mut tasks, &background);
    let reload = Reload {
        settings: world.settings.clone(),
        certificates: Arc::clone(&certificates),
        policy: Arc::clone(&world.policy),
        dialer: Arc::clone(&world.dialer),
        events: world.events.clone(),
        metrics: Arc::clone(&world.metrics),
        watched,
    };
    tasks.spawn(reload.run(background.clone()));
    let pictures = Events::new(serving.clone());
    let painter = Painter {
        snapshots: world.reader.clone(),
        ready: Arc::clone(&ready),
        diary: Arc::clone(&world.diary),
        orders: token.is_some(),
        events: pictures.clone(),
    };
    tasks.spawn(painter.run(background.clone()));
    let admin = Admin {
        ready: Arc::clone(&ready),
        diary: Arc::clone(&world.diary),
        events: pictures,
        snapshots: world.reader.clone(),
        metrics: Arc::clone(&world.metrics),
        orders: orders.clone(),
        token,
    };

    let pool = Arc::new(Pool::new(
        world.settings.upstream,
        Arc::clone(&world.dialer),
        names,
        Arc::clone(&world.metrics),
    ));
    tasks.spawn(upstream::keep_warm(
        Arc::clone(&pool),
        world.reader.clone(),
        background.clone(),
    ));
    let (drain, draining) = watch::channel(false);
    let farewell = Farewell::default();
    let calls = TaskTracker::new();
    let front = Arc::new(Front {
        app: world.proxy(Arc::clone(&pool), certificates, farewell.clone()),
        acceptor,
        metrics: Arc::clone(&world.metrics),
        connections: Arc::new(Semaphore::new(world.settings.listen.connections)),
        handshake: world.settings.calls.handshake,
        streams: world.settings.listen.streams,
        ping: world.settings.listen.ping,
        draining,
        farewell: farewell.clone(),
        tasks: calls.clone(),
    });
    if takeover.is_some()
        && !succeed::ready(&ready, &world.reader, &world.settings.upgrade, &shutdown).await?
    {
        return Ok(());
    }
    let (offered, addresses) = (ports.offer()?, ports.addresses()?);
    let admin_stop = serving.clone();
    tasks.spawn(async move {
        if let Err(error) = admin::serve(ports.admin, admin, admin_stop).await {
            tracing::error!(%error, "the admin port broke; the edge serves on without it");
        }
    });
    let mut listeners = JoinSet::new();
    listeners.spawn(listen::serve(
        ports.https,
        Scheme::Https,
        Arc::clone(&front),
    ));
    if let Some(http) = ports.http {
        listeners.spawn(listen::serve(http, Scheme::Http, Arc::clone(&front)));
    }
    if let Some(takeover) = takeover {
        takeover.finish().await?;
    }
    addresses.tell(start.ready_file)?;
    notify::tell(Word::Ready);

    let left = tokio::select! {
        () = shutdown.cancelled() => None,
        successor = succeed::door(&world.settings.upgrade, offered, &orders) => Some(successor),
    };
    let parts = stop::Parts {
        ready: &ready,
        drain: &drain,
        farewell: &farewell,
        pool: &pool,
        listeners,
        calls,
        serving,
        background,
        tasks,
    };
    match left {
        None => stop::in_order(world.settings.stop, parts).await,
        Some(successor) => stop::succeeded(&world.settings, &successor, &shutdown, parts).await,
    }
    Ok(())
}

// === impl World ===

impl World {
    fn start(
        &self,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
        serving: &CancellationToken,
    ) -> Result<(), ResolverError> {
        let resolver = resolve::resolver(&self.settings.resolver)?;
        let known = self.settings.state_file.as_deref().map(lastgood::read);
        let known = known.unwrap_or_default();
        for (index, region) in self.settings.regions.iter().enumerate() {
            let resolve = Resolve {
                region: RegionIndex(index),
                endpoint: region.endpoint.clone(),
                remembered: known.of(&region.name),
                resolver: Arc::clone(&resolver),
                bounds: (
                    self.settings.resolver.min_ttl,
                    self.settings.resolver.max_ttl,
                ),
                events: self.events.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            tasks.spawn(resolve.run(stop.clone()));
        }
        if let Some(file) = self.settings.state_file.clone() {
            let snapshots = self.reader.clone();
            let writer = lastgood::Writer {
                file,
                known,
                snapshots,
            };
            tasks.spawn(writer.run(serving.clone()));
        }
        let prober = Prober {
            settings: self.settings.probe.clone(),
            dialer: Arc::clone(&self.dialer),
            snapshots: self.reader.clone(),
            events: self.events.clone(),
            metrics: Arc::clone(&self.metrics),
        };
        tasks.spawn(prober.run(stop.clone()));
        if let Some(settings) = self.settings.nats.clone() {
            let (turn, whose) = watch::channel(Turn::Alone);
            let canaries = Canaries {
                snapshots: self.reader.clone(),
                turn: whose,
                dialer: Arc::clone(&self.dialer),
                events: self.events.clone(),
            };
            tasks.spawn(canaries.run(stop.clone()));
            let chatter = Chatter {
                settings,
                edge: rand::random(),
                snapshots: self.reader.clone(),
                turn,
                events: self.events.clone(),
                metrics: Arc::clone(&self.metrics),
            };
            tasks.spawn(chatter.run(stop.clone()));
        }
        Ok(())
    }

    fn take_orders(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) -> Desk {
        let (desk, requests) = orders::desk();
        let clerk = Clerk {
            regions: self
                .settings
                .regions
                .iter()
                .map(|r| r.name.clone())
                .collect(),
            file: self.settings.admin.orders_file.clone(),
            nats: self.settings.nats.clone(),
            requests,
            events: self.events.clone(),
        };
        tasks.spawn(clerk.run(stop.clone()));
        desk
    }

    /// The request path.
    fn proxy(
        &self,
        pool: Arc<Pool>,
        certificates: Arc<Certificates>,
        farewell: Farewell,
    ) -> Arc<EdgeProxy> {
        let replay = ReplayBudget::new(self.settings.replay, Arc::clone(&self.metrics));
        Arc::new(EdgeProxy {
            domain: self.settings.domain.clone(),
            snapshots: self.reader.clone(),
            policy: Arc::clone(&self.policy),
            steering: self.settings.steering.clone(),
            budget: Arc::clone(&self.budget),
            admission: Arc::new(Admission::new(self.settings.calls)),
            farewell,
            certificates,
            replay: Arc::new(replay),
            pool,
            news: self.events.clone(),
            diary: Arc::clone(&self.diary),
            spans: self.spans.clone(),
            metrics: Arc::clone(&self.metrics),
        })
    }
}

/// The admin token, if orders are wanted at all.
fn token(settings: &config::Admin) -> Result<Option<Token>, EdgeError> {
    let Some(file) = &settings.token_file else {
        return Ok(None);
    };
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(Token::new(&text))),
        Err(source) => Err(EdgeError::TokenFile {
            file: file.clone(),
            source,
        }),
    }
}

/// How long background tasks get to end; they only have to notice.
const BACKGROUND: Duration = Duration::from_secs(2);
