//! Is the container well? Asked with GET once a second; the answer is watched by `pull.rs` and `/ready`.
//!
//! One good answer makes it well, three misses in a row make it sick. Before its first good answer it is not well and
//! is asked more often, so that a worker starts with its container. A call that could not be started makes it suspect:
//! it is asked at once, and nothing is pulled until its next good answer.

use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderMap, Method};
use http_body_util::{BodyExt, Limited};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::body;
use crate::call::{self, Container};
use crate::metrics::Metrics;

/// Between two questions.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two questions before the first good answer, and of a suspect.
const STARTING_INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);
/// A health answer is short; one that is not is a miss.
const BODY_LIMIT: usize = 64 * 1024;
/// So many misses in a row make a container sick.
const MISSES: u32 = 3;

/// What is known of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// No good answer yet.
    Starting,
    /// Well, with so many misses since the last good answer.
    Well { misses: u32 },
    /// Was well, and is not.
    Sick,
}

/// Asks until `stop`, and publishes what it learns.
pub(crate) async fn watch(
    container: Arc<Container>,
    path: PathAndQuery,
    metrics: Metrics,
    (news, suspect): (watch::Sender<Health>, watch::Sender<bool>),
    stop: CancellationToken,
) {
    let mut health = Health::Starting;
    let mut suspected = suspect.subscribe();
    loop {
        let asked = ask(&container, &path);
        let Some(good) = stop.run_until_cancelled(asked).await else {
            return;
        };
        let next = health.after(good);
        if next.is_well() != health.is_well() {
            metrics.container_healthy.set(i64::from(next.is_well()));
            tracing::info!(health = ?next, "container");
            news.send_replace(next);
        }
        health = next;
        if good {
            suspect.send_if_modified(|suspect| std::mem::replace(suspect, false));
        }
        let suspicious = *suspected.borrow_and_update();
        let pause = tokio::time::timeout(health.interval(suspicious), suspected.changed());
        if stop.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn ask(container: &Container, path: &PathAndQuery) -> bool {
    let asked = container.send(Method::GET, path.clone(), HeaderMap::new(), body::empty());
    let answer = async {
        let (response, lease) = asked.await.ok()?;
        let good = response.status().is_success();
        // Read to its end, so that the connection can be used again.
        let body = Limited::new(response.into_body(), BODY_LIMIT);
        body.collect().await.ok()?;
        call::give_back(lease);
        Some(good)
    };
    let answer = tokio::time::timeout(TIMEOUT, answer).await;
    matches!(answer, Ok(Some(true)))
}

// === impl Health ===

impl Health {
    /// Whether calls may be sent.
    pub(crate) const fn is_well(self) -> bool {
        matches!(self, Self::Well { .. })
    }

    const fn after(self, good: bool) -> Self {
        match (self, good) {
            (_, true) => Self::Well { misses: 0 },
            (Self::Well { misses }, false) if misses + 1 < MISSES => {
                Self::Well { misses: misses + 1 }
            }
            (Self::Well { .. } | Self::Sick, false) => Self::Sick,
            (Self::Starting, false) => Self::Starting,
        }
    }

    const fn interval(self, suspect: bool) -> Duration {
        match self {
            Self::Starting => STARTING_INTERVAL,
            Self::Well { .. } if suspect => STARTING_INTERVAL,
            Self::Well { .. } | Self::Sick => INTERVAL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_misses_make_sick_and_one_answer_makes_well() {
        for (answers, well) in [
            ("", false),
            ("---", false),
            ("+", true),
            ("---+", true),
            ("+--", true),
            ("+---", false),
            ("+--+--", true),
            ("+---+", true),
            ("+---+--", true),
            ("+----", false),
        ] {
            let health = answers.chars().fold(Health::Starting, |health, answer| {
                health.after(answer == '+')
            });
            assert_eq!(health.is_well(), well, "{answers}");
        }
    }
}
