//! One call as its caller saw it, and figures over many. (pure)

use std::fmt::Write as _;
use std::time::Duration;

/// One call, as its caller saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its number, which also ends its path.
    pub number: u32,
    /// When it was sent, counted from the start of the load.
    pub at: Duration,
    /// How long it took to its end.
    pub took: Duration,
    /// Its status; 0 if the connection broke.
    pub status: u16,
    /// The region that answered, empty if none did.
    pub region: String,
    /// Its id.
    pub id: String,
    /// The kind of problem, empty for a container's answer.
    pub problem: String,
}

// === impl Call ===

impl Call {
    /// A call without an answer.
    pub(super) fn unsent(number: u32, at: Duration, problem: &str) -> Self {
        Self {
            number,
            at,
            took: Duration::ZERO,
            status: 0,
            region: String::new(),
            id: String::new(),
            problem: problem.to_owned(),
        }
    }

    /// Whether its caller got what it asked for.
    #[must_use]
    pub fn answered(&self) -> bool {
        self.status == 200
    }
}

/// The given share of the sorted durations, in milliseconds.
#[must_use]
pub fn percentile<'a>(calls: impl IntoIterator<Item = &'a Call>, share: f64) -> f64 {
    let mut took: Vec<f64> = calls
        .into_iter()
        .map(|c| c.took.as_secs_f64() * 1000.0)
        .collect();
    took.sort_by(f64::total_cmp);
    // The index is a share of a length, far below 2^52.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss
    )]
    let index = ((took.len() as f64 - 1.0) * share).round() as usize;
    took.get(index).copied().unwrap_or_default()
}

/// Failed calls, one a line, for a message.
#[must_use]
pub fn failures(calls: &[Call]) -> String {
    let mut text = String::new();
    for call in calls.iter().filter(|c| !c.answered()) {
        let _ = writeln!(
            text,
            "at {:?} took {:?}: {} {} {}",
            call.at, call.took, call.status, call.problem, call.id
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let call = |ms| Call {
            took: Duration::from_millis(ms),
            ..Call::unsent(0, Duration::ZERO, "")
        };
        let calls: Vec<Call> = (1..=101).rev().map(call).collect();
        let check = |share: f64, ms: f64| {
            let found = percentile(&calls, share);
            assert!((found - ms).abs() < 1e-6, "{found}");
        };
        check(0.0, 1.0);
        check(0.5, 51.0);
        check(0.99, 100.0);
        check(1.0, 101.0);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }
}
