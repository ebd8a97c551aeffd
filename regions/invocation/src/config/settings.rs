//! The settings as meant: every value here is valid, so nothing past the start checks one again.
//!
//! Made from `file.rs` alone (`TryFrom`), or by hand in tests. Secrets in it are never printed: see the `Debug` of
//! [`frontdoor_bus::Login`].

mod auth;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use frontdoor_bus::{Access, NatsTable};
use frontdoor_protocol::config::RuleError;
use frontdoor_protocol::names::{FunctionId, RegionName, VersionId};
use frontdoor_telemetry::table::Telemetry;
use ipnet::IpNet;

use super::file;

pub(super) use auth::Keys;
pub use auth::{Auth, Authority, Key, Scope};

/// More waiting calls than this cannot be meant: the work queue of a version holds 100 000.
const WAITING_MAX: usize = 100_000;

/// An answer that nobody fetches within a day is not waited for.
const KEEP_MAX: Duration = Duration::from_secs(24 * 3600);

/// More threads than this is a typing error.
const THREADS_MAX: usize = 256;

/// Everything an invocation service is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The region it serves.
    pub region: RegionName,
    /// Function hosts end in this, without a leading dot, in lower case.
    pub domain: String,
    /// Callers and workers connect here.
    pub listen: SocketAddr,
    /// `/live`, `/ready`, `/metrics`.
    pub admin: SocketAddr,
    /// How workers reach this very instance; no slash at its end.
    pub attach_url: String,
    /// How often a silent peer is asked whether it lives, and how long it has to say so.
    pub ping: Duration,
    /// Threads that carry calls, at least one; if it is not said, whoever makes the runtime decides.
    pub threads: Option<usize>,
    /// Peers whose `nvcf-reqid` and `frontdoor-remaining-ms` are believed.
    pub trusted_edges: Vec<IpNet>,
    /// A port of their own for edges, over TLS.
    pub tls: Option<Tls>,
    /// The region's message bus.
    pub nats: Nats,
    /// Bounds.
    pub limits: Limits,
    /// Calls that outlive the request which made them.
    pub polling: Polling,
    /// How to stop.
    pub stop: Stop,
    /// What is deployed here.
    pub functions: Vec<Function>,
    /// Who may call, and who decides it.
    pub auth: Auth,
    /// Where spans of calls go.
    pub telemetry: Telemetry,
}

/// A port for edges over TLS, with certificates on both sides.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Where.
    pub listen: SocketAddr,
    /// Our certificate chain.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The authorities of edges' certificates.
    pub client_ca: PathBuf,
}

/// The region's message bus.
#[derive(Debug, Clone)]
pub struct Nats {
    /// How long a call waits while it is away or silent.
    pub patience: Duration,
    /// Where it is, and how to get in.
    pub access: Access,
}

/// Bounds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Calls accepted and not finished.
    pub waiting: usize,
    /// Those of one account; no bound of their own if `None`.
    pub account: Option<usize>,
}

/// Calls that outlive the request which made them.
#[derive(Debug, Clone, Copy)]
pub struct Polling {
    /// How long a call may take after its first caller stopped waiting, and then its answer waits to be fetched.
    pub keep: Duration,
}

/// How to stop.
#[derive(Debug, Clone, Copy)]
pub struct Stop {
    /// How long `/health` says draining before new calls are refused.
    pub notice: Duration,
    /// How long running calls may take after that.
    pub grace: Duration,
}

/// A deployed function; it has at least one version.
#[derive(Debug, Clone)]
pub struct Function {
    /// Its id.
    pub id: FunctionId,
    /// Its name, for people.
    pub name: String,
    /// Its versions.
    pub versions: Vec<VersionId>,
    /// How their workers attach.
    pub workers: Workers,
    /// Path and query of calls through the API (`pexec`, `exec`).
    pub invocation_path: String,
}

/// How workers attach, as far as the operator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workers {
    /// They claim a call before they run it. Should one be seen that does not, its version counts as late from then on;
    /// its very first call may be misjudged.
    Claiming,
    /// At least one runs a call first and attaches with the answer, as NVIDIA's do.
    Late,
}

// === impl Settings ===

impl TryFrom<file::File> for Settings {
    type Error = RuleError;

    fn try_from(file: file::File) -> Result<Self, RuleError> {
        if !(1..=WAITING_MAX).contains(&file.limits.waiting) {
            return Err(RuleError::new(
                "limits.waiting",
                format!("must be 1 to {WAITING_MAX}"),
            ));
        }
        if file
            .limits
            .account
            .is_some_and(|account| !(1..=file.limits.waiting).contains(&account))
        {
            return Err(RuleError::new(
                "limits.account",
                "must be 1 to `limits.waiting`",
            ));
        }
        if file
            .threads
            .is_some_and(|n| !(1..=THREADS_MAX).contains(&n))
        {
            let rule = format!("must be 1 to {THREADS_MAX}");
            return Err(RuleError::new("threads", rule));
        }
        if file.listen == file.admin && file.listen.port() != 0 {
            return Err(RuleError::new("admin", "must differ from `listen`"));
        }
        Ok(Self {
            domain: domain(&file.domain)?,
            attach_url: attach_url(&file.attach_url)?,
            ping: ping(file.ping.into())?,
            threads: file.threads,
            nats: nats(file.nats)?,
            functions: functions(file.functions)?,
            auth: auth::settings(file.auth, file.keys)?,
            telemetry: file.telemetry.try_into()?,
            region: file.region,
            listen: file.listen,
            admin: file.admin,
            trusted_edges: file.trusted_edges,
            tls: file.tls.map(|tls| Tls {
                listen: tls.listen,
                cert: tls.cert,
                key: tls.key,
                client_ca: tls.client_ca,
            }),
            limits: Limits {
                waiting: file.limits.waiting,
                account: file.limits.account,
            },
            polling: Polling {
                keep: keep(file.polling.keep.into())?,
            },
            stop: Stop {
                notice: file.stop.notice.into(),
                grace: file.stop.grace.into(),
            },
        })
    }
}

fn domain(text: &str) -> Result<String, RuleError> {
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    if text.split('.').all(label) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(RuleError::new(
            "domain",
            "must be a host name such as invocation.example.com, without dots at its ends",
        ))
    }
}

fn ping(ping: Duration) -> Result<Duration, RuleError> {
    if ping.is_zero() {
        return Err(RuleError::new("ping", "must be longer than nothing"));
    }
    Ok(ping)
}

fn attach_url(text: &str) -> Result<String, RuleError> {
    let rule = || {
        RuleError::new(
            "attach_url",
            "must be http://host:port of this very instance, without a path",
        )
    };
    let url: http::Uri = text.parse().map_err(|_| rule())?;
    let plain = url.scheme_str() == Some("http") && matches!(url.path(), "" | "/");
    match url.authority() {
        Some(authority) if plain && url.query().is_none() => Ok(format!("http://{authority}")),
        _ => Err(rule()),
    }
}

fn nats(nats: file::Nats) -> Result<Nats, RuleError> {
    let table = NatsTable {
        url: nats.url,
        credentials_file: nats.credentials_file,
        nkey_file: nats.nkey_file,
        user: nats.user,
        password: nats.password,
        tls: nats.tls,
    };
    Ok(Nats {
        patience: nats.patience.0,
        access: table.try_into()?,
    })
}

fn keep(keep: Duration) -> Result<Duration, RuleError> {
    if (Duration::from_secs(1)..=KEEP_MAX).contains(&keep) {
        Ok(keep)
    } else {
        Err(RuleError::new("polling.keep", "must be 1s to 24h"))
    }
}

fn functions(written: Vec<file::Function>) -> Result<Vec<Function>, RuleError> {
    let mut ids = HashSet::new();
    let mut versions = HashSet::new();
    for (n, function) in written.iter().enumerate() {
        if !ids.insert(function.id) {
            return Err(RuleError::new(
                format!("functions[{n}].id"),
                "is given twice",
            ));
        }
        let path = &function.invocation_path;
        if !path.starts_with('/') || path.parse::<http::uri::PathAndQuery>().is_err() {
            return Err(RuleError::new(
                format!("functions[{n}].invocation_path"),
                "must be a path that begins with `/`",
            ));
        }
        let fresh = function.versions.iter().all(|&v| versions.insert(v));
        if function.versions.is_empty() || !fresh {
            return Err(RuleError::new(
                format!("functions[{n}].versions"),
                "must name at least one version, each only once",
            ));
        }
    }
    Ok(written
        .into_iter()
        .map(|f| Function {
            id: f.id,
            name: f.name,
            versions: f.versions,
            workers: match f.workers {
                file::Workers::Claiming => Workers::Claiming,
                file::Workers::Late => Workers::Late,
            },
            invocation_path: f.invocation_path,
        })
        .collect())
}
