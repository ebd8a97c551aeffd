//! Who decides about callers: the keys files, or somebody outside of the region who is asked over the network.
//!
//! A question takes bounded time, however the other side behaves, and few are put at once. No answer is never a yes.
//! What is known already is `cache.rs`'s; only what is not gets here.

pub(super) mod file;
mod grpc;
mod http;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::http::StatusCode;
use frontdoor_protocol::key::KeyHash;
use frontdoor_protocol::target::Target;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::CallHead;
use super::cache::Question;
use super::counts::{Asked, Counts};
use super::verdict::Answer;
use crate::config;
use crate::tasks::Tasks;

pub use wire::TrustError;
use wire::{Speaks, Wire};

/// Questions that are put at once; others wait their turn within the time limit.
const ASKING: usize = 64;

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

// === impl Authority ===

impl Authority {
    /// # Errors
    /// If the certificates that it is to be known by cannot be used.
    pub(super) fn new(
        settings: config::Authority,
        tasks: Tasks,
        counts: Arc<Counts>,
    ) -> Result<Self, TrustError> {
        let (remote, timeout) = match settings {
            config::Authority::Http {
                uri,
                ca,
                send_path,
                connect_timeout,
                timeout,
            } => {
                let trust = wire::trust(&uri, ca.as_deref())?;
                let wire = Wire::new(tasks, connect_timeout, Speaks::Http1, trust);
                let callout = http::Callout::new(wire, uri, send_path);
                (Remote::Http(callout), timeout)
            }
            config::Authority::Grpc {
                uri,
                ca,
                token_file,
                connect_timeout,
                timeout,
            } => {
                let trust = wire::trust(&uri, ca.as_deref())?;
                let wire = Wire::new(tasks, connect_timeout, Speaks::Http2, trust);
                let nvcf = grpc::Nvcf::new(wire, &uri, token_file);
                (Remote::Grpc(nvcf), timeout)
            }
        };
        Ok(Self {
            remote,
            timeout,
            asking: Semaphore::new(ASKING),
            well: AtomicBool::new(true),
            counts,
        })
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
