//! How many calls at once, and how many more to ask for (pure).
//!
//! Keeps the one promise of pulling: never more in hand than there are slots. What was asked for counts as taken until
//! it arrives, is given back by the server, or is too old to arrive. The last is the safety net for lost replies: a
//! request for messages dies at its deadline. Arrivals do not name their request, only the inbox they came to; so
//! requests are counted in rounds, one for each inbox, and a round whose last request is dead is forgotten whole. A
//! new round is begun now and then, also under steady load. `pull.rs` calls it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A round takes requests for so long; what was lost in it is back when its last request is dead.
const ROUND: Duration = Duration::from_secs(10);

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    total: usize,
    running: usize,
    /// The last one takes requests; those before it are waited for.
    rounds: VecDeque<Round>,
}

/// The requests made through one inbox.
#[derive(Debug)]
struct Round {
    number: u64,
    begun: Instant,
    /// Asked for and neither arrived nor given back.
    asked: usize,
    /// After this nothing of it can arrive; `None` while nothing was asked.
    dead: Option<Instant>,
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
            rounds: VecDeque::new(),
        }
    }

    /// Calls in hand.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Asked for and neither arrived nor given back.
    pub(crate) fn asked(&self) -> usize {
        self.rounds.iter().map(|round| round.asked).sum()
    }

    /// Begins a round.
    pub(crate) fn begin(&mut self, number: u64, now: Instant) {
        self.rounds.push_back(Round {
            number,
            begun: now,
            asked: 0,
            dead: None,
        });
    }

    /// Whether it is time for another round.
    pub(crate) fn round_is_over(&self, now: Instant) -> bool {
        let round = self.rounds.back();
        round.is_none_or(|round| now.saturating_duration_since(round.begun) >= ROUND)
    }

    /// Whether something of the round may still arrive, or be asked for.
    pub(crate) fn awaits(&self, number: u64) -> bool {
        self.rounds.iter().any(|round| round.number == number)
    }

    /// How many messages to ask for now, if any and at most `most`; they count as asked until `dead`.
    pub(crate) fn ask(&mut self, most: usize, dead: Instant) -> Option<usize> {
        let taken = self.running + self.asked();
        let free = self.total.saturating_sub(taken).min(most);
        let round = self.rounds.back_mut()?;
        if free == 0 {
            return None;
        }
        round.asked += free;
        round.dead = round.dead.max(Some(dead));
        Some(free)
    }

    /// A message of the round arrived.
    pub(crate) fn arrived(&mut self, number: u64) -> Arrival {
        self.given_back(number, 1);
        if self.running < self.total {
            self.running += 1;
            Arrival::Taken
        } else {
            Arrival::NoSlot
        }
    }

    /// The server gave up a request of the round with so many messages missing.
    pub(crate) fn given_back(&mut self, number: u64, missing: usize) {
        let round = self.rounds.iter_mut().find(|round| round.number == number);
        if let Some(round) = round {
            round.asked = round.asked.saturating_sub(missing);
        }
    }

    /// A call ended.
    pub(crate) fn finished(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// What was asked before is not expected any more: the server has lost it. It may still arrive.
    pub(crate) fn forget_asked(&mut self) {
        for round in &mut self.rounds {
            round.asked = 0;
        }
    }

    /// The inbox of the round is gone.
    pub(crate) fn forget_round(&mut self, number: u64) {
        self.rounds.retain(|round| round.number != number);
    }

    /// Drops what can no longer arrive.
    pub(crate) fn expire(&mut self, now: Instant) {
        let current = self.rounds.back().map(|round| round.number);
        self.rounds.retain_mut(|round| {
            let alive = round.dead.is_some_and(|dead| dead > now);
            if !alive {
                round.asked = 0;
            }
            alive || current == Some(round.number)
        });
    }
}

#[cfg(test)]
mod tests;
