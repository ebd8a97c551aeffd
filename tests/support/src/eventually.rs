//! Waiting for a condition.

use std::future::Future;
use std::time::{Duration, Instant};

/// Asks every 10 ms until there is an answer.
///
/// # Panics
/// If there is none within `patience`; `what` says what was waited for.
pub async fn eventually<T, F>(what: &str, patience: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let end = Instant::now() + patience;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
