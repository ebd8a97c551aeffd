//! Good and bad of the last ten seconds, in one-second buckets: exact counts that expire by themselves.

use std::time::Instant;

/// Counts of ten seconds.
#[derive(Debug, Clone)]
pub(super) struct Window {
    buckets: [(u32, u32); 10],
    start: Instant,
    newest: u64,
}

// === impl Window ===

impl Window {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            buckets: [(0, 0); 10],
            start: now,
            newest: 0,
        }
    }

    pub(super) fn add(&mut self, good: u32, bad: u32, now: Instant) {
        self.advance(now);
        let length = self.buckets.len() as u64;
        let index = usize::try_from(self.newest % length).unwrap_or_default();
        let bucket = &mut self.buckets[index];
        bucket.0 = bucket.0.saturating_add(good);
        bucket.1 = bucket.1.saturating_add(bad);
    }

    /// Share of bad in the window; 0 below `min` samples.
    pub(super) fn bad_ratio(&mut self, now: Instant, min: u32) -> f64 {
        self.advance(now);
        let (good, bad) = self.buckets.iter().fold((0u64, 0u64), |sum, b| {
            (sum.0 + u64::from(b.0), sum.1 + u64::from(b.1))
        });
        let total = good + bad;
        if total < u64::from(min) || total == 0 {
            return 0.0;
        }
        // Counts of ten seconds are far below 2^52, so the conversion is exact.
        #[allow(clippy::cast_precision_loss)]
        let ratio = bad as f64 / total as f64;
        ratio
    }

    /// How many were bad.
    pub(super) fn bad(&mut self, now: Instant) -> u32 {
        self.advance(now);
        self.buckets.iter().map(|b| b.1).sum()
    }

    fn advance(&mut self, now: Instant) {
        let second = now.saturating_duration_since(self.start).as_secs();
        let length = self.buckets.len() as u64;
        for passed in (self.newest + 1)..=second.min(self.newest + length) {
            self.buckets[usize::try_from(passed % length).unwrap_or_default()] = (0, 0);
        }
        self.newest = self.newest.max(second);
    }

    pub(super) fn clear(&mut self) {
        self.buckets = [(0, 0); 10];
    }
}
