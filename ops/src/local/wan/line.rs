//! One delayed connection: what comes in on one side goes out on the other, later.
//!
//! Each direction is a queue of chunks stamped with the time they are due, so the delay costs no throughput: many
//! chunks are under way at once, as on a long cable. Order is kept when the delay changes. The queue is bounded in
//! bytes; when it is full the sender feels it. A FIN arrives as a FIN after everything sent before it, a reset as a reset.
//! The line knows nothing of listeners or regions.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, watch};

use super::clock::Clock;

/// Bytes one direction may hold.
pub(super) const QUEUE_BYTES: usize = 8 << 20;
/// The least a chunk counts, which bounds their number as well.
const CHUNK_COST: usize = 1 << 10;
/// How much is read at once.
const READ: usize = 64 << 10;

/// What the calls after a pause of this length have in common with those before is only the connection: chunks closer
/// together than this are one thing said, for which a reset is drawn once.
const BREATH: Duration = Duration::from_millis(2);

/// How the way is: delay one way, and what a drill has made of it. Can be changed while in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Weather(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    delay_us: AtomicU64,
    /// In millionths.
    reset: AtomicU32,
    silent: watch::Sender<bool>,
}

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
    weather: &'a Weather,
    clock: &'a Clock,
    /// Nothing leaves the sender before this: its handshake is still under way.
    connected: Instant,
    /// Whether resets are drawn in this direction.
    fickle: bool,
    room: Arc<Semaphore>,
}

/// Carries bytes both ways until both sides have ended, or one has broken. `lost` is called when the upstream ends or
/// breaks, at the time it happens. `accepted` is when the client's connection came in.
pub(super) async fn carry(
    client: TcpStream,
    upstream: TcpStream,
    weather: &Weather,
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
        let up = Queue::new(weather, clock, accepted + 2 * weather.delay()).fickle();
        let down = Queue::new(weather, clock, accepted);
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

// === impl Weather ===

impl Weather {
    pub(super) fn new(delay: Duration) -> Self {
        let new = Self::default();
        new.set_delay(delay);
        new
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_micros(self.0.delay_us.load(Ordering::Relaxed))
    }

    pub(super) fn set_delay(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.0.delay_us.store(micros, Ordering::Relaxed);
    }

    /// How much of what is sent towards the target ends in a reset, in millionths.
    pub(super) fn reset(&self) -> u32 {
        self.0.reset.load(Ordering::Relaxed)
    }

    pub(super) fn set_reset(&self, millionths: u32) {
        self.0.reset.store(millionths, Ordering::Relaxed);
    }

    /// Whether nothing gets through, while everything looks connected.
    pub(super) fn silent(&self) -> bool {
        *self.0.silent.borrow()
    }

    pub(super) fn set_silent(&self, silent: bool) {
        self.0.silent.send_replace(silent);
    }

    fn strikes(&self) -> bool {
        let reset = self.reset();
        reset > 0 && rand::random::<u32>() % 1_000_000 < reset
    }

    /// Returns when something can get through.
    async fn carries(&self) {
        // The sender is in this very value, so it cannot be gone.
        let _ = self.0.silent.subscribe().wait_for(|silent| !silent).await;
    }
}

// === impl Queue ===

impl<'a> Queue<'a> {
    fn new(weather: &'a Weather, clock: &'a Clock, connected: Instant) -> Self {
        Self {
            weather,
            clock,
            connected,
            room: Arc::new(Semaphore::new(QUEUE_BYTES)),
            fickle: false,
        }
    }

    fn fickle(self) -> Self {
        Self {
            fickle: true,
            ..self
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
        let mut said: Option<Instant> = None;
        loop {
            buffer.reserve(READ);
            // A receiver that is gone has hit an error, and this side must not wait for more input to notice.
            let read = tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                () = queue.closed() => return,
            };
            let now = Instant::now();
            let begins = said.replace(now).is_none_or(|before| now - before > BREATH);
            let item = match read {
                Ok(1..) if self.fickle && begins && self.weather.strikes() => Item::Reset,
                Ok(0) => Item::Fin,
                Ok(_) => Item::Data(buffer.split().freeze()),
                Err(_) => Item::Reset,
            };
            last = last.max(now.max(self.connected) + self.weather.delay());
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
            self.weather.carries().await;
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
                self.clock
                    .until(Instant::now() + self.weather.delay())
                    .await;
                return Err(Broken);
            }
        }
        Err(Broken)
    }
}

fn cost(data: &Bytes) -> u32 {
    u32::try_from(data.len().max(CHUNK_COST)).unwrap_or(u32::MAX)
}
