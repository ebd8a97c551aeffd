//! A steady stream of calls over HTTP/2, and a record of each: what came back, from where, and when.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Protocol, full};
use crate::world::World;

/// One call, as its caller saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// When it was sent, counted from the start of the load.
    pub at: Duration,
    /// How long it took to its end.
    pub took: Duration,
    /// Its status; 0 if the connection broke.
    pub status: u16,
    /// The region that answered, empty if none did.
    pub region: String,
    /// Its id.
    pub id: String,
    /// The kind of problem, empty for a container's answer.
    pub problem: String,
}

/// A load that runs.
pub struct Load {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Vec<Call>>,
    /// When it began.
    pub started: Instant,
}

// === impl Load ===

impl Load {
    /// Starts `rate` POSTs a second, evenly spaced, on four connections; late ones are sent at once (open loop).
    ///
    /// # Errors
    /// If the edge cannot be reached.
    pub async fn start(
        world: &Arc<World>,
        rate: u32,
        headers: &'static [(&'static str, &'static str)],
    ) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(world.caller(Protocol::H2).await?);
        }
        let (stop, started) = (CancellationToken::new(), Instant::now());
        let (world, stopped) = (Arc::clone(world), stop.clone());
        let task = tokio::spawn(async move {
            let mut calls: JoinSet<Call> = JoinSet::new();
            for n in 0.. {
                let due = started + Duration::from_secs(1) * n / rate;
                tokio::select! {
                    () = stopped.cancelled() => break,
                    () = tokio::time::sleep_until(due.into()) => {}
                }
                let client = &clients[usize::try_from(n).unwrap_or_default() % clients.len()];
                let mut sender = client.h2();
                let mut request = world
                    .request("POST", "/echo")
                    .header("content-type", "application/json");
                for (name, value) in headers {
                    request = request.header(*name, *value);
                }
                let Ok(request) = request.body(full(r#"{"message":"hello"}"#)) else {
                    break;
                };
                calls.spawn(async move {
                    let sent = Instant::now();
                    let mut call = Call {
                        at: sent - started,
                        took: Duration::ZERO,
                        status: 0,
                        region: String::new(),
                        id: String::new(),
                        problem: String::new(),
                    };
                    if let Ok(response) = sender.send_request(request).await {
                        let text = |name: &str| {
                            response
                                .headers()
                                .get(name)
                                .and_then(|v| v.to_str().ok())
                                .unwrap_or_default()
                                .to_owned()
                        };
                        (call.region, call.id) = (text("frontdoor-region"), text("nvcf-reqid"));
                        let status = response.status().as_u16();
                        if let Ok(body) = response.into_body().collect().await {
                            call.status = status;
                            let problem: serde_json::Value =
                                serde_json::from_slice(&body.to_bytes()).unwrap_or_default();
                            problem["type"]
                                .as_str()
                                .unwrap_or_default()
                                .clone_into(&mut call.problem);
                        }
                    }
                    call.took = sent.elapsed();
                    call
                });
            }
            let mut all: Vec<Call> = calls.join_all().await;
            all.sort_by_key(|call| call.at);
            all
        });
        Ok(Self {
            stop,
            task,
            started,
        })
    }

    /// Ends the load, waits for what is under way, and returns every call.
    ///
    /// # Panics
    /// If a call's task panicked.
    pub async fn end(self) -> Vec<Call> {
        self.stop.cancel();
        self.task.await.expect("the load does not panic")
    }
}

/// The given share of the sorted durations, in milliseconds.
#[must_use]
pub fn percentile(calls: &[Call], share: f64) -> f64 {
    let mut took: Vec<f64> = calls
        .iter()
        .map(|c| c.took.as_secs_f64() * 1000.0)
        .collect();
    took.sort_by(f64::total_cmp);
    // The index is a share of a length, far below 2^52.
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let index = ((took.len() as f64 - 1.0) * share).round() as usize;
    took.get(index).copied().unwrap_or_default()
}

/// Failed calls, one a line, for a message.
#[must_use]
pub fn failures(calls: &[Call]) -> String {
    let mut text = String::new();
    for call in calls.iter().filter(|c| c.status != 200) {
        let _ = writeln!(
            text,
            "at {:?} took {:?}: {} {} {}",
            call.at, call.took, call.status, call.problem, call.id
        );
    }
    text
}
