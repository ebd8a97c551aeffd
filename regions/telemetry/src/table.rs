//! The `[telemetry]` table: as it is written, and what it means.

use std::path::{Path, PathBuf};

use frontdoor_protocol::config::RuleError;
use http::Uri;
use http::uri::Scheme;
use serde::Deserialize;

/// The spans that may wait to be sent; a second's worth at a thousand calls a second, some megabytes.
const QUEUE: usize = 4096;
/// All traces, out of this many.
const ALL: u64 = 1 << 32;

/// Where spans go.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryTable {
    /// `http://host:port` or `https://host:port` of a collector that speaks OTLP over HTTP.
    pub endpoint: Option<String>,
    /// The authorities that its certificate comes from, PEM; the system's if left out.
    pub ca: Option<PathBuf>,
    /// The share of the traces that begin here.
    pub share: Option<f64>,
    /// How many spans may wait.
    pub queue: Option<usize>,
}

/// Where spans go, if anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Where to; nothing is recorded without.
    pub endpoint: Option<Uri>,
    /// The authorities of its certificate; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// Of the traces that begin here so many are recorded, of 2³².
    pub share: u64,
    /// How many spans may wait.
    pub queue: usize,
}

// === impl Telemetry ===

impl Telemetry {
    /// Takes relative paths as seen from `folder`, the one of the file they are written in.
    pub fn under(&mut self, folder: &Path) {
        if let Some(ca) = &mut self.ca {
            *ca = folder.join(&*ca);
        }
    }
}

impl TryFrom<TelemetryTable> for Telemetry {
    type Error = RuleError;

    fn try_from(table: TelemetryTable) -> Result<Self, RuleError> {
        let share = table.share.unwrap_or(1.0);
        if !(0.0..=1.0).contains(&share) {
            return Err(RuleError::new("telemetry.share", "must be from 0 to 1"));
        }
        let queue = table.queue.unwrap_or(QUEUE);
        if queue == 0 {
            return Err(RuleError::new("telemetry.queue", "must be at least 1"));
        }
        Ok(Self {
            endpoint: table.endpoint.as_deref().map(endpoint).transpose()?,
            ca: table.ca,
            share: of_all(share),
            queue,
        })
    }
}

/// A share from 0 to 1, of [`ALL`].
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "from 0 to 2³², which a float holds exactly"
)]
fn of_all(share: f64) -> u64 {
    (share * ALL as f64) as u64
}

/// What headers a collector wants, such as a key, comes from the environment: a URL is logged.
fn endpoint(text: &str) -> Result<Uri, RuleError> {
    let wrong = || {
        let rule = "must be http://host:port or https://host:port, without user or path";
        RuleError::new("telemetry.endpoint", rule)
    };
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    let scheme = uri.scheme();
    let http = scheme == Some(&Scheme::HTTP) || scheme == Some(&Scheme::HTTPS);
    let bare = uri.authority().is_some_and(|a| !a.as_str().contains('@'))
        && matches!(uri.path(), "" | "/")
        && uri.query().is_none();
    match http && bare {
        true => Ok(uri),
        false => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_means() {
        let off = Telemetry::try_from(TelemetryTable::default()).expect("valid");
        assert_eq!((off.endpoint, off.share, off.queue), (None, ALL, QUEUE));
        for (share, of_all) in [(0.0, 0), (0.5, ALL / 2), (1.0, ALL)] {
            let table = TelemetryTable {
                share: Some(share),
                endpoint: Some("http://collector:4318".into()),
                ..TelemetryTable::default()
            };
            let settings = Telemetry::try_from(table).expect("valid");
            assert_eq!(settings.share, of_all);
            assert!(settings.endpoint.is_some());
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let key = |table: TelemetryTable| Telemetry::try_from(table).expect_err("wrong").key;
        for share in [-0.1, 1.1, f64::NAN] {
            let table = TelemetryTable {
                share: Some(share),
                ..TelemetryTable::default()
            };
            assert_eq!(key(table), "telemetry.share");
        }
        for endpoint in [
            "",
            "collector:4318",
            "grpc://collector:4317",
            "http://me:secret@collector:4318",
            "http://collector:4318/v1/traces",
            "http://collector:4318?key=secret",
            "http://",
        ] {
            let table = TelemetryTable {
                endpoint: Some(endpoint.into()),
                ..TelemetryTable::default()
            };
            assert_eq!(key(table), "telemetry.endpoint", "{endpoint}");
        }
        let table = TelemetryTable {
            queue: Some(0),
            ..TelemetryTable::default()
        };
        assert_eq!(key(table), "telemetry.queue");
    }
}
