//! From a decision to the engine's peer: address, protocol, timeouts.
//!
//! Regions speak HTTP/2 without TLS inside a trusted network. Every value here is the same for all calls to an address,
//! so that they share its connections; only time-outs follow the caller's patience. The engine has one read time-out for an
//! answer's head and for its body, so a region that hangs without losing its connection is waited for longer than the
//! caller asked; its own deadline, and our probes, are what ends that.

mod deadline;

use std::net::SocketAddr;
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::HttpPeer;

pub use self::deadline::left;

/// For the connection to a region; more than any round trip, less than a caller's patience.
const CONNECT: Duration = Duration::from_secs(1);
/// For a region that stops reading a request body, once the caller's patience is over: until a worker has the call, the
/// region reads only its beginning.
const WRITE: Duration = Duration::from_secs(60);
/// The longest silence within an answer that is still an answer: an event stream may pause so long.
const IDLE_GAP: Duration = Duration::from_secs(300);
/// How long an unused connection is kept.
const POOL_IDLE: Duration = Duration::from_secs(90);
/// How often a connection that is in use is asked whether it still lives; the engine waits 5 s for the answer.
const PING: Duration = Duration::from_secs(1);
/// Calls on one connection. The engine may open so many before it has heard the region's own limit, so this stays below
/// what servers allow by default (hyper, and so NVIDIA's service: 200); more would be refused.
const STREAMS: usize = 128;
/// What one answer may have on its way: 1 MiB fills a path of 80 ms with 13 MB/s.
const STREAM_WINDOW: u32 = 1 << 20;
/// What all answers on a connection may have on their way: more than all streams together, so that a caller who reads
/// slowly never holds up the others who share the connection. It also keeps the HTTP/2 library from closing a
/// connection on which many small events lie unread, which it judges by this window.
const CONNECTION_WINDOW: u32 = 1 << 30;
/// What the region may take longer than the caller's patience to say so itself.
const COURTESY: Duration = Duration::from_secs(5);

/// The peer for one attempt.
#[must_use]
pub fn peer(address: SocketAddr, time_left: Duration) -> HttpPeer {
    let mut peer = HttpPeer::new(address, false, String::new());
    let options = &mut peer.options;
    options.set_http_version(2, 2);
    options.max_h2_streams = STREAMS;
    options.h2_ping_interval = Some(PING);
    options.h2_stream_window_size = Some(STREAM_WINDOW);
    options.h2_connection_window_size = Some(CONNECTION_WINDOW);
    options.connection_timeout = Some(CONNECT.min(time_left.max(Duration::from_millis(1))));
    options.total_connection_timeout = options.connection_timeout;
    options.read_timeout = Some((time_left + COURTESY).max(IDLE_GAP));
    options.write_timeout = Some(WRITE.max(time_left + COURTESY));
    options.idle_timeout = Some(POOL_IDLE);
    options.tcp_keepalive = Some(TcpKeepalive {
        idle: Duration::from_secs(15),
        interval: Duration::from_secs(5),
        count: 3,
        #[cfg(target_os = "linux")]
        user_timeout: Duration::from_secs(0),
    });
    peer
}

/// Whether a peer was dialled with less patience than an endpoint deserves: a failure then says nothing about it.
#[must_use]
pub fn hurried(peer: &HttpPeer) -> bool {
    peer.options.connection_timeout < Some(CONNECT)
}
