//! Ports: TLS with HTTP/2 and HTTP/1.1, and plain HTTP; who may come in, and for how long they may say nothing.
//!
//! Our own accept loops: pingora's would leave a connection that never finishes its TLS handshake or its
//! HTTP/2 preface open for ever, cannot PING a caller, and cannot tell which port it got. Every
//! connection and every stream is a task of one tracker, so that a stop can wait for them.

pub mod certificates;
mod connection;
mod http2;
mod linger;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::server::ShutdownWatch;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;

/// Everything that all listeners share.
pub struct Front<A> {
    /// Who serves requests.
    pub app: Arc<A>,
    /// Terminates TLS.
    pub acceptor: Acceptor,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// The most connections at once.
    pub connections: Arc<Semaphore>,
    /// For everything before the first request.
    pub handshake: Duration,
    /// The most HTTP/2 streams on a connection.
    pub streams: u32,
    /// How often a caller on HTTP/2 is asked whether it lives, and how long it has to say so.
    pub ping: Duration,
    /// Turns true when no new calls are wanted.
    pub draining: ShutdownWatch,
    /// How long a connection may stay on after that which has no call yet.
    pub farewell: Farewell,
    /// Owns every connection and stream.
    pub tasks: TaskTracker,
}

/// How long a connection without a call may stay when the edge leaves: a call may be on its way, from a caller who does not
/// know yet. A stop gives it a second. With a successor at the ports there is no hurry: who stays silent for as long as an idle
/// connection is kept would have been sent away anyhow.
#[derive(Debug, Clone, Default)]
pub struct Farewell(Arc<AtomicBool>);

/// What a port speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// TLS first.
    Https,
    /// HTTP at once.
    Http,
}

/// Why a port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; is another program using that port?")]
pub struct BindError {
    address: SocketAddr,
    source: std::io::Error,
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 4096;
/// After a failed accept (out of file descriptors, mostly): wait for some to be closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// [`Farewell`] of a stop.
const FAREWELL: Duration = Duration::from_secs(1);
/// Seconds that an HTTP/1.1 connection waits for its next request.
const KEPT: u64 = 60;

// === impl Farewell ===

impl Farewell {
    /// Somebody else serves the ports.
    pub fn succeeded(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Counted from when the edge drains, or from the end of the last call after that.
    #[must_use]
    pub fn time(&self) -> Duration {
        if self.0.load(Ordering::Relaxed) {
            Duration::from_secs(KEPT)
        } else {
            FAREWELL
        }
    }

    /// Returns when the edge drains and this time is over.
    pub async fn over(&self, draining: &ShutdownWatch) {
        let mut draining = draining.clone();
        // The sender lives as long as the edge; without it nothing drains any more.
        if draining.wait_for(|draining| *draining).await.is_err() {
            return std::future::pending().await;
        }
        tokio::time::sleep(self.time()).await;
    }
}

/// Opens a port; port 0 takes any free one.
///
/// # Errors
/// If the port cannot be had.
pub fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let open = || {
        let domain = socket2::Domain::for_address(address);
        let socket =
            socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|source| BindError { address, source })
}

/// Goes on with a port that is open already.
///
/// # Errors
/// If the socket is of no use.
pub fn adopt(address: SocketAddr, socket: std::net::TcpListener) -> Result<TcpListener, BindError> {
    socket
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(socket))
        .map_err(|source| BindError { address, source })
}

/// Accepts connections until the front drains. Each connection becomes a task of the front's tracker.
pub async fn serve<A>(listener: TcpListener, scheme: Scheme, front: Arc<Front<A>>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut draining = front.draining.clone();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let Ok(permit) = Arc::clone(&front.connections).try_acquire_owned() else {
                    front.metrics.request.handshake_failed("limit");
                    continue;
                };
                let task = connection::run(Arc::clone(&front), stream, peer, scheme, permit);
                front.tasks.spawn(task);
            }
            Err(error) => {
                tracing::warn!(%error, "accepting a connection failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
