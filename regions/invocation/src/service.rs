//! Puts the service together: ports, connection to NATS, queues, desk, front, background tasks; then waits to stop.
//!
//! The only file that knows all parts. Ports are bound before anything else, so that a wrong address fails at once.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin;
use crate::attach::desk::Desk;
use crate::auth::Keys;
use crate::config::Settings;
use crate::dispatch::{self, Catalog, Dispatch, Link, LinkError, LinkState, StreamError};
use crate::front::{Front, Listener, Tokens};
use crate::metrics::Metrics;
use crate::phase::Phases;
use crate::report;
use crate::stop::Stopping;

/// How long the start waits for NATS. Without it the service starts all the same, and says so on `/health`.
const NATS_AT_START: Duration = Duration::from_secs(3);

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
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] LinkError),
    /// A work queue cannot be used.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A metric's name is taken twice; a fault of ours.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
}

/// Runs the service until it has stopped in order after `shutdown`.
pub(crate) async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), RunError> {
    let listener = Listener::bind(settings.listen, settings.trusted_edges.clone())
        .map_err(bind_error(settings.listen))?;
    let admin = TcpListener::bind(settings.admin)
        .await
        .map_err(bind_error(settings.admin))?;
    let registry = Registry::new();
    let metrics = Arc::new(Metrics::register(&registry)?);
    let stop = settings.stop;

    let dispatch = Arc::new(Dispatch {
        link: Link::open(&settings.nats, &settings.region).await?,
        catalog: Catalog::new(&settings.region, &settings.functions),
        region: settings.region.clone(),
        metrics: Arc::clone(&metrics),
    });
    await_nats(&dispatch, &shutdown).await?;

    let (cancels, waiting_cancels) = dispatch::Cancels::new(Arc::clone(&metrics));
    let desk = Desk::new(settings.limits.waiting, cancels);
    let phases = Arc::new(Phases::new());
    let front = Arc::new(front(
        settings,
        Arc::clone(&dispatch),
        Arc::clone(&desk),
        Arc::clone(&phases),
        metrics,
    ));

    let background = TaskTracker::new();
    let background_stop = CancellationToken::new();
    background.spawn({
        let (dispatch, stop) = (Arc::clone(&dispatch), background_stop.clone());
        async move { dispatch.follow_link(stop).await }
    });
    background.spawn(dispatch::send_cancels(
        Arc::clone(&dispatch),
        waiting_cancels,
        background_stop.clone(),
    ));
    background.spawn(report::publish(
        Arc::clone(&dispatch),
        Arc::clone(&desk),
        Arc::clone(&phases),
        background_stop.clone(),
    ));
    background.spawn(admin::serve(
        admin,
        Arc::clone(&front),
        registry,
        background_stop.clone(),
    ));
    let connections = TaskTracker::new();
    let tokens = Tokens::default();
    connections.spawn(listener.accept(front, connections.clone(), tokens.clone()));

    shutdown.cancelled().await;
    Stopping {
        phases: &phases,
        desk: &desk,
        link: &dispatch.link,
        connections: &connections,
        tokens: &tokens,
        background: &background,
        background_stop: &background_stop,
    }
    .run(stop)
    .await;
    Ok(())
}

fn front(
    settings: Settings,
    dispatch: Arc<Dispatch>,
    desk: Arc<Desk>,
    phases: Arc<Phases>,
    metrics: Arc<Metrics>,
) -> Front {
    Front {
        domain: settings.domain,
        attach_url: settings.attach_url,
        // A region's name is lower case letters, digits and `-`.
        region: HeaderValue::from_str(settings.region.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static("")),
        keys: Keys::new(settings.keys),
        dispatch,
        desk,
        phases,
        metrics,
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
