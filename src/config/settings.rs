//! The edge's settings as they are meant: only valid values, every default in one place with its unit and reason.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use frontdoor_bus::Access;
use frontdoor_protocol::config::RuleError;
use frontdoor_protocol::span::Span;
use frontdoor_telemetry::table::Telemetry;

use super::calls::{self, CallLimits, RegionTls, ReplaySettings, UpstreamSettings};
use super::explain::{self, ExplainSettings};
use super::file::{File, ProbeFile, ResolverFile};
use super::regions::{self, RegionSettings};
use super::{rules, steering};
use crate::identity::steer::Steering;
use crate::route::Policy;
use crate::table::Limits;

/// Connections at once, TLS and plain together: at about 70 kB each, 1.4 GB at the very most.
const CONNECTIONS: usize = 20_000;
/// More connections than a process can have file descriptors (Linux: `fs.nr_open`) is a typing error.
const MOST_CONNECTIONS: usize = 1 << 20;
/// HTTP/2 streams per client connection: a busy client multiplexes hundreds of waiting calls.
const STREAMS: u32 = 1_000;
/// Callers who cannot PING keep their way through NATs and load balancers by ours, and these wait a minute or more.
const PING: Duration = Duration::from_secs(20);
/// DNS: one question, then the next server.
const RESOLVER_TIMEOUT: Duration = Duration::from_millis(500);
/// A TTL below this would ask DNS more often than a change there can matter.
const MIN_TTL: Duration = Duration::from_secs(1);
/// A TTL above this would make an operator wait after moving a region.
const MAX_TTL: Duration = Duration::from_secs(60);
/// Four checks a second find a loss within the second.
const PROBE_INTERVAL: Duration = Duration::from_millis(250);
/// Under suspicion it pays to know sooner.
const PROBE_INTERVAL_SUSPECT: Duration = Duration::from_millis(100);
/// Below this a busy machine alone would look like a loss.
const PROBE_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// No path on Earth needs longer.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(1);
/// How long the edge says "not ready" before it stops accepting: one round of a load balancer's checks.
const STOP_NOTICE: Duration = Duration::from_secs(1);
/// How long calls may still run after that: the longest wait a caller may ask for, and a little.
const STOP_GRACE: Duration = Duration::from_secs(3_700);
/// How long a successor may take until a region has answered it: names, connections and a check, many times over.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(30);

/// Everything the edge needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where this was read from.
    pub file: PathBuf,
    /// What follows the ids in a function's host name.
    pub domain: String,
    /// Where the last known good addresses are kept over a restart.
    pub state_file: Option<PathBuf>,
    /// Where to listen.
    pub listen: Listen,
    /// What operators may do, and where it is kept.
    pub admin: Admin,
    /// Certificates, chosen by SNI; the first one answers when none fits.
    pub certificates: Vec<CertificateFiles>,
    /// How to resolve regions' names.
    pub resolver: Resolver,
    /// The hub or leaf to hear chatter from; the edge works without.
    pub nats: Option<Access>,
    /// How to check endpoints.
    pub probe: Probe,
    /// How to judge endpoints.
    pub limits: Limits,
    /// How to choose regions.
    pub policy: Policy,
    /// What callers may say of that.
    pub steering: Steering,
    /// How to speak with regions.
    pub upstream: UpstreamSettings,
    /// With which files, where that is over TLS.
    pub region_tls: Option<RegionTls>,
    /// What to keep of bodies.
    pub replay: ReplaySettings,
    /// What to keep of calls to explain them.
    pub explain: ExplainSettings,
    /// Where spans of calls go.
    pub telemetry: Telemetry,
    /// What callers may take.
    pub calls: CallLimits,
    /// How to stop.
    pub stop: Stop,
    /// How to be succeeded by another process.
    pub upgrade: Upgrade,
    /// The regions.
    pub regions: Vec<RegionSettings>,
}

/// Where to listen, and for how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// TLS: HTTP/2 and HTTP/1.1.
    pub https: SocketAddr,
    /// Without TLS: HTTP/1.1 and HTTP/2 with prior knowledge.
    pub http: Option<SocketAddr>,
    /// Operators only.
    pub admin: SocketAddr,
    /// The most connections at once.
    pub connections: usize,
    /// The most HTTP/2 streams on one of them.
    pub streams: u32,
    /// How often a caller on HTTP/2 is asked whether it lives, and how long it has to say so.
    pub ping: Duration,
}

/// What operators may do over the admin port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admin {
    /// Holds the token that orders need; without it there are none.
    pub token_file: Option<PathBuf>,
    /// Where orders are kept over a restart.
    pub orders_file: Option<PathBuf>,
}

/// A certificate chain and its key, in PEM files.
#[derive(Debug, Clone, PartialEq)]
pub struct CertificateFiles {
    /// The chain, leaf first.
    pub cert: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// How to resolve names.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolver {
    /// Whom to ask; the system's servers when empty.
    pub servers: Vec<SocketAddr>,
    /// For one question to one server.
    pub timeout: Duration,
    /// Lower bound of a TTL.
    pub min_ttl: Duration,
    /// Upper bound of a TTL.
    pub max_ttl: Duration,
}

/// How to check endpoints.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// What to ask for.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How often under suspicion.
    pub interval_suspect: Duration,
    /// The shortest time-out; it grows with the measured round-trip time …
    pub timeout_min: Duration,
    /// … up to this.
    pub timeout_max: Duration,
}

/// How to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// How long to say "not ready" before the listeners close.
    pub notice: Duration,
    /// How long running calls may take after that.
    pub grace: Duration,
}

/// How one process of the edge takes over from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upgrade {
    /// Where the running one is found; without it there is no taking over.
    pub socket: Option<PathBuf>,
    /// How long the new one may take to be ready.
    pub patience: Duration,
    /// How long running calls of the old one may take after that.
    pub grace: Duration,
}

// === impl Settings ===

impl Settings {
    /// Makes relative paths relative to `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        for certificate in &mut self.certificates {
            certificate.cert = folder.join(&certificate.cert);
            certificate.key = folder.join(&certificate.key);
        }
        if let Some(tls) = &mut self.region_tls {
            tls.be_relative_to(folder);
        }
        if let Some(file) = &mut self.state_file {
            *file = folder.join(&*file);
        }
        if let Some(file) = &mut self.upgrade.socket {
            *file = folder.join(&*file);
        }
        let admin = &mut self.admin;
        for file in [&mut admin.token_file, &mut admin.orders_file]
            .into_iter()
            .flatten()
        {
            *file = folder.join(&*file);
        }
        if let Some(nats) = &mut self.nats {
            nats.under(folder);
        }
        self.telemetry.under(folder);
    }
}

impl TryFrom<File> for Settings {
    type Error = RuleError;

    fn try_from(file: File) -> Result<Self, RuleError> {
        let domain = file.domain.trim_matches('.').to_ascii_lowercase();
        require(
            !domain.is_empty() && !domain.contains([' ', '/', ':']),
            "domain",
            "must be a host name",
        )?;
        require(
            !file.tls.certificates.is_empty(),
            "tls.certificates",
            "must name at least one certificate",
        )?;
        let listen = Listen {
            https: file.listen.https,
            http: file.listen.http,
            admin: file.listen.admin,
            connections: file.listen.connections.unwrap_or(CONNECTIONS),
            streams: file.listen.streams.unwrap_or(STREAMS),
            ping: some_time(file.listen.ping, PING, "listen.ping")?,
        };
        let public = [Some(listen.https), listen.http];
        let shared = |of: &SocketAddr| {
            let (ip, admin) = (of.ip(), listen.admin.ip());
            let met = ip == admin || ip.is_unspecified() || admin.is_unspecified();
            of.port() != 0 && of.port() == listen.admin.port() && met
        };
        require(
            !public.iter().flatten().any(shared),
            "listen.admin",
            "must have a port of its own, which callers cannot reach",
        )?;
        require(
            (1..=MOST_CONNECTIONS).contains(&listen.connections),
            "listen.connections",
            "must be from 1 to 1048576",
        )?;
        require(listen.streams > 0, "listen.streams", "must be at least 1")?;
        Ok(Self {
            file: PathBuf::new(),
            domain,
            state_file: file.state_file,
            listen,
            admin: Admin {
                token_file: file.admin.token_file,
                orders_file: file.admin.orders_file,
            },
            certificates: file
                .tls
                .certificates
                .into_iter()
                .map(|c| CertificateFiles {
                    cert: c.cert,
                    key: c.key,
                })
                .collect(),
            resolver: resolver(file.resolver)?,
            nats: file.nats.map(Access::try_from).transpose()?,
            probe: probe(file.probe)?,
            limits: rules::limits(&file.health)?,
            policy: rules::policy(&file.route)?,
            steering: steering::steering(file.steering)?,
            upstream: calls::upstream(&file.upstream)?,
            region_tls: calls::region_tls(&file.upstream)?,
            replay: calls::replay(&file.replay)?,
            explain: explain::explain(&file.explain)?,
            telemetry: file.telemetry.try_into()?,
            calls: calls::limits(&file.limits)?,
            stop: Stop {
                notice: span(file.stop.notice, STOP_NOTICE),
                grace: span(file.stop.grace, STOP_GRACE),
            },
            upgrade: Upgrade {
                socket: file.upgrade.socket,
                patience: some_time(file.upgrade.patience, UPGRADE_PATIENCE, "upgrade.patience")?,
                grace: span(file.upgrade.grace, STOP_GRACE),
            },
            regions: regions::regions(file.regions, file.upstream.ca.is_some())?,
        })
    }
}

pub(super) fn require(holds: bool, key: &str, rule: &str) -> Result<(), RuleError> {
    if holds {
        Ok(())
    } else {
        Err(RuleError::new(key, rule))
    }
}

pub(super) fn span(written: Option<Span>, default: Duration) -> Duration {
    written.map_or(default, Duration::from)
}

/// A length of time that must not be zero.
pub(super) fn some_time(
    written: Option<Span>,
    default: Duration,
    key: &str,
) -> Result<Duration, RuleError> {
    let value = span(written, default);
    require(!value.is_zero(), key, "must be longer than nothing")?;
    Ok(value)
}

fn resolver(file: ResolverFile) -> Result<Resolver, RuleError> {
    let min_ttl = some_time(file.min_ttl, MIN_TTL, "resolver.min_ttl")?;
    let max_ttl = span(file.max_ttl, MAX_TTL.max(min_ttl));
    require(
        max_ttl >= min_ttl,
        "resolver.max_ttl",
        "must not be below resolver.min_ttl",
    )?;
    let timeout = some_time(file.timeout, RESOLVER_TIMEOUT, "resolver.timeout")?;
    Ok(Resolver {
        servers: file.servers,
        timeout,
        min_ttl,
        max_ttl,
    })
}

fn probe(file: ProbeFile) -> Result<Probe, RuleError> {
    let path = file.path.unwrap_or_else(|| "/health".to_owned());
    require(path.starts_with('/'), "probe.path", "must start with /")?;
    let timeout_min = some_time(file.timeout_min, PROBE_TIMEOUT_MIN, "probe.timeout_min")?;
    let timeout_max = span(file.timeout_max, PROBE_TIMEOUT_MAX.max(timeout_min));
    require(
        timeout_max >= timeout_min,
        "probe.timeout_max",
        "must not be below probe.timeout_min",
    )?;
    Ok(Probe {
        path,
        interval: some_time(file.interval, PROBE_INTERVAL, "probe.interval")?,
        interval_suspect: some_time(
            file.interval_suspect,
            PROBE_INTERVAL_SUSPECT,
            "probe.interval_suspect",
        )?,
        timeout_min,
        timeout_max,
    })
}

#[cfg(test)]
mod tests;
