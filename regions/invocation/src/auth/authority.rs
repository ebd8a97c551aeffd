//! Who decides about callers: the keys files, or somebody outside of the region who is asked over the network.
//!
//! A question takes bounded time, however the other side behaves, and few are put at once. No answer is never a yes.
//! What is known already is `cache.rs`'s; only what is not gets here.

pub(super) mod file;
mod grpc;
mod http;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use frontdoor_protocol::authority::ANSWER_LIMIT;
use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::target::Target;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::CallHead;
use super::cache::Question;
use super::counts::{Asked, Counts};
use super::verdict::Answer;
use crate::config;
use crate::tasks::Tasks;

/// Questions that are put at once; others wait their turn within the time limit.
const ASKING: usize = 64;
/// Connections that stay open for the next question.
const IDLE: Duration = Duration::from_secs(60);
/// A silent gRPC connection is asked for a sign of life this often, and given up after as long again.
const PING: Duration = Duration::from_secs(5);

/// Somebody outside of the region.
pub(super) struct Authority {
    remote: Remote,
    timeout: Duration,
    asking: Semaphore,
    /// Whether the last question was answered; for the log, which says each change once.
    well: AtomicBool,
    counts: Arc<Counts>,
}

enum Remote {
    Http(http::Callout),
    Grpc(grpc::Nvcf),
}

/// Why there is no answer. Says nothing of the caller.
#[derive(Debug, thiserror::Error)]
enum Fault {
    #[error("no answer in time")]
    Late,
    #[error("out of reach: {0}")]
    Unreachable(String),
    #[error("it answered with status {0}")]
    Status(StatusCode),
    #[error("it answered with gRPC status {0}")]
    Grpc(u32),
    #[error("its answer is malformed: {0}")]
    Malformed(&'static str),
    #[error("our own token cannot be read: {0}")]
    Token(std::io::Error),
}

/// An answer, whole.
struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    trailers: Option<HeaderMap>,
}

/// An HTTP client that keeps connections.
struct Wire(Client<HttpConnector, Full<Bytes>>);

// === impl Authority ===

impl Authority {
    pub(super) fn new(settings: config::Authority, tasks: Tasks, counts: Arc<Counts>) -> Self {
        let (remote, timeout) = match settings {
            config::Authority::Http {
                uri,
                send_path,
                connect_timeout,
                timeout,
            } => {
                let wire = Wire::new(tasks, connect_timeout, Speaks::Http1);
                let callout = http::Callout::new(wire, uri, send_path);
                (Remote::Http(callout), timeout)
            }
            config::Authority::Grpc {
                uri,
                token_file,
                connect_timeout,
                timeout,
            } => {
                let wire = Wire::new(tasks, connect_timeout, Speaks::Http2);
                let nvcf = grpc::Nvcf::new(wire, &uri, token_file);
                (Remote::Grpc(nvcf), timeout)
            }
        };
        Self {
            remote,
            timeout,
            asking: Semaphore::new(ASKING),
            well: AtomicBool::new(true),
            counts,
        }
    }

    /// What this authority has to be told about a call, and so what its verdict is about.
    pub(super) fn question(&self, hash: KeyHash, target: Target, call: &CallHead<'_>) -> Question {
        Question {
            hash,
            function: target.function,
            version: target.version,
            call: match &self.remote {
                Remote::Http(callout) => Some(callout.facts(call)),
                Remote::Grpc(_) => None,
            },
        }
    }

    /// Puts a question; `None` if there is no answer. The token goes to an authority that keeps the keys, nowhere else.
    pub(super) async fn ask(&self, question: &Question, token: &[u8]) -> Option<Answer> {
        let began = Instant::now();
        let asked = async {
            // Never closed, so this fails never.
            let _turn = self.asking.acquire().await;
            match &self.remote {
                Remote::Http(callout) => callout.ask(question).await,
                Remote::Grpc(nvcf) => nvcf.ask(question, token).await,
            }
        };
        let answer = timeout(self.timeout, asked).await;
        let answer = answer.unwrap_or(Err(Fault::Late));
        match &answer {
            Ok(answer) => {
                self.counts.ask.observe(began.elapsed().as_secs_f64());
                self.counts.asked(match answer.verdict {
                    Ok(_) => Asked::Allowed,
                    Err(_) => Asked::Denied,
                });
                if !self.well.swap(true, Ordering::Relaxed) {
                    tracing::info!("the authority answers again");
                }
            }
            Err(fault) => {
                self.counts.asked(Asked::Failed);
                if self.well.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%fault, "the authority does not say who may call");
                }
            }
        }
        answer.ok()
    }
}

/// Which protocol an authority speaks.
#[derive(Clone, Copy)]
enum Speaks {
    Http1,
    Http2,
}

// === impl Wire ===

impl Wire {
    fn new(tasks: Tasks, connect_timeout: Duration, speaks: Speaks) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(tasks)
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(ASKING)
            .http2_only(matches!(speaks, Speaks::Http2))
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector);
        Self(client)
    }

    /// Sends a request and reads the whole answer, which must not be long.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Fault> {
        let response = self
            .0
            .request(request)
            .await
            .map_err(|error| Fault::Unreachable(error.to_string()))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_LIMIT)
            .collect()
            .await
            .map_err(|_| Fault::Malformed("it breaks off or is too long"))?;
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            trailers: body.trailers().cloned(),
            body: body.to_bytes(),
        })
    }
}
