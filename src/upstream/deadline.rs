//! What is left of the caller's time.
//!
//! Pure. `NVCF-POLL-SECONDS` bounds the wait for the first byte; each attempt gets what the ones before have left.

use std::time::{Duration, Instant};

/// What remains of `wait`, counted from `started`.
#[must_use]
pub fn left(started: Instant, wait: Duration, now: Instant) -> Duration {
    wait.saturating_sub(now.saturating_duration_since(started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_only_shrinks() {
        let start = Instant::now();
        let wait = Duration::from_secs(2);
        assert_eq!(left(start, wait, start), wait);
        assert_eq!(
            left(start, wait, start + Duration::from_millis(500)),
            Duration::from_millis(1500)
        );
        assert_eq!(
            left(start, wait, start + Duration::from_secs(9)),
            Duration::ZERO
        );
    }
}
