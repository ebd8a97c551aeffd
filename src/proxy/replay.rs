//! What was read of a request's body, kept so that another region can get it too.
//!
//! Bounded twice: per call, and for all calls together. What does not fit is let go and the call has one attempt.
//! Kept memory is given back as soon as an answer begins, and at the latest when the call ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::config::ReplaySettings;
use crate::metrics::Metrics;

/// Counts what all calls keep.
pub struct ReplayBudget {
    settings: ReplaySettings,
    used: AtomicUsize,
    metrics: Arc<Metrics>,
}

/// One call's share.
pub(super) struct Replay {
    budget: Arc<ReplayBudget>,
    chunks: Vec<Bytes>,
    charged: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Keeping,
    /// An answer began: nothing will be sent again.
    Released,
    /// Too large, or no room.
    LetGo,
}

/// What a chunk costs beyond its bytes: many tiny ones must not be free.
const PER_CHUNK: usize = 64;
/// Below this a chunk is copied: it would otherwise keep the whole buffer alive that it was read into.
const TINY: usize = 1024;

// === impl ReplayBudget ===

impl ReplayBudget {
    /// A budget that nobody uses yet.
    #[must_use]
    pub fn new(settings: ReplaySettings, metrics: Arc<Metrics>) -> Self {
        Self {
            settings,
            used: AtomicUsize::new(0),
            metrics,
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let more = used.saturating_add(bytes);
                (more <= self.settings.total).then_some(more)
            })
            .is_ok();
        if taken {
            self.metrics.upstream.held.add(signed(bytes));
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.metrics.upstream.held.sub(signed(bytes));
    }
}

// === impl Replay ===

impl Replay {
    pub(super) fn new(budget: &Arc<ReplayBudget>) -> Self {
        Self {
            budget: Arc::clone(budget),
            chunks: Vec::new(),
            charged: 0,
            state: State::Keeping,
        }
    }

    /// Keeps a piece of the body, if it fits.
    pub(super) fn keep(&mut self, chunk: &Bytes) {
        if self.state != State::Keeping || chunk.is_empty() {
            return;
        }
        let cost = chunk.len() + PER_CHUNK;
        let fits = self.charged + cost <= self.budget.settings.per_call + PER_CHUNK * 1024;
        let fits = fits && self.length() + chunk.len() <= self.budget.settings.per_call;
        if fits && self.budget.take(cost) {
            self.charged += cost;
            self.chunks.push(if chunk.len() < TINY {
                Bytes::copy_from_slice(chunk)
            } else {
                chunk.clone()
            });
        } else {
            self.free();
            self.state = State::LetGo;
            self.budget.metrics.upstream.single.inc();
        }
    }

    /// All of what was read, in order; nothing if some of it is gone.
    pub(super) fn chunks(&self) -> Option<&[Bytes]> {
        (self.state == State::Keeping).then_some(self.chunks.as_slice())
    }

    /// An answer begins: there will be no other attempt.
    pub(super) fn release(&mut self) {
        self.free();
        if self.state == State::Keeping {
            self.state = State::Released;
        }
    }

    /// Whether the body was too large to be kept, or there was no room.
    pub(super) fn was_let_go(&self) -> bool {
        self.state == State::LetGo
    }

    fn length(&self) -> usize {
        self.charged - self.chunks.len() * PER_CHUNK
    }

    fn free(&mut self) {
        self.chunks = Vec::new();
        if self.charged > 0 {
            self.budget.give_back(std::mem::take(&mut self.charged));
        }
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.free();
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_call: usize, total: usize) -> Arc<ReplayBudget> {
        let metrics = Arc::new(Metrics::new(&[]).expect("registers"));
        Arc::new(ReplayBudget::new(
            ReplaySettings { per_call, total },
            metrics,
        ))
    }

    fn used(budget: &ReplayBudget) -> usize {
        budget.used.load(Ordering::Relaxed)
    }

    #[test]
    fn a_body_is_kept_to_the_byte_and_let_go_beyond() {
        let budget = budget(10_000, 1 << 20);
        let mut replay = Replay::new(&budget);
        replay.keep(&Bytes::from(vec![1; 6_000]));
        replay.keep(&Bytes::from(vec![2; 4_000]));
        assert_eq!(
            replay
                .chunks()
                .expect("whole")
                .iter()
                .map(Bytes::len)
                .sum::<usize>(),
            10_000
        );
        replay.keep(&Bytes::from_static(b"x"));
        assert!(replay.chunks().is_none() && replay.was_let_go());
        assert_eq!(used(&budget), 0, "what is let go is given back");
    }

    #[test]
    fn all_calls_together_have_a_bound_and_give_back() {
        let budget = budget(1 << 20, 10_000);
        let mut first = Replay::new(&budget);
        first.keep(&Bytes::from(vec![1; 6_000]));
        let mut second = Replay::new(&budget);
        second.keep(&Bytes::from(vec![1; 6_000]));
        assert!(first.chunks().is_some() && second.was_let_go());
        first.release();
        assert!(first.chunks().is_none() && !first.was_let_go());
        assert_eq!(used(&budget), 0);
        let mut third = Replay::new(&budget);
        third.keep(&Bytes::from(vec![1; 6_000]));
        assert!(third.chunks().is_some());
        drop(third);
        assert_eq!(used(&budget), 0);
    }

    #[test]
    fn crumbs_cost_what_they_take() {
        let budget = budget(1 << 20, 1 << 30);
        let mut replay = Replay::new(&budget);
        (0..1 << 20).for_each(|_| replay.keep(&Bytes::from_static(b"x")));
        assert!(
            replay.was_let_go(),
            "a million one-byte pieces are not kept"
        );
    }
}
