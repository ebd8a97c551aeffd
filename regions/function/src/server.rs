//! The port: accepts connections, speaks HTTP/1.1 or h2c on each, and stops in order.
//!
//! Stop order: the listener closes, connections finish what they have, what still runs after [`GRACE`] is cut.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::journal::Journal;
use crate::routes;

/// How long running calls may take after the stop was asked for.
const GRACE: Duration = Duration::from_secs(10);
/// Streams on one HTTP/2 connection; the worker multiplexes all its slots on one.
const STREAMS: u32 = 4096;
/// Window of one stream, and of a connection. The latter is large because the h2 crate closes a connection on which
/// more than about half of it is held in small unread frames.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1 << 30;
/// Pause after a failed accept (out of file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How the sample function is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it listens; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where calls are noted.
    pub journal: Option<PathBuf>,
}

/// The sample function with its port open.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    journal: Arc<Journal>,
}

/// Opens the port and serves until `shutdown`.
///
/// # Errors
/// If the port cannot be opened or the journal not be written.
pub async fn run(options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let server = Server::bind(options).await?;
    tracing::info!(listen = %server.local_addr()?, "sample function serves");
    server.serve(shutdown).await;
    Ok(())
}

// === impl Server ===

impl Server {
    /// Opens journal and port.
    ///
    /// # Errors
    /// If one of them cannot be opened.
    pub async fn bind(options: Options) -> anyhow::Result<Self> {
        let journal = Journal::open(options.journal.as_deref())
            .with_context(|| format!("journal {:?} cannot be opened", options.journal))?;
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        Ok(Self {
            listener,
            journal: Arc::new(journal),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// If the system does not know.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then stops in order.
    pub async fn serve(self, shutdown: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&self.journal), shutdown.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accept failed");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop(self.listener);
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(GRACE, finished).await.is_err() {
            connections.shutdown().await;
        }
    }
}

async fn connection(stream: TcpStream, journal: Arc<Journal>, shutdown: CancellationToken) {
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |request| {
        let journal = Arc::clone(&journal);
        async move { Ok::<_, Infallible>(routes::answer(&journal, request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).max_headers(1024);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(1024 * 1024);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let result = tokio::select! {
        result = serving.as_mut() => result,
        () = shutdown.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}
