//! Certificates made on the spot, and a client's trust in them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use frontdoor_ops::load::trusting;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate authority of one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

// === impl Authority ===

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn new() -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Issues a certificate for `names` into `folder`; returns the files of the chain and the key.
    ///
    /// # Errors
    /// If a name is none, or the files cannot be written.
    pub fn issue(
        &self,
        folder: &Path,
        file: &str,
        names: &[&str],
    ) -> anyhow::Result<(PathBuf, PathBuf)> {
        let key = KeyPair::generate()?;
        let names: Vec<String> = names.iter().map(|&n| n.to_owned()).collect();
        let certificate = CertificateParams::new(names)?.signed_by(&key, &self.issuer)?;
        let files = (
            folder.join(format!("{file}.pem")),
            folder.join(format!("{file}.key")),
        );
        std::fs::write(&files.0, certificate.pem())?;
        std::fs::write(&files.1, key.serialize_pem())?;
        Ok(files)
    }

    /// Its own certificate.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A client's configuration that trusts this authority and offers these protocols.
    ///
    /// # Errors
    /// If the certificate is malformed, which would be our own doing.
    pub fn client(&self, alpn: &[&str]) -> anyhow::Result<Arc<rustls::ClientConfig>> {
        trusting(self.pem.as_bytes(), alpn)
    }
}
