//! Event streams that are held open, and a record of those that ended although nobody ended them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::connection::{Caller, Sender};

/// Streams on one connection.
const PER_CONNECTION: usize = 20;
/// How long they may all take until each has its first event.
const OPEN: Duration = Duration::from_secs(20);
/// The sample function's stream: an event each quarter of a second, longer than anything that is tried with it.
const PATH: &str = "/events?interval_ms=250&count=100000";
/// A stream without an event for so long is as good as cut.
const SILENT: Duration = Duration::from_secs(15);

/// Streams that run.
#[derive(Debug)]
pub struct Streams {
    stop: CancellationToken,
    tasks: JoinSet<Option<String>>,
    open: Arc<AtomicUsize>,
}

/// What became of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// How many began.
    pub open: usize,
    /// How each of those ended that ended by themselves.
    pub cut: Vec<String>,
}

// === impl Streams ===

impl Streams {
    /// Opens so many, and returns when each has its first event.
    ///
    /// # Errors
    /// If they are not all there in time: there may be too few slots for them.
    pub async fn open(caller: &Caller, key: &str, count: usize) -> anyhow::Result<Self> {
        let mut streams = Self {
            stop: CancellationToken::new(),
            tasks: JoinSet::new(),
            open: Arc::default(),
        };
        let mut left = count;
        while left > 0 {
            let sender = caller.connect().await?;
            for _ in 0..left.min(PER_CONNECTION) {
                let held = hold(
                    sender.clone(),
                    request(caller, key)?,
                    Arc::clone(&streams.open),
                );
                let stop = streams.stop.clone();
                streams
                    .tasks
                    .spawn(async move { stop.run_until_cancelled(held).await });
            }
            left = left.saturating_sub(PER_CONNECTION);
        }
        let begun = async {
            while streams.open.load(Ordering::Relaxed) < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        if timeout(OPEN, begun).await.is_err() {
            let open = streams.open.load(Ordering::Relaxed);
            anyhow::bail!(
                "only {open} of {count} event streams have begun within {OPEN:?}: are there as many slots?"
            );
        }
        Ok(streams)
    }

    /// Ends them all.
    pub async fn end(self) -> Held {
        self.stop.cancel();
        let cut = self.tasks.join_all().await.into_iter().flatten().collect();
        Held {
            open: self.open.load(Ordering::Relaxed),
            cut,
        }
    }
}

fn request(caller: &Caller, key: &str) -> anyhow::Result<Request<Full<Bytes>>> {
    Ok(Request::builder()
        .uri(format!("https://{}{PATH}", caller.host))
        .header("authorization", format!("Bearer {key}"))
        .header("accept", "text/event-stream")
        .body(Full::default())?)
}

/// Reads a stream to its end, which should not come.
async fn hold(mut sender: Sender, request: Request<Full<Bytes>>, open: Arc<AtomicUsize>) -> String {
    let mut body: Incoming = match sender.send_request(request).await {
        Ok(answer) if answer.status() == 200 => answer.into_body(),
        Ok(answer) => return format!("answered {}", answer.status()),
        Err(error) => return format!("not begun: {error}"),
    };
    let mut began = false;
    loop {
        match timeout(SILENT, body.frame()).await {
            Ok(Some(Ok(_))) if !began => {
                began = true;
                open.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return format!("broke off: {error}"),
            Ok(None) => return "ended".to_owned(),
            Err(_) => return format!("silent for {SILENT:?}"),
        }
    }
}
