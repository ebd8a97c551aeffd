//! A caller: HTTP/1.1 or HTTP/2, with or without TLS, one connection that the test holds in its hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;

/// Any request body.
pub type Body = BoxBody<Bytes, std::io::Error>;

/// One connection to a server.
pub struct Client {
    sender: Sender,
    patience: Duration,
    _driver: AbortOnDropHandle<()>,
}

enum Sender {
    H1(http1::SendRequest<Body>),
    H2(http2::SendRequest<Body>),
}

/// Which HTTP a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    H1,
    /// HTTP/2.
    H2,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Longer than any answer in a test may take that does not say otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// Go's `PingTimeout`: a PING without an answer ends the connection after this.
const PONG: Duration = Duration::from_secs(15);

/// A body that is known.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed()
}

// === impl Protocol ===

impl Protocol {
    const fn alpn(self) -> &'static str {
        match self {
            Self::H1 => "http/1.1",
            Self::H2 => "h2",
        }
    }
}

// === impl Client ===

impl Client {
    /// Connects without TLS.
    ///
    /// # Errors
    /// If nobody listens, or does not speak HTTP.
    pub async fn plain(address: SocketAddr, protocol: Protocol) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Self::over(stream, protocol, None).await
    }

    /// Connects with TLS to a host name, trusting the authorities in `pem`.
    ///
    /// # Errors
    /// As [`Client::plain`], and if the certificate does not fit.
    pub async fn tls(
        address: SocketAddr,
        host: &str,
        pem: &[u8],
        protocol: Protocol,
    ) -> anyhow::Result<Self> {
        Self::with(
            address,
            host,
            crate::tls::trusting(pem, &[protocol.alpn()])?,
            protocol,
        )
        .await
    }

    /// Connects with a TLS configuration of the test's own.
    ///
    /// # Errors
    /// As [`Client::tls`].
    pub async fn with(
        address: SocketAddr,
        host: &str,
        config: Arc<rustls::ClientConfig>,
        protocol: Protocol,
    ) -> anyhow::Result<Self> {
        let stream = secured(address, host, config).await?;
        Self::over(stream, protocol, None).await
    }

    /// Connects with TLS and HTTP/2, and PINGs the other end whenever nothing came for `every`, as Go's transport does
    /// with a `ReadIdleTimeout`.
    ///
    /// # Errors
    /// As [`Client::tls`].
    pub async fn pinging(
        address: SocketAddr,
        host: &str,
        pem: &[u8],
        every: Duration,
    ) -> anyhow::Result<Self> {
        let config = crate::tls::trusting(pem, &[Protocol::H2.alpn()])?;
        let stream = secured(address, host, config).await?;
        Self::over(stream, Protocol::H2, Some(every)).await
    }

    /// Waits so long for an answer.
    #[must_use]
    pub fn patient(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    async fn over<S>(stream: S, protocol: Protocol, ping: Option<Duration>) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let io = TokioIo::new(stream);
        match protocol {
            Protocol::H1 => {
                let (sender, driver) = http1::handshake(io).await?;
                let driver = tokio::spawn(async move {
                    let _ = driver.await;
                });
                Ok(Self {
                    sender: Sender::H1(sender),
                    patience: PATIENCE,
                    _driver: AbortOnDropHandle::new(driver),
                })
            }
            Protocol::H2 => {
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(16 << 20);
                if let Some(every) = ping {
                    builder.keep_alive_interval(every).keep_alive_timeout(PONG);
                }
                let (sender, driver) = builder.handshake(io).await?;
                let driver = tokio::spawn(async move {
                    let _ = driver.await;
                });
                Ok(Self {
                    sender: Sender::H2(sender),
                    patience: PATIENCE,
                    _driver: AbortOnDropHandle::new(driver),
                })
            }
        }
    }

    /// Sends a request and returns the answer's head; its body is the caller's to read.
    ///
    /// # Errors
    /// If the connection breaks, or nothing comes within a minute, or what [`Client::patient`] said.
    pub async fn send(&mut self, request: Request<Body>) -> anyhow::Result<Response<Incoming>> {
        let answer = async {
            match &mut self.sender {
                Sender::H1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::H2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        Ok(tokio::time::timeout(self.patience, answer)
            .await
            .with_context(|| format!("no answer within {:?}", self.patience))??)
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// As [`Client::send`], and if the body does not end cleanly.
    pub async fn call(&mut self, request: Request<Body>) -> anyhow::Result<Answer> {
        let (head, body) = self.send(request).await?.into_parts();
        let body = tokio::time::timeout(self.patience, body.collect())
            .await
            .with_context(|| format!("no end within {:?}", self.patience))??;
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }

    /// A second handle on the same HTTP/2 connection.
    ///
    /// # Panics
    /// On an HTTP/1.1 connection, which can carry one request at a time only.
    #[must_use]
    pub fn h2(&self) -> http2::SendRequest<Body> {
        match &self.sender {
            Sender::H2(sender) => sender.clone(),
            Sender::H1(_) => panic!("HTTP/1.1 is not multiplexed"),
        }
    }
}

async fn secured(
    address: SocketAddr,
    host: &str,
    config: Arc<rustls::ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(host.to_owned())?;
    TlsConnector::from(config)
        .connect(name, stream)
        .await
        .context("TLS handshake")
}

// === impl Answer ===

impl Answer {
    /// A header as text, empty if it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, null if it is none.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}
