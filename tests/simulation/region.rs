//! What is true of a region: its queues, its slots, how it fails, and what it reports.
//!
//! A call waits in the queue of its function until a slot is free, as in the claim model. Work times are known
//! when a call comes, and queues are first in, first out, so a call's start is known as well.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use frontdoor_protocol::names::RegionName;
use frontdoor_protocol::report::{FunctionReport, Report, VERSION};

use crate::places::PLACES;
use crate::world::World;

/// How a region is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Up,
    /// Refuses connections.
    Killed,
    /// Takes calls and never answers.
    Hung,
}

/// One region.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) name: RegionName,
    pub(crate) life: Life,
    /// The share of calls that fail for no reason.
    pub(crate) grey: f64,
    pub(crate) draining: bool,
    /// Reports idle workers whatever is true.
    pub(crate) lying: bool,
    queues: Vec<Option<Queue>>,
    dirty: Vec<bool>,
    changed: Vec<usize>,
    epoch: u64,
    seq: u64,
}

/// One function in one region.
#[derive(Debug, Clone)]
struct Queue {
    slots: u32,
    /// When each slot is free.
    free_at: BinaryHeap<Reverse<u64>>,
    /// When those that wait begin.
    waiting: VecDeque<u64>,
    /// When those that are on their way will be here, and for how long.
    coming: Vec<(u64, u64)>,
    mean: f64,
}

// === impl Region ===

impl Region {
    pub(crate) fn all(world: &World) -> Vec<Self> {
        let all = 0..world.size.regions;
        all.map(|region| Self {
            name: PLACES[region].name.parse().expect("valid"),
            life: Life::Up,
            grey: 0.0,
            draining: false,
            lying: false,
            queues: world
                .functions
                .iter()
                .map(|f| f.slots[region].map(|slots| Queue::new(slots, f.mean)))
                .collect(),
            dirty: vec![false; world.functions.len()],
            changed: Vec::new(),
            epoch: 1,
            seq: 0,
        })
        .collect()
    }

    pub(crate) fn has(&self, function: usize) -> bool {
        self.queues[function].is_some()
    }

    /// A call begins to work then, if the function is here. `cold` is how long a first worker takes to start.
    pub(crate) fn admit(&mut self, function: usize, work: u64, cold: u64, now: u64) -> Option<u64> {
        let queue = self.queues[function].as_mut()?;
        let start = queue.admit(work, cold, now);
        self.touch(function);
        Some(start)
    }

    /// A call's work is done.
    pub(crate) fn release(&mut self, function: usize, work: u64) {
        if let Some(queue) = self.queues[function].as_mut() {
            queue.mean += (work as f64 / 1000.0 - queue.mean) * 0.02;
            self.touch(function);
        }
    }

    /// A call is on its way.
    pub(crate) fn expect(&mut self, function: usize, at: u64, work: u64) {
        if let Some(queue) = self.queues[function].as_mut() {
            queue.coming.push((at, work));
        }
    }

    /// It came.
    pub(crate) fn came(&mut self, function: usize, at: u64) {
        if let Some(queue) = self.queues[function].as_mut()
            && let Some(place) = queue.coming.iter().position(|c| c.0 == at)
        {
            queue.coming.swap_remove(place);
        }
    }

    /// How long a call that comes then would wait, all told: only the oracle may ask.
    pub(crate) fn wait(&self, function: usize, at: u64, cold: u64) -> Option<u64> {
        let queue = self.queues[function].as_ref()?;
        (self.life == Life::Up && !self.draining).then(|| queue.wait(at, cold))
    }

    /// Everything that was here is gone.
    pub(crate) fn restart(&mut self) {
        self.epoch += 1;
        self.seq = 0;
        for queue in self.queues.iter_mut().flatten() {
            queue.waiting.clear();
            queue.free_at = (0..queue.slots).map(|_| Reverse(0)).collect();
        }
    }

    /// Not deployed any more, or again.
    pub(crate) fn deploy(&mut self, function: usize, slots: Option<u32>, mean: f64) {
        self.queues[function] = slots.map(|slots| Queue::new(slots, mean));
        self.touch(function);
    }

    /// Slots, free ones and calls that wait.
    pub(crate) fn standing(&mut self, function: usize, now: u64) -> Option<(u32, u32, u32)> {
        let lying = self.lying;
        let queue = self.queues[function].as_mut()?;
        let (free, queued) = queue.standing(now);
        Some(if lying {
            (queue.slots, queue.slots, 0)
        } else {
            (queue.slots, free, queued)
        })
    }

    /// What it says of itself; none if there is nothing to say.
    pub(crate) fn report(
        &mut self,
        world: &World,
        full: bool,
        beat: bool,
        now: u64,
    ) -> Option<Report> {
        if self.life != Life::Up || !(full || beat || !self.changed.is_empty()) {
            return None;
        }
        let mut changed = std::mem::take(&mut self.changed);
        for function in &changed {
            self.dirty[*function] = false;
        }
        if full {
            changed = (0..world.functions.len())
                .filter(|f| self.has(*f))
                .collect();
        }
        let lying = self.lying;
        let functions = changed.into_iter().map(|place| {
            let function = &world.functions[place];
            let standing = self.standing(place, now);
            let (slots, free, queued) = standing.unwrap_or_default();
            let mean = self.queues[place].as_ref().map_or(0.0, |q| q.mean);
            FunctionReport {
                function: function.id,
                version: function.version,
                deployed: standing.is_some(),
                workers: slots,
                slots,
                free,
                queued,
                service_ms: if lying { 1 } else { mean as u32 },
                mute: false,
            }
        });
        let functions = functions.collect();
        self.seq += 1;
        Some(Report {
            v: VERSION,
            region: self.name.clone(),
            epoch: self.epoch,
            seq: self.seq,
            draining: self.draining,
            queued: 0,
            running: 0,
            full,
            functions,
        })
    }

    fn touch(&mut self, function: usize) {
        if !std::mem::replace(&mut self.dirty[function], true) {
            self.changed.push(function);
        }
    }
}

// === impl Queue ===

impl Queue {
    fn new(slots: u32, mean: f64) -> Self {
        Self {
            slots,
            free_at: (0..slots).map(|_| Reverse(0)).collect(),
            waiting: VecDeque::new(),
            coming: Vec::new(),
            mean,
        }
    }

    fn admit(&mut self, work: u64, cold: u64, now: u64) -> u64 {
        if self.slots == 0 {
            self.slots = 1;
            self.free_at.push(Reverse(now + cold));
        }
        let Reverse(free) = self.free_at.pop().expect("a slot");
        let start = free.max(now);
        self.free_at.push(Reverse(start + work));
        if start > now {
            self.waiting.push_back(start);
        }
        start
    }

    fn standing(&mut self, now: u64) -> (u32, u32) {
        while self.waiting.front().is_some_and(|start| *start <= now) {
            self.waiting.pop_front();
        }
        let free = self.free_at.iter().filter(|at| at.0 <= now).count();
        (free as u32, self.waiting.len() as u32)
    }

    fn wait(&self, at: u64, cold: u64) -> u64 {
        if self.slots == 0 && self.coming.is_empty() {
            return cold;
        }
        let mut before: Vec<(u64, u64)> =
            self.coming.iter().filter(|c| c.0 <= at).copied().collect();
        if before.is_empty() {
            let free = self.free_at.peek().map_or(at + cold, |free| free.0);
            return free.saturating_sub(at);
        }
        before.sort_unstable();
        let mut then = Self {
            slots: self.slots,
            free_at: self.free_at.clone(),
            waiting: VecDeque::new(),
            coming: Vec::new(),
            mean: 0.0,
        };
        for (at, work) in before {
            then.admit(work, cold, at);
        }
        then.free_at
            .peek()
            .map_or(0, |free| free.0.saturating_sub(at))
    }
}
