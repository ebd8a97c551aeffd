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

/// A request for messages that was not served for so long met an empty queue.
pub(crate) const QUIET: Duration = Duration::from_millis(20);

/// The slots of one worker.
#[derive(Debug)]
pub(crate) struct Slots {
    total: usize,
    running: usize,
    /// Requests that stay out while the queue is empty; `None` if calls come by the queue alone.
    reserve: Option<usize>,
    /// Whether there is a service whose calls come otherwise; without one the reserve does not hold.
    stood: bool,
    /// Whether calls are taken at all.
    taking: bool,
    /// Messages that wait here for a slot.
    parked: usize,
    /// Messages that the queue held when it was last heard of.
    pending: u64,
    /// When it was last asked or heard of.
    heard: Option<Instant>,
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
    pub(crate) fn new(total: usize, reserve: Option<usize>) -> Self {
        Self {
            total,
            running: 0,
            reserve,
            stood: false,
            taking: false,
            parked: 0,
            pending: 0,
            heard: None,
            rounds: VecDeque::new(),
        }
    }

    /// Says whether calls may come otherwise than by the queue; `true` if that is new.
    pub(crate) fn set_stood(&mut self, stood: bool) -> bool {
        std::mem::replace(&mut self.stood, stood) != stood
    }

    fn reserve(&self) -> Option<usize> {
        self.reserve.filter(|_| self.stood)
    }

    /// Calls in hand.
    pub(crate) const fn running(&self) -> usize {
        self.running
    }

    /// Says whether calls are taken; `true` if that is new.
    pub(crate) fn set_taking(&mut self, taking: bool) -> bool {
        std::mem::replace(&mut self.taking, taking) != taking
    }

    /// The queue held so many messages more when one arrived.
    pub(crate) fn heard_of_queue(&mut self, pending: u64, now: Instant) {
        self.pending = pending;
        self.heard = Some(now);
    }

    /// Whether the queue is known to hold calls, or some wait here.
    pub(crate) fn is_queued(&self, now: Instant) -> bool {
        let quiet = |heard: Instant| now.saturating_duration_since(heard) >= QUIET;
        let empty = self.asked() > 0 && self.heard.is_none_or(quiet);
        self.parked > 0 || self.pending > 0 && !empty
    }

    /// How many calls other ways than the queue may bring.
    pub(crate) fn offer(&self, now: Instant) -> usize {
        if self.taking && !self.is_queued(now) {
            self.total - self.running
        } else {
            0
        }
    }

    /// Takes a slot for a call that came another way than the queue.
    pub(crate) fn take(&mut self) -> bool {
        let free = self.taking && self.running < self.total;
        self.running += usize::from(free);
        free
    }

    /// Whether the queue has use for a slot that became free.
    pub(crate) fn is_wanted(&self) -> bool {
        self.taking
            && (self.parked > 0 || self.pending > 0 || self.asked() < self.reserve().unwrap_or(0))
    }

    /// A message waits here for a slot; so many may, as requests are out beyond what is free.
    pub(crate) fn park(&mut self) -> bool {
        let room = self.parked < self.reserve().unwrap_or(0);
        self.parked += usize::from(room);
        room
    }

    /// One that waited has a slot, if one is free.
    pub(crate) fn unpark(&mut self) -> bool {
        let free = self.parked > 0 && self.running < self.total;
        if free {
            self.parked -= 1;
            self.running += 1;
        }
        free
    }

    /// One that waited goes elsewhere.
    pub(crate) fn give_up_parked(&mut self) {
        self.parked = self.parked.saturating_sub(1);
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
    pub(crate) fn ask(&mut self, most: usize, now: Instant, dead: Instant) -> Option<usize> {
        let asked = self.asked();
        let mut free = self.total.saturating_sub(self.running + asked);
        if let (Some(reserve), false) = (self.reserve(), self.is_queued(now)) {
            free = free.min(reserve.saturating_sub(asked));
        }
        let free = free.min(most);
        let round = self.rounds.back_mut()?;
        if free == 0 {
            return None;
        }
        round.asked += free;
        self.heard = Some(now);
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
