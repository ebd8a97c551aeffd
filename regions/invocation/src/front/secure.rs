//! The port for edges over TLS: who has no certificate of ours does not get in.
//!
//! Only the handshake; what is served behind it is the same as on the plain port, and every peer here is an edge.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::config::Tls;

/// Why the port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum SecureError {
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

/// Sets up TLS with both sides' certificates.
pub(crate) fn acceptor(files: &Tls) -> Result<TlsAcceptor, SecureError> {
    let pem = |file: &Path| {
        let file = file.to_owned();
        move |source| SecureError::Pem { file, source }
    };
    let mut roots = RootCertStore::empty();
    for certificate in all(&files.client_ca).map_err(pem(&files.client_ca))? {
        roots.add(certificate)?;
    }
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
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
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
