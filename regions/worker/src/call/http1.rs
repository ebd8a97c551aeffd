//! HTTP/1.1 connections to the container: kept while they are idle, one call on each at a time.
//!
//! A connection that closed in its idle time costs nothing: a call that provably never left goes out on the next one. The
//! newest idle one is taken first, so that those which a burst left over grow old and are dropped.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::uri::Authority;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::body::Body;
use crate::h2c::{CONNECT_TIMEOUT, SendError, Tasks};

/// Idle connections are closed before common servers close them (5 s), lest a call meets a closing one.
const IDLE: Duration = Duration::from_secs(4);
/// More headers than an attach stream may carry, so that the error is ours to word. Room for as many is made for each
/// answer, so not many more.
const HEADERS_LIMIT: usize = 320;

/// The connections to one address.
#[derive(Debug)]
pub(super) struct Connections {
    authority: Authority,
    tasks: Tasks,
    idle: Arc<Mutex<VecDeque<Idle>>>,
}

/// One that waits for its next call, and since when. The oldest stands in front.
#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

// === impl Connections ===

impl Connections {
    /// None yet.
    pub(super) fn new(authority: Authority, tasks: Tasks) -> Self {
        Self {
            authority,
            tasks,
            idle: Arc::default(),
        }
    }

    /// Sends a request, whose target is written as it is, and returns with the head of the response.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, SendError> {
        loop {
            let (mut sender, fresh) = match self.take() {
                Some(sender) => (sender, false),
                None => (self.dial().await?, true),
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    self.keep(sender);
                    return Ok(response);
                }
                Err(error) => error,
            };
            request = match error.take_message() {
                Some(unsent) if !fresh => unsent,
                Some(_) => return Err(self.not_sent("the connection closes at once")),
                None => return Err(SendError::Lost(error.into_error())),
            };
        }
    }

    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = lock(&self.idle);
        while let Some(Idle { sender, since }) = idle.pop_back() {
            if since.elapsed() >= IDLE {
                // So are all before it.
                idle.clear();
            } else if sender.is_ready() {
                return Some(sender);
            }
        }
        None
    }

    /// For the next call: at once, or when this one's answer has been read.
    fn keep(&self, mut sender: SendRequest<Body>) {
        if sender.is_ready() {
            return put(&self.idle, sender);
        }
        let idle = Arc::clone(&self.idle);
        // Ends with the answer, or with the connection.
        self.tasks.0.spawn(async move {
            if sender.ready().await.is_ok() {
                put(&idle, sender);
            }
        });
    }

    async fn dial(&self) -> Result<SendRequest<Body>, SendError> {
        let host = self.authority.host().trim_matches(['[', ']']);
        let address = (host, self.authority.port_u16().unwrap_or(80));
        let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address));
        let stream = stream
            .await
            .map_err(|_| self.not_sent("timed out"))?
            .map_err(|error| self.not_sent(error))?;
        let _ = stream.set_nodelay(true);
        let (sender, connection) = http1::Builder::new()
            .max_headers(HEADERS_LIMIT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.not_sent(error))?;
        self.tasks.0.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the container ended");
            }
        });
        Ok(sender)
    }

    fn not_sent(&self, reason: impl ToString) -> SendError {
        SendError::NotSent(self.authority.clone(), reason.to_string())
    }
}

fn put(idle: &Mutex<VecDeque<Idle>>, sender: SendRequest<Body>) {
    let now = Instant::now();
    let mut idle = lock(idle);
    while idle
        .front()
        .is_some_and(|oldest| now.saturating_duration_since(oldest.since) >= IDLE)
    {
        idle.pop_front();
    }
    idle.push_back(Idle { sender, since: now });
}

/// Nothing panics while it holds this lock, so a poisoned one is as good as any.
fn lock(idle: &Mutex<VecDeque<Idle>>) -> MutexGuard<'_, VecDeque<Idle>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}
