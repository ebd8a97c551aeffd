//! The retry budget: how much of all traffic may be second attempts.
//!
//! A token bucket without a lock: each call deposits a fifth of a token, time deposits three a second, a move
//! withdraws one. When everything fails at once, retries cannot multiply the load that made it fail.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// Thousandths of a token that each call deposits: 20 % of traffic.
const PER_CALL: i64 = 200;
/// Thousandths of a token per millisecond: 3 tokens a second, so that little traffic can retry too.
const PER_MS: i64 = 3;
/// One token.
const TOKEN: i64 = 1000;
/// The most that is saved up.
const CAP: i64 = 100 * TOKEN;

/// The bucket.
#[derive(Debug)]
pub struct RetryBudget(AtomicI64);

// === impl RetryBudget ===

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(CAP))
    }
}

impl RetryBudget {
    /// A call arrived.
    pub fn deposit(&self) {
        self.add(PER_CALL);
    }

    /// Time passed.
    pub fn refill(&self, elapsed: Duration) {
        self.add(PER_MS.saturating_mul(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)));
    }

    /// Takes one token, if there is one.
    pub fn withdraw(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| {
                (have >= TOKEN).then_some(have - TOKEN)
            })
            .is_ok()
    }

    fn add(&self, amount: i64) {
        // A full bucket is the calm case: then nothing is written, and cores do not fight for the line.
        if self.0.load(Ordering::Relaxed) < CAP {
            let _ = self
                .0
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |have| {
                    Some(have.saturating_add(amount).min(CAP))
                });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drained() -> RetryBudget {
        let budget = RetryBudget::default();
        while budget.withdraw() {}
        budget
    }

    #[test]
    fn a_fifth_of_traffic_and_three_a_second() {
        let budget = drained();
        (0..10).for_each(|_| budget.deposit());
        assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw());
        budget.refill(Duration::from_secs(1));
        assert!(budget.withdraw() && budget.withdraw() && budget.withdraw() && !budget.withdraw());
    }

    #[test]
    fn savings_are_bounded() {
        let budget = RetryBudget::default();
        budget.refill(Duration::MAX);
        assert_eq!((0..1000).filter(|_| budget.withdraw()).count(), 100);
    }
}
