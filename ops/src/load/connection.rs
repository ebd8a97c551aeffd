//! A caller's connection: TCP, TLS with ALPN `h2`, HTTP/2.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

/// The body of a request.
pub(super) type Body = Full<Bytes>;

/// How long a connection may take to be there.
const CONNECT: std::time::Duration = std::time::Duration::from_secs(10);

/// Whom to call, and whom to trust.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The edge.
    pub address: SocketAddr,
    /// The host name that is called, and that the certificate must be good for.
    pub host: String,
    /// TLS.
    pub tls: Arc<rustls::ClientConfig>,
}

/// A handle on a connection; the connection ends with the last one.
#[derive(Debug, Clone)]
pub struct Sender {
    requests: http2::SendRequest<Body>,
    _driver: Arc<AbortOnDropHandle<()>>,
}

// === impl Caller ===

impl Caller {
    /// Opens a connection.
    ///
    /// # Errors
    /// If nobody listens there, the certificate does not fit, or it takes too long.
    pub async fn connect(&self) -> anyhow::Result<Sender> {
        timeout(CONNECT, self.open())
            .await
            .with_context(|| format!("no connection to {} within {CONNECT:?}", self.address))?
    }

    async fn open(&self) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(self.address)
            .await
            .with_context(|| format!("the edge at {} cannot be reached", self.address))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .with_context(|| format!("no TLS with the edge at {}", self.address))?;
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(16 << 20)
            .handshake(TokioIo::new(stream))
            .await?;
        // Its owner is the handle, which ends it when dropped.
        let driver = AbortOnDropHandle::new(tokio::spawn(async move {
            // How it ends is seen by the calls on it.
            let _ = connection.await;
        }));
        Ok(Sender {
            requests,
            _driver: Arc::new(driver),
        })
    }
}

// === impl Sender ===

impl Sender {
    /// Whether no further request can be sent.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    pub(super) async fn send_request(
        &mut self,
        request: http::Request<Body>,
    ) -> hyper::Result<http::Response<Incoming>> {
        self.requests.ready().await?;
        self.requests.send_request(request).await
    }
}

/// Whether a call has provably not been looked at: the peer's GOAWAY, without an error, says that it will not be (RFC 9113 §6.8), or
/// the connection ended before the call was given to it.
pub(super) fn is_unseen(error: &anyhow::Error) -> bool {
    let leave =
        |e: &h2::Error| e.is_go_away() && e.is_remote() && e.reason() == Some(h2::Reason::NO_ERROR);
    error.chain().any(|cause| {
        cause.downcast_ref().is_some_and(leave)
            || cause.downcast_ref().is_some_and(hyper::Error::is_canceled)
    })
}

/// A TLS configuration that trusts the authorities in a PEM text, and offers these protocols.
///
/// # Errors
/// If the text is no PEM.
pub fn trusting(pem: &[u8], alpn: &[&str]) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        roots.add(certificate.context("not PEM")?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}
