//! How many calls at once, and how many more to ask for (pure).
//!
//! Keeps the one promise of pulling: never more in hand than there are slots. What was asked for counts as taken until
//! it arrives, is given back by the server, or is too old to arrive. The last is the safety net: a request for
//! messages dies at its deadline, so what is still asked can never be more than what was asked in requests that are
//! not yet dead; a lost reply therefore costs capacity only for that long. `pull.rs` calls it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Requests whose deadlines are this close are counted together.
const GRAIN: Duration = Duration::from_secs(1);

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    total: usize,
    running: usize,
    asked: usize,
    /// What was asked, by the time after which it can no longer arrive.
    requests: VecDeque<(Instant, usize)>,
}

/// What to do with a message that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It has a slot.
    Taken,
    /// It has none: it must go back.
    NoSlot,
}

// === impl Slots ===

impl Slots {
    pub(crate) fn new(total: usize) -> Self {
        Self {
            total,
            running: 0,
            asked: 0,
            requests: VecDeque::new(),
        }
    }

    /// Calls in hand.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Asked for and neither arrived nor given back.
    pub(crate) const fn asked(&self) -> usize {
        self.asked
    }

    /// How many messages to ask for now, if any and at most `most`; they count as asked until `dead`.
    pub(crate) fn ask(&mut self, most: usize, dead: Instant) -> Option<usize> {
        let free = self
            .total
            .saturating_sub(self.running + self.asked)
            .min(most);
        if free == 0 {
            return None;
        }
        self.asked += free;
        match self.requests.back_mut() {
            Some((last, asked)) if dead.duration_since(*last) < GRAIN => {
                *last = dead;
                *asked += free;
            }
            _ => self.requests.push_back((dead, free)),
        }
        Some(free)
    }

    /// A message arrived.
    pub(crate) fn arrived(&mut self) -> Arrival {
        self.asked = self.asked.saturating_sub(1);
        if self.running < self.total {
            self.running += 1;
            Arrival::Taken
        } else {
            Arrival::NoSlot
        }
    }

    /// The server gave up a request with so many messages missing.
    pub(crate) fn given_back(&mut self, missing: usize) {
        self.asked = self.asked.saturating_sub(missing);
    }

    /// A call ended.
    pub(crate) fn finished(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// Nothing that was asked before can arrive any more: its inbox is gone.
    pub(crate) fn forget_asked(&mut self) {
        self.asked = 0;
        self.requests.clear();
    }

    /// Drops what can no longer arrive.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.requests.front().is_some_and(|(dead, _)| *dead <= now) {
            self.requests.pop_front();
        }
        let alive = self.requests.iter().map(|(_, asked)| asked).sum();
        self.asked = self.asked.min(alive);
    }
}

#[cfg(test)]
mod tests;
