//! The round-trip time of one endpoint, as routing should see it.
//!
//! Peak-EWMA over a running median: a lasting rise counts at once, a fall counts by and by, and a single odd sample (a
//! scheduling hiccup, a lost packet) counts not at all. Without the median one late probe would send a
//! whole region's traffic abroad for seconds. The peak-sensitive average is Finagle's and Linkerd's.

use std::time::{Duration, Instant};

/// How many samples the median looks at: a real change is believed after three of them.
const MEDIAN_OF: usize = 5;
/// Time constant of a falling average.
const TAU: Duration = Duration::from_secs(10);

/// Smoothed round-trip time.
#[derive(Debug, Clone, Default)]
pub(super) struct Latency {
    recent: [Duration; MEDIAN_OF],
    samples: usize,
    value: Option<(f64, Instant)>,
}

// === impl Latency ===

impl Latency {
    /// Takes a sample.
    pub(super) fn sample(&mut self, rtt: Duration, now: Instant) {
        self.recent[self.samples % MEDIAN_OF] = rtt;
        self.samples += 1;
        let median = self.median().as_secs_f64();
        let value = match self.value {
            Some((old, at)) if median < old => {
                let keep =
                    (-now.saturating_duration_since(at).as_secs_f64() / TAU.as_secs_f64()).exp();
                old.mul_add(keep, median * (1.0 - keep))
            }
            _ => median,
        };
        self.value = Some((value, now));
    }

    /// The smoothed value, once there was a sample.
    pub(super) fn value(&self) -> Option<Duration> {
        self.value
            .map(|(seconds, _)| Duration::from_secs_f64(seconds))
    }

    fn median(&self) -> Duration {
        let count = self.samples.min(MEDIAN_OF);
        let mut sorted = self.recent;
        sorted[..count].sort_unstable();
        sorted[(count - 1) / 2]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one sample each 250 ms and returns the value in milliseconds after the last one.
    fn after(samples: &[u64]) -> u128 {
        let start = Instant::now();
        let mut latency = Latency::default();
        for (n, &ms) in (0u32..).zip(samples) {
            latency.sample(
                Duration::from_millis(ms),
                start + Duration::from_millis(250) * n,
            );
        }
        latency.value().expect("sampled").as_millis()
    }

    #[test]
    fn one_odd_sample_changes_nothing() {
        assert_eq!(after(&[4, 4, 4, 4, 4, 300]), 4);
        assert_eq!(after(&[4, 4, 4, 300, 4, 4, 4]), 4);
    }

    #[test]
    fn a_lasting_rise_counts_at_the_third_sample() {
        assert_eq!(after(&[4, 4, 4, 4, 4, 80, 80]), 4);
        assert_eq!(after(&[4, 4, 4, 4, 4, 80, 80, 80]), 80);
    }

    #[test]
    fn a_fall_counts_by_and_by() {
        let mut samples = vec![80; 5];
        samples.extend([4; 12]);
        let fell = after(&samples);
        assert!((50..75).contains(&fell), "{fell}");
        samples.extend([4; 200]);
        assert_eq!(after(&samples), 4);
    }
}
