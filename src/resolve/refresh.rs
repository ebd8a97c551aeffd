//! When to ask DNS again.
//!
//! Pure. Ahead of expiry after an answer, with growing pauses after a failure, always within the operator's bounds.

use std::time::Duration;

/// The first pause after a failure.
const FIRST: Duration = Duration::from_millis(500);

/// The pause after an answer: nine tenths of its TTL, within bounds.
pub(super) fn after_answer(ttl: Duration, (min, max): (Duration, Duration)) -> Duration {
    ttl.clamp(min, max).mul_f64(0.9)
}

/// The pause after the n-th failure in a row: doubles up to the lower half of the bounds, since the last answer ages.
pub(super) fn after_failure(failures: u32, (_, max): (Duration, Duration)) -> Duration {
    FIRST
        .saturating_mul(1 << failures.saturating_sub(1).min(10))
        .min(max / 2)
        .max(FIRST)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

    #[test]
    fn ahead_of_expiry_and_within_bounds() {
        let check = |ttl: u64| after_answer(Duration::from_secs(ttl), BOUNDS).as_millis();
        assert_eq!([check(0), check(10), check(300)], [900, 9_000, 54_000]);
    }

    #[test]
    fn failures_pause_longer_and_longer() {
        let check = |n: u32| after_failure(n, BOUNDS).as_millis();
        assert_eq!(
            [check(1), check(2), check(3), check(7), check(1000)],
            [500, 1_000, 2_000, 30_000, 30_000]
        );
    }
}
