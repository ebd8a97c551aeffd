//! The stack's certificates: a CA that exists for one start only, and one leaf for the edge signed by it.
//!
//! The CA's key is dropped when this returns, so nobody can make more certificates that a machine trusting `ca.pem`
//! would believe.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// They are made anew at each start; this is for stacks that stay up.
const VALID: Duration = Duration::days(90);
/// For clocks that differ a little, as in a container beside the browser's machine.
const BACKDATED: Duration = Duration::hours(1);

/// Everything as PEM text.
pub(crate) struct Certificates {
    /// What callers must trust.
    pub(crate) ca: String,
    /// The edge's chain, leaf first.
    pub(super) chain: String,
    /// The edge's key, PKCS#8.
    pub(super) key: String,
}

/// Makes a CA and a server certificate for these host names and IP addresses, valid from `now`.
pub(super) fn make(names: Vec<String>, now: OffsetDateTime) -> Result<Certificates, rcgen::Error> {
    let mut ca = valid(CertificateParams::new(vec![])?, now);
    ca.distinguished_name
        .push(DnType::CommonName, "frontdoor local CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = valid(CertificateParams::new(names)?, now);
    leaf.distinguished_name
        .push(DnType::CommonName, "frontdoor local edge");
    leaf.use_authority_key_identifier_extension = true;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    let chain = leaf.signed_by(&key, &issuer)?.pem();
    Ok(Certificates {
        ca: ca_pem,
        chain,
        key: key.serialize_pem(),
    })
}

fn valid(mut params: CertificateParams, now: OffsetDateTime) -> CertificateParams {
    params.not_before = now - BACKDATED;
    params.not_after = now + VALID;
    params
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
    use tokio::io::duplex;

    use super::*;
    use crate::local::files::certificate_names;

    /// A real handshake, as the callers' TLS stacks do it.
    async fn handshake(made: &Certificates, host: &str) -> Result<(), std::io::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(made.ca.as_bytes()).expect("ca"))
            .expect("root");
        let client = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let chain = vec![CertificateDer::from_pem_slice(made.chain.as_bytes()).expect("chain")];
        let key = PrivateKeyDer::from_pem_slice(made.key.as_bytes()).expect("key");
        let server = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("key fits certificate");
        let (near, far) = duplex(16 << 10);
        let name = ServerName::try_from(host.to_owned()).expect("host name");
        let connect = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, near);
        let accept = tokio_rustls::TlsAcceptor::from(Arc::new(server)).accept(far);
        let (connected, _accepted) = tokio::join!(connect, accept);
        connected.map(|_| ())
    }

    #[tokio::test]
    async fn good_for_the_stacks_host_names_and_no_others() {
        let function = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a11";
        let version = "0196f0c2-7e1f-7a55-8a2e-3d1b5f0c9a12";
        let names = certificate_names(function.parse().expect("valid"));
        let made = make(names, OffsetDateTime::now_utc()).expect("made");
        for host in [
            "localhost",
            "127.0.0.1",
            "invocation.localhost",
            &format!("{function}.invocation.localhost"),
            &format!("{version}.{function}.invocation.localhost"),
        ] {
            handshake(&made, host)
                .await
                .unwrap_or_else(|e| panic!("{host}: {e}"));
        }
        for host in [
            "example.com",
            "127.0.0.2",
            &format!("{function}.{version}.invocation.localhost"),
        ] {
            assert!(handshake(&made, host).await.is_err(), "{host}");
        }
    }
}
