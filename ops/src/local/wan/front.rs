//! A region's front: the address the edge connects to, behind which the region's own host answers after a delay.
//!
//! The front must not be kinder than the host: while the host refuses connections, so does the front. It listens only
//! as long as the target accepts, and looks again whenever a connection to it ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use frontdoor_protocol::names::RegionName;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::line::{self, Weather};

/// How often a target that refuses is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a connection to the target may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Connections the kernel keeps for us to accept.
const BACKLOG: i32 = 1024;
/// After a lost connection the target is tried at once and again after these pauses: a dying process may close
/// its connections a moment before its listener.
const SECOND_LOOKS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(50),
];

/// One region's front. Cheap to clone; clones share the weather and what is known.
#[derive(Debug, Clone)]
pub(super) struct Front {
    pub(super) name: RegionName,
    pub(super) listen: SocketAddr,
    pub(super) target: SocketAddr,
    pub(super) weather: Weather,
    clock: Clock,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    open: AtomicBool,
    lines: AtomicUsize,
}

/// What a connection tells the front about the target.
enum News {
    /// A connection to it ended; it may be gone.
    Lost,
    /// It refused one.
    Refused,
}

// === impl Front ===

impl Front {
    pub(super) fn new(
        name: RegionName,
        listen: SocketAddr,
        target: SocketAddr,
        weather: Weather,
        clock: Clock,
    ) -> Self {
        Self {
            name,
            listen,
            target,
            weather,
            clock,
            state: Arc::default(),
        }
    }

    /// Whether the front accepts connections now.
    pub(super) fn open(&self) -> bool {
        self.state.open.load(Ordering::Relaxed)
    }

    /// How many connections it carries.
    pub(super) fn lines(&self) -> usize {
        self.state.lines.load(Ordering::Relaxed)
    }

    /// Serves until `shutdown`, opening and closing with the target.
    pub(super) async fn run(self, shutdown: CancellationToken) {
        let mut lines = JoinSet::new();
        while !shutdown.is_cancelled() {
            let served = async {
                self.until_accepting().await;
                let listener = match listen(self.listen) {
                    Ok(listener) => listener,
                    Err(error) => {
                        tracing::error!(region = %self.name, listen = %self.listen, %error, "front cannot be opened");
                        sleep(RETRY).await;
                        return;
                    }
                };
                tracing::info!(region = %self.name, listen = %self.listen, "front open");
                self.state.open.store(true, Ordering::Relaxed);
                self.accept(listener, &mut lines).await;
                tracing::info!(region = %self.name, "target refuses connections, front closed");
            };
            tokio::select! {
                () = served => {}
                () = shutdown.cancelled() => {}
            }
            self.state.open.store(false, Ordering::Relaxed);
        }
        lines.shutdown().await;
    }

    async fn until_accepting(&self) {
        while TcpStream::connect(self.target).await.is_err() {
            sleep(RETRY).await;
        }
    }

    /// Accepts until the target refuses; returning drops the listener, and with it whoever waits in its backlog.
    async fn accept(&self, listener: TcpListener, lines: &mut JoinSet<()>) {
        let (news, mut heard) = mpsc::channel(1);
        let mut looks = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => {
                        lines.spawn(self.clone().connect(client, Instant::now(), news.clone()));
                    }
                    // Out of file descriptors, or the caller left in between: neither is a reason to close.
                    Err(error) => {
                        tracing::warn!(region = %self.name, %error, "accept failed");
                        sleep(RETRY).await;
                    }
                },
                Some(news) = heard.recv() => match news {
                    News::Refused => return,
                    News::Lost if looks.is_empty() => {
                        looks.spawn(refuses(self.target));
                    }
                    News::Lost => {}
                },
                Some(refuses) = looks.join_next() => if refuses.unwrap_or(false) { return },
                Some(_) = lines.join_next() => {}
            }
        }
    }

    async fn connect(self, client: TcpStream, accepted: Instant, news: mpsc::Sender<News>) {
        let upstream = match timeout(CONNECT, TcpStream::connect(self.target)).await {
            Ok(Ok(upstream)) => upstream,
            failed => {
                line::reset_on_close(&client);
                drop(client);
                if let Ok(Err(error)) = failed
                    && error.kind() == io::ErrorKind::ConnectionRefused
                {
                    let _ = news.send(News::Refused).await;
                }
                return;
            }
        };
        // Failing means that the connection is gone already, which carrying it will show.
        let _ = (client.set_nodelay(true), upstream.set_nodelay(true));
        let _counted = Counted::new(&self.state);
        // A full channel means that the front is about to look anyway.
        let lost = || drop(news.try_send(News::Lost));
        line::carry(client, upstream, &self.weather, &self.clock, accepted, lost).await;
    }
}

/// Counts a line for as long as it lives, also when its task is aborted.
struct Counted<'a>(&'a State);

impl<'a> Counted<'a> {
    fn new(state: &'a State) -> Self {
        state.lines.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.lines.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the target refuses connections, now or a moment later.
async fn refuses(target: SocketAddr) -> bool {
    for pause in SECOND_LOOKS {
        sleep(pause).await;
        let tried = timeout(CONNECT, TcpStream::connect(target)).await;
        if let Ok(Err(error)) = tried
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return true;
        }
    }
    false
}

/// Opens a listener on an address that may have been in use a moment ago.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
