//! One HTTP/2 connection to a region's endpoint: carries many calls, knows how many, and finds out when its peer is gone.
//!
//! A driver task owns the socket. While calls are on it, the peer is asked by PING whether it lives; any bytes that come
//! count as an answer, so that a path which is busy or slow is not taken for a dead one. After one silent time-out the
//! connection is *suspect*: it gets no new calls, and calls that may run twice go elsewhere. After some more it is dead and
//! closed, which fails what is still on it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{PingPong, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::config::UpstreamSettings;

/// What one answer may have on its way: 1 MiB fills a path of 80 ms with 13 MB/s.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all answers on a connection may have on their way: more than all streams together, so that a caller who reads
/// slowly never holds up the others who share the connection. It also keeps the HTTP/2 library from closing a
/// connection on which many small events lie unread, which it judges by this window.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// An answer's headers.
const HEADER_LIST: u32 = 64 << 10;
/// Body bytes of one call that wait for the socket.
const SEND_BUFFER: usize = 256 << 10;
/// Callers who leave reset their streams; the library remembers so many of them, to tell late frames from wrong ones.
const RESETS: usize = 4096;
/// A connection without calls is asked this often, so that one which went away in silence is found before a call is.
const IDLE_PING: Duration = Duration::from_secs(10);

/// A connection, as the calls on it see it.
pub(super) struct Connection {
    sender: SendRequest<Bytes>,
    shared: Arc<Shared>,
}

/// What calls, driver and pool know of a connection.
#[derive(Default)]
pub(super) struct Shared {
    in_flight: AtomicUsize,
    served: AtomicUsize,
    /// What the peer allows at once, as far as it said.
    allowed: AtomicUsize,
    /// Takes no new calls.
    retired: AtomicBool,
    suspect: CancellationToken,
    told: AtomicBool,
    reads: AtomicU32,
    /// Looks in a row that found no call on it.
    idle: AtomicU32,
}

/// A call's place on a connection.
pub struct Lease {
    connection: Arc<Connection>,
    /// Whether the connection carried calls before.
    pub reused: bool,
}

/// Counts what is read, as a sign of life.
pub(super) struct Watched<S> {
    stream: S,
    shared: Arc<Shared>,
}

/// How a driver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The peer closed, or nobody uses it any more.
    Closed,
    /// The peer fell silent.
    Silent,
}

// === impl Connection ===

impl Connection {
    /// Speaks HTTP/2 on a fresh stream, and returns when the peer has spoken too (its SETTINGS, RFC 9113 §3.4). The future
    /// drives the connection and must be polled for it to work.
    ///
    /// A load balancer or proxy on the way accepts a connection before it knows whether anybody is behind it. A call written
    /// at once would be lost with such a connection and might have run; one that waits for the peer's first word has
    /// provably not begun when there is none, and goes elsewhere. The price is a round trip for a cold connection only.
    pub(super) async fn open<S>(
        stream: S,
        settings: UpstreamSettings,
    ) -> Result<(Self, impl Future<Output = Ended> + use<S>), h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let shared = Arc::new(Shared {
            allowed: AtomicUsize::new(settings.streams),
            ..Shared::default()
        });
        let stream = Watched {
            stream,
            shared: Arc::clone(&shared),
        };
        let (sender, mut connection) = h2::client::Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEADER_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .max_concurrent_reset_streams(RESETS)
            .enable_push(false)
            // None until the peer has said how many.
            .initial_max_send_streams(0)
            .handshake(stream)
            .await?;
        poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
            Poll::Ready(ended) => Poll::Ready(ended.and(Err(h2::Reason::NO_ERROR.into()))),
            Poll::Pending if connection.max_concurrent_send_streams() > 0 => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        })
        .await?;
        let ping_pong = connection.ping_pong();
        let known = Arc::clone(&shared);
        let driver = async move {
            let connection = poll_fn(|cx| {
                let ended = Pin::new(&mut connection).poll(cx);
                let allowed = connection.max_concurrent_send_streams();
                known
                    .allowed
                    .store(allowed.min(settings.streams), Ordering::Relaxed);
                ended
            });
            let watch = watch(ping_pong, &known, settings);
            let ended = tokio::select! {
                biased;
                _ = connection => Ended::Closed,
                () = watch => Ended::Silent,
            };
            known.retired.store(true, Ordering::Relaxed);
            ended
        };
        Ok((Self { sender, shared }, driver))
    }

    /// Calls that are on it; nothing if it takes no more.
    pub(super) fn load(&self) -> Option<usize> {
        let load = self.shared.in_flight.load(Ordering::Relaxed);
        let open = !self.shared.retired.load(Ordering::Relaxed)
            && load < self.shared.allowed.load(Ordering::Relaxed);
        open.then_some(load)
    }

    /// Calls that it takes at once.
    pub(super) fn allowed(&self) -> usize {
        self.shared.allowed.load(Ordering::Relaxed)
    }

    /// Whether it takes no more calls, ever.
    pub(super) fn is_retired(&self) -> bool {
        self.shared.retired.load(Ordering::Relaxed)
    }

    /// Whether this and the `looks - 1` looks before found no call on it.
    pub(super) fn idle_for(&self, looks: u32) -> bool {
        let busy = self.shared.in_flight.load(Ordering::Relaxed) > 0;
        if busy {
            self.shared.idle.store(0, Ordering::Relaxed);
        }
        !busy && self.shared.idle.fetch_add(1, Ordering::Relaxed) >= looks
    }

    /// A place for one call; nothing if the last one was taken a moment ago.
    pub(super) fn lease(self: &Arc<Self>) -> Option<Lease> {
        let allowed = self.shared.allowed.load(Ordering::Relaxed);
        self.shared
            .in_flight
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |load| {
                (load < allowed).then_some(load + 1)
            })
            .ok()?;
        Some(Lease {
            connection: Arc::clone(self),
            reused: self.shared.served.fetch_add(1, Ordering::Relaxed) > 0,
        })
    }
}

// === impl Lease ===

impl Lease {
    /// Begins a call. The request's head goes out with the next flush of the connection.
    ///
    /// # Errors
    /// If the connection is closed or takes no more streams: nothing was sent.
    pub fn send(
        &self,
        request: http::Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.connection.sender.clone().send_request(request, end)
    }

    /// Returns when the peer has been silent for longer than a living one would be.
    pub async fn suspected(&self) {
        self.connection.shared.suspect.cancelled().await;
    }

    /// True for the first who asks: of all calls on a connection that failed, one tells the table.
    #[must_use]
    pub fn first_to_tell(&self) -> bool {
        !self.connection.shared.told.swap(true, Ordering::Relaxed)
    }

    /// Takes the connection out of use: the peer wants no more calls on it.
    pub fn retire(&self) {
        self.connection
            .shared
            .retired
            .store(true, Ordering::Relaxed);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.connection
            .shared
            .in_flight
            .fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Watched ===

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if read.is_ready() {
            self.shared.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Asks the peer whether it lives; returns when it does not.
async fn watch(ping_pong: Option<PingPong>, shared: &Shared, settings: UpstreamSettings) {
    let Some(mut ping_pong) = ping_pong else {
        return std::future::pending().await;
    };
    let mut unasked = Duration::ZERO;
    loop {
        sleep(settings.ping_interval).await;
        unasked += settings.ping_interval;
        if shared.in_flight.load(Ordering::Relaxed) == 0 && unasked < IDLE_PING {
            continue;
        }
        unasked = Duration::ZERO;
        let mut pong = pin!(ping_pong.ping(h2::Ping::opaque()));
        let mut silent = Duration::ZERO;
        let mut reads = shared.reads.load(Ordering::Relaxed);
        loop {
            match timeout(settings.ping_timeout, pong.as_mut()).await {
                Ok(Ok(_)) => break,
                // The connection itself says why, and ends.
                Ok(Err(_)) => return std::future::pending().await,
                Err(_) => {}
            }
            let now = shared.reads.load(Ordering::Relaxed);
            silent = if now == reads {
                silent + settings.ping_timeout
            } else {
                Duration::ZERO
            };
            reads = now;
            if silent >= settings.ping_timeout {
                shared.retired.store(true, Ordering::Relaxed);
                shared.suspect.cancel();
            }
            if silent >= settings.dead_after {
                return;
            }
        }
    }
}
