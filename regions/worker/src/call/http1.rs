//! HTTP/1.1 connections to the container: kept while they are idle, one call on each at a time.
//!
//! A call takes one out of the pool and gives it back when the answer has been read. That hyper has it ready again may take
//! until its own task ran, so whoever takes one looks for that; nothing waits for it.
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

/// A connection while a call has it. It closes if this is dropped before it is given back.
#[derive(Debug)]
pub(crate) struct Lease {
    sender: SendRequest<Body>,
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

    /// Sends a request, whose target is written as it is, and returns with the head of the response and what it comes on.
    pub(super) async fn send(
        &self,
        mut request: Request<Body>,
    ) -> Result<(Response<Incoming>, Lease), SendError> {
        loop {
            let (mut sender, fresh) = match self.take() {
                Some(sender) => (sender, false),
                None => (self.dial().await?, true),
            };
            let mut error = match sender.try_send_request(request).await {
                Ok(response) => {
                    let idle = Arc::clone(&self.idle);
                    return Ok((response, Lease { sender, idle }));
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

    /// The newest that is ready. Those that closed are dropped on the way to it; those that are still busy with an answer's
    /// end stay.
    fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = lock(&self.idle);
        forget_old(&mut idle, Instant::now());
        for at in (0..idle.len()).rev() {
            let sender = &idle[at].sender;
            if sender.is_ready() {
                return idle.remove(at).map(|idle| idle.sender);
            }
            if sender.is_closed() {
                idle.remove(at);
            }
        }
        None
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

// === impl Lease ===

impl Lease {
    /// For the next call: the answer has been read.
    pub(super) fn give_back(self) {
        let mut idle = lock(&self.idle);
        // Taken under the lock: the oldest stands in front.
        let since = Instant::now();
        forget_old(&mut idle, since);
        let sender = self.sender;
        idle.push_back(Idle { sender, since });
    }
}

fn forget_old(idle: &mut VecDeque<Idle>, now: Instant) {
    while idle
        .front()
        .is_some_and(|oldest| now.saturating_duration_since(oldest.since) >= IDLE)
    {
        idle.pop_front();
    }
}

/// Nothing panics while it holds this lock, so a poisoned one is as good as any.
fn lock(idle: &Mutex<VecDeque<Idle>>) -> MutexGuard<'_, VecDeque<Idle>> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http_body_util::BodyExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::body;

    /// A container that counts its connections, and never ends its answer at `/half`.
    async fn container(listener: TcpListener, opened: Arc<AtomicUsize>) {
        let mut served = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            opened.fetch_add(1, Ordering::SeqCst);
            served.spawn(async move {
                let mut heard = Vec::new();
                let mut piece = [0; 1024];
                while let Ok(length @ 1..) = stream.read(&mut piece).await {
                    heard.extend_from_slice(&piece[..length]);
                    if heard.ends_with(b"\r\n\r\n") {
                        let body = match heard.starts_with(b"GET /half") {
                            true => "o",
                            false => "ok",
                        };
                        heard.clear();
                        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{body}");
                        stream.write_all(answer.as_bytes()).await.expect("open");
                    }
                }
            });
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let wait = tokio::time::timeout(Duration::from_secs(20), wait);
        wait.await.expect("in time");
    }

    #[tokio::test]
    async fn only_what_is_ready_is_taken_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let opened = Arc::new(AtomicUsize::new(0));
        let serving = tokio::spawn(container(listener, Arc::clone(&opened)));
        let authority = address.parse().expect("an authority");
        let connections = Connections::new(authority, Tasks(TaskTracker::new()));
        let call = async |path: &'static str| {
            let request = Request::get(path).body(body::empty()).expect("valid");
            connections.send(request).await.expect("an answer")
        };
        let ready = || {
            let idle = lock(&connections.idle);
            idle.iter().any(|idle| idle.sender.is_ready())
        };
        for _ in 0..3 {
            let (answer, lease) = call("/").await;
            answer.into_body().collect().await.expect("whole");
            lease.give_back();
            until(ready).await;
        }
        assert_eq!(opened.load(Ordering::SeqCst), 1, "one for all");

        let (unread, lease) = call("/half").await;
        lease.give_back();
        let (answer, _lease) = call("/").await;
        answer.into_body().collect().await.expect("whole");
        assert_eq!(opened.load(Ordering::SeqCst), 2, "the first is busy");
        drop(unread);
        until(|| {
            assert!(connections.take().is_none(), "not ready, and then closed");
            lock(&connections.idle).is_empty()
        })
        .await;
        serving.abort();
    }
}
