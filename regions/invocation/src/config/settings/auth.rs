//! Who may call and who decides it, as meant: keys, the authority beside them, and how long its word holds.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use frontdoor_protocol::config::RuleError;
use frontdoor_protocol::key::{KeyHash, KeyHashError};
use frontdoor_protocol::names::FunctionId;
use http::Uri;

use super::super::file;

/// More verdicts than this cannot be meant: they would take half a GiB.
const CACHE_MAX: u64 = 1_000_000;

/// A verdict is not used for longer than this, in its time or past it.
const SPAN_MAX: Duration = Duration::from_secs(24 * 3600);

/// Who may call.
#[derive(Debug, Clone)]
pub struct Auth {
    /// Keys of the configuration itself.
    pub keys: Vec<Key>,
    /// A file of more keys, read again when it changes.
    pub keys_file: Option<PathBuf>,
    /// Who decides about keys that are in neither.
    pub authority: Option<Authority>,
    /// Verdicts kept.
    pub cache: u64,
    /// How long a yes holds.
    pub ttl: Duration,
    /// How long a no holds.
    pub negative_ttl: Duration,
    /// How long past its time a verdict may be used while the authority is down.
    pub stale: Duration,
}

/// Somebody who knows more keys.
#[derive(Debug, Clone)]
pub enum Authority {
    /// JSON over HTTP/1.1.
    Http {
        /// Where questions are posted.
        uri: Uri,
        /// The authorities of its certificate; the system's if there is none.
        ca: Option<PathBuf>,
        /// Whether it is told the path.
        send_path: bool,
        /// For one connection.
        connect_timeout: Duration,
        /// For one whole question.
        timeout: Duration,
    },
    /// NVCF's gRPC.
    Grpc {
        /// Where it is; no path.
        uri: Uri,
        /// The authorities of its certificate; the system's if there is none.
        ca: Option<PathBuf>,
        /// Holds our token for it.
        token_file: Option<PathBuf>,
        /// For one connection.
        connect_timeout: Duration,
        /// For one whole question.
        timeout: Duration,
    },
}

/// An API key, as far as we know it.
#[derive(Debug, Clone)]
pub struct Key {
    /// What logs and the container call it.
    pub name: Arc<str>,
    /// SHA-256 of the key.
    pub hash: KeyHash,
    /// What it opens.
    pub scope: Scope,
    /// When it stops to open anything.
    pub expires: Option<SystemTime>,
}

/// Which functions a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    All,
    /// These.
    Only(HashSet<FunctionId>),
}

/// The keys of a keys file.
#[derive(Debug)]
pub(in crate::config) struct Keys(Vec<Key>);

// === impl Auth ===

impl Auth {
    /// Makes the paths in it mean what they mean to a file in `folder`.
    pub(in crate::config) fn be_relative_to(&mut self, folder: &Path) {
        let (ca, token_file) = match &mut self.authority {
            Some(Authority::Grpc { ca, token_file, .. }) => (ca.as_mut(), token_file.as_mut()),
            Some(Authority::Http { ca, .. }) => (ca.as_mut(), None),
            None => (None, None),
        };
        for path in self.keys_file.iter_mut().chain(ca).chain(token_file) {
            *path = folder.join(&*path);
        }
    }
}

pub(super) fn settings(auth: file::Auth, written: Vec<file::Key>) -> Result<Auth, RuleError> {
    if !(1..=CACHE_MAX).contains(&auth.cache) {
        let rule = format!("must be 1 to {CACHE_MAX}");
        return Err(RuleError::new("auth.cache", rule));
    }
    Ok(Auth {
        keys: keys(written)?,
        keys_file: auth.keys_file,
        authority: authority(auth.http, auth.grpc)?,
        cache: auth.cache,
        ttl: bounded(auth.ttl.into(), "auth.ttl")?,
        negative_ttl: bounded(auth.negative_ttl.into(), "auth.negative_ttl")?,
        stale: bounded(auth.stale.into(), "auth.stale")?,
    })
}

fn authority(
    http: Option<file::Http>,
    grpc: Option<file::Grpc>,
) -> Result<Option<Authority>, RuleError> {
    match (http, grpc) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(RuleError::new("auth", "give either `http` or `grpc`")),
        (Some(http), None) => Ok(Some(Authority::Http {
            uri: uri(&http.url, "auth.http.url")?,
            ca: ca(&http.url, http.ca, "auth.http.ca")?,
            send_path: http.send_path,
            connect_timeout: positive(http.connect_timeout.into(), "auth.http.connect_timeout")?,
            timeout: positive(http.timeout.into(), "auth.http.timeout")?,
        })),
        (None, Some(grpc)) => {
            let uri = uri(&grpc.url, "auth.grpc.url")?;
            if uri.path() != "/" {
                let rule = "must be http://host:port or https://host:port without a path";
                return Err(RuleError::new("auth.grpc.url", rule));
            }
            Ok(Some(Authority::Grpc {
                uri,
                ca: ca(&grpc.url, grpc.ca, "auth.grpc.ca")?,
                token_file: grpc.token_file,
                connect_timeout: positive(
                    grpc.connect_timeout.into(),
                    "auth.grpc.connect_timeout",
                )?,
                timeout: positive(grpc.timeout.into(), "auth.grpc.timeout")?,
            }))
        }
    }
}

fn uri(text: &str, key: &str) -> Result<Uri, RuleError> {
    let known = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    text.parse::<Uri>()
        .ok()
        .filter(|uri| known(uri) && uri.authority().is_some())
        .ok_or_else(|| RuleError::new(key, "must be http://host:port/… or https://host:port/…"))
}

/// Without TLS nobody shows a certificate, so the wish for one would go unheard.
fn ca(url: &str, ca: Option<PathBuf>, key: &str) -> Result<Option<PathBuf>, RuleError> {
    if ca.is_some() && !url.starts_with("https:") {
        return Err(RuleError::new(key, "is of use with an https:// url only"));
    }
    Ok(ca)
}

fn bounded(span: Duration, key: &str) -> Result<Duration, RuleError> {
    if span > SPAN_MAX {
        return Err(RuleError::new(key, "must be at most 24h"));
    }
    Ok(span)
}

fn positive(span: Duration, key: &str) -> Result<Duration, RuleError> {
    if span.is_zero() {
        return Err(RuleError::new(key, "must be longer than nothing"));
    }
    Ok(span)
}

// === impl Keys ===

impl Keys {
    /// The keys, if none of them is among `others`.
    pub(in crate::config) fn besides(self, others: &[Key]) -> Result<Vec<Key>, RuleError> {
        let known: HashSet<KeyHash> = others.iter().map(|key| key.hash).collect();
        match self.0.iter().position(|key| known.contains(&key.hash)) {
            None => Ok(self.0),
            Some(n) => Err(RuleError::new(
                format!("keys[{n}].sha256"),
                "is given in invocation.toml already",
            )),
        }
    }
}

impl TryFrom<file::KeysFile> for Keys {
    type Error = RuleError;

    fn try_from(file: file::KeysFile) -> Result<Self, RuleError> {
        keys(file.keys).map(Self)
    }
}

fn keys(written: Vec<file::Key>) -> Result<Vec<Key>, RuleError> {
    let mut hashes = HashSet::new();
    let mut keys = Vec::with_capacity(written.len());
    for (n, key) in written.into_iter().enumerate() {
        let broken = |field: &str, rule: String| RuleError::new(format!("keys[{n}].{field}"), rule);
        let hash = key
            .sha256
            .parse()
            .map_err(|error: KeyHashError| broken("sha256", error.to_string()))?;
        if !hashes.insert(hash) {
            return Err(broken("sha256", "is given twice".to_owned()));
        }
        let name = name(&key.name)
            .ok_or_else(|| broken("name", "must be visible ASCII, up to 256 bytes".to_owned()))?;
        keys.push(Key {
            scope: scope(&key.functions).map_err(|rule| broken("functions", rule))?,
            name: name.into(),
            hash,
            expires: key.expires.map(|moment| moment.0),
        });
    }
    Ok(keys)
}

/// The name travels as a header value to the container.
fn name(text: &str) -> Option<&str> {
    let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
    ((1..=256).contains(&text.len()) && text.bytes().all(visible)).then_some(text)
}

fn scope(written: &[String]) -> Result<Scope, String> {
    if written.iter().any(|f| f == "*") {
        return Ok(Scope::All);
    }
    let ids = written.iter().map(|id| id.parse::<FunctionId>());
    ids.collect::<Result<_, _>>().map(Scope::Only).map_err(|_| {
        // The text is not repeated: it may be a key, by mistake.
        "must be function ids (UUIDs of 36 characters) or \"*\" for all".to_owned()
    })
}
