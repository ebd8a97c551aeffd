//! How long certificates hold, as a metric: an expired one is the outage that everybody saw coming.

use std::path::Path;

use prometheus::{IntGaugeVec, Opts, Registry};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// When the certificates that a program shows to others expire. Labelled by file, of which a configuration names a few.
#[derive(Debug, Clone)]
pub struct Expiries(IntGaugeVec);

// === impl Expiries ===

impl Expiries {
    /// Registers `certificate_expiry_timestamp_seconds`, with `prefix` and `_` before it unless that is empty.
    ///
    /// # Errors
    /// If the registry holds the name already.
    pub fn register(registry: &Registry, prefix: &str) -> Result<Self, prometheus::Error> {
        let name = "certificate_expiry_timestamp_seconds";
        let name = match prefix {
            "" => name.to_owned(),
            prefix => format!("{prefix}_{name}"),
        };
        let help = "When the first certificate of a chain in use expires, in seconds since 1970.";
        let family = IntGaugeVec::new(Opts::new(name, help), &["file"])?;
        registry.register(Box::new(family.clone()))?;
        Ok(Self(family))
    }

    /// Forgets what was shown: the files in use are now others.
    pub fn begin(&self) {
        self.0.reset();
    }

    /// Shows when a chain expires that came from a file. One that cannot be read is not shown: TLS would not take it either.
    pub fn show(&self, file: &Path, chain: &[CertificateDer<'_>]) {
        if let Some(expires) = chain.iter().filter_map(not_after).min() {
            self.set(&file.to_string_lossy(), expires);
        }
    }

    /// Shows when a file's chain expires, in seconds since 1970.
    pub fn set(&self, file: &str, expires: i64) {
        self.0.with_label_values(&[file]).set(expires);
    }
}

fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(certificate.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn certificate(year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).expect("a name");
        params.not_after = date_time_ymd(year, 3, 4);
        let key = KeyPair::generate().expect("a key");
        params.self_signed(&key).expect("signed").der().clone()
    }

    #[test]
    fn the_first_of_a_chain_to_expire_counts() {
        let registry = Registry::new();
        let expiries = Expiries::register(&registry, "frontdoor_edge").expect("fresh");
        let page = || {
            TextEncoder::new()
                .encode_to_string(&registry.gather())
                .expect("text")
        };
        expiries.show(
            Path::new("edge.pem"),
            &[certificate(2040), certificate(2031)],
        );
        expiries.show(Path::new("none.pem"), &[]);
        expiries.show(Path::new("no.pem"), &[CertificateDer::from(vec![1, 2, 3])]);
        // date -d 2031-03-04T00:00Z +%s
        let line =
            "frontdoor_edge_certificate_expiry_timestamp_seconds{file=\"edge.pem\"} 1930348800\n";
        assert!(page().contains(line), "{}", page());
        assert!(!page().contains("no.pem") && !page().contains("none.pem"));
        expiries.begin();
        assert!(!page().contains("edge.pem"));
    }
}
