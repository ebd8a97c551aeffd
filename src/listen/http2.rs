//! One HTTP/2 connection: accepts streams, PINGs a silent caller, drains when told.
//!
//! The engine has no such loop with a preface time limit or server PINGs. Callers who cannot send PINGs themselves (most
//! Python clients) keep a silent connection through NATs and load balancers because of ours.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{
    H2Accept, H2Options, HttpSession, default_h2_options, handshake,
};
use pingora_core::protocols::{Digest, Stream};
use tokio::time::{sleep, timeout};

use super::Front;
use super::linger::Lingering;

/// A connection without any stream for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// While draining, a connection is closed after a second without any stream, whether or not its caller takes leave:
/// longer than a call that was sent before GOAWAY arrived, or the end of an answer, can still be on its way.
const DRAINED_LOOKS: u32 = 5;
/// Between two looks.
const DRAINED_LOOK: Duration = Duration::from_millis(200);
/// Requests that the engine rejected on one connection before it is closed.
const REJECTED: u32 = 32;

pub(super) async fn run<A>(front: &Arc<Front<A>>, stream: Stream)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: None,
        socket_digest: stream.get_socket_digest(),
    });
    let Ok(Ok(mut connection)) = timeout(
        front.handshake,
        handshake(Lingering::over(stream), Some(options(front.streams))),
    )
    .await
    else {
        front.metrics.request.handshake_failed("preface");
        return;
    };
    let active = Arc::new(AtomicUsize::new(0));
    let alive = keep_alive(connection.ping_pong(), Arc::clone(&active), front.ping);
    tokio::pin!(alive);
    let mut draining = front.draining.clone();
    let mut drains = false;
    let mut rejected = 0;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining), if !drains => {
                connection.graceful_shutdown();
                drains = true;
                continue;
            }
            () = &mut alive => return,
            () = idle_for_long(&active), if drains => return,
            accepted = HttpSession::from_h2_conn(&mut connection, Arc::clone(&digest)) => accepted,
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => spawn(front, session, &active),
            Ok(Some(H2Accept::Rejected)) if rejected < REJECTED => rejected += 1,
            Ok(Some(H2Accept::Rejected) | None) | Err(_) => return,
        }
    }
}

fn spawn<A>(front: &Arc<Front<A>>, session: HttpSession, active: &Arc<AtomicUsize>)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let stream = Active::begin(active);
    let (app, draining) = (Arc::clone(&front.app), front.draining.clone());
    front.tasks.spawn(async move {
        app.process_new_http(ServerSession::new_http2(session), &draining)
            .await;
        drop(stream);
    });
}

/// Returns when the caller is gone, or has been idle for too long.
async fn keep_alive(ping_pong: Option<h2::PingPong>, active: Arc<AtomicUsize>, every: Duration) {
    let Some(mut ping_pong) = ping_pong else {
        return std::future::pending().await;
    };
    let mut idle = Duration::ZERO;
    loop {
        sleep(every).await;
        if !matches!(
            timeout(every, ping_pong.ping(h2::Ping::opaque())).await,
            Ok(Ok(_))
        ) {
            return;
        }
        idle = if active.load(Ordering::Relaxed) == 0 {
            idle + every
        } else {
            Duration::ZERO
        };
        if idle >= IDLE {
            return;
        }
    }
}

/// Returns when there was no stream at several looks in a row; begins anew whenever it is called.
async fn idle_for_long(active: &AtomicUsize) {
    let mut looks = 0;
    while looks < DRAINED_LOOKS {
        sleep(DRAINED_LOOK).await;
        looks = if active.load(Ordering::Relaxed) == 0 {
            looks + 1
        } else {
            0
        };
    }
}

/// Windows that let one upload fill a long path (1 MiB at 80 ms is 13 MB/s), and the engine's bounds against abuse: the
/// library's own defaults would allow 16 MiB of headers per stream.
fn options(streams: u32) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(streams)
        .initial_window_size(1 << 20)
        .initial_connection_window_size(4 << 20)
        .max_header_list_size(32 << 10)
        .max_send_buffer_size(256 << 10);
    options
}

/// Counts a stream while it lives.
struct Active(Arc<AtomicUsize>);

impl Active {
    fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
