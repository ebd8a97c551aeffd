//! A worker put together: opens its port, connects, starts the background tasks, pulls, stops in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use frontdoor_protocol::subject;
use frontdoor_telemetry::export::{self, ExportError, Spans, Teller};
use frontdoor_telemetry::process;
use http::HeaderValue;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::admin::{self, Facts};
use crate::attach::Attach;
use crate::call::{Container, Identity};
use crate::config::Settings;
use crate::h2c::Tasks;
use crate::handle::Handler;
use crate::health::{self, Health};
use crate::load::Load;
use crate::metrics::Metrics;
use crate::nats::{self, Link, NatsError};
use crate::presence::Speaker;
use crate::pull::Puller;
use crate::record::Books;
use crate::running::Running;
use crate::slots::Slots;
use crate::standby::{self, Standby};
use crate::stop;

/// Why a worker cannot run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The admin port cannot be opened.
    #[error("cannot listen on admin address {address}: {source}")]
    Admin {
        /// As configured.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A metric is declared twice: a mistake in this crate.
    #[error("metrics cannot be registered: {0}")]
    Metrics(#[from] prometheus::Error),
    /// Spans cannot be exported.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// NATS cannot be used.
    #[error(transparent)]
    Nats(#[from] NatsError),
}

/// A worker with its admin port open.
#[derive(Debug)]
pub struct Worker {
    settings: Settings,
    admin: TcpListener,
}

/// Runs a worker until `shutdown`; returns when it has stopped in order.
///
/// # Errors
/// If it cannot start, or the NATS server is too old.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> Result<(), RunError> {
    Worker::bind(settings).await?.run(shutdown).await
}

// === impl Worker ===

impl Worker {
    /// Opens the admin port.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub async fn bind(settings: Settings) -> Result<Self, RunError> {
        let address = settings.admin;
        let admin = TcpListener::bind(address)
            .await
            .map_err(|source| RunError::Admin { address, source })?;
        Ok(Self { settings, admin })
    }

    /// Where the admin port is; of use when the configured port is 0.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn admin_addr(&self) -> io::Result<SocketAddr> {
        self.admin.local_addr()
    }

    /// Runs until `shutdown`; returns when stopped in order.
    ///
    /// # Errors
    /// If NATS cannot be used.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), RunError> {
        let Self { settings, admin } = self;
        let worker = Uuid::new_v4();
        let registry = Registry::new();
        let metrics = Metrics::register(&registry)?;
        process::register(&registry)?;
        let teller = Teller {
            service: "frontdoor-worker",
            instance: worker.as_u128(),
            region: Some(settings.region.as_str()),
        };
        let (spans, exporter) = export::open(&settings.telemetry, teller, metrics.spans.clone())?;
        metrics
            .slots
            .set(i64::try_from(settings.slots).unwrap_or(i64::MAX));
        let (link_news, link) = watch::channel(Link::default());
        let (health_news, health) = watch::channel(Health::Starting);
        let name = format!("frontdoor-worker-{}", settings.version);
        let region = settings.region.as_str();
        let client =
            nats::connect(&settings.nats, region, name, metrics.clone(), link_news).await?;

        let tasks = Tasks(TaskTracker::new());
        let container = Arc::new(Container::new(
            &settings.container,
            tasks.clone(),
            settings.ping,
        ));
        let running = Running::default();
        let facts = Facts {
            registry,
            link: link.clone(),
            health: health.clone(),
            stopping: shutdown.clone(),
        };
        let handler = handler(
            &settings,
            Arc::clone(&container),
            &tasks,
            running.clone(),
            (metrics.clone(), spans),
        );
        let stop_background = CancellationToken::new();
        let mut background = JoinSet::new();
        if let Some(exporter) = exporter {
            background.spawn(exporter.run(stop_background.clone()));
        }
        background.spawn(admin::serve(
            admin,
            Arc::new(facts),
            stop_background.clone(),
        ));
        background.spawn(health::watch(
            container,
            settings.container.health_path.clone(),
            metrics.clone(),
            (health_news, handler.suspect.clone()),
            stop_background.clone(),
        ));
        background.spawn(nats::hear_cancels(
            client.clone(),
            settings.version,
            running,
            metrics,
            stop_background.clone(),
        ));

        let tails = TaskTracker::new();
        let standby = (settings.standby > 0).then(|| {
            let says = (text(&settings.version), text(&worker));
            Standby::new(Arc::clone(&handler), settings.standby, says, tails.clone())
        });
        if let Some(standby) = &standby {
            background.spawn(standby::hear(
                Arc::clone(standby),
                client.clone(),
                subject::service_presence(&settings.region),
                shutdown.clone(),
            ));
        }
        let speaker = Speaker::new(
            client.clone(),
            &settings,
            worker,
            &handler.load,
            link.clone(),
            (health.clone(), handler.suspect.subscribe()),
        );
        background.spawn(speaker.speak(Arc::clone(&handler.load), shutdown.clone()));

        let news = (link.clone(), health);
        let ways = (tails.clone(), standby.clone());
        let mut puller = Puller::new(client.clone(), &settings, handler, ways, news);
        tracing::info!(region = %settings.region, version = %settings.version, slots = settings.slots, "worker pulls");
        tokio::select! {
            () = puller.run(&shutdown) => {}
            error = nats::refuse_old_server(&client, link) => return Err(error.into()),
        }
        let parts = stop::Parts {
            puller,
            standby,
            tails,
            client,
            background,
            stop_background,
            connections: tasks.0,
        };
        stop::in_order(parts, settings.grace).await;
        Ok(())
    }
}

/// Requests for messages that stay out beside standing streams: enough to meet a queue at once.
fn reserve(settings: &Settings) -> Option<usize> {
    (settings.standby > 0).then(|| settings.slots.div_ceil(16).min(8))
}

/// A value made of an id, which holds nothing that a header could not.
fn text(id: &impl ToString) -> HeaderValue {
    HeaderValue::try_from(id.to_string()).unwrap_or_else(|_| HeaderValue::from_static("-"))
}

fn handler(
    settings: &Settings,
    container: Arc<Container>,
    tasks: &Tasks,
    running: Running,
    (metrics, spans): (Metrics, Spans),
) -> Arc<Handler> {
    Arc::new(Handler {
        identity: Identity::new(
            &settings.region,
            settings.function,
            settings.function_name.clone(),
            settings.version,
        ),
        container,
        attach: Attach::new(tasks.clone(), settings.ping),
        running,
        load: Arc::new(Load::new(
            Slots::new(settings.slots, reserve(settings)),
            metrics.running.clone(),
        )),
        metrics,
        books: Books {
            region: settings.region.clone(),
            spans,
        },
        suspect: watch::Sender::new(false),
        cut: CancellationToken::new(),
    })
}
