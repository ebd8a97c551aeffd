//! The way to the collector: one request on a connection of its own, with the TLS that everything here has.
//!
//! A batch goes every second at most, so a pool would keep connections for nobody. Every step is timed by whoever sends.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::HOST;
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::trust::{self, RootsError};

/// A collector answers with a few bytes; what is longer is none.
const ANSWER: usize = 64 * 1024;

/// Makes connections to a collector.
pub(crate) struct Collector {
    tls: Option<TlsConnector>,
}

/// Why a collector's certificate could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// There are no authorities to check it by.
    #[error("the collector's certificate cannot be checked: {0}")]
    Roots(#[from] RootsError),
    /// TLS itself cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

// === impl Collector ===

impl Collector {
    /// For a collector at this address.
    pub(crate) fn new(endpoint: &Uri, ca: Option<&Path>) -> Result<Self, TrustError> {
        if endpoint.scheme() != Some(&Scheme::HTTPS) {
            return Ok(Self { tls: None });
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trust::roots(ca)?)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            tls: Some(TlsConnector::from(Arc::new(config))),
        })
    }
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector")
            .field("tls", &self.tls.is_some())
            .finish()
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or("no host")?.to_owned();
        let port = uri.port_u16().unwrap_or(match self.tls {
            Some(_) => 443,
            None => 80,
        });
        let bare = host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((bare, port)).await?;
        match &self.tls {
            None => exchange(stream, request).await,
            Some(tls) => {
                let name = ServerName::try_from(bare.to_owned())?;
                exchange(tls.connect(name, stream).await?, request).await
            }
        }
    }
}

async fn exchange<S>(stream: S, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let (mut head, body) = request.into_parts();
    let authority = head.uri.authority().ok_or("no host")?;
    head.headers
        .insert(HOST, HeaderValue::from_str(authority.as_str())?);
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let request = Request::from_parts(head, Full::new(body));
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, ANSWER).collect().await?;
        Ok(Response::from_parts(head, body.to_bytes()))
    };
    let (mut answer, mut connection) = (pin!(answer), pin!(connection));
    let mut open = true;
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            // Its end may come with the answer's last byte, which is then still to be taken.
            _ = &mut connection, if open => open = false,
        }
    }
}
