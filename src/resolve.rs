//! Background: regions' host names to addresses, by hickory-resolver, ahead of their TTL.
//!
//! One task a region. A failure to resolve is never an event: the table keeps the last good answer, and the task asks again
//! with growing pauses. Until the first answer, what was last known good (`lastgood.rs`) is used. The resolver's own cache
//! is off, since it would answer an early refresh with old news.

mod ask;
mod refresh;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::config::{Resolver, UpstreamEndpoint};
use crate::metrics::Metrics;
use crate::region::RegionIndex;
use crate::table::Event;

/// What one region's task needs.
pub struct Resolve {
    /// Whose name.
    pub region: RegionIndex,
    /// The name.
    pub endpoint: UpstreamEndpoint,
    /// What was last known good, before this start.
    pub remembered: Vec<SocketAddr>,
    /// Asks.
    pub resolver: Arc<TokioResolver>,
    /// Bounds of a TTL.
    pub bounds: (Duration, Duration),
    /// Where answers go.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
}

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("DNS cannot be set up: {0}")]
pub struct ResolverError(#[from] NetError);

/// Builds the one resolver of the process.
///
/// # Errors
/// If the system's configuration is asked for and cannot be read.
pub fn resolver(settings: &Resolver) -> Result<Arc<TokioResolver>, ResolverError> {
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = settings.servers.iter().map(name_server).collect();
        let config = ResolverConfig::from_parts(None, vec![], servers);
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = settings.timeout;
    options.attempts = 2;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    Ok(Arc::new(builder.build()?))
}

// === impl Resolve ===

impl Resolve {
    /// Keeps one region's addresses up to date until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        if let Some(address) = self.endpoint.literal() {
            // Nothing to ask; the queue is bounded, so even this send may have to wait.
            let _ = self.events.send(self.event(vec![address])).await;
            return;
        }
        if !self.remembered.is_empty() {
            let _ = self.events.send(self.event(self.remembered.clone())).await;
        }
        let (mut failures, mut known) = (0, !self.remembered.is_empty());
        loop {
            let pause = tokio::select! {
                () = stop.cancelled() => return,
                answer = self.ask() => match answer {
                    Ok((addresses, ttl)) => {
                        (failures, known) = (0, true);
                        if self.events.send(self.event(addresses)).await.is_err() {
                            return;
                        }
                        refresh::after_answer(ttl, self.bounds)
                    }
                    Err(error) => {
                        failures += 1;
                        let meanwhile = if known {
                            "the last answer stays in use"
                        } else {
                            "no address of it is known yet, so its region gets no calls"
                        };
                        tracing::warn!(endpoint = %self.endpoint, %error, failures, "name not resolved; {meanwhile}");
                        refresh::after_failure(failures, self.bounds)
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    async fn ask(&self) -> Result<(Vec<SocketAddr>, Duration), NetError> {
        let answer = ask::ask(&self.resolver, &self.endpoint).await;
        self.metrics
            .background
            .resolved(self.region, answer.is_ok());
        answer
    }

    fn event(&self, addresses: Vec<SocketAddr>) -> Event {
        Event::Resolved {
            region: self.region,
            addresses,
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()]
        .map(|mut connection| {
            connection.port = address.port();
            connection
        })
        .to_vec();
    NameServerConfig::new(address.ip(), true, connections)
}
