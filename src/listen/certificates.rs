//! Certificates: loaded from PEM files, chosen by SNI, replaced without a restart.
//!
//! A lookup is two hash probes in an immutable map behind an `ArcSwap`: the exact name, then the wildcard of its parent
//! (RFC 9525 §6.3). A client that sends no name, or one that nothing fits, gets the first certificate.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora_core::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;

use crate::config::CertificateFiles;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is missing or not PEM.
    #[error("{file}: {source}")]
    Pem {
        /// The file.
        file: String,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The key does not fit the certificate, or is of an unknown kind.
    #[error("{file}: {source}")]
    Key {
        /// The key's file.
        file: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The certificate names no host.
    #[error("{file}: the certificate names no host (subjectAltName)")]
    NoName {
        /// The certificate's file.
        file: String,
    },
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The certificates in use; cheap to read, replaced as a whole.
#[derive(Debug)]
pub struct Certificates(ArcSwap<Chosen>);

#[derive(Debug)]
struct Chosen {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    first: Arc<CertifiedKey>,
}

/// TLS sessions that can be resumed without a ticket.
const SESSIONS: usize = 16_384;

// === impl Certificates ===

impl Certificates {
    /// Loads all certificates.
    ///
    /// # Errors
    /// If one of them cannot be used; the error names its file.
    pub fn load(files: &[CertificateFiles]) -> Result<Self, CertificateError> {
        read(files).map(|chosen| Self(ArcSwap::from_pointee(chosen)))
    }

    /// Loads them again; the old ones stay in use if that fails.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn reload(&self, files: &[CertificateFiles]) -> Result<(), CertificateError> {
        self.0.store(Arc::new(read(files)?));
        Ok(())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let chosen = self.0.load();
        let found = hello.server_name().and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = chosen.by_name.get(&name);
            exact
                .or_else(|| {
                    chosen
                        .by_name
                        .get(&format!("*.{}", name.split_once('.')?.1))
                })
                .cloned()
        });
        Some(found.unwrap_or_else(|| Arc::clone(&chosen.first)))
    }
}

/// The TLS side of a listener: TLS 1.2 and 1.3, HTTP/2 preferred, resumption by cache and by ticket.
///
/// # Errors
/// If the TLS library refuses the configuration.
pub fn acceptor(certificates: Arc<Certificates>) -> Result<Acceptor, CertificateError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Acceptor::from_server_config(Arc::new(config)))
}

fn read(files: &[CertificateFiles]) -> Result<Chosen, CertificateError> {
    let mut by_name = HashMap::new();
    let mut first = None;
    for entry in files {
        let file = entry.cert.display().to_string();
        let key = Arc::new(certified(entry)?);
        let names = names(&key)
            .filter(|names| !names.is_empty())
            .ok_or(CertificateError::NoName { file })?;
        for name in names {
            by_name.entry(name).or_insert_with(|| Arc::clone(&key));
        }
        first.get_or_insert(key);
    }
    let first =
        first.ok_or_else(|| CertificateError::Tls(rustls::Error::NoCertificatesPresented))?;
    Ok(Chosen { by_name, first })
}

fn certified(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let (cert, key) = (
        files.cert.display().to_string(),
        files.key.display().to_string(),
    );
    let pem = |file: &str| {
        let file = file.to_owned();
        move |source| CertificateError::Pem { file, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem(&cert))?;
    let private = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&key))?;
    CertifiedKey::from_der(chain, private, &aws_lc_rs::default_provider())
        .map_err(|source| CertificateError::Key { file: key, source })
}

/// The host names of a chain's leaf, lower case.
fn names(key: &CertifiedKey) -> Option<Vec<String>> {
    let leaf = webpki::EndEntityCert::try_from(key.cert.first()?).ok()?;
    Some(
        leaf.valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect(),
    )
}
