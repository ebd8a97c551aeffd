//! A check's standing HTTP/2 connection to one address.
//!
//! Opened when it is needed, kept while it works, dropped after any failure. Its driver task ends with it.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

/// The connection, if there is one.
#[derive(Default)]
pub(super) struct Connection(Option<(SendRequest<Empty<Bytes>>, AbortOnDropHandle<()>)>);

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    /// No TCP connection.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// No HTTP/2, or it broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The request cannot be built: a path that is none.
    #[error(transparent)]
    Request(#[from] http::Error),
}

// === impl Connection ===

impl Connection {
    /// A handle to ask with, on a new connection if the old one is gone.
    pub(super) async fn open(
        &mut self,
        address: SocketAddr,
    ) -> Result<SendRequest<Empty<Bytes>>, ProbeError> {
        if let Some((sender, _)) = &self.0
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // The next check finds out that the connection is closed.
            let _ = driver.await;
        });
        self.0 = Some((sender.clone(), AbortOnDropHandle::new(driver)));
        Ok(sender)
    }

    /// Forgets the connection.
    pub(super) fn close(&mut self) {
        self.0 = None;
    }
}

/// Asks for `path` and returns the status; the body is not read.
pub(super) async fn get(
    sender: &mut SendRequest<Empty<Bytes>>,
    address: SocketAddr,
    path: &str,
) -> Result<http::StatusCode, ProbeError> {
    let request = http::Request::get(format!("http://{address}{path}")).body(Empty::new())?;
    sender.ready().await?;
    Ok(sender.send_request(request).await?.status())
}
