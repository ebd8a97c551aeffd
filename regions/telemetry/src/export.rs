//! Spans on their way out: a bounded queue that never makes a call wait, and one task that sends them in batches.
//!
//! Nobody waits for a collector: what finds the queue full is dropped and counted, and so is what cannot be sent within its
//! time. Without an endpoint there is no queue and no task, and asking whether a span is wanted is one comparison.

use std::sync::Arc;
use std::time::Duration;

use frontdoor_protocol::trace::Trace;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::collector::Collector;
pub use crate::collector::TrustError;
use crate::span::Span;
use crate::table::Telemetry;

/// The most spans in one request; a hundred kilobytes or so.
const BATCH: usize = 512;
/// How long the first span of a batch waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// For one request and its repetitions.
const PATIENCE: Duration = Duration::from_secs(5);
/// For all that is left at a stop, what is on its way included: a stop waits for more important things.
const LAST: Duration = Duration::from_secs(1);
/// A failing collector is spoken of this often.
const COMPLAIN: Duration = Duration::from_secs(60);

/// Where parts of calls are told; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Spans(Option<Arc<Wanted>>);

#[derive(Debug)]
struct Wanted {
    queue: mpsc::Sender<Span>,
    dropped: IntCounter,
    share: u64,
}

/// Sends what was told.
#[derive(Debug)]
pub struct Exporter {
    told: mpsc::Receiver<Span>,
    exporter: SpanExporter,
    scope: InstrumentationScope,
    counts: Counts,
    complained: Option<Instant>,
}

/// What became of spans.
#[derive(Debug, Clone)]
pub struct Counts {
    sent: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
}

/// Why spans cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The collector cannot be trusted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The environment (`OTEL_EXPORTER_OTLP_…`) says what cannot be done.
    #[error("spans cannot be exported: {0}")]
    Build(#[from] ExporterBuildError),
}

/// Which program tells.
#[derive(Debug, Clone, Copy)]
pub struct Teller<'a> {
    /// `service.name`.
    pub service: &'static str,
    /// `service.instance.id`: different for each process.
    pub instance: u128,
    /// The region that it serves.
    pub region: Option<&'a str>,
}

/// Where spans are told, and who sends them; both do nothing without an endpoint.
///
/// # Errors
/// If the collector could not be trusted, or the environment says what cannot be done.
pub fn open(
    settings: &Telemetry,
    teller: Teller<'_>,
    counts: Counts,
) -> Result<(Spans, Option<Exporter>), ExportError> {
    let Some(endpoint) = &settings.endpoint else {
        return Ok((Spans::default(), None));
    };
    let base = endpoint.to_string();
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(endpoint, settings.ca.as_deref())?)
        .with_endpoint(format!("{}/v1/traces", base.trim_end_matches('/')))
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(PATIENCE)
        .build()?;
    exporter.set_resource(&resource(teller));
    let (queue, told) = mpsc::channel(settings.queue);
    let spans = Spans(Some(Arc::new(Wanted {
        queue,
        dropped: counts.dropped.clone(),
        share: settings.share,
    })));
    let version = env!("CARGO_PKG_VERSION");
    let scope = InstrumentationScope::builder("frontdoor").with_version(version);
    let exporter = Exporter {
        told,
        exporter,
        scope: scope.build(),
        counts,
        complained: None,
    };
    Ok((spans, Some(exporter)))
}

fn resource(teller: Teller<'_>) -> Resource {
    let fixed = [
        KeyValue::new("service.name", teller.service),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", format!("{:032x}", teller.instance)),
    ];
    let region = teller.region.map(str::to_owned);
    let region = region.map(|region| KeyValue::new("frontdoor.region", region));
    Resource::builder_empty()
        .with_attributes(fixed.into_iter().chain(region))
        .build()
}

// === impl Spans ===

impl Spans {
    /// Decides whether a trace that begins here is recorded. Without an endpoint others may still record it.
    #[must_use]
    pub fn sampled(&self, trace: Trace) -> Trace {
        match &self.0 {
            Some(wanted) => trace.sampled(wanted.share),
            None => trace,
        }
    }

    /// Whether anything is told at all.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Whether a span of this trace is wanted: if not, none need be made.
    #[must_use]
    pub fn wants(&self, trace: &Trace) -> bool {
        self.is_on() && trace.is_recorded()
    }

    /// Tells a span. Never waits: it is dropped if too many are waiting.
    pub fn tell(&self, span: Span) {
        if let Some(wanted) = &self.0
            && wanted.queue.try_send(span).is_err()
        {
            wanted.dropped.inc();
        }
    }
}

// === impl Exporter ===

impl Exporter {
    /// Sends what is told until `stop`, and then, for a second at most, what was told before it.
    pub async fn run(mut self, stop: CancellationToken) {
        // A collector that is away or hangs must not hold up a stop, whatever is being sent when it comes.
        let over = async {
            stop.cancelled().await;
            tokio::time::sleep(LAST).await;
        };
        tokio::select! {
            () = self.work(&stop) => {}
            () = over => tracing::debug!("some spans were not taken over in time"),
        }
    }

    async fn work(&mut self, stop: &CancellationToken) {
        let mut batch = Vec::with_capacity(BATCH);
        while stop.run_until_cancelled(self.gather(&mut batch)).await == Some(true) {
            self.send(&mut batch).await;
        }
        self.told.close();
        self.rest(&mut batch).await;
    }

    async fn rest(&mut self, batch: &mut Vec<Span>) {
        while batch.len() == BATCH || self.told.recv_many(batch, BATCH - batch.len()).await > 0 {
            if batch.len() == BATCH {
                self.send(batch).await;
            }
        }
        self.send(batch).await;
    }

    /// Fills a batch for a while; `false` if nobody can tell anything any more. Loses nothing if dropped.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        if batch.is_empty() && self.told.recv_many(batch, BATCH).await == 0 {
            return false;
        }
        let over = Instant::now() + GATHER;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            let more = tokio::time::timeout_at(over, self.told.recv_many(batch, room));
            match more.await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        true
    }

    async fn send(&mut self, batch: &mut Vec<Span>) {
        let spans = batch.drain(..).map(|span| span.into_data(&self.scope));
        let spans: Vec<_> = spans.collect();
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        if count == 0 {
            return;
        }
        let sent = timeout(PATIENCE, self.exporter.export(spans)).await;
        let failed = match sent {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(_) => Some(format!("no answer within {PATIENCE:?}")),
        };
        match failed {
            None => self.counts.sent.inc_by(count),
            Some(reason) => {
                self.counts.failed.inc_by(count);
                self.complain(&reason);
            }
        }
    }

    fn complain(&mut self, reason: &str) {
        let now = Instant::now();
        if self.complained.is_none_or(|at| now - at >= COMPLAIN) {
            self.complained = Some(now);
            tracing::warn!(reason, "spans could not be sent to the collector");
        }
    }
}

// === impl Counts ===

impl Counts {
    /// Registers `spans_total`, with `prefix` and `_` before it unless that is empty.
    ///
    /// # Errors
    /// If the registry holds the name already.
    pub fn register(registry: &Registry, prefix: &str) -> Result<Self, prometheus::Error> {
        let name = match prefix {
            "" => "spans_total".to_owned(),
            prefix => format!("{prefix}_spans_total"),
        };
        let help = "Spans of calls for the collector of `[telemetry]`, by what became of them.";
        let family = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
        registry.register(Box::new(family.clone()))?;
        let [sent, failed, dropped] =
            ["sent", "failed", "dropped"].map(|outcome| family.with_label_values(&[outcome]));
        Ok(Self {
            sent,
            failed,
            dropped,
        })
    }
}

#[cfg(test)]
mod tests;
