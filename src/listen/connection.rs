//! One client connection, from accept to the protocol that it turns out to speak.
//!
//! Every stage before the first request has a time limit. HTTP/2 goes on in `http2.rs`.

use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::time::Duration;

use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::l4::stream::Stream as TcpLayer;
use pingora_core::protocols::tls::ALPN;
use pingora_core::protocols::tls::server::handshake_with_callback;
use pingora_core::protocols::{GetSocketDigest as _, SocketDigest, Ssl as _, Stream};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::certificates::Remember;
use super::{Front, KEPT, Scheme, http2};

/// The HTTP/2 connection preface (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A vanished client is noticed after about half a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(15);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn run<A>(
    front: Arc<Front<A>>,
    stream: TcpStream,
    peer: SocketAddr,
    scheme: Scheme,
    _permit: OwnedSemaphorePermit,
) where
    A: HttpServerApp + Send + Sync + 'static,
{
    front.metrics.request.connections.inc();
    let begun = tokio::select! {
        // Who has not begun to speak HTTP when the front drains is not waited for long.
        () = front.farewell.over(&front.draining) => None,
        begun = begin(&front, stream, peer, scheme) => begun,
    };
    if let Some((stream, http2)) = begun {
        speak(&front, stream, http2).await;
    }
    front.metrics.request.connections.dec();
}

/// Everything before the first request: the stream, and whether it carries HTTP/2.
async fn begin<A>(
    front: &Front<A>,
    stream: TcpStream,
    peer: SocketAddr,
    scheme: Scheme,
) -> Option<(Stream, bool)> {
    let begun = match scheme {
        Scheme::Https => timeout(front.handshake, secure(front, stream, peer)).await,
        Scheme::Http => timeout(front.handshake, plain(stream, peer)).await,
    };
    let begun = begun.ok().flatten();
    if begun.is_none() {
        front.metrics.request.handshake_failed(match scheme {
            Scheme::Https => "tls",
            Scheme::Http => "preface",
        });
    }
    begun
}

async fn secure<A>(
    front: &Front<A>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Stream, bool)> {
    let stream = handshake_with_callback(&front.acceptor, layered(stream, peer), &Remember)
        .await
        .ok()?;
    let http2 = stream.selected_alpn_proto() == Some(ALPN::H2);
    Some((Box::new(stream), http2))
}

async fn plain(stream: TcpStream, peer: SocketAddr) -> Option<(Stream, bool)> {
    let http2 = begins_with_preface(&stream).await?;
    Some((Box::new(layered(stream, peer)), http2))
}

async fn speak<A>(front: &Arc<Front<A>>, stream: Stream, http2: bool)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    if http2 {
        http2::run(front, stream).await;
    } else {
        http1(front, stream).await;
    }
}

/// One request after the other, until one side wants no more.
async fn http1<A>(front: &Front<A>, stream: Stream)
where
    A: HttpServerApp + Send + Sync + 'static,
{
    let mut session = ServerSession::new_http1(stream);
    while let Some(reused) = front.app.process_new_http(session, &front.draining).await {
        let (stream, settings) = reused.consume();
        session = ServerSession::new_http1(stream);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        session.set_keepalive(Some(KEPT));
    }
}

/// Whether a plain client speaks HTTP/2 with prior knowledge; `None` if it left before that was clear.
async fn begins_with_preface(stream: &TcpStream) -> Option<bool> {
    let mut seen = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut seen).await.ok()?;
        if count == 0 {
            return None;
        }
        if seen[..count] != PREFACE[..count] {
            return Some(false);
        }
        if count == PREFACE.len() {
            return Some(true);
        }
        // Readiness does not rise again for bytes that were only looked at.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The engine's view of a TCP connection, set up as its own listener would.
fn layered(stream: TcpStream, peer: SocketAddr) -> TcpLayer {
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL);
    // Both only sharpen what works without them.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
    let digest = SocketDigest::from_raw_fd(stream.as_raw_fd());
    let _ = digest.peer_addr.set(Some(peer.into()));
    let mut layered = TcpLayer::from(stream);
    layered.set_socket_digest(digest);
    layered
}
