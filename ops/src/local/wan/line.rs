//! One delayed connection: what comes in on one side goes out on the other, later.
//!
//! Each direction is a queue of chunks stamped with the time they are due, so the delay costs no throughput: many
//! chunks are under way at once, as on a long cable. Order is kept when the delay changes. The queue is bounded in
//! bytes; when it is full the sender feels it. A FIN arrives as a FIN after everything sent before it, a reset as a reset.
//! The line knows nothing of listeners or regions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc};

use super::clock::Clock;

/// Bytes one direction may hold.
pub(super) const QUEUE_BYTES: usize = 8 << 20;
/// The least a chunk counts, which bounds their number as well.
const CHUNK_COST: usize = 1 << 10;
/// How much is read at once.
const READ: usize = 64 << 10;

/// A one-way delay that can be changed while in use.
#[derive(Debug, Clone)]
pub(super) struct Delay(Arc<AtomicU64>);

/// The other side is gone in a way that is not a clean end.
#[derive(Debug)]
struct Broken;

enum Item {
    Data(Bytes),
    Fin,
    Reset,
}

/// One direction's queue.
struct Queue<'a> {
    delay: &'a Delay,
    clock: &'a Clock,
    /// Nothing leaves the sender before this: its handshake is still under way.
    connected: Instant,
    room: Arc<Semaphore>,
}

/// Carries bytes both ways until both sides have ended, or one has broken. `lost` is called when the upstream ends or
/// breaks, at the time it happens. `accepted` is when the client's connection came in.
pub(super) async fn carry(
    client: TcpStream,
    upstream: TcpStream,
    delay: &Delay,
    clock: &Clock,
    accepted: Instant,
    lost: impl Fn(),
) {
    let (mut client, mut upstream) = (client, upstream);
    let ended = {
        let (client_read, client_write) = client.split();
        let (upstream_read, upstream_write) = upstream.split();
        // The kernel accepts at once what a distant host would accept a round trip later: the caller's first bytes are
        // held until then.
        let up = Queue::new(delay, clock, accepted + 2 * delay.get());
        let down = Queue::new(delay, clock, accepted);
        tokio::try_join!(
            up.pump(client_read, upstream_write, || ()),
            down.pump(upstream_read, client_write, &lost)
        )
    };
    if ended.is_err() {
        lost();
        for socket in [&client, &upstream] {
            reset_on_close(socket);
        }
    }
}

/// Makes the coming close of this socket a reset instead of a clean end.
pub(super) fn reset_on_close(socket: &TcpStream) {
    // Failing means the socket is dead already, which is what was wanted.
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

// === impl Delay ===

impl Delay {
    pub(super) fn new(delay: Duration) -> Self {
        let new = Self(Arc::default());
        new.set(delay);
        new
    }

    pub(super) fn get(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.0.store(micros, Ordering::Relaxed);
    }
}

// === impl Queue ===

impl<'a> Queue<'a> {
    fn new(delay: &'a Delay, clock: &'a Clock, connected: Instant) -> Self {
        Self {
            delay,
            clock,
            connected,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
        }
    }

    /// Carries one direction to its end: `Ok` after a FIN was passed on.
    async fn pump(
        &self,
        from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
        ended: impl Fn(),
    ) -> Result<(), Broken> {
        let (sender, receiver) = mpsc::channel(QUEUE_BYTES / CHUNK_COST + 1);
        let read = async {
            self.read(from, sender, ended).await;
            Ok(())
        };
        // A write that fails ends the read as well, also one that waits for room which nobody will make.
        tokio::try_join!(self.write(receiver, to), read).map(|_| ())
    }

    async fn read(
        &self,
        mut from: impl AsyncRead + Unpin,
        queue: mpsc::Sender<(Instant, Item)>,
        ended: impl Fn(),
    ) {
        let mut buffer = BytesMut::with_capacity(READ);
        let mut last = self.connected;
        loop {
            buffer.reserve(READ);
            // A receiver that is gone has hit an error, and this side must not wait for more input to notice.
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                () = queue.closed() => return,
            };
            let item = match read {
                Ok(0) => Item::Fin,
                Ok(_) => Item::Data(buffer.split().freeze()),
                Err(_) => Item::Reset,
            };
            last = last.max(Instant::now().max(self.connected) + self.delay.get());
            let end = !matches!(item, Item::Data(_));
            if end {
                ended();
            }
            if let Item::Data(data) = &item {
                let Ok(room) = self.room.acquire_many(cost(data)).await else {
                    return;
                };
                room.forget();
            }
            if queue.send((last, item)).await.is_err() || end {
                return;
            }
        }
    }

    async fn write(
        &self,
        mut queue: mpsc::Receiver<(Instant, Item)>,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Broken> {
        while let Some((due, item)) = queue.recv().await {
            self.clock.until(due).await;
            let done: io::Result<()> = match item {
                Item::Data(data) => {
                    let done = to.write_all(&data).await;
                    self.room.add_permits(cost(&data) as usize);
                    done
                }
                Item::Fin => return to.shutdown().await.map_err(|_| Broken),
                Item::Reset => return Err(Broken),
            };
            if done.is_err() {
                // The news that this side is gone has the way back still before it.
                self.clock.until(Instant::now() + self.delay.get()).await;
                return Err(Broken);
            }
        }
        Err(Broken)
    }
}

fn cost(data: &Bytes) -> u32 {
    u32::try_from(data.len().max(CHUNK_COST)).unwrap_or(u32::MAX)
}
