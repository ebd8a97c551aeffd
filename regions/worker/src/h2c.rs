//! One persistent HTTP/2 connection without TLS to one address, shared by any number of requests.
//!
//! Dialled when first needed and again after it broke; a request that provably never left is sent once more on a new
//! connection, any other error is the caller's. Used towards invocation services and h2c containers.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use frontdoor_socket::Gathering;
use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use crate::body::Body;

/// How long a dial may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Window of one stream: enough for the round trips inside a region, and what a slow reader may leave with us.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Window of the connection: in effect only the streams' windows count. It must be this large because the h2 crate
/// closes a connection, with every call on it, when more than about half of this is held in small unread frames; one
/// caller who reads a stream of tokens slowly would end the calls of all others.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// As much head as an attach stream may carry.
const HEADERS_LIMIT: u32 = 512 * 1024;
/// Streams that were reset at our side and may still receive frames; cancelled calls come in bursts.
const RESET_STREAMS: usize = 1024;

/// Lets hyper's own tasks be joined with ours.
#[derive(Debug, Clone)]
pub(crate) struct Tasks(pub(crate) TaskTracker);

/// A connection to one address.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    authority: Authority,
    tasks: Tasks,
    ping: Duration,
    /// What was dialled last. Locked for each request, and never for longer than a copy.
    sender: Mutex<Option<SendRequest<Body>>>,
    /// Held by whoever dials.
    dialling: tokio::sync::Mutex<()>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// The request never left.
    #[error("cannot connect to {0}: {1}")]
    NotSent(Authority, String),
    /// It may have arrived.
    #[error("no response: {0}")]
    Lost(#[source] hyper::Error),
}

// === impl Tasks ===

impl<F> hyper::rt::Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

// === impl Multiplexed ===

impl Multiplexed {
    /// A silent peer is asked for a sign of life every `ping`, and given up after as long again.
    pub(crate) fn new(authority: Authority, tasks: Tasks, ping: Duration) -> Self {
        Self {
            authority,
            tasks,
            ping,
            sender: Mutex::new(None),
            dialling: tokio::sync::Mutex::new(()),
        }
    }

    /// Sends a request. Its URI must be absolute: it becomes `:scheme`, `:authority` and `:path`.
    pub(crate) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, SendError> {
        // The connection may have ended since it was last used, without our having noticed: hence twice.
        for _ in 0..2 {
            let mut sender = self.sender().await?;
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            match error.take_message() {
                Some(unsent) => request = unsent,
                None => return Err(SendError::Lost(error.into_error())),
            }
        }
        Err(self.not_sent("the connection closes at once"))
    }

    /// The connection, dialled if need be; whoever comes meanwhile waits for the same dial.
    async fn sender(&self) -> Result<SendRequest<Body>, SendError> {
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let _dialling = self.dialling.lock().await;
        // Somebody else may have dialled meanwhile.
        if let Some(sender) = self.live() {
            return Ok(sender);
        }
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, self.dial()).await;
        let sender = dialled.map_err(|_| self.not_sent("timed out"))??;
        *self.last() = Some(sender.clone());
        Ok(sender)
    }

    fn live(&self) -> Option<SendRequest<Body>> {
        let last = self.last();
        last.as_ref().filter(|sender| !sender.is_closed()).cloned()
    }

    /// Nothing panics while it holds this lock, so a poisoned one is as good as any.
    fn last(&self) -> MutexGuard<'_, Option<SendRequest<Body>>> {
        self.sender.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn dial(&self) -> Result<SendRequest<Body>, SendError> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let address = (host, self.authority.port_u16().unwrap_or(80));
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| self.not_sent(error))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http2::Builder::new(self.tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(self.ping)
            .keep_alive_timeout(self.ping)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADERS_LIMIT)
            .max_concurrent_reset_streams(RESET_STREAMS)
            .handshake(TokioIo::new(Gathering::new(stream)))
            .await
            .map_err(|error| self.not_sent(error))?;
        let authority = self.authority.clone();
        self.tasks.0.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%authority, %error, "connection ended");
            }
        });
        Ok(sender)
    }

    fn not_sent(&self, reason: impl ToString) -> SendError {
        SendError::NotSent(self.authority.clone(), reason.to_string())
    }
}
