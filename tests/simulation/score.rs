//! What a run is judged by.

use frontdoor::route::Policy;

/// Counts of one run.
#[derive(Debug, Default, Clone)]
pub(crate) struct Score {
    pub(crate) calls: u64,
    pub(crate) failed: u64,
    /// Attempts after the first.
    pub(crate) moves: u64,
    /// Calls that went elsewhere than the one before of the same edge and function.
    pub(crate) switches: u64,
    /// Times to first byte in milliseconds, and the part of them that is not work.
    pub(crate) first: Vec<f32>,
    pub(crate) overhead: Vec<f32>,
    /// By region and second: calls that came, and those of them that have a nearer region with the function.
    pub(crate) came: Vec<Vec<u32>>,
    pub(crate) spilt: Vec<Vec<u32>>,
    pub(crate) broken: Vec<String>,
}

// === impl Score ===

impl Score {
    pub(crate) fn new(regions: usize, seconds: u64) -> Self {
        let none = vec![vec![0; seconds as usize + 1]; regions];
        Self {
            came: none.clone(),
            spilt: none,
            ..Self::default()
        }
    }

    pub(crate) fn mean(&self) -> f64 {
        mean(&self.first)
    }

    pub(crate) fn p99(&self) -> f64 {
        percentile(&self.first, 0.99)
    }

    pub(crate) fn mean_overhead(&self) -> f64 {
        mean(&self.overhead)
    }

    /// Mean time to first byte with each failed call counted as long as routing prices it: who fails many is not fast.
    pub(crate) fn cost(&self) -> f64 {
        let price = Policy::default().failure.as_secs_f64() * 1000.0;
        let answered = self.first.len() as f64;
        (self.mean() * answered + price * self.failed as f64)
            / (answered + self.failed as f64).max(1.0)
    }

    pub(crate) fn failed_share(&self) -> f64 {
        self.failed as f64 / self.calls.max(1) as f64
    }

    /// Peak by mean of the calls per two seconds at the region that takes most of what others do not.
    pub(crate) fn herd(&self, from: usize, until: usize) -> f64 {
        let spilt = |region: &usize| -> u32 { self.spilt[*region][from..until].iter().sum() };
        let Some(target) = (0..self.came.len()).max_by_key(spilt) else {
            return 0.0;
        };
        let loads: Vec<u32> = self.came[target][from..until]
            .chunks(2)
            .map(|two| two.iter().sum())
            .collect();
        let mean = f64::from(loads.iter().sum::<u32>()) / loads.len().max(1) as f64;
        let peak = loads.iter().max().map_or(0.0, |peak| f64::from(*peak));
        if mean > 0.0 { peak / mean } else { 0.0 }
    }
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v)).sum::<f64>() / values.len().max(1) as f64
}

fn percentile(values: &[f32], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    if sorted.is_empty() {
        return 0.0;
    }
    let place = ((sorted.len() - 1) as f64 * share) as usize;
    let (_, value, _) = sorted.select_nth_unstable_by(place, f32::total_cmp);
    f64::from(*value)
}
