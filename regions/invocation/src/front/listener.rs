//! The port: accepts connections, serves HTTP/1.1 and HTTP/2 (prior knowledge) on each, closes them in order.
//!
//! Every task, hyper's per-stream ones too, runs in one tracker that `stop.rs` waits for. Limits and timeouts of the
//! protocols stand here. Knows nothing of what a request means.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use frontdoor_socket::Gathering;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use ipnet::IpNet;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::secure::{self, Secured};
use super::{Front, Peer};

/// Connections the kernel may hold for us.
const BACKLOG: u32 = 1024;
/// Connections open at once. Edges and workers multiplex; only NVIDIA's workers open one per running call.
const CONNECTIONS: usize = 16 * 1024;
/// HTTP/2 streams per connection: an edge sends all of its calls for a region over a few connections.
const STREAMS: u32 = 4096;
/// HTTP/2 credit per stream: 40 ms away this still allows 25 MiB/s for one upload.
const STREAM_WINDOW: u32 = 1024 * 1024;
/// HTTP/2 credit per connection. It is shared, so it must outlast hundreds of streams whose reader is slow, or one slow
/// caller would hold up all others of the same worker.
const CONNECTION_WINDOW: u32 = 1024 * 1024 * 1024;
/// The largest HTTP/2 header list; HTTP/1.1 heads are bounded by hyper's buffer (about 400 KiB).
const HEADER_LIST: u32 = 64 * 1024;
/// Streams reset by the peer before we saw them: callers of an edge leaving in a wave must not cost the connection.
const RESETS: usize = 4096;
/// HTTP/1.1 has no PING, so the kernel asks a silent peer this often, and drops it after this many questions without an
/// answer: a host that is gone then ends its calls.
const KEEPALIVE: Duration = Duration::from_secs(10);
const KEEPALIVE_RETRIES: u32 = 3;
/// hyper counts the idle time between two requests in it, and NVIDIA's workers keep idle connections for 5 minutes and
/// do not repeat a POST that meets a closing one. Slow heads are the edge's to defend against.
const HEAD_READ: Duration = Duration::from_secs(330);
/// Pause after a failed accept (out of file descriptors): some connections end meanwhile.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What ends connections, in this order.
#[derive(Clone, Default)]
pub(crate) struct Tokens {
    /// No new connections; open ones end after their running requests.
    pub(crate) close: CancellationToken,
    /// Connections end now.
    pub(crate) cut: CancellationToken,
}

/// A bound port.
pub(crate) struct Listener {
    socket: TcpListener,
    trusted: Vec<IpNet>,
    ping: Duration,
    /// Every peer shows a certificate, and is an edge.
    tls: Option<Arc<Secured>>,
}

/// A stream, secured or not.
trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Io for S {}

/// Runs hyper's tasks in our tracker.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

// === impl Listener ===

impl Listener {
    /// Binds the port. Peers in `trusted` are edges; silent ones on HTTP/2 are asked every `ping` whether they live.
    pub(crate) fn bind(
        address: SocketAddr,
        trusted: Vec<IpNet>,
        ping: Duration,
    ) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            socket: socket.listen(BACKLOG)?,
            trusted,
            ping,
            tls: None,
        })
    }

    /// The same for edges with certificates only.
    pub(crate) fn bind_secured(
        address: SocketAddr,
        tls: Arc<Secured>,
        ping: Duration,
    ) -> io::Result<Self> {
        let listener = Self::bind(address, Vec::new(), ping)?;
        Ok(Self {
            tls: Some(tls),
            ..listener
        })
    }

    /// Accepts until told to close.
    pub(crate) async fn accept(self, front: Arc<Front>, tasks: TaskTracker, tokens: Tokens) {
        let builder = Arc::new(builder(&tasks, self.ping));
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let next = async {
                let permit = Arc::clone(&room).acquire_owned().await;
                (permit, self.socket.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                () = tokens.close.cancelled() => return,
                next = next => next,
            };
            match (permit, accepted) {
                (Ok(permit), Ok((stream, from))) => {
                    let peer = self.peer(from.ip());
                    let serve = serve(
                        Arc::clone(&front),
                        Arc::clone(&builder),
                        (stream, self.tls.as_ref().map(|tls| tls.acceptor())),
                        peer,
                        permit,
                        tokens.clone(),
                    );
                    tasks.spawn(serve);
                }
                (_, Err(error)) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                // Nobody closes the semaphore.
                (Err(_), _) => return,
            }
        }
    }

    fn peer(&self, ip: IpAddr) -> Peer {
        let ip = ip.to_canonical();
        Peer {
            sibling: false,
            trusted: self.tls.is_some() || self.trusted.iter().any(|net| net.contains(&ip)),
        }
    }
}

fn builder(tasks: &TaskTracker, ping: Duration) -> auto::Builder<Tracked> {
    let mut builder = auto::Builder::new(Tracked(tasks.clone()));
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_READ);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .keep_alive_interval(ping)
        .keep_alive_timeout(ping);
    builder
}

/// Sets up an accepted connection's socket.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    // Without it small answers wait for the peer's delayed ack.
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_RETRIES);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Serves one connection to its end.
async fn serve(
    front: Arc<Front>,
    builder: Arc<auto::Builder<Tracked>>,
    (stream, tls): (TcpStream, Option<TlsAcceptor>),
    peer: Peer,
    _permit: OwnedSemaphorePermit,
    tokens: Tokens,
) {
    let connections = front.books.metrics.connections.clone();
    connections.inc();
    // A socket that refuses is gone anyway.
    let _ = prepare(&stream);
    let stream: Box<dyn Io> = match &tls {
        None => Box::new(stream),
        Some(tls) => {
            // No request has begun on it, so there is nothing that a stop would wait for.
            let handshake = secure::handshake(tls, stream);
            match tokens.close.run_until_cancelled(handshake).await.flatten() {
                Some(stream) => Box::new(stream),
                None => {
                    connections.dec();
                    return;
                }
            }
        }
    };
    let service = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.serve(peer, request).await) }
    });
    let mut connection =
        std::pin::pin!(builder.serve_connection(TokioIo::new(Gathering::if_many(stream)), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = tokens.close.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = tokens.cut.cancelled() => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "connection ended with an error");
    }
    connections.dec();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn silent_peers_are_asked_whether_they_live() {
        let address = "127.0.0.1:0".parse().expect("valid");
        let listener = Listener::bind(address, Vec::new(), KEEPALIVE).expect("free");
        let address = listener.socket.local_addr().expect("bound");
        let (ours, _theirs) = tokio::join!(listener.socket.accept(), TcpStream::connect(address));
        let (stream, _) = ours.expect("accepted");
        prepare(&stream).expect("open");
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("open") && socket.tcp_nodelay().expect("open"));
        assert_eq!(socket.tcp_keepalive_time().expect("open"), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().expect("open"), KEEPALIVE);
        let retries = socket.tcp_keepalive_retries().expect("open");
        assert_eq!(retries, KEEPALIVE_RETRIES);
    }
}
