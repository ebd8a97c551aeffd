//! The worker's settings as meant: a value of these types obeys every rule.

use std::net::SocketAddr;
use std::time::Duration;

use frontdoor_bus::Access;
use frontdoor_protocol::config::RuleError;
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_telemetry::table::Telemetry;
use http::HeaderValue;
use http::uri::{Authority, PathAndQuery, Scheme, Uri};

use super::file;

/// Running calls get this long at stop: as long as a caller may wait for an answer.
const GRACE: Duration = Duration::from_secs(3600);
/// Where most containers answer for their health.
const HEALTH_PATH: &str = "/health";
/// Standing streams at each invocation service; a burst of more than that waits a round trip for the next ones.
const STANDBY: usize = 64;
/// An invocation service or container that froze is given up after twice this.
const PING: Duration = Duration::from_secs(10);
/// An invocation service takes no more from one worker.
const MOST_STANDBY: usize = 1024;
/// More slots than this is a typing error: nats-server caps a consumer's unacknowledged messages at 100,000.
const MOST_SLOTS: usize = 10_000;

/// One thread carries some ten thousand small calls a second. Every further one makes each call dearer, because what
/// belongs to it is then passed between threads, and the machine is the container's.
const THREADS: usize = 1;
/// More than this is a typing error.
const MOST_THREADS: usize = 256;

/// How a worker is to run.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose work queue is served.
    pub region: RegionName,
    /// The function.
    pub function: FunctionId,
    /// Its name, told to the container.
    pub function_name: HeaderValue,
    /// The version that the container runs.
    pub version: VersionId,
    /// Where `/live`, `/ready` and `/metrics` are served.
    pub admin: SocketAddr,
    /// How many calls at once; at least one.
    pub slots: usize,
    /// Streams that stand ready at each invocation service, for calls that need not queue; none if 0.
    pub standby: usize,
    /// How often a silent invocation service or h2c container is asked whether it lives, and how long it has to say so.
    pub ping: Duration,
    /// Threads that carry calls; at least one. Whoever makes the runtime reads it.
    pub threads: usize,
    /// The region's NATS.
    pub nats: Access,
    /// The function container.
    pub container: Container,
    /// Where spans of calls go.
    pub telemetry: Telemetry,
    /// How long running calls may take after the stop was asked for.
    pub grace: Duration,
}

/// How to reach the container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Host and port.
    pub authority: Authority,
    /// Asked for health.
    pub health_path: PathAndQuery,
    /// What it speaks.
    pub protocol: Protocol,
}

/// What a container speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, a pool of connections.
    Http1,
    /// HTTP/2 without TLS, one connection.
    H2c,
}

// === impl Settings ===

impl TryFrom<file::File> for Settings {
    type Error = RuleError;

    fn try_from(file: file::File) -> Result<Self, RuleError> {
        if !(1..=MOST_SLOTS).contains(&file.slots) {
            let rule = format!("must be from 1 to {MOST_SLOTS}");
            return Err(RuleError::new("slots", rule));
        }
        if file.standby.is_some_and(|standby| standby > MOST_STANDBY) {
            let rule = format!("must be at most {MOST_STANDBY}");
            return Err(RuleError::new("standby", rule));
        }
        let ping = file.ping.map_or(PING, Duration::from);
        if ping.is_zero() {
            return Err(RuleError::new("ping", "must be longer than nothing"));
        }
        let threads = file.threads.unwrap_or(THREADS);
        if !(1..=MOST_THREADS).contains(&threads) {
            let rule = format!("must be from 1 to {MOST_THREADS}");
            return Err(RuleError::new("threads", rule));
        }
        let function_name = HeaderValue::from_str(&file.function_name)
            .map_err(|_| RuleError::new("function_name", "must be visible ASCII characters"))?;
        Ok(Self {
            region: file.region,
            function: file.function,
            function_name,
            version: file.version,
            admin: file.admin,
            slots: file.slots,
            standby: file.standby.unwrap_or(STANDBY),
            ping,
            threads,
            nats: file.nats.try_into()?,
            container: container(file.container)?,
            telemetry: file.telemetry.try_into()?,
            grace: file.stop.grace.map_or(GRACE, Duration::from),
        })
    }
}

fn container(written: file::Container) -> Result<Container, RuleError> {
    let url_rule = || {
        let rule = "must be http://host:port, without a path";
        RuleError::new("container.url", rule)
    };
    let url = written.url.parse::<Uri>().map_err(|_| url_rule())?;
    let plain = url.scheme() == Some(&Scheme::HTTP) && url.path() == "/" && url.query().is_none();
    let authority = url.authority().filter(|_| plain).ok_or_else(url_rule)?;
    let health_path = written.health_path.as_deref().unwrap_or(HEALTH_PATH);
    let health_path = Some(health_path)
        .filter(|path| path.starts_with('/'))
        .and_then(|path| path.parse().ok())
        .ok_or_else(|| RuleError::new("container.health_path", "must be a path like /health"))?;
    Ok(Container {
        authority: authority.clone(),
        health_path,
        protocol: match written.protocol {
            None | Some(file::Protocol::Http1) => Protocol::Http1,
            Some(file::Protocol::H2c) => Protocol::H2c,
        },
    })
}
