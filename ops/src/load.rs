//! A steady stream of calls over HTTP/2 and TLS, and a record of each: what came back, from where, and when.
//!
//! Open loop: calls are sent when they are due, whether earlier ones were answered or not, as callers of the world do.
//! Each call has a path of its own, so that the sample function's journal proves whether and how often it ran.
//! Called by drills and by tests; it judges nothing.

mod call;

mod connection;

mod streams;

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

pub use call::{Call, failures, percentile};
pub use connection::{Caller, Sender, trusting};
pub use streams::{Held, Streams};

/// Calls under way at once; one more is a failed call, because the load client itself has become the bottleneck.
const UNDER_WAY: usize = 20_000;
/// Longer than any call of a load may wait.
const PATIENCE: Duration = Duration::from_secs(90);

/// What to send.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whom to call.
    pub caller: Caller,
    /// The credential; never shown.
    pub key: String,
    /// Calls a second.
    pub rate: u32,
    /// Connections that share the calls.
    pub connections: usize,
    /// Paths are this and the number of the call, such as `/drill/x/17`.
    pub path: String,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// Size of a body in bytes.
    pub body: usize,
    /// Every so many calls one has [`Plan::large_body`] instead; 0 for none.
    pub large_every: u32,
    /// Size of a large body in bytes.
    pub large_body: usize,
}

/// A load that runs.
#[derive(Debug)]
pub struct Load {
    stop: CancellationToken,
    task: JoinSet<Vec<Call>>,
    answered: Arc<Answered>,
    /// When it began.
    pub started: Instant,
}

/// When the latest of the answered calls was sent that each region answered.
type Answered = std::sync::Mutex<HashMap<String, Duration>>;

/// One of the connections, opened again when it is gone.
type Line = Mutex<Option<Sender>>;

/// What all calls share.
struct Common {
    plan: Plan,
    small: Bytes,
    large: Bytes,
    lines: Vec<Line>,
    started: Instant,
    answered: Arc<Answered>,
}

// === impl Load ===

impl Load {
    /// Starts the calls.
    ///
    /// # Errors
    /// If the edge cannot be reached.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        let mut lines = Vec::new();
        for _ in 0..plan.connections.max(1) {
            lines.push(Mutex::new(Some(plan.caller.connect().await?)));
        }
        let (stop, started) = (CancellationToken::new(), Instant::now());
        let answered = Arc::<Answered>::default();
        let common = Arc::new(Common {
            small: filler(plan.body),
            large: filler(plan.large_body),
            plan,
            lines,
            started,
            answered: Arc::clone(&answered),
        });
        let mut task = JoinSet::new();
        task.spawn(pace(common, stop.clone()));
        Ok(Self {
            stop,
            task,
            answered,
            started,
        })
    }

    /// When the latest call was sent that a region has answered.
    #[must_use]
    pub fn last_answered_by(&self, region: &str) -> Option<Duration> {
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.get(region).copied()
    }

    /// Ends the load, waits for what is under way, and returns every call in the order they were sent.
    pub async fn end(self) -> Vec<Call> {
        self.stop.cancel();
        self.task.join_all().await.pop().unwrap_or_default()
    }
}

async fn pace(common: Arc<Common>, stop: CancellationToken) -> Vec<Call> {
    let (mut running, mut done) = (JoinSet::new(), Vec::new());
    for number in 0.. {
        let due = common.started + Duration::from_secs(1) * number / common.plan.rate.max(1);
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep_until(due.into()) => {}
        }
        while let Some(call) = running.try_join_next() {
            done.extend(call);
        }
        if running.len() < UNDER_WAY {
            running.spawn(Arc::clone(&common).call(number));
        } else {
            done.push(Call::unsent(
                number,
                common.started.elapsed(),
                "the load client is too slow",
            ));
        }
    }
    done.extend(running.join_all().await);
    done.sort_by_key(|call| call.number);
    done
}

/// JSON, as a container's own framework would expect it.
fn filler(size: usize) -> Bytes {
    const FRAME: &str = r#"{"message":""}"#;
    let inside = "x".repeat(size.saturating_sub(FRAME.len()));
    format!(r#"{{"message":"{inside}"}}"#).into()
}

// === impl Common ===

impl Common {
    async fn call(self: Arc<Self>, number: u32) -> Call {
        let sent = Instant::now();
        let mut call = Call::unsent(number, sent - self.started, "");
        match timeout(PATIENCE, self.exchange(&mut call)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                call.status = 0;
                call.problem = format!("{error:#}");
            }
            Err(_) => {
                call.status = 0;
                call.problem = format!("no answer within {PATIENCE:?}");
            }
        }
        call.took = sent.elapsed();
        if call.answered() {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            let last = answered.entry(call.region.clone()).or_default();
            *last = call.at.max(*last);
        }
        call
    }

    async fn exchange(&self, call: &mut Call) -> anyhow::Result<()> {
        let number = usize::try_from(call.number).unwrap_or_default();
        let line = &self.lines[number % self.lines.len()];
        let mut sent = self.send(line, call).await;
        // The connection was taken leave of in the very moment: any caller's library tries again on another one.
        if sent.as_ref().is_err_and(connection::is_unseen) {
            *line.lock().await = None;
            sent = self.send(line, call).await;
        }
        let answer = sent?;
        let text = |name: &str| {
            let value = answer.headers().get(name).and_then(|v| v.to_str().ok());
            value.unwrap_or_default().to_owned()
        };
        (call.region, call.id) = (text("frontdoor-region"), text("nvcf-reqid"));
        let status = answer.status().as_u16();
        let is_problem = text("content-type") == "application/problem+json";
        let body = answer.into_body().collect().await?.to_bytes();
        // Only now: an answer that breaks off is none.
        call.status = status;
        if is_problem {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            call.problem = problem["type"].as_str().unwrap_or_default().to_owned();
        }
        Ok(())
    }

    async fn send(&self, line: &Line, call: &Call) -> anyhow::Result<Response<Incoming>> {
        let mut sender = self.sender(line).await?;
        Ok(sender.send_request(self.request(call)?).await?)
    }

    /// A handle on the connection, which is opened again if its other end closed it or said that it will.
    async fn sender(&self, line: &Line) -> anyhow::Result<Sender> {
        let mut line = line.lock().await;
        let open = line.take().filter(|sender| !sender.is_closed());
        let sender = match open {
            Some(sender) => sender,
            None => self.plan.caller.connect().await?,
        };
        Ok(line.insert(sender).clone())
    }

    fn request(&self, call: &Call) -> anyhow::Result<Request<connection::Body>> {
        let Plan {
            caller,
            key,
            path,
            headers,
            large_every,
            ..
        } = &self.plan;
        let large = *large_every > 0 && call.number % large_every == large_every - 1;
        let body = if large { &self.large } else { &self.small };
        let mut request = Request::builder()
            .method("POST")
            .uri(format!("https://{}{path}{}", caller.host, call.number))
            .header("authorization", format!("Bearer {key}"))
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.body(Full::new(body.clone()))?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_json_of_its_size() {
        for size in [14, 1024, 512 << 10] {
            let body = filler(size);
            assert_eq!(body.len(), size);
            let read: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
            assert!(read["message"].is_string());
        }
    }
}
