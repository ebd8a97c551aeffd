//! The port for edges over TLS: who has no certificate of ours does not get in.
//!
//! Only the handshake; what is served behind it is the same as on the plain port, and every peer here is an edge. Certificate,
//! key and the authorities of edges are followed: new files are taken as a whole or not at all, and connections made before
//! keep what they were made with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use frontdoor_telemetry::certificate::Expiries;
use frontdoor_telemetry::trust::{self, RootsError};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::Tls;

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
    /// Nobody could be let in.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A file is missing or not PEM.
    #[error("{file}: {source}")]
    Pem {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// Nobody could be let in by what is in the file.
    #[error("{file}: {source}")]
    Verifier {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::server::VerifierBuilderError,
    },
    /// What is in the files is of no use.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// For a whole handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often files are read, which are small. A change is taken when a second look finds the same, so that nobody takes half.
const TICK: Duration = Duration::from_secs(1);

/// TLS with both sides' certificates, as the files say.
pub(crate) struct Secured {
    files: Tls,
    config: ArcSwap<ServerConfig>,
    /// What was in the files just before they were read first.
    opened: [Option<Vec<u8>>; 3],
}

// === impl Secured ===

impl Secured {
    /// Reads the files.
    pub(crate) fn open(files: Tls, expiries: &Expiries) -> Result<Arc<Self>, SecureError> {
        let opened = named(&files).map(|file| std::fs::read(file).ok());
        let config = ArcSwap::from_pointee(read(&files, expiries)?);
        Ok(Arc::new(Self {
            files,
            config,
            opened,
        }))
    }

    /// What the next handshake is made with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Follows the files until `stop`.
    pub(crate) async fn follow(self: Arc<Self>, expiries: Expiries, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut taken = self.opened.clone();
        let mut seen = taken.clone();
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let now = self.contents().await;
            if now != taken && now == seen {
                match read(&self.files, &expiries) {
                    Ok(config) => {
                        self.config.store(Arc::new(config));
                        tracing::info!(
                            "the certificates of the port for edges were read again and are in use"
                        );
                    }
                    Err(error) => {
                        tracing::error!(%error, "new certificates of the port for edges are refused; those in use stay");
                    }
                }
                taken.clone_from(&now);
            }
            seen = now;
        }
    }

    /// What is in the files; nothing for one that cannot be read.
    async fn contents(&self) -> [Option<Vec<u8>>; 3] {
        let [cert, key, client_ca] = named(&self.files);
        [
            tokio::fs::read(cert).await.ok(),
            tokio::fs::read(key).await.ok(),
            tokio::fs::read(client_ca).await.ok(),
        ]
    }
}

fn named(files: &Tls) -> [&Path; 3] {
    [&files.cert, &files.key, &files.client_ca]
}

/// Sets up TLS as the files say, and shows when the certificate expires.
fn read(files: &Tls, expiries: &Expiries) -> Result<ServerConfig, SecureError> {
    let pem = |file: &Path| {
        let file = file.to_owned();
        move |source| SecureError::Pem { file, source }
    };
    let roots = trust::roots(Some(&files.client_ca))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|source| SecureError::Verifier {
                file: files.client_ca.clone(),
                source,
            })?;
    let chain = all(&files.cert).map_err(pem(&files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain.clone(), key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    expiries.show(&files.cert, &chain);
    Ok(config)
}

/// The handshake; nothing if it fails or takes too long.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> Option<TlsStream<TcpStream>> {
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

fn all(file: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(file)?.collect()
}
