//! From an endpoint to a stream: TCP, and TLS on both sides where a region wants it.
//!
//! The roots that regions are checked by and our own certificate are read from files and replaced as a whole while running
//! (`reload`): connections made before keep what they were made with. Calls and checks come here alike.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use frontdoor_telemetry::certificate::Expiries;
use frontdoor_telemetry::trust::{self, RootsError};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{RegionSettings, RegionTls};
use crate::region::Endpoint;

/// Makes streams to endpoints.
pub struct Dialer {
    /// Each region's name in TLS; none where it is spoken to in the clear.
    names: Vec<Option<ServerName<'static>>>,
    tls: Option<ArcSwap<ClientConfig>>,
}

/// A stream to a region.
pub enum Wire {
    /// In the clear.
    Plain(TcpStream),
    /// Secured.
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why regions cannot be spoken to over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There is nobody to believe.
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
    /// What is in the files is of no use.
    #[error("{file}: {source}")]
    Unusable {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// A region's name is no name.
    #[error("region {region}: `{name}` is no name for TLS")]
    Name {
        /// The region.
        region: String,
        /// The name.
        name: String,
    },
}

// === impl Dialer ===

impl Dialer {
    /// For these regions, with these files if one of them wants TLS.
    ///
    /// # Errors
    /// If the files cannot be used.
    pub fn new(regions: &[RegionSettings], tls: Option<&RegionTls>) -> Result<Self, TrustError> {
        let name = |region: &RegionSettings| {
            let Some(name) = &region.server_name else {
                return Ok(None);
            };
            ServerName::try_from(name.clone())
                .map(Some)
                .map_err(|_| TrustError::Name {
                    region: region.name.to_string(),
                    name: name.clone(),
                })
        };
        Ok(Self {
            names: regions.iter().map(name).collect::<Result<_, _>>()?,
            tls: tls.map(read).transpose()?.map(ArcSwap::from_pointee),
        })
    }

    /// Reads the files again; what was read before stays in use if that fails.
    ///
    /// # Errors
    /// As [`Dialer::new`].
    pub fn reload(&self, files: &RegionTls) -> Result<(), TrustError> {
        let config = read(files)?;
        if let Some(tls) = &self.tls {
            tls.store(Arc::new(config));
        }
        Ok(())
    }

    /// Whether a region is spoken to over TLS.
    #[must_use]
    pub fn secures(&self, endpoint: Endpoint) -> bool {
        matches!(self.names.get(endpoint.region.0), Some(Some(_)))
    }

    /// A stream to an endpoint, ready for HTTP/2.
    ///
    /// # Errors
    /// If there is nobody, or nobody who can be trusted.
    pub async fn dial(&self, endpoint: Endpoint) -> io::Result<Wire> {
        let stream = TcpStream::connect(endpoint.address).await?;
        prepare(&stream)?;
        let name = self.names.get(endpoint.region.0).cloned().flatten();
        match (name, &self.tls) {
            (None, _) => Ok(Wire::Plain(stream)),
            (Some(name), Some(tls)) => {
                let connector = TlsConnector::from(tls.load_full());
                let stream = connector.connect(name, stream).await?;
                Ok(Wire::Tls(Box::new(stream)))
            }
            // The configuration does not allow it; never in the clear what should be secured.
            (Some(_), None) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

/// Shows when our own certificate expires, if regions are shown one.
pub fn show_identity(files: &RegionTls, expiries: &Expiries) {
    if let Some((cert, _)) = &files.identity
        && let Ok(chain) = all(cert)
    {
        expiries.show(cert, &chain);
    }
}

fn read(files: &RegionTls) -> Result<ClientConfig, TrustError> {
    let pem = |file: &Path| {
        let file = file.to_owned();
        move |source| TrustError::Pem { file, source }
    };
    let unusable = |file: &Path| {
        let file = file.to_owned();
        move |source| TrustError::Unusable { file, source }
    };
    let roots = trust::roots(Some(&files.ca))?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable(&files.ca))?
        .with_root_certificates(roots);
    let mut config = match &files.identity {
        None => config.with_no_client_auth(),
        Some((cert, key)) => {
            let chain = all(cert).map_err(pem(cert))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
            config
                .with_client_auth_cert(chain, key)
                .map_err(unusable(cert))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn all(file: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(file)?.collect()
}

/// Small frames go out at once; a peer whose host vanished is noticed by the kernel too.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

// === impl Wire ===

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
