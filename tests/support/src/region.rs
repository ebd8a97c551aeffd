//! A region that does as it is told: one HTTP port (HTTP/1.1 and h2c) whose answers a test scripts.
//!
//! For what the real invocation service cannot be made to do on purpose: refuse a stream, lie, hang, break off.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use frontdoor_protocol::verdict::CANARY_PATH;
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Streams that callers took back before they were begun, on one connection.
const RESETS: usize = 4096;

/// An answer of a scripted region.
pub type Reply = Response<BoxBody<Bytes, std::io::Error>>;

/// A running region; dropping it closes its port and cuts its connections.
pub struct Region {
    /// Where it listens.
    pub address: SocketAddr,
    calls: Arc<AtomicUsize>,
    _server: AbortOnDropHandle<()>,
}

/// A simple answer.
#[must_use]
pub fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Reply {
    let body = Full::new(body.into())
        .map_err(|never| match never {})
        .boxed();
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(body).unwrap_or_default()
}

// === impl Region ===

impl Region {
    /// Starts a region on a free port. `/health` answers 200 by itself; everything else is asked of `script`.
    ///
    /// # Errors
    /// If there is no free port.
    pub async fn start<F, R>(script: F) -> std::io::Result<Self>
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), script).await
    }

    /// Starts a region where another one was.
    ///
    /// # Errors
    /// If the port is taken.
    pub async fn start_on<F, R>(address: SocketAddr, script: F) -> std::io::Result<Self>
    where
        F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
        R: Future<Output = Reply> + Send + 'static,
    {
        // A queue long enough for the burst of connections that a cold edge makes; the default of 128 is not.
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(4096)?;
        let address = listener.local_addr()?;
        let calls = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, Arc::new(script), Arc::clone(&calls)));
        Ok(Self {
            address,
            calls,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// How many calls it was asked to serve, health checks aside.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn serve<F, R>(listener: TcpListener, script: Arc<F>, calls: Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    R: Future<Output = Reply> + Send + 'static,
{
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let (script, calls) = (Arc::clone(&script), Arc::clone(&calls));
        let service = service_fn(move |request: Request<Incoming>| {
            let (script, calls) = (Arc::clone(&script), Arc::clone(&calls));
            async move {
                if request.uri().path() == "/health" {
                    return Ok::<_, Infallible>(reply(200, &[], "{}"));
                }
                if request.uri().path() == CANARY_PATH {
                    return Ok(reply(404, &[], ""));
                }
                calls.fetch_add(1, Ordering::SeqCst);
                let head = request.method() == http::Method::HEAD;
                let reply = script(request).await;
                Ok(if head {
                    reply.map(|_| Full::default().map_err(|never| match never {}).boxed())
                } else {
                    reply
                })
            }
        });
        connections.spawn(async move {
            let mut builder = auto::Builder::new(TokioExecutor::new());
            // As the invocation service: one connection carries many callers' calls, and all that any of them takes back.
            builder
                .http2()
                .max_pending_accept_reset_streams(RESETS)
                .max_local_error_reset_streams(RESETS);
            let _ = builder
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}
