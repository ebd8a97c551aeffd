//! Certificates: loaded from PEM files, chosen by SNI, replaced without a restart.
//!
//! A lookup is two hash probes in an immutable map behind an `ArcSwap`: the exact name, then the wildcard of its parent
//! (RFC 9525 §6.3). A client that sends no name, or one that nothing fits, gets the first certificate.

use std::any::Any;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use frontdoor_telemetry::certificate::Expiries;
use pingora_core::listeners::TlsAccept;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::protocols::tls::TlsRef;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache};
use rustls::sign::CertifiedKey;
use rustls::{InconsistentKeys, ServerConfig};

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
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{file}: holds no certificate")]
    NoCertificate {
        /// The certificate's file.
        file: String,
    },
    /// There is no key in the file.
    #[error("{file}: holds no private key")]
    NoKey {
        /// The key's file.
        file: String,
    },
    /// The certificate is malformed.
    #[error("{file}: {source}")]
    Certificate {
        /// The certificate's file.
        file: String,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// Each is of use, and they do not belong together.
    #[error("the certificate in {cert} and the key in {key} do not match")]
    Mismatch {
        /// The certificate's file.
        cert: String,
        /// The key's file.
        key: String,
    },
    /// The key is of an unknown kind.
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
    /// All of them, with the files they came from.
    files: Vec<(PathBuf, Arc<CertifiedKey>)>,
}

/// The name that a client asked for in its TLS handshake.
#[derive(Debug)]
pub struct AskedFor(pub String);

/// Keeps that name with the connection.
pub(super) struct Remember;

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

impl Certificates {
    /// Shows when those in use expire.
    pub fn show(&self, expiries: &Expiries) {
        for (file, key) in &self.0.load().files {
            expiries.show(file, &key.cert);
        }
    }

    /// Whether both names are served with the same certificate: a connection for one may carry requests for the other
    /// (RFC 9113 §9.1.1), else the request is misdirected (RFC 9110 §15.5.20).
    #[must_use]
    pub fn agree(&self, one: &str, other: &str) -> bool {
        let chosen = self.0.load();
        one.eq_ignore_ascii_case(other) || Arc::ptr_eq(chosen.of(Some(one)), chosen.of(Some(other)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.0.load().of(hello.server_name())))
    }
}

// === impl Chosen ===

impl Chosen {
    fn of(&self, name: Option<&str>) -> &Arc<CertifiedKey> {
        let found = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let exact = self.by_name.get(&name);
            exact.or_else(|| self.by_name.get(&format!("*.{}", name.split_once('.')?.1)))
        });
        found.unwrap_or(&self.first)
    }
}

// === impl Remember ===

#[async_trait]
impl TlsAccept for Remember {
    async fn handshake_complete_callback(
        &self,
        tls: &TlsRef,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let name = tls.server_name()?.to_owned();
        Some(Arc::new(AskedFor(name)))
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
    let mut files_of = Vec::with_capacity(files.len());
    for entry in files {
        let file = entry.cert.display().to_string();
        let key = Arc::new(certified(entry)?);
        let names = names(&key)
            .filter(|names| !names.is_empty())
            .ok_or(CertificateError::NoName { file })?;
        for name in names {
            by_name.entry(name).or_insert_with(|| Arc::clone(&key));
        }
        files_of.push((entry.cert.clone(), key));
    }
    let (_, first) = files_of.first().ok_or(CertificateError::Tls(
        rustls::Error::NoCertificatesPresented,
    ))?;
    Ok(Chosen {
        by_name,
        first: Arc::clone(first),
        files: files_of,
    })
}

/// Reads a chain and its key, and sees whether they belong together.
///
/// # Errors
/// If one of them is of no use, or both are and do not match; the error names the file whose fault it is.
pub fn certified(files: &CertificateFiles) -> Result<CertifiedKey, CertificateError> {
    let (cert, key) = (
        files.cert.display().to_string(),
        files.key.display().to_string(),
    );
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| CertificateError::Pem {
            file: cert.clone(),
            source,
        })?;
    if chain.is_empty() {
        return Err(CertificateError::NoCertificate { file: cert });
    }
    let private = match PrivateKeyDer::from_pem_file(&files.key) {
        Ok(private) => private,
        Err(pem::Error::NoItemsFound) => return Err(CertificateError::NoKey { file: key }),
        Err(source) => return Err(CertificateError::Pem { file: key, source }),
    };
    // What `CertifiedKey::from_der` does, step by step: its error does not say whether certificate or key is at fault.
    let private = match aws_lc_rs::default_provider()
        .key_provider
        .load_private_key(private)
    {
        Ok(private) => private,
        Err(source) => return Err(CertificateError::Key { file: key, source }),
    };
    let certified = CertifiedKey::new(chain, private);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(CertificateError::Mismatch { cert, key }),
        Err(source) => Err(CertificateError::Certificate { file: cert, source }),
    }
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

#[cfg(test)]
mod tests {
    use test_support::tls::Authority;

    use super::*;

    #[test]
    fn names_of_one_certificate_agree_and_others_do_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let files: Vec<CertificateFiles> = [("one", "*.one.test"), ("two", "two.test")]
            .map(|(file, name)| authority.issue(folder.path(), file, &[name]))
            .into_iter()
            .map(|issued| {
                let (cert, key) = issued.expect("issued");
                CertificateFiles { cert, key }
            })
            .collect();
        let certificates = Certificates::load(&files).expect("loads");
        for (one, other, agree) in [
            ("a.one.test", "b.one.test", true),
            ("a.one.test", "A.One.Test", true),
            ("a.one.test", "two.test", false),
            ("two.test", "b.one.test", false),
            // Who fits nothing gets the first certificate.
            ("a.one.test", "elsewhere", true),
            ("two.test", "elsewhere", false),
        ] {
            assert_eq!(certificates.agree(one, other), agree, "{one} {other}");
        }
    }
    #[test]
    fn the_file_at_fault_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let issue = |file: &str| {
            authority
                .issue(folder.path(), file, &["a.test"])
                .expect("issued")
        };
        let ((cert, key), (_, other)) = (issue("one"), issue("two"));
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file
        };
        let garbage = write("garbage.pem", "garbage");
        let torn = write(
            "torn.pem",
            "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n",
        );
        let missing = folder.path().join("missing.pem");
        let check = |cert: &PathBuf, key: &PathBuf, said: &[&str]| {
            let (cert, key) = (cert.clone(), key.clone());
            let found = Certificates::load(&[CertificateFiles { cert, key }]);
            let text = found.err().map_or_else(String::new, |e| e.to_string());
            assert!(said.iter().all(|said| text.contains(said)), "{text}");
        };
        check(&garbage, &key, &["garbage.pem", "no certificate"]);
        check(&torn, &key, &["torn.pem"]);
        check(&missing, &key, &["missing.pem"]);
        check(&cert, &garbage, &["garbage.pem", "no private key"]);
        check(&cert, &cert, &["one.pem", "no private key"]);
        check(&cert, &missing, &["missing.pem"]);
        check(&cert, &other, &["one.pem", "two.key", "do not match"]);
    }
}
