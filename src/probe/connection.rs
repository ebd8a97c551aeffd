//! A check's standing HTTP/2 connection to one address.
//!
//! Opened when it is needed, kept while it works, forgotten after any failure or silence. Its lock is never held over the
//! network, so a check that hangs holds up no other; a connection that was forgotten lives on for the checks that still
//! wait on it.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio_util::task::AbortOnDropHandle;

use crate::region::Endpoint;
use crate::upstream::Dialer;

/// Where the connection to one address is kept, if there is one.
#[derive(Default)]
pub(crate) struct Slot(Mutex<Option<Arc<Live>>>);

/// A connection and the task that drives it.
pub(crate) struct Live {
    sender: SendRequest<Empty<Bytes>>,
    _driver: AbortOnDropHandle<()>,
}

/// Forgets the connection when a check ends without saying that it worked.
struct Doubted<'a> {
    slot: &'a Slot,
    live: Option<Arc<Live>>,
}

/// Why a check could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
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

// === impl Slot ===

impl Slot {
    /// Asks for `path`, on a new connection if there is none that works; returns the status and how long the answer
    /// took. The body is not read.
    pub(crate) async fn get(
        &self,
        dialer: &Dialer,
        endpoint: Endpoint,
        path: &str,
    ) -> Result<(http::StatusCode, std::time::Duration), ProbeError> {
        let (head, took) = self.head(dialer, endpoint, path).await?;
        Ok((head.status, took))
    }

    /// The same, with the whole head of the answer.
    pub(crate) async fn head(
        &self,
        dialer: &Dialer,
        endpoint: Endpoint,
        path: &str,
    ) -> Result<(http::response::Parts, std::time::Duration), ProbeError> {
        let live = match self.current() {
            Some(live) => live,
            None => self.keep(Live::connect(dialer, endpoint).await?),
        };
        let mut sender = live.sender.clone();
        let mut doubted = Doubted {
            slot: self,
            live: Some(live),
        };
        let request =
            http::Request::get(format!("http://{}{path}", endpoint.address)).body(Empty::new())?;
        sender.ready().await?;
        let started = tokio::time::Instant::now();
        let (head, _) = sender.send_request(request).await?.into_parts();
        doubted.live = None;
        Ok((head, started.elapsed()))
    }

    fn current(&self) -> Option<Arc<Live>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().filter(|l| !l.sender.is_closed()).cloned()
    }

    fn keep(&self, live: Live) -> Arc<Live> {
        let live = Arc::new(live);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&live));
        live
    }
}

// === impl Live ===

impl Live {
    async fn connect(dialer: &Dialer, endpoint: Endpoint) -> Result<Self, ProbeError> {
        let io = TokioIo::new(dialer.dial(endpoint).await?);
        let (sender, driver) = http2::handshake(TokioExecutor::new(), io).await?;
        let driver = tokio::spawn(async move {
            // The next check finds out that the connection is closed.
            let _ = driver.await;
        });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }
}

// === impl ProbeError ===

impl ProbeError {
    /// Whether the endpoint itself failed, and not our own giving up on a connection.
    pub(crate) fn is_theirs(&self) -> bool {
        !matches!(self, Self::Http(error) if error.is_canceled())
    }
}

// === impl Doubted ===

impl Drop for Doubted<'_> {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        let mut kept = self.slot.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A newer connection is none of our business.
        if kept.as_ref().is_some_and(|k| Arc::ptr_eq(k, &live)) {
            *kept = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::{TcpSocket, TcpStream};
    use tokio::time::timeout;

    use super::*;

    /// A listener whose queue is full behaves as a black hole: the handshake is never completed.
    #[tokio::test]
    async fn a_black_hole_holds_up_no_other_check() {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a port");
        let listener = socket.listen(1).expect("listens");
        let address = listener.local_addr().expect("an address");
        let mut fill = Vec::new();
        while let Ok(Ok(stream)) =
            timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            fill.push(stream);
            assert!(fill.len() < 16, "the queue does not fill");
        }
        let slot = Arc::new(Slot::default());
        let dialer = Dialer::new(&[], None).expect("no TLS");
        let endpoint = Endpoint {
            region: crate::region::RegionIndex(0),
            address,
        };
        for _ in 0..3 {
            let silent = timeout(
                Duration::from_millis(50),
                slot.get(&dialer, endpoint, "/health"),
            )
            .await;
            assert!(silent.is_err(), "nobody answers");
        }
        assert!(slot.current().is_none());
    }
}
