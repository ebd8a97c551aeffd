//! Puts the service together: ports, connection to NATS, queues, desk, front, background tasks; then waits to stop.
//!
//! The only file that knows all parts. Ports are bound before anything else, so that a wrong address fails at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use frontdoor_telemetry::export::{self, ExportError, Teller};
use frontdoor_telemetry::process;
use http::HeaderValue;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accounts::Accounts;
use crate::admin;
use crate::attach::desk::Desk;
use crate::attach::standby::{self, Standby};
use crate::auth::{self, Auth, AuthError};
use crate::canary::Canaries;
use crate::config::{Settings, Tls};
use crate::dispatch::{
    Cancel, Cancels, Catalog, Dispatch, Link, LinkError, LinkState, StreamError, send_cancels,
    watch_queues,
};
use crate::front::{Front, Held, Listener, Recalls, SecureError, Secured, Tokens};
use crate::metrics::Metrics;
use crate::phase::Phases;
use crate::record::Books;
use crate::report;
use crate::siblings::Siblings;
use crate::stop::Stopping;
use crate::tasks::{Aside, Tasks};
use crate::workers::Workers;

/// How long the start waits for NATS. Without it the service starts all the same, and says so on `/health`.
const NATS_AT_START: Duration = Duration::from_secs(3);
/// How much is done at once aside of calls: each is a question to NATS, which has two seconds for its answer.
const ASIDE: usize = 256;

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A port cannot be bound.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The port for edges cannot be secured.
    #[error(transparent)]
    Secure(#[from] SecureError),
    /// Nobody can be judged.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] LinkError),
    /// A work queue cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Spans cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A metric's name is taken twice; a fault of ours.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Runs the service until it has stopped in order after `shutdown`.
pub(crate) async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), RunError> {
    let listener = Listener::bind(
        settings.listen,
        settings.trusted_edges.clone(),
        settings.ping,
    )
    .map_err(bind_error(settings.listen))?;
    let admin = TcpListener::bind(settings.admin)
        .await
        .map_err(bind_error(settings.admin))?;
    let registry = Registry::new();
    let metrics = Arc::new(Metrics::register(&registry)?);
    let background = Background::default();
    let secured = match settings.tls.clone() {
        None => None,
        Some(tls) => Some(background.secure(tls, settings.ping, &metrics)?),
    };
    process::register(&registry)?;
    let teller = Teller {
        service: "frontdoor-invocation",
        instance: rand::random(),
        region: Some(settings.region.as_str()),
    };
    let (spans, exporter) = export::open(&settings.telemetry, teller, metrics.spans.clone())?;
    let dispatch = Arc::new(Dispatch {
        link: Link::open(&settings.nats, &settings.region).await?,
        catalog: Catalog::new(&settings.region, &settings.functions),
        region: settings.region.clone(),
        metrics: Arc::clone(&metrics),
    });
    await_nats(&dispatch, &shutdown).await?;

    let auth = Auth::new(
        settings.auth,
        settings.limits.waiting,
        &registry,
        &background.tasks,
        &background.stop,
    )?;
    let stop = settings.stop;
    let (cancels, waiting_cancels) = Cancels::new(Arc::clone(&metrics));
    let connections = TaskTracker::new();
    let workers = Workers::new();
    let standby = Standby::new(Arc::clone(&workers));
    let tasks = Tasks {
        tracker: background.tasks.clone(),
        stop: background.stop.clone(),
    };
    let front = Arc::new(Front {
        accounts: Accounts::new(settings.limits.account),
        desk: Desk::new(settings.limits.waiting, cancels),
        siblings: Siblings::new(standby.service(), tasks),
        standby,
        held: Held::new(settings.polling.keep, connections.clone()),
        domain: settings.domain,
        attach_url: settings.attach_url,
        outage: settings.nats.patience,
        // A region's name is lower case letters, digits and `-`.
        region: HeaderValue::from_str(settings.region.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static("")),
        auth: Arc::new(auth),
        dispatch,
        phases: Arc::new(Phases::new()),
        workers,
        canaries: Canaries::default(),
        recalls: Recalls::default(),
        aside: Aside::new(background.tasks.clone(), ASIDE),
        books: Books {
            region: settings.region.as_str().into(),
            metrics,
            spans,
        },
    });
    background.start(&front, waiting_cancels, admin, registry);
    if let Some(exporter) = exporter {
        background
            .tasks
            .spawn(exporter.run(background.stop.clone()));
    }
    let tokens = Tokens::default();
    let accept = listener.accept(Arc::clone(&front), connections.clone(), tokens.clone());
    connections.spawn(accept);
    if let Some(secured) = secured {
        connections.spawn(secured.accept(Arc::clone(&front), connections.clone(), tokens.clone()));
    }

    shutdown.cancelled().await;
    let stopping = Stopping {
        phases: &front.phases,
        desk: &front.desk,
        standby: &front.standby,
        link: &front.dispatch.link,
        connections: &connections,
        tokens: &tokens,
        background: &background.tasks,
        background_stop: &background.stop,
    };
    stopping.run(stop).await;
    Ok(())
}

/// What runs beside the calls, until the last step of a stop.
#[derive(Default)]
struct Background {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Background {
    /// Binds the port for edges, and follows its files.
    fn secure(&self, tls: Tls, ping: Duration, metrics: &Metrics) -> Result<Listener, RunError> {
        let address = tls.listen;
        let secured = Secured::open(tls, &metrics.certificates)?;
        let listener = Listener::bind_secured(address, Arc::clone(&secured), ping)
            .map_err(bind_error(address))?;
        let follow = secured.follow(metrics.certificates.clone(), self.stop.clone());
        self.tasks.spawn(follow);
        Ok(listener)
    }

    fn start(
        &self,
        front: &Arc<Front>,
        cancels: mpsc::Receiver<Cancel>,
        admin: TcpListener,
        registry: Registry,
    ) {
        let (tasks, stop) = (&self.tasks, || self.stop.clone());
        let dispatch = || Arc::clone(&front.dispatch);
        tasks.spawn(dispatch().follow_link(stop()));
        tasks.spawn(watch_queues(dispatch(), stop()));
        tasks.spawn(send_cancels(dispatch(), cancels, stop()));
        tasks.spawn(Arc::clone(&front.workers).listen(dispatch(), stop()));
        tasks.spawn(Arc::clone(&front.siblings).listen(dispatch(), stop()));
        tasks.spawn(Arc::clone(front).tell_what_is_held(stop()));
        tasks.spawn(Arc::clone(front.standby.closings()).tell_late(stop()));
        tasks.spawn(standby::speak(
            Arc::clone(&front.standby),
            front.attach_url.clone(),
            dispatch(),
            Arc::clone(&front.phases),
            stop(),
        ));
        tasks.spawn(Arc::clone(&front.auth).follow_keys(stop()));
        tasks.spawn(auth::hear_revocations(
            Arc::clone(&front.auth),
            front.dispatch.link.client(),
            front.dispatch.region.clone(),
            stop(),
        ));
        let speaker = report::Speaker {
            dispatch: dispatch(),
            desk: Arc::clone(&front.desk),
            phases: Arc::clone(&front.phases),
            workers: Arc::clone(&front.workers),
        };
        tasks.spawn(speaker.publish(stop()));
        tasks.spawn(admin::serve(admin, Arc::clone(front), registry, stop()));
    }
}

/// Waits a while for NATS, checks the server and makes the queues. What cannot be right later is an error; what may be
/// is left to [`Dispatch::follow_link`].
async fn await_nats(dispatch: &Dispatch, shutdown: &CancellationToken) -> Result<(), RunError> {
    let mut states = dispatch.link.states();
    let connected = tokio::select! {
        connected = tokio::time::timeout(
            NATS_AT_START,
            states.wait_for(|state| *state == LinkState::Connected),
        ) => matches!(connected, Ok(Ok(_))),
        () = shutdown.cancelled() => false,
    };
    if !connected {
        tracing::warn!("NATS is not there yet; no call can be queued until it is");
        return Ok(());
    }
    dispatch.link.check_server()?;
    match dispatch.ensure_all().await {
        Ok(()) => dispatch.link.set_up(),
        Err(error @ StreamError::Differs { .. }) => return Err(error.into()),
        Err(error) => tracing::warn!(%error, "work queues are not ready; trying again"),
    }
    Ok(())
}

fn bind_error(address: SocketAddr) -> impl FnOnce(io::Error) -> RunError {
    move |source| RunError::Bind { address, source }
}
