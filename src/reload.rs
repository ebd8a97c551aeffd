//! Background: the configuration and the certificates, read again on SIGHUP or when one of their files changes.
//!
//! All or nothing: a file that is wrong, or that changes what only a start can change, is refused with file, key and rule, and
//! what runs stays. What can change while calls run: certificates of both sides, `[health]`, `[route]` and the regions' weights.

mod differ;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

pub use self::watch::Watched;
use crate::config::{self, RegionTls, Settings};
use crate::listen::certificates::{CertificateError, Certificates};
use crate::metrics::Metrics;
use crate::route::Policy;
use crate::table::Event;
use crate::upstream::{self, Dialer, TrustError};

/// What reloading needs.
pub struct Reload {
    /// What runs.
    pub settings: Settings,
    /// The certificates in use.
    pub certificates: Arc<Certificates>,
    /// How routes are chosen.
    pub policy: Arc<ArcSwap<Policy>>,
    /// How regions are trusted.
    pub dialer: Arc<Dialer>,
    /// Where new limits and weights take effect.
    pub events: mpsc::Sender<Event>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The files as they looked before they were read.
    pub watched: Watched,
}

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    /// The file is wrong.
    #[error(transparent)]
    Config(#[from] frontdoor_protocol::config::ConfigError),
    /// A certificate is wrong.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A certificate for the way to the regions is wrong.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// It asks for what a running edge cannot do.
    #[error(
        "{file}: key `{key}` can only change at a start; start a new edge, or take the change back"
    )]
    Fixed {
        /// The configuration.
        file: String,
        /// What differs.
        key: &'static str,
    },
}

/// How often files are looked at. A change is taken when a second look finds the same, so that nobody reads half of it.
const TICK: Duration = Duration::from_millis(500);

// === impl Reload ===

impl Reload {
    /// Follows the files until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => {
                tracing::error!(%error, "SIGHUP cannot be heard; the configuration is not followed");
                return;
            }
        };
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let why = tokio::select! {
                () = stop.cancelled() => return,
                _ = hangup.recv() => "SIGHUP",
                _ = ticks.tick() => {
                    if !self.watched.changed().await {
                        continue;
                    }
                    "a file changed"
                }
            };
            // A change that comes while files are read must be seen afterwards.
            let before = Watched::new(files(&self.settings)).await;
            match self.reload().await {
                Ok(()) => {
                    tracing::info!(why, file = %self.settings.file.display(), "the configuration was read again and is in use");
                    self.metrics.background.reload(true);
                }
                Err(error) => {
                    tracing::error!(why, %error, "the configuration is refused; what runs stays");
                    self.metrics.background.reload(false);
                }
            }
            let now = files(&self.settings);
            self.watched = if now == before.files() {
                before
            } else {
                Watched::new(now).await
            };
        }
    }

    async fn reload(&mut self) -> Result<(), ReloadError> {
        let new = config::load(&self.settings.file)?;
        if let Some(key) = differ::fixed(&self.settings, &new) {
            let file = self.settings.file.display().to_string();
            return Err(ReloadError::Fixed { file, key });
        }
        if let Some(files) = &new.region_tls {
            self.dialer.reload(files)?;
        }
        self.certificates.reload(&new.certificates)?;
        self.policy.store(Arc::new(new.policy));
        let weights = new.regions.iter().map(|r| r.weight).collect();
        let limits = new.limits;
        // The keeper ends only when everything does.
        let _ = self
            .events
            .send(Event::Configured { limits, weights })
            .await;
        self.settings = new;
        show_expiries(&self.settings, &self.certificates, &self.metrics);
        Ok(())
    }
}

/// Shows when the certificates in use expire.
pub fn show_expiries(settings: &Settings, certificates: &Certificates, metrics: &Metrics) {
    metrics.certificates.begin();
    certificates.show(&metrics.certificates);
    if let Some(files) = &settings.region_tls {
        upstream::show_identity(files, &metrics.certificates);
    }
}

/// Follows the files of a configuration, from before they are read.
pub async fn watch(settings: &Settings) -> Watched {
    Watched::new(files(settings)).await
}

/// All files that a reload reads.
fn files(settings: &Settings) -> Vec<PathBuf> {
    let certificates = settings
        .certificates
        .iter()
        .flat_map(|c| [c.cert.as_path(), c.key.as_path()]);
    let regions = settings.region_tls.iter().flat_map(RegionTls::files);
    std::iter::once(settings.file.as_path())
        .chain(certificates)
        .chain(regions)
        .map(Path::to_owned)
        .collect()
}
